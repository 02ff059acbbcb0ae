package rules

import (
	"errors"
	"sort"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// patternWalk looks for the values that one way of a pattern asks for. It goes
// to each value of the event at most once, so it takes time linear in the event
// and in what is asked of one value; a pattern takes one walk, and one more for
// each of its ways that the first cannot rule out.
type patternWalk struct {
	steps   []patternStep
	testing int32        // how many tests there are
	tests   []node       // nil when they are code
	rare    *patternRare // nil as in a pattern
	code    code
	frame   *codeFrame
	at      [patternTests]uint16 // where the tests in the code begin

	way   way
	found foundFields
	// any: elements of an array need not be chosen. What is found then is an upper
	// bound, which chose says is not exact.
	any, chose bool
	absences   bool // the way has fields that may be absent
	worked     int  // steps of the tests that take long
}

// foundFields is what was seen of the event so far.
type foundFields struct {
	holds fieldSet // fields that hold for some value
	seen  fieldSet // fields that have a value
	// here are those of holds that chose the element being tried: that hold there,
	// and, in a way with fields that may be absent, whether or not they did before.
	here fieldSet
}

// errPatternSteps says that a pattern did not come to an end on an event.
var errPatternSteps = errors.New("the event has too many values for this pattern, which would take too long")

// eval reports whether the data of the view's event matches. It fails with
// errPatternSteps.
func (p *pattern) eval(v *view) outcome {
	w := patternWalk{steps: p.steps(), testing: p.testing, tests: p.tests(), rare: p.rare}
	return w.eval(v)
}

func (w *patternWalk) eval(v *view) outcome {
	x := v.dataValue()
	switch {
	case x.kind == listValue:
		return no
	case w.matches(&x):
		return yes
	case w.worked > maxPatternSteps:
		v.failed, v.failure = &w.steps[0], errPatternSteps
		return failure
	}
	return no
}

// matches walks as often as the pattern's ways want it. A walk that has taken
// too long finds nothing more.
func (w *patternWalk) matches(x *value) bool {
	all := w.testing
	var ways []way
	if w.rare != nil {
		ways = w.rare.ways
	}
	if len(ways) <= 1 {
		if len(ways) == 1 {
			w.follow(ways[0])
		} else {
			every := upTo(int(all))
			w.follow(way{fields: every, needs: every})
		}
		w.visit(0, x)
		return w.way.done(&w.found, 0, all)
	}
	first := *w
	first.any = true
	for i := range ways {
		first.way.fields.union(&ways[i].fields)
	}
	first.visit(0, x)
	w.worked = first.worked
	for i := range ways {
		w.follow(ways[i])
		switch {
		case !w.way.needs.within(&first.found.holds):
			continue
		case !first.chose:
			if w.way.done(&first.found, 0, all) {
				return true
			}
			continue
		}
		if w.visit(0, x); w.way.done(&w.found, 0, all) {
			return true
		}
	}
	return false
}

// follow begins a walk of a way.
func (w *patternWalk) follow(way way) {
	w.way, w.absences, w.found = way, way.fields != way.needs, foundFields{}
}

// done reports whether the fields from first to last hold, all of them.
func (w *way) done(f *foundFields, first, last int32) bool {
	for i := first / 64; i*64 < last; i++ {
		missing := w.fields[i] &^ f.holds[i] & (w.needs[i] | f.seen[i])
		if missing&mask(i, first, last) != 0 {
			return false
		}
	}
	return true
}

// visit looks at a value that stands at a step.
func (w *patternWalk) visit(at int32, x *value) {
	if w.worked += 4; w.worked > maxPatternSteps {
		return
	}
	switch x.kind {
	case missingValue:
	case mapValue:
		w.object(at, x.node)
	case listValue:
		w.array(at, x.node)
	default:
		w.scalar(at, x)
	}
}

func (w *patternWalk) scalar(at int32, x *value) {
	s := &w.steps[at]
	for i := s.first; i < s.own; i++ {
		if !w.way.fields.has(i) {
			continue
		}
		w.found.seen.add(i)
		known := &w.found.holds
		if w.absences {
			known = &w.found.here
		}
		if !known.has(i) && w.affords(i, x) && w.on(i, x) == yes {
			w.found.holds.add(i)
			w.found.here.add(i)
		}
	}
}

// affords reports whether a test may still be made of a value. Those that take
// long are made until a pattern has taken as long as one regular expression may;
// then they do not hold.
func (w *patternWalk) affords(i int32, x *value) bool {
	if w.tests == nil {
		w.worked += w.code.weight(int(w.at[i]), len(x.text))
	} else {
		w.worked += w.tests[i].weight(len(x.text))
	}
	if w.rare != nil && w.rare.costs != nil {
		w.worked += len(x.text) * int(w.rare.costs[i])
	}
	return w.worked <= maxPatternSteps
}

// on is what a test says of a value.
func (w *patternWalk) on(i int32, x *value) outcome {
	if w.tests != nil {
		return w.tests[i].on(x)
	}
	var v *view // which tests of a given value do not look at
	if w.code[w.at[i]] >= testCode {
		o, _ := v.testCode(w.code, int(w.at[i]), w.frame, x)
		return o
	}
	o, _ := v.evalCode(w.code, int(w.at[i]), w.frame, x)
	return o
}

// weight is what a test takes of a text of that length, beside what costs have of
// it: a step is some nanoseconds.
func (n *node) weight(length int) int {
	switch n.kind {
	case andNode, orNode, notNode:
		sum := 1
		k := n.kids()
		for i := range k {
			sum += k[i].weight(length)
		}
		return sum
	case testNode:
		if n.test == contains || n.test == isLike {
			return 4 + length/16
		}
		if n.test == inNetwork {
			return 16
		}
	}
	return 4
}

// object goes on to the members. Those whose keys are paths come first, so that
// an array knows what it need not have.
func (w *patternWalk) object(at int32, n event.Node) {
	s := &w.steps[at]
	if len(s.names) == 0 {
		return
	}
	for key, member := range n.Entries() {
		if strings.IndexByte(key, '.') >= 0 {
			w.dotted(at, key, member)
		}
	}
	if len(s.names) <= fewKids {
		for i, name := range s.names {
			if member, ok := n.Get(name); ok {
				w.member(s.next[i], member)
			}
		}
		return
	}
	for key, member := range n.Entries() {
		if next, ok := s.kid(key); ok {
			w.member(next, member)
		}
	}
}

func (w *patternWalk) member(at int32, n event.Node) {
	if s := &w.steps[at]; w.way.fields.count(s.first, s.last) > 0 {
		x := nodeValue(n)
		w.visit(at, &x)
	}
}

// dotted follows a key with dots.
func (w *patternWalk) dotted(at int32, key string, n event.Node) {
	for more := true; more; {
		var name string
		name, key, more = strings.Cut(key, ".")
		next, ok := w.steps[at].kid(name)
		if !ok {
			return
		}
		at = next
	}
	w.member(at, n)
}

func (s *patternStep) kid(name string) (int32, bool) {
	i := sort.SearchStrings(s.names, name)
	if i == len(s.names) || s.names[i] != name {
		return 0, false
	}
	return s.next[i], true
}

// array looks at the elements. Texts, numbers and the like belong to no element
// in particular; of the objects and arrays one is chosen for all fields: one
// for which they hold, if there is one, else the one for which most do. When
// none has anything that is asked for, none is chosen.
func (w *patternWalk) array(at int32, n event.Node) {
	s := &w.steps[at]
	containers := 0
	for e := range n.Elements() {
		if w.worked++; w.worked > maxPatternSteps {
			return
		}
		if k := e.Kind(); k == event.Array || k == event.Object {
			containers++
			continue
		}
		if s.own > s.first {
			x := nodeValue(e)
			w.scalar(at, &x)
		}
	}
	alone := containers == 1 || w.way.fields.count(s.first, s.last) == 1
	if w.any && !alone && containers > 0 {
		w.chose = true
	}
	if w.any || alone {
		for e := range n.Elements() {
			if k := e.Kind(); k == event.Array || k == event.Object {
				x := nodeValue(e)
				w.visit(at, &x)
			}
		}
		return
	}
	if containers > 0 {
		w.choose(at, n)
	}
}

func (w *patternWalk) choose(at int32, n event.Node) {
	s := &w.steps[at]
	before := w.found
	best, most, none := before, 0, before.seen
	for e := range n.Elements() {
		if w.worked++; w.worked > maxPatternSteps {
			break
		}
		if k := e.Kind(); k != event.Array && k != event.Object {
			continue
		}
		w.found = before
		w.found.here = fieldSet{}
		x := nodeValue(e)
		w.visit(at, &x)
		none.union(&w.found.seen)
		if w.found.here.count(s.first, s.last) == 0 {
			continue
		}
		gained := w.found.holds.count(s.first, s.last) - before.holds.count(s.first, s.last)
		done := w.way.done(&w.found, s.first, s.last)
		if gained > most || done {
			best, most = w.found, max(gained, 1)
		}
		if done {
			break
		}
	}
	w.found = best
	w.found.here.union(&before.here)
	if most == 0 {
		w.found.seen = none
	}
}
