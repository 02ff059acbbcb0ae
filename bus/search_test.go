package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// Whatever is asked for, in whatever direction and pages: a search finds just the
// events that have it, as looking at each event would.
func TestASearchByDeliveriesFindsWhatLookingAtEachEventFinds(t *testing.T) {
	within(t, func(w *world) {
		to := map[string]bus.TargetPlan{
			"fine": {Target: &target{}},
			"bad": {Retry: bus.RetryPolicy{Attempts: 3}, Target: &target{deliver: func(_ context.Context, d *targets.Delivery) error {
				switch d.Sequence % 3 {
				case 0:
					return targets.Permanentf("no")
				case 1:
					return errors.New("not yet")
				}
				return nil
			}}},
		}
		p := w.plan(to)
		p.Rules["rare"] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(`int(event.id) % 97 == 5`), Targets: []string{"fine"}}
		p.Rules["part"] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(`int(event.id) > 100 && int(event.id) < 400`), Targets: []string{"bad", "fine"}}
		delete(p.Rules, "all")
		w.apply(p)
		w.run()
		const events = 600
		for i := 1; i <= events; i++ {
			attrs := []string{"subject", fmt.Sprint("s", i%2)}
			if i%50 == 0 {
				attrs = append(attrs, "expirytime", "1999-01-01T00:00:00Z")
			}
			w.publish(w.event(fmt.Sprint(i), attrs...))
		}
		time.Sleep(2 * time.Second) // some are dead, some wait for another try
		synctest.Wait()
		delete(p.Rules, "rare") // its deliveries are found all the same
		w.apply(p)
		id := w.info("part/bad").Bus
		found := map[string]int{}
		for _, status := range append([]string{""}, bus.DeliveryStatuses()...) {
			for _, f := range []bus.DeliveryFilter{{}, {Rule: "rare"}, {Rule: "part"}, {Target: "fine"}, {Rule: "part", Target: "bad"}, {Rule: "gone"}} {
				if f.Status = status; f == (bus.DeliveryFilter{}) {
					continue
				}
				for _, has := range [][]store.AttributeValue{nil, {{Name: "subject", Value: "s1"}}} {
					var want []uint64
					for seq := uint64(1); seq <= events; seq++ {
						r, err := w.store.Get(context.Background(), id, seq)
						if err != nil {
							t.Fatal(err)
						}
						all, err := w.store.TraceOf(context.Background(), id, seq)
						if err != nil {
							t.Fatal(err)
						}
						fits := slices.ContainsFunc(all, func(d store.DeliveryTrace) bool {
							rule, target := bus.SplitSubscription(d.Subscription)
							return (status == "" || d.State == status) && (f.Rule == "" || f.Rule == rule) && (f.Target == "" || f.Target == target)
						})
						if fits && (has == nil || has[0].In(r.Event)) {
							want = append(want, seq)
						}
					}
					found[status] += len(want)
					for _, oldest := range []bool{true, false} {
						for _, limit := range []int{1000, 7} {
							q := bus.Search{Ranges: []bus.SearchRange{{Bus: "orders"}}, Oldest: oldest, Has: has, Delivery: f, Limit: limit}
							got, seen := w.searchAll(q)
							if !oldest {
								slices.Reverse(got)
							}
							if !slices.Equal(got, want) {
								t.Errorf("%+v, %v, oldest %v, %d at a time: %v, want %v", f, has, oldest, limit, got, want)
							}
							if limit == 1000 && has == nil && seen != events {
								t.Errorf("%+v, oldest %v: %d events were read or passed over, of %d", f, oldest, seen, events)
							}
						}
					}
				}
			}
		}
		for _, status := range []string{"", "retrying", "delivered", "dead", "expired"} {
			if found[status] == 0 {
				t.Errorf("nothing had the status %q: the test shows nothing", status)
			}
		}
	})
}

// What is dead or owed is found by whatever is asked for, although retention has
// passed it.
func TestASearchFindsWhatOutlivesRetention(t *testing.T) {
	within(t, func(w *world) {
		p := w.plan(map[string]bus.TargetPlan{
			"t": {Retry: bus.RetryPolicy{Attempts: 100, Age: 100 * time.Hour}, Target: &target{deliver: func(_ context.Context, d *targets.Delivery) error {
				switch d.Sequence % 3 {
				case 0:
					return targets.Permanentf("no")
				case 1:
					return errors.New("not yet")
				}
				return nil
			}}},
		})
		p.Buses["orders"] = bus.BusPlan{MaxAge: time.Minute}
		w.apply(p)
		w.run()
		for i := 1; i <= 6; i++ {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(10 * time.Minute)
		w.publish(w.event("7"))
		w.after(10 * time.Second)
		if err := w.store.Trim(context.Background()); err != nil {
			t.Fatal(err)
		}
		if b, err := w.store.Bounds(w.info("all/t").Bus); err != nil || b.First != 7 {
			t.Fatalf("bounds %+v, %v", b, err)
		}
		of := func(name, value string) []store.AttributeValue {
			return []store.AttributeValue{{Name: name, Value: value}}
		}
		for what, c := range map[string]struct {
			q    bus.Search
			want []uint64
		}{
			"dead":                {bus.Search{Delivery: bus.DeliveryFilter{Status: "dead"}}, []uint64{3, 6}},
			"retrying":            {bus.Search{Delivery: bus.DeliveryFilter{Status: "retrying"}}, []uint64{1, 4, 7}},
			"by target":           {bus.Search{Delivery: bus.DeliveryFilter{Target: "t"}}, []uint64{1, 3, 4, 6, 7}},
			"by id":               {bus.Search{Has: of("id", "3")}, []uint64{3}},
			"by a prefix":         {bus.Search{Prefixes: of("type", "com.")}, []uint64{1, 3, 4, 6, 7}},
			"by id and status":    {bus.Search{Has: of("id", "6"), Delivery: bus.DeliveryFilter{Status: "dead"}}, []uint64{6}},
			"by id and rule":      {bus.Search{Has: of("id", "4"), Delivery: bus.DeliveryFilter{Rule: "all"}}, []uint64{4}},
			"delivered, and gone": {bus.Search{Delivery: bus.DeliveryFilter{Status: "delivered"}}, nil},
			"since":               {bus.Search{Since: time.Now().Add(-time.Minute)}, []uint64{7}},
			"until":               {bus.Search{Until: time.Now().Add(-time.Minute)}, []uint64{1, 3, 4, 6}},
		} {
			for _, oldest := range []bool{true, false} {
				for _, limit := range []int{1, 100} {
					c.q.Ranges, c.q.Oldest, c.q.Limit = []bus.SearchRange{{Bus: "orders"}}, oldest, limit
					got, seen := w.searchAll(c.q)
					if slices.Sort(got); !slices.Equal(got, c.want) {
						t.Errorf("%s, oldest %v, %d at a time: %v, want %v", what, oldest, limit, got, c.want)
					}
					if limit == 100 && seen > 7 {
						t.Errorf("%s, oldest %v: %d events were read or passed over", what, oldest, seen)
					}
				}
			}
		}
	})
}

// searchAll goes through all pages of a search of one bus; seen is how many events
// were read or passed over.
func (w *world) searchAll(q bus.Search) (all []uint64, seen uint64) {
	w.t.Helper()
	for range 10_000 {
		page, err := w.engine.Search(context.Background(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, it := range page.Items {
			all = append(all, it.Record.Sequence)
		}
		seen += page.Looked + page.Skipped
		if len(page.Rest) == 0 {
			return all, seen
		}
		q.Ranges = page.Rest
	}
	w.t.Fatalf("the search %+v does not end", q)
	return nil, 0
}
