package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func traceChecks() []check {
	return []check{
		{"a trace shows the state of every delivery of an event", traceStates},
		{"a trace shows every attempt and why it ended", traceAttempts},
		{"a trace of a redriven delivery goes on", traceRedriven},
		{"a trace survives reopening", traceSurvives},
		{"a trace names a subscription that was removed since", traceNamesTheRemoved},
		{"a receipt says whether an event was scheduled or of a transaction", receipts},
		{"an event that matched nothing has an empty trace", traceEmpty},
		{"the timelines of many events are those of each", timelines},
		{"recent attempts of a subscription are listed, newest event first, in pages", attemptsListed},
	}
}

func (f *fixture) trace(bus store.BusID, sequence uint64) []store.DeliveryTrace {
	f.Helper()
	traces, err := f.store.TraceOf(f.ctx, bus, sequence)
	f.must(err)
	return traces
}

// wantStates waits until the deliveries of an event have these states, in order
// of subscription.
func (f *fixture) wantStates(bus store.BusID, sequence uint64, want ...string) []store.DeliveryTrace {
	f.Helper()
	var traces []store.DeliveryTrace
	var got []string
	deadline := time.Now().Add(f.env.patience())
	for {
		f.env.Step()
		traces, got = f.trace(bus, sequence), nil
		for _, t := range traces {
			got = append(got, t.State)
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return traces
		}
		if time.Now().After(deadline) {
			f.Fatalf("the states are %q, want %q", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func traceStates(f *fixture) {
	a := f.bus("a")
	var subs []store.SubscriptionID
	want := []string{"queued", "in flight", "retrying", "delivered", "dead", "expired"}
	for i := range want {
		subs = append(subs, f.subscribe(fmt.Sprintf("r/%d", i), a, store.OrderNone))
	}
	f.publish(a, "x")
	queued := f.now()
	f.route(a, subs...)
	f.wantStates(a, 1, "queued", "queued", "queued", "queued", "queued", "queued")
	f.advance(time.Second)
	var retryAt time.Time
	for i, state := range want[1:] {
		d := f.claimOne(subs[i+1])
		switch state {
		case "retrying":
			o := f.retry(d, time.Minute)
			retryAt = o.RetryAt
			f.settle(o)
		case "delivered":
			f.settle(f.done(d))
		case "dead":
			f.settle(f.die(d))
		case "expired":
			f.settle(store.Settlement{ID: d.ID, Kind: store.Expired})
		}
	}
	for i, t := range f.wantStates(a, 1, want...) {
		if t.ID != (store.DeliveryID{Subscription: subs[i], Bus: a, Sequence: 1}) {
			f.Errorf("%s: the id is %+v", t.State, t.ID)
		}
		if !t.Queued.Equal(queued) {
			f.Errorf("%s: queued at %v, want %v", t.State, t.Queued, queued)
		}
		settled := t.State == "delivered" || t.State == "dead" || t.State == "expired"
		if settled != !t.Settled.IsZero() || settled && !t.Settled.Equal(f.now()) {
			f.Errorf("%s: settled at %v", t.State, t.Settled)
		}
		if (t.State == "retrying") != t.NextAt.Equal(retryAt) {
			f.Errorf("%s: tried again at %v, want %v for retrying", t.State, t.NextAt, retryAt)
		}
		if (t.State == "dead") != (t.Reason == "gave up on x") {
			f.Errorf("%s: the reason is %q", t.State, t.Reason)
		}
	}
}

func traceAttempts(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "x", "y")
	f.route(a, sub)
	attempts := map[uint64][]store.Attempt{}
	for range 3 {
		for _, d := range f.claimAll(sub) {
			o := f.retry(d, time.Second)
			if d.Attempt == 3 {
				o = f.done(d)
			}
			attempts[d.ID.Sequence] = append(attempts[d.ID.Sequence], *o.Attempt)
			f.settle(o)
		}
		f.advance(time.Second)
	}
	for s := uint64(1); s <= 2; s++ {
		t := f.wantStates(a, s, "delivered")[0]
		if len(t.Attempts) != 3 || !sameAttempts(t.Attempts, attempts[s]) {
			f.Errorf("sequence %d: the attempts are %+v, want %+v", s, t.Attempts, attempts[s])
		}
	}
}

func traceRedriven(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.dieInOrder(a, sub, 1)
	f.wantStates(a, 1, "dead")
	if n, err := f.store.Redrive(f.ctx, sub, letterIDs(f.letters(sub, 1))); n != 1 || err != nil {
		f.Fatalf("redrive gave %d, %v", n, err)
	}
	f.wantStates(a, 1, "queued")
	f.settle(f.done(f.claimOne(sub)))
	t := f.wantStates(a, 1, "delivered")[0]
	if len(t.Attempts) != 2 || t.Attempts[0].Trigger != store.TriggerFirst || t.Attempts[1].Trigger != store.TriggerRedrive {
		f.Errorf("the attempts are %+v, want the first and the redrive", t.Attempts)
	}
}

func traceSurvives(f *fixture) {
	a := f.bus("a")
	x, y := f.subscribe("r/x", a, store.OrderNone), f.subscribe("r/y", a, store.OrderNone)
	f.publish(a, "e")
	f.route(a, x, y)
	f.settle(f.retry(f.claimOne(x), time.Second))
	f.advance(time.Second)
	f.settle(f.done(f.claimOne(x)))
	before := f.wantStates(a, 1, "delivered", "queued")
	f.reopen()
	f.route(a, x, y)
	after := f.wantStates(a, 1, "delivered", "queued")
	if !sameAttempts(before[0].Attempts, after[0].Attempts) || len(after[0].Attempts) != 2 || !after[0].Settled.Equal(before[0].Settled) {
		f.Errorf("after reopening the trace is %+v, was %+v", after[0], before[0])
	}
}

func traceEmpty(f *fixture) {
	a := f.bus("a")
	f.publish(a, "x")
	if t := f.trace(a, 1); len(t) != 0 {
		f.Errorf("before it is routed: %+v", t)
	}
	f.route(a)
	f.env.Step()
	if t := f.trace(a, 1); len(t) != 0 {
		f.Errorf("after it is routed: %+v", t)
	}
}

func receipts(f *fixture) {
	a := f.bus("a")
	f.publish(a, "plain")
	f.schedule(a, "later", time.Minute)
	id := f.begin(entry(f, a, "x"), entry(f, a, "y"))
	accepted := f.now()
	f.advance(time.Second)
	f.commit(id)
	committed := f.now()
	f.advance(2 * time.Minute)
	f.eventually("the scheduled one is recorded", func() bool { return f.bounds(a).Last == 4 })
	check := func() {
		f.Helper()
		for seq, want := range map[uint64]store.Receipt{
			1: {Accepted: accepted},
			2: {Accepted: committed, Transaction: id},
			3: {Accepted: committed, Transaction: id},
			4: {Accepted: accepted, Due: accepted.Add(time.Minute)},
		} {
			got, err := f.store.ReceiptOf(f.ctx, a, seq)
			f.must(err)
			if !got.Accepted.Equal(want.Accepted) || !got.Due.Equal(want.Due) || got.Transaction != want.Transaction {
				f.Errorf("sequence %d: the receipt is %+v, want %+v", seq, got, want)
			}
		}
		for _, c := range []struct {
			from, to uint64
			want     []uint64
		}{{1, 4, []uint64{2, 3, 4}}, {1, 1, nil}, {2, 3, []uint64{2, 3}}, {4, 100, []uint64{4}}, {5, 9, nil}, {0, 4, nil}, {3, 2, nil}} {
			got, err := f.store.Receipts(f.ctx, a, c.from, c.to)
			f.must(err)
			if !slices.Equal(slices.Sorted(maps.Keys(got)), c.want) {
				f.Errorf("the receipts of %d to %d are %+v, want those of %v", c.from, c.to, got, c.want)
			}
			for seq, r := range got {
				want, err := f.store.ReceiptOf(f.ctx, a, seq)
				f.must(err)
				if show(r) != show(want) {
					f.Errorf("sequence %d: the receipt is %+v among others, and %+v alone", seq, r, want)
				}
			}
		}
	}
	check()
	f.reopenIfPossible()
	check()
	_, err := f.store.ReceiptOf(f.ctx, a, 5)
	f.wantErr("a receipt of an event that is not there", err, store.ErrNotFound)
}

func traceNamesTheRemoved(f *fixture) {
	a := f.bus("a")
	stays, goes := f.subscribe("r/stays", a, store.OrderNone), f.subscribe("r/goes", a, store.OrderNone)
	f.publish(a, "x")
	f.route(a, stays, goes)
	f.settle(f.done(f.claimOne(stays)))
	f.settle(f.done(f.claimOne(goes)))
	f.must(f.store.OrphanSubscription(f.ctx, goes))
	again := f.subscribe("r/goes", a, store.OrderNone)
	check := func() {
		f.Helper()
		names := map[store.SubscriptionID]string{}
		for _, t := range f.wantStates(a, 1, "delivered", "delivered") {
			names[t.ID.Subscription] = t.Subscription
		}
		if len(names) != 2 || names[stays] != "r/stays" || names[goes] != "r/goes" {
			f.Errorf("the trace names %v", names)
		}
		if former, err := f.store.Former(f.ctx); err != nil || len(former) != 1 || former[goes] != "r/goes" {
			f.Errorf("removed are %v, %v; want %d of %d", former, err, goes, again)
		}
	}
	check()
	f.reopenIfPossible()
	check()
}

func timelines(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	one, two := f.subscribe("r/1", a, store.OrderNone), f.subscribe("r/2", a, store.OrderNone)
	other := f.subscribe("s/1", b, store.OrderNone)
	f.publish(a, "1", "2", "3", "4", "5", "6")
	f.publish(b, "1", "2", "3")
	f.route(a, one, two)
	f.route(b, other)
	f.publish(a, "matches nothing")
	f.route(a)
	for _, d := range f.claimAll(one) {
		switch d.ID.Sequence {
		case 2:
			f.settle(f.retry(d, time.Minute))
		case 3:
			f.settle(f.die(d))
		case 4, 5:
			f.settle(f.done(d))
		}
	}
	f.wantStates(a, 5, "delivered", "queued")
	for _, span := range [][2]uint64{{1, 7}, {2, 4}, {5, 5}, {4, 1000}, {0, 3}, {7, 7}, {8, 9}, {3, 2}} {
		var want []store.Timeline
		for seq := max(span[0], 1); seq <= min(span[1], 7) && span[0] > 0; seq++ {
			if deliveries := f.trace(a, seq); len(deliveries) > 0 {
				want = append(want, store.Timeline{Sequence: seq, Deliveries: deliveries})
			}
		}
		got, err := f.store.Timelines(f.ctx, a, span[0], span[1])
		f.must(err)
		if show(got) != show(want) {
			f.Errorf("%v: %s, want %s", span, show(got), show(want))
		}
	}
	if got, err := f.store.Timelines(f.ctx, b, 1, 3); err != nil || len(got) != 3 || len(got[0].Deliveries) != 1 || got[0].Deliveries[0].ID.Subscription != other {
		f.Errorf("of another bus: %s, %v", show(got), err)
	}
}

// show is a value as text, with what its pointers point at.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
