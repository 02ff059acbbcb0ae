package embedded

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Events that retention passes while a subscription owes them, or has them as
// dead letters, are copied into the state before their bus's first sequence
// moves up, with one row for each delivery that holds them. The last of these
// to be settled frees the copy.

// mayBeOwed says whether a delivery's event may be kept as a copy.
func (s *Store) mayBeOwed(p place) bool {
	b, err := s.bus(p.bus)
	return err != nil || p.seq < b.trimming.Load()
}

// notOwed puts into the batch that a delivery does not hold its event any
// more; owedMu is held until the batch is committed.
func (s *Store) notOwed(batch *pebble.Batch, sub store.SubscriptionID, p place) error {
	mine := owedByKey(nil, sub, p)
	ok, err := s.state.has(mine)
	if err != nil || !ok {
		return err
	}
	_ = batch.Delete(mine, nil)
	prefix := seqKey(nil, prefixOwedBy, p.bus, p.seq)
	others := false
	err = s.state.scanPrefix(prefix, func(key, _ []byte) (bool, error) {
		others = string(key) != string(mine)
		return !others, nil
	})
	if err != nil || others {
		return err
	}
	key := seqKey(nil, prefixOwed, p.bus, p.seq)
	size := int64(0)
	if _, err := s.state.get(key, func(v []byte) error { size = owedSize(v); return nil }); err != nil {
		return err
	}
	_ = batch.Delete(key, nil)
	s.countOwed(batch, -size)
	attempts := seqKey(nil, prefixAttempt, p.bus, p.seq)
	return batch.DeleteRange(attempts, successor(attempts), nil)
}

// owedSize is the size of the event in the value of a copy.
func owedSize(v []byte) int64 {
	es := entries{rest: v, count: 1}
	var e entry
	if ok, err := es.next(&e); err != nil || !ok {
		return 0
	}
	return int64(len(e.event))
}

func (s *Store) countOwed(batch *pebble.Batch, change int64) {
	_ = batch.Merge(metaKey("owed"), counts{records: change}.append(nil), nil)
	s.owed.Add(change)
}

// owedRecord reads the copy of an event.
func (s *Store) owedRecord(id store.BusID, seq uint64) (r store.Record, ok bool, err error) {
	if s.owed.Load() == 0 {
		return r, false, nil
	}
	ok, err = s.state.get(seqKey(nil, prefixOwed, id, seq), func(v []byte) error {
		r, err = owedCopy(v)
		return err
	})
	return r, ok, err
}

// owedCopy decodes the value of a copy.
func owedCopy(v []byte) (store.Record, error) {
	es := entries{rest: v, count: 1}
	var e entry
	if ok, err := es.next(&e); err != nil || !ok {
		return store.Record{}, errBadFrame
	}
	return e.stored()
}

// scanOwed calls f for the copies of a bus's events from low to high, in order
// or newest first, until it returns false.
func (s *Store) scanOwed(id store.BusID, low, high uint64, newest bool, f func(store.Record) (bool, error)) error {
	if s.owed.Load() == 0 {
		return nil
	}
	it, err := s.state.iter(seqKey(nil, prefixOwed, id, low), successor(seqKey(nil, prefixOwed, id, high)))
	if err != nil {
		return err
	}
	begin, step := it.First, it.Next
	if newest {
		begin, step = it.Last, it.Prev
	}
	more := true
	for ok := begin(); ok && more && err == nil; ok = step() {
		var r store.Record
		if r, err = owedCopy(it.Value()); err == nil {
			more, err = f(r)
		}
	}
	return errors.Join(err, it.Close())
}

// owedStep is how many deliveries are looked at while a subscription is locked.
const owedStep = 256

// keepOwed copies the events of b below upTo that somebody owes. The position
// that survives a crash has passed them, so all of these deliveries have rows.
func (s *Store) keepOwed(b *bus, upTo uint64) error {
	from := b.trimming.Load()
	if upTo <= from {
		return nil
	}
	// From here on settling one of them looks for a copy.
	b.trimming.Store(upTo)
	from = max(from, 1)
	b.mu.Lock()
	from = min(from, b.first) // an attempt before may have failed half way
	b.mu.Unlock()
	for _, sub := range s.allQueues() {
		for _, prefix := range []byte{prefixQueue, prefixDeadID} {
			if err := s.keepOwedBy(b, sub, prefix, from, upTo); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) keepOwedBy(b *bus, sub *subscription, prefix byte, from, upTo uint64) error {
	at := place{bus: b.id, seq: from}
	end := queueKey(nil, prefix, sub.id, place{bus: b.id, seq: upTo})
	for {
		sub.mutex().Lock()
		if sub.gone || prefix == prefixQueue && sub.counts.records == 0 || prefix == prefixDeadID && sub.counts.dead == 0 {
			sub.mutex().Unlock()
			return nil
		}
		var found []place
		err := s.state.scan(queueKey(nil, prefix, sub.id, at), end, func(key, _ []byte) (bool, error) {
			p, ok := parsePlace(key[5:])
			if !ok {
				return false, errBadRow
			}
			found = append(found, p)
			return len(found) < owedStep, nil
		})
		if err == nil {
			err = s.copyOwed(b, sub.public(), found)
		}
		sub.mutex().Unlock()
		if err != nil || len(found) < owedStep {
			return err
		}
		at = found[len(found)-1]
		at.run++ // the next one
	}
}

// copyOwed writes the copies of what one subscription owes.
func (s *Store) copyOwed(b *bus, sub store.SubscriptionID, found []place) error {
	if len(found) == 0 {
		return nil
	}
	s.owedMu.Lock()
	defer s.owedMu.Unlock()
	batch := s.state.db.NewBatch()
	if err := s.putOwed(batch, b, sub, found); err != nil {
		_ = batch.Close()
		return err
	}
	return s.state.commit(batch)
}

func (s *Store) putOwed(batch *pebble.Batch, b *bus, sub store.SubscriptionID, found []place) error {
	var missing []store.Delivery
	for _, p := range found {
		_ = batch.Set(owedByKey(nil, sub, p), nil, nil)
		ok, err := s.state.has(seqKey(nil, prefixOwed, b.id, p.seq))
		if err != nil {
			return err
		}
		if n := len(missing); !ok && (n == 0 || missing[n-1].Record.Sequence != p.seq) {
			missing = append(missing, store.Delivery{Record: store.Record{Bus: b.id, Sequence: p.seq}})
		}
	}
	for i := range missing {
		r := &missing[i].Record
		if r.Event == nil {
			end := i + 1
			for end < len(missing) && missing[end].Record.Sequence <= missing[end-1].Record.Sequence+readAhead {
				end++
			}
			if err := s.readRecords(context.Background(), b, missing[i:end]); err != nil {
				return err
			}
		}
		if r.Event == nil {
			continue // a damaged place in the log: the claim will say so
		}
		if err := s.putCopy(batch, r); err != nil {
			return err
		}
	}
	return nil
}

// putCopy writes the copy of one event.
func (s *Store) putCopy(batch *pebble.Batch, r *store.Record) error {
	e := store.Entry{Bus: r.Bus, Event: r.Event, Via: r.Via, Hops: r.Hops}
	raw := appendEntry(nil, &e, nil)
	es := entries{rest: raw, count: 1}
	var stored entry
	if ok, err := es.next(&stored); err != nil || !ok {
		return errBadFrame
	}
	stored.setSeq(r.Sequence)
	stored.setRecorded(nanos(r.Recorded))
	_ = batch.Set(seqKey(nil, prefixOwed, r.Bus, r.Sequence), raw, nil)
	s.countOwed(batch, int64(r.Event.Size()))
	return nil
}

// staysOwed is for a delivery that moves between the queue and the dead
// letters, or comes late: retention, which looks at one after the other, may
// have missed it. known is its record, if the caller has it. sub.mu is held.
func (s *Store) staysOwed(sub store.SubscriptionID, p place, known *store.Record) error {
	b, err := s.bus(p.bus)
	if err != nil || p.seq >= b.trimming.Load() {
		return nil // a dropped bus has no events but those that are held already
	}
	s.owedMu.Lock()
	defer s.owedMu.Unlock()
	if ok, err := s.state.has(owedByKey(nil, sub, p)); ok || err != nil {
		return err
	}
	copied, err := s.state.has(seqKey(nil, prefixOwed, p.bus, p.seq))
	if err != nil {
		return err
	}
	batch := s.state.db.NewBatch()
	if known != nil && !copied {
		_ = batch.Set(owedByKey(nil, sub, p), nil, nil)
		err = s.putCopy(batch, known)
	} else {
		err = s.putOwed(batch, b, sub, []place{p})
	}
	if err != nil {
		_ = batch.Close()
		return err
	}
	return s.state.commit(batch)
}

// dropUnneeded removes the copies that a cut which a crash interrupted has made
// of events that are still in the log.
func (s *Store) dropUnneeded() error {
	batch := s.state.db.NewBatch()
	for _, b := range s.allBuses() {
		lower, upper := seqKey(nil, prefixOwed, b.id, b.first), successor(idKey(nil, prefixOwed, uint32(b.id)))
		err := s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
			_ = batch.Delete(key, nil)
			s.countOwed(batch, -owedSize(value))
			return true, nil
		})
		if err != nil {
			_ = batch.Close()
			return err
		}
		lower, upper = seqKey(nil, prefixOwedBy, b.id, b.first), successor(idKey(nil, prefixOwedBy, uint32(b.id)))
		_ = batch.DeleteRange(lower, upper, nil)
	}
	return s.state.commit(batch)
}
