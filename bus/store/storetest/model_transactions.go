package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelTransaction is a transaction with its events.
type modelTransaction struct {
	store.Transaction
	batch  []store.Entry
	events []store.TransactionEvent
	end    uint64 // orders the finished
}

func (m *Model) transaction(id uint64) (*modelTransaction, error) {
	for _, t := range m.state.transactions {
		if t.ID == id {
			return t, nil
		}
	}
	return nil, store.ErrNotFound
}

// OpenTransaction implements store.Transactions.
func (m *Model) OpenTransaction(ctx context.Context, batch []store.Entry, checkURL string, next time.Time) (store.Transaction, error) {
	if err := m.enter(ctx); err != nil {
		return store.Transaction{}, err
	}
	defer m.mu.Unlock()
	if len(batch) == 0 {
		return store.Transaction{}, errors.New("a transaction needs an event")
	}
	t := &modelTransaction{batch: slices.Clone(batch)}
	for _, e := range batch {
		if _, err := m.bus(e.Bus); err != nil {
			return store.Transaction{}, err
		}
		t.events = append(t.events, store.TransactionEvent{Bus: e.Bus, Source: e.Event.Source(), ID: e.Event.ID()})
	}
	m.state.lastTransaction++
	t.Transaction = store.Transaction{ID: m.state.lastTransaction, Created: m.clock(), CheckURL: checkURL, Events: len(batch), Check: store.Check{Next: next}}
	m.state.transactions = append(m.state.transactions, t)
	return t.Transaction, nil
}

// CommitTransaction implements store.Transactions.
func (m *Model) CommitTransaction(ctx context.Context, id uint64) ([]store.TransactionEvent, error) {
	var notes notices
	defer m.tell(&notes)
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	t, err := m.transaction(id)
	if err != nil {
		return nil, err
	}
	switch t.State {
	case store.TransactionRolledBack:
		return nil, store.ErrRolledBack
	case store.TransactionCommitted:
		return t.events, nil
	}
	for _, e := range t.batch {
		if _, err := m.bus(e.Bus); err != nil {
			return nil, store.ErrBusGone
		}
	}
	for i, e := range t.batch {
		t.events[i].Result = m.keep(m.state.buses[e.Bus], e, m.clock(), t.ID, &notes)
	}
	m.endTransaction(t, store.TransactionCommitted)
	return t.events, nil
}

// RollbackTransaction implements store.Transactions.
func (m *Model) RollbackTransaction(ctx context.Context, id uint64) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	t, err := m.transaction(id)
	switch {
	case err != nil:
		return err
	case t.State == store.TransactionCommitted:
		return store.ErrCommitted
	case t.State != store.TransactionRolledBack:
		t.events = nil
		m.endTransaction(t, store.TransactionRolledBack)
	}
	return nil
}

// endTransaction forgets the oldest of the finished that are too many.
func (m *Model) endTransaction(t *modelTransaction, state store.TransactionState) {
	t.State, t.Finished, t.Check.Next, t.batch, t.end = state, m.clock(), time.Time{}, nil, m.nextPlace()
	var finished []*modelTransaction
	for _, t := range m.state.transactions {
		if t.State.Finished() {
			finished = append(finished, t)
		}
	}
	if len(finished) > store.KeptTransactions {
		oldest := slices.MinFunc(finished, func(a, b *modelTransaction) int { return int(a.end) - int(b.end) })
		m.state.transactions = slices.DeleteFunc(m.state.transactions, func(t *modelTransaction) bool { return t == oldest })
	}
}

// CheckedTransaction implements store.Transactions.
func (m *Model) CheckedTransaction(ctx context.Context, id uint64, c store.Check) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	t, err := m.transaction(id)
	if err != nil || t.State.Finished() {
		return err
	}
	if t.Check = c; c.Next.IsZero() {
		t.State = store.TransactionParked
	}
	return nil
}

// GetTransaction implements store.Transactions.
func (m *Model) GetTransaction(ctx context.Context, id uint64) (store.Transaction, []store.TransactionEvent, error) {
	if err := m.enter(ctx); err != nil {
		return store.Transaction{}, nil, err
	}
	defer m.mu.Unlock()
	t, err := m.transaction(id)
	if err != nil {
		return store.Transaction{}, nil, err
	}
	return t.Transaction, slices.Clone(t.events), nil
}

// ListTransactions implements store.Transactions.
func (m *Model) ListTransactions(ctx context.Context, from uint64, limit int) (all []store.Transaction, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, t := range m.state.transactions {
		if t.ID >= from && len(all) < limit {
			all = append(all, t.Transaction)
		}
	}
	return all, nil
}
