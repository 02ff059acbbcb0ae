package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// This file has the fixture's helpers for deliveries.

func (f *fixture) subscribe(name string, bus store.BusID, order store.Order) store.SubscriptionID {
	f.Helper()
	info, err := store.OpenSubscription(f.ctx, f.store, store.SubscriptionOptions{Name: name, Bus: bus, Order: order})
	f.must(err)
	return info.ID
}

func (f *fixture) info(sub store.SubscriptionID) store.SubscriptionInfo {
	f.Helper()
	info, err := f.store.Subscription(sub)
	f.must(err)
	return info
}

// route does what the router does: it hands all that was not routed yet to the
// queue, matched to these subscriptions, without order keys.
func (f *fixture) route(bus store.BusID, subs ...store.SubscriptionID) {
	f.Helper()
	f.routeKeyed(bus, func(store.Record) string { return "" }, subs...)
}

// routeKeyed is route with order keys.
func (f *fixture) routeKeyed(bus store.BusID, keyOf func(store.Record) string, subs ...store.SubscriptionID) {
	f.Helper()
	var events []store.RoutedEvent
	position := f.store.Position(bus)
	for _, r := range f.read(bus, position+1) {
		e := store.RoutedEvent{Record: r}
		for _, sub := range subs {
			e.Matches = append(e.Matches, store.Routed{Subscription: sub, Key: key(keyOf(r))})
		}
		events = append(events, e)
		position = r.Sequence
	}
	f.must(f.store.Enqueue(f.ctx, bus, position, events))
}

// claim claims up to n deliveries that are due now.
func (f *fixture) claim(sub store.SubscriptionID, n int) []store.Delivery {
	f.Helper()
	ds, _ := f.claimNext(sub, n)
	return ds
}

func (f *fixture) claimNext(sub store.SubscriptionID, n int) ([]store.Delivery, time.Time) {
	f.Helper()
	ds, next, err := f.store.Claim(f.ctx, sub, f.now(), n, nil)
	f.must(err)
	if len(ds) > n {
		f.Fatalf("claim of %d gave %d deliveries", n, len(ds))
	}
	return ds, next
}

// claimAll claims until nothing more comes.
func (f *fixture) claimAll(sub store.SubscriptionID) (all []store.Delivery) {
	f.Helper()
	for {
		ds := f.claim(sub, 100)
		if len(ds) == 0 {
			return all
		}
		all = append(all, ds...)
	}
}

// claimOne claims the one delivery that must be due.
func (f *fixture) claimOne(sub store.SubscriptionID) store.Delivery {
	f.Helper()
	ds := f.claim(sub, 10)
	if len(ds) != 1 {
		f.Fatalf("claimed %v, want one delivery", eventIDs(ds))
	}
	return ds[0]
}

// wantClaim claims all and compares the events as a set.
func (f *fixture) wantClaim(what string, sub store.SubscriptionID, want ...string) []store.Delivery {
	f.Helper()
	ds := f.claimAll(sub)
	got := eventIDs(ds)
	sorted := slices.Sorted(slices.Values(got))
	slices.Sort(want)
	if !slices.Equal(sorted, want) {
		f.Fatalf("%s: claimed %v, want %v", what, got, want)
	}
	return ds
}

func (f *fixture) settle(outcomes ...store.Settlement) {
	f.Helper()
	f.must(f.store.Settle(f.ctx, outcomes))
}

func (f *fixture) settleAll(ds []store.Delivery, outcome func(store.Delivery) store.Settlement) {
	f.Helper()
	var outcomes []store.Settlement
	for _, d := range ds {
		outcomes = append(outcomes, outcome(d))
	}
	f.settle(outcomes...)
}

// attempt is an attempt at d that failed unless its error is "".
func (f *fixture) attempt(d store.Delivery, err string) *store.Attempt {
	a := &store.Attempt{
		Number: d.Attempt, Trigger: d.Trigger, Started: f.now(), Duration: 3 * time.Millisecond,
		Status: 200, Address: "192.0.2.1:443",
	}
	if d.Attempt > 1 {
		a.Waited = store.Wait(d.Attempt % 7)
	}
	if d.ID.Sequence%2 == 1 {
		a.ReplyDropped = "it is too large"
		a.Published = store.EventPlace{Bus: d.ID.Bus, Sequence: d.ID.Sequence + 1<<33}
		a.Phases = store.Phases{DNS: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 4 * time.Millisecond, FirstByte: 9 * time.Millisecond}
	}
	if err != "" {
		a.Status, a.Error, a.Response = 503, err, "try later"
		a.Failure = &store.Failure{Class: "status", Request: "Webhook-Id: x\n", Answer: "Retry-After: 1\n"}
		if d.Attempt%2 == 1 {
			a.Failure.NextAt = f.now().Add(time.Second)
		}
		a.ReplyDropped, a.Published = "", store.EventPlace{}
	}
	return a
}

func (f *fixture) done(d store.Delivery) store.Settlement {
	return store.Settlement{ID: d.ID, Kind: store.Done, Attempt: f.attempt(d, "")}
}

func (f *fixture) retry(d store.Delivery, after time.Duration) store.Settlement {
	return store.Settlement{ID: d.ID, Kind: store.Retry, RetryAt: f.now().Add(after), Attempt: f.attempt(d, "503 from "+d.Record.Event.ID())}
}

func (f *fixture) die(d store.Delivery) store.Settlement {
	o := store.Settlement{ID: d.ID, Kind: store.Dead, Reason: "gave up on " + d.Record.Event.ID(), Attempt: f.attempt(d, "404")}
	o.Attempt.Failure.Died, o.Attempt.Failure.Reason = f.now(), o.Reason
	return o
}

func release(d store.Delivery) store.Settlement {
	return store.Settlement{ID: d.ID, Kind: store.Release}
}

// letters lists all dead letters in pages of the given size.
func (f *fixture) letters(sub store.SubscriptionID, page int) (all []store.DeadLetter) {
	f.Helper()
	after := ""
	for range 1000 {
		letters, next, err := f.store.ListDead(f.ctx, sub, after, page)
		f.must(err)
		if len(letters) > page {
			f.Fatalf("a page of %d dead letters has %d", page, len(letters))
		}
		all = append(all, letters...)
		if next == "" {
			return all
		}
		after = next
	}
	f.Fatal("the list of dead letters does not end")
	return nil
}

func letterIDs(letters []store.DeadLetter) (ids []store.DeliveryID) {
	for _, l := range letters {
		ids = append(ids, l.ID)
	}
	return ids
}

func eventIDs(ds []store.Delivery) (ids []string) {
	for _, d := range ds {
		ids = append(ids, d.Record.Event.ID())
	}
	return ids
}

// describe is a delivery in a few words, for messages.
func describe(id store.DeliveryID) string {
	text := fmt.Sprintf("sub %d bus %d seq %d", id.Subscription, id.Bus, id.Sequence)
	if id.Run > 0 {
		text += fmt.Sprintf(" run %d", id.Run)
	}
	return text
}
