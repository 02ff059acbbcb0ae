package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// The contender of many buses, and how many clients publish to them.
const (
	oneBus     = "one bus"
	busClients = 64
	busDigits  = 5
	firstBus   = "b00000"
	busesPath  = "/v1/buses/" + firstBus + "/events"
)

// withBuses is the configuration of n buses.
func withBuses(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nbuses:\n")
	for i := range n {
		fmt.Fprintf(&b, "  b%0*d: {retention: {age: 7d}}\n", busDigits, i)
	}
	return b.String()
}

// busesScenario is publishing to many buses.
func busesScenario() *scenario {
	return &scenario{
		name: "buses",
		about: fmt.Sprintf("single events published by %d clients to 10,000 buses in turn, and the anonymous memory then, beside the same with one bus",
			busClients),
		rows: append(rateRows(oneBus, bar{value: 0.8}), row{measure: megabytes, limit: oneBus}),
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			var all []contender
			for _, n := range []struct {
				name  string
				buses int
			}{{ours, e.buses}, {oneBus, 1}} {
				data, err := e.folder(c, "buses")
				if err != nil {
					return nil, err
				}
				p, err := startSwitchyard(ctx, e, c, data, withBuses(n.buses))
				if err != nil {
					return nil, err
				}
				workers, err := busWorkers(e, c, p.Addr, n.buses)
				if err != nil {
					return nil, err
				}
				run := func(ctx context.Context, d time.Duration) (measures, error) {
					t, err := drive(ctx, workers, d)
					if err != nil {
						return nil, err
					}
					m := t.measures()
					m[megabytes], err = p.Anonymous()
					return m, err
				}
				all = append(all, withCPU(contender{n.name, run}, p.cpu))
			}
			return all, nil
		},
	}
}

// busWorkers publish each event to the next of n buses.
func busWorkers(e *environment, c *closer, addr string, n int) ([]worker, error) {
	clients, err := newClients(c, addr, busClients, 1)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	all := make([]worker, len(clients))
	for i, one := range clients {
		one.post, one.ids = request(addr, busesPath, "application/cloudevents+json", structured(), []int{idOffset})
		at := bytes.Index(one.post, []byte(firstBus)) + 1
		all[i] = func() (int, error) {
			putDigits(one.post[at:at+busDigits], next.Add(1)%int64(n))
			return one.send(&e.ids)
		}
	}
	return all, nil
}

// startupBusesScenario is the time to be ready with many buses.
func startupBusesScenario() *scenario {
	return &scenario{
		name:  "startup/buses",
		about: "from the start of the process until /readyz answers 200, with events on each of 10,000 buses, beside the same with one bus",
		rows:  []row{{measure: milliseconds, limit: oneBus, bar: bar{value: 2000, most: true, absolute: true}}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			var all []contender
			for _, n := range []struct {
				name  string
				buses int
			}{{ours, e.buses}, {oneBus, 1}} {
				data, err := e.folder(c, "buses")
				if err != nil {
					return nil, err
				}
				restart := func(c *closer) (*process, error) { return startSwitchyard(ctx, e, c, data, withBuses(n.buses)) }
				if err := fillBuses(ctx, e, restart, n.buses); err != nil {
					return nil, err
				}
				all = append(all, contender{n.name, starting(restart)})
			}
			return all, nil
		},
	}
}

// fillBuses publishes an event to each of n buses.
func fillBuses(ctx context.Context, e *environment, start func(*closer) (*process, error), n int) (err error) {
	var c closer
	defer func() { err = errors.Join(err, c.close()) }()
	p, err := start(&c)
	if err != nil {
		return err
	}
	workers, err := busWorkers(e, &c, p.Addr, n)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for i, one := range workers {
		g.Go(func() error {
			for k := i; k < n && ctx.Err() == nil; k += len(workers) {
				if _, err := one(); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}
