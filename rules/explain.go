package rules

import (
	"fmt"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Explanation says in words why a filter matches an event, or why it does not.
type Explanation struct {
	// Summary is one sentence: the condition that decided, and the value it saw.
	Summary string `json:"summary" doc:"What decided, with the value it saw, such as event.data.total > 100: total is 87."`
	// DecidedBy is the first condition that kept the event from matching, "" for
	// one that matches.
	DecidedBy string `json:"decidedBy,omitempty" doc:"The first condition that kept the event from matching."`
	// Conditions are the parts of the filter, in its order but for patterns.
	Conditions []Condition `json:"conditions" doc:"The conditions of the filter; at most 64."`
	// More is how many there are beyond those.
	More int `json:"more,omitempty" doc:"How many conditions are not listed."`
}

// Condition is what one part of a filter says of an event.
type Condition struct {
	Text      string `json:"condition" doc:"The condition, in the words of the filter's dialect."`
	Value     string `json:"value,omitempty" doc:"The value that it saw, in short; absent when there is none."`
	Outcome   string `json:"outcome" doc:"true, false, failed (what it asks cannot be said of the value), or not evaluated."`
	Note      string `json:"note" doc:"The same in words: what it saw, or what is missing."`
	Decides   bool   `json:"decides,omitempty" doc:"It kept the event from matching."`
	NotNeeded bool   `json:"notNeeded,omitempty" doc:"The conditions before it had decided already."`
}

// The outcomes of a Condition.
const (
	OutcomeTrue         = "true"
	OutcomeFalse        = "false"
	OutcomeFailed       = "failed"
	OutcomeNotEvaluated = "not evaluated"
)

// explainedMost bounds the conditions of an explanation.
const explainedMost = 64

// Explain says why the filter matches the event or does not, without counting
// it. To explain many events, make an Explainer once.
func (m *Matcher) Explain(ev *event.Event) Explanation { return m.Explainer().Explain(ev) }

// Explainer explains what one filter makes of events. What it evaluates is not
// counted, and does not suspend the filter for the events of its bus. It is not
// safe for concurrent use.
type Explainer struct {
	filter *filter // nil matches everything
	redact func(string) string
	root   clause
	leaves []*clause
	shown  []*clause // the leaves, and what else there is to say of the event
	block  *block    // of no rules, with the places of the filter
	view   view
	whole  bool // evaluate what is not needed, too
}

// Explainer makes one for the Matcher's filter.
func (m *Matcher) Explainer() *Explainer {
	x := &Explainer{filter: m.filter, redact: m.redaction(), block: &block{}}
	if m.filter == nil {
		return x
	}
	x.root = m.filter.clauses(m.env, x.redact)
	x.leaves = x.root.all(nil)
	known := map[*place]struct{}{}
	x.block.slots.addAll(m.filter.tree(), known)
	for _, c := range x.leaves {
		x.block.slots.addAll(&c.test, known)
		for _, r := range c.reads {
			for i := range r.when {
				x.block.slots.addAll(&r.when[i].test, known)
			}
		}
	}
	x.block.slots.number()
	return x
}

// begin makes ev the event that is looked at; the func that it returns ends that.
func (x *Explainer) begin(ev *event.Event) func() {
	x.view.begin(ev, x.block)
	x.view.apart = true
	return x.view.release
}

// Evaluate is Matcher.Evaluate.
func (x *Explainer) Evaluate(ev *event.Event) Result {
	if x.filter == nil {
		return Result{Matched: true}
	}
	defer x.begin(ev)()
	return x.filter.result(&x.view)
}

// Misses is how many conditions would have to say something else for the event
// to match, 0 if it does.
func (x *Explainer) Misses(ev *event.Event) int {
	if x.filter == nil {
		return 0
	}
	defer x.begin(ev)()
	x.whole = true
	x.root.look(x, true)
	x.whole = false
	return x.root.misses()
}

// Explain says what the filter makes of the event.
func (x *Explainer) Explain(ev *event.Event) Explanation {
	if x.filter == nil {
		return Explanation{Summary: "the rule has no filter, so it matches every event", Conditions: []Condition{}}
	}
	defer x.begin(ev)()
	out := x.root.look(x, true)
	decisive := x.root.decisive(nil)
	e := Explanation{Conditions: make([]Condition, 0, min(len(x.leaves), explainedMost))}
	if out == yes {
		switch len(decisive) {
		case 1:
			e.Summary = decisive[0].sentence(x)
		case 2:
			e.Summary = "both conditions hold"
		default:
			e.Summary = fmt.Sprintf("all %d conditions hold", len(decisive))
		}
	} else {
		for _, c := range decisive {
			c.decides = true
		}
		e.DecidedBy = decisive[0].text
		e.Summary = summary(x, decisive)
	}
	x.shown = x.root.all(x.shown[:0])
	last := explainedMost - 1
	for i, c := range x.shown {
		if c == decisive[0] { // which is listed however many stand before it
			last = max(last, i)
		}
	}
	for i, c := range x.shown {
		if i < explainedMost-1 || i == last {
			e.Conditions = append(e.Conditions, c.condition(x))
		}
	}
	e.More = len(x.shown) - len(e.Conditions)
	x.hide(&e)
	return e
}

// hide takes out of an explanation what is not to be shown.
func (x *Explainer) hide(e *Explanation) {
	if x.redact == nil {
		return
	}
	e.Summary, e.DecidedBy = x.redact(e.Summary), x.redact(e.DecidedBy)
	for i := range e.Conditions {
		c := &e.Conditions[i]
		c.Text, c.Value, c.Note = x.redact(c.Text), x.redact(c.Value), x.redact(c.Note)
	}
}

// summary says why an event does not match.
func summary(x *Explainer, decisive []*clause) string {
	const most = 3
	if len(decisive) == 1 {
		return decisive[0].sentence(x)
	}
	parts := make([]string, 0, most)
	for _, c := range decisive[:min(most, len(decisive))] {
		parts = append(parts, c.sentence(x))
	}
	s := "none of these holds: " + strings.Join(parts, "; ")
	if n := len(decisive) - most; n > 0 {
		s += fmt.Sprintf("; and %d more", n)
	}
	return s
}
