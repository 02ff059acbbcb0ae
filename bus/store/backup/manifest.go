// Package backup keeps copies of a store in a folder or a bucket. A backup is a
// manifest that names objects; files that an earlier backup has already are not
// copied again. The manifest is written last, so that a backup is there whole or
// not at all.
//
// In a storage stand, under its prefix:
//
//	backups/ID.json      manifests; ID begins with the time, so they are in order
//	unfinished/ID.json   what a backup that was interrupted has copied
//	objects/IDENTITY     files; one is written over only when it is damaged
//
// Concurrency: several backups of one store may be made into one storage at
// once; that of another store is refused. Prune must not run beside a backup.
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// manifestVersion is the version of manifests that this program writes.
const manifestVersion = 1

const (
	backupsFolder    = "backups/"
	unfinishedFolder = "unfinished/"
	objectsFolder    = "objects/"
	manifestSuffix   = ".json"
)

// maxManifest bounds a manifest, in bytes: a file is about 300.
const maxManifest = 256 << 20

// Errors that callers tell apart with errors.Is.
var (
	// ErrNoBackup means that there is no such backup.
	ErrNoBackup = errors.New("there is no such backup")
	// ErrDamaged means that a backup is not what was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrOtherStore means that a storage has the backups of another store.
	ErrOtherStore = errors.New("the destination has backups of another store")
)

// Manifest describes one backup.
type Manifest struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Format  int       `json:"format"`          // of the store
	Store   string    `json:"store,omitempty"` // which store it is of; "" in backups of earlier releases
	Taken   time.Time `json:"taken"`           // everything acknowledged before is in it
	Release string    `json:"release"`
	Files   []File    `json:"files"`
}

// File is one file of a backup.
type File struct {
	store.SnapshotFile
	SHA256 string `json:"sha256"` // of its bytes, in hex
	// Checked is when the backup was taken that last wrote or read the object in
	// full; zero in backups of earlier releases.
	Checked time.Time `json:"checked,omitzero"`

	from string // the backup that it was found in
}

// object is the name of a file's object.
func (f *File) object() string { return objectsFolder + f.Identity }

// Bytes is the size of all files.
func (m *Manifest) Bytes() (n int64) {
	for i := range m.Files {
		n += m.Files[i].Size
	}
	return n
}

// sealed is a manifest with its checksum, as it is written.
type sealed struct {
	SHA256   string          `json:"sha256"`
	Manifest json.RawMessage `json:"manifest"`
}

func (m *Manifest) encode() ([]byte, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealed{sumOf(raw), raw})
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Names and identities are used as paths, so those of a manifest that somebody
// has changed must not lead anywhere else.
var (
	fileName     = regexp.MustCompile(`^(FORMAT|(log|trace|state)/[A-Za-z0-9][A-Za-z0-9._-]{0,150})$`)
	identityName = regexp.MustCompile(`^[a-z0-9-]{1,150}$`)
	sumText      = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func decode(b []byte) (*Manifest, error) {
	var s sealed
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("its manifest is no JSON: %w", ErrDamaged)
	}
	if sumOf(s.Manifest) != s.SHA256 {
		return nil, fmt.Errorf("the checksum of its manifest does not match: %w", ErrDamaged)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(s.Manifest, &head); err != nil {
		return nil, fmt.Errorf("its manifest cannot be read: %w", ErrDamaged)
	}
	if head.Version > manifestVersion {
		return nil, fmt.Errorf("it was made by a newer release (manifest version %d; this one knows up to %d); use that release", head.Version, manifestVersion)
	}
	m := &Manifest{}
	if err := json.Unmarshal(s.Manifest, m); err != nil {
		return nil, fmt.Errorf("its manifest cannot be read: %w", ErrDamaged)
	}
	for i := range m.Files {
		if f := &m.Files[i]; !fileName.MatchString(f.Name) || !identityName.MatchString(f.Identity) || !sumText.MatchString(f.SHA256) || f.Size < 0 {
			return nil, fmt.Errorf("its manifest names a file %q that no backup has: %w", f.Name, ErrDamaged)
		}
	}
	return m, nil
}

// Get reads the manifest of a backup, of the newest one if id is "". Errors:
// ErrNoBackup, ErrDamaged.
func Get(ctx context.Context, at objects.Storage, id string) (*Manifest, error) {
	if id == "" {
		ids, err := IDs(ctx, at)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("%s: %w", at, ErrNoBackup)
		}
		id = ids[len(ids)-1]
	}
	return read(ctx, at, backupsFolder, id)
}

func read(ctx context.Context, at objects.Storage, folder, id string) (*Manifest, error) {
	fail := func(err error) (*Manifest, error) { return nil, fmt.Errorf("backup %q in %s: %w", id, at, err) }
	name := folder + id + manifestSuffix
	if objects.CheckName(name) != nil {
		return fail(ErrNoBackup)
	}
	r, err := at.Get(ctx, name, 0, -1)
	if errors.Is(err, objects.ErrNotFound) {
		return fail(ErrNoBackup)
	}
	if err != nil {
		return fail(err)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err = errors.Join(err, r.Close()); err != nil {
		return fail(err)
	}
	m, err := decode(b)
	if err != nil {
		return fail(err)
	}
	if m.ID != id {
		return fail(fmt.Errorf("its manifest is that of %q: %w", m.ID, ErrDamaged))
	}
	return m, nil
}

// IDs lists the backups, oldest first.
func IDs(ctx context.Context, at objects.Storage) ([]string, error) {
	return list(ctx, at, backupsFolder)
}

func list(ctx context.Context, at objects.Storage, folder string) ([]string, error) {
	ids := []string{}
	err := each(ctx, at, folder, func(o objects.Info) {
		if id, ok := strings.CutSuffix(strings.TrimPrefix(o.Name, folder), manifestSuffix); ok {
			ids = append(ids, id)
		}
	})
	slices.Sort(ids)
	return ids, err
}

// each calls f for the objects under a prefix.
func each(ctx context.Context, at objects.Storage, prefix string, f func(objects.Info)) error {
	for after := ""; ; {
		page, err := at.List(ctx, prefix, after, objects.MaxList)
		if err != nil {
			return fmt.Errorf("list %s: %w", at, err)
		}
		for _, o := range page {
			f(o)
			after = o.Name
		}
		if len(page) < objects.MaxList {
			return nil
		}
	}
}
