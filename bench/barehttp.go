package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// The limits of HTTP work in processes of their own, as Switchyard does: this
// program starts itself again with a role in its environment. A role ends when
// its standard input does, so none outlives the benchmark.
const (
	roleVariable    = "SWITCHYARD_BENCH_ROLE"
	addressVariable = "SWITCHYARD_BENCH_ADDRESS" // where to listen, or where to post to
	forwardVariable = "SWITCHYARD_BENCH_FORWARD" // where the relay posts to

	roleServer = "server" // reads the body, discards it, answers 202
	roleRelay  = "relay"  // answers 202 and posts the body on, from memory
	roleClient = "client" // posts events, over and over
)

// The limits as contenders.
const (
	bareServer = "net/http server"
	bareRelay  = "net/http relay"
	bareClient = "net/http client"
)

// deliverers is how many requests are under way to the receiver: Switchyard's
// default for a target, and the same for the bare client and the bare relay.
const deliverers = 32

// playRole is main in a role; it returns the exit code.
func playRole(role string) int {
	addr := os.Getenv(addressVariable)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var err error
	switch role {
	case roleServer:
		err = serveBare(addr, discard)
	case roleRelay:
		err = serveBare(addr, relay(os.Getenv(forwardVariable)))
	case roleClient:
		err = postForEver(addr)
	default:
		err = fmt.Errorf("%s=%s is no role", roleVariable, role)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// serveBare serves until the process ends.
func serveBare(addr string, h http.HandlerFunc) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("POST /", h)
	return (&http.Server{Handler: mux}).Serve(l)
}

// discard reads and answers.
func discard(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// relay takes bodies and posts them on, without keeping them anywhere but in a
// channel.
func relay(to string) http.HandlerFunc {
	bodies := make(chan []byte, 1024)
	post := newPoster(to)
	for range deliverers {
		go func() {
			for body := range bodies {
				if err := post(body); err != nil {
					fmt.Fprintln(os.Stderr, "bench: relay:", err)
					os.Exit(1)
				}
			}
		}()
	}
	return func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, max(r.ContentLength, 0))
		if _, err := io.ReadFull(r.Body, body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		bodies <- body
		w.WriteHeader(http.StatusAccepted)
	}
}

// postForEver is the bare client loop.
func postForEver(to string) error {
	post := newPoster(to)
	failed := make(chan error)
	for range deliverers {
		go func() {
			body := structured()
			for {
				if err := post(body); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// newPoster makes a function that posts one body with net/http's client.
func newPoster(to string) func(body []byte) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: deliverers}, Timeout: answerTime}
	return func(body []byte) error {
		resp, err := client.Post(to, "application/cloudevents+json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("the receiver answered %s", resp.Status)
		}
		return nil
	}
}

// receiver is where events are delivered to: a net/http server in this
// process, the same for everyone who delivers.
type receiver struct {
	url    string
	server *http.Server

	mu    sync.Mutex
	count int64
	real  int64 // of them, those of events: the bare client's may be late
	last  time.Time
	times []time.Duration    // from the time in an event's id to its receipt
	seen  map[int64]struct{} // ids that were received
}

func newReceiver(c *closer) (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + l.Addr().String() + "/", seen: map[int64]struct{}{}}
	r.server = &http.Server{Handler: r}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(l) }()
	c.add(func() error {
		err := r.server.Close()
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	})
	return r, nil
}

// ServeHTTP takes one event: its id is in a header, or in the body.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	var head [idOffset + idDigits]byte
	n, _ := io.ReadFull(req.Body, head[:])
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id, ok := int64(0), false
	if text := req.Header["Ce-Id"]; len(text) == 1 {
		id, ok = parseID([]byte(text[0]))
	} else if n == len(head) && strings.HasPrefix(eventHead, string(head[:idOffset])) {
		id, ok = parseID(head[idOffset:])
	}
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.take(id, now)
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) take(id int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	r.last = now
	if id == 0 {
		return // of the bare client, which sends the same event always
	}
	r.real++
	if _, again := r.seen[id]; !again {
		r.seen[id] = struct{}{}
		r.times = append(r.times, time.Duration(now.UnixNano()-id))
	}
}

// reset forgets what was received.
func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count, r.real, r.last, r.times = 0, 0, time.Time{}, r.times[:0]
	clear(r.seen)
}

// received is how many requests came; distinct is how many different events,
// the last of them at last.
func (r *receiver) received() (requests, distinct int64, last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, int64(len(r.seen)), r.last
}

// arrivalTime bounds how long deliveries may take after the last publish.
const arrivalTime = 2 * time.Minute

// await waits until n different events have arrived.
func (r *receiver) await(ctx context.Context, n int64) error {
	return awaitCount(ctx, n, func() int64 {
		_, got, _ := r.received()
		return got
	})
}

// awaitRequests waits until n requests with events have arrived.
func (r *receiver) awaitRequests(ctx context.Context, n int64) error {
	return awaitCount(ctx, n, func() int64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.real
	})
}

// awaitCount waits until what is counted is n.
func awaitCount(ctx context.Context, n int64, count func() int64) error {
	ctx, cancel := context.WithTimeout(ctx, arrivalTime)
	defer cancel()
	for {
		got := count()
		switch {
		case got == n:
			return nil
		case got > n:
			return fmt.Errorf("%d arrived, and only %d are owed", got, n)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d arrived: %w", got, n, err)
		}
	}
}
