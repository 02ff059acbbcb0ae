package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/bench/child"
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
					mb, err := p.Anonymous()
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

// half is Switchyard while the first half of the backlog grows.
const half = "first half"

// backlogScenario is memory while deliveries to a target that is dead pile up.
// What does not grow with the backlog is not higher in its second half.
func backlogScenario() *scenario {
	return &scenario{
		name:  "memory/backlog",
		about: "peak of the anonymous memory while the second half of a million deliveries is queued for a dead target, beside the first half",
		once:  true,
		rows:  []row{{measure: megabytes, limit: half, bar: bar{value: 1.25, most: true}}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			dead, err := child.FreeAddress()
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
			clients, err := newFillers(c, server.Addr)
			if err != nil {
				return nil, err
			}
			queued := 0
			grow := func(to int) func(context.Context, time.Duration) (measures, error) {
				return func(ctx context.Context, _ time.Duration) (measures, error) {
					peak := server.watchMemory(ctx)
					n, err := publish(ctx, e, clients, to-queued)
					if err == nil {
						queued += n
						err = server.awaitMetric(ctx, "switchyard_queue_depth", float64(queued))
					}
					if err == nil {
						err = sleep(ctx, e.idle)
					}
					mb, watched := peak()
					return measures{megabytes: mb}, errors.Join(err, watched)
				}
			}
			return []contender{{half, grow(e.events / 2)}, {ours, grow(e.events)}}, nil
		},
	}
}

// watchMemory reads the process's anonymous memory over and over until the
// function that it returns is called, which returns the most that was seen.
func (p *process) watchMemory(ctx context.Context) (peak func() (mb float64, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	var most float64
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			var mb float64
			if mb, failed = p.Anonymous(); failed != nil {
				return
			}
			most = max(most, mb)
			if sleep(ctx, 20*time.Millisecond) != nil {
				return
			}
		}
	})
	return func() (float64, error) {
		cancel()
		wg.Wait()
		return most, failed
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
		got, err := p.Metric(name)
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
