package embedded

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the format of the directory that this program writes. It
// reads and upgrades every earlier one.
//
//	1  events in the log, everything else in the state
//	2  frames of the log that commit a transaction (kindCommit), and its rows;
//	   rows that find scheduled events by their names, and their number
//
// A change that an earlier release would not understand takes a new version, so
// that such a release says so instead of failing somewhere on the way.
const formatVersion = 2

// formatFile has the version, in words.
const formatFile = "FORMAT"

// errBadFormat says that a format file is there and is none of ours.
var errBadFormat = errors.New("it is not a store's format file")

// readFormat reads the format version of a directory: 0 when none is written
// there yet. A version that this program does not know is an error.
func readFormat(fs vfs.FS, dir string) (version int, err error) {
	path := fs.PathJoin(dir, formatFile)
	f, err := fs.Open(path)
	if oserror.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", path, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("read %q: %w", path, err)
	}
	if len(b) == 0 { // a crash came before it was written
		return 0, nil
	}
	if _, err := fmt.Sscanf(string(b), "switchyard store %d", &version); err != nil || version < 1 {
		return 0, fmt.Errorf("%q holds %.40q: %w; is %q a data folder of Switchyard?", path, b, errBadFormat, dir)
	}
	if version > formatVersion {
		return 0, fmt.Errorf("%q was written by a newer release (format %d; this one knows up to %d); run that release, or start with an empty directory",
			dir, version, formatVersion)
	}
	return version, nil
}

// checkFormat refuses a directory that a newer program wrote, and marks a new
// one and one of an earlier format before anything is written there. A mark that
// cannot be read is an error and is never written over.
func (s *Store) checkFormat() error {
	version, err := readFormat(s.opts.FS, s.opts.Dir)
	if err != nil || version == formatVersion {
		return err
	}
	if err := writeFormat(s.opts.FS, s.opts.Dir); err != nil {
		return err
	}
	if version > 0 {
		s.opts.Logger.Info("the data folder now has a newer format; earlier releases do not open it any more",
			"folder", s.opts.Dir, "from", version, "to", formatVersion)
	}
	return nil
}

// writeFormat marks a directory durably. A crash leaves the mark that was there
// or the new one.
func writeFormat(fs vfs.FS, dir string) error {
	return writeWhole(fs, dir, formatFile, fmt.Appendf(nil, "switchyard store %d\n", formatVersion))
}

// writeWhole puts a small file in place durably: after a crash it is the one
// that was there before, or the new one.
func writeWhole(fs vfs.FS, dir, name string, content []byte) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fs.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return syncDir(fs, dir)
}
