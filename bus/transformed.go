package bus

import (
	"fmt"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/transform"
)

// Transformed is what the rule in force makes of a stored event for a delivery of
// a run (0: the live flow), without enrichments. It sends nothing.
// store.ErrNotFound if there is no such rule.
func (e *Engine) Transformed(rule string, run uint32, r store.Record) (ev *event.Event, err error) {
	defer func() { // as with a delivery, see applyTransform
		if p := recover(); p != nil {
			ev, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	plan, ok := e.Rule(rule)
	if !ok {
		return nil, fmt.Errorf("rule %q: %w", rule, store.ErrNotFound)
	}
	ev = r.Event
	if plan.Transform != nil {
		ev, err = plan.Transform.ApplyIn(transform.Context{Bus: plan.Bus, Rule: rule, Recorded: r.Recorded, Trial: true}, ev)
		if err != nil {
			return nil, err
		}
	}
	if run != 0 {
		ev = e.replays.mark(run, ev)
	}
	return ev, nil
}
