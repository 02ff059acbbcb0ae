package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// ten failures, thirty seconds: the defaults of the configuration.
func tenFailures() bus.BreakerPolicy {
	return bus.BreakerPolicy{Failures: 10, Open: 30 * time.Second, PauseAfter: 5 * 24 * time.Hour}
}

// moody is a target whose answers a test sets; it notes when it was called.
type moody struct {
	*target
	err error
	at  []time.Time
}

func newMoody(err error) *moody {
	m := &moody{err: err}
	m.target = &target{deliver: func(_ context.Context, d *targets.Delivery) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.at = append(m.at, time.Now())
		var status *statusError
		if errors.As(m.err, &status) {
			d.Answer.Status = status.code
		}
		return m.err
	}}
	return m
}

func (m *moody) becomes(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *moody) calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.at)
}

// statusError is the answer of a receiver.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprint(e.code) }

// news are the system events so far.
func (w *world) news() (types []string, data []map[string]any) {
	w.t.Helper()
	records, _, err := w.engine.Read(context.Background(), bus.SystemBus, bus.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		types = append(types, strings.TrimPrefix(r.Event.Type(), "com.switchyard.target."))
		var d map[string]any
		if err := json.Unmarshal(r.Event.Data(), &d); err != nil || r.Event.Source() != "/switchyard/targets" || r.Event.Subject() != d["target"] {
			w.t.Errorf("system event %+v: %v", r.Event, err)
		}
		data = append(data, d)
	}
	return types, data
}

func (w *world) status(name string) bus.TargetStatus {
	w.t.Helper()
	s, ok := w.engine.TargetStatus(name)
	if !ok {
		w.t.Fatalf("there is no target %q", name)
	}
	return s
}

func TestABreakerSaysAfterHowManyFailuresItOpened(t *testing.T) {
	for failures, want := range map[int]string{1: ", after a failure", 3: ", after 3 failures in a row"} {
		within(t, func(w *world) {
			policy := tenFailures()
			policy.Failures = failures
			w.to(newMoody(errors.New("connection refused")).target, bus.TargetPlan{Breaker: policy, Concurrency: 1, Fingerprint: "1"})
			w.run()
			for i := range 5 {
				w.publish(w.event(fmt.Sprint(i)))
			}
			w.after(time.Second)
			if s := w.status("t"); !strings.HasSuffix(s.Reason, want) {
				t.Errorf("the reason is %q, want %q at its end", s.Reason, want)
			}
		})
	}
}

func TestABreakerGivesATargetThatFailsARest(t *testing.T) {
	within(t, func(w *world) {
		m := newMoody(errors.New("connection refused"))
		w.to(m.target, bus.TargetPlan{Breaker: tenFailures(), Concurrency: 1, Fingerprint: "1"})
		w.run()
		for i := range 50 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(time.Second)
		if n := m.calls(); n != 10 {
			t.Fatalf("%d attempts before the breaker opened, want 10", n)
		}
		s := w.status("t")
		if s.Breaker != "open" || !strings.Contains(s.Reason, "breaker open until") || w.engine.Waiting("all", "t") != s.Reason || s.Failures != 10 {
			t.Errorf("status: %+v", s)
		}
		if info := w.info("all/t"); info.InFlight != 0 || info.Depth != 50 {
			t.Errorf("while it is open: %+v", info)
		}
		w.after(28 * time.Second)
		if n := m.calls(); n != 10 {
			t.Fatalf("%d attempts while it was open", n-10)
		}
		w.after(2 * time.Second) // one trial at 30 s, the next after 60 s more
		if n := m.calls(); n != 11 {
			t.Fatalf("%d trials after 31 s, want 1", n-10)
		}
		w.after(59 * time.Second)
		if n := m.calls(); n != 12 {
			t.Fatalf("%d trials after 90 s, want 2", n-10)
		}
		m.becomes(nil)
		w.after(121 * time.Second)
		if w.status("t").Breaker != "closed" {
			t.Errorf("status after it healed: %+v", w.status("t"))
		}
		w.after(time.Hour)
		if info := w.info("all/t"); info.Depth != 0 || len(w.dead("all/t")) != 0 {
			t.Errorf("in the end: %+v", info)
		}
		if types, _ := w.news(); fmt.Sprint(types) != "[breaker.opened breaker.closed]" {
			t.Errorf("system events: %v", types)
		}
		traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 40)
		if err != nil || len(traces) != 1 || len(traces[0].Attempts) != 1 || traces[0].Attempts[0].Waited != store.WaitBreaker {
			t.Errorf("the trace does not say what the delivery waited for: %+v, %v", traces, err)
		}
	})
}

func TestWhileABreakerIsOpenNoAttemptsAreUsedUp(t *testing.T) {
	within(t, func(w *world) {
		m := newMoody(&statusError{500})
		w.to(m.target, bus.TargetPlan{Breaker: tenFailures(), Retry: bus.RetryPolicy{Attempts: 3, Delays: []time.Duration{time.Minute, time.Minute}}})
		w.run()
		for i := range 30 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(25 * time.Second)
		m.becomes(nil)
		w.after(time.Hour)
		if dead := w.dead("all/t"); len(dead) != 0 || w.info("all/t").Depth != 0 {
			t.Errorf("%d dead letters, %d owed", len(dead), w.info("all/t").Depth)
		}
		for _, d := range m.attempts() {
			if d.Attempt > 2 {
				t.Errorf("attempt %d was made of event %s", d.Attempt, d.Event.ID())
			}
		}
	})
}

func TestWhatOpensABreakerAndWhatDoesNot(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		open string
	}{
		"a transport error":       {errors.New("reset"), "open"},
		"a timeout":               {context.DeadlineExceeded, "open"},
		"a 500":                   {&statusError{500}, "open"},
		"a 503":                   {&statusError{503}, "open"},
		"a 429":                   {&statusError{429}, "closed"},
		"a 425":                   {&statusError{425}, "closed"},
		"a 400":                   {&targets.Permanent{Err: &statusError{400}}, "closed"},
		"a 503 with Retry-After":  {&targets.RetryAfter{Err: &statusError{503}, After: time.Second}, "closed"},
		"a 500 with Retry-After":  {&targets.RetryAfter{Err: &statusError{500}, After: time.Second}, "open"},
		"a refused address":       {targets.Permanentf("the network rules do not allow it"), "closed"},
		"success":                 {nil, "closed"},
		"no breaker and failures": {errors.New("off"), "off"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				m := newMoody(c.err)
				policy := tenFailures()
				if c.open == "off" {
					policy.Failures = 0
				}
				w.to(m.target, bus.TargetPlan{Breaker: policy})
				w.run()
				for i := range 20 {
					w.publish(w.event(fmt.Sprint(i)))
				}
				w.after(20 * time.Second)
				if s := w.status("t"); s.Breaker != c.open {
					t.Errorf("the breaker is %s, want %s", s.Breaker, c.open)
				}
			})
		})
	}
}

func TestABreakerSurvivesARestartUnlessItsTargetIsAnother(t *testing.T) {
	within(t, func(w *world) {
		m := newMoody(errors.New("down"))
		plan := bus.TargetPlan{Breaker: tenFailures(), Fingerprint: "1"}
		w.to(m.target, plan)
		w.run()
		for i := range 20 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(10 * time.Second)
		before := m.calls()
		restart := func(fingerprint string) {
			w.stop()
			if err := w.engine.Close(); err != nil {
				t.Fatal(err)
			}
			w.open()
			plan.Fingerprint = fingerprint
			w.to(m.target, plan)
			w.run()
			synctest.Wait()
		}
		restart("1")
		w.after(15 * time.Second)
		if s := w.status("t"); s.Breaker != "open" || m.calls() != before || s.LastError != "down" {
			t.Fatalf("after a restart: %+v, %d attempts", s, m.calls()-before)
		}
		m.becomes(nil)
		w.after(15 * time.Second)
		if s := w.status("t"); s.Breaker != "closed" {
			t.Fatalf("after it healed: %+v", s)
		}
		w.after(time.Second)
		if kept, err := w.store.ListObjects(context.Background(), "health"); err != nil || len(kept) != 0 {
			t.Errorf("kept of a target that is well: %+v, %v", kept, err)
		}
		m.becomes(errors.New("down"))
		for i := range 20 {
			w.publish(w.event(fmt.Sprint("again", i)))
		}
		w.after(time.Second)
		before = m.calls()
		restart("2")
		if m.calls() == before {
			t.Error("a target with other settings is not tried at once")
		}
	})
}

func TestRetryAfterHoldsUpTheWholeTarget(t *testing.T) {
	for name, c := range map[string]struct{ after, want time.Duration }{
		"as asked": {2 * time.Minute, 2 * time.Minute},
		"bounded":  {20 * time.Hour, bus.MaxHold},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				m := newMoody(&targets.RetryAfter{Err: &statusError{429}, After: c.after})
				w.to(m.target, bus.TargetPlan{Breaker: tenFailures(), Concurrency: 1})
				w.run()
				w.publish(w.event("0"))
				synctest.Wait()
				for i := range 20 {
					w.publish(w.event(fmt.Sprint(i + 1)))
				}
				m.becomes(nil)
				w.after(c.want - time.Second)
				if n := m.calls(); n != 1 || !strings.Contains(w.engine.Waiting("all", "t"), "Retry-After") {
					t.Fatalf("%d attempts in the pause; %q", n, w.engine.Waiting("all", "t"))
				}
				w.after(2 * time.Second)
				if n := m.calls(); n < 21 {
					t.Errorf("%d attempts after the pause", n)
				}
				for _, d := range m.attempts()[1:] {
					if d.Event.ID() != "0" && d.Attempt != 1 {
						t.Errorf("event %s used up attempts", d.Event.ID())
					}
				}
				traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 5)
				if err != nil || len(traces) != 1 || traces[0].Attempts[0].Waited != store.WaitRetryAfter {
					t.Errorf("trace: %+v, %v", traces, err)
				}
				if s := w.status("t"); s.Breaker != "closed" || s.Reason != "" {
					t.Errorf("status: %+v", s)
				}
			})
		})
	}
}

func TestATargetThatFailsForDaysIsPaused(t *testing.T) {
	for name, err := range map[string]error{"down": errors.New("down"), "unwilling": targets.Permanentf("401 Unauthorized")} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				m := newMoody(err)
				w.to(m.target, bus.TargetPlan{Breaker: tenFailures(), Fingerprint: "1"})
				w.run()
				for i := range 6*24 - 25 {
					w.publish(w.event(fmt.Sprint(i)))
					time.Sleep(time.Hour)
				}
				if w.info("all/t").Paused {
					t.Fatal("it was paused before five days had passed")
				}
				for i := range 26 {
					w.publish(w.event(fmt.Sprint("more", i)))
					time.Sleep(time.Hour)
				}
				info := w.info("all/t")
				if !info.Paused || !strings.Contains(info.Reason, "nothing but failures since") || !strings.Contains(info.Reason, err.Error()) {
					t.Fatalf("after six days: %+v", info)
				}
				if s := w.status("t"); len(s.Paused) != 1 || s.Paused[0].Name != "all/t" || s.Paused[0].Reason != info.Reason ||
					s.Paused[0].Since == nil || s.Until != nil || s.Reason != "1 of 1 subscriptions paused; all/t: "+info.Reason {
					t.Errorf("status while it is paused: %+v", s)
				}
				types, data := w.news()
				if last := data[len(data)-1]; types[len(types)-1] != "paused" || fmt.Sprint(last["subscriptions"]) != "[all/t]" || last["since"] == nil {
					t.Errorf("system events: %v %v", types, data)
				}
				before := m.calls()
				w.after(24 * time.Hour)
				if m.calls() != before {
					t.Error("attempts were made while it was paused")
				}
				m.becomes(nil)
				if err := w.engine.Resume(context.Background(), info.ID); err != nil {
					t.Fatal(err)
				}
				w.after(time.Minute)
				if info := w.info("all/t"); info.Paused || info.Depth != 0 {
					t.Errorf("after the resume: %+v", info)
				}
				if s := w.status("t"); s.Reason != "" || s.Paused != nil {
					t.Errorf("status after the resume: %+v", s)
				}
				if types, _ := w.news(); !strings.Contains(fmt.Sprint(types), "resumed") {
					t.Errorf("system events: %v", types)
				}
			})
		})
	}
}

func TestRulesReadTheSystemBusAndNobodyPublishesToIt(t *testing.T) {
	within(t, func(w *world) {
		seen := &target{}
		gone := &target{deliver: func(context.Context, *targets.Delivery) error {
			return &targets.Permanent{Err: errors.New("410 Gone"), Pause: "the receiver answered 410 Gone"}
		}}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: gone}})
		p.Targets["seen"] = bus.TargetPlan{Target: seen}
		p.Rules["alarm"] = bus.RulePlan{Bus: bus.SystemBus, Matcher: w.matcher(`event.type == "com.switchyard.target.paused" && event.data.target == "t"`), Targets: []string{"seen"}}
		w.apply(p)
		w.run()
		w.publish(w.event("1"))
		w.after(time.Second)
		if got := seen.attempts(); len(got) != 1 || got[0].Event.Subject() != "t" {
			t.Errorf("the rule got %+v", got)
		}
		_, err := w.engine.Publish(context.Background(), []bus.Publication{{Bus: bus.SystemBus, Event: w.event("2")}}, bus.PublishOptions{})
		var refused *bus.PublicationError
		if !errors.As(err, &refused) || refused.Code != bus.Reserved {
			t.Errorf("publishing to it: %v", err)
		}
		if err := w.engine.PublishDelivery(context.Background(), bus.SystemBus, &targets.Delivery{ID: "x", Event: w.event("3")}); !targets.IsPermanent(err) {
			t.Errorf("a bus target publishing to it: %v", err)
		}
	})
}

func TestTargetsThatHangLeaveTheEngineToOthers(t *testing.T) {
	within(t, func(w *world) {
		w.engine.Close()
		var err error
		if w.engine, err = bus.New(bus.Options{Store: w.store, MaxInFlight: 4}); err != nil {
			t.Fatal(err)
		}
		hang := func(ctx context.Context, _ *targets.Delivery) error { <-ctx.Done(); return ctx.Err() }
		plan := map[string]bus.TargetPlan{"works": {Target: &target{}}}
		for i := range 20 {
			plan[fmt.Sprint("hangs", i)] = bus.TargetPlan{Target: &target{deliver: hang}}
		}
		w.apply(w.plan(plan))
		w.run()
		for i := range 100 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		if n := len(plan["works"].Target.(*target).attempts()); n != 100 {
			t.Errorf("%d of 100 delivered to the target that works", n)
		}
	})
}

func TestABurstIsWhatARateLetsThroughAtOnce(t *testing.T) {
	within(t, func(w *world) {
		m := newMoody(nil)
		w.to(m.target, bus.TargetPlan{Rate: 10, Burst: 25})
		w.run()
		for i := range 100 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		if n := m.calls(); n != 25 {
			t.Errorf("%d attempts at once, want 25", n)
		}
		w.after(8 * time.Second)
		if n := m.calls(); n != 100 {
			t.Errorf("%d attempts in 8 s, want all", n)
		}
		for i := range m.at { // never more than the rate and one burst in any time
			for j := i + 1; j < len(m.at); j++ {
				if most := 25 + 10*m.at[j].Sub(m.at[i]).Seconds(); float64(j-i+1) > most+1 {
					t.Fatalf("%d attempts in %v", j-i+1, m.at[j].Sub(m.at[i]))
				}
			}
		}
	})
}

func TestWhatWasClaimedAheadGoesBackWhenTheBreakerOpens(t *testing.T) {
	within(t, func(w *world) {
		var n atomic.Int32
		tg := &target{deliver: func(context.Context, *targets.Delivery) error {
			time.Sleep(10 * time.Microsecond) // so fast that many are claimed at once
			if n := n.Add(1); n > 30 && n <= 40 {
				return errors.New("down")
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{Breaker: tenFailures(), Concurrency: 1})
		for i := range 200 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.run()
		w.after(20 * time.Second)
		if info := w.info("all/t"); n.Load() != 40 || info.InFlight != 0 || info.Depth != 170 {
			t.Errorf("%d attempts before the rest, want 40; %+v", n.Load(), info)
		}
		w.after(time.Minute)
		if info := w.info("all/t"); info.Depth != 0 {
			t.Errorf("after it: %+v", info)
		}
	})
}
