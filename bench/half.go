package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bench/child"
)

// How half and memory/hanging are made.
const (
	allAlive    = "all alive"
	livingAlone = "the living alone"
	perHanging  = 3  // events for each target that hangs
	untilOpen   = 12 // events for each target that fails, before anything is measured
)

// halfScenario is many targets of which half do not work: a quarter refuses
// connections, a quarter takes requests and never answers.
func halfScenario() *scenario {
	return &scenario{
		name:  "half",
		about: "10,000 targets of which 2,500 refuse connections and 2,500 never answer, as many events for each: the living 5,000, beside the same 5,000 when the others live too, and alone",
		rows: []row{
			{measure: perSecond, limit: allAlive, bar: bar{value: 0.95}},
			{measure: p50, limit: allAlive},
			{measure: p99, limit: allAlive, bar: bar{value: 2, most: true}},
			{measure: perSecond, limit: livingAlone},
			{measure: p50, limit: livingAlone},
			{measure: p99, limit: livingAlone},
		},
		cold: true,
		open: func(_ context.Context, e *environment, c *closer) ([]contender, error) {
			refuses, err := child.FreeAddress()
			if err != nil {
				return nil, err
			}
			hangs, err := newHanging(c)
			if err != nil {
				return nil, err
			}
			others, err := newReceiver(c)
			if err != nil {
				return nil, err
			}
			return []contender{
				{ours, (&halfAlive{e: e, refuses: "http://" + refuses + "/", hangs: hangs.url}).run},
				{allAlive, (&halfAlive{e: e, refuses: others.url, hangs: others.url}).run},
				{livingAlone, (&halfAlive{e: e}).run},
			}, nil
		},
	}
}

// halfAlive is Switchyard with a target for each key. The even ones are measured;
// the others are at refuses and hangs, or there are none. It is started for each
// round, for so many connections are more than one process may have open twice.
type halfAlive struct {
	e              *environment
	refuses, hangs string
}

// run publishes as many events for the others as it takes until those that do
// not work are left alone, and then for all.
func (h *halfAlive) run(ctx context.Context, d time.Duration) (_ measures, err error) {
	var c closer
	defer func() { err = errors.Join(err, c.close()) }()
	e := h.e
	r, err := newReceiver(&c)
	if err != nil {
		return nil, err
	}
	data, err := e.folder(&c, "half")
	if err != nil {
		return nil, err
	}
	server, err := startSwitchyard(ctx, e, &c, data, perKey(e.targets, []string{r.url, h.refuses, r.url, h.hangs}))
	if err != nil {
		return nil, err
	}
	clients, err := newClients(&c, server.Addr, 1, feedBatch)
	if err != nil {
		return nil, err
	}
	ill := cycle(e.targets / 2)
	send := keyed(clients, &e.ids, func() int { return 2*ill() + 1 })[0]
	for n := 0; n < untilOpen*e.targets/2; n += feedBatch {
		if _, err := send(); err != nil {
			return nil, err
		}
	}
	if err := sleep(ctx, 4*e.idle); err != nil { // for those that refuse to be found out
		return nil, err
	}
	one, err := r.deliveredBy(e, &c, server, "", 0.5, cycle(e.targets))
	if err != nil {
		return nil, err
	}
	if _, err := one.run(ctx, min(d, warmUp)); err != nil { // until there are connections
		return nil, err
	}
	return one.run(ctx, d)
}

// perKey is a configuration with a rule and a target for each of n keys; the
// urls take turns, and a key with an empty one has neither.
func perKey(n int, urls []string) string {
	var rules, all strings.Builder
	for i := range n {
		if url := urls[i%len(urls)]; url != "" {
			fmt.Fprintf(&rules, "  r%d: {bus: bench, when: 'event.partitionkey == \"k%0*d\"', targets: [t%d]}\n", i, keyDigits, i, i)
			fmt.Fprintf(&all, "  t%d: {http: {url: '%s'}}\n", i, url)
		}
	}
	return busOnly + "rules:\n" + rules.String() + "targets:\n" + all.String()
}

// hanging is a receiver that takes connections and never answers.
type hanging struct{ url string }

func newHanging(c *closer) (*hanging, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var conns sync.WaitGroup
	stop := make(chan struct{})
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				gone := make(chan struct{})
				go func() {
					_, _ = io.Copy(io.Discard, conn) // until the other side has had enough
					close(gone)
				}()
				select {
				case <-gone:
				case <-stop:
				}
			})
		}
	})
	c.add(func() error {
		err := l.Close()
		close(stop)
		conns.Wait()
		return err
	})
	return &hanging{"http://" + l.Addr().String() + "/"}, nil
}

// Switchyard before anything hangs.
const before = "before"

// hangingScenario is memory with targets that all hang.
func hangingScenario() *scenario {
	return &scenario{
		name:  "memory/hanging",
		about: "anonymous memory with 10,000 targets that never answer and deliveries for each, beside that before the first",
		once:  true,
		rows:  []row{{measure: megabytes, limit: before}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			h, err := newHanging(c)
			if err != nil {
				return nil, err
			}
			data, err := e.folder(c, "hanging")
			if err != nil {
				return nil, err
			}
			server, err := startSwitchyard(ctx, e, c, data, perKey(e.targets, []string{h.url}))
			if err != nil {
				return nil, err
			}
			clients, err := newClients(c, server.Addr, 1, feedBatch)
			if err != nil {
				return nil, err
			}
			send := keyed(clients, &e.ids, cycle(e.targets))[0]
			memory := func(ctx context.Context, _ time.Duration) (measures, error) {
				if err := sleep(ctx, e.idle); err != nil {
					return nil, err
				}
				mb, err := server.Anonymous()
				return measures{megabytes: mb}, err
			}
			return []contender{{before, memory}, {ours, func(ctx context.Context, d time.Duration) (measures, error) {
				peak := server.watchMemory(ctx)
				var err error
				for n := 0; n < perHanging*e.targets && err == nil; n += feedBatch {
					_, err = send()
				}
				if err == nil { // some time out, and are tried again
					err = sleep(ctx, 4*e.idle)
				}
				mb, watched := peak()
				return measures{megabytes: mb}, errors.Join(err, watched)
			}}}, nil
		},
	}
}
