package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"

	"github.com/agnivade/levenshtein"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// leastSeen is how many events it takes to say that they never have something.
const leastSeen = 5

// Unseen warns of what a filter asks for and none of the events has: a type, a
// path in the data, an extension. Of events whose type does not fit, no path is
// expected. where says which events they are, such as "the last 100 events of
// bus orders". Few events prove nothing.
func (env *Env) Unseen(f Filter, events []*event.Event, where string) []Warning {
	if len(events) < leastSeen {
		return nil
	}
	l := linter{env: env}
	root, wanted := l.parts(f)
	if root == nil {
		return nil
	}
	var fitting []*event.Event
	for _, ev := range events {
		if may, _ := root.mayBe(&view{ev: ev}); may {
			fitting = append(fitting, ev)
		}
	}
	if len(fitting) == 0 {
		l.unseenType(root, events, where)
		return l.warnings
	}
	if len(fitting) < leastSeen {
		return nil
	}
	if len(fitting) < len(events) {
		where = fmt.Sprintf("the %d events among %s whose type fits", len(fitting), where)
	}
	seen := map[string]bool{}
	for _, c := range wanted {
		l.unseenPath(c, fitting, where, seen)
	}
	return l.warnings
}

// parts is a filter as a claim, and claims that look at a place each.
func (l *linter) parts(f Filter) (root *claim, wanted []*claim) {
	d, source, err := f.written()
	if err != nil || source == "" {
		return nil, nil
	}
	if _, err := l.env.Compile(f); err != nil {
		return nil, nil
	}
	l.source = source
	switch d {
	case inCEL:
		checked, err := l.env.check(source, "the filter")
		if err != nil {
			return nil, nil
		}
		native := checked.NativeRep()
		c := celLint{l, lowering{env: l.env, source: source}, native.SourceInfo()}
		return c.claim(native.Expr()), c.paths(nil, native.Expr())
	case inSQL:
		parsed, problems := parseSQL(source)
		if len(problems) > 0 {
			return nil, nil
		}
		root = l.claimSQL(&sqlLowering{env: l.env, source: source}, &parsed)
	case inFilters:
		root = l.claimList(andNode, []byte(source), claim{line: 1, column: 1})
	default:
		return l.patternParts()
	}
	return root, root.tests(nil)
}

// patternParts is a pattern as a claim, of which only the alternatives for the
// type are known, and claims that look at a place each.
func (l *linter) patternParts() (root *claim, wanted []*claim) {
	s := &patternSource{jsonSource: jsonSource{source: l.source}, env: l.env, paths: map[string]int32{}}
	if !s.read("the pattern") {
		return nil, nil
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
			if !ok || f.absent {
				continue
			}
			at := claim{line: 1, column: 1, pointer: s.root.pointerTo(m.start)}
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
	return root, wanted
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

// paths appends the longest paths of an expression. What has() asks for need not
// be there.
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
		if e.AsCall().IsMemberFunction() {
			dst = l.paths(dst, e.AsCall().Target())
		}
		for _, a := range e.AsCall().Args() {
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
		if c.test.place.attr != "type" || c.test.test != equals || types[c.test.text] {
			continue
		}
		l.warn(c, nearestOf(c.test.text, slices.Sorted(maps.Keys(types)), strconv.Quote),
			"none of %s has the type %s", where, strconv.Quote(c.test.text))
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
