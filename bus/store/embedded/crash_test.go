package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// small is an event with an id.
func small(t testing.TB, id string) *event.Event {
	t.Helper()
	b := event.NewBuilder()
	for _, a := range [...][2]string{{"id", id}, {"source", "/s"}, {"type", "t"}} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// clock is a time that is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// ledger is what a crash test knows must be true, whatever happens.
type ledger struct {
	t         *testing.T
	r         *rand.Rand
	clock     *clock
	order     store.Order
	ids       map[string]store.BusID // acknowledged, by event id
	due       map[string]time.Time   // acknowledged as scheduled
	maybe     map[string]bool        // published, or cancelled, and not acknowledged
	cancelled map[string]bool        // acknowledged as cancelled
	delivered map[string][]delivered // by subscription and event id: successes
	dead      map[string]bool
	next      int
}

type delivered struct {
	seq   uint64
	epoch int
}

// TestCrashes runs an engine with small everything, cuts the power at random
// moments, and checks after each cut that no acknowledged event is lost,
// sequences have no gaps, and everything owed is delivered in the end, in
// order where that was promised.
func TestCrashes(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+tries(); seed++ {
		for _, order := range []store.Order{store.OrderNone, store.OrderKey, store.OrderStrict} {
			t.Run(fmt.Sprintf("%d/%d", seed, order), func(t *testing.T) {
				t.Parallel()
				crashes(t, seed, order)
			})
		}
	}
}

func crashes(t *testing.T, seed uint64, order store.Order) {
	l := &ledger{
		t: t, r: rand.New(rand.NewPCG(seed, uint64(order))), clock: newClock(), order: order,
		ids: map[string]store.BusID{}, due: map[string]time.Time{}, maybe: map[string]bool{},
		delivered: map[string][]delivered{}, dead: map[string]bool{},
	}
	fs := vfs.NewCrashableMem()
	for epoch := range 5 {
		s := l.open(fs)
		buses, subs := l.resources(s)
		l.check(s, buses)
		clone := l.live(s, fs, buses, subs, epoch)
		_ = s.Close()
		fs = clone
	}
	s := l.open(fs)
	defer s.Close()
	buses, subs := l.resources(s)
	l.check(s, buses)
	l.finish(s, buses, subs)
}

func (l *ledger) open(fs *vfs.MemFS) *Store {
	l.t.Helper()
	s, err := Open(Options{
		FS: fs, Dir: "data", SegmentSize: 16 << 10, Clock: l.clock.Now, NoBackground: true,
		WindowPerSubscription: 4 + l.r.IntN(12), SpillAge: time.Second,
		generation: 1 + l.r.IntN(16), maxRuns: 1 + l.r.IntN(4),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func (l *ledger) resources(s *Store) (buses []store.BusID, subs []store.SubscriptionID) {
	ctx := context.Background()
	for i := range 2 {
		id, err := s.OpenBus(ctx, fmt.Sprint("b", i), store.BusOptions{MaxBytes: 4 << 10})
		if err != nil {
			l.t.Fatal(err)
		}
		buses = append(buses, id)
		for j := range 2 {
			info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: fmt.Sprintf("r%d/%d", i, j), Bus: id, Order: l.order})
			if err != nil {
				l.t.Fatal(err)
			}
			subs = append(subs, info.ID)
		}
	}
	return buses, subs
}

// live works with the store until a crash, and returns what the disk has then.
func (l *ledger) live(s *Store, fs *vfs.MemFS, buses []store.BusID, subs []store.SubscriptionID, epoch int) *vfs.MemFS {
	ctx := context.Background()
	var held []store.Delivery
	for range 20 + l.r.IntN(400) {
		switch l.r.IntN(17) {
		case 0, 1, 2, 3:
			l.publish(s, buses)
		case 16:
			l.cancel(s)
		case 4, 5, 6:
			l.route(s, buses[l.r.IntN(len(buses))], buses, subs, 1+l.r.IntN(8))
		case 7, 8, 9:
			sub := subs[l.r.IntN(len(subs))]
			ds, _, err := s.Claim(ctx, sub, l.clock.Now(), 1+l.r.IntN(5), nil)
			l.must(err)
			held = append(held, ds...)
		case 10, 11, 12:
			n := min(len(held), 1+l.r.IntN(5))
			l.settle(s, held[:n], epoch, l.r.IntN)
			held = held[n:]
		case 13:
			l.clock.advance(time.Duration(l.r.IntN(3000)) * time.Millisecond)
			l.must(s.fireDue())
		case 14:
			switch l.r.IntN(6) {
			case 0, 1:
				l.must(s.checkpoint(s.opts.SpillAge))
			case 2:
				l.must(s.state.flush())
			case 3:
				l.must(s.applyPending())
			case 4:
				l.must(s.Trim(ctx))
			case 5:
				l.redrive(s, subs)
			}
		case 15:
			if l.r.IntN(3) == 0 {
				sub := subs[l.r.IntN(len(subs))]
				l.must(s.Pause(ctx, sub, "x"))
				l.must(s.checkpoint(0))
				l.must(s.Resume(ctx, sub))
			}
		}
	}
	// The disk may be caught in the middle of an append.
	var wg sync.WaitGroup
	if l.r.IntN(2) == 0 {
		id := l.newID()
		l.maybe[id] = true
		wg.Go(func() {
			_, _ = s.Append(ctx, []store.Entry{{Bus: buses[0], Event: small(l.t, id)}})
		})
	}
	// Or of a cancellation.
	if id := l.scheduled(); id != "" {
		bus := l.ids[id]
		delete(l.ids, id)
		l.maybe[id] = true
		wg.Go(func() { _ = s.CancelScheduled(ctx, bus, "/s", id) })
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: l.r.IntN(101), RNG: l.r})
	wg.Wait()
	return clone
}

func (l *ledger) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// scheduled picks an event that must still wait, "" if there is none.
func (l *ledger) scheduled() string {
	var ids []string
	for id, due := range l.due {
		if l.ids[id] != 0 && due.After(l.clock.Now()) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	slices.Sort(ids)
	return ids[l.r.IntN(len(ids))]
}

// cancel cancels an event that waits; its identity is free again.
func (l *ledger) cancel(s *Store) {
	id := l.scheduled()
	if id == "" {
		return
	}
	ctx, bus := context.Background(), l.ids[id]
	l.must(s.CancelScheduled(ctx, bus, "/s", id))
	if err := s.CancelScheduled(ctx, bus, "/s", id); !errors.Is(err, store.ErrNotFound) {
		l.t.Errorf("cancelling %s again: %v", id, err)
	}
	delete(l.ids, id)
	delete(l.due, id)
	if l.cancelled == nil {
		l.cancelled = map[string]bool{}
	}
	l.cancelled[id] = true
}

func (l *ledger) newID() string {
	l.next++
	return fmt.Sprint("e", l.next)
}

func (l *ledger) publish(s *Store, buses []store.BusID) {
	var batch []store.Entry
	for range 1 + l.r.IntN(3) {
		id := l.newID()
		e := store.Entry{Bus: buses[l.r.IntN(len(buses))], Event: small(l.t, id), Dedupe: event.DedupeKey("/s", id), Window: time.Hour}
		if l.r.IntN(8) == 0 {
			e.Due = l.clock.Now().Add(time.Duration(1+l.r.IntN(5000)) * time.Millisecond)
		}
		batch = append(batch, e)
	}
	results, err := s.Append(context.Background(), batch)
	l.must(err)
	for i, r := range results {
		id := batch[i].Event.ID()
		l.ids[id] = batch[i].Bus
		if r.Scheduled {
			l.due[id] = batch[i].Due
		} else if r.Sequence == 0 || r.Duplicate {
			l.t.Fatalf("%s: %+v", id, r)
		}
	}
}

// route hands over the next events; sub i of a bus matches all of them.
func (l *ledger) route(s *Store, bus store.BusID, buses []store.BusID, subs []store.SubscriptionID, max int) bool {
	ctx := context.Background()
	records, err := s.Read(ctx, bus, s.Position(bus)+1, max, 1<<20, nil)
	l.must(err)
	if len(records) == 0 {
		return false
	}
	var events []store.RoutedEvent
	at := slices.Index(buses, bus)
	for _, r := range records {
		key := r.Sequence%3 + 1
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{
			{Subscription: subs[2*at], Key: key}, {Subscription: subs[2*at+1], Key: key},
		}})
	}
	l.must(s.Enqueue(ctx, bus, records[len(records)-1].Sequence, events))
	return true
}

// settle ends deliveries: most succeed, some are retried, some die.
func (l *ledger) settle(s *Store, ds []store.Delivery, epoch int, intn func(int) int) {
	var outcomes []store.Settlement
	for _, d := range ds {
		o := store.Settlement{ID: d.ID, Attempt: &store.Attempt{Number: d.Attempt, Started: l.clock.Now()}}
		name := fmt.Sprintf("%d %s", d.ID.Subscription, d.Record.Event.ID())
		switch n := intn(10); {
		case n < 6:
			l.inOrder(d, epoch)
			if id := d.Record.Event.ID(); l.cancelled[id] {
				l.t.Errorf("%s was cancelled and is delivered", id)
			}
			l.delivered[name] = append(l.delivered[name], delivered{d.ID.Sequence, epoch})
		case n < 8:
			o.Kind, o.RetryAt = store.Retry, l.clock.Now().Add(time.Duration(intn(2000))*time.Millisecond)
			o.Attempt.Error = "no"
		case n < 9:
			o.Kind, o.Reason = store.Dead, "gave up"
			l.dead[name] = true
		default:
			o.Kind, o.Attempt = store.Release, nil
		}
		outcomes = append(outcomes, o)
	}
	l.must(s.Settle(context.Background(), outcomes))
}

// inOrder checks a first success against those of its key: none that is later
// may have come before. Redrives have an order of their own.
func (l *ledger) inOrder(d store.Delivery, epoch int) {
	name := fmt.Sprintf("%d %s", d.ID.Subscription, d.Record.Event.ID())
	if l.order == store.OrderNone || d.Redriven || len(l.delivered[name]) > 0 || l.dead[name] {
		return
	}
	prefix := fmt.Sprintf("%d ", d.ID.Subscription)
	for other, ds := range l.delivered {
		if len(other) < len(prefix) || other[:len(prefix)] != prefix {
			continue
		}
		seq := ds[0].seq
		sameKey := seq%3 == d.ID.Sequence%3 || l.order == store.OrderStrict
		if seq > d.ID.Sequence && sameKey {
			l.t.Errorf("subscription %d: sequence %d succeeded first (in epoch %d) after %d had (in epoch %d)", d.ID.Subscription, d.ID.Sequence, epoch, seq, ds[0].epoch)
		}
	}
}

func (l *ledger) redrive(s *Store, subs []store.SubscriptionID) {
	ctx := context.Background()
	sub := subs[l.r.IntN(len(subs))]
	letters, _, err := s.ListDead(ctx, sub, "", 100)
	l.must(err)
	var ids []store.DeliveryID
	for _, d := range letters {
		ids = append(ids, d.ID)
	}
	n, err := s.Redrive(ctx, sub, ids)
	l.must(err)
	if n != len(ids) {
		l.t.Errorf("redrove %d of %d", n, len(ids))
	}
}

// check looks at what must hold after every crash.
func (l *ledger) check(s *Store, buses []store.BusID) {
	l.t.Helper()
	ctx := context.Background()
	for _, bus := range buses {
		bounds, err := s.Bounds(bus)
		l.must(err)
		records, err := s.Read(ctx, bus, 1, 1<<20, 1<<30, nil)
		l.must(err)
		if uint64(len(records)) != bounds.Last+1-bounds.First {
			l.t.Fatalf("bus %d: %d records in %+v", bus, len(records), bounds)
		}
		var at time.Time
		for i, r := range records {
			if r.Sequence != bounds.First+uint64(i) || r.Recorded.Before(at) {
				l.t.Fatalf("bus %d: record %d is %d at %v after %v", bus, i, r.Sequence, r.Recorded, at)
			}
			at = r.Recorded
			if id := r.Event.ID(); l.cancelled[id] {
				l.t.Errorf("%s was cancelled and is recorded as %d", id, r.Sequence)
			}
		}
		if p := s.Position(bus); p > bounds.Last || p+1 < bounds.First {
			l.t.Fatalf("bus %d: position %d in %+v", bus, p, bounds)
		}
	}
}

// finish lets everything be delivered and then compares.
func (l *ledger) finish(s *Store, buses []store.BusID, subs []store.SubscriptionID) {
	ctx := context.Background()
	l.clock.advance(time.Hour)
	l.must(s.fireDue())
	for range 1000 {
		busy := false
		for _, bus := range buses {
			busy = l.route(s, bus, buses, subs, 1000) || busy
		}
		for _, sub := range subs {
			ds, _, err := s.Claim(ctx, sub, l.clock.Now(), 100, nil)
			l.must(err)
			l.settle(s, ds, 99, func(int) int { return 0 })
			busy = busy || len(ds) > 0
		}
		if !busy {
			break
		}
	}
	seen := map[string]int{}
	for i, sub := range subs {
		info, err := s.Subscription(sub)
		l.must(err)
		if info.Depth != 0 || info.InFlight != 0 {
			l.t.Errorf("%s still owes: %+v", info.Name, info)
		}
		letters, _, err := s.ListDead(ctx, sub, "", 1<<20)
		l.must(err)
		if int64(len(letters)) != info.Dead {
			l.t.Errorf("%s: %d dead letters, counted %d", info.Name, len(letters), info.Dead)
		}
		died := map[string]bool{}
		for _, d := range letters {
			died[d.Record.Event.ID()] = true
		}
		for id, bus := range l.ids {
			if bus != buses[i/2] {
				continue
			}
			name := fmt.Sprintf("%d %s", sub, id)
			if len(l.delivered[name]) == 0 && !died[id] {
				l.t.Errorf("%s: %s was acknowledged and is neither delivered nor dead", info.Name, id)
			}
			for _, d := range l.delivered[name][min(1, len(l.delivered[name])):] {
				if d.seq != l.delivered[name][0].seq {
					l.t.Errorf("%s: %s was recorded as %d and as %d", info.Name, id, l.delivered[name][0].seq, d.seq)
				}
			}
			seen[id]++
		}
	}
	if n := s.Stats().Scheduled; n != 0 {
		l.t.Errorf("%d events still wait for their time", n)
	}
	if n, err := s.countRows(prefixOwedBy); err != nil || s.Stats().OwedBytes > 0 != (n > 0) {
		l.t.Errorf("%d owed rows, %d owed bytes, %v", n, s.Stats().OwedBytes, err)
	}
	for _, prefix := range []byte{prefixQueue, prefixTimed, prefixParked, prefixBlocked, prefixSched, prefixSchedBus, prefixSchedID} {
		if n, err := s.countRows(prefix); err != nil || n != 0 {
			l.t.Errorf("%d rows under %c are left, %v", n, prefix, err)
		}
	}
}

func (s *Store) countRows(prefix byte) (n int, err error) {
	err = s.state.scanPrefix([]byte{prefix}, func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// TestCrashesUnderLoad cuts the power while everything runs at once.
func TestCrashesUnderLoad(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+tries(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			crashUnderLoad(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

// load is what a test under load knows.
type load struct {
	mu    sync.Mutex
	acked map[string]bool
	done  map[store.DeliveryID]bool // settled as delivered, or about to be
}

func crashUnderLoad(t *testing.T, r *rand.Rand) {
	ctx := context.Background()
	fs := vfs.NewCrashableMem()
	open := func(fs *vfs.MemFS) (*Store, store.BusID, []store.SubscriptionID) {
		s, err := Open(Options{
			FS: fs, Dir: "data", SegmentSize: 64 << 10, WindowPerSubscription: 64,
			CheckpointEvery: 2 * time.Millisecond, SpillAge: 4 * time.Millisecond, SyncEvery: 8 * time.Millisecond,
			generation: 8, maxRuns: 4,
		})
		if err != nil {
			t.Fatal(err)
		}
		bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var subs []store.SubscriptionID
		for i, order := range []store.Order{store.OrderNone, store.OrderKey} {
			info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: fmt.Sprint("r/", i), Bus: bus, Order: order})
			if err != nil {
				t.Fatal(err)
			}
			subs = append(subs, info.ID)
		}
		return s, bus, subs
	}
	l := &load{acked: map[string]bool{}, done: map[store.DeliveryID]bool{}}
	s, bus, subs := open(fs)
	loadCtx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for w := range 4 {
		running.Go(func() { l.publish(loadCtx, s, bus, fmt.Sprint("p", w)) })
	}
	running.Go(func() { l.route(loadCtx, t, s, bus, subs) })
	for _, sub := range subs {
		running.Go(func() { l.deliver(loadCtx, t, s, sub, 0) })
	}
	l.until(20 + r.IntN(1500))
	l.mu.Lock()
	acked := make([]string, 0, len(l.acked))
	for id := range l.acked {
		acked = append(acked, id)
	}
	l.mu.Unlock()
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
	stop()
	running.Wait()
	_ = s.Close()

	s, bus, subs = open(clone)
	defer s.Close()
	records, err := s.Read(ctx, bus, 1, 1<<30, 1<<40, nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]uint64{}
	for i, r := range records {
		if r.Sequence != uint64(i)+1 {
			t.Fatalf("record %d has sequence %d", i, r.Sequence)
		}
		kept[r.Event.ID()] = r.Sequence
	}
	for _, id := range acked {
		if kept[id] == 0 {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	loadCtx, stop = context.WithCancel(ctx)
	running.Go(func() { l.route(loadCtx, t, s, bus, subs) })
	for _, sub := range subs {
		running.Go(func() { l.deliver(loadCtx, t, s, sub, 10) })
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		owed := int64(len(records)) - int64(s.Position(bus))
		for _, info := range s.Subscriptions() {
			owed += info.Depth
		}
		if owed == 0 {
			break
		}
	}
	stop()
	running.Wait()
	for id, seq := range kept {
		for _, sub := range subs {
			if !l.done[store.DeliveryID{Subscription: sub, Bus: bus, Sequence: seq}] {
				t.Errorf("%s (sequence %d) was never delivered to %d", id, seq, sub)
			}
		}
	}
}

// until waits for n acknowledgements.
func (l *load) until(n int) {
	for {
		l.mu.Lock()
		enough := len(l.acked) >= n
		l.mu.Unlock()
		if enough {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (l *load) publish(ctx context.Context, s *Store, bus store.BusID, name string) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprint(name, "-", n)
		b := event.NewBuilder()
		for _, a := range [...][2]string{{"id", id}, {"source", "/s"}, {"type", "t"}} {
			_ = b.Set(a[0], event.StringValue(a[1]))
		}
		e, err := b.Build()
		if err != nil {
			return
		}
		if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: e, Dedupe: event.DedupeKey("/s", id), Window: time.Minute}}); err != nil {
			continue
		}
		l.mu.Lock()
		l.acked[id] = true
		l.mu.Unlock()
	}
}

func (l *load) route(ctx context.Context, t *testing.T, s *Store, bus store.BusID, subs []store.SubscriptionID) {
	for ctx.Err() == nil {
		records, err := s.Read(ctx, bus, s.Position(bus)+1, 64, 1<<20, nil)
		if err == nil && len(records) == 0 {
			_ = s.Await(ctx, bus, s.Position(bus))
			continue
		}
		var events []store.RoutedEvent
		for _, r := range records {
			e := store.RoutedEvent{Record: r}
			for _, sub := range subs {
				e.Matches = append(e.Matches, store.Routed{Subscription: sub, Key: r.Sequence%5 + 1})
			}
			events = append(events, e)
		}
		if err == nil {
			err = s.Enqueue(ctx, bus, records[len(records)-1].Sequence, events)
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

// deliver claims and settles; one attempt of good in ten fails.
func (l *load) deliver(ctx context.Context, t *testing.T, s *Store, sub store.SubscriptionID, good int) {
	r := rand.New(rand.NewPCG(uint64(sub), 9))
	for ctx.Err() == nil {
		ds, _, err := s.Claim(ctx, sub, time.Now(), 16, nil)
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		if len(ds) == 0 {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		var outcomes []store.Settlement
		for _, d := range ds {
			o := store.Settlement{ID: d.ID, Attempt: &store.Attempt{Number: d.Attempt}}
			if r.IntN(10) == 0 && good == 0 {
				o.Kind, o.RetryAt = store.Retry, time.Now().Add(time.Duration(r.IntN(10))*time.Millisecond)
			} else {
				l.mu.Lock()
				l.done[d.ID] = true
				l.mu.Unlock()
			}
			outcomes = append(outcomes, o)
		}
		if err := s.Settle(ctx, outcomes); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}
