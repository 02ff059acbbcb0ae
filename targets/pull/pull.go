// Package pull is the target that sends nothing: its deliveries wait in their
// queues until workers lease them over the API. The engine keeps the leases
// (bus/pull.go); this package has the settings. Package client, below it, is
// the worker's side in Go.
package pull

import (
	"context"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

// Bounds of a lease.
const (
	minLease = time.Second
	maxLease = 12 * time.Hour
)

// Config is the settings of a pull target.
type Config struct {
	Lease     component.Duration `yaml:"lease" doc:"How long a worker has a delivery before it goes to another, unless it extends the lease; 1s to 12h."`
	Broadcast bool               `yaml:"broadcast" doc:"Each consumer, by the name that it receives with, gets every event, from its first receive on; false lets all workers share them."`
}

// NewConfig makes settings with the defaults filled in.
func NewConfig() *Config { return &Config{Lease: component.Duration(30 * time.Second)} }

// Spec describes the kind.
func Spec() targets.Spec {
	return targets.Spec{
		Spec: component.Spec{
			Kind:    "pull",
			Summary: "Keeps events until workers come for them over HTTP.",
			Doc: "For workers without an address, in any language: a worker asks for deliveries " +
				"(`POST /v1/subscriptions/RULE/TARGET/receive`, which waits until there are some), works on them, and " +
				"acknowledges each. What it does not acknowledge before its lease ends goes to another worker at once. " +
				"[Pull](pull.md) describes the calls. `concurrency` is the most leases out at the same time, for each " +
				"subscription, 1000 unless it is set; `retry`, `order` and `rate` hold as for other targets.",
		},
		New: func() targets.Config { return NewConfig() },
	}
}

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	if d := c.Lease.Std(); d < minLease || d > maxLease {
		p.Addf([]string{"lease"}, "%s is not between 1s and 12h", c.Lease)
	}
}

type target struct{ settings targets.Pull }

// Build implements targets.Config.
func (c *Config) Build(targets.Env) (targets.Target, error) {
	return target{targets.Pull{Lease: c.Lease.Std(), Broadcast: c.Broadcast}}, nil
}

// Pull implements targets.Pulled.
func (t target) Pull() targets.Pull { return t.settings }

// Start implements targets.Target.
func (target) Start(context.Context) error { return nil }

// Deliver implements targets.Target. Nobody calls it.
func (target) Deliver(context.Context, *targets.Delivery) error {
	return targets.Permanentf("a pull target delivers nothing by itself")
}

// Close implements targets.Target.
func (target) Close() error { return nil }
