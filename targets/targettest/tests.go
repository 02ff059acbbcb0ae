package targettest

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

func testFidelity(t *testing.T, h Harness, r *Receiver) {
	target := start(t, r)
	for i, s := range Samples(t) {
		d := delivery(s.Event, i)
		deliver(t, target, d)
		arrived := r.Arrived(i + 1)
		if len(arrived) != i+1 {
			t.Fatalf("%s: %d events have arrived, not %d", s.Name, len(arrived), i+1)
		}
		if diff := Difference(s.Event, arrived[i].Event); diff != "" {
			t.Errorf("%s: %s", s.Name, diff)
		}
		if h.CarriesID && arrived[i].ID != d.ID {
			t.Errorf("%s: the delivery's id arrived as %q, not %q", s.Name, arrived[i].ID, d.ID)
		}
	}
}

func testSameID(t *testing.T, h Harness, r *Receiver) {
	if !h.CarriesID {
		t.Skip("does not apply: the protocol carries no delivery id")
	}
	target := start(t, r)
	d := delivery(numbered(t, 1), 7)
	deliver(t, target, d)
	d.Attempt++
	d.Redriven = true
	deliver(t, target, d)
	want := 2
	if h.Deduplicates {
		want = 1
	}
	deliver(t, target, delivery(numbered(t, 2), 8))
	arrived := r.Arrived(want + 1)
	if len(arrived) != want+1 {
		t.Fatalf("%d events have arrived, not %d", len(arrived), want+1)
	}
	for _, a := range arrived[:want] {
		if a.ID != d.ID {
			t.Errorf("the delivery's id arrived as %q, not %q", a.ID, d.ID)
		}
	}
}

func testRefusedForNow(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	r.Set(RefuseForNow)
	d := delivery(numbered(t, 1), 1)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	err := target.Deliver(ctx, d)
	if err == nil || targets.IsPermanent(err) {
		t.Fatalf("Deliver: %v; want an error that is tried again", err)
	}
	r.Set(Accept)
	deliverEventually(t, target, d)
	if n := len(r.Arrived(1)); n != 1 {
		t.Errorf("%d events have arrived, not 1", n)
	}
}

func testRefusedForGood(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	r.Set(RefuseForGood)
	e := r.Unwelcome
	if e == nil {
		e = numbered(t, 1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := target.Deliver(ctx, delivery(e, 1)); !targets.IsPermanent(err) {
		t.Fatalf("Deliver: %v; want a *Permanent", err)
	}
	r.Set(Accept)
	deliver(t, target, delivery(numbered(t, 2), 2))
	if arrived := r.Arrived(1); len(arrived) != 1 || arrived[0].Event.ID() != "2" {
		t.Errorf("%d events have arrived; want the second one only", len(arrived))
	}
}

func testHanging(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	deliver(t, target, delivery(numbered(t, 1), 1))
	r.Set(Hang)
	var all sync.WaitGroup
	for i := range 8 {
		e := numbered(t, 2+i)
		all.Go(func() { attemptBriefly(t, target, delivery(e, 2+i)) })
	}
	all.Wait()
	r.Set(Accept)
	deliverEventually(t, target, delivery(numbered(t, 20), 20))
}

func testHangingFromStart(t *testing.T, _ Harness, r *Receiver) {
	r.Set(Hang)
	target := start(t, r)
	attemptBriefly(t, target, delivery(numbered(t, 1), 1))
}

func testDownAtStart(t *testing.T, _ Harness, r *Receiver) {
	r.Set(Down)
	target := start(t, r)
	d := delivery(numbered(t, 1), 1)
	attemptDown(t, target, d)
	r.Set(Accept)
	deliverEventually(t, target, d)
	if n := len(r.Arrived(1)); n != 1 {
		t.Errorf("%d events have arrived, not 1", n)
	}
}

func testDownThenUp(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	deliver(t, target, delivery(numbered(t, 1), 1))
	for i := range 3 {
		r.Set(Down)
		d := delivery(numbered(t, 2+i), 2+i)
		attemptDown(t, target, d)
		r.Set(Accept)
		deliverEventually(t, target, d)
	}
	if n := len(r.Arrived(4)); n != 4 {
		t.Errorf("%d events have arrived, not 4", n)
	}
}

// attemptDown makes an attempt while the receiver cannot be reached.
func attemptDown(t *testing.T, target targets.Target, d *targets.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := target.Deliver(ctx, d); err == nil || targets.IsPermanent(err) {
		t.Fatalf("Deliver while the receiver is down: %v; want an error that is tried again", err)
	}
}

func testConcurrent(t *testing.T, _ Harness, r *Receiver) {
	const workers, each = 32, 8
	target := start(t, r)
	var all sync.WaitGroup
	for w := range workers {
		events := make([]*event.Event, each)
		for i := range events {
			events[i] = numbered(t, w*each+i)
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patient)
			defer cancel()
			for i, e := range events {
				if err := target.Deliver(ctx, delivery(e, w*each+i)); err != nil {
					t.Errorf("Deliver: %v", err)
				}
			}
		})
	}
	all.Wait()
	seen := map[string]int{}
	for _, a := range r.Arrived(workers * each) {
		seen[a.Event.ID()]++
	}
	if len(seen) != workers*each {
		t.Errorf("%d different events have arrived, not %d", len(seen), workers*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("event %s has arrived %d times", id, n)
		}
	}
}

func testDoneContext(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	r.Set(Hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, "Deliver", func() {
		if err := target.Deliver(ctx, delivery(numbered(t, 1), 1)); err == nil || targets.IsPermanent(err) {
			t.Errorf("Deliver with a done context: %v; want an error that is tried again", err)
		}
	})
}

func testUnchanged(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	for i, s := range Samples(t) {
		before := event.AppendStructured(nil, s.Event)
		d := delivery(s.Event, i)
		given := *d
		deliver(t, target, d)
		if after := event.AppendStructured(nil, s.Event); !bytes.Equal(before, after) {
			t.Errorf("%s: the event was changed", s.Name)
		}
		d.Answer = targets.Answer{} // is for the target to fill in
		if *d != given {
			t.Errorf("%s: the delivery was changed: %+v, was %+v", s.Name, *d, given)
		}
	}
}

func testNotKept(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r)
	kept := func() weak.Pointer[event.Event] {
		e := numbered(t, 1)
		deliver(t, target, delivery(e, 1))
		return weak.Make(e)
	}()
	end := time.Now().Add(patient)
	for kept.Value() != nil && time.Now().Before(end) {
		runtime.GC()
	}
	if kept.Value() != nil {
		t.Error("the event of a delivery that is over is still in memory")
	}
	runtime.KeepAlive(target)
}

func testCloseTwice(t *testing.T, _ Harness, r *Receiver) {
	target := start(t, r) // which closes it once more
	deliver(t, target, delivery(numbered(t, 1), 1))
	closeSoon(t, target)
}

func testCloseUnstarted(t *testing.T, _ Harness, r *Receiver) {
	target := build(t, r)
	closeSoon(t, target)
	closeSoon(t, target)
}

func testCloseDown(t *testing.T, _ Harness, r *Receiver) {
	r.Set(Down)
	target := build(t, r)
	if err := target.Start(t.Context()); err != nil {
		t.Errorf("Start: %v", err)
	}
	closeSoon(t, target)
}
