package sourcetest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// running is one source under test.
type running struct {
	t       *testing.T
	fixture Fixture
	source  sources.Source
	sink    *Sink
	ctx     context.Context
	stop    func() // ends the context and waits for Run
	refused atomic.Int64
}

func start(t *testing.T, f Fixture) *running {
	t.Helper()
	var p component.Problems
	f.Config.Validate(&p)
	for _, bad := range p.All {
		t.Errorf("the settings are not valid: %v: %s", bad.Path, bad.Message)
	}
	r := &running{t: t, fixture: f, sink: &Sink{}}
	s, err := f.Config.Build(sources.Env{
		Name: "conformance", Bus: "test", Logger: slog.New(slog.DiscardHandler),
		Sink: r.sink, State: &State{}, Rejected: func(string) { r.refused.Add(1) }, Failing: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.source = s
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	done := make(chan error, 1)
	if runner, ok := s.(sources.Runner); ok {
		go func() { done <- runner.Run(ctx) }()
	} else {
		done <- nil
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := r.receive(done); err != nil {
			t.Errorf("Run returned %v after its context was done; want nil", err)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if f.Ready != nil {
		f.Ready(t)
	}
	return r
}

func (r *running) rejected() int { return int(r.refused.Load()) }

// send sends input n as a sender does that tries again until it is taken.
func (r *running) send(n int) {
	r.t.Helper()
	if r.fixture.Send == nil {
		return
	}
	var err error
	for range 10 {
		if err = r.fixture.Send(r.ctx, r.source, n); err == nil {
			return
		}
	}
	r.t.Fatalf("input %d was not taken: %v", n, err)
}

// kept waits for the next event that the sink keeps.
func (r *running) kept() *event.Event {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		e, changed := r.sink.next()
		if e != nil {
			return e
		}
		select {
		case <-changed:
		case <-timeout.C:
			r.t.Fatal("no event came")
		}
	}
}

// receive waits for an error on c.
func (r *running) receive(c <-chan error) error {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case err := <-c:
		return err
	case <-timeout.C:
		r.t.Fatal("what should end soon goes on")
		return nil
	}
}

// until waits until ok returns true.
func (r *running) until(what string, ok func() bool) {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-timeout.C:
			r.t.Fatalf("it never came that %s", what)
		}
	}
}
