package embedded

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the format of the directory that this program writes.
const formatVersion = 1

// readFormat reads the format version of a directory: 0 when none is written
// there yet. A version that this program does not know is an error.
func readFormat(fs vfs.FS, dir string) (version int, err error) {
	path := fs.PathJoin(dir, "FORMAT")
	f, err := fs.Open(path)
	if oserror.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("read %q: %w", path, err)
	}
	if len(b) == 0 { // a crash came before it was written
		return 0, nil
	}
	if _, err := fmt.Sscanf(string(b), "switchyard store %d", &version); err != nil {
		return 0, fmt.Errorf("%q is not a store's format file: %q; is %q a data folder of Switchyard?", path, b, dir)
	}
	if version > formatVersion {
		return 0, fmt.Errorf("%q was written by a newer release (format %d; this one knows up to %d); run that release, or start with an empty directory",
			dir, version, formatVersion)
	}
	return version, nil
}

// checkFormat refuses a directory that a newer program wrote and marks a new
// one. A mark that cannot be read is an error and is never written over.
func (s *Store) checkFormat() error {
	fs := s.opts.FS
	version, err := readFormat(fs, s.opts.Dir)
	if err != nil || version > 0 {
		return err
	}
	path := fs.PathJoin(s.opts.Dir, "FORMAT")
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	_, err = fmt.Fprintf(f, "switchyard store %d\n", formatVersion)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return syncDir(fs, s.opts.Dir)
}
