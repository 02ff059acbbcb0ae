package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// someRun is a run with the filter of so many identities, some of which are
// returned.
func someRun(r *rand.Rand, set *runSet, number uint64, n int) (*run, filter, []identity) {
	f := set.newFilter(n)
	var some []identity
	for i := range n {
		id := randomIdentity(r)
		f.add(id.hash())
		if i%(n/8+1) == 0 {
			some = append(some, id)
		}
	}
	return &run{number: number, count: n}, f, some
}

// TestRunsAreFoundAmongMany adds and removes runs of all sizes and looks for
// what is in them, and for what is not.
func TestRunsAreFoundAmongMany(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	set := newRunSet(512)
	holds := map[*run][]identity{}
	number := uint64(0)
	check := func() {
		t.Helper()
		if len(set.runs) != len(holds) {
			t.Fatalf("%d runs, want %d", len(set.runs), len(holds))
		}
		if !slices.IsSortedFunc(set.runs, func(x, y *run) int { return int(x.number) - int(y.number) }) {
			t.Fatal("the runs are not in the order in which they came")
		}
		for wanted, ids := range holds {
			for _, id := range ids {
				found := false
				set.each(&id, func(r *run) bool {
					if holds[r] == nil {
						t.Fatalf("run %d was taken out and is asked", r.number)
					}
					found = r == wanted
					return !found
				})
				if !found {
					t.Fatalf("what is in run %d of %d identities is not found", wanted.number, wanted.count)
				}
			}
		}
	}
	asked := 0
	for step := range 60 {
		for range r.IntN(7) {
			number++
			run, f, ids := someRun(r, set, number, 1+r.IntN(1<<(1+r.IntN(9))))
			set = set.with(run, f)
			holds[run] = ids
		}
		if step%3 == 2 {
			keep := r.IntN(4)
			gone := func(r *run) bool { return int(r.number)%4 < keep && r.number%3 != 0 }
			set = set.without(gone)
			for run := range holds {
				if gone(run) {
					delete(holds, run)
				}
			}
		}
		check()
		for range 1000 {
			id := randomIdentity(r)
			set.each(&id, func(*run) bool { asked++; return true })
		}
	}
	if len(holds) <= 64 {
		t.Fatalf("%d runs remain, too few for the test", len(holds))
	}
	if asked > 200 {
		t.Errorf("%d runs were asked for what is in none", asked)
	}
	set = set.without(func(*run) bool { return true })
	if len(set.runs) != 0 || len(set.groups) != 0 {
		t.Errorf("%d runs and %d groups remain", len(set.runs), len(set.groups))
	}
}

// TestRunsAreFoundWhileOthersComeAndGo looks for what is in a run while columns
// are filled, cleared and widened.
func TestRunsAreFoundWhileOthersComeAndGo(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	first := newRunSet(512)
	stays, f, ids := someRun(r, first, 0, 500)
	var set atomic.Pointer[runSet]
	set.Store(first.with(stays, f))
	var done atomic.Bool
	var lookers sync.WaitGroup
	for range 2 {
		lookers.Go(func() {
			for i := 0; !done.Load(); i++ {
				found := false
				set.Load().each(&ids[i%len(ids)], func(r *run) bool { found = found || r == stays; return true })
				if !found {
					t.Error("what is in a run is not found while others change")
					return
				}
			}
		})
	}
	for number := uint64(1); number < 40; number++ {
		r, f, _ := someRun(r, first, number, 400)
		set.Store(set.Load().with(r, f))
		if number%10 == 0 {
			set.Store(set.Load().without(func(r *run) bool { return r != stays && r.number%2 == 0 }))
		}
	}
	done.Store(true)
	lookers.Wait()
}

// TestManyAreLookedForAtOnceAsOneByOne looks for identities together, of which some
// are in runs.
func TestManyAreLookedForAtOnceAsOneByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	set := newRunSet(512)
	var known []identity
	for number := range uint64(100) { // more than one group of columns
		run, f, ids := someRun(r, set, number, 1+r.IntN(400))
		set = set.with(run, f)
		known = append(known, ids...)
	}
	for range 2000 {
		ids := make([]identity, r.IntN(lookAhead+1))
		want := uint64(0)
		for i := range ids {
			ids[i] = randomIdentity(r)
			if r.IntN(3) == 0 {
				ids[i] = known[r.IntN(len(known))]
			}
			set.each(&ids[i], func(*run) bool { want |= 1 << i; return true })
		}
		if got := set.may(ids); got != want {
			t.Fatalf("of %d identities %b may be there, want %b", len(ids), got, want)
		}
	}
}

// TestOfABatchOnlyWhatHasAWindowIsLookedUp publishes a long batch twice, from runs
// and from memory, in which some entries are not to be deduplicated.
func TestOfABatchOnlyWhatHasAWindowIsLookedUp(t *testing.T) {
	ctx := context.Background()
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "data", Clock: newClock().Now, NoBackground: true, generation: 200})
	must(t, err)
	defer s.Close()
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	must(t, err)
	batch := make([]store.Entry, 5*lookAhead/2)
	for i := range batch {
		id := fmt.Sprint(i)
		batch[i] = store.Entry{Bus: bus, Event: small(t, id), Dedupe: event.DedupeKey("/s", id)}
		if i%3 != 0 {
			batch[i].Window = time.Hour
		}
	}
	for round := range 3 {
		results, err := s.Append(ctx, batch)
		must(t, err)
		for i, r := range results {
			if want := round > 0 && i%3 != 0; r.Duplicate != want || want && r.Sequence != uint64(i+1) {
				t.Fatalf("round %d, entry %d: %+v", round, i, r)
			}
		}
		if round == 0 {
			must(t, s.sortIdle())
		}
		if round == 1 && len(s.dedupe.runs.Load().runs) != 1 {
			t.Fatal("there is no run")
		}
	}
}

// TestRunsOfAnEarlierReleaseAreFound has a run with a filter of a size that
// columns do not take.
func TestRunsOfAnEarlierReleaseAreFound(t *testing.T) {
	ctx, c, fs := context.Background(), newClock(), vfs.NewMem()
	open := func() (*Store, store.BusID) {
		s, err := Open(Options{FS: fs, Dir: "data", Clock: c.Now, NoBackground: true, generation: 200})
		must(t, err)
		bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
		must(t, err)
		return s, bus
	}
	publish := func(s *Store, bus store.BusID, wantDup bool) {
		t.Helper()
		for i := range 100 {
			id := fmt.Sprint(i)
			got, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, id), Dedupe: event.DedupeKey("/s", id), Window: time.Hour}})
			must(t, err)
			if got[0].Duplicate != wantDup {
				t.Fatalf("event %d: duplicate is %v", i, got[0].Duplicate)
			}
		}
	}
	s, bus := open()
	publish(s, bus, false)
	must(t, s.sortIdle())
	runs := s.dedupe.runs.Load().runs
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	old := newFilter(5<<bitsPerBlock/bitsPerKey + 1)
	for i := range 100 {
		id := identity{bus, event.DedupeKey("/s", fmt.Sprint(i))}
		old.add(id.hash())
	}
	if s.dedupe.runs.Load().takes(old) {
		t.Fatal("the filter is as they are made now")
	}
	batch := s.state.db.NewBatch()
	must(t, batch.Set(runKey(runs[0].number), runs[0].row(old), nil))
	must(t, s.state.commitSynced(batch))
	must(t, s.Close())

	s, bus = open()
	defer s.Close()
	publish(s, bus, true)
}

// BenchmarkRunSet looks an unknown identity up in the filters of many runs, and
// adds one more.
func BenchmarkRunSet(b *testing.B) {
	for _, n := range []int{8, 48, 128} {
		r := rand.New(rand.NewPCG(5, 6))
		set := newRunSet(generationSize)
		for i := range n {
			run, f, _ := someRun(r, set, uint64(i), generationSize)
			set = set.with(run, f)
		}
		b.Run(fmt.Sprintf("lookup/runs=%d", n), func(b *testing.B) {
			found := 0
			for b.Loop() {
				id := randomIdentity(r)
				set.each(&id, func(*run) bool { found++; return true })
			}
			b.ReportMetric(float64(found)/float64(b.N)*1e6, "false/million")
		})
		b.Run(fmt.Sprintf("ahead/runs=%d", n), func(b *testing.B) {
			var ids [lookAhead]identity
			for i := 0; b.Loop(); i++ {
				if ids[i%lookAhead] = randomIdentity(r); i%lookAhead == lookAhead-1 {
					set.may(ids[:])
				}
			}
		})
		b.Run(fmt.Sprintf("add/runs=%d", n), func(b *testing.B) {
			oldest := set.runs[0]
			_, f, _ := someRun(r, set, 0, generationSize)
			for b.Loop() {
				set.without(func(r *run) bool { return r == oldest }).with(oldest, f)
			}
		})
	}
}
