package embedded

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// suite opens engines for the shared suites: in memory, stepped by hand, with
// small segments so that they rotate.
func suite(options func(*Options)) func(t testing.TB, env storetest.Env) store.Store {
	disks := map[string]*vfs.MemFS{}
	return func(t testing.TB, env storetest.Env) store.Store {
		fs := disks[env.Name]
		if fs == nil {
			fs = vfs.NewCrashableMem()
			disks[env.Name] = fs
		}
		o := Options{FS: fs, Dir: "data", SegmentSize: 1 << 20, Clock: env.Clock.Now, NoBackground: true, summaryEvents: 4}
		if options != nil {
			options(&o)
		}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		env.OnStep(func() {
			if !s.closing.Load() {
				s.step(t)
			}
		})
		env.OnCrash(func() {
			disks[env.Name] = fs.CrashClone(vfs.CrashCloneCfg{})
			_ = s.Close()
		})
		return s
	}
}

// step does what happens in the background.
func (s *Store) step(t testing.TB) {
	t.Helper()
	for _, do := range []func() error{s.applyPending, s.fireDue, func() error { return s.checkpoint(0) }, s.trace.flush, func() error { return s.summarise(func(time.Duration) bool { return true }) }, s.state.flush} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, suite(nil))
}

func TestConformanceWithoutBodiesInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, suite(func(o *Options) { o.WindowBytes, o.WindowPerSubscription = 1, 2 }))
}

func TestConformanceWithBackground(t *testing.T) {
	t.Parallel()
	storetest.Run(t, suite(func(o *Options) {
		o.NoBackground, o.CheckpointEvery, o.SpillAge = false, 2*time.Millisecond, time.Nanosecond
		o.generation, o.maxRuns = 4, 3
	}))
}

func TestConformanceWithSortedIdentities(t *testing.T) {
	t.Parallel()
	storetest.Run(t, suite(func(o *Options) { o.generation, o.maxRuns = 1, 2 }))
}

// How many seeds the randomized tests try, and from which on.
var (
	seeds     = flag.Uint64("seeds", 8, "seeds that randomized tests try")
	firstSeed = flag.Uint64("first-seed", 1, "the first of them")
)

// tries is how many seeds a test that takes long for each tries.
func tries() uint64 {
	if raceEnabled {
		return (*seeds + 3) / 4
	}
	return *seeds
}

// steps is how many a metamorphic test makes; with the race detector each takes
// forty times as long.
func steps() int {
	if raceEnabled {
		return 300
	}
	return 1000
}

func TestMetamorphic(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+tries(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			storetest.Metamorphic(t, suite(func(o *Options) {
				o.generation, o.maxRuns = 1+int(seed%9), 1+int(seed%3)
				switch seed % 4 {
				case 1:
					o.WindowPerSubscription, o.SegmentSize = 3, 16<<10
				case 2:
					o.WindowBytes = 1
				case 3:
					o.WindowPerSubscription = 8
				}
			}), seed, steps())
		})
	}
}
