package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

func (w *world) changeRule(name string, r *bus.RulePlan) {
	w.t.Helper()
	if err := w.engine.ChangeRule(context.Background(), name, r); err != nil {
		w.t.Fatalf("rule %s: %v", name, err)
	}
}

// Rules come, change, move to another bus and go, one at a time: each event goes
// by those that were in force when it was published.
func TestRulesThatChangeOneAtATimeMatchAsAWholePlanOfThemWould(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	within(t, func(w *world) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := w.plan(map[string]bus.TargetPlan{})
		p.Buses["audit"] = bus.BusPlan{}
		p.Rules = map[string]bus.RulePlan{}
		to := map[string]*target{}
		for _, name := range []string{"a", "b"} {
			to[name] = &target{}
			p.Targets[name] = bus.TargetPlan{Target: to[name]}
		}
		types := []string{"x", "y", "z"}
		rule := func() bus.RulePlan {
			return bus.RulePlan{
				Bus: []string{"orders", "orders", "audit"}[r.IntN(3)], Matcher: w.matcher(fmt.Sprintf("event.type == %q", types[r.IntN(3)])),
				Targets: [][]string{{"a"}, {"b"}, {"a", "b"}}[r.IntN(3)],
			}
		}
		for i := range 40 {
			p.Rules[fmt.Sprint("r", i)] = rule()
		}
		w.apply(p)
		w.run()
		want := map[string][]string{}
		for step := range 150 {
			name := fmt.Sprint("r", r.IntN(60))
			switch now := rule(); {
			case r.IntN(3) == 0:
				delete(p.Rules, name)
				w.changeRule(name, nil)
			case step%50 == 49: // and all at once in between
				p.Rules[name] = now
				w.apply(p)
			default:
				p.Rules[name] = now
				w.changeRule(name, &now)
			}
			for busName := range p.Buses {
				ev := w.event(fmt.Sprint(step, busName), "type", types[step%3])
				if _, err := w.engine.Publish(context.Background(), []bus.Publication{{Bus: busName, Event: ev}}, bus.PublishOptions{}); err != nil {
					t.Fatal(err)
				}
				for name, r := range p.Rules {
					if r.Bus == busName && r.Matcher.Evaluate(ev).Matched {
						for _, target := range r.Targets {
							want[target] = append(want[target], name+"/"+target+" "+ev.ID())
						}
					}
				}
			}
			synctest.Wait()
		}
		for name, tg := range to {
			var got []string
			for _, d := range tg.attempts() {
				got = append(got, d.Subscription+" "+d.Event.ID())
			}
			slices.Sort(got)
			slices.Sort(want[name])
			if !slices.Equal(got, want[name]) {
				t.Errorf("target %s got %d deliveries, want %d:\n%v\n%v", name, len(got), len(want[name]), got, want[name])
			}
		}
		for name, r := range p.Rules {
			if is, ok := w.engine.Rule(name); !ok || is.Matcher != r.Matcher || w.engine.RuleVersion(name) != 0 {
				t.Errorf("rule %s in force: %+v, %v", name, is, ok)
			}
		}
		if n := len(w.engine.Plan().Rules); n != len(p.Rules) {
			t.Errorf("%d rules are in force, want %d", n, len(p.Rules))
		}
	})
}

func TestEventsFlowWhileRulesChangeAndWhatStaysMissesNone(t *testing.T) {
	within(t, func(w *world) {
		tg, other := &target{}, &target{}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: tg}, "other": {Target: other}}))
		w.changeRule("all", &bus.RulePlan{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"t"}})
		w.run()
		var changing sync.WaitGroup
		stop := make(chan struct{})
		changing.Go(func() {
			m := w.matcher("")
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				name := fmt.Sprint("r", i%3)
				var r *bus.RulePlan
				if i%2 == 0 {
					r = &bus.RulePlan{Bus: "orders", Matcher: m, Targets: []string{"other"}}
				}
				if err := w.engine.ChangeRule(context.Background(), name, r); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for i := range 500 {
			w.publish(w.event(fmt.Sprint(i)))
			time.Sleep(700 * time.Microsecond)
		}
		close(stop)
		changing.Wait()
		synctest.Wait()
		seen := map[string]int{}
		for _, d := range tg.attempts() {
			seen[d.Event.ID()]++
		}
		if len(seen) != 500 || len(tg.attempts()) != 500 {
			t.Errorf("the rule that stayed got %d events in %d deliveries, want 500 each once", len(seen), len(tg.attempts()))
		}
		twice := map[string]bool{}
		for _, d := range other.attempts() {
			key := d.Subscription + " " + d.Event.ID()
			if twice[key] {
				t.Errorf("%s came twice", key)
			}
			twice[key] = true
		}
		if len(twice) == 0 {
			t.Error("no rule that came and went got an event")
		}
	})
}

// claims calls do before each claim.
type claims struct {
	store.Store
	do      func()
	watcher store.Watcher
}

func (c *claims) Watch(w store.Watcher) {
	c.watcher = w
	c.Store.Watch(w)
}

func (c *claims) Claim(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
	c.do()
	return c.Store.Claim(ctx, sub, now, most, dst)
}

// owesOne leaves a delivery in the store that is tried again in an hour, and the
// engine stopped.
func (w *world) owesOne() {
	w.t.Helper()
	failing := &target{deliver: func(context.Context, *targets.Delivery) error { return errors.New("not yet") }}
	w.to(failing, bus.TargetPlan{Retry: bus.RetryPolicy{Attempts: 3, Initial: time.Hour, Max: time.Hour}})
	w.run()
	w.publish(w.event("1"))
	w.after(time.Second)
	w.stop()
	if n := w.info("all/t").Depth; n != 1 {
		w.t.Fatalf("%d deliveries are owed", n)
	}
}

func TestARuleThatIsRemovedWhileItsDeliveriesAreClaimedIsNotAskedForMore(t *testing.T) {
	within(t, func(w *world) {
		n := 0
		var log bytes.Buffer
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}
		st := &claims{Store: w.store, do: func() {
			if n++; n == 1 {
				w.changeRule("all", nil)
			}
		}}
		var err error
		if w.engine, err = bus.New(bus.Options{Store: st, Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
			t.Fatal(err)
		}
		w.to(&target{}, bus.TargetPlan{})
		w.run()
		synctest.Wait()
		st.watcher.Ready(w.info("all/t").ID) // it looks for deliveries, of which there are none
		w.after(10 * time.Second)
		w.stop()
		if n != 1 || log.Len() > 0 {
			t.Errorf("its subscription was claimed from %d times; log: %s", n, log.String())
		}
	})
}

func TestARuleThatIsRemovedAloneLeavesWhatItOwesAndIsRemembered(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{deliver: func(context.Context, *targets.Delivery) error { return errors.New("down") }}
		p := w.versioned(tg, `{"bus":"orders"}`)
		w.apply(p)
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		w.changeRule("all", nil)
		w.changeRule("all", nil) // it is gone already
		w.changeRule("never-was", nil)
		w.publish(w.event("2"))
		synctest.Wait()
		if info := w.info("all/t"); !info.Orphaned || info.Depth != 1 {
			t.Errorf("its subscription is %+v", info)
		}
		if h := w.versions("all"); len(h) != 2 || !h[1].Removed || w.engine.RuleVersion("all") != 0 {
			t.Errorf("its versions are %+v", h)
		}
		r := p.Rules["all"]
		w.changeRule("all", &r)
		w.after(time.Hour)
		if info := w.info("all/t"); info.Orphaned || w.engine.RuleVersion("all") != 3 {
			t.Errorf("after it returned its subscription is %+v, version %d", info, w.engine.RuleVersion("all"))
		}
		for _, d := range tg.attempts() {
			if d.Event.ID() != "1" {
				t.Errorf("event %s was matched while it was gone", d.Event.ID())
			}
		}
	})
}

func TestARuleThatDoesNotFitChangesNothing(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{})
		w.run()
		for _, r := range []bus.RulePlan{
			{Bus: "gone", Matcher: w.matcher(""), Targets: []string{"t"}},
			{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"gone"}},
			{Bus: "orders", Targets: []string{"t"}},
			{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"t"}, Enrich: enrich.New(nil, enrich.Options{})},
		} {
			if err := w.engine.ChangeRule(context.Background(), "all", &r); err == nil {
				t.Errorf("%+v was taken", r)
			}
		}
		w.publish(w.event("1"))
		synctest.Wait()
		if tg.ids() != "1" {
			t.Errorf("delivered %q", tg.ids())
		}
	})
}

func TestConsumersOfABroadcastGoWithItsRuleOnly(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{})
		w.as("a")
		all := w.engine.Plan().Rules["all"]
		w.changeRule("other", &bus.RulePlan{Bus: "orders", Matcher: w.matcher(""), Targets: []string{"t"}})
		w.changeRule("other", nil)
		changed := all
		changed.Matcher = w.matcher(`event.subject == "x"`)
		w.changeRule("all", &changed)
		w.publish(w.event("1"), w.event("2", "subject", "x"))
		w.after(time.Second)
		if got := eventIDs(w.as("a")); got != "[2]" {
			t.Errorf("after its rule changed the consumer got %s", got)
		}
		w.changeRule("all", nil)
		if _, err := w.engine.Receive(context.Background(), "all", "t", bus.Receive{Consumer: "a"}); err == nil {
			t.Error("the consumer receives without its rule")
		}
		if info, ok := w.consumers()["a"]; !ok || !info.Orphaned {
			t.Errorf("the consumer is %+v", info)
		}
		w.changeRule("all", &changed)
		w.publish(w.event("3", "subject", "x"))
		w.after(time.Hour)
		if got := eventIDs(w.as("a")); got != "[2 3]" {
			t.Errorf("after its rule returned the consumer got %s", got)
		}
	})
}

// A rule that moves to another bus begins at its end, be it shorter than the old one.
func TestARuleThatMovesBeginsAtTheEndOfItsNewBus(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg}})
		p.Buses["audit"] = bus.BusPlan{}
		all := p.Rules["all"]
		p.Rules = nil
		w.apply(p)
		w.run()
		for i := range 5 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		w.changeRule("all", &all)
		all.Bus = "audit"
		w.changeRule("all", &all)
		if _, err := w.engine.Publish(context.Background(), []bus.Publication{{Bus: "audit", Event: w.event("moved")}}, bus.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if tg.ids() != "moved" {
			t.Errorf("delivered %q", tg.ids())
		}
	})
}

func TestAStartLooksForWhatIsOwed(t *testing.T) {
	within(t, func(w *world) {
		w.owesOne()
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}

		var n atomic.Int64
		var err error
		if w.engine, err = bus.New(bus.Options{Store: &claims{Store: w.store, do: func() { n.Add(1) }}}); err != nil {
			t.Fatal(err)
		}
		tg := &target{}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.after(time.Second)
		if n.Load() == 0 {
			t.Error("nobody looked for the delivery that waits for its time")
		}
		w.after(2 * time.Hour)
		if got := tg.ids(); got != "1" {
			t.Errorf("delivered %q", got)
		}
		w.stop()
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}

		n.Store(0)
		if w.engine, err = bus.New(bus.Options{Store: &claims{Store: w.store, do: func() { n.Add(1) }}}); err != nil {
			t.Fatal(err)
		}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.after(time.Second)
		if n.Load() > 0 {
			t.Errorf("a subscription that owes nothing was claimed from %d times", n.Load())
		}
		w.publish(w.event("2"))
		w.after(time.Second)
		if got := tg.ids(); got != "1 2" {
			t.Errorf("delivered %q", got)
		}
	})
}
