package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Bench measures an engine: durable appends of 1 KB events by 1 to 256
// publishers, in single events and in batches of 100, and the whole path from
// append to settlement with a fan-out of 3. Events per second are reported as
// events/s, on the path those that were settled on all subscriptions.
func Bench(b *testing.B, open func(t testing.TB, env Env) store.Store) {
	for _, publishers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("append/publishers=%d", publishers), func(b *testing.B) { benchAppend(b, open, publishers, 1) })
	}
	for _, publishers := range []int{1, 16} {
		b.Run(fmt.Sprintf("append/batch=100/publishers=%d", publishers), func(b *testing.B) { benchAppend(b, open, publishers, 100) })
	}
	b.Run("path/fanout=3", func(b *testing.B) { benchPath(b, open, 3) })
}

// benchAppend lets publishers append until b.N events were asked for.
func benchAppend(b *testing.B, open Open, publishers, size int) {
	f := newFixture(b, open)
	bus := f.bus("bench")
	batch := make([]store.Entry, size)
	for i := range batch {
		batch[i] = sizedEntry(f, bus, fmt.Sprint(i), 900)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	parallel(f, publishers, func(int) error {
		for left.Add(-int64(size)) > -int64(size) {
			if _, err := f.store.Append(b.Context(), batch); err != nil {
				return err
			}
		}
		return nil
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// benchPath publishes, routes, claims and settles at once, as the bus does.
func benchPath(b *testing.B, open Open, fanout int) {
	f := newFixture(b, open)
	ctx := b.Context()
	bus := f.bus("bench")
	var matches []store.Routed
	ready := bell{}
	for i := range fanout {
		sub := f.subscribe(fmt.Sprintf("r/t%d", i), bus, store.OrderNone)
		matches = append(matches, store.Routed{Subscription: sub})
		ready[sub] = make(chan struct{}, 1)
	}
	f.watch.rings.Store(&ready)
	e := sizedEntry(f, bus, "e", 900)
	const publishers = 16
	var left atomic.Int64
	left.Store(int64(b.N))
	work := []func() error{func() error { return route(f, bus, matches, b.N) }}
	for range publishers {
		work = append(work, func() error {
			for left.Add(-1) >= 0 {
				if _, err := f.store.Append(ctx, []store.Entry{e}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, m := range matches {
		work = append(work, func() error { return drain(f, m.Subscription, ready[m.Subscription], b.N) })
	}
	b.ReportAllocs()
	b.ResetTimer()
	parallel(f, len(work), func(w int) error { return work[w]() })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// route routes n events as they come.
func route(f *fixture, bus store.BusID, matches []store.Routed, n int) error {
	var records []store.Record
	var events []store.RoutedEvent
	for position := uint64(0); position < uint64(n); {
		if err := f.store.Await(f.Context(), bus, position); err != nil {
			return err
		}
		var err error
		if records, err = f.store.Read(f.Context(), bus, position+1, 256, 1<<20, records[:0]); err != nil {
			return err
		}
		events = events[:0]
		for _, r := range records {
			events = append(events, store.RoutedEvent{Record: r, Matches: matches})
			position = r.Sequence
		}
		if err := f.store.Enqueue(f.Context(), bus, position, events); err != nil {
			return err
		}
	}
	return nil
}

// drain claims and settles n deliveries, waiting for the watcher's signal when
// there are none.
func drain(f *fixture, sub store.SubscriptionID, ready <-chan struct{}, n int) error {
	var ds []store.Delivery
	var outcomes []store.Settlement
	for n > 0 {
		var err error
		if ds, _, err = f.store.Claim(f.Context(), sub, f.now(), 128, ds[:0]); err != nil {
			return err
		}
		if len(ds) == 0 {
			<-ready
			continue
		}
		outcomes = outcomes[:0]
		for _, d := range ds {
			outcomes = append(outcomes, store.Settlement{ID: d.ID, Kind: store.Done})
		}
		if err := f.store.Settle(f.Context(), outcomes); err != nil {
			return err
		}
		n -= len(ds)
	}
	return nil
}

// bell has a channel for each subscription, rung when it is ready.
type bell map[store.SubscriptionID]chan struct{}

func (b bell) ring(sub store.SubscriptionID) {
	select {
	case b[sub] <- struct{}{}:
	default: // it rings already, or nobody listens
	}
}
