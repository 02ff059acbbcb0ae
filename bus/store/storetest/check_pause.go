package storetest

import (
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func pauseChecks() []check {
	return []check{
		{"a paused subscription is not claimed from, and goes on when resumed", pauseStopsClaims},
		{"a pause outlives reopening", pauseOutlivesReopening},
		{"what is in flight can be settled during a pause", pauseLetsSettle},
		{"the age of a delivery leaves pauses out", ageLeavesPausesOut},
		{"the age of a delivery goes on across reopening", ageAcrossReopening},
	}
}

func pauseStopsClaims(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderNone), f.subscribe("r/other", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub, other)
	f.must(f.store.Pause(f.ctx, sub, "maintenance"))
	if i := f.info(sub); !i.Paused || i.Reason != "maintenance" || !i.Since.Equal(f.now()) || i.Depth != 1 {
		f.Errorf("paused it is %+v", i)
	}
	if ds, next := f.claimNext(sub, 10); len(ds) != 0 || !next.IsZero() {
		f.Errorf("claimed %v from a paused subscription, next %v", eventIDs(ds), next)
	}
	f.wantClaim("the other", other, "1")
	f.publish(a, "2")
	f.route(a, sub, other)
	f.advance(time.Minute)
	f.wantClaim("later in the pause", sub)
	f.must(f.store.Resume(f.ctx, sub))
	if i := f.info(sub); i.Paused || i.Reason != "" || !i.Since.IsZero() || i.Depth != 2 {
		f.Errorf("resumed it is %+v", i)
	}
	f.wantClaim("after the pause", sub, "1", "2")
}

func pauseOutlivesReopening(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	start := f.now()
	f.must(f.store.Pause(f.ctx, sub, "410 Gone"))
	f.advance(time.Minute)
	f.reopen()
	f.route(a, sub)
	if i := f.info(sub); !i.Paused || i.Reason != "410 Gone" || !i.Since.Equal(start) {
		f.Errorf("after reopening it is %+v", i)
	}
	f.subscribe("r/t", a, store.OrderNone) // a restart opens it again
	f.wantClaim("after reopening", sub)
	f.must(f.store.Resume(f.ctx, sub))
	f.reopen()
	f.route(a, sub)
	if f.info(sub).Paused {
		f.Error("resumed and reopened, it is paused")
	}
	f.wantClaim("resumed", sub, "1")
}

func pauseLetsSettle(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1", "2", "3")
	f.route(a, sub)
	ds := f.claimAll(sub)
	f.must(f.store.Pause(f.ctx, sub, ""))
	f.settle(f.done(ds[0]), f.retry(ds[1], time.Second), f.die(ds[2]))
	if i := f.info(sub); i.Depth != 1 || i.InFlight != 0 || i.Dead != 1 {
		f.Errorf("it is %+v", i)
	}
	f.advance(time.Minute)
	f.wantClaim("in the pause", sub)
	f.must(f.store.Resume(f.ctx, sub))
	f.wantClaim("after the pause", sub, ds[1].Record.Event.ID())
}

func ageLeavesPausesOut(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	pause := func(d time.Duration) {
		f.Helper()
		f.must(f.store.Pause(f.ctx, sub, "p"))
		f.advance(d)
		f.must(f.store.Resume(f.ctx, sub))
	}
	wantAge := func(want time.Duration) {
		f.Helper()
		d := f.claimOne(sub)
		if d.Age != want {
			f.Errorf("the age is %v, want %v", d.Age, want)
		}
		f.settle(f.retry(d, 0))
	}
	pause(time.Hour) // before there is a delivery
	f.publish(a, "1")
	f.route(a, sub)
	wantAge(0)
	f.advance(10 * time.Second)
	wantAge(10 * time.Second)
	pause(time.Hour)
	wantAge(10 * time.Second)
	f.advance(5 * time.Second)
	pause(24 * time.Hour)
	f.advance(5 * time.Second)
	wantAge(20 * time.Second)
	f.reopenIfPossible()
	f.route(a, sub)
	wantAge(20 * time.Second)
	f.must(f.store.Pause(f.ctx, sub, "p"))
	f.publish(a, "2") // due in the midst of a pause
	f.advance(time.Minute)
	f.route(a, sub)
	f.settleAgesInPause(sub)
}

// settleAgesInPause resumes after another minute: neither of the deliveries has
// grown older by it.
func (f *fixture) settleAgesInPause(sub store.SubscriptionID) {
	f.Helper()
	f.advance(time.Minute)
	f.must(f.store.Resume(f.ctx, sub))
	for _, d := range f.wantClaim("after the last pause", sub, "1", "2") {
		want := map[string]time.Duration{"1": 20 * time.Second, "2": 0}[d.Record.Event.ID()]
		if d.Age != want {
			f.Errorf("event %s has age %v, want %v", d.Record.Event.ID(), d.Age, want)
		}
	}
}

func ageAcrossReopening(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "fresh", "retried")
	f.route(a, sub)
	f.advance(10 * time.Second)
	for _, d := range f.claimAll(sub) {
		if d.Record.Event.ID() == "retried" {
			f.settle(f.retry(d, time.Second))
		} else {
			f.settle(release(d))
		}
	}
	f.advance(10 * time.Second)
	f.reopen()
	f.route(a, sub)
	f.advance(10 * time.Second)
	for _, d := range f.wantClaim("after reopening", sub, "fresh", "retried") {
		if d.Age != 30*time.Second {
			f.Errorf("event %s has age %v, want 30s", d.Record.Event.ID(), d.Age)
		}
	}
}
