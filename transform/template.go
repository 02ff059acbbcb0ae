package transform

import (
	"errors"

	"github.com/switchyard-dev/switchyard/rules"
)

// template is one value of the block's data.
type template interface {
	// appendJSON appends the value for an event. The error is an *ApplyError.
	appendJSON(dst []byte, r *run) ([]byte, error)
}

// literal is JSON without expressions.
type literal []byte

func (l literal) appendJSON(dst []byte, r *run) ([]byte, error) {
	if len(l) > r.limit-len(dst) {
		return dst, &ApplyError{Key: "data", Err: rules.ErrTooLarge}
	}
	return append(dst, l...), nil
}

// object is a mapping, its keys in the order of the file.
type object []member

type member struct {
	key   []byte // as JSON, with the colon
	value template
}

func (o object) appendJSON(dst []byte, r *run) ([]byte, error) {
	dst = append(dst, '{')
	var err error
	for i, m := range o {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m.key...)
		if dst, err = m.value.appendJSON(dst, r); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// array is a sequence.
type array []template

func (a array) appendJSON(dst []byte, r *run) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i, t := range a {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = t.appendJSON(dst, r); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// text is a string with expressions.
type text struct {
	key      string
	segments []segment
}

// segment is literal text or an expression.
type segment struct {
	literal string
	expr    *rules.Expr
}

// eval makes the value of the string for an event.
func (t *text) eval(r *run) (value, error) {
	if len(t.segments) == 1 && t.segments[0].expr != nil {
		x := t.segments[0].expr
		v, err := r.eval(x)
		if err != nil {
			return value{}, &ApplyError{Key: t.key, Expression: x.Source(), Err: err}
		}
		return value{expr: v}, nil
	}
	var out []byte
	for _, s := range t.segments {
		if s.expr == nil {
			if len(s.literal) > r.limit-len(out) {
				return value{}, t.fail(rules.ErrTooLarge)
			}
			out = append(out, s.literal...)
			continue
		}
		v, err := r.eval(s.expr)
		if err == nil {
			out, err = appendText(out, v, r.limit)
		}
		if err != nil {
			return value{}, &ApplyError{Key: t.key, Expression: s.expr.Source(), Err: err}
		}
	}
	return value{isText: true, mixed: string(out)}, nil
}

func (t *text) appendJSON(dst []byte, r *run) ([]byte, error) {
	v, err := t.eval(r)
	if err != nil {
		return dst, err
	}
	if dst, err = v.appendJSON(dst, r.limit); err != nil {
		return dst, t.fail(err)
	}
	return dst, nil
}

// fail makes an error that names the key, and the expression when there is one.
func (t *text) fail(err error) error {
	var apply *ApplyError
	if errors.As(err, &apply) {
		return err
	}
	e := &ApplyError{Key: t.key, Err: err}
	if len(t.segments) == 1 && t.segments[0].expr != nil {
		e.Expression = t.segments[0].expr.Source()
	}
	return e
}
