package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// TestWhatCrashesLeaveIsNoProblem runs the crash test's workload and checks the
// folder after each power cut, before anything has mended it, and after it was
// opened and closed again.
func TestWhatCrashesLeaveIsNoProblem(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+min(tries(), 20); seed++ {
		for _, order := range []store.Order{store.OrderNone, store.OrderKey, store.OrderStrict} {
			t.Run(fmt.Sprintf("%d/%d", seed, order), func(t *testing.T) {
				t.Parallel()
				l := &ledger{
					t: t, r: rand.New(rand.NewPCG(seed, uint64(order))), clock: newClock(), order: order,
					ids: map[string]store.BusID{}, maybe: map[string]bool{}, dead: map[string]bool{},
					due: map[string]time.Time{}, delivered: map[string][]delivered{},
				}
				fs := vfs.NewCrashableMem()
				for epoch := range 3 {
					s := l.open(fs)
					buses, subs := l.resources(s)
					clone := l.live(s, fs, buses, subs, epoch)
					l.must(s.Close())
					healthy(t, fs, "after a close")
					fs = clone
					healthy(t, fs, "after a crash")
				}
			})
		}
	}
}

// What a store holds is said as it is: also of buses that retention has passed.
func TestACheckCountsWhatOutlivesRetention(t *testing.T) {
	ctx := context.Background()
	clk, mem := newClock(), vfs.NewCrashableMem()
	s, err := Open(Options{FS: mem, Dir: "data", Clock: clk.Now, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]store.BusID{}
	for _, name := range []string{"empty", "table", "trimmed"} {
		if ids[name], err = s.OpenBus(ctx, name, store.BusOptions{MaxAge: time.Hour, Table: name == "table"}); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: ids["trimmed"]})
	if err != nil {
		t.Fatal(err)
	}
	for i, subject := range []string{"a", "b", "a", "c", "b"} { // 3, 4 and 5 are rows
		for _, name := range []string{"table", "trimmed"} {
			if _, err := s.Append(ctx, []store.Entry{{Bus: ids[name], Event: rowEvent(t, fmt.Sprint(i), subject)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	records, err := s.Read(ctx, ids["trimmed"], 2, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Enqueue(ctx, ids["trimmed"], 5, []store.RoutedEvent{{Record: records[0], Matches: []store.Routed{{Subscription: sub.ID}}}}); err != nil {
		t.Fatal(err)
	}
	routeAll(t, s, ids["table"])
	clk.advance(2 * time.Hour)
	if err := s.Trim(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Table(ids["table"]); err != nil || info.Subjects != 3 || info.First != 3 {
		t.Errorf("the table is %+v, %v", info, err)
	}
	if err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	// The state of a crash does not know these yet: 6 is to replace 3.
	for _, subject := range []string{"a", "d"} {
		if _, err := s.Append(ctx, []store.Entry{{Bus: ids["table"], Event: rowEvent(t, "new"+subject, subject)}}); err != nil {
			t.Fatal(err)
		}
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for when, c := range map[string]struct {
		fs     vfs.FS
		events int64
		first  uint64
	}{"after a crash": {crashed, 5, 3}, "after a close": {mem, 4, 4}} {
		report, err := Check(ctx, CheckOptions{FS: c.fs, Dir: "data"})
		if err != nil || report.Found != 0 {
			t.Fatal(when, report.Problems, err)
		}
		for i, want := range []BusStats{
			{Name: "empty", First: 1},
			{Name: "table", Events: c.events, First: c.first, Last: 7, History: 6},
			{Name: "trimmed", First: 6, Last: 5, Owed: 1},
		} {
			got := report.Buses[i]
			if want.Name == "table" && (got.Subjects == nil || *got.Subjects != 4 || got.Bytes < 900*c.events) {
				t.Errorf("%s the table has %d bytes, %v subjects, want 4", when, got.Bytes, got.Subjects)
			}
			if got.Bytes, got.Subjects = 0, nil; got != want {
				t.Errorf("%s: got %+v, want %+v", when, got, want)
			}
		}
	}
}

func healthy(t *testing.T, fs vfs.FS, when string) {
	t.Helper()
	report, err := Check(context.Background(), CheckOptions{FS: fs, Dir: "data"})
	if err != nil {
		t.Fatal(when, err)
	}
	if report.Found != 0 {
		t.Errorf("%s: %v", when, report.Problems)
	}
}

// filled is a closed store with 200 events in several segments, all queued and
// none settled, in a folder on disk.
func filled(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, SegmentSize: 8 << 10, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: bus})
	if err != nil {
		t.Fatal(err)
	}
	var events []store.RoutedEvent
	for i := range 200 {
		if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, fmt.Sprint(i))}}); err != nil {
			t.Fatal(err)
		}
	}
	records, err := s.Read(ctx, bus, 1, 1000, 1<<20, nil)
	if err != nil || len(records) != 200 {
		t.Fatal(len(records), err)
	}
	for _, r := range records {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub.ID}}})
	}
	if err := s.Enqueue(ctx, bus, 200, events); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDeadLettersOfAReplayUnderWayAreNoProblem(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	w := &replayWitness{t: t, r: rand.New(rand.NewPCG(1, 1)), clock: newClock()}
	s, bus, sub := w.open(fs)
	for i := range 3 {
		_, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, fmt.Sprint(i))}})
		w.must(err)
	}
	var err error
	w.run, err = s.OpenReplay(ctx, store.ReplayOptions{Bus: bus, To: 3, Subscriptions: []store.SubscriptionID{sub}})
	w.must(err)
	w.feed(s, bus, sub, 3)
	ds, _, err := s.Claim(ctx, sub, w.clock.Now(), 2, nil)
	w.must(err)
	for _, d := range ds {
		w.must(s.Settle(ctx, []store.Settlement{{ID: d.ID, Kind: store.Dead, Reason: "no", Attempt: &store.Attempt{Number: 1, Error: "no"}}}))
	}
	if info, err := s.Subscription(sub); err != nil || info.Dead != 2 || info.Depth != 1 {
		t.Fatalf("the subscription is %+v, %v", info, err)
	}
	w.must(s.Close())
	healthy(t, fs, "with a replay under way")
}

func TestACheckSumsUpWhatAStoreHolds(t *testing.T) {
	r, err := Check(context.Background(), CheckOptions{Dir: filled(t)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Found != 0 || len(r.Buses) != 1 || r.QueueRows != 200 || r.Log.Segments < 2 || r.Log.Records != 200 || r.Format != formatVersion {
		t.Errorf("got %+v", r)
	}
	if b := r.Buses[0]; b.Name != "a" || b.Events != 200 || b.First != 1 || b.Last != 200 || b.Bytes == 0 {
		t.Errorf("the bus is %+v", b)
	}
}

func TestACheckFindsDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"a flipped bit in the first segment": {
			func(t *testing.T, dir string) { flip(t, segments(t, dir)[0], 4096+40) },
			[]string{".seg, bytes 4096 to ", "the sequence 1 is missing", `sequence 1 of bus "`, `" owes, is not there`},
		},
		"a segment that is missing": {
			func(t *testing.T, dir string) { remove(t, segments(t, dir)[1]) },
			[]string{"log, segment 2: segment 2 is missing", "are missing", `" owes, is not there`},
		},
		"the newest segment is missing": {
			func(t *testing.T, dir string) { s := segments(t, dir); remove(t, s[len(s)-1]) },
			[]string{"to 200 are missing"},
		},
		"a damaged header": {
			func(t *testing.T, dir string) { flip(t, segments(t, dir)[0], 20) },
			[]string{"the header is damaged", "the sequences 1 to "},
		},
		"a damaged state": {
			func(t *testing.T, dir string) {
				manifests, _ := filepath.Glob(filepath.Join(dir, "state", "MANIFEST-*"))
				for _, m := range manifests {
					remove(t, m)
				}
			},
			[]string{"state: it cannot be opened"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			c.damage(t, dir)
			before := tree(t, dir)
			r, err := Check(context.Background(), CheckOptions{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, p := range r.Problems {
				fmt.Fprintf(&all, "%s: %s\n", p.Where, p.What)
			}
			for _, want := range c.want {
				if !strings.Contains(all.String(), want) {
					t.Errorf("no %q in\n%s", want, all.String())
				}
			}
			if after := tree(t, dir); !slices.Equal(before, after) {
				t.Errorf("the check changed the folder: %v, before %v", after, before)
			}
		})
	}
}

func TestOnlyAStoreThatNobodyHasOpenIsChecked(t *testing.T) {
	dir := t.TempDir()
	if _, err := Check(context.Background(), CheckOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is not a data folder") {
		t.Errorf("an empty folder: %v", err)
	}
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Check(context.Background(), CheckOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("process id ", os.Getpid())) {
		t.Errorf("an open store: %v", err)
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	return names
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree lists the log's and the state's files with what is in them, without locks.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, fmt.Sprintf("%s %x", path, b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
