package embedded

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// dedupe remembers which identities were kept. The newest stand in memory, in
// one generation that is being filled and perhaps one that is full; what is in
// them is in the journal too, which is read back at a start. A full generation
// is sorted into a run and let go (run.go). When there are too many runs, the
// smallest become rows of their own (loose.go).
//
// A publisher looks into runs and rows before it hands its batch to the
// appender, and notes the epoch, which counts generations that were let go; the
// appender looks into those in memory. An identity that the publisher did not
// find is in memory as long as the epoch is still the same, for a generation is
// let go only after there is a run of it. With another epoch the appender looks
// again.
type dedupe struct {
	size, maxRuns int // of a generation; of how many runs are kept

	epoch atomic.Uint64
	runs  atomic.Pointer[runSet]
	loose atomic.Pointer[[]looseClass]

	mu       sync.Mutex
	cur      *generation
	prev     *generation // full, and not yet sorted; may be nil
	prevLast uint64      // number of the newest identity in prev
	spare    *generation
	count    uint64 // identities ever remembered
	applied  uint64 // of them, how many the journal has

	// The applier's.
	unsorted []knownRow // what is in the journal
	journal  []journalRow
	lastRun  uint64 // the number of the newest run
	resting  uint64 // count at the last rest
}

// known is what is remembered of an identity.
type known struct {
	seq    uint64 // 0 while it is scheduled
	at     int64  // when it was kept
	window int64
}

func (k known) fresh(now int64) bool { return now-k.at < k.window }

type knownRow struct {
	id identity
	known
}

// compare orders rows as runs have them: by window, then identity, and the
// newer one of the same identity first.
func (r *knownRow) compare(o *knownRow) int {
	if c := cmp.Compare(r.window, o.window); c != 0 {
		return c
	}
	if c := r.id.compare(&o.id); c != 0 {
		return c
	}
	if c := cmp.Compare(o.at, r.at); c != 0 {
		return c
	}
	return cmp.Compare(o.seq, r.seq)
}

// generationSize is how many identities a generation holds, and a run at least
// when there are that many.
const generationSize = 1 << 16

// restingShare is the share of a generation that stays in memory while nothing
// is published.
const restingShare = 16

func newDedupe(size, maxRuns int) *dedupe {
	d := &dedupe{size: size, maxRuns: maxRuns, cur: &generation{}}
	d.runs.Store(newRunSet(size))
	d.loose.Store(&[]looseClass{})
	return d
}

// find looks into the generations; d.mu is held.
func (d *dedupe) find(id *identity, now int64) (known, bool) {
	hash := id.slotHash()
	k, ok := d.cur.find(id, hash)
	if !ok && d.prev != nil {
		k, ok = d.prev.find(id, hash)
	}
	return k, ok && k.fresh(now)
}

// remember notes an identity that is about to be appended; d.mu is held.
func (d *dedupe) remember(id *identity, k known) {
	if d.cur.len() >= d.size && d.prev == nil {
		d.prev, d.prevLast = d.cur, d.count
		d.cur, d.spare = d.spare, nil
		if d.cur == nil {
			d.cur = &generation{}
		}
	}
	d.cur.remember(id, id.slotHash(), k)
	d.count++
}

// forget takes back an identity that did not become durable; d.mu is held.
func (d *dedupe) forget(id *identity, same func(known) bool) {
	d.cur.forget(id, same)
	if d.prev != nil {
		d.prev.forget(id, same)
	}
}

// forgetAt is forget, if what is remembered was kept at a time.
func (d *dedupe) forgetAt(id *identity, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(id, func(k known) bool { return k.at == at })
}

// mark returns the number of the newest identity.
func (d *dedupe) mark() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// wrote says that the journal has the identities up to number n, and reports
// whether there is a full generation among them.
func (d *dedupe) wrote(n uint64) (full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = max(d.applied, n)
	return d.prev != nil && d.applied >= d.prevLast
}

// sorted lets the full generation go, and with all the other one too, if the
// journal had all of it; there are runs of them.
func (d *dedupe) sorted(all bool) {
	d.mu.Lock()
	old := d.prev
	d.prev = nil
	if all && d.applied >= d.count {
		d.cur, old = &generation{}, nil
	}
	d.epoch.Add(1)
	d.mu.Unlock()
	if old != nil {
		old.reset()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spare = old
}

// rest is called once a second. It reports whether nothing was remembered
// since the last time and enough stands in memory to be sorted for that.
func (d *dedupe) rest() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := d.count == d.resting && d.applied >= d.count
	d.resting = d.count
	if idle {
		d.spare = nil
	}
	return idle && d.cur.len() >= d.size/restingShare
}

// lookups finds the identities of a batch in runs and rows, of those entries
// that have a window.
func (s *Store) lookups(c *appendCall, now int64) error {
	c.found, c.dup = resized(c.found, len(c.batch)), resized(c.dup, len(c.batch))
	var ids [lookAhead]identity
	var at [lookAhead]int
	for next := 0; next < len(c.batch); {
		n := 0
		for ; n < lookAhead && next < len(c.batch); next++ {
			if e := &c.batch[next]; e.Window > 0 {
				ids[n], at[n] = identity{e.Bus, e.Dedupe}, next
				n++
			}
		}
		may := s.dedupe.runs.Load().may(ids[:n])
		for i := range ids[:n] {
			var err error
			if c.found[at[i]], c.dup[at[i]], err = s.lookup(&ids[i], may>>i&1 != 0, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// resized is n zero values, in the memory of old if they fit.
func resized[T any](old []T, n int) []T {
	old = slices.Grow(old[:0], n)[:n]
	clear(old)
	return old
}

// lookup finds an identity in rows, and in runs if one may hold it. Of an event
// that was scheduled and then recorded both may be found; the latter counts.
func (s *Store) lookup(id *identity, inRuns bool, now int64) (k known, ok bool, err error) {
	if inRuns {
		s.dedupe.runs.Load().each(id, func(r *run) bool {
			if !r.fresh(now) {
				return true
			}
			var found known
			var there bool
			if found, there, err = s.search(r, *id); err != nil {
				return false
			}
			if there && found.fresh(now) {
				k, ok = found, true
			}
			return k.seq == 0
		})
		if err != nil || k.seq != 0 {
			return k, ok, err
		}
	}
	// After the runs, for one may have become rows meanwhile.
	for _, c := range *s.dedupe.loose.Load() {
		found, there, err := s.lookupLoose(c, *id, now)
		if err != nil {
			return k, false, err
		}
		if there && (!ok || found.seq != 0) {
			k, ok = found, true
		}
	}
	return k, ok, nil
}
