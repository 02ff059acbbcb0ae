package bus

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// asked is the runtime of the enrichments of one rule: before each endpoint
// stands a gate, as before a target. Deliveries wait at those that the rule
// cannot do without; what may be null is null while its gate is shut.
type asked struct {
	enricher *enrich.Enricher
	gates    []*gate // of each call, in their order
	needed   []*gate // of those whose failures are the attempt's
}

// trialOf is a trial of one of several gates.
type trialOf struct {
	gate *gate
	n    trial
}

// leave gives trials back that were not made.
func leave(trials []trialOf) {
	for _, t := range trials {
		t.gate.leave(t.n)
	}
}

// trialAt is the trial of g among trials, 0 without one.
func trialAt(trials []trialOf, g *gate) trial {
	for _, t := range trials {
		if t.gate == g {
			return t.n
		}
	}
	return 0
}

// newAsked makes the gates of a rule's enrichments, as they were left by what
// ran before.
func (d *deliverer) newAsked(rule string, p RulePlan) *asked {
	a := &asked{enricher: p.Enrich}
	for _, c := range p.Enrich.Calls() {
		g := newGate(gateOwner{rule: rule, call: c.Name, settings: p.EnrichFingerprint},
			BreakerPolicy{Failures: c.Breaker.Failures, Open: c.Breaker.Open}, d.wake)
		d.e.keeper.restore(g)
		a.gates = append(a.gates, g)
		if c.OnError == enrich.Fail {
			a.needed = append(a.needed, g)
		}
	}
	return a
}

// adoptAsked makes the runtime of the enrichments of the rules that change. That
// of an Enricher which stays goes on.
func (d *deliverer) adoptAsked(c *planChange) {
	old := d.asked
	for name, p := range c.rules {
		was := old.At(name)
		if p.Enrich == nil || was != nil && was.enricher == p.Enrich {
			continue
		}
		is := d.newAsked(name, p)
		d.asked = d.asked.With(name, is)
		for _, g := range is.gates {
			d.e.keeper.mark(g)
		}
	}
	for name, was := range c.asking(old) {
		if c.next.rules.At(name).Enrich == nil {
			d.asked = d.asked.Without(name)
		}
		if d.asked.At(name) != was {
			was.retire()
		}
	}
}

func (a *asked) retire() {
	for _, g := range a.gates {
		g.retire()
	}
}

// has reports whether a call of that name is among them.
func (a *asked) has(call string) bool {
	return a != nil && slices.ContainsFunc(a.gates, func(g *gate) bool { return g.whose.call == call })
}

// refuses puts s in line if there is no use in asking for deliveries now.
func (a *asked) refuses(s *subscription) bool {
	return a != nil && slices.ContainsFunc(a.needed, func(g *gate) bool { return g.refuses(s) })
}

// enter says how many of want deliveries s may claim, as gate.enter does, and
// which trials the one is then.
func (a *asked) enter(s *subscription, want int) (n int, trials []trialOf) {
	if a == nil {
		return want, nil
	}
	for _, g := range a.needed {
		n, probe := g.enter(s, want)
		if n == 0 {
			leave(trials)
			return 0, nil
		}
		if want = n; probe != 0 {
			trials = append(trials, trialOf{g, probe})
		}
	}
	return want, trials
}

// pass lets one claimed delivery begin its attempt. If it may not, it goes
// back.
func (a *asked) pass(trials []trialOf) bool {
	return a == nil || !slices.ContainsFunc(a.needed, func(g *gate) bool { return !g.pass(trialAt(trials, g)) })
}

// waited is what a delivery that was due at due waited for, as far as it was
// one of the gates.
func (a *asked) waited(due time.Time, trials []trialOf) store.Wait {
	if a != nil {
		for _, g := range a.needed {
			if why := g.waited(due, trialAt(trials, g)); why != store.WaitNone {
				return why
			}
		}
	}
	return store.WaitNone
}

// reason says in words why deliveries wait, "" if they do not.
func (a *asked) reason(now time.Time) string {
	if a != nil {
		for _, g := range a.needed {
			if !g.shut.Load() {
				continue
			}
			if reason, _ := g.reason(now); reason != "" {
				return "enrich " + g.whose.call + ": " + reason
			}
		}
	}
	return ""
}

// eventFor makes the event that the target gets: as the rule's transform has it,
// with what the rule's enrichments answer. The error is the outcome of the
// attempt.
func (d *deliverer) eventFor(spec *subscriptionSpec, dl *claimed) (*event.Event, error) {
	ev, err := d.transformed(spec, dl)
	if err == nil && dl.ID.Run != 0 {
		ev = d.e.replays.mark(dl.ID.Run, ev)
	}
	return ev, err
}

// transformed is the event as the rule has it.
func (d *deliverer) transformed(spec *subscriptionSpec, dl *claimed) (*event.Event, error) {
	ev := dl.Record.Event
	if spec.transform == nil {
		return ev, nil
	}
	in := transform.Context{Bus: spec.bus.name, Rule: spec.rule, Recorded: dl.Record.Recorded}
	if spec.asks != nil {
		ctx, cancel := context.WithTimeout(d.ctx, spec.target.plan.Timeout)
		answers, err := d.ask(ctx, spec, in, dl)
		cancel()
		if err != nil {
			return nil, targets.Classify(targets.Enrich, err)
		}
		in.Enriched = answers
	}
	out, err := applyTransform(spec, in, ev)
	if err != nil {
		return nil, &targets.Permanent{Err: targets.Classify(targets.Transform, err)}
	}
	return out, nil
}

// ask makes the calls of a rule's enrichments, counts them and learns from them
// how the endpoints do. A panic is a permanent failure.
func (d *deliverer) ask(ctx context.Context, spec *subscriptionSpec, in transform.Context, dl *claimed) (answers *event.Tree, err error) {
	asks, ev := spec.asks, dl.Record.Event
	trials := make([]trial, len(asks.gates)) // each is set by its call only
	for i, g := range asks.gates {
		trials[i] = trialAt(dl.asking, g)
	}
	dl.asking = nil
	var reports []enrich.Report
	defer func() {
		if p := recover(); p != nil {
			err = targets.Permanentf("enrich: panic: %v", p)
		}
		d.observeAsked(spec, trials, reports)
	}()
	answers, reports, err = asks.enricher.Enrich(ctx, in, ev, func(i int) bool {
		g := asks.gates[i]
		if slices.Contains(asks.needed, g) {
			return true // it has waited at the gate
		}
		ok, n := g.admits()
		trials[i] = n
		return ok
	})
	for i := range reports {
		r := &reports[i]
		r.Err = conceal(r.Err, spec.hideRule)
		d.e.metrics.enriched(spec.rule, r)
		if r.Err != nil && err == nil {
			d.e.log.Debug("an enrichment failed and is null", "bus", spec.bus.name, "rule", spec.rule,
				"enrich", r.Name, "event_id", ev.ID(), "error", r.Err)
		}
	}
	return answers, err
}

// observeAsked tells the gates what came of their calls. Answers from a cache,
// and calls that our own shutdown ended, say nothing.
func (d *deliverer) observeAsked(spec *subscriptionSpec, trials []trial, reports []enrich.Report) {
	for i, g := range spec.asks.gates {
		if i >= len(reports) || reports[i].Calls == 0 || d.cutOff(reports[i].Err) {
			if trials[i] != 0 {
				g.leave(trials[i])
			}
			continue
		}
		r := &reports[i]
		v, after := verdictOf(r.Err, targets.Answer{Status: r.Status})
		d.e.keeper.changed(g, g.observe(v, after, r.Err, trials[i]), r.Err)
	}
}

// quick reports whether attempts are so short that one goroutine goes through
// several deliveries and settles them together.
func (s *subscription) quick(t *target) bool {
	spec := s.spec.Load()
	return t.mean() < fastTarget && (spec == nil || spec.asks == nil)
}

// wanted reports whether someone stands in line for a permit.
func (l *limiter) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.line) > 0
}

// yields reports whether a runner hands its permits on after each delivery if
// others wait for them: what an enrichment takes is not the target's doing, so
// it holds up the target's other rules no longer than one attempt at a time.
func (spec *subscriptionSpec) yields(l *limiter) bool { return spec.asks != nil && l.wanted() }

// retireEnrichers lets go of those that the plan in force no longer has.
func retireEnrichers(old *state, c *planChange) {
	for name := range c.asking(old.asked) {
		if is := old.rules.At(name).Enrich; c.next.rules.At(name).Enrich != is {
			is.Retire()
		}
	}
}

// closeEnrichers ends what is left of all.
func closeEnrichers(st *state) {
	for _, r := range st.rules.All() {
		if r.Enrich != nil {
			r.Enrich.Close()
		}
	}
}

// checkEnrich refuses calls whose answers nothing reads.
func (p RulePlan) checkEnrich(name string) error {
	if p.Enrich != nil && p.Transform == nil {
		return fmt.Errorf("bus: rule %q has enrichments and no transform", name)
	}
	return nil
}

// enrichMetrics counts enrichments by rule. Rules that have some are few, beside
// all that a bus may have; those beyond labelMost share the name "other".
type enrichMetrics struct {
	calls, hits, failures, opened *prometheus.CounterVec
	seconds                       *prometheus.HistogramVec
	open, held                    *prometheus.Desc
}

func newEnrichMetrics() enrichMetrics {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchyard_" + name, Help: help}, []string{"rule"})
	}
	return enrichMetrics{
		calls:    vec("enrich_calls_total", "Requests to endpoints of enrichments, repeats included."),
		hits:     vec("enrich_cache_hits_total", "Enrichments answered without a request of their own."),
		failures: vec("enrich_failures_total", "Enrichments that failed, those that became null included."),
		opened:   vec("enrich_breaker_opened_total", "How often the circuit breaker of an endpoint has opened after it was closed."),
		open: prometheus.NewDesc("switchyard_enrich_breaker_open",
			"Endpoints of the rule whose circuit breaker is open or half-open.", []string{"rule"}, nil),
		held: prometheus.NewDesc("switchyard_enrich_held",
			"Endpoints of the rule that asked for a pause (Retry-After) which lasts.", []string{"rule"}, nil),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "switchyard_enrich_seconds",
			Help: "How long enrichments took, cached ones included.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"rule"}),
	}
}

func (m *metrics) enriched(rule string, r *enrich.Report) {
	label := m.shown("rule", rule)
	m.enrich.calls.WithLabelValues(label).Add(float64(r.Calls))
	if r.Hit {
		m.enrich.hits.WithLabelValues(label).Inc()
	}
	if r.Err != nil {
		m.enrich.failures.WithLabelValues(label).Inc()
	}
	m.enrich.seconds.WithLabelValues(label).Observe(r.Took.Round(time.Microsecond).Seconds())
}

// collectAsked shows which endpoints rest; rules that share a name are added
// up.
func (m *metrics) collectAsked(gauge func(*prometheus.Desc, float64, ...string)) {
	byRule := map[string][2]float64{}
	now := time.Now()
	for rule, a := range m.e.state.Load().asked.All() {
		rule = m.shown("rule", rule)
		sums := byRule[rule]
		for _, g := range a.gates {
			open, held := g.rests(now)
			if open {
				sums[0]++
			}
			if held {
				sums[1]++
			}
		}
		byRule[rule] = sums
	}
	for rule, sums := range byRule {
		gauge(m.enrich.open, sums[0], rule)
		gauge(m.enrich.held, sums[1], rule)
	}
}
