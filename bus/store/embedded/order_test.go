package embedded

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// TestOrderAfterACrash settles deliveries in memory only, lets the next fail and
// cuts the power: what was settled comes again, and what failed, whose row is
// there and whose time has come, must not go before it.
func TestOrderAfterACrash(t *testing.T) {
	const events = 7
	for _, order := range []store.Order{store.OrderStrict, store.OrderKey} {
		for _, together := range []uint64{1, 2, events} { // routed in one step
			t.Run(fmt.Sprintf("order %d, %d routed together", order, together), func(t *testing.T) {
				ctx := context.Background()
				mem, clock := vfs.NewCrashableMem(), newClock()
				opts := Options{FS: mem, Dir: "data", NoBackground: true, Clock: clock.Now}
				s, err := Open(opts)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
				if err != nil {
					t.Fatal(err)
				}
				info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: bus, Order: order})
				if err != nil {
					t.Fatal(err)
				}
				appendNumbered(t, s, bus, 1, events)
				must(t, s.Checkpoint(ctx))
				route := func() {
					for at := s.Position(bus) + 1; at <= events; at += together {
						records, err := s.Read(ctx, bus, at, int(together), 1<<20, nil)
						must(t, err)
						var routed []store.RoutedEvent
						for _, r := range records {
							routed = append(routed, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: info.ID, Key: 7}}})
						}
						must(t, s.Enqueue(ctx, bus, min(at+together-1, events), routed))
					}
				}
				claim := func() store.Delivery {
					ds, _, err := s.Claim(ctx, info.ID, clock.Now(), 10, nil)
					must(t, err)
					if len(ds) > 1 {
						t.Fatalf("%d of one line are under way at once", len(ds))
					}
					if len(ds) == 0 {
						return store.Delivery{}
					}
					return ds[0]
				}
				settle := func(d store.Delivery, o store.Settlement) {
					o.ID, o.Attempt = d.ID, &store.Attempt{Number: 1, Started: clock.Now()}
					must(t, s.Settle(ctx, []store.Settlement{o}))
				}
				route()
				for range 3 {
					settle(claim(), store.Settlement{Kind: store.Done})
				}
				settle(claim(), store.Settlement{Kind: store.Retry, RetryAt: clock.Now().Add(time.Second)})
				must(t, s.state.flush())

				left := mem.CrashClone(vfs.CrashCloneCfg{})
				must(t, s.Close())
				opts.FS = left
				if s, err = Open(opts); err != nil {
					t.Fatal(err)
				}
				clock.advance(time.Minute)
				var got []uint64
				for n := 0; n < 20; n++ {
					if n == 2 { // deliveries are claimed before the router has come by, too
						route()
					}
					if d := claim(); d.ID.Sequence != 0 {
						got = append(got, d.Record.Sequence)
						settle(d, store.Settlement{Kind: store.Done})
					}
				}
				if want := []uint64{1, 2, 3, 4, 5, 6, 7}; !slices.Equal(got, want) {
					t.Errorf("delivered %v, want %v", got, want)
				}
			})
		}
	}
}
