package bus_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// crm is an endpoint within a bubble: its connections are pipes, which do not
// stall it as sockets do.
type crm struct {
	answer func(w http.ResponseWriter, r *http.Request)
	conns  chan net.Conn
	gone   chan struct{}

	mu    sync.Mutex
	asked []string
}

func newCRM(w *world, answer func(http.ResponseWriter, *http.Request)) *crm {
	c := &crm{answer: answer, conns: make(chan net.Conn), gone: make(chan struct{})}
	server := &http.Server{Handler: c}
	go func() { _ = server.Serve(c) }()
	w.t.Cleanup(func() { server.Close() })
	return c
}

func (c *crm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, strings.TrimPrefix(r.URL.Path, "/"))
	c.mu.Unlock()
	c.answer(w, r)
}

func (c *crm) requests() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.asked, " ")
}

func (c *crm) Accept() (net.Conn, error) {
	select {
	case conn := <-c.conns:
		return conn, nil
	case <-c.gone:
		return nil, net.ErrClosed
	}
}

func (c *crm) Close() error   { close(c.gone); return nil }
func (c *crm) Addr() net.Addr { return &net.TCPAddr{} }

func (c *crm) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case c.conns <- theirs:
		return ours, nil
	case <-c.gone:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// enricher asks the endpoint for the event's id and, as name, its subject.
func (w *world) enricher(c *crm, call enrich.Call) *enrich.Enricher {
	w.t.Helper()
	u, err := enrich.CompileURL(w.env, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "http://crm.example/${{ event.id }}"})
	if err != nil {
		w.t.Fatal(err)
	}
	call.Name, call.Method, call.URL = "customer", "GET", u
	return enrich.New([]enrich.Call{call}, enrich.Options{Dial: c.dial})
}

// enriched plans a rule "all" whose transform copies the answer.
func (w *world) enriched(c *crm, call enrich.Call, to map[string]bus.TargetPlan) bus.Plan {
	w.t.Helper()
	p := w.plan(to)
	t, err := transform.CompileJSON(w.env, []byte(`{"data":"${{ enriched.customer }}"}`), transform.Options{Enriched: []string{"customer"}})
	if err != nil {
		w.t.Fatal(err)
	}
	r := p.Rules["all"]
	r.Transform, r.Enrich = t, w.enricher(c, call)
	p.Rules["all"] = r
	return p
}

func answerJSON(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"was":%q,"digits":12345678901234567890}`, r.URL.Path)
}

func TestATransformGetsWhatAnEnrichmentAnswers(t *testing.T) {
	within(t, func(w *world) {
		c, tg := newCRM(w, answerJSON), &target{}
		w.apply(w.enriched(c, enrich.Call{}, map[string]bus.TargetPlan{"t": {Target: tg}}))
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		got := tg.attempts()
		if len(got) != 1 || string(got[0].Event.Data()) != `{"was":"/1","digits":12345678901234567890}` || c.requests() != "1" {
			t.Errorf("%d attempts, asked %q", len(got), c.requests())
		}
	})
}

func TestAnEnrichmentThatFailsForNowIsRetriedAndNamedInTheTrace(t *testing.T) {
	within(t, func(w *world) {
		n := 0
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			if n++; n <= 3 { // two tries, and one of the second attempt that is told to wait
				if n == 3 {
					rw.Header().Set("Retry-After", "300")
				}
				rw.WriteHeader(503)
				io.WriteString(rw, "busy")
				return
			}
			answerJSON(rw, r)
		})
		tg := &target{}
		w.apply(w.enriched(c, enrich.Call{}, map[string]bus.TargetPlan{"t": {Target: tg}}))
		w.run()
		began := time.Now()
		w.publish(w.event("1"))
		w.after(time.Hour)
		got := tg.attempts()
		if len(got) != 1 || got[0].Attempt != 3 || c.requests() != "1 1 1 1" {
			t.Fatalf("%d attempts reached the target, asked %q", len(got), c.requests())
		}
		traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 1)
		if err != nil || len(traces) != 1 || len(traces[0].Attempts) != 3 {
			t.Fatalf("%+v, %v", traces, err)
		}
		a := traces[0].Attempts
		if a[0].Error != "enrich customer: 503 Service Unavailable: busy" || a[0].Status != 0 || a[2].Error != "" ||
			a[1].Error != "enrich customer: 503 Service Unavailable: busy (retry after 5m0s)" {
			t.Errorf("%+v", a)
		}
		if waited := a[2].Started.Sub(a[1].Started); waited < 5*time.Minute || a[2].Started.Sub(began) > 10*time.Minute {
			t.Errorf("the next attempt came after %v", waited)
		}
	})
}

func TestAnEnrichmentThatFailsForGoodMakesADeadLetterThatSaysSo(t *testing.T) {
	within(t, func(w *world) {
		fixed := false
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			if !fixed {
				http.Error(rw, "no such customer", http.StatusNotFound)
				return
			}
			answerJSON(rw, r)
		})
		tg := &target{}
		w.apply(w.enriched(c, enrich.Call{}, map[string]bus.TargetPlan{"t": {Target: tg}}))
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		letters := w.dead("all/t")
		if len(letters) != 1 || letters[0].Reason != "enrich customer: 404 Not Found: no such customer" || len(letters[0].Attempts) != 1 || len(tg.attempts()) != 0 {
			t.Fatalf("%+v", letters)
		}
		fixed = true
		if _, err := w.store.Redrive(context.Background(), w.info("all/t").ID, []store.DeliveryID{letters[0].ID}); err != nil {
			t.Fatal(err)
		}
		w.after(time.Minute)
		if got := tg.attempts(); len(got) != 1 || !got[0].Redriven {
			t.Errorf("%d attempts after it was redriven", len(got))
		}
	})
}

func TestOrderHoldsWhileAnEnrichmentFails(t *testing.T) {
	within(t, func(w *world) {
		n := 0
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/a1") {
				if n++; n <= 6 {
					rw.WriteHeader(500)
					return
				}
			}
			answerJSON(rw, r)
		})
		tg := &target{}
		w.apply(w.enriched(c, enrich.Call{}, map[string]bus.TargetPlan{"t": {Target: tg, Order: store.OrderKey}}))
		w.run()
		for _, id := range []string{"a1", "a2", "b1", "a3", "b2"} {
			w.publish(w.event(id, "subject", id[:1]))
		}
		w.after(500 * time.Millisecond)
		if got := tg.ids(); got != "b1 b2" {
			t.Errorf("before a1 was mended: %q", got)
		}
		w.after(time.Hour)
		if got := tg.ids(); got != "b1 b2 a1 a2 a3" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestAnEnrichmentThatHangsHoldsUpNobodyElse(t *testing.T) {
	within(t, func(w *world) {
		c := newCRM(w, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		shared, other := &target{}, &target{}
		p := w.enriched(c, enrich.Call{Timeout: 2 * time.Second}, map[string]bus.TargetPlan{"t": {Target: shared, Concurrency: 1}})
		p.Targets["u"] = bus.TargetPlan{Target: other}
		p.Rules["plain"] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"t"}}
		p.Rules["apart"] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"u"}}
		w.apply(p)
		w.run()
		for i := range 100 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		if n := len(other.attempts()); n != 100 {
			t.Errorf("%d of 100 reached a target of its own", n)
		}
		w.after(5 * time.Second)
		if n := len(shared.attempts()); n != 100 {
			t.Errorf("%d of 100 reached the target that both rules have", n)
		}
	})
}

func TestADrainDoesNotCountAgainstAnEnrichment(t *testing.T) {
	within(t, func(w *world) {
		hang := true
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			if hang {
				<-r.Context().Done()
				return
			}
			answerJSON(rw, r)
		})
		tg := &target{}
		p := w.enriched(c, enrich.Call{Timeout: time.Minute, OnError: enrich.Null}, map[string]bus.TargetPlan{"t": {Target: tg}})
		w.apply(p)
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		w.stop()
		if len(tg.attempts()) != 0 || w.info("all/t").Depth != 1 {
			t.Fatalf("%d attempts, depth %d", len(tg.attempts()), w.info("all/t").Depth)
		}
		hang = false
		w.run()
		w.after(time.Minute)
		if got := tg.attempts(); len(got) != 1 || got[0].Attempt != 1 || string(got[0].Event.Data()) == "null" {
			t.Errorf("%+v", got)
		}
	})
}

func TestAnEventThatExpiresWhileItIsEnrichedIsNotDelivered(t *testing.T) {
	within(t, func(w *world) {
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(2 * time.Second)
			answerJSON(rw, r)
		})
		tg := &target{}
		w.apply(w.enriched(c, enrich.Call{Timeout: 5 * time.Second}, map[string]bus.TargetPlan{"t": {Target: tg}}))
		w.run()
		w.publish(w.event("1", "expirytime", time.Now().Add(time.Second).Format(time.RFC3339)),
			w.event("2", "expirytime", time.Now().Add(time.Minute).Format(time.RFC3339)))
		w.after(10 * time.Second)
		if got := tg.ids(); got != "2" || w.info("all/t").Depth != 0 {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestEnrichmentsAreCountedByRule(t *testing.T) {
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
		c := newCRM(w, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/bad" {
				rw.WriteHeader(400)
				return
			}
			answerJSON(rw, r)
		})
		w.apply(w.enriched(c, enrich.Call{For: time.Hour}, map[string]bus.TargetPlan{"t": {Target: &target{}}, "u": {Target: &target{}}}))
		w.run()
		w.publish(w.event("1"), w.event("bad"))
		w.after(time.Second)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			if name, ok := strings.CutPrefix(f.GetName(), "switchyard_enrich_"); ok {
				m := f.GetMetric()[0]
				if len(m.GetLabel()) != 1 || m.GetLabel()[0].GetValue() != "all" {
					t.Errorf("%s has labels %v", name, m.GetLabel())
				}
				got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		// Both targets get both events: of four enrichments one was answered by
		// the call of another.
		if got["seconds"] != 4 || got["failures_total"] != 2 || got["cache_hits_total"] != 1 || got["calls_total"] < 2 || got["calls_total"] > 3 {
			t.Errorf("%v", got)
		}
	})
}

func TestARuleThatEnrichesNeedsATransform(t *testing.T) {
	within(t, func(w *world) {
		p := w.enriched(newCRM(w, answerJSON), enrich.Call{}, map[string]bus.TargetPlan{"t": {Target: &target{}}})
		r := p.Rules["all"]
		r.Transform = nil
		p.Rules["all"] = r
		if err := w.engine.Apply(context.Background(), p); err == nil || !strings.Contains(err.Error(), "has enrichments and no transform") {
			t.Error(err)
		}
	})
}

// An enrichment that stays in the plan keeps its cache; one that goes lets its
// connections go.
func TestEnrichmentsOutliveAReload(t *testing.T) {
	within(t, func(w *world) {
		c, tg := newCRM(w, answerJSON), &target{}
		p := w.enriched(c, enrich.Call{For: time.Hour}, map[string]bus.TargetPlan{"t": {Target: tg, Fingerprint: "1"}})
		w.apply(p)
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		w.apply(p)
		w.publish(w.event("1", "source", "/again"))
		synctest.Wait()
		if c.requests() != "1" || len(tg.attempts()) != 2 {
			t.Errorf("asked %q", c.requests())
		}
		w.apply(w.enriched(c, enrich.Call{For: time.Hour}, map[string]bus.TargetPlan{"t": {Target: tg, Fingerprint: "1"}}))
		w.publish(w.event("1", "source", "/yet/again"))
		synctest.Wait()
		if c.requests() != "1 1" || len(tg.attempts()) != 3 {
			t.Errorf("after a change asked %q", c.requests())
		}
	})
}
