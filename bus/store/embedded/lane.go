package embedded

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// lane is a replay's part of one subscription. Its deliveries stand in a queue
// of their own, which is a subscription with a number that nobody outside knows
// and is guarded by its owner's mutex; those that a seek queues again stand in
// the owner's queue. All of its deliveries are rows from the start.
type lane struct {
	run      uint32
	owner    *subscription
	queue    *subscription // owner, for a seek
	bus      store.BusID
	after    uint64
	position uint64
	to       uint64
	queued   int64
	rewound  bool // who feeds it has to ask where it is
}

// laneShare is the part of a claim that replayed deliveries get before live
// ones do: one of so many.
const laneShare = 16

func (l *lane) key() []byte { return be32(be32([]byte{prefixLane}, l.run), uint32(l.owner.id)) }

func (l *lane) put(batch *pebble.Batch) {
	row := be32(be32(nil, uint32(l.queue.id)), uint32(l.bus))
	row = be64(be64(be64(row, l.after), l.position), l.to)
	_ = batch.Set(l.key(), be64(row, uint64(l.queued)), nil)
}

// loadLanes finds the replays under way.
func (s *Store) loadLanes() error {
	return s.state.scanPrefix([]byte{prefixLane}, func(key, value []byte) (bool, error) {
		if len(key) != 9 {
			return false, errBadRow
		}
		owner := s.sub(store.SubscriptionID(binary.BigEndian.Uint32(key[5:])))
		if owner == nil {
			return true, nil
		}
		r := rowReader{rest: value}
		id := store.SubscriptionID(r.u32())
		l := &lane{run: binary.BigEndian.Uint32(key[1:]), owner: owner, queue: owner, bus: store.BusID(r.u32())}
		l.after, l.position, l.to, l.queued = r.u64(), r.u64(), r.u64(), r.i64()
		if err := r.err(); err != nil {
			return false, err
		}
		if id != owner.id {
			l.queue = owner.newQueue(id)
			_, err := s.state.get(idKey(nil, prefixCounts, uint32(id)), func(v []byte) (err error) {
				l.queue.counts, err = parseCounts(v)
				return err
			})
			if err != nil {
				return false, err
			}
			n := l.queue.counts.records
			l.queue.backlog, l.queue.timed = n > 0, n > 0
			s.records.Add(n)
		}
		s.link(l)
		return true, nil
	})
}

// newQueue makes the queue of a lane of sub.
func (sub *subscription) newQueue(id store.SubscriptionID) *subscription {
	return &subscription{id: id, owner: sub, bus: sub.bus, order: sub.order}
}

// link makes a lane known; its owner's mutex is held.
func (s *Store) link(l *lane) {
	l.owner.lanes = append(l.owner.lanes, l)
	if l.queue == l.owner {
		l.owner.catchUp = l
	}
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	all := s.lanes[l.run]
	i, _ := slices.BinarySearchFunc(all, l.owner.id, func(o *lane, id store.SubscriptionID) int { return cmp.Compare(o.owner.id, id) })
	s.lanes[l.run] = slices.Insert(slices.Clone(all), i, l) // readers have the old one
}

// unlinkLane forgets a lane; its rows, but for those of its deliveries, go with
// the batch, unless that is nil because they are gone. Its owner's mutex is held.
func (s *Store) unlinkLane(l *lane, batch *pebble.Batch) {
	if batch != nil {
		_ = batch.Delete(l.key(), nil)
	}
	if l.queue != l.owner {
		if batch != nil {
			_ = batch.Delete(idKey(nil, prefixCounts, uint32(l.queue.id)), nil)
		}
		l.queue.gone = true
	} else {
		l.owner.catchUp = nil
		l.owner.backlogAgain(place{bus: l.bus, seq: l.position + 1}) // what was held back may be claimed
	}
	l.owner.lanes = slices.DeleteFunc(l.owner.lanes, func(o *lane) bool { return o == l })
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	left := slices.DeleteFunc(slices.Clone(s.lanes[l.run]), func(o *lane) bool { return o == l })
	if s.lanes[l.run] = left; len(left) == 0 {
		delete(s.lanes, l.run)
	}
}

// dropLane ends a lane with what it owes; its owner's mutex is held.
func (s *Store) dropLane(l *lane, batch *pebble.Batch) (dropped int64, err error) {
	if l.queue != l.owner {
		dropped = l.queue.depth()
		if err := s.purge(l.queue, batch); err != nil {
			return 0, err
		}
	}
	s.unlinkLane(l, batch)
	return dropped, nil
}

// dropLanes ends all lanes of sub; its mutex is held.
func (s *Store) dropLanes(sub *subscription, batch *pebble.Batch) (dropped int64, err error) {
	for _, l := range slices.Clone(sub.lanes) {
		n, err := s.dropLane(l, batch)
		if err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}

// shown is the subscription that users know of this queue.
func (sub *subscription) shown() *subscription {
	if sub.owner != nil {
		return sub.owner
	}
	return sub
}

// public is the number under which users know this queue, and under which
// attempts, dead letters, traces and what is owed stand.
func (sub *subscription) public() store.SubscriptionID { return sub.shown().id }

// mutex guards this queue.
func (sub *subscription) mutex() *sync.Mutex { return &sub.shown().mu }

// queues are the queues of sub's replays that are its own; its mutex is held.
func (sub *subscription) queues() []*subscription {
	var all []*subscription
	for _, l := range sub.lanes {
		if l.queue != sub {
			all = append(all, l.queue)
		}
	}
	return all
}

// lane is sub's part of a replay, nil if it has none; its mutex is held.
func (sub *subscription) lane(run uint32) *lane {
	for _, l := range sub.lanes {
		if l.run == run {
			return l
		}
	}
	return nil
}

// owes is how many deliveries are not settled, replayed ones included.
func (sub *subscription) owes() int64 {
	n := sub.depth()
	for _, q := range sub.queues() {
		n += q.depth()
	}
	return n
}

// ahead says whether a delivery comes after those that a seek has yet to queue.
func (sub *subscription) ahead(p place) bool {
	l := sub.catchUp
	return l != nil && p.bus == l.bus && p.seq > l.position
}

// allQueues lists all subscriptions and the queues of their replays.
func (s *Store) allQueues() []*subscription {
	all := s.allSubs()
	for _, sub := range all[:len(all):len(all)] {
		sub.mu.Lock()
		all = append(all, sub.queues()...)
		sub.mu.Unlock()
	}
	return all
}

// pickFair claims up to max deliveries of sub and of its replays. These get
// their share first, so that they go on beside a busy live flow, and else what
// that leaves, so that they do not delay it. next is when there may be more, 0
// if only a Ready or a Settle can bring it.
func (s *Store) pickFair(sub *subscription, now int64, max int, dst []store.Delivery) (_ []store.Delivery, next int64, err error) {
	queues := sub.queues()
	start := len(dst)
	if len(queues) > 0 {
		sub.claims += max
		share := sub.claims / laneShare
		sub.claims %= laneShare
		if dst, _, err = s.pickReplayed(sub, queues, now, share, dst, 0); err != nil {
			return dst, next, err
		}
	}
	dst, next, err = s.pickFrom(sub, now, max-(len(dst)-start), dst, next)
	if len(queues) > 0 && err == nil {
		dst, next, err = s.pickReplayed(sub, queues, now, max-(len(dst)-start), dst, next)
	}
	return dst, next, err
}

// pickReplayed claims up to max deliveries of replays, which take turns.
func (s *Store) pickReplayed(sub *subscription, queues []*subscription, now int64, max int, dst []store.Delivery, next int64) (_ []store.Delivery, _ int64, err error) {
	if max <= 0 && len(dst) > 0 {
		return dst, now, nil // who claimed all that was asked for looks again
	}
	start := len(dst)
	sub.nextLane++
	first := next
	for _, share := range []int{(max + len(queues) - 1) / len(queues), max} {
		next = first
		for n := range queues {
			q := queues[(n+sub.nextLane)%len(queues)]
			if dst, next, err = s.pickFrom(q, now, min(share, max-(len(dst)-start)), dst, next); err != nil {
				return dst, next, err
			}
		}
	}
	return dst, next, nil
}

// pickFrom claims up to max deliveries of one queue; next is the earlier of
// what it was and when this queue may have more.
func (s *Store) pickFrom(q *subscription, now int64, max int, dst []store.Delivery, next int64) ([]store.Delivery, int64, error) {
	dst, more, err := s.pick(q, now, max, dst)
	due := int64(0)
	switch {
	case err != nil:
	case more:
		due = now
	case q.timed && q.nextDue > 0 && q.nextDue != forever:
		due = q.nextDue
	}
	if due != 0 && (next == 0 || due < next) {
		next = due
	}
	return dst, next, err
}
