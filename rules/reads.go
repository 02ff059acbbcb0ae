package rules

import (
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
}

// readsMost bounds the values that are shown of an expression.
const readsMost = 4

// readsOf appends the longest paths into the event that stand in an expression.
func readsOf(dst []read, e ast.Expr) []read {
	if len(dst) >= readsMost {
		return dst
	}
	if p, ok := pathOf(e); ok {
		return addRead(dst, read{path: p})
	}
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if p, ok := pathOf(s.Operand()); ok && s.IsTestOnly() {
			p.steps = append(p.steps, step{key: s.FieldName(), index: -1})
			return addRead(dst, read{path: p})
		}
		if isEvent(s.Operand()) && s.FieldName() != "data" {
			return addRead(dst, read{attr: s.FieldName()})
		}
		return readsOf(dst, s.Operand())
	case ast.CallKind:
		call := e.AsCall()
		args := call.Args()
		if call.FunctionName() == operators.Index && isEvent(args[0]) && args[1].Kind() == ast.LiteralKind {
			if name, ok := args[1].AsLiteral().Value().(string); ok && name != "data" {
				return addRead(dst, read{attr: name})
			}
		}
		if call.IsMemberFunction() {
			dst = readsOf(dst, call.Target())
		}
		for _, a := range args {
			dst = readsOf(dst, a)
		}
	case ast.ListKind:
		for _, el := range e.AsList().Elements() {
			dst = readsOf(dst, el)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			dst = readsOf(readsOf(dst, entry.AsMapEntry().Key()), entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopStep(), c.Result()} {
			dst = readsOf(dst, part)
		}
	}
	return dst
}

func isEvent(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && strings.TrimPrefix(e.AsIdent(), ".") == "event"
}

func addRead(dst []read, r read) []read {
	text := r.String()
	for _, have := range dst {
		if have.String() == text {
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
	ev := x.view.ev
	if r.path == nil {
		p := &place{attr: r.attr}
		v := attributeValue(ev, p)
		if v.kind == missingValue {
			return "", r.String()
		}
		return x.attributeShown(r.attr, &v), ""
	}
	v := x.view.dataValue()
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
				return "", r.path.text(0)
			}
			return "", r.path.text(i + 1)
		}
		v = nodeValue(n)
	}
	if v.kind == missingValue {
		return "", r.String()
	}
	return x.attributeShown("data", &v), ""
}
