package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// maxMoves bounds how many deliveries one claim parks or chains before it
// gives others a turn.
const maxMoves = 4096

// Claim implements store.Queue.
func (s *Store) Claim(ctx context.Context, id store.SubscriptionID, now time.Time, max int, dst []store.Delivery) (ds []store.Delivery, next time.Time, err error) {
	if err := s.enter(ctx); err != nil {
		return dst, next, err
	}
	defer s.leave()
	sub := s.sub(id)
	if sub == nil {
		return dst, next, fmt.Errorf("subscription %d: %w", id, store.ErrNotFound)
	}
	at := s.clock.now()
	start := len(dst)
	sub.mu.Lock()
	if sub.gone || sub.paused || sub.orphan {
		sub.mu.Unlock()
		return dst, next, nil
	}
	dst, due, err := s.pickFair(sub, at.toSteady(now), max, dst)
	for i := range dst[start:] {
		d := &dst[start+i]
		d.Due = at.toWall(nanos(d.Due))
	}
	if due != 0 {
		next = at.toWall(due)
	}
	sub.mu.Unlock()
	if len(dst) > start {
		if dst2, e := s.bodies(ctx, dst, start); e != nil {
			return dst2, next, errors.Join(err, e)
		}
	}
	return dst, next, err
}

// pick claims up to max deliveries. more says that others could be claimed at
// once. An error leaves claimed what was appended to dst; sub.mu is held.
func (s *Store) pick(sub *subscription, now int64, max int, dst []store.Delivery) (_ []store.Delivery, more bool, err error) {
	if sub.timed && sub.nextDue <= now {
		if err := s.loadDue(sub, now, max); err != nil {
			return dst, false, err
		}
	}
	moves := maxMoves
	for n := 0; n < max; n++ {
		w := sub.window
		var i int32
		if w != nil && w.due.len() > 0 && !w.flip {
			i = w.due.pop()
			w.flip = true
		} else {
			if i, err = s.nextInOrder(sub, &moves); err != nil {
				return dst, false, err
			}
			w = sub.window
			if w != nil {
				w.flip = false
			}
			if i < 0 && w != nil && w.due.len() > 0 {
				i = w.due.pop()
			}
		}
		if i < 0 {
			return dst, moves <= 0, nil
		}
		it := &w.slab[i]
		it.state = itemFlying
		w.flying++
		dst = append(dst, sub.delivery(it, now))
		if it.event != nil { // the claimer has it now
			s.windowBytes.Add(-int64(it.event.Size()))
			it.event = nil
		}
	}
	w := sub.window
	more = w != nil && (w.due.len() > 0 || w.waiting() > 0 && (sub.order != store.OrderStrict || w.flying == 0)) ||
		sub.timed && sub.nextDue <= now || sub.backlog && !sub.stuck && sub.order != store.OrderStrict
	return dst, more, nil
}

// delivery is what a claimer gets of an item.
func (sub *subscription) delivery(it *item, now int64) store.Delivery {
	age := now - it.row.due - (sub.pausedFor(now) - it.row.paused)
	return store.Delivery{
		ID:       store.DeliveryID{Subscription: sub.public(), Bus: it.bus, Sequence: it.seq, Run: it.run},
		Key:      it.row.key,
		Attempt:  int(it.row.attempts) + 1,
		Trigger:  it.row.trigger,
		Redriven: it.row.redriven,
		Age:      time.Duration(max(age, 0)),
		Due:      fromNanos(it.row.dueAt()),
		Behind:   it.behind || it.timed && it.row.retryAt == 0 && sub.order != store.OrderNone,
		Record: store.Record{
			Bus: it.bus, Sequence: it.seq, Recorded: fromNanos(it.recorded),
			Via: it.via, Hops: it.hops, Event: it.event,
		},
	}
}

// nextInOrder takes the next delivery that the order lets through, or -1.
func (s *Store) nextInOrder(sub *subscription, moves *int) (int32, error) {
	for *moves > 0 {
		w := sub.window
		if sub.backlog && (w == nil || w.fifo.len() == 0) {
			if err := s.refill(sub); err != nil {
				return -1, err
			}
			w = sub.window
		}
		if w == nil {
			return -1, nil
		}
		if len(w.ready.items) > 0 && (w.fifo.len() == 0 || !w.slab[w.fifo.front()].place.less(w.slab[w.ready.items[0]].place)) {
			return w.ready.pop(w.slab), nil
		}
		if sub.order == store.OrderStrict {
			if len(w.ready.items) > 0 {
				return w.ready.pop(w.slab), nil
			}
			if len(w.held) > 0 || sub.counts.blocked > 0 || w.fifo.len() == 0 {
				return -1, nil
			}
		}
		if w.fifo.len() == 0 {
			if sub.backlog && !sub.stuck { // what was read just now waits elsewhere
				*moves -= 64
				continue
			}
			return -1, nil
		}
		i := w.fifo.pop()
		it := &w.slab[i]
		key, ordered := sub.line(it.row.key)
		if !ordered {
			return i, nil
		}
		held, isHeld := w.held[key]
		if isHeld && !held.line && w.parked < s.opts.WindowPerSubscription/2 {
			w.chain(held, key, i)
			*moves--
			continue
		}
		if !isHeld {
			_, line, err := s.lineOf(sub, key)
			if err != nil {
				w.ready.push(w.slab, i)
				it.state = itemReady
				return -1, err
			}
			if !line {
				w.hold(key, i, false)
				return i, nil
			}
		}
		*moves--
		c := s.newChange()
		err := s.enterLine(sub, i, key, c)
		if err != nil {
			_ = c.batch.Close()
			return -1, err
		}
		if err := s.finish(sub, c); err != nil {
			return -1, err
		}
	}
	return -1, nil
}

// refill reads plain rows into the window, in order, until it is full or none
// is left.
func (s *Store) refill(sub *subscription) error {
	sub.stuck = false
	room := s.room(sub)
	if room <= 0 {
		sub.stuck = true
		return nil
	}
	var lower, prefix [64]byte
	end := successor(idKey(prefix[:0], prefixQueue, uint32(sub.id)))
	it, err := s.state.iter(queueKey(lower[:0], prefixQueue, sub.id, sub.backlogAt), end)
	if err != nil {
		return err
	}
	defer it.Close()
	looked := 0
	for ok := it.First(); ok; ok = it.Next() {
		p, fine := parsePlace(it.Key()[5:])
		if !fine {
			return errBadRow
		}
		if room <= 0 || looked >= maxMoves {
			sub.backlogAt = p
			return nil
		}
		looked++
		if w := sub.window; w != nil {
			if _, loaded := w.index[p]; loaded {
				continue
			}
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		row, err := parseQueueRow(value)
		if err != nil {
			return err
		}
		if row.kind != rowPlain {
			continue
		}
		if s.notRouted(sub, p) || sub.ahead(p) {
			sub.backlogAt, sub.stuck = p, true
			return nil
		}
		i := s.load(sub, item{place: p, row: row, durable: true, state: itemWaiting})
		sub.window.fifo.push(i)
		room--
	}
	if err := it.Error(); err != nil {
		return err
	}
	sub.backlog, sub.backlogAt = false, place{}
	return nil
}

// notRouted says whether a row from before a crash is ahead of the router. It
// must not be claimed before those that the router will hand over again.
func (s *Store) notRouted(sub *subscription, p place) bool {
	if p.run != 0 {
		return false
	}
	b, err := s.bus(p.bus)
	if err != nil {
		return false
	}
	q := &b.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.seq <= q.routed || p.seq > q.known {
		return false
	}
	if q.waiting == nil {
		q.waiting = map[*subscription]struct{}{}
	}
	q.waiting[sub] = struct{}{}
	return true
}

// loadDue reads timed rows whose time has come, at most max.
func (s *Store) loadDue(sub *subscription, now int64, max int) error {
	var lower, prefix [64]byte
	key := idKey(prefix[:0], prefixTimed, uint32(sub.id))
	it, err := s.state.iter(be64(idKey(lower[:0], prefixTimed, uint32(sub.id)), uint64(sub.nextDue)), successor(key))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		k := rowReader{rest: it.Key()[5:]}
		due := k.i64()
		p, fine := parsePlace(k.rest)
		if k.bad || !fine {
			return errBadRow
		}
		w := sub.window
		if due > now || w != nil && w.due.len() >= max {
			sub.nextDue = due
			return nil
		}
		if w != nil {
			if _, loaded := w.index[p]; loaded {
				continue
			}
		}
		if s.notRouted(sub, p) {
			continue
		}
		row, there, err := s.queueRow(sub, p)
		if err != nil {
			return err
		}
		if !there || row.kind != rowTimed {
			continue
		}
		i := s.load(sub, item{place: p, row: row, durable: true, timed: true, state: itemDue})
		sub.window.due.push(i)
		if key, ordered := sub.line(row.key); ordered {
			sub.window.hold(key, i, true)
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	sub.timed, sub.nextDue = false, 0
	return nil
}

// readAhead is how far apart sequences may be to be read in one scan.
const readAhead = 64

// bodies reads the events that were not in memory, of the deliveries from
// start on. What cannot be read is given back.
func (s *Store) bodies(ctx context.Context, ds []store.Delivery, start int) ([]store.Delivery, error) {
	for i := start; i < len(ds); i++ {
		if ds[i].Record.Event != nil {
			continue
		}
		end := i + 1
		for last := ds[i].Record.Sequence; end < len(ds); end++ {
			r := &ds[end].Record
			if r.Event != nil || r.Bus != ds[i].Record.Bus || r.Sequence <= last || r.Sequence > last+readAhead {
				break
			}
			last = r.Sequence
		}
		if end-i > 1 {
			s.readRun(ctx, ds[i:end])
		}
	}
	for i := start; i < len(ds); i++ {
		if ds[i].Record.Event != nil {
			continue
		}
		r, err := s.body(ctx, ds[i].ID.Bus, ds[i].ID.Sequence)
		if err != nil {
			back := make([]store.Settlement, 0, len(ds)-i)
			for j := i; j < len(ds); j++ {
				back = append(back, store.Settlement{ID: ds[j].ID, Kind: store.Release})
			}
			err = fmt.Errorf("read the event of a delivery (bus %d, sequence %d): %w", ds[i].ID.Bus, ds[i].ID.Sequence, err)
			return ds[:i], errors.Join(err, s.settle(back))
		}
		ds[i].Record = r
	}
	return ds, nil
}

// readRun fills in what one scan of the log finds of ds, which are of one bus
// in order. What it does not find is left.
func (s *Store) readRun(ctx context.Context, ds []store.Delivery) {
	b, err := s.bus(ds[0].Record.Bus)
	if err != nil {
		return
	}
	b.mu.Lock()
	first := b.first
	b.mu.Unlock()
	for len(ds) > 0 && ds[0].Record.Sequence < first {
		ds = ds[1:]
	}
	if len(ds) > 0 {
		_ = s.readRecords(ctx, b, ds) // what it lacks is read one by one
	}
}

// readRecords fills in the records of ds, which are of one bus in order.
func (s *Store) readRecords(ctx context.Context, b *bus, ds []store.Delivery) error {
	from, last := ds[0].Record.Sequence, ds[len(ds)-1].Record.Sequence
	records, err := s.read(ctx, b, from, int(last-from)+1, math.MaxInt, nil)
	if err != nil {
		return err
	}
	for n, i := 0, 0; n < len(records) && i < len(ds); {
		switch seq := ds[i].Record.Sequence; {
		case records[n].Sequence < seq:
			n++
		case records[n].Sequence > seq:
			i++
		default:
			ds[i].Record = records[n]
			n++
			i++
		}
	}
	return nil
}
