package embedded

import (
	"context"
	"errors"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Settle implements store.Queue.
func (s *Store) Settle(ctx context.Context, outcomes []store.Settlement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.settle(outcomes)
}

// settle takes the outcomes, those of one subscription after another together.
func (s *Store) settle(outcomes []store.Settlement) error {
	now := s.clock.now()
	for start := 0; start < len(outcomes); {
		id := outcomes[start].ID
		end := start + 1
		for end < len(outcomes) && outcomes[end].ID.Subscription == id.Subscription && outcomes[end].ID.Run == id.Run {
			end++
		}
		if sub := s.sub(id.Subscription); sub != nil {
			sub.mu.Lock()
			var err error
			r := settling{s: s, sub: sub, now: now, ended: part{t: s.trace}}
			if l := sub.lane(id.Run); l != nil && l.queue != sub {
				in := settling{s: s, sub: l.queue, now: now, ended: part{t: s.trace}}
				err = in.run(outcomes[start:end])
				r.ready = in.ready
			}
			if err == nil { // of a replay, a dead letter that was redriven
				err = r.run(outcomes[start:end])
			}
			ready := r.ready && sub.claimable()
			sub.mu.Unlock()
			if ready {
				s.ready(sub)
			}
			if err != nil {
				return err
			}
		}
		start = end
	}
	return nil
}

// settling is the outcomes of one subscription on their way; its mutex is
// held. What changes no row is done at once, the rest gathers in a batch. With
// an order each outcome has a batch of its own, for it may depend on the rows
// of the one before.
type settling struct {
	s     *Store
	sub   *subscription
	now   reading
	seqs  seqList
	ready bool // something else may be claimed now

	change  *change
	waiting []*store.Settlement // in change
	traces  []outcome           // in change
	ended   part
	owed    bool // owedMu is held until the batch is committed
}

// settleBatch bounds the outcomes in one batch.
const settleBatch = 256

func (r *settling) run(outcomes []store.Settlement) error {
	defer r.seqs.flush(r.s)
	defer r.ended.end()
	for n := range outcomes {
		o := &outcomes[n]
		w := r.sub.window
		if w == nil {
			break
		}
		i, ok := w.index[place{bus: o.ID.Bus, seq: o.ID.Sequence, run: o.ID.Run}]
		if !ok || w.slab[i].state != itemFlying {
			continue
		}
		r.noteError(o)
		it := &w.slab[i]
		if (o.Kind == store.Done || o.Kind == store.Expired) && !it.durable && r.sub.counts.blocked == 0 {
			r.forget(i, it, o)
			continue
		}
		if o.Kind == store.Release {
			if err := r.release(i, it); err != nil {
				return err
			}
			continue
		}
		if o.Kind == store.Dead && r.s.mayBeOwed(it.place) {
			if err := errors.Join(r.commit(), r.s.staysOwed(r.sub.public(), it.place, nil)); err != nil {
				return err
			}
			it = &r.sub.window.slab[i]
		}
		if err := r.write(i, it, o); err != nil {
			r.abort()
			return err
		}
		if r.sub.order != store.OrderNone || len(r.waiting) >= settleBatch {
			if err := r.commit(); err != nil {
				return err
			}
		}
	}
	return r.commit()
}

// forget settles a delivery that is in memory only.
func (r *settling) forget(i int32, it *item, o *store.Settlement) {
	t := newOutcome(r.sub, it, o, r.now)
	r.ended.add(&t)
	r.seqs.add(r.s, it.bus, it.seq)
	if key, ordered := r.sub.line(it.row.key); ordered {
		passed := r.sub.window.pass(key, i)
		r.ready = r.ready || passed || r.sub.order == store.OrderStrict
	}
	r.s.drop(r.sub, i)
}

// release puts a delivery back as it was.
func (r *settling) release(i int32, it *item) error {
	w := r.sub.window
	r.ready = true
	w.flying--
	it.state = itemWaiting
	if key, ordered := r.sub.line(it.row.key); ordered && r.sub.counts.blocked > 0 {
		// One before it may have been redriven meanwhile, and goes first now.
		l, ok, err := r.s.lineOf(r.sub, key)
		if err != nil {
			return err
		}
		if ok && l.head != it.place {
			c := r.s.newChange()
			w.pass(key, i)
			if err := r.s.joinLine(r.sub, i, key, l, c); err != nil {
				_ = c.batch.Close()
				return err
			}
			return r.s.finish(r.sub, c)
		}
	}
	if it.timed {
		it.state = itemDue
		w.due.items = append([]int32{i}, w.due.items[w.due.head:]...)
		w.due.head = 0
		return nil
	}
	it.state = itemReady
	w.ready.push(w.slab, i)
	return nil
}

// write puts into the batch what an outcome changes.
func (r *settling) write(i int32, it *item, o *store.Settlement) error {
	s, sub := r.s, r.sub
	if r.change == nil {
		r.change = s.newChange()
	}
	c := r.change
	it.state = itemSettling
	r.waiting = append(r.waiting, o)
	key, ordered := sub.line(it.row.key)
	row := it.row // as it was, for the rows that stand under it
	if o.Attempt != nil && (o.Kind == store.Retry || o.Kind == store.Dead) {
		it.row.tries++
		it.row.attempts++
		putAttempt(c.batch, sub.public(), it.place, it.row.tries, o.Attempt)
	}
	if e := sub.shown().lastErr; e != nil && e.at == r.now.wall {
		_ = c.batch.Set(idKey(nil, prefixError, uint32(sub.public())), appendText(be64(nil, uint64(e.at)), e.text), nil)
	}
	if it.timed {
		sub.deleteTimed(c.batch, row.dueAt(), it.place)
		it.timed = false
	}
	c.out = append(c.out, i)
	if o.Kind == store.Retry {
		it.row.retryAt = max(r.now.toSteady(o.RetryAt), 1)
		if o.Attempt != nil {
			it.row.trigger = store.TriggerRetry
		}
		return r.retry(i, it, key, ordered)
	}
	if it.durable {
		var k [64]byte
		_ = c.batch.Delete(queueKey(k[:0], prefixQueue, sub.id, it.place), nil)
		c.counts.records--
	}
	if ordered {
		if err := s.leaveLine(sub, it.place, key, c); err != nil {
			return err
		}
	}
	if o.Kind == store.Dead {
		d := death{r.now.wall, s.deaths.Add(1)}
		putDead(c.batch, sub.public(), it, d, o.Reason)
		c.counts.dead++
		return nil
	}
	r.traces = append(r.traces, newOutcome(sub, it, o, r.now))
	if !r.owed && s.mayBeOwed(it.place) {
		s.owedMu.Lock()
		r.owed = true
	}
	if r.owed {
		return s.notOwed(c.batch, sub.public(), it.place)
	}
	return nil
}

// retry writes the row of a delivery that has to wait.
func (r *settling) retry(i int32, it *item, key uint64, ordered bool) error {
	s, sub, c := r.s, r.sub, r.change
	c.row(it)
	if !ordered {
		sub.putTimed(c.batch, it)
		c.due = append(c.due, it.row.dueAt())
		return nil
	}
	l, ok, err := s.lineOf(sub, key)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		sub.putTimed(c.batch, it)
		c.due = append(c.due, it.row.dueAt())
		l = lineRow{head: it.place, from: it.place}
		sub.putLine(c.batch, key, l)
		c.counts.blocked++
		s.parkChain(sub, key, &l, c)
	case l.head == it.place:
		sub.putTimed(c.batch, it)
		c.due = append(c.due, it.row.dueAt())
	default: // it was claimed before the present head was redriven
		sub.putParked(c.batch, key, it)
		if it.place.less(l.from) {
			l.from = it.place
			sub.putLine(c.batch, key, l)
		}
	}
	return nil
}

// commit writes the batch and follows it in memory.
func (r *settling) commit() error {
	c := r.change
	if c == nil {
		return nil
	}
	keys := make([]uint64, len(c.out))
	for n, i := range c.out {
		keys[n] = r.sub.window.slab[i].row.key
	}
	out := append([]int32(nil), c.out...)
	c.out = c.out[:0]
	// Items leave memory only after their keys were passed on.
	if err := r.s.finish(r.sub, c); err != nil {
		c.out = out
		r.abort()
		return err
	}
	r.change = nil
	r.unlockOwed()
	for i := range r.traces {
		r.ended.add(&r.traces[i])
	}
	r.traces = r.traces[:0]
	for n, i := range out {
		w := r.sub.window
		it := &w.slab[i]
		if key, ordered := r.sub.line(keys[n]); ordered {
			w.pass(key, i)
			r.ready = true
		}
		if !it.durable {
			r.seqs.add(r.s, it.bus, it.seq)
		}
		r.s.drop(r.sub, i)
	}
	for _, due := range c.due {
		r.ready = r.ready || due <= r.now.steady
	}
	r.waiting = r.waiting[:0]
	return nil
}

// abort gives back what could not be written: it stays claimed.
func (r *settling) abort() {
	r.unlockOwed()
	if r.change == nil {
		return
	}
	for _, i := range r.change.out {
		if it := &r.sub.window.slab[i]; it.state == itemSettling {
			it.state = itemFlying
		}
	}
	r.change, r.waiting, r.traces = nil, nil, nil
}

func (r *settling) unlockOwed() {
	if r.owed {
		r.owed = false
		r.s.owedMu.Unlock()
	}
}

// noteError keeps the last error of the subscription.
func (r *settling) noteError(o *store.Settlement) {
	if o.Attempt != nil && o.Attempt.Error != "" && o.Kind != store.Release {
		r.sub.shown().lastErr = &lastError{clip(o.Attempt.Error, maxError), r.now.wall}
	}
}
