package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/storetest"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
)

// target is a target made of a function; it remembers what it was given.
type target struct {
	deliver func(ctx context.Context, d *targets.Delivery) error

	mu      sync.Mutex
	got     []targets.Delivery
	started int
	closed  int
}

func (t *target) Start(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started++
	return nil
}
func (t *target) Close() error { t.mu.Lock(); defer t.mu.Unlock(); t.closed++; return nil }

func (t *target) Deliver(ctx context.Context, d *targets.Delivery) error {
	t.mu.Lock()
	t.got = append(t.got, *d)
	t.mu.Unlock()
	if t.deliver == nil {
		return nil
	}
	return t.deliver(ctx, d)
}

func (t *target) attempts() []targets.Delivery {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]targets.Delivery(nil), t.got...)
}

// ids are the event ids that the target was given, in order.
func (t *target) ids() string {
	var ids []string
	for _, d := range t.attempts() {
		ids = append(ids, d.Event.ID())
	}
	return strings.Join(ids, " ")
}

// world is an engine on the model store, in virtual time.
type world struct {
	t        *testing.T
	env      *rules.Env
	store    *storetest.Model
	engine   *bus.Engine
	registry *prometheus.Registry // nil: nothing is counted
	stop     func()
}

func newWorld(t *testing.T) *world {
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, env: env, store: storetest.NewModel(time.Now)}
	w.open()
	t.Cleanup(func() {
		w.stop()
		if err := w.engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// open makes an engine on the store as it is.
func (w *world) open() {
	e, err := bus.New(bus.Options{Store: w.store})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine, w.stop = e, func() {}
}

// openWith opens the engine again with other options, on the same store.
func (w *world) openWith(opts bus.Options) {
	w.t.Helper()
	if err := w.engine.Close(); err != nil {
		w.t.Fatal(err)
	}
	opts.Store = w.store
	e, err := bus.New(opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = e
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.engine.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) matcher(when string) *rules.Matcher {
	m, err := w.env.Compile(rules.Filter{When: when})
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// plan has one bus "orders" and one rule "all" from it to each target.
func (w *world) plan(byName map[string]bus.TargetPlan) bus.Plan {
	p := bus.Plan{
		Buses:   map[string]bus.BusPlan{"orders": {Dedupe: time.Minute}},
		Rules:   map[string]bus.RulePlan{},
		Targets: byName,
	}
	r := bus.RulePlan{Bus: "orders", Matcher: w.matcher("")}
	for name := range byName {
		r.Targets = append(r.Targets, name)
	}
	p.Rules["all"] = r
	return p
}

func (w *world) apply(p bus.Plan) {
	w.t.Helper()
	if err := w.engine.Apply(context.Background(), p); err != nil {
		w.t.Fatal(err)
	}
}

// to plans one target called "t" with a policy.
func (w *world) to(t *target, policy bus.TargetPlan) {
	policy.Target = t
	w.apply(w.plan(map[string]bus.TargetPlan{"t": policy}))
}

func (w *world) event(id string, attrs ...string) *event.Event {
	w.t.Helper()
	b := event.NewBuilder()
	set := append([]string{"id", id, "source", "/test", "type", "com.example.test"}, attrs...)
	for i := 0; i < len(set); i += 2 {
		if err := b.Set(set[i], event.StringValue(set[i+1])); err != nil {
			w.t.Fatal(err)
		}
	}
	ev, err := b.Build()
	if err != nil {
		w.t.Fatal(err)
	}
	return ev
}

func (w *world) publish(evs ...*event.Event) []store.Result {
	w.t.Helper()
	batch := make([]bus.Publication, len(evs))
	for i, ev := range evs {
		batch[i] = bus.Publication{Bus: "orders", Event: ev}
	}
	res, err := w.engine.Publish(context.Background(), batch, bus.PublishOptions{Via: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// after lets d pass and then everything settle that it set off.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) info(name string) store.SubscriptionInfo {
	w.t.Helper()
	rule, t := bus.SplitSubscription(name)
	info, err := w.engine.FindSubscription(rule, t)
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func (w *world) dead(name string) []store.DeadLetter {
	w.t.Helper()
	letters, _, err := w.store.ListDead(context.Background(), w.info(name).ID, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return letters
}

func within(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
}

func TestMatchedEventsAreDeliveredAndOthersAreNot(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg}})
		p.Rules["all"] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(`event.subject.startsWith("eu/")`), Targets: []string{"t"}}
		w.apply(p)
		w.run()
		w.publish(w.event("1", "subject", "eu/de"), w.event("2", "subject", "us"), w.event("3"))
		synctest.Wait()
		if got := tg.ids(); got != "1" {
			t.Errorf("delivered %q, want only event 1", got)
		}
		if depth := w.info("all/t").Depth; depth != 0 {
			t.Errorf("depth is %d after everything was delivered", depth)
		}
	})
}

func TestAFailingDeliveryIsRetriedWithOneIdUntilItSucceeds(t *testing.T) {
	within(t, func(w *world) {
		n := 0
		tg := &target{deliver: func(context.Context, *targets.Delivery) error {
			if n++; n < 4 {
				return errors.New("not yet")
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"))
		w.after(time.Hour)
		got := tg.attempts()
		if len(got) != 4 {
			t.Fatalf("%d attempts, want 4", len(got))
		}
		for i, d := range got {
			if d.ID != got[0].ID || strings.Contains(d.ID, ".") {
				t.Errorf("attempt %d has id %q, the first had %q", i+1, d.ID, got[0].ID)
			}
			if d.Attempt != i+1 {
				t.Errorf("attempt %d says it is number %d", i+1, d.Attempt)
			}
		}
	})
}

func TestAPermanentFailureBecomesADeadLetterThatCanBeRedriven(t *testing.T) {
	within(t, func(w *world) {
		broken := true
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			if broken {
				d.Answer = targets.Answer{Status: 400, Body: "no such order"}
				return targets.Permanentf("400 Bad Request: no such order")
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"), w.event("2"))
		w.after(time.Minute)
		letters := w.dead("all/t")
		if len(letters) != 2 || len(tg.attempts()) != 2 {
			t.Fatalf("%d dead letters after %d attempts, want 2 and 2", len(letters), len(tg.attempts()))
		}
		if a := letters[0].Attempts; len(a) != 1 || a[0].Status != 400 || a[0].Response != "no such order" || !strings.Contains(letters[0].Reason, "no such order") {
			t.Errorf("the dead letter does not say what happened: %+v", letters[0])
		}
		if f := letters[1].Attempts[0].Failure; f == nil || !f.Died.Equal(letters[1].Died) || f.Reason != letters[1].Reason {
			t.Errorf("its attempt does not say that it died of it: %+v", f)
		}
		// It dies again: the letter says of which death it was redriven.
		again := bus.Selection{IDs: []store.DeliveryID{letters[1].ID}}
		if n, err := w.engine.Redrive(context.Background(), w.info("all/t").ID, again); err != nil || n != 1 {
			t.Fatalf("redrive: %d, %v", n, err)
		}
		w.after(time.Minute)
		if a := w.dead("all/t")[1].Attempts; len(a) != 2 || a[0].Failure == nil || !a[0].Failure.Died.Equal(letters[1].Died) || a[0].Failure.Reason != letters[1].Reason ||
			a[1].Trigger != store.TriggerRedrive || !a[1].Failure.Died.After(a[0].Failure.Died) {
			t.Errorf("after a second death the attempts are %+v", a)
		}
		broken = false
		n, err := w.engine.Redrive(context.Background(), w.info("all/t").ID, bus.Selection{When: w.matcher(`event.id == "2"`)})
		if err != nil || n != 1 {
			t.Fatalf("redrive: %d, %v", n, err)
		}
		synctest.Wait()
		got := tg.attempts()
		second := slices.IndexFunc(got, func(d targets.Delivery) bool { return d.Event.ID() == "2" }) // without order, either may be first
		if last := got[len(got)-1]; len(got) != 4 || !last.Redriven || last.Attempt != 1 || last.ID != got[second].ID {
			t.Errorf("the redriven delivery is %+v", last)
		}
		if n, err := w.engine.PurgeDead(context.Background(), w.info("all/t").ID, bus.Selection{}); n != 1 || err != nil {
			t.Errorf("purge: %d, %v", n, err)
		}
		if left := w.dead("all/t"); len(left) != 0 {
			t.Errorf("%d dead letters are left", len(left))
		}
	})
}

func TestRetryStopsAtItsAttemptsAndAtItsAge(t *testing.T) {
	for name, c := range map[string]struct {
		retry  bus.RetryPolicy
		err    error
		most   int
		reason string
	}{
		"one attempt":           {bus.RetryPolicy{Attempts: 1}, errors.New("down"), 1, "gave up after 1 attempt: down"},
		"attempts":              {bus.RetryPolicy{Attempts: 3}, errors.New("down"), 3, "gave up after 3 attempts; the last: down"},
		"age":                   {bus.RetryPolicy{Age: time.Minute, Initial: 40 * time.Second}, errors.New("down"), 20, "retry.age 1m0s"},
		"a wait beyond the age": {bus.RetryPolicy{Age: time.Minute}, &targets.RetryAfter{Err: errors.New("busy"), After: time.Hour}, 1, "retry.age 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				tg := &target{deliver: func(context.Context, *targets.Delivery) error { return c.err }}
				w.to(tg, bus.TargetPlan{Retry: c.retry})
				w.run()
				w.publish(w.event("1"))
				w.after(2 * time.Hour)
				letters := w.dead("all/t")
				if len(letters) != 1 || !strings.Contains(letters[0].Reason, c.reason) || len(letters[0].Attempts) > c.most {
					t.Fatalf("dead letters: %+v", letters)
				}
			})
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	within(t, func(w *world) {
		var at []time.Time
		tg := &target{deliver: func(context.Context, *targets.Delivery) error {
			if at = append(at, time.Now()); len(at) == 1 {
				return &targets.RetryAfter{Err: errors.New("429"), After: 90 * time.Second}
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"))
		w.after(time.Hour)
		if len(at) != 2 || at[1].Sub(at[0]) < 90*time.Second || at[1].Sub(at[0]) > 2*time.Minute {
			t.Errorf("attempts at %v", at)
		}
	})
}

func TestATargetThatIsGonePausesItsSubscription(t *testing.T) {
	within(t, func(w *world) {
		gone := true
		tg := &target{deliver: func(context.Context, *targets.Delivery) error {
			if gone {
				return &targets.Permanent{Err: errors.New("410 Gone"), Pause: "the receiver answered 410 Gone"}
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.publish(w.event("1"), w.event("2"))
		w.after(time.Minute)
		info := w.info("all/t")
		if !info.Paused || !strings.Contains(info.Reason, "410") || info.Depth != 1 || info.Dead != 1 {
			t.Fatalf("subscription is %+v", info)
		}
		gone = false
		if err := w.store.Resume(context.Background(), info.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := tg.ids(); got != "1 2" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestATargetThatHangsDoesNotHoldUpAnother(t *testing.T) {
	within(t, func(w *world) {
		hangs := &target{deliver: func(ctx context.Context, _ *targets.Delivery) error { <-ctx.Done(); return ctx.Err() }}
		works := &target{}
		w.apply(w.plan(map[string]bus.TargetPlan{"hangs": {Target: hangs}, "works": {Target: works}}))
		w.run()
		for i := range 200 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		if n := len(works.attempts()); n != 200 {
			t.Errorf("%d of 200 delivered to the target that works", n)
		}
		if n := len(hangs.attempts()); n > bus.DefaultConcurrency {
			t.Errorf("%d attempts at the same time on the target that hangs", n)
		}
	})
}

func TestOrderHoldsUnderFailures(t *testing.T) {
	for name, order := range map[string]store.Order{"key": store.OrderKey, "strict": store.OrderStrict} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				var mu sync.Mutex
				calls, firsts := 0, map[string][]uint64{}
				tg := &target{deliver: func(ctx context.Context, d *targets.Delivery) error {
					time.Sleep(time.Duration(d.Sequence%7) * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls%3 == 0 {
						return errors.New("every third call fails")
					}
					key := d.Event.Subject()
					if order == store.OrderStrict {
						key = ""
					}
					firsts[key] = append(firsts[key], d.Sequence)
					return nil
				}}
				w.to(tg, bus.TargetPlan{Order: order})
				w.run()
				for i := range 60 {
					w.publish(w.event(fmt.Sprint(i), "subject", fmt.Sprint("key", i%5)))
				}
				w.after(10 * time.Hour)
				total := 0
				for key, seqs := range firsts {
					total += len(seqs)
					for i := 1; i < len(seqs); i++ {
						if seqs[i] <= seqs[i-1] {
							t.Errorf("key %q: %d delivered after %d", key, seqs[i], seqs[i-1])
						}
					}
				}
				if total != 60 {
					t.Errorf("%d of 60 delivered", total)
				}
			})
		})
	}
}

func TestAnExpiredEventIsAcceptedAndNeverDelivered(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{})
		w.run()
		res := w.publish(w.event("1", "expirytime", time.Now().Add(-time.Second).Format(time.RFC3339)), w.event("2", "expirytime", time.Now().Add(time.Hour).Format(time.RFC3339)))
		synctest.Wait()
		if got := tg.ids(); got != "2" || res[0].Sequence != 1 {
			t.Errorf("delivered %q", got)
		}
		traces, err := w.store.TraceOf(context.Background(), w.info("all/t").Bus, 1)
		if err != nil || len(traces) != 1 || traces[0].State != "expired" {
			t.Errorf("trace: %+v, %v", traces, err)
		}
	})
}

func TestChainsOfBusesEndAtTheHopLimit(t *testing.T) {
	within(t, func(w *world) {
		loop := &target{}
		loop.deliver = func(ctx context.Context, d *targets.Delivery) error {
			return w.engine.PublishDelivery(ctx, "orders", d)
		}
		w.to(loop, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"))
		w.after(time.Minute)
		letters := w.dead("all/t")
		if len(letters) != 1 || !strings.Contains(letters[0].Reason, "loop") || letters[0].Record.Hops != 16 {
			t.Errorf("dead letters: %+v", letters)
		}
	})
}

func TestDeadLettersAreAlsoPublishedToTheirBus(t *testing.T) {
	within(t, func(w *world) {
		broken := &target{deliver: func(context.Context, *targets.Delivery) error { return targets.Permanentf("no\nway") }}
		seen := &target{}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: broken, DeadLetterBus: "graveyard"}})
		p.Buses["graveyard"] = bus.BusPlan{}
		p.Targets["seen"] = bus.TargetPlan{Target: seen}
		p.Rules["dead"] = bus.RulePlan{Bus: "graveyard", Matcher: w.matcher(""), Targets: []string{"seen"}}
		w.apply(p)
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		got := seen.attempts()
		if len(got) != 1 || got[0].Event.ExtensionText("deadlettersubscription") != "all/t" || got[0].Event.ExtensionText("deadletterreason") != "no way" {
			t.Fatalf("published: %+v", got)
		}
		if len(w.dead("all/t")) != 1 {
			t.Error("the dead letter is not on its subscription")
		}
	})
}

func TestAPanicOfATargetIsADeadLetter(t *testing.T) {
	within(t, func(w *world) {
		w.to(&target{deliver: func(context.Context, *targets.Delivery) error { panic("boom") }}, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		if l := w.dead("all/t"); len(l) != 1 || !strings.Contains(l[0].Reason, "boom") {
			t.Errorf("dead letters: %+v", l)
		}
	})
}

func TestTheRateOfATargetIsKept(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{Rate: 10})
		w.run()
		for i := range 50 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.after(2 * time.Second)
		if n := len(tg.attempts()); n > 22 {
			t.Errorf("%d attempts in 2 s at 10/s", n)
		}
		w.after(4 * time.Second)
		if n := len(tg.attempts()); n != 50 {
			t.Errorf("%d attempts after 6 s, want all 50", n)
		}
	})
}

func TestAChangeOfRulesAppliesToLaterEventsOnly(t *testing.T) {
	within(t, func(w *world) {
		first, second := &target{}, &target{}
		w.apply(w.plan(map[string]bus.TargetPlan{"first": {Target: first, Fingerprint: "1"}}))
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		again := &target{}
		p := w.plan(map[string]bus.TargetPlan{"first": {Target: again, Fingerprint: "1"}, "second": {Target: second}})
		w.apply(p)
		w.publish(w.event("2"))
		synctest.Wait()
		if first.ids() != "1 2" || second.ids() != "2" {
			t.Errorf("first got %q, second got %q", first.ids(), second.ids())
		}
		if first.started != 1 || first.closed != 0 || again.started != 0 || again.closed != 1 {
			t.Errorf("an unchanged target was disturbed: %+v, %+v", first, again)
		}
	})
}

func TestARemovedRuleKeepsWhatItOwesUntilItsNameReturns(t *testing.T) {
	within(t, func(w *world) {
		down := true
		tg := &target{deliver: func(context.Context, *targets.Delivery) error {
			if down {
				return errors.New("down")
			}
			return nil
		}}
		with := w.plan(map[string]bus.TargetPlan{"t": {Target: tg, Fingerprint: "1"}})
		w.apply(with)
		w.run()
		w.publish(w.event("1"))
		w.after(time.Minute)
		without := with
		without.Rules = map[string]bus.RulePlan{}
		w.apply(without)
		before := len(tg.attempts())
		w.after(time.Hour)
		if info := w.info("all/t"); !info.Orphaned || info.Depth != 1 || len(tg.attempts()) != before {
			t.Fatalf("orphan is %+v, %d attempts after %d", info, len(tg.attempts()), before)
		}
		down = false
		w.apply(with)
		w.after(time.Hour)
		if info := w.info("all/t"); info.Orphaned || info.Depth != 0 {
			t.Errorf("after the name returned: %+v", info)
		}
	})
}

func TestAStopGivesBackWhatWasNotDelivered(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{deliver: func(ctx context.Context, _ *targets.Delivery) error { <-ctx.Done(); return ctx.Err() }}
		w.to(tg, bus.TargetPlan{})
		w.run()
		for i := range 100 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		synctest.Wait()
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("stopping took %v", took)
		}
		info := w.info("all/t")
		if info.Depth != 100 || info.InFlight != 0 {
			t.Fatalf("after the stop: %+v", info)
		}
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}
		works := &target{}
		w.open()
		w.to(works, bus.TargetPlan{})
		w.run()
		synctest.Wait()
		if n := len(works.attempts()); n != 100 {
			t.Errorf("%d of 100 delivered after the restart", n)
		}
		for _, d := range works.attempts() {
			if d.Attempt != 1 {
				t.Errorf("a cancelled attempt was counted: %+v", d)
			}
		}
	})
}

func TestPublishRefusesWholeBatchesWithTheMemberAtFault(t *testing.T) {
	within(t, func(w *world) {
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: &target{}}})
		p.Buses["small"] = bus.BusPlan{MaxEventSize: 100}
		w.apply(p)
		ok := bus.Publication{Bus: "orders", Event: w.event("1")}
		for name, c := range map[string]struct {
			bad  bus.Publication
			code bus.PublicationCode
			text string
		}{
			"a bus that is not there":    {bus.Publication{Bus: "nope", Event: w.event("2")}, bus.UnknownBus, `no bus "nope"`},
			"an event that is too large": {bus.Publication{Bus: "small", Event: w.event("2", "subject", strings.Repeat("x", 100))}, bus.TooLarge, "at most 100"},
			"a time too far ahead":       {bus.Publication{Bus: "orders", Event: w.event("2", "deliverytime", time.Now().Add(367*24*time.Hour).Format(time.RFC3339))}, bus.BadTime, "366 days"},
			"a time that is none":        {bus.Publication{Bus: "orders", Event: w.event("2", "deliverytime", "soon")}, bus.BadTime, "soon"},
		} {
			_, err := w.engine.Publish(context.Background(), []bus.Publication{ok, c.bad}, bus.PublishOptions{})
			var refused *bus.PublicationError
			if !errors.As(err, &refused) || refused.Index != 1 || refused.Code != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v", name, err)
			}
		}
		id, _ := w.engine.BusID("orders")
		if b, _ := w.store.Bounds(id); b.Last != 0 {
			t.Errorf("something of a refused batch was stored: %+v", b)
		}
	})
}

func TestDeliveryIdsReadBack(t *testing.T) {
	within(t, func(w *world) {
		id := store.DeliveryID{Subscription: 7, Bus: 3, Sequence: 1 << 40, Run: 2}
		text := w.engine.DeliveryID(id)
		if back, err := w.engine.ParseDeliveryID(text); err != nil || back != id {
			t.Errorf("%q reads back as %+v, %v", text, back, err)
		}
		for _, bad := range []string{"", "dlv_", "dlv_0", text + "0", "x" + text, strings.Repeat("dlv_", 100)} {
			if _, err := w.engine.ParseDeliveryID(bad); err == nil {
				t.Errorf("%q is taken for a delivery id", bad)
			}
		}
	})
}
