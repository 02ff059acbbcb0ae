package storetest

import (
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func subscriptionChecks() []check {
	return []check{
		{"a new subscription starts at the end of the bus", subscriptionStartsAtEnd},
		{"a subscription is found again by its name", subscriptionFoundAgain},
		{"subscriptions are listed in order of name", subscriptionsListed},
		{"an orphan that owes nothing is removed at once", orphanRemoved},
		{"an orphan that owes is kept, unclaimed, until it is adopted", orphanAdopted},
		{"an orphan with dead letters is kept until they are gone", orphanWithLetters},
		{"purging drops all that is owed and no dead letters", purgeDropsOwed},
		{"purging drops what is in flight", purgeDropsInFlight},
		{"ids of subscriptions are not used again", subscriptionIDsNotReused},
		{"a subscription that moves to another bus keeps what it owes", subscriptionMoves},
	}
}

func subscriptionStartsAtEnd(f *fixture) {
	a := f.bus("a")
	f.publishN(a, "e", 7)
	info, err := store.OpenSubscription(f.ctx, f.store, store.SubscriptionOptions{Name: "r/t", Bus: a, Order: store.OrderKey})
	f.must(err)
	if info.ID == 0 || info.Name != "r/t" || info.Bus != a || info.From != 7 || info.Orphaned || info.Paused || info.Depth != 0 {
		f.Errorf("a new subscription is %+v", info)
	}
	f.publishN(a, "f", 3)
	f.reopenIfPossible()
	if i := f.info(info.ID); i != info {
		f.Errorf("later it is %+v, want %+v", i, info)
	}
}

func subscriptionFoundAgain(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	info, err := store.OpenSubscription(f.ctx, f.store, store.SubscriptionOptions{Name: "r/t", Bus: a, Order: store.OrderNone})
	f.must(err)
	if info.ID != sub || info.From != 0 {
		f.Errorf("opened again it is %+v, want id %d from 0", info, sub)
	}
	f.reopenIfPossible()
	if again := f.subscribe("r/t", a, store.OrderNone); again != sub {
		f.Errorf("after reopening its id is %d, want %d", again, sub)
	}
}

func subscriptionsListed(f *fixture) {
	a := f.bus("a")
	want := []string{"a/1", "a/2", "b/1", "c/10", "c/9"}
	for _, i := range []int{3, 0, 4, 2, 1} {
		f.subscribe(want[i], a, store.OrderNone)
	}
	var got []string
	for _, i := range f.store.Subscriptions() {
		got = append(got, i.Name)
		if i != f.info(i.ID) {
			f.Errorf("listed as %+v, described as %+v", i, f.info(i.ID))
		}
	}
	if !slices.Equal(got, want) {
		f.Errorf("listed %v, want %v", got, want)
	}
}

func orphanRemoved(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	f.settleAll(f.claimAll(sub), f.done)
	f.must(f.store.OrphanSubscription(f.ctx, sub))
	f.wantGone(sub)
	f.reopenIfPossible()
	f.wantGone(sub)
}

func (f *fixture) wantGone(sub store.SubscriptionID) {
	f.Helper()
	_, err := f.store.Subscription(sub)
	f.wantErr("a removed subscription", err, store.ErrNotFound)
	for _, i := range f.store.Subscriptions() {
		if i.ID == sub {
			f.Errorf("a removed subscription is listed: %+v", i)
		}
	}
}

func orphanAdopted(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2")
	f.route(a, sub)
	f.must(f.store.OrphanSubscription(f.ctx, sub))
	check := func() {
		f.Helper()
		f.wantClaim("an orphan", sub)
		if i := f.info(sub); !i.Orphaned || i.Depth != 2 || i.Name != "r/t" {
			f.Errorf("the orphan is %+v", i)
		}
	}
	check()
	f.reopenIfPossible()
	f.route(a, sub)
	check()
	if adopted := f.subscribe("r/t", a, store.OrderNone); adopted != sub {
		f.Errorf("adopted as %d, want %d", adopted, sub)
	}
	if f.info(sub).Orphaned {
		f.Error("it is still an orphan")
	}
	f.wantDone(sub, "1", "2")
}

func orphanWithLetters(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2")
	f.route(a, sub)
	f.settleAll(f.claimAll(sub), f.die)
	f.must(f.store.OrphanSubscription(f.ctx, sub))
	if i := f.info(sub); !i.Orphaned || i.Dead != 2 {
		f.Errorf("the orphan is %+v", i)
	}
	f.must(f.store.PurgeSubscription(f.ctx, sub))
	if n := len(f.letters(sub, 10)); n != 2 {
		f.Fatalf("%d dead letters after the purge, want 2", n)
	}
	if n, err := f.store.PurgeDead(f.ctx, sub, letterIDs(f.letters(sub, 10))); n != 2 || err != nil {
		f.Errorf("purging dead letters gave %d, %v", n, err)
	}
	if err := f.store.PurgeSubscription(f.ctx, sub); err != nil {
		f.wantErr("purging it now", err, store.ErrNotFound) // it may be gone already
	}
	f.wantGone(sub)
}

func purgeDropsOwed(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderNone), f.subscribe("r/other", a, store.OrderNone)
	f.publish(a, "1", "2", "3", "4")
	f.route(a, sub, other)
	ds := f.claim(sub, 2)
	f.settle(f.die(ds[0]), f.retry(ds[1], time.Second))
	f.must(f.store.PurgeSubscription(f.ctx, sub))
	f.advance(time.Minute)
	f.wantClaim("the purged", sub)
	if i := f.info(sub); i.Depth != 0 || i.Dead != 1 {
		f.Errorf("the purged is %+v, want depth 0 and 1 dead", i)
	}
	f.wantDropped(a, 2, sub)
	if traces := f.deliveriesOf(a, 3, sub); len(traces) != 0 {
		f.Errorf("what was never tried left a trace: %+v", traces)
	}
	f.wantClaim("the other", other, "1", "2", "3", "4")
	f.publish(a, "5")
	f.route(a, sub)
	f.wantClaim("what came after the purge", sub, "5")
	f.must(f.store.OrphanSubscription(f.ctx, other))
	f.must(f.store.PurgeSubscription(f.ctx, other))
	f.wantGone(other)
}

func purgeDropsInFlight(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderStrict)
	f.publish(a, "1", "2")
	f.route(a, sub)
	d := f.claimOne(sub)
	f.must(f.store.PurgeSubscription(f.ctx, sub))
	f.settle(f.retry(d, 0))
	f.settle(f.die(d))
	f.publish(a, "3")
	f.route(a, sub)
	f.wantClaim("what came after the purge", sub, "3")
	if i := f.info(sub); i.Depth != 1 || i.InFlight != 1 || i.Dead != 0 {
		f.Errorf("the purged is %+v", i)
	}
}

func subscriptionIDsNotReused(f *fixture) {
	a := f.bus("a")
	seen := map[store.SubscriptionID]bool{}
	for i := range 4 {
		f.publish(a, "e")
		info, err := store.OpenSubscription(f.ctx, f.store, store.SubscriptionOptions{Name: "r/t", Bus: a})
		f.must(err)
		if seen[info.ID] || info.From != uint64(i)+1 {
			f.Errorf("opened as %+v, after %v", info, seen)
		}
		seen[info.ID] = true
		f.must(f.store.OrphanSubscription(f.ctx, info.ID))
		f.wantGone(info.ID)
		f.reopenIfPossible()
	}
}

func subscriptionMoves(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	f.publish(b, "x", "y")
	info, err := store.OpenSubscription(f.ctx, f.store, store.SubscriptionOptions{Name: "r/t", Bus: b})
	f.must(err)
	if info.ID != sub || info.Bus != b || info.From != 2 || info.Depth != 1 {
		f.Errorf("on the other bus it is %+v, want id %d, bus %d, from 2, depth 1", info, sub, b)
	}
	f.must(f.store.Enqueue(f.ctx, b, 2, nil))
	f.publish(b, "2")
	f.route(b, sub)
	f.wantClaim("from both buses", sub, "1", "2")
}
