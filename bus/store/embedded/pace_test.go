package embedded

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestBackgroundWritesAreSpreadOut writes at full speed and looks at the time
// that it takes.
func TestBackgroundWritesAreSpreadOut(t *testing.T) {
	const size, block = 8 << 20, 8 << 10
	for _, test := range []struct {
		name  string
		kind  int
		load  paceLoad
		quiet bool // nothing is recorded at its time
		ended bool // the state is being closed
		want  time.Duration
	}{
		{name: "a compaction", kind: paceCompaction, load: paceLoad{1, 8}, want: time.Second},
		{name: "a flush", kind: paceFlush, load: paceLoad{2, 0}, want: time.Second},
		{name: "when nothing is due", kind: paceCompaction, load: paceLoad{1, 8}, quiet: true},
		{name: "a compaction while some waits", kind: paceCompaction, load: paceLoad{1, 12}, want: time.Second / 4},
		{name: "a compaction while much waits", kind: paceCompaction, load: paceLoad{1, 16}},
		{name: "a flush while a memtable waits", kind: paceFlush, load: paceLoad{3, 0}},
		{name: "at the end", kind: paceCompaction, load: paceLoad{1, 8}, ended: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPacer()
				p.start(func() paceLoad { return test.load })
				if test.ended {
					close(p.stop)
				}
				began := time.Now()
				for range size / block {
					if !test.quiet {
						p.spread()
					}
					p.wait(test.kind, block)
				}
				// What may be written at once, and the first look, are small beside it.
				if took := time.Since(began); took > test.want || took < test.want-10*time.Millisecond {
					t.Errorf("it took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// TestBackgroundWritesStopWaiting goes on at full speed once nothing is recorded.
func TestBackgroundWritesStopWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer()
		p.start(func() paceLoad { return paceLoad{1, 8} })
		p.spread()
		began := time.Now()
		for range 16 {
			p.wait(paceCompaction, 4<<20)
		}
		if took := time.Since(began); took < paceFor || took > paceFor+paceFor/2 {
			t.Errorf("64 MiB took %v, with writes spread out for %v", took, paceFor)
		}
	})
}
