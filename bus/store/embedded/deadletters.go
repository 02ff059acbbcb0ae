package embedded

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// putDead writes the rows of a dead letter.
func putDead(batch *pebble.Batch, sub store.SubscriptionID, it *item, d death, reason string) {
	value := appendText(it.row.append(nil), clip(reason, maxError))
	_ = batch.Set(deadKey(nil, sub, d, it.place), value, nil)
	_ = batch.Set(queueKey(nil, prefixDeadID, sub, it.place), d.append(nil), nil)
}

// deadLetter is a dead letter's row.
type deadLetter struct {
	place
	death
	row    queueRow
	reason string
}

func parseDead(p place, d death, value []byte) (l deadLetter, err error) {
	r := rowReader{rest: value}
	l = deadLetter{place: p, death: d}
	if l.row, err = parseQueueRow(r.take(queueRowSize)); err != nil {
		return l, err
	}
	l.reason = r.text()
	return l, r.err()
}

// findDead reads the dead letter of one delivery.
func (s *Store) findDead(sub *subscription, p place) (l deadLetter, ok bool, err error) {
	var d death
	ok, err = s.state.get(queueKey(nil, prefixDeadID, sub.id, p), func(v []byte) error {
		r := rowReader{rest: v}
		d = death{r.i64(), r.u64()}
		return r.err()
	})
	if err != nil || !ok {
		return l, false, err
	}
	ok, err = s.state.get(deadKey(nil, sub.id, d, p), func(v []byte) (err error) {
		l, err = parseDead(p, d, v)
		return err
	})
	return l, ok, err
}

// attempts reads the attempts of one delivery that have rows of their own.
func (s *Store) attempts(sub store.SubscriptionID, p place) (all []store.Attempt, err error) {
	from := attemptKey(nil, sub, p, 0)
	err = s.state.scanPrefix(from[:len(from)-4], func(_, value []byte) (bool, error) {
		a, err := parseAttempt(value)
		all = append(all, a)
		return true, err
	})
	return all, err
}

// deathSize is the length of what of a dead letter's key follows the
// subscription.
const deathSize = 16 + placeSize

// ListDead implements store.DeadLetters.
func (s *Store) ListDead(ctx context.Context, id store.SubscriptionID, after string, limit int) (letters []store.DeadLetter, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if s.sub(id) == nil {
		return nil, "", fmt.Errorf("subscription %d: %w", id, store.ErrNotFound)
	}
	prefix := idKey(nil, prefixDead, uint32(id))
	lower := prefix
	if after != "" {
		cursor, err := hex.DecodeString(after)
		if err != nil || len(cursor) != deathSize {
			return nil, "", fmt.Errorf("cursor %q: %w", after, store.ErrNotFound)
		}
		lower = append(append(slices.Clone(prefix), cursor...), 0)
	}
	var found []deadLetter
	more := false
	err = s.state.scan(lower, successor(prefix), func(key, value []byte) (bool, error) {
		if len(found) >= limit {
			more = true
			return false, nil
		}
		l, err := deadRow(key[len(prefix):], value)
		found = append(found, l)
		return true, err
	})
	if err != nil {
		return nil, "", err
	}
	for i := range found {
		l := &found[i]
		record, err := s.body(ctx, l.bus, l.seq)
		if err != nil {
			return nil, "", fmt.Errorf("read the event of a dead letter (bus %d, sequence %d): %w", l.bus, l.seq, err)
		}
		attempts, err := s.attempts(id, l.place)
		if err != nil {
			return nil, "", err
		}
		letters = append(letters, store.DeadLetter{
			ID:     store.DeliveryID{Subscription: id, Bus: l.bus, Sequence: l.seq, Run: l.run},
			Reason: l.reason, Died: fromNanos(l.died), Attempts: attempts, Record: record,
		})
	}
	if more && len(found) > 0 {
		l := &found[len(found)-1]
		next = hex.EncodeToString(l.place.append(l.death.append(nil)))
	}
	return letters, next, nil
}

// places are the places of ids of sub, in order, each once.
func places(sub store.SubscriptionID, ids []store.DeliveryID) []place {
	var all []place
	for _, id := range ids {
		if id.Subscription == sub {
			all = append(all, place{bus: id.Bus, seq: id.Sequence, run: id.Run})
		}
	}
	slices.SortFunc(all, func(x, y place) int {
		switch {
		case x.less(y):
			return -1
		case y.less(x):
			return 1
		}
		return 0
	})
	return slices.Compact(all)
}

// Redrive implements store.DeadLetters.
func (s *Store) Redrive(ctx context.Context, id store.SubscriptionID, ids []store.DeliveryID) (n int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	sub, err := s.lockSub(id)
	if err != nil {
		return 0, err
	}
	now := s.clock.now().steady
	for _, p := range places(id, ids) {
		l, ok, e := s.findDead(sub, p)
		if err = e; err != nil {
			break
		}
		if !ok {
			continue
		}
		if err = s.staysOwed(id, p, nil); err != nil {
			break
		}
		c := s.newChange()
		deleteDead(c.batch, id, &l)
		c.counts = counts{records: 1, dead: -1}
		l.row.attempts, l.row.trigger, l.row.redriven = 0, store.TriggerRedrive, true
		l.row.due, l.row.paused, l.row.retryAt = now, sub.pausedFor(now), 0
		if err = s.place(sub, item{place: p, row: l.row, durable: true}, c); err != nil {
			break
		}
		n++
	}
	ready := n > 0 && sub.claimable()
	sub.mu.Unlock()
	if e := s.state.flush(); err == nil {
		err = e
	}
	if ready {
		s.ready(sub)
	}
	return n, err
}

func deleteDead(batch *pebble.Batch, sub store.SubscriptionID, l *deadLetter) {
	_ = batch.Delete(deadKey(nil, sub, l.death, l.place), nil)
	_ = batch.Delete(queueKey(nil, prefixDeadID, sub, l.place), nil)
}

// PurgeDead implements store.DeadLetters.
func (s *Store) PurgeDead(ctx context.Context, id store.SubscriptionID, ids []store.DeliveryID) (n int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	sub, err := s.lockSub(id)
	if err != nil {
		return 0, err
	}
	var letters []deadLetter
	for _, p := range places(id, ids) {
		l, ok, e := s.findDead(sub, p)
		if err = e; err != nil {
			break
		}
		if ok {
			letters = append(letters, l)
		}
	}
	if err == nil {
		err = s.buryAll(sub, letters)
	}
	sub.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return len(letters), s.state.flush()
}

// buryBatch bounds the dead letters that are dropped in one batch.
const buryBatch = 512

// buryAll drops dead letters; what is known of them goes to the trace. sub.mu
// is held.
func (s *Store) buryAll(sub *subscription, letters []deadLetter) error {
	for len(letters) > 0 {
		some := letters[:min(len(letters), buryBatch)]
		letters = letters[len(some):]
		if err := s.bury(sub, some); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) bury(sub *subscription, letters []deadLetter) error {
	s.owedMu.Lock()
	defer s.owedMu.Unlock()
	batch := s.state.db.NewBatch()
	for i := range letters {
		l := &letters[i]
		deleteDead(batch, sub.id, l)
		if s.mayBeOwed(l.place) {
			if err := s.notOwed(batch, sub.id, l.place); err != nil {
				_ = batch.Close()
				return err
			}
		}
	}
	change := counts{dead: -int64(len(letters))}
	sub.count(batch, change)
	if err := s.commitFor(sub, batch, change); err != nil {
		return err
	}
	now := s.clock.now()
	ended := part{t: s.trace}
	defer ended.end()
	for i := range letters {
		l := &letters[i]
		ended.add(&outcome{
			bus: l.bus, seq: l.seq, sub: sub.id, run: l.run,
			queued: nanos(now.toWall(l.row.queued)), settled: l.died, state: outcomeDead, reason: l.reason,
		})
	}
	return nil
}

// buryOld drops the dead letters that are older than Options.DeadRetention.
func (s *Store) buryOld(now int64) error {
	if s.opts.DeadRetention < 0 {
		return nil
	}
	before := now - int64(s.opts.DeadRetention)
	if before <= 0 {
		return nil
	}
	for _, sub := range s.allSubs() {
		sub.mu.Lock()
		err := s.buryBefore(sub, before)
		sub.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// deadRow reads a row of the dead letters; key is without its prefix.
func deadRow(key, value []byte) (deadLetter, error) {
	r := rowReader{rest: key}
	d := death{r.i64(), r.u64()}
	p, ok := parsePlace(r.rest)
	if !ok {
		return deadLetter{}, errBadRow
	}
	return parseDead(p, d, value)
}

func (s *Store) buryBefore(sub *subscription, before int64) error {
	if sub.gone || sub.counts.dead == 0 {
		return nil
	}
	prefix := idKey(nil, prefixDead, uint32(sub.id))
	var letters []deadLetter
	err := s.state.scan(prefix, be64(slices.Clone(prefix), uint64(before)), func(key, value []byte) (bool, error) {
		l, err := deadRow(key[len(prefix):], value)
		letters = append(letters, l)
		return true, err
	})
	if err != nil {
		return err
	}
	return s.buryAll(sub, letters)
}

// putAttempt writes the row of an attempt that did not settle its delivery.
func putAttempt(batch *pebble.Batch, sub store.SubscriptionID, p place, n uint32, a *store.Attempt) {
	value := appendAttempt(nil, a)
	_ = batch.Set(attemptKey(nil, sub, p, n), value, nil)
}

func appendAttempt(dst []byte, a *store.Attempt) []byte {
	dst = be32(append(dst, triggerByte(a)), uint32(a.Number))
	dst = be64(be64(dst, uint64(optionalNanos(a.Started))), uint64(a.Duration))
	dst = be32(dst, uint32(a.Status))
	dst = appendText(dst, clip(a.Error, maxError))
	dst = appendText(dst, clip(a.Response, maxResponse))
	dst = appendText(dst, clip(a.Address, maxAddress))
	if hasExtra(a) {
		dst = appendExtra(dst, a)
	}
	return dst
}

func parseAttempt(b []byte) (store.Attempt, error) {
	r := rowReader{rest: b}
	trigger := r.u8()
	a := store.Attempt{Trigger: store.Trigger(trigger & 15), Waited: store.Wait(trigger >> 4), Number: int(r.u32())}
	a.Started, a.Duration = fromOptionalNanos(r.i64()), time.Duration(r.i64())
	a.Status = int(r.u32())
	a.Error, a.Response, a.Address = r.text(), r.text(), r.text()
	if len(r.rest) > 0 { // rows of before have no more
		r.extra(&a)
	}
	return a, r.err()
}

// triggerByte has the trigger in its lower half and, since rows were first
// written, what the attempt waited for in its upper one.
func triggerByte(a *store.Attempt) byte { return byte(a.Trigger) | byte(a.Waited)<<4 }

// optionalNanos is t in Unix nanoseconds, 0 for the zero time.
func optionalNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return nanos(t)
}

func fromOptionalNanos(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return fromNanos(ns)
}
