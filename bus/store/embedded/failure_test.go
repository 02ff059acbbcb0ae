package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

var (
	errInjected = errors.New("injected")
	syncs       = []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
)

// failing opens an engine whose operations on paths that contain where fail
// while on is set.
func failing(t *testing.T, where string, kinds []errorfs.OpKind, cause error) (s *Store, on *atomic.Bool, mem *vfs.MemFS) {
	t.Helper()
	on = &atomic.Bool{}
	mem = vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && slices.Contains(kinds, op.Kind) && strings.Contains(op.Path, where) {
			return cause
		}
		return nil
	}))
	s, err := Open(Options{FS: fs, Dir: "data", SegmentSize: 1 << 20, Clock: newClock().Now, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	return s, on, mem
}

func TestAFailedSyncOfTheLogIsNeverAcknowledgedAndSequencesGoOn(t *testing.T) {
	for _, c := range []struct {
		name string
		kind []errorfs.OpKind
		err  error
	}{{"sync", syncs, errInjected}, {"disk full", []errorfs.OpKind{errorfs.OpFileWriteAt}, syscall.ENOSPC}} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			s, on, mem := failing(t, "log", c.kind, c.err)
			bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
			if err != nil {
				t.Fatal(err)
			}
			publish := func(id string) (store.Result, error) {
				rs, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, id), Dedupe: dedupeKeyFor(len(id)), Window: time.Hour}})
				if err != nil {
					return store.Result{}, err
				}
				return rs[0], nil
			}
			if r, err := publish("1"); err != nil || r.Sequence != 1 {
				t.Fatal(r, err)
			}
			on.Store(true)
			if _, err := publish("22"); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, c.err) {
				t.Fatalf("got %v", err)
			}
			if err := s.Err(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Err is %v", err)
			}
			if b, _ := s.Bounds(bus); b.Last != 1 {
				t.Errorf("what was not acknowledged can be seen: %+v", b)
			}
			on.Store(false)
			if err := s.log.Reopen(ctx); err != nil {
				t.Fatal(err)
			}
			if err := s.Err(); err != nil {
				t.Error(err)
			}
			if r, err := publish("22"); err != nil || r.Sequence != 2 || r.Duplicate {
				t.Fatal(r, err)
			}
			if r, err := publish("22"); err != nil || r.Sequence != 2 || !r.Duplicate {
				t.Fatal(r, err)
			}
			clone := mem.CrashClone(vfs.CrashCloneCfg{})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(Options{FS: clone, Dir: "data", Clock: newClock().Now, NoBackground: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if rs, err := s.Read(ctx, bus, 1, 10, 1<<20, nil); err != nil || len(rs) != 2 || rs[1].Event.ID() != "22" {
				t.Errorf("after a crash: %v, %v", rs, err)
			}
		})
	}
}

func TestAFailedStateStopsTheStoreAndNotTheProcess(t *testing.T) {
	ctx := context.Background()
	s, on, mem := failing(t, "state", syncs, errInjected)
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, "1")}}); err != nil {
		t.Fatal(err)
	}
	on.Store(true)
	if _, err := s.PutObject(ctx, "k", "n", nil, store.AnyVersion); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a command gives %v", err)
	}
	if err := s.Err(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Err is %v", err)
	}
	if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, "2")}}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an append gives %v", err)
	}
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	on.Store(false)
	_ = s.Close()
	s, err = Open(Options{FS: clone, Dir: "data", Clock: newClock().Now, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, err := s.Bounds(bus); err != nil || b.Last != 1 {
		t.Errorf("after a restart: %+v, %v", b, err)
	}
}

func TestPublishesAreRefusedAboveTheDiskReserve(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewCrashableMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	s, err := Open(Options{FS: mem, Dir: "data", DiskReserve: 1 << 20, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := []store.Entry{{Bus: bus, Event: small(t, "1")}}
	if _, err := s.Append(ctx, e); err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 10})
	refused := false
	for range 2 * diskGroups {
		if _, err := s.Append(ctx, e); err != nil {
			var limit *store.LimitError
			if !errors.Is(err, store.ErrUnavailable) || !errors.As(err, &limit) || limit.Limit != "diskReserve" || limit.Bound != 1<<20 {
				t.Errorf("got %v", err)
			}
			refused = true
			break
		}
	}
	if !refused || !errors.Is(s.Err(), store.ErrUnavailable) {
		t.Errorf("refused is %v, Err is %v", refused, s.Err())
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	if _, err := s.Append(ctx, e); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

func TestADirectoryIsOpenedOnce(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by another process (process id %d)", os.Getpid())) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestANewerFormatIsRefusedInWords(t *testing.T) {
	mem := vfs.NewMem()
	s, err := Open(Options{FS: mem, Dir: "data", NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	writeText(t, mem, "data/FORMAT", fmt.Sprintf("switchyard store %d\n", formatVersion+1))
	want := fmt.Sprintf("newer release (format %d; this one knows up to %d)", formatVersion+1, formatVersion)
	if _, err := Open(Options{FS: mem, Dir: "data", NoBackground: true}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if _, err := Check(t.Context(), CheckOptions{FS: mem, Dir: "data"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a check says %v", err)
	}
}

func writeText(t *testing.T, fs vfs.FS, path, text string) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte(text))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func readText(t *testing.T, fs vfs.FS, path string) string {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAnEarlierFormatIsUpgraded opens a folder of format 1, and cuts the power
// before each operation on its format file: what is left opens, and says either
// version, never none.
func TestAnEarlierFormatIsUpgraded(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts := Options{FS: mem, Dir: "data", NoBackground: true}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), []store.Entry{{Bus: bus, Event: small(t, "1")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old, now := "switchyard store 1\n", fmt.Sprintf("switchyard store %d\n", formatVersion)
	writeText(t, mem, "data/FORMAT", old)
	if r, err := Check(t.Context(), CheckOptions{FS: mem, Dir: "data"}); err != nil || r.Format != 1 || r.Found != 0 {
		t.Fatal(r, err)
	}
	var mu sync.Mutex
	var crashed []*vfs.MemFS
	wrote := false // to the log or the state while the format said 1
	opts.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(op.Path, "FORMAT") || op.Path == "data" {
			crashed = append(crashed, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 1))}))
		} else if strings.Contains(op.Path, "log") || strings.Contains(op.Path, "state") {
			wrote = wrote || readText(t, mem, "data/FORMAT") == old
		}
		return nil
	}))
	if s, err = Open(opts); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readText(t, mem, "data/FORMAT"); got != now || wrote {
		t.Errorf("the folder says %q; something was written before: %v", got, wrote)
	}
	if len(crashed) < 3 {
		t.Fatal("the crashes do not run")
	}
	for i, fs := range crashed {
		if got := readText(t, fs, "data/FORMAT"); got != old && got != now {
			t.Errorf("crash %d leaves %q", i, got)
		}
		opts.FS = fs
		s, err := Open(opts)
		if err != nil {
			t.Fatal(i, err)
		}
		if records, err := s.Read(t.Context(), bus, 1, 10, 1<<20, nil); err != nil || len(records) != 1 {
			t.Errorf("crash %d: %d events, %v", i, len(records), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFormatThatCannotBeReadIsNotWrittenOver(t *testing.T) {
	mem := vfs.NewMem()
	s, err := Open(Options{FS: mem, Dir: "data", NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	broken := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, "FORMAT") {
			return syscall.EMFILE
		}
		return nil
	}))
	if _, err := Open(Options{FS: broken, Dir: "data", NoBackground: true}); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("got %v", err)
	}
}

// Pebble panics when it is told that its log cannot be written. Commits that are
// not synced find out at any time.
func TestAStateThatCannotBeWrittenIsAnErrorAndNoPanic(t *testing.T) {
	writes := []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFilePreallocate}
	for _, kinds := range [][]errorfs.OpKind{writes, syncs, append(slices.Clone(writes), syncs...)} {
		s, on, mem := failing(t, "state", kinds, syscall.ENOSPC)
		value := make([]byte, 64<<10)
		if err := s.state.db.Set([]byte("kept"), value, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		on.Store(true)
		var err error
		for i := 0; i < 2000 && err == nil; i++ { // more than a file of the log holds
			batch := s.state.db.NewBatch()
			_ = batch.Set(fmt.Appendf(nil, "lost%d", i), value, nil)
			if err = s.state.commit(batch); err == nil && i%100 == 99 {
				err = s.state.flush()
			}
		}
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("commits end with %v", err)
		}
		if err := s.Err(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Err is %v", err)
		}
		clone := mem.CrashClone(vfs.CrashCloneCfg{})
		on.Store(false)
		_ = s.Close()
		if s, err = Open(Options{FS: clone, Dir: "data", NoBackground: true}); err != nil {
			t.Fatal(err)
		}
		if there, err := s.state.has([]byte("kept")); err != nil || !there {
			t.Errorf("what was synced before is there: %v, %v", there, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The router hands over again and again what could not be queued for all. A
// state that has failed for good must not have the others get it each time.
func TestAFailedStateDoesNotMakeDeliveriesRepeat(t *testing.T) {
	ctx := context.Background()
	s, on, _ := failing(t, "state", syncs, errInjected)
	defer s.Close()
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var subs []store.SubscriptionID
	for _, name := range []string{"r/fast", "r/waits"} {
		info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: name, Bus: bus})
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, info.ID)
	}
	results, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, "1")}})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := s.Get(ctx, bus, results[0].Sequence)
	if err != nil {
		t.Fatal(err)
	}
	s.sub(subs[1]).backlog = true // so that it needs a row
	on.Store(true)
	if _, err := s.PutObject(ctx, "k", "n", nil, store.AnyVersion); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	delivered := 0
	for range 3 {
		err := s.Enqueue(ctx, bus, rec.Sequence, []store.RoutedEvent{{Record: rec, Matches: []store.Routed{{Subscription: subs[0]}, {Subscription: subs[1]}}}})
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("a failed state takes deliveries: %v", err)
		}
		ds, _, err := s.Claim(ctx, subs[0], time.Now(), 10, nil)
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		for _, d := range ds {
			delivered++
			if err := s.Settle(ctx, []store.Settlement{{ID: d.ID, Kind: store.Done}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if delivered > 1 {
		t.Errorf("it was delivered %d times", delivered)
	}
}

// A server on the log of a store whose state is gone would give numbers and
// sequences a second time.
func TestALogWithoutItsStateIsNotOpened(t *testing.T) {
	fs := vfs.NewMem()
	open := func() (*Store, error) { return Open(Options{FS: fs, Dir: "data", NoBackground: true}) }
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	appendNumbered(t, s, bus, 1, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("data/state"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "store repair") {
			t.Fatalf("it opens: %v", err)
		}
	}
	if r, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{FS: fs, Dir: "data"}, Apply: true, Names: map[store.BusID]string{bus: "a"}}); err != nil || !r.Applied {
		t.Fatal(r, err)
	}
	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Bounds(bus); err != nil || b.Last != 1 {
		t.Errorf("after the repair it holds %+v, %v", b, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
