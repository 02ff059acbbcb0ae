package store

import (
	"context"
	"errors"
	"time"
)

// Errors of transactions; test with errors.Is.
var (
	// ErrRolledBack means that the transaction was rolled back before.
	ErrRolledBack = errors.New("the transaction was rolled back")
	// ErrCommitted means that the transaction was committed before.
	ErrCommitted = errors.New("the transaction was committed")
	// ErrBusGone means that a bus of the transaction's events was dropped, so
	// that it cannot be committed any more.
	ErrBusGone = errors.New("a bus of the transaction's events is gone")
)

// KeptTransactions is how many finished transactions an engine remembers, the
// newest, so that a commit or a rollback can be repeated.
const KeptTransactions = 1000

// TransactionState says where a transaction stands.
type TransactionState uint8

const (
	// TransactionOpen waits for its commit or rollback.
	TransactionOpen TransactionState = iota
	// TransactionParked waits too, but nobody is asked about it any more.
	TransactionParked
	// TransactionCommitted has its events recorded.
	TransactionCommitted
	// TransactionRolledBack has dropped its events.
	TransactionRolledBack
)

// Finished says whether the state is final.
func (s TransactionState) Finished() bool { return s >= TransactionCommitted }

// String is the state's name as lists show it.
func (s TransactionState) String() string {
	switch s {
	case TransactionParked:
		return "parked"
	case TransactionCommitted:
		return "committed"
	case TransactionRolledBack:
		return "rolledback"
	}
	return "open"
}

// Check is how far asking the producer about a transaction is.
type Check struct {
	Count int       // how often it was asked
	Next  time.Time // when it is asked next; zero once it is not
	Error string    // what was wrong with the last answer; at most 1 KiB
}

// Transaction is a batch of events that is kept unseen until it is committed.
type Transaction struct {
	ID       uint64 // never used again
	State    TransactionState
	Created  time.Time
	Finished time.Time // zero while it is not
	CheckURL string    // where the producer is asked; "" is nowhere
	Events   int
	Check    Check
}

// TransactionEvent is one event of a transaction, with what became of it.
type TransactionEvent struct {
	Bus    BusID
	Source string
	ID     string
	Result Result // zero unless the transaction is committed
}

// Transactions keeps events that are recorded all together later, or never.
// Until then they are not in the log: they have no sequence, nobody reads them
// and retention does not touch them. Their identities are neither looked for
// nor remembered before the commit.
type Transactions interface {
	// OpenTransaction keeps a batch unseen. It is durable when it returns.
	OpenTransaction(ctx context.Context, batch []Entry, checkURL string, next time.Time) (Transaction, error)
	// CommitTransaction records the events of a transaction, all of them or
	// nothing, as Append would at that time. It is durable when it returns; of
	// one that was committed before it returns the same again. ErrRolledBack,
	// ErrBusGone, ErrNotFound.
	CommitTransaction(ctx context.Context, id uint64) ([]TransactionEvent, error)
	// RollbackTransaction drops the events of a transaction, durably; that of
	// one that was rolled back before does nothing. ErrCommitted, ErrNotFound.
	RollbackTransaction(ctx context.Context, id uint64) error
	// CheckedTransaction notes how far asking about a transaction is, durably;
	// a zero Next parks it. One that is finished is left as it is. ErrNotFound.
	CheckedTransaction(ctx context.Context, id uint64, c Check) error
	// GetTransaction returns one transaction with its events, those of a
	// rolled back one left out. ErrNotFound.
	GetTransaction(ctx context.Context, id uint64) (Transaction, []TransactionEvent, error)
	// ListTransactions lists transactions in order of id, the open and those
	// that are remembered, from one id on, at most limit.
	ListTransactions(ctx context.Context, from uint64, limit int) ([]Transaction, error)
}
