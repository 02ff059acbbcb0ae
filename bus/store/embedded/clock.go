package embedded

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// timekeeper tells three times, for the one that the machine shows may be set
// forward or back at any moment.
//
// The wall time is what it shows. Times that people and publishers name count
// by it: recorded, deliverytime, expirytime.
//
// The steady time runs evenly while the process does, whatever is set, and never
// goes back; what the store was closed for counts as the wall time says. All
// that is a duration is measured by it: delays of retries, the age of a
// delivery, pauses, deduplication windows. Rows of the state hold it; it is made
// wall time when it is shown. The two are the same until a clock is set.
//
// The trusted time is what retention goes by: never later than the wall time,
// and held back after a jump (see watch).
//
// now may be called from anywhere. mu guards the rest.
type timekeeper struct {
	read    func() time.Time
	elapsed func(time.Time) time.Duration
	base    int64        // steady time when elapsed was 0
	last    atomic.Int64 // the newest steady time that was told

	mu      sync.Mutex
	opened  bool    // a jump that is seen was while the store was closed
	trusted int64   // what trusted time is ahead of the steady one
	seen    int64   // steady time of the last watch
	gap     int64   // by how much the wall time jumped ahead of the trusted one or fell behind it; 0: not
	held    int64   // for how long trusted time has been held since
	saved   reading // of the last row; zero: there is none
}

// reading is one look at the clock.
type reading struct{ wall, steady int64 }

const (
	// clockSlack is what wall time may be off without being held for a jump:
	// clocks that are kept right by small steps stay within it.
	clockSlack = int64(time.Minute)
	// clockSlew is the part of the time that passes by which trusted time may
	// run faster or slower to follow such steps.
	clockSlew = 100
	// clockHold is the longest that trusted time is held after a jump.
	clockHold = int64(24 * time.Hour)
	// clockSave is how old the row may get.
	clockSave = int64(10 * time.Second)
)

func newTimekeeper(read func() time.Time, monotonic func() time.Duration) *timekeeper {
	c := &timekeeper{read: read}
	first := read()
	// Times that the system gave carry a monotonic one, by which they are
	// subtracted.
	c.elapsed = func(t time.Time) time.Duration { return t.Sub(first) }
	if monotonic != nil {
		began := monotonic()
		c.elapsed = func(time.Time) time.Duration { return monotonic() - began }
	}
	c.base = nanos(first)
	c.seen = c.base
	c.last.Store(c.base)
	return c
}

// now looks at the clock.
func (c *timekeeper) now() reading {
	t := c.read()
	r := reading{nanos(t), c.base + int64(c.elapsed(t))}
	for {
		last := c.last.Load()
		if r.steady <= last {
			r.steady = last
			return r
		}
		if c.last.CompareAndSwap(last, r.steady) {
			return r
		}
	}
}

// toSteady is the steady time that wall time t is, or will be if nothing jumps.
func (r reading) toSteady(t time.Time) int64 { return shift(nanos(t), r.steady-r.wall) }

// toWall is the inverse of toSteady.
func (r reading) toWall(steady int64) time.Time { return fromNanos(shift(steady, r.wall-r.steady)) }

// shift adds by to t, which may be as early or late as numbers go.
func shift(t, by int64) int64 {
	sum := t + by
	if by > 0 && sum < t {
		return forever
	}
	if by < 0 && sum > t {
		return -forever
	}
	return sum
}

// jump is what watch found.
type jump int

const (
	jumpNone   jump = iota
	jumpFound       // the wall time jumped
	jumpClosed      // it may have, or the store was closed for that long
	jumpOver        // it is believed again, or back
)

// watch looks for jumps and returns the trusted time. It is called a few times
// a second.
//
// A jump is a change of the wall time that the steady time does not explain.
// Trusted time goes on as if it had not happened for as long as the jump is
// wide, at most a day; if the wall time is still the same then, it is believed,
// and if it comes back before, nothing happened. So a clock that is wrong for an
// hour removes nothing, and a machine that slept for a night, or a store that was
// closed for one, removes what is old a night later than it could.
func (c *timekeeper) watch() (trusted int64, jumped jump) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, opened := c.gap, c.opened
	c.opened = false
	r := c.now()
	passed := r.steady - c.seen
	c.seen = r.steady
	ahead := r.wall - r.steady
	gap := ahead - c.trusted
	switch {
	case abs(gap) <= clockSlack:
		c.trusted += min(max(gap, -passed/clockSlew), passed/clockSlew)
		c.gap, c.held = 0, 0
	case c.gap == 0 || abs(gap-c.gap) > clockSlack:
		c.gap, c.held = gap, 0
		jumped = jumpFound
		if opened {
			jumped = jumpClosed
		}
	default:
		if c.held += passed; c.held >= min(abs(c.gap), clockHold) {
			c.trusted, c.gap, c.held = ahead, 0, 0
		}
	}
	if before != 0 && c.gap == 0 {
		jumped = jumpOver
	}
	return r.steady + min(c.trusted, ahead), jumped
}

func abs(n int64) int64 { return max(n, -n) }

// state is what the clock says of jumps: by how much it is ahead (or, negative,
// behind) of what retention goes by, and for how long that is held. Both are 0
// if nothing is.
func (c *timekeeper) state() (gap, left time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gap == 0 {
		return 0, 0
	}
	return time.Duration(c.gap), time.Duration(max(min(abs(c.gap), clockHold)-c.held, 0))
}

// clockRow is the name of the row that brings the clock over a restart.
const clockRow = "clock"

// row is what is known now; force writes it even if little has changed.
func (c *timekeeper) row(batch *pebble.Batch, force bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.now()
	if !force && r.steady-c.saved.steady < clockSave {
		return
	}
	c.saved = r
	b := be64(be64(nil, uint64(r.wall)), uint64(r.steady))
	b = be64(be64(be64(b, uint64(c.trusted)), uint64(c.gap)), uint64(c.held))
	_ = batch.Set(metaKey(clockRow), b, nil)
}

// restore goes on from a row. It is called before anything else looks at the
// clock.
func (c *timekeeper) restore(row []byte) error {
	r := rowReader{rest: row}
	was := reading{r.i64(), r.i64()}
	trusted, gap, held := r.i64(), r.i64(), r.i64()
	if r.bad || len(r.rest) > 0 {
		return fmt.Errorf("row %q: %w", clockRow, errBadRow)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.read()
	wall := nanos(t)
	closed := max(wall-was.wall, 0)
	steady := was.steady + closed
	c.base = steady - int64(c.elapsed(t))
	c.last.Store(steady)
	c.seen, c.saved = steady, was
	// That the store was closed for so long is what the wall time says only.
	c.trusted, c.opened = trusted-closed, true
	ahead := wall - steady
	if now := ahead - c.trusted; gap != 0 && abs(now) > clockSlack && abs(now-gap) <= int64(time.Hour) {
		c.gap, c.held = now, held
	}
	return nil
}

// lookBack is the steady time at which something was recorded that the row, and
// so the state, may know nothing of.
func (c *timekeeper) lookBack(recorded int64) int64 {
	return min(max(shift(recorded, c.saved.steady-c.saved.wall), c.saved.steady), c.last.Load())
}

// watchClock looks for jumps, tells of them and writes the clock down.
func (s *Store) watchClock() (trusted int64, err error) {
	trusted, jumped := s.clock.watch()
	gap, left := s.clock.state()
	log := s.opts.Logger
	switch {
	case jumped == jumpClosed && gap > 0 && gap <= time.Duration(clockHold):
		log.Info("the store was closed for a while: retention by age waits for as long", "closed", gap.Round(time.Second), "waits", left.Round(time.Second))
	case (jumped == jumpFound || jumped == jumpClosed) && gap > 0:
		log.Warn("the clock jumped forward: retention by age waits before it goes by it", "by", gap.Round(time.Second), "waits", left.Round(time.Second))
	case jumped == jumpFound || jumped == jumpClosed:
		log.Warn("the clock was set back", "by", -gap.Round(time.Second))
	case jumped == jumpOver:
		log.Info("retention by age goes by the clock again")
	}
	batch := s.state.db.NewBatch()
	s.clock.row(batch, jumped != jumpNone)
	return trusted, s.state.commit(batch)
}

// loadClock brings the clock over a restart.
func (s *Store) loadClock() error {
	_, err := s.state.get(metaKey(clockRow), s.clock.restore)
	return err
}

// saveClock writes the clock down, at the end and when all must be durable.
func (s *Store) saveClock() error {
	batch := s.state.db.NewBatch()
	s.clock.row(batch, true)
	return s.state.commit(batch)
}
