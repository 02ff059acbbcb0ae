package embedded

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// waiting names the rows of one scheduled event: the event in order of time,
// and two that find it, by its bus and by its source and id.
type waiting struct {
	schedPlace
	bus  store.BusID
	name [16]byte // its source and id, as event.DedupeKey
}

func (e *entry) waiting(b *bus) waiting {
	return waiting{schedPlace{e.due(), e.id()}, b.id, e.name()}
}

// remove takes the rows away.
func (w waiting) remove(batch *pebble.Batch) {
	_ = batch.Delete(schedKey(nil, w.due, w.id, w.bus), nil)
	_ = batch.Delete(schedBusKey(nil, w.bus, w.due, w.id), nil)
	_ = batch.Delete(schedIDKey(nil, w.bus, w.name, w.due, w.id), nil)
}

// applyScheduled puts rows for what was scheduled and removes those of what
// was recorded.
func (s *Store) applyScheduled(batch *pebble.Batch, notes []schedNote) {
	together := s.removeTogether(batch, notes)
	change := int64(0)
	for i := range notes {
		n := &notes[i]
		switch {
		case n.raw != nil:
			_ = batch.Set(schedKey(nil, n.due, n.id, n.bus), n.raw, nil)
			_ = batch.Set(schedBusKey(nil, n.bus, n.due, n.id), nil, nil)
			_ = batch.Set(schedIDKey(nil, n.bus, n.name, n.due, n.id), nil, nil)
			change += 2
		case together:
			_ = batch.Delete(schedIDKey(nil, n.bus, n.name, n.due, n.id), nil)
		default:
			n.waiting.remove(batch)
		}
		change--
	}
	s.countScheduled(batch, change)
}

// manyTogether is how many rows are removed as a range at the least.
const manyTogether = 8

// removeTogether removes the rows of many events that were recorded in order of
// their time, which are next to each other: of as many deletions Pebble would
// keep compacting the rows around. It reports whether it did; the rows that find
// them by their names are anywhere.
func (s *Store) removeTogether(batch *pebble.Batch, notes []schedNote) bool {
	var recorded []waiting
	first := schedPlace{due: forever} // of what was scheduled
	for i := range notes {
		switch at := notes[i].schedPlace; {
		case notes[i].raw == nil:
			recorded = append(recorded, notes[i].waiting)
		case at.less(first):
			first = at
		}
	}
	if len(recorded) < manyTogether {
		return false
	}
	slices.SortFunc(recorded, func(x, y waiting) int { return x.compare(y.schedPlace) })
	from, last := recorded[0], recorded[len(recorded)-1]
	if !last.less(first) || !s.schedule.alone(recorded) {
		return false
	}
	_ = batch.DeleteRange(schedKey(nil, from.due, from.id, 0), schedKey(nil, last.due, last.id+1, 0), nil)
	slices.SortStableFunc(recorded, func(x, y waiting) int { return cmp.Compare(x.bus, y.bus) })
	for len(recorded) > 0 {
		bus := recorded[0].bus
		n := 1
		for n < len(recorded) && recorded[n].bus == bus {
			n++
		}
		from, last := recorded[0], recorded[n-1]
		if n < manyTogether {
			for _, w := range recorded[:n] {
				_ = batch.Delete(schedBusKey(nil, bus, w.due, w.id), nil)
			}
		} else {
			_ = batch.DeleteRange(schedBusKey(nil, bus, from.due, from.id), schedBusKey(nil, bus, last.due, last.id+1), nil)
		}
		recorded = recorded[n:]
	}
	return true
}

// countScheduled changes how many events wait.
func (s *Store) countScheduled(batch *pebble.Batch, change int64) {
	if change == 0 {
		return
	}
	s.schedule.count.Add(change)
	if s.schedule.named {
		_ = batch.Merge(metaKey("scheduled"), counts{records: change}.append(nil), nil)
	}
}

// eachWaiting calls f for the events that wait under a prefix of rows that end
// in the due time and the schedule id, in order of them, from a place in that
// order on.
func (s *Store) eachWaiting(bus store.BusID, prefix []byte, due int64, id uint64, f func(due int64, id uint64, e store.Entry, accepted int64) (bool, error)) error {
	from := be64(be64(append([]byte(nil), prefix...), uint64(due)), id)
	return s.state.scan(from, successor(prefix), func(key, _ []byte) (bool, error) {
		k := rowReader{rest: key[len(prefix):]}
		due, id := k.i64(), k.u64()
		if k.bad {
			return false, errBadRow
		}
		var e store.Entry
		var accepted int64
		ok, err := s.state.get(schedKey(nil, due, id, bus), func(v []byte) (err error) {
			e, accepted, err = decodeScheduled(slices.Clone(v))
			return err
		})
		if err != nil || !ok {
			return err == nil, err
		}
		return f(due, id, e, accepted)
	})
}

// waitingUnder is the prefix of the rows that find a bus's events, all of them
// or those of one source and id.
func waitingUnder(bus store.BusID, source, id string) []byte {
	if source == "" || id == "" {
		return idKey(nil, prefixSchedBus, uint32(bus))
	}
	name := event.DedupeKey(source, id)
	return append(idKey(nil, prefixSchedID, uint32(bus)), name[:]...)
}

// listLook bounds the events that one ListScheduled looks at.
const listLook = 10_000

// ListScheduled implements store.Schedule.
func (s *Store) ListScheduled(ctx context.Context, bus store.BusID, source, id, after string, limit int) (items []store.Scheduled, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if _, err := s.bus(bus); err != nil {
		return nil, "", err
	}
	var due int64
	var number uint64
	if after != "" {
		if due, number, err = parseScheduleCursor(after); err != nil {
			return nil, "", err
		}
		number++
	}
	if err := s.applyPending(); err != nil {
		return nil, "", err
	}
	more, looked := false, 0
	err = s.eachWaiting(bus, waitingUnder(bus, source, id), due, number, func(due int64, number uint64, e store.Entry, _ int64) (bool, error) {
		if len(items) >= limit || looked >= listLook {
			more = true
			return false, nil
		}
		looked++
		next = scheduleCursor(due, number)
		if (source == "" || e.Event.Source() == source) && (id == "" || e.Event.ID() == id) {
			items = append(items, store.Scheduled{Due: e.Due, Bus: bus, Event: e.Event})
		}
		return true, nil
	})
	if !more {
		next = ""
	}
	return items, next, err
}

// scheduleCursor names an event in the list of what waits.
func scheduleCursor(due int64, id uint64) string { return fmt.Sprintf("%d.%d", due, id) }

func parseScheduleCursor(text string) (due int64, id uint64, err error) {
	first, second, _ := strings.Cut(text, ".")
	due, err = strconv.ParseInt(first, 10, 64)
	if err == nil {
		id, err = strconv.ParseUint(second, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cursor %q: %w", text, store.ErrNotFound)
	}
	return due, id, nil
}

// cancelBatch bounds the events that are cancelled together.
const cancelBatch = 256

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
	total, n := 0, cancelBatch
	for err == nil && n == cancelBatch {
		if err = ctx.Err(); err == nil {
			n, err = s.cancelSome(bus, source, id)
			total += n
		}
	}
	if err == nil {
		err = s.state.flush()
	}
	if err == nil && total == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("bus %q: scheduled event %q of %q: %w", b.name, id, source, err)
	}
	return nil
}

// cancelSome cancels up to cancelBatch events, without a sync. What is being
// recorded does not wait any more.
func (s *Store) cancelSome(bus store.BusID, source, id string) (n int, err error) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.apply(); err != nil {
		return 0, err
	}
	batch := s.state.db.NewBatch()
	name := event.DedupeKey(source, id)
	err = s.eachWaiting(bus, waitingUnder(bus, source, id), 0, 0, func(due int64, number uint64, e store.Entry, accepted int64) (bool, error) {
		if e.Event.Source() != source || e.Event.ID() != id || !s.schedule.cancel(number) {
			return true, nil
		}
		n++
		waiting{schedPlace{due, number}, bus, name}.remove(batch)
		if e.Window > 0 {
			if err := s.forgetScheduled(batch, identity{bus, e.Dedupe}, known{0, accepted, int64(e.Window)}); err != nil {
				return false, err
			}
		}
		return n < cancelBatch, nil
	})
	if err != nil {
		_ = batch.Close()
		return 0, err
	}
	s.countScheduled(batch, -int64(n))
	return n, s.state.commit(batch)
}

// cancel lets go of an event whose row goes, unless it is being recorded.
// s.applyMu is held, so that it is not held again.
func (sc *schedule) cancel(id uint64) bool {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	e := sc.held[id]
	if e == nil {
		return true
	}
	if e.taken {
		return false
	}
	e.gone = true
	delete(sc.held, id)
	return true
}

// dropScheduled removes what waits on a bus that is dropped.
func (s *Store) dropScheduled(batch *pebble.Batch, bus store.BusID) error {
	n := int64(0)
	err := s.state.scanPrefix(idKey(nil, prefixSchedBus, uint32(bus)), func(key, _ []byte) (bool, error) {
		k := rowReader{rest: key[5:]}
		due, id := k.i64(), k.u64()
		_ = batch.Delete(schedKey(nil, due, id, bus), nil)
		n++
		return true, k.err()
	})
	for _, prefix := range []byte{prefixSchedBus, prefixSchedID} {
		key := idKey(nil, prefix, uint32(bus))
		_ = batch.DeleteRange(key, successor(key), nil)
	}
	s.countScheduled(batch, -n)
	return err
}

// loadSchedule finds how many events wait and when the first is due, before the
// log adds what the state does not cover. It reads none of them.
func (s *Store) loadSchedule() error {
	err := s.state.scan([]byte{prefixSched}, []byte{prefixSched + 1}, func(key, _ []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		s.schedule.next = schedPlace{due: k.i64()}
		return false, k.err()
	})
	if err != nil {
		return err
	}
	s.schedule.named, err = s.state.get(metaKey("scheduled"), func(v []byte) error {
		c, err := parseCounts(v)
		s.schedule.count.Store(c.records)
		return err
	})
	return err
}

// nameStep bounds the events that nameScheduled takes together.
const nameStep = 4096

// nameScheduled gives a state that lacks them, because an earlier release wrote
// it or a repair, the rows that find scheduled events by their names. Their
// number comes last, so that a crash before it begins anew.
func (s *Store) nameScheduled() error {
	if s.schedule.named {
		return nil
	}
	batch, n := s.state.db.NewBatch(), int64(0)
	err := s.state.scan([]byte{prefixSched}, []byte{prefixSched + 1}, func(key, value []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		due, id, bus := k.i64(), k.u64(), store.BusID(k.u32())
		es := entries{rest: value, count: 1}
		var e entry
		if ok, err := es.next(&e); err != nil || !ok || k.bad {
			return false, errBadRow
		}
		_ = batch.Set(schedIDKey(nil, bus, e.name(), due, id), nil, nil)
		if n++; n%nameStep != 0 {
			return true, nil
		}
		err := s.state.commit(batch)
		batch = s.state.db.NewBatch()
		return err == nil, err
	})
	if err != nil {
		_ = batch.Close()
		return fmt.Errorf("make the names of scheduled events: %w", err)
	}
	_ = batch.Set(metaKey("scheduled"), counts{records: n}.append(nil), nil)
	s.schedule.count.Store(n)
	s.schedule.named = true
	return s.state.commitSynced(batch)
}
