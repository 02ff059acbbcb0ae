package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// snapshotPrefix begins the folders with the state of snapshots; those that a
// crash left go at the next start.
const snapshotPrefix = "snapshot-"

var _ store.Snapshotter = (*Store)(nil)

// snapshot is a store.Snapshot: a copy of the state, made of links, and the
// files of the logs as far as they were written. The state is taken first, so
// that the log has all that it knows.
type snapshot struct {
	s     *Store
	dir   string // of the state
	info  store.SnapshotInfo
	files map[string]func() (vfs.File, io.Reader, error)
	once  sync.Once
	err   error // of Close
}

// Snapshot implements store.Snapshotter.
func (s *Store) Snapshot(ctx context.Context) (store.Snapshot, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.trimMu.Lock() // no file is being removed
	s.snapshots.Add(1)
	s.trimMu.Unlock()
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	fs := s.opts.FS
	sn := &snapshot{
		s: s, dir: fs.PathJoin(s.opts.Dir, snapshotPrefix+hex.EncodeToString(random[:])),
		files: map[string]func() (vfs.File, io.Reader, error){},
	}
	if err := sn.take(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("take a snapshot: %w", err), sn.Close())
	}
	return sn, nil
}

func (sn *snapshot) take(ctx context.Context) error {
	s, fs := sn.s, sn.s.opts.FS
	sn.info.Format, sn.info.Store = formatVersion, s.identity
	sn.info.Taken = s.opts.Clock().UTC()
	if err := s.applyPending(); err != nil {
		return err
	}
	if err := s.state.db.Checkpoint(sn.dir, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	// Synced after that: it has every frame that the state has.
	sn.addLog("log", s.log, true)
	if err := s.trace.flush(); err != nil {
		return err
	}
	sn.addLog("trace", s.trace.log, false)
	names, err := fs.List(sn.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sn.addState(name); err != nil {
			return err
		}
	}
	mark := fmt.Sprintf("switchyard store %d\n", formatVersion)
	sn.add(store.SnapshotFile{Name: formatFile, Size: int64(len(mark)), Identity: fmt.Sprintf("format-%d", formatVersion)},
		func() (vfs.File, io.Reader, error) { return nil, strings.NewReader(mark), nil })
	return nil
}

func (sn *snapshot) add(f store.SnapshotFile, open func() (vfs.File, io.Reader, error)) {
	sn.info.Files = append(sn.info.Files, f)
	sn.files[f.Name] = open
}

func (sn *snapshot) addLog(dir string, log *seglog.Log, events bool) {
	fs := sn.s.opts.FS
	for _, file := range log.Snapshot() {
		f := store.SnapshotFile{
			Name: dir + "/" + file.Name, Size: file.Size,
			Identity: fmt.Sprintf("%s-%s-%d", dir, file.Lineage, file.Size),
		}
		if !file.Sealed {
			f.Identity += "-open"
		}
		if events {
			f.Segment = &store.SnapshotSegment{First: file.First, Last: file.Last, Lineage: file.Lineage}
		}
		sn.add(f, func() (vfs.File, io.Reader, error) {
			o, err := fs.Open(fs.PathJoin(sn.s.opts.Dir, dir, file.Name), vfs.SequentialReadsOption)
			if err != nil {
				return nil, nil, err
			}
			return o, seglog.SnapshotReader(o, file), nil
		})
	}
}

// addState adds a file of the state. Tables never change, so that their sums are
// taken once.
func (sn *snapshot) addState(name string) error {
	s, path := sn.s, sn.s.opts.FS.PathJoin(sn.dir, name)
	open := func() (vfs.File, io.Reader, error) {
		f, err := s.opts.FS.Open(path, vfs.SequentialReadsOption)
		return f, f, err
	}
	info, err := s.opts.FS.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return nil
	}
	table := strings.HasSuffix(name, ".sst")
	sum, known := s.tableSums.Load(name)
	if !table || !known {
		f, _, err := open()
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		sum = hex.EncodeToString(h.Sum(nil))
		if table {
			s.tableSums.Store(name, sum)
		}
	}
	sn.add(store.SnapshotFile{Name: "state/" + name, Size: info.Size(), Identity: "state-" + sum.(string)}, open)
	return nil
}

// Info implements store.Snapshot.
func (sn *snapshot) Info() store.SnapshotInfo { return sn.info }

// Open implements store.Snapshot.
func (sn *snapshot) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	open := sn.files[name]
	if open == nil {
		return nil, fmt.Errorf("file %q of the snapshot: %w", name, store.ErrNotFound)
	}
	f, r, err := open()
	if err != nil {
		return nil, fmt.Errorf("file %q of the snapshot: %w", name, err)
	}
	return &snapshotFile{ctx, f, r}, nil
}

// snapshotFile is a file that is being read.
type snapshotFile struct {
	ctx context.Context // of the one who reads it
	f   vfs.File        // nil for one that is in memory
	r   io.Reader
}

func (f *snapshotFile) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.r.Read(p)
}

func (f *snapshotFile) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}

// Close implements store.Snapshot.
func (sn *snapshot) Close() error {
	sn.once.Do(func() {
		sn.err = sn.s.opts.FS.RemoveAll(sn.dir)
		sn.s.snapshots.Add(-1)
	})
	return sn.err
}

// sweepSnapshots removes what snapshots of a process that ended have left.
func (s *Store) sweepSnapshots() error {
	fs := s.opts.FS
	names, err := fs.List(s.opts.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, snapshotPrefix) {
			if err := fs.RemoveAll(fs.PathJoin(s.opts.Dir, name)); err != nil {
				return fmt.Errorf("remove what an interrupted backup left: %w", err)
			}
		}
	}
	return nil
}
