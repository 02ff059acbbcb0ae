package embedded

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// machine is a clock that can be set, and a monotonic one that cannot.
type machine struct {
	clock
	mono clock
}

func newMachine() *machine {
	m := &machine{}
	m.clock.now, m.mono.now = newClock().now, newClock().now
	return m
}

// pass lets time go by.
func (m *machine) pass(d time.Duration) {
	m.advance(d)
	m.mono.advance(d)
}

// jump sets the clock forward, or back.
func (m *machine) jump(d time.Duration) { m.advance(d) }

func (m *machine) options(fs vfs.FS) Options {
	began := m.mono.Now()
	return Options{FS: fs, Dir: "data", SegmentSize: 16 << 10, Clock: m.Now, NoBackground: true,
		Monotonic: func() time.Duration { return m.mono.Now().Sub(began) }}
}

// jumping is a store with a bus, a subscription to it, and a clock that jumps.
type jumping struct {
	*testing.T
	*machine
	fs  *vfs.MemFS
	s   *Store
	bus store.BusID
	sub store.SubscriptionID
}

func newJumping(t *testing.T) *jumping {
	j := &jumping{T: t, machine: newMachine(), fs: vfs.NewCrashableMem()}
	j.open()
	t.Cleanup(func() { _ = j.s.Close() })
	return j
}

func (j *jumping) open() {
	j.Helper()
	var err error
	if j.s, err = Open(j.options(j.fs)); err != nil {
		j.Fatal(err)
	}
	if j.bus, err = j.s.OpenBus(context.Background(), "a", store.BusOptions{MaxAge: time.Hour}); err != nil {
		j.Fatal(err)
	}
	info, err := store.OpenSubscription(context.Background(), j.s, store.SubscriptionOptions{Name: "r/t", Bus: j.bus})
	if err != nil {
		j.Fatal(err)
	}
	j.sub = info.ID
}

// restart closes the store, or cuts its power, for a while.
func (j *jumping) restart(closed time.Duration, crash bool) {
	j.Helper()
	if crash {
		fs := j.fs.CrashClone(vfs.CrashCloneCfg{})
		_ = j.s.Close()
		j.fs = fs
	} else if err := j.s.Close(); err != nil {
		j.Fatal(err)
	}
	j.pass(closed)
	j.open()
}

func (j *jumping) publish(id string, due time.Time) store.Result {
	j.Helper()
	rs, err := j.s.Append(context.Background(), []store.Entry{{Bus: j.bus, Event: small(j, id), Dedupe: dedupeKeyOf(id), Window: 10 * time.Minute, Due: due}})
	if err != nil {
		j.Fatal(err)
	}
	return rs[0]
}

func dedupeKeyOf(id string) (key [16]byte) {
	copy(key[:], id)
	return key
}

// route hands all that is not routed yet to the subscription.
func (j *jumping) route() {
	j.Helper()
	from := j.s.Position(j.bus)
	rs, err := j.s.Read(context.Background(), j.bus, from+1, 100, 1<<20, nil)
	if err != nil || len(rs) == 0 {
		j.Fatal(rs, err)
	}
	var events []store.RoutedEvent
	for _, r := range rs {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: j.sub}}})
	}
	if err := j.s.Enqueue(context.Background(), j.bus, rs[len(rs)-1].Sequence, events); err != nil {
		j.Fatal(err)
	}
}

func (j *jumping) claim() ([]store.Delivery, time.Time) {
	j.Helper()
	ds, next, err := j.s.Claim(context.Background(), j.sub, j.Now(), 10, nil)
	if err != nil {
		j.Fatal(err)
	}
	return ds, next
}

func (j *jumping) settle(o store.Settlement) {
	j.Helper()
	if err := j.s.Settle(context.Background(), []store.Settlement{o}); err != nil {
		j.Fatal(err)
	}
}

func (j *jumping) trim() store.Bounds {
	j.Helper()
	if err := j.s.Trim(context.Background()); err != nil {
		j.Fatal(err)
	}
	b, err := j.s.Bounds(j.bus)
	if err != nil {
		j.Fatal(err)
	}
	return b
}

// minutes lets time go by, looked at each minute.
func (j *jumping) minutes(n int) {
	j.Helper()
	for range n {
		j.pass(time.Minute)
		if _, err := j.s.watchClock(); err != nil {
			j.Fatal(err)
		}
	}
}

const year = 365 * 24 * time.Hour

func TestRetentionByAgeWaitsAfterAJumpForwardOfTheClock(t *testing.T) {
	j := newJumping(t)
	j.publish("1", time.Time{})
	j.route()
	ds, _ := j.claim()
	j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Done})
	j.minutes(10)
	j.jump(year)
	if b := j.trim(); b.First != 1 {
		t.Fatalf("a jump of a year removed what is ten minutes old: %+v", b)
	}
	if st := j.s.Stats(); st.ClockAhead != year || st.ClockHold != 24*time.Hour {
		t.Errorf("stats say %v, held for %v", st.ClockAhead, st.ClockHold)
	}
	j.minutes(45)
	if b := j.trim(); b.First != 1 {
		t.Fatalf("after 55 minutes: %+v", b)
	}
	// What is old by any measure goes.
	j.minutes(10)
	if b := j.trim(); b.First != 2 {
		t.Errorf("after 65 minutes: %+v", b)
	}
}

func TestAClockThatComesBackRemovesNothing(t *testing.T) {
	j := newJumping(t)
	j.publish("1", time.Time{})
	j.route()
	ds, _ := j.claim()
	j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Done})
	j.minutes(5)
	j.jump(year)
	j.minutes(5)
	j.trim()
	j.jump(-year)
	j.minutes(1)
	if b := j.trim(); b.First != 1 {
		t.Errorf("bounds are %+v", b)
	}
	if st := j.s.Stats(); st.ClockAhead != 0 || st.ClockHold != 0 {
		t.Errorf("stats still say %v, held for %v", st.ClockAhead, st.ClockHold)
	}
}

func TestAJumpOfTheClockIsBelievedInTheEnd(t *testing.T) {
	j := newJumping(t)
	j.publish("1", time.Time{})
	j.route()
	ds, _ := j.claim()
	j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Done})
	j.minutes(1)
	j.jump(50 * time.Minute) // held for as long
	if b := j.trim(); b.First != 1 {
		t.Fatalf("at once: %+v", b)
	}
	j.minutes(51)
	if st := j.s.Stats(); st.ClockAhead != 0 {
		t.Errorf("after 51 minutes the clock is held to be %v ahead", st.ClockAhead)
	}
	if b := j.trim(); b.First != 2 {
		t.Errorf("what is 102 minutes old by the clock that is believed is there: %+v", b)
	}
}

func TestARestartWithAWrongClockRemovesNothingYoung(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %v", crash), func(t *testing.T) {
			j := newJumping(t)
			j.publish("1", time.Time{})
			j.route()
			ds, _ := j.claim()
			j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Done})
			j.minutes(5)
			if err := j.s.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
			j.jump(10 * year)
			j.restart(time.Minute, crash)
			if b := j.trim(); b.First != 1 {
				t.Fatalf("after a start: %+v", b)
			}
			j.minutes(10)
			if err := j.s.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
			j.restart(time.Minute, crash)
			if b := j.trim(); b.First != 1 {
				t.Fatalf("after another: %+v", b)
			}
			if st := j.s.Stats(); st.ClockHold > 24*time.Hour-9*time.Minute {
				t.Errorf("the hold begins anew with each start: %v left", st.ClockHold)
			}
		})
	}
}

func TestDeadLettersOutliveAJumpOfTheClock(t *testing.T) {
	j := newJumping(t)
	j.publish("1", time.Time{})
	j.route()
	ds, _ := j.claim()
	j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Dead, Reason: "no"})
	j.minutes(1)
	j.jump(year)
	j.trim()
	if info, err := j.s.Subscription(j.sub); err != nil || info.Dead != 1 {
		t.Errorf("dead letters: %+v, %v", info, err)
	}
}

func TestRecordedTimeNeverDecreases(t *testing.T) {
	for _, crash := range []bool{false, true} {
		j := newJumping(t)
		j.publish("1", time.Time{})
		j.jump(-time.Hour)
		j.publish("2", time.Time{})
		j.restart(0, crash)
		j.publish("3", time.Time{})
		j.jump(2 * time.Hour)
		j.publish("4", time.Time{})
		j.jump(-year)
		j.publish("5", time.Time{})
		rs, err := j.s.Read(context.Background(), j.bus, 1, 10, 1<<20, nil)
		if err != nil || len(rs) != 5 {
			t.Fatal(rs, err)
		}
		for i := range rs[1:] {
			if rs[i+1].Recorded.Before(rs[i].Recorded) {
				t.Errorf("crash %v: %d was recorded at %v, the one before at %v", crash, i+2, rs[i+1].Recorded, rs[i].Recorded)
			}
		}
	}
}

func TestADeduplicationWindowIsNotMovedByJumps(t *testing.T) {
	for _, by := range []time.Duration{year, time.Hour, -time.Hour, -year} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			j := newJumping(t)
			j.publish("1", time.Time{})
			j.minutes(5)
			j.jump(by)
			if r := j.publish("1", time.Time{}); !r.Duplicate {
				t.Fatalf("after 5 of 10 minutes: %+v", r)
			}
			j.publish("2", time.Time{})
			j.minutes(4)
			j.trim()
			for _, id := range []string{"1", "2"} {
				if r := j.publish(id, time.Time{}); !r.Duplicate {
					t.Fatalf("after 9 of 10 minutes, %s: %+v", id, r)
				}
			}
			j.minutes(2)
			if r := j.publish("1", time.Time{}); r.Duplicate {
				t.Errorf("after 11 of 10 minutes: %+v", r)
			}
			// What the state knows nothing of is found again after a crash.
			j.publish("3", time.Time{})
			j.restart(time.Second, true)
			if r := j.publish("3", time.Time{}); !r.Duplicate {
				t.Errorf("after a crash: %+v", r)
			}
			j.minutes(11)
			for _, id := range []string{"2", "3"} {
				if r := j.publish(id, time.Time{}); r.Duplicate {
					t.Errorf("long after, %s: %+v", id, r)
				}
			}
		})
	}
}

func TestARetryComesAfterItsDelayWhateverTheClockDoes(t *testing.T) {
	for _, by := range []time.Duration{year, time.Hour, -time.Hour, -year} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, restart %v", by, restart), func(t *testing.T) {
				j := newJumping(t)
				j.publish("1", time.Time{})
				j.route()
				ds, _ := j.claim()
				j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Retry, RetryAt: j.Now().Add(10 * time.Minute), Attempt: &store.Attempt{Number: 1, Error: "no"}})
				j.minutes(4)
				j.jump(by)
				if restart && by < 0 { // one forward cannot be told from having been closed for so long
					j.restart(0, false)
				}
				ds, next := j.claim()
				if len(ds) != 0 || !next.Equal(j.Now().Add(6*time.Minute)) {
					t.Fatalf("claimed %d, the next in %v", len(ds), next.Sub(j.Now()))
				}
				j.minutes(6)
				ds, _ = j.claim()
				if len(ds) != 1 || ds[0].Age != 10*time.Minute || !ds[0].Due.Equal(j.Now()) {
					t.Fatalf("after the delay: %+v", ds)
				}
				if info, err := j.s.Subscription(j.sub); err != nil || !info.Oldest.Equal(j.Now().Add(-10*time.Minute)) {
					t.Errorf("%+v, %v", info, err)
				}
			})
		}
	}
}

func TestScheduledEventsGoByTheClockOnce(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %v", crash), func(t *testing.T) {
			j := newJumping(t)
			j.publish("1", j.Now().Add(time.Hour))
			j.publish("2", j.Now().Add(3*time.Hour))
			last := func() uint64 {
				t.Helper()
				if err := j.s.fireDue(); err != nil {
					t.Fatal(err)
				}
				b, err := j.s.Bounds(j.bus)
				if err != nil {
					t.Fatal(err)
				}
				return b.Last
			}
			j.jump(-time.Hour)
			j.minutes(61)
			if n := last(); n != 0 {
				t.Fatalf("%d recorded before the clock says so", n)
			}
			j.jump(time.Hour + time.Minute)
			if n := last(); n != 1 {
				t.Fatalf("%d recorded when the clock says that one is due", n)
			}
			j.jump(-2 * time.Hour)
			j.restart(time.Minute, crash)
			if n := last(); n != 1 {
				t.Fatalf("%d recorded after the clock went back", n)
			}
			if r := j.publish("2", j.Now().Add(time.Hour)); !r.Scheduled {
				t.Errorf("the other one is %+v", r)
			}
			j.jump(5 * time.Hour)
			if n := last(); n != 2 && n != 3 { // its window may have ended
				t.Fatalf("%d recorded in the end", n)
			}
			rs, err := j.s.Read(context.Background(), j.bus, 1, 10, 1<<20, nil)
			if err != nil || rs[0].Event.ID() != "1" || strings.Contains(rs[1].Event.ID(), "1") {
				t.Errorf("recorded %v, %v", rs, err)
			}
		})
	}
}

func TestPausesAreMeasuredWhateverTheClockDoes(t *testing.T) {
	ctx := context.Background()
	j := newJumping(t)
	j.publish("1", time.Time{})
	j.route()
	j.minutes(1)
	if err := j.s.Pause(ctx, j.sub, "rest"); err != nil {
		t.Fatal(err)
	}
	j.minutes(5)
	j.jump(-year)
	if info, err := j.s.Subscription(j.sub); err != nil || !info.Since.Equal(j.Now().Add(-5*time.Minute)) {
		t.Errorf("%+v, %v", info, err)
	}
	j.minutes(5)
	if err := j.s.Resume(ctx, j.sub); err != nil {
		t.Fatal(err)
	}
	j.jump(year)
	j.minutes(2)
	if ds, _ := j.claim(); len(ds) != 1 || ds[0].Age != 3*time.Minute {
		t.Errorf("claimed %+v", ds)
	}
}

func TestSmallStepsOfTheClockAreFollowed(t *testing.T) {
	j := newJumping(t)
	j.publish("1", time.Time{})
	j.route()
	ds, _ := j.claim()
	j.settle(store.Settlement{ID: ds[0].ID, Kind: store.Done})
	for range 50 { // a clock that is kept right by steps of 200 ms a minute
		j.minutes(1)
		j.jump(200 * time.Millisecond)
	}
	if st := j.s.Stats(); st.ClockAhead != 0 {
		t.Errorf("held to be %v ahead", st.ClockAhead)
	}
	j.minutes(10)
	if b := j.trim(); b.First != 2 {
		t.Errorf("bounds are %+v", b)
	}
}
