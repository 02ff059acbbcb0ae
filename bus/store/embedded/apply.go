package embedded

import (
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// pending is what the log holds and the state does not know yet.
type pending struct {
	pos      seglog.Position // of the newest frame
	schedule uint64          // highest schedule id up to it
	mark     uint64          // number of the newest identity in it
	buses    []*bus          // those that were touched
	known    []knownRow
	sched    []schedNote
	bytes    int // of the events in sched
	commits  []commitNote
	rows     []rowNote
	subjects []byte // of rows
}

// schedNote is a scheduled event to be kept, or one to be removed.
type schedNote struct {
	waiting
	raw []byte // nil: remove
}

// How far the state may be behind the log, in rows and in bytes of scheduled
// events; the appender then waits for it.
const (
	maxPending      = 1 << 16
	maxPendingBytes = 4 << 20
)

// applyDelay lets groups gather before they are applied together.
const applyDelay = 20 * time.Millisecond

func (p *pending) size() int {
	return len(p.known) + len(p.sched) + len(p.buses) + len(p.commits) + len(p.rows)
}

// full reports whether the state has to catch up, when it may be behind by a
// share of what it may be.
func (p *pending) full(share int) bool {
	return p.size() >= maxPending/share || p.bytes >= maxPendingBytes/share
}

// note takes what the state must know of an entry besides its bus's numbers. at
// is the steady time when it was recorded.
func (p *pending) note(e *entry, b *bus, at int64) {
	if w := int64(e.window()); w > 0 {
		p.known = append(p.known, knownRow{identity{b.id, e.key()}, known{e.seq, e.keptAt(at), w}})
	}
	switch {
	case e.flags&flagScheduled != 0:
		p.sched = append(p.sched, schedNote{e.waiting(b), slices.Clone(e.raw)})
		p.bytes += len(e.raw)
	case e.flags&flagFired != 0:
		p.sched = append(p.sched, schedNote{e.waiting(b), nil})
	}
}

func (s *Store) wakeApplier() {
	select {
	case s.applySignal <- struct{}{}:
	default:
	}
}

// applier keeps the state up with the log.
func (s *Store) applier() {
	timer := time.NewTimer(applyDelay)
	defer timer.Stop()
	for {
		select {
		case <-s.halt:
			return
		case <-s.applySignal:
		}
		timer.Reset(applyDelay)
		select {
		case <-s.halt:
			return
		case <-timer.C:
		}
		_ = s.applyPending() // a failed state says so by itself
	}
}

// applyPending brings the state up to the log, in one batch that says which
// position it covers.
func (s *Store) applyPending() error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	return s.apply()
}

// apply is applyPending; s.applyMu is held.
func (s *Store) apply() error {
	s.pendingMu.Lock()
	p := s.pending
	s.pending = s.spare
	s.spare = pending{}
	s.pendingMu.Unlock()
	if p.pos == (seglog.Position{}) { // nothing came
		s.spare = p.emptied()
		return s.state.err()
	}
	batch := s.state.db.NewBatch()
	var key, value []byte
	s.journal(batch, p.known, p.mark)
	s.applyRows(batch, &p)
	indexed := make([]int, len(p.buses))
	for i, b := range p.buses {
		b.mu.Lock()
		b.touched = false
		indexed[i] = len(b.recent)
		b.writeRows(batch, key, value)
		b.mu.Unlock()
	}
	s.applyScheduled(batch, p.sched)
	if err := s.applyCommits(batch, p.commits); err != nil {
		s.state.fail(err) // what was taken from pending is not known any more
		return errors.Join(s.state.err(), batch.Close())
	}
	_ = batch.Set(metaKey("covered"), be64(appendPosition(value[:0], p.pos), p.schedule), nil)
	if err := s.state.commit(batch); err != nil {
		return err
	}
	s.covered = p.pos
	for i, b := range p.buses {
		b.mu.Lock()
		b.recent = slices.Clone(b.recent[min(indexed[i], len(b.recent)):])
		if len(b.recent) == 0 {
			b.recent = nil
		}
		b.mu.Unlock()
	}
	s.scheduleApplied(p.sched)
	full := s.dedupe.wrote(p.mark)
	s.spare = p.emptied()
	if full {
		return s.sortKnown(false)
	}
	return nil
}

// emptied keeps the memory of p for the next one, unless it is much.
func (p *pending) emptied() pending {
	if cap(p.known) > 1<<14 || cap(p.buses) > 1<<12 || cap(p.sched) > 1<<13 || cap(p.rows) > 1<<14 || cap(p.subjects) > 1<<20 {
		return pending{}
	}
	clear(p.buses)
	clear(p.sched)
	clear(p.rows)
	return pending{buses: p.buses[:0], known: p.known[:0], sched: p.sched[:0],
		rows: p.rows[:0], subjects: p.subjects[:0]}
}

// writeRows writes what the state knows of b's log; b.mu is held.
func (b *bus) writeRows(batch *pebble.Batch, key, value []byte) {
	for _, d := range b.done {
		_ = batch.Set(segmentKey(key[:0], prefixSegment, d.segment, b.id), d.row.append(value[:0]), nil)
	}
	b.done = nil
	_ = batch.Set(idKey(key[:0], prefixLast, uint32(b.id)), b.lastRow(value[:0]), nil)
	if b.segment != 0 {
		_ = batch.Set(segmentKey(key[:0], prefixSegment, b.segment, b.id), b.seg.append(value[:0]), nil)
	}
	for _, e := range b.recent {
		_ = batch.Set(seqKey(key[:0], prefixIndex, b.id, e.seq), e.append(value[:0]), nil)
	}
}
