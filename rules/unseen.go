package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/agnivade/levenshtein"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// LeastSeen is how many events it takes to say that they never have something.
const LeastSeen = 5

// Unseen warns of what a filter asks for and none of the events has: a type, a
// path in the data, an extension. Of events whose type does not fit, no path is
// expected. where says which events they are, such as "the last 100 events of
// bus orders". Few events prove nothing.
func (env *Env) Unseen(f Filter, events []*event.Event, where string) []Warning {
	if len(events) < LeastSeen {
		return nil
	}
	l := linter{env: env}
	root, wanted, absent := l.parts(f)
	if root == nil {
		return nil
	}
	fitting := root.fitting(events)
	if len(fitting) == 0 {
		l.warnings = nil
		l.unseenType(root, events, where)
		return l.warnings
	}
	return l.unseen(wanted, absent, fitting, len(fitting) < len(events), where)
}

// UnseenExpr is Unseen for an expression in the transform of a rule with the
// filter f.
func (env *Env) UnseenExpr(source string, f Filter, events []*event.Event, where string) []Warning {
	if len(events) < LeastSeen {
		return nil
	}
	checked, err := env.check(source, "the expression")
	if err != nil {
		return nil
	}
	fitting := events
	l := linter{env: env}
	if root, _, _ := l.parts(f); root != nil {
		fitting = root.fitting(events)
	}
	native := checked.NativeRep()
	c := celLint{&linter{env: env, source: source}, lowering{env: env, source: source}, native.SourceInfo()}
	return c.unseen(c.reads(native.Expr()), nil, fitting, len(fitting) < len(events), where)
}

// fitting are the events of whose type the claim may be true.
func (c *claim) fitting(events []*event.Event) (out []*event.Event) {
	for _, ev := range events {
		if may, _ := c.mayBe(&view{ev: ev}); may {
			out = append(out, ev)
		}
	}
	return out
}

// unseen warns of what is wanted and none of the events has, and of what is to
// be absent and is an object, for which EventBridge's exists has no eye.
func (l *linter) unseen(wanted, absent []*claim, events []*event.Event, some bool, where string) []Warning {
	l.warnings = nil // those of Lint
	if len(events) < LeastSeen {
		return nil
	}
	if some {
		where = fmt.Sprintf("the %d events among %s whose type fits", len(events), where)
	}
	seen := map[string]bool{}
	for _, c := range wanted {
		l.unseenPath(c, events, where, seen)
	}
	for _, c := range absent {
		p := c.test.place
		if slices.ContainsFunc(events, func(ev *event.Event) bool { return p.resolve(&view{ev: ev}).kind == mapValue }) {
			l.warn(c, "ask for a field in it", "%s is an object in some of %s, and {exists: false} is true of an object", p, where)
		}
	}
	return l.warnings
}

// parts is a filter as a claim, and claims that look at a place each.
func (l *linter) parts(f Filter) (root *claim, wanted, absent []*claim) {
	d, source, err := f.written()
	if err != nil || source == "" {
		return nil, nil, nil
	}
	if _, err := l.env.Compile(f); err != nil {
		return nil, nil, nil
	}
	l.source = source
	switch d {
	case inCEL:
		checked, err := l.env.check(source, "the filter")
		if err != nil {
			return nil, nil, nil
		}
		native := checked.NativeRep()
		c := celLint{l, lowering{env: l.env, source: source}, native.SourceInfo()}
		return c.claim(native.Expr()), c.reads(native.Expr()), nil
	case inSQL:
		parsed, problems := parseSQL(source)
		if len(problems) > 0 {
			return nil, nil, nil
		}
		l.readsSQL(source, claim{})
		return l.claimSQL(&sqlLowering{env: l.env, source: source}, &parsed), l.wanted, nil
	case inFilters:
		root = l.claimList(andNode, []byte(source), claim{line: 1, column: 1})
	default:
		return l.patternParts()
	}
	return root, append(root.tests(nil), l.wanted...), nil
}

// patternParts is a pattern as a claim, of which only the alternatives for the
// type are known, claims that look at a place each, and such about places at
// which there is to be nothing.
func (l *linter) patternParts() (root *claim, wanted, absent []*claim) {
	s := &patternSource{jsonSource: jsonSource{source: l.source}, env: l.env, paths: map[string]int32{}}
	if !s.read("the pattern") {
		return nil, nil, nil
	}
	root = &claim{kind: andNode, line: 1, column: 1}
	var visit func(v *jsonValue, path []string, within bool)
	visit = func(v *jsonValue, path []string, within bool) {
		for i := range v.members {
			m := &v.members[i]
			if m.name == "$or" && either(&m.value) {
				for j := range m.value.list {
					visit(&m.value.list[j], path, true)
				}
				continue
			}
			below := append(path[:len(path):len(path)], strings.Split(m.name, ".")...)
			if m.value.kind == mapValue {
				visit(&m.value, below, within)
				continue
			}
			f, ok := s.alternatives(m, below)
			if !ok {
				continue
			}
			at := claim{line: 1, column: 1, pointer: s.root.pointerTo(m.start)}
			if f.absent {
				if below[0] == "detail" {
					at.test = &node{kind: testNode, place: l.env.places.of(reachValue, "data", below[1:])}
					absent = append(absent, &at)
				}
				continue
			}
			if p := s.attribute(below[0]); below[0] != "detail" && p.attr == "type" && !within {
				root.kids = append(root.kids, l.claimOf(&f.test, at))
			} else {
				at.kind, at.test = testNode, &node{kind: testNode, place: p}
				if below[0] == "detail" {
					at.test.place = l.env.places.of(reachAll, "data", below[1:])
				}
				wanted = append(wanted, &at)
			}
		}
	}
	visit(&s.root, nil, false)
	return root, wanted, absent
}

// tests appends the tests of a claim. Those that ask whether there is a value
// do not expect one.
func (c *claim) tests(dst []*claim) []*claim {
	if c.kind == testNode && c.key == "" && c.test.test != exists {
		dst = append(dst, c)
	}
	for _, k := range c.kids {
		dst = k.tests(dst)
	}
	return dst
}

// reads are the paths of an expression that it cannot do without: what has() or
// in asks for first is not among them.
func (l *celLint) reads(e ast.Expr) []*claim {
	var asked []*place
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if n, ok := l.lower.test(e); ok && (n.test == exists || n.test == hasMember) {
			p := n.place
			if n.test == hasMember && n.operand == textValue && p.attr == "data" {
				p = l.env.places.of(reachValue, "data", append(slices.Clone(p.keys), n.text()))
			}
			asked = append(asked, p)
		}
	}))
	return slices.DeleteFunc(l.paths(nil, e), func(c *claim) bool {
		for p := c.test.place; p != nil; p = p.parent {
			if slices.Contains(asked, p) {
				return true
			}
		}
		return false
	})
}

// paths appends the longest paths of an expression. What has() asks for need not
// be there, nor what stands behind a ? or :.
func (l *celLint) paths(dst []*claim, e ast.Expr) []*claim {
	if p := l.lower.place(e); p != nil {
		at := l.at(e)
		at.test = &node{kind: testNode, place: p}
		return append(dst, &at)
	}
	switch e.Kind() {
	case ast.SelectKind:
		if !e.AsSelect().IsTestOnly() {
			dst = l.paths(dst, e.AsSelect().Operand())
		}
	case ast.CallKind:
		args := e.AsCall().Args()
		if e.AsCall().IsMemberFunction() {
			dst = l.paths(dst, e.AsCall().Target())
		}
		if e.AsCall().FunctionName() == operators.Conditional {
			args = args[:1]
		}
		for _, a := range args {
			dst = l.paths(dst, a)
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			dst = l.paths(dst, x)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, x := range []ast.Expr{c.IterRange(), c.LoopStep(), c.Result()} {
			dst = l.paths(dst, x)
		}
	}
	return dst
}

// mayBe reports whether a claim may be true, and whether it may be false, of an
// event of which only the type is known.
func (c *claim) mayBe(v *view) (may, mayNot bool) {
	switch c.kind {
	case constNode:
		return c.value == yes, c.value == no
	case notNode:
		may, mayNot = c.kids[0].mayBe(v)
		return mayNot, may
	case ifNode:
		when, whenNot := c.kids[0].mayBe(v)
		then, thenNot := c.kids[1].mayBe(v)
		other, otherNot := c.kids[2].mayBe(v)
		return when && then || whenNot && other, when && thenNot || whenNot && otherNot
	case andNode, andThenNode, orNode, orElseNode:
		and := c.kind == andNode || c.kind == andThenNode
		may, mayNot = and, !and
		for _, k := range c.kids {
			m, n := k.mayBe(v)
			if and {
				may, mayNot = may && m, mayNot || n
			} else {
				may, mayNot = may || m, mayNot && n
			}
		}
		return may, mayNot
	case testNode:
		if c.key == "" && c.test.place.attr == "type" {
			o := c.test.eval(v)
			return o == yes, o == no
		}
	}
	return true, true
}

// unseenType warns of the types that a filter asks for when no event has one.
func (l *linter) unseenType(root *claim, events []*event.Event, where string) {
	types := map[string]bool{}
	for _, ev := range events {
		types[ev.Type()] = true
	}
	for _, c := range root.tests(nil) {
		if c.test.place.attr != "type" || c.test.test != equals || types[c.test.text()] {
			continue
		}
		l.warn(c, nearestOf(c.test.text(), slices.Sorted(maps.Keys(types)), strconv.Quote),
			"none of %s has the type %s", where, strconv.Quote(c.test.text()))
	}
	if len(l.warnings) == 0 {
		l.warn(root, "", "none of %s has a type that fits", where)
	}
}

// unseenPath warns of a place that no event has, once for each path.
func (l *linter) unseenPath(c *claim, events []*event.Event, where string, seen map[string]bool) {
	p := c.test.place
	if p.attr != "data" && (alwaysText(p.attr) || p.attr == "time") {
		return
	}
	names := map[string]bool{} // of what is beside the first that is missing
	for p.parent != nil && !p.parent.in(events, nil) {
		p = p.parent
	}
	if p.in(events, names) || seen[p.String()] {
		return
	}
	seen[p.String()] = true
	shown := func(name string) string {
		if len(p.keys) == 0 {
			return l.env.places.of(reachValue, name, nil).String()
		}
		return l.env.places.of(p.reach, p.attr, append(slices.Clone(p.keys[:len(p.keys)-1]), name)).String()
	}
	l.warn(c, nearestOf(p.last(), slices.Sorted(maps.Keys(names)), shown), "none of %s has %s", where, p)
}

// in reports whether one of the events has the place. The names of what stands
// beside it are added to names, unless that is nil.
func (p *place) in(events []*event.Event, names map[string]bool) bool {
	for _, ev := range events {
		v := &view{ev: ev}
		if p.reach == reachAll {
			x := v.dataValue()
			if x.reaches(p.keys) {
				return true
			}
		} else if x := p.resolve(v); x.kind != missingValue {
			return true
		}
		switch {
		case names == nil:
		case p.parent != nil:
			if x := p.parent.resolve(v); x.kind == mapValue {
				for key := range x.node.Entries() {
					names[key] = true
				}
			}
		case p.attr != "data":
			for _, e := range ev.Extensions() {
				names[e.Name] = true
			}
		}
	}
	return false
}

// reaches reports whether keys lead to something, through arrays and keys that
// have dots in them.
func (x *value) reaches(keys []string) bool {
	switch {
	case len(keys) == 0:
		return x.kind != missingValue
	case x.kind == listValue:
		for n := range x.node.Elements() {
			if y := nodeValue(n); y.reaches(keys) {
				return true
			}
		}
	case x.kind == mapValue:
		for i := range keys {
			n, ok := x.node.Get(strings.Join(keys[:i+1], "."))
			if y := nodeValue(n); ok && y.reaches(keys[i+1:]) {
				return true
			}
		}
	}
	return false
}

// nearestOf names what is most like a name, if something is.
func nearestOf(name string, known []string, show func(string) string) string {
	best, least := "", 1<<30
	for _, k := range known[:min(len(known), 1000)] {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" || least > 1+len(name)/3 {
		return ""
	}
	return "the nearest is " + show(best)
}
