package embedded

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// scheduledStore is a store on fs with a bus.
func scheduledStore(t *testing.T, fs vfs.FS, c *clock) (*Store, store.BusID) {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: "data", Clock: c.Now, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(context.Background(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s, bus
}

// scheduleMany schedules the events 0 to n-1 for one second after another.
func scheduleMany(t *testing.T, s *Store, bus store.BusID, n int) {
	t.Helper()
	for from := 0; from < n; from += 500 {
		var batch []store.Entry
		for i := from; i < min(from+500, n); i++ {
			id := fmt.Sprint(i)
			batch = append(batch, store.Entry{
				Bus: bus, Event: small(t, id), Dedupe: event.DedupeKey("/s", id), Window: time.Hour,
				Due: s.opts.Clock().Add(time.Duration(i+1) * time.Second),
			})
		}
		if _, err := s.Append(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventsThatAnOlderReleaseScheduledCanBeCancelled(t *testing.T) {
	ctx, fs, c := context.Background(), vfs.NewMem(), newClock()
	s, bus := scheduledStore(t, fs, c)
	const n = 2*nameStep + 10 // more than are named together
	scheduleMany(t, s, bus, n)
	// An older release wrote neither names nor a count.
	batch := s.state.db.NewBatch()
	_ = batch.DeleteRange([]byte{prefixSchedID}, []byte{prefixSchedID + 1}, nil)
	_ = batch.Delete(metaKey("scheduled"), nil)
	if err := errors.Join(s.applyPending(), s.state.commitSynced(batch), s.Close()); err != nil {
		t.Fatal(err)
	}
	healthy(t, fs, "as an older release left it")
	s, bus = scheduledStore(t, fs, c)
	if got := s.Stats().Scheduled; got != n {
		t.Errorf("%d events are counted, want %d", got, n)
	}
	for _, id := range []string{"0", "4095", "4096", fmt.Sprint(n - 1)} {
		if err := s.CancelScheduled(ctx, bus, "/s", id); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	healthy(t, fs, "after it was opened")
	s, _ = scheduledStore(t, fs, c)
	defer s.Close()
	if got := s.Stats().Scheduled; got != n-4 {
		t.Errorf("%d events are counted, want %d", got, n-4)
	}
}

func TestNamingScheduledEventsBeginsAnewAfterACrash(t *testing.T) {
	fs, c := vfs.NewCrashableMem(), newClock()
	s, bus := scheduledStore(t, fs, c)
	scheduleMany(t, s, bus, 100)
	batch := s.state.db.NewBatch()
	half := schedIDKey(nil, bus, event.DedupeKey("/s", "50"), 0, 0)
	_ = batch.DeleteRange(half, []byte{prefixSchedID + 1}, nil) // the count was not written yet
	_ = batch.Delete(metaKey("scheduled"), nil)
	if err := errors.Join(s.applyPending(), s.state.commitSynced(batch)); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s, bus = scheduledStore(t, crashed, c)
	for i := range 100 {
		if err := s.CancelScheduled(context.Background(), bus, "/s", fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	healthy(t, crashed, "after all were cancelled")
}

func TestARepairMakesTheNamesOfScheduledEventsAnew(t *testing.T) {
	ctx, dir, c := context.Background(), t.TempDir(), newClock()
	open := func() (*Store, store.BusID) {
		s, err := Open(Options{Dir: dir, Clock: c.Now, NoBackground: true})
		if err != nil {
			t.Fatal(err)
		}
		bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s, bus
	}
	s, bus := open()
	scheduleMany(t, s, bus, 20)
	batch := s.state.db.NewBatch()
	due := nanos(c.Now().Add(8 * time.Second))
	_ = batch.Delete(schedIDKey(nil, bus, event.DedupeKey("/s", "7"), due, 8), nil)    // a name is gone,
	_ = batch.Set(schedIDKey(nil, bus, event.DedupeKey("/s", "x"), due, 99), nil, nil) // another finds nothing,
	_ = batch.Set(metaKey("scheduled"), counts{records: 3}.append(nil), nil)           // and the number is wrong
	if err := errors.Join(s.applyPending(), s.state.commitSynced(batch), s.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := Repair(ctx, RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true})
	if err != nil || r.Found != 3 || !r.Applied || len(r.Lost) != 0 {
		t.Fatalf("the repair did %+v, %v", r, err)
	}
	s, bus = open()
	defer s.Close()
	if n := s.Stats().Scheduled; n != 20 {
		t.Errorf("%d events are counted, want 20", n)
	}
	for i := range 20 {
		if err := s.CancelScheduled(ctx, bus, "/s", fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
}

// TestWorkOnOneScheduledEventDoesNotGrowWithTheOthers counts what Pebble reads
// for it.
func TestWorkOnOneScheduledEventDoesNotGrowWithTheOthers(t *testing.T) {
	ctx, c := context.Background(), newClock()
	work := func(n int) (read int64) {
		s, bus := scheduledStore(t, vfs.NewMem(), c)
		defer s.Close()
		scheduleMany(t, s, bus, n)
		if err := errors.Join(s.applyPending(), s.state.db.Flush()); err != nil {
			t.Fatal(err)
		}
		looked := func() int64 { m := s.state.db.Metrics(); return m.BlockCache.Hits + m.BlockCache.Misses }
		before := looked()
		if items, _, err := s.ListScheduled(ctx, bus, "/s", fmt.Sprint(n/2), "", 10); err != nil || len(items) != 1 {
			t.Fatalf("listed %v, %v", items, err)
		}
		if items, next, err := s.ListScheduled(ctx, bus, "", "", "", 10); err != nil || len(items) != 10 || next == "" {
			t.Fatalf("the first page has %d events, %v", len(items), err)
		}
		if err := s.CancelScheduled(ctx, bus, "/s", fmt.Sprint(n/2)); err != nil {
			t.Fatal(err)
		}
		return looked() - before
	}
	if few, many := work(100), work(20_000); many > 3*few+50 {
		t.Errorf("blocks looked at among 20,000 events: %d; among 100: %d", many, few)
	}
}

func TestAFilteredListOfScheduledEventsReadsAPartAtATime(t *testing.T) {
	ctx, c := context.Background(), newClock()
	s, bus := scheduledStore(t, vfs.NewMem(), c)
	defer s.Close()
	const n = listLook + 500
	scheduleMany(t, s, bus, n)
	items, next, err := s.ListScheduled(ctx, bus, "", fmt.Sprint(n-1), "", 10)
	if err != nil || len(items) != 0 || next == "" {
		t.Fatalf("the first page has %d events and ends at %q (%v); it looked at more than %d", len(items), next, err, listLook)
	}
	items, next, err = s.ListScheduled(ctx, bus, "", fmt.Sprint(n-1), next, 10)
	if err != nil || len(items) != 1 || next != "" {
		t.Errorf("the second page has %d events and ends at %q (%v)", len(items), next, err)
	}
}
