package rules

import "sync"

// sqlLowering makes a condition of an expression: comparisons of attributes with
// literals become tests where they are exactly that, casts and errors included,
// and what else there is stays with the evaluator.
//
// The type of an extension is only known when there is an event: a String, an
// Integer or a Boolean. So extension = 'x' compares texts, since the left operand
// becomes the type of the right one and the text of any value is what it casts
// to; but 'x' = extension, extension = 5 and extension IN ('x', 5) depend on it.
type sqlLowering struct {
	env    *Env
	source string
}

// condition is the condition that the expression, as a Boolean, is true.
func (l *sqlLowering) condition(e *sqlExpr) node {
	switch e.op {
	case sqlLiteral:
		var r sqlRun
		if v, err := r.cast(e.value, sqlBoolean); err == nil {
			return node{kind: constNode, value: outcomeOf(v.num != 0)}
		}
	case sqlAnd:
		return l.all(andThenNode, e)
	case sqlOr:
		return l.all(orElseNode, e)
	case sqlNot:
		return l.all(notNode, e)
	case sqlXor:
		if right := l.condition(&e.args[1]); right.kind == testNode {
			return parent(ifNode, l.condition(&e.args[0]), not(right), right)
		}
	case sqlExists:
		return l.test(e.name, reachText, node{test: exists, missing: no})
	case sqlLike:
		if e.args[0].op == sqlAttribute {
			if n, ok := l.like(e); ok {
				return n
			}
		}
	case sqlEqual, sqlNotEqual:
		if n, ok := l.equal(&e.args[0], &e.args[1]); ok {
			if e.op == sqlNotEqual {
				return not(n)
			}
			return n
		}
	case sqlIn:
		if e.args[0].op == sqlAttribute {
			if n, ok := l.in(e.args[0].name, e.args[1:]); ok {
				return n
			}
		}
	}
	return l.residual(e)
}

// all is a connective. It is the evaluator's when all of its parts are.
func (l *sqlLowering) all(kind nodeKind, e *sqlExpr) node {
	k := make(kids, len(e.args))
	alone := true
	for i := range e.args {
		k[i] = l.condition(&e.args[i])
		alone = alone && k[i].kind == residualNode
	}
	if alone {
		return l.residual(e)
	}
	if kind == orElseNode {
		for i := range k {
			k[i] = l.anchored(k[i])
		}
	}
	return parent(kind, k...)
}

// anchored lets an index find what is left to the evaluator, where it is alone:
// by an attribute without which it fails.
func (l *sqlLowering) anchored(n node) node {
	if n.kind != residualNode {
		return n
	}
	name := n.more.(*sqlResidual).expr().needs()
	if name == "" || required(name) {
		return n
	}
	present := l.test(name, reachText, node{test: hasPrefix, operand: textValue})
	return parent(andThenNode, present, n)
}

// required reports whether every event has the attribute.
func required(name string) bool {
	return name == "id" || name == "source" || name == "type" || name == "specversion"
}

// needs is an attribute without which the expression fails.
func (e *sqlExpr) needs() string {
	switch e.op {
	case sqlAttribute:
		return e.name
	case sqlExists:
		return ""
	}
	for i := range e.args {
		if name := e.args[i].needs(); name != "" {
			return name
		}
		if e.op == sqlAnd || e.op == sqlOr || e.op == sqlIn && i > 0 {
			break // the others may not be asked
		}
	}
	return ""
}

// test is a test of an attribute, which fails when there is none unless n says
// otherwise.
func (l *sqlLowering) test(attribute string, r reach, n node) node {
	n.kind, n.place = testNode, l.env.places.of(r, attribute, nil)
	if n.test != exists {
		n.missing, n.wrong = failure, failure
	}
	return n
}

func (l *sqlLowering) like(e *sqlExpr) (node, bool) {
	name := e.args[0].name
	if t, text, ok := e.like.simple(); ok {
		return l.test(name, reachText, node{test: t}.with(scalar{kind: textValue, text: text})), true
	}
	if e.like.weight > maxLikeWeight {
		return node{}, false
	}
	return l.test(name, reachText, node{test: isLike, operand: textValue, more: &e.like.glob}), true
}

func (l *sqlLowering) equal(x, y *sqlExpr) (node, bool) {
	switch {
	case x.op == sqlAttribute && y.op == sqlLiteral && y.value.typ == sqlString:
		return l.test(x.name, reachText, node{test: equals}.with(scalar{kind: textValue, text: y.value.text})), true
	case x.op == sqlLiteral && y.op == sqlAttribute:
		// The literal becomes the attribute's type, as in a list of one.
		return l.in(y.name, []sqlExpr{*x})
	}
	return node{}, false
}

// in is whether an attribute is among literals, each made the attribute's type.
func (l *sqlLowering) in(name string, list []sqlExpr) (node, bool) {
	texts, scalars, typed := true, make(operands, 0, len(list)), true
	var r sqlRun
	for i := range list {
		v := list[i].value
		if list[i].op != sqlLiteral {
			return node{}, false
		}
		typed = typed && v.typ != sqlString
		s, _ := r.cast(v, sqlString)
		scalars = append(scalars, scalar{kind: textValue, text: s.text})
	}
	var guard node
	reach := reachText
	switch {
	case sqlTextual(name):
	case typed: // then they cast to anything
		texts, reach = false, reachValue
		for i := range list {
			v := list[i].value
			n, _ := r.cast(v, sqlInt32)
			b, _ := r.cast(v, sqlBoolean)
			scalars = append(scalars, scalar{kind: numberValue, num: float64(n.num)}, scalar{kind: boolValue, num: float64(b.num)})
		}
	default:
		// When the first does not cast, the whole fails on an Integer or a Boolean.
		first := list[0].value
		_, notInt := r.cast(first, sqlInt32)
		_, notBool := r.cast(first, sqlBoolean)
		if notInt == nil || notBool == nil {
			return node{}, false
		}
		reach = reachValue
		guard = l.test(name, reach, node{test: hasPrefix, operand: textValue}) // is it text?
	}
	n := l.test(name, reach, node{test: isIn, more: scalars.sorted()})
	if len(scalars) == 1 && texts {
		n = l.test(name, reach, node{test: equals}.with(scalar{kind: textValue, text: scalars[0].text}))
	}
	if guard.kind == testNode {
		n = parent(andThenNode, guard, n)
	}
	return n, true
}

// residual leaves an expression to the evaluator.
func (l *sqlLowering) residual(e *sqlExpr) node {
	return node{kind: residualNode, more: &sqlResidual{
		expr: func() *sqlExpr { return e }, whole: l.source, start: int(e.start), end: int(e.end), linear: e.linear(),
	}}
}

// linear reports whether the expression takes time linear in the event with a
// small factor.
func (e *sqlExpr) linear() bool {
	reads, ok := 0, true
	e.walk(func(e *sqlExpr) {
		switch e.op {
		case sqlCall:
			reads++
			ok = ok && e.function != sqlCONCATWS
		case sqlLike:
			reads++
			ok = ok && e.like.weight <= maxLikeWeight
		case sqlEqual, sqlNotEqual, sqlIn:
			if e.args[0].op != sqlLiteral && e.args[len(e.args)-1].op != sqlLiteral {
				reads++
			}
		}
	})
	return ok && reads <= maxLinearCalls
}

// sqlResidual is what only the evaluator can say.
type sqlResidual struct {
	expr       func() *sqlExpr // nil if there is no such part after all
	whole      string          // the source of the expression that it is a part of
	part       int             // which of its residuals, in the order of the condition
	start, end int             // in whole
	linear     bool
}

func (s *sqlResidual) straight() bool { return s.linear }

func (s *sqlResidual) text() string { return s.whole[s.start:s.end] }

func (s *sqlResidual) test(v *view) (bool, error) {
	e := s.expr()
	if e == nil {
		return false, errNoPart
	}
	r := sqlRun{ev: v.ev}
	return r.boolean(e)
}

// sqlPart is the expression of one of the residuals of a source. It is parsed when
// it is first asked for, which most are not.
func (env *Env) sqlPart(source string, part int) func() *sqlExpr {
	return sync.OnceValue(func() *sqlExpr {
		root, problems := env.sqlCondition(source)
		if parts := root.residuals(nil); len(problems) == 0 && part < len(parts) {
			return parts[part].(*sqlResidual).expr()
		}
		return nil
	})
}
