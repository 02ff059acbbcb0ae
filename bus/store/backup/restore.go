package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// Plan is what a restore brings back: the files of one backup, and for a point
// in time those parts of the log that later backups have.
type Plan struct {
	Backup *Manifest // has the state
	To     time.Time // zero for all that the backup has
	Files  []File
}

// PlanRestore finds what a restore of a backup needs, of the newest if id is "".
// With to, the state is that of the newest backup that was taken until then, or
// of id, and the log goes on in later backups up to the first that was taken
// after to. Errors: ErrNoBackup, ErrDamaged, and that the log between is gone.
func PlanRestore(ctx context.Context, at objects.Storage, id string, to time.Time) (*Plan, error) {
	if to.IsZero() {
		m, err := Get(ctx, at, id)
		if err != nil {
			return nil, err
		}
		return &Plan{Backup: m, Files: m.Files}, nil
	}
	ids, err := IDs(ctx, at)
	if err != nil {
		return nil, err
	}
	if id != "" && !slices.Contains(ids, id) {
		return nil, fmt.Errorf("backup %q in %s: %w", id, at, ErrNoBackup)
	}
	var p *Plan
	var log []File
	var times []time.Time
	for _, next := range ids {
		if p == nil && id != "" && next != id {
			continue
		}
		m, err := read(ctx, at, backupsFolder, next)
		if errors.Is(err, ErrDamaged) && next != id {
			continue // the others may do without it
		}
		if err != nil {
			return nil, err
		}
		times = append(times, m.Taken)
		switch {
		case !m.Taken.After(to) && (id == "" || p == nil): // a later state is better
			p = &Plan{Backup: m, To: to}
			log = logOf(m)
			continue
		case p == nil:
			return nil, fmt.Errorf("%s is before the backup %s of %s, and no earlier one is there; the earliest time that can be restored is that one",
				to.Format(time.RFC3339Nano), m.ID, m.Taken.Format(time.RFC3339Nano))
		}
		if log, err = extend(log, logOf(m)); err != nil {
			return nil, fmt.Errorf("the log between the backups %s and %s: %w", p.Backup.ID, m.ID, err)
		}
		if m.Taken.After(to) {
			for _, f := range p.Backup.Files {
				if f.Segment == nil {
					p.Files = append(p.Files, f)
				}
			}
			p.Files = append(p.Files, log...)
			return p, nil
		}
	}
	if len(times) == 0 {
		return nil, fmt.Errorf("%s: %w", at, ErrNoBackup)
	}
	return nil, fmt.Errorf("no backup in %s was taken after %s: the newest is of %s; leave --to out to restore all of it",
		at, to.Format(time.RFC3339Nano), times[len(times)-1].Format(time.RFC3339Nano))
}

// logOf is the log's files in order.
func logOf(m *Manifest) (log []File) {
	for _, f := range m.Files {
		if f.Segment != nil {
			log = append(log, f)
		}
	}
	slices.SortFunc(log, func(a, b File) int { return int(int64(a.Segment.Last) - int64(b.Segment.Last)) })
	return log
}

// extend is a log as a later backup has it, but with the segments that were
// complete as they were.
func extend(log, later []File) ([]File, error) {
	if len(log) == 0 {
		return later, nil
	}
	last := log[len(log)-1].Segment
	i := slices.IndexFunc(later, func(f File) bool { return f.Segment.Lineage == last.Lineage })
	if i < 0 {
		return nil, fmt.Errorf("segment %d was removed by retention, or the backups are of different stores; restore one of them without a time", last.Last)
	}
	out := append(slices.Clone(log[:len(log)-1]), later[i])
	for _, f := range later[i+1:] {
		if f.Segment.First != out[len(out)-1].Segment.Last+1 {
			return nil, fmt.Errorf("segment %d is missing", out[len(out)-1].Segment.Last+1)
		}
		out = append(out, f)
	}
	return out, nil
}

// Restore writes the files of a plan into dir, an empty folder or none, and
// holds each against its checksum. finish is then called with the folder that
// has them, beside dir; when it returns nil that one becomes dir, so that dir is
// there whole or not at all. After an error nothing is left.
func Restore(ctx context.Context, at objects.Storage, p *Plan, dir string, opts Options, finish func(dir string) error) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := mustBeEmpty(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".restore-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := writeFiles(ctx, at, p, temp, opts); err != nil {
		return err
	}
	if finish != nil {
		if err := finish(temp); err != nil {
			return err
		}
	}
	if err := mustBeEmpty(dir); err != nil { // again, for this took a while
		return err
	}
	if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%q is not empty (it has %q); a restore needs an empty folder or the name of a new one", dir, entries[0].Name())
	}
	return nil
}

func writeFiles(ctx context.Context, at objects.Storage, p *Plan, dir string, opts Options) error {
	meter := newMeter(plain(p.Files), opts.Progress)
	folders := map[string]bool{dir: true}
	for i := range p.Files {
		folders[filepath.Dir(filepath.Join(dir, filepath.FromSlash(p.Files[i].Name)))] = true
	}
	for f := range folders {
		if err := os.MkdirAll(f, 0o750); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range p.Files {
		f := &p.Files[i]
		g.Go(func() error {
			if err := writeFile(gctx, at, f, filepath.Join(dir, filepath.FromSlash(f.Name)), meter); err != nil {
				return fmt.Errorf("file %s of the backup, object %s: %w", f.Name, f.object(), err)
			}
			meter.add(0, true)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for f := range folders {
		if err := syncFolder(f); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(ctx context.Context, at objects.Storage, f *File, path string, meter *meter) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	err = fetch(ctx, at, f, counted{out, meter})
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// counted counts what is written to a file.
type counted struct {
	*os.File
	meter *meter
}

// Write implements io.Writer.
func (c counted) Write(p []byte) (int, error) {
	n, err := c.File.Write(p)
	c.meter.add(int64(n), false)
	return n, err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
