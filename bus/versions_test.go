package bus_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// versioned is a plan with the rule "all" to the target "t", defined so ("" has
// no such rule).
func (w *world) versioned(t *target, definition string) bus.Plan {
	p := w.plan(map[string]bus.TargetPlan{"t": {Target: t}})
	r := p.Rules["all"]
	r.Definition = []byte(definition)
	p.Rules["all"] = r
	if definition == "" {
		delete(p.Rules, "all")
	}
	return p
}

func (w *world) versions(rule string) bus.RuleHistory {
	w.t.Helper()
	h, err := w.engine.RuleVersions(context.Background(), rule)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func TestEachEventIsMatchedByTheVersionThatWasInForce(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		steps := []struct {
			definition string
			version    uint64 // that matches what is published then; 0: none does
		}{
			{`{"bus":"orders","when":"1 < 2"}`, 1}, {`{"bus":"orders","when":"1 < 2"}`, 1}, {`{"bus":"orders","when":"2"}`, 2},
			{"", 0}, {`{"bus":"orders","when":"2"}`, 4},
		}
		w.apply(w.versioned(tg, steps[0].definition))
		w.run()
		var want []uint64
		for i, step := range steps {
			w.apply(w.versioned(tg, step.definition))
			if got := w.engine.RuleVersion("all"); got != step.version {
				t.Fatalf("step %d: version %d is in force, want %d", i, got, step.version)
			}
			for range 3 {
				w.publish(w.event(fmt.Sprint(len(want))))
				want = append(want, step.version)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		id, err := w.engine.BusID("orders")
		if err != nil {
			t.Fatal(err)
		}
		h := w.versions("all")
		for i, version := range want {
			traces, err := w.store.TraceOf(context.Background(), id, uint64(i)+1)
			if err != nil || len(traces) > 1 || len(traces) == 0 && version != 0 {
				t.Fatalf("event %d: %+v, %v", i, traces, err)
			}
			if len(traces) == 0 {
				continue
			}
			if v, ok := h.Matched("orders", traces[0].ID, traces[0].Queued); !ok || v.Version != version {
				t.Errorf("event %d was matched by %+v, want version %d", i, v, version)
			}
			if v, ok := h.At(traces[0].Attempts[0].Started); !ok || v.Version != version {
				t.Errorf("event %d was delivered under %+v, want version %d", i, v, version)
			}
		}
		if v, ok := h.Matched("orders", store.DeliveryID{Sequence: 1, Run: 7}, time.Now()); !ok || v.Version != 4 {
			t.Errorf("a replay matches by %+v, want version 4", v)
		}
		if _, ok := h.Matched("elsewhere", store.DeliveryID{Sequence: 1}, time.Now()); ok {
			t.Error("it matched an event of another bus")
		}
	})
}

func TestVersionsOfRulesGoOnAfterAStart(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.apply(w.versioned(tg, `{"when":"<1>"}`))
		for range 2 {
			if err := w.engine.Close(); err != nil {
				t.Fatal(err)
			}
			w.open()
			w.apply(w.versioned(tg, `{"when":"<1>"}`))
			if v := w.engine.RuleVersion("all"); v != 1 {
				t.Fatalf("a start makes version %d of a rule that is as it was", v)
			}
		}
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}
		w.open()
		w.apply(w.versioned(tg, `{"when":"<2>"}`))
		if h := w.versions("all"); w.engine.RuleVersion("all") != 2 || len(h) != 2 || string(h[0].Definition) != `{"when":"<1>"}` {
			t.Errorf("after a start with another rule: %d, %+v", w.engine.RuleVersion("all"), h)
		}
	})
}

func TestOnlySoMuchIsKeptOfWhatRulesWere(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		for i := range 30 {
			w.apply(w.versioned(tg, fmt.Sprintf(`{"when":"%d"}`, i)))
		}
		if h := w.versions("all"); len(h) != bus.KeptRuleVersions || h[0].Version != 11 || h[len(h)-1].Version != 30 {
			t.Errorf("of 30 versions %d are kept, %d to %d", len(h), h[0].Version, h[len(h)-1].Version)
		}
		for range 3 {
			w.apply(w.versioned(tg, fmt.Sprintf(`{"when":"%0200000d"}`, w.engine.RuleVersion("all"))))
		}
		if h := w.versions("all"); len(h) != 2 {
			t.Errorf("of three long versions %d are kept, want the present one and the one before", len(h))
		}
		w.apply(w.versioned(tg, ""))
		time.Sleep(89 * 24 * time.Hour)
		w.apply(w.versioned(tg, ""))
		if len(w.versions("all")) == 0 {
			t.Error("a rule that was removed is forgotten too soon")
		}
		time.Sleep(2 * 24 * time.Hour)
		w.apply(w.versioned(tg, ""))
		if h := w.versions("all"); len(h) != 0 {
			t.Errorf("a rule that was removed long ago is still known: %+v", h)
		}
	})
}
