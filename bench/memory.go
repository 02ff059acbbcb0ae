package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// idleScenario is memory without work.
func idleScenario() *scenario {
	return &scenario{
		name:  "memory/idle",
		about: "anonymous memory (RssAnon) of a server with an empty store that does nothing",
		cold:  true,
		rows:  []row{{measure: megabytes, limit: bareServer, bar: bar{value: 40, most: true, absolute: true}}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			r, err := newReceiver(c)
			if err != nil {
				return nil, err
			}
			idle := func(start func(c *closer) (*process, error)) func(context.Context, time.Duration) (measures, error) {
				return func(ctx context.Context, _ time.Duration) (_ measures, err error) {
					var c closer
					defer func() { err = errors.Join(err, c.close()) }()
					p, err := start(&c)
					if err != nil {
						return nil, err
					}
					if err := sleep(ctx, e.idle); err != nil {
						return nil, err
					}
					mb, err := p.anonymous()
					return measures{megabytes: mb}, err
				}
			}
			return []contender{
				{ours, idle(func(c *closer) (*process, error) {
					data, err := e.folder(c, "idle")
					if err != nil {
						return nil, err
					}
					return startSwitchyard(ctx, e, c, data, withTarget(r.url))
				})},
				{bareServer, idle(func(c *closer) (*process, error) { return startBare(ctx, c, roleServer, "") })},
			}, nil
		},
	}
}

// Switchyard with a part of the backlog.
const (
	tenth = "a tenth of it"
	half  = "half of it"
)

// backlogScenario is memory with deliveries to a target that is dead.
func backlogScenario() *scenario {
	return &scenario{
		name:  "memory/backlog",
		about: "anonymous memory with a million deliveries queued for a target that is dead, beside a tenth of them",
		once:  true,
		rows: []row{
			{measure: megabytes, limit: tenth, bar: bar{value: 1.5, most: true}},
			{measure: megabytes, of: half, limit: tenth},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			dead, err := freeAddress()
			if err != nil {
				return nil, err
			}
			data, err := e.folder(c, "backlog")
			if err != nil {
				return nil, err
			}
			server, err := startSwitchyard(ctx, e, c, data, withTarget("http://"+dead+"/"))
			if err != nil {
				return nil, err
			}
			clients, err := newFillers(c, server.addr)
			if err != nil {
				return nil, err
			}
			queued := 0
			grow := func(to int) func(context.Context, time.Duration) (measures, error) {
				return func(ctx context.Context, _ time.Duration) (measures, error) {
					n, err := publish(ctx, e, clients, to-queued)
					if err != nil {
						return nil, err
					}
					queued += n
					if err := server.awaitMetric(ctx, "switchyard_queue_depth", float64(queued)); err != nil {
						return nil, err
					}
					if err := sleep(ctx, e.idle); err != nil {
						return nil, err
					}
					mb, err := server.anonymous()
					return measures{megabytes: mb}, err
				}
			}
			return []contender{{tenth, grow(e.events / 10)}, {half, grow(e.events / 2)}, {ours, grow(e.events)}}, nil
		},
	}
}

// How a store is filled: batches of fillBatch over a few connections.
const (
	fillClients = 4
	fillBatch   = 1000
)

func newFillers(c *closer, addr string) ([]*client, error) {
	return newClients(c, addr, fillClients, fillBatch)
}

// publish publishes at least n events in batches and returns how many.
func publish(ctx context.Context, e *environment, clients []*client, n int) (int, error) {
	batches := (n + fillBatch - 1) / fillBatch
	var g errgroup.Group
	for i, c := range clients {
		g.Go(func() error {
			for k := i; k < batches; k += len(clients) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if _, err := c.send(&e.ids); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return batches * fillBatch, g.Wait()
}

// awaitMetric waits until a metric has a value.
func (p *process) awaitMetric(ctx context.Context, name string, want float64) error {
	ctx, cancel := context.WithTimeout(ctx, arrivalTime)
	defer cancel()
	for {
		got, err := p.metric(name)
		var refused *net.OpError
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		if err == nil && got == want {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s is %v, not %v: %w", name, got, want, err)
		}
	}
}
