package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func seekChecks() []check {
	return []check{
		{"a seek back drops what is owed and queues again from there on", seekBack},
		{"after a seek back nothing later is claimed before what it queues", seekInOrder},
		{"a seek back survives a crash", seekSurvives},
		{"a seek ahead drops what is owed before", seekAhead},
		{"a seek ahead keeps the order of what is left", seekAheadOrder},
		{"a seek to the end drops all", seekEnd},
		{"a seek ends the replays of the subscription", seekEndsReplays},
		{"what a seek drops is traced with its attempts", seekLeavesTraces},
		{"a seek ahead of what is routed drops that too", seekUnrouted},
	}
}

func (f *fixture) seek(bus store.BusID, sub store.SubscriptionID, to uint64) store.SeekResult {
	f.Helper()
	r, err := f.store.Seek(f.ctx, sub, store.SeekOptions{To: to, Routed: f.store.Position(bus)})
	f.must(err)
	return r
}

// deliveriesOf is the traces of an event's deliveries on one subscription.
func (f *fixture) deliveriesOf(bus store.BusID, seq uint64, sub store.SubscriptionID) []store.DeliveryTrace {
	f.Helper()
	all, err := f.store.TraceOf(f.ctx, bus, seq)
	f.must(err)
	return slices.DeleteFunc(all, func(t store.DeliveryTrace) bool { return t.ID.Subscription != sub })
}

// wantDropped wants a trace of a delivery that was dropped, with its attempt.
func (f *fixture) wantDropped(bus store.BusID, seq uint64, sub store.SubscriptionID) {
	f.Helper()
	got := f.deliveriesOf(bus, seq, sub)
	if len(got) != 1 || got[0].State != "dropped" || got[0].Settled.IsZero() || len(got[0].Attempts) != 1 || got[0].Attempts[0].Error == "" {
		f.Errorf("the trace of #%d is %+v, want one that was dropped, with an attempt", seq, got)
	}
}

// seekLeavesTraces is about what was tried before it was dropped.
func seekLeavesTraces(f *fixture) {
	a, sub := f.ordered(store.OrderNone, "x-1", "x-2", "x-3")
	ds := f.claim(sub, 2)
	f.settle(f.retry(ds[0], time.Hour), f.retry(ds[1], time.Hour))
	f.seek(a, sub, 2)
	f.wantDropped(a, 1, sub)
	if got := f.deliveriesOf(a, 2, sub); len(got) != 1 || got[0].State != "retrying" {
		f.Errorf("what is ahead of the seek is %+v", got)
	}
	f.seek(a, sub, 1)
	f.wantDropped(a, 2, sub)
	if got := f.deliveriesOf(a, 3, sub); len(got) != 0 {
		f.Errorf("what was never tried left a trace: %+v", got)
	}
}

func seekBack(f *fixture) {
	a, sub := f.ordered(store.OrderNone, "x-1", "x-2", "x-3", "x-4")
	ds := f.claim(sub, 100)
	f.settle(f.done(ds[0]), f.done(ds[1]))
	r := f.seek(a, sub, 2)
	if r.Dropped != 2 || r.Run == 0 || r.From != 4 {
		f.Fatalf("the seek did %+v", r)
	}
	if info := f.info(sub); info.Depth != 0 || info.From != 4 {
		f.Errorf("the subscription is %+v", info)
	}
	if parts := f.parts(r.Run); !parts[0].Seek || parts[0].Position != 1 || parts[0].To != 4 {
		f.Errorf("what is to be queued is %+v", parts)
	}
	f.settle(f.done(ds[2]), f.die(ds[3])) // too late
	f.feed(a, r.Run, 1, 4, sub)
	for _, d := range f.wantClaim("from there on", sub, "x-2", "x-3", "x-4") {
		if d.ID.Run != r.Run || d.Trigger != store.TriggerReplay {
			f.Errorf("a delivery is %+v", d)
		}
		f.settle(f.done(d))
	}
	_, err := f.store.Replay(r.Run)
	f.wantErr("what is to be queued, when it is", err, store.ErrNotFound)
	_, err = f.store.Seek(f.ctx, sub+100, store.SeekOptions{To: 1})
	f.wantErr("a seek of a subscription that is not there", err, store.ErrNotFound)
	f.reopenIfPossible()
	if info := f.info(sub); info.Depth != 0 || info.Dead != 0 || info.From != 4 {
		f.Errorf("at the end the subscription is %+v", info)
	}
}

func seekInOrder(f *fixture) {
	for _, order := range []store.Order{store.OrderNone, store.OrderKey, store.OrderStrict} {
		name := fmt.Sprint("b", order)
		a := f.bus(name)
		sub := f.subscribe("r/"+name, a, order)
		f.publish(a, "x-1", "x-2", "x-3")
		f.routeKeyed(a, keyOfID, sub)
		f.claimUntil(sub, 3)
		r := f.seek(a, sub, 1)
		f.publish(a, "x-4")
		f.routeKeyed(a, keyOfID, sub)
		f.wantClaim("before anything is queued again", sub)
		f.feed(a, r.Run, 0, 2, sub)
		if ids := f.claimUntil(sub, 2); !slices.Equal(ids, []string{"x-1", "x-2"}) {
			f.Fatalf("queued up to x-2, claimed %v", ids)
		}
		f.must(f.store.Checkpoint(f.ctx))
		if f.reopenIfPossible() {
			f.routeKeyed(a, keyOfID, sub)
			f.wantClaim("after reopening", sub)
		}
		f.feed(a, r.Run, 2, 3, sub)
		if ids := f.claimUntil(sub, 2); !slices.Equal(ids, []string{"x-3", "x-4"}) {
			f.Errorf("in the end claimed %v", ids)
		}
	}
}

func seekSurvives(f *fixture) {
	a, sub := f.ordered(store.OrderKey, "x-1", "x-2", "y-1")
	f.settleAll(f.claimAll(sub), func(d store.Delivery) store.Settlement { return f.retry(d, time.Hour) })
	r := f.seek(a, sub, 1)
	if !f.canCrash() {
		f.Skip("the engine has no way to crash")
	}
	if r.Run != 0 { // it is not behind what is owed: nothing to do but to drop
		f.Fatalf("the seek did %+v", r)
	}
	f.settle() // x-1 is still owed
	f.advance(time.Hour)
	f.claimUntil(sub, 3)
	r = f.seek(a, sub, 1)
	f.crash()
	if parts := f.parts(r.Run); len(parts) != 1 || !parts[0].Seek || parts[0].Position != 0 || parts[0].To != 3 {
		f.Fatalf("after a crash what is to be queued is %+v", parts)
	}
	if info := f.info(sub); info.Depth != 0 || info.From != 3 {
		f.Errorf("after a crash the subscription is %+v", info)
	}
	f.feed(a, r.Run, 0, 3, sub)
	f.must(f.store.Checkpoint(f.ctx))
	f.crash()
	f.wantDone(sub, "x-1", "y-1")
	f.wantDone(sub, "x-2")
}

func seekAhead(f *fixture) {
	a, sub := f.ordered(store.OrderNone, "x-1", "x-2", "x-3", "x-4", "x-5")
	ds := f.claim(sub, 100)
	f.settle(f.retry(ds[0], time.Minute), f.done(ds[1]), release(ds[2]), f.retry(ds[3], time.Minute), release(ds[4]))
	r := f.seek(a, sub, 4)
	if r.Dropped != 2 || r.Run != 0 || r.From != 3 {
		f.Errorf("the seek did %+v", r)
	}
	if info := f.info(sub); info.Depth != 2 {
		f.Errorf("the subscription is %+v", info)
	}
	f.reopenIfPossible()
	f.route(a, sub)
	f.advance(time.Minute)
	f.settleAll(f.wantClaim("what is left", sub, "x-4", "x-5"), f.done)
	if info := f.info(sub); info.Depth != 0 {
		f.Errorf("at the end the subscription is %+v", info)
	}
}

func seekAheadOrder(f *fixture) {
	a, sub := f.ordered(store.OrderKey, "x-1", "y-1", "x-2", "y-2", "x-3", "y-3", "x-4")
	f.settleAll(f.claimAll(sub), func(d store.Delivery) store.Settlement { return f.retry(d, time.Minute) })
	f.claimAll(sub)
	f.seek(a, sub, 4)
	f.advance(time.Minute)
	f.wantDone(sub, "y-2", "x-3")
	f.wantDone(sub, "y-3", "x-4")
	f.wantClaim("at the end", sub)
	f.publish(a, "x-5", "x-6")
	f.routeKeyed(a, keyOfID, sub)
	f.wantDone(sub, "x-5")
	f.wantDone(sub, "x-6")
}

func seekEnd(f *fixture) {
	a, sub := f.ordered(store.OrderStrict, "x-1", "x-2", "x-3")
	f.settle(f.retry(f.claimOne(sub), time.Minute))
	r := f.seek(a, sub, 4)
	if r.Dropped != 3 || r.Run != 0 || r.From != 3 {
		f.Errorf("the seek did %+v", r)
	}
	f.advance(time.Minute)
	f.wantClaim("at the end", sub)
	f.publish(a, "x-4", "x-5")
	f.routeKeyed(a, keyOfID, sub)
	f.wantDone(sub, "x-4")
	f.wantDone(sub, "x-5")
}

func seekEndsReplays(f *fixture) {
	a, sub, run := f.replayed(store.OrderNone, "x-1", "x-2")
	r := f.seek(a, sub, 3)
	if r.Dropped != 2 {
		f.Errorf("the seek did %+v", r)
	}
	_, err := f.store.Replay(run)
	f.wantErr("the replay", err, store.ErrNotFound)
	f.wantClaim("at the end", sub)
	again := f.seek(a, sub, 1)
	f.feed(a, again.Run, 0, 1, sub)
	third := f.seek(a, sub, 1)
	if third.Dropped != 0 || third.Run != 0 {
		f.Errorf("a seek to where it is did %+v", third)
	}
	f.settleAll(f.wantClaim("of the second seek", sub, "x-1"), f.done)
	f.seek(a, sub, 1)
	_, err = f.store.Replay(again.Run)
	f.wantErr("the second seek after a third", err, store.ErrNotFound)
}

func seekUnrouted(f *fixture) {
	a, sub := f.ordered(store.OrderNone, "x-1")
	f.publish(a, "x-2", "x-3", "x-4")
	r := f.seek(a, sub, 4)
	if r.Dropped != 1 || r.From != 3 {
		f.Errorf("the seek did %+v", r)
	}
	f.wantClaim("before it is routed", sub)
	f.reopenIfPossible()
	if info := f.info(sub); info.From != 3 {
		f.Errorf("the subscription is %+v", info)
	}
}
