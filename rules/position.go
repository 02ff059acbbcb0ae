package rules

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// problemAt makes an error at a byte of the source.
func problemAt(source string, offset int, message, hint string) *CompileError {
	offset = min(offset, len(source))
	start := strings.LastIndexByte(source[:offset], '\n') + 1
	line := source[start:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	e := &CompileError{
		Line:    1 + strings.Count(source[:start], "\n"),
		Column:  1 + utf8.RuneCountInString(source[start:offset]),
		Message: message, Hint: hint,
		text: strings.TrimRight(line, "\r"),
	}
	e.Offending = wordAt(e.text, e.Column)
	return e
}

// byPlace is the order of problems of one source.
func byPlace(a, b *CompileError) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}
