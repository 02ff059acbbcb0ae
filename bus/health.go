package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// leastFailures is how many failures in a row are kept over a restart, and
// pause a target that has failed for long enough.
const leastFailures = 10

// leastHold is how long a pause must be to be kept over a restart.
const leastHold = 10 * time.Second

// health is since when a target has had nothing but failures of any kind.
type health struct {
	failures  int
	since     time.Time // of the first of them; zero after a success
	lastError string
}

// change is what an attempt changed in a target's gate.
type change struct {
	opened, reopened, closed bool // the breaker
	failures                 int  // in a row, when it opened
	until                    time.Time
	held                     bool // the destination asked for a pause
	health                   healthChange
}

type healthChange struct {
	failing, recovered bool      // the state that is kept over a restart is another
	pauseSince         time.Time // not zero: nothing but failures since, so pause
}

// observe takes the verdict on an attempt.
func (h *health) observe(now time.Time, v verdict, cause error, pauseAfter time.Duration) (c healthChange) {
	if v == worked {
		c.recovered = h.failures >= leastFailures
		*h = health{}
		return c
	}
	if h.failures++; h.failures == 1 {
		h.since = now
	}
	if cause != nil {
		h.lastError = truncate(cause.Error(), 1<<10)
	}
	c.failing = h.failures == leastFailures
	if pauseAfter > 0 && h.failures >= leastFailures && now.Sub(h.since) >= pauseAfter {
		c.pauseSince = h.since
		*h = health{lastError: h.lastError} // a resume gives it as long again
	}
	return c
}

// verdictOf reads from the outcome of an attempt what it says about the
// target, and how long a pause the destination asked for. Transport errors,
// timeouts and 5xx are failures. A 429, and a 503 that says when to come again,
// come from a destination that is well and wants fewer; any other answer
// concerns its own delivery only.
func verdictOf(err error, answer targets.Answer) (v verdict, after time.Duration) {
	var asked *targets.RetryAfter
	status := answer.Status
	switch {
	case err == nil:
		return worked, 0
	case targets.IsPermanent(err):
		return refused, 0
	case errors.As(err, &asked) && (status == 0 || status == 429 || status == 503):
		return busy, asked.After
	case status == 429:
		return busy, 0
	case status == 0, status >= 500, status < 200:
		return failed, 0
	}
	return refused, 0
}

// saved is what is kept of a gate over a restart, in the catalogue. It counts
// only for a target or an endpoint with the same settings.
type saved struct {
	Settings  string    `json:"settings"`
	Failures  int       `json:"failures,omitempty"`
	Opened    int       `json:"opened,omitempty"`
	Until     time.Time `json:"until,omitzero"`
	Hold      time.Time `json:"hold,omitzero"`
	Failed    int       `json:"failed,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	LastError string    `json:"lastError,omitempty"`
}

// healthKind is the kind of these objects in the catalogue.
const healthKind = "health"

// settingsHash tells whether a target's settings are the same, and shows
// nothing of them.
func settingsHash(fingerprint string) string {
	sum := sha256.Sum256([]byte(fingerprint))
	return hex.EncodeToString(sum[:8])
}

// save is what is to be kept of g; empty says that it is nothing.
func (g *gate) save() (s saved, empty bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.breaker.opened > 0 {
		s.Failures, s.Opened, s.Until = g.breaker.failures, g.breaker.opened, g.breaker.until
	}
	if g.hold.Sub(now) >= leastHold {
		s.Hold = g.hold
	}
	if g.health.failures >= leastFailures {
		s.Failed, s.Since, s.LastError = g.health.failures, g.health.since, g.health.lastError
	}
	return s, s == saved{} || g.retired
}

// restore puts a gate that is not used yet into the state that was kept.
func (g *gate) restore(s saved) {
	now := time.Now()
	g.health = health{failures: s.Failed, since: s.Since, lastError: s.LastError}
	if s.Opened > 0 && g.breaker.policy.Failures > 0 {
		g.breaker.failures, g.breaker.opened = s.Failures, s.Opened
		g.breaker.until = earlier(s.Until, now.Add(max(MaxOpen, g.breaker.policy.Open)))
		g.close(now, store.WaitBreaker)
	}
	if s.Hold.After(now) {
		g.hold = earlier(s.Hold, now.Add(MaxHold))
		g.close(now, store.WaitRetryAfter)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// keeper does what follows from changes of gates apart from the deliveries:
// it keeps states over restarts, pauses what has failed for too long and
// publishes system events. One goroutine runs it; what it has to do is bounded
// by the number of targets and by systemMost.
type keeper struct {
	e      *Engine
	signal chan struct{}

	mu     sync.Mutex
	dirty  map[*gate]struct{}
	gone   map[string]struct{}
	pauses map[*target]healthChange
	events []systemEvent
	kept   map[string]saved // what the catalogue has
}

// keepPause spaces the writes of the keeper, each of which is synced.
const keepPause = 100 * time.Millisecond

func newKeeper(e *Engine) (*keeper, error) {
	k := &keeper{e: e, signal: make(chan struct{}, 1), dirty: map[*gate]struct{}{}, gone: map[string]struct{}{},
		pauses: map[*target]healthChange{}, kept: map[string]saved{}}
	objects, err := e.store.ListObjects(context.Background(), healthKind)
	if err != nil {
		return nil, fmt.Errorf("bus: states of targets: %w", err)
	}
	for _, o := range objects {
		var s saved
		if err := json.Unmarshal(o.Value, &s); err != nil {
			e.log.Warn("the kept state of a target cannot be read and is dropped", "target", o.Name, "error", err)
			k.gone[o.Name] = struct{}{}
		}
		k.kept[o.Name] = s
	}
	return k, nil
}

// restore puts a gate that is not used yet into the state that was kept of one
// with the same settings, if there is one.
func (k *keeper) restore(g *gate) {
	k.mu.Lock()
	s, ok := k.kept[g.whose.name()]
	k.mu.Unlock()
	if ok && g.whose.settings != "" && s.Settings == settingsHash(g.whose.settings) {
		g.restore(s)
	}
}

// changed notes what an attempt changed.
func (k *keeper) changed(g *gate, c change, cause error) {
	keep := c.opened || c.reopened || c.closed || c.held || c.health.failing || c.health.recovered
	pause := !c.health.pauseSince.IsZero()
	if !keep && !pause {
		return
	}
	k.mu.Lock()
	k.dirty[g] = struct{}{}
	if t := g.whose.target; t != nil && pause {
		k.pauses[t] = c.health
	}
	k.mu.Unlock()
	switch {
	case c.opened:
		k.e.metrics.breakerOpened(&g.whose)
		k.e.log.Warn("breaker opened: what fails is given a rest", append(g.whose.keys(), "failures", c.failures, "until", c.until, "error", cause)...)
		k.announce(g.whose.event(TypeBreakerOpened, TypeEnrichBreakerOpened,
			systemData{Failures: c.failures, Until: timePointer(c.until), LastError: errorText(cause)}))
	case c.closed:
		k.e.log.Info("breaker closed: it answers again", g.whose.keys()...)
		k.announce(g.whose.event(TypeBreakerClosed, TypeEnrichBreakerClosed, systemData{}))
	}
	k.wake()
}

// event is news of a target, or of an endpoint.
func (o *gateOwner) event(ofTarget, ofEndpoint string, data systemData) systemEvent {
	if o.target != nil {
		return systemEvent{kind: ofTarget, target: o.target.name, data: data}
	}
	data.Rule, data.Enrichment = o.rule, o.call
	return systemEvent{kind: ofEndpoint, rule: o.rule, data: data}
}

// forget notes that nothing is to be kept of what is not in force.
func (k *keeper) forget(inForce func(name string) bool) {
	k.mu.Lock()
	for name := range k.kept {
		if !inForce(name) {
			k.gone[name] = struct{}{}
		}
	}
	k.mu.Unlock()
	k.wake()
}

// mark notes that the state of g is to be written.
func (k *keeper) mark(g *gate) {
	k.mu.Lock()
	k.dirty[g] = struct{}{}
	k.mu.Unlock()
	k.wake()
}

func (k *keeper) wake() {
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

// run works until ctx is done; flush does the rest.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-k.signal:
		case <-ctx.Done():
			return
		}
		k.flush(context.WithoutCancel(ctx)) // what is begun is finished
		select {
		case <-time.After(keepPause):
		case <-ctx.Done():
			return
		}
	}
}

// flush does everything that was noted. What the store refuses is tried again
// with the next change.
func (k *keeper) flush(ctx context.Context) {
	k.mu.Lock()
	dirty, gone, pauses := k.dirty, k.gone, k.pauses
	k.dirty, k.gone, k.pauses = map[*gate]struct{}{}, map[string]struct{}{}, map[*target]healthChange{}
	k.mu.Unlock()
	for t, c := range pauses {
		if err := k.pause(ctx, t, c); err != nil {
			k.e.log.Error("pausing a target that fails failed, trying again", "target", t.name, "error", err)
			k.mu.Lock()
			k.pauses[t] = c
			k.mu.Unlock()
			time.AfterFunc(routePause, k.wake)
		}
	}
	for name := range gone {
		if err := k.drop(ctx, name); err != nil {
			k.e.log.Error("the kept state of a target was not removed", "target", name, "error", err)
		}
	}
	for g := range dirty {
		if err := k.keep(ctx, g); err != nil {
			k.e.log.Error("the state of a breaker was not kept, trying again", append(g.whose.keys(), "error", err)...)
			k.mu.Lock()
			k.dirty[g] = struct{}{}
			k.mu.Unlock()
			time.AfterFunc(routePause, k.wake)
		}
	}
	k.mu.Lock()
	events := k.events
	k.events = nil
	k.mu.Unlock()
	k.e.publishSystem(ctx, events)
}

// keep writes the state of g, if it is not the one that is written.
func (k *keeper) keep(ctx context.Context, g *gate) error {
	s, empty := g.save()
	if g.isRetired() {
		return nil // its successor is written
	}
	name := g.whose.name()
	k.mu.Lock()
	was, ok := k.kept[name]
	k.mu.Unlock()
	switch {
	case empty && !ok:
		return nil
	case empty:
		return k.drop(ctx, name)
	}
	s.Settings = settingsHash(g.whose.settings)
	if ok && was == s {
		return nil
	}
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if _, err := k.e.store.PutObject(ctx, healthKind, name, value, store.AnyVersion); err != nil {
		return err
	}
	k.mu.Lock()
	k.kept[name] = s
	k.mu.Unlock()
	return nil
}

func (k *keeper) drop(ctx context.Context, name string) error {
	err := k.e.store.DeleteObject(ctx, healthKind, name, store.AnyVersion)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	k.mu.Lock()
	delete(k.kept, name)
	k.mu.Unlock()
	return nil
}

// pause pauses the subscriptions of a target that has failed for too long.
func (k *keeper) pause(ctx context.Context, t *target, c healthChange) error {
	t.gate.mu.Lock()
	last := t.gate.health.lastError
	t.gate.mu.Unlock()
	reason := truncate(fmt.Sprintf("the target has had nothing but failures since %s; the last: %s", shownTime(c.pauseSince), last), 500)
	var paused []string
	for _, s := range k.e.state.Load().subs.All() {
		if spec := s.spec.Load(); spec == nil || spec.target != t {
			continue
		}
		info, err := k.e.store.Subscription(s.id)
		if err != nil || info.Paused || info.Orphaned {
			continue
		}
		if err := k.e.store.Pause(ctx, s.id, reason); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		paused = append(paused, s.name)
	}
	if len(paused) == 0 {
		return nil
	}
	slices.Sort(paused)
	k.e.log.Warn("target paused", "target", t.name, "reason", reason, "subscriptions", len(paused))
	k.announce(systemEvent{kind: TypeTargetPaused, target: t.name, data: systemData{
		Subscriptions: firstOf(paused, systemNames), Reason: reason, Since: timePointer(c.pauseSince), LastError: last}})
	return nil
}

func firstOf(names []string, n int) []string { return names[:min(n, len(names))] }

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return truncate(err.Error(), 1<<10)
}

func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
