package storetest

import (
	"context"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Scan implements store.Search: it looks at every event.
func (m *Model) Scan(ctx context.Context, bus store.BusID, q store.ScanQuery) (out store.Scanned, err error) {
	if err := m.enter(ctx); err != nil {
		return out, err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return out, err
	}
	low, high := max(q.From, 1), b.last()
	if q.To > 0 {
		high = min(high, q.To)
	}
	for bytes := 0; low <= high; {
		at := low
		if q.Newest {
			at = high
		}
		var r store.Record
		there := true
		if at >= b.first {
			r = b.records[at-b.first]
		} else {
			r, there = m.owedRecord(place{bus, at})
		}
		if !there {
			if q.Newest {
				high--
			} else {
				low++
			}
			continue
		}
		if len(out.Records) >= q.Max || out.Looked > 0 && bytes+r.Event.Size() > q.MaxBytes {
			out.Next = at
			return out, nil
		}
		out.Looked++
		bytes += r.Event.Size()
		if hasAll(r, q.Has) {
			out.Records = append(out.Records, r)
		}
		if q.Newest {
			high--
		} else {
			low++
		}
	}
	return out, nil
}

func hasAll(r store.Record, has []store.AttributeValue) bool {
	for _, a := range has {
		if !a.In(r.Event) {
			return false
		}
	}
	return true
}

// WithDeliveries implements store.Search: it looks at every delivery.
func (m *Model) WithDeliveries(ctx context.Context, bus store.BusID, q store.DeliveriesQuery) (found []uint64, next uint64, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return nil, 0, err
	}
	add := func(d *modelDelivery) {
		seq := d.id.Sequence
		if d.id.Bus == bus && seq >= q.From && (q.To == 0 || seq <= q.To) && (q.Any || slices.Contains(q.Subscriptions, d.id.Subscription)) {
			found = append(found, seq)
		}
	}
	for _, sub := range m.state.subs {
		if q.Owed {
			each(sub.queue, add)
		}
		if q.Dead {
			each(sub.dead, add)
		}
	}
	for _, all := range m.state.traces {
		for _, d := range all {
			if d.id.Sequence >= b.first && (q.Delivered && d.outcome == "delivered" || q.Expired && d.outcome == "expired") {
				add(d)
			}
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if q.Newest {
		slices.Reverse(found)
	}
	if len(found) > q.Max {
		return found[:q.Max], found[q.Max], nil
	}
	return found, 0, nil
}

func each[T any](all []T, f func(T)) {
	for _, v := range all {
		f(v)
	}
}
