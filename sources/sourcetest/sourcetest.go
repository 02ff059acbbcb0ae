// Package sourcetest is the conformance suite of sources: what package sources
// promises, checked on a kind of source against its real other side. A test of
// each kind calls Run with a Harness.
package sourcetest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// Harness says how to test one kind of source.
type Harness struct {
	// New sets up the other side for one test, empty, and cleans up with
	// t.Cleanup.
	New func(t *testing.T) Fixture
	// Bubble runs each test in a synctest bubble, for kinds that only wait for
	// the clock. Waiting for an event then moves the clock.
	Bubble bool
}

// Fixture is the other side of one source.
type Fixture struct {
	// Config is what the source is built from.
	Config sources.Config
	// Ready, if not nil, is called after Run was started and returns when the
	// other side's input reaches the source.
	Ready func(t *testing.T)
	// Send offers input n, from 1, once. It returns nil after the other side
	// has sent it and, where the sender is told, was told that it was taken.
	// Nil: inputs come by themselves.
	Send func(ctx context.Context, s sources.Source, n int) error
	// Invalid offers an input that can never be accepted, and does not care
	// about the answer. Nil: there is none.
	Invalid func(ctx context.Context, s sources.Source)
	// Check fails the test if e is not what input n should become.
	Check func(t *testing.T, n int, e *event.Event)
	// Acknowledged is how many inputs the other side was told were taken. Nil:
	// it is not told.
	Acknowledged func(t *testing.T) int
	// Random says that an input which is sent twice becomes two events.
	Random bool
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"events arrive complete", arrive},
		{"nothing is acknowledged before it is kept", keep},
		{"an input that is offered again has the same id", repeat},
		{"invalid input is refused and counted", refuseInput},
		{"an event that the bus refuses for good is not offered again", refuseEvent},
		{"the end of the context ends Run", end},
		{"the end of the context ends Run while the sink blocks", endBlocked},
		{"Close is idempotent and may come without Run", closeTwice},
	} {
		t.Run(c.name, func(t *testing.T) {
			if h.Bubble {
				synctest.Test(t, func(t *testing.T) { c.test(t, h.New(t)) })
				return
			}
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { // after those of the fixture, which are set up later
				if err := goleak.Find(before); err != nil {
					t.Error(err)
				}
			})
			c.test(t, h.New(t))
		})
	}
}

func arrive(t *testing.T, f Fixture) {
	r := start(t, f)
	ids := map[string]bool{}
	for n := 1; n <= 3; n++ {
		r.send(n)
		e := r.kept()
		f.Check(t, n, e)
		if key := e.Source() + " " + e.ID(); ids[key] {
			t.Errorf("two inputs have the id %s", key)
		} else {
			ids[key] = true
		}
	}
	if f.Acknowledged != nil {
		r.until("all inputs are acknowledged", func() bool { return f.Acknowledged(t) == 3 })
	}
}

func keep(t *testing.T, f Fixture) {
	r := start(t, f)
	release := r.sink.block()
	sent := make(chan error, 1)
	if f.Send != nil {
		go func() { sent <- f.Send(r.ctx, r.source, 1) }()
	} else {
		sent <- nil
	}
	r.sink.entered(r)
	if f.Acknowledged != nil && f.Acknowledged(t) != 0 {
		t.Error("the input was acknowledged while Publish had not returned")
	}
	r.sink.fail(errors.New("the disk is full"), 2)
	release()
	err := r.receive(sent)
	if f.Acknowledged != nil && f.Acknowledged(t) != 0 {
		t.Error("the input was acknowledged after Publish failed")
	}
	if err != nil { // a sender that was told so tries again
		r.send(1)
	}
	f.Check(t, 1, r.kept())
	if n := len(r.sink.attempts()); n < 3 {
		t.Errorf("the event was offered to the bus %d times, not after each failure", n)
	}
	if f.Acknowledged != nil {
		r.until("the input is acknowledged after it was kept", func() bool { return f.Acknowledged(t) == 1 })
	}
	if n := r.rejected(); n != 0 {
		t.Errorf("%d inputs count as refused", n)
	}
}

func repeat(t *testing.T, f Fixture) {
	r := start(t, f)
	r.sink.fail(errors.New("the disk is full"), 2)
	r.send(1)
	e := r.kept()
	for _, tried := range r.sink.attempts() {
		if tried.ID() != e.ID() || tried.Source() != e.Source() {
			t.Errorf("one attempt has %s %s, another %s %s", e.Source(), e.ID(), tried.Source(), tried.ID())
		}
	}
	if f.Send == nil || f.Random {
		return
	}
	r.send(1)
	if again := r.kept(); again.ID() != e.ID() || again.Source() != e.Source() {
		t.Errorf("sent again, the input has %s %s; at first %s %s", again.Source(), again.ID(), e.Source(), e.ID())
	}
}

func refuseInput(t *testing.T, f Fixture) {
	if f.Invalid == nil {
		return // a kind without input, such as a clock, has no invalid one
	}
	r := start(t, f)
	f.Invalid(r.ctx, r.source)
	r.until("the input is counted as refused", func() bool { return r.rejected() == 1 })
	r.send(1)
	f.Check(t, 1, r.kept())
}

func refuseEvent(t *testing.T, f Fixture) {
	r := start(t, f)
	r.sink.fail(&sources.InvalidError{Err: errors.New("the event is too large for the bus")}, 1)
	if f.Send != nil {
		_ = f.Send(r.ctx, r.source, 1) // the answer depends on the kind
	}
	r.until("the event is counted as refused", func() bool { return r.rejected() == 1 })
	r.send(2)
	f.Check(t, 2, r.kept())
	if n := len(r.sink.attempts()); n != 2 {
		t.Errorf("the bus was offered %d events; the refused one and the next make 2", n)
	}
}

func end(t *testing.T, f Fixture) {
	r := start(t, f)
	r.stop()
}

func endBlocked(t *testing.T, f Fixture) {
	r := start(t, f)
	release := r.sink.block()
	defer release()
	sent := make(chan error, 1)
	if f.Send != nil {
		go func() { sent <- f.Send(r.ctx, r.source, 1) }()
	} else {
		sent <- nil
	}
	r.sink.entered(r)
	r.stop()
	_ = r.receive(sent)
}

func closeTwice(t *testing.T, f Fixture) {
	s, err := f.Config.Build(sources.Env{
		Name: "conformance", Bus: "test", Logger: slog.New(slog.DiscardHandler),
		Sink: &Sink{}, State: &State{}, Rejected: func(string) {}, Failing: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	r := start(t, f)
	r.stop()
	for range 2 {
		if err := r.source.Close(); err != nil {
			t.Error(err)
		}
	}
}
