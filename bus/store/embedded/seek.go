package embedded

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// orderUnknown is the order in the row of a subscription whose lines are being
// made anew: after a crash meanwhile, OpenSubscriptions does it again.
const orderUnknown = store.Order(255)

// Seek implements store.Replays.
func (s *Store) Seek(ctx context.Context, id store.SubscriptionID, opts store.SeekOptions) (r store.SeekResult, err error) {
	if err := s.enter(ctx); err != nil {
		return r, err
	}
	defer s.leave()
	s.openMu.Lock()
	defer s.openMu.Unlock()
	sub, err := s.lockSub(id)
	if err != nil {
		return r, err
	}
	before := sub.owes()
	next, err := s.nextOf(sub, opts.Routed)
	switch {
	case err != nil:
	case opts.To >= next:
		err = s.seekForward(sub, opts.To)
	default:
		r.Run, err = s.seekBack(sub, opts)
	}
	r.Dropped, r.From = before-sub.owes(), sub.from
	ready := sub.claimable()
	sub.mu.Unlock()
	if err == nil {
		err = s.state.flush()
	}
	if ready {
		s.ready(sub)
	}
	return r, err
}

// nextOf is the sequence that is the next for sub: the lowest that it owes, or
// that a seek has yet to queue, else the next to be routed.
func (s *Store) nextOf(sub *subscription, routed uint64) (uint64, error) {
	next := routed + 1
	if l := sub.catchUp; l != nil {
		next = min(next, l.position+1)
	}
	if w := sub.window; w != nil {
		for p := range w.index {
			if p.bus == sub.bus {
				next = min(next, p.seq)
			}
		}
	}
	lower := queueKey(nil, prefixQueue, sub.id, place{bus: sub.bus})
	err := s.state.scan(lower, queueKey(nil, prefixQueue, sub.id, place{bus: sub.bus + 1}), func(key, _ []byte) (bool, error) {
		p, ok := parsePlace(key[5:])
		if !ok {
			return false, errBadRow
		}
		next = min(next, p.seq)
		return false, nil
	})
	return next, err
}

// seekBack drops all that sub owes and begins what queues it again.
func (s *Store) seekBack(sub *subscription, opts store.SeekOptions) (uint32, error) {
	batch := s.state.db.NewBatch()
	_, err := s.dropLanes(sub, batch)
	if err = errors.Join(err, s.purge(sub, batch)); err != nil {
		return 0, errors.Join(err, batch.Close())
	}
	run := s.lastRun + 1
	l := &lane{run: run, owner: sub, queue: sub, bus: sub.bus, after: opts.To - 1, position: opts.To - 1, to: opts.Routed}
	l.put(batch)
	sub.from = opts.Routed // what a crash routes again is below
	_ = batch.Set(metaKey("replay"), be32(nil, run), nil)
	_ = batch.Set(idKey(nil, prefixSub, uint32(sub.id)), sub.row(), nil)
	if err := s.state.commit(batch); err != nil {
		return 0, err
	}
	s.lastRun = run
	s.link(l)
	return run, nil
}

// seekForward drops what sub owes before a sequence of its bus, and all of
// other buses.
func (s *Store) seekForward(sub *subscription, to uint64) error {
	batch := s.state.db.NewBatch()
	for _, l := range slices.Clone(sub.lanes) {
		if l == sub.catchUp && to <= l.to { // it goes on
			continue
		}
		if _, err := s.dropLane(l, batch); err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	if l := sub.catchUp; l != nil && l.position < to-1 {
		l.position = to - 1
		l.put(batch)
	}
	if err := errors.Join(s.state.commit(batch), s.toRows(sub)); err != nil {
		return err
	}
	if err := s.putOrder(sub, orderUnknown); err != nil {
		return err
	}
	first := queueKey(nil, prefixQueue, sub.id, place{})
	if err := s.dropRows(sub, first, queueKey(nil, prefixQueue, sub.id, place{bus: sub.bus, seq: to})); err != nil {
		return err
	}
	if err := s.dropRows(sub, queueKey(nil, prefixQueue, sub.id, place{bus: sub.bus + 1}), successor(first[:5])); err != nil {
		return err
	}
	if err := s.reorder(sub, sub.order); err != nil {
		return err
	}
	sub.timed, sub.nextDue = sub.counts.records > 0, 0 // the next claim finds when
	sub.from = max(sub.from, to-1)
	return s.putOrder(sub, sub.order)
}

// putOrder writes the row of sub with an order.
func (s *Store) putOrder(sub *subscription, order store.Order) error {
	was := sub.order
	sub.order = order
	batch := s.state.db.NewBatch()
	_ = batch.Set(idKey(nil, prefixSub, uint32(sub.id)), sub.row(), nil)
	sub.order = was
	return s.state.commit(batch)
}

// dropRows drops the deliveries whose queue rows are in [lower, upper), claimed
// ones too. All have rows; lines are left for the caller to make anew.
func (s *Store) dropRows(sub *subscription, lower, upper []byte) error {
	for {
		var found []place
		var rows []queueRow
		err := s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
			p, ok := parsePlace(key[5:])
			row, err := parseQueueRow(value)
			if err != nil || !ok {
				return false, errBadRow
			}
			found, rows = append(found, p), append(rows, row)
			return len(found) < 1024, nil
		})
		if err != nil || len(found) == 0 {
			return err
		}
		if err := s.dropFound(sub, found, rows); err != nil {
			return err
		}
		lower = append(queueKey(nil, prefixQueue, sub.id, found[len(found)-1]), 0)
	}
}

func (s *Store) dropFound(sub *subscription, found []place, rows []queueRow) error {
	s.owedMu.Lock()
	defer s.owedMu.Unlock()
	c := s.newChange()
	c.counts.records = -int64(len(found))
	now := s.clock.now()
	ended := part{t: s.trace}
	defer ended.end()
	for n, p := range found {
		if err := s.dropRow(sub, c.batch, p, &rows[n], now, &ended); err != nil {
			return errors.Join(err, c.batch.Close())
		}
		if w := sub.window; w != nil {
			if i, ok := w.index[p]; ok {
				c.out = append(c.out, i)
			}
		}
	}
	return s.finish(sub, c)
}

func (s *Store) dropRow(sub *subscription, batch *pebble.Batch, p place, row *queueRow, now reading, ended *part) error {
	_ = batch.Delete(queueKey(nil, prefixQueue, sub.id, p), nil)
	if row.kind == rowTimed {
		sub.deleteTimed(batch, row.dueAt(), p)
	}
	return s.forgo(sub, batch, p, row, now, ended)
}

// forgo puts into the batch that a delivery is dropped, of which there is a queue
// row; owedMu is held until it is committed. One that was tried leaves a trace, so
// that its attempts are shown; those of an event that retention has passed go.
func (s *Store) forgo(sub *subscription, batch *pebble.Batch, p place, row *queueRow, now reading, ended *part) error {
	owed := s.mayBeOwed(p)
	switch {
	case row.tries == 0:
	case owed || s.opts.NoTrace:
		from := attemptKey(nil, sub.public(), p, 0)
		_ = batch.DeleteRange(from, successor(from[:len(from)-4]), nil)
	default:
		ended.add(&outcome{
			bus: p.bus, seq: p.seq, sub: sub.public(), run: p.run,
			queued: nanos(now.toWall(row.queued)), settled: now.wall, state: outcomeDropped,
		})
	}
	if owed {
		return s.notOwed(batch, sub.public(), p)
	}
	return nil
}
