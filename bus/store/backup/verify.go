package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// Bad is a file of a backup that is not what was written.
type Bad struct {
	Name   string `json:"name"`   // of the file
	Object string `json:"object"` // in the storage
	Reason string `json:"reason"`
}

// Verify reads all files of a backup and holds them against their checksums. An
// error says that it could not look.
func Verify(ctx context.Context, at objects.Storage, m *Manifest, opts Options) ([]Bad, error) {
	meter := newMeter(plain(m.Files), opts.Progress)
	var mu sync.Mutex
	bad := []Bad{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range m.Files {
		f := &m.Files[i]
		g.Go(func() error {
			err := fetch(ctx, at, f, meter)
			meter.add(0, true)
			if errors.Is(err, ErrDamaged) {
				mu.Lock()
				bad = append(bad, badOf(f, err))
				mu.Unlock()
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	slices.SortFunc(bad, func(a, b Bad) int { return strings.Compare(a.Name, b.Name) })
	return bad, err
}

// badOf says what is wrong with a file of which err is an ErrDamaged.
func badOf(f *File, err error) Bad {
	return Bad{f.Name, f.object(), strings.TrimSuffix(err.Error(), ": "+ErrDamaged.Error())}
}

var errMissing = fmt.Errorf("it is missing: %w", ErrDamaged)

func sizeError(f *File) error {
	return fmt.Errorf("it has not the %d bytes that were written: %w", f.Size, ErrDamaged)
}

func plain(files []File) []store.SnapshotFile {
	out := make([]store.SnapshotFile, len(files))
	for i := range files {
		out[i] = files[i].SnapshotFile
	}
	return out
}

// fetch reads a file into w. ErrDamaged if it is not what was written; w has got
// some of it then.
func fetch(ctx context.Context, at objects.Storage, f *File, w io.Writer) error {
	r, err := at.Get(ctx, f.object(), 0, -1)
	if errors.Is(err, objects.ErrNotFound) {
		return errMissing
	}
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, f.Size+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if n != f.Size {
		return sizeError(f)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("its checksum does not match: %w", ErrDamaged)
	}
	return nil
}

// Prune deletes all backups but the newest keep of each store, and objects that none of the
// others needs. No backup may be made meanwhile. It returns what it deleted.
func Prune(ctx context.Context, at objects.Storage, keep int) (ids []string, freed int64, err error) {
	if keep < 1 {
		return nil, 0, fmt.Errorf("%d backups cannot be kept; keep 1 at least", keep)
	}
	all, err := IDs(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	needed, kept := map[string]bool{}, map[string]int{}
	for n, id := range slices.Backward(all) {
		m, err := read(ctx, at, backupsFolder, id)
		if n < len(all)-keep && (errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoBackup)) {
			ids = append(ids, id)
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("nothing was deleted, for it is not known what is needed: %w", err)
		}
		if kept[m.Store]++; kept[m.Store] > keep {
			ids = append(ids, id)
			continue
		}
		for i := range m.Files {
			needed[m.Files[i].object()] = true
		}
	}
	slices.Reverse(ids)
	for _, id := range ids { // the manifests first: a backup without one is not there
		if err := at.Delete(ctx, backupsFolder+id+manifestSuffix); err != nil {
			return nil, 0, err
		}
	}
	notes, err := list(ctx, at, unfinishedFolder)
	if err != nil {
		return ids, 0, err
	}
	for _, id := range notes {
		if err := at.Delete(ctx, unfinishedFolder+id+manifestSuffix); err != nil {
			return ids, 0, err
		}
	}
	var drop []objects.Info
	err = each(ctx, at, objectsFolder, func(o objects.Info) {
		if !needed[o.Name] {
			drop = append(drop, o)
		}
	})
	if err != nil {
		return ids, 0, err
	}
	for _, o := range drop {
		if err := at.Delete(ctx, o.Name); err != nil {
			return ids, freed, err
		}
		freed += o.Size
	}
	return ids, freed, nil
}
