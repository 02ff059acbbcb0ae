package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// eventFor makes the event that the target gets: as the rule's transform has it,
// with what the rule's enrichments answer. The error is the outcome of the
// attempt.
func (d *deliverer) eventFor(spec *subscriptionSpec, dl *store.Delivery) (*event.Event, error) {
	ev, err := d.transformed(spec, dl)
	if err == nil && dl.ID.Run != 0 {
		ev = d.e.replays.mark(dl.ID.Run, ev)
	}
	return ev, err
}

// transformed is the event as the rule has it.
func (d *deliverer) transformed(spec *subscriptionSpec, dl *store.Delivery) (*event.Event, error) {
	ev := dl.Record.Event
	if spec.transform == nil {
		return ev, nil
	}
	in := transform.Context{Bus: spec.bus.name, Rule: spec.rule, Recorded: dl.Record.Recorded}
	if spec.enrich != nil {
		ctx, cancel := context.WithTimeout(d.ctx, spec.target.plan.Timeout)
		answers, err := d.ask(ctx, spec, in, ev)
		cancel()
		if err != nil {
			return nil, err
		}
		in.Enriched = answers
	}
	out, err := applyTransform(spec, in, ev)
	if err != nil {
		return nil, &targets.Permanent{Err: err}
	}
	return out, nil
}

// ask makes the calls of a rule's enrichments and counts them. A panic is a
// permanent failure.
func (d *deliverer) ask(ctx context.Context, spec *subscriptionSpec, in transform.Context, ev *event.Event) (answers *event.Tree, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = targets.Permanentf("enrich: panic: %v", p)
		}
	}()
	answers, reports, err := spec.enrich.Enrich(ctx, in, ev)
	for i := range reports {
		r := &reports[i]
		d.e.metrics.enriched(spec.rule, r)
		if r.Err != nil && err == nil {
			d.e.log.Debug("an enrichment failed and is null", "bus", spec.bus.name, "rule", spec.rule,
				"enrich", r.Name, "event_id", ev.ID(), "error", r.Err)
		}
	}
	return answers, err
}

// quick reports whether attempts are so short that one goroutine goes through
// several deliveries and settles them together.
func (s *subscription) quick(t *target) bool {
	spec := s.spec.Load()
	return t.mean() < fastTarget && (spec == nil || spec.enrich == nil)
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
func (spec *subscriptionSpec) yields(l *limiter) bool { return spec.enrich != nil && l.wanted() }

// retireEnrichers lets go of those that the plan in force no longer has.
func retireEnrichers(old, next Plan) {
	for name, r := range old.Rules {
		if r.Enrich != nil && next.Rules[name].Enrich != r.Enrich {
			r.Enrich.Retire()
		}
	}
}

// closeEnrichers ends what is left of all.
func closeEnrichers(plan Plan) {
	for _, r := range plan.Rules {
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
	calls, hits, failures *prometheus.CounterVec
	seconds               *prometheus.HistogramVec
}

func newEnrichMetrics() enrichMetrics {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchyard_" + name, Help: help}, []string{"rule"})
	}
	return enrichMetrics{
		calls:    vec("enrich_calls_total", "Requests to endpoints of enrichments, repeats included."),
		hits:     vec("enrich_cache_hits_total", "Enrichments answered without a request of their own."),
		failures: vec("enrich_failures_total", "Enrichments that failed, those that became null included."),
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
