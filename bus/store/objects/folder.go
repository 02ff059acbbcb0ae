package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// partial is where a folder's objects are written before they get their
	// names; no object's name begins with a dot.
	partial = ".partial"
	// stale is the age at which what a killed writer left there is removed.
	// Younger files may belong to another process.
	stale = 24 * time.Hour
)

// folder keeps objects as files under a folder.
type folder struct{ l Location }

func openFolder(l Location) (Storage, error) {
	path, err := filepath.Abs(l.Path)
	if err != nil {
		return nil, err
	}
	l.Path = path
	f := &folder{l}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", path)
	}
	return f, f.sweep()
}

// sweep removes what killed writers left.
func (f *folder) sweep() error {
	entries, err := os.ReadDir(f.path(partial))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > stale {
			_ = os.Remove(f.path(partial + "/" + e.Name())) // the next time, then
		}
	}
	return nil
}

func (f *folder) path(name string) string { return filepath.Join(f.l.Path, filepath.FromSlash(name)) }

func (f *folder) String() string { return f.l.String() }

// Close implements Storage.
func (f *folder) Close() error { return nil }

// Put implements Storage: the file is written and synced under a name that
// nobody looks at and then renamed.
func (f *folder) Put(ctx context.Context, name string, r io.Reader, size int64) (err error) {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Dir(f.path(name))
	if err := errors.Join(makeFolder(f.path(partial)), makeFolder(dir)); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(f.path(partial), "*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write object %q: %w", name, err)
		}
	}()
	err = copySynced(tmp, &contextual{ctx, newExact(r, size)})
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), f.path(name)); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncEvery is after how many bytes a file that grows is synced: who waits for
// another sync of the same disk meanwhile waits for no more than these.
const syncEvery = 4 << 20

// copySynced copies until the end of r, and syncs.
func copySynced(to *os.File, r io.Reader) error {
	for {
		n, err := io.CopyN(to, r, syncEvery)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := to.Sync(); err != nil {
			return err
		}
		if n < syncEvery {
			return nil
		}
	}
}

// Get implements Storage.
func (f *folder) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(CheckName(name), checkRange(offset, length)); err != nil {
		return nil, err
	}
	if _, err := f.Stat(ctx, name); err != nil { // a folder can be opened too
		return nil, err
	}
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, f.failure(name, err)
	}
	info, err := file.Stat()
	if err == nil && offset >= info.Size() && (offset > 0 || length >= 0) {
		err = fmt.Errorf("object %q has %d bytes, not %d: %w", name, info.Size(), offset, ErrRange)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if length < 0 {
		length = info.Size() - offset
	}
	return struct {
		io.Reader
		io.Closer
	}{&contextual{ctx, io.NewSectionReader(file, offset, length)}, file}, nil
}

// Stat implements Storage.
func (f *folder) Stat(ctx context.Context, name string) (Info, error) {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return Info{}, err
	}
	info, err := os.Stat(f.path(name))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, f.failure(name, err)
	}
	return Info{name, info.Size(), info.ModTime()}, nil
}

// failure makes an error of the file system one of a storage.
func (f *folder) failure(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return fmt.Errorf("object %q in %s: %w", name, f, err)
}

// List implements Storage. It reads the folders whole that can hold what it
// looks for.
func (f *folder) List(ctx context.Context, prefix, after string, n int) ([]Info, error) {
	found, err := f.list(ctx, "", prefix, after, limit(n), nil)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", f, err)
	}
	return found, nil
}

// list appends to found what stands in folder dir ("" or with a slash at its
// end).
func (f *folder) list(ctx context.Context, dir, prefix, after string, n int, found []Info) ([]Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(f.path(dir))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return found, nil // nothing was put yet, or it was removed meanwhile
		}
		return nil, err
	}
	// Folders sort as their objects' names do: with the slash.
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
		if e.IsDir() {
			names[i] += "/"
		}
	}
	for _, i := range sorted(names) {
		name := dir + names[i]
		under := strings.HasPrefix(name, prefix) || entries[i].IsDir() && strings.HasPrefix(prefix, name)
		if entries[i].Name()[0] == '.' || !under || name <= after && !strings.HasPrefix(after, name) {
			continue
		}
		if len(found) == n {
			return found, nil
		}
		if entries[i].IsDir() {
			if found, err = f.list(ctx, name, prefix, after, n, found); err != nil {
				return nil, err
			}
			continue
		}
		if name == after || CheckName(name) != nil {
			continue
		}
		info, err := entries[i].Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			found = append(found, Info{name, info.Size(), info.ModTime()})
		}
	}
	return found, nil
}

// sorted is the order of names.
func sorted(names []string) []int {
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(names[a], names[b]) })
	return order
}

// Delete implements Storage.
func (f *folder) Delete(ctx context.Context, name string) error {
	if _, err := f.Stat(ctx, name); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.failure(name, err)
	}
	return syncFolder(filepath.Dir(f.path(name)))
}

// makeFolder makes a folder and those above it, durably.
func makeFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%s is not a folder", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(path)
	if err := makeFolder(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(above)
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// contextual reads until its context ends.
type contextual struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextual) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
