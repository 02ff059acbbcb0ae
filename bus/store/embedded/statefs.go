package embedded

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// stateFS keeps failed writes of the state's own log from Pebble, which panics
// when it hears of one with its locks held. The state has failed before Pebble
// goes on: nothing that was not written is acknowledged, for every commit and
// every flush asks for that after its work, and the next start reads what is
// really there.
type stateFS struct {
	vfs.FS
	state *state
}

// walCategory is what Pebble calls the files of its log.
const walCategory = "pebble-wal"

// Create implements vfs.FS.
func (fs stateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	return fs.guarded(f, err, name, category)
}

// ReuseForWrite implements vfs.FS.
func (fs stateFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(old, name, category)
	return fs.guarded(f, err, name, category)
}

// OpenDir implements vfs.FS. A new file of the log is there once its folder is
// synced.
func (fs stateFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, state: fs.state}, nil
}

// Unwrap implements vfs.FS.
func (fs stateFS) Unwrap() vfs.FS { return fs.FS }

func (fs stateFS) guarded(f vfs.File, err error, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if category != walCategory {
		return f, err
	}
	if err != nil {
		fs.state.fail(fmt.Errorf("make %q: %w", name, err))
		f, err = vfs.NewMem().Create("lost", category) // a file of which nothing is kept
	}
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, state: fs.state}, nil
}

// guardedFile fails the state in place of its own operations.
type guardedFile struct {
	vfs.File
	state *state
}

func (f *guardedFile) passed(err error) error {
	if err != nil {
		f.state.fail(err)
	}
	return nil
}

// Write implements vfs.File.
func (f *guardedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err != nil {
		n = len(p)
	}
	return n, f.passed(err)
}

// Sync implements vfs.File.
func (f *guardedFile) Sync() error { return f.passed(f.File.Sync()) }

// SyncData implements vfs.File.
func (f *guardedFile) SyncData() error { return f.passed(f.File.SyncData()) }

// SyncTo implements vfs.File.
func (f *guardedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.passed(err)
}

// Close implements vfs.File.
func (f *guardedFile) Close() error { return f.passed(f.File.Close()) }
