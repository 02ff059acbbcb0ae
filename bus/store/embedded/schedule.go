package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// schedule is what is in memory of the events that wait for their time: when
// the next one is due, and those that are being recorded.
type schedule struct {
	count atomic.Int64
	wake  chan struct{}

	mu     sync.Mutex
	next   int64 // nothing is due before; no row is before it in the state
	firing map[uint64]struct{}
}

func (sc *schedule) init() {
	sc.wake = make(chan struct{}, 1)
	sc.firing = map[uint64]struct{}{}
}

// applyScheduled puts rows for what was scheduled and removes those of what
// was recorded. It returns the earliest due time that it added.
func (s *Store) applyScheduled(batch *pebble.Batch, notes []schedNote) int64 {
	next := int64(forever)
	for i := range notes {
		n := &notes[i]
		key, byBus := schedKey(nil, n.due, n.id, n.bus), schedBusKey(nil, n.bus, n.due, n.id)
		if n.raw == nil {
			_ = batch.Delete(key, nil)
			_ = batch.Delete(byBus, nil)
			s.schedule.count.Add(-1)
			continue
		}
		_ = batch.Set(key, n.raw, nil)
		_ = batch.Set(byBus, nil, nil)
		s.schedule.count.Add(1)
		next = min(next, n.due)
	}
	return next
}

// scheduleChanged says that something became scheduled for due.
func (s *Store) scheduleChanged(due int64) {
	sc := &s.schedule
	sc.mu.Lock()
	sooner := due < sc.next
	sc.next = min(sc.next, due)
	sc.mu.Unlock()
	if sooner {
		select {
		case sc.wake <- struct{}{}:
		default:
		}
	}
}

// schedulePoll is how long the scheduler trusts that the clock runs evenly.
const schedulePoll = time.Second

// scheduler records scheduled events when they are due.
func (s *Store) scheduler() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.halt:
			return
		case <-s.schedule.wake:
		case <-timer.C:
		}
		wait := schedulePoll
		if s.schedule.count.Load() > 0 || s.schedule.due() != forever {
			if err := s.fireDue(); err != nil && !s.closing.Load() {
				s.opts.Logger.Error("recording scheduled events failed; they are tried again", "error", err)
			} else if next := s.schedule.due(); next != forever {
				wait = min(wait, time.Duration(max(next-s.clock.now().wall, 0)))
			}
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

func (sc *schedule) due() int64 {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.next
}

// fireBatch bounds the scheduled events that are recorded together.
const fireBatch = 64

// fireDue records the scheduled events whose time has come, in order of it. A
// frame that records one names its schedule id, so that after a crash the row
// goes with it: none is lost and none is doubled.
func (s *Store) fireDue() error {
	s.fireMu.Lock()
	defer s.fireMu.Unlock()
	for {
		if err := s.applyPending(); err != nil {
			return err
		}
		n, err := s.fireSome(s.clock.now().wall)
		if err != nil || n == 0 {
			return err
		}
	}
}

func (s *Store) fireSome(now int64) (int, error) {
	sc := &s.schedule
	var batch []store.Entry
	var marks []fired
	var size int
	sc.mu.Lock()
	from, next := sc.next, int64(forever)
	err := s.state.scan(schedKey(nil, max(from, 0), 0, 0), []byte{prefixSched + 1}, func(key, value []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		due, id := k.i64(), k.u64()
		if due > now || len(batch) >= fireBatch || size > maxPooled {
			next = due
			return false, nil
		}
		entry, accepted, err := decodeScheduled(value)
		if err != nil {
			return false, err
		}
		if _, err := s.bus(entry.Bus); err != nil {
			return true, nil // dropped; its rows are going
		}
		size += entry.Event.Size()
		batch = append(batch, entry)
		marks = append(marks, fired{id: id, due: due, accepted: accepted})
		sc.firing[id] = struct{}{}
		return true, nil
	})
	switch {
	case err != nil:
	case len(batch) == 0:
		sc.next = next
	default: // what is before the last of them is gone soon
		sc.next = marks[len(marks)-1].due
	}
	sc.mu.Unlock()
	if err == nil && len(batch) > 0 {
		_, err = s.append(context.Background(), batch, marks, 0)
	}
	if err == nil {
		err = s.applyPending()
	}
	sc.mu.Lock()
	for _, m := range marks {
		delete(sc.firing, m.id)
		if err != nil {
			sc.next = min(sc.next, m.due)
		}
	}
	sc.mu.Unlock()
	return len(batch), err
}

// decodeScheduled reads a schedule row.
func decodeScheduled(value []byte) (e store.Entry, accepted int64, err error) {
	es := entries{rest: slices.Clone(value), count: 1}
	var raw entry
	if ok, err := es.next(&raw); err != nil || !ok || !raw.hasDue() {
		return e, 0, errBadRow
	}
	ev, err := event.Decode(raw.event)
	if err != nil {
		return e, 0, err
	}
	return store.Entry{
		Bus: raw.bus, Event: ev, Via: string(raw.via), Hops: raw.hops(),
		Dedupe: raw.key(), Window: raw.window(), Due: fromNanos(raw.due()),
	}, raw.accepted(), nil
}

// waiting calls f for what waits on a bus, in order of due time, from a place
// in that order on.
func (s *Store) waiting(b *bus, due int64, id uint64, f func(due int64, id uint64, e store.Entry, accepted int64) (bool, error)) error {
	prefix := idKey(nil, prefixSchedBus, uint32(b.id))
	return s.state.scan(schedBusKey(nil, b.id, due, id), successor(prefix), func(key, _ []byte) (bool, error) {
		k := rowReader{rest: key[len(prefix):]}
		due, id := k.i64(), k.u64()
		if k.bad {
			return false, errBadRow
		}
		var e store.Entry
		var accepted int64
		ok, err := s.state.get(schedKey(nil, due, id, b.id), func(v []byte) (err error) {
			e, accepted, err = decodeScheduled(v)
			return err
		})
		if err != nil || !ok {
			return err == nil, err
		}
		return f(due, id, e, accepted)
	})
}

// ListScheduled implements store.Schedule.
func (s *Store) ListScheduled(ctx context.Context, bus store.BusID, source, id, after string, limit int) (items []store.Scheduled, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	b, err := s.bus(bus)
	if err != nil {
		return nil, "", err
	}
	var due int64
	var number uint64
	if after != "" {
		if _, err := fmt.Sscanf(after, "%d.%d", &due, &number); err != nil {
			return nil, "", fmt.Errorf("cursor %q: %w", after, store.ErrNotFound)
		}
		number++
	}
	if err := s.applyPending(); err != nil {
		return nil, "", err
	}
	more := false
	err = s.waiting(b, due, number, func(due int64, number uint64, e store.Entry, _ int64) (bool, error) {
		if source != "" && e.Event.Source() != source || id != "" && e.Event.ID() != id {
			return true, nil
		}
		if len(items) >= limit {
			more = true
			return false, nil
		}
		items = append(items, store.Scheduled{Due: e.Due, Bus: bus, Event: e.Event})
		next = fmt.Sprintf("%d.%d", due, number)
		return true, nil
	})
	if !more {
		next = ""
	}
	return items, next, err
}

// CancelScheduled implements store.Schedule. The identity of a cancelled event
// is forgotten with it, so that it can be published again.
func (s *Store) CancelScheduled(ctx context.Context, bus store.BusID, source, id string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	b, err := s.bus(bus)
	if err != nil {
		return err
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.apply(); err != nil {
		return err
	}
	s.schedule.mu.Lock()
	batch := s.state.db.NewBatch()
	n := int64(0)
	err = s.waiting(b, 0, 0, func(due int64, number uint64, e store.Entry, accepted int64) (bool, error) {
		if _, firing := s.schedule.firing[number]; firing || e.Event.Source() != source || e.Event.ID() != id {
			return true, nil
		}
		n++
		_ = batch.Delete(schedKey(nil, due, number, bus), nil)
		_ = batch.Delete(schedBusKey(nil, bus, due, number), nil)
		if e.Window > 0 {
			if err := s.forgetScheduled(batch, identity{bus, e.Dedupe}, known{0, accepted, int64(e.Window)}); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err == nil {
		err = s.state.commit(batch)
	} else {
		_ = batch.Close()
	}
	if err == nil {
		s.schedule.count.Add(-n)
	}
	s.schedule.mu.Unlock()
	if err == nil {
		err = s.state.flush()
	}
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("bus %q: scheduled event %q of %q: %w", b.name, id, source, err)
	}
	return nil
}

// dropScheduled removes what waits on a bus that is dropped.
func (s *Store) dropScheduled(batch *pebble.Batch, bus store.BusID) error {
	prefix := idKey(nil, prefixSchedBus, uint32(bus))
	return s.state.scanPrefix(prefix, func(key, _ []byte) (bool, error) {
		due := int64(binary.BigEndian.Uint64(key[5:]))
		id := binary.BigEndian.Uint64(key[13:])
		_ = batch.Delete(key, nil)
		_ = batch.Delete(schedKey(nil, due, id, bus), nil)
		s.schedule.count.Add(-1)
		return true, nil
	})
}

// loadSchedule counts what waits, after a start.
func (s *Store) loadSchedule() error {
	n := int64(0)
	s.schedule.next = forever
	err := s.state.scan([]byte{prefixSched}, []byte{prefixSched + 1}, func(key, _ []byte) (bool, error) {
		if n == 0 {
			k := rowReader{rest: key[1:]}
			s.schedule.next = k.i64()
		}
		n++
		return true, nil
	})
	s.schedule.count.Store(n)
	return err
}
