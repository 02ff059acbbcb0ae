package rules

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"github.com/agnivade/levenshtein"
)

// celLint is an expression while Lint looks at it.
type celLint struct {
	*linter
	lower lowering
	info  *ast.SourceInfo
}

func (l *linter) lintCEL() {
	checked, err := l.env.check(l.source, "the filter")
	if err != nil {
		return
	}
	native := checked.NativeRep()
	c := celLint{l, lowering{env: l.env, source: l.source}, native.SourceInfo()}
	c.walk(native.Expr(), nil)
	l.check(c.claim(native.Expr()))
}

// claim is an expression as a claim; it is taken apart as lowering does.
func (l *celLint) claim(e ast.Expr) *claim {
	at := l.at(e)
	if c := undyn(e); c.Kind() == ast.CallKind {
		kind, args := constNode, c.AsCall().Args()
		switch name := c.AsCall().FunctionName(); name {
		case operators.LogicalAnd:
			kind, args = andNode, flatten(nil, c, name)
		case operators.LogicalOr:
			kind, args = orNode, flatten(nil, c, name)
		case operators.LogicalNot:
			kind = notNode
		case operators.Conditional:
			kind = ifNode
		}
		if kind != constNode {
			at.kind = kind
			for _, a := range args {
				at.kids = append(at.kids, l.claim(a))
			}
			return &at
		}
	}
	if b, ok := constant(undyn(e)); ok {
		at.kind, at.value = constNode, outcomeOf(b)
		return &at
	}
	if n, ok := l.lower.test(undyn(e)); ok {
		return l.claimOf(&n, at)
	}
	at.kind, at.key = residualNode, "expression "+at.text
	if at.text == "" {
		at.key = l.newKey()
	}
	return &at
}

// constant is a literal, or a comparison of two, that is true or false.
func constant(e ast.Expr) (value, ok bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		b, ok := e.AsLiteral().(types.Bool)
		return bool(b), ok
	case ast.CallKind:
		name, args := e.AsCall().FunctionName(), e.AsCall().Args()
		if len(args) != 2 || args[0].Kind() != ast.LiteralKind || args[1].Kind() != ast.LiteralKind {
			return false, false
		}
		same := args[0].AsLiteral().Equal(args[1].AsLiteral()) == types.True
		return same == (name == operators.Equals), name == operators.Equals || name == operators.NotEquals
	}
	return false, false
}

// at is where an expression begins, and its text.
func (l *celLint) at(e ast.Expr) claim {
	c := claim{line: 1, column: 1, text: l.text(e)}
	first := int32(-1)
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if o, ok := l.info.GetOffsetRange(e.ID()); ok && (first < 0 || o.Start < first) {
			first = o.Start
		}
	}))
	if first >= 0 {
		at := l.info.GetLocationByOffset(first)
		placed := compileError(l.source, at.Line(), at.Column()+1, "", "")
		c.line, c.column = placed.Line, placed.Column
	}
	return c
}

func (l *celLint) text(e ast.Expr) string {
	text, err := parser.Unparse(e, l.info)
	if err != nil {
		return ""
	}
	return text
}

// walk looks at each part of an expression by itself; json are the variables
// that stand for JSON values.
func (l *celLint) walk(e ast.Expr, json []string) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		l.attribute(e, s.Operand(), s.FieldName())
		l.fieldOf(e, s.Operand(), s.FieldName())
		l.walk(s.Operand(), json)
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			l.walk(call.Target(), json)
		}
		for _, a := range call.Args() {
			l.walk(a, json)
		}
		switch name := call.FunctionName(); name {
		case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
			l.arithmetic(e, name, json)
		case operators.Index:
			if args := call.Args(); args[1].Kind() == ast.LiteralKind {
				if key, ok := args[1].AsLiteral().(types.String); ok {
					l.attribute(e, args[0], string(key))
					l.fieldOf(e, args[0], string(key))
				}
			}
		case "matches":
			l.expression(e)
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			l.walk(x, json)
		}
	case ast.MapKind:
		for _, x := range e.AsMap().Entries() {
			l.walk(x.AsMapEntry().Key(), json)
			l.walk(x.AsMapEntry().Value(), json)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		if p := l.textPlace(c.IterRange()); p != nil {
			at := l.at(c.IterRange())
			l.warn(&at, fmt.Sprintf("the data is event.data; did you mean event.data.%s?", p.attr),
				"to go over %s always fails: it is an attribute, and no list", l.show(&at))
		}
		l.walk(c.IterRange(), json)
		l.walk(c.AccuInit(), json)
		inner := slices.DeleteFunc(slices.Clone(json), func(s string) bool {
			return s == c.IterVar() || s == c.IterVar2() || s == c.AccuVar()
		})
		if l.fromData(c.IterRange(), json) {
			// With two variables the first may be the place in a list, a number.
			if c.HasIterVar2() {
				inner = append(inner, c.IterVar2())
			} else {
				inner = append(inner, c.IterVar())
			}
		}
		l.walk(c.LoopCondition(), inner)
		l.walk(c.LoopStep(), inner)
		l.walk(c.Result(), slices.DeleteFunc(slices.Clone(json), func(s string) bool { return s == c.AccuVar() }))
	}
}

// fromData reports whether an expression is a value in the event's data, whose
// numbers are doubles: a path, or a variable that goes over one.
func (l *celLint) fromData(e ast.Expr, json []string) bool {
	e = undyn(e)
	switch e.Kind() {
	case ast.IdentKind:
		return slices.Contains(json, e.AsIdent())
	case ast.SelectKind:
		s := e.AsSelect()
		return !s.IsTestOnly() && (l.isData(s.Operand()) || l.fromData(s.Operand(), json))
	case ast.CallKind:
		if call := e.AsCall(); call.FunctionName() == operators.Index {
			return l.isData(call.Args()[0]) || l.fromData(call.Args()[0], json)
		}
	}
	return false
}

func (l *celLint) isData(e ast.Expr) bool {
	p := l.lower.place(e)
	return p != nil && p.attr == "data" && len(p.keys) == 0
}

// arithmetic warns of an int among the doubles of the data.
func (l *celLint) arithmetic(e ast.Expr, operator string, json []string) {
	args := e.AsCall().Args()
	if len(args) != 2 {
		return
	}
	sign, _ := operators.FindReverse(operator)
	for i, a := range args {
		other := undyn(args[1-i])
		if !l.fromData(a, json) {
			continue
		}
		at := l.at(e)
		if operator == operators.Modulo {
			l.warn(&at, fmt.Sprintf("write int(%s)", l.text(a)), "%s always fails: %% is for ints, and numbers in JSON are doubles", l.show(&at))
			return
		}
		if other.Kind() != ast.LiteralKind {
			continue
		}
		switch v := other.AsLiteral().(type) {
		case types.Int:
			l.warn(&at, fmt.Sprintf("write %d.0 in place of %d, or int(%s)", v, v, l.text(a)),
				"%s always fails: numbers in JSON are doubles, and %s does not take a double and an int", l.show(&at), sign)
			return
		case types.Uint:
			l.warn(&at, fmt.Sprintf("write %d.0 in place of %du", v, v),
				"%s always fails: numbers in JSON are doubles, and %s does not take a double and a uint", l.show(&at), sign)
			return
		}
	}
}

// attribute warns of a name that is nearly one of the specification's.
func (l *celLint) attribute(e, operand ast.Expr, name string) {
	operand = undyn(operand)
	if operand.Kind() != ast.IdentKind || strings.TrimPrefix(operand.AsIdent(), ".") != "event" {
		return
	}
	near := nearAttribute(name)
	if near == "" {
		return
	}
	at := l.at(e)
	if o, ok := l.info.GetOffsetRange(e.ID()); ok {
		place := l.info.GetLocationByOffset(o.Start)
		named := compileError(l.source, place.Line(), place.Column()+1, "", "")
		if named.Offending == name {
			at.line, at.column = named.Line, named.Column
		}
	}
	l.slip(&at, name, near)
}

// textPlace is the attribute that an expression is, if it is one without fields
// and elements.
func (l *celLint) textPlace(e ast.Expr) *place {
	p := l.lower.place(e)
	if p == nil || p.attr == "data" || nearAttribute(p.attr) != "" { // which is said
		return nil
	}
	return p
}

// fieldOf warns of a field of an attribute, which has none.
func (l *celLint) fieldOf(e, operand ast.Expr, name string) {
	p := l.textPlace(operand)
	if p == nil {
		return
	}
	at, meant := l.at(e), &place{attr: "data", keys: []string{name}}
	l.warn(&at, fmt.Sprintf("the data is event.data; did you mean %s?", meant), "%s always fails: %s is an attribute, which has no fields", l.show(&at), p)
}

// slip warns of a name that is nearly that of an attribute.
func (l *linter) slip(at *claim, name, near string) {
	l.warn(at, fmt.Sprintf("did you mean %s?", near), "%s is no attribute of CloudEvents, only nearly one", name)
}

// NearAttribute is the attribute of the specification, or data, that a name is a
// plain slip of, "" if it is none.
func NearAttribute(name string) string { return nearAttribute(name) }

// nearAttribute is the attribute of the specification that a name looks like a
// slip of, "" if it does not. Extensions may have any name, so it has to be a
// plain slip: a letter left out, doubled, or changed with its neighbour.
func nearAttribute(name string) string {
	for _, a := range (eventType{}).FieldNames() {
		if a == name {
			return ""
		}
	}
	for _, a := range (eventType{}).FieldNames() {
		switch {
		case len(a) < 4:
		case len(a) >= 7 && len(name) >= 6 && levenshtein.ComputeDistance(a, name) == 1 && name != a+"s",
			leftOut(a, name), leftOut(name, a) && doubled(name, a), exchanged(a, name):
			return a
		}
	}
	return ""
}

// leftOut reports whether less is name without one of its letters.
func leftOut(name, less string) bool {
	if len(less)+1 != len(name) {
		return false
	}
	for i := range name {
		if name[:i]+name[i+1:] == less {
			return true
		}
	}
	return false
}

// doubled reports whether more is name with a letter twice.
func doubled(more, name string) bool {
	for i := range name {
		if name[:i]+name[i:i+1]+name[i:] == more {
			return true
		}
	}
	return false
}

// exchanged reports whether two letters beside each other changed places.
func exchanged(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) - 1 {
		if a[:i]+a[i+1:i+2]+a[i:i+1]+a[i+2:] == b {
			return true
		}
	}
	return false
}

// expression warns of a regular expression that is plain text.
func (l *celLint) expression(e ast.Expr) {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	if len(args) != 2 || args[1].Kind() != ast.LiteralKind {
		return
	}
	pattern, ok := args[1].AsLiteral().(types.String)
	if !ok {
		return
	}
	kind, text, ok := plainExpression(string(pattern))
	if !ok {
		return
	}
	target, quoted := l.text(args[0]), strconv.Quote(text)
	instead := map[testKind]string{
		hasPrefix: target + ".startsWith(" + quoted + ")", hasSuffix: target + ".endsWith(" + quoted + ")",
		contains: target + ".contains(" + quoted + ")", equals: target + " == " + quoted,
	}[kind]
	at := l.at(e)
	l.warn(&at, "write "+instead+", which an index finds", "the regular expression %s is plain text", strconv.Quote(string(pattern)))
}

// plainExpression finds the test that says the same as a regular expression of
// plain text with or without anchors.
func plainExpression(pattern string) (k testKind, text string, ok bool) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, "", false
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	begins := len(parts) > 0 && parts[0].Op == syntax.OpBeginText
	if begins {
		parts = parts[1:]
	}
	ends := len(parts) > 0 && parts[len(parts)-1].Op == syntax.OpEndText
	if ends {
		parts = parts[:len(parts)-1]
	}
	// Any text before or after makes no difference where there is no anchor; with
	// one, only if it may have line breaks.
	if n := len(parts); n > 1 && anything(parts[0], begins) {
		parts, begins = parts[1:], false
	}
	if n := len(parts); n > 1 && anything(parts[n-1], ends) {
		parts, ends = parts[:n-1], false
	}
	if len(parts) != 1 || parts[0].Op != syntax.OpLiteral || parts[0].Flags&syntax.FoldCase != 0 {
		return 0, "", false
	}
	text = string(parts[0].Rune)
	switch {
	case begins && ends:
		return equals, text, true
	case begins:
		return hasPrefix, text, true
	case ends:
		return hasSuffix, text, true
	}
	return contains, text, true
}

func anything(re *syntax.Regexp, anchored bool) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyChar || !anchored && re.Sub[0].Op == syntax.OpAnyCharNotNL)
}
