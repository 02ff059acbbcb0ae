package transform

import (
	"errors"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

// Text is one string with expressions, compiled by itself: not a transform, but
// an address or a key that is made of an event. It never changes and is safe for
// concurrent use.
type Text struct{ text text }

// maxText bounds what a Text may make, in bytes.
const maxText = 16 << 10

// CompileText compiles a string. What is wrong with it is a *Error, or several of
// them, joined; key stands in the errors of Put.
func CompileText(env *rules.Env, n *yaml.Node, key string) (*Text, error) {
	c := compiler{env: env}
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		c.report(n, "", "it is a text")
		return nil, c.err()
	}
	t, plain, ok := c.string(n, "")
	switch {
	case !ok:
		return nil, c.err()
	case t == nil:
		t = &text{segments: []segment{{literal: plain}}}
	}
	t.key = key
	return &Text{*t}, nil
}

// Part is a piece of a Text as it was written.
type Part struct {
	Text       string // literal text, or the source of an expression
	Expression bool
}

// Parts are the pieces of the text, in order.
func (t *Text) Parts() []Part {
	parts := make([]Part, len(t.text.segments))
	for i, s := range t.text.segments {
		parts[i] = Part{Text: s.literal}
		if s.expr != nil {
			parts[i] = Part{s.expr.Source(), true}
		}
	}
	return parts
}

// Append makes the text for an event. What an expression results in stands as it
// does in mixed text, but nothing, an object and an array are errors; put, if
// it is not nil, then appends it for the part with that number. The error is an
// *ApplyError.
func (t *Text) Append(dst []byte, c Context, ev *event.Event, put func(dst []byte, part int, value string) ([]byte, error)) ([]byte, error) {
	r := run{ev: ev, context: c.of(ev), limit: maxText}
	for i, s := range t.text.segments {
		if s.expr == nil {
			dst = append(dst, s.literal...)
			continue
		}
		fail := func(err error) ([]byte, error) {
			return dst, &ApplyError{Key: t.text.key, Expression: s.expr.Source(), Err: err}
		}
		v, err := r.eval(s.expr)
		if err != nil {
			return fail(err)
		}
		if !scalar(v) {
			return fail(errors.New("it is null, an object or an array, of which no text can be made here"))
		}
		made, err := appendText(nil, v, maxText)
		if err != nil {
			return fail(err)
		}
		if put == nil {
			dst = append(dst, made...)
		} else if dst, err = put(dst, i, string(made)); err != nil {
			return fail(err)
		}
		if len(dst) > maxText {
			return fail(rules.ErrTooLarge)
		}
	}
	return dst, nil
}

// scalar reports whether a value has a text of its own.
func scalar(v rules.Value) bool {
	switch v.Node.Kind() {
	case event.Null, event.Object, event.Array:
		return false
	case event.Missing:
		return scalarVal(v.Val)
	}
	return true
}
