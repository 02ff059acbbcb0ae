package seglog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// seeds returns those to run: the one in SEGLOG_SEED, or n of them, or as many times that
// as SEGLOG_TIMES says.
func seeds(t *testing.T, n uint64) []uint64 {
	number := func(name string) uint64 {
		v, err := strconv.ParseUint(os.Getenv(name), 10, 32)
		if err != nil && os.Getenv(name) != "" {
			t.Fatal(err)
		}
		return v
	}
	if seed := number("SEGLOG_SEED"); seed > 0 {
		return []uint64{seed}
	}
	n *= max(number("SEGLOG_TIMES"), 1)
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

// crash is a file system as a power cut left it, with the model at that moment.
type crash struct {
	fs *vfs.MemFS
	m  *model
	op string
}

// crashes lets w take crash clones before some of the operations that change the disk.
func (w *world) crashes(r *rand.Rand, oneIn int, limit int) *[]crash {
	var out []crash
	w.hook = func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || len(out) >= limit || r.IntN(oneIn) > 0 {
			return nil
		}
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 80, 100}[r.IntN(5)], RNG: r}
		out = append(out, crash{w.mem.CrashClone(cfg), w.m.clone(), fmt.Sprintf("op %d on %s at %d, %d%% of the unsynced", op.Kind, op.Path, op.Offset, cfg.UnsyncedDataPercent)})
		return nil
	}
	return &out
}

// TestCrash runs a random workload, cuts the power before operations of the file system,
// recovers, cuts the power in the recovery and in the work after it, and again.
func TestCrash(t *testing.T) {
	for _, seed := range seeds(t, 14) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(vfs.NewCrashableMem(), seed)
			for depth := range 5 {
				found := w.crashes(r, 1+r.IntN(20), 6)
				if err := w.open(); err != nil {
					t.Fatalf("seed %d, depth %d: open: %v", seed, depth, err)
				}
				for range 12 + r.IntN(30) {
					if err := w.step(); err != nil {
						t.Fatalf("seed %d, depth %d: %v", seed, depth, err)
					}
				}
				w.mu.Lock()
				w.hook = nil
				w.mu.Unlock()
				if err := w.l.Close(); err != nil {
					t.Fatalf("seed %d: close: %v", seed, err)
				}
				if len(*found) == 0 {
					continue
				}
				for i, c := range *found {
					next := newWorld(c.fs, seed*100+uint64(depth*10+i))
					next.m, next.id = c.m, w.id+1000
					if i == len(*found)-1 {
						w = next // goes on at the next depth
						break
					}
					if err := next.open(); err != nil {
						t.Fatalf("seed %d, depth %d, after a crash before %s: %v", seed, depth, c.op, err)
					}
					if err := next.burst(20); err != nil {
						t.Fatalf("seed %d: append after recovery: %v", seed, err)
					}
					if err := next.compare(); err != nil {
						t.Fatalf("seed %d: after recovery: %v", seed, err)
					}
					if err := next.l.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// TestCrashInRecovery cuts the power before every single operation of a recovery, recovers
// from that, and requires that the second recovery finds what the first would have.
func TestCrashInRecovery(t *testing.T) {
	for _, seed := range seeds(t, 8) {
		r := rand.New(rand.NewPCG(seed, 4))
		w := newWorld(vfs.NewCrashableMem(), seed)
		found := w.crashes(r, 9, 8)
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		for range 25 {
			if err := w.step(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if err := w.l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range *found {
			// Of the unsynced tail a recovery may keep more or less; but what one recovery
			// has shown, the next must show.
			first := newWorld(c.fs, seed)
			first.m = c.m
			inner := first.crashes(r, 1, 100)
			if err := first.open(); err != nil {
				t.Fatalf("seed %d: after a crash before %s: %v", seed, c.op, err)
			}
			got := first.m.seq
			if err := first.l.Close(); err != nil {
				t.Fatal(err)
			}
			for _, ic := range *inner {
				second := newWorld(ic.fs, seed)
				second.m = ic.m
				err := second.open()
				if err == nil && len(ic.m.refused) == 0 && len(ic.m.leaving) == 0 {
					err = first.m.restart(got).check(second.m.seq)
				}
				if err != nil {
					t.Fatalf("seed %d: crash before %s, then in recovery before %s: %v", seed, c.op, ic.op, err)
				}
				if err := second.l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestProcessCrash ends the process, not the machine, before an operation: what it wrote is
// there for the next one to read, synced or not. What that one has shown and appended must
// survive a power cut.
func TestProcessCrash(t *testing.T) {
	for _, seed := range seeds(t, 200) {
		w := newWorld(vfs.NewCrashableMem(), seed)
		killed := errors.New("the process has ended")
		left := 10 + w.r.IntN(150)
		w.hook = func(errorfs.Op) error {
			if left--; left < 0 {
				return killed
			}
			return nil
		}
		err := w.open()
		for err == nil {
			err = w.step()
			if err == nil {
				err = w.l.Err()
			}
		}
		if !errors.Is(err, killed) && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrClosed) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if w.l != nil {
			_ = w.l.Close() // can write nothing; ends the goroutines
		}
		next := newWorld(w.mem, seed)
		next.m = w.m
		if err := next.open(); err != nil {
			t.Fatalf("seed %d: open by the next process: %v", seed, err)
		}
		if seed%2 == 0 {
			next.id = w.id + 1000
			if err := next.burst(3); err != nil {
				t.Fatal(err)
			}
		}
		last := newWorld(w.mem.CrashClone(vfs.CrashCloneCfg{}), seed)
		last.m = next.m
		if err := errors.Join(next.l.Close(), last.open()); err != nil {
			t.Fatalf("seed %d: after a power cut following that: %v", seed, err)
		}
		if err := last.l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFaults fails the operations of the file system one by one, each alone and in runs of
// several, and requires that no acknowledged record is lost, none that was refused becomes
// visible, the log recovers by itself, and a crash later finds the same.
func TestFaults(t *testing.T) {
	enospc := fmt.Errorf("write: %w", errNoSpace)
	for _, run := range []int{1, 4} {
		for _, seed := range seeds(t, 5) {
			t.Run(fmt.Sprintf("run=%d/seed=%d", run, seed), func(t *testing.T) {
				t.Parallel()
				for k, done := 0, false; !done; k++ {
					if os.Getenv("SEGLOG_TIMES") == "" && k%5 != int(seed)%5 {
						continue // five seeds visit each operation
					}
					done = runFault(t, seed, k, run, enospc)
				}
			})
		}
	}
}

var errNoSpace = errors.New("no space left on device")

// runFault fails operation k of a workload and those after it, run in all. It reports
// whether the workload had fewer operations.
func runFault(t *testing.T, seed uint64, k, run int, fault error) (ended bool) {
	t.Helper()
	w := newWorld(vfs.NewCrashableMem(), seed)
	ops := 0
	what := ""
	w.hook = func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileClose {
			return nil
		}
		ops++
		if ops-1 < k || ops-1 >= k+run {
			return nil
		}
		what = fmt.Sprintf("op %d on %s at %d", op.Kind, op.Path, op.Offset)
		return fault
	}
	die := func(stage string, err error) {
		t.Helper()
		t.Fatalf("seed %d, fault %d×%d (%s): %s: %v", seed, k, run, what, stage, err)
	}
	tolerate := func(stage string, err error) {
		t.Helper()
		if err != nil && !errors.Is(err, fault) && !errors.Is(err, ErrFailed) {
			die(stage, err)
		}
	}
	reopen := func() {
		for range run + 2 {
			err := w.open()
			if err == nil {
				return
			}
			tolerate("open", err)
			if w.l != nil {
				_ = w.l.Close()
			}
		}
		die("open", errors.New("does not succeed"))
	}
	healthy := func() {
		for range run + 2 {
			err := w.l.Reopen(t.Context())
			if err == nil {
				return
			}
			tolerate("reopen", err)
		}
		die("reopen", errors.New("does not succeed"))
	}
	reopen()
	for i := range 12 {
		tolerate("burst", w.burst(4+w.r.IntN(10)))
		healthy()
		switch i {
		case 6:
			tolerate("remove", w.remove(0))
		case 8, 11:
			tolerate("rewrite", w.rewrite())
		case 9:
			closed := w.l.Close()
			tolerate("close", closed)
			reopen()
		}
	}
	for range run + 2 {
		err := w.compare()
		if err == nil {
			break
		}
		tolerate("compare", err)
	}
	if err := w.l.Err(); err != nil {
		die("state", err)
	}
	if err := w.burst(5); err != nil {
		die("burst at the end", err)
	}
	w.mu.Lock()
	ended = ops < k
	w.hook = nil
	c := crash{fs: w.mem.CrashClone(vfs.CrashCloneCfg{}), m: w.m.clone()}
	w.mu.Unlock()
	if err := w.l.Close(); err != nil {
		die("close", err)
	}
	// In the same world a refused record stays away for good.
	for id := range w.m.refused {
		w.m.gone[id] = true
	}
	if err := w.open(); err != nil {
		die("open at the end", err)
	}
	if err := w.l.Close(); err != nil {
		die("close at the end", err)
	}
	after := newWorld(c.fs, seed)
	after.m = c.m
	if err := after.open(); err != nil {
		die("open after a crash at the end", err)
	}
	if err := after.l.Close(); err != nil {
		die("close after a crash", err)
	}
	return ended
}
