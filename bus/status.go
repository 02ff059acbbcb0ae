package bus

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// TargetStatus is how a target does.
type TargetStatus struct {
	// Breaker is "closed", "open", "half-open", or "off".
	Breaker string `json:"breaker"`
	// Reason says why deliveries wait, "" if they do not, and Until for how long,
	// nil if that is until a resume.
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	// Paused are the subscriptions to the target that are paused, by name, the
	// first shownPaused of them.
	Paused []PausedSubscription `json:"paused,omitempty"`
	// Failures is how many attempts in a row did not succeed, for whatever
	// reason, since FailingSince.
	Failures     int        `json:"failures"`
	FailingSince *time.Time `json:"failingSince,omitempty"`
	LastError    string     `json:"lastError,omitempty"`
	// Concurrency is how many attempts may be under way now, InFlight how many
	// are.
	Concurrency int `json:"concurrency"`
	InFlight    int `json:"inFlight"`
}

// PausedSubscription is a subscription that is paused, and why and since when.
type PausedSubscription struct {
	Name   string     `json:"name"`
	Reason string     `json:"reason"`
	Since  *time.Time `json:"since,omitempty"`
}

// shownPaused is how many paused subscriptions the status of a target names.
const shownPaused = 100

// TargetStatus says how a target of the plan in force does.
func (e *Engine) TargetStatus(name string) (TargetStatus, bool) {
	st := e.state.Load()
	t := st.targets[name]
	if t == nil {
		return TargetStatus{}, false
	}
	s := t.status(time.Now())
	e.addPaused(&s, st, t)
	return s, true
}

// addPaused adds to the status of a target which of its subscriptions are paused.
// The reason is that of a pause if all of them are, or nothing else holds them up.
func (e *Engine) addPaused(s *TargetStatus, st *state, t *target) {
	all := 0
	for _, sub := range st.subs.All() {
		if spec := sub.spec.Load(); spec == nil || spec.target != t {
			continue
		}
		all++
		if info, err := e.store.Subscription(sub.id); err == nil && info.Paused && !info.Orphaned {
			s.Paused = append(s.Paused, PausedSubscription{sub.name, info.Reason, timePointer(info.Since)})
		}
	}
	if len(s.Paused) == 0 {
		return
	}
	slices.SortFunc(s.Paused, func(a, b PausedSubscription) int { return cmp.Compare(a.Name, b.Name) })
	if s.Reason == "" || len(s.Paused) == all {
		s.Reason = fmt.Sprintf("%d of %d subscriptions paused; %s: %s", len(s.Paused), all, s.Paused[0].Name, s.Paused[0].Reason)
		s.Until = nil
	}
	s.Paused = s.Paused[:min(len(s.Paused), shownPaused)]
}

// Waiting says why the deliveries of a rule to a target wait at present, "" if
// they do not: a breaker, of the target or of an endpoint that the rule asks, or
// a pause that one of them asked for.
func (e *Engine) Waiting(rule, target string) string {
	st, now := e.state.Load(), time.Now()
	if t := st.targets[target]; t != nil && t.gate.shut.Load() {
		if reason, _ := t.gate.reason(now); reason != "" {
			return reason
		}
	}
	return st.asked.At(rule).reason(now)
}

// EnrichStatus is how an endpoint does that a rule asks.
type EnrichStatus struct {
	Name string `json:"name"`
	// Breaker is "closed", "open", "half-open", or "off".
	Breaker string `json:"breaker"`
	// Reason says why deliveries wait, or get null, "" if they do not, and Until
	// for how long.
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	// Failures is how many calls in a row did not succeed, for whatever reason,
	// since FailingSince.
	Failures     int        `json:"failures"`
	FailingSince *time.Time `json:"failingSince,omitempty"`
	LastError    string     `json:"lastError,omitempty"`
}

// EnrichStatus says how the endpoints do that a rule of the plan in force asks,
// in order of their names.
func (e *Engine) EnrichStatus(rule string) []EnrichStatus {
	a := e.state.Load().asked.At(rule)
	if a == nil {
		return nil
	}
	now, all := time.Now(), make([]EnrichStatus, 0, len(a.gates))
	for _, g := range a.gates {
		s := g.status(now)
		all = append(all, EnrichStatus{Name: g.whose.call, Breaker: s.Breaker, Reason: s.Reason, Until: s.Until,
			Failures: s.Failures, FailingSince: s.FailingSince, LastError: s.LastError})
	}
	return all
}

func (t *target) status(now time.Time) TargetStatus {
	s := t.gate.status(now)
	s.Concurrency, s.InFlight = t.limit.now()
	return s
}

func (g *gate) status(now time.Time) TargetStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := TargetStatus{Breaker: g.breaker.state(now).String(), Failures: g.health.failures,
		FailingSince: timePointer(g.health.since), LastError: g.health.lastError}
	if g.breaker.policy.Failures <= 0 {
		s.Breaker = "off"
	}
	reason, until := g.reasonLocked(now)
	s.Reason, s.Until = reason, timePointer(until)
	return s
}

// rests says whether the breaker or the destination's wish shuts the gate.
func (g *gate) rests(now time.Time) (open, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.breaker.opened > 0, now.Before(g.hold)
}
