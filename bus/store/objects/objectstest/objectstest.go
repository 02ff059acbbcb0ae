// Package objectstest has the suite that every kind of object storage passes,
// and a storage that fails when it is told to.
package objectstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// Run holds a kind of storage to what objects.Storage promises. open returns
// an empty storage of its own for each test.
func Run(t *testing.T, open func(t *testing.T) objects.Storage) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s objects.Storage)
	}{
		{"what was put can be read, whole and in parts", reads},
		{"ranges end with the object", ranges},
		{"an object that is not there is said to be", missing},
		{"a later object takes the earlier one's place", replaces},
		{"a put that fails leaves nothing", failedPut},
		{"a reader of another size than announced is refused", wrongSize},
		{"a size that is not known is no obstacle", unknownSize},
		{"lists are in order, bounded and go on", lists},
		{"a deleted object is gone", deletes},
		{"names that could escape are refused", badNames},
		{"readers never see half an object", atomic},
		{"a context that ended ends calls", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.run(t, s)
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Errorf("Close, twice: %v", err)
			}
		})
	}
}

func put(t *testing.T, s objects.Storage, name, text string) {
	t.Helper()
	if err := s.Put(t.Context(), name, strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
}

func get(t *testing.T, s objects.Storage, name string, offset, length int64) (string, error) {
	t.Helper()
	r, err := s.Get(t.Context(), name, offset, length)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(r)
	return string(data), errors.Join(err, r.Close())
}

func wantText(t *testing.T, s objects.Storage, name string, offset, length int64, want string) {
	t.Helper()
	if got, err := get(t, s, name, offset, length); err != nil || got != want {
		t.Errorf("Get %s from %d, %d bytes: %q, %v, want %q", name, offset, length, got, err, want)
	}
}

func wantMissing(t *testing.T, s objects.Storage, name string) {
	t.Helper()
	if _, err := s.Stat(t.Context(), name); !errors.Is(err, objects.ErrNotFound) || !strings.Contains(err.Error(), name) {
		t.Errorf("Stat %s: %v, want ErrNotFound with the name", name, err)
	}
	if _, err := get(t, s, name, 0, -1); !errors.Is(err, objects.ErrNotFound) || !strings.Contains(err.Error(), name) {
		t.Errorf("Get %s: %v, want ErrNotFound with the name", name, err)
	}
}

func names(infos []objects.Info) []string {
	var out []string
	for _, i := range infos {
		out = append(out, i.Name)
	}
	return out
}

func reads(t *testing.T, s objects.Storage) {
	put(t, s, "a/b/c-1.x", "0123456789")
	put(t, s, "empty", "")
	wantText(t, s, "a/b/c-1.x", 0, -1, "0123456789")
	wantText(t, s, "a/b/c-1.x", 3, 4, "3456")
	wantText(t, s, "a/b/c-1.x", 7, -1, "789")
	wantText(t, s, "a/b/c-1.x", 0, 1, "0")
	wantText(t, s, "empty", 0, -1, "")
	info, err := s.Stat(t.Context(), "a/b/c-1.x")
	if err != nil || info.Name != "a/b/c-1.x" || info.Size != 10 || info.Modified.IsZero() {
		t.Errorf("Stat: %+v, %v", info, err)
	}
}

func ranges(t *testing.T, s objects.Storage) {
	put(t, s, "r", "0123456789")
	wantText(t, s, "r", 8, 100, "89")
	if _, err := get(t, s, "r", 10, 1); !errors.Is(err, objects.ErrRange) {
		t.Errorf("Get from the end: %v, want ErrRange", err)
	}
	if _, err := get(t, s, "r", 50, -1); !errors.Is(err, objects.ErrRange) {
		t.Errorf("Get from beyond the end: %v, want ErrRange", err)
	}
	for _, bad := range [][2]int64{{-1, 1}, {0, 0}, {0, -2}} {
		if _, err := get(t, s, "r", bad[0], bad[1]); err == nil {
			t.Errorf("Get of range %v was accepted", bad)
		}
	}
}

func missing(t *testing.T, s objects.Storage) {
	wantMissing(t, s, "nothing")
	put(t, s, "dir/file", "x")
	wantMissing(t, s, "dir") // what a folder calls a folder is no object
	if err := s.Delete(t.Context(), "nothing"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if found, err := s.List(t.Context(), "no/such/prefix", "", 0); err != nil || len(found) != 0 {
		t.Errorf("List of nothing: %v, %v", found, err)
	}
}

func replaces(t *testing.T, s objects.Storage) {
	put(t, s, "o", "first and longer")
	put(t, s, "o", "second")
	wantText(t, s, "o", 0, -1, "second")
}

func failedPut(t *testing.T, s objects.Storage) {
	boom := errors.New("boom")
	broken := func() io.Reader {
		return io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(boom))
	}
	put(t, s, "old", "stands")
	for _, size := range []int64{-1, 2 << 20} {
		if err := s.Put(t.Context(), "new", broken(), size); !errors.Is(err, boom) {
			t.Errorf("Put of a broken reader, size %d: %v", size, err)
		}
		wantMissing(t, s, "new")
		if err := s.Put(t.Context(), "old", broken(), size); err == nil {
			t.Errorf("Put of a broken reader over another object, size %d, was accepted", size)
		}
		wantText(t, s, "old", 0, -1, "stands")
	}
	if found, err := s.List(t.Context(), "", "", 0); err != nil || !slices.Equal(names(found), []string{"old"}) {
		t.Errorf("List after failed puts: %v, %v", names(found), err)
	}
}

func wrongSize(t *testing.T, s objects.Storage) {
	for _, size := range []int64{0, 9, 11} {
		if err := s.Put(t.Context(), "o", strings.NewReader("0123456789"), size); !errors.Is(err, objects.ErrSize) {
			t.Errorf("Put of 10 bytes as %d: %v, want ErrSize", size, err)
		}
		wantMissing(t, s, "o")
	}
}

func unknownSize(t *testing.T, s objects.Storage) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // more than one part of a multipart upload
	for _, size := range []int64{-1, int64(len(big))} {
		if err := s.Put(t.Context(), "big", iotest.OneByteReader(bytes.NewReader(nil)), -1); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "big", bytes.NewReader(big), size); err != nil {
			t.Fatalf("Put of %d bytes as %d: %v", len(big), size, err)
		}
		got, err := get(t, s, "big", 0, -1)
		if err != nil || got != string(big) {
			t.Errorf("read back %d bytes, %v, want %d", len(got), err, len(big))
		}
		wantText(t, s, "big", 20<<20, 6, "012345")
	}
}

func lists(t *testing.T, s objects.Storage) {
	all := []string{"a-b/x", "a.x", "a/1", "a/2/deep", "a/3", "a0", "b/1", "b/2", "c"}
	for _, i := range []int{5, 2, 8, 0, 1, 7, 3, 6, 4} {
		put(t, s, all[i], all[i])
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", all},
		{"a/", "", []string{"a/1", "a/2/deep", "a/3"}},
		{"a/2", "", []string{"a/2/deep"}},
		{"a", "a/1", []string{"a/2/deep", "a/3", "a0"}},
		{"", "a/2/zzz", []string{"a/3", "a0", "b/1", "b/2", "c"}},
		{"", "a/2/deep", []string{"a/3", "a0", "b/1", "b/2", "c"}},
		{"b/", "a", []string{"b/1", "b/2"}},
		{"b/", "c", nil},
	} {
		found, err := s.List(t.Context(), c.prefix, c.after, 0)
		if err != nil || !slices.Equal(names(found), c.want) {
			t.Errorf("List %q after %q: %q, %v, want %q", c.prefix, c.after, names(found), err, c.want)
		}
	}
	var paged []string
	for after := ""; ; {
		page, err := s.List(t.Context(), "", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, names(page)...)
		if len(page) < 2 {
			break
		}
		after = page[1].Name
	}
	if !slices.Equal(paged, all) {
		t.Errorf("two at a time: %q, want %q", paged, all)
	}
	if found, _ := s.List(t.Context(), "a/2", "", 1); len(found) != 1 || found[0].Size != int64(len("a/2/deep")) {
		t.Errorf("sizes in lists: %+v", found)
	}
}

func deletes(t *testing.T, s objects.Storage) {
	put(t, s, "d/one", "1")
	put(t, s, "d/two", "2")
	if err := s.Delete(t.Context(), "d/one"); err != nil {
		t.Fatal(err)
	}
	wantMissing(t, s, "d/one")
	wantText(t, s, "d/two", 0, -1, "2")
	if err := s.Delete(t.Context(), "d"); err != nil {
		t.Errorf("Delete of what is no object: %v", err)
	}
	wantText(t, s, "d/two", 0, -1, "2")
}

func badNames(t *testing.T, s objects.Storage) {
	for _, name := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../../b", "a/.hidden", "a\\b", "a b", "a\x00", "ä", "a:b", strings.Repeat("x", 201), strings.Repeat("x/", 400) + "x"} {
		if err := s.Put(t.Context(), name, strings.NewReader("x"), 1); err == nil {
			t.Errorf("Put of %.40q was accepted", name)
		}
		if _, err := s.Get(t.Context(), name, 0, -1); err == nil {
			t.Errorf("Get of %.40q was accepted", name)
		}
		if _, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("Stat of %.40q was accepted", name)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("Delete of %.40q was accepted", name)
		}
	}
}

// atomic writes one object again and again while others read it.
func atomic(t *testing.T, s objects.Storage) {
	version := func(i int) string { return strings.Repeat(fmt.Sprintf("%08d", i), 4096) }
	put(t, s, "o", version(0))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := get(t, s, "o", 0, -1)
				if err != nil || len(got) != len(version(0)) || strings.Count(got, got[:8]) != 4096 {
					t.Errorf("read %d bytes while writing: %v", len(got), err)
					return
				}
			}
		})
	}
	for i := range 30 {
		put(t, s, "o", version(i))
	}
	close(stop)
	readers.Wait()
}

func cancelled(t *testing.T, s objects.Storage) {
	put(t, s, "o", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "p", strings.NewReader("x"), 1); err == nil {
		t.Error("Put with a context that ended was accepted")
	}
	wantMissing(t, s, "p")
	if r, err := s.Get(ctx, "o", 0, -1); err == nil {
		if _, err = io.ReadAll(r); err == nil {
			t.Error("Get with a context that ended gave the object")
		}
		_ = r.Close()
	}
	if _, err := s.List(ctx, "", "", 0); err == nil {
		t.Error("List with a context that ended gave a list")
	}
}
