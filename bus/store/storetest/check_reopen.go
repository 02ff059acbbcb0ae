package storetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func reopenChecks() []check {
	var all []check
	for _, end := range []struct {
		name string
		end  func(f *fixture)
	}{
		{"after reopening", (*fixture).reopen},
		{"after a crash", (*fixture).crash},
	} {
		all = append(all,
			check{"what was queued and not claimed is delivered " + end.name, func(f *fixture) { queuedComesAgain(f, end.end) }},
			check{"what was in flight is delivered again " + end.name, func(f *fixture) { inFlightComesAgain(f, end.end) }},
			check{"at any moment nothing owed is lost " + end.name, func(f *fixture) { nothingOwedIsLost(f, end.end) }},
			check{"a checkpoint keeps what was settled from being repeated " + end.name, func(f *fixture) { checkpointedNotRepeated(f, end.end) }},
			check{"commands stay done " + end.name, func(f *fixture) { commandsStayDone(f, end.end) }},
		)
	}
	return append(all, check{"what was settled before a clean close is not repeated", settledNotRepeated})
}

func queuedComesAgain(f *fixture, end func(*fixture)) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2", "3")
	f.route(a, sub)
	end(f)
	f.route(a, sub)
	f.wantClaim("all", sub, "1", "2", "3")
	end(f)
	f.route(a, sub)
	f.wantClaim("all, once more", sub, "1", "2", "3")
}

func inFlightComesAgain(f *fixture, end func(*fixture)) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderStrict)
	f.publish(a, "1", "2")
	f.route(a, sub)
	first := f.claimOne(sub)
	end(f)
	f.route(a, sub)
	if d := f.claimOne(sub); d.ID != first.ID {
		f.Errorf("first comes %s, want %s again", describe(d.ID), describe(first.ID))
	}
	if i := f.info(sub); i.Depth != 2 || i.InFlight != 1 {
		f.Errorf("depth %d, in flight %d, want 2 and 1", i.Depth, i.InFlight)
	}
}

// owedSet settles some of many deliveries with all kinds of outcomes and returns
// what must still come, by its state.
type owedSet struct {
	queued, dead, settled map[store.DeliveryID]bool
}

func (f *fixture) settleSome(a store.BusID, sub store.SubscriptionID, rng *rand.Rand) owedSet {
	f.Helper()
	o := owedSet{map[store.DeliveryID]bool{}, map[store.DeliveryID]bool{}, map[store.DeliveryID]bool{}}
	for round := range 6 {
		f.publishN(a, fmt.Sprintf("r%d-", round), 15)
		f.route(a, sub)
		for _, d := range f.claim(sub, 12) {
			o.queued[d.ID] = true
			switch rng.IntN(7) {
			case 0:
				f.settle(f.retry(d, time.Duration(rng.IntN(20))*time.Second))
			case 1:
				f.settle(f.die(d))
				o.dead[d.ID] = true
				delete(o.queued, d.ID)
			case 2:
				f.settle(release(d))
			case 3: // stays in flight
			default:
				f.settle(f.done(d))
				o.settled[d.ID] = true
				delete(o.queued, d.ID)
			}
		}
		f.advance(time.Second)
		if rng.IntN(3) == 0 {
			f.must(f.store.Checkpoint(f.ctx))
		}
		f.env.Step()
	}
	for s := uint64(1); s <= f.bounds(a).Last; s++ {
		id := store.DeliveryID{Subscription: sub, Bus: a, Sequence: s}
		if !o.dead[id] && !o.settled[id] {
			o.queued[id] = true
		}
	}
	return o
}

func nothingOwedIsLost(f *fixture, end func(*fixture)) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 4 {
		a := f.bus(fmt.Sprintf("a%d", n))
		sub := f.subscribe(fmt.Sprintf("r/t%d", n), a, store.OrderNone)
		o := f.settleSome(a, sub, rng)
		end(f)
		f.route(a, sub)
		f.advance(time.Hour)
		got := map[store.DeliveryID]bool{}
		for _, d := range f.claimAll(sub) {
			if got[d.ID] {
				f.Errorf("%s came twice", describe(d.ID))
			}
			got[d.ID] = true
		}
		for _, l := range f.letters(sub, 50) {
			if got[l.ID] {
				f.Errorf("%s is dead and queued", describe(l.ID))
			}
			got[l.ID] = true
		}
		for id := range o.queued {
			if !got[id] {
				f.Errorf("%s was owed and does not come again", describe(id))
			}
		}
		for id := range o.dead {
			if !got[id] {
				f.Errorf("%s was dead and is lost", describe(id))
			}
		}
	}
}

func settledNotRepeated(f *fixture) {
	notRepeated(f, func(*fixture) {}, (*fixture).reopen)
}

func checkpointedNotRepeated(f *fixture, end func(*fixture)) {
	notRepeated(f, func(f *fixture) { f.must(f.store.Checkpoint(f.ctx)) }, end)
}

// notRepeated settles some, ends the store and wants exactly the others.
func notRepeated(f *fixture, before, end func(*fixture)) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 4 {
		a := f.bus(fmt.Sprintf("a%d", n))
		sub := f.subscribe(fmt.Sprintf("r/t%d", n), a, store.OrderNone)
		o := f.settleSome(a, sub, rng)
		before(f)
		end(f)
		f.route(a, sub)
		f.advance(time.Hour)
		got := map[store.DeliveryID]bool{}
		for _, d := range f.claimAll(sub) {
			got[d.ID] = true
			if !o.queued[d.ID] {
				f.Errorf("%s was settled (done %v, dead %v) and comes again", describe(d.ID), o.settled[d.ID], o.dead[d.ID])
			}
		}
		if len(got) != len(o.queued) {
			f.Errorf("%d deliveries come, want %d", len(got), len(o.queued))
		}
		dead := f.letters(sub, 50)
		for _, l := range dead {
			if !o.dead[l.ID] {
				f.Errorf("%s is listed dead and was not", describe(l.ID))
			}
		}
		if len(dead) != len(o.dead) {
			f.Errorf("%d dead letters, want %d", len(dead), len(o.dead))
		}
	}
}

// commandsStayDone is about what users do by command: it is durable when it
// returns, without a checkpoint.
func commandsStayDone(f *fixture, end func(*fixture)) {
	a := f.bus("a")
	purged, paused := f.subscribe("r/purged", a, store.OrderNone), f.subscribe("r/paused", a, store.OrderNone)
	redriven, swept := f.subscribe("r/redriven", a, store.OrderNone), f.subscribe("r/swept", a, store.OrderNone)
	all := []store.SubscriptionID{purged, paused, redriven, swept}
	f.publish(a, "1", "2")
	f.route(a, all...)
	for _, sub := range []store.SubscriptionID{redriven, swept} {
		f.settleAll(f.claimAll(sub), f.die)
	}
	f.must(f.store.Checkpoint(f.ctx)) // the deaths themselves are no commands
	f.must(f.store.PurgeSubscription(f.ctx, purged))
	f.must(f.store.Pause(f.ctx, paused, "maintenance"))
	for _, sub := range []store.SubscriptionID{redriven, swept} {
		dead := letterIDs(f.letters(sub, 10))
		if len(dead) != 2 {
			f.Fatalf("%d dead letters, want 2", len(dead))
		}
		do := f.store.Redrive
		if sub == swept {
			do = f.store.PurgeDead
		}
		if n, err := do(f.ctx, sub, dead); n != 2 || err != nil {
			f.Fatalf("redrive or purge gave %d, %v", n, err)
		}
	}
	end(f)
	f.route(a, all...)
	f.wantClaim("purged", purged)
	f.wantClaim("dead letters purged", swept)
	if n := len(f.letters(swept, 10)); n != 0 {
		f.Errorf("%d dead letters are back", n)
	}
	f.wantClaim("paused", paused)
	if i := f.info(paused); !i.Paused || i.Reason != "maintenance" || i.Depth != 2 {
		f.Errorf("the paused subscription is %+v", i)
	}
	for _, d := range f.wantClaim("redriven", redriven, "1", "2") {
		if !d.Redriven || d.Trigger != store.TriggerRedrive || d.Attempt != 1 {
			f.Errorf("a redriven delivery is %+v", d)
		}
	}
	if n := len(f.letters(redriven, 10)); n != 0 {
		f.Errorf("%d redriven letters are still listed", n)
	}
}
