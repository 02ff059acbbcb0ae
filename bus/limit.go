package bus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchyard-dev/switchyard/targets"
)

// firstLimit is how many attempts at the same time a new target begins with;
// successes raise it to its ceiling.
const firstLimit = 8

// limiter hands out permits, a number that adapts between 1 and a ceiling, and
// keeps those who got none in line.
type limiter struct {
	mu       sync.Mutex
	limit    float64
	ceiling  float64
	inFlight int
	line     []*subscription
	inLine   map[*subscription]struct{}
	idle     func() // not nil: retired; called once when the last permit is back
}

func newLimiter(limit, ceiling float64) *limiter {
	return &limiter{limit: min(limit, ceiling), ceiling: ceiling, inLine: map[*subscription]struct{}{}}
}

// acquire takes a permit for s; without one to spare, s stands in line once.
func (l *limiter) acquire(s *subscription) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle != nil {
		return false
	}
	if l.inFlight < int(l.limit) {
		l.inFlight++
		return true
	}
	if _, ok := l.inLine[s]; !ok {
		l.inLine[s] = struct{}{}
		l.line = append(l.line, s)
	}
	return false
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

// grow raises the limit after a success, shrink lowers it after the target
// showed that it cannot take more.
func (l *limiter) grow() {
	l.mu.Lock()
	l.limit = min(l.ceiling, l.limit+1)
	l.mu.Unlock()
}

func (l *limiter) shrink() {
	l.mu.Lock()
	l.limit = max(1, l.limit*0.7)
	l.mu.Unlock()
}

// target is the runtime of one target.
type target struct {
	name  string
	plan  TargetPlan
	limit *limiter
	pull  *targets.Pull // not nil: workers come for its deliveries
	rate  *rate.Limiter // nil is unlimited
	nanos atomic.Int64  // moving mean of an attempt's duration

	closing sync.Once
	err     error
}

func newTarget(name string, plan TargetPlan) *target {
	plan.Retry = plan.Retry.withDefaults()
	pull := pullOf(plan)
	if plan.Concurrency <= 0 && pull != nil {
		plan.Concurrency = DefaultLeases
	}
	if plan.Concurrency <= 0 {
		plan.Concurrency = DefaultConcurrency
	}
	if plan.Timeout <= 0 {
		plan.Timeout = DefaultAttemptTimeout
	}
	t := &target{name: name, plan: plan, pull: pull}
	t.limit = newLimiter(firstLimit, float64(plan.Concurrency))
	if plan.Rate > 0 {
		t.rate = rate.NewLimiter(rate.Limit(plan.Rate), max(1, int(plan.Rate/10)))
	}
	return t
}

// observe learns from an attempt how fast the target is and how much of it can
// be taken at the same time. A permanent failure says nothing against it.
func (t *target) observe(took time.Duration, err error) {
	mean := t.nanos.Load()
	if mean == 0 {
		mean = int64(took)
	}
	t.nanos.Store(mean + (int64(took)-mean)/8)
	if err == nil || targets.IsPermanent(err) {
		t.limit.grow()
	} else {
		t.limit.shrink()
	}
}

// mean is the moving mean of an attempt's duration, 0 before the first.
func (t *target) mean() time.Duration {
	if n := t.nanos.Load(); n > 0 {
		return time.Duration(n)
	}
	return fastTarget
}

// tokens is how many of want attempts the rate allows to begin now; with none,
// wait is how long until one is.
func (t *target) tokens(now time.Time, want int) (allowed int, wait time.Duration) {
	if t.rate == nil {
		return want, 0
	}
	have := t.rate.TokensAt(now)
	if have >= 1 {
		return min(want, int(have)), 0
	}
	return 0, time.Duration((1-have)/float64(t.rate.Limit())*float64(time.Second)) + time.Millisecond
}

// spend takes n tokens.
func (t *target) spend(now time.Time, n int) {
	if t.rate != nil && n > 0 {
		t.rate.AllowN(now, n)
	}
}

// close closes the target once.
func (t *target) close() error {
	t.closing.Do(func() { t.err = t.plan.Target.Close() })
	return t.err
}

// startTargets builds the runtime of the plan's targets that are new or
// changed and starts them; on an error none is left running.
func (d *deliverer) startTargets(ctx context.Context, plans map[string]TargetPlan) (map[string]*target, error) {
	fresh := map[string]*target{}
	for name, p := range plans {
		if old := d.targets[name]; old != nil && p.Fingerprint != "" && old.plan.Fingerprint == p.Fingerprint {
			continue
		}
		t := newTarget(name, p)
		if err := p.Target.Start(ctx); err != nil {
			errs := []error{err, t.close()}
			for _, f := range fresh {
				errs = append(errs, f.close())
			}
			return nil, errors.Join(errs...)
		}
		fresh[name] = t
	}
	return fresh, nil
}

// adopt makes the fresh targets the ones in force. Those that they replace, or
// that the plan has no more, are closed when their attempts have ended.
func (d *deliverer) adopt(plans map[string]TargetPlan, fresh map[string]*target) {
	var gone []*target
	for name, t := range d.targets {
		if _, kept := plans[name]; !kept || fresh[name] != nil {
			gone = append(gone, t)
		}
	}
	next := make(map[string]*target, len(plans))
	for name, p := range plans {
		if t := fresh[name]; t != nil {
			next[name] = t
			continue
		}
		next[name] = d.targets[name]
		if p.Target != next[name].plan.Target {
			p.Target.Close() // built, never started: the one in force is the same
		}
	}
	d.targets = next
	for _, t := range gone {
		d.retire(t)
	}
}

// retire closes a target once no attempt uses it.
func (d *deliverer) retire(t *target) {
	t.limit.retire(func() {
		if err := t.close(); err != nil {
			d.e.log.Warn("closing a target failed", "target", t.name, "error", err)
		}
	})
}
