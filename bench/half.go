package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// How half/dead and memory/hanging are made.
const (
	livingAlone = "the living alone"
	perHanging  = 3 // events for each target that hangs
)

// halfScenario is many targets of which half do not work: a quarter refuses
// connections, a quarter takes requests and never answers.
func halfScenario() *scenario {
	return &scenario{
		name:  "half",
		about: "10,000 targets of which 2,500 refuse connections and 2,500 never answer, as many events for each: the living ones, beside the same 5,000 alone",
		rows: []row{
			{measure: perSecond, limit: livingAlone, bar: bar{value: 0.95}},
			{measure: p50, limit: livingAlone},
			{measure: p99, limit: livingAlone, bar: bar{value: 2, most: true}},
			{measure: cpuAnEvent, limit: livingAlone},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			refuses, err := freeAddress()
			if err != nil {
				return nil, err
			}
			hangs, err := newHanging(c)
			if err != nil {
				return nil, err
			}
			var all []contender
			for _, alone := range []bool{false, true} {
				r, err := newReceiver(c)
				if err != nil {
					return nil, err
				}
				name, n := ours, e.targets
				urls := []string{r.url, "http://" + refuses + "/", r.url, hangs.url}
				if alone {
					name, urls[1], urls[3] = livingAlone, "", ""
				}
				one, err := r.delivered(ctx, e, c, name, perKey(n, urls), 0.5, cycle(n))
				if err != nil {
					return nil, err
				}
				all = append(all, one)
			}
			return all, nil
		},
	}
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
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var open []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, conn)
		}
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	c.add(func() error {
		err := l.Close()
		<-ended
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
			clients, err := newClients(c, server.addr, 1, feedBatch)
			if err != nil {
				return nil, err
			}
			send := keyed(clients, &e.ids, cycle(e.targets))[0]
			memory := func(ctx context.Context, _ time.Duration) (measures, error) {
				if err := sleep(ctx, e.idle); err != nil {
					return nil, err
				}
				mb, err := server.anonymous()
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
