package bus_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// calls is how often an endpoint was asked.
func (c *crm) calls() int { return len(strings.Fields(c.requests())) }

// ill answers with a status, and as it should with 200.
func ill(status *atomic.Int64) func(http.ResponseWriter, *http.Request) {
	return func(rw http.ResponseWriter, r *http.Request) {
		if s := status.Load(); s != 200 {
			rw.WriteHeader(int(s))
			io.WriteString(rw, "ill")
			return
		}
		answerJSON(rw, r)
	}
}

func (w *world) enrichStatus() bus.EnrichStatus {
	w.t.Helper()
	all := w.engine.EnrichStatus("all")
	if len(all) != 1 || all[0].Name != "customer" {
		w.t.Fatalf("status of the endpoints: %+v", all)
	}
	return all[0]
}

func tenCalls() enrich.Breaker { return enrich.Breaker{Failures: 10, Open: 30 * time.Second} }

func TestABreakerGivesAnEndpointThatFailsARest(t *testing.T) {
	within(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		c, tg := newCRM(w, ill(&status)), &target{}
		w.apply(w.enriched(c, enrich.Call{Breaker: tenCalls()}, map[string]bus.TargetPlan{"t": {Target: tg, Concurrency: 1, Breaker: tenFailures(),
			Retry: bus.RetryPolicy{Attempts: 4, Delays: []time.Duration{5 * time.Minute, 5 * time.Minute, 5 * time.Minute}}}}))
		w.run()
		for i := range 50 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(5 * time.Second)
		if n := c.calls(); n != 20 { // each of ten deliveries asks twice
			t.Fatalf("%d calls before the breaker opened, want 20", n)
		}
		s := w.enrichStatus()
		if s.Breaker != "open" || !strings.HasPrefix(s.Reason, "breaker open until") || s.Failures != 10 || s.Until == nil ||
			w.engine.Waiting("all", "t") != "enrich customer: "+s.Reason {
			t.Errorf("status: %+v, waiting: %q", s, w.engine.Waiting("all", "t"))
		}
		if s := w.status("t"); s.Breaker != "closed" || s.Failures != 0 {
			t.Errorf("the target is judged by it: %+v", s)
		}
		if info := w.info("all/t"); info.InFlight != 0 || info.Depth != 50 {
			t.Errorf("while it is open: %+v", info)
		}
		w.after(24 * time.Second)
		if n := c.calls(); n != 20 {
			t.Fatalf("%d calls while it was open", n-20)
		}
		w.after(4 * time.Second) // one delivery at 30 s, the next after 60 s more
		if n := c.calls(); n != 22 {
			t.Fatalf("%d calls of the first trial, want 2", n-20)
		}
		status.Store(200)
		w.after(2 * time.Hour)
		if s := w.enrichStatus(); s.Breaker != "closed" || s.Reason != "" || s.Failures != 0 {
			t.Errorf("status after it healed: %+v", s)
		}
		if len(tg.attempts()) != 50 || len(w.dead("all/t")) != 0 || w.info("all/t").Depth != 0 {
			t.Errorf("%d delivered, %d dead letters, %+v", len(tg.attempts()), len(w.dead("all/t")), w.info("all/t"))
		}
		for _, d := range tg.attempts() {
			if d.Attempt > 3 {
				t.Errorf("attempt %d was made of event %s", d.Attempt, d.Event.ID())
			}
		}
		traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 40)
		if err != nil || len(traces) != 1 || len(traces[0].Attempts) != 1 || traces[0].Attempts[0].Waited != store.WaitBreaker {
			t.Errorf("the trace does not say what the delivery waited for: %+v, %v", traces, err)
		}
		records, _, err := w.engine.Read(context.Background(), bus.SystemBus, bus.Query{})
		if err != nil || len(records) != 2 {
			t.Fatalf("system events: %+v, %v", records, err)
		}
		for i, want := range []string{bus.TypeEnrichBreakerOpened, bus.TypeEnrichBreakerClosed} {
			ev := records[i].Event
			if ev.Type() != want || ev.Source() != "/switchyard/rules" || ev.Subject() != "all" ||
				!strings.Contains(string(ev.Data()), `"rule":"all","enrichment":"customer"`) {
				t.Errorf("%s of %s about %s: %s", ev.Type(), ev.Source(), ev.Subject(), ev.Data())
			}
		}
	})
}

// A rule whose endpoint is down does not hold up what else goes to its target.
func TestAnEndpointAtRestHoldsUpItsOwnRuleOnly(t *testing.T) {
	within(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		c, tg := newCRM(w, ill(&status)), &target{}
		p := w.enriched(c, enrich.Call{Breaker: tenCalls()}, map[string]bus.TargetPlan{"t": {Target: tg}})
		p.Rules["plain"] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"t"}}
		w.apply(p)
		w.run()
		for i := range 20 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(20 * time.Second)
		if w.enrichStatus().Breaker != "open" || w.info("plain/t").Depth != 0 || len(tg.attempts()) != 20 || w.engine.Waiting("plain", "t") != "" {
			t.Errorf("%+v, %d attempts", w.enrichStatus(), len(tg.attempts()))
		}
	})
}

func TestRetryAfterOfAnEndpointHoldsUpTheWholeRule(t *testing.T) {
	within(t, func(w *world) {
		asked := false
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			if !asked {
				asked = true
				rw.Header().Set("Retry-After", "120")
				rw.WriteHeader(429)
				return
			}
			answerJSON(rw, r)
		})
		tg := &target{}
		w.apply(w.enriched(c, enrich.Call{Breaker: tenCalls()}, map[string]bus.TargetPlan{"t": {Target: tg, Concurrency: 1}}))
		w.run()
		for i := range 5 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(119 * time.Second)
		if c.calls() != 1 || !strings.HasPrefix(w.engine.Waiting("all", "t"), "enrich customer: the endpoint asked for a pause until") {
			t.Fatalf("%d calls within the pause, waiting: %q", c.calls(), w.engine.Waiting("all", "t"))
		}
		w.after(5 * time.Minute)
		if len(tg.attempts()) != 5 {
			t.Errorf("%d delivered after the pause", len(tg.attempts()))
		}
		traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 3)
		if err != nil || len(traces) != 1 || traces[0].Attempts[0].Waited != store.WaitRetryAfter {
			t.Errorf("%+v, %v", traces, err)
		}
	})
}

// With onError: null nothing waits for an endpoint at rest.
func TestWhatMayBeNullIsNullWhileItsEndpointRests(t *testing.T) {
	within(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		c, tg := newCRM(w, ill(&status)), &target{}
		w.apply(w.enriched(c, enrich.Call{Breaker: tenCalls(), OnError: enrich.Null}, map[string]bus.TargetPlan{"t": {Target: tg, Concurrency: 1}}))
		w.run()
		for i := range 50 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(10 * time.Second)
		if len(tg.attempts()) != 50 || c.calls() != 20 || w.enrichStatus().Breaker != "open" || w.engine.Waiting("all", "t") != "" {
			t.Fatalf("%d delivered, %d calls, %+v", len(tg.attempts()), c.calls(), w.enrichStatus())
		}
		status.Store(200)
		w.after(time.Minute)
		w.publish(w.event("healed"))
		synctest.Wait()
		got := tg.attempts()
		if len(got) != 51 || string(got[50].Event.Data()) == "null" || w.enrichStatus().Breaker != "closed" {
			t.Errorf("%d delivered, the last: %s; %+v", len(got), got[len(got)-1].Event.Data(), w.enrichStatus())
		}
	})
}

func TestABreakerOfAnEndpointSurvivesARestartUnlessItsSettingsAreOthers(t *testing.T) {
	within(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		c, tg := newCRM(w, ill(&status)), &target{}
		start := func(fingerprint string) {
			p := w.enriched(c, enrich.Call{Breaker: tenCalls()}, map[string]bus.TargetPlan{"t": {Target: tg}})
			r := p.Rules["all"]
			r.EnrichFingerprint = fingerprint
			p.Rules["all"] = r
			w.apply(p)
			w.run()
		}
		restart := func(fingerprint string) {
			w.stop()
			if err := w.engine.Close(); err != nil {
				t.Fatal(err)
			}
			w.open()
			start(fingerprint)
		}
		kept := func() (names []string) {
			all, err := w.store.ListObjects(context.Background(), "health")
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				names = append(names, o.Name)
			}
			return names
		}
		start("1")
		for i := range 20 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(5 * time.Second)
		before := c.calls()
		restart("1")
		w.after(20 * time.Second)
		if s := w.enrichStatus(); s.Breaker != "open" || c.calls() != before || !strings.Contains(s.LastError, "500") {
			t.Fatalf("after a restart: %+v, %d calls", s, c.calls()-before)
		}
		if fmt.Sprint(kept()) != "[all/customer]" {
			t.Errorf("kept: %v", kept())
		}
		restart("2")
		w.after(time.Second)
		if c.calls() == before {
			t.Error("an endpoint with other settings is not asked at once")
		}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: &target{}}})
		w.apply(p)
		w.after(time.Second)
		if len(kept()) != 0 || w.engine.EnrichStatus("all") != nil {
			t.Errorf("kept of a rule that asks nobody: %v", kept())
		}
	})
}

// Workers that pull wait for an endpoint at rest as well.
func TestPullsWaitForAnEndpointAtRest(t *testing.T) {
	within(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		c := newCRM(w, ill(&status))
		w.apply(w.enriched(c, enrich.Call{Breaker: enrich.Breaker{Failures: 2}}, map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}}))
		w.run()
		for i := range 5 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		receive := func() []bus.Leased { t.Helper(); return w.receive(bus.Receive{Max: 2}) }
		for range 10 { // one at a time, so that none is under way when the breaker opens
			if got := w.receive(bus.Receive{Max: 1}); len(got) != 0 {
				t.Fatalf("got %+v", got)
			}
		}
		if c.calls() != 4 || w.info("all/t").Depth != 5 || w.enrichStatus().Breaker != "open" {
			t.Fatalf("%d calls, %+v", c.calls(), w.enrichStatus())
		}
		status.Store(200)
		w.after(31 * time.Second)
		if got := receive(); len(got) != 1 || c.calls() != 5 {
			t.Fatalf("the trial hands out %d deliveries after %d calls", len(got), c.calls())
		}
		if got := receive(); len(got) != 2 || w.enrichStatus().Breaker != "closed" {
			t.Errorf("after it: %d deliveries, %+v", len(got), w.enrichStatus())
		}
	})
}

// A trial that needs no call, for the answer is kept, is no trial: another is
// made.
func TestATrialAnsweredFromTheCacheIsNone(t *testing.T) {
	within(t, func(w *world) {
		var status atomic.Int64
		status.Store(200)
		c, tg := newCRM(w, ill(&status)), &target{}
		w.apply(w.enriched(c, enrich.Call{For: time.Hour, Breaker: enrich.Breaker{Failures: 2}}, map[string]bus.TargetPlan{"t": {Target: tg, Concurrency: 1}}))
		w.run()
		w.publish(w.event("known"))
		synctest.Wait()
		status.Store(500)
		w.publish(w.event("a"), w.event("b"))
		w.after(10 * time.Second)
		for i := range 3 {
			w.publish(w.event("known", "source", fmt.Sprint("/again/", i)))
		}
		w.after(10 * time.Second)
		if w.enrichStatus().Breaker != "open" || len(tg.attempts()) != 1 {
			t.Fatalf("%+v, %d delivered", w.enrichStatus(), len(tg.attempts()))
		}
		status.Store(200)
		w.after(5 * time.Minute)
		if w.enrichStatus().Breaker != "closed" || len(tg.attempts()) != 6 {
			t.Errorf("%+v, %d delivered", w.enrichStatus(), len(tg.attempts()))
		}
	})
}

func TestBreakersOfEndpointsAreCounted(t *testing.T) {
	within(t, func(w *world) {
		registry := prometheus.NewRegistry()
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}
		e, err := bus.New(bus.Options{Store: w.store, Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		w.engine = e
		var status atomic.Int64
		status.Store(503)
		c := newCRM(w, ill(&status))
		w.apply(w.enriched(c, enrich.Call{Breaker: enrich.Breaker{Failures: 2}}, map[string]bus.TargetPlan{"t": {Target: &target{}}}))
		w.run()
		w.publish(w.event("1"), w.event("2"))
		w.after(time.Second)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			m := f.GetMetric()[0]
			got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		if got["switchyard_enrich_breaker_open"] != 1 || got["switchyard_enrich_breaker_opened_total"] != 1 || got["switchyard_target_breaker_open"] != 0 {
			t.Errorf("%v", got)
		}
	})
}
