package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

func searchChecks() []check {
	return []check{
		{"a scan finds events by their attributes, in both directions", scanFinds},
		{"a scan goes on where it ended", scanGoesOn},
		{"a scan keeps to its range and to what retention has left", scanKeepsToRange},
		{"events are listed by their deliveries, in both directions and in pages", deliveriesListed},
		{"a search finds what is owed or dead after retention passed it", searchFindsOwed},
	}
}

// scanAll scans to the end, in pages, and gives the sequences that it finds.
func scanAll(ctx context.Context, s store.Store, bus store.BusID, q store.ScanQuery) (found []uint64, err error) {
	for range 10_000 {
		page, err := s.Scan(ctx, bus, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Records {
			found = append(found, r.Sequence)
		}
		if page.Next == 0 {
			return found, nil
		}
		if q.Newest {
			q.To = page.Next
		} else {
			q.From = page.Next
		}
	}
	return nil, fmt.Errorf("the scan %+v does not end", q)
}

// searched appends events to a bus: event i is called e<i>, and its extension
// third has the value i%3.
func searched(f *fixture, n int) store.BusID {
	f.Helper()
	a, other := f.bus("a"), f.bus("other")
	for i := 1; i <= n; i++ {
		b := event.NewBuilder()
		for name, v := range map[string]string{"id": fmt.Sprint("e", i), "source": "/search", "type": "t", "third": fmt.Sprint(i % 3)} {
			f.must(b.Set(name, event.StringValue(v)))
		}
		ev, err := b.Build()
		f.must(err)
		f.append(store.Entry{Bus: a, Event: ev}, entry(f, other, fmt.Sprint("o", i)))
	}
	return a
}

func (f *fixture) wantScan(bus store.BusID, q store.ScanQuery, want ...uint64) {
	f.Helper()
	got, err := scanAll(f.ctx, f.store, bus, q)
	f.must(err)
	if !slices.Equal(got, want) {
		f.Errorf("the scan %+v finds %v, want %v", q, got, want)
	}
}

func scanFinds(f *fixture) {
	a := searched(f, 20)
	check := func() {
		f.Helper()
		q := store.ScanQuery{Max: 100, MaxBytes: 1 << 20, Has: []store.AttributeValue{{Name: "third", Value: "1"}}}
		f.wantScan(a, q, 1, 4, 7, 10, 13, 16, 19)
		q.Newest = true
		f.wantScan(a, q, 19, 16, 13, 10, 7, 4, 1)
		q.Has = append(q.Has, store.AttributeValue{Name: "id", Value: "e13"})
		f.wantScan(a, q, 13)
		q.Has[1].Value = "e14"
		f.wantScan(a, q)
		q.Has = []store.AttributeValue{{Name: "absent", Value: ""}}
		f.wantScan(a, q)
	}
	check()
	f.reopen()
	check()
}

func scanGoesOn(f *fixture) {
	a := searched(f, 20)
	f.reopen()
	for _, most := range []int{1, 2, 3, 100} {
		for _, bytes := range []int{1, 200, 1000, 1 << 20} {
			q := store.ScanQuery{Max: most, MaxBytes: bytes, Has: []store.AttributeValue{{Name: "third", Value: "2"}}}
			f.wantScan(a, q, 2, 5, 8, 11, 14, 17, 20)
			q.Newest = true
			f.wantScan(a, q, 20, 17, 14, 11, 8, 5, 2)
		}
	}
}

func scanKeepsToRange(f *fixture) {
	a := searched(f, 20)
	q := store.ScanQuery{From: 5, To: 8, Max: 100, MaxBytes: 1 << 20}
	f.wantScan(a, q, 5, 6, 7, 8)
	q.Newest = true
	f.wantScan(a, q, 8, 7, 6, 5)
	f.wantScan(a, store.ScanQuery{From: 21, Max: 1, MaxBytes: 1})
	f.wantScan(a, store.ScanQuery{To: 1 << 60, From: 20, Newest: true, Max: 1, MaxBytes: 1}, 20)
	_, err := f.store.Scan(f.ctx, a+1000, q)
	f.wantErr("a scan of an unknown bus", err, store.ErrNotFound)
}

// compareScan scans for what one of the events has.
func (p *pairing) compareScan(b *pairedBus, rng *rand.Rand) {
	bounds := p.bounds(b.engine)
	if bounds.History > bounds.Last {
		return
	}
	r, err := p.model.Get(p.ctx, b.model, bounds.History+rng.Uint64N(bounds.Last-bounds.History+1))
	p.must(err)
	q := store.ScanQuery{Newest: rng.IntN(2) == 0, Max: 1 + rng.IntN(20), MaxBytes: 1 << rng.IntN(20)}
	if rng.IntN(2) == 0 {
		q.From = bounds.History + rng.Uint64N(bounds.Last-bounds.History+1)
	}
	if rng.IntN(2) == 0 {
		q.Has = []store.AttributeValue{{Name: "id", Value: r.Event.ID()}}
	}
	got, err := scanAll(p.ctx, p.store, b.engine, q)
	p.must(err)
	want, err := scanAll(p.ctx, p.model, b.model, q)
	p.must(err)
	if !slices.Equal(got, want) {
		p.differ("the scan %+v of %s finds %v, want %v", q, b.name, got, want)
	}
}

// withDeliveriesAll lists to the end, in pages.
func withDeliveriesAll(ctx context.Context, s store.Store, bus store.BusID, q store.DeliveriesQuery) (all []uint64, err error) {
	for range 10_000 {
		found, next, err := s.WithDeliveries(ctx, bus, q)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if next == 0 {
			return all, nil
		}
		if q.Newest {
			q.To = next
		} else {
			q.From = next
		}
	}
	return nil, fmt.Errorf("the list %+v does not end", q)
}

func deliveriesListed(f *fixture) {
	a := f.bus("a")
	one, two := f.subscribe("r/one", a, store.OrderNone), f.subscribe("r/two", a, store.OrderNone)
	f.dieInOrder(a, one, 3) // 1 to 3 are dead
	f.publishN(a, "more", 4)
	var events []store.RoutedEvent
	for _, r := range f.read(a, 4) {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: one}, {Subscription: two}}})
	}
	f.must(f.store.Enqueue(f.ctx, a, 7, events))
	for _, d := range f.claimAll(two) { // 4 is delivered to one of the two only, 7 to neither
		switch d.ID.Sequence {
		case 5:
			f.settle(store.Settlement{ID: d.ID, Kind: store.Expired})
		case 7:
			f.settle(f.retry(d, time.Hour))
		default:
			f.settle(f.done(d))
		}
	}
	check := func() {
		f.Helper()
		for _, most := range []int{1, 2, 100} {
			for _, c := range []struct {
				q    store.DeliveriesQuery
				want []uint64
			}{
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{one, two}, Dead: true}, []uint64{1, 2, 3}},
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{one, two}, Owed: true}, []uint64{4, 5, 6, 7}},
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{two, two + 1000}, Owed: true, Dead: true}, []uint64{7}},
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{one}, Owed: true, Dead: true, From: 3, To: 5}, []uint64{3, 4, 5}},
				{store.DeliveriesQuery{Owed: true, Dead: true}, nil},
				{store.DeliveriesQuery{Any: true, Owed: true, Dead: true}, []uint64{1, 2, 3, 4, 5, 6, 7}},
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{two}, Delivered: true, Expired: true}, []uint64{4, 5, 6}},
				{store.DeliveriesQuery{Any: true, Delivered: true}, []uint64{4, 6}},
				{store.DeliveriesQuery{Any: true, Expired: true}, []uint64{5}},
				{store.DeliveriesQuery{Any: true, Expired: true, Dead: true, To: 5}, []uint64{1, 2, 3, 5}},
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{one}, Delivered: true}, nil},
				{store.DeliveriesQuery{Delivered: true, Expired: true}, nil},
			} {
				c.q.Max = most
				f.wantDeliveries(a, c.q, c.want...)
			}
		}
	}
	check()
	f.must(f.store.Checkpoint(f.ctx))
	check()
	f.reopen()
	check()
	_, _, err := f.store.WithDeliveries(f.ctx, a+1000, store.DeliveriesQuery{Max: 1})
	f.wantErr("a list of an unknown bus", err, store.ErrNotFound)
}

// wantDeliveries lists in both directions.
func (f *fixture) wantDeliveries(bus store.BusID, q store.DeliveriesQuery, want ...uint64) {
	f.Helper()
	for _, q.Newest = range []bool{false, true} {
		got, err := withDeliveriesAll(f.ctx, f.store, bus, q)
		f.must(err)
		if !slices.Equal(got, want) {
			f.Errorf("%+v lists %v, want %v", q, got, want)
		}
		slices.Reverse(want)
	}
}

// searchFindsOwed has 1 dead, 2 delivered, 3 queued, 4 delivered to one of two, 5
// to be retried and 6 delivered when retention passes them; 7 and 8 follow.
func searchFindsOwed(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	one, two := f.subscribe("r/one", a, store.OrderNone), f.subscribe("r/two", a, store.OrderNone)
	f.publishN(a, "old", 6)
	f.route(a, one, two)
	f.settleAll(f.claimAll(one), func(d store.Delivery) store.Settlement {
		switch d.ID.Sequence {
		case 1:
			return f.die(d)
		case 3:
			return release(d)
		case 5:
			return f.retry(d, 24*time.Hour)
		}
		return f.done(d)
	})
	f.settleAll(f.claimAll(two), func(d store.Delivery) store.Settlement {
		if d.ID.Sequence == 4 {
			return f.retry(d, 24*time.Hour)
		}
		return f.done(d)
	})
	f.advance(time.Hour)
	f.publishN(a, "new", 2)
	f.route(a)
	f.trim()
	check := func() {
		f.Helper()
		for _, most := range []int{1, 2, 100} {
			for _, c := range []struct {
				q    store.DeliveriesQuery
				want []uint64
			}{
				{store.DeliveriesQuery{Any: true, Dead: true}, []uint64{1}},
				{store.DeliveriesQuery{Any: true, Owed: true}, []uint64{3, 4, 5}},
				{store.DeliveriesQuery{Any: true, Owed: true, From: 4, To: 4}, []uint64{4}},
				{store.DeliveriesQuery{Subscriptions: []store.SubscriptionID{two}, Owed: true, Dead: true}, []uint64{4}},
				{store.DeliveriesQuery{Any: true, Owed: true, Dead: true, Delivered: true, Expired: true}, []uint64{1, 3, 4, 5}},
				{store.DeliveriesQuery{Any: true, Delivered: true}, nil},
			} {
				c.q.Max = most
				f.wantDeliveries(a, c.q, c.want...)
			}
			for _, bytes := range []int{1, 1 << 20} {
				q := store.ScanQuery{Max: most, MaxBytes: bytes}
				f.wantScan(a, q, 1, 3, 4, 5, 7, 8)
				q.From, q.To = 2, 7
				f.wantScan(a, q, 3, 4, 5, 7)
				q.Newest = true
				f.wantScan(a, q, 7, 5, 4, 3)
				q.From, q.To = 0, 4
				f.wantScan(a, q, 4, 3, 1)
				q.From, q.To = 6, 6
				f.wantScan(a, q)
			}
		}
		of5 := []store.AttributeValue{{Name: "id", Value: "old4"}}
		f.wantScan(a, store.ScanQuery{Max: 1, MaxBytes: 1, Has: of5}, 5)
	}
	check()
	f.reopen()
	check()
	f.settleAll(f.claimAll(one), f.done) // 3 is not owed any more
	f.wantScan(a, store.ScanQuery{Max: 100, MaxBytes: 1 << 20}, 1, 4, 5, 7, 8)
}

// compareDeliveries lists what some subscriptions have not delivered.
func (p *pairing) compareDeliveries(b *pairedBus, rng *rand.Rand) {
	q := store.DeliveriesQuery{Owed: rng.IntN(3) > 0, Dead: rng.IntN(3) > 0, Any: rng.IntN(4) == 0, Newest: rng.IntN(2) == 0, Max: 1 + rng.IntN(10)}
	if rng.IntN(2) == 0 {
		q.From = 1 + rng.Uint64N(p.bounds(b.engine).Last+1)
	}
	ofModel := q
	for _, s := range p.subs {
		if rng.IntN(2) == 0 {
			q.Subscriptions = append(q.Subscriptions, s.engine)
			ofModel.Subscriptions = append(ofModel.Subscriptions, s.model)
		}
	}
	got, err := withDeliveriesAll(p.ctx, p.store, b.engine, q)
	p.must(err)
	want, err := withDeliveriesAll(p.ctx, p.model, b.model, ofModel)
	p.must(err)
	if !slices.Equal(got, want) {
		p.differ("%+v of %s lists %v, want %v", q, b.name, got, want)
	}
}
