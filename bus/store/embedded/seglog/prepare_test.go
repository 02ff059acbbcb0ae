package seglog

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// filling opens a log of two-megabyte segments that fills them ahead, unless opts says
// otherwise.
func filling(t *testing.T, opts Options) *Log {
	t.Helper()
	if opts.FS == nil {
		opts.FS = vfs.NewMem()
	}
	if opts.FillAhead == nil {
		opts.FillAhead = func() bool { return true }
	}
	opts.Dir, opts.SegmentSize = "log", 2<<20
	return mustOpen(t, opts)
}

// appendTo appends records of size bytes, one by one, until total bytes have been appended, and
// gives what is made ahead the time that it takes.
func appendTo(t *testing.T, l *Log, size, total int) {
	t.Helper()
	for range total / size {
		mustAppend(t, l, strings.Repeat("x", size))
	}
	time.Sleep(time.Minute)
	synctest.Wait()
}

func activeOf(l *Log) SegmentInfo {
	all := l.Segments()
	return all[len(all)-1]
}

func TestALogThatTakesSmallGroupsWritesToFilledSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := filling(t, Options{})
		appendTo(t, l, 4000, 100_000)
		equal(t, l.DiskUsage().Total(), l.DiskUsage().Live) // too little to make anything ahead
		appendTo(t, l, 4000, 300_000)
		mustAppend(t, l, "next") // would make the first segment grow
		equal(t, len(l.Segments()), 2)
		for range 10 {
			appendTo(t, l, 4000, 500_000)
			if s := activeOf(l); s.FileSize != 2<<20 {
				t.Fatalf("the active segment grows: %d of %d bytes", s.Size, s.FileSize)
			}
		}
		equal(t, len(texts(t, l)), 25+75+1+1250)
	})
}

func TestWhatWouldNotPayIsNotFilled(t *testing.T) {
	for name, c := range map[string]struct {
		opts Options
		size int
	}{
		"large groups":   {Options{}, 200_000},
		"no room":        {Options{FillAhead: func() bool { return false }}, 4000},
		"without a sync": {Options{NoSync: true}, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := filling(t, c.opts)
				appendTo(t, l, c.size, 1_400_000)
				equal(t, l.DiskUsage().Prepared, headerBlock)
				equal(t, len(l.Segments()), 1)
			})
		})
	}
}

func TestASegmentIsWantedBeforeItIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		l := filling(t, Options{FillAhead: func() bool {
			asked++
			return asked <= 2
		}})
		appendTo(t, l, 4000, 1_900_000)
		equal(t, l.DiskUsage().Prepared, headerBlock+2*fillPart)
		equal(t, len(l.Segments()), 1) // the next one would grow too
		appendTo(t, l, 4000, 200_000)
		equal(t, len(l.Segments()), 2)
		equal(t, len(texts(t, l)), 475+50)
	})
}

func TestWhatWasFilledIsKeptOverAClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		l := filling(t, Options{FS: mem})
		appendTo(t, l, 4000, 500_000)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = filling(t, Options{FS: mem})
		equal(t, l.DiskUsage().Recycled, 2<<20)
		equal(t, len(texts(t, l)), 125)
	})
}

func TestAFailureToFillCostsNothing(t *testing.T) {
	for _, fails := range []errorfs.OpKind{errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData} {
		synctest.Test(t, func(t *testing.T) {
			injected := errors.New("no space left on device")
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == fails && strings.HasSuffix(op.Path, "2.seg") && (op.Offset > 0 || fails != errorfs.OpFileWriteAt) {
					return injected
				}
				return nil
			}))
			l := filling(t, Options{FS: fs})
			appendTo(t, l, 4000, 1_900_000)
			equal(t, l.State(), Healthy)
			equal(t, l.DiskUsage().Prepared, 0)
			if _, err := fs.Stat(fs.PathJoin("log", liveName(2, 0))); err == nil {
				t.Fatal("the file is still there")
			}
			equal(t, len(texts(t, l)), 475)
		})
	}
}
