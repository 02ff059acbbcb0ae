package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bench/child"
)

// Deliveries: batches are published by feeders while fewer than feedAhead
// events are under way, so that there is always something to deliver and never
// a backlog that is moved to the disk.
const (
	feeders   = 2
	feedBatch = 50
	feedAhead = 600
)

// throughClients publish single events that are all delivered.
const throughClients = 64

// accepted is how many events a second were accepted, of those that were
// measured until they arrived.
const accepted = "accepted/s"

// deliveryScenario is matched deliveries over HTTP.
func deliveryScenario() *scenario {
	return &scenario{
		name:  "delivery",
		about: fmt.Sprintf("events matched and delivered over HTTP to a local receiver, at most %d at a time; published in batches", deliverers),
		rows:  []row{{measure: perSecond, limit: bareClient, bar: bar{value: 0.6}}, {measure: cpuAnEvent, limit: bareClient}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			r, server, err := startDelivering(ctx, e, c)
			if err != nil {
				return nil, err
			}
			clients, err := newClients(c, server.Addr, feeders, feedBatch)
			if err != nil {
				return nil, err
			}
			return []contender{
				withCPU(contender{ours, r.feeding(e, workers(clients, &e.ids), 1)}, server.cpu),
				{bareClient, r.bareClient},
			}, nil
		},
	}
}

// startDelivering starts a receiver, and Switchyard with a rule that sends
// everything to it.
func startDelivering(ctx context.Context, e *environment, c *closer) (*receiver, *process, error) {
	r, err := newReceiver(c)
	if err != nil {
		return nil, nil, err
	}
	data, err := e.folder(c, "delivery")
	if err != nil {
		return nil, nil, err
	}
	server, err := startSwitchyard(ctx, e, c, data, withTarget(r.url))
	return r, server, err
}

// rampUp is how long deliveries run before they are counted, at most.
const rampUp = 200 * time.Millisecond

// feeding publishes and measures what arrives, of each event as many deliveries
// as are owed; then everything has to arrive.
func (r *receiver) feeding(e *environment, send []worker, owed float64) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		r.reset()
		var published atomic.Int64
		due := func() int64 { return int64(float64(published.Load()) * owed) }
		feeding, stop := context.WithCancel(ctx)
		defer stop()
		var wg sync.WaitGroup
		errs := make([]error, len(send))
		for i, one := range send {
			wg.Go(func() {
				for feeding.Err() == nil && errs[i] == nil {
					if got, _, _ := r.received(); due()-got >= feedAhead {
						_ = sleep(feeding, 200*time.Microsecond)
						continue
					}
					var n int
					n, errs[i] = one()
					published.Add(int64(n))
				}
			})
		}
		rate, err := r.rate(ctx, d)
		stop()
		wg.Wait()
		if err = errors.Join(append(errs, err)...); err != nil {
			return nil, err
		}
		if err := r.awaitRequests(ctx, due()); err != nil {
			return nil, err
		}
		m := measures{perSecond: rate, counted: float64(due())}
		r.mu.Lock()
		defer r.mu.Unlock()
		slices.Sort(r.times)
		m[p50], m[p99] = percentile(r.times, 0.50), percentile(r.times, 0.99)
		return m, nil
	}
}

// rate is how many requests a second arrive during d, or longer until there is
// one, after a ramp.
func (r *receiver) rate(ctx context.Context, d time.Duration) (float64, error) {
	if err := sleep(ctx, min(d, rampUp)); err != nil {
		return 0, err
	}
	began := time.Now()
	first, _, _ := r.received()
	last := first
	for last == first {
		if time.Since(began) > arrivalTime {
			return 0, errors.New("nothing arrives")
		}
		if err := sleep(ctx, d); err != nil {
			return 0, err
		}
		last, _, _ = r.received()
	}
	return float64(last-first) / time.Since(began).Seconds(), nil
}

// bareClient runs the bare client loop against the receiver.
func (r *receiver) bareClient(ctx context.Context, d time.Duration) (_ measures, err error) {
	r.reset()
	cmd, err := roleCommand(roleClient, r.url, "")
	if err != nil {
		return nil, err
	}
	var c closer
	defer func() { err = errors.Join(err, c.close()) }()
	p, err := launch(&c, cmd)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(child.StartTime); ; {
		if n, _, _ := r.received(); n > 0 {
			break
		}
		if err := sleep(ctx, child.PollTime); err != nil || time.Now().After(deadline) {
			return nil, errors.Join(err, errors.New("the bare client does not post"))
		}
	}
	rate, err := r.rate(ctx, d)
	if err != nil {
		return nil, err
	}
	used, err := p.cpu() // its start is in it, but little
	n, _, _ := r.received()
	return measures{perSecond: rate, cpuAnEvent: float64(used.Microseconds()) / float64(n)}, err
}

// throughScenario is in and out together.
func throughScenario() *scenario {
	return &scenario{
		name: named("through", throughClients),
		about: fmt.Sprintf("single events published over HTTP by %d clients, each matched and delivered over HTTP to a local receiver",
			throughClients),
		rows: []row{
			{measure: perSecond, limit: bareRelay, bar: bar{value: 5000, absolute: true}},
			{measure: accepted, limit: bareRelay},
			{measure: p50, limit: bareRelay},
			{measure: p99, limit: bareRelay},
			{measure: cpuAnEvent, limit: bareRelay},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			r, server, relay, err := startThrough(ctx, e, c)
			if err != nil {
				return nil, err
			}
			ourClients, err := newClients(c, server.Addr, throughClients, 1)
			if err != nil {
				return nil, err
			}
			bareClients, err := newClients(c, relay.Addr, throughClients, 1)
			if err != nil {
				return nil, err
			}
			return []contender{
				withCPU(contender{ours, r.through(e, ourClients)}, server.cpu),
				withCPU(contender{bareRelay, r.through(e, bareClients)}, relay.cpu),
			}, nil
		},
	}
}

// startThrough starts a receiver, and Switchyard and the bare relay before it.
func startThrough(ctx context.Context, e *environment, c *closer) (r *receiver, server, relay *process, err error) {
	if r, server, err = startDelivering(ctx, e, c); err != nil {
		return nil, nil, nil, err
	}
	relay, err = startBare(ctx, c, roleRelay, r.url)
	return r, server, relay, err
}

// through publishes for d and counts until the last event has arrived.
func (r *receiver) through(e *environment, clients []*client) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		r.reset()
		began := time.Now()
		t, err := drive(ctx, workers(clients, &e.ids), d)
		if err != nil {
			return nil, err
		}
		m := t.measures()
		m[accepted] = m[perSecond]
		if err := r.await(ctx, t.events); err != nil {
			return nil, err
		}
		_, _, last := r.received()
		m[perSecond] = float64(t.events) / last.Sub(began).Seconds()
		return m, nil
	}
}

// The rules of the bus of through/rules.
const (
	fewRules    = 10
	fewContends = "10 rules"
)

// rulesScenario is in and out together with many rules on the bus, of which one
// matches, beside the same with few.
func rulesScenario() *scenario {
	return &scenario{
		name:  "through/rules",
		about: "in and out together as in through, with 100,000 rules on the bus, beside the same with 10 rules",
		rows: []row{
			{measure: perSecond, limit: fewContends, bar: bar{value: 0.9}},
			{measure: p99, limit: fewContends},
			{measure: cpuAnEvent, limit: fewContends},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			return besideFewRules(ctx, e, c, func(r *receiver, server *process) (runner, error) {
				clients, err := newClients(c, server.Addr, throughClients, 1)
				if err != nil {
					return nil, err
				}
				return r.through(e, clients), nil
			})
		},
	}
}

// runner is what a contender does.
type runner = func(context.Context, time.Duration) (measures, error)

// besideFewRules starts a server with many rules and one with few, each with a
// receiver, and makes a contender of each.
func besideFewRules(ctx context.Context, e *environment, c *closer, make func(*receiver, *process) (runner, error)) ([]contender, error) {
	var all []contender
	for _, n := range []struct {
		name  string
		rules int
	}{{ours, e.settings.rules}, {fewContends, fewRules}} {
		r, err := newReceiver(c)
		if err != nil {
			return nil, err
		}
		data, err := e.folder(c, "rules")
		if err != nil {
			return nil, err
		}
		server, err := startSwitchyard(ctx, e, c, data, withRules(r.url, n.rules))
		if err != nil {
			return nil, err
		}
		run, err := make(r, server)
		if err != nil {
			return nil, err
		}
		all = append(all, withCPU(contender{n.name, run}, server.cpu))
	}
	return all, nil
}
