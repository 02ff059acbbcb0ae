package storetest

import (
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func queueChecks() []check {
	return []check{
		{"a routed event is delivered to each subscription that it matched, and no other", routedToMatches},
		{"a delivery carries the record as it was appended", deliveryCarriesRecord},
		{"done and expired settle a delivery for good", settledForGood},
		{"a retry comes at its time and not before", retryAtItsTime},
		{"attempts are numbered and say why they are made", attemptsNumbered},
		{"a retry without an attempt is not counted", retryWithoutAttempt},
		{"a released delivery is as it was", releasedAsItWas},
		{"an outcome for what is not claimed is passed over", unclaimedOutcomes},
		{"a match that is queued, in flight or dead already is passed over", matchPassedOver},
		{"a match of a subscription that is gone is passed over", goneSubscriptionPassedOver},
		{"the position is what the router said", positionMoves},
		{"the watcher hears when deliveries become ready", watcherHearsReady},
		{"a subscription counts what it owes", subscriptionCounts},
		{"a subscription shows its last error", lastErrorShown},
	}
}

func routedToMatches(f *fixture) {
	a := f.bus("a")
	x, y, z := f.subscribe("r/x", a, store.OrderNone), f.subscribe("r/y", a, store.OrderNone), f.subscribe("r/z", a, store.OrderNone)
	f.publish(a, "1", "2", "3")
	records := f.read(a, 1)
	f.must(f.store.Enqueue(f.ctx, a, 3, []store.RoutedEvent{
		{Record: records[0], Matches: []store.Routed{{Subscription: x}, {Subscription: y}}},
		{Record: records[2], Matches: []store.Routed{{Subscription: y}}},
	}))
	f.wantClaim("x", x, "1")
	f.wantClaim("y", y, "1", "3")
	f.wantClaim("z", z)
}

func deliveryCarriesRecord(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderKey)
	e := sizedEntry(f, a, "x", 5000)
	e.Via, e.Hops = "subscription/r0/t0", 7
	f.append(e)
	record := f.read(a, 1)[0]
	f.must(f.store.Enqueue(f.ctx, a, 1, []store.RoutedEvent{{Record: record, Matches: []store.Routed{{Subscription: sub, Key: key("k")}}}}))
	check := func() {
		f.Helper()
		d := f.claimOne(sub)
		if want := (store.DeliveryID{Subscription: sub, Bus: a, Sequence: 1}); d.ID != want {
			f.Errorf("id is %+v, want %+v", d.ID, want)
		}
		if d.Key != key("k") || d.Attempt != 1 || d.Trigger != store.TriggerFirst || d.Redriven || d.Age != 0 {
			f.Errorf("a first delivery is %+v", d)
		}
		f.wantSameRecord(record, d.Record)
		f.settle(release(d))
	}
	check()
	f.reopenIfPossible()
	f.routeKeyed(a, func(store.Record) string { return "k" }, sub)
	check()
}

func settledForGood(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2", "3")
	f.route(a, sub)
	ds := f.wantClaim("at first", sub, "1", "2", "3")
	f.settle(f.done(ds[0]), store.Settlement{ID: ds[1].ID, Kind: store.Expired}, f.done(ds[2]))
	f.advance(time.Hour)
	f.wantClaim("after all was settled", sub)
	if i := f.info(sub); i.Depth != 0 || i.InFlight != 0 || i.Dead != 0 || !i.Oldest.IsZero() {
		f.Errorf("info is %+v, want nothing owed", i)
	}
}

func retryAtItsTime(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2", "3")
	f.route(a, sub)
	for _, d := range f.wantClaim("at first", sub, "1", "2", "3") {
		after := time.Duration(d.ID.Sequence) * 10 * time.Second
		f.settle(f.retry(d, after))
	}
	start := f.now()
	ds, next := f.claimNext(sub, 10)
	if len(ds) != 0 || !next.Equal(start.Add(10*time.Second)) {
		f.Errorf("at once: claimed %v, next %v; want none and in 10s", eventIDs(ds), next.Sub(start))
	}
	f.advance(10*time.Second - time.Millisecond)
	f.wantClaim("just before the first", sub)
	f.advance(time.Millisecond)
	ds, next = f.claimNext(sub, 10)
	if !slices.Equal(eventIDs(ds), []string{"1"}) || !next.Equal(start.Add(20*time.Second)) {
		f.Errorf("after 10s: claimed %v, next %v; want 1 and in 20s", eventIDs(ds), next.Sub(start))
	} else if due := ds[0].Due; !due.Equal(start.Add(10 * time.Second)) {
		f.Errorf("the retry says that it was due after %v, want 10s", due.Sub(start))
	}
	if f.reopenIfPossible() {
		f.route(a, sub)
		f.wantClaim("after reopening", sub, "1")
	}
	f.advance(time.Minute)
	ds, next = f.claimNext(sub, 10)
	if got := slices.Sorted(slices.Values(eventIDs(ds))); !slices.Equal(got, []string{"2", "3"}) || !next.IsZero() {
		f.Errorf("after a minute: claimed %v, next %v; want 2, 3 and nothing next", got, next)
	}
}

func attemptsNumbered(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	for n := 1; n <= 5; n++ {
		d := f.claimOne(sub)
		trigger := store.TriggerRetry
		if n == 1 {
			trigger = store.TriggerFirst
		}
		if d.Attempt != n || d.Trigger != trigger || d.Redriven || d.Age != time.Duration(n-1)*time.Second {
			f.Errorf("attempt %d came as number %d, trigger %q, age %v", n, d.Attempt, d.Trigger, d.Age)
		}
		f.settle(f.retry(d, time.Second))
		if n == 3 {
			f.reopenIfPossible()
			f.route(a, sub)
		}
		f.advance(time.Second)
	}
}

func retryWithoutAttempt(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	d := f.claimOne(sub)
	f.settle(store.Settlement{ID: d.ID, Kind: store.Retry, RetryAt: f.now().Add(time.Second)})
	f.wantClaim("before its time", sub)
	f.advance(time.Second)
	if d := f.claimOne(sub); d.Attempt != 1 {
		f.Errorf("no attempt was made, and the next is number %d", d.Attempt)
	}
}

func releasedAsItWas(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	first := f.claimOne(sub)
	f.settle(release(first))
	again := f.claimOne(sub)
	if again.ID != first.ID || again.Attempt != 1 || again.Trigger != store.TriggerFirst {
		f.Errorf("a released first delivery comes as %+v", again)
	}
	f.settle(f.retry(again, time.Minute))
	f.advance(time.Minute)
	f.settle(release(f.claimOne(sub)))
	if d := f.claimOne(sub); d.Attempt != 2 || d.Trigger != store.TriggerRetry {
		f.Errorf("a released retry comes as %+v", d)
	}
}

func unclaimedOutcomes(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2")
	f.route(a, sub)
	one := store.Delivery{ID: store.DeliveryID{Subscription: sub, Bus: a, Sequence: 1}}
	f.settle(f.done(one), store.Settlement{ID: store.DeliveryID{Subscription: sub + 1000, Bus: a, Sequence: 1}},
		store.Settlement{ID: store.DeliveryID{Subscription: sub, Bus: a, Sequence: 99}})
	ds := f.wantClaim("nothing was claimed before", sub, "1", "2")
	f.settle(f.retry(ds[0], 0), f.done(ds[0])) // the second comes too late
	f.settle(f.die(ds[0]))
	if got := f.claimOne(sub); got.ID != ds[0].ID {
		f.Errorf("claimed %s, want %s", describe(got.ID), describe(ds[0].ID))
	}
	if n := f.info(sub).Dead; n != 0 {
		f.Errorf("%d dead letters from outcomes of what was not claimed", n)
	}
}

func matchPassedOver(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "queued", "inflight", "retrying", "dead")
	f.route(a, sub)
	ds := f.claimAll(sub)
	if len(ds) != 4 {
		f.Fatalf("claimed %v", eventIDs(ds))
	}
	for _, d := range ds {
		switch d.Record.Event.ID() {
		case "queued":
			f.settle(release(d))
		case "retrying":
			f.settle(f.retry(d, time.Hour))
		case "dead":
			f.settle(f.die(d))
		}
	}
	var again []store.RoutedEvent
	for _, r := range f.read(a, 1) {
		again = append(again, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub}}})
	}
	f.must(f.store.Enqueue(f.ctx, a, 4, again))
	if i := f.info(sub); i.Depth != 3 || i.InFlight != 1 || i.Dead != 1 {
		f.Errorf("info is %+v, want depth 3, 1 in flight, 1 dead", i)
	}
	f.wantClaim("after all were queued again", sub, "queued")
}

func goneSubscriptionPassedOver(f *fixture) {
	a := f.bus("a")
	gone, stays := f.subscribe("r/gone", a, store.OrderNone), f.subscribe("r/stays", a, store.OrderNone)
	f.must(f.store.OrphanSubscription(f.ctx, gone))
	f.publish(a, "1")
	f.route(a, gone, stays)
	f.wantClaim("the one that is left", stays, "1")
	if p := f.store.Position(a); p != 1 {
		f.Errorf("the position is %d, want 1", p)
	}
}

func positionMoves(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	f.publishN(a, "e", 10)
	if p := f.store.Position(a); p != 0 {
		f.Errorf("at first the position is %d", p)
	}
	f.must(f.store.Enqueue(f.ctx, a, 4, nil))
	if p := f.store.Position(a); p != 4 {
		f.Errorf("after routing 4 events the position is %d", p)
	}
	if p := f.store.Position(b); p != 0 {
		f.Errorf("the other bus has position %d", p)
	}
	f.must(f.store.Enqueue(f.ctx, a, 10, nil))
	f.reopen()
	if p := f.store.Position(a); p != 10 {
		f.Errorf("nothing was owed, and after reopening the position is %d, want 10", p)
	}
}

func watcherHearsReady(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	hears := func(what string, do func()) {
		f.Helper()
		before := f.watch.readies(sub)
		do()
		f.eventually("Ready after "+what, func() bool { return f.watch.readies(sub) > before })
	}
	f.publish(a, "1", "2")
	hears("Enqueue", func() { f.route(a, sub) })
	f.must(f.store.Pause(f.ctx, sub, "maintenance"))
	hears("Resume", func() { f.must(f.store.Resume(f.ctx, sub)) })
	ds := f.wantClaim("then", sub, "1", "2")
	f.settle(f.die(ds[0]), f.retry(ds[1], 0))
	hears("Redrive", func() {
		if n, err := f.store.Redrive(f.ctx, sub, []store.DeliveryID{ds[0].ID}); n != 1 || err != nil {
			f.Errorf("redrive gave %d, %v", n, err)
		}
	})
	f.must(f.store.OrphanSubscription(f.ctx, sub))
	hears("adoption", func() { f.subscribe("r/t", a, store.OrderNone) })
}

func subscriptionCounts(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	start := f.now()
	f.publishN(a, "e", 3)
	f.route(a, sub)
	f.advance(time.Minute)
	f.publishN(a, "f", 3)
	f.route(a, sub)
	want := func(what string, depth, inFlight, dead int64, oldest time.Time) {
		f.Helper()
		i := f.info(sub)
		if i.Depth != depth || i.InFlight != inFlight || i.Dead != dead || !i.Oldest.Equal(oldest) {
			f.Errorf("%s: depth %d, in flight %d, dead %d, oldest %v; want %d, %d, %d, %v",
				what, i.Depth, i.InFlight, i.Dead, i.Oldest, depth, inFlight, dead, oldest)
		}
	}
	want("queued", 6, 0, 0, start)
	ds := f.claimAll(sub)
	want("claimed", 6, 6, 0, start)
	slices.SortFunc(ds, func(x, y store.Delivery) int { return int(x.ID.Sequence) - int(y.ID.Sequence) })
	f.settle(f.done(ds[0]), f.die(ds[1]), f.retry(ds[2], time.Hour))
	want("three settled", 4, 3, 1, start)
	f.settle(f.done(ds[3]), release(ds[4]))
	want("five settled", 3, 1, 1, start)
	f.advance(time.Hour)
	for _, d := range f.claimAll(sub) {
		if d.ID.Sequence == 3 {
			f.settle(f.done(d))
		}
	}
	want("all of the first minute settled", 2, 2, 1, start.Add(time.Minute))
}

func lastErrorShown(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	if i := f.info(sub); i.LastError != "" || !i.LastErrorTime.IsZero() {
		f.Errorf("before any attempt the last error is %q at %v", i.LastError, i.LastErrorTime)
	}
	d := f.claimOne(sub)
	f.settle(f.retry(d, time.Second))
	if i := f.info(sub); i.LastError != "503 from 1" || i.LastErrorTime.IsZero() {
		f.Errorf("the last error is %q at %v", i.LastError, i.LastErrorTime)
	}
}
