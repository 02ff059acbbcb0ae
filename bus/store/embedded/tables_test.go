package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// rowEvent is an event of about a kilobyte with a subject.
func rowEvent(t testing.TB, id, subject string) *event.Event {
	t.Helper()
	b := event.NewBuilder()
	for _, a := range [...][2]string{{"id", id}, {"source", "/shop"}, {"type", "stock"}, {"subject", subject}} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	b.SetJSON(fmt.Appendf(nil, `{"padding":%q}`, strings.Repeat("x", 900)))
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// routeAll says that all of a bus was routed and matched nothing.
func routeAll(t testing.TB, s *Store, bus store.BusID) {
	t.Helper()
	bounds, err := s.Bounds(bus)
	if err == nil {
		err = s.Enqueue(context.Background(), bus, bounds.Last, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCompactionFreesTheDiskAndKeepsTheRows(t *testing.T) {
	ctx := context.Background()
	clk := newClock()
	mem := vfs.NewMem()
	opts := Options{FS: mem, Dir: "data", SegmentSize: 256 << 10, Clock: clk.Now, NoBackground: true}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	bus, err := s.OpenBus(ctx, "stock", store.BusOptions{MaxAge: time.Hour, Table: true})
	if err != nil {
		t.Fatal(err)
	}
	const subjects, rounds = 300, 20
	newest := map[string]string{}
	for round := range rounds {
		for i := range 200 {
			n := i % 10 // most events are about few subjects
			if i%20 == 0 {
				n = round*10%subjects + i/20
			}
			subject, id := fmt.Sprintf("s%03d", n), fmt.Sprintf("%d-%d", round, i)
			if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: rowEvent(t, id, subject)}}); err != nil {
				t.Fatal(err)
			}
			newest[subject] = id
		}
		routeAll(t, s, bus)
		clk.advance(2 * time.Hour)
		if err := s.Trim(ctx); err != nil {
			t.Fatal(err)
		}
		if round%7 == 6 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			healthy(t, mem, "after a close")
			if s, err = Open(opts); err != nil {
				t.Fatal(err)
			}
		}
	}
	bytes := int64(len(newest)) * 1100
	if live := s.log.DiskUsage().Live; live > 4*bytes+3*opts.SegmentSize {
		t.Errorf("%d KiB are on disk for rows of %d KiB", live>>10, bytes>>10)
	}
	if n := len(s.log.Segments()); n > 12 {
		t.Errorf("there are %d files", n)
	}
	index := 0
	if err := s.state.scanPrefix(idKey(nil, prefixIndex, uint32(bus)), func(_, _ []byte) (bool, error) { index++; return true, nil }); err != nil || index > 20 {
		t.Errorf("there are %d index rows, %v", index, err)
	}
	rows, next, err := s.ReadTable(ctx, bus, "", "", 1000, 1<<30, nil)
	if err != nil || next != "" || len(rows) != len(newest) {
		t.Fatalf("the table has %d rows, next %q, %v; want %d", len(rows), next, err, len(newest))
	}
	for _, r := range rows {
		if r.Event.ID() != newest[r.Event.Subject()] {
			t.Errorf("%s is %s, want %s", r.Event.Subject(), r.Event.ID(), newest[r.Event.Subject()])
		}
		// The rows know where their events stand now.
		row, ok, err := s.rowOf(s.buses.get(uint32(bus)), r.Event.Subject())
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if _, ok, err := (&tableReader{s: s, b: s.buses.get(uint32(bus))}).at(row); err != nil || !ok {
			t.Errorf("%s does not stand where its row says: %v", r.Event.Subject(), err)
		}
	}
	records, err := s.Read(ctx, bus, 1, 1000, 1<<30, nil)
	if err != nil || len(records) != len(newest) {
		t.Errorf("%d records are read, %v; want %d", len(records), err, len(newest))
	}
}

func TestATableThatIsBeingMadeGoesOnAfterARestart(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewCrashableMem()
	opts := Options{FS: mem, Dir: "data", NoBackground: true}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(ctx, "stock", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(n int) {
		for i := range n {
			if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: rowEvent(t, fmt.Sprint(i), fmt.Sprint("s", i%50))}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const before = 2*tableEvents + 10
	publish(before)
	if _, err := s.OpenBus(ctx, "stock", store.BusOptions{Table: true}); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.ReadTable(ctx, bus, "", "", 10, 1<<20, nil)
	if !errors.Is(err, store.ErrTableUnfinished) || !strings.Contains(err.Error(), fmt.Sprintf("0 of %d events", before)) {
		t.Errorf("a table that is not finished answers %v", err)
	}
	if more, err := s.tableStep(ctx, s.buses.get(uint32(bus))); err != nil || !more {
		t.Fatal(more, err)
	}
	if info, err := s.Table(bus); err != nil || info.Total != before || info.Left != before-tableEvents || info.Subjects != -1 {
		t.Errorf("after a step the table is %+v, %v", info, err)
	}
	publish(7) // they are rows, whatever is still to come
	if err := s.state.flush(); err != nil {
		t.Fatal(err)
	}
	opts.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	if s, err = Open(opts); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := s.Table(bus); err != nil || info.Left != before-tableEvents {
		t.Errorf("after a crash the table is %+v, %v", info, err)
	}
	if err := s.Trim(ctx); err != nil {
		t.Fatal(err)
	}
	rows, _, err := s.ReadTable(ctx, bus, "", "", 100, 1<<30, nil)
	if err != nil || len(rows) != 50 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		if n := before + 7 - int(r.Sequence); n >= 57 {
			t.Errorf("the row of %s is the event %d", r.Event.Subject(), r.Sequence)
		}
	}
}

// TestPowerCutsLoseNoRow cuts the power while several publish and retention goes
// on: each subject's newest event that was acknowledged is its row, or a newer
// one is.
func TestPowerCutsLoseNoRow(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+tries(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			fs := vfs.NewCrashableMem()
			acked := map[string]int{} // by subject, the number of the newest
			for range 3 {
				fs = compactUnderLoad(t, fs, rng, acked)
				healthy(t, fs, "after a crash")
			}
		})
	}
}

func compactUnderLoad(t *testing.T, fs *vfs.MemFS, rng *rand.Rand, acked map[string]int) *vfs.MemFS {
	ctx := context.Background()
	s, err := Open(Options{FS: fs, Dir: "data", SegmentSize: 64 << 10, SyncEvery: 8 * time.Millisecond, CheckpointEvery: 2 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bus, err := s.OpenBus(ctx, "stock", store.BusOptions{MaxBytes: 32 << 10, Table: true})
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, s, bus, acked)
	var mu sync.Mutex
	var running sync.WaitGroup
	stop := make(chan struct{})
	events := 0
	reached := make(chan struct{})
	until := 200 + rng.IntN(600)
	for w := range 3 {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		running.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				subject := fmt.Sprintf("w%d-%d", w, own.IntN(2+own.IntN(60)))
				mu.Lock()
				number := acked[subject] + 1
				mu.Unlock()
				if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: rowEvent(t, fmt.Sprint(number), subject)}}); err != nil {
					return
				}
				mu.Lock()
				acked[subject] = number // only this goroutine publishes it
				if events++; events == until {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			bounds, err := s.Bounds(bus)
			if err == nil {
				err = s.Enqueue(ctx, bus, bounds.Last, nil)
			}
			if err == nil {
				err = s.Trim(ctx)
			}
			if err == nil {
				_, err = s.Read(ctx, bus, 1, 1000, 1<<30, nil)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	<-reached
	mu.Lock()
	known := map[string]int{}
	for subject, n := range acked {
		known[subject] = n
	}
	mu.Unlock()
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	close(stop)
	running.Wait()
	wantRows(t, s, bus, acked)
	clear(acked)
	for subject, n := range known {
		acked[subject] = n
	}
	return clone
}

// wantRows wants of each subject the event with a number at least, and takes the
// numbers that it finds.
func wantRows(t *testing.T, s *Store, bus store.BusID, numbers map[string]int) {
	t.Helper()
	ctx := context.Background()
	records, err := s.Read(ctx, bus, 1, 1<<20, 1<<40, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int{}
	for _, r := range records {
		var n int
		if _, err := fmt.Sscan(r.Event.ID(), &n); err != nil {
			t.Fatal(err)
		}
		last[r.Event.Subject()] = n
	}
	rows, next, err := s.ReadTable(ctx, bus, "", "", 1<<20, 1<<40, nil)
	if err != nil || next != "" {
		t.Fatalf("next %q, %v", next, err)
	}
	found := map[string]int{}
	for _, r := range rows {
		var n int
		if _, err := fmt.Sscan(r.Event.ID(), &n); err != nil {
			t.Fatal(err)
		}
		found[r.Event.Subject()] = n
		if last[r.Event.Subject()] != n {
			t.Errorf("%s is %d in the table and %d on the bus", r.Event.Subject(), n, last[r.Event.Subject()])
		}
	}
	for subject, n := range numbers {
		if found[subject] < n {
			t.Errorf("%s is %d; %d was acknowledged", subject, found[subject], n)
		}
	}
	for subject, n := range found {
		numbers[subject] = n
	}
}

func TestCheckFindsRowsWithoutEvents(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	clk := newClock()
	s, err := Open(Options{FS: mem, Dir: "data", Clock: clk.Now, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(ctx, "stock", store.BusOptions{MaxAge: time.Hour, Table: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: rowEvent(t, fmt.Sprint(i), fmt.Sprint("s", i))}}); err != nil {
			t.Fatal(err)
		}
	}
	routeAll(t, s, bus)
	clk.advance(2 * time.Hour)
	if err := s.Trim(ctx); err != nil {
		t.Fatal(err)
	}
	batch := s.state.db.NewBatch()
	lost := tableRow{seq: 2}
	_ = batch.Set(tableRowKey(nil, bus, "lost"), lost.append(nil), nil)
	if err := s.state.commitSynced(batch); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Check(ctx, CheckOptions{FS: mem, Dir: "data"})
	if err != nil || report.Found != 1 || !strings.Contains(report.Problems[0].What, "the events of 1 subject are missing") {
		t.Errorf("the report says %+v, %v", report.Problems, err)
	}
}
