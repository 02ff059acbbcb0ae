package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Errors of Seek; test with errors.Is.
var (
	// ErrSeek means that the subscription cannot be moved there; the error says
	// why.
	ErrSeek = errors.New("seek")
	// ErrOrphaned means that the subscription has lost its rule or target.
	ErrOrphaned = errors.New("it is orphaned: its rule or target is gone; bring the name back first, or purge it")
)

// SeekPlace is where a subscription is to go on from. One of its fields is set.
type SeekPlace struct {
	Sequence uint64
	Time     time.Time // the first event recorded then or later
	Start    bool      // the first event that is kept
	End      bool      // after the last event
}

// SeekResult is what a seek did.
type SeekResult struct {
	Subscription string
	To           uint64 // the sequence that it goes on from
	Dropped      int64  // deliveries that it owed, replayed ones included
	Replay       string // what queues the events from there on again, "" if there are none
	Trimmed      uint64 // so many events from there on were removed by retention; To is the first that is left
}

// Seek moves a subscription, RULE/TARGET or RULE/TARGET/CONSUMER. Ahead of what
// it owes, all before that place is dropped. Behind, all that it owes is dropped,
// and what its rule matches now from there on is queued again, in the
// background; what comes later waits for that. It is durable when it returns.
// store.ErrNotFound, ErrOrphaned, ErrSeek.
func (e *Engine) Seek(ctx context.Context, name string, place SeekPlace) (SeekResult, error) {
	out := SeekResult{Subscription: name}
	s, err := e.seekable(name)
	if err != nil {
		return out, err
	}
	bus := s.spec.Load().bus
	e.replays.opening.Lock()
	defer e.replays.opening.Unlock()
	// Between two batches of the router: nothing is under way to the queue.
	e.routing.Lock()
	defer e.routing.Unlock()
	if e.subscription(s.id) != s {
		return out, fmt.Errorf("subscription %q: %w", name, store.ErrNotFound)
	}
	bounds, err := e.store.Bounds(bus.id)
	if err != nil {
		return out, err
	}
	if out.To, err = e.seekTo(ctx, bus, bounds, place); err != nil {
		return out, err
	}
	if place.Sequence > 0 && place.Sequence < out.To {
		out.Trimmed = out.To - place.Sequence
	}
	r, err := e.store.Seek(ctx, s.id, store.SeekOptions{To: out.To, Routed: e.router.position(bus.id)})
	if err != nil {
		return out, fmt.Errorf("bus: seek %q: %w", name, err)
	}
	s.from, out.Dropped = r.From, r.Dropped
	e.deliverer.moved(s)
	e.log.Warn("a subscription was moved", "subscription", name, "to", out.To, "dropped", r.Dropped)
	if r.Run == 0 {
		return out, nil
	}
	replay := seekReplay(r.Run, name, bus.name, out.To, r.From)
	out.Replay = replay.ID
	if err := e.replays.put(ctx, replay); err != nil {
		e.log.Warn("a seek has no record of its own yet; the next start makes one", "subscription", name, "error", err)
	}
	e.replays.start(replay)
	return out, nil
}

// seekable finds a subscription that can be moved.
func (e *Engine) seekable(name string) (*subscription, error) {
	s := e.state.Load().named.At(name)
	if s == nil {
		e.consumers.Range(func(_, c any) bool {
			if c := c.(*subscription); c.name == name {
				s = c
			}
			return s == nil
		})
	}
	if s == nil {
		for _, info := range e.store.Subscriptions() {
			if info.Name == name {
				return nil, fmt.Errorf("subscription %q: %w", name, ErrOrphaned)
			}
		}
		return nil, fmt.Errorf("subscription %q: %w", name, store.ErrNotFound)
	}
	if s.spec.Load().broadcasts() && !isConsumer(name) {
		return nil, fmt.Errorf("%w: %q is a broadcast, whose consumers each have a place of their own; say which consumer", ErrSeek, name)
	}
	return s, nil
}

// seekTo is the sequence of a place.
func (e *Engine) seekTo(ctx context.Context, bus *busState, b store.Bounds, place SeekPlace) (uint64, error) {
	switch {
	case place.End:
		return b.Last + 1, nil
	case place.Start:
		return b.First, nil
	case !place.Time.IsZero():
		if place.Time.After(time.Now()) {
			return 0, wrong(ErrSeek, "to", "%s is yet to come", place.Time.Format(time.RFC3339Nano))
		}
		return e.store.SequenceAt(ctx, bus.id, place.Time)
	case place.Sequence > b.Last:
		return 0, wrong(ErrSeek, "to", `bus %q has no sequence %d yet; its last is %d, and "end" is after that`, bus.name, place.Sequence, b.Last)
	}
	return max(place.Sequence, b.First), nil
}
