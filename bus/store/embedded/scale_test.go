package embedded

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// heap is the bytes of live Go memory.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestTenThousandBusesCostLittle(t *testing.T) {
	ctx := context.Background()
	n := 10_000
	if testing.Short() || raceEnabled {
		n = 1000
	}
	mem := vfs.NewMem() // not counted: it is the disk
	s, err := Open(Options{FS: mem, Dir: "data", NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]store.BusID, n)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				var err error
				if ids[i], err = s.OpenBus(ctx, fmt.Sprint("bus-", i), store.BusOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("opened in %v", time.Since(start))
	batch := make([]store.Entry, 100)
	ev := small(t, "x")
	for round := range 2 {
		for i := 0; i < n; i += len(batch) {
			for j := range batch {
				batch[j] = store.Entry{Bus: ids[i+j], Event: ev}
			}
			rs, err := s.Append(ctx, batch)
			if err != nil {
				t.Fatal(err)
			}
			if rs[0].Sequence != uint64(round)+1 {
				t.Fatalf("bus %d: %+v", i, rs[0])
			}
		}
	}
	for _, i := range []int{0, n / 2, n - 1} {
		if rs, err := s.Read(ctx, ids[i], 1, 10, 1<<20, nil); err != nil || len(rs) != 2 {
			t.Fatalf("bus %d: %d records, %v", i, len(rs), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = nil
	before := liveHeap()
	start = time.Now()
	if s, err = Open(Options{FS: mem, Dir: "data", NoBackground: true}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	each := (liveHeap() - before) / int64(n)
	t.Logf("reopened in %v, %d bytes of memory a bus (the store's own included)", took, each)
	if each > 2048 && n >= 10_000 {
		t.Errorf("a bus that idles takes %d bytes", each)
	}
	runtime.KeepAlive(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// backlog queues n deliveries of one event each for a subscription that nobody
// claims from.
func backlog(t *testing.T, s *Store, bus store.BusID, sub store.SubscriptionID, n int) {
	t.Helper()
	ctx := context.Background()
	batch := make([]store.Entry, 1000)
	ev := small(t, "x")
	for i := range batch {
		batch[i] = store.Entry{Bus: bus, Event: ev}
	}
	events := make([]store.RoutedEvent, len(batch))
	matches := []store.Routed{{Subscription: sub}}
	for range n / len(batch) {
		rs, err := s.Append(ctx, batch)
		if err != nil {
			t.Fatal(err)
		}
		records, err := s.Read(ctx, bus, rs[0].Sequence, len(batch), 1<<30, nil)
		if err != nil || len(records) != len(batch) {
			t.Fatal(len(records), err)
		}
		for i := range records {
			events[i] = store.RoutedEvent{Record: records[i], Matches: matches}
		}
		if err := s.Enqueue(ctx, bus, records[len(records)-1].Sequence, events); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABacklogOfADeadSubscriptionStaysOnDisk(t *testing.T) {
	n := 300_000
	if testing.Short() || raceEnabled {
		n = 20_000
	}
	ctx := context.Background()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, NoBackground: true, DiskReserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: bus})
	if err != nil {
		t.Fatal(err)
	}
	backlog(t, s, bus, info.ID, n/10)
	if err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	before := liveHeap()
	backlog(t, s, bus, info.ID, n-n/10)
	if err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	grown := liveHeap() - before
	t.Logf("memory grew by %d KiB for %d deliveries", grown>>10, n-n/10)
	if grown > 4<<20 && !raceEnabled {
		t.Errorf("memory grew by %d bytes for %d deliveries", grown, n-n/10)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if s, err = Open(Options{Dir: dir, NoBackground: true, DiskReserve: -1}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Logf("reopened in %v", time.Since(start))
	if info, _ = s.Subscription(info.ID); info.Depth != int64(n) {
		t.Fatalf("depth is %d, want %d", info.Depth, n)
	}
	// It is delivered in order, and a claim stays cheap while rows go.
	next, slowest := uint64(1), time.Duration(0)
	var ds []store.Delivery
	var outcomes []store.Settlement
	start = time.Now()
	for {
		began := time.Now()
		ds, _, err = s.Claim(ctx, info.ID, time.Now(), 256, ds[:0])
		if err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
		if len(ds) == 0 {
			break
		}
		outcomes = outcomes[:0]
		for _, d := range ds {
			if d.ID.Sequence != next || d.Record.Event == nil {
				t.Fatalf("got %d, want %d", d.ID.Sequence, next)
			}
			next++
			outcomes = append(outcomes, store.Settlement{ID: d.ID, Kind: store.Done})
		}
		if err := s.Settle(ctx, outcomes); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%v a delivery, slowest claim %v", time.Since(start)/time.Duration(n), slowest)
	if next != uint64(n)+1 {
		t.Errorf("%d of %d were delivered", next-1, n)
	}
}

func TestAKeyThatFailsDoesNotHoldTheOthersInALongBacklog(t *testing.T) {
	ctx := context.Background()
	clk := newClock()
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "data", Clock: clk.Now, NoBackground: true, WindowPerSubscription: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: bus, Order: store.OrderKey})
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	batch := make([]store.Entry, n)
	for i := range batch {
		batch[i] = store.Entry{Bus: bus, Event: small(t, "x")}
	}
	if _, err := s.Append(ctx, batch); err != nil {
		t.Fatal(err)
	}
	records, err := s.Read(ctx, bus, 1, n, 1<<30, nil)
	if err != nil {
		t.Fatal(err)
	}
	var events []store.RoutedEvent
	for _, r := range records {
		// Every other event has key 1, which fails; the others have one of their own.
		key := uint64(1)
		if r.Sequence%2 == 0 {
			key = r.Sequence
		}
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: info.ID, Key: key}}})
	}
	if err := s.Enqueue(ctx, bus, n, events); err != nil {
		t.Fatal(err)
	}
	done := 0
	for range n {
		ds, next, err := s.Claim(ctx, info.ID, clk.Now(), 32, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) == 0 && !next.Equal(clk.Now()) {
			break
		}
		for _, d := range ds {
			o := store.Settlement{ID: d.ID, Attempt: &store.Attempt{Number: d.Attempt}}
			if d.Key == 1 {
				o.Kind, o.RetryAt = store.Retry, clk.Now().Add(time.Hour)
			} else {
				done++
			}
			if err := s.Settle(ctx, []store.Settlement{o}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if done != n/2 {
		t.Fatalf("%d of the other %d were delivered", done, n/2)
	}
	if items := s.windowItems.Load(); items > 64 {
		t.Errorf("%d deliveries are in memory", items)
	}
	// Then it succeeds, and all of it comes in order.
	clk.advance(time.Hour)
	want := uint64(1)
	for want < n {
		ds, _, err := s.Claim(ctx, info.ID, clk.Now(), 32, nil)
		if err != nil || len(ds) != 1 || ds[0].ID.Sequence != want {
			t.Fatalf("got %v, %v, want sequence %d", ds, err, want)
		}
		if err := s.Settle(ctx, []store.Settlement{{ID: ds[0].ID}}); err != nil {
			t.Fatal(err)
		}
		want += 2
	}
	if info, _ = s.Subscription(info.ID); info.Depth != 0 {
		t.Errorf("%d are left", info.Depth)
	}
}

func TestRetentionFreesTheDisk(t *testing.T) {
	ctx := context.Background()
	clk := newClock()
	mem := vfs.NewMem()
	s, err := Open(Options{FS: mem, Dir: "data", SegmentSize: 256 << 10, Clock: clk.Now, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	short, err := s.OpenBus(ctx, "short", store.BusOptions{MaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	long, err := s.OpenBus(ctx, "long", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: short})
	if err != nil {
		t.Fatal(err)
	}
	ev := kilobyte(t, "x")
	for i := range 4000 {
		batch := []store.Entry{{Bus: short, Event: ev}}
		if i%20 == 0 {
			batch = append(batch, store.Entry{Bus: long, Event: kilobyte(t, fmt.Sprint("long-", i))})
		}
		if _, err := s.Append(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	// Three of the short bus are owed.
	var events []store.RoutedEvent
	for _, seq := range []uint64{7, 2000, 3999} {
		r, err := s.Get(ctx, short, seq)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: info.ID}}})
	}
	if err := s.Enqueue(ctx, short, 4000, events); err != nil {
		t.Fatal(err)
	}
	before := s.log.DiskUsage().Live
	clk.advance(2 * time.Hour)
	if err := s.Trim(ctx); err != nil {
		t.Fatal(err)
	}
	after := s.log.DiskUsage().Live
	t.Logf("%d KiB before, %d KiB after, %d owed", before>>10, after>>10, s.Stats().OwedBytes)
	if after > before/2 {
		t.Errorf("%d of %d bytes are still on disk", after, before)
	}
	// The long bus has all of its own, by sequence and by scan.
	records, err := s.Read(ctx, long, 1, 1000, 1<<30, nil)
	if err != nil || len(records) != 200 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, r := range records {
		if r.Sequence != uint64(i)+1 || r.Event.ID() != fmt.Sprint("long-", 20*i) {
			t.Fatalf("record %d is %d, %s", i, r.Sequence, r.Event.ID())
		}
		if g, err := s.Get(ctx, long, r.Sequence); err != nil || g.Event.ID() != r.Event.ID() {
			t.Fatalf("sequence %d: %v", r.Sequence, err)
		}
	}
	ds, _, err := s.Claim(ctx, info.ID, clk.Now(), 10, nil)
	if err != nil || len(ds) != 3 || ds[1].Record.Event.ID() != "x" {
		t.Fatalf("%d owed deliveries, %v", len(ds), err)
	}
	var outcomes []store.Settlement
	for _, d := range ds {
		outcomes = append(outcomes, store.Settlement{ID: d.ID})
	}
	if err := s.Settle(ctx, outcomes); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().OwedBytes; n != 0 {
		t.Errorf("%d bytes are owed to nobody", n)
	}
	// It is all there after a restart, too.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(Options{FS: mem, Dir: "data", SegmentSize: 256 << 10, Clock: clk.Now, NoBackground: true}); err != nil {
		t.Fatal(err)
	}
	if records, err = s.Read(ctx, long, 100, 1000, 1<<30, nil); err != nil || len(records) != 101 {
		t.Fatalf("%d records, %v", len(records), err)
	}
}
