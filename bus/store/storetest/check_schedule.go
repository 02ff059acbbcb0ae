package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

func scheduleChecks() []check {
	return []check{
		{"a scheduled event is not seen before its time and recorded after it", scheduledRecordedAfter},
		{"scheduled events are recorded in order of their times", scheduledInOrder},
		{"an event that is due already is recorded at once", scheduledInThePast},
		{"scheduled events are listed by time, in pages", scheduledListed},
		{"a cancelled event is never recorded", scheduledCancelled},
		{"cancelling means every event with the source and id, and no other", scheduledCancelledByName},
		{"scheduled events survive reopening, and come when they fell due meanwhile", scheduledSurvive},
		{"a batch may hold both scheduled and present events", scheduledInBatch},
		{"a scheduled event survives a crash", scheduledSurvivesCrash},
		{"a malformed cursor of the schedule is not found", scheduledCursorMalformed},
	}
}

func (f *fixture) schedule(bus store.BusID, id string, after time.Duration) {
	f.Helper()
	e := entry(f, bus, id)
	e.Due, e.Via, e.Hops = f.now().Add(after), "source/cron", 2
	if r := f.append(e)[0]; !r.Scheduled || r.Sequence != 0 || r.Duplicate {
		f.Fatalf("scheduling gave %+v", r)
	}
}

func (f *fixture) scheduled(bus store.BusID, source, id string, page int) (all []string) {
	f.Helper()
	after := ""
	for range 1000 {
		items, next, err := f.store.ListScheduled(f.ctx, bus, source, id, after, page)
		f.must(err)
		if len(items) > page {
			f.Fatalf("a page of %d has %d scheduled events", page, len(items))
		}
		for _, i := range items {
			if i.Bus != bus {
				f.Errorf("an event of bus %d is listed for bus %d", i.Bus, bus)
			}
			all = append(all, i.Event.ID())
		}
		if next == "" {
			return all
		}
		after = next
	}
	f.Fatal("the list of scheduled events does not end")
	return nil
}

func scheduledCursorMalformed(f *fixture) {
	a := f.bus("a")
	f.schedule(a, "x", time.Minute)
	for _, cursor := range []string{"x", "5", ".5", "5.", "5.x", "5.3x", "5.-3"} {
		_, _, err := f.store.ListScheduled(f.ctx, a, "", "", cursor, 10)
		f.wantErr(fmt.Sprintf("cursor %q", cursor), err, store.ErrNotFound)
	}
}

func scheduledRecordedAfter(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.schedule(a, "x", time.Minute)
	due := f.now().Add(time.Minute)
	f.advance(59 * time.Second)
	f.env.Step()
	if b := f.bounds(a); b.Last != 0 || len(f.read(a, 1)) != 0 {
		f.Fatalf("the event is seen before its time: %+v", b)
	}
	if items, _, err := f.store.ListScheduled(f.ctx, a, "", "", "", 10); err != nil || len(items) != 1 || !items[0].Due.Equal(due) || items[0].Event.ID() != "x" {
		f.Errorf("listed as %v, %v", items, err)
	}
	if s := f.store.Stats(); s.Scheduled != 1 {
		f.Errorf("stats say that %d events wait", s.Scheduled)
	}
	before := f.watch.appends(a)
	f.advance(2 * time.Second)
	f.eventually("the event is recorded", func() bool { return f.bounds(a).Last == 1 })
	f.must(f.store.Await(f.ctx, a, 0))
	r := f.read(a, 1)[0]
	if r.Event.ID() != "x" || r.Sequence != 1 || !r.Recorded.Equal(f.now()) || r.Via != "source/cron" || r.Hops != 2 {
		f.Errorf("recorded as %s", recordText(r))
	}
	f.eventually("the watcher hears of it", func() bool { return f.watch.appends(a) > before })
	f.eventually("nothing waits any more", func() bool { return len(f.scheduled(a, "", "", 10)) == 0 && f.store.Stats().Scheduled == 0 })
	f.route(a, sub)
	f.wantClaim("after routing", sub, "x")
}

func scheduledInOrder(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	var want []string
	for i := range 40 {
		minute := (i * 7) % 40
		bus := a
		if i%4 == 3 {
			bus = b
		}
		f.schedule(bus, fmt.Sprintf("%02d", minute), time.Duration(minute+1)*time.Minute)
		if bus == a {
			want = append(want, fmt.Sprintf("%02d", minute))
		}
	}
	slices.Sort(want)
	f.advance(time.Hour)
	f.eventually("all are recorded", func() bool { return f.bounds(a).Last == 30 && f.bounds(b).Last == 10 })
	if got := ids(f.read(a, 1)); !slices.Equal(got, want) {
		f.Errorf("recorded in order %v, want %v", got, want)
	}
}

func scheduledInThePast(f *fixture) {
	a := f.bus("a")
	for i, after := range []time.Duration{-time.Hour, -time.Millisecond} {
		e := entry(f, a, fmt.Sprint(i))
		e.Due = f.now().Add(after)
		f.wantNew(e, uint64(i)+1)
	}
}

func scheduledListed(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	var want []string
	for _, i := range []int{5, 2, 9, 1, 7, 3, 8} {
		f.schedule(a, fmt.Sprint(i), time.Duration(i)*time.Minute)
	}
	f.schedule(b, "other", time.Minute)
	want = []string{"1", "2", "3", "5", "7", "8", "9"}
	for _, page := range []int{1, 2, 3, 7, 100} {
		if got := f.scheduled(a, "", "", page); !slices.Equal(got, want) {
			f.Errorf("in pages of %d: %v, want %v", page, got, want)
		}
	}
	if got := f.scheduled(a, "/shop", "7", 10); !slices.Equal(got, []string{"7"}) {
		f.Errorf("the event with id 7: %v", got)
	}
	if got := f.scheduled(a, "/elsewhere", "7", 10); len(got) != 0 {
		f.Errorf("of another source: %v", got)
	}
	if got := f.scheduled(a, "/shop", "", 10); !slices.Equal(got, want) {
		f.Errorf("of its source: %v", got)
	}
}

func scheduledCancelled(f *fixture) {
	a, b := f.bus("a"), f.bus("b")
	f.schedule(a, "x", time.Minute)
	f.schedule(a, "y", time.Minute+time.Second)
	f.schedule(b, "x", time.Minute)
	f.must(f.store.CancelScheduled(f.ctx, a, "/shop", "x"))
	f.wantErr("cancelling twice", f.store.CancelScheduled(f.ctx, a, "/shop", "x"), store.ErrNotFound)
	f.wantErr("of another source", f.store.CancelScheduled(f.ctx, a, "/else", "y"), store.ErrNotFound)
	f.reopenIfPossible()
	if got := f.scheduled(a, "", "", 10); !slices.Equal(got, []string{"y"}) {
		f.Errorf("still waiting: %v", got)
	}
	f.advance(time.Hour)
	f.eventually("the others are recorded", func() bool { return f.bounds(a).Last == 1 && f.bounds(b).Last == 1 })
	if got := ids(f.read(a, 1)); !slices.Equal(got, []string{"y"}) {
		f.Errorf("recorded %v, want y", got)
	}
	f.wantErr("cancelling what was recorded", f.store.CancelScheduled(f.ctx, a, "/shop", "y"), store.ErrNotFound)
}

func scheduledCancelledByName(f *fixture) {
	a := f.bus("a")
	add := func(id string, after time.Duration, dedupe string) {
		f.Helper()
		e := entry(f, a, id)
		e.Due = f.now().Add(after)
		if dedupe != "" { // as what Switchyard publishes itself
			e.Dedupe, e.Window = event.DedupeKey("switchyard:a", dedupe), time.Hour
		}
		f.append(e)
	}
	for i := range 30 {
		add(fmt.Sprint("other", i), time.Duration(i+1)*time.Minute, "")
	}
	for _, minute := range []int{7, 3, 5} { // not deduplicated, so they wait side by side
		add("x", time.Duration(minute)*time.Minute, "")
	}
	add("x", 9*time.Minute, "delivery/1")
	add("y", 9*time.Minute, "delivery/2")
	for _, page := range []int{1, 3, 10} {
		if got := f.scheduled(a, "/shop", "x", page); len(got) != 4 {
			f.Errorf("in pages of %d there wait %v as x", page, got)
		}
	}
	items, _, err := f.store.ListScheduled(f.ctx, a, "/shop", "x", "", 10)
	f.must(err)
	for i, minute := range []int{3, 5, 7, 9} {
		if want := f.now().Add(time.Duration(minute) * time.Minute); !items[i].Due.Equal(want) {
			f.Errorf("event %d is due at %v, want %v", i, items[i].Due, want)
		}
	}
	f.must(f.store.CancelScheduled(f.ctx, a, "/shop", "y"))
	f.reopenIfPossible()
	f.must(f.store.CancelScheduled(f.ctx, a, "/shop", "x"))
	if n := f.store.Stats().Scheduled; n != 30 {
		f.Errorf("%d events are counted, want 30", n)
	}
	f.wantErr("cancelling them again", f.store.CancelScheduled(f.ctx, a, "/shop", "x"), store.ErrNotFound)
	f.reopenIfPossible()
	if got := f.scheduled(a, "", "", 100); len(got) != 30 || slices.Contains(got, "x") || slices.Contains(got, "y") {
		f.Errorf("there wait %v", got)
	}
	f.advance(time.Hour)
	f.eventually("the others are recorded", func() bool { return f.bounds(a).Last == 30 })
}

func scheduledSurvive(f *fixture) {
	a := f.bus("a")
	f.schedule(a, "far", time.Hour)
	f.schedule(a, "near", time.Minute)
	f.reopen()
	if got := f.scheduled(a, "", "", 10); !slices.Equal(got, []string{"near", "far"}) {
		f.Fatalf("after reopening there wait %v", got)
	}
	f.must(f.store.Close())
	f.advance(10 * time.Minute)
	f.reopen()
	f.eventually("the near one is recorded", func() bool { return f.bounds(a).Last == 1 })
	f.reopen()
	f.advance(time.Hour)
	f.eventually("the far one is recorded", func() bool { return f.bounds(a).Last >= 2 })
	if got := ids(f.read(a, 1)); !slices.Equal(got, []string{"near", "far"}) {
		f.Errorf("recorded %v", got)
	}
}

func scheduledInBatch(f *fixture) {
	a := f.bus("a")
	later := entry(f, a, "later")
	later.Due = f.now().Add(time.Minute)
	want := []store.Result{{Sequence: 1}, {Scheduled: true}, {Sequence: 2}}
	for i, r := range f.append(entry(f, a, "1"), later, entry(f, a, "2")) {
		if r != want[i] {
			f.Errorf("result %d is %+v, want %+v", i, r, want[i])
		}
	}
	f.advance(2 * time.Minute)
	f.eventually("the last is recorded", func() bool { return f.bounds(a).Last == 3 })
	if got := ids(f.read(a, 1)); !slices.Equal(got, []string{"1", "2", "later"}) {
		f.Errorf("recorded %v", got)
	}
}

func scheduledSurvivesCrash(f *fixture) {
	a := f.bus("a")
	f.schedule(a, "x", time.Minute)
	f.schedule(a, "y", time.Hour)
	f.must(f.store.CancelScheduled(f.ctx, a, "/shop", "y"))
	f.crash()
	if got := f.scheduled(a, "", "", 10); !slices.Equal(got, []string{"x"}) {
		f.Fatalf("after the crash there wait %v", got)
	}
	f.advance(2 * time.Minute)
	f.eventually("it is recorded", func() bool { return f.bounds(a).Last == 1 })
	f.crash()
	f.env.Step()
	if got := ids(f.read(a, 1)); !slices.Equal(got, []string{"x"}) {
		f.Errorf("after a second crash the bus holds %v", got)
	}
}
