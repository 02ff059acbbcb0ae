package embedded

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ownerFile says which process has the directory. Only LOCK decides whether one
// has: what a killed process leaves here is not read by anybody.
const ownerFile = "OWNER"

// lockDir takes the directory for this process. The error of one that is in use
// names the process that has it, if it can.
func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err == nil {
		return lock, nil
	}
	by := "another process"
	if f, openErr := fs.Open(fs.PathJoin(dir, ownerFile)); openErr == nil {
		var pid int
		if b, readErr := io.ReadAll(io.LimitReader(f, 64)); readErr == nil {
			if _, scanErr := fmt.Sscanf(string(b), "%d", &pid); scanErr == nil && pid > 0 {
				by += fmt.Sprintf(" (process id %d)", pid)
			}
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("%q is in use by %s; stop that one or name another directory: %w", dir, by, err)
}

// signedLock removes the owner's name before it gives the lock back.
type signedLock struct {
	io.Closer
	fs   vfs.FS
	path string
}

func (l signedLock) Close() error {
	_ = l.fs.Remove(l.path) // a name that stays says nothing without the lock
	return l.Closer.Close()
}

// signLock puts this process's number beside a lock that it has. It is for a
// person's eyes only, so a failure does not keep the store from opening.
func signLock(fs vfs.FS, dir string, lock io.Closer, log *slog.Logger) io.Closer {
	path := fs.PathJoin(dir, ownerFile)
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		log.Warn("could not note which process has the data folder", "file", path, "error", err)
	}
	return signedLock{lock, fs, path}
}
