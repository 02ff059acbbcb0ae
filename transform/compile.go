package transform

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

const (
	maxDepth       = 100
	maxNodes       = 10_000
	maxExpressions = 512
)

// compiler compiles one block and collects what is wrong with it.
type compiler struct {
	env         *rules.Env
	enriched    []string        // the names that expressions see in enriched
	used        map[string]bool // those that one reads
	problems    []*Error
	look        func(source string) []rules.Warning // of Lint; nil does not look
	warnings    []*Error
	nodes       int
	expressions int
}

func (c *compiler) err() error { return joined(c.problems) }

func (c *compiler) report(n *yaml.Node, key, format string, args ...any) {
	c.problems = append(c.problems, &Error{Line: n.Line, Column: n.Column, Key: key, Message: fmt.Sprintf(format, args...)})
}

// block compiles the whole block into t.
func (c *compiler) block(t *Transform, n *yaml.Node) {
	if n == nil {
		c.problems = append(c.problems, &Error{Message: "the transform is empty"})
		return
	}
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		c.report(n, "", "a transform is a mapping of attribute names and data")
		return
	}
	if len(n.Content) == 0 {
		c.report(n, "", "the transform is empty")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], resolve(n.Content[i+1])
		name, ok := c.key(key, "", seen)
		switch {
		case !ok:
		case slices.Contains(forms(), name):
			c.form(t, key, name, val)
		case meant(name) != "":
			c.report(key, name, "did you mean %s? An extension cannot have this name here", meant(name))
		default:
			c.lintName(key, name)
			c.attribute(t, key, name, val)
		}
	}
	c.contentType(t, n)
}

// contentType checks that data fits a content type that is known now.
func (c *compiler) contentType(t *Transform, n *yaml.Node) {
	for i := range t.attributes {
		a := &t.attributes[i]
		if a.name != "datacontenttype" || a.text != nil || !a.set || jsonType(a.fixed.Text()) || t.data == nil {
			continue
		}
		one := true
		switch d := t.data.(type) {
		case literal:
			_, one = textOf(d)
		case object, array:
			one = false
		}
		if !one {
			c.report(n, t.form, "under datacontenttype %q data must be one string", a.fixed.Text())
		}
	}
}

// key checks the key of a mapping at path.
func (c *compiler) key(n *yaml.Node, path string, seen map[string]bool) (string, bool) {
	n = resolve(n)
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		c.report(n, path, "a key must be text")
		return "", false
	case n.Tag == "!!merge":
		c.report(n, path, "merge keys (<<) are not supported here")
		return "", false
	}
	name := n.Value
	if i := strings.Index(name, opening); i >= 0 {
		if i == 0 || name[i-1] != '$' {
			c.report(n, path, "expressions in keys are not supported; build the object with an expression: \"${{ {event.data.name: 1} }}\"")
			return "", false
		}
		name = strings.ReplaceAll(name, "$"+opening, opening)
	}
	if seen[name] {
		c.report(n, join(path, name), "is given twice")
		return "", false
	}
	seen[name] = true
	return name, true
}

func (c *compiler) attribute(t *Transform, key *yaml.Node, name string, n *yaml.Node) {
	a := attribute{name: name, set: true, native: event.IsContextAttribute(name)}
	if reason := badName(name); reason != "" {
		c.report(key, name, "%s", reason)
		return
	}
	if n.Kind != yaml.ScalarNode {
		c.report(n, name, "an attribute is text, a whole number or a bool; what is structured belongs under data")
		return
	}
	c.nodes++
	v, set, ok := c.fixed(n, name)
	if !ok {
		return
	}
	if n.Tag == "!!str" {
		single, plain, ok := c.string(n, name)
		if !ok {
			return
		}
		a.text, v = single, event.StringValue(plain)
	}
	if a.text == nil {
		a.fixed, a.set = normal(a.native, v), set
		if err := a.apply(event.NewBuilder(), a.fixed, a.set); err != nil {
			var d *event.DecodeError
			if errors.As(err, &d) {
				err = errors.New(d.Reason)
			}
			c.report(n, name, "%s", err)
			return
		}
	}
	if name == "specversion" {
		if a.text != nil || a.fixed.Text() != "1.0" || !a.set {
			c.report(n, name, "cannot be changed")
		}
		return
	}
	t.attributes = append(t.attributes, a)
}

// badName says why an attribute cannot have this name.
func badName(name string) string {
	for i := range len(name) {
		if ch := name[i]; (ch < 'a' || ch > 'z') && (ch < '0' || ch > '9') {
			s := fmt.Sprintf("%q is not the name of an attribute: names are lower-case letters and digits", name)
			if name == "data_base64" {
				return s + "; use data with an expression that results in bytes"
			}
			return s + "; what belongs to the payload stands under data"
		}
	}
	if name == "" {
		return "the name of an attribute is empty"
	}
	return ""
}

// fixed is the value of an attribute's scalar that is not text.
func (c *compiler) fixed(n *yaml.Node, name string) (v event.Value, set, ok bool) {
	switch n.Tag {
	case "!!null":
		return v, false, true
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			c.report(n, name, "%v", err)
			return v, false, false
		}
		return event.BooleanValue(b), true, true
	case "!!int":
		if event.IsContextAttribute(name) {
			return event.StringValue(n.Value), true, true
		}
		var i int64
		if err := n.Decode(&i); err != nil || i < math.MinInt32 || i > math.MaxInt32 {
			c.report(n, name, "%s is not a whole number of 32 bits; quote it to make it text", n.Value)
			return v, false, false
		}
		return event.IntegerValue(int32(i)), true, true
	case "!!float":
		if event.IsContextAttribute(name) {
			return event.StringValue(n.Value), true, true
		}
		c.report(n, name, "%s is not a whole number; quote it to make it text", n.Value)
		return v, false, false
	case "!!str", "!!timestamp":
		return event.StringValue(n.Value), true, true
	}
	c.report(n, name, "the YAML tag %s is not supported", n.Tag)
	return v, false, false
}

// template compiles a value of data.
func (c *compiler) template(n *yaml.Node, path string, depth int) template {
	n = resolve(n)
	if c.nodes++; c.nodes > maxNodes || depth > maxDepth {
		if c.nodes == maxNodes+1 || c.nodes <= maxNodes {
			c.report(n, path, "the transform is too large: at most %d values, nested at most %d deep", maxNodes, maxDepth)
		}
		return literal("null")
	}
	switch n.Kind {
	case yaml.MappingNode:
		o := make(object, 0, len(n.Content)/2)
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, ok := c.key(n.Content[i], path, seen)
			if !ok {
				continue
			}
			o = append(o, member{
				key:   append(rules.AppendString(nil, name), ':'),
				value: c.template(n.Content[i+1], join(path, name), depth+1),
			})
		}
		return o
	case yaml.SequenceNode:
		a := make(array, 0, len(n.Content))
		for i, e := range n.Content {
			a = append(a, c.template(e, path+"["+strconv.Itoa(i)+"]", depth+1))
		}
		return a
	case yaml.ScalarNode:
		return c.scalar(n, path)
	}
	c.report(n, path, "not a value")
	return literal("null")
}

func (c *compiler) scalar(n *yaml.Node, path string) template {
	switch n.Tag {
	case "!!str":
		single, plain, ok := c.string(n, path)
		if ok && single != nil {
			return single
		}
		return literal(rules.AppendString(nil, plain))
	case "!!timestamp":
		return literal(rules.AppendString(nil, n.Value))
	}
	raw, err := scalarJSON(n)
	if err != nil {
		c.report(n, path, "%s", err)
		return literal("null")
	}
	return literal(raw)
}

// string compiles a string: to a text when it has expressions, else to what it
// says.
func (c *compiler) string(n *yaml.Node, path string) (single *text, plain string, ok bool) {
	pieces, offset, err := split(n.Value)
	if err != nil {
		line, column := place(n, offset)
		c.problems = append(c.problems, &Error{Line: line, Column: column, Key: path, Message: err.Error()})
		return nil, "", false
	}
	t := &text{key: path}
	ok = true
	var literal strings.Builder
	for _, p := range pieces {
		if !p.expression {
			c.lintText(n, path, p.text)
			literal.WriteString(p.text)
			t.segments = append(t.segments, segment{literal: p.text})
			continue
		}
		single = t
		if c.expressions++; c.expressions > maxExpressions {
			if c.expressions == maxExpressions+1 {
				c.report(n, path, "more than %d expressions", maxExpressions)
			}
			return nil, "", false
		}
		x, err := c.env.CompileEnrichedExpr(p.text, c.enriched)
		if err != nil {
			c.expression(n, path, p, err)
			ok = false
			continue
		}
		c.reading(x.Enriched())
		c.lintExpression(n, path, p)
		t.segments = append(t.segments, segment{expr: x})
	}
	return single, literal.String(), ok
}

// expression reports what is wrong with one expression, at its place in the
// file when the file has the string as it is.
func (c *compiler) expression(n *yaml.Node, path string, p piece, err error) {
	all := []error{err}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		all = list.Unwrap()
	}
	for _, err := range all {
		e := &Error{Line: n.Line, Column: n.Column, Key: path, Message: fmt.Sprintf("in ${{ %s }}: %v", cut(p.text), err), Err: err}
		var at *rules.CompileError
		if errors.As(err, &at) && at.Line == 1 && exact(n) {
			e.Line, e.Column = place(n, p.offset)
			e.Column += at.Column - 1
			e.Message = at.Message
			if at.Hint != "" {
				e.Message += "; " + at.Hint
			}
		}
		c.problems = append(c.problems, e)
	}
}
