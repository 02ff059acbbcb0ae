package embedded

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

var errPower = errors.New("the power is off")

// TestThePowerFailsAtEachCallOfARecovery cuts the power at each I/O call of an
// open, and again at each of the next opens, until one stands. Whatever
// happened on the way, what it brings back is the same.
func TestThePowerFailsAtEachCallOfARecovery(t *testing.T) {
	// A disk as a power cut left it, with much to recover: a log ahead of the
	// state, a torn tail, a rewritten segment, scheduled events, dead letters.
	w := newFaulty(t, &faults{})
	must(t, w.open(w.mem))
	must(t, w.resources())
	for _, step := range w.steps() {
		must(t, step())
	}
	must(t, w.publish(w.large("end1")))
	must(t, w.publish(w.entry(w.a, "end2", w.clock.Now().Add(2*time.Minute))))
	left := w.mem.CrashClone(vfs.CrashCloneCfg{})
	must(t, w.s.Close())
	clock := w.clock.now

	// calls opens the store with the power failing at a call, 0 for never. What
	// is written after that call is lost, and what was not synced before it.
	open := func(fs *vfs.MemFS, at int64) (calls int64, after *vfs.MemFS, err error) {
		var mu sync.Mutex // Pebble's goroutines call at any time
		opened := false
		w.clock.now = clock
		err = w.open(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if after != nil {
				return errPower
			}
			if opened {
				return nil
			}
			if calls++; calls != at {
				return nil
			}
			after = fs.CrashClone(vfs.CrashCloneCfg{})
			return errPower
		})))
		mu.Lock()
		opened = true
		mu.Unlock()
		if err == nil && after != nil { // a call that an open can do without, or one of Pebble's own later
			_ = w.s.Close()
		}
		return calls, after, err
	}
	same := func(fs *vfs.MemFS, where string) {
		t.Helper()
		w.clock.now = clock
		if err := w.open(fs); err != nil {
			t.Errorf("%s: %v", where, err)
			return
		}
		w.verify(where)
		w.finish(where)
		must(t, w.s.Close())
		w.sound(fs, where)
	}
	calls, _, err := open(left.CrashClone(vfs.CrashCloneCfg{}), 0)
	must(t, err)
	must(t, w.s.Close())
	t.Logf("a recovery makes %d calls", calls)
	stride := every(int(calls), 60)
	for at := 1; at <= int(calls) && !t.Failed(); at += stride {
		_, after, err := open(left.CrashClone(vfs.CrashCloneCfg{}), int64(at))
		if after == nil { // one less call this time
			must(t, errors.Join(err, w.s.Close()))
			continue
		}
		same(after, fmt.Sprintf("the power failed at call %d", at))
	}
	// Again and again: each try comes a little further than the one before.
	fs := left.CrashClone(vfs.CrashCloneCfg{})
	tries := 0
	for at := 1; !t.Failed(); at += stride {
		_, after, err := open(fs, int64(at))
		if after == nil {
			must(t, err)
			must(t, w.s.Close())
			break
		}
		fs = after
		if tries++; tries > 20*int(calls) {
			t.Fatal("no recovery stands")
		}
	}
	t.Logf("%d power cuts before one stood", tries)
	same(fs, "after a power cut at call after call")
}
