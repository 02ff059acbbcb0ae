package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Bounds of transactions.
const (
	// MaxOpenTransactions is how many may wait for their commit or rollback,
	// parked ones among them.
	MaxOpenTransactions = 10_000
	// MaxTransactionEvents is how many events one may have.
	MaxTransactionEvents = 1000
	// MaxTransactionBytes bounds the events of one together.
	MaxTransactionBytes = 4 << 20
)

// The schedule on which the producer of an unanswered transaction is asked.
const (
	// FirstCheck is how long after its begin it is asked first.
	FirstCheck = 6 * time.Second
	// CheckInterval is how long after that it is asked again.
	CheckInterval = 30 * time.Second
	// MaxChecks is how often it is asked before the transaction is parked.
	MaxChecks = 15
)

// Errors of transactions; test with errors.Is. Those of package store
// (ErrNotFound, ErrCommitted, ErrRolledBack, ErrBusGone) come too.
var (
	// ErrTooManyTransactions means that MaxOpenTransactions wait.
	ErrTooManyTransactions = fmt.Errorf("%d transactions are open, and more are not allowed; commit or roll back some", MaxOpenTransactions)
	// ErrTransaction means that what was asked for is no transaction; the error says why.
	ErrTransaction = errors.New("transaction")
)

// Checker asks the producer of a transaction what became of it.
type Checker interface {
	// Accept says what is wrong with the address, as far as it shows without
	// asking: an error that users read.
	Accept(url string) error
	// Check asks at url and answers "commit", "rollback" or "unknown".
	Check(ctx context.Context, url string, t TransactionCheck) (string, error)
}

// TransactionCheck is what a producer is asked.
type TransactionCheck struct {
	ID     string             `json:"id"`
	Check  int                `json:"check"` // from 1 to MaxChecks
	Events []TransactionEvent `json:"events"`
}

// TransactionEvent is an event of a transaction. What became of it shows once
// the transaction is committed.
type TransactionEvent struct {
	Bus    string       `json:"bus"` // "" if it is gone
	Source string       `json:"source"`
	ID     string       `json:"id"`
	Result store.Result `json:"-"`
}

// Transaction is a batch of events that is kept unseen until it is committed.
type Transaction struct {
	store.Transaction
	Name string // its id as users have it
}

// TransactionName is the id as users have it; it orders as the number does.
func TransactionName(id uint64) string { return fmt.Sprintf("tx-%012d", id) }

// TransactionID reads an id as users have it. store.ErrNotFound if it is none.
func TransactionID(name string) (uint64, error) {
	if len(name) > 3 && name[:3] == "tx-" {
		if id, err := strconv.ParseUint(name[3:], 10, 64); err == nil && TransactionName(id) == name {
			return id, nil
		}
	}
	return 0, fmt.Errorf("transaction %q: %w", name, store.ErrNotFound)
}

// BeginTransaction keeps a batch of events unseen, durably. Its producer is
// asked at checkURL ("" is nowhere) if it neither commits nor rolls back. The
// events are deduplicated when they are committed. A *PublicationError,
// ErrTransaction, ErrTooManyTransactions.
func (e *Engine) BeginTransaction(ctx context.Context, batch []Publication, checkURL string, opts PublishOptions) (Transaction, error) {
	switch {
	case len(batch) == 0:
		return Transaction{}, wrong(ErrTransaction, "events", "it has no events")
	case len(batch) > MaxTransactionEvents:
		return Transaction{}, wrong(ErrTransaction, "events", "%d events are more than it may have (%d)", len(batch), MaxTransactionEvents)
	}
	if checkURL != "" {
		if e.opts.Checker == nil {
			return Transaction{}, wrong(ErrTransaction, "checkURL", "nothing here can ask at a checkURL")
		}
		if err := e.opts.Checker.Accept(checkURL); err != nil {
			return Transaction{}, wrong(ErrTransaction, "checkURL", "checkURL: %v", err)
		}
	}
	entries, err := e.entries(batch, opts)
	if err != nil {
		return Transaction{}, err
	}
	size := 0
	for i := range entries {
		size += entries[i].Event.Size()
	}
	if size > MaxTransactionBytes {
		return Transaction{}, wrong(ErrTransaction, "events", "its events have %d bytes together, more than %d", size, MaxTransactionBytes)
	}
	if !e.transactions.reserve() {
		return Transaction{}, ErrTooManyTransactions
	}
	t, err := e.store.OpenTransaction(ctx, entries, checkURL, time.Now().Add(FirstCheck))
	if err != nil {
		e.transactions.release()
		return Transaction{}, fmt.Errorf("begin a transaction: %w", err)
	}
	e.transactions.watch(t)
	return Transaction{t, TransactionName(t.ID)}, nil
}

// CommitTransaction records the events of a transaction, all at once, durably.
// Of one that was committed before it answers the same again.
func (e *Engine) CommitTransaction(ctx context.Context, name string) ([]TransactionEvent, error) {
	id, err := TransactionID(name)
	if err != nil {
		return nil, err
	}
	events, err := e.store.CommitTransaction(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", name, err)
	}
	e.transactions.ended(id)
	return e.transactionEvents(events), nil
}

// RollbackTransaction drops the events of a transaction, durably. That of one
// that was rolled back before does nothing.
func (e *Engine) RollbackTransaction(ctx context.Context, name string) error {
	id, err := TransactionID(name)
	if err != nil {
		return err
	}
	if err := e.store.RollbackTransaction(ctx, id); err != nil {
		return fmt.Errorf("roll back %s: %w", name, err)
	}
	e.transactions.ended(id)
	return nil
}

// Transaction finds one by its id, with its events. store.ErrNotFound.
func (e *Engine) Transaction(ctx context.Context, name string) (Transaction, []TransactionEvent, error) {
	id, err := TransactionID(name)
	if err != nil {
		return Transaction{}, nil, err
	}
	t, events, err := e.store.GetTransaction(ctx, id)
	if err != nil {
		return Transaction{}, nil, fmt.Errorf("transaction %q: %w", name, err)
	}
	return Transaction{t, name}, e.transactionEvents(events), nil
}

// Transactions lists transactions in order of their begin: the open, and the
// last store.KeptTransactions that are finished.
func (e *Engine) Transactions(ctx context.Context) ([]Transaction, error) {
	all, err := e.store.ListTransactions(ctx, 0, MaxOpenTransactions+store.KeptTransactions)
	out := make([]Transaction, len(all))
	for i, t := range all {
		out[i] = Transaction{t, TransactionName(t.ID)}
	}
	return out, err
}

func (e *Engine) transactionEvents(events []store.TransactionEvent) []TransactionEvent {
	st := e.state.Load()
	out := make([]TransactionEvent, len(events))
	for i, ev := range events {
		out[i] = TransactionEvent{Source: ev.Source, ID: ev.ID, Result: ev.Result}
		if b := st.byID[ev.Bus]; b != nil {
			out[i].Bus = b.name
		}
	}
	return out
}
