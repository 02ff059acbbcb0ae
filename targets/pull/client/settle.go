package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// settle gives a delivery back after outcome.
func (c *Client) settle(ctx context.Context, d Delivery, outcome error) {
	c.until(ctx, []Delivery{d}, func(ending context.Context) (Leases, error) {
		var after *RetryAfter
		switch {
		case ctx.Err() != nil:
			return c.NackAfter(ending, 0, "the worker stopped", d.Lease)
		case errors.As(outcome, &after):
			return c.NackAfter(ending, max(after.After, 0), outcome.Error(), d.Lease)
		}
		return c.Nack(ending, outcome.Error(), d.Lease)
	})
}

// until makes a call that settles deliveries. It tries again until their leases
// have ended, goes on for a while after ctx is done, and reports what was not
// settled.
func (c *Client) until(ctx context.Context, ds []Delivery, call func(context.Context) (Leases, error)) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(lastWords, ds[0].Lasts))
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
		answer, err = call(ending)
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
	if err == nil && len(answer.Valid) == len(ds) {
		return
	}
	valid := make(map[string]bool, len(answer.Valid))
	for _, lease := range answer.Valid {
		valid[lease] = true
	}
	for _, d := range ds {
		switch {
		case err != nil:
			c.opts.OnError(fmt.Errorf("delivery %s, attempt %d, was not settled and comes again: %w", d.ID, d.Attempt, err))
		case !valid[d.Lease]:
			c.opts.OnError(fmt.Errorf("delivery %s, attempt %d: the lease had ended, and the delivery comes again", d.ID, d.Attempt))
		}
	}
}

// acks acknowledges deliveries: at once the first, and together those that are
// done while a request is under way.
type acks struct {
	c    *Client
	wake chan struct{}

	mu      sync.Mutex
	waiting []Delivery
	closed  bool
}

// ackMost is how many one request acknowledges.
const ackMost = 500

func newAcks(c *Client) *acks { return &acks{c: c, wake: make(chan struct{}, 1)} }

func (a *acks) add(d Delivery) {
	a.mu.Lock()
	a.waiting = append(a.waiting, d)
	a.mu.Unlock()
	a.signal()
}

// close lets run end once nothing waits.
func (a *acks) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.signal()
}

func (a *acks) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run acknowledges until close was called and nothing waits.
func (a *acks) run(ctx context.Context) {
	for range a.wake {
		for {
			a.mu.Lock()
			n := min(len(a.waiting), ackMost)
			ds := a.waiting[:n:n]
			if a.waiting = a.waiting[n:]; len(a.waiting) == 0 {
				a.waiting = nil
			}
			closed := a.closed
			a.mu.Unlock()
			if n == 0 {
				if closed {
					return
				}
				break
			}
			leases := make([]string, n)
			for i := range ds {
				leases[i] = ds[i].Lease
			}
			a.c.until(ctx, ds, func(ending context.Context) (Leases, error) { return a.c.Ack(ending, leases...) })
		}
	}
}
