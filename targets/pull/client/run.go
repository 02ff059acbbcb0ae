package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Handler works on a delivery. Its context ends when Run's does, and when the
// lease is lost. After nil the delivery is acknowledged; after an error it is
// given back, to come again by the target's retry policy or, after a
// *RetryAfter, when that says.
type Handler func(ctx context.Context, d Delivery) error

// RetryAfter is an error of a Handler that says when the delivery is to come
// again.
type RetryAfter struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *RetryAfter) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *RetryAfter) Unwrap() error { return e.Err }

// How long Run pauses after a request that failed, and how long it tries to
// settle a delivery once its context is done.
const (
	firstPause  = 100 * time.Millisecond
	longestWait = 10 * time.Second
	lastWords   = 5 * time.Second
)

// Run receives and hands deliveries to handle, in as many goroutines as there
// are workers, until ctx is done, and returns nil then. While a delivery is
// held its lease is extended. Deliveries that are interrupted by the end of ctx
// are given back, to come again at once. Requests that fail are tried again;
// Run gives up, with an *Error, only when the server says that the request is
// wrong: there is no such subscription, or its target is not pulled from.
//
// While handlers return quickly Run receives ahead of them, as many deliveries
// as they get through in a few hundredths of a second, and acknowledges those
// that are done together.
func (c *Client) Run(ctx context.Context, workers int, handle Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers = max(workers, 1)
	r := &run{c: c, handle: handle, workers: workers, ready: make(chan *held, workers+mostAhead), freed: make(chan struct{}, 1), done: newAcks(c)}
	var working, acks sync.WaitGroup
	acks.Go(func() { r.done.run(ctx) })
	for range workers {
		working.Go(func() { r.work(ctx) })
	}
	if err := r.fetch(ctx); err != nil {
		cancel(err)
	}
	close(r.ready)
	working.Wait()
	r.done.close()
	acks.Wait()
	var refused *Error
	if err := context.Cause(ctx); errors.As(err, &refused) {
		return err
	}
	return nil
}

// How far Run receives ahead: at most what handlers get through in aheadTime,
// and never more than mostAhead. What waits for a handler longer than staleTime
// is given back, for another worker may be free.
const (
	aheadTime = 20 * time.Millisecond
	mostAhead = 128
	staleTime = time.Second
)

// run is what the goroutines of one Run share.
type run struct {
	c       *Client
	handle  Handler
	workers int
	ready   chan *held    // holds all that is held, so that sends never block
	freed   chan struct{} // something is no longer held
	done    *acks

	mu   sync.Mutex
	held int
	mean time.Duration // of a handler, smoothed; 0 before the first
}

// held is a delivery on its way through a Run.
type held struct {
	Delivery
	begun   atomic.Bool     // a handler has it, or it was given back
	working context.Context // ends with Run's, and when the lease is lost
	release context.CancelFunc
	kept    chan struct{} // closed when its lease is no longer extended
}

// fetch receives until ctx is done or the server refuses.
func (r *run) fetch(ctx context.Context) error {
	pause := firstPause
	for {
		n := r.wanted(ctx)
		if n == 0 {
			return nil
		}
		ds, err := r.c.ReceiveUpTo(ctx, n)
		for _, d := range ds {
			r.hold(ctx, d)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			pause = firstPause
			continue
		}
		var refused *Error
		if errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 &&
			refused.Status != http.StatusRequestTimeout && refused.Status != http.StatusTooManyRequests {
			return err
		}
		r.c.opts.OnError(err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestWait)
	}
}

// wanted waits until a worker is free, or half of what may be held ahead is
// gone, and says how many deliveries to ask for; 0 once ctx is done.
func (r *run) wanted(ctx context.Context) int {
	for ctx.Err() == nil {
		r.mu.Lock()
		ahead := 0
		if r.mean > 0 {
			ahead = int(min(mostAhead, time.Duration(r.workers)*aheadTime/r.mean))
		}
		want := r.workers + ahead - r.held
		if r.held >= r.workers && want <= ahead/2 {
			want = 0
		}
		r.mu.Unlock()
		if want > 0 {
			return want
		}
		select {
		case <-r.freed:
		case <-ctx.Done():
		}
	}
	return 0
}

// hold takes a delivery in, and extends its lease from now on.
func (r *run) hold(ctx context.Context, d Delivery) {
	h := &held{Delivery: d, kept: make(chan struct{})}
	h.working, h.release = context.WithCancel(ctx)
	r.mu.Lock()
	r.held++
	r.mu.Unlock()
	go func() {
		defer close(h.kept)
		r.c.keep(h.working, h.release, d)
	}()
	stale := time.AfterFunc(staleTime, func() {
		if h.begun.CompareAndSwap(false, true) {
			r.slow()
			r.giveBack(ctx, h, "no worker was free")
		}
	})
	context.AfterFunc(h.working, func() { stale.Stop() })
	r.ready <- h
}

// slow takes note that handlers need longer than they did.
func (r *run) slow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mean = max(r.mean, staleTime)
}

// letGo ends the extension of a lease; it is no longer held.
func (r *run) letGo(h *held, took time.Duration) {
	h.release()
	<-h.kept
	r.mu.Lock()
	r.held--
	if took > 0 {
		if r.mean == 0 {
			r.mean = took
		}
		r.mean += (took - r.mean) / 8
	}
	r.mu.Unlock()
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// giveBack lets a delivery come again at once, for it was not begun.
func (r *run) giveBack(ctx context.Context, h *held, why string) {
	r.letGo(h, 0)
	r.c.settle(ctx, h.Delivery, &RetryAfter{Err: errors.New(why)})
}

// work is one of Run's workers.
func (r *run) work(ctx context.Context) {
	for h := range r.ready {
		switch {
		case !h.begun.CompareAndSwap(false, true): // given back
		case ctx.Err() != nil:
			r.giveBack(ctx, h, "the worker stopped")
		default:
			r.attempt(ctx, h)
		}
	}
}

// attempt runs the handler and settles the delivery.
func (r *run) attempt(ctx context.Context, h *held) {
	began := time.Now()
	err := call(h.working, h.Delivery, r.handle)
	took := max(time.Since(began), 1)
	isLost := h.working.Err() != nil && ctx.Err() == nil
	r.letGo(h, took)
	if isLost {
		return // reported by keep; another worker may have it by now
	}
	if err != nil {
		r.c.opts.OnError(fmt.Errorf("delivery %s, attempt %d: %w", h.ID, h.Attempt, err))
		r.c.settle(ctx, h.Delivery, err)
		return
	}
	r.done.add(h.Delivery)
}

// keep extends a lease, three times in its length, until ctx is done. If it
// is lost it says so and calls lost.
func (c *Client) keep(ctx context.Context, lost func(), d Delivery) {
	ends := time.Now().Add(d.Lasts)
	tick := time.NewTicker(max(d.Lasts/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		request, cancel := context.WithDeadline(ctx, ends)
		answer, err := c.Extend(request, d.Lease)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && len(answer.Valid) == 1:
			ends = asked.Add(d.Lasts)
		case err == nil || !time.Now().Before(ends):
			c.opts.OnError(fmt.Errorf("delivery %s, attempt %d: the lease was lost, and the delivery comes again", d.ID, d.Attempt))
			lost()
			return
		default:
			c.opts.OnError(err)
		}
	}
}

// call makes a panic of a handler an error, so that one bad event does not end
// the worker.
func call(ctx context.Context, d Delivery, handle Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return handle(ctx, d)
}
