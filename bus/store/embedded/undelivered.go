package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Undelivered implements store.Search.
func (s *Store) Undelivered(ctx context.Context, id store.BusID, q store.UndeliveredQuery) ([]uint64, uint64, error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return nil, 0, err
	}
	b.mu.Lock()
	u := undelivered{s: s, bus: id, q: q, low: max(q.From, b.first, 1), high: b.last}
	b.mu.Unlock()
	if q.To > 0 {
		u.high = min(u.high, q.To)
	}
	if u.low > u.high {
		return nil, 0, nil
	}
	for _, id := range q.Subscriptions {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		sub := s.sub(id)
		if sub == nil {
			continue
		}
		sub.mu.Lock()
		err := u.of(sub)
		sub.mu.Unlock()
		if err != nil {
			return nil, 0, fmt.Errorf("bus %q: list what subscription %q has not delivered: %w", b.name, sub.name, err)
		}
		u.trim()
	}
	if len(u.found) > q.Max {
		return u.found[:q.Max], u.found[q.Max], nil
	}
	return u.found, 0, nil
}

// undelivered is an Undelivered under way. It holds the first sequences that it
// knows of, one more than are asked for.
type undelivered struct {
	s         *Store
	bus       store.BusID
	q         store.UndeliveredQuery
	low, high uint64
	found     []uint64
}

// of adds what one subscription, which is locked, has not delivered.
func (u *undelivered) of(sub *subscription) error {
	if w := sub.window; w != nil && u.q.Owed {
		for p := range w.index {
			if p.bus == u.bus && u.low <= p.seq && p.seq <= u.high {
				u.found = append(u.found, p.seq)
			}
		}
	}
	if u.q.Owed && sub.counts.records > 0 {
		if err := u.rows(prefixQueue, sub.id); err != nil {
			return err
		}
	}
	for _, q := range sub.queues() {
		if err := u.of(q); err != nil {
			return err
		}
	}
	if u.q.Dead && sub.counts.dead > 0 {
		return u.rows(prefixDeadID, sub.id)
	}
	return nil
}

// rows adds the sequences of a subscription's rows of one kind; their keys are
// in order of sequence.
func (u *undelivered) rows(prefix byte, sub store.SubscriptionID) error {
	it, err := u.s.state.iter(
		queueKey(nil, prefix, sub, place{bus: u.bus, seq: u.low}),
		queueKey(nil, prefix, sub, place{bus: u.bus, seq: u.high, run: ^uint32(0)}),
	)
	if err != nil {
		return err
	}
	begin, step := it.First, it.Next
	if u.q.Newest {
		begin, step = it.Last, it.Prev
	}
	last, n := uint64(0), 0
	for ok := begin(); ok && n <= u.q.Max; ok = step() {
		p, ok := parsePlace(it.Key()[5:])
		if !ok {
			_ = it.Close()
			return errBadRow
		}
		if p.seq != last { // several runs of one event are beside each other
			u.found = append(u.found, p.seq)
			last = p.seq
			n++
		}
	}
	return it.Close()
}

// trim puts what was found in order and drops what no answer needs.
func (u *undelivered) trim() {
	slices.Sort(u.found)
	u.found = slices.Compact(u.found)
	if u.q.Newest {
		slices.Reverse(u.found)
	}
	u.found = u.found[:min(len(u.found), u.q.Max+1)]
}
