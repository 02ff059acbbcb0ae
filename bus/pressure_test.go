package bus_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// refusal is the limit that a publication meets, nil if it is accepted.
func (w *world) refusal(id, busName string) *store.LimitError {
	w.t.Helper()
	_, err := w.engine.Publish(context.Background(), []bus.Publication{{Bus: busName, Event: w.event(id)}}, bus.PublishOptions{})
	if err == nil {
		return nil
	}
	var limit *store.LimitError
	if !errors.As(err, &limit) || !errors.Is(err, store.ErrUnavailable) {
		w.t.Fatalf("publish %s: %v, want a limit", id, err)
	}
	return limit
}

func TestQueueLimitsRefuseTheirBusOnlyUntilTheQueueIsShorter(t *testing.T) {
	cases := map[string]struct {
		limits bus.BusLimits
		wait   time.Duration
		limit  string
	}{
		"depth": {bus.BusLimits{Depth: 3}, time.Second, "depth"},
		"age":   {bus.BusLimits{Age: time.Minute}, 2 * time.Minute, "age"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				release := make(chan struct{})
				slow := &target{deliver: func(ctx context.Context, _ *targets.Delivery) error {
					select {
					case <-release:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}}
				p := w.plan(map[string]bus.TargetPlan{"slow": {Target: slow}})
				p.Buses["orders"] = bus.BusPlan{Limits: c.limits}
				p.Buses["other"] = bus.BusPlan{}
				w.apply(p)
				w.run()
				for _, id := range []string{"1", "2", "3"} {
					if l := w.refusal(id, "orders"); l != nil {
						t.Fatalf("refused before the limit is reached: %v", l)
					}
				}
				time.Sleep(c.wait)
				l := w.refusal("4", "orders")
				if l == nil || l.Limit != c.limit || l.Bus != "orders" || !l.Busy || l.Value < l.Bound || l.RetryAfter < time.Second {
					t.Fatalf("got %+v, want the limit %s of the bus", l, c.limit)
				}
				if l := w.refusal("5", "other"); l != nil {
					t.Errorf("another bus is refused: %v", l)
				}
				_, err := w.engine.Publish(t.Context(), []bus.Publication{
					{Bus: "other", Event: w.event("6")}, {Bus: "orders", Event: w.event("7")}}, bus.PublishOptions{})
				if !errors.As(err, &l) {
					t.Errorf("a batch across buses: %v, want it refused whole", err)
				}
				if w.engine.Refusing() != nil {
					t.Error("a limit of one bus makes the server unready")
				}
				close(release)
				time.Sleep(time.Second)
				if l := w.refusal("8", "orders"); l != nil {
					t.Errorf("still refused: %v", l)
				}
			})
		})
	}
}

// measuredBy makes the engine one whose memory is as used says.
func (w *world) measuredBy(used func() int64) {
	w.t.Helper()
	w.openWith(bus.Options{MemoryUsed: used})
}

func TestMemoryLimitRefusesAllBusesWithSomeSlack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var used atomic.Int64
		w.measuredBy(used.Load)
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: &target{}}})
		p.Limits.Memory = 1000
		w.apply(p)
		w.run()
		for _, step := range []struct {
			used    int64
			refused bool
		}{{999, false}, {1000, true}, {950, true}, {899, false}, {999, false}} {
			used.Store(step.used)
			time.Sleep(time.Second)
			l := w.refusal(time.Now().String(), "orders")
			if (l != nil) != step.refused || (w.engine.Refusing() != nil) != step.refused {
				t.Errorf("%d of 1000 used: %v, want refused: %v", step.used, l, step.refused)
			}
			if l != nil && (l.Limit != "memory" || l.Busy || l.Bus != "") {
				t.Errorf("got %+v, want the limit memory of the server", l)
			}
		}
		used.Store(2000)
		time.Sleep(time.Second)
		p.Limits = bus.Limits{}
		w.apply(p)
		synctest.Wait()
		if l := w.refusal("after", "orders"); l != nil {
			t.Errorf("refused though a reload took the limit away: %v", l)
		}
	})
}

func TestWhatABusTargetPublishesWaitsAndDeadLettersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var used atomic.Int64
		w.measuredBy(used.Load)
		chain := &target{deliver: func(ctx context.Context, d *targets.Delivery) error {
			return w.engine.PublishDelivery(ctx, "chained", d)
		}}
		dead := &target{deliver: func(context.Context, *targets.Delivery) error { return targets.Permanentf("no") }}
		p := w.plan(map[string]bus.TargetPlan{
			"chain": {Target: chain, Breaker: bus.BreakerPolicy{Failures: 1, Open: time.Hour}},
			"dead":  {Target: dead, DeadLetterBus: "graveyard"},
		})
		p.Buses["chained"], p.Buses["graveyard"] = bus.BusPlan{Dedupe: time.Minute}, bus.BusPlan{Dedupe: time.Minute}
		p.Limits.Memory = 1000
		w.apply(p)
		w.publish(w.event("1"))
		used.Store(2000)
		w.run()
		w.after(10 * time.Second)
		if n := len(w.on("chained")); n != 0 {
			t.Errorf("the refused bus got %d events", n)
		}
		if n := len(w.on("graveyard")); n != 1 {
			t.Errorf("the bus of dead letters got %d events, want the one that is published once or never", n)
		}
		used.Store(0)
		w.after(time.Minute)
		if n := len(w.on("chained")); n != 1 {
			t.Errorf("got %d events after the limit went, want 1; a refusal must not open the breaker", n)
		}
	})
}
