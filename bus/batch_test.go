package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// batches is a target that takes batches; answer says what becomes of them.
type batches struct {
	target
	takes  time.Duration
	answer func(ids []string) []error

	mu  sync.Mutex
	got []string // the event ids of each batch
	at  []time.Time
}

func (b *batches) DeliverBatch(_ context.Context, ds []*targets.Delivery) []error {
	ids := make([]string, len(ds))
	for i, d := range ds {
		ids[i] = d.Event.ID()
	}
	time.Sleep(b.takes)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got, b.at = append(b.got, strings.Join(ids, " ")), append(b.at, time.Now())
	if b.answer == nil {
		return make([]error, len(ds))
	}
	return b.answer(ids)
}

func (b *batches) each() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *batches) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.got, " | ")
}

func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func TestABatchIsSentWhenItIsFullOrItsWaitIsOver(t *testing.T) {
	within(t, func(w *world) {
		b := &batches{}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Batch: bus.BatchPolicy{Events: 3, Wait: 50 * time.Millisecond}}}))
		w.run()
		start := time.Now()
		w.publish(w.event("1"))
		w.after(20 * time.Millisecond)
		w.publish(w.event("2"))
		w.after(20 * time.Millisecond)
		if b.all() != "" {
			t.Fatalf("sent before the wait was over: %s", b.all())
		}
		w.after(20 * time.Millisecond)
		if b.all() != "1 2" || b.at[0].Sub(start) != 50*time.Millisecond {
			t.Fatalf("sent %q at %v", b.all(), b.at)
		}
		w.publish(w.event("3"), w.event("4"), w.event("5"), w.event("6"))
		synctest.Wait()
		if b.all() != "1 2 | 3 4 5" {
			t.Fatalf("a full batch waits: %q", b.all())
		}
		w.after(time.Second)
		if b.all() != "1 2 | 3 4 5 | 6" || w.info("all/t").Depth != 0 {
			t.Errorf("sent %q", b.all())
		}
	})
}

func TestABatchKeepsWithinItsBytes(t *testing.T) {
	within(t, func(w *world) {
		b := &batches{}
		big := w.event("big", "subject", strings.Repeat("x", 900))
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Concurrency: 1, Batch: bus.BatchPolicy{Events: 10, Bytes: 2*w.event("1").Size() + 10}}}))
		w.publish(w.event("1"), w.event("2"), w.event("3"), big, w.event("4"))
		w.run()
		w.after(time.Second)
		if b.all() != "1 2 | 3 | big | 4" {
			t.Errorf("sent %q", b.all())
		}
	})
}

func TestTheMembersOfABatchAreSettledEachOnItsOwn(t *testing.T) {
	within(t, func(w *world) {
		first := true
		b := &batches{answer: func(ids []string) []error {
			errs := make([]error, len(ids))
			for i, id := range ids {
				switch {
				case id == "2":
					errs[i] = targets.Permanentf("no such order")
				case id == "3" && first:
					errs[i], first = errors.New("not yet"), false
				}
			}
			return errs
		}}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Concurrency: 1, Batch: bus.BatchPolicy{Events: 10}}}))
		w.publish(w.event("1"), w.event("2"), w.event("3"))
		w.run()
		w.after(time.Minute)
		letters := w.dead("all/t")
		if b.all() != "1 2 3 | 3" || len(letters) != 1 || letters[0].Record.Event.ID() != "2" || w.info("all/t").Depth != 0 {
			t.Errorf("sent %q; dead: %+v", b.all(), letters)
		}
	})
}

func TestABatchThatFailsIsTriedAgainAndOneThatIsRefusedIsTakenApart(t *testing.T) {
	within(t, func(w *world) {
		n := 0
		b := &batches{answer: func(ids []string) []error {
			if n++; n == 1 {
				return all(len(ids), errors.New("down"))
			}
			for _, id := range ids {
				if id == "2" {
					return all(len(ids), targets.Permanentf("400 Bad Request"))
				}
			}
			return make([]error, len(ids))
		}}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Concurrency: 1, Batch: bus.BatchPolicy{Events: 10},
			Retry: bus.RetryPolicy{Attempts: 2, Delays: []time.Duration{time.Second}}}}))
		w.publish(w.event("1"), w.event("2"), w.event("3"))
		w.run()
		w.after(time.Minute)
		letters := w.dead("all/t")
		if b.all() != "1 2 3 | 1 2 3 | 1 | 2 | 3" || len(letters) != 1 || letters[0].Record.Event.ID() != "2" || len(letters[0].Attempts) != 2 {
			t.Errorf("sent %q; dead: %+v", b.all(), letters)
		}
	})
}

func TestBatchesKeepTheOrder(t *testing.T) {
	for name, order := range map[string]store.Order{"key": store.OrderKey, "strict": store.OrderStrict} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				n, last, taken := 0, map[string]int{}, 0
				b := &batches{takes: 3 * time.Millisecond, answer: func(ids []string) []error {
					errs := make([]error, len(ids))
					seen := map[string]bool{}
					for i, id := range ids {
						var key string
						var number int
						fmt.Sscanf(strings.Replace(id, "-", " ", 1), "%s %d", &key, &number)
						if order == store.OrderStrict {
							key = ""
						}
						if seen[key] {
							t.Errorf("two of key %q are in one batch: %v", key, ids)
						}
						seen[key] = true
						if n++; n%3 == 0 {
							errs[i] = errors.New("every third fails")
							continue
						}
						taken++
						if number <= last[key] {
							t.Errorf("key %q: %d after %d", key, number, last[key])
						}
						last[key] = number
					}
					return errs
				}}
				w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Order: order, Batch: bus.BatchPolicy{Events: 8, Wait: 10 * time.Millisecond}}}))
				w.run()
				for i := range 100 {
					key := fmt.Sprint("k", i%7)
					w.publish(w.event(fmt.Sprintf("%s-%d", key, i+1), "subject", key))
				}
				w.after(20 * time.Hour)
				if taken != 100 || w.info("all/t").Depth != 0 {
					t.Errorf("%d of 100 taken; %+v", taken, w.info("all/t"))
				}
			})
		})
	}
}

func TestABreakerTriesWithOneDeliveryAndTheRateCountsDeliveries(t *testing.T) {
	within(t, func(w *world) {
		var up atomic.Bool
		b := &batches{answer: func(ids []string) []error {
			if !up.Load() {
				return all(len(ids), errors.New("down"))
			}
			return make([]error, len(ids))
		}}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Concurrency: 1, Batch: bus.BatchPolicy{Events: 5, Wait: time.Second},
			Breaker: bus.BreakerPolicy{Failures: 2, Open: time.Minute}, Rate: 10, Burst: 5}}))
		for i := range 20 {
			w.publish(w.event(fmt.Sprint(i)))
		}
		w.run()
		w.after(30 * time.Second)
		before := len(b.each())
		up.Store(true)
		w.after(31 * time.Second)
		if got := b.each()[before]; strings.Contains(got, " ") {
			t.Errorf("the trial is %q, want one delivery", got)
		}
		w.after(10 * time.Minute)
		if w.info("all/t").Depth != 0 {
			t.Errorf("%+v", w.info("all/t"))
		}
		n := 0
		for i, at := range b.at[before:] {
			n += len(strings.Fields(b.each()[before+i]))
			if most := 5 + 10*at.Sub(b.at[before]).Seconds(); float64(n) > most+1 {
				t.Errorf("%d deliveries in %v", n, at.Sub(b.at[before]))
			}
		}
	})
}

func TestAStopDoesNotWaitForABatchToFill(t *testing.T) {
	within(t, func(w *world) {
		b := &batches{}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: b, Batch: bus.BatchPolicy{Events: 5, Wait: time.Hour}}}))
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
		if info := w.info("all/t"); info.InFlight != 0 {
			t.Errorf("after the stop: %+v", info)
		}
	})
}
