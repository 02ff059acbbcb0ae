package embedded

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// kilobyte is an event of about one kilobyte with an id of its own.
func kilobyte(t testing.TB, id string) *event.Event {
	t.Helper()
	b := event.NewBuilder()
	for _, a := range [...][2]string{{"id", id}, {"source", "/shop"}, {"type", "com.example.order.placed"}, {"subject", "eu/de"}} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	b.SetJSON([]byte(fmt.Sprintf(`{"padding":%q}`, bytes.Repeat([]byte{'x'}, 900))))
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func openReal(b *testing.B) *Store {
	b.Helper()
	return openRealWith(b, Options{})
}

func openRealWith(b *testing.B, opts Options) *Store {
	b.Helper()
	opts.Dir = b.TempDir()
	s, err := Open(opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// latencies gathers what publishers waited for and reports it.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(some []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, some...)
}

func (l *latencies) report(b *testing.B) {
	slices.Sort(l.all)
	if n := len(l.all); n > 0 {
		b.ReportMetric(float64(l.all[n/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(l.all[n*99/100].Microseconds())/1000, "p99-ms")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}

// publishAll makes b.N calls of publish from many goroutines.
func publishAll(b *testing.B, publishers int, publish func(worker, n int) error) {
	var l latencies
	var next atomic.Int64
	var wg sync.WaitGroup
	cpu := cpuTime(b)
	b.ResetTimer()
	for w := range publishers {
		wg.Go(func() {
			mine := make([]time.Duration, 0, b.N/publishers+1)
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					break
				}
				start := time.Now()
				if err := publish(w, int(n)); err != nil {
					b.Error(err)
					break
				}
				mine = append(mine, time.Since(start))
			}
			l.add(mine)
		})
	}
	wg.Wait()
	b.StopTimer()
	l.report(b)
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1000/float64(b.N), "cpu-µs/event")
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var publisherCounts = []int{1, 16, 64, 256}

// BenchmarkBare is what the machine gives: one goroutine that writes what
// waits with one write and one fdatasync into a file that was written before.
func BenchmarkBare(b *testing.B) {
	for _, publishers := range publisherCounts {
		b.Run(fmt.Sprint(publishers), func(b *testing.B) {
			const size = 64 << 20
			path := filepath.Join(b.TempDir(), "bare")
			if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
				b.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			type job struct{ done chan struct{} }
			jobs := make(chan job, publishers)
			var writer sync.WaitGroup
			payload := kilobyte(b, "x").AppendBinary(nil)
			writer.Go(func() {
				var buf []byte
				var waiting []job
				off := int64(0)
				for j := range jobs {
					waiting, buf = append(waiting[:0], j), append(buf[:0], payload...)
					for more := true; more; {
						select {
						case j, ok := <-jobs:
							if more = ok; ok {
								waiting, buf = append(waiting, j), append(buf, payload...)
							}
						default:
							more = false
						}
					}
					if off+int64(len(buf)) > size {
						off = 0
					}
					if _, err := f.WriteAt(buf, off); err != nil {
						b.Error(err)
					}
					off += int64(len(buf))
					if err := unix.Fdatasync(int(f.Fd())); err != nil {
						b.Error(err)
					}
					for _, w := range waiting {
						w.done <- struct{}{}
					}
				}
			})
			dones := make([]chan struct{}, publishers)
			for i := range dones {
				dones[i] = make(chan struct{}, 1)
			}
			publishAll(b, publishers, func(w, _ int) error {
				jobs <- job{dones[w]}
				<-dones[w]
				return nil
			})
			close(jobs)
			writer.Wait()
		})
	}
}

// warm writes enough that the segments which follow overwrite recycled files.
func warm(b *testing.B, s *Store, bus store.BusID) {
	ev := kilobyte(b, "warm")
	batch := make([]store.Entry, 1000)
	for i := range batch {
		batch[i] = store.Entry{Bus: bus, Event: ev}
	}
	for range 200 {
		if _, err := s.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	s.routedTo(s.buses.get(uint32(bus)), s.buses.get(uint32(bus)).bounds().Last)
	for range 2 {
		if err := s.Trim(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func dedupeKeyFor(n int) (k [16]byte) {
	for i := range 8 {
		k[i] = byte(n >> (8 * i))
		k[8+i] = byte(n * 0x9e3779b1 >> i)
	}
	return k
}

func BenchmarkAppend(b *testing.B) {
	for _, publishers := range publisherCounts {
		b.Run(fmt.Sprint(publishers), func(b *testing.B) { appendAlone(b, publishers, 2*time.Minute) })
	}
	b.Run("256-without-dedupe", func(b *testing.B) { appendAlone(b, 256, 0) })
}

func appendAlone(b *testing.B, publishers int, window time.Duration) {
	s := openReal(b)
	bus, err := s.OpenBus(context.Background(), "orders", store.BusOptions{MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	warm(b, s, bus)
	ev := kilobyte(b, "x")
	run := time.Now().UnixNano()
	batches := make([][1]store.Entry, publishers)
	publishAll(b, publishers, func(w, n int) error {
		batches[w][0] = store.Entry{Bus: bus, Event: ev, Via: "http", Dedupe: dedupeKeyFor(int(run) + n), Window: window}
		_, err := s.Append(context.Background(), batches[w][:])
		return err
	})
}

// signals is a watcher that wakes whoever waits.
type signals struct {
	appended chan struct{}
	ready    map[store.SubscriptionID]chan struct{}
}

func (s *signals) Appended(store.BusID) { signal(s.appended) }

func (s *signals) Ready(sub store.SubscriptionID) {
	if c := s.ready[sub]; c != nil {
		signal(c)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// BenchmarkWholePath is what an event goes through in the store: append, read
// by the router, three deliveries queued, claimed and settled.
func BenchmarkWholePath(b *testing.B) {
	for _, publishers := range []int{64, 256} {
		b.Run(fmt.Sprint(publishers), func(b *testing.B) { wholePath(b, publishers, store.OrderNone, Options{}) })
	}
	b.Run("64-by-key", func(b *testing.B) { wholePath(b, 64, store.OrderKey, Options{}) })
	b.Run("256-without-trace", func(b *testing.B) { wholePath(b, 256, store.OrderNone, Options{NoTrace: true}) })
}

func wholePath(b *testing.B, publishers int, order store.Order, opts Options) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s := openRealWith(b, opts)
	bus, err := s.OpenBus(ctx, "orders", store.BusOptions{MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	warm(b, s, bus)
	watch := &signals{make(chan struct{}, 1), map[store.SubscriptionID]chan struct{}{}}
	var subs []store.SubscriptionID
	for i := range 3 {
		info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: fmt.Sprint("r/", i), Bus: bus, Order: order})
		if err != nil {
			b.Fatal(err)
		}
		subs = append(subs, info.ID)
		watch.ready[info.ID] = make(chan struct{}, 1)
	}
	s.Watch(watch)
	var settled atomic.Int64
	var running sync.WaitGroup
	running.Go(func() { route(ctx, b, s, bus, subs, watch.appended) })
	for _, sub := range subs {
		running.Go(func() { deliver(ctx, b, s, sub, watch.ready[sub], &settled) })
	}
	ev := kilobyte(b, "x")
	run := time.Now().UnixNano()
	batches := make([][1]store.Entry, publishers)
	var end time.Time
	began, cpu := time.Now(), cpuTime(b)
	publishAll(b, publishers, func(w, n int) error {
		batches[w][0] = store.Entry{Bus: bus, Event: ev, Via: "http", Dedupe: dedupeKeyFor(int(run) + n), Window: 2 * time.Minute}
		_, err := s.Append(ctx, batches[w][:])
		return err
	})
	for settled.Load() < 3*int64(b.N) {
		time.Sleep(100 * time.Microsecond)
	}
	end = time.Now()
	b.ReportMetric(float64(b.N)/end.Sub(began).Seconds(), "events/s")
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1000/float64(b.N), "cpu-µs/event")
	stop()
	running.Wait()
}

func route(ctx context.Context, b *testing.B, s *Store, bus store.BusID, subs []store.SubscriptionID, appended <-chan struct{}) {
	var records []store.Record
	var events []store.RoutedEvent
	matches := make([]store.Routed, 0, 3*512)
	at := s.Position(bus)
	for {
		var err error
		if records, err = s.Read(ctx, bus, at+1, 512, 1<<20, records[:0]); err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return
		}
		if len(records) == 0 {
			select {
			case <-appended:
				continue
			case <-ctx.Done():
				return
			}
		}
		events, matches = events[:0], matches[:0]
		for i := range records {
			first := len(matches)
			for _, sub := range subs {
				matches = append(matches, store.Routed{Subscription: sub, Key: records[i].Sequence%1000 + 1})
			}
			events = append(events, store.RoutedEvent{Record: records[i], Matches: matches[first:]})
		}
		at = records[len(records)-1].Sequence
		if err := s.Enqueue(ctx, bus, at, events); err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return
		}
	}
}

func deliver(ctx context.Context, b *testing.B, s *Store, sub store.SubscriptionID, ready <-chan struct{}, settled *atomic.Int64) {
	var ds []store.Delivery
	var outcomes []store.Settlement
	attempts := make([]store.Attempt, 128)
	for {
		var err error
		now := time.Now()
		if ds, _, err = s.Claim(ctx, sub, now, len(attempts), ds[:0]); err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return
		}
		if len(ds) == 0 {
			select {
			case <-ready:
				continue
			case <-ctx.Done():
				return
			}
		}
		outcomes = outcomes[:0]
		for i, d := range ds {
			attempts[i] = store.Attempt{Number: d.Attempt, Started: now, Duration: time.Millisecond, Status: 200, Address: "10.0.0.1:443"}
			outcomes = append(outcomes, store.Settlement{ID: d.ID, Kind: store.Done, Attempt: &attempts[i]})
		}
		if err := s.Settle(ctx, outcomes); err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return
		}
		settled.Add(int64(len(ds)))
	}
}

// BenchmarkWithDeliveries lists, of a million events that were all delivered to
// one subscription and one in 50,000 to another, those of the rare one, and those
// that expired, which none did; and the first page of those that were delivered.
func BenchmarkWithDeliveries(b *testing.B) {
	s := openReal(b)
	bus, err := s.OpenBus(b.Context(), "a", store.BusOptions{})
	if err != nil {
		b.Fatal(err)
	}
	subs := openSubs(b, s, bus, "r/all", "r/rare")
	const events, batch = 1 << 20, 4096
	ev, entries := kilobyte(b, "e"), make([]store.Entry, batch)
	for i := range entries {
		entries[i] = store.Entry{Bus: bus, Event: ev}
	}
	for range events / batch {
		if _, err := s.Append(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
		settleAll(b, s, bus, subs[0], subs[1], 50_000)
	}
	if err := s.trace.flush(); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		q    store.DeliveriesQuery
		want int // 0: any
	}{
		{"rare", store.DeliveriesQuery{Subscriptions: subs[1:], Delivered: true, Newest: true, Max: 100}, events / 50_000},
		{"none", store.DeliveriesQuery{Any: true, Expired: true, Max: 100}, 0},
		{"all", store.DeliveriesQuery{Any: true, Delivered: true, Max: 4096}, events},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if got, _ := listAll(b, s, bus, c.q); len(got) != c.want {
					b.Fatalf("%d events, want %d", len(got), c.want)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}

// BenchmarkCompacted is appending to a bus with a table, of few subjects and of
// many, beside a bus without one.
func BenchmarkCompacted(b *testing.B) {
	for _, table := range []bool{false, true} {
		for _, subjects := range []int{100, 100_000} {
			b.Run(fmt.Sprintf("table=%v/subjects=%d", table, subjects), func(b *testing.B) { appendCompacted(b, table, subjects) })
		}
	}
}

func appendCompacted(b *testing.B, table bool, subjects int) {
	const publishers = 256
	s := openReal(b)
	bus, err := s.OpenBus(context.Background(), "stock", store.BusOptions{MaxBytes: 64 << 20, Table: table})
	if err != nil {
		b.Fatal(err)
	}
	warm(b, s, bus)
	events := make([]*event.Event, subjects)
	for i := range events {
		events[i] = rowEvent(b, fmt.Sprint(i), fmt.Sprint("warehouse/", i))
	}
	run := time.Now().UnixNano()
	batches := make([][1]store.Entry, publishers)
	publishAll(b, publishers, func(w, n int) error {
		ev := events[n*7919%subjects]
		batches[w][0] = store.Entry{Bus: bus, Event: ev, Via: "http", Dedupe: dedupeKeyFor(int(run) + n), Window: 2 * time.Minute}
		_, err := s.Append(context.Background(), batches[w][:])
		return err
	})
}

// BenchmarkOutcomes is recording how deliveries ended: of 128 events in turn for
// three subscriptions, with what it takes to write their blocks.
func BenchmarkOutcomes(b *testing.B) {
	s := openRealWith(b, Options{NoBackground: true})
	bus, err := s.OpenBus(b.Context(), "a", store.BusOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var subs [3]*subscription
	for i, id := range openSubs(b, s, bus, "r/1", "r/2", "r/3") {
		subs[i] = s.sub(id)
	}
	const batch = 128
	now := s.clock.now()
	o := store.Settlement{Attempt: &store.Attempt{Number: 1, Started: time.Now(), Duration: time.Millisecond, Status: 200, Address: "10.0.0.1:443"}}
	it := &item{}
	it.bus, it.row.queued = bus, now.steady
	b.ReportAllocs()
	began := cpuTime(b)
	n := 0
	for seq := uint64(1); b.Loop(); seq += batch {
		for _, sub := range subs {
			ended := part{t: s.trace}
			for i := range uint64(batch) {
				it.seq = seq + i
				t := newOutcome(sub, it, &o, now)
				ended.add(&t)
			}
			ended.end()
		}
		n += len(subs) * batch
	}
	if err := s.trace.flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(n), "cpu-ns/outcome")
}

// BenchmarkLookUp looks for an event that is not there by its id, in a bus with a
// million events that have summaries.
func BenchmarkLookUp(b *testing.B) {
	s := openReal(b)
	bus, err := s.OpenBus(b.Context(), "a", store.BusOptions{})
	if err != nil {
		b.Fatal(err)
	}
	const events, batch = 1 << 20, 4096
	entries := make([]store.Entry, batch)
	for n := 0; n < events; n += batch {
		for i := range entries {
			entries[i] = store.Entry{Bus: bus, Event: rowEvent(b, fmt.Sprint(n+i), fmt.Sprint("warehouse/", n+i))}
		}
		if _, err := s.Append(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.summarise(func(time.Duration) bool { return true }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	q := store.ScanQuery{Newest: true, Max: 10, MaxBytes: 1 << 20, Has: []store.AttributeValue{{Name: "id", Value: "nobody"}}}
	for b.Loop() {
		if out, err := s.Scan(b.Context(), bus, q); err != nil || len(out.Records) > 0 {
			b.Fatalf("%d found: %v", len(out.Records), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
}
