package seglog

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func copyOf(t *testing.T, fs vfs.FS, files []SnapshotFile, to string) {
	t.Helper()
	must(t, fs.MkdirAll(to, 0o755))
	for _, file := range files {
		f, err := fs.Open("log/" + file.Name)
		must(t, err)
		b, err := io.ReadAll(SnapshotReader(f, file))
		must(t, err)
		must(t, f.Close())
		if int64(len(b)) != file.Size {
			t.Fatalf("%s has %d bytes, not %d", file.Name, len(b), file.Size)
		}
		out, err := fs.Create(to+"/"+file.Name, writeCategory)
		must(t, err)
		_, err = out.Write(b)
		must(t, err)
		must(t, out.Close())
	}
}

// TestASnapshotIsALogThatEndsWhereItWasTaken copies a snapshot while the log is
// written on.
func TestASnapshotIsALogThatEndsWhereItWasTaken(t *testing.T) {
	for _, n := range []int{0, 3, 40, 41, 150} {
		fs := vfs.NewMem()
		opts := testOptions(fs)
		l := mustOpen(t, opts)
		for i := range n {
			mustAppend(t, l, fmt.Sprintf("%05d%0495d", i, 0))
		}
		files := l.Snapshot()
		for i := range 100 {
			mustAppend(t, l, fmt.Sprintf("later %d %0500d", i, 0))
		}
		copyOf(t, fs, files, "copy")
		opts.Dir = "copy"
		c := mustOpen(t, opts)
		got := texts(t, c)
		if len(got) != n || n > 0 && got[n-1][:5] != fmt.Sprintf("%05d", n-1) {
			t.Fatalf("%d records, want %d", len(got), n)
		}
		for range 40 {
			mustAppend(t, c, fmt.Sprintf("%0500d", 1))
		}
		must(t, c.Close())
		c = mustOpen(t, opts)
		equal(t, len(texts(t, c)), n+40)
	}
}

// TestASnapshotDoesNotEndInASealedSegment takes snapshots while segments are
// sealed all the time. The seal of the last one would name a next one that the
// snapshot lacks.
func TestASnapshotDoesNotEndInASealedSegment(t *testing.T) {
	l := mustOpen(t, testOptions(vfs.NewMem()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4000 {
			if _, err := l.AppendBytes(t.Context(), make([]byte, 4000)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		files := l.Snapshot()
		if last := files[len(files)-1]; last.Sealed {
			t.Fatalf("segment %d is the last of a snapshot and is sealed", last.Last)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// TestFilesOfASnapshotDoNotDependOnWhenTheyAreRead reads one before and after
// its segment was sealed.
func TestFilesOfASnapshotDoNotDependOnWhenTheyAreRead(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testOptions(fs))
	mustAppend(t, l, "first")
	files := l.Snapshot()
	read := func() []byte {
		f, err := fs.Open("log/" + files[0].Name)
		must(t, err)
		b, err := io.ReadAll(SnapshotReader(f, files[0]))
		must(t, err)
		must(t, f.Close())
		return b
	}
	before := read()
	for i := range 100 {
		mustAppend(t, l, fmt.Sprintf("later %d %0500d", i, 0))
	}
	if !bytes.Equal(before, read()) || l.Snapshot()[0].Lineage != files[0].Lineage {
		t.Error("the bytes have changed")
	}
}

// TestACutLogEndsBeforeTheRecord cuts before every tenth record.
func TestACutLogEndsBeforeTheRecord(t *testing.T) {
	for at := 0; at <= 150; at += 10 {
		fs, pos := filled(t, 150)
		cut := Position{Segment: 1 << 40}
		if at < len(pos) {
			cut = pos[at]
		}
		must(t, Cut(fs, "log", cut))
		damaged := 0
		_, err := Check(t.Context(), fs, "log", Visitor{
			Record: func(Position, []byte) error { return nil }, Damaged: func(Damage) { damaged++ }, Segment: func(int, int) {},
		})
		must(t, err)
		l := mustOpen(t, testOptions(fs))
		if got := texts(t, l); len(got) != at || damaged != 0 {
			t.Fatalf("cut before %d: %d records, %d damaged", at, len(got), damaged)
		}
		for range 40 {
			mustAppend(t, l, fmt.Sprintf("%0500d", 1))
		}
		must(t, l.Close())
		l = mustOpen(t, testOptions(fs))
		equal(t, len(texts(t, l)), at+40)
	}
}
