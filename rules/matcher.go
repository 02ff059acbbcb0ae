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
	filter *filter // nil matches everything
	env    *Env

	record *record
	more   atomic.Pointer[matcherMore]
}

// matcherMore is what few matchers have.
type matcherMore struct {
	redact    func(string) string
	lastError string
}

// filter is what equal filters share.
type filter struct {
	dialect dialect
	class   Class
	taken   atomic.Bool // the first matcher is given out
	source  string
	root    *node   // with all that is below it behind it, or a codeNode
	record  *record // of the first matcher, with a codeNode for its code; else nil
	first   Matcher // in the same piece of memory, for most filters have one
}

// tree is the condition. What has code is decoded, which takes time.
func (f *filter) tree() *node {
	if f.record == nil {
		return f.root
	}
	return f.root.more.(*codeFrame).nodes(f.code())
}

// code is that of the condition, empty when it has none.
func (f *filter) code() code {
	if f.record == nil {
		return ""
	}
	return f.record.code(f.record.size)
}

// eval evaluates the condition.
func (f *filter) eval(v *view) outcome { return v.evalIn(f.code(), f.root) }

// evalIn evaluates the condition of a filter, which is root, or for a codeNode c.
func (v *view) evalIn(c code, root *node) outcome {
	if root.kind != codeNode {
		return root.eval(v)
	}
	f := root.more.(*codeFrame)
	var o outcome
	if c[0] >= testCode {
		o, _ = v.testCode(c, 0, f, nil)
	} else {
		o, _ = v.evalCode(c, 0, f, nil)
	}
	return o
}

// Result is what a filter says about one event.
type Result struct {
	// Matched is whether the event passes.
	Matched bool
	// Error says why the expression failed, "" when it did not; a filter that
	// fails does not match.
	Error string
}

// Redact names a func that takes out of a text what must not be shown of the
// filter, such as the secrets that a configuration put into it. It is set before
// the Matcher is used.
func (m *Matcher) Redact(f func(text string) string) { m.more.Store(&matcherMore{redact: f}) }

func (m *Matcher) redaction() func(string) string {
	if more := m.more.Load(); more != nil {
		return more.redact
	}
	return nil
}

// Evaluate applies the filter to one event, without counting it.
func (m *Matcher) Evaluate(ev *event.Event) Result {
	if m.filter == nil {
		return Result{Matched: true}
	}
	return m.filter.result(&view{ev: ev})
}

// result evaluates the condition and says why it failed.
func (f *filter) result(v *view) Result {
	switch f.eval(v) {
	case yes:
		return Result{Matched: true}
	case no:
		return Result{}
	}
	return Result{Error: f.tree().failed(v).Error()}
}

// Stats says how many events the Matcher was applied to in a Set, how many of
// them matched and on how many it failed, with the text of a recent failure;
// suspended is whether a part of the filter is not run for now, since it kept
// taking too long. A Set with many filters applies one only to events that have
// what the filter asks for first, so an event without that is not counted.
func (m *Matcher) Stats() (evaluated, matched, failed uint64, lastError string, suspended bool) {
	if more := m.more.Load(); more != nil {
		lastError = more.lastError
	}
	if m.filter != nil {
		suspended = m.filter.suspended()
	}
	matched, failed = m.record.matched.Load(), m.record.failed.Load()
	return matched + failed + m.record.rejected.Load(), matched, failed, lastError, suspended
}

func (f *filter) suspended() bool {
	for _, r := range f.root.residuals(nil) {
		if r, ok := r.(*residue); ok && r.suspension.active() {
			return true
		}
	}
	return false
}

// count takes note of one evaluation of the filter f, which is an equal one.
func (e *setEntry) count(o outcome, f *setEntry, v *view) {
	// To format each error would cost more than the evaluation.
	if n := e.record.count(o); o == failure && (n <= 16 || n%64 == 0) {
		m := e.matcher
		m.more.Store(&matcherMore{redact: m.redaction(), lastError: f.matcher.filter.tree().failed(v).Error()})
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
