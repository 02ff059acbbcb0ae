package bus

import "time"

// TargetStatus is how a target does.
type TargetStatus struct {
	// Breaker is "closed", "open", "half-open", or "off".
	Breaker string `json:"breaker"`
	// Reason says why deliveries wait, "" if they do not, and Until for how long.
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
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

// TargetStatus says how a target of the plan in force does.
func (e *Engine) TargetStatus(name string) (TargetStatus, bool) {
	t := e.state.Load().targets[name]
	if t == nil {
		return TargetStatus{}, false
	}
	return t.status(time.Now()), true
}

// Waiting says why the deliveries to a target wait at present, "" if they do
// not: its breaker, or a pause that it asked for.
func (e *Engine) Waiting(target string) string {
	t := e.state.Load().targets[target]
	if t == nil || !t.gate.shut.Load() {
		return ""
	}
	reason, _ := t.gate.reason(time.Now())
	return reason
}

func (t *target) status(now time.Time) TargetStatus {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	s := TargetStatus{Breaker: g.breaker.state(now).String(), Failures: g.health.failures,
		FailingSince: timePointer(g.health.since), LastError: g.health.lastError}
	if g.breaker.policy.Failures <= 0 {
		s.Breaker = "off"
	}
	reason, until := g.reasonLocked(now)
	s.Reason, s.Until = reason, timePointer(until)
	s.Concurrency, s.InFlight = t.limit.now()
	return s
}

// rests says whether the breaker or the destination's wish shuts the gate.
func (g *gate) rests(now time.Time) (open, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.breaker.opened > 0, now.Before(g.hold)
}
