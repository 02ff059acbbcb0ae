package storetest

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelDelivery is one event on one subscription, from the moment it is queued
// until its trace is dropped.
type modelDelivery struct {
	id       store.DeliveryID
	key      uint64
	place    uint64 // the order in which deliveries were queued first
	record   store.Record
	queued   time.Time // when it was queued first
	due      time.Time // when it was first due, or redriven
	retryAt  time.Time // zero, or when it may be claimed
	trigger  store.Trigger
	made     int // attempts made since it was queued or redriven
	redriven bool
	claimed  bool
	lane     *modelPart // nil unless it stands in the queue of a replay

	attempts []store.Attempt
	outcome  string    // "" while it is owed, else the trace's state
	settled  time.Time // when it got its outcome
	reason   string
	death    uint64 // orders dead letters
}

// Position implements store.Queue.
func (m *Model) Position(bus store.BusID) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.state.buses[bus]; b != nil {
		return b.position
	}
	return 0
}

// Enqueue implements store.Queue. A match of a subscription that is gone is
// passed over too: it was removed after the match was made.
func (m *Model) Enqueue(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
	var notes notices
	defer m.tell(&notes)
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return err
	}
	now := m.clock()
	for _, e := range events {
		for _, match := range e.Matches {
			s := m.state.subs[match.Subscription]
			if s == nil {
				continue
			}
			id := store.DeliveryID{Subscription: s.id, Bus: bus, Sequence: e.Record.Sequence}
			if s.owed[id] != nil {
				continue
			}
			d := &modelDelivery{id: id, key: match.Key, place: m.nextPlace(), record: e.Record, queued: now, due: now}
			s.owed[id] = d
			s.queue = append(s.queue, d)
			at := place{bus, id.Sequence}
			m.state.traces[at] = append(m.state.traces[at], d)
			if !slices.Contains(notes.ready, s.id) {
				notes.ready = append(notes.ready, s.id)
			}
		}
	}
	b.position = position
	return nil
}

// Claim implements store.Queue.
func (m *Model) Claim(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) (ds []store.Delivery, next time.Time, err error) {
	err = m.change(ctx, sub, func(s *modelSub) {
		if s.paused || s.orphaned {
			return
		}
		for _, d := range s.inTurn(s.free(), most) {
			if d.retryAt.After(now) || most <= 0 {
				at := d.retryAt
				if !at.After(now) {
					at = now
				}
				if next.IsZero() || at.Before(next) {
					next = at
				}
				continue
			}
			most--
			d.claimed = true
			dst = append(dst, d.delivery(s, now))
		}
	})
	return dst, next, err
}

// free lists the unclaimed deliveries that the order lets through, due or not.
func (s *modelSub) free() []*modelDelivery {
	var free []*modelDelivery
	type line struct {
		lane *modelPart
		key  uint64
	}
	held := map[line]bool{} // those of the unsettled deliveries so far
	for _, d := range s.queue {
		l := line{d.lane, d.key}
		if s.opts.Order == store.OrderStrict {
			l.key = 1
		}
		ordered := s.opts.Order != store.OrderNone && l.key != 0
		through := !s.ahead(d) && !(ordered && held[l])
		held[l] = true
		if through && !d.claimed {
			free = append(free, d)
		}
	}
	return free
}

func (d *modelDelivery) delivery(s *modelSub, now time.Time) store.Delivery {
	return store.Delivery{
		ID: d.id, Key: d.key, Attempt: d.made + 1, Trigger: d.trigger,
		Redriven: d.redriven, Age: s.age(d.due, now), Due: d.dueAt(), Record: d.record,
	}
}

// dueAt is when the next attempt is, or was, to be made.
func (d *modelDelivery) dueAt() time.Time {
	if !d.retryAt.IsZero() {
		return d.retryAt
	}
	return d.due
}

// Settle implements store.Queue.
func (m *Model) Settle(ctx context.Context, outcomes []store.Settlement) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, o := range outcomes {
		s := m.state.subs[o.ID.Subscription]
		if s == nil {
			continue
		}
		if d := s.owed[o.ID]; d != nil && d.claimed {
			d.claimed = false
			m.settle(s, d, o)
		}
	}
	return nil
}

// settle applies one outcome.
func (m *Model) settle(s *modelSub, d *modelDelivery, o store.Settlement) {
	now := m.clock()
	if o.Attempt != nil && o.Kind != store.Release {
		d.attempts = append(d.attempts, *o.Attempt)
		d.made++
		if o.Attempt.Error != "" {
			s.lastError, s.lastTime = o.Attempt.Error, now
		}
	}
	switch o.Kind {
	case store.Release:
	case store.Retry:
		d.retryAt = o.RetryAt
		if o.Attempt != nil {
			d.trigger = store.TriggerRetry
		}
	case store.Done:
		s.settle(d, "delivered", now)
		delete(s.owed, d.id)
	case store.Expired:
		s.settle(d, "expired", now)
		delete(s.owed, d.id)
	case store.Dead:
		s.settle(d, "dead", now)
		d.reason = o.Reason
		d.death = m.nextPlace()
		s.dead = append(s.dead, d)
		if d.lane != nil {
			d.lane.Dead++
			d.lane = nil
		}
	}
}

// settle takes d out of the queue.
func (s *modelSub) settle(d *modelDelivery, outcome string, now time.Time) {
	d.outcome, d.settled = outcome, now
	s.queue = slices.DeleteFunc(s.queue, func(q *modelDelivery) bool { return q == d })
}

// enqueueAgain puts d back to the place that it had.
func (s *modelSub) enqueueAgain(d *modelDelivery) {
	i := sort.Search(len(s.queue), func(i int) bool { return s.queue[i].place > d.place })
	s.queue = slices.Insert(s.queue, i, d)
}

// Checkpoint implements store.Queue; a model has nothing to make durable.
func (m *Model) Checkpoint(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Unlock()
	return nil
}
