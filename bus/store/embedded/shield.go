package embedded

import (
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// shield stands between Pebble and the disk. Pebble holds a failed write, sync
// or new file for fatal in some places, panics in others and goes on in others
// still. Here all are the same: the first one is reported, and from then on
// nothing that Pebble does reaches the disk, while Pebble is told that all is
// well. So the directory stays as it was at the first failure, as after a power
// cut, the failed instance can be closed in peace, and nobody asks a disk again
// to sync what it failed to sync. Whoever commits looks at the report before
// anything is promised.
type shield struct {
	vfs.FS
	dir    string // Pebble's; what it copies elsewhere, for a snapshot, is none of this
	report func(error)
	pace   *pacer
	failed atomic.Bool
	shadow *vfs.MemFS // has what is written after the failure
}

func newShield(fs vfs.FS, dir string, report func(error)) *shield {
	return &shield{FS: fs, dir: dir, report: report, pace: newPacer(), shadow: vfs.NewMem()}
}

// covers says whether a file or folder is Pebble's own.
func (s *shield) covers(name string) bool {
	return name == s.dir || s.FS.PathDir(name) == s.dir
}

// broke takes the error of something that changes the disk, and says whether
// Pebble may see it: that a file is not there, or is, is an answer.
func (s *shield) broke(err error) bool {
	if err == nil || oserror.IsNotExist(err) || oserror.IsExist(err) {
		return false
	}
	s.report(err)
	s.failed.Store(true)
	return true
}

// file makes a file of the shadow, after a failure.
func (s *shield) file(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.shadow.MkdirAll(s.shadow.PathDir(name), 0o755); err != nil {
		return nil, err
	}
	return s.shadow.Create(name, category)
}

// change makes a change of names.
func (s *shield) change(name string, do func() error) error {
	if !s.covers(name) {
		return do()
	}
	if s.failed.Load() {
		return nil
	}
	if err := do(); err != nil && !s.broke(err) {
		return err
	}
	return nil
}

// open opens a file to be written.
func (s *shield) open(name string, category vfs.DiskWriteCategory, do func() (vfs.File, error)) (vfs.File, error) {
	if !s.covers(name) {
		return do()
	}
	if !s.failed.Load() {
		f, err := do()
		if err == nil {
			return s.paced(&shieldedFile{f, s}, category), nil
		}
		if !s.broke(err) {
			return nil, err
		}
	}
	return s.file(name, category)
}

// Create implements vfs.FS. A marker names a file that was made just before it
// in the same folder. Pebble relies on the file system to keep the two in that
// order over a power cut, which not every one does: here it is made sure.
func (s *shield) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(name, category, func() (vfs.File, error) {
		if strings.HasPrefix(s.FS.PathBase(name), "marker.") {
			if err := syncDir(s.FS, s.dir); err != nil {
				return nil, err
			}
		}
		return s.FS.Create(name, category)
	})
}

// OpenReadWrite implements vfs.FS.
func (s *shield) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(name, category, func() (vfs.File, error) { return s.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (s *shield) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(to, category, func() (vfs.File, error) { return s.FS.ReuseForWrite(from, to, category) })
}

// OpenDir implements vfs.FS.
func (s *shield) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil || !s.covers(name) {
		return f, err
	}
	return &shieldedFile{f, s}, nil
}

// Open implements vfs.FS.
func (s *shield) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if s.failed.Load() {
		if f, err := s.shadow.Open(name, opts...); err == nil {
			return f, nil
		}
	}
	return s.FS.Open(name, opts...)
}

// List implements vfs.FS. Pebble lists its directory at the end of an open too,
// where a failure would leave goroutines of it behind that use what is closed.
func (s *shield) List(dir string) ([]string, error) {
	names, err := s.FS.List(dir)
	if err != nil && s.covers(dir) && s.broke(err) {
		return nil, nil
	}
	return names, err
}

// Stat implements vfs.FS.
func (s *shield) Stat(name string) (vfs.FileInfo, error) {
	if s.failed.Load() {
		if info, err := s.shadow.Stat(name); err == nil {
			return info, nil
		}
	}
	return s.FS.Stat(name)
}

// Link implements vfs.FS.
func (s *shield) Link(from, to string) error {
	return s.change(to, func() error { return s.FS.Link(from, to) })
}

// Rename implements vfs.FS.
func (s *shield) Rename(from, to string) error {
	return s.change(to, func() error { return s.FS.Rename(from, to) })
}

// MkdirAll implements vfs.FS.
func (s *shield) MkdirAll(dir string, perm os.FileMode) error {
	return s.change(dir, func() error { return s.FS.MkdirAll(dir, perm) })
}

// Remove implements vfs.FS. A file that is not needed and cannot be removed
// does no harm: the next start tries again.
func (s *shield) Remove(name string) error {
	if s.failed.Load() && s.covers(name) {
		return nil
	}
	return s.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (s *shield) RemoveAll(name string) error {
	if s.failed.Load() && s.covers(name) {
		return nil
	}
	return s.FS.RemoveAll(name)
}

// Unwrap implements vfs.FS.
func (s *shield) Unwrap() vfs.FS { return s.FS }

// shieldedFile is a file that was opened before a failure.
type shieldedFile struct {
	vfs.File
	shield *shield
}

// write writes all of b, or pretends to.
func (f *shieldedFile) write(b []byte, do func() (int, error)) (int, error) {
	if f.shield.failed.Load() {
		return len(b), nil
	}
	if n, err := do(); err != nil {
		if !f.shield.broke(err) {
			return n, err
		}
	}
	return len(b), nil
}

// Write implements vfs.File.
func (f *shieldedFile) Write(b []byte) (int, error) {
	return f.write(b, func() (int, error) { return f.File.Write(b) })
}

// WriteAt implements vfs.File.
func (f *shieldedFile) WriteAt(b []byte, off int64) (int, error) {
	return f.write(b, func() (int, error) { return f.File.WriteAt(b, off) })
}

// Preallocate implements vfs.File.
func (f *shieldedFile) Preallocate(offset, length int64) error {
	return f.shield.change(f.shield.dir, func() error { return f.File.Preallocate(offset, length) })
}

// Sync implements vfs.File.
func (f *shieldedFile) Sync() error { return f.shield.change(f.shield.dir, f.File.Sync) }

// SyncData implements vfs.File.
func (f *shieldedFile) SyncData() error { return f.shield.change(f.shield.dir, f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *shieldedFile) SyncTo(length int64) (full bool, err error) {
	err = f.shield.change(f.shield.dir, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close implements vfs.File. A file that does not close may have lost what was
// not synced, like one that does not sync.
func (f *shieldedFile) Close() error {
	err := f.File.Close()
	if f.shield.failed.Load() || f.shield.broke(err) {
		return nil
	}
	return err
}

// pacedFile is a file that is made in the background.
type pacedFile struct {
	*shieldedFile
	kind int
}

// paced is a file as its category wants it.
func (s *shield) paced(f *shieldedFile, category vfs.DiskWriteCategory) vfs.File {
	switch category { // as Pebble calls them
	case "pebble-memtable-flush":
		return &pacedFile{f, paceFlush}
	case "pebble-compaction":
		return &pacedFile{f, paceCompaction}
	}
	return f
}

// Write implements vfs.File.
func (f *pacedFile) Write(b []byte) (int, error) {
	if !f.shield.failed.Load() {
		f.shield.pace.wait(f.kind, len(b))
	}
	return f.shieldedFile.Write(b)
}
