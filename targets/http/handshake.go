package http

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchyard-dev/switchyard/targets"
)

// handshakePause is how long a receiver that did not give its consent is left
// alone before it is asked again.
const handshakePause = 3 * time.Second

const originHeader = "Webhook-Request-Origin"

// handshake is how far a target has got in asking its receiver whether it
// takes deliveries (http-webhook.md §4). Once it does, that holds for as long
// as the target lives, and costs a delivery one atomic load.
type handshake struct {
	origin string
	given  atomic.Pointer[consent] // nil until the receiver has consented

	turn  chan struct{} // holds a value while somebody asks; guards what follows
	no    error         // why there was no consent when it was last asked for
	again time.Time     // when it may be asked again
}

// consent is what the receiver has allowed.
type consent struct {
	perMinute uint64
	limit     *rate.Limiter // nil: as much as the sender likes
}

func newHandshake(origin string) *handshake {
	return &handshake{origin: origin, turn: make(chan struct{}, 1)}
}

// originOf is the name that a target gives as the sender's: the setting, else
// the machine's.
func originOf(setting string) string {
	if setting != "" {
		return setting
	}
	if name, err := os.Hostname(); err == nil && hostName(name) {
		return name
	}
	return "switchyard"
}

// hostName reports whether s can be the name of a host, as an origin is.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

// admit makes sure that the receiver allows a delivery now: it asks for its
// consent if that is still to be had, and waits as the allowed rate has it.
func (t *target) admit(ctx context.Context, d *targets.Delivery) error {
	c := t.handshake.given.Load()
	if c == nil {
		var err error
		if c, err = t.consent(ctx, d); err != nil {
			return err
		}
	}
	return c.wait(ctx, t.timeout)
}

// consent gets the receiver's consent. One delivery asks, and what it is told
// holds for those that wait meanwhile and for all within handshakePause.
func (t *target) consent(ctx context.Context, d *targets.Delivery) (*consent, error) {
	h := t.handshake
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-limited.Done():
		return nil, t.failure(ctx, limited, d, limited.Err())
	}
	if c := h.given.Load(); c != nil {
		return c, nil
	}
	if left := time.Until(h.again); left > 0 {
		return nil, later(h.no, left)
	}
	c, err := t.ask(ctx, limited, d)
	switch {
	case err == nil:
		h.given.Store(c)
		return c, nil
	case ctx.Err() != nil: // our own end says nothing about the receiver
		return nil, err
	}
	pause := handshakePause
	var after *targets.RetryAfter
	if errors.As(err, &after) {
		pause, err = max(pause, after.After), after.Err
	}
	h.no, h.again = err, time.Now().Add(pause)
	return nil, later(err, pause)
}

// later makes a failure of the handshake one to be tried again when the
// receiver may be asked again, so that no attempt is made in vain before.
func later(err error, wait time.Duration) error {
	if targets.IsPermanent(err) { // the dial refused
		return err
	}
	return &targets.RetryAfter{Err: err, After: wait}
}

// ask makes the request of the handshake.
func (t *target) ask(ctx, limited context.Context, d *targets.Delivery) (*consent, error) {
	res, err := t.send(ctx, limited, d, nethttp.MethodOptions, t.static.Clone(), nil)
	if err != nil {
		return nil, fmt.Errorf("the receiver could not be asked whether it allows deliveries: %w", err)
	}
	d.Answer.Status, d.Answer.Body = res.StatusCode, t.readAnswer(res)
	if !succeeded(res.StatusCode) {
		err := notAllowed("OPTIONS was answered " + t.statusError(res, d.Answer.Body).Error())
		var after *targets.RetryAfter
		if errors.As(t.outcome(res, d.Answer.Body, time.Now()), &after) {
			return nil, &targets.RetryAfter{Err: err, After: after.After}
		}
		return nil, err
	}
	c, err := t.handshake.read(res.Header)
	if err == nil {
		d.Answer = targets.Answer{}
	}
	return c, err
}

// read is the consent that an answer to the handshake gives.
func (h *handshake) read(header nethttp.Header) (*consent, error) {
	origin := strings.TrimSpace(header.Get("WebHook-Allowed-Origin"))
	switch {
	case origin == "":
		return nil, notAllowed("its answer to OPTIONS has no WebHook-Allowed-Origin")
	case origin != "*" && !strings.EqualFold(origin, h.origin):
		return nil, notAllowed(fmt.Sprintf("WebHook-Allowed-Origin is %q, which is not this sender, %q", shorten(origin, maxExcerpt), h.origin))
	}
	allowed := strings.TrimSpace(header.Get("WebHook-Allowed-Rate"))
	if allowed == "" || allowed == "*" {
		return &consent{}, nil
	}
	n, err := strconv.ParseUint(allowed, 10, 32)
	if err != nil || n == 0 {
		return nil, notAllowed(fmt.Sprintf("WebHook-Allowed-Rate is %q, which is neither * nor a number a minute", shorten(allowed, maxExcerpt)))
	}
	// A burst of one: no minute, wherever it begins, has more than n.
	return &consent{perMinute: n, limit: rate.NewLimiter(rate.Limit(float64(n)/60), 1)}, nil
}

func notAllowed(why string) error {
	return errors.New("the receiver has not allowed deliveries: " + why)
}

// wait waits for the turn of a delivery, but no longer than most, nor than half
// of the time that the attempt has: the rest is for the delivery itself.
func (c *consent) wait(ctx context.Context, most time.Duration) error {
	if c.limit == nil {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline)/2)
	}
	turn := c.limit.Reserve()
	delay := turn.Delay()
	switch {
	case delay == 0:
		return nil
	case delay > most:
		turn.Cancel()
		return &targets.RetryAfter{Err: fmt.Errorf("the receiver allows %d deliveries a minute (WebHook-Allowed-Rate)", c.perMinute), After: delay}
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		turn.Cancel()
		return &transportError{"no turn by the receiver's rate before the attempt was ended", ctx.Err()}
	}
}
