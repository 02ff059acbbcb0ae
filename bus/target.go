package bus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/targets"
)

// target is the runtime of one target.
type target struct {
	name  string
	plan  TargetPlan
	limit *limiter
	gate  *gate
	pull  *targets.Pull // not nil: workers come for its deliveries
	nanos atomic.Int64  // moving mean of an attempt's duration

	closing sync.Once
	err     error
}

func newTarget(name string, plan TargetPlan, call func(*subscription)) *target {
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
	t := &target{name: name, plan: plan, pull: pull, limit: newLimiter(firstLimit, float64(plan.Concurrency))}
	t.gate = newGate(gateOwner{target: t, settings: plan.Fingerprint}, plan.Breaker, call)
	t.gate.limitRate(plan.Rate, plan.Burst)
	return t
}

// observe learns from an attempt how fast the target is, how much of it can be
// taken at the same time and whether it is well.
func (t *target) observe(took time.Duration, err error, answer targets.Answer, probe trial) change {
	mean := t.nanos.Load()
	if mean == 0 {
		mean = int64(took)
	}
	t.nanos.Store(mean + (int64(took)-mean)/8)
	v, after := verdictOf(err, answer)
	switch {
	case v == worked || v == refused:
		t.limit.answered(took)
	case v == busy || answer.Status == 503 || timedOut(err):
		t.limit.overloaded()
	}
	c := t.gate.observe(v, after, err, probe)
	if c.closed {
		t.limit.again()
	}
	return c
}

// timedOut reports whether an attempt failed because it took too long.
func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// mean is the moving mean of an attempt's duration, 0 before the first.
func (t *target) mean() time.Duration {
	if n := t.nanos.Load(); n > 0 {
		return time.Duration(n)
	}
	return fastTarget
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
		t := newTarget(name, p, d.wake)
		d.e.keeper.restore(t.gate)
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
	for _, t := range fresh {
		d.e.keeper.mark(t.gate)
	}
	for _, t := range gone {
		d.retire(t)
	}
}

// inForce reports whether a gate of this name is.
func (d *deliverer) inForce(gate string) bool {
	if rule, call, ok := strings.Cut(gate, "/"); ok {
		return d.asked.At(rule).has(call)
	}
	return d.targets[gate] != nil
}

// retire closes a target once no attempt uses it.
func (d *deliverer) retire(t *target) {
	t.gate.retire()
	t.limit.retire(func() {
		if err := t.close(); err != nil {
			d.e.log.Warn("closing a target failed", "target", t.name, "error", err)
		}
	})
}

// tokens is how many of want deliveries the rate lets workers take now; with
// none, wait is how long until one is.
func (t *target) tokens(now time.Time, want int) (allowed int, wait time.Duration) {
	r := t.gate.rate
	if r == nil {
		return want, 0
	}
	have := r.TokensAt(now)
	if have >= 1 {
		return min(want, int(have)), 0
	}
	return 0, time.Duration((1-have)/float64(r.Limit())*float64(time.Second)) + time.Millisecond
}

// spend takes n tokens.
func (t *target) spend(now time.Time, n int) {
	if t.gate.rate != nil && n > 0 {
		t.gate.rate.AllowN(now, n)
	}
}
