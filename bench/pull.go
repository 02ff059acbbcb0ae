package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	pullclient "github.com/switchyard-dev/switchyard/targets/pull/client"
)

// push is the http target that pull is compared with.
const push = "push"

// pullScenario is workers that pull, beside the same number of requests under
// way to a receiver.
func pullScenario(workers int) *scenario {
	return &scenario{
		name:  named("pull", workers),
		about: fmt.Sprintf("events worked on by %d workers that pull with the Go client, beside %d deliveries at a time over HTTP", workers, workers),
		rows:  []row{{measure: perSecond, limit: push, bar: bar{value: 1}}, {measure: cpuAnEvent, limit: push}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			r, err := newReceiver(c)
			if err != nil {
				return nil, err
			}
			pushed, err := r.delivered(ctx, e, c, push, placed("receiver", "  receiver: {http: {url: '"+r.url+"'}, concurrency: "+strconv.Itoa(workers)+"}\n"), 1, cycle(1))
			if err != nil {
				return nil, err
			}
			pulled, err := pulledBy(ctx, e, c, workers, placed("receiver", "  receiver: {pull: {}}\n"))
			return []contender{pulled, pushed}, err
		},
	}
}

// pulledBy is a contender: workers of this process that pull.
func pulledBy(ctx context.Context, e *environment, c *closer, workers int, config string) (contender, error) {
	data, err := e.folder(c, "pull")
	if err != nil {
		return contender{}, err
	}
	server, err := startSwitchyard(ctx, e, c, data, config)
	if err != nil {
		return contender{}, err
	}
	clients, err := newClients(c, server.Addr, feeders, feedBatch)
	if err != nil {
		return contender{}, err
	}
	worker, err := pullclient.New("http://"+server.Addr, "placed", "receiver", pullclient.Options{Wait: time.Second})
	if err != nil {
		return contender{}, err
	}
	r := &receiver{seen: map[int64]struct{}{}}
	feed := r.feeding(e, keyed(clients, &e.ids, cycle(1)), 1)
	return withCPU(contender{ours, func(ctx context.Context, d time.Duration) (_ measures, err error) {
		working, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		var failed error
		wg.Go(func() {
			failed = worker.Run(working, workers, func(_ context.Context, d pullclient.Delivery) error {
				id, ok := parseID([]byte(d.Event.ID()))
				if !ok {
					return fmt.Errorf("the event's id is %q", d.Event.ID())
				}
				r.take(id, time.Now())
				return nil
			})
		})
		m, err := feed(ctx, d)
		stop()
		wg.Wait()
		if errors.Is(failed, context.Canceled) {
			failed = nil
		}
		return m, errors.Join(err, failed)
	}}, server.cpu), nil
}
