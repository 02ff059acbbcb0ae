package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// state is the Pebble instance with everything small and mutable. Commits are
// not synced; flush makes all of them durable at once. After a failure of
// the disk every commit is refused until the directory is opened again (mend.go).
type state struct {
	db     *pebble.DB
	log    *slog.Logger
	failed atomic.Pointer[error]
	onFail func()       // is told of a failure, once; may be nil
	placed func() error // says whether its folder is where it was; may be nil
	pace   *pacer

	dirty  atomic.Bool // something was committed since the last sync
	syncMu sync.Mutex
}

// Sizes of the state: small, for a bus that idles must be small.
const (
	memTableSize = 8 << 20
	cacheSize    = 8 << 20
	compactAt    = 8 // sublevels of the first level
)

// openState opens the state, with readOnly as it is and without writing to it.
func openState(fs vfs.FS, dir string, log *slog.Logger, readOnly bool, onFail func()) (*state, error) {
	st := &state{log: log, onFail: onFail}
	logger := stateLogger{st}
	shield := newShield(fs, dir, st.fail)
	st.pace = shield.pace
	opts := &pebble.Options{
		FS:                          shield,
		ReadOnly:                    readOnly,
		Logger:                      logger,
		CacheSize:                   cacheSize,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       compactAt, // look-ups are rare (filter.go), so writing less often wins
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                256,
		Merger:                      &pebble.Merger{Name: "switchyard.counts", Merge: mergeCounts},
		FormatMajorVersion:          pebble.FormatColumnarBlocks,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { st.log.Warn("state: background work failed", "error", plain(err)) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { st.fail(fmt.Errorf("%s is damaged: %w", i.Path, plain(i.Details))) },
		},
	}
	// Rows go in ranges, or are not looked for near where others went: rewriting
	// those around them would cost more than it brings.
	opts.Experimental.TombstoneDenseCompactionThreshold = -1
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].BlockSize = 8 << 10
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // keys and hashes do not compress
	}
	db, err := pebble.Open(dir, opts)
	if err == nil {
		if err = st.err(); err != nil {
			_ = db.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the state in %q: %w", dir, plain(err))
	}
	st.db = db
	st.pace.start(func() paceLoad {
		m := db.Metrics()
		return paceLoad{memtables: int(m.MemTable.Count), sublevels: int(m.Levels[0].Sublevels)}
	})
	return st, nil
}

// stateLogger passes Pebble's words on; the default logger would end the
// process where Pebble gives up.
type stateLogger struct{ st *state }

func (l stateLogger) Infof(format string, args ...any) {}

func (l stateLogger) Errorf(format string, args ...any) {
	l.st.log.Error("state: " + fmt.Sprintf(format, args...))
}

func (l stateLogger) Fatalf(format string, args ...any) {
	l.st.fail(plain(fmt.Errorf(format, args...)))
}

func (st *state) fail(cause error) {
	err := fmt.Errorf("the state cannot be written (%w); it is opened again, from what is durable, once its disk is well: %w", cause, store.ErrUnavailable)
	if st.failed.CompareAndSwap(nil, &err) {
		st.log.Error("the state failed; publishing is refused until it is opened again", "error", cause)
		if st.onFail != nil {
			st.onFail()
		}
	}
}

// err says why nothing can be committed, or nil.
func (st *state) err() error {
	if p := st.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// commit applies b without a sync and closes it.
func (st *state) commit(b *pebble.Batch) error {
	defer b.Close()
	if b.Empty() {
		return st.err()
	}
	if err := st.err(); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		st.fail(err)
	}
	st.dirty.Store(true)
	return st.err()
}

// commitSynced applies b and makes it durable, with all that was committed
// before it.
func (st *state) commitSynced(b *pebble.Batch) error {
	if err := st.commit(b); err != nil {
		return err
	}
	return st.flush()
}

// flush makes durable what was committed so far.
func (st *state) flush() error {
	st.syncMu.Lock()
	defer st.syncMu.Unlock()
	if err := st.err(); err != nil || !st.dirty.Swap(false) {
		return err
	}
	if err := st.db.LogData(nil, pebble.Sync); err != nil {
		st.fail(err)
	}
	if err := st.err(); err != nil || st.placed == nil {
		return err
	}
	if err := st.placed(); err != nil {
		st.dirty.Store(true) // once the folder is back
		return err
	}
	return nil
}

// close closes the state; an error says that something was not written.
func (st *state) close() error {
	close(st.pace.stop)
	return errors.Join(st.db.Close(), st.err())
}

// get calls f with the value of key; ok is false when there is none. f must
// not keep the value.
func (st *state) get(key []byte, f func(value []byte) error) (ok bool, err error) {
	value, closer, err := st.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w (%w)", unreadable(err), store.ErrUnavailable)
	}
	defer closer.Close()
	if f == nil {
		return true, nil
	}
	return true, f(value)
}

// has says whether there is a row called key.
func (st *state) has(key []byte) (bool, error) { return st.get(key, nil) }

// iter walks the keys in [lower, upper); the caller closes it.
func (st *state) iter(lower, upper []byte) (*pebble.Iterator, error) {
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", unreadable(err), store.ErrUnavailable)
	}
	return it, nil
}

// scan calls f for each row in [lower, upper) until it returns false or an
// error. f must not keep what it is given.
func (st *state) scan(lower, upper []byte, f func(key, value []byte) (bool, error)) error {
	it, err := st.iter(lower, upper)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		more := false
		if err != nil {
			err = unreadable(err)
		} else {
			more, err = f(it.Key(), value)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	return unreadable(it.Close())
}

// unreadable says that err, if it is one, came of reading the state.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the state cannot be read: %w", plain(err))
}

// plain is an error of Pebble as one line for people: without its stacks, which
// loggers that format it find, and without what only stands for details.
func plain(err error) error { return plainError{err} }

type plainError struct{ error }

func (e plainError) Error() string {
	lines := strings.FieldsFunc(e.error.Error(), func(r rune) bool { return r == '\n' })
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "corruption detail carrier") }), "; ")
}

func (e plainError) Unwrap() error { return e.error }

// Damaged reports whether err, of opening a store, says that what was written is
// damaged.
func Damaged(err error) bool {
	var log *seglog.CorruptionError
	return errors.As(err, &log) || errors.Is(err, errBadRow) || pebble.IsCorruptionError(err)
}

// scanPrefix is scan over the keys that begin with prefix.
func (st *state) scanPrefix(prefix []byte, f func(key, value []byte) (bool, error)) error {
	return st.scan(prefix, successor(prefix), f)
}

// counts are the numbers of a subscription, changed by merging differences so
// that batches need no order among themselves.
type counts struct {
	records int64 // queue rows
	dead    int64 // dead letters
	blocked int64 // keys with a line in durable state
}

const countsSize = 24

func (c counts) add(o counts) counts {
	return counts{c.records + o.records, c.dead + o.dead, c.blocked + o.blocked}
}

func (c counts) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.records))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.dead))
	return binary.LittleEndian.AppendUint64(dst, uint64(c.blocked))
}

func parseCounts(b []byte) (counts, error) {
	if len(b) != countsSize {
		return counts{}, errBadRow
	}
	return counts{
		int64(binary.LittleEndian.Uint64(b)),
		int64(binary.LittleEndian.Uint64(b[8:])),
		int64(binary.LittleEndian.Uint64(b[16:])),
	}, nil
}

// errBadRow says that a row of the state is not what this program writes.
var errBadRow = errors.New("a row of the state is damaged")

type countsMerger struct{ sum counts }

func mergeCounts(_, value []byte) (pebble.ValueMerger, error) {
	m := &countsMerger{}
	return m, m.MergeNewer(value)
}

func (m *countsMerger) MergeNewer(value []byte) error {
	c, err := parseCounts(value)
	m.sum = m.sum.add(c)
	return err
}

func (m *countsMerger) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *countsMerger) Finish(bool) ([]byte, io.Closer, error) {
	return m.sum.append(nil), nil, nil
}

// rowReader takes fixed fields off a row; after the last one bad says whether
// the row was too short.
type rowReader struct {
	rest []byte
	bad  bool
}

func (r *rowReader) take(n int) []byte {
	if n < 0 || len(r.rest) < n {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *rowReader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *rowReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *rowReader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *rowReader) i64() int64 { return int64(r.u64()) }

// text is a string with its length before it.
func (r *rowReader) text() string {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > uint64(len(r.rest)-size) {
		r.bad, r.rest = true, nil
		return ""
	}
	r.rest = r.rest[size:]
	return string(r.take(int(n)))
}

func (r *rowReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *rowReader) err() error {
	if r.bad {
		return errBadRow
	}
	return nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
