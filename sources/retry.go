package sources

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Backoff is a pause that doubles with every failure, up to a limit, with
// jitter. The zero value is ready to use: from 100 ms to 30 s.
type Backoff struct {
	First, Max time.Duration
	failures   int
}

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// Next is how long to pause after one more failure: at least half of the step.
func (b *Backoff) Next() time.Duration {
	d, most := b.First, b.Max
	if d <= 0 {
		d = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 30 * time.Second
	}
	for range b.failures {
		if d *= 2; d >= most {
			break
		}
	}
	b.failures++
	d = min(d, most)
	return d/2 + rand.N(d/2+1)
}

// Wait pauses after one more failure; it returns false when ctx is done first.
func (b *Backoff) Wait(ctx context.Context) bool { return Sleep(ctx, b.Next()) }

// Sleep pauses for d; it returns false when ctx is done first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

// PublishUntil publishes events for a source whose other side cannot offer them
// again: it tries until the sink has kept them, and then returns nil. It gives
// up on an *InvalidError and when ctx is done, and returns what was wrong last.
func PublishUntil(ctx context.Context, sink Sink, logger *slog.Logger, events ...*event.Event) error {
	var pause Backoff
	for {
		_, err := sink.Publish(ctx, events...)
		var never *InvalidError
		if err == nil || errors.As(err, &never) || ctx.Err() != nil {
			return err
		}
		logger.Warn("events not stored; trying again", "events", len(events), "error", err)
		if !pause.Wait(ctx) {
			return err
		}
	}
}
