// Package gofunc is a target for programs that embed Switchyard: a Go function
// that is called with each delivery. It has no settings, so configuration files
// cannot name it.
package gofunc

import (
	"context"
	"errors"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

// Func takes one attempt at a delivery, under the contract of
// targets.Target.Deliver: nil is done, a *targets.Permanent a dead letter, a
// *targets.RetryAfter is tried again no sooner than it says, any other error by
// the target's schedule. It is called from many goroutines at once, must end
// soon after ctx is done, and must not keep d or its event.
type Func func(ctx context.Context, d *targets.Delivery) error

// New makes a target of f, ready for bus.TargetPlan. A nil f is a programming
// error: every delivery fails for good.
func New(f Func) targets.Target { return target{f} }

type target struct{ f Func }

// Start implements targets.Target.
func (t target) Start(context.Context) error { return nil }

// Deliver implements targets.Target. A function that would succeed once ctx is
// done is not called.
func (t target) Deliver(ctx context.Context, d *targets.Delivery) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.f == nil {
		return &targets.Permanent{Err: errors.New("the function of the target is nil")}
	}
	return t.f(ctx, d)
}

// Close implements targets.Target.
func (t target) Close() error { return nil }

// Config makes a Func a targets.Config, for code that builds targets of many
// kinds alike.
type Config struct{ Func Func }

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	if c.Func == nil {
		p.Add("is required; give a function")
	}
}

// Build implements targets.Config.
func (c *Config) Build(targets.Env) (targets.Target, error) {
	if c.Func == nil {
		return nil, errors.New("gofunc: Config.Func is required")
	}
	return New(c.Func), nil
}
