package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// heavy is an event with so many bytes of data.
func heavy(t *testing.T, id string, bytes int) *event.Event {
	t.Helper()
	ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"`+id+`","source":"/s","type":"t","datacontenttype":"application/json","data":"`+
		strings.Repeat("x", bytes)+`"}`), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// recorded are the ids on a bus, in order.
func recorded(t *testing.T, s *Store, bus store.BusID) (ids []string) {
	t.Helper()
	for from := uint64(1); ; {
		records, err := s.Read(context.Background(), bus, from, 1000, 1<<20, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return ids
		}
		for _, r := range records {
			ids = append(ids, r.Event.ID())
		}
		from = records[len(records)-1].Sequence + 1
	}
}

// TestScheduledEventsAreInMemoryOnlyNearTheirTime schedules more than may be
// held for the next second, and more after it.
func TestScheduledEventsAreInMemoryOnlyNearTheirTime(t *testing.T) {
	const n, size = 600, 64 << 10
	ctx, c := context.Background(), newClock()
	fs := vfs.NewMem()
	s, bus := scheduledStore(t, fs, c)
	begin := c.Now()
	for i := range n {
		due := begin.Add(time.Duration(i+1) * 3 * time.Millisecond)
		if i%2 == 1 {
			due = due.Add(time.Hour)
		}
		if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: heavy(t, fmt.Sprint(i), size), Due: due}}); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if err := s.applyPending(); err != nil {
				t.Fatal(err)
			}
		}
	}
	held := func() int {
		s.schedule.mu.Lock()
		defer s.schedule.mu.Unlock()
		sum := 0
		for _, e := range s.schedule.held {
			sum += e.entry.Event.Size()
		}
		return sum
	}
	if err := s.applyPending(); err != nil {
		t.Fatal(err)
	}
	if got := held(); got > nearBytes+size {
		t.Errorf("%d bytes are held, more than %d", got, nearBytes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, bus = scheduledStore(t, fs, c)
	defer s.Close()
	if got := held(); got != 0 {
		t.Errorf("%d bytes are held after a start", got)
	}
	for _, step := range []time.Duration{time.Second, time.Second, time.Minute, 2 * time.Hour} {
		c.advance(step)
		if err := s.fireDue(); err != nil {
			t.Fatal(err)
		}
		if got := held(); got > nearBytes+fireBytes+size {
			t.Errorf("%d bytes are held, more than %d", got, nearBytes)
		}
	}
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint((i*2)%n+i*2/n))
	}
	if got := recorded(t, s, bus); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("recorded %v", got)
	}
	if held() != 0 || len(s.schedule.near) != 0 || s.schedule.bytes != 0 {
		t.Errorf("%d bytes are held, %d events, counted %d bytes, when none waits", held(), len(s.schedule.near), s.schedule.bytes)
	}
}

// TestTheScheduleAgreesWithASliceOfTimes schedules, cancels, lets time go
// forward and back, and compares what is recorded with a list of what waits.
func TestTheScheduleAgreesWithASliceOfTimes(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+tries(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			ctx, c, r := context.Background(), newClock(), rand.New(rand.NewPCG(seed, 3))
			fs := vfs.NewMem()
			s, bus := scheduledStore(t, fs, c)
			defer func() { s.Close() }()
			waiting, next, want := map[string]time.Time{}, 0, 0
			for range 400 {
				switch r.IntN(8) {
				case 0, 1, 2:
					id := fmt.Sprint(next)
					next++
					due := c.Now().Add(time.Duration(1+r.IntN(8000))*time.Millisecond + time.Duration(next))
					if r.IntN(4) == 0 {
						due = due.Add(time.Duration(r.IntN(600)) * time.Second)
					}
					if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: heavy(t, id, 20<<10), Due: due}}); err != nil {
						t.Fatal(err)
					}
					waiting[id] = due
				case 3:
					for id := range waiting {
						if err := s.CancelScheduled(ctx, bus, "/s", id); err != nil {
							t.Fatalf("cancel %s: %v", id, err)
						}
						delete(waiting, id)
						break
					}
				case 4:
					c.advance(-time.Duration(r.IntN(20)) * time.Second)
				case 5:
					if r.IntN(6) == 0 {
						if err := s.Close(); err != nil {
							t.Fatal(err)
						}
						s, bus = scheduledStore(t, fs, c)
					}
				default:
					c.advance(time.Duration(r.IntN(3000)) * time.Millisecond)
					if r.IntN(3) == 0 {
						if err := s.loadNear(nanos(c.Now())+int64(nearAhead), false); err != nil {
							t.Fatal(err)
						}
					}
					before := len(recorded(t, s, bus))
					if err := s.fireDue(); err != nil {
						t.Fatal(err)
					}
					var last time.Time
					for _, id := range recorded(t, s, bus)[before:] {
						due, ok := waiting[id]
						if !ok || due.After(c.Now()) || due.Before(last) {
							t.Fatalf("%s, due at %v, was recorded at %v after one of %v (%v)", id, due, c.Now(), last, ok)
						}
						last = due
						delete(waiting, id)
						want++
					}
					for id, due := range waiting {
						if !due.After(c.Now()) {
							t.Fatalf("%s is due since %v and was not recorded", id, c.Now().Sub(due))
						}
					}
				}
			}
			if got := s.Stats().Scheduled; got != int64(len(waiting)) {
				if err := s.applyPending(); err != nil || s.Stats().Scheduled != int64(len(waiting)) {
					t.Errorf("%d events are counted, %d wait (%v)", got, len(waiting), err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			healthy(t, fs, "after a close")
		})
	}
}

// TestWhatIsBeingRecordedCannotBeCancelled takes an event that is due and tries
// to cancel it before it is in the log.
func TestWhatIsBeingRecordedCannotBeCancelled(t *testing.T) {
	ctx, c := context.Background(), newClock()
	s, bus := scheduledStore(t, vfs.NewMem(), c)
	defer s.Close()
	scheduleMany(t, s, bus, 1)
	if err := s.applyPending(); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Minute)
	if err := s.loadNear(nanos(c.Now()), true); err != nil {
		t.Fatal(err)
	}
	batch := s.schedule.take(nanos(c.Now()), fireBytes)
	if len(batch) != 1 {
		t.Fatalf("%d events are due", len(batch))
	}
	if err := s.CancelScheduled(ctx, bus, "/s", "0"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("cancelling it: %v", err)
	}
	if err := s.record(batch); err != nil {
		t.Fatal(err)
	}
	if err := s.CancelScheduled(ctx, bus, "/s", "0"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("cancelling it after it was recorded: %v", err)
	}
	if got := recorded(t, s, bus); len(got) != 1 {
		t.Errorf("recorded %v", got)
	}
}

// TestAnEventThatWaitsOutlivesThoseAroundIt sets the clock back while events are
// being recorded, and schedules one between them.
func TestAnEventThatWaitsOutlivesThoseAroundIt(t *testing.T) {
	for _, test := range []struct {
		name   string
		after  int // of the others
		flying bool
	}{{"in the state", manyTogether, false}, {"in memory", 0, false}, {"being recorded", 0, true}} {
		t.Run(test.name, func(t *testing.T) {
			ctx, c, fs := context.Background(), newClock(), vfs.NewMem()
			s, bus := scheduledStore(t, fs, c)
			scheduleMany(t, s, bus, 3*manyTogether)
			must(t, s.applyPending())
			c.advance(time.Minute)
			must(t, s.loadNear(nanos(c.Now()), true))
			batch := s.schedule.take(nanos(c.Now()), fireBytes)
			if len(batch) != 3*manyTogether {
				t.Fatalf("%d events are due", len(batch))
			}
			c.advance(-time.Minute)
			late := time.Unix(0, batch[test.after].due).Add(1)
			_, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, "late"), Due: late}})
			must(t, err)
			must(t, s.applyPending())
			must(t, s.record(batch))
			if test.flying {
				if got := s.schedule.take(nanos(late), fireBytes); len(got) != 1 {
					t.Fatalf("%d events are due", len(got))
				}
			}
			must(t, s.applyPending())
			must(t, s.Close())
			healthy(t, fs, "after a close")

			s, bus = scheduledStore(t, fs, c)
			defer s.Close()
			waiting, _, err := s.ListScheduled(ctx, bus, "", "", "", 10)
			must(t, err)
			if len(waiting) != 1 || waiting[0].Event.ID() != "late" {
				t.Errorf("what waits is %v", waiting)
			}
			c.advance(time.Hour)
			must(t, s.fireDue())
			if got := recorded(t, s, bus); len(got) != 3*manyTogether+1 || got[len(got)-1] != "late" {
				t.Errorf("recorded %v", got)
			}
		})
	}
}

// TestEventsThatOnlyTheLogHasAreRecordedOnce loses the state of a store that
// recorded scheduled events.
func TestEventsThatOnlyTheLogHasAreRecordedOnce(t *testing.T) {
	const n = 3 * manyTogether
	c, fs := newClock(), vfs.NewCrashableMem()
	s, bus := scheduledStore(t, fs, c)
	must(t, s.state.flush())
	scheduleMany(t, s, bus, n)
	c.advance(time.Minute)
	must(t, s.fireDue())
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()

	s, bus = scheduledStore(t, crashed, c)
	must(t, s.fireDue())
	if got := recorded(t, s, bus); len(got) != n {
		t.Errorf("recorded %v", got)
	}
	must(t, s.Close())
	healthy(t, crashed, "after a crash")
}

// TestManyDueEventsShareTheirSyncs has events due every half millisecond, and
// counts the syncs that recording them takes.
func TestManyDueEventsShareTheirSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, every = 1000, firePause / 4
		s, err := Open(Options{FS: vfs.NewMem(), Dir: "data", DiskReserve: -1})
		must(t, err)
		defer s.Close()
		bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
		must(t, err)
		batch := make([]store.Entry, n)
		for i := range batch {
			batch[i] = store.Entry{Bus: bus, Event: small(t, fmt.Sprint(i)), Due: time.Now().Add(time.Second + time.Duration(i)*every)}
		}
		_, err = s.Append(t.Context(), batch)
		must(t, err)
		before := s.Stats().Fsyncs
		time.Sleep(time.Minute)
		if got := len(recorded(t, s, bus)); got != n {
			t.Fatalf("%d of %d events were recorded", got, n)
		}
		if got := s.Stats().Fsyncs - before; got > n/3 {
			t.Errorf("recording %d events took %d syncs", n, got)
		}
	})
}
