package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// replayWitness is what a replay or a seek must have done whatever happens.
type replayWitness struct {
	t      *testing.T
	r      *rand.Rand
	clock  *clock
	order  store.Order
	epoch  int
	seek   bool
	run    uint32
	last   uint64
	firsts map[uint64]int    // sequence → epoch of its first success
	when   map[uint64]int    // sequence → number of its first success
	times  map[[2]uint64]int // sequence, epoch → successes
	n      int
}

// TestReplaysAndSeeksSurviveCrashes cuts the power at random moments of a replay
// or a seek, goes on from where the store says that it was, and checks that each
// event came at least once, in order, twice only after a cut, and that the
// live ones came too.
func TestReplaysAndSeeksSurviveCrashes(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+2*tries(); seed++ {
		for _, order := range []store.Order{store.OrderNone, store.OrderKey, store.OrderStrict} {
			for _, seek := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/%d/seek=%v", seed, order, seek), func(t *testing.T) {
					t.Parallel()
					replayCrashes(t, rand.New(rand.NewPCG(seed, uint64(order))), order, seek)
				})
			}
		}
	}
}

func replayCrashes(t *testing.T, r *rand.Rand, order store.Order, seek bool) {
	w := &replayWitness{
		t: t, r: r, clock: newClock(), order: order, seek: seek,
		firsts: map[uint64]int{}, when: map[uint64]int{}, times: map[[2]uint64]int{},
	}
	fs := vfs.NewCrashableMem()
	s, bus, sub := w.open(fs)
	for i := range 200 {
		_, err := s.Append(context.Background(), []store.Entry{{Bus: bus, Event: small(t, fmt.Sprint("e", i))}})
		w.must(err)
	}
	w.route(s, bus, sub)
	w.work(s, sub, 1000, false)
	if w.last = 200; seek {
		got, err := s.Seek(context.Background(), sub, store.SeekOptions{To: 1, Routed: 200})
		w.must(err)
		w.run = got.Run
	} else {
		run, err := s.OpenReplay(context.Background(), store.ReplayOptions{Bus: bus, To: 200, Subscriptions: []store.SubscriptionID{sub}})
		w.must(err)
		w.run = run
	}
	for w.epoch = range 6 {
		for range r.IntN(60) {
			switch r.IntN(6) {
			case 0, 1:
				w.feed(s, bus, sub, r.IntN(12))
			case 2, 3:
				w.work(s, sub, 1+r.IntN(20), true)
			case 4:
				w.must(s.state.flush())
			case 5:
				w.must(s.checkpoint(0))
				w.clock.advance(time.Second)
			}
		}
		if r.IntN(2) == 0 {
			_, err := s.Append(context.Background(), []store.Entry{{Bus: bus, Event: small(t, fmt.Sprint("live", w.epoch))}})
			w.must(err)
			w.last++
			w.route(s, bus, sub)
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		_ = s.Close()
		fs = clone
		s, bus, sub = w.open(fs)
		w.route(s, bus, sub)
	}
	w.epoch++
	for w.feed(s, bus, sub, 1000) {
	}
	w.clock.advance(time.Hour)
	w.work(s, sub, 1<<20, false)
	w.end(s, sub)
	w.must(s.Close())
}

func (w *replayWitness) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *replayWitness) open(fs *vfs.MemFS) (*Store, store.BusID, store.SubscriptionID) {
	s, err := Open(Options{FS: fs, Dir: "data", Clock: w.clock.Now, NoBackground: true, WindowPerSubscription: 4 + w.r.IntN(30)})
	w.must(err)
	bus, err := s.OpenBus(context.Background(), "b", store.BusOptions{})
	w.must(err)
	info, err := store.OpenSubscription(context.Background(), s, store.SubscriptionOptions{Name: "r/t", Bus: bus, Order: w.order})
	w.must(err)
	return s, bus, info.ID
}

func (w *replayWitness) route(s *Store, bus store.BusID, sub store.SubscriptionID) {
	ctx := context.Background()
	info, err := s.Subscription(sub)
	w.must(err)
	records, err := s.Read(ctx, bus, s.Position(bus)+1, 1000, 1<<20, nil)
	w.must(err)
	if len(records) == 0 {
		return
	}
	var events []store.RoutedEvent
	for _, r := range records {
		if r.Sequence > info.From {
			events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub, Key: r.Sequence%7 + 1}}})
		}
	}
	w.must(s.Enqueue(ctx, bus, records[len(records)-1].Sequence, events))
}

// feed queues some more; false says that all is queued.
func (w *replayWitness) feed(s *Store, bus store.BusID, sub store.SubscriptionID, n int) bool {
	parts, err := s.Replay(w.run)
	if err != nil || parts[0].Position >= parts[0].To {
		return false
	}
	records, err := s.Read(context.Background(), bus, parts[0].Position+1, min(n, int(parts[0].To-parts[0].Position)), 1<<20, nil)
	w.must(err)
	var events []store.RoutedEvent
	for _, r := range records {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub, Key: r.Sequence%7 + 1}}})
	}
	w.must(s.EnqueueReplay(context.Background(), w.run, parts[0].Position+uint64(len(records)), []store.SubscriptionID{sub}, events))
	return true
}

// work claims and settles; with failures some are tried again later.
func (w *replayWitness) work(s *Store, sub store.SubscriptionID, most int, failures bool) {
	for done := 0; done < most; {
		ds, _, err := s.Claim(context.Background(), sub, w.clock.Now(), min(most-done, 16), nil)
		w.must(err)
		if len(ds) == 0 {
			return
		}
		for _, d := range ds {
			o := store.Settlement{ID: d.ID, Attempt: &store.Attempt{Number: d.Attempt}}
			if failures && w.r.IntN(8) == 0 {
				o.Kind, o.RetryAt, o.Attempt.Error = store.Retry, w.clock.Now().Add(2*time.Second), "no"
			} else if w.run > 0 {
				w.succeed(d)
			}
			w.must(s.Settle(context.Background(), []store.Settlement{o}))
		}
		done += len(ds)
	}
}

// succeed notes a success, and checks its order among its key's.
func (w *replayWitness) succeed(d store.Delivery) {
	seq := d.ID.Sequence
	if d.ID.Run != w.run && (d.ID.Run != 0 || seq <= 200) {
		if d.ID.Run != 0 {
			w.t.Errorf("delivered %+v, which is not of run %d", d.ID, w.run)
		}
		return // the live one before, again after a crash
	}
	if w.times[[2]uint64{seq, uint64(w.epoch)}]++; w.times[[2]uint64{seq, uint64(w.epoch)}] > 1 {
		w.t.Errorf("epoch %d: sequence %d succeeded twice without a crash", w.epoch, seq)
	}
	if _, again := w.firsts[seq]; again {
		return
	}
	w.n++
	w.firsts[seq], w.when[seq] = w.epoch, w.n
	for other := range w.firsts {
		together := w.order == store.OrderStrict || w.order == store.OrderKey && other%7 == seq%7
		if other > seq && together && (w.seek || (other > 200) == (seq > 200)) {
			w.t.Errorf("epoch %d: sequence %d succeeded first after %d", w.epoch, seq, other)
		}
	}
}

func (w *replayWitness) end(s *Store, sub store.SubscriptionID) {
	for seq := uint64(1); seq <= w.last; seq++ {
		if w.when[seq] == 0 {
			w.t.Errorf("sequence %d never came", seq)
		}
	}
	if info, err := s.Subscription(sub); err != nil || info.Depth != 0 {
		w.t.Errorf("at the end it owes %+v, %v", info, err)
	}
	if _, err := s.DropReplay(context.Background(), w.run, nil); err != nil {
		w.t.Error(err)
	}
	for _, prefix := range []byte{prefixQueue, prefixTimed, prefixParked, prefixBlocked, prefixLane} {
		if n, err := s.countRows(prefix); err != nil || n != 0 {
			w.t.Errorf("%d rows under %c are left, %v", n, prefix, err)
		}
	}
}
