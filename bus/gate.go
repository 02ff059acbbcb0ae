package bus

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// MaxHold bounds for how long one Retry-After holds up a whole target.
const MaxHold = time.Hour

// gate decides when deliveries may go to a target, or ask an endpoint for what
// their transform needs: its breaker, a pause that
// the destination asked for and its rate. Subscriptions that find it shut
// stand in line, and cost nothing until it opens: then they are called, in
// their order.
type gate struct {
	whose gateOwner
	call  func(*subscription) // starts one that may go on; called without the lock
	rate  *rate.Limiter       // nil is unlimited
	shut  atomic.Bool         // by the breaker or the destination; the rate does not count
	was   atomic.Bool         // shut ever, or the rate had nothing

	mu      sync.Mutex
	breaker breaker
	hold    time.Time // asked for by the destination until then
	health  health
	last    rest      // the latest time of being shut
	dry     time.Time // when the rate last had nothing for who asked
	line    []*subscription
	inLine  map[*subscription]struct{}
	timer   *time.Timer
	at      time.Time // when the timer fires, zero if it is not set
	retired bool
}

// gateOwner is what a gate stands before: a target, or an endpoint that a rule
// asks for its transform.
type gateOwner struct {
	target     *target // nil for an endpoint
	rule, call string  // of an endpoint: the rule, and the name of the enrichment
	settings   string  // its fingerprint; "" never is the same again
}

// name is the gate's name in the catalogue. No target's name has a slash.
func (o *gateOwner) name() string {
	if o.target != nil {
		return o.target.name
	}
	return o.rule + "/" + o.call
}

// keys are the stable keys of log lines about the gate.
func (o *gateOwner) keys() []any {
	if o.target != nil {
		return []any{"target", o.target.name}
	}
	return []any{"rule", o.rule, "enrich", o.call}
}

// rest is a time in which a gate was shut.
type rest struct {
	why      store.Wait
	from, to time.Time // to is zero while it lasts
}

func newGate(whose gateOwner, policy BreakerPolicy, call func(*subscription)) *gate {
	return &gate{whose: whose, call: call, inLine: map[*subscription]struct{}{}, breaker: breaker{policy: policy}}
}

// limitRate bounds the attempts a second; 0 does not, and a burst of 0 is what
// a tenth of a second brings.
func (g *gate) limitRate(perSecond float64, burst int) {
	if perSecond <= 0 {
		return
	}
	if burst <= 0 {
		burst = max(1, int(perSecond/10))
	}
	g.rate = rate.NewLimiter(rate.Limit(perSecond), burst)
}

// refuses puts s in line if there is no use in asking for deliveries now.
func (g *gate) refuses(s *subscription) bool {
	if !g.shut.Load() {
		return false
	}
	n, probe := g.enter(s, 1)
	if probe != 0 {
		g.mu.Lock()
		g.breaker.unprobe(probe)
		g.mu.Unlock()
	}
	return n == 0
}

// enter says how many of want deliveries s may claim. With none it stands in
// line. probe not 0 says that the one delivery is the trial of a half-open breaker:
// it ends with observe, or with leave if there is no delivery.
func (g *gate) enter(s *subscription, want int) (n int, probe trial) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Before(g.hold) || g.breaker.state(now) == breakerOpen {
		g.stand(s)
		g.arm(now)
		return 0, 0
	}
	if have := g.tokens(now); have < want {
		// Others in line get their part of what there is.
		if want = have / (1 + len(g.line)); want == 0 && have > 0 {
			want = 1
		}
		if want == 0 {
			g.dry = now
			g.was.Store(true)
			g.stand(s)
			g.arm(now)
			return 0, 0
		}
	}
	if g.breaker.state(now) == breakerHalfOpen {
		if probe = g.breaker.probe(now); probe == 0 {
			g.stand(s)
			return 0, 0
		}
		return 1, probe
	}
	if g.shut.Load() { // the hold has ended, and the timer comes later
		g.open(now)
	}
	return want, 0
}

// pass lets one claimed delivery begin its attempt. If it may not, it goes
// back.
func (g *gate) pass(probe trial) bool {
	if g.shut.Load() && probe == 0 {
		return false
	}
	if g.rate == nil {
		return true
	}
	now := time.Now()
	if g.rate.AllowN(now, 1) {
		return true
	}
	g.mu.Lock()
	g.dry = now
	g.mu.Unlock()
	g.was.Store(true)
	return false
}

// leave gives back the trial of a half-open breaker that was not made.
func (g *gate) leave(n trial) {
	g.mu.Lock()
	g.breaker.unprobe(n)
	next := g.next(1)
	g.mu.Unlock()
	g.start(next)
}

// stand puts s in line, once.
func (g *gate) stand(s *subscription) {
	if _, ok := g.inLine[s]; !ok {
		g.inLine[s] = struct{}{}
		g.line = append(g.line, s)
	}
}

// admits is for what has no line to stand in: it says whether one attempt may
// begin now. probe not 0 says that it is the trial of a half-open breaker.
func (g *gate) admits() (ok bool, probe trial) {
	if !g.shut.Load() {
		return true, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	switch {
	case now.Before(g.hold), g.breaker.state(now) == breakerOpen:
		return false, 0
	case g.breaker.state(now) == breakerHalfOpen:
		probe = g.breaker.probe(now)
		return probe != 0, probe
	}
	g.open(now) // the hold has ended
	return true, 0
}

// next takes up to n subscriptions from the line that still pass this gate.
func (g *gate) next(n int) (out []*subscription) {
	for len(g.line) > 0 && len(out) < n {
		s := g.line[0]
		g.line[0] = nil
		g.line = g.line[1:]
		delete(g.inLine, s)
		if spec := s.spec.Load(); spec != nil && spec.passes(g) {
			out = append(out, s)
		}
	}
	return out
}

func (g *gate) start(all []*subscription) {
	for _, s := range all {
		g.call(s)
	}
}

// tokens is how many attempts the rate allows to begin now.
func (g *gate) tokens(now time.Time) int {
	if g.rate == nil {
		return int(^uint(0) >> 1)
	}
	return int(g.rate.TokensAt(now))
}

// arm sets the timer to when the line may go on.
func (g *gate) arm(now time.Time) {
	if g.retired {
		return
	}
	at := now
	if g.breaker.opened > 0 && g.breaker.until.After(at) {
		at = g.breaker.until
	}
	if g.hold.After(at) {
		at = g.hold
	}
	if g.rate != nil {
		if have := g.rate.TokensAt(now); have < 1 {
			wait := time.Duration((1-have)/float64(g.rate.Limit())*float64(time.Second)) + time.Microsecond
			if t := now.Add(wait); t.After(at) {
				at = t
			}
		}
	}
	if !g.at.IsZero() && !g.at.After(at) && g.at.After(now) {
		return // it fires before, and is set again then
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	g.at = at
	g.timer = time.AfterFunc(at.Sub(now), g.fire)
}

// fire calls those in line that may go on.
func (g *gate) fire() {
	g.mu.Lock()
	now := time.Now()
	g.at = time.Time{}
	var next []*subscription
	switch {
	case now.Before(g.hold), g.breaker.state(now) == breakerOpen:
		g.arm(now)
	case g.breaker.state(now) == breakerHalfOpen:
		if g.breaker.probing == 0 {
			next = g.next(1)
		}
	default:
		if g.shut.Load() {
			g.open(now)
		}
		if next = g.next(g.tokens(now)); len(g.line) > 0 {
			g.arm(now)
		}
	}
	g.mu.Unlock()
	g.start(next)
}

// open ends a rest.
func (g *gate) open(now time.Time) {
	g.shut.Store(false)
	g.last.to = now
}

// close begins a rest, or goes on with one.
func (g *gate) close(now time.Time, why store.Wait) {
	if !g.shut.Load() {
		g.last = rest{why: why, from: now}
	}
	g.shut.Store(true)
	g.was.Store(true)
}

// observe takes the outcome of an attempt that began at started: what it says
// about the target, the pause that the destination asked for, and the error.
// It says what changed.
func (g *gate) observe(v verdict, after time.Duration, cause error, probe trial) (c change) {
	g.mu.Lock()
	now := time.Now()
	was := g.breaker.opened
	g.breaker.observe(now, v, probe)
	c.health = g.health.observe(now, v, cause, g.breaker.policy.PauseAfter)
	switch is := g.breaker.opened; {
	case is > was:
		c.opened, c.reopened, c.failures = was == 0, was > 0, g.breaker.failures
		g.close(now, store.WaitBreaker)
		c.until = g.breaker.until
	case is == 0 && was > 0:
		c.closed = true
	}
	if v == busy && after > 0 {
		if hold := now.Add(min(after, MaxHold)); hold.After(g.hold) {
			g.hold, c.held = hold, true
			g.close(now, store.WaitRetryAfter)
		}
	}
	var next []*subscription
	switch {
	case !g.shut.Load():
	case now.Before(g.hold), g.breaker.state(now) == breakerOpen:
		g.arm(now)
	case g.breaker.opened == 0:
		g.open(now)
		if next = g.next(g.tokens(now)); len(g.line) > 0 {
			g.arm(now)
		}
	case g.breaker.probing == 0: // half-open
		next = g.next(1)
	}
	g.mu.Unlock()
	g.start(next)
	return c
}

// waited is what a delivery that was due at due waited for, as far as it was
// the gate.
func (g *gate) waited(due time.Time, probe trial) store.Wait {
	if !g.was.Load() {
		return store.WaitNone
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case probe != 0, g.last.to.IsZero() && g.last.why != store.WaitNone, due.Before(g.last.to):
		return g.last.why
	case due.Before(g.dry):
		return store.WaitRate
	}
	return store.WaitNone
}

// reset forgets failures, so that the next delivery tries the target.
func (g *gate) reset() {
	g.mu.Lock()
	now := time.Now()
	g.health = health{}
	g.breaker.failures = 0
	if g.breaker.opened > 0 {
		g.breaker.opened, g.breaker.until = 1, now
	}
	g.hold = time.Time{}
	g.arm(now)
	g.mu.Unlock()
}

// retire ends the timer and forgets the line.
func (g *gate) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired, g.line, g.inLine = true, nil, map[*subscription]struct{}{}
	if g.timer != nil {
		g.timer.Stop()
	}
}

func (g *gate) isRetired() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.retired
}

// reason says in words why deliveries wait, "" if they do not.
func (g *gate) reason(now time.Time) (string, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reasonLocked(now)
}

func (g *gate) reasonLocked(now time.Time) (string, time.Time) {
	state := g.breaker.state(now)
	switch {
	case state == breakerOpen && !g.hold.After(g.breaker.until):
		after := "a failure"
		if n := g.breaker.failures; n != 1 {
			after = fmt.Sprintf("%d failures in a row", n)
		}
		return fmt.Sprintf("breaker open until %s, after %s", shownTime(g.breaker.until), after), g.breaker.until
	case now.Before(g.hold):
		what := "receiver"
		if g.whose.target == nil {
			what = "endpoint"
		}
		return fmt.Sprintf("the %s asked for a pause until %s (Retry-After)", what, shownTime(g.hold)), g.hold
	case state == breakerHalfOpen:
		what := "target"
		if g.whose.target == nil {
			what = "endpoint"
		}
		return fmt.Sprintf("breaker half-open since %s: one delivery at a time tries the %s", shownTime(g.breaker.until), what), time.Time{}
	}
	return "", time.Time{}
}

func shownTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
