// Package targettest is the conformance suite that every kind of target has to
// pass: what targets.Target promises, tested from outside against a receiver
// that can misbehave.
package targettest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// Behaviour is how a receiver treats what it is sent.
type Behaviour int

const (
	// Accept takes every event.
	Accept Behaviour = iota
	// RefuseForNow refuses in a way that another attempt may mend.
	RefuseForNow
	// RefuseForGood refuses in a way that no attempt can mend.
	RefuseForGood
	// Hang takes connections but never answers.
	Hang
	// Down cannot be reached at all.
	Down
)

// Arrival is one event that a receiver accepted.
type Arrival struct {
	ID    string // the delivery's id, as the protocol carried it
	Event *event.Event
}

// Receiver is the other side of a target, made for one test. It starts out
// accepting; what it holds ends with its test.
type Receiver struct {
	// Config is the settings of a target that delivers to this receiver.
	Config targets.Config
	// Env is what the target is built with. The suite adds what is missing.
	Env targets.Env
	// Set changes how the receiver behaves, also for deliveries under way.
	Set func(Behaviour)
	// Arrived waits until n events have arrived, or the test's time is up, and
	// returns all that have.
	Arrived func(n int) []Arrival
	// Unwelcome is the event that is refused for good while the receiver is set
	// to RefuseForGood; nil: any.
	Unwelcome *event.Event
}

// Harness describes a kind of target to the suite.
type Harness struct {
	// New makes a receiver.
	New func(t *testing.T) *Receiver
	// Lacks has the behaviours that this kind of receiver cannot show, and why.
	Lacks map[Behaviour]string
	// CarriesID is whether receivers learn the delivery's id.
	CarriesID bool
	// Deduplicates is whether the receiver drops repeats by itself.
	Deduplicates bool
}

const (
	soon    = 3 * time.Second  // generous for a busy machine, far below any timeout
	patient = 30 * time.Second // until something must have happened
)

// Run runs the suite on one kind of target.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name  string
		needs []Behaviour
		test  func(*testing.T, Harness, *Receiver)
	}{
		{"an event arrives as it was given", nil, testFidelity},
		{"every attempt has the delivery's id", nil, testSameID},
		{"a refusal for now can be tried again", []Behaviour{RefuseForNow}, testRefusedForNow},
		{"a refusal for good is permanent", []Behaviour{RefuseForGood}, testRefusedForGood},
		{"an attempt ends with its context while the receiver hangs", []Behaviour{Hang}, testHanging},
		{"a receiver that hangs from the start holds up no one", []Behaviour{Hang}, testHangingFromStart},
		{"a receiver that is down at the start is found later", []Behaviour{Down}, testDownAtStart},
		{"a receiver that goes down is found again", []Behaviour{Down}, testDownThenUp},
		{"many deliveries at once all arrive", nil, testConcurrent},
		{"a context that is done already is noticed", []Behaviour{Hang}, testDoneContext},
		{"events are not changed", nil, testUnchanged},
		{"events are not kept", nil, testNotKept},
		{"closing twice is fine", nil, testCloseTwice},
		{"closing without starting is fine", nil, testCloseUnstarted},
		{"closing while the receiver is down is quick", []Behaviour{Down}, testCloseDown},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, b := range c.needs {
				if why := h.Lacks[b]; why != "" {
					t.Skip("does not apply: " + why)
				}
			}
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the receiver's own
			r := h.New(t)
			if r.Env.Logger == nil {
				r.Env.Logger = slog.New(slog.DiscardHandler)
			}
			if r.Env.Name == "" {
				r.Env.Name = "conformance"
			}
			c.test(t, h, r)
		})
	}
}

// build makes the receiver's target, which the test has to close.
func build(t *testing.T, r *Receiver) targets.Target {
	t.Helper()
	target, err := r.Config.Build(r.Env)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return target
}

// start makes and starts the receiver's target, and closes it after the test.
func start(t *testing.T, r *Receiver) targets.Target {
	t.Helper()
	target := build(t, r)
	t.Cleanup(func() { closeSoon(t, target) })
	within(t, "Start", func() {
		if err := target.Start(t.Context()); err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	return target
}

func closeSoon(t *testing.T, target targets.Target) {
	t.Helper()
	within(t, "Close", func() {
		if err := target.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// within fails the test if f takes long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	begun := time.Now()
	f()
	if took := time.Since(begun); took > soon {
		t.Errorf("%s took %v", what, took)
	}
}

// deliver makes one attempt that must succeed.
func deliver(t *testing.T, target targets.Target, d *targets.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := target.Deliver(ctx, d); err != nil {
		t.Fatalf("Deliver(%s): %v", d.ID, err)
	}
}

// deliverEventually makes attempts until one succeeds, as the engine would.
func deliverEventually(t *testing.T, target targets.Target, d *targets.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := target.Deliver(ctx, d)
		if err == nil {
			return
		}
		if targets.IsPermanent(err) {
			t.Fatalf("Deliver(%s) failed for good while the receiver was coming back: %v", d.ID, err)
		}
		d.Attempt++
		select {
		case <-retry.C:
		case <-ctx.Done():
			t.Fatalf("Deliver(%s) still fails: %v", d.ID, err)
		}
	}
}

// attemptBriefly makes an attempt with a short context and checks that it fails
// soon after that is done, in a way that can be tried again.
func attemptBriefly(t *testing.T, target targets.Target, d *targets.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	within(t, "Deliver", func() {
		switch err := target.Deliver(ctx, d); {
		case err == nil:
			t.Error("Deliver succeeded although nothing was accepted")
		case targets.IsPermanent(err):
			t.Errorf("Deliver failed for good: %v", err)
		case err.Error() == "":
			t.Error("the error says nothing")
		}
	})
}
