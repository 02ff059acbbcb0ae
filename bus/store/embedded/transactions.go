package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// transactions is what is in memory of transactions. Their events stand in the
// state until one frame of the log records them and names the transaction; the
// rows change together with what the state knows of that frame, so that after
// a crash a transaction is committed or open and never both.
type transactions struct {
	turn [64]sync.Mutex // one change of a transaction at a time, by number

	mu   sync.Mutex // guards last
	last uint64

	finished []uint64 // oldest first; guarded by Store.applyMu
}

// commitNote is a durable commit that the state does not know yet.
type commitNote struct {
	id     uint64
	at     int64
	events []store.TransactionEvent
}

func transactionKey(prefix byte, id uint64) []byte { return be64([]byte{prefix}, id) }

func appendTransaction(dst []byte, t *store.Transaction) []byte {
	nanosOf := func(at time.Time) uint64 {
		if at.IsZero() {
			return 0
		}
		return uint64(nanos(at))
	}
	dst = be64(be64(append(dst, byte(t.State)), nanosOf(t.Created)), nanosOf(t.Finished))
	dst = be32(be32(dst, uint32(t.Events)), uint32(t.Check.Count))
	return appendText(appendText(be64(dst, nanosOf(t.Check.Next)), t.Check.Error), t.CheckURL)
}

func parseTransaction(id uint64, v []byte) (store.Transaction, error) {
	r := rowReader{rest: v}
	at := func() time.Time {
		if ns := r.i64(); ns != 0 {
			return fromNanos(ns)
		}
		return time.Time{}
	}
	t := store.Transaction{ID: id, State: store.TransactionState(r.u8()), Created: at(), Finished: at()}
	t.Events, t.Check.Count, t.Check.Next = int(r.u32()), int(r.u32()), at()
	t.Check.Error, t.CheckURL = r.text(), r.text()
	return t, r.err()
}

func appendTransactionEvents(dst []byte, events []store.TransactionEvent) []byte {
	for i := range events {
		e := &events[i]
		flags := byte(0)
		if e.Result.Duplicate {
			flags |= 1
		}
		if e.Result.Scheduled {
			flags |= 2
		}
		dst = append(be64(be32(dst, uint32(e.Bus)), e.Result.Sequence), flags)
		dst = appendText(appendText(dst, e.Source), e.ID)
	}
	return dst
}

func parseTransactionEvents(v []byte) (events []store.TransactionEvent, err error) {
	r := rowReader{rest: v}
	for len(r.rest) > 0 && !r.bad {
		e := store.TransactionEvent{Bus: store.BusID(r.u32())}
		e.Result.Sequence = r.u64()
		flags := r.u8()
		e.Result.Duplicate, e.Result.Scheduled = flags&1 != 0, flags&2 != 0
		e.Source, e.ID = r.text(), r.text()
		events = append(events, e)
	}
	return events, r.err()
}

// noteCommit takes note of the transaction that a durable frame commits.
func (p *pending) noteCommit(payload []byte, now int64) {
	id := transactionOf(payload)
	if id == 0 {
		return
	}
	n := commitNote{id: id, at: now}
	_ = walkAll(payload, func(e *entry) error {
		t := store.TransactionEvent{Bus: e.bus, Result: store.Result{
			Sequence: e.seq, Duplicate: e.flags&flagVoid != 0, Scheduled: e.seq == 0,
		}}
		ev, err := event.Decode(slices.Clone(e.event))
		if err != nil {
			return err // this program wrote it a moment ago
		}
		t.Source, t.ID = ev.Source(), ev.ID()
		n.events = append(n.events, t)
		return nil
	})
	p.commits = append(p.commits, n)
}

// applyCommits ends transactions whose events the log has; s.applyMu is held.
func (s *Store) applyCommits(batch *pebble.Batch, notes []commitNote) error {
	for i := range notes {
		n := &notes[i]
		t, err := s.transaction(n.id)
		if errors.Is(err, store.ErrNotFound) {
			continue // ended long ago and forgotten
		}
		if err != nil {
			return err
		}
		t.State = store.TransactionCommitted
		s.endTransaction(batch, t, n.at)
		_ = batch.Set(transactionKey(prefixTxResult, n.id), appendTransactionEvents(nil, n.events), nil)
	}
	return nil
}

// endTransaction writes a final state and forgets the oldest that are too many;
// s.applyMu is held.
func (s *Store) endTransaction(batch *pebble.Batch, t store.Transaction, at int64) {
	t.Finished, t.Check.Next = fromNanos(at), time.Time{}
	_ = batch.Set(transactionKey(prefixTx, t.ID), appendTransaction(nil, &t), nil)
	_ = batch.Delete(transactionKey(prefixTxEvents, t.ID), nil)
	all := append(s.transactions.finished, t.ID)
	for len(all) > store.KeptTransactions {
		_ = batch.Delete(transactionKey(prefixTx, all[0]), nil)
		_ = batch.Delete(transactionKey(prefixTxResult, all[0]), nil)
		all = all[1:]
	}
	s.transactions.finished = all
}

// loadTransactions finds those that are remembered, after a start.
func (s *Store) loadTransactions() (err error) {
	var finished []store.Transaction
	if s.transactions.last, err = s.state.metaNumber("transaction"); err != nil {
		return err
	}
	err = s.eachTransaction(0, func(t store.Transaction) bool {
		if t.State.Finished() {
			finished = append(finished, t)
		}
		return true
	})
	slices.SortFunc(finished, func(a, b store.Transaction) int {
		return cmp.Or(a.Finished.Compare(b.Finished), cmp.Compare(a.ID, b.ID))
	})
	for i := range finished {
		s.transactions.finished = append(s.transactions.finished, finished[i].ID)
	}
	return err
}

func (s *Store) eachTransaction(from uint64, f func(store.Transaction) bool) error {
	return s.state.scan(transactionKey(prefixTx, from), []byte{prefixTx + 1}, func(key, value []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		t, err := parseTransaction(k.u64(), value)
		if err == nil {
			err = k.err()
		}
		return err == nil && f(t), err
	})
}

func (s *Store) transaction(id uint64) (t store.Transaction, err error) {
	ok, err := s.state.get(transactionKey(prefixTx, id), func(v []byte) (err error) {
		t, err = parseTransaction(id, v)
		return err
	})
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	return t, err
}

// OpenTransaction implements store.Transactions.
func (s *Store) OpenTransaction(ctx context.Context, batch []store.Entry, checkURL string, next time.Time) (store.Transaction, error) {
	t := store.Transaction{CheckURL: checkURL, Events: len(batch)}
	if err := s.enter(ctx); err != nil {
		return t, err
	}
	defer s.leave()
	if len(batch) == 0 {
		return t, errors.New("a transaction needs an event")
	}
	if err := s.reserve(); err != nil {
		return t, err
	}
	size := payloadHeader + commitHeader
	for i := range batch {
		if batch[i].Event == nil {
			return t, fmt.Errorf("entry %d of the batch has no event", i)
		}
		if _, err := s.bus(batch[i].Bus); err != nil {
			return t, err
		}
		size += encodedSize(&batch[i])
	}
	if size > s.log.MaxPayload() { // it would never be committed
		return t, s.appendError(seglog.ErrTooLarge)
	}
	events := appendPayloadHeader(make([]byte, 0, size), len(batch))
	for i := range batch {
		events = appendEntry(events, &batch[i], nil)
	}
	// Kept as the log has times, so that it reads the same after a start.
	t.Created, t.Check.Next = fromNanos(s.clock.now().wall), next
	x := &s.transactions
	x.mu.Lock()
	x.last++
	t.ID = x.last
	row := s.state.db.NewBatch()
	_ = row.Set(metaKey("transaction"), be64(nil, t.ID), nil)
	_ = row.Set(transactionKey(prefixTx, t.ID), appendTransaction(nil, &t), nil)
	_ = row.Set(transactionKey(prefixTxEvents, t.ID), events, nil)
	err := s.state.commit(row) // under the lock, so that the number never goes back
	x.mu.Unlock()
	if err == nil {
		err = s.state.flush()
	}
	return t, err
}

// change begins a call that may change a transaction, and returns it as it is;
// done ends the call. Nobody else changes it meanwhile.
func (s *Store) change(ctx context.Context, id uint64) (t store.Transaction, done func(), err error) {
	if err := s.enter(ctx); err != nil {
		return t, nil, err
	}
	turn := &s.transactions.turn[id%uint64(len(s.transactions.turn))]
	turn.Lock()
	done = func() {
		turn.Unlock()
		s.leave()
	}
	if err = s.applyPending(); err == nil {
		t, err = s.transaction(id)
	}
	if err != nil {
		done()
		return t, nil, err
	}
	return t, done, nil
}

// CommitTransaction implements store.Transactions.
func (s *Store) CommitTransaction(ctx context.Context, id uint64) ([]store.TransactionEvent, error) {
	t, done, err := s.change(ctx, id)
	if err != nil {
		return nil, err
	}
	defer done()
	switch t.State {
	case store.TransactionRolledBack:
		return nil, store.ErrRolledBack
	case store.TransactionCommitted:
		return s.eventsOf(t)
	}
	batch, err := s.entriesOf(id)
	if err != nil {
		return nil, err
	}
	// Not the caller's context: a frame on its way to the log is either
	// committed or not before anything else happens to the transaction.
	if _, err = s.append(context.WithoutCancel(ctx), batch, nil, id); err == nil {
		err = s.applyPending()
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, store.ErrBusGone
	}
	if err != nil {
		return nil, err
	}
	return s.eventsOf(t)
}

// RollbackTransaction implements store.Transactions.
func (s *Store) RollbackTransaction(ctx context.Context, id uint64) error {
	t, done, err := s.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	switch t.State {
	case store.TransactionRolledBack:
		return s.state.flush()
	case store.TransactionCommitted:
		return store.ErrCommitted
	}
	t.State = store.TransactionRolledBack
	s.applyMu.Lock()
	batch := s.state.db.NewBatch()
	s.endTransaction(batch, t, s.clock.now().wall)
	err = s.state.commit(batch)
	s.applyMu.Unlock()
	if err == nil {
		err = s.state.flush()
	}
	return err
}

// CheckedTransaction implements store.Transactions.
func (s *Store) CheckedTransaction(ctx context.Context, id uint64, c store.Check) error {
	t, done, err := s.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if t.State.Finished() {
		return nil
	}
	t.Check = c
	if c.Next.IsZero() {
		t.State = store.TransactionParked
	}
	batch := s.state.db.NewBatch()
	_ = batch.Set(transactionKey(prefixTx, id), appendTransaction(nil, &t), nil)
	return s.state.commitSynced(batch)
}

// GetTransaction implements store.Transactions.
func (s *Store) GetTransaction(ctx context.Context, id uint64) (t store.Transaction, events []store.TransactionEvent, err error) {
	t, done, err := s.change(ctx, id)
	if err != nil {
		return t, nil, err
	}
	defer done()
	events, err = s.eventsOf(t)
	return t, events, err
}

// ListTransactions implements store.Transactions.
func (s *Store) ListTransactions(ctx context.Context, from uint64, limit int) (all []store.Transaction, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.applyPending(); err != nil {
		return nil, err
	}
	err = s.eachTransaction(from, func(t store.Transaction) bool {
		if len(all) < limit {
			all = append(all, t)
		}
		return len(all) < limit
	})
	return all, err
}

// entriesOf reads the events of a transaction that waits.
func (s *Store) entriesOf(id uint64) (batch []store.Entry, err error) {
	ok, err := s.state.get(transactionKey(prefixTxEvents, id), func(v []byte) error {
		return walkAll(slices.Clone(v), func(e *entry) error {
			ev, err := event.Decode(e.event)
			if err != nil {
				return err
			}
			en := store.Entry{Bus: e.bus, Event: ev, Via: string(e.via), Hops: e.hops(), Dedupe: e.key(), Window: e.window()}
			if e.hasDue() {
				en.Due = fromNanos(e.due())
			}
			batch = append(batch, en)
			return nil
		})
	})
	if err == nil && !ok {
		err = errBadRow
	}
	return batch, err
}

// eventsOf names the events of a transaction, with what became of them if it
// is committed.
func (s *Store) eventsOf(t store.Transaction) (events []store.TransactionEvent, err error) {
	if !t.State.Finished() {
		// It may have been committed a moment ago.
		if t, err = s.transaction(t.ID); err != nil {
			return nil, err
		}
	}
	switch t.State {
	case store.TransactionRolledBack:
		return nil, nil
	case store.TransactionCommitted:
		_, err = s.state.get(transactionKey(prefixTxResult, t.ID), func(v []byte) (err error) {
			events, err = parseTransactionEvents(v)
			return err
		})
		return events, err
	}
	batch, err := s.entriesOf(t.ID)
	for i := range batch {
		events = append(events, store.TransactionEvent{Bus: batch[i].Bus, Source: batch[i].Event.Source(), ID: batch[i].Event.ID()})
	}
	return events, err
}
