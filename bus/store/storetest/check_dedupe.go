package storetest

import (
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func dedupeChecks() []check {
	return []check{
		{"a duplicate answers the original's sequence", duplicateAnswersOriginal},
		{"a duplicate in the same batch is stored once", duplicateInBatch},
		{"concurrent duplicates are stored once", concurrentDuplicates},
		{"after its window an event is stored again", duplicateAfterWindow},
		{"without a window nothing is a duplicate", noWindowNoDuplicate},
		{"buses deduplicate on their own", duplicatePerBus},
		{"a duplicate is known after reopening", duplicateAfterReopening},
		{"a duplicate is known after a crash", duplicateAfterCrash},
		{"a duplicate of an event that retention removed is still known", duplicateOfTrimmed},
		{"duplicates of a scheduled event are known before and after its time", duplicateOfScheduled},
		{"a cancelled event can be published again", duplicateOfCancelled},
	}
}

func remembered(e store.Entry, window time.Duration) store.Entry {
	e.Window = window
	return e
}

func (f *fixture) wantDuplicate(e store.Entry, sequence uint64) {
	f.Helper()
	if r := f.append(e)[0]; !r.Duplicate || r.Sequence != sequence {
		f.Errorf("result %+v, want a duplicate of sequence %d", r, sequence)
	}
}

func (f *fixture) wantNew(e store.Entry, sequence uint64) {
	f.Helper()
	if r := f.append(e)[0]; r.Duplicate || r.Scheduled || r.Sequence != sequence {
		f.Errorf("result %+v, want a new event with sequence %d", r, sequence)
	}
}

func duplicateAnswersOriginal(f *fixture) {
	a := f.bus("a")
	f.publish(a, "other")
	e := remembered(entry(f, a, "x"), time.Minute)
	f.wantNew(e, 2)
	f.publish(a, "more")
	f.wantDuplicate(e, 2)
	f.advance(59 * time.Second)
	f.wantDuplicate(e, 2)
	if b := f.bounds(a); b.Last != 3 {
		f.Errorf("the bus ends at %d, want 3", b.Last)
	}
	if s := f.store.Stats(); s.Duplicates != 2 || s.Events != 3 {
		f.Errorf("stats count %d events and %d duplicates, want 3 and 2", s.Events, s.Duplicates)
	}
}

func duplicateInBatch(f *fixture) {
	a := f.bus("a")
	x, y := remembered(entry(f, a, "x"), time.Minute), remembered(entry(f, a, "y"), time.Minute)
	want := []store.Result{{Sequence: 1}, {Sequence: 2}, {Sequence: 1, Duplicate: true}, {Sequence: 2, Duplicate: true}}
	for i, r := range f.append(x, y, x, y) {
		if r != want[i] {
			f.Errorf("result %d is %+v, want %+v", i, r, want[i])
		}
	}
	z := remembered(entry(f, a, "z"), time.Minute)
	want = []store.Result{{Sequence: 2, Duplicate: true}, {Sequence: 3}}
	for i, r := range f.append(y, z) {
		if r != want[i] {
			f.Errorf("result %d of the mixed batch is %+v, want %+v", i, r, want[i])
		}
	}
}

func concurrentDuplicates(f *fixture) {
	a := f.bus("a")
	for _, id := range names("x", 20) {
		e := remembered(entry(f, a, id), time.Minute)
		var mu sync.Mutex
		originals, sequences := 0, map[uint64]bool{}
		parallel(f, 8, func(int) error {
			results, err := f.store.Append(f.ctx, []store.Entry{e})
			if err != nil {
				return err
			}
			r := results[0]
			if got, err := f.store.Get(f.ctx, a, r.Sequence); err != nil || got.Event.ID() != id {
				f.Errorf("acknowledged as sequence %d, which reads as %s, %v", r.Sequence, recordText(got), err)
			}
			mu.Lock()
			defer mu.Unlock()
			sequences[r.Sequence] = true
			if !r.Duplicate {
				originals++
			}
			return nil
		})
		if originals != 1 || len(sequences) != 1 {
			f.Errorf("%d publishers were first, with sequences %v", originals, sequences)
		}
	}
	if b := f.bounds(a); b.Last != 20 {
		f.Errorf("the bus ends at %d, want 20", b.Last)
	}
}

func duplicateAfterWindow(f *fixture) {
	a := f.bus("a")
	e := remembered(entry(f, a, "x"), time.Minute)
	f.wantNew(e, 1)
	f.advance(50 * time.Second)
	f.wantDuplicate(e, 1)
	f.advance(11 * time.Second)
	f.wantNew(e, 2)
	f.advance(30 * time.Second)
	f.wantDuplicate(e, 2)
}

func noWindowNoDuplicate(f *fixture) {
	a := f.bus("a")
	e := entry(f, a, "x")
	f.wantNew(e, 1)
	f.wantNew(e, 2)
	for i, r := range f.append(e, e) {
		if r.Duplicate || r.Sequence != uint64(i)+3 {
			f.Errorf("result %d is %+v", i, r)
		}
	}
}

func duplicatePerBus(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	x := remembered(entry(f, a, "x"), time.Minute)
	y := x
	y.Bus = b
	for i, r := range f.append(x, y) {
		if r.Duplicate || r.Sequence != 1 {
			f.Errorf("result %d is %+v, want sequence 1 of its own bus", i, r)
		}
	}
	f.wantDuplicate(x, 1)
	f.wantDuplicate(y, 1)
}

func duplicateAfterReopening(f *fixture) {
	a := f.bus("a")
	x, y := remembered(entry(f, a, "x"), time.Minute), remembered(entry(f, a, "y"), time.Hour)
	f.wantNew(x, 1)
	f.wantNew(y, 2)
	f.advance(30 * time.Second)
	f.reopen()
	f.wantDuplicate(x, 1)
	f.wantDuplicate(y, 2)
	f.advance(31 * time.Second)
	f.wantNew(x, 3)
	f.wantDuplicate(y, 2)
	f.reopen()
	f.wantDuplicate(x, 3)
}

func duplicateAfterCrash(f *fixture) {
	a := f.bus("a")
	x := remembered(entry(f, a, "x"), time.Minute)
	f.wantNew(x, 1)
	f.crash()
	f.wantDuplicate(x, 1)
}

func duplicateOfTrimmed(f *fixture) {
	a := f.busWith("a", store.BusOptions{MaxAge: time.Minute})
	x := remembered(entry(f, a, "x"), time.Hour)
	f.wantNew(x, 1)
	f.route(a)
	f.advance(2 * time.Minute)
	f.must(f.store.Trim(f.ctx))
	f.wantDuplicate(x, 1)
}

func duplicateOfScheduled(f *fixture) {
	a := f.bus("a")
	x := remembered(entry(f, a, "x"), 24*time.Hour)
	x.Due = f.now().Add(time.Minute)
	if r := f.append(x)[0]; r.Sequence != 0 || !r.Scheduled || r.Duplicate {
		f.Fatalf("the scheduled event gave %+v", r)
	}
	f.wantDuplicate(x, 0)
	f.reopenIfPossible()
	f.wantDuplicate(x, 0)
	f.publish(a, "other")
	f.advance(2 * time.Minute)
	f.eventually("the event is recorded", func() bool { return f.bounds(a).Last == 2 })
	f.wantDuplicate(x, 2)
	x.Due = time.Time{}
	f.wantDuplicate(x, 2)
	f.reopenIfPossible()
	f.wantDuplicate(x, 2)
}

func duplicateOfCancelled(f *fixture) {
	a := f.bus("a")
	x := remembered(entry(f, a, "x"), 24*time.Hour)
	x.Due = f.now().Add(time.Hour)
	f.append(x)
	f.must(f.store.CancelScheduled(f.ctx, a, "/shop", "x"))
	x.Due = time.Time{}
	f.wantNew(x, 1)
	f.wantDuplicate(x, 1)
}
