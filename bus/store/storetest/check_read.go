package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func readChecks() []check {
	return []check{
		{"a record is read as it was appended", recordAsAppended},
		{"reads page through a bus by number and by size", readsPage},
		{"reads append to what they are given", readsAppend},
		{"what was acknowledged can be read at once", readYourWrites},
		{"SequenceAt finds the first event of a time", sequenceAtFinds},
		{"Await returns when there is more, not before", awaitReturns},
		{"Await ends with its context", awaitEnds},
		{"an unknown bus is not found by anything", unknownBus},
		{"an event that never was is not found", unknownSequence},
	}
}

func recordAsAppended(f *fixture) {
	a := f.bus("a")
	f.advance(1234 * time.Millisecond)
	small, big := entry(f, a, "small"), sizedEntry(f, a, "big", 300_000)
	small.Via, small.Hops = strings.Repeat("v", 200), 255
	big.Via, big.Hops = "subscription/rule/target", 3
	f.append(small, big)
	check := func() {
		f.Helper()
		for i, e := range []store.Entry{small, big} {
			want := store.Record{Bus: a, Sequence: uint64(i) + 1, Recorded: f.now(), Via: e.Via, Hops: e.Hops, Event: e.Event}
			got, err := f.store.Get(f.ctx, a, want.Sequence)
			f.must(err)
			f.wantSameRecord(want, got)
			f.wantSameRecord(want, f.read(a, want.Sequence)[0])
		}
	}
	check()
	f.reopen()
	check()
}

func readsPage(f *fixture) {
	a := f.bus("a")
	var batch []store.Entry
	for i := range 30 {
		batch = append(batch, sizedEntry(f, a, fmt.Sprint(i), 1000))
	}
	f.append(batch...)
	page := func(most, maxBytes, low, high int) {
		f.Helper()
		from := uint64(1)
		for pages := 0; ; pages++ {
			records, err := f.store.Read(f.ctx, a, from, most, maxBytes, nil)
			f.must(err)
			if len(records) == 0 {
				break
			}
			left := 31 - int(from)
			if len(records) > high || len(records) < min(low, left) {
				f.Errorf("a page of %d records and %d bytes has %d records", most, maxBytes, len(records))
			}
			for _, r := range records {
				if r.Sequence != from {
					f.Fatalf("sequence %d came where %d should", r.Sequence, from)
				}
				from++
			}
		}
		if from != 31 {
			f.Errorf("pages of %d records and %d bytes end before %d, want 31", most, maxBytes, from)
		}
	}
	page(7, 1<<20, 7, 7)
	page(1, 1<<20, 1, 1)
	page(100, 1, 1, 1)
	page(100, 5500, 2, 8)
	page(1000, 1<<20, 30, 30)
	if records := f.read(a, 31); len(records) != 0 {
		f.Errorf("above the end there are %v", ids(records))
	}
	if records := f.read(a, 1000); len(records) != 0 {
		f.Errorf("far above the end there are %v", ids(records))
	}
	if records := f.read(a, 0); len(records) != 30 || records[0].Sequence != 1 {
		f.Errorf("from 0 on there are %d records", len(records))
	}
}

func readsAppend(f *fixture) {
	a := f.bus("a")
	f.publish(a, "1", "2")
	dst := []store.Record{{Via: "mine"}}
	got, err := f.store.Read(f.ctx, a, 1, 10, 1<<20, dst)
	f.must(err)
	if len(got) != 3 || got[0].Via != "mine" || got[1].Event.ID() != "1" {
		f.Errorf("read into a slice of one gave %d records", len(got))
	}
	end, err := f.store.Read(f.ctx, a, 3, 10, 1<<20, got)
	f.must(err)
	if len(end) != 3 {
		f.Errorf("read at the end made %d records of 3", len(end))
	}
}

func readYourWrites(f *fixture) {
	a := f.bus("a")
	parallel(f, 8, func(w int) error {
		for i := range 25 {
			id := fmt.Sprintf("%d-%d", w, i)
			results, err := f.store.Append(f.ctx, []store.Entry{entry(f, a, id)})
			if err != nil {
				return err
			}
			r, err := f.store.Get(f.ctx, a, results[0].Sequence)
			if err != nil {
				return fmt.Errorf("acknowledged sequence %d: %w", results[0].Sequence, err)
			}
			if r.Event.ID() != id {
				return fmt.Errorf("sequence %d is %q, was acknowledged for %q", r.Sequence, r.Event.ID(), id)
			}
			b, err := f.store.Bounds(a)
			if err != nil {
				return err
			}
			if b.Last < r.Sequence {
				return fmt.Errorf("bounds are %+v after sequence %d", b, r.Sequence)
			}
		}
		return nil
	})
}

func sequenceAtFinds(f *fixture) {
	a := f.bus("a")
	start := f.now()
	f.wantSequenceAt(a, start, 1) // empty
	for i := range 10 {
		f.publishN(a, fmt.Sprint(i), 3)
		f.advance(time.Second)
	}
	check := func() {
		f.Helper()
		f.wantSequenceAt(a, start.Add(-time.Hour), 1)
		f.wantSequenceAt(a, start, 1)
		f.wantSequenceAt(a, start.Add(time.Millisecond), 4)
		f.wantSequenceAt(a, start.Add(5*time.Second), 16)
		f.wantSequenceAt(a, start.Add(9*time.Second), 28)
		f.wantSequenceAt(a, start.Add(10*time.Second), 31)
	}
	check()
	f.reopen()
	check()
}

func (f *fixture) wantSequenceAt(bus store.BusID, t time.Time, want uint64) {
	f.Helper()
	got, err := f.store.SequenceAt(f.ctx, bus, t)
	f.must(err)
	if got != want {
		f.Errorf("SequenceAt(%v) is %d, want %d", t, got, want)
	}
}

func awaitReturns(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	f.publish(a, "1")
	f.must(f.store.Await(f.ctx, a, 0))
	done := make(chan error, 1)
	go func() {
		err := f.store.Await(f.ctx, a, 1)
		if records, _ := f.store.Read(f.ctx, a, 2, 1, 1, nil); err == nil && len(records) != 1 {
			err = errors.New("nothing to read after Await")
		}
		done <- err
	}()
	f.publish(b, "other")
	select {
	case err := <-done:
		f.Fatalf("Await returned %v before there was more", err)
	case <-time.After(20 * time.Millisecond): // a grace in which nothing may happen
	}
	f.publish(a, "2")
	select {
	case err := <-done:
		f.must(err)
	case <-time.After(f.env.patience()):
		f.Fatal("Await did not return after an append")
	}
}

func awaitEnds(f *fixture) {
	a := f.bus("a")
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() { done <- f.store.Await(ctx, a, 0) }()
	cancel()
	select {
	case err := <-done:
		f.wantErr("Await", err, context.Canceled)
	case <-time.After(f.env.patience()):
		f.Fatal("Await did not end with its context")
	}
}

func unknownBus(f *fixture) {
	no := f.bus("a") + 1000
	f.wantErr("DropBus", f.store.DropBus(f.ctx, no), store.ErrNotFound)
	_, err := f.store.Bounds(no)
	f.wantErr("Bounds", err, store.ErrNotFound)
	_, err = f.store.Append(f.ctx, []store.Entry{entry(f, no, "1")})
	f.wantErr("Append", err, store.ErrNotFound)
	_, err = f.store.Read(f.ctx, no, 1, 1, 1, nil)
	f.wantErr("Read", err, store.ErrNotFound)
	_, err = f.store.Get(f.ctx, no, 1)
	f.wantErr("Get", err, store.ErrNotFound)
	_, err = store.OpenSubscription(f.ctx, f.store, store.SubscriptionOptions{Name: "r/t", Bus: no})
	f.wantErr("OpenSubscription", err, store.ErrNotFound)
	f.wantErr("CancelScheduled", f.store.CancelScheduled(f.ctx, no, "/shop", "1"), store.ErrNotFound)
}

func unknownSequence(f *fixture) {
	a := f.bus("a")
	f.publish(a, "1")
	for _, sequence := range []uint64{0, 2, 1 << 40} {
		_, err := f.store.Get(f.ctx, a, sequence)
		f.wantErr(fmt.Sprintf("Get(%d)", sequence), err, store.ErrNotFound)
	}
}
