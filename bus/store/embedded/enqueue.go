package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// ref is one match of an Enqueue, so that those of one subscription can be
// brought together.
type ref struct {
	sub store.SubscriptionID
	at  int32 // in events
	key uint64
}

// routing is the scratch memory of one Enqueue.
type routing struct {
	refs []ref
	less []uint64 // sequences of matches that are not in memory only
}

// Enqueue implements store.Queue.
func (s *Store) Enqueue(ctx context.Context, id store.BusID, position uint64, events []store.RoutedEvent) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	// The router comes again and again with what a failed state did not take
	// whole. What was taken in memory would be delivered each time.
	if err := s.state.err(); err != nil {
		return err
	}
	b, err := s.bus(id)
	if err != nil {
		return err
	}
	b.queue.enqueueMu.Lock()
	defer b.queue.enqueueMu.Unlock()
	if b.dropped.Load() {
		return fmt.Errorf("bus %d: %w", id, store.ErrNotFound)
	}
	r, _ := s.routings.Get().(*routing)
	if r == nil {
		r = &routing{}
	}
	defer s.routings.Put(r)
	r.refs, r.less = r.refs[:0], r.less[:0]
	q := &b.queue
	// What is counted before it can be claimed cannot be settled before it is
	// counted.
	q.mu.Lock()
	if q.rewound {
		q.mu.Unlock()
		return fmt.Errorf("bus %d: %w", id, store.ErrRewound)
	}
	known, floor := max(q.known, q.routed), q.position
	for i := range events {
		e := &events[i]
		if len(e.Matches) > 0 {
			q.add(e.Record.Sequence, len(e.Matches))
		}
		for _, m := range e.Matches {
			r.refs = append(r.refs, ref{m.Subscription, int32(i), m.Key})
		}
	}
	q.mu.Unlock()
	slices.SortFunc(r.refs, func(x, y ref) int {
		if x.sub != y.sub {
			return cmp.Compare(x.sub, y.sub)
		}
		return cmp.Compare(x.at, y.at)
	})
	now := s.clock.now().steady
	for start := 0; start < len(r.refs); {
		end := start + 1
		for end < len(r.refs) && r.refs[end].sub == r.refs[start].sub {
			end++
		}
		err = s.enqueueTo(b, known, floor, r.refs[start:end], events, now, r)
		if err != nil {
			for _, left := range r.refs[end:] {
				r.less = append(r.less, events[left.at].Record.Sequence)
			}
			break
		}
		start = end
	}
	if len(r.less) > 0 {
		s.settled(b, r.less)
	}
	if err != nil {
		return err
	}
	s.routedTo(b, position)
	return nil
}

// routedTo moves the router's position of b.
func (s *Store) routedTo(b *bus, position uint64) {
	q := &b.queue
	q.mu.Lock()
	q.routed = max(q.routed, position)
	dirty := q.advance()
	waiting := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	if dirty {
		s.activeMu.Lock()
		s.dirtyBuses = append(s.dirtyBuses, b)
		s.activeMu.Unlock()
	}
	b.mu.Lock()
	if freed := b.tail.pass(position); freed != 0 {
		s.tailBytes.Add(-freed)
	}
	b.mu.Unlock()
	for sub := range waiting { // rows from before a crash that may be claimed now
		sub.mu.Lock()
		sub.dueAgain(0)
		sub.backlogAgain(place{})
		ready := sub.claimable()
		sub.mu.Unlock()
		if ready {
			s.ready(sub)
		}
	}
}

// enqueueTo queues what one subscription matched. After an error the position
// has not passed any of it, and the router hands it over again.
func (s *Store) enqueueTo(b *bus, known, floor uint64, refs []ref, events []store.RoutedEvent, now int64, r *routing) error {
	sub := s.sub(refs[0].sub)
	skip := func(from int) {
		for _, f := range refs[from:] {
			r.less = append(r.less, events[f.at].Record.Sequence)
		}
	}
	if sub == nil {
		skip(0)
		return nil
	}
	sub.mu.Lock()
	if sub.gone {
		sub.mu.Unlock()
		skip(0)
		return nil
	}
	room := s.room(sub)
	var over *change
	pauses := sub.pausedFor(now)
	for n, f := range refs {
		rec := &events[f.at].Record
		it := item{
			place:    place{bus: b.id, seq: rec.Sequence},
			row:      queueRow{key: f.key, queued: now, due: now, paused: pauses},
			recorded: nanos(rec.Recorded), event: rec.Event, via: rec.Via, hops: rec.Hops,
			state: itemWaiting,
		}
		there, err := s.isQueued(sub, it.place, known)
		if err == nil && !there && rec.Sequence <= floor {
			err = s.staysOwed(sub.id, it.place, rec)
		}
		joined := false
		if err == nil && !there && rec.Sequence <= known {
			joined, err = s.rejoin(sub, it)
		}
		if err == nil && n%256 == 255 && over != nil { // bound the batch
			err = s.finish(sub, over)
			over = nil
		}
		if err != nil {
			if over != nil {
				_ = over.batch.Close()
			}
			sub.mu.Unlock()
			skip(n)
			return err
		}
		switch {
		case joined:
		case there:
			r.less = append(r.less, rec.Sequence)
		case sub.backlog || room <= 0 || rec.Sequence <= floor || sub.catchUp != nil:
			if over == nil {
				over = s.newChange()
			}
			sub.putRow(over.batch, &it, rowPlain)
			over.counts.records++
			sub.backlogAgain(it.place)
			r.less = append(r.less, rec.Sequence)
		default:
			i := s.load(sub, it)
			sub.window.fifo.push(i)
			room--
		}
	}
	var err error
	if over != nil {
		err = s.finish(sub, over)
	}
	listed := false
	if w := sub.window; w != nil && w.volatile > 0 && !w.listed {
		w.listed, listed = true, true
	}
	ready := sub.claimable()
	sub.mu.Unlock()
	if listed {
		s.activeMu.Lock()
		s.active = append(s.active, sub)
		s.activeMu.Unlock()
	}
	if ready {
		s.ready(sub)
	}
	return err
}

// rejoin puts a delivery that is routed again after a crash into the line of its
// key, if rows from before the crash stand there that come after it. It may have
// been settled in memory only; then it comes again, but not after those.
func (s *Store) rejoin(sub *subscription, it item) (bool, error) {
	key, ordered := sub.line(it.row.key)
	if !ordered {
		return false, nil
	}
	before, err := s.beforeLine(sub, key, it.place)
	if err != nil || !before {
		return false, err
	}
	c := s.newChange()
	i := s.load(sub, it)
	if err := s.enterLine(sub, i, key, c); err != nil {
		s.drop(sub, i)
		return false, errors.Join(err, c.batch.Close())
	}
	if err := s.finish(sub, c); err != nil {
		s.drop(sub, i)
		return false, err
	}
	return true, nil
}

// isQueued says whether a delivery is queued, in flight or dead already. Only
// up to known can it have rows from before a crash.
func (s *Store) isQueued(sub *subscription, p place, known uint64) (bool, error) {
	if w := sub.window; w != nil {
		if _, ok := w.index[p]; ok {
			return true, nil
		}
	}
	if p.seq > known {
		return false, nil
	}
	var key [64]byte
	if sub.counts.records > 0 {
		if ok, err := s.state.has(queueKey(key[:0], prefixQueue, sub.id, p)); ok || err != nil {
			return ok, err
		}
	}
	if sub.counts.dead > 0 {
		return s.state.has(queueKey(key[:0], prefixDeadID, sub.id, p))
	}
	return false, nil
}
