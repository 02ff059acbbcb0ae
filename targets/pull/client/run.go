package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
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
// are workers, until ctx is done, and returns nil then. While a handler works
// its lease is extended. Handlers that are interrupted by the end of ctx have
// their delivery given back, to come again at once. Requests that fail are
// tried again; Run gives up, with an *Error, only when the server says that the
// request is wrong: there is no such subscription, or its target is not pulled
// from.
func (c *Client) Run(ctx context.Context, workers int, handle Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range max(workers, 1) {
		wg.Go(func() {
			if err := c.work(ctx, handle); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	var refused *Error
	if err := context.Cause(ctx); errors.As(err, &refused) {
		return err
	}
	return nil
}

// work is one of Run's goroutines.
func (c *Client) work(ctx context.Context, handle Handler) error {
	pause := firstPause
	for {
		d, err := c.Receive(ctx)
		if ctx.Err() != nil {
			if err == nil {
				c.settle(ctx, d, ctx.Err())
			}
			return nil
		}
		if err == nil {
			pause = firstPause
			c.attempt(ctx, d, handle)
			continue
		}
		var refused *Error
		if errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 &&
			refused.Status != http.StatusRequestTimeout && refused.Status != http.StatusTooManyRequests {
			return err
		}
		c.opts.OnError(err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestWait)
	}
}

// attempt runs the handler under an extended lease and settles the delivery.
func (c *Client) attempt(ctx context.Context, d Delivery, handle Handler) {
	working, lost := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.keep(working, lost, d)
	}()
	err := call(working, d, handle)
	isLost := working.Err() != nil && ctx.Err() == nil
	lost()
	<-done
	if isLost {
		return // reported by keep; another worker may have it by now
	}
	if err != nil {
		c.opts.OnError(fmt.Errorf("delivery %s, attempt %d: %w", d.ID, d.Attempt, err))
	}
	c.settle(ctx, d, err)
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

// settle acknowledges a delivery or gives it back. It goes on for a while after
// ctx is done, and tries again until the lease has ended.
func (c *Client) settle(ctx context.Context, d Delivery, outcome error) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(lastWords, d.Lasts))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastWords):
			cancel()
		case <-ending.Done():
		}
	})()
	var answer Leases
	var err error
	for pause := firstPause; ; pause = min(2*pause, longestWait) {
		var after *RetryAfter
		switch {
		case outcome == nil:
			answer, err = c.Ack(ending, d.Lease)
		case ctx.Err() != nil:
			answer, err = c.NackAfter(ending, 0, "the worker stopped", d.Lease)
		case errors.As(outcome, &after):
			answer, err = c.NackAfter(ending, max(after.After, 0), outcome.Error(), d.Lease)
		default:
			answer, err = c.Nack(ending, outcome.Error(), d.Lease)
		}
		var refused *Error
		if err == nil || ctx.Err() != nil || errors.As(err, &refused) && refused.Status < 500 {
			break
		}
		select {
		case <-time.After(pause):
			continue
		case <-ending.Done():
		}
		break
	}
	switch {
	case err != nil:
		c.opts.OnError(fmt.Errorf("delivery %s, attempt %d, was not settled and comes again: %w", d.ID, d.Attempt, err))
	case len(answer.Valid) == 0:
		c.opts.OnError(fmt.Errorf("delivery %s, attempt %d: the lease had ended, and the delivery comes again", d.ID, d.Attempt))
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
