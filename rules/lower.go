package rules

import (
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// lowering makes a condition of a checked expression: comparisons of places
// with literals become tests, and what else there is stays with CEL.
type lowering struct {
	env    *Env
	source string
	count  int        // of residuals
	parts  []ast.Expr // the residuals, when keep
	keep   bool
	known  map[int32]*residue // by part: those that a filter has already
}

// lower is the condition of an expression.
func (l *lowering) lower(e ast.Expr) node {
	e = undyn(e)
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return node{kind: constNode, value: outcomeOf(bool(b))}
		}
	case ast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.LogicalAnd:
			return l.kids(andNode, flatten(nil, e, operators.LogicalAnd))
		case operators.LogicalOr:
			return l.kids(orNode, flatten(nil, e, operators.LogicalOr))
		case operators.LogicalNot:
			return l.kids(notNode, call.Args())
		case operators.Conditional:
			return l.kids(ifNode, call.Args())
		}
	}
	if n, ok := l.test(e); ok {
		return n
	}
	return node{kind: residualNode, more: l.residue(e)}
}

func (l *lowering) residue(e ast.Expr) *residue {
	part := int32(l.count)
	l.count++
	if r := l.known[part]; r != nil {
		return r
	}
	r := &residue{env: l.env, source: l.source, part: part, linear: straight(e)}
	if l.keep {
		l.parts = append(l.parts, e)
	}
	return r
}

func (l *lowering) kids(kind nodeKind, args []ast.Expr) node {
	k := make(kids, len(args))
	for i, a := range args {
		k[i] = l.lower(a)
	}
	if kind == andNode || kind == orNode {
		residualsLast(k)
	}
	return parent(kind, k...)
}

// residualsLast moves what costs most to the end; the order does not change
// what a conjunction or disjunction says.
func residualsLast(k kids) {
	slices.SortStableFunc(k, func(a, b node) int { return a.expense() - b.expense() })
}

// expense orders the kids of a conjunction or disjunction.
func (n *node) expense() int {
	most := 0
	n.walk(func(n *node) {
		switch {
		case n.kind == residualNode && !n.more.(residual).straight():
			most = max(most, 3)
		case n.kind == residualNode:
			most = max(most, 2)
		case n.kind == patternNode, n.kind == testNode && n.test == isMatch:
			most = max(most, 1)
		}
	})
	return most
}

// flatten collects the operands of nested calls of one operator.
func flatten(dst []ast.Expr, e ast.Expr, operator string) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operator {
		for _, a := range e.AsCall().Args() {
			dst = flatten(dst, a, operator)
		}
		return dst
	}
	return append(dst, e)
}

// mirrored is what a comparison is with its sides exchanged.
func (k testKind) mirrored() testKind {
	switch k {
	case less:
		return greater
	case atMost:
		return atLeast
	case greater:
		return less
	case atLeast:
		return atMost
	}
	return k
}

// comparison is the test of an operator.
func comparison(operator string) (k testKind, ok bool) {
	switch operator {
	case operators.Equals, operators.NotEquals:
		return equals, true
	case operators.Less:
		return less, true
	case operators.LessEquals:
		return atMost, true
	case operators.Greater:
		return greater, true
	case operators.GreaterEquals:
		return atLeast, true
	}
	return 0, false
}

// celTest is a test as CEL has it: without a value, or on one of a type that
// the test is not for, it fails.
func celTest(k testKind, p *place) node {
	return node{kind: testNode, test: k, place: p, missing: failure, wrong: failure}
}

func not(n node) node { return parent(notNode, n) }

// test recognizes a comparison of a place with literals.
func (l *lowering) test(e ast.Expr) (n node, ok bool) {
	if e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() {
		if p := l.member(e.AsSelect().Operand(), e.AsSelect().FieldName()); p != nil {
			return celTest(exists, p), true
		}
		return n, false
	}
	if p := l.place(e); p != nil {
		return celTest(isTrue, p), true
	}
	if e.Kind() != ast.CallKind {
		return n, false
	}
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() && len(args) == 1 {
		return l.textTest(e, name, call.Target(), args[0])
	}
	if len(args) != 2 {
		return n, false
	}
	switch name {
	case operators.In:
		return l.in(args[0], args[1])
	case "matches":
		return l.textTest(e, name, args[0], args[1])
	}
	kind, ok := comparison(name)
	if !ok {
		return n, false
	}
	p, other := l.place(args[0]), args[1]
	if p == nil {
		p, other, kind = l.place(args[1]), args[0], kind.mirrored()
	}
	lit, ok := l.literal(other)
	if p == nil || !ok {
		return n, false
	}
	n = celTest(kind, p).with(lit)
	if name == operators.NotEquals {
		n = not(n)
	}
	return n, true
}

// textTest recognizes a function of text with a literal argument.
func (l *lowering) textTest(e ast.Expr, function string, target, arg ast.Expr) (n node, ok bool) {
	p := l.place(target)
	lit, isLit := l.literal(arg)
	if p == nil || !isLit || lit.kind != textValue {
		return n, false
	}
	switch function {
	case "startsWith":
		return celTest(hasPrefix, p).with(lit), true
	case "endsWith":
		return celTest(hasSuffix, p).with(lit), true
	case "contains":
		return celTest(contains, p).with(lit), true
	case "matches":
		n = celTest(isMatch, p).with(lit)
		x, err := newExpression(lit.text)
		if err != nil {
			return n, false
		}
		x.long = l.residue(e)
		n.more = x
		return n, true
	}
	return n, false
}

func (l *lowering) in(element, list ast.Expr) (n node, ok bool) {
	list = undyn(list)
	if p := l.place(list); p != nil {
		lit, ok := l.literal(element)
		return celTest(hasMember, p).with(lit), ok
	}
	p := l.place(element)
	if p == nil || list.Kind() != ast.ListKind || len(list.AsList().OptionalIndices()) > 0 {
		return n, false
	}
	in := make(operands, 0, list.AsList().Size())
	for _, e := range list.AsList().Elements() {
		lit, ok := l.literal(e)
		if !ok {
			return n, false
		}
		in = append(in, lit)
	}
	n = celTest(isIn, p)
	n.more = in.sorted()
	return n, true
}

// undyn takes dyn() away, which changes types for the checker only.
func undyn(e ast.Expr) ast.Expr {
	for e.Kind() == ast.CallKind && e.AsCall().FunctionName() == "dyn" && len(e.AsCall().Args()) == 1 {
		e = e.AsCall().Args()[0]
	}
	return e
}

// place recognizes an attribute, the data, or what constant keys find in it.
func (l *lowering) place(e ast.Expr) *place {
	e = undyn(e)
	switch e.Kind() {
	case ast.SelectKind:
		if s := e.AsSelect(); !s.IsTestOnly() {
			return l.member(s.Operand(), s.FieldName())
		}
	case ast.CallKind:
		call := e.AsCall()
		if args := call.Args(); call.FunctionName() == operators.Index && args[1].Kind() == ast.LiteralKind {
			if key, ok := args[1].AsLiteral().(types.String); ok {
				return l.member(args[0], string(key))
			}
		}
	}
	return nil
}

// member is the place called name in another.
func (l *lowering) member(operand ast.Expr, name string) *place {
	operand = undyn(operand)
	if operand.Kind() == ast.IdentKind && strings.TrimPrefix(operand.AsIdent(), ".") == "event" {
		return l.env.places.of(reachValue, name, nil)
	}
	p := l.place(operand)
	if p == nil || p.attr != "data" {
		return nil
	}
	return l.env.places.of(reachValue, "data", append(p.keys[:len(p.keys):len(p.keys)], name))
}

// literal is a constant that tests compare with. Its text is a part of the
// source where it stands there as it is, so that it is not kept twice.
func (l *lowering) literal(e ast.Expr) (scalar, bool) {
	e = undyn(e)
	if e.Kind() != ast.LiteralKind {
		return scalar{}, false
	}
	switch v := e.AsLiteral().(type) {
	case types.Null:
		return scalar{kind: nullValue}, true
	case types.Bool:
		if v {
			return scalar{kind: boolValue, num: 1}, true
		}
		return scalar{kind: boolValue}, true
	case types.Int:
		return scalar{kind: numberValue, num: float64(v)}, true
	case types.Uint:
		return scalar{kind: numberValue, num: float64(v)}, true
	case types.Double:
		return scalar{kind: numberValue, num: float64(v)}, true
	case types.String:
		return scalar{kind: textValue, text: l.env.texts.within(l.source, string(v))}, true
	}
	return scalar{}, false
}

// sharedTexts are literals that were seen lately. One that comes again is shared,
// so that what many filters ask for stands in one place.
type sharedTexts struct {
	mu   sync.Mutex
	seen [256]string
}

// within is text as one that was seen before, or as a part of source, if it is
// one.
func (s *sharedTexts) within(source, text string) string {
	at := textKey(text) % key(len(s.seen))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[at] == text {
		return s.seen[at]
	}
	s.seen[at] = strings.Clone(text)
	return within(source, text)
}

// within is text as a part of source, if it is one.
func within(source, text string) string {
	if i := strings.Index(source, text); i >= 0 {
		return source[i : i+len(text)]
	}
	return text
}
