package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func orderChecks() []check {
	return []check{
		{"with order key one delivery of a key is claimed at a time, in bus order", keyOneAtATime},
		{"with order key a failing delivery holds back its own key only", keyHoldsBackItself},
		{"with order key deliveries without a key are not ordered", keylessUnordered},
		{"with order strict one delivery is claimed at a time, in bus order", strictOneAtATime},
		{"a dead or expired delivery lets the next of its key through", deadReleases},
		{"with order none a failing delivery holds back nothing", noneHoldsBackNothing},
		{"the next time for a held key is that of its first delivery", heldNext},
		{"first successes of a key are in bus order under random failures", func(f *fixture) { orderHistory(f, store.OrderKey) }},
		{"first successes are in bus order under random failures with order strict", func(f *fixture) { orderHistory(f, store.OrderStrict) }},
		{"a changed order holds for what is queued", changedOrder},
	}
}

// keyOfID is the order key of events that are called KEY-NUMBER.
func keyOfID(r store.Record) string {
	id := r.Event.ID()
	return id[:slices.Index([]byte(id), '-')]
}

func (f *fixture) ordered(order store.Order, ids ...string) (store.BusID, store.SubscriptionID) {
	f.Helper()
	a := f.bus("a")
	sub := f.subscribe("r/t", a, order)
	f.publish(a, ids...)
	f.routeKeyed(a, keyOfID, sub)
	return a, sub
}

func (f *fixture) wantDone(sub store.SubscriptionID, want ...string) {
	f.Helper()
	f.settleAll(f.wantClaim("in turn", sub, want...), f.done)
}

func keyOneAtATime(f *fixture) {
	a, sub := f.ordered(store.OrderKey, "x-1", "x-2", "y-1", "x-3", "y-2")
	f.wantDone(sub, "x-1", "y-1")
	ds := f.wantClaim("then", sub, "x-2", "y-2")
	f.wantClaim("while both keys are in flight", sub)
	if f.reopenIfPossible() {
		f.routeKeyed(a, keyOfID, sub)
		ds = f.wantClaim("after reopening", sub, "x-2", "y-2")
	}
	f.settleAll(ds, f.done)
	f.wantDone(sub, "x-3")
	f.wantClaim("at the end", sub)
}

func keyHoldsBackItself(f *fixture) {
	a, sub := f.ordered(store.OrderKey, "x-1", "y-1", "x-2", "y-2", "x-3", "y-3")
	for _, d := range f.wantClaim("at first", sub, "x-1", "y-1") {
		if d.Record.Event.ID() == "x-1" {
			f.settle(f.retry(d, time.Minute))
		} else {
			f.settle(f.done(d))
		}
	}
	f.wantDone(sub, "y-2")
	f.reopenIfPossible()
	f.routeKeyed(a, keyOfID, sub)
	f.wantDone(sub, "y-3")
	f.publish(a, "x-4", "y-4")
	f.routeKeyed(a, keyOfID, sub)
	f.wantDone(sub, "y-4")
	f.wantDone(sub)
	f.advance(time.Minute)
	for i := 1; i <= 4; i++ {
		f.wantDone(sub, fmt.Sprintf("x-%d", i))
	}
}

func keylessUnordered(f *fixture) {
	_, sub := f.ordered(store.OrderKey, "-1", "x-1", "-2", "-3", "x-2")
	for _, d := range f.wantClaim("all but the second of x", sub, "-1", "-2", "-3", "x-1") {
		f.settle(f.retry(d, time.Minute))
	}
	f.wantClaim("while all wait", sub)
}

func strictOneAtATime(f *fixture) {
	a, sub := f.ordered(store.OrderStrict, "x-1", "y-1", "-1", "x-2")
	d := f.claimOne(sub)
	f.wantClaim("while the first is in flight", sub)
	f.settle(f.retry(d, time.Minute))
	f.wantClaim("while the first waits", sub)
	f.reopenIfPossible()
	f.routeKeyed(a, keyOfID, sub)
	f.wantClaim("while the first waits, after reopening", sub)
	f.advance(time.Minute)
	for _, id := range []string{"x-1", "y-1", "-1", "x-2"} {
		f.wantDone(sub, id)
	}
}

func deadReleases(f *fixture) {
	for i, order := range []store.Order{store.OrderKey, store.OrderStrict} {
		a := f.bus(fmt.Sprint("bus", i))
		sub := f.subscribe(fmt.Sprint("r/t", i), a, order)
		f.publish(a, "x-1", "x-2", "x-3")
		f.routeKeyed(a, keyOfID, sub)
		f.settleAll(f.wantClaim("first", sub, "x-1"), f.die)
		d := f.wantClaim("after the death of the first", sub, "x-2")[0]
		f.settle(store.Settlement{ID: d.ID, Kind: store.Expired})
		f.wantDone(sub, "x-3")
	}
}

func noneHoldsBackNothing(f *fixture) {
	_, sub := f.ordered(store.OrderNone, "x-1", "x-2", "x-3")
	for _, d := range f.wantClaim("all at once", sub, "x-1", "x-2", "x-3") {
		f.settle(f.retry(d, time.Duration(4-d.ID.Sequence)*time.Minute))
	}
	f.advance(time.Minute)
	f.wantDone(sub, "x-3")
	f.advance(time.Minute)
	f.wantDone(sub, "x-2")
}

func heldNext(f *fixture) {
	_, sub := f.ordered(store.OrderKey, "x-1", "x-2", "y-1")
	for _, d := range f.wantClaim("at first", sub, "x-1", "y-1") {
		if d.Record.Event.ID() == "x-1" {
			f.settle(f.retry(d, time.Minute))
		}
	}
	if ds, next := f.claimNext(sub, 10); len(ds) != 0 || !next.Equal(f.now().Add(time.Minute)) {
		f.Errorf("claimed %v, next %v; want none and in a minute", eventIDs(ds), next)
	}
}

func changedOrder(f *fixture) {
	a, sub := f.ordered(store.OrderNone, "x-1", "x-2", "x-3")
	f.settleAll(f.wantClaim("unordered", sub, "x-1", "x-2", "x-3"), release)
	f.subscribe("r/t", a, store.OrderKey)
	for _, id := range []string{"x-1", "x-2", "x-3"} {
		f.wantDone(sub, id)
	}
}

// orderHistory delivers with random outcomes, reopening now and then, and holds
// the history of first successes against the bus.
func orderHistory(f *fixture, order store.Order) {
	rng := rand.New(rand.NewPCG(5, 6))
	a := f.bus("a")
	sub := f.subscribe("r/t", a, order)
	keys := []string{"u", "v", "w", "x", "y"}
	const n = 150
	last := map[string]uint64{} // the last that was settled, of each key
	inFlight := map[string]store.DeliveryID{}
	settled := map[uint64]bool{}
	published := 0
	for step := 0; len(settled) < n; step++ {
		if step > 20*n {
			f.Fatalf("%d of %d settled after %d steps", len(settled), n, step)
		}
		if published < n && rng.IntN(2) == 0 {
			f.publish(a, fmt.Sprintf("%s-%d", keys[rng.IntN(len(keys))], published))
			published++
			f.routeKeyed(a, keyOfID, sub)
		}
		for _, d := range f.claim(sub, 1+rng.IntN(4)) {
			k := keyOfID(d.Record)
			if order == store.OrderStrict {
				k = "all"
			}
			if other, held := inFlight[k]; held {
				f.Fatalf("%s is handed out while %s of its key is in flight", describe(d.ID), describe(other))
			}
			if settled[d.ID.Sequence] {
				f.Fatalf("%s is handed out after it was settled", describe(d.ID))
			}
			if d.ID.Sequence < last[k] {
				f.Fatalf("%s is handed out after sequence %d of its key was settled", describe(d.ID), last[k])
			}
			inFlight[k] = d.ID
			var o store.Settlement
			switch rng.IntN(8) {
			case 0, 1:
				o = f.retry(d, time.Duration(rng.IntN(3000))*time.Millisecond)
			case 2:
				o = release(d)
			case 3:
				o = f.die(d)
			default:
				o = f.done(d)
			}
			if o.Kind == store.Done || o.Kind == store.Dead {
				for s := last[k] + 1; s < d.ID.Sequence; s++ {
					if r, err := f.store.Get(f.ctx, a, s); err != nil || (order == store.OrderStrict || keyOfID(r) == k) && !settled[s] {
						f.Fatalf("%s is handed out before sequence %d of its key is settled (%v)", describe(d.ID), s, err)
					}
				}
				settled[d.ID.Sequence], last[k] = true, d.ID.Sequence
			}
			delete(inFlight, k)
			f.settle(o)
		}
		f.advance(time.Duration(rng.IntN(400)) * time.Millisecond)
		if rng.IntN(40) == 0 {
			f.reopenIfPossible()
			f.routeKeyed(a, keyOfID, sub)
		}
	}
}
