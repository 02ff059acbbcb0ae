package transform

import (
	"fmt"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/itchyny/gojq"
	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
)

// lintBridgePath warns of a path of EventBridge that leads to nothing, whatever
// the event.
func (c *compiler) lintBridgePath(n *yaml.Node, key string, p bridgePath) {
	if c.look == nil || len(p.steps) == 0 {
		return
	}
	switch first := p.steps[0]; {
	case first.all:
	case !first.named:
		c.warnIn(n, 0, key, "%s leads to nothing: an event is no list", p.text)
	case first.name == "detail":
	case first.name == "detail-type" || first.name == "detailType":
		c.lintFields(n, key, p)
	case first.name == "data":
		c.warnIn(n, 0, key, "%s leads to nothing: in these paths the data is $.detail; did you mean %s?", p.text, "$.detail"+p.text[len("$")+stepLength(p.text):])
	case bridgeSlip(first.name) != "":
		c.warnIn(n, 0, key, "%s leads to nothing that events have; did you mean $.%s?", p.text, bridgeSlip(first.name))
	case attributeName(first.name):
		c.lintFields(n, key, p)
	default:
		c.warnIn(n, 0, key, "%s leads to nothing: names of attributes have a-z and 0-9 only; the data is $.detail", p.text)
	}
}

// lintFields warns of a path that goes on behind an attribute.
func (c *compiler) lintFields(n *yaml.Node, key string, p bridgePath) {
	first, rest := p.steps[0], p.steps[1:]
	if len(rest) == 0 || first.name == "resources" && !rest[0].named {
		return
	}
	c.warnIn(n, 0, key, "%s leads to nothing: %s is an attribute, which has no fields; the data is $.detail", p.text, first.name)
}

// stepLength is how many bytes the first step of a path takes, behind the $.
func stepLength(path string) int {
	if path[1] == '[' {
		return strings.IndexByte(path, ']')
	}
	if end := strings.IndexAny(path[2:], ".["); end >= 0 {
		return 1 + end
	}
	return len(path) - 1
}

// bridgeSlip is the member of an event in EventBridge's form, or the attribute,
// that a name is a plain slip of, "" if it is none.
func bridgeSlip(name string) string {
	for _, known := range [...]string{"detail", "detail-type"} {
		switch levenshtein.ComputeDistance(strings.ToLower(name), known) {
		case 0:
			return known
		case 1:
			if len(name) != len(known) && name != known+"s" { // such as retail may be an extension
				return known
			}
		case 2:
			if exchanged(name, known) {
				return known
			}
		}
	}
	if near := rules.NearAttribute(name); near != "data" {
		return near
	}
	return "detail"
}

// exchanged reports whether two letters beside each other changed places.
func exchanged(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) - 1 {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// attributeName reports whether an attribute may have this name.
func attributeName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// warnIn warns of something at a byte of a scalar's text.
func (c *compiler) warnIn(n *yaml.Node, offset int, key, format string, args ...any) {
	before := len(c.problems)
	c.reportIn(n, offset, key, fmt.Sprintf(format, args...))
	c.toWarnings(before)
}

// lintJQ warns of what a program reads of the event and no event has.
func (c *compiler) lintJQ(n *yaml.Node) {
	if c.look == nil {
		return
	}
	q, err := gojq.Parse(n.Value)
	if err != nil {
		return // which was reported
	}
	l := jqLint{compiler: c, node: n, seen: map[string]bool{}}
	l.query(q)
}

// jqLint goes through those parts of a program whose input is the event itself;
// what it does not know it leaves alone.
type jqLint struct {
	*compiler
	node *yaml.Node
	seen map[string]bool
}

// query looks at a query whose input is the event, and reports whether its
// result is the event, too.
func (l *jqLint) query(q *gojq.Query) (event bool) {
	if q == nil {
		return false
	}
	if q.Term != nil {
		return l.term(q.Term)
	}
	switch q.Op {
	case gojq.OpPipe:
		if l.query(q.Left) || len(q.Patterns) > 0 { // as $x keeps the input
			return l.query(q.Right)
		}
	case gojq.OpAssign, gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		l.query(q.Right) // the left makes what is not there
	case gojq.OpModify:
	default:
		l.query(q.Left)
		l.query(q.Right)
	}
	return false
}

func (l *jqLint) term(t *gojq.Term) (event bool) {
	switch t.Type {
	case gojq.TermTypeIdentity:
		if len(t.SuffixList) == 0 {
			return true
		}
		l.read(t.SuffixList[0].Index, t.SuffixList[1:])
	case gojq.TermTypeIndex:
		l.read(t.Index, t.SuffixList)
	case gojq.TermTypeQuery:
		event = l.query(t.Query)
		if event && len(t.SuffixList) > 0 {
			l.read(t.SuffixList[0].Index, t.SuffixList[1:])
		}
		return event && len(t.SuffixList) == 0
	case gojq.TermTypeArray:
		l.query(t.Array.Query)
	case gojq.TermTypeObject:
		for _, kv := range t.Object.KeyVals {
			l.query(kv.KeyQuery)
			l.query(kv.Val)
			if kv.Val == nil && kv.Key != "" && kv.Key[0] != '$' { // {a} is {a: .a}
				l.read(&gojq.Index{Name: kv.Key}, nil)
			}
		}
	case gojq.TermTypeString, gojq.TermTypeFormat:
		if t.Str != nil {
			for _, part := range t.Str.Queries {
				l.query(part)
			}
		}
	case gojq.TermTypeUnary:
		l.term(t.Unary.Term)
	case gojq.TermTypeIf:
		l.query(t.If.Cond)
		l.query(t.If.Then)
		for _, e := range t.If.Elif {
			l.query(e.Cond)
			l.query(e.Then)
		}
		l.query(t.If.Else)
	case gojq.TermTypeFunc:
		if t.Func.Name == "select" && len(t.Func.Args) == 1 {
			l.query(t.Func.Args[0])
			return len(t.SuffixList) == 0
		}
	}
	return false
}

// read looks at a member of the event, and at what is read of that.
func (l *jqLint) read(at *gojq.Index, rest []*gojq.Suffix) {
	name := memberName(at)
	if name == "" || name == "data" || name == "data_base64" || l.seen[name] {
		return
	}
	warn := func(format string, args ...any) {
		l.seen[name] = true
		l.warnIn(l.node, max(0, strings.Index(l.node.Value, name)), formJQ, format, args...)
	}
	below := ""
	if len(rest) > 0 && rest[0].Index != nil {
		below = memberName(rest[0].Index)
	}
	switch near := rules.NearAttribute(name); {
	case near != "":
		warn(".%s is no attribute of CloudEvents, only nearly one; did you mean .%s?", name, near)
	case !attributeName(name):
		warn("no event has .%s: names of attributes have a-z and 0-9 only; the data is .data", name)
	case below != "":
		warn(".%s.%s is in no event: %s is an attribute, which has no fields; the data is .data", name, below, name)
	}
}

// memberName is the name that an index asks for, "" if it is none or is computed.
func memberName(at *gojq.Index) string {
	switch {
	case at == nil || at.IsSlice:
		return ""
	case at.Name != "":
		return at.Name
	case at.Str != nil && len(at.Str.Queries) == 0:
		return at.Str.Str
	case at.Start != nil && at.Start.Term != nil && at.Start.Term.Type == gojq.TermTypeString && len(at.Start.Term.Str.Queries) == 0 && len(at.Start.Term.SuffixList) == 0:
		return at.Start.Term.Str.Str
	}
	return ""
}
