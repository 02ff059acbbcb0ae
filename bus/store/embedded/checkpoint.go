package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// ring counts, for each sequence that was routed above the position that
// survives a crash, the deliveries that are in memory only. The position moves
// up while the lowest count is 0.
type ring struct {
	mu        sync.Mutex
	routed    uint64   // everything up to it was handed to the queue
	position  uint64   // everything up to it is settled or a row of the state
	known     uint64   // sequences up to it may have rows from before a crash
	counts    []uint32 // of sequence position+1+i-head
	head      int
	dirty     bool                       // position is to be written
	rewound   bool                       // the router has to ask where it is
	waiting   map[*subscription]struct{} // have rows above routed
	enqueueMu sync.Mutex                 // one Enqueue at a time
}

func (r *ring) slot(seq uint64) *uint32 {
	if seq <= r.position {
		return nil
	}
	if i := int(seq-r.position-1) + r.head; i < len(r.counts) {
		return &r.counts[i]
	}
	return nil
}

// add counts n more deliveries of seq; mu is held.
func (r *ring) add(seq uint64, n int) {
	if seq <= r.position {
		return
	}
	for uint64(len(r.counts)-r.head) < seq-r.position {
		r.counts = append(r.counts, 0)
	}
	*r.slot(seq) += uint32(n)
}

// sub counts one delivery of seq less; mu is held.
func (r *ring) sub(seq uint64) {
	if c := r.slot(seq); c != nil && *c > 0 {
		*c--
	}
}

// advance moves the position up as far as it goes and says whether it moved
// for the first time since it was written; mu is held.
func (r *ring) advance() bool {
	before := r.position
	for r.position < r.routed && (r.head >= len(r.counts) || r.counts[r.head] == 0) {
		if r.head >= len(r.counts) { // nothing is in memory
			r.position = r.routed
			break
		}
		r.head++
		r.position++
	}
	switch {
	case r.head >= len(r.counts):
		r.head = 0
		if cap(r.counts) > 1<<12 {
			r.counts = nil
		}
		r.counts = r.counts[:0]
	case r.head >= 1<<12 && r.head*2 >= len(r.counts):
		r.counts = r.counts[:copy(r.counts, r.counts[r.head:])]
		r.head = 0
	}
	if r.position == before || r.dirty {
		return false
	}
	r.dirty = true
	return true
}

// settled takes deliveries of b out of its counts.
func (s *Store) settled(b *bus, seqs []uint64) {
	r := &b.queue
	r.mu.Lock()
	for _, seq := range seqs {
		r.sub(seq)
	}
	dirty := r.advance()
	r.mu.Unlock()
	if dirty {
		s.activeMu.Lock()
		s.dirtyBuses = append(s.dirtyBuses, b)
		s.activeMu.Unlock()
	}
}

// Position implements store.Queue.
func (s *Store) Position(id store.BusID) uint64 {
	if s.enter(context.Background()) != nil {
		return 0
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return 0
	}
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	b.queue.rewound = false
	return b.queue.routed
}

// Checkpoint implements store.Queue.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.applyPending(); err != nil {
		return err
	}
	if err := s.checkpoint(0); err != nil {
		return err
	}
	if err := s.saveClock(); err != nil {
		return err
	}
	return s.state.flush()
}

// checkpoint makes rows of the deliveries that have been in memory only for at
// least age, then writes the positions, which that lets move up.
func (s *Store) checkpoint(age time.Duration) error {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	s.activeMu.Lock()
	active := s.active
	s.active = nil
	s.activeMu.Unlock()
	before := int64(forever)
	if age > 0 {
		before = s.clock.now().steady - int64(age)
	}
	tight := s.windowItems.Load() > maxWindowItems/2
	for i, sub := range active {
		again, err := s.spill(sub, before, tight)
		if err != nil {
			s.activeMu.Lock()
			s.active = append(s.active, active[i:]...)
			s.activeMu.Unlock()
			return err
		}
		if again {
			s.activeMu.Lock()
			s.active = append(s.active, sub)
			s.activeMu.Unlock()
		}
	}
	s.activeMu.Lock()
	dirty := s.dirtyBuses
	s.dirtyBuses = nil
	s.activeMu.Unlock()
	if len(dirty) == 0 {
		return s.state.err()
	}
	batch := s.state.db.NewBatch()
	for _, b := range dirty {
		b.queue.mu.Lock()
		b.queue.dirty = false
		position := b.queue.position
		b.queue.mu.Unlock()
		if !b.dropped.Load() {
			_ = batch.Set(idKey(nil, prefixPosition, uint32(b.id)), be64(nil, position), nil)
		}
	}
	return s.state.commit(batch)
}

// spill makes rows of sub's deliveries that are in memory only and were queued
// before a time. again says that some are left. With tight, what is only
// waiting leaves memory.
func (s *Store) spill(sub *subscription, before int64, tight bool) (again bool, err error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	w := sub.window
	switch {
	case w == nil:
		return false, nil
	case len(w.index) == 0:
		sub.window = nil
		return false, nil
	}
	var batch *pebble.Batch
	var spilled []int32
	left := w.volatile
	for i := range w.slab {
		it := &w.slab[i]
		if it.state == itemFree || it.durable || it.row.queued > before {
			continue
		}
		if batch == nil {
			batch = s.state.db.NewBatch()
		}
		sub.putRow(batch, it, rowPlain)
		spilled = append(spilled, int32(i))
		left--
	}
	if batch != nil {
		sub.count(batch, counts{records: int64(len(spilled))})
		if err := s.commitFor(sub, batch, counts{records: int64(len(spilled))}); err != nil {
			return false, err
		}
		var seqs seqList
		for _, i := range spilled {
			it := &w.slab[i]
			it.durable = true
			w.volatile--
			if it.event != nil { // it is not young any more
				s.windowBytes.Add(-int64(it.event.Size()))
				it.event = nil
			}
			seqs.add(s, it.bus, it.seq)
		}
		seqs.flush(s)
	}
	if tight || sub.paused || sub.orphan {
		s.unload(sub)
	}
	if w = sub.window; w == nil {
		return false, nil
	}
	w.listed = w.volatile > 0
	return w.listed, nil
}

// seqList gathers sequences of one bus after another for Store.settled.
type seqList struct {
	bus  *bus
	id   store.BusID
	seqs []uint64
}

func (l *seqList) add(s *Store, id store.BusID, seq uint64) {
	if l.id != id {
		l.flush(s)
		l.id = id
		l.bus, _ = s.bus(id)
	}
	if l.bus != nil {
		l.seqs = append(l.seqs, seq)
	}
}

func (l *seqList) flush(s *Store) {
	if l.bus != nil && len(l.seqs) > 0 {
		s.settled(l.bus, l.seqs)
	}
	l.seqs = l.seqs[:0]
}
