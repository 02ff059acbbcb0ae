package embedded

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// The workload makes some 370 calls, each of which is failed in four ways; all of
// that takes a minute of two cores, so as a rule every so many are tried, which
// takes some seconds.
var allFaults = flag.Bool("all-faults", false, "fail each I/O call of the workload, and cut the power at each of a recovery, not a sample of them")

// every is the stride through n calls, for about so many runs.
func every(n, runs int) int {
	if *allFaults {
		return 1
	}
	if raceEnabled || testing.Short() {
		runs /= 4
	}
	return max(1, n/max(runs, 1))
}

// faults makes I/O calls fail.
type faults struct {
	calls  atomic.Int64
	at     int64 // the number of the call that fails; 0: none
	sticky bool  // and all of its nature after it, until healed
	cause  error

	reads  atomic.Bool // what failed reads
	failed atomic.Int64
	healed atomic.Bool
}

func (f *faults) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileStat, errorfs.OpLock: // not calls that fail alone
		return nil
	}
	n := f.calls.Add(1)
	reads := op.Kind.ReadOrWrite() == errorfs.OpIsRead
	switch {
	case f.healed.Load():
		return nil
	case n == f.at:
		f.reads.Store(reads)
	case f.sticky && n > f.at && f.at > 0 && f.reads.Load() == reads:
	default:
		return nil
	}
	f.failed.Add(1)
	return f.cause
}

func (f *faults) String() string {
	return fmt.Sprintf("call %d, %v, sticky %v", f.at, f.cause, f.sticky)
}

// faulty is a store at work on a disk that fails, and what is known of it.
type faulty struct {
	t     *testing.T
	f     *faults
	mem   *vfs.MemFS
	clock *clock
	s     *Store
	a, b  store.BusID
	sub   store.SubscriptionID
	held  []store.Delivery

	acked, maybe map[string]int       // by id: how often it must, and may, be recorded; 0 for scheduled ones that were cancelled
	seen         map[string]bool      // delivered
	objects      map[string][2]string // what an object is, and what else it may be
	failures     int
}

func newFaulty(t *testing.T, f *faults) *faulty {
	return &faulty{t: t, f: f, mem: vfs.NewCrashableMem(), clock: newClock(),
		acked: map[string]int{}, maybe: map[string]int{}, seen: map[string]bool{}, objects: map[string][2]string{}}
}

func (w *faulty) open(fs vfs.FS) error {
	s, err := Open(Options{FS: fs, Dir: "data", SegmentSize: 16 << 10, Clock: w.clock.Now, NoBackground: true, DiskReserve: -1,
		WindowPerSubscription: 4, SpillAge: time.Second, generation: 4, maxRuns: 2, summaryEvents: 4})
	if err != nil {
		return err
	}
	w.s = s
	return nil
}

func (w *faulty) entry(bus store.BusID, id string, due time.Time) store.Entry {
	return store.Entry{Bus: bus, Event: small(w.t, id), Dedupe: event.DedupeKey("/s", id), Window: time.Hour, Due: due}
}

// large fills segments.
func (w *faulty) large(id string) store.Entry {
	b := event.NewBuilder()
	for _, a := range [...][2]string{{"id", id}, {"source", "/s"}, {"type", "t"}, {"fill", strings.Repeat("x", 6<<10)}} {
		must(w.t, b.Set(a[0], event.StringValue(a[1])))
	}
	e, err := b.Build()
	must(w.t, err)
	return store.Entry{Bus: w.a, Event: e, Dedupe: event.DedupeKey("/s", id), Window: time.Hour}
}

// publish appends a batch and notes what came of it.
func (w *faulty) publish(batch ...store.Entry) error {
	results, err := w.s.Append(context.Background(), batch)
	for i := range batch {
		id := batch[i].Event.ID()
		if err != nil {
			w.maybe[id] = 1
			continue
		}
		if !results[i].Duplicate {
			w.acked[id]++
		}
		delete(w.maybe, id)
	}
	return err
}

// steps is the workload: all that a store does.
func (w *faulty) steps() []func() error {
	ctx := context.Background()
	var committed, rolledBack, run uint64
	publish := func(batch ...func() store.Entry) func() error {
		return func() error {
			var entries []store.Entry
			for _, e := range batch {
				entries = append(entries, e())
			}
			return w.publish(entries...)
		}
	}
	on := func(bus *store.BusID, id string, after time.Duration) func() store.Entry {
		return func() store.Entry {
			due := time.Time{}
			if after > 0 {
				due = w.clock.Now().Add(after)
			}
			return w.entry(*bus, id, due)
		}
	}
	big := func(id string) func() store.Entry { return func() store.Entry { return w.large(id) } }
	object := func(name, value string) func() error {
		return func() error {
			was := w.objects[name]
			w.objects[name] = [2]string{value, was[0]}
			_, err := w.s.PutObject(ctx, "kind", name, []byte(value), store.AnyVersion)
			if err == nil {
				w.objects[name] = [2]string{value, value}
			} else if errors.Is(err, store.ErrUnavailable) {
				err = fmt.Errorf("put: %w", err)
			}
			return err
		}
	}
	open := func(id *uint64, events ...string) func() error {
		return func() error {
			var batch []store.Entry
			for _, e := range events {
				batch = append(batch, w.entry(w.a, e, time.Time{}))
			}
			t, err := w.s.OpenTransaction(ctx, batch, "", w.clock.Now().Add(time.Hour))
			if err == nil {
				*id = t.ID
			}
			return err
		}
	}
	return []func() error{
		publish(on(&w.a, "1", 0)), publish(on(&w.a, "2", 0), on(&w.b, "3", 0), on(&w.a, "4", 0)),
		publish(on(&w.a, "late", time.Minute)), publish(on(&w.a, "cancelled", 2*time.Minute)),
		w.route, w.claim, w.settle,
		object("o", "1"),
		open(&committed, "t1", "t2"), open(&rolledBack, "t3"),
		func() error { return w.s.Pause(ctx, w.sub, "rest") },
		func() error { return w.s.Checkpoint(ctx) },
		publish(big("L1")), publish(big("L2")), publish(big("L3")), publish(on(&w.a, "1", 0)),
		func() error { return w.s.Resume(ctx, w.sub) },
		func() error {
			err := w.s.CancelScheduled(ctx, w.a, "/s", "cancelled")
			switch {
			case err == nil:
				w.acked["cancelled"] = 0
			case w.acked["cancelled"] > 0 && errors.Is(err, store.ErrUnavailable): // it may have been
				w.acked["cancelled"], w.maybe["cancelled"] = 0, 1
			case errors.Is(err, store.ErrNotFound) && w.acked["cancelled"] == 0:
				return nil
			}
			return err
		},
		func() error {
			if committed == 0 {
				return nil
			}
			_, err := w.s.CommitTransaction(ctx, committed)
			for _, id := range []string{"t1", "t2"} {
				if err == nil {
					w.acked[id] = 1
				} else {
					w.maybe[id] = 1
				}
			}
			return err
		},
		func() error {
			if rolledBack == 0 {
				return nil
			}
			return w.s.RollbackTransaction(ctx, rolledBack)
		},
		w.route, w.claim, w.settle, w.claim, w.settle,
		func() error { return w.s.checkpoint(0) }, func() error { return w.s.trace.flush() },
		func() error { return w.s.state.db.Flush() },
		object("o", "2"),
		func() error { w.clock.advance(90 * time.Second); return w.s.fireDue() },
		publish(big("L4")), publish(big("L5")), publish(big("L6")),
		w.route, w.claim, w.settle, w.redrive, w.claim, w.settle,
		func() error {
			bounds, err := w.s.Bounds(w.a)
			if err != nil {
				return err
			}
			n, err := w.s.OpenReplay(ctx, store.ReplayOptions{Bus: w.a, After: 0, To: bounds.Last, Subscriptions: []store.SubscriptionID{w.sub}})
			run = uint64(n)
			return err
		},
		func() error {
			if run == 0 {
				return nil
			}
			parts, err := w.s.Replay(uint32(run))
			if err != nil {
				return err
			}
			rs, err := w.s.Read(ctx, w.a, parts[0].Position+1, 4, 1<<20, nil)
			if err != nil || len(rs) == 0 {
				return err
			}
			var events []store.RoutedEvent
			for _, r := range rs {
				events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: w.sub}}})
			}
			return w.s.EnqueueReplay(ctx, uint32(run), rs[len(rs)-1].Sequence, []store.SubscriptionID{w.sub}, events)
		},
		w.claim, w.settle,
		func() error {
			if run == 0 {
				return nil
			}
			_, err := w.s.DropReplay(ctx, uint32(run), nil)
			return err
		},
		func() error { return w.s.summarise(func(time.Duration) bool { return true }) },
		func() error { return w.s.state.db.Flush() },
		func() error { return w.s.Trim(ctx) },
		publish(big("L7")), publish(on(&w.b, "last", 0)),
		func() error { return w.s.Checkpoint(ctx) },
	}
}

func (w *faulty) route() error {
	for _, bus := range []store.BusID{w.a, w.b} {
		rs, err := w.s.Read(context.Background(), bus, w.s.Position(bus)+1, 100, 1<<20, nil)
		if err != nil {
			return err
		}
		if len(rs) == 0 {
			continue
		}
		var events []store.RoutedEvent
		for _, r := range rs {
			events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: w.sub, Key: r.Sequence % 2}}})
		}
		if err := w.s.Enqueue(context.Background(), bus, rs[len(rs)-1].Sequence, events); err != nil && !errors.Is(err, store.ErrRewound) {
			return err
		}
	}
	return nil
}

func (w *faulty) claim() error {
	ds, _, err := w.s.Claim(context.Background(), w.sub, w.clock.Now(), 4, nil)
	w.held = append(w.held, ds...)
	return err
}

// settle ends what is held: the first dies, the second is tried again, the
// others are delivered.
func (w *faulty) settle() error {
	var outcomes []store.Settlement
	for i, d := range w.held {
		o := store.Settlement{ID: d.ID, Attempt: &store.Attempt{Number: d.Attempt, Started: w.clock.Now()}}
		switch i {
		case 0:
			o.Kind, o.Reason, o.Attempt.Error = store.Dead, "no", "no"
		case 1:
			o.Kind, o.RetryAt, o.Attempt.Error = store.Retry, w.clock.Now().Add(time.Second), "no"
		default:
			if d.Record.Event == nil {
				w.t.Errorf("%v: a delivery without its event", w.f)
				continue
			}
			w.seen[d.Record.Event.ID()] = true
		}
		outcomes = append(outcomes, o)
	}
	w.held = nil
	w.clock.advance(time.Second)
	return w.s.Settle(context.Background(), outcomes)
}

func (w *faulty) redrive() error {
	letters, _, err := w.s.ListDead(context.Background(), w.sub, "", 100)
	if err != nil {
		return err
	}
	var ids []store.DeliveryID
	for _, l := range letters {
		ids = append(ids, l.ID)
	}
	_, err = w.s.Redrive(context.Background(), w.sub, ids)
	return err
}

// resources opens the buses and the subscription.
func (w *faulty) resources() (err error) {
	ctx := context.Background()
	if w.a, err = w.s.OpenBus(ctx, "a", store.BusOptions{MaxBytes: 16 << 10}); err != nil {
		return err
	}
	if w.b, err = w.s.OpenBus(ctx, "b", store.BusOptions{}); err != nil {
		return err
	}
	info, err := store.OpenSubscription(ctx, w.s, store.SubscriptionOptions{Name: "r/t", Bus: w.a, Order: store.OrderKey})
	w.sub = info.ID
	return err
}

// recover is what the store does by itself in the background.
func (w *faulty) recover() error {
	return errors.Join(w.s.log.Reopen(context.Background()), w.s.mend())
}

// work does all steps. After a failure it goes on, as others would; a sticky
// fault is over after some.
func (w *faulty) work() {
	if err := w.open(errorfs.Wrap(w.mem, w.f)); err != nil {
		w.f.healed.Store(true)
		if err := w.open(errorfs.Wrap(w.mem, w.f)); err != nil {
			w.t.Fatalf("%v: the next open: %v", w.f, err)
		}
	}
	for try := 0; ; try++ {
		err := w.resources()
		if err == nil {
			break
		}
		if try == 2 {
			w.f.healed.Store(true)
		}
		if err2 := w.recover(); try > 3 {
			w.t.Fatalf("%v: %v, %v", w.f, err, err2)
		}
	}
	for i, step := range w.steps() {
		err := step()
		if err == nil && w.s.Err() == nil {
			continue
		}
		w.failures++
		if err != nil && w.f.failed.Load() == 0 {
			w.t.Fatalf("%v: step %d failed by itself: %v", w.f, i, err)
		}
		if w.failures > 4 {
			w.f.healed.Store(true)
		}
		if err := w.recover(); err != nil && (w.f.healed.Load() || !w.f.sticky) {
			if err = w.recover(); err != nil { // the fault may be met a moment later
				w.t.Fatalf("%v: step %d: it does not recover: %v", w.f, i, err)
			}
		}
	}
	w.f.healed.Store(true)
	if err := w.recover(); err != nil {
		w.t.Fatalf("%v: on a disk that is well: %v", w.f, err)
	}
	if err := w.s.Err(); err != nil {
		w.t.Fatalf("%v: on a disk that is well: %v", w.f, err)
	}
}

// verify reads what is there, and holds it against what was acknowledged.
func (w *faulty) verify(where string) {
	ctx := context.Background()
	count := map[string]int{}
	for _, bus := range []store.BusID{w.a, w.b} {
		bounds, err := w.s.Bounds(bus)
		must(w.t, err)
		rs, err := w.s.Read(ctx, bus, 1, 1000, 1<<24, nil)
		must(w.t, err)
		for i, r := range rs {
			if r.Sequence != bounds.First+uint64(i) {
				w.t.Errorf("%v: %s: a gap before %d", w.f, where, r.Sequence)
			}
			count[r.Event.ID()]++
		}
		for seq := uint64(1); seq < bounds.First; seq++ { // removed by retention: owed, or delivered
			if r, err := w.s.Get(ctx, bus, seq); err == nil {
				count[r.Event.ID()]++
			}
		}
	}
	items, _, err := w.s.ListScheduled(ctx, w.a, "", "", "", 100)
	must(w.t, err)
	for _, i := range items {
		count[i.Event.ID()]++
	}
	all := maps.Clone(w.acked)
	maps.Copy(all, w.maybe)
	for id := range all {
		n := count[id]
		if w.seen[id] && n == 0 {
			n = 1 // and removed by retention since
		}
		if least, most := w.acked[id], w.acked[id]+w.maybe[id]; n < least || n > most {
			w.t.Errorf("%v: %s: %s is there %d times, for %d to %d", w.f, where, id, n, least, most)
		}
	}
	for name, want := range w.objects {
		o, err := w.s.GetObject(ctx, "kind", name)
		got := string(o.Value)
		if err != nil && !errors.Is(err, store.ErrNotFound) || got != want[0] && got != want[1] {
			w.t.Errorf("%v: %s: object %s is %q, for %q, %v", w.f, where, name, got, want, err)
		}
	}
}

// finish delivers all that is owed and looks whether everything came.
func (w *faulty) finish(where string) {
	ctx := context.Background()
	w.held = nil
	w.clock.advance(time.Hour)
	must(w.t, w.s.fireDue())
	if info, err := w.s.Subscription(w.sub); err == nil && info.Paused {
		must(w.t, w.s.Resume(ctx, w.sub))
	}
	must(w.t, w.redrive())
	delivered := maps.Clone(w.seen)
	for range 200 {
		must(w.t, w.route())
		ds, _, err := w.s.Claim(ctx, w.sub, w.clock.Now(), 100, nil)
		must(w.t, err)
		if len(ds) == 0 {
			break
		}
		var outcomes []store.Settlement
		for _, d := range ds {
			delivered[d.Record.Event.ID()] = true
			outcomes = append(outcomes, store.Settlement{ID: d.ID, Kind: store.Done})
		}
		must(w.t, w.s.Settle(ctx, outcomes))
	}
	for id, n := range w.acked {
		if n > 0 && !delivered[id] {
			w.t.Errorf("%v: %s: %s was acknowledged and never delivered", w.f, where, id)
		}
	}
	if info, err := w.s.Subscription(w.sub); err != nil || info.Depth != 0 {
		w.t.Errorf("%v: %s: still owes %d, %v", w.f, where, info.Depth, err)
	}
}

// sound reads a closed store in full.
func (w *faulty) sound(fs vfs.FS, where string) {
	report, err := Check(context.Background(), CheckOptions{FS: fs, Dir: "data"})
	if err != nil || len(report.Problems) > 0 {
		w.t.Errorf("%v: %s: check: %v, %v", w.f, where, report.Problems, err)
	}
}

func (w *faulty) run() {
	w.work()
	w.verify("after the workload")
	clone := w.mem.CrashClone(vfs.CrashCloneCfg{})
	clock := w.clock.now
	if err := w.s.Close(); err != nil {
		w.t.Errorf("%v: close: %v", w.f, err)
	}
	w.sound(w.mem, "closed")
	for where, fs := range map[string]*vfs.MemFS{"after a power cut": clone, "after a restart": w.mem} {
		w.clock.now = clock
		if err := w.open(fs); err != nil {
			w.t.Errorf("%v: %s: %v", w.f, where, err)
			continue
		}
		w.verify(where)
		w.finish(where)
		if err := w.s.Close(); err != nil {
			w.t.Errorf("%v: %s: close: %v", w.f, where, err)
		}
		w.sound(fs, where)
	}
}

// TestEveryFault makes the calls of the workload fail one by one: once, and from
// then on for a while.
func TestEveryFault(t *testing.T) {
	w := newFaulty(t, &faults{})
	w.run()
	if w.failures > 0 {
		t.Fatal("it fails without a fault")
	}
	whole := newFaulty(t, &faults{})
	whole.work()
	calls := int(whole.f.calls.Load())
	must(t, whole.s.Close())
	t.Logf("the workload makes %d calls", calls)
	for i, kind := range []struct {
		cause  error
		sticky bool
	}{{syscall.EIO, false}, {syscall.ENOSPC, true}, {syscall.ENOSPC, false}, {syscall.EIO, true}} {
		t.Run(fmt.Sprintf("%v, sticky %v", kind.cause, kind.sticky), func(t *testing.T) {
			t.Parallel()
			stride := every(calls, 40)
			for at := 1 + i*stride/4; at <= calls && !t.Failed(); at += stride {
				newFaulty(t, &faults{at: int64(at), cause: kind.cause, sticky: kind.sticky}).run()
			}
		})
	}
}
