package rules

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// CompileError says what is wrong with an expression and where.
type CompileError struct {
	// Line and Column are the place in the source, from 1; columns count
	// characters.
	Line, Column int
	// Offending is the word or operator at that place.
	Offending string
	// Message says what is wrong.
	Message string
	// Hint says what to do, "" when that is plain.
	Hint string
	// Pointer is the JSON pointer (RFC 6901) to the part of a pattern or of
	// filters that is wrong; "" for an expression, and for the whole.
	Pointer string

	text string // the line
}

// Error gives the place, the message and the hint.
func (e *CompileError) Error() string {
	s := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Caret is the source line with a caret under the place, in two lines.
func (e *CompileError) Caret() string {
	var b strings.Builder
	b.WriteString(e.text)
	b.WriteByte('\n')
	i := 1
	for _, r := range e.text {
		if i >= e.Column {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		i++
	}
	b.WriteByte('^')
	return b.String()
}

// compileError makes an error at a place of the source.
func compileError(source string, line, column int, message, hint string) *CompileError {
	e := &CompileError{Line: max(line, 1), Column: max(column, 1), Message: message, Hint: hint}
	for l := range strings.Lines(source) {
		if line--; line <= 0 {
			e.text = strings.TrimRight(l, "\r\n")
			break
		}
	}
	e.Column = name(e.text, e.Column)
	e.Offending = wordAt(e.text, e.Column)
	return e
}

// name moves a place from the parenthesis of a call or the dot of a field, which
// CEL reports, to the name.
func name(text string, column int) int {
	runes := []rune(text)
	switch {
	case column >= len(runes):
	case runes[column-1] == '.' && wordRune(runes[column]):
		column++
	case runes[column-1] == '(':
		for column > 1 && wordRune(runes[column-2]) {
			column--
		}
	}
	return column
}

// wordAt is the name, number or operator at a column.
func wordAt(text string, column int) string {
	for i := 1; i < column && text != ""; i++ {
		_, n := utf8.DecodeRuneInString(text)
		text = text[n:]
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !wordRune(r) })
	switch {
	case end < 0:
		return text
	case end > 0:
		return text[:end]
	}
	end = strings.IndexFunc(text, func(r rune) bool { return !strings.ContainsRune("=!<>&|+-*/%?", r) })
	switch {
	case end < 0:
		return text
	case end > 0:
		return text[:end]
	}
	_, n := utf8.DecodeRuneInString(text)
	return text[:n]
}

func wordRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// join makes one error of several, in their order.
func join(list []*CompileError) error {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	all := make([]error, len(list))
	for i, e := range list {
		all[i] = e
	}
	return errors.Join(all...)
}
