package rules

import (
	"fmt"
	"sync/atomic"

	"cel.dev/cel-go/common/types"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Matcher is a compiled filter, with counts of what became of it. Make one for
// each rule, also when filters are equal: they share what is expensive.
type Matcher struct {
	program *program // nil matches everything

	evaluated, matched, failed atomic.Uint64
	lastError                  atomic.Pointer[string]
}

// Result is what a filter says about one event.
type Result struct {
	// Matched is whether the event passes.
	Matched bool
	// Error says why the expression failed, "" when it did not; a filter that
	// fails does not match.
	Error string
}

// Evaluate applies the filter to one event, without counting it.
func (m *Matcher) Evaluate(ev *event.Event) Result {
	if m.program == nil {
		return Result{Matched: true}
	}
	v := &view{ev: ev}
	ok, err := m.program.test(v)
	if err != nil {
		return Result{Error: err.Error()}
	}
	return Result{Matched: ok}
}

// Stats says how many events the Matcher was applied to in a Set, how many of
// them matched and on how many it failed, with the text of a recent failure;
// suspended is whether the filter is not run for now, since it kept taking too
// long.
func (m *Matcher) Stats() (evaluated, matched, failed uint64, lastError string, suspended bool) {
	if s := m.lastError.Load(); s != nil {
		lastError = *s
	}
	if m.program != nil {
		suspended = m.program.suspension.active()
	}
	return m.evaluated.Load(), m.matched.Load(), m.failed.Load(), lastError, suspended
}

// count takes note of one evaluation.
func (m *Matcher) count(ok bool, err error) {
	m.evaluated.Add(1)
	switch {
	case ok:
		m.matched.Add(1)
	case err != nil:
		// To format each error would cost more than the evaluation.
		if n := m.failed.Add(1); n <= 16 || n%64 == 0 {
			s := err.Error()
			m.lastError.Store(&s)
		}
	}
}

// test runs the program as a filter.
func (p *program) test(v *view) (bool, error) {
	out, err := p.run(v, v.ev.Size())
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the filter results in %s, not in true or false", out.Type().TypeName())
	}
	return bool(b), nil
}
