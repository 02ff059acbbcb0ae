package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// ordered is a closed store with 300 events of three keys, all queued in order
// of their keys. The first of each key waits for a retry, so that the others
// stand in a line behind it, and sequence 5 is a dead letter of another
// subscription.
func ordered(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, SegmentSize: 8 << 10, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	must(err)
	sub, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/keyed", Bus: bus, Order: store.OrderKey})
	must(err)
	dead, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/dead", Bus: bus})
	must(err)
	for i := range 300 {
		_, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, fmt.Sprint(i)), Window: time.Hour, Dedupe: [16]byte{byte(i), byte(i >> 8), 1}}})
		must(err)
	}
	records, err := s.Read(ctx, bus, 1, 1000, 1<<20, nil)
	must(err)
	var events []store.RoutedEvent
	for _, r := range records {
		e := store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub.ID, Key: 1 + r.Sequence%3}}}
		if r.Sequence == 5 {
			e.Matches = append(e.Matches, store.Routed{Subscription: dead.ID})
		}
		events = append(events, e)
	}
	must(s.Enqueue(ctx, bus, 300, events))
	ds, _, err := s.Claim(ctx, sub.ID, time.Now(), 3, nil)
	must(err)
	for _, d := range ds {
		must(s.Settle(ctx, []store.Settlement{{ID: d.ID, Kind: store.Retry, RetryAt: time.Now(), Attempt: &store.Attempt{Number: 1, Error: "no"}}}))
	}
	ds, _, err = s.Claim(ctx, dead.ID, time.Now(), 1, nil)
	must(err)
	for _, d := range ds {
		must(s.Settle(ctx, []store.Settlement{{ID: d.ID, Kind: store.Dead, Reason: "no", Attempt: &store.Attempt{Number: 1, Error: "no"}}}))
	}
	must(s.Close())
	return dir
}

// deliverAll claims and settles what a subscription owes, and returns the
// sequences in the order in which they came.
func deliverAll(t *testing.T, s *Store, sub store.SubscriptionID) (seqs []uint64) {
	t.Helper()
	for {
		ds, _, err := s.Claim(t.Context(), sub, time.Now().Add(time.Hour), 16, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) == 0 {
			return seqs
		}
		for _, d := range ds {
			seqs = append(seqs, d.ID.Sequence)
			if err := s.Settle(t.Context(), []store.Settlement{{ID: d.ID, Kind: store.Done, Attempt: &store.Attempt{Number: d.Attempt}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestARepairedStoreKeepsAllThatCanBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		lost   bool // events are
		steps  []string
	}{
		"a flipped bit in the first frame": {
			func(t *testing.T, dir string) { flip(t, segments(t, dir)[0], 4096+40) }, true,
			[]string{" 1 place of the log", "build the index anew"},
		},
		"a flipped bit in the middle": {
			func(t *testing.T, dir string) { flip(t, segments(t, dir)[2], 4096+600) }, true,
			[]string{" 1 place of the log", "build the index anew"},
		},
		"the oldest segment is missing": {
			func(t *testing.T, dir string) { remove(t, segments(t, dir)[0]) }, true, []string{"build the index anew"},
		},
		"a segment in the middle is missing": {
			func(t *testing.T, dir string) { remove(t, segments(t, dir)[2]) }, true, []string{"build the index anew"},
		},
		"the newest segments are missing": {
			func(t *testing.T, dir string) {
				s := segments(t, dir)
				remove(t, s[len(s)-1])
				remove(t, s[len(s)-2])
			}, true, []string{"build the index anew"},
		},
		"all segments are missing": {
			func(t *testing.T, dir string) {
				for _, s := range segments(t, dir) {
					remove(t, s)
				}
			}, true, []string{"build the index anew"},
		},
		"a format that cannot be read": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "FORMAT"), "\x00\x00\x00") }, false,
			[]string{"mark the folder"},
		},
		"no format": {
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "FORMAT")) }, false, []string{"mark the folder"},
		},
		"a damaged trace": {
			func(t *testing.T, dir string) {
				names, _ := filepath.Glob(filepath.Join(dir, "trace", "*.seg"))
				flip(t, names[0], 20)
				write(t, filepath.Join(dir, "FORMAT"), "x")
			}, false, []string{" 1 place of the traces"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ordered(t)
			c.damage(t, dir)
			before := tree(t, dir)
			dry, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}})
			if err != nil {
				t.Fatal(err)
			}
			if after := tree(t, dir); strings.Join(before, "\n") != strings.Join(after, "\n") {
				t.Error("the dry run changed the folder")
			}
			for _, want := range c.steps {
				if !strings.Contains(strings.Join(dry.Steps, "\n"), want) {
					t.Errorf("no %q in %q", want, dry.Steps)
				}
			}
			if dry.Applied || dry.Found == 0 || (len(dry.Lost) > 0) != c.lost {
				t.Errorf("the dry run says %+v", dry)
			}
			r, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Applied || fmt.Sprint(r.Lost) != fmt.Sprint(dry.Lost) {
				t.Errorf("the repair did %+v, and said before %+v", r, dry)
			}
			if again, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true}); err != nil || again.Found != 0 {
				t.Errorf("a second repair finds %+v, %v", again, err)
			}
			gone := map[uint64]bool{}
			for _, l := range r.Lost {
				for _, s := range l.Sequences {
					for seq := s.From; seq <= s.To; seq++ {
						gone[seq] = true
					}
				}
			}
			whole(t, vfs.Default, dir, gone)
		})
	}
}

// whole requires that a repaired store of ordered has all but what is gone, that
// it can be delivered in order, and that sequences go on where they ended.
func whole(t *testing.T, fs vfs.FS, dir string, gone map[uint64]bool) {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: dir, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 300; seq++ {
		r, err := s.Get(t.Context(), bus, seq)
		if gone[seq] {
			if !errors.Is(err, store.ErrTrimmed) && !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("sequence %d is gone, but: %v", seq, err)
			}
			continue
		}
		if err != nil || r.Event.ID() != fmt.Sprint(seq-1) {
			t.Fatalf("sequence %d: %v, %v", seq, r.Event, err)
		}
	}
	records, err := s.Read(t.Context(), bus, 1, 1000, 1<<20, nil)
	if err != nil || len(records) != 300-len(gone) {
		t.Fatalf("%d events, %v, with %d gone", len(records), err, len(gone))
	}
	last := map[uint64]uint64{}
	seqs := deliverAll(t, s, 1)
	if len(seqs) != 300-len(gone) {
		t.Errorf("%d deliveries came, with %d events gone", len(seqs), len(gone))
	}
	for _, seq := range seqs {
		if gone[seq] || seq <= last[seq%3] {
			t.Fatalf("sequence %d comes after %d", seq, last[seq%3])
		}
		last[seq%3] = seq
	}
	letters, _, err := s.ListDead(t.Context(), 2, "", 10)
	if err != nil || len(letters) == 0 != gone[5] {
		t.Errorf("dead letters: %v, %v", letters, err)
	}
	if info, err := s.Subscription(2); err != nil || info.Dead != int64(len(letters)) {
		t.Errorf("%+v, %v", info, err)
	}
	res, err := s.Append(t.Context(), []store.Entry{{Bus: bus, Event: small(t, "new")}})
	if err != nil || res[0].Sequence != 301 {
		t.Errorf("the next event: %+v, %v", res, err)
	}
	if r, err := s.Get(t.Context(), bus, 301); err != nil || r.Event.ID() != "new" {
		t.Error(r, err)
	}
}

// TestAStateIsBuiltAnewFromTheLog takes the state away, whole and in parts.
func TestAStateIsBuiltAnewFromTheLog(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"it is missing": func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
		},
		"its manifest is missing": func(t *testing.T, dir string) {
			names, _ := filepath.Glob(filepath.Join(dir, "state", "MANIFEST-*"))
			for _, n := range names {
				remove(t, n)
			}
		},
		"it is missing and so is a segment": func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
			remove(t, segments(t, dir)[2])
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ordered(t)
			damage(t, dir)
			opts := RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true, Names: map[store.BusID]string{1: "a"}}
			r, err := Repair(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Buses) != 1 || r.Buses[0].Name != "a" || r.Buses[0].Last != 300 || r.Buses[0].Type == "" {
				t.Errorf("got %+v", r.Buses)
			}
			s, err := Open(Options{Dir: dir, NoBackground: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
			if err != nil {
				t.Fatal(err)
			}
			lost := 0
			for _, l := range r.Lost {
				lost += int(l.Events)
			}
			records, err := s.Read(t.Context(), bus, 1, 1000, 1<<20, nil)
			if err != nil || len(records)+lost != 300 {
				t.Fatalf("%d events are there and %d lost, %v", len(records), lost, err)
			}
			res, err := s.Append(t.Context(), []store.Entry{{Bus: bus, Event: small(t, "1"), Window: time.Hour, Dedupe: [16]byte{1, 0, 1}}})
			if err != nil || !res[0].Duplicate || res[0].Sequence != 2 {
				t.Errorf("a duplicate is not known: %+v, %v", res, err)
			}
			if s.Position(bus) != 300 {
				t.Errorf("the router would begin at %d", s.Position(bus))
			}
		})
	}
}

// A bus that a repair has named by its number gets its name back, also when a start
// has made an empty bus of that name since.
func TestABusGetsItsNameBack(t *testing.T) {
	dir := filled(t)
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	if _, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true}); err != nil {
		t.Fatal(err)
	}
	opts := Options{Dir: dir, NoBackground: true}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "used"} {
		id, err := s.OpenBus(t.Context(), name, store.BusOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if name == "used" {
			if _, err := s.Append(t.Context(), []store.Entry{{Bus: id, Event: small(t, "x")}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := RenameBus(t.Context(), RenameOptions{Dir: dir}, "recovered-1", "a"); err == nil {
		t.Error("a store that is open was renamed in")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := RenameBus(t.Context(), RenameOptions{Dir: dir}, "recovered-1", "used"); err == nil || !strings.Contains(err.Error(), "events up to sequence 1") {
		t.Errorf("the name of a bus with events: %v", err)
	}
	if err := RenameBus(t.Context(), RenameOptions{Dir: dir}, "absent", "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a bus that is not there: %v", err)
	}
	if err := RenameBus(t.Context(), RenameOptions{Dir: dir}, "recovered-1", "a"); err != nil {
		t.Fatal(err)
	}
	if r, err := Check(t.Context(), CheckOptions{Dir: dir}); err != nil || r.Found > 0 {
		t.Errorf("after it: %v, %v", r.Problems, err)
	}
	if s, err = Open(opts); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if records, err := s.Read(t.Context(), id, 1, 1000, 1<<20, nil); err != nil || len(records) != 200 {
		t.Errorf("the bus has %d events, %v", len(records), err)
	}
	if s.byName["recovered-1"] != nil || len(s.allBuses()) != 2 {
		t.Errorf("there are %d buses", len(s.allBuses()))
	}
}

// TestADryRunNamesWhatARepairOfADamagedStateDrops damages tables of the state in
// many places: what is said before is what is done.
func TestADryRunNamesWhatARepairOfADamagedStateDrops(t *testing.T) {
	whole := filled(t)
	s, err := Open(Options{Dir: whole, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range s.allSubs() { // some are dead, the others queued
		claimed, _, err := s.Claim(t.Context(), sub.id, time.Now(), 50, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range claimed {
			if err := s.Settle(t.Context(), []store.Settlement{{ID: d.ID, Kind: store.Dead, Reason: strings.Repeat("no ", 50)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.state.db.Compact(t.Context(), []byte{0}, []byte{255}, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rebuilt, copied, dropped := 0, 0, 0
	tables, _ := filepath.Glob(filepath.Join(whole, "state", "*.sst"))
	if len(tables) == 0 {
		t.Fatal("no tables")
	}
	const places = 3 // the engine looks for flipped bits in each, which takes its time
	for n := range places {
		b, err := os.ReadFile(tables[n%len(tables)])
		if err != nil {
			t.Fatal(err)
		}
		at := n * len(b) / (2 * places) // blocks, not the footer and index
		for i := at; i < min(at+40, len(b)); i++ {
			b[i] ^= 0x55
		}
		mem := vfs.NewMem()
		if ok, err := vfs.Clone(vfs.Default, mem, whole, "data"); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := writeWhole(mem, "data/state", filepath.Base(tables[n%len(tables)]), b); err != nil {
			t.Fatal(err)
		}
		opts := RepairOptions{CheckOptions: CheckOptions{FS: mem, Dir: "data"}}
		dry, err := Repair(t.Context(), opts)
		if err != nil {
			t.Fatal(n, err)
		}
		opts.Apply = true
		done, err := Repair(t.Context(), opts)
		if err != nil {
			t.Fatal(n, err)
		}
		if !reflect.DeepEqual(dry.Lost, done.Lost) || !reflect.DeepEqual(dry.Buses, done.Buses) || !slices.Equal(dry.Steps, done.Steps) || dry.Rows != done.Rows {
			t.Errorf("%d: before, it says\n%q, %d rows, %+v, %+v,\nand then does\n%q, %d rows, %+v, %+v", n,
				dry.Steps, dry.Rows, dry.Lost, dry.Buses, done.Steps, done.Rows, done.Lost, done.Buses)
		}
		if dry.Found > 0 && !done.Applied {
			t.Errorf("%d: %+v", n, done)
		}
		switch {
		case len(dry.Buses) > 0:
			rebuilt++
		case len(dry.Steps) > 0:
			copied++
		}
		dropped += len(dry.Lost)
	}
	if rebuilt == 0 || copied == 0 || dropped == 0 {
		t.Errorf("%d were built anew and %d copied, %d with losses: the test shows too little", rebuilt, copied, dropped)
	}
}

func TestWhatOfAStateCanBeReadIsKept(t *testing.T) {
	dir := filled(t)
	s, err := Open(Options{Dir: dir, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	// Tables, of which one that has only queue rows is damaged.
	for _, cut := range [][]byte{{prefixQueue}, {prefixQueue + 1}} {
		if err := s.state.db.Compact(t.Context(), []byte{0}, cut, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.state.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tables, _ := filepath.Glob(filepath.Join(dir, "state", "*.sst"))
	if len(tables) == 0 {
		t.Fatal("no tables")
	}
	largest := tables[0]
	for _, name := range tables {
		a, _ := os.Stat(name)
		if b, _ := os.Stat(largest); a.Size() > b.Size() {
			largest = name
		}
	}
	b, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 3; i < len(b)/2; i++ { // blocks, not the footer and index
		b[i] ^= 0x55
	}
	write(t, largest, string(b))
	r, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true, Names: map[store.BusID]string{1: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Applied {
		t.Errorf("got %+v", r)
	}
	s, err = Open(Options{Dir: dir, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if records, err := s.Read(t.Context(), bus, 1, 1000, 1<<20, nil); err != nil || len(records) != 200 {
		t.Errorf("%d events, %v", len(records), err)
	}
}

// TestAnInterruptedRepairIsFinishedByTheNext cuts the power during a repair: the
// store that is left does not open, or is whole, and the next repair mends it.
func TestAnInterruptedRepairIsFinishedByTheNext(t *testing.T) {
	dir := ordered(t)
	flip(t, segments(t, dir)[2], 4096+600)
	dry, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}})
	if err != nil || len(dry.Lost) != 1 {
		t.Fatal(dry, err)
	}
	gone := map[uint64]bool{dry.Lost[0].Sequences[0].From: true}
	mem := vfs.NewCrashableMem()
	if ok, err := vfs.Clone(vfs.Default, mem, dir, "data", vfs.CloneSync); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := syncDir(mem, ""); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var crashes []*vfs.MemFS
	n := 0
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%5 == 0 && len(crashes) < 40 {
				crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: n % 101, RNG: rand.New(rand.NewPCG(uint64(n), 1))}))
			}
		}
		return nil
	}))
	if _, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: "data", FS: fs}, Apply: true}); err != nil {
		t.Fatal(err)
	}
	if len(crashes) < 10 {
		t.Fatal("the crashes do not run")
	}
	finished := 0
	for i, fs := range crashes {
		s, err := Open(Options{FS: fs, Dir: "data", NoBackground: true})
		if err == nil {
			finished++
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		opts := RepairOptions{CheckOptions: CheckOptions{Dir: "data", FS: fs}, Apply: true}
		r, err := Repair(t.Context(), opts)
		if err != nil || r.Applied == (r.Found == 0) {
			t.Fatalf("crash %d: %+v, %v", i, r, err)
		}
		whole(t, fs, "data", gone)
	}
	if finished == len(crashes) {
		t.Error("no crash came in the middle")
	}
}

func TestARepairLeavesANewerStoreAndForeignFoldersAlone(t *testing.T) {
	dir := t.TempDir()
	if _, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true}); err == nil || !strings.Contains(err.Error(), "is not a data folder") {
		t.Errorf("a foreign folder: %v", err)
	}
	write(t, filepath.Join(dir, "FORMAT"), "switchyard store 99\n")
	if _, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true}); err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("a newer store: %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestARepairLetsTheStateKnowWhatSegmentsHold repairs a store whose state says of
// two segments nothing and of one too little, as older programs could leave it
// after a crash: retention took the first for empty.
func TestARepairLetsTheStateKnowWhatSegmentsHold(t *testing.T) {
	dir := ordered(t)
	s, err := Open(Options{Dir: dir, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(t.Context(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	batch := s.state.db.NewBatch()
	n := 0
	if err := s.state.scanPrefix([]byte{prefixSegment}, func(key, value []byte) (bool, error) {
		switch n++; n {
		case 2, 3:
			_ = batch.Delete(key, nil)
		case 4:
			v := rowReader{rest: value}
			row := v.segmentRow()
			row.max--
			_ = batch.Set(key, row.append(nil), nil)
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if n < 6 {
		t.Fatalf("there are rows of %d segments only", n)
	}
	if err := errors.Join(s.state.commitSynced(batch), s.Close()); err != nil {
		t.Fatal(err)
	}
	problems := func() int {
		t.Helper()
		r, err := Check(t.Context(), CheckOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Problems {
			if !strings.Contains(p.What, "retention may remove that") {
				t.Errorf("%s: %s", p.Where, p.What)
			}
		}
		return len(r.Problems)
	}
	if got := problems(); got != 3 {
		t.Errorf("the check finds %d problems, want 3", got)
	}
	if _, err := Repair(t.Context(), RepairOptions{CheckOptions: CheckOptions{Dir: dir}, Apply: true}); err != nil {
		t.Fatal(err)
	}
	if got := problems(); got != 0 {
		t.Errorf("the check of what was repaired finds %d problems", got)
	}
	if s, err = Open(Options{Dir: dir, NoBackground: true}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if records, err := s.Read(t.Context(), bus, 1, 1000, 1<<20, nil); err != nil || len(records) != 300 {
		t.Errorf("%d of 300 events are left, %v", len(records), err)
	}
}
