package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
)

// The whole bus in process: how many publish, and how many rules match each
// event.
const (
	busPublishers = 64
	fanOut        = 3
)

// noOp is a target that accepts everything and counts it.
type noOp struct{ delivered *atomic.Int64 }

func (noOp) Start(context.Context) error { return nil }
func (noOp) Close() error                { return nil }
func (n noOp) Deliver(context.Context, *targets.Delivery) error {
	n.delivered.Add(1)
	return nil
}

// busScenario is publish, match, deliver and settle in process.
func busScenario() *scenario {
	return &scenario{
		name: named("bus", busPublishers),
		about: fmt.Sprintf("events published, matched and settled in process, %d publishers, %d deliveries each to targets that do nothing",
			busPublishers, fanOut),
		rows: rateRows(bareFsync, bar{value: 0.7}),
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			b, err := openBus(ctx, e, c, t, embedded.Options{}, nil)
			if err != nil {
				return nil, err
			}
			bare, err := bareAppend(e, c, busPublishers, frameBytes(t))
			if err != nil {
				return nil, err
			}
			return []contender{withCPU(contender{ours, b.publishing(e, busPublishers)}, ownCPU), withCPU(bare, ownCPU)}, nil
		},
	}
}

// wholeBus is an engine that runs on a store of its own.
type wholeBus struct {
	under     *underTest
	engine    *bus.Engine
	template  *template
	delivered atomic.Int64
}

// openBus opens one, with a rule more if more is not nil.
func openBus(ctx context.Context, e *environment, c *closer, t *template, opts embedded.Options, more targets.Target) (*wholeBus, error) {
	u, err := openFilled(ctx, e, c, t, opts)
	if err != nil {
		return nil, err
	}
	b := &wholeBus{under: u, template: t}
	plan, err := b.plan()
	if err != nil {
		return nil, err
	}
	if more != nil {
		plan.Rules[again] = bus.RulePlan{Bus: "bench", Matcher: plan.Rules["r0"].Matcher, Targets: []string{again}}
		plan.Targets[again] = bus.TargetPlan{Target: more}
	}
	b.engine, err = u.run(ctx, c, plan)
	return b, err
}

// run runs an engine on the store, with a plan, until the scenario ends.
func (u *underTest) run(ctx context.Context, c *closer, plan bus.Plan) (*bus.Engine, error) {
	engine, err := bus.New(bus.Options{Store: u.store})
	if err != nil {
		return nil, err
	}
	c.add(engine.Close)
	if err := engine.Apply(ctx, plan); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(running) }()
	c.add(func() error {
		stop()
		return <-ended
	})
	return engine, nil
}

// plan has fanOut rules, each with a filter and a target of its own.
func (b *wholeBus) plan() (bus.Plan, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return bus.Plan{}, err
	}
	p := bus.Plan{
		Buses:   map[string]bus.BusPlan{"bench": {MaxBytes: keepBytes, Dedupe: dedupe}},
		Rules:   map[string]bus.RulePlan{},
		Targets: map[string]bus.TargetPlan{},
	}
	for i, when := range [fanOut]string{
		`event.type == "com.example.order.placed"`,
		`event.source.startsWith("https://shop.example.com/")`,
		whenPlaced,
	} {
		matcher, err := env.Compile(rules.Filter{When: when})
		if err != nil {
			return bus.Plan{}, err
		}
		name := fmt.Sprintf("r%d", i)
		p.Rules[name] = bus.RulePlan{Bus: "bench", Matcher: matcher, Targets: []string{name}}
		p.Targets[name] = bus.TargetPlan{Target: noOp{&b.delivered}}
	}
	return p, nil
}

// publishing lets publishers publish and counts until the last delivery is made.
func (b *wholeBus) publishing(e *environment, publishers int) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		before := b.delivered.Load()
		all := make([]worker, publishers)
		for i := range all {
			all[i] = b.publisher(ctx, e)
		}
		stop := every(ctx, b.under.store.Trim)
		began := time.Now()
		t, err := drive(ctx, all, d)
		if err == nil {
			err = awaitCount(ctx, before+fanOut*t.events, b.delivered.Load)
		}
		if err := errors.Join(err, stop()); err != nil {
			return nil, err
		}
		t.elapsed = time.Since(began)
		return t.measures(), nil
	}
}

// publisher publishes events with ids of their own.
func (b *wholeBus) publisher(ctx context.Context, e *environment) worker {
	batch := make([]bus.Publication, 1)
	return func() (int, error) {
		ev, err := b.template.make(e.ids.next())
		if err != nil {
			return 0, err
		}
		batch[0] = bus.Publication{Bus: "bench", Event: ev}
		_, err = b.engine.Publish(ctx, batch, bus.PublishOptions{Via: storeVia})
		return 1, err
	}
}
