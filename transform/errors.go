package transform

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error says what is wrong with a transform block and where.
type Error struct {
	// Line and Column are the place in the YAML file, from 1; 0 when the block
	// did not come from a file.
	Line, Column int
	// TextLine and TextColumn are the place within the text of the value, from 1;
	// 0 when it is not known.
	TextLine, TextColumn int
	// Key is the path of the value within the block, such as "data.items[0].id".
	Key string
	// Message says what is wrong.
	Message string
	// Err is the cause, such as a *rules.CompileError, or nil.
	Err error
}

// Error gives the place, the key and the message.
func (e *Error) Error() string {
	s := e.Message
	if e.Key != "" {
		s = e.Key + ": " + s
	}
	if e.Line > 0 {
		s = fmt.Sprintf("%d:%d: %s", e.Line, e.Column, s)
	}
	return s
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// ApplyError says why a transform failed on an event.
type ApplyError struct {
	// Key is the path of the value within the block, "" when the whole event
	// is at fault.
	Key string
	// Expression is the expression that failed, "" when none did.
	Expression string
	// Err says what went wrong.
	Err error
}

// Error names the key, the expression and the cause.
func (e *ApplyError) Error() string {
	var b strings.Builder
	b.WriteString("transform: ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	if e.Expression != "" {
		b.WriteString(strconv.Quote(cut(e.Expression)))
		b.WriteString(": ")
	}
	b.WriteString(e.Err.Error())
	if strings.HasPrefix(e.Err.Error(), "no such key") {
		b.WriteString("; where it may be absent, write default(..., value)")
	}
	return b.String()
}

// Unwrap is the cause.
func (e *ApplyError) Unwrap() error { return e.Err }

// cut shortens a long expression.
func cut(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// joined makes one error of several, in the order of their places.
func joined(list []*Error) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(list) == 1 {
		return list[0]
	}
	all := make([]error, len(list))
	for i, e := range list {
		all[i] = e
	}
	return errors.Join(all...)
}

// redacted is the error of a transform without what must not be shown.
func redacted(err error, f func(string) string) error {
	var apply *ApplyError
	if !errors.As(err, &apply) {
		return err
	}
	return &ApplyError{Key: apply.Key, Expression: f(apply.Expression), Err: &redactedError{f(apply.Err.Error()), apply.Err}}
}

// redactedError shows another text than its cause.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
