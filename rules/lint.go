package rules

import (
	"cmp"
	"fmt"
	"slices"
)

// Warning says what looks wrong with a filter that compiles.
type Warning struct {
	// Line and Column are the place in the source, from 1; columns count
	// characters.
	Line, Column int
	// Pointer is the JSON pointer (RFC 6901) to the part of a pattern or of
	// filters; "" for an expression.
	Pointer string
	// Message says what is noticed.
	Message string
	// Hint says what to do, "" when that is plain.
	Hint string
}

// Lint looks for what a filter cannot mean: conditions that are always true or
// never, conditions that others make useless, expressions that always fail,
// names that are nearly those of attributes. It says only what it is sure of,
// and nothing about a filter that does not compile.
func (env *Env) Lint(f Filter) []Warning {
	d, source, err := f.written()
	if err != nil || source == "" {
		return nil
	}
	l := linter{env: env, source: source}
	if d != inCEL { // which is checked anyway
		if _, err := env.Compile(f); err != nil {
			return nil
		}
	}
	switch d {
	case inCEL:
		l.lintCEL()
	case inSQL:
		l.lintSQL()
	case inFilters:
		l.lintFilters()
	case inPattern:
		l.lintPattern()
	}
	return l.found()
}

// LintExpr is Lint for an expression that results in any value, as a transform
// has it: it looks for parts that always fail and for slips in names.
func (env *Env) LintExpr(source string) []Warning {
	l := linter{env: env, source: source}
	checked, err := env.check(source, "the expression")
	if err != nil {
		return nil
	}
	native := checked.NativeRep()
	c := celLint{&l, lowering{env: env, source: source}, native.SourceInfo()}
	c.walk(native.Expr(), nil)
	return l.found()
}

// linter collects the warnings of one filter.
type linter struct {
	env      *Env
	source   string
	logic    logic
	opaque   int      // keys that were given to what cannot be compared
	oneValue bool     // all tests of a place are about one and the same value
	wanted   []*claim // attributes that expressions in SQL read
	warnings []Warning
}

// found is the warnings in the order of their places, each once.
func (l *linter) found() []Warning {
	slices.SortStableFunc(l.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(l.warnings, func(a, b Warning) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Pointer == b.Pointer && a.Message == b.Message
	})
}

func (l *linter) warn(at *claim, hint, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{
		Line: at.line, Column: at.column, Pointer: at.pointer, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// claimOf makes the claim of a condition, all of whose parts stand at one place.
func (l *linter) claimOf(n *node, at claim) *claim {
	c := at
	c.kind, c.value = n.kind, n.value
	switch n.kind {
	case testNode:
		c.test = n
		if n.place.reach == reachAll && !l.oneValue { // there can be several values
			c.key = l.newKey()
		}
	case residualNode:
		c.key = "expression " + n.more.(residual).text()
	case patternNode:
		c.key = l.newKey()
	}
	k := n.kids()
	for i := range k {
		c.kids = append(c.kids, l.claimOf(&k[i], claim{line: at.line, column: at.column, pointer: at.pointer}))
	}
	return &c
}

func (l *linter) newKey() string {
	l.opaque++
	return fmt.Sprint("opaque ", l.opaque)
}

// check looks at a whole filter.
func (l *linter) check(root *claim) {
	switch {
	case !l.logic.possible(assumption{root, isYes}):
		l.never(root, nil, "; the filter never matches")
	case !l.logic.possible(assumption{root, isNo | isFailure}):
		l.warn(root, "take the filter out if every event is to match", "the filter matches every event: %s", l.always(root))
	default:
		l.within(root, nil)
	}
}

// always says why a claim is always true.
func (l *linter) always(c *claim) string {
	if c.kind == constNode {
		return "it is always true"
	}
	if c.kind == testNode {
		switch p := c.test.place; {
		case c.test.test == exists:
			return "every event has the attribute " + p.attr
		case p.attr == "specversion":
			return `specversion is always "1.0"`
		case alwaysText(p.attr) && c.test.text() == "":
			return p.attr + " is never empty"
		}
	}
	if c.kind == notNode && c.kids[0].kind == testNode {
		if why := l.impossible(c.kids[0]); why != "" {
			return why
		}
	}
	return l.show(c) + " is always true"
}

// impossible says why a test is never true, "" when that is plain.
func (l *linter) impossible(c *claim) string {
	switch p := c.test.place; {
	case p.attr == "specversion":
		return `specversion is always "1.0"`
	case alwaysText(p.attr) && c.test.test == equals && c.test.text() == "" && c.test.operand == textValue:
		return p.attr + " is never empty"
	case alwaysText(p.attr) && c.test.test != isIn && c.test.operand != textValue && c.test.operand != missingValue:
		return p.attr + " is text"
	}
	return ""
}

// written reports whether a claim was written as one, though it has parts.
func (c *claim) written() bool { return len(c.kids) > 0 && c.kids[0].text == "" }

// show is a claim as it was written.
func (l *linter) show(c *claim) string {
	if c.text == "" {
		return "it"
	}
	const most = 80
	if r := []rune(c.text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return c.text
}

// never says why a claim is never true where the assumptions hold.
func (l *linter) never(c *claim, given []assumption, so string) {
	alone := !l.logic.possible(assumption{c, isYes})
	kind := c.kind
	if c.written() {
		kind = residualNode
	}
	switch kind {
	case constNode:
		l.warn(c, "", "%s is never true%s", l.show(c), so)
		return
	case testNode:
		switch why := l.impossible(c); {
		case alone && why != "":
			l.warn(c, "", "%s is never true, for %s%s", l.show(c), why, so)
		case alone:
			l.warn(c, "", "%s is never true%s", l.show(c), so)
		default:
			l.contradiction(c, given, so)
		}
		return
	case andNode, andThenNode:
		for _, k := range c.kids {
			if !l.logic.possible(append(slices.Clip(given), assumption{k, isYes})...) {
				l.never(k, given, so)
				return
			}
		}
		for j, b := range c.kids {
			for _, a := range c.kids[:j] {
				if !l.logic.possible(append(slices.Clip(given), assumption{a, isYes}, assumption{b, isYes})...) {
					l.warn(b, "", "%s and %s are never both true%s", l.show(a), l.show(b), so)
					return
				}
			}
		}
		l.warn(c, "", "these conditions are never all true%s", so)
		return
	case orNode, orElseNode:
		if len(c.kids) == 0 {
			break
		}
		for _, k := range c.kids {
			l.never(k, given, so)
		}
		return
	}
	if alone {
		l.warn(c, "", "%s is never true%s", l.show(c), so)
		return
	}
	l.contradiction(c, given, so)
}

// contradiction names what a claim goes against.
func (l *linter) contradiction(c *claim, given []assumption, so string) {
	for _, g := range given {
		if !l.logic.possible(g, assumption{c, isYes}) && g.claim.text != "" {
			l.warn(c, "", "%s is never true here, %s%s", l.show(c), l.beside(g), so)
			return
		}
	}
	l.warn(c, "", "%s is never true here, for what stands beside it excludes it%s", l.show(c), so)
}

// beside says what an assumption comes from.
func (l *linter) beside(g assumption) string {
	if g.out.has(yes) {
		return "beside " + l.show(g.claim)
	}
	return "behind " + l.show(g.claim)
}

// within looks at the parts of a claim that has more than one outcome where the
// assumptions hold.
func (l *linter) within(c *claim, given []assumption) {
	if c.written() {
		return
	}
	switch c.kind {
	case notNode:
		l.within(c.kids[0], given)
	case andNode, orNode:
		l.sameOrder(c, given)
	case andThenNode, orElseNode:
		l.inTurn(c, given)
	case ifNode:
		l.branches(c, given)
	}
}

// maxBeside bounds the parts of a conjunction or disjunction that are compared
// with each other.
const maxBeside = 100

// sameOrder looks at a conjunction or disjunction for parts that make no
// difference to its outcome.
func (l *linter) sameOrder(c *claim, given []assumption) {
	if len(c.kids) > maxBeside {
		return
	}
	decides, goesOn := isNo, isYes
	if c.kind == orNode {
		decides, goesOn = isYes, isNo
	}
	kids := slices.Clone(c.kids)
	for i := len(kids) - 1; i >= 0 && len(kids) > 1; i-- {
		k := kids[i]
		others := slices.Delete(slices.Clone(kids), i, i+1)
		rest := &claim{kind: c.kind, kids: others}
		if c.kind == orNode && !l.logic.possible(append(slices.Clip(given), assumption{k, isYes})...) {
			l.never(k, given, "")
			kids = others
			continue
		}
		differs := l.logic.possible(append(slices.Clip(given), assumption{rest, goesOn}, assumption{k, isAny &^ goesOn})...) ||
			l.logic.possible(append(slices.Clip(given), assumption{rest, isFailure}, assumption{k, decides})...)
		if !differs {
			l.useless(c.kind, k, others, given)
			kids = others
		}
	}
	for _, k := range kids {
		inner := slices.Clip(given)
		for _, o := range kids {
			if o != k {
				inner = append(inner, assumption{o, goesOn | isFailure})
			}
		}
		l.within(k, inner)
	}
}

// useless says that a part of a conjunction or disjunction makes no difference.
func (l *linter) useless(kind nodeKind, k *claim, others []*claim, given []assumption) {
	if kind == andNode || kind == andThenNode {
		if !l.logic.possible(append(slices.Clip(given), assumption{k, isNo | isFailure})...) {
			l.warn(k, "take it out", "%s makes no difference, for %s", l.show(k), l.always(k))
			return
		}
	}
	for _, o := range others {
		if o.text != "" && o.text == k.text {
			l.warn(k, "take one of them out", "%s stands here twice", l.show(k))
			return
		}
	}
	for _, o := range others {
		a, b := assumption{o, isYes}, assumption{k, isNo | isFailure} // o implies k
		if kind == orNode || kind == orElseNode {
			a, b = assumption{o, isNo | isFailure}, assumption{k, isYes} // k implies o
		}
		if l.logic.possible(append(slices.Clip(given), a, b)...) {
			continue
		}
		if kind == orNode || kind == orElseNode {
			l.warn(k, "take it out, or correct one of the two", "%s makes no difference, for %s is true whenever it is", l.show(k), l.show(o))
		} else {
			l.warn(k, "take it out, or correct one of the two", "%s makes no difference, for it is true whenever %s is", l.show(k), l.show(o))
		}
		return
	}
	l.warn(k, "take it out, or correct one of them", "%s makes no difference beside the other conditions", l.show(k))
}

// inTurn looks at conditions of which each is asked only if those before it let
// it be.
func (l *linter) inTurn(c *claim, given []assumption) {
	goesOn := isYes
	if c.kind == orElseNode {
		goesOn = isNo
	}
	before := slices.Clip(given)
	for i, k := range c.kids {
		switch {
		case !l.logic.possible(append(slices.Clip(before), assumption{k, isAny &^ goesOn})...):
			l.useless(c.kind, k, c.kids[:i], given)
		case c.kind == orElseNode && !l.logic.possible(append(slices.Clip(before), assumption{k, isYes})...):
			l.never(k, before, "")
		default:
			l.within(k, before)
		}
		before = append(slices.Clip(before), assumption{k, goesOn})
	}
}

// branches looks at a condition with ? and :.
func (l *linter) branches(c *claim, given []assumption) {
	when, then, otherwise := c.kids[0], c.kids[1], c.kids[2]
	switch {
	case !l.logic.possible(append(slices.Clip(given), assumption{when, isYes})...):
		l.never(when, given, "; what follows the ? is never reached")
		return
	case !l.logic.possible(append(slices.Clip(given), assumption{when, isNo})...) &&
		!l.logic.possible(append(slices.Clip(given), assumption{when, isFailure})...):
		l.warn(otherwise, "", "%s is never reached, for %s", l.show(otherwise), l.always(when))
		return
	}
	l.within(when, given)
	for _, branch := range []assumption{{then, isYes}, {otherwise, isNo}} {
		inner := append(slices.Clip(given), assumption{when, branch.out})
		switch b := branch.claim; {
		case b.kind == constNode:
		case !l.logic.possible(append(slices.Clip(inner), assumption{b, isYes})...):
			l.never(b, inner, "")
		case b.kind != testNode:
			l.within(b, inner)
		}
	}
}
