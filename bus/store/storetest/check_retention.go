package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func retentionChecks() []check {
	return []check{
		{"retention removes what is too old and keeps the rest", retentionByAge},
		{"retention by size removes the oldest", retentionBySize},
		{"without limits nothing is removed", retentionOff},
		{"reads below the first event start at it", readsFromFirst},
		{"what is owed can be delivered and read after retention passed it", retentionKeepsOwed},
		{"a dead letter's record outlives retention and can be redriven", retentionKeepsDead},
		{"what was not routed yet is not removed", retentionKeepsUnrouted},
		{"what is held stays until it is released, and is held again after reopening", retentionHolds},
		{"an empty bus goes on with its sequences", retentionKeepsSequences},
		{"changed options hold for what is there", retentionChanged},
		{"a dropped bus is gone, and its name makes a new one", droppedBusGone},
		{"dropping a bus leaves what its subscriptions are owed", droppedBusLeavesOwed},
	}
}

func (f *fixture) trim() {
	f.Helper()
	f.must(f.store.Trim(f.ctx))
}

// wantFirst wants the bus to begin at a sequence, before and after reopening.
func (f *fixture) wantFirst(bus store.BusID, first, last uint64) {
	f.Helper()
	for _, when := range []string{"at once", "after reopening"} {
		if b := f.bounds(bus); b.First != first || b.Last != last {
			f.Errorf("%s the bounds are %d to %d, want %d to %d", when, b.First, b.Last, first, last)
		}
		records := f.read(bus, 1)
		if uint64(len(records)) != last+1-first || len(records) > 0 && records[0].Sequence != first {
			f.Errorf("%s there are %d records, want %d to %d", when, len(records), first, last)
		}
		if when == "at once" {
			f.reopenIfPossible()
		}
	}
}

func retentionByAge(f *fixture) {
	a, b := f.busWith("a", store.BusOptions{MaxAge: time.Hour}), f.bus("b")
	for i := range 4 {
		f.publishN(a, fmt.Sprint(i), 5)
		f.publishN(b, fmt.Sprint(i), 5)
		f.advance(20 * time.Minute)
	}
	f.route(a)
	f.route(b)
	f.advance(time.Minute) // the first five are 81 minutes old, the second 61, the third 41
	f.trim()
	_, err := f.store.Get(f.ctx, a, 10)
	f.wantErr("Get of a removed event", err, store.ErrTrimmed)
	_, err = f.store.Get(f.ctx, a, 21)
	f.wantErr("Get above the end", err, store.ErrNotFound)
	if _, err = f.store.Get(f.ctx, a, 11); err != nil {
		f.Errorf("Get of the first event left: %v", err)
	}
	f.wantFirst(a, 11, 20)
	f.wantFirst(b, 1, 20)
	f.wantSequenceAt(a, f.now().Add(-24*time.Hour), 11)
}

func retentionBySize(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxBytes: 50_000})
	for i := range 20 {
		f.append(sizedEntry(f, a, fmt.Sprint(i), 10_000))
	}
	f.route(a)
	before := f.bounds(a)
	if before.First != 1 || before.Bytes < 200_000 || before.Bytes > 400_000 {
		f.Errorf("before, the bounds are %+v", before)
	}
	f.trim()
	b := f.bounds(a)
	if b.Last != 20 || b.First < 12 || b.First > 19 {
		f.Errorf("200 KB trimmed to 50 KB: %d to %d are left", b.First, b.Last)
	}
	if b.Bytes > 80_000 || b.Bytes < 10_000 {
		f.Errorf("%d bytes are left", b.Bytes)
	}
	if got := f.read(a, 1); uint64(len(got)) != b.Last+1-b.First || got[0].Sequence != b.First {
		f.Errorf("%d records are left of %+v", len(got), b)
	}
}

func retentionHolds(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute, Hold: true})
	f.publishN(a, "e", 10)
	f.route(a)
	f.advance(time.Hour)
	f.trim()
	f.wantFirst(a, 1, 10)
	f.must(f.store.Release(a, 4))
	f.must(f.store.Release(a, 2)) // does not take it back
	f.trim()
	f.wantFirst(a, 5, 10)
	f.must(f.store.Release(a, 6))
	first := uint64(7)
	if f.reopenIfPossible() { // which forgets it
		first = 6
	}
	f.must(f.store.Release(a, 5))
	f.trim()
	f.wantFirst(a, first, 10)
	f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	f.trim()
	f.wantFirst(a, 11, 10)
	f.wantErr("Release of no bus", f.store.Release(99, 1), store.ErrNotFound)
}

func retentionOff(f *fixture) {
	a := f.bus("a")
	f.publishN(a, "e", 5)
	f.route(a)
	f.advance(10 * 365 * 24 * time.Hour)
	f.trim()
	f.wantFirst(a, 1, 5)
}

func readsFromFirst(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	f.publish(a, "1", "2", "3")
	f.advance(2 * time.Minute)
	f.publish(a, "4", "5")
	f.route(a)
	f.trim()
	for from := uint64(0); from <= 4; from++ {
		records, err := f.store.Read(f.ctx, a, from, 1, 1<<20, nil)
		f.must(err)
		if !slices.Equal(ids(records), []string{"4"}) {
			f.Errorf("one record from %d on: %v, want 4", from, ids(records))
		}
	}
}

func retentionKeepsOwed(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "queued", "retrying", "inflight", "done")
	records := f.read(a, 1)
	f.route(a, sub)
	held := store.Delivery{}
	for _, d := range f.claimAll(sub) {
		switch d.Record.Event.ID() {
		case "queued":
			f.settle(release(d))
		case "retrying":
			f.settle(f.retry(d, time.Hour))
		case "inflight":
			held = d
		default:
			f.settle(f.done(d))
		}
	}
	f.advance(10 * time.Minute)
	f.trim()
	f.advance(time.Hour)
	f.trim()
	f.wantReadable(records[:3])
	f.settle(f.retry(held, 0))
	f.reopenIfPossible()
	f.route(a, sub)
	f.trim()
	f.wantReadable(records[:3])
	for _, d := range f.wantClaim("long after", sub, "queued", "retrying", "inflight") {
		f.wantSameRecord(records[d.ID.Sequence-1], d.Record)
		f.settle(f.done(d))
	}
	f.trim()
	if b := f.bounds(a); b.First != 5 || b.Last != 4 {
		f.Errorf("when nothing is owed the bounds are %+v", b)
	}
}

func (f *fixture) wantReadable(records []store.Record) {
	f.Helper()
	for _, want := range records {
		got, err := f.store.Get(f.ctx, want.Bus, want.Sequence)
		if err != nil {
			f.Errorf("owed event %q: %v", want.Event.ID(), err)
			continue
		}
		f.wantSameRecord(want, got)
	}
}

func retentionKeepsDead(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "x", "y")
	records := f.read(a, 1)
	f.route(a, sub)
	f.settleAll(f.claimAll(sub), f.die)
	f.advance(24 * time.Hour)
	f.trim()
	f.reopenIfPossible()
	f.trim()
	f.wantReadable(records)
	letters := f.letters(sub, 10)
	for _, l := range letters {
		f.wantSameRecord(records[l.ID.Sequence-1], l.Record)
	}
	if n, err := f.store.Redrive(f.ctx, sub, letterIDs(letters)); n != 2 || err != nil {
		f.Fatalf("redrive gave %d, %v", n, err)
	}
	f.trim()
	for _, d := range f.wantClaim("redriven", sub, "x", "y") {
		f.wantSameRecord(records[d.ID.Sequence-1], d.Record)
	}
}

func retentionKeepsUnrouted(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	f.publish(a, "2", "3")
	f.advance(time.Hour)
	f.trim()
	f.reopenIfPossible()
	f.trim()
	f.route(a, sub)
	f.wantClaim("routed late", sub, "1", "2", "3")
}

func retentionKeepsSequences(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	f.publishN(a, "e", 5)
	f.route(a)
	f.advance(time.Hour)
	f.trim()
	f.wantFirst(a, 6, 5)
	if got := f.publish(a, "next"); got[0] != 6 {
		f.Errorf("the next event has sequence %d, want 6", got[0])
	}
	f.wantFirst(a, 6, 6)
}

func retentionChanged(f *fixture) {
	a := f.bus("a")
	f.publishN(a, "e", 5)
	f.route(a)
	f.advance(time.Hour)
	f.publishN(a, "f", 5)
	f.route(a)
	if again := f.busWith("a", store.BusOptions{MaxAge: 30 * time.Minute}); again != a {
		f.Errorf("the bus has id %d, want %d", again, a)
	}
	f.trim()
	f.wantFirst(a, 6, 10)
}

func droppedBusGone(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	x := remembered(entry(f, a, "x"), time.Hour)
	f.append(x)
	f.publish(b, "1")
	f.schedule(a, "later", time.Hour)
	waiting := make(chan error, 1)
	go func() { waiting <- f.store.Await(f.ctx, a, 100) }()
	f.must(f.store.DropBus(f.ctx, a))
	select {
	case err := <-waiting:
		f.wantErr("Await of a dropped bus", err, store.ErrNotFound)
	case <-time.After(f.env.patience()):
		f.Error("Await of a dropped bus goes on")
	}
	gone := func() {
		f.Helper()
		_, err := f.store.Bounds(a)
		f.wantErr("Bounds", err, store.ErrNotFound)
		_, err = f.store.Get(f.ctx, a, 1)
		f.wantErr("Get", err, store.ErrNotFound)
		_, err = f.store.Read(f.ctx, a, 1, 10, 1000, nil)
		f.wantErr("Read", err, store.ErrNotFound)
		_, err = f.store.Append(f.ctx, []store.Entry{x})
		f.wantErr("Append", err, store.ErrNotFound)
		f.wantErr("DropBus", f.store.DropBus(f.ctx, a), store.ErrNotFound)
	}
	gone()
	f.reopenIfPossible()
	gone()
	again := f.bus("a")
	if again == a {
		f.Fatalf("the new bus has the old id %d", a)
	}
	if bounds := f.bounds(again); bounds.First != 1 || bounds.Last != 0 {
		f.Errorf("the new bus has bounds %+v", bounds)
	}
	if p := f.store.Position(again); p != 0 {
		f.Errorf("the new bus has position %d", p)
	}
	x.Bus = again
	f.wantNew(x, 1)
	f.advance(2 * time.Hour)
	f.env.Step()
	if got := f.scheduled(again, "", "", 10); len(got) != 0 {
		f.Errorf("scheduled on the new bus: %v", got)
	}
	if got := ids(f.read(again, 1)); !slices.Equal(got, []string{"x"}) {
		f.Errorf("the new bus holds %v", got)
	}
	if got := ids(f.read(b, 1)); !slices.Equal(got, []string{"1"}) {
		f.Errorf("the other bus holds %v", got)
	}
}

func droppedBusLeavesOwed(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "queued", "dead")
	f.route(a, sub)
	for _, d := range f.claimAll(sub) {
		if d.Record.Event.ID() == "dead" {
			f.settle(f.die(d))
		} else {
			f.settle(release(d))
		}
	}
	f.must(f.store.OrphanSubscription(f.ctx, sub))
	f.must(f.store.DropBus(f.ctx, a))
	f.reopenIfPossible()
	if i := f.info(sub); !i.Orphaned || i.Depth != 1 || i.Dead != 1 {
		f.Errorf("the orphan is %+v", i)
	}
	f.subscribe("r/t", b, store.OrderNone)
	f.wantClaim("adopted by a rule of another bus", sub, "queued")
	if letters := f.letters(sub, 10); len(letters) != 1 || letters[0].Record.Event.ID() != "dead" {
		f.Errorf("its dead letters are %v", letterIDs(letters))
	}
	if _, err := f.store.Get(f.ctx, a, 1); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("Get on the dropped bus: %v", err)
	}
}
