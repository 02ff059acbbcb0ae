package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

// pullTarget is a pull target with leases of 30 seconds.
func pullTarget(t *testing.T, broadcast bool) targets.Target {
	t.Helper()
	config := pull.NewConfig()
	config.Lease, config.Broadcast = component.Duration(30*time.Second), broadcast
	built, err := config.Build(targets.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// pulls plans one pull target called "t" with a policy, and runs.
func (w *world) pulls(policy bus.TargetPlan) {
	w.t.Helper()
	policy.Target = pullTarget(w.t, false)
	w.apply(w.plan(map[string]bus.TargetPlan{"t": policy}))
	w.run()
}

func (w *world) receive(r bus.Receive) []bus.Leased {
	w.t.Helper()
	got, err := w.engine.Receive(context.Background(), "all", "t", r)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.Deliveries
}

// one receives exactly one delivery, of the event with this id.
func (w *world) one(id string) bus.Leased {
	w.t.Helper()
	got := w.receive(bus.Receive{Max: 1, Consumer: "one"})
	if len(got) != 1 || got[0].Event.ID() != id {
		w.t.Fatalf("received %s, want event %s", eventIDs(got), id)
	}
	return got[0]
}

// none checks that there is nothing to receive.
func (w *world) none() {
	w.t.Helper()
	if got := w.receive(bus.Receive{Max: 10}); len(got) > 0 {
		w.t.Fatalf("received %s, want nothing", eventIDs(got))
	}
}

func (w *world) ack(leases ...string) bus.Leases {
	w.t.Helper()
	got, err := w.engine.Ack(context.Background(), "all", "t", leases)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) nack(n bus.Nack, leases ...string) bus.Leases {
	w.t.Helper()
	got, err := w.engine.Nack(context.Background(), "all", "t", leases, n)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) extend(leases ...string) bus.Leases {
	w.t.Helper()
	got, err := w.engine.Extend(context.Background(), "all", "t", leases)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func eventIDs(ds []bus.Leased) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.Event.ID())
	}
	return "[" + strings.Join(ids, " ") + "]"
}

func after(d time.Duration) *time.Duration { return &d }

func TestAWaitingReceiveIsAnsweredAsSoonAsThereIsADelivery(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		start := time.Now()
		time.AfterFunc(7*time.Second, func() { w.publish(w.event("1")) })
		got := w.receive(bus.Receive{Max: 10, Wait: 20 * time.Second})
		if eventIDs(got) != "[1]" || time.Since(start) > 7*time.Second+10*time.Millisecond {
			t.Errorf("received %s after %s", eventIDs(got), time.Since(start))
		}
		if got[0].Attempt != 1 || !strings.HasPrefix(got[0].ID, "dlv_") || got[0].Lease == "" {
			t.Errorf("got %+v", got[0])
		}
		start = time.Now()
		if got := w.receive(bus.Receive{Wait: 20 * time.Second}); len(got) > 0 || time.Since(start) != 20*time.Second {
			t.Errorf("received %s after %s, want nothing after 20s", eventIDs(got), time.Since(start))
		}
	})
}

func TestAnAcknowledgedDeliveryIsDoneAndItsLeaseIsWorthNothing(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		w.publish(w.event("1"), w.event("2"))
		a, b := w.one("1"), w.one("2")
		if got := w.ack(a.Lease, "made up", b.Lease, a.Lease); strings.Join(got.Valid, " ") != a.Lease+" "+b.Lease || strings.Join(got.Invalid, " ") != "made up" {
			t.Errorf("acknowledging answered %+v", got)
		}
		for _, again := range []bus.Leases{w.ack(a.Lease), w.nack(bus.Nack{}, a.Lease), w.extend(a.Lease)} {
			if len(again.Valid) != 0 || len(again.Invalid) != 1 {
				t.Errorf("a lease that was used up answered %+v", again)
			}
		}
		if depth := w.info("all/t").Depth; depth != 0 {
			t.Errorf("depth is %d", depth)
		}
		w.after(time.Hour)
		w.none()
	})
}

func TestAnExpiredLeaseReturnsAtOnceAndCountsAsAnAttempt(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{Retry: bus.RetryPolicy{Initial: time.Hour, Max: time.Hour}})
		w.publish(w.event("1"))
		first := w.one("1")
		start := time.Now()
		got := w.receive(bus.Receive{Wait: time.Minute})
		if len(got) != 1 || got[0].Attempt != 2 || got[0].ID != first.ID || got[0].Lease == first.Lease {
			t.Fatalf("received %+v, want attempt 2 of %s", got, first.ID)
		}
		if took := time.Since(start); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("it came back after %s, want the lease's 30s", took)
		}
		if late := w.ack(first.Lease); len(late.Valid) != 0 {
			t.Error("an expired lease was acknowledged")
		}
		w.ack(got[0].Lease)
		traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 1)
		if err != nil || len(traces) != 1 {
			t.Fatalf("%d traces, %v", len(traces), err)
		}
		tr := traces[0]
		if tr.State != "delivered" || len(tr.Attempts) != 2 || tr.Attempts[0].Error != "the lease expired after 30s" || tr.Attempts[0].Address != "one" {
			t.Errorf("the trace is %+v", tr)
		}
	})
}

func TestALeaseAtItsEndIsNotValidAndExtendedItGoesOn(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		w.publish(w.event("1"))
		l := w.one("1").Lease
		for range 10 {
			time.Sleep(29 * time.Second)
			if got := w.extend(l); len(got.Valid) != 1 {
				t.Fatalf("extending answered %+v", got)
			}
		}
		w.none()
		time.Sleep(30 * time.Second)
		if got := w.ack(l); len(got.Valid) != 0 {
			t.Error("a lease was valid at its very end")
		}
	})
}

func TestANegativeAcknowledgementDelaysByItsOwnTimeOrTheRetryPolicy(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{Retry: bus.RetryPolicy{Delays: []time.Duration{time.Minute, time.Minute, time.Minute, time.Minute}}})
		w.publish(w.event("1"))
		for _, c := range []struct {
			nack bus.Nack
			wait time.Duration
		}{
			{bus.Nack{Reason: "busy"}, time.Minute},
			{bus.Nack{Delay: after(5 * time.Second)}, 5 * time.Second},
			{bus.Nack{Delay: after(0)}, 0},
		} {
			l := w.one("1")
			w.nack(c.nack, l.Lease)
			if c.wait > 0 {
				time.Sleep(c.wait - 100*time.Millisecond)
				w.none()
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := w.one("1"); got.Attempt != 4 {
			t.Errorf("attempt %d, want 4", got.Attempt)
		}
	})
}

func TestADeliveryWhoseAttemptsAreUsedUpBecomesADeadLetterAndCanBeRedriven(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{Retry: bus.RetryPolicy{Attempts: 3}})
		w.publish(w.event("1"))
		w.one("1")
		time.Sleep(31 * time.Second) // expires
		w.nack(bus.Nack{Delay: after(0), Reason: "cannot parse it"}, w.one("1").Lease)
		w.nack(bus.Nack{Delay: after(0), Reason: "still not"}, w.one("1").Lease)
		w.none()
		dead := w.dead("all/t")
		if len(dead) != 1 || len(dead[0].Attempts) != 3 || dead[0].Reason != "gave up after 3 attempts; the last: the consumer gave it back: still not" {
			t.Fatalf("dead letters: %+v", dead)
		}
		if a := dead[0].Attempts[1]; a.Error != "the consumer gave it back: cannot parse it" || a.Address != "one" {
			t.Errorf("the second attempt is %+v", a)
		}
		if n, err := w.engine.Redrive(context.Background(), w.info("all/t").ID, bus.Selection{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if got := w.one("1"); !got.Redriven || got.Attempt != 1 {
			t.Errorf("redriven: %+v", got)
		}
	})
}

func TestATransformThatFailsIsADeadLetterAndNeverHandedOut(t *testing.T) {
	within(t, func(w *world) {
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}})
		r := p.Rules["all"]
		r.Transform = w.transform(`{"subject": "new", "data": "${{ event.subject }}"}`)
		p.Rules["all"] = r
		w.apply(p)
		w.run()
		w.publish(w.event("bad"), w.event("good", "subject", "old"))
		got := w.receive(bus.Receive{Max: 10})
		if eventIDs(got) != "[good]" || got[0].Event.Subject() != "new" || string(got[0].Event.Data()) != `"old"` {
			t.Errorf("received %s", eventIDs(got))
		}
		if dead := w.dead("all/t"); len(dead) != 1 || !strings.Contains(dead[0].Reason, "no such key: subject") {
			t.Errorf("dead letters: %+v", dead)
		}
		if depth := w.info("all/t").Depth; depth != 1 {
			t.Errorf("depth is %d, want the one lease", depth)
		}
	})
}

func TestAnEventPastItsExpirytimeIsNotHandedOut(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		w.publish(w.event("1", "expirytime", time.Now().Add(time.Minute).Format(time.RFC3339)), w.event("2"))
		time.Sleep(2 * time.Minute)
		if got := w.receive(bus.Receive{Max: 10}); eventIDs(got) != "[2]" {
			t.Errorf("received %s", eventIDs(got))
		}
	})
}

func TestConcurrencyIsTheMostLeasesOut(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{Concurrency: 3})
		for i := range 5 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		first := w.receive(bus.Receive{Max: 10})
		if len(first) != 3 {
			t.Fatalf("received %s, want three", eventIDs(first))
		}
		w.none()
		time.AfterFunc(time.Second, func() { w.ack(first[1].Lease) })
		if got := w.receive(bus.Receive{Max: 10, Wait: 10 * time.Second}); eventIDs(got) != "[3]" {
			t.Errorf("after one was acknowledged, received %s", eventIDs(got))
		}
	})
}

func TestRateBoundsWhatIsHandedOut(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{Rate: 1})
		for i := range 5 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		start := time.Now()
		for range 5 {
			if got := w.receive(bus.Receive{Max: 10, Wait: time.Minute}); len(got) != 1 {
				t.Fatalf("received %s", eventIDs(got))
			}
		}
		if took := time.Since(start); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("five deliveries at 1/s took %s", took)
		}
	})
}

func TestAPausedSubscriptionHandsNothingOutAndTakesAcknowledgements(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		w.publish(w.event("1"), w.event("2"))
		l := w.one("1")
		id := w.info("all/t").ID
		if err := w.store.Pause(context.Background(), id, "test"); err != nil {
			t.Fatal(err)
		}
		w.none()
		if got := w.ack(l.Lease); len(got.Valid) != 1 {
			t.Errorf("acknowledging answered %+v", got)
		}
		time.AfterFunc(time.Second, func() { w.store.Resume(context.Background(), id) })
		if got := w.receive(bus.Receive{Wait: time.Minute}); eventIDs(got) != "[2]" {
			t.Errorf("received %s after the pause", eventIDs(got))
		}
	})
}

func TestAThousandPollsAreServedInTheOrderTheyCame(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		const polls = 1000
		var mu sync.Mutex
		var order []int
		for i := range polls {
			go func() {
				got, err := w.engine.Receive(context.Background(), "all", "t", bus.Receive{Max: 10, Wait: time.Minute})
				if err != nil || len(got.Deliveries) != 1 {
					t.Errorf("poll %d: %d deliveries, %v", i, len(got.Deliveries), err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if status, ok := w.engine.PullStatus(w.info("all/t").ID); !ok || status.Waiting != polls {
			t.Fatalf("status is %+v", status)
		}
		for i := range polls {
			w.publish(w.event(fmt.Sprint(i)))
			synctest.Wait()
		}
		for i, poll := range order {
			if i != poll {
				t.Fatalf("poll %d was served as number %d", poll, i)
			}
		}
		if status, _ := w.engine.PullStatus(w.info("all/t").ID); status != (bus.PullStatus{Leases: polls}) {
			t.Errorf("status is %+v", status)
		}
	})
}

func TestAClientThatGoesAwayFreesItsPlace(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{Concurrency: 1})
		ctx, cancel := context.WithCancel(context.Background())
		for range 100 {
			go func() {
				if _, err := w.engine.Receive(ctx, "all", "t", bus.Receive{Wait: time.Minute}); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if status, _ := w.engine.PullStatus(w.info("all/t").ID); status.Waiting != 0 {
			t.Fatalf("status is %+v", status)
		}
		// One whose client is gone when its turn comes.
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		w.publish(w.event("1"))
		w.engine.Receive(gone, "all", "t", bus.Receive{})
		w.one("1")
	})
}

func TestStoppingAnswersPollsAtOnceAndGivesLeasesBack(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		w.publish(w.event("1"))
		l := w.one("1")
		start := time.Now()
		done := make(chan []bus.Leased)
		go func() { done <- w.receive(bus.Receive{Wait: time.Minute}) }()
		synctest.Wait()
		w.stop()
		if got := <-done; len(got) != 0 || time.Since(start) > time.Second {
			t.Errorf("a poll received %s %s after the stop", eventIDs(got), time.Since(start))
		}
		if in := w.info("all/t"); in.Depth != 1 || in.InFlight != 0 {
			t.Errorf("after the stop: %+v", in)
		}
		if _, err := w.engine.Ack(context.Background(), "all", "t", []string{l.Lease}); !errors.Is(err, bus.ErrStopping) {
			t.Errorf("acknowledging after the stop: %v", err)
		}
		w.engine.Close()
		w.open()
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}}))
		w.run()
		synctest.Wait()
		if got := w.ack(l.Lease); len(got.Valid) > 0 {
			t.Error("a lease outlived a restart")
		}
		if got := w.one("1"); got.Attempt != 1 {
			t.Errorf("attempt %d after a restart, want 1: it was not the worker's fault", got.Attempt)
		}
	})
}

func TestChangingATargetToAnotherKindEndsItsLeases(t *testing.T) {
	within(t, func(w *world) {
		w.pulls(bus.TargetPlan{})
		w.publish(w.event("1"))
		w.one("1")
		done := make(chan []bus.Leased)
		go func() { done <- w.receive(bus.Receive{Wait: time.Minute}) }()
		synctest.Wait()
		tg := &target{}
		w.to(tg, bus.TargetPlan{})
		<-done
		w.after(time.Second)
		if got := tg.ids(); got != "1" {
			t.Errorf("the new target got %q; %+v", got, w.info("all/t"))
		}
		if _, err := w.engine.Receive(context.Background(), "all", "t", bus.Receive{}); !errors.Is(err, bus.ErrNotPull) {
			t.Errorf("receiving from another kind: %v", err)
		}
		if _, err := w.engine.Ack(context.Background(), "all", "t", nil); !errors.Is(err, bus.ErrNotPull) {
			t.Errorf("acknowledging to another kind: %v", err)
		}
		if _, err := w.engine.Receive(context.Background(), "all", "x", bus.Receive{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("receiving from nothing: %v", err)
		}
		tg.deliver = func(ctx context.Context, _ *targets.Delivery) error { <-ctx.Done(); return ctx.Err() }
		w.publish(w.event("2"), w.event("3"))
		synctest.Wait()
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}}))
		w.publish(w.event("4"))
		if got := w.receive(bus.Receive{Max: 10, Wait: time.Minute}); len(got) == 0 {
			t.Error("nothing is received once it is a pull target again")
		}
	})
}

func TestAnAnswerIsBoundedInBytes(t *testing.T) {
	within(t, func(w *world) {
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}})
		p.Buses["orders"] = bus.BusPlan{MaxEventSize: 4 << 20}
		w.apply(p)
		w.run()
		large := strings.Repeat("x", 3<<20)
		for i := range 5 {
			w.publish(w.event(fmt.Sprint(i), "large", large))
		}
		got := ""
		for range 3 {
			synctest.Wait() // until all is routed
			ds := w.receive(bus.Receive{Max: 100, Wait: time.Minute})
			got += eventIDs(ds)
			for _, d := range ds {
				w.nack(bus.Nack{Delay: after(time.Hour)}, d.Lease) // reads the event again
			}
		}
		if got != "[0 1][2 3][4]" {
			t.Errorf("answers had %s", got)
		}
	})
}

func TestNothingIsLostWhenTheStoreRestartsWithLeasesOut(t *testing.T) {
	dir := t.TempDir()
	var st *embedded.Store
	var w *world
	var stop func()
	open := func() {
		var err error
		if st, err = embedded.Open(embedded.Options{Dir: dir, DiskReserve: -1}); err != nil {
			t.Fatal(err)
		}
		registry := prometheus.NewRegistry()
		e, err := bus.New(bus.Options{Store: st, Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		env := w.envOf(t)
		w = &world{t: t, env: env, engine: e}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false), Order: store.OrderKey}}))
		w.run()
		stop = func() {
			families, err := registry.Gather()
			if err != nil {
				t.Error(err)
			}
			counted := false
			for _, f := range families {
				counted = counted || f.GetName() == "switchyard_pull_leases_total" && len(f.GetMetric()) > 0
			}
			if !counted {
				t.Error("leases were not counted")
			}
			w.stop()
			w.engine.Close()
			st.Close()
		}
	}
	open()
	const events = 40
	for i := range events {
		w.publish(w.event(fmt.Sprint(i), "subject", fmt.Sprint(i)))
	}
	seen := map[string]bool{}
	total := 0
	for range 4 {
		for i := 0; i < 5; {
			got := w.receive(bus.Receive{Max: 3, Wait: 5 * time.Second})
			if len(got) == 0 {
				t.Fatal("nothing is received")
			}
			for _, d := range got {
				i++
				if i%2 == 0 {
					continue // its lease is out at the restart
				}
				if seen[d.Event.ID()] {
					t.Errorf("event %s came again after it was acknowledged", d.Event.ID())
				}
				seen[d.Event.ID()] = true
				total += len(w.ack(d.Lease).Valid)
			}
		}
		stop()
		open()
	}
	for total < events {
		got := w.receive(bus.Receive{Max: 100, Wait: 5 * time.Second})
		if len(got) == 0 {
			t.Fatalf("%d of %d events are lost", events-total, events)
		}
		for _, d := range got {
			total += len(w.ack(d.Lease).Valid)
			seen[d.Event.ID()] = true
		}
	}
	if len(seen) != events {
		t.Errorf("%d events came, want %d", len(seen), events)
	}
	stop()
}

// envOf is w's environment of expressions, or a new one.
func (w *world) envOf(t *testing.T) *rules.Env {
	if w != nil {
		return w.env
	}
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}
