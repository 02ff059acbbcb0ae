package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// TypeTransactionParked is the type of the system event for a transaction that
// nobody is asked about any more.
const TypeTransactionParked = "com.switchyard.transaction.parked"

const (
	checkTimeout = 10 * time.Second // for one answer
	checkMost    = 32               // that are asked at the same time
)

// transactionChecker asks producers about transactions that they do not answer,
// and parks those that stay unanswered. When each is asked next stands in the
// store; what is in memory is only that, for those that are not parked.
type transactionChecker struct {
	e    *Engine
	wake chan struct{}

	mu     sync.Mutex
	open   int                  // in the store, parked ones among them
	parked map[uint64]struct{}  // of them
	next   map[uint64]time.Time // when each other one is asked
}

func newTransactionChecker(e *Engine) (*transactionChecker, error) {
	c := &transactionChecker{e: e, wake: make(chan struct{}, 1), parked: map[uint64]struct{}{}, next: map[uint64]time.Time{}}
	all, err := e.store.ListTransactions(context.Background(), 0, MaxOpenTransactions+store.KeptTransactions)
	for _, t := range all {
		if t.State.Finished() {
			continue
		}
		c.open++
		if t.State == store.TransactionParked {
			c.parked[t.ID] = struct{}{}
		} else {
			c.next[t.ID] = checkTime(t.Check.Next)
		}
	}
	return c, err
}

// checkTime is next, but not beyond what the next check may take: the clock may
// have been set back since it was written.
func checkTime(next time.Time) time.Time {
	return sameTime(earlier(next, time.Now().Add(max(FirstCheck, CheckInterval))))
}

// reserve makes room for one more, unless there are too many.
func (c *transactionChecker) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= MaxOpenTransactions {
		return false
	}
	c.open++
	return true
}

func (c *transactionChecker) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// watch sees to a transaction that was begun.
func (c *transactionChecker) watch(t store.Transaction) {
	c.mu.Lock()
	c.next[t.ID] = checkTime(t.Check.Next)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ended takes out a transaction that was committed or rolled back.
func (c *transactionChecker) ended(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waits := c.next[id]
	_, parked := c.parked[id]
	if waits || parked {
		c.open--
	}
	delete(c.next, id)
	delete(c.parked, id)
}

func (c *transactionChecker) counts() (open, parked int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, len(c.parked)
}

// due lists what is to be asked now, and how long it is until the next.
func (c *transactionChecker) due(now time.Time) (ids []uint64, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = time.Minute
	for id, next := range c.next {
		if left := next.Sub(now); left > 0 {
			wait = min(wait, left)
		} else {
			ids = append(ids, id)
		}
	}
	return ids, wait
}

// serve asks until ctx is done.
func (c *transactionChecker) serve(ctx context.Context) {
	for {
		ids, wait := c.due(time.Now())
		slots := make(chan struct{}, checkMost)
		var asking sync.WaitGroup
		for _, id := range ids {
			slots <- struct{}{}
			asking.Go(func() {
				defer func() { <-slots }()
				if err := c.ask(ctx, id); err != nil && ctx.Err() == nil {
					c.e.log.Error("checking a transaction failed; it is tried again", "transaction", TransactionName(id), "error", err)
					c.later(id, time.Now().Add(time.Second))
				}
			})
		}
		asking.Wait()
		if len(ids) > 0 {
			wait = 0 // others fell due meanwhile
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-time.After(max(wait, time.Millisecond)):
		}
	}
}

// later sets when a transaction that still waits is asked; zero is never.
func (c *transactionChecker) later(id uint64, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.next[id]; !ok {
		return // ended meanwhile
	}
	if c.next[id] = next; next.IsZero() {
		delete(c.next, id)
		c.parked[id] = struct{}{}
	}
}

// ask asks about one transaction and does what the answer says.
func (c *transactionChecker) ask(ctx context.Context, id uint64) error {
	name := TransactionName(id)
	t, events, err := c.e.Transaction(ctx, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.State.Finished() {
		c.ended(id)
		return nil
	}
	if err != nil {
		return err
	}
	check := store.Check{Count: t.Check.Count + 1}
	state := "unknown"
	if t.CheckURL == "" {
		check.Error = "it has no checkURL"
	} else if c.e.opts.Checker == nil {
		check.Error = "nothing here can ask at its checkURL"
	} else {
		askCtx, cancel := context.WithTimeout(ctx, checkTimeout)
		state, err = c.e.opts.Checker.Check(askCtx, t.CheckURL, TransactionCheck{ID: name, Check: check.Count, Events: events})
		cancel()
		if ctx.Err() != nil {
			return nil // stopping: it is asked after the next start
		}
		if err != nil {
			check.Error = err.Error()
		}
	}
	switch {
	case err != nil:
	case state == "commit":
		if _, err = c.e.CommitTransaction(ctx, name); err == nil {
			return nil
		}
		check.Error = err.Error()
	case state == "rollback":
		if err = c.e.RollbackTransaction(ctx, name); err == nil {
			return nil
		}
		check.Error = err.Error()
	}
	check.Error = check.Error[:min(len(check.Error), 1024)]
	if check.Count < MaxChecks {
		check.Next = time.Now().Add(CheckInterval)
	}
	if err := c.e.store.CheckedTransaction(ctx, id, check); err != nil {
		return err
	}
	c.later(id, check.Next)
	if check.Next.IsZero() {
		c.e.log.Warn("a transaction is parked: its producer gave no answer", "transaction", name, "checks", check.Count, "error", check.Error)
		c.e.keeper.announce(systemEvent{kind: TypeTransactionParked, transaction: name,
			data: systemData{Transaction: name, Reason: fmt.Sprintf("no answer to %d checks", check.Count), LastError: check.Error}})
	}
	return nil
}
