package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/bus"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

// publisher is a fake of the bus engine.
type publisher struct {
	mu        sync.Mutex
	behaviour targettest.Behaviour
	buses     map[string]bool
	arrived   []targettest.Arrival
}

func (p *publisher) PublishDelivery(ctx context.Context, bus string, d *targets.Delivery) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.behaviour {
	case targettest.RefuseForNow, targettest.Down:
		return errors.New("the store is full")
	case targettest.RefuseForGood:
		return targets.Permanentf("bus %q does not exist", bus)
	case targettest.Hang:
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return ctx.Err()
	}
	e, err := event.FromStructured(event.AppendStructured(nil, d.Event), event.Limits{MaxEventSize: 1 << 20})
	if err != nil {
		return err
	}
	p.buses[bus] = true
	p.arrived = append(p.arrived, targettest.Arrival{ID: d.ID, Event: e})
	return nil
}

func (p *publisher) set(b targettest.Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviour = b
}

func TestConformance(t *testing.T) {
	targettest.Run(t, targettest.Harness{
		CarriesID: true,
		New: func(t *testing.T) *targettest.Receiver {
			p := &publisher{buses: map[string]bool{}}
			t.Cleanup(func() {
				for name := range p.buses {
					if name != "audit" {
						t.Errorf("an event was published to %q", name)
					}
				}
			})
			return &targettest.Receiver{
				Config: &bus.Config{Name: "audit"},
				Env:    targets.Env{Publisher: p},
				Set:    p.set,
				Arrived: func(int) []targettest.Arrival {
					p.mu.Lock()
					defer p.mu.Unlock()
					return p.arrived
				},
			}
		},
	})
}

func TestValidate(t *testing.T) {
	for name, good := range map[string]bool{
		"audit": true, "0a_b.c-d": true, "a": true, strings.Repeat("a", 63): true,
		"": false, "Audit": false, "-a": false, ".a": false, "a b": false, "ä": false, "a/b": false, strings.Repeat("a", 64): false,
	} {
		t.Run(name, func(t *testing.T) {
			var p component.Problems
			c := &bus.Config{Name: name}
			c.Validate(&p)
			if good != (len(p.All) == 0) {
				t.Errorf("problems: %+v", p.All)
			}
			if _, err := c.Build(targets.Env{Publisher: &publisher{}}); good != (err == nil) {
				t.Errorf("Build: %v", err)
			}
		})
	}
}

func TestBuildNeedsAPublisher(t *testing.T) {
	if _, err := (&bus.Config{Name: "audit"}).Build(targets.Env{}); err == nil {
		t.Error("a target without a publisher was built")
	}
}
