package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func transactionChecks() []check {
	return []check{
		{"events of a transaction are unseen until it is committed, then all there", transactionCommits},
		{"events of a transaction that is rolled back never come", transactionRollsBack},
		{"a commit that is repeated answers the same and records nothing", transactionCommitRepeated},
		{"a transaction is deduplicated when it is committed", transactionDeduplicated},
		{"a transaction may hold scheduled events", transactionSchedules},
		{"a transaction of a dropped bus cannot be committed, only rolled back", transactionOfDroppedBus},
		{"how far asking about a transaction is survives, and parks it in the end", transactionChecked},
		{"transactions survive reopening, open and finished", transactionSurvives},
		{"transactions survive a crash at every step", transactionSurvivesCrash},
		{"the newest finished transactions are remembered and no more", transactionsForgotten},
	}
}

func (f *fixture) begin(batch ...store.Entry) uint64 {
	f.Helper()
	t, err := f.store.OpenTransaction(f.ctx, batch, "http://127.0.0.1/check", f.now().Add(time.Minute))
	f.must(err)
	return t.ID
}

func (f *fixture) commit(id uint64) []store.TransactionEvent {
	f.Helper()
	events, err := f.store.CommitTransaction(f.ctx, id)
	f.must(err)
	return events
}

func (f *fixture) wantLast(bus store.BusID, last uint64) {
	f.Helper()
	if b := f.bounds(bus); b.Last != last || len(f.read(bus, 1)) != int(last) {
		f.Fatalf("the bus holds %+v, want %d events", b, last)
	}
}

func (f *fixture) wantTransaction(id uint64, state store.TransactionState) store.Transaction {
	f.Helper()
	t, _, err := f.store.GetTransaction(f.ctx, id)
	f.must(err)
	if t.ID != id || t.State != state {
		f.Fatalf("transaction %d is %v, want %v", id, t.State, state)
	}
	return t
}

func transactionCommits(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	id := f.begin(entry(f, a, "x"), entry(f, b, "y"), entry(f, a, "z"))
	f.wantLast(a, 0)
	f.wantLast(b, 0)
	if _, events, err := f.store.GetTransaction(f.ctx, id); err != nil || len(events) != 3 || events[1] != (store.TransactionEvent{Bus: b, Source: "/shop", ID: "y"}) {
		f.Fatalf("it holds %v, %v", events, err)
	}
	f.publish(a, "before")
	before := f.watch.appends(b)
	var got []uint64
	for _, e := range f.commit(id) {
		got = append(got, e.Result.Sequence)
	}
	if !slices.Equal(got, []uint64{2, 1, 3}) {
		f.Fatalf("recorded as %v", got)
	}
	f.wantLast(a, 3)
	f.wantLast(b, 1)
	if f.watch.appends(b) == before {
		f.Error("nobody was told of the events")
	}
	if t := f.wantTransaction(id, store.TransactionCommitted); t.Events != 3 || !t.Finished.Equal(f.now()) || !t.Check.Next.IsZero() {
		f.Errorf("it stands as %+v", t)
	}
	f.wantErr("rolling it back", f.store.RollbackTransaction(f.ctx, id), store.ErrCommitted)
	_, err := f.store.CommitTransaction(f.ctx, id+1)
	f.wantErr("committing one that is not there", err, store.ErrNotFound)
}

func transactionRollsBack(f *fixture) {
	a := f.bus("a")
	id := f.begin(entry(f, a, "x"))
	f.must(f.store.RollbackTransaction(f.ctx, id))
	f.must(f.store.RollbackTransaction(f.ctx, id))
	_, err := f.store.CommitTransaction(f.ctx, id)
	f.wantErr("committing it", err, store.ErrRolledBack)
	f.wantLast(a, 0)
	f.wantTransaction(id, store.TransactionRolledBack)
	if other := f.begin(entry(f, a, "x")); other <= id {
		f.Errorf("transaction %d follows %d", other, id)
	}
}

func transactionCommitRepeated(f *fixture) {
	a := f.bus("a")
	id := f.begin(entry(f, a, "x"), entry(f, a, "y"))
	first := f.commit(id)
	f.publish(a, "later")
	if again := f.commit(id); !slices.Equal(first, again) {
		f.Errorf("the commit answered %v, and repeated %v", first, again)
	}
	f.wantLast(a, 3)
}

func transactionDeduplicated(f *fixture) {
	a := f.bus("a")
	x, y := entry(f, a, "x"), entry(f, a, "y")
	x.Window, y.Window = time.Hour, time.Hour
	one, two := f.begin(x, y), f.begin(x)
	if r := f.append(x)[0]; r.Duplicate || r.Sequence != 1 {
		f.Fatalf("published beside a transaction that is open: %+v", r)
	}
	got := f.commit(one)
	if !got[0].Result.Duplicate || got[0].Result.Sequence != 1 || got[1].Result.Duplicate || got[1].Result.Sequence != 2 {
		f.Errorf("the commit gave %v", got)
	}
	if got := f.commit(two); !got[0].Result.Duplicate || got[0].Result.Sequence != 1 {
		f.Errorf("a commit of nothing but duplicates gave %v", got)
	}
	f.wantTransaction(two, store.TransactionCommitted)
	if r := f.append(y)[0]; !r.Duplicate || r.Sequence != 2 {
		f.Errorf("published after the commit: %+v", r)
	}
}

func transactionSchedules(f *fixture) {
	a := f.bus("a")
	late := entry(f, a, "late")
	late.Due = f.now().Add(time.Hour)
	id := f.begin(entry(f, a, "now"), late)
	if got := f.commit(id); got[0].Result.Sequence != 1 || !got[1].Result.Scheduled || got[1].Result.Sequence != 0 {
		f.Fatalf("the commit gave %v", got)
	}
	f.wantLast(a, 1)
	f.advance(time.Hour)
	f.eventually("the scheduled one comes", func() bool { return f.bounds(a).Last == 2 })
}

func transactionOfDroppedBus(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	id := f.begin(entry(f, a, "x"), entry(f, b, "y"))
	f.must(f.store.DropBus(f.ctx, b))
	f.bus("b") // another one
	_, err := f.store.CommitTransaction(f.ctx, id)
	f.wantErr("committing it", err, store.ErrBusGone)
	f.wantLast(a, 0)
	f.wantTransaction(id, store.TransactionOpen)
	f.must(f.store.RollbackTransaction(f.ctx, id))
}

func transactionChecked(f *fixture) {
	a := f.bus("a")
	id := f.begin(entry(f, a, "x"))
	asked := store.Check{Count: 3, Next: f.now().Add(time.Second), Error: "no answer"}
	f.must(f.store.CheckedTransaction(f.ctx, id, asked))
	f.reopenIfPossible()
	if t := f.wantTransaction(id, store.TransactionOpen); t.Check.Count != 3 || !t.Check.Next.Equal(asked.Next) || t.Check.Error != "no answer" {
		f.Errorf("asked %+v, noted %+v", asked, t.Check)
	}
	f.must(f.store.CheckedTransaction(f.ctx, id, store.Check{Count: 4}))
	f.wantTransaction(id, store.TransactionParked)
	f.commit(id)
	f.must(f.store.CheckedTransaction(f.ctx, id, store.Check{Count: 5}))
	f.wantTransaction(id, store.TransactionCommitted)
	f.wantLast(a, 1)
}

func transactionSurvives(f *fixture) {
	a := f.bus("a")
	open, back, done := f.begin(entry(f, a, "open")), f.begin(entry(f, a, "back")), f.begin(entry(f, a, "done"))
	f.must(f.store.RollbackTransaction(f.ctx, back))
	first := f.commit(done)
	if !f.reopenIfPossible() {
		return
	}
	all, err := f.store.ListTransactions(f.ctx, 0, 10)
	f.must(err)
	if len(all) != 3 || all[0].State != store.TransactionOpen || all[1].State != store.TransactionRolledBack || all[2].State != store.TransactionCommitted {
		f.Fatalf("there are %+v", all)
	}
	if page, err := f.store.ListTransactions(f.ctx, back, 1); err != nil || len(page) != 1 || page[0].ID != back {
		f.Errorf("a page of one is %+v, %v", page, err)
	}
	if again := f.commit(done); !slices.Equal(first, again) {
		f.Errorf("the commit answered %v, and repeated %v", first, again)
	}
	f.commit(open)
	f.wantLast(a, 2)
}

func transactionSurvivesCrash(f *fixture) {
	a := f.bus("a")
	if !f.canCrash() {
		return
	}
	id, back := f.begin(entry(f, a, "x"), entry(f, a, "y")), f.begin(entry(f, a, "z"))
	f.crash()
	f.wantTransaction(id, store.TransactionOpen)
	first := f.commit(id)
	f.crash()
	f.wantTransaction(id, store.TransactionCommitted)
	f.wantLast(a, 2)
	if again := f.commit(id); !slices.Equal(first, again) {
		f.Errorf("the commit answered %v, and after a crash %v", first, again)
	}
	f.must(f.store.RollbackTransaction(f.ctx, back))
	f.crash()
	f.wantTransaction(back, store.TransactionRolledBack)
	f.wantLast(a, 2)
}

func transactionsForgotten(f *fixture) {
	a := f.bus("a")
	open := f.begin(entry(f, a, "open"))
	first := f.begin(entry(f, a, "first"))
	f.commit(first)
	for i := range store.KeptTransactions {
		f.must(f.store.RollbackTransaction(f.ctx, f.begin(entry(f, a, fmt.Sprint(i)))))
	}
	_, _, err := f.store.GetTransaction(f.ctx, first)
	f.wantErr("the oldest", err, store.ErrNotFound)
	all, err := f.store.ListTransactions(f.ctx, 0, 2*store.KeptTransactions)
	f.must(err)
	if len(all) != store.KeptTransactions+1 || all[0].ID != open {
		f.Errorf("%d are remembered", len(all))
	}
}
