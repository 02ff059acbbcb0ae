package rules

import (
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// read is a path into the event that stands in an expression.
type read struct {
	attr string // an attribute; "" for a path into the data
	bare bool   // which is written as its name alone
	path *path
	each [][]string // keys that are looked at in each element of the list there
	when []premise  // what has to be so for it to be looked at
}

// premise is a condition before a ? and what it has to say.
type premise struct {
	test node
	want outcome
}

// asked reports whether the expression has looked at the path.
func (r read) asked(x *Explainer) bool {
	for i := range r.when {
		if g := &r.when[i]; g.test.eval(&x.view) != g.want {
			return false
		}
	}
	return true
}

const (
	// readsMost bounds the values that are shown of an expression.
	readsMost = 4
	// eachMost bounds the keys that are shown of the elements of a list.
	eachMost = 2
)

// readFinder finds what an expression reads.
type readFinder struct {
	lower lowering
	when  []premise
}

// readsOf is the longest paths into the event that stand in an expression, but
// not too many.
func (env *Env) readsOf(source string, e ast.Expr) []read {
	r := readFinder{lower: lowering{env: env, source: source}}
	return r.reads(nil, e)
}

func (r *readFinder) reads(dst []read, e ast.Expr) []read {
	if len(dst) >= readsMost {
		return dst
	}
	if p, ok := pathOf(e); ok {
		return addRead(dst, read{path: p, when: r.when})
	}
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if p, ok := pathOf(s.Operand()); ok && s.IsTestOnly() {
			p.steps = append(p.steps, step{key: s.FieldName(), index: -1})
			return addRead(dst, read{path: p, when: r.when})
		}
		if isEvent(s.Operand()) && s.FieldName() != "data" {
			return addRead(dst, read{attr: s.FieldName(), when: r.when})
		}
		return r.reads(dst, s.Operand())
	case ast.CallKind:
		return r.call(dst, e.AsCall())
	case ast.ListKind:
		for _, el := range e.AsList().Elements() {
			dst = r.reads(dst, el)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			dst = r.reads(r.reads(dst, entry.AsMapEntry().Key()), entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		if p, ok := pathOf(c.IterRange()); ok {
			name := c.IterVar()
			if c.HasIterVar2() {
				name = c.IterVar2()
			}
			dst = addRead(dst, read{path: p, when: r.when, each: below(nil, name, c.LoopStep())})
		}
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopStep(), c.Result()} {
			dst = r.reads(dst, part)
		}
	}
	return dst
}

func (r *readFinder) call(dst []read, call ast.CallExpr) []read {
	args := call.Args()
	switch {
	case call.FunctionName() == operators.Index && isEvent(args[0]) && args[1].Kind() == ast.LiteralKind:
		if name, ok := args[1].AsLiteral().Value().(string); ok && name != "data" {
			return addRead(dst, read{attr: name, when: r.when})
		}
	case call.FunctionName() == operators.Conditional:
		dst = r.reads(dst, args[0])
		test := r.lower.lower(args[0])
		if len(test.residuals(nil)) > 0 { // it is not evaluated once more
			return r.reads(r.reads(dst, args[1]), args[2])
		}
		before := r.when
		for i, want := range [...]outcome{yes, no} {
			r.when = append(before[:len(before):len(before)], premise{test, want})
			dst = r.reads(dst, args[1+i])
		}
		r.when = before
		return dst
	}
	if call.IsMemberFunction() {
		dst = r.reads(dst, call.Target())
	}
	for _, a := range args {
		dst = r.reads(dst, a)
	}
	return dst
}

// below appends the keys that an expression looks at in a variable.
func below(dst [][]string, variable string, e ast.Expr) [][]string {
	var keys []string
	at := e
	for at.Kind() == ast.SelectKind {
		keys = append(keys, at.AsSelect().FieldName())
		at = at.AsSelect().Operand()
	}
	if len(keys) > 0 && at.Kind() == ast.IdentKind && at.AsIdent() == variable {
		slices.Reverse(keys)
		if len(dst) < eachMost && !slices.ContainsFunc(dst, func(have []string) bool { return slices.Equal(have, keys) }) {
			dst = append(dst, keys)
		}
		return dst
	}
	switch e.Kind() {
	case ast.SelectKind:
		return below(dst, variable, e.AsSelect().Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			dst = below(dst, variable, call.Target())
		}
		for _, a := range call.Args() {
			dst = below(dst, variable, a)
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			dst = below(dst, variable, x)
		}
	case ast.ComprehensionKind:
		if c := e.AsComprehension(); c.IterVar() != variable && c.IterVar2() != variable {
			dst = below(below(dst, variable, c.IterRange()), variable, c.LoopStep())
		}
	}
	return dst
}

func isEvent(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && strings.TrimPrefix(e.AsIdent(), ".") == "event"
}

func addRead(dst []read, r read) []read {
	text := r.String()
	for i := range dst {
		if have := &dst[i]; have.String() == text {
			if len(r.when) < len(have.when) {
				have.when = r.when
			}
			if len(have.each) == 0 {
				have.each = r.each
			}
			return dst
		}
	}
	return append(dst, r)
}

// sqlReads is the first attributes that stand in an expression.
func sqlReads(e *sqlExpr) (reads []read) {
	e.walk(func(e *sqlExpr) {
		if (e.op == sqlAttribute || e.op == sqlExists) && len(reads) < readsMost {
			reads = addRead(reads, read{attr: e.name, bare: true})
		}
	})
	return reads
}

// String writes the path as in CEL.
func (r read) String() string {
	switch {
	case r.bare:
		return r.attr
	case r.path == nil:
		return (&place{attr: r.attr}).String()
	}
	return r.path.text(len(r.path.steps))
}

// text is the first steps of the path, as in CEL.
func (p *path) text(steps int) string {
	b := []byte("event.data")
	for _, s := range p.steps[:steps] {
		switch {
		case s.index >= 0:
			b = append(strconv.AppendInt(append(b, '['), int64(s.index), 10), ']')
		case identifier(s.key):
			b = append(append(b, '.'), s.key...)
		default:
			b = append(strconv.AppendQuote(append(b, '['), s.key), ']')
		}
	}
	return string(b)
}

// last is the name of what the path leads to.
func (r read) last() string {
	if r.path == nil {
		return r.attr
	}
	steps := r.path.steps
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].index < 0 {
			return steps[i].key + (&path{steps: steps[i+1:]}).text(len(steps) - i - 1)[len("event.data"):]
		}
	}
	return r.path.text(len(steps))[len("event."):]
}

// shown is the value that the path leads to, or what is missing on the way.
func (r read) shown(x *Explainer) (text, missing string) {
	if r.path == nil {
		p := &place{attr: r.attr}
		v := attributeValue(x.view.ev, p)
		if v.kind == missingValue {
			return "", r.String()
		}
		return x.attributeShown(r.attr, &v), ""
	}
	v, missing := r.value(x)
	if missing != "" {
		return "", missing
	}
	return x.attributeShown("data", &v), ""
}

// value is the value that a path into the data leads to.
func (r read) value(x *Explainer) (v value, missing string) {
	v = x.view.dataValue()
	for i, s := range r.path.steps {
		var n event.Node
		ok := false
		switch {
		case v.kind == mapValue && s.index < 0:
			n, ok = v.node.Get(s.key)
		case v.kind == listValue && s.index >= 0:
			n, ok = v.node.Index(s.index)
		}
		if !ok {
			if v.kind == missingValue {
				return v, r.path.text(0)
			}
			return v, r.path.text(i + 1)
		}
		v = nodeValue(n)
	}
	if v.kind == missingValue {
		return v, r.String()
	}
	return v, ""
}

// sentence says what the path leads to: of the elements of a list, the values
// that the expression looks at.
func (r read) sentence(x *Explainer) (text, missing string) {
	text, missing = r.shown(x)
	if missing != "" {
		return "", missing
	}
	if len(r.each) > 0 {
		if v, _ := r.value(x); v.kind == listValue && v.node.Len() > 0 {
			parts := make([]string, 0, len(r.each))
			for _, keys := range r.each {
				parts = append(parts, eachShown(v.node, keys))
			}
			return r.last() + ": " + strings.Join(parts, ", "), ""
		}
	}
	return r.last() + " is " + text, ""
}

// eachShown is the values under keys in the first elements of a list.
func eachShown(list event.Node, keys []string) string {
	var parts []string
	for n := range list.Elements() {
		if len(parts) == valuesMost {
			break
		}
		v := nodeValue(n)
		for _, k := range keys {
			next, ok := event.Node{}, false
			if v.kind == mapValue {
				next, ok = v.node.Get(k)
			}
			if !ok {
				v = value{}
				break
			}
			v = nodeValue(next)
		}
		if v.kind == missingValue {
			parts = append(parts, "missing")
			continue
		}
		parts = append(parts, v.shown())
	}
	text := strings.Join(keys, ".") + " is " + strings.Join(parts, ", ")
	if more := list.Len() - valuesMost; more > 0 {
		text += " and of " + strconv.Itoa(more) + " more"
	}
	return text
}
