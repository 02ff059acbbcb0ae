package transform

import (
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

// The keys of a block that make data, of which it may have one. An extension
// cannot be set that is called as one of them.
const (
	formData             = "data"
	formJQ               = "jq"
	formInput            = "input"
	formInputPath        = "inputPath"
	formInputTransformer = "inputTransformer"
)

func forms() []string {
	return []string{formData, formJQ, formInput, formInputPath, formInputTransformer}
}

// form compiles the value of a key that makes data.
func (c *compiler) form(t *Transform, key *yaml.Node, name string, n *yaml.Node) {
	if t.data != nil {
		c.report(key, name, "the block has %s already; a transform makes data in one way only", t.form)
		return
	}
	t.form = name
	switch name {
	case formData:
		t.data = c.template(n, name, 1)
	case formJQ:
		t.data = c.jq(n)
	case formInput:
		t.data = c.input(n)
	case formInputPath:
		t.data = c.inputPath(n)
	case formInputTransformer:
		t.data = c.inputTransformer(n)
	}
}

// meant is the form that a name is another spelling of, or "".
func meant(name string) string {
	i := slices.IndexFunc(forms(), func(f string) bool { return strings.EqualFold(f, name) })
	if i < 0 || forms()[i] == name {
		return ""
	}
	return forms()[i]
}

// input compiles a constant: JSON text, as EventBridge has it, or a value.
func (c *compiler) input(n *yaml.Node) template {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		if err := event.CheckJSON([]byte(n.Value)); err != nil {
			c.report(n, formInput, `a text here is JSON text, and this is not: %v; write the value itself, or '"..."' for a JSON string`, err)
			return literal("null")
		}
		return literal(strings.TrimSpace(n.Value))
	}
	before := c.expressions
	look := c.look
	c.look = nil // texts are what they are
	t := c.template(n, formInput, 1)
	c.look = look
	if c.expressions > before {
		c.report(n, formInput, "it is a constant, without expressions; data may have them")
		return literal("null")
	}
	if text, err := t.appendJSON(nil, &run{limit: 1 << 30}); err == nil {
		return literal(text)
	}
	return t
}

// reportIn reports something at a byte of a scalar's text.
func (c *compiler) reportIn(n *yaml.Node, offset int, key, message string) {
	e := &Error{Key: key, Message: message}
	e.Line, e.Column = place(n, offset)
	before := n.Value[:offset]
	e.TextLine = 1 + strings.Count(before, "\n")
	e.TextColumn = 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	c.problems = append(c.problems, e)
}

// textOf is what JSON text says when it is one string.
func textOf(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	tree, err := event.ParseTree(raw)
	if err != nil {
		return "", false
	}
	return tree.Root().Text(), true
}

// stringNode is a text as a JSON value.
func stringNode(s string) event.Node {
	return jsonNode(rules.AppendString(nil, s))
}

// jsonNode is JSON text as a value; the zero Node if it is none.
func jsonNode(text []byte) event.Node {
	tree, err := event.ParseTree(text)
	if err != nil {
		return event.Node{}
	}
	return tree.Root()
}
