package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// Progress is how far something is.
type Progress struct {
	Files, OfFiles int
	Bytes, OfBytes int64
}

// Options are what Write, Verify and Restore have in common. The zero value is
// fine.
type Options struct {
	// Release is written into the manifest.
	Release string
	// Progress, if set, is told after each file and every few megabytes, from
	// one goroutine at a time.
	Progress func(Progress)
	// Rate is how many bytes a second Write copies at most, 0 for as many as it
	// can: a server that writes to the same disk meanwhile then all but stands
	// still.
	Rate int64
	// Recheck is how many bytes of what Write takes over from earlier backups it
	// reads again and holds against their checksums, those first whose last check
	// is longest ago; a file is read whole, and one at least. 0 reads none,
	// RecheckAll all. They count towards Rate.
	Recheck int64
}

// DefaultRate leaves a running server most of a common disk, in bytes a second.
const DefaultRate = 64 << 20

// Written says what a backup has copied.
type Written struct {
	ID          string    `json:"id"`
	Taken       time.Time `json:"taken"`
	Files       int       `json:"files"`
	Bytes       int64     `json:"bytes"`
	CopiedFiles int       `json:"copiedFiles"`
	CopiedBytes int64     `json:"copiedBytes"`
	// What of the files that earlier backups had was read again and found well.
	CheckedFiles int   `json:"checkedFiles"`
	CheckedBytes int64 `json:"checkedBytes"`
	// Mended are the files of earlier backups that were not what was written any
	// more. They were copied anew, which mends those backups too.
	Mended []Bad `json:"mended"`
}

const (
	// parallel is how many files are copied at once.
	parallel = 4
	// noteEvery is after how many bytes it is put down what was copied, so that
	// the next backup goes on from there if this one is interrupted.
	noteEvery = 256 << 20
	// chunk is how many bytes are read at once when there is a rate, at most.
	chunk = 32 << 10
)

// Write copies a snapshot into a storage as a new backup. What an earlier backup
// has, or one that was interrupted, is not copied again unless its object is
// missing, has another size, or was read again and is damaged. After an error no
// backup is there, and earlier ones are as they were. ErrOtherStore.
func Write(ctx context.Context, at objects.Storage, sn store.Snapshot, opts Options) (Written, error) {
	info := sn.Info()
	w := &writer{at: at, sn: sn, known: map[string]File{}, rechecks: map[string]bool{}, mended: []Bad{}, pace: rate.NewLimiter(rate.Inf, 0)}
	if opts.Rate > 0 {
		w.pace = rate.NewLimiter(rate.Limit(opts.Rate), chunk)
	}
	w.manifest = Manifest{Version: manifestVersion, ID: newID(info.Taken), Format: info.Format, Store: info.Store, Taken: info.Taken, Release: opts.Release}
	w.meter = newMeter(info.Files, opts.Progress)
	if err := w.learn(ctx); err != nil {
		return Written{}, err
	}
	w.chooseChecks(info.Files, opts.Recheck)
	if err := w.copyAll(ctx, info.Files); err != nil {
		w.note(context.WithoutCancel(ctx))
		return Written{}, err
	}
	b, err := w.manifest.encode()
	if err != nil {
		return Written{}, err
	}
	if err := at.Put(ctx, backupsFolder+w.manifest.ID+manifestSuffix, bytes.NewReader(b), int64(len(b))); err != nil {
		return Written{}, fmt.Errorf("write the manifest: %w", err)
	}
	w.forget(ctx)
	slices.SortFunc(w.mended, func(a, b Bad) int { return strings.Compare(a.Name, b.Name) })
	return Written{
		ID: w.manifest.ID, Taken: info.Taken, Files: len(info.Files), Bytes: w.manifest.Bytes(),
		CopiedFiles: w.copiedFiles, CopiedBytes: w.copiedBytes,
		CheckedFiles: w.checkedFiles, CheckedBytes: w.checkedBytes, Mended: w.mended,
	}, nil
}

// newID names a backup so that names order as times do.
func newID(taken time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return taken.UTC().Format("20060102T150405.000Z") + "-" + hex.EncodeToString(b[:])
}

// writer is one Write.
type writer struct {
	at       objects.Storage
	sn       store.Snapshot
	known    map[string]File // objects that are there, by identity
	rechecks map[string]bool // identities of those that are read again
	olds     []string        // unfinished backups that are not needed any more afterwards
	manifest Manifest
	meter    *meter
	pace     *rate.Limiter // of bytes

	mu           sync.Mutex // guards what follows, and known
	copiedFiles  int
	copiedBytes  int64
	checkedFiles int
	checkedBytes int64
	mended       []Bad
	unnoted      int64
	noted        bool
}

// learn finds out which files need not be copied: those of the newest backups
// and of interrupted ones.
func (w *writer) learn(ctx context.Context) error {
	ids, err := IDs(ctx, w.at)
	if err != nil {
		return err
	}
	for _, id := range ids[max(len(ids)-keptInMind, 0):] {
		m, err := read(ctx, w.at, backupsFolder, id)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoBackup) {
			continue // its files are copied again
		}
		if err != nil {
			return err
		}
		if m.Store != "" && w.manifest.Store != "" && m.Store != w.manifest.Store {
			return fmt.Errorf("%w: backup %s in %s is of store %s, and this is store %s; give each store a folder or prefix of its own",
				ErrOtherStore, id, w.at, m.Store, w.manifest.Store)
		}
		w.know(m)
	}
	if w.olds, err = list(ctx, w.at, unfinishedFolder); err != nil {
		return err
	}
	for _, id := range w.olds {
		m, err := read(ctx, w.at, unfinishedFolder, id)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoBackup) {
			continue
		}
		if err != nil {
			return err
		}
		w.know(m)
	}
	return nil
}

// keptInMind is how many of the newest backups are looked into.
const keptInMind = 3

func (w *writer) know(m *Manifest) {
	for _, f := range m.Files {
		f.from = m.ID
		w.known[f.Identity] = f
	}
}

func (w *writer) copyAll(ctx context.Context, files []store.SnapshotFile) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	done := make([]File, len(files))
	for i, f := range files {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			done[i], err = w.copy(ctx, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	w.manifest.Files = done
	return nil
}

// copy brings one file into the storage, unless it is there.
func (w *writer) copy(ctx context.Context, f store.SnapshotFile) (File, error) {
	fail := func(err error) (File, error) { return File{}, fmt.Errorf("copy %s: %w", f.Name, err) }
	file := File{SnapshotFile: f}
	if !fileName.MatchString(f.Name) || !identityName.MatchString(f.Identity) {
		return fail(errors.New("it has a name that no file of a store has"))
	}
	w.mu.Lock()
	old, known := w.known[f.Identity]
	w.mu.Unlock()
	known = known && old.Size == f.Size
	if known {
		taken, ok, err := w.takeOver(ctx, old)
		if err != nil {
			return fail(err)
		}
		if ok {
			file.SHA256, file.Checked = taken.SHA256, taken.Checked
			w.meter.add(f.Size, true)
			return file, nil
		}
	}
	r, err := w.sn.Open(ctx, f.Name)
	if err != nil {
		return fail(err)
	}
	h := sha256.New()
	err = w.at.Put(ctx, file.object(), io.TeeReader(&paced{ctx, w.pace, r}, io.MultiWriter(h, w.meter)), f.Size)
	if err = errors.Join(err, r.Close()); err != nil {
		return fail(err)
	}
	file.SHA256, file.Checked = hex.EncodeToString(h.Sum(nil)), w.manifest.Taken
	if known {
		w.holds(old, file)
	}
	w.meter.add(0, true)
	w.mu.Lock()
	w.known[f.Identity] = file
	w.copiedFiles++
	w.copiedBytes += f.Size
	w.manifest.Files = append(w.manifest.Files, file)
	w.unnoted += f.Size
	due := w.unnoted >= noteEvery
	if due {
		w.unnoted = 0
	}
	w.mu.Unlock()
	if due {
		w.note(ctx)
	}
	return file, nil
}

// paced is a reader that keeps to a rate.
type paced struct {
	ctx  context.Context // of the one who reads it
	pace *rate.Limiter
	r    io.Reader
}

func (p *paced) Read(b []byte) (int, error) {
	if p.pace.Limit() == rate.Inf {
		return p.r.Read(b)
	}
	n, err := p.r.Read(b[:min(len(b), chunk)])
	if n > 0 {
		if late := p.pace.WaitN(p.ctx, n); late != nil {
			return n, late
		}
	}
	return n, err
}

// note puts down which files were copied. That it fails only means that they
// may be copied once more.
func (w *writer) note(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	w.mu.Lock()
	m := w.manifest
	m.Files = slices.Clone(m.Files)
	w.noted = true
	w.mu.Unlock()
	if len(m.Files) == 0 {
		return
	}
	if b, err := m.encode(); err == nil {
		_ = w.at.Put(ctx, unfinishedFolder+m.ID+manifestSuffix, bytes.NewReader(b), int64(len(b)))
	}
}

// forget removes the notes of this backup and of interrupted ones, whose files
// are in this one if they are still of use.
func (w *writer) forget(ctx context.Context) {
	if w.noted {
		w.olds = append(w.olds, w.manifest.ID)
	}
	for _, id := range w.olds {
		_ = w.at.Delete(ctx, unfinishedFolder+id+manifestSuffix) // the next backup tries again
	}
}

// meter counts what was done.
type meter struct {
	mu   sync.Mutex
	p    Progress
	said int64
	tell func(Progress)
}

// sayEvery is after how many bytes progress is told within a file.
const sayEvery = 4 << 20

func newMeter(files []store.SnapshotFile, tell func(Progress)) *meter {
	m := &meter{tell: tell}
	m.p.OfFiles = len(files)
	for i := range files {
		m.p.OfBytes += files[i].Size
	}
	return m
}

// Write counts bytes; it makes a meter an io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	m.add(int64(len(p)), false)
	return len(p), nil
}

func (m *meter) add(bytes int64, file bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.Bytes += bytes
	if file {
		m.p.Files++
	}
	if m.tell != nil && (file || m.p.Bytes-m.said >= sayEvery) {
		m.said = m.p.Bytes
		m.tell(m.p)
	}
}
