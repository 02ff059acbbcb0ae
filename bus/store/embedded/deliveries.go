package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// WithDeliveries implements store.Search. What is owed or dead has rows by
// sequence; what has ended stands in the blocks of the trace, whose rows say
// which outcomes they may have.
func (s *Store) WithDeliveries(ctx context.Context, id store.BusID, q store.DeliveriesQuery) ([]uint64, uint64, error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return nil, 0, err
	}
	b.mu.Lock()
	u := deliveries{s: s, bus: id, q: q, low: max(q.From, 1), high: b.last, first: b.first}
	b.mu.Unlock()
	if q.To > 0 {
		u.high = min(u.high, q.To)
	}
	if u.low > u.high {
		return nil, 0, nil
	}
	if err := u.present(ctx); err != nil {
		return nil, 0, fmt.Errorf("bus %q: list what is not delivered: %w", b.name, err)
	}
	end, err := u.ended(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("bus %q: list what was delivered: %w", b.name, err)
	}
	if len(u.found) > q.Max {
		return u.found[:q.Max], u.found[q.Max], nil
	}
	return u.found, end, nil
}

// deliveries is a WithDeliveries under way. It holds the first sequences that it
// knows of, one more than are asked for.
type deliveries struct {
	s         *Store
	bus       store.BusID
	q         store.DeliveriesQuery
	low, high uint64
	first     uint64 // below it, events are there only if they are owed or dead
	found     []uint64
}

// present adds what is owed or dead.
func (u *deliveries) present(ctx context.Context) error {
	if !u.q.Owed && !u.q.Dead {
		return nil
	}
	look := func(sub *subscription) error {
		if sub == nil {
			return nil
		}
		sub.mu.Lock()
		err := u.of(sub)
		sub.mu.Unlock()
		if err != nil {
			return fmt.Errorf("subscription %q: %w", sub.name, err)
		}
		u.trim()
		return ctx.Err()
	}
	if u.q.Any {
		for _, sub := range u.s.allSubs() {
			if err := look(sub); err != nil {
				return err
			}
		}
		return nil
	}
	for _, id := range u.q.Subscriptions {
		if err := look(u.s.sub(id)); err != nil {
			return err
		}
	}
	return nil
}

// of adds what one subscription, which is locked, has not delivered.
func (u *deliveries) of(sub *subscription) error {
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
func (u *deliveries) rows(prefix byte, sub store.SubscriptionID) error {
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
func (u *deliveries) trim() {
	slices.Sort(u.found)
	u.found = slices.Compact(u.found)
	if u.q.Newest {
		slices.Reverse(u.found)
	}
	u.found = u.found[:min(len(u.found), u.q.Max+1)]
}

// bucketsListed bounds the buckets of 4096 events whose outcomes one call looks
// for: less than a second, even if all of them are read.
const bucketsListed = 256

// ended adds what was delivered or has expired, from one bucket of events after
// the other until there is enough; end is the first sequence that it did not
// look at, 0 if it saw all. What was found before and lies beyond is dropped.
func (u *deliveries) ended(ctx context.Context) (end uint64, err error) {
	want := wantedOutcomes{}
	if !u.q.Any {
		want.subs = make(map[store.SubscriptionID]bool, len(u.q.Subscriptions))
		for _, id := range u.q.Subscriptions {
			want.subs[id] = true
		}
	}
	want.states[outcomeDone], want.states[outcomeExpired] = u.q.Delivered, u.q.Expired
	if !u.q.Delivered && !u.q.Expired || !u.q.Any && len(want.subs) == 0 {
		return 0, nil
	}
	low, high := max(u.low, u.first), u.high
	add := func(seq uint64) { u.found = append(u.found, seq) }
	var buf []byte
	for n := 0; low <= high; n++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		bucket := low >> traceBucket
		if u.q.Newest {
			bucket = high >> traceBucket
		}
		from, to := max(low, bucket<<traceBucket), min(high, (bucket+1)<<traceBucket-1)
		if n == bucketsListed || len(u.found) > u.q.Max && u.beyond(u.found[u.q.Max], from, to) {
			if u.q.Newest {
				end = high
			} else {
				end = low
			}
			u.found = slices.DeleteFunc(u.found, func(seq uint64) bool { return seq == end || u.beyond(end, seq, seq) })
			return end, nil
		}
		if buf, err = u.s.trace.sequences(u.bus, from, to, want, buf, add); err != nil {
			return 0, err
		}
		u.trim()
		if u.q.Newest {
			high = from - 1
		} else {
			low = to + 1
		}
	}
	return 0, nil
}

// beyond reports whether the sequences from low to high come after seq.
func (u *deliveries) beyond(seq, low, high uint64) bool {
	if u.q.Newest {
		return high < seq
	}
	return low > seq
}
