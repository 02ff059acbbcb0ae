package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// broadcasts plans a broadcast called "t" and runs.
func (w *world) broadcasts(policy bus.TargetPlan) {
	w.t.Helper()
	policy.Target = pullTarget(w.t, true)
	w.apply(w.plan(map[string]bus.TargetPlan{"t": policy}))
	w.run()
	synctest.Wait()
}

func (w *world) as(consumer string) []bus.Leased {
	w.t.Helper()
	return w.receive(bus.Receive{Max: 10, Consumer: consumer})
}

func (w *world) consumers() map[string]store.SubscriptionInfo {
	all := map[string]store.SubscriptionInfo{}
	for _, info := range w.store.Subscriptions() {
		if c := bus.ConsumerOf(info.Name); c != "" {
			all[c] = info
		}
	}
	return all
}

func TestEachConsumerOfABroadcastGetsEveryEventFromItsFirstReceiveOn(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{Order: store.OrderKey})
		if _, err := w.engine.Receive(context.Background(), "all", "t", bus.Receive{}); !errors.Is(err, bus.ErrConsumer) {
			t.Errorf("receiving without a name: %v", err)
		}
		w.publish(w.event("0"))
		synctest.Wait()
		w.as("a")
		w.publish(w.event("1"))
		w.after(time.Second)
		w.as("b")
		w.publish(w.event("2"))
		w.after(time.Second)
		a, b := w.as("a"), w.as("b")
		if eventIDs(a) != "[1 2]" || eventIDs(b) != "[2]" {
			t.Errorf("a got %s, b got %s", eventIDs(a), eventIDs(b))
		}
		if a[1].ID == b[0].ID {
			t.Error("two consumers' deliveries have the same id")
		}
		if got := w.ack(a[0].Lease, b[0].Lease); len(got.Valid) != 2 {
			t.Errorf("acknowledging for both answered %+v", got)
		}
		if again := w.as("b"); len(again) != 0 {
			t.Errorf("b got %s again", eventIDs(again))
		}
		all := w.consumers()
		if len(all) != 2 || all["a"].Depth != 1 || all["b"].Depth != 0 || w.info("all/t").Depth != 0 {
			t.Errorf("consumers are %+v", all)
		}
	})
}

func TestConsumersSurviveARestartWithWhatTheyAreOwed(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{})
		w.as("a")
		w.as("b")
		w.publish(w.event("1"))
		w.after(time.Second)
		w.ack(w.as("a")[0].Lease)
		w.as("b")
		w.stop()
		w.engine.Close()
		w.open()
		w.broadcasts(bus.TargetPlan{})
		w.publish(w.event("2"))
		w.after(time.Second)
		if a, b := w.as("a"), w.as("b"); eventIDs(a) != "[2]" || eventIDs(b) != "[1 2]" {
			t.Errorf("after a restart a got %s, b got %s", eventIDs(a), eventIDs(b))
		}
	})
}

func TestAConsumerCanBeRemovedAndBeginsAnew(t *testing.T) {
	within(t, func(w *world) {
		ctx := context.Background()
		w.broadcasts(bus.TargetPlan{Retry: bus.RetryPolicy{Attempts: 1}})
		w.as("a")
		w.publish(w.event("1"), w.event("2"))
		w.after(time.Second)
		got := w.as("a")
		w.nack(bus.Nack{}, got[0].Lease) // a dead letter
		done := make(chan []bus.Leased)
		go func() { done <- w.receive(bus.Receive{Consumer: "a", Wait: time.Minute}) }()
		synctest.Wait()
		if err := w.engine.RemoveConsumer(ctx, "all", "t", "a"); err != nil {
			t.Fatal(err)
		}
		<-done
		if all := w.consumers(); len(all) != 0 {
			t.Errorf("left are %+v", all)
		}
		if late := w.ack(got[1].Lease); len(late.Valid) != 0 {
			t.Error("a lease of a consumer that was removed is valid")
		}
		if err := w.engine.RemoveConsumer(ctx, "all", "t", "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("removing it again: %v", err)
		}
		if again := w.as("a"); len(again) != 0 {
			t.Errorf("a new consumer got %s", eventIDs(again))
		}
	})
}

func TestAConsumerThatStaysAwayIsRemovedAndOneThatWaitsIsNot(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{})
		w.as("away")
		leave := w.stay("here")
		w.after(4 * 24 * time.Hour)
		leave()
		w.stop()
		w.engine.Close()
		w.open() // the days away before a restart count
		w.broadcasts(bus.TargetPlan{})
		leave = w.stay("here")
		w.after(2 * 24 * time.Hour)
		if all := w.consumers(); len(all) != 2 {
			t.Errorf("after six days there are %v", all)
		}
		w.after(25 * time.Hour)
		if all := w.consumers(); len(all) != 1 || all["here"].Name == "" {
			t.Errorf("after seven days there are %v", all)
		}
		leave()
	})
}

// stay receives as a consumer, again and again, until leave is called.
func (w *world) stay(consumer string) (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w.engine.Receive(ctx, "all", "t", bus.Receive{Consumer: consumer, Wait: time.Minute})
		}
	}()
	return func() { cancel(); <-done }
}

func TestABroadcastHasABoundedNumberOfConsumers(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{})
		for i := range bus.MaxConsumers {
			w.as(fmt.Sprint("c", i))
		}
		if _, err := w.engine.Receive(context.Background(), "all", "t", bus.Receive{Consumer: "more"}); !errors.Is(err, bus.ErrTooManyConsumers) {
			t.Errorf("one more: %v", err)
		}
		w.publish(w.event("1"))
		w.after(time.Second)
		if got := w.as("c999"); eventIDs(got) != "[1]" {
			t.Errorf("c999 got %s", eventIDs(got))
		}
	})
}

func TestABroadcastThatEndsLeavesItsConsumersAsOrphansIfTheyAreOwedSomething(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{})
		w.as("owed")
		w.as("done")
		w.publish(w.event("1"))
		w.after(time.Second)
		w.ack(w.as("done")[0].Lease)
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}}))
		if all := w.consumers(); len(all) != 1 || !all["owed"].Orphaned {
			t.Errorf("left are %+v", all)
		}
		w.publish(w.event("2"))
		w.after(time.Second)
		if got := w.receive(bus.Receive{Max: 10}); eventIDs(got) != "[2]" {
			t.Errorf("shared workers got %s", eventIDs(got))
		}
		w.apply(w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, true)}}))
		if got := w.as("owed"); eventIDs(got) != "[1]" {
			t.Errorf("the consumer that is back got %s", eventIDs(got))
		}
	})
}
