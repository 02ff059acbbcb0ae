package seglog

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestARepairedLogOpensWithAllThatCouldBeRead damages a log, repairs it, and
// requires that it opens, that every record which a check could read is there at
// its old position, and that it takes appends.
func TestARepairedLogOpensWithAllThatCouldBeRead(t *testing.T) {
	overwrite := func(t *testing.T, fs vfs.FS, name string, at, n int64) {
		f, err := fs.OpenReadWrite("log/"+name, writeCategory)
		if err != nil {
			t.Fatal(err)
		}
		junk := make([]byte, n)
		for i := range junk {
			junk[i] = 0xaa
		}
		if _, err := f.WriteAt(junk, at); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	size := func(t *testing.T, fs vfs.FS, name string) int64 {
		info, err := fs.Stat("log/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, fs vfs.FS, names []string)
		aside  int // pieces kept
	}{
		"nothing": {func(*testing.T, vfs.FS, []string) {}, 0},
		"one byte of a frame": {func(t *testing.T, fs vfs.FS, names []string) {
			overwrite(t, fs, names[1], headerBlock+40, 1)
		}, 1},
		"several frames in two segments": {func(t *testing.T, fs vfs.FS, names []string) {
			overwrite(t, fs, names[0], headerBlock, 2000)
			overwrite(t, fs, names[2], headerBlock+3000, 1500)
		}, 2},
		"the end of a sealed segment": {func(t *testing.T, fs vfs.FS, names []string) {
			overwrite(t, fs, names[1], size(t, fs, names[1])-40, 40)
		}, 1},
		"the seal and the end of a sealed segment": {func(t *testing.T, fs vfs.FS, names []string) {
			overwrite(t, fs, names[1], sealOffset, 16)
			overwrite(t, fs, names[1], size(t, fs, names[1])-700, 700)
		}, 1},
		"a header": {func(t *testing.T, fs vfs.FS, names []string) { overwrite(t, fs, names[2], 0, 64) }, 1},
		"a missing segment": {func(t *testing.T, fs vfs.FS, names []string) {
			must(t, fs.Remove("log/"+names[2]))
		}, 0},
		"two missing segments and a damaged one": {func(t *testing.T, fs vfs.FS, names []string) {
			must(t, fs.Remove("log/"+names[2]))
			must(t, fs.Remove("log/"+names[3]))
			overwrite(t, fs, names[1], headerBlock+40, 1)
		}, 1},
		"the oldest is missing": {func(t *testing.T, fs vfs.FS, names []string) {
			must(t, fs.Remove("log/"+names[0]))
		}, 0},
		"the newest is missing": {func(t *testing.T, fs vfs.FS, names []string) {
			must(t, fs.Remove("log/"+names[len(names)-1]))
		}, 0},
		"a segment that was cut short": {func(t *testing.T, fs vfs.FS, names []string) {
			f, err := fs.Open("log/" + names[1])
			must(t, err)
			b := make([]byte, size(t, fs, names[1])/2)
			_, err = io.ReadFull(f, b)
			must(t, err)
			must(t, f.Close())
			g, err := fs.Create("log/"+names[1], writeCategory)
			must(t, err)
			_, err = g.Write(b)
			must(t, err)
			must(t, g.Close())
		}, 1},
		"everything is missing": {func(t *testing.T, fs vfs.FS, names []string) {
			for _, n := range names {
				must(t, fs.Remove("log/"+n))
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fs, _ := filled(t, 150)
			var names []string
			all, err := fs.List("log")
			must(t, err)
			for _, n := range all {
				if _, _, ok := parseLiveName(n); ok {
					names = append(names, n)
				}
			}
			slices.Sort(names) // a memory file system lists in any order
			if len(names) < 5 {
				t.Fatal(names)
			}
			c.damage(t, fs, names)
			var want []string
			_, err = Check(t.Context(), fs, "log", Visitor{
				Record:  func(pos Position, p []byte) error { want = append(want, fmt.Sprint(pos, string(p))); return nil },
				Damaged: func(Damage) {}, Segment: func(int, int) {},
			})
			must(t, err)
			kept := 0
			must(t, Repair(t.Context(), fs, "log", false, func(name string, r io.Reader) error {
				kept++
				n, err := io.Copy(io.Discard, r)
				if n == 0 {
					t.Errorf("%s is empty", name)
				}
				return err
			}))
			if kept != c.aside {
				t.Errorf("%d pieces were kept, want %d", kept, c.aside)
			}
			l := mustOpen(t, testOptions(fs))
			var got []string
			_, err = l.Scan(t.Context(), Position{}, Position{}, func(pos Position, p []byte) error {
				got = append(got, fmt.Sprint(pos, string(p)))
				return nil
			})
			must(t, err)
			equal(t, got, want)
			for range 20 {
				mustAppend(t, l, fmt.Sprintf("%01000d", 1))
			}
			must(t, l.Close())
			l = mustOpen(t, testOptions(fs))
			equal(t, len(texts(t, l)), len(want)+20)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
