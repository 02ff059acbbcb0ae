package bus

import (
	"sync"
	"sync/atomic"
	"time"
)

// firstLimit is how many attempts at the same time a new target begins with:
// one that never answers never holds more. Successes raise it to its ceiling.
const firstLimit = 2

// How the limit adapts: it is doubled by a round of attempts until the target
// first shows that it has enough, then grows by one a round. It shrinks once for
// what was under way at the same time. What slows an answer to more than twice
// what is usual, and by more than some milliseconds, is taken for a queue at the
// target; that alone does not push the limit below a few.
const (
	shrinkOverload = 0.7
	shrinkSlow     = 0.9
	slowFactor     = 2
	slowSlack      = 5 * time.Millisecond
	slowFloor      = 4
)

// limiter hands out permits, a number that adapts between 1 and a ceiling, and
// keeps those who got none in line.
type limiter struct {
	mu       sync.Mutex
	limit    float64
	ceiling  float64
	inFlight int
	line     []*subscription
	inLine   map[*subscription]struct{}
	full     atomic.Int64 // when someone last found no permit to spare, in Unix nanoseconds
	idle     func()       // not nil: retired; called once when the last permit is back

	careful bool    // it has shrunk before: grow slowly
	since   int     // attempts that ended since it shrank last
	round   int     // attempts that were under way then
	recent  float64 // moving mean of what an answer takes, in ns
	usual   float64 // the least of that, which drifts to the present
}

func newLimiter(limit, ceiling float64) *limiter {
	return &limiter{limit: min(limit, ceiling), ceiling: ceiling, inLine: map[*subscription]struct{}{}}
}

// acquire takes a permit for s; without one to spare, s stands in line once.
// only says that no other permit is out.
func (l *limiter) acquire(s *subscription) (only, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle != nil {
		return false, false
	}
	if l.inFlight < int(l.limit) {
		l.inFlight++
		return l.inFlight == 1, true
	}
	l.full.Store(time.Now().UnixNano())
	if _, ok := l.inLine[s]; !ok {
		l.inLine[s] = struct{}{}
		l.line = append(l.line, s)
	}
	return false, false
}

// release gives a permit back and returns who is next in line for it, if any.
func (l *limiter) release() *subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	if l.idle != nil {
		if l.inFlight == 0 {
			l.idle()
		}
		return nil
	}
	if len(l.line) == 0 || l.inFlight >= int(l.limit) {
		return nil
	}
	s := l.line[0]
	l.line[0] = nil
	l.line = l.line[1:]
	delete(l.inLine, s)
	return s
}

// retire hands out no more permits and calls idle when all are back.
func (l *limiter) retire(idle func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle != nil {
		return
	}
	l.idle, l.line, l.inLine = idle, nil, nil
	if l.inFlight == 0 {
		idle()
	}
}

// free is how many permits are left.
func (l *limiter) free() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, int(l.limit)-l.inFlight)
}

// excess reports whether more permits are out than the limit now allows.
func (l *limiter) excess() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight > int(l.limit)
}

// answered learns from an attempt that the target answered in took: the limit
// grows while it is used and answers come as fast as usual.
func (l *limiter) answered(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since++
	t := float64(took)
	if l.recent == 0 {
		l.recent, l.usual = t, t
	}
	l.recent += (t - l.recent) / 8
	if l.recent < l.usual {
		l.usual = l.recent
	} else {
		l.usual += (l.recent - l.usual) / 128
	}
	if l.recent > slowFactor*l.usual+float64(slowSlack) {
		if floor := min(slowFloor, l.ceiling); l.since >= int(l.limit) && l.limit > floor {
			l.limit = max(floor, l.limit*shrinkSlow)
			l.since, l.round, l.careful = 0, 0, true
		}
		return
	}
	switch {
	case 2*l.inFlight < int(l.limit): // it is not what holds anything up
	case l.careful:
		l.limit = min(l.ceiling, l.limit+1/l.limit)
	default:
		l.limit = min(l.ceiling, l.limit+1)
	}
}

// overloaded learns that the target could not take as much: the limit shrinks,
// once for all that was under way then.
func (l *limiter) overloaded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since++; l.since < l.round {
		return
	}
	l.limit = max(1, l.limit*shrinkOverload)
	l.since, l.round, l.careful = 0, l.inFlight, true
}

// again begins anew, with a few, after the target was given a rest.
func (l *limiter) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.careful, l.since, l.round = min(firstLimit, l.ceiling), false, 0, 0
}

// now is the limit and how many permits are out.
func (l *limiter) now() (limit, inFlight int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.limit), l.inFlight
}
