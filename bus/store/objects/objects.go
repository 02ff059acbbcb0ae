// Package objects keeps whole objects in a folder or in a bucket of an object
// storage: what a bus's archive and backups are written to.
//
// An object appears whole or not at all, under a name of its own; a reader
// never sees one that is half written, whatever kills the writer. Package
// objectstest has the suite that every kind of storage passes.
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// Errors that storages return; test with errors.Is.
var (
	// ErrNotFound means that there is no object of that name.
	ErrNotFound = errors.New("no such object")
	// ErrRange means that a read begins beyond the end of the object.
	ErrRange = errors.New("range lies beyond the end of the object")
	// ErrSize means that the reader of a Put gave another number of bytes than
	// was said; nothing was written.
	ErrSize = errors.New("size differs from what was announced")
	// ErrUnsupported means that this build has no such kind of storage.
	ErrUnsupported = errors.New("not part of this build")
)

// maxName bounds an object's name, in bytes: with a prefix it stays below
// what S3 (1024) and file systems (255 a part) allow.
const maxName, maxPart = 600, 200

// MaxList is the most names that one List returns.
const MaxList = 1000

// Info describes an object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // when it was put, by the storage's clock
}

// Storage keeps objects. All methods may be called from many goroutines at
// once. Names are parts of letters, digits and "._=-" joined by "/"; no part is
// empty, begins with a dot, or is longer than 200 bytes; 600 bytes in all.
type Storage interface {
	// Put writes an object of size bytes, or as many as r has if size is -1.
	// When it returns nil the object is durable and seen by everyone, in place
	// of an older one of that name; after an error the older one, or none,
	// stands as before. ErrSize if r has another number of bytes.
	Put(ctx context.Context, name string, r io.Reader, size int64) error
	// Get reads length bytes from offset on, to the end if length is -1 or
	// reaches beyond it. ErrNotFound; ErrRange if offset is beyond the end. The
	// caller closes the reader; the context bounds its reads too.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Stat describes one object, ErrNotFound if there is none.
	Stat(ctx context.Context, name string) (Info, error)
	// List returns objects whose names begin with prefix and come after the
	// name after ("" to begin), in byte order of their names, at most limit (0
	// or more than MaxList: MaxList). Fewer than that is the end.
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Close releases connections. It is idempotent; objects stay.
	Close() error
	// String is where the storage is, without credentials.
	fmt.Stringer
}

// Options are what a place needs beside its address.
type Options struct {
	// AccessKey and SecretKey are the credentials for S3; without them they
	// come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
	// AWS_SESSION_TOKEN), the AWS credentials file, or the machine's role. GCS
	// and Azure find theirs in the environment only.
	AccessKey    string
	SecretKey    component.Secret
	SessionToken component.Secret // for temporary keys; may be empty
}

// Check says what is wrong with the options for l, nil if nothing.
func (o Options) Check(l Location) error {
	given := o.AccessKey != "" || !o.SecretKey.IsZero() || !o.SessionToken.IsZero()
	switch {
	case given && l.Scheme != "s3":
		return fmt.Errorf("an access key is for s3:// only, not for %s", l)
	case given && (o.AccessKey == "" || o.SecretKey.IsZero()):
		return errors.New("an access key and a secret key belong together: set both, or neither to take them from the environment")
	}
	return nil
}

// Open opens the storage at l. It reaches out for nothing: what is wrong with
// a bucket shows at the first call. A folder is made at the first Put.
func Open(ctx context.Context, l Location, opts Options) (Storage, error) {
	if err := opts.Check(l); err != nil {
		return nil, err
	}
	var s Storage
	var err error
	switch l.Scheme {
	case "file":
		s, err = openFolder(l)
	case "s3":
		s, err = openS3(l, opts)
	case "gs", "azblob":
		s, err = openCloud(ctx, l)
	default:
		err = fmt.Errorf("unknown kind of storage %q", l.Scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l, err)
	}
	return s, nil
}

// CheckName says what is wrong with an object's name, nil if nothing.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("object name %.40q: it must have 1 to %d bytes", name, maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return fmt.Errorf("object name %q: it has an empty part", name)
		case part[0] == '.':
			return fmt.Errorf("object name %q: a part begins with a dot", name)
		case len(part) > maxPart:
			return fmt.Errorf("object name %.40q: a part is longer than %d bytes", name, maxPart)
		}
		for _, c := range []byte(part) {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._=-", rune(c)) {
				return fmt.Errorf("object name %q: %q is not allowed; use letters, digits and \"._=-\"", name, string(rune(c)))
			}
		}
	}
	return nil
}

// checkRange says what is wrong with a range that Get was asked for.
func checkRange(offset, length int64) error {
	if offset < 0 || length < -1 || length == 0 {
		return fmt.Errorf("read of %d bytes from %d: the offset must not be negative and the length positive or -1", length, offset)
	}
	return nil
}

// exact reads size bytes and fails unless the reader under it has just as
// many; -1 reads them all.
type exact struct {
	r    io.Reader
	left int64
}

func newExact(r io.Reader, size int64) io.Reader {
	if size < 0 {
		return r
	}
	return &exact{r, size}
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, e.end()
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	switch {
	case e.left > 0 && errors.Is(err, io.EOF):
		return n, fmt.Errorf("%d bytes are missing: %w", e.left, ErrSize)
	case e.left > 0:
		return n, err
	case err != nil && !errors.Is(err, io.EOF):
		return n, err
	}
	// The last bytes are not handed over before it is sure that they are: a
	// caller that reads just what it was promised would not come back.
	if err := e.end(); !errors.Is(err, io.EOF) {
		return 0, err
	}
	return n, io.EOF
}

// end holds that the reader has no more.
func (e *exact) end() error {
	var probe [1]byte
	n, err := io.ReadFull(e.r, probe[:])
	switch {
	case n > 0:
		return fmt.Errorf("there are more bytes than announced: %w", ErrSize)
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return err
}

// limit is how many names a List asks for.
func limit(n int) int {
	if n <= 0 || n > MaxList {
		return MaxList
	}
	return n
}
