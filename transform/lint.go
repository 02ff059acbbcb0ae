package transform

import (
	"errors"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
)

// Lint warns of what a block that compiles cannot mean: slips in the names of
// attributes, {{ … }} without the $ of an expression, and what look, which is
// rules.Env.LintExpr or more, says of each expression.
func Lint(env *rules.Env, block *yaml.Node, look func(source string) []rules.Warning) []*Error {
	c := compiler{env: env, look: look}
	c.block(&Transform{}, block)
	if len(c.problems) > 0 {
		return nil
	}
	return c.warnings
}

// warn notes a warning about n.
func (c *compiler) warn(n *yaml.Node, key, format string, args ...any) {
	before := len(c.problems)
	c.report(n, key, format, args...)
	c.toWarnings(before)
}

// toWarnings makes warnings of the problems from the one numbered so on.
func (c *compiler) toWarnings(before int) {
	c.warnings = append(c.warnings, c.problems[before:]...)
	c.problems = c.problems[:before:before]
}

// lintName warns of an extension that is nearly called as an attribute.
func (c *compiler) lintName(n *yaml.Node, name string) {
	if near := rules.NearAttribute(name); c.look != nil && near != "" {
		c.warn(n, name, "%s is no attribute of CloudEvents, only nearly one; did you mean %s?", name, near)
	}
}

// lintExpression asks look about an expression.
func (c *compiler) lintExpression(n *yaml.Node, path string, p piece) {
	if c.look == nil {
		return
	}
	before := len(c.problems)
	var all []error
	for _, w := range c.look(p.text) {
		all = append(all, &rules.CompileError{Line: w.Line, Column: w.Column, Message: w.Message, Hint: w.Hint})
	}
	if len(all) > 0 {
		c.expression(n, path, p, errors.Join(all...))
		c.toWarnings(before)
	}
}

// lintText warns of text that looks like an expression and is none.
func (c *compiler) lintText(n *yaml.Node, path, text string) {
	if c.look == nil {
		return
	}
	i := strings.Index(text, "{{")
	if i < 0 || i > 0 && text[i-1] == '$' {
		return
	}
	inside, _, ended := strings.Cut(text[i+2:], closing)
	if inside = strings.TrimSpace(inside); ended && strings.HasPrefix(inside, "event") {
		c.warn(n, path, "{{ %s }} is delivered as it stands; an expression is written ${{ %s }}", cut(inside), cut(inside))
	}
}
