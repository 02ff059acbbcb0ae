package storetest

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func (b *broken) CommitTransaction(ctx context.Context, id uint64) ([]store.TransactionEvent, error) {
	return or(b.commitTx != nil, b.commitTx, b.Model.CommitTransaction)(ctx, id)
}

func (b *broken) RollbackTransaction(ctx context.Context, id uint64) error {
	return or(b.rollbackTx != nil, b.rollbackTx, b.Model.RollbackTransaction)(ctx, id)
}

// beforeCommit runs f on a transaction before it is committed.
func (b *broken) beforeCommit(f func(s *modelState, t *modelTransaction)) {
	b.commitTx = func(ctx context.Context, id uint64) ([]store.TransactionEvent, error) {
		b.locked(func(s *modelState) {
			for _, t := range s.transactions {
				if t.ID == id {
					f(s, t)
				}
			}
		})
		return b.Model.CommitTransaction(ctx, id)
	}
}

func (b *broken) CheckedTransaction(ctx context.Context, id uint64, c store.Check) error {
	return or(b.checkTx != nil, b.checkTx, b.Model.CheckedTransaction)(ctx, id, c)
}

func forgetOpen(s *modelState) {
	s.transactions = slices.DeleteFunc(s.transactions, func(t *modelTransaction) bool { return !t.State.Finished() })
}

func transactionMutants() []mutant {
	return []mutant{
		{"commits the first event of a transaction only", func(b *broken) {
			b.beforeCommit(func(_ *modelState, t *modelTransaction) { t.batch = t.batch[:min(1, len(t.batch))] })
		}},
		{"commits a transaction again", func(b *broken) {
			kept := map[uint64][]store.Entry{}
			b.beforeCommit(func(_ *modelState, t *modelTransaction) {
				if t.State == store.TransactionCommitted {
					t.State, t.batch = store.TransactionOpen, kept[t.ID]
				}
				kept[t.ID] = t.batch
			})
		}},
		{"commits what was rolled back", func(b *broken) {
			b.beforeCommit(func(_ *modelState, t *modelTransaction) {
				if t.State == store.TransactionRolledBack {
					t.State = store.TransactionOpen
				}
			})
		}},
		{"does not deduplicate a transaction", func(b *broken) {
			b.beforeCommit(func(_ *modelState, t *modelTransaction) {
				for i := range t.batch {
					t.batch[i].Window = 0
				}
			})
		}},
		{"commits scheduled events of a transaction at once", func(b *broken) {
			b.beforeCommit(func(_ *modelState, t *modelTransaction) {
				for i := range t.batch {
					t.batch[i].Due = time.Time{}
				}
			})
		}},
		{"commits into other buses what a dropped one lacks", func(b *broken) {
			b.beforeCommit(func(s *modelState, t *modelTransaction) {
				t.batch = slices.DeleteFunc(t.batch, func(e store.Entry) bool { return s.buses[e.Bus] == nil })
			})
		}},
		{"never parks a transaction", func(b *broken) {
			b.checkTx = func(ctx context.Context, id uint64, c store.Check) error {
				if c.Next.IsZero() {
					c.Next = time.Unix(1, 0)
				}
				return b.Model.CheckedTransaction(ctx, id, c)
			}
		}},
		{"forgets open transactions when it is closed", func(b *broken) {
			b.close = func() error {
				b.locked(forgetOpen)
				return b.Model.Close()
			}
		}},
		{"forgets open transactions in a crash", func(b *broken) {
			b.lose = func() { b.locked(forgetOpen) }
		}},
		{"remembers every transaction", func(b *broken) {
			b.rollbackTx = func(ctx context.Context, id uint64) error {
				err := b.Model.RollbackTransaction(ctx, id)
				b.locked(func(s *modelState) {
					for _, t := range s.transactions {
						t.State = min(t.State, store.TransactionOpen)
					}
				})
				return err
			}
		}},
		{"rolls back nothing", func(b *broken) {
			b.rollbackTx = func(context.Context, uint64) error { return nil }
		}},
	}
}
