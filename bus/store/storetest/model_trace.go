package storetest

import (
	"context"
	"maps"
	"slices"
	"sort"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// TraceOf implements store.Trace. A delivery that was dropped leaves a trace if
// there was an attempt.
func (m *Model) TraceOf(ctx context.Context, bus store.BusID, sequence uint64) ([]store.DeliveryTrace, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if _, err := m.bus(bus); err != nil {
		return nil, err
	}
	var traces []store.DeliveryTrace
	for _, d := range m.state.traces[place{bus, sequence}] {
		t := d.trace()
		if t.Subscription = m.state.former[d.id.Subscription]; t.Subscription == "" {
			t.Subscription = m.state.subs[d.id.Subscription].opts.Name
		}
		traces = append(traces, t)
	}
	sort.Slice(traces, func(i, j int) bool {
		a, b := traces[i].ID, traces[j].ID
		return a.Subscription < b.Subscription || a.Subscription == b.Subscription && a.Run < b.Run
	})
	return traces, nil
}

// Timelines implements store.Trace.
func (m *Model) Timelines(ctx context.Context, bus store.BusID, from, to uint64) (all []store.Timeline, err error) {
	b, err := m.Bounds(bus)
	if err != nil {
		return nil, err
	}
	for seq := from; seq > 0 && seq <= min(to, b.Last) && seq-from < store.MaxTimelines; seq++ {
		deliveries, err := m.TraceOf(ctx, bus, seq)
		if err != nil {
			return nil, err
		}
		if len(deliveries) > 0 {
			all = append(all, store.Timeline{Sequence: seq, Deliveries: deliveries})
		}
	}
	return all, nil
}

// Former implements store.Trace.
func (m *Model) Former(ctx context.Context) (map[store.SubscriptionID]string, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return maps.Clone(m.state.former), nil
}

// ReceiptOf implements store.Trace.
func (m *Model) ReceiptOf(ctx context.Context, bus store.BusID, sequence uint64) (store.Receipt, error) {
	if _, err := m.Get(ctx, bus, sequence); err != nil {
		return store.Receipt{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.receipts[place{bus, sequence}], nil
}

// Receipts implements store.Trace.
func (m *Model) Receipts(ctx context.Context, bus store.BusID, from, to uint64) (map[uint64]store.Receipt, error) {
	b, err := m.Bounds(bus)
	if err != nil {
		return nil, err
	}
	found := map[uint64]store.Receipt{}
	for seq := max(from, b.First); from > 0 && seq <= min(to, b.Last) && seq-from < store.MaxTimelines; seq++ {
		r, err := m.ReceiptOf(ctx, bus, seq)
		if err != nil {
			return nil, err
		}
		if !r.Due.IsZero() || r.Transaction != 0 {
			found[seq] = r
		}
	}
	return found, nil
}

func (d *modelDelivery) trace() store.DeliveryTrace {
	t := store.DeliveryTrace{
		ID: d.id, Queued: d.queued, Attempts: slices.Clone(d.attempts),
		State: d.outcome, Settled: d.settled, Reason: d.reason,
	}
	switch {
	case d.outcome != "":
	case d.claimed:
		t.State = "in flight"
	case d.retryAt.IsZero():
		t.State = "queued"
	default:
		t.State, t.NextAt = "retrying", d.retryAt
	}
	return t
}

// forget drops the trace of a delivery.
func (m *Model) forget(d *modelDelivery) {
	at := place{d.id.Bus, d.id.Sequence}
	m.state.traces[at] = slices.DeleteFunc(m.state.traces[at], func(o *modelDelivery) bool { return o == d })
}

// drop drops a delivery that is owed; it leaves a trace if there was an attempt and
// retention has not passed its event.
func (m *Model) drop(s *modelSub, d *modelDelivery) {
	delete(s.owed, d.id)
	if b := m.state.buses[d.id.Bus]; len(d.attempts) == 0 || b == nil || d.id.Sequence < b.first {
		m.forget(d)
		return
	}
	d.outcome, d.settled, d.reason = "dropped", m.clock(), ""
}
