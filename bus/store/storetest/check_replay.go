package storetest

import (
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func replayChecks() []check {
	return []check{
		{"a replay queues events again, marked, under ids of their own", replayQueuesAgain},
		{"a replay says how far it is", replaySaysHowFar},
		{"a replay and the live flow do not hold each other back", replayHoldsNothingBack},
		{"a replay is in order in itself", replayInOrder},
		{"a busy live flow leaves a replay its share and no more", replayShare},
		{"dead letters of a replay are the subscription's", replayDead},
		{"what a replay queued and how far it is survive together", replaySurvives},
		{"a replay passes over what it has queued before", replayRepeats},
		{"a dropped replay drops what it queued and nothing else", replayDropped},
		{"a purge ends the replays of a subscription", replayPurged},
		{"a replay keeps the events that it owes", replayKeepsEvents},
		{"numbers of replays are not used again", replayNumbers},
	}
}

// replay begins a replay of all of a bus.
func (f *fixture) replay(bus store.BusID, subs ...store.SubscriptionID) uint32 {
	f.Helper()
	run, err := f.store.OpenReplay(f.ctx, store.ReplayOptions{Bus: bus, To: f.bounds(bus).Last, Subscriptions: subs})
	f.must(err)
	return run
}

// feed queues the events of a bus from after a sequence up to another for parts
// of a replay.
func (f *fixture) feed(bus store.BusID, run uint32, after, to uint64, subs ...store.SubscriptionID) {
	f.Helper()
	var events []store.RoutedEvent
	for _, r := range f.read(bus, after+1) {
		if r.Sequence > to {
			break
		}
		e := store.RoutedEvent{Record: r}
		for _, sub := range subs {
			e.Matches = append(e.Matches, store.Routed{Subscription: sub, Key: key(keyOfID(r))})
		}
		events = append(events, e)
	}
	f.must(f.store.EnqueueReplay(f.ctx, run, to, subs, events))
}

func (f *fixture) parts(run uint32) []store.ReplayPart {
	f.Helper()
	parts, err := f.store.Replay(run)
	f.must(err)
	return parts
}

// replayed publishes, delivers and then queues again some events.
func (f *fixture) replayed(order store.Order, ids ...string) (bus store.BusID, sub store.SubscriptionID, run uint32) {
	f.Helper()
	bus, sub = f.ordered(order, ids...)
	for range ids {
		f.settleAll(f.claimAll(sub), f.done)
	}
	run = f.replay(bus, sub)
	f.feed(bus, run, 0, uint64(len(ids)), sub)
	return bus, sub, run
}

func replayQueuesAgain(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderNone), f.subscribe("r/u", a, store.OrderNone)
	f.publish(a, "x-1", "x-2")
	f.route(a, sub, other)
	f.settleAll(f.claimAll(sub), f.done)
	f.settleAll(f.claimAll(other), f.done)
	ready := f.watch.readies(sub)
	run := f.replay(a, sub)
	f.feed(a, run, 0, 2, sub)
	if f.watch.readies(sub) == ready {
		f.Error("the watcher was not told")
	}
	ds := f.wantClaim("replayed", sub, "x-1", "x-2")
	for _, d := range ds {
		if d.ID.Run != run || d.ID.Subscription != sub || d.Trigger != store.TriggerReplay || d.Attempt != 1 || d.Redriven {
			f.Errorf("a replayed delivery is %+v", d)
		}
	}
	if info := f.info(sub); info.Depth != 2 || info.InFlight != 2 {
		f.Errorf("meanwhile the subscription is %+v", info)
	}
	f.settle(f.retry(ds[0], time.Minute), f.done(ds[1]))
	f.advance(time.Minute)
	if d := f.claimOne(sub); d.ID != ds[0].ID || d.Trigger != store.TriggerRetry || d.Attempt != 2 {
		f.Errorf("its second attempt is %+v", d)
	}
	f.wantClaim("of the other", other)
}

func replaySaysHowFar(f *fixture) {
	a, sub := f.ordered(store.OrderNone, "x-1", "x-2", "x-3", "x-4")
	f.settleAll(f.claimAll(sub), f.done)
	run, err := f.store.OpenReplay(f.ctx, store.ReplayOptions{Bus: a, After: 1, To: 4, Subscriptions: []store.SubscriptionID{sub}})
	f.must(err)
	want := store.ReplayPart{Subscription: sub, Bus: a, After: 1, Position: 1, To: 4}
	check := func(what string) {
		f.Helper()
		if got := f.parts(run); !slices.Equal(got, []store.ReplayPart{want}) {
			f.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	check("at first")
	f.feed(a, run, 1, 3, sub)
	want.Position, want.Queued, want.Depth = 3, 2, 2
	check("with two queued")
	ds := f.claimAll(sub)
	f.settle(f.done(ds[0]), f.die(ds[1]))
	want.Depth, want.Dead = 0, 1
	check("with two settled")
	f.must(f.store.EnqueueReplay(f.ctx, run, 4, []store.SubscriptionID{sub}, nil))
	want.Position = 4
	check("at the end")
	if f.reopenIfPossible() {
		check("after reopening")
	}
	_, err = f.store.Replay(run + 1)
	f.wantErr("a replay that is not there", err, store.ErrNotFound)
	_, err = f.store.OpenReplay(f.ctx, store.ReplayOptions{Bus: a, To: 4, Subscriptions: []store.SubscriptionID{sub + 100}})
	f.wantErr("a replay to a subscription that is not there", err, store.ErrNotFound)
}

func replayHoldsNothingBack(f *fixture) {
	for _, order := range []store.Order{store.OrderKey, store.OrderStrict} {
		a := f.bus([]string{"", "a", "b"}[order])
		sub := f.subscribe([]string{"", "r/t", "r/u"}[order], a, order)
		f.publish(a, "x-1")
		f.routeKeyed(a, keyOfID, sub)
		f.settleAll(f.claimAll(sub), f.done)
		run := f.replay(a, sub)
		f.feed(a, run, 0, 1, sub)
		f.settle(f.retry(f.claimOne(sub), time.Hour))
		f.publish(a, "x-2", "x-3")
		f.routeKeyed(a, keyOfID, sub)
		f.settle(f.retry(f.claimOne(sub), 2*time.Hour))
		f.advance(time.Hour)
		if d := f.claimOne(sub); d.ID.Run != run || d.ID.Sequence != 1 {
			f.Errorf("beside a live delivery that waits, claimed %s", describe(d.ID))
		}
	}
}

func replayInOrder(f *fixture) {
	a, sub, run := f.replayed(store.OrderKey, "x-1", "y-1", "x-2", "y-2")
	ds := f.wantClaim("first", sub, "x-1", "y-1")
	f.settle(f.retry(ds[0], time.Minute), f.done(ds[1]))
	f.reopenIfPossible()
	f.routeKeyed(a, keyOfID, sub)
	first, next := ds[0].Record.Event.ID(), ds[0].Record.Event.ID()[:2]+"2"
	f.wantDone(sub, ds[1].Record.Event.ID()[:2]+"2")
	f.advance(time.Minute)
	f.wantDone(sub, first)
	f.wantDone(sub, next)
	if parts := f.parts(run); parts[0].Depth != 0 {
		f.Errorf("at the end the replay is %+v", parts)
	}
}

// claimUntil delivers until n more are delivered, in time.
func (f *fixture) claimUntil(sub store.SubscriptionID, n int) (ids []string) {
	f.Helper()
	for range 10 {
		ds := f.claimAll(sub)
		f.settleAll(ds, f.done)
		if ids = append(ids, eventIDs(ds)...); len(ids) >= n {
			return ids
		}
		f.advance(time.Minute)
	}
	f.Fatalf("delivered %v only", ids)
	return nil
}

func replayShare(f *fixture) {
	const n = 400
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, names("x-", n)...)
	run := f.replay(a, sub)
	f.feed(a, run, 0, n, sub)
	f.route(a, sub)
	live, again := 0, 0
	for live+again < n {
		ds := f.claim(sub, 1+(live+again)%7)
		for _, d := range ds {
			if d.ID.Run == run {
				again++
			} else {
				live++
			}
		}
		f.settleAll(ds, f.done)
	}
	if again < n/20 || again > n/12 {
		f.Errorf("of %d deliveries %d were replayed ones", live+again, again)
	}
	f.settleAll(f.claimAll(sub), f.done)
	if parts := f.parts(run); parts[0].Depth != 0 {
		f.Errorf("without live ones the replay is left at %+v", parts)
	}
}

func replayDead(f *fixture) {
	a, sub, run := f.replayed(store.OrderKey, "x-1", "y-1")
	ds := f.claimAll(sub)
	f.settleAll(ds, f.die)
	if info := f.info(sub); info.Dead != 2 || info.Depth != 0 {
		f.Errorf("the subscription is %+v", info)
	}
	letters := f.letters(sub, 10)
	if len(letters) != 2 || letters[0].ID.Run != run || len(letters[0].Attempts) != 1 || letters[0].Attempts[0].Trigger != store.TriggerReplay {
		f.Fatalf("its dead letters are %+v", letters)
	}
	if f.reopenIfPossible() && len(f.letters(sub, 10)) != 2 {
		f.Error("reopening lost dead letters")
	}
	if traces := f.trace(a, 1); len(traces) != 2 || traces[1].ID.Run != run || traces[1].State != "dead" {
		f.Errorf("its trace is %+v", traces)
	}
	_, err := f.store.DropReplay(f.ctx, run, nil)
	f.must(err)
	n, err := f.store.Redrive(f.ctx, sub, letterIDs(letters))
	f.must(err)
	again := f.claimAll(sub)
	if n != 2 || len(again) != 2 || again[0].ID.Run != run || !again[0].Redriven || again[0].Trigger != store.TriggerRedrive {
		f.Fatalf("redriven: %d, %+v", n, again)
	}
	f.settleAll(again, f.done)
	if info := f.info(sub); info.Dead != 0 || info.Depth != 0 {
		f.Errorf("at the end the subscription is %+v", info)
	}
}

func replaySurvives(f *fixture) {
	a, sub, run := f.replayed(store.OrderNone, "x-1", "x-2", "x-3")
	f.settle(f.done(f.claim(sub, 1)[0]))
	f.must(f.store.Checkpoint(f.ctx))
	f.publish(a, "x-4")
	if f.canCrash() {
		f.crash()
	} else {
		f.reopen()
	}
	if parts := f.parts(run); parts[0].Position != 3 || parts[0].Queued != 3 || parts[0].Depth != 2 {
		f.Fatalf("afterwards the replay is %+v", parts)
	}
	if runs := f.store.Replays(); !slices.Equal(runs, []uint32{run}) {
		f.Errorf("afterwards there are the replays %v", runs)
	}
	for _, d := range f.claimAll(sub) {
		if d.ID.Run != run {
			f.Errorf("claimed %s", describe(d.ID))
		}
		f.settle(f.done(d))
	}
	if parts := f.parts(run); parts[0].Depth != 0 {
		f.Errorf("at the end the replay is %+v", parts)
	}
}

func replayRepeats(f *fixture) {
	a, sub, run := f.replayed(store.OrderNone, "x-1", "x-2")
	f.settleAll(f.claimAll(sub), f.done)
	f.feed(a, run, 0, 2, sub)
	f.wantClaim("fed twice", sub)
	f.must(f.store.EnqueueReplay(f.ctx, run+7, 2, []store.SubscriptionID{sub}, nil))
}

func replayDropped(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderKey), f.subscribe("r/u", a, store.OrderNone)
	f.publish(a, "x-1", "x-2")
	run, stays := f.replay(a, sub, other), f.replay(a, sub)
	f.feed(a, run, 0, 2, sub, other)
	f.feed(a, stays, 0, 1, sub)
	f.route(a, sub)
	n, err := f.store.DropReplay(f.ctx, run, []store.SubscriptionID{other})
	f.must(err)
	if parts := f.parts(run); n != 2 || len(parts) != 1 || parts[0].Subscription != sub {
		f.Errorf("a part with %d deliveries was dropped, left are %+v", n, parts)
	}
	ds := f.claim(sub, 100)
	n, err = f.store.DropReplay(f.ctx, run, nil)
	f.must(err)
	if n != 2 {
		f.Errorf("%d deliveries were dropped with the replay, want 2", n)
	}
	f.settleAll(ds, f.done)
	f.feed(a, run, 0, 2, sub)
	f.reopenIfPossible()
	f.routeKeyed(a, keyOfID, sub)
	_, err = f.store.Replay(run)
	f.wantErr("the dropped replay", err, store.ErrNotFound)
	f.settleAll(f.claimAll(sub), f.done)
	if info := f.info(sub); info.Depth != 0 || f.info(other).Depth != 0 {
		f.Errorf("at the end the subscription is %+v", info)
	}
	if parts := f.parts(stays); parts[0].Queued != 1 || parts[0].Depth != 0 {
		f.Errorf("the other replay is %+v", parts)
	}
	n, err = f.store.DropReplay(f.ctx, run, nil)
	if n != 0 || err != nil {
		f.Errorf("dropped again: %d, %v", n, err)
	}
}

func replayPurged(f *fixture) {
	_, sub, run := f.replayed(store.OrderNone, "x-1", "x-2")
	f.must(f.store.PurgeSubscription(f.ctx, sub))
	f.wantClaim("after the purge", sub)
	_, err := f.store.Replay(run)
	f.wantErr("the replay", err, store.ErrNotFound)
	f.reopenIfPossible()
	if info := f.info(sub); info.Depth != 0 {
		f.Errorf("the subscription is %+v", info)
	}
}

func replayKeepsEvents(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Hour})
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "x-1", "x-2")
	f.route(a, sub)
	f.settleAll(f.claimAll(sub), f.done)
	run := f.replay(a, sub)
	f.feed(a, run, 0, 2, sub)
	f.advance(2 * time.Hour)
	f.publish(a, "x-3")
	f.must(f.store.Trim(f.ctx))
	f.settleAll(f.wantClaim("after retention", sub, "x-1", "x-2"), f.done)
	f.must(f.store.Trim(f.ctx))
	f.eventually("nothing is held any more", func() bool { return f.store.Stats().OwedBytes == 0 })
}

func replayNumbers(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "x-1")
	f.route(a, sub)
	f.settleAll(f.claimAll(sub), f.done)
	seen := map[uint32]bool{0: true}
	for i := range 4 {
		run := f.replay(a, sub)
		if seen[run] {
			f.Fatalf("a replay has the number %d", run)
		}
		seen[run] = true
		_, err := f.store.DropReplay(f.ctx, run, nil)
		f.must(err)
		if i == 2 {
			f.reopenIfPossible()
		}
	}
}
