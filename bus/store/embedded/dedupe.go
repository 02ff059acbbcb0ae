package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// dedupe remembers which identities were kept. They stand in the state, in
// buckets by time for each length of window, so that the old ones go by range. Those that
// the state may lack stand in two generations in memory.
//
// A publisher looks into the state before it hands its batch to the appender,
// and notes the epoch, which counts generations; the appender looks into the
// two generations. An identity that the state lacked at the look-up is in one
// of them as long as the epoch is still the same, for a generation is let go
// only after the state has it. With another epoch the appender looks again.
type dedupe struct {
	epoch   atomic.Uint64
	classes atomic.Pointer[[]uint64] // the windows that were used, in nanoseconds

	mu        sync.Mutex
	cur, prev map[identity]known
	curLast   uint64 // number of the newest identity in cur, prev
	prevLast  uint64
	count     uint64 // identities ever remembered
	applied   uint64 // of them, how many the state has

	swept map[uint64]uint64 // by class: buckets below are gone; used by sweep only
}

type identity struct {
	bus store.BusID
	key [16]byte
}

// known is what is remembered of an identity.
type known struct {
	seq    uint64 // 0 while it is scheduled
	at     int64  // when it was kept
	window int64
}

func (k known) fresh(now int64) bool { return now-k.at < k.window }

// bucketsPerWindow is how many buckets a window covers. Keys in a bucket are
// random, so that its rows are compacted again and again while it is filled;
// the older ones are left alone.
const bucketsPerWindow = 4

func bucketWidth(class uint64) uint64 { return max(class/bucketsPerWindow, 1) }

// generationSize is how many identities one generation holds.
const generationSize = 1 << 14

func newDedupe() *dedupe {
	d := &dedupe{swept: map[uint64]uint64{}}
	d.classes.Store(&[]uint64{})
	return d
}

// useClass makes look-ups cover a window.
func (d *dedupe) useClass(window uint64) {
	for {
		old := d.classes.Load()
		if slices.Contains(*old, window) {
			return
		}
		grown := append(slices.Clone(*old), window)
		if d.classes.CompareAndSwap(old, &grown) {
			return
		}
	}
}

// find looks into the generations.
func (d *dedupe) find(id identity, now int64) (known, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.cur[id]
	if !ok {
		k, ok = d.prev[id]
	}
	return k, ok && k.fresh(now)
}

// remember notes an identity that is about to be appended.
func (d *dedupe) remember(id identity, k known) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cur) >= generationSize && d.applied >= d.prevLast {
		old := d.prev
		d.prev, d.prevLast = d.cur, d.curLast
		clear(old)
		d.cur = old
		d.epoch.Add(1)
	}
	if d.cur == nil {
		d.cur = make(map[identity]known)
	}
	d.cur[id] = k
	d.count++
	d.curLast = d.count
}

// forget takes back an identity that did not become durable, or was cancelled.
func (d *dedupe) forget(id identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.cur, id)
	delete(d.prev, id)
}

// forgetAt is forget, if what is remembered was kept at a time.
func (d *dedupe) forgetAt(id identity, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k, ok := d.cur[id]; ok && k.at == at {
		delete(d.cur, id)
	}
	if k, ok := d.prev[id]; ok && k.at == at {
		delete(d.prev, id)
	}
}

// mark returns the number of the newest identity.
func (d *dedupe) mark() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// wrote says that the state has the identities up to number n. When that is
// all of them and nothing happened for a while the generations are let go.
func (d *dedupe) wrote(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = max(d.applied, n)
}

// rest frees the generations if the state has all of them.
func (d *dedupe) rest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.applied >= d.count && (d.cur != nil || d.prev != nil) {
		d.cur, d.prev = nil, nil
		d.epoch.Add(1)
	}
}

// lookup finds an identity in the state.
func (s *Store) lookup(id identity, now int64, key []byte) (known, bool, error) {
	where, which := id.hash()
	for _, class := range *s.dedupe.classes.Load() {
		bucket := uint64(now) / bucketWidth(class)
		for back := uint64(0); back <= bucketsPerWindow && back <= bucket; back++ {
			if !s.filters.mayHave(bucketID{class, bucket - back}, where, which) {
				continue
			}
			var k known
			key = dedupeKeyOf(key[:0], class, bucket-back, id.bus, id.key)
			ok, err := s.state.get(key, func(v []byte) error {
				r := rowReader{rest: v}
				k = known{seq: r.u64(), at: r.i64(), window: int64(class)}
				return r.err()
			})
			if err != nil {
				return k, false, err
			}
			if ok && k.fresh(now) {
				return k, true, nil
			}
		}
	}
	return known{}, false, nil
}

func dedupeRow(id identity, k known, key, value []byte) (_, _ []byte) {
	class := uint64(k.window)
	return dedupeKeyOf(key[:0], class, uint64(k.at)/bucketWidth(class), id.bus, id.key), be64(be64(value[:0], k.seq), uint64(k.at))
}

// loadClasses finds the windows that rows exist for.
func (s *Store) loadClasses() error {
	now := uint64(nanos(s.opts.Clock()))
	it, err := s.state.iter([]byte{prefixDedupe}, []byte{prefixDedupe + 1})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; {
		if len(it.Key()) < 9 {
			return errors.Join(errBadRow, it.Close())
		}
		class := binary.BigEndian.Uint64(it.Key()[1:])
		next := successor(bytes.Clone(it.Key()[:9]))
		if class > 0 {
			s.dedupe.useClass(class)
			if it.SeekLT(next) && len(it.Key()) >= 17 {
				s.filters.expect(class, binary.BigEndian.Uint64(it.Key()[9:]), now/bucketWidth(class))
			}
		}
		ok = it.SeekGE(next)
	}
	return it.Close()
}

// sweepDedupe drops the buckets whose identities are all forgotten.
func (s *Store) sweepDedupe(now int64) error {
	batch := s.state.db.NewBatch()
	for _, class := range *s.dedupe.classes.Load() {
		bucket := uint64(now) / bucketWidth(class)
		if bucket <= bucketsPerWindow || s.dedupe.swept[class] >= bucket-bucketsPerWindow {
			continue
		}
		oldest := bucket - bucketsPerWindow
		s.dedupe.swept[class] = oldest
		s.filters.sweep(class, oldest)
		start := be64([]byte{prefixDedupe}, class)
		_ = batch.DeleteRange(start, be64(bytes.Clone(start), oldest), (*pebble.WriteOptions)(nil))
	}
	return s.state.commit(batch)
}
