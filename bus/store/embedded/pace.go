package embedded

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pacer keeps what Pebble writes in the background out of the way of what
// somebody waits for. Flushes and compactions go at the full speed of a core and
// of the disk, in bursts: Go leaves a core to such work for ten milliseconds at a
// time, and a sync of the log waits for what the disk has to write by then. So
// others may run between any two blocks; and while events are recorded at their
// time, which is to be kept to within milliseconds, the writes are spread out,
// unless the state falls behind for it. It is safe for concurrent use.
type pacer struct {
	until atomic.Int64  // in nanoseconds since began: writes are spread out up to then
	began time.Time     // of the process, about
	stop  chan struct{} // closed when the state is, which waits for its background work

	mu     sync.Mutex
	load   func() paceLoad // nil until the state is open
	looked time.Time
	rate   [2]float64 // as of then, in bytes a second, by kind; 0: as fast as it goes
	paid   [2]time.Time
}

// paceLoad is what waits to be written in the background.
type paceLoad struct {
	memtables int // with the one that takes writes
	sublevels int // of the first level
}

// Kinds of work.
const (
	paceFlush = iota
	paceCompaction
)

const (
	// paceFor is how long writes are spread out after an event was recorded.
	paceFor = time.Second
	// Bytes a second of each kind while the state keeps up: more than 10,000 events
	// a second need.
	flushRate      = 8 << 20
	compactionRate = 8 << 20
	// paceLook is how often the state is asked whether it keeps up.
	paceLook = 50 * time.Millisecond
	// paceBurst is what may be written at once after a rest; less is not slept for.
	paceBurst = 4 * time.Millisecond
)

func newPacer() *pacer { return &pacer{began: time.Now(), stop: make(chan struct{})} }

// start is called once the state is open.
func (p *pacer) start(load func() paceLoad) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load = load
}

// spread lets writes be spread out for paceFor from now on.
func (p *pacer) spread() { p.until.Store(int64(time.Since(p.began) + paceFor)) }

// wait is called before n bytes are written by a kind of work.
func (p *pacer) wait(kind, n int) {
	now := time.Now()
	if now.Sub(p.began) >= time.Duration(p.until.Load()) {
		runtime.Gosched()
		return
	}
	if rest := p.rest(kind, n, now); rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.stop:
		}
	}
}

// rest is how long to rest for n bytes.
func (p *pacer) rest(kind, n int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.load == nil {
		return 0
	}
	if now.Sub(p.looked) >= paceLook {
		p.looked = now
		load := p.load()
		p.rate = [...]float64{paceFlush: load.flushPace(), paceCompaction: load.compactionPace()}
	}
	rate := p.rate[kind]
	if rate == 0 {
		return 0
	}
	paid := &p.paid[kind]
	if earliest := now.Add(-paceBurst); paid.Before(earliest) {
		*paid = earliest
	}
	*paid = paid.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	return paid.Sub(now)
}

// flushPace has no bound when there are more memtables than the one that takes
// writes and one that is being flushed.
func (l paceLoad) flushPace() float64 {
	if l.memtables > 2 {
		return 0
	}
	return flushRate
}

// compactionPace is twice as much for each two sublevels above those that are
// left to gather, and has no bound well before Pebble stops writes.
func (l paceLoad) compactionPace() float64 {
	above := max(l.sublevels-compactAt, 0)
	if above >= compactAt {
		return 0
	}
	return compactionRate * float64(int(1)<<(above/2))
}
