package seglog

import (
	"fmt"
	"os"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Identity tells a file or folder from any other, whatever it is called. The
// zero value is that of a file system without such a thing.
type Identity struct{ device, node uint64 }

// DisplacedError says that a file or folder does not stand any more where it
// was opened: what is written to it would be found by nobody.
type DisplacedError struct {
	Path     string
	Replaced bool // something else stands there; else nothing does
}

func (e *DisplacedError) Error() string {
	if e.Replaced {
		return fmt.Sprintf("something else stands at %q: the data folder or a part of it was replaced; bring the original back, or restart to use what is there", e.Path)
	}
	return fmt.Sprintf("%q is not there any more: the data folder or a part of it was moved or deleted; bring it back, or restart to begin with an empty one", e.Path)
}

// Identify finds out what stands at path.
func Identify(fs vfs.FS, path string) (Identity, error) {
	info, err := fs.Stat(path)
	if err != nil {
		return Identity{}, err
	}
	return identityOf(info), nil
}

// StandsAt returns a *DisplacedError if id is not what stands at path, or nil.
// Where it cannot look, it trusts.
func (id Identity) StandsAt(fs vfs.FS, path string) error {
	now, err := Identify(fs, path)
	switch {
	case err != nil && oserror.IsNotExist(err):
		return &DisplacedError{Path: path}
	case err == nil && now != id:
		return &DisplacedError{Path: path, Replaced: true}
	}
	return nil
}

// identityOf is the zero Identity where the system does not tell.
func identityOf(info os.FileInfo) Identity {
	if info == nil {
		return Identity{}
	}
	return systemIdentity(info.Sys())
}
