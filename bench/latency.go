package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// latencyClients take turns in sending at a steady rate.
const latencyClients = 32

// latencyScenario is the time from publishing to receiving.
func latencyScenario() *scenario {
	return &scenario{
		name:   "latency",
		about:  "from sending an event to receiving its delivery, both over HTTP, at a steady 1,000 events a second",
		steady: true,
		rows: []row{
			{measure: p50, limit: bareRelay},
			{measure: p99, limit: bareRelay, bar: bar{value: 10, most: true, absolute: true}},
			{measure: perSecond, limit: bareRelay},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			r, server, relay, err := startThrough(ctx, e, c)
			if err != nil {
				return nil, err
			}
			ourClients, err := newClients(c, server.Addr, latencyClients, 1)
			if err != nil {
				return nil, err
			}
			bareClients, err := newClients(c, relay.Addr, latencyClients, 1)
			if err != nil {
				return nil, err
			}
			return []contender{{ours, r.steadily(e, ourClients)}, {bareRelay, r.steadily(e, bareClients)}}, nil
		},
	}
}

// steadily sends at the rate of the settings for d, whether or not the events
// before have been answered, and measures each until it arrives.
func (r *receiver) steadily(e *environment, clients []*client) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		r.reset()
		n := int64(d.Seconds() * float64(e.rate))
		if n == 0 {
			return nil, errors.New("the time is too short for one event")
		}
		var g errgroup.Group
		began := time.Now()
		for i, c := range clients {
			g.Go(func() error { return c.steadily(ctx, e, began, int64(i), int64(len(clients)), n) })
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if err := r.await(ctx, n); err != nil {
			return nil, err
		}
		r.mu.Lock()
		times := slices.Clone(r.times)
		last := r.last
		r.mu.Unlock()
		if int64(len(times)) != n {
			return nil, fmt.Errorf("%d of %d events have a time", len(times), n)
		}
		slices.Sort(times)
		return measures{
			p50: percentile(times, 0.50), p99: percentile(times, 0.99),
			perSecond: float64(n) / last.Sub(began).Seconds(),
		}, nil
	}
}

// steadily sends every step-th of n events, from the first on, each at its
// time. The id says when it was sent, or, if this client was still busy with
// the one before, when it should have been.
func (c *client) steadily(ctx context.Context, e *environment, began time.Time, first, step, n int64) error {
	for k := first; k < n; k += step {
		due := began.Add(time.Duration(k) * time.Second / time.Duration(e.rate))
		if wait := time.Until(due); wait > 0 {
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			due = time.Now()
		}
		putID(c.post[c.ids[0]:], e.ids.at(due))
		if err := c.exchange(); err != nil {
			return err
		}
	}
	return nil
}
