package storetest

import (
	"context"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// deadAge is how long dead letters are kept.
const deadAge = 30 * 24 * time.Hour

// Trim implements store.Log.
func (m *Model) Trim(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.applyRetention()
	return nil
}

// Release implements store.Buses.
func (m *Model) Release(bus store.BusID, upTo uint64) error {
	if err := m.enter(context.Background()); err != nil {
		return err
	}
	defer m.mu.Unlock()
	b := m.state.buses[bus]
	if b == nil {
		return store.ErrNotFound
	}
	b.released = max(b.released, upTo)
	return nil
}

// applyRetention removes the events that are too old or too many, but none
// that was not routed yet or is held, and the dead letters that are too old. The record of
// an event that is owed stays with the deliveries that owe it.
func (m *Model) applyRetention() {
	now := m.clock()
	for _, s := range m.state.subs {
		s.dropDead(func(d *modelDelivery) bool { return now.Sub(d.settled) > deadAge })
	}
	for _, b := range m.state.buses {
		held := size(b.records)
		for len(b.records) > 0 && b.first <= b.position && (!b.opts.Hold || b.first <= b.released) {
			oldest := b.records[0]
			tooOld := b.opts.MaxAge > 0 && now.Sub(oldest.Recorded) > b.opts.MaxAge
			tooMany := b.opts.MaxBytes > 0 && held > b.opts.MaxBytes
			if !tooOld && !tooMany {
				break
			}
			held -= int64(oldest.Event.Size())
			b.table.keep(oldest)
			b.records = b.records[1:]
			b.first++
		}
	}
	for at := range m.state.traces {
		if b := m.state.buses[at.bus]; b != nil && at.sequence < b.first {
			if _, owed := m.owedRecord(at); !owed {
				delete(m.state.traces, at)
			}
		}
	}
}

// owedRecord finds the record of an event that a subscription still owes or
// has as a dead letter.
func (m *Model) owedRecord(at place) (store.Record, bool) {
	for _, s := range m.state.subs {
		for id, d := range s.owed {
			if id.Bus == at.bus && id.Sequence == at.sequence {
				return d.record, true
			}
		}
	}
	return store.Record{}, false
}

// owedBytes is the size of the records that only their deliveries still hold.
func (m *Model) owedBytes() (n int64) {
	seen := map[place]bool{}
	for _, s := range m.state.subs {
		for id, d := range s.owed {
			at := place{id.Bus, id.Sequence}
			b := m.state.buses[id.Bus]
			if (b == nil || id.Sequence < b.first) && !seen[at] {
				seen[at] = true
				n += int64(d.record.Event.Size())
			}
		}
	}
	return n
}
