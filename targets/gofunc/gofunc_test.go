package gofunc_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/gofunc"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

// receiver is a function that behaves as the suite wants.
type receiver struct {
	mu        sync.Mutex
	behaviour targettest.Behaviour
	changed   chan struct{}
	arrivals  []targettest.Arrival
}

func (r *receiver) set(b targettest.Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviour = b
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *receiver) deliver(ctx context.Context, d *targets.Delivery) error {
	r.mu.Lock()
	behaviour := r.behaviour
	if behaviour == targettest.Accept {
		copied, err := event.FromEvent(d.Event).Build()
		if err != nil {
			r.mu.Unlock()
			return err
		}
		r.arrivals = append(r.arrivals, targettest.Arrival{ID: d.ID, Event: copied})
		close(r.changed)
		r.changed = make(chan struct{})
	}
	r.mu.Unlock()
	switch behaviour {
	case targettest.RefuseForNow, targettest.Down:
		return errors.New("not now")
	case targettest.RefuseForGood:
		return targets.Permanentf("never")
	case targettest.Hang:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (r *receiver) arrived(n int) []targettest.Arrival {
	late := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		all, changed := append([]targettest.Arrival(nil), r.arrivals...), r.changed
		r.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-changed:
		case <-late:
			return all
		}
	}
}

func TestConformance(t *testing.T) {
	targettest.Run(t, targettest.Harness{CarriesID: true, New: func(*testing.T) *targettest.Receiver {
		r := &receiver{changed: make(chan struct{})}
		return &targettest.Receiver{Config: &gofunc.Config{Func: r.deliver}, Set: r.set, Arrived: r.arrived}
	}})
}

func TestANilFunctionIsRefused(t *testing.T) {
	if _, err := (&gofunc.Config{}).Build(targets.Env{}); err == nil {
		t.Error("built without a function")
	}
	if err := gofunc.New(nil).Deliver(t.Context(), &targets.Delivery{}); !targets.IsPermanent(err) {
		t.Errorf("got %v, want a permanent failure", err)
	}
}
