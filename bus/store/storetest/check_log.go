package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func logChecks() []check {
	return []check{
		{"sequences have no gaps under concurrent appends, per bus", sequencesHaveNoGaps},
		{"a batch is recorded across its buses in its order", batchInOrder},
		{"a batch with an unknown bus leaves nothing anywhere", batchAllOrNothing},
		{"an append that fails leaves nothing behind", failedAppendLeavesNothing},
		{"a reader beside appends sees no gaps and nothing that is not there at the end", readersSeeTheTruth},
		{"recorded never decreases when the clock goes back", recordedNeverDecreases},
		{"the watcher is told of appends", watcherToldOfAppends},
		{"a bus is found again by its name", busFoundAgain},
		{"events survive reopening", eventsSurvive},
		{"an acknowledged event survives a crash", acknowledgedSurvives},
		{"a thousand buses keep their events apart", manyBuses},
	}
}

func sequencesHaveNoGaps(f *fixture) {
	buses := []store.BusID{f.bus("a"), f.bus("b"), f.bus("c")}
	const workers, appends = 8, 30
	var mu sync.Mutex
	given := map[store.BusID]map[uint64]string{}
	for _, bus := range buses {
		given[bus] = map[uint64]string{}
	}
	parallel(f, workers, func(w int) error {
		for i := range appends {
			var batch []store.Entry
			for j := range 1 + (w+i)%3 {
				batch = append(batch, entry(f, buses[(w+i+j)%len(buses)], fmt.Sprintf("%d-%d-%d", w, i, j)))
			}
			results, err := f.store.Append(f.ctx, batch)
			if err != nil {
				return err
			}
			mu.Lock()
			for j, r := range results {
				if other, twice := given[batch[j].Bus][r.Sequence]; twice {
					f.Errorf("sequence %d was given to %q and %q", r.Sequence, other, batch[j].Event.ID())
				}
				given[batch[j].Bus][r.Sequence] = batch[j].Event.ID()
			}
			mu.Unlock()
		}
		return nil
	})
	for _, bus := range buses {
		records := f.read(bus, 1)
		if len(records) != len(given[bus]) {
			f.Errorf("bus %d holds %d events, %d were acknowledged", bus, len(records), len(given[bus]))
		}
		for i, r := range records {
			if r.Sequence != uint64(i)+1 {
				f.Fatalf("bus %d: sequence %d stands at place %d", bus, r.Sequence, i+1)
			}
			if given[bus][r.Sequence] != r.Event.ID() {
				f.Errorf("bus %d sequence %d was given to %q and holds %q", bus, r.Sequence, given[bus][r.Sequence], r.Event.ID())
			}
		}
		if b := f.bounds(bus); b.First != 1 || b.Last != uint64(len(records)) {
			f.Errorf("bounds are %+v with %d events", b, len(records))
		}
	}
}

func batchInOrder(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	results := f.append(entry(f, a, "1"), entry(f, b, "2"), entry(f, a, "3"), entry(f, b, "4"), entry(f, a, "5"))
	for i, want := range []uint64{1, 1, 2, 2, 3} {
		if results[i].Sequence != want || results[i].Duplicate || results[i].Scheduled {
			f.Errorf("result %d is %+v, want sequence %d", i, results[i], want)
		}
	}
	if got := ids(f.read(a, 1)); !slices.Equal(got, []string{"1", "3", "5"}) {
		f.Errorf("bus a holds %v", got)
	}
	if got := ids(f.read(b, 1)); !slices.Equal(got, []string{"2", "4"}) {
		f.Errorf("bus b holds %v", got)
	}
	if results, err := f.store.Append(f.ctx, nil); err != nil || len(results) != 0 {
		f.Errorf("an empty batch gave %v, %v", results, err)
	}
}

func batchAllOrNothing(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	f.publish(a, "before")
	first, last := entry(f, a, "1"), entry(f, b, "2")
	first.Window, last.Window = time.Hour, time.Hour
	later := entry(f, b, "later")
	later.Due = f.now().Add(time.Hour)
	_, err := f.store.Append(f.ctx, []store.Entry{first, later, last, entry(f, b+1000, "3")})
	f.wantErr("a batch with an unknown bus", err, store.ErrNotFound)
	if got := ids(f.read(a, 1)); !slices.Equal(got, []string{"before"}) {
		f.Errorf("bus a holds %v after the failure", got)
	}
	if got := ids(f.read(b, 1)); len(got) != 0 {
		f.Errorf("bus b holds %v after the failure", got)
	}
	if items, _, err := f.store.ListScheduled(f.ctx, b, "", "", "", 10); err != nil || len(items) != 0 {
		f.Errorf("scheduled after the failure: %v, %v", items, err)
	}
	for i, r := range f.append(first, last) {
		if r.Duplicate {
			f.Errorf("event %d of the failed batch is known as a duplicate", i+1)
		}
	}
}

func failedAppendLeavesNothing(f *fixture) {
	a := f.bus("a")
	gone, cancel := context.WithCancel(f.ctx)
	cancel()
	e := entry(f, a, "x")
	e.Window = time.Hour
	results, err := f.store.Append(gone, []store.Entry{e})
	held := ids(f.read(a, 1))
	if err != nil && len(held) != 0 {
		f.Errorf("append failed with %v but the bus holds %v", err, held)
	}
	if err == nil && (len(results) != 1 || len(held) != 1) {
		f.Errorf("append gave %v and the bus holds %v", results, held)
	}
	if r := f.append(e)[0]; r.Sequence != 1 || r.Duplicate != (err == nil) {
		f.Errorf("the event published again gave %+v, the first time gave error %v", r, err)
	}
}

// readersSeeTheTruth reads while others append: what a reader sees has no gaps
// and is what stands there at the end.
func readersSeeTheTruth(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	stop := make(chan struct{})
	seen := make(chan []store.Record)
	go func() {
		var records []store.Record
		defer func() { seen <- records }()
		for {
			var err error
			records, err = f.store.Read(f.ctx, a, uint64(len(records))+1, 10, 1<<20, records)
			if err != nil {
				f.Errorf("read: %v", err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	parallel(f, 4, func(w int) error {
		for i := range 25 {
			id := fmt.Sprintf("%d-%d", w, i)
			if _, err := f.store.Append(f.ctx, []store.Entry{entry(f, a, id), entry(f, b, id)}); err != nil {
				return err
			}
		}
		return nil
	})
	close(stop)
	early := <-seen
	if len(early) > 100 {
		f.Fatalf("a reader saw %d events of 100", len(early))
	}
	f.wantSameRecords(f.read(a, 1)[:len(early)], early)
}

func recordedNeverDecreases(f *fixture) {
	a := f.bus("a")
	f.publish(a, "1")
	f.advance(time.Minute)
	f.publish(a, "2")
	f.advance(-time.Hour)
	f.publish(a, "3")
	f.reopenIfPossible()
	f.publish(a, "4")
	f.advance(2 * time.Hour)
	f.publish(a, "5")
	records := f.read(a, 1)
	for i := 1; i < len(records); i++ {
		if records[i].Recorded.Before(records[i-1].Recorded) {
			f.Errorf("event %d was recorded at %v, event %d at %v", i+1, records[i].Recorded, i, records[i-1].Recorded)
		}
	}
	if n := len(records); n != 5 || !records[4].Recorded.Equal(f.now()) {
		f.Errorf("the last of %d events was recorded at %v, the clock says %v", n, records[n-1].Recorded, f.now())
	}
}

func watcherToldOfAppends(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	f.publish(a, "1")
	f.eventually("Appended(a)", func() bool { return f.watch.appends(a) > 0 })
	if n := f.watch.appends(b); n != 0 {
		f.Errorf("bus b got no event but %d calls", n)
	}
}

func busFoundAgain(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	if a == 0 || b == 0 || a == b {
		f.Fatalf("buses have the ids %d and %d", a, b)
	}
	if again := f.bus("a"); again != a {
		f.Errorf("bus a has id %d and then %d", a, again)
	}
	if bounds := f.bounds(a); bounds.First != 1 || bounds.Last != 0 {
		f.Errorf("a new bus has bounds %+v, want 1 and 0", bounds)
	}
	f.reopen()
	if again := f.bus("b"); again != b {
		f.Errorf("bus b has id %d and %d after reopening", b, again)
	}
	if other := f.bus("c"); other == a || other == b {
		f.Errorf("a new bus got id %d again", other)
	}
}

func eventsSurvive(f *fixture) {
	a := f.bus("a")
	f.publishN(a, "e", 20)
	before := f.read(a, 1)
	f.reopen()
	f.wantSameRecords(before, f.read(f.bus("a"), 1))
	if got := f.publish(a, "next"); got[0] != 21 {
		f.Errorf("the event after reopening has sequence %d, want 21", got[0])
	}
}

func acknowledgedSurvives(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	for i := range 20 {
		id := fmt.Sprint(i)
		f.append(entry(f, a, id), entry(f, b, id))
	}
	ra, rb := f.read(a, 1), f.read(b, 1)
	f.crash()
	f.wantSameRecords(ra, f.read(a, 1))
	f.wantSameRecords(rb, f.read(b, 1))
	if got := f.publish(a, "next"); got[0] != 21 {
		f.Errorf("the event after the crash has sequence %d, want 21", got[0])
	}
}

func manyBuses(f *fixture) {
	const n = 1000
	buses := make([]store.BusID, n)
	parallel(f, 8, func(w int) error {
		for i := w; i < n; i += 8 {
			id, err := f.store.OpenBus(f.ctx, fmt.Sprintf("bus-%d", i), store.BusOptions{})
			if err != nil {
				return err
			}
			buses[i] = id
			if _, err := f.store.Append(f.ctx, []store.Entry{entry(f, id, fmt.Sprintf("first-%d", i))}); err != nil {
				return err
			}
		}
		return nil
	})
	var batch []store.Entry
	for i, bus := range buses {
		batch = append(batch, entry(f, bus, fmt.Sprintf("second-%d", i)))
	}
	f.append(batch...)
	f.reopenIfPossible()
	for i, bus := range buses {
		want := []string{fmt.Sprintf("first-%d", i), fmt.Sprintf("second-%d", i)}
		if got := ids(f.read(bus, 1)); !slices.Equal(got, want) {
			f.Fatalf("bus %d of %d holds %v, want %v", i, n, got, want)
		}
	}
}
