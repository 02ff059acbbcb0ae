package embedded

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// TraceOf implements store.Trace.
func (s *Store) TraceOf(ctx context.Context, bus store.BusID, seq uint64) ([]store.DeliveryTrace, error) {
	all, err := s.Timelines(ctx, bus, seq, seq)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0].Deliveries, nil
}

// tracedRange is the bus of a call for what happened to its events from from to
// to, its first sequence, and the last that one call looks at; that is below from,
// or 0, if there is nothing to look at.
func (s *Store) tracedRange(id store.BusID, from, to uint64) (b *bus, first, last uint64, err error) {
	if b, err = s.bus(id); err != nil {
		return nil, 0, 0, err
	}
	b.mu.Lock()
	first, last = b.first, b.last
	b.mu.Unlock()
	if from == 0 {
		return b, first, 0, nil
	}
	return b, first, min(to, last, from+store.MaxTimelines-1), nil
}

// Timelines implements store.Trace.
func (s *Store) Timelines(ctx context.Context, bus store.BusID, from, to uint64) ([]store.Timeline, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	_, first, to, err := s.tracedRange(bus, from, to)
	if err != nil || max(from, 1) > to {
		return nil, err
	}
	l := timelines{s: s, bus: bus, first: first, found: map[timelineKey]*store.DeliveryTrace{}}
	var all []store.Timeline
	for from <= to {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		end := min(to, from|(1<<traceBucket-1))
		if all, err = l.of(from, end, all); err != nil {
			return nil, err
		}
		from = end + 1
	}
	return all, nil
}

// timelines is a Timelines under way.
type timelines struct {
	s     *Store
	bus   store.BusID
	first uint64 // of what retention has left
	found map[timelineKey]*store.DeliveryTrace
}

type timelineKey struct {
	seq uint64
	sub store.SubscriptionID
	run uint32
}

// at is what is known of one delivery.
func (l *timelines) at(seq uint64, sub store.SubscriptionID, run uint32) *store.DeliveryTrace {
	k := timelineKey{seq, sub, run}
	t := l.found[k]
	if t == nil {
		t = &store.DeliveryTrace{ID: store.DeliveryID{Subscription: sub, Bus: l.bus, Sequence: seq, Run: run}}
		l.found[k] = t
	}
	return t
}

// of appends the timelines of the events from low to high, which are of one
// bucket.
func (l *timelines) of(low, high uint64, all []store.Timeline) ([]store.Timeline, error) {
	clear(l.found)
	if err := l.attempts(low, high); err != nil {
		return nil, err
	}
	if err := l.outcomes(low, high); err != nil {
		return nil, err
	}
	if err := l.present(low, high); err != nil {
		return nil, err
	}
	var deliveries []*store.DeliveryTrace
	for k, t := range l.found {
		owed := t.State == "dead" || t.Settled.IsZero()
		if t.State == "" || k.seq < l.first && !owed { // without a state its outcome was lost in a crash
			continue
		}
		var err error
		if t.Subscription, err = l.s.nameOf(t.ID.Subscription); err != nil {
			return nil, err
		}
		deliveries = append(deliveries, t)
	}
	slices.SortFunc(deliveries, func(x, y *store.DeliveryTrace) int {
		return cmp.Or(cmp.Compare(x.ID.Sequence, y.ID.Sequence), cmp.Compare(x.ID.Subscription, y.ID.Subscription), cmp.Compare(x.ID.Run, y.ID.Run))
	})
	for _, t := range deliveries {
		if n := len(all); n == 0 || all[n-1].Sequence != t.ID.Sequence {
			all = append(all, store.Timeline{Sequence: t.ID.Sequence})
		}
		last := &all[len(all)-1]
		last.Deliveries = append(last.Deliveries, *t)
	}
	return all, nil
}

// attempts adds the attempts that have rows of their own.
func (l *timelines) attempts(low, high uint64) error {
	prefix := len(idKey(nil, prefixAttempt, 0))
	return l.s.state.scan(seqKey(nil, prefixAttempt, l.bus, low), seqKey(nil, prefixAttempt, l.bus, high+1), func(k, value []byte) (bool, error) {
		r := rowReader{rest: k[prefix:]}
		seq, sub, run := r.u64(), store.SubscriptionID(r.u32()), r.u32()
		a, err := parseAttempt(value)
		if err = errors.Join(r.err(), err); err != nil {
			return false, err
		}
		t := l.at(seq, sub, run)
		t.Attempts = append(t.Attempts, a)
		return true, nil
	})
}

// outcomes adds how deliveries have ended.
func (l *timelines) outcomes(low, high uint64) error {
	type settled struct {
		timelineKey
		at int64
	}
	seen := map[settled]bool{}
	return l.s.trace.of(l.bus, low, high, func(o outcome) {
		k := settled{timelineKey{o.seq, o.sub, o.run}, o.settled}
		if seen[k] {
			return
		}
		seen[k] = true
		t := l.at(o.seq, o.sub, o.run)
		if o.attempt != nil {
			t.Attempts = append(t.Attempts, *o.attempt)
		}
		t.Queued, t.Settled, t.Reason = fromNanos(o.queued), fromNanos(o.settled), o.reason
		t.State = [...]string{"delivered", "expired", "dead", "dropped"}[min(o.state, outcomeDropped)]
	})
}

// present adds the deliveries that are owed or dead.
func (l *timelines) present(low, high uint64) error {
	for _, sub := range l.s.allSubs() {
		sub.mu.Lock()
		err := l.presentOf(sub, low, high)
		for _, q := range sub.queues() {
			if err == nil {
				err = l.presentOf(q, low, high)
			}
		}
		sub.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// presentOf adds those of one subscription or of one of its replays; its mutex
// is held.
func (l *timelines) presentOf(sub *subscription, low, high uint64) error {
	s := l.s
	now := s.clock.now()
	show := func(p place, row *queueRow, state string) *store.DeliveryTrace {
		t := l.at(p.seq, sub.public(), p.run)
		t.State, t.Settled, t.Reason, t.NextAt = state, time.Time{}, "", time.Time{}
		t.Queued = now.toWall(row.queued)
		if state == "queued" && row.retryAt != 0 {
			t.State, t.NextAt = "retrying", now.toWall(row.retryAt)
		}
		return t
	}
	loaded := func(i int32) {
		it := &sub.window.slab[i]
		if it.state >= itemFlying {
			show(it.place, &it.row, "in flight")
		} else {
			show(it.place, &it.row, "queued")
		}
	}
	if w := sub.window; w != nil {
		if i, ok := w.index[place{bus: l.bus, seq: low}]; ok && low == high {
			loaded(i)
		} else if low < high {
			for p, i := range w.index {
				if p.bus == l.bus && p.run == 0 && low <= p.seq && p.seq <= high {
					loaded(i)
				}
			}
		}
	}
	if sub.counts.records > 0 {
		err := l.rows(prefixQueue, sub.id, low, high, func(p place, value []byte) error {
			row, err := parseQueueRow(value)
			if err != nil {
				return err
			}
			if w := sub.window; w != nil {
				if i, ok := w.index[p]; ok {
					loaded(i)
					return nil
				}
			}
			show(p, &row, "queued")
			return nil
		})
		if err != nil {
			return err
		}
	}
	if sub.counts.dead == 0 || sub.owner != nil {
		return nil
	}
	var dead []place
	err := l.rows(prefixDeadID, sub.id, low, high, func(p place, _ []byte) error {
		dead = append(dead, p)
		return nil
	})
	for _, p := range dead {
		d, ok, e := s.findDead(sub, p)
		if err = errors.Join(err, e); e != nil || !ok {
			continue
		}
		t := show(p, &d.row, "dead")
		t.Settled, t.Reason = fromNanos(d.died), d.reason
	}
	return err
}

// rows calls f for a subscription's rows of one kind whose events are among those
// from low to high.
func (l *timelines) rows(prefix byte, sub store.SubscriptionID, low, high uint64, f func(p place, value []byte) error) error {
	from, to := queueKey(nil, prefix, sub, place{bus: l.bus, seq: low}), queueKey(nil, prefix, sub, place{bus: l.bus, seq: high + 1})
	return l.s.state.scan(from, to, func(key, value []byte) (bool, error) {
		p, ok := parsePlace(key[5:])
		if !ok {
			return false, errBadRow
		}
		return true, f(p, value)
	})
}
