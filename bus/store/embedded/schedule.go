package embedded

import (
	"context"
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
	next, change := int64(forever), int64(0)
	for i := range notes {
		n := &notes[i]
		if n.raw == nil {
			n.waiting().remove(batch)
			change--
			continue
		}
		_ = batch.Set(schedKey(nil, n.due, n.id, n.bus), n.raw, nil)
		_ = batch.Set(schedBusKey(nil, n.bus, n.due, n.id), nil, nil)
		_ = batch.Set(schedIDKey(nil, n.bus, n.name, n.due, n.id), nil, nil)
		change++
		next = min(next, n.due)
	}
	s.countScheduled(batch, change)
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
		case <-s.closed:
			return
		case <-s.schedule.wake:
		case <-timer.C:
		}
		wait := schedulePoll
		if s.schedule.count.Load() > 0 || s.schedule.due() != forever {
			if err := s.fireDue(); err != nil && !s.closing.Load() {
				s.opts.Logger.Error("recording scheduled events failed; they are tried again", "error", err)
			} else if next := s.schedule.due(); next != forever {
				wait = min(wait, time.Duration(max(next-nanos(s.opts.Clock()), 0)))
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
		n, err := s.fireSome(nanos(s.opts.Clock()))
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
