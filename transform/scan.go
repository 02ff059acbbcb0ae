package transform

import (
	"errors"
	"strings"
)

const (
	opening = "${{"
	closing = "}}"
)

// piece is a part of a string before its expressions are compiled.
type piece struct {
	text       string
	expression bool
	offset     int // of the text in the string
}

// split cuts a string into literal text and expressions. $${{ is a literal ${{.
// An error comes with the offset of the expression that does not end.
func split(s string) (pieces []piece, offset int, err error) {
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			pieces = append(pieces, piece{text: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); {
		at := strings.Index(s[i:], opening)
		if at < 0 {
			lit.WriteString(s[i:])
			break
		}
		at += i
		if at > i && s[at-1] == '$' {
			lit.WriteString(s[i : at-1])
			lit.WriteString(opening)
			i = at + len(opening)
			continue
		}
		lit.WriteString(s[i:at])
		start := at + len(opening)
		n := expressionEnd(s[start:])
		if n < 0 {
			return nil, at, errors.New("${{ has no }}; write $${{ for the text ${{")
		}
		flush()
		expression := s[start : start+n]
		lead := len(expression) - len(strings.TrimLeft(expression, " \t\r\n"))
		pieces = append(pieces, piece{text: strings.TrimSpace(expression), expression: true, offset: start + lead})
		i = start + n + len(closing)
	}
	flush()
	return pieces, 0, nil
}

// expressionEnd is the place of the }} that ends the expression s begins with:
// not within its strings, comments or braces. It is -1 when there is none.
func expressionEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(s[i:], closing) {
				return i
			}
			depth = max(0, depth-1)
		case '"', '\'':
			n := stringLength(s[i:], rawPrefix(s, i))
			if n < 0 {
				return -1
			}
			i += n
			continue
		case '/':
			if strings.HasPrefix(s[i:], "//") {
				n := strings.IndexByte(s[i:], '\n')
				if n < 0 {
					return -1
				}
				i += n
				continue
			}
		}
		i++
	}
	return -1
}

// rawPrefix reports whether the string literal at i is a raw one.
func rawPrefix(s string, i int) bool {
	raw := false
	j := i - 1
	for n := 0; j >= 0 && n < 2 && strings.IndexByte("rRbB", s[j]) >= 0; n++ {
		raw = raw || s[j]|0x20 == 'r'
		j--
	}
	if j >= 0 && (s[j] == '_' || s[j] >= '0' && s[j] <= '9' || s[j] >= 'a' && s[j] <= 'z' || s[j] >= 'A' && s[j] <= 'Z') {
		return false
	}
	return raw
}

// stringLength is the length of the CEL string literal that s begins with, -1
// when it has no end.
func stringLength(s string, raw bool) int {
	quote := s[:1]
	if t := strings.Repeat(quote, 3); strings.HasPrefix(s, t) {
		quote = t
	}
	for i := len(quote); i < len(s); i++ {
		if s[i] == '\\' && !raw {
			i++
			continue
		}
		if strings.HasPrefix(s[i:], quote) {
			return i + len(quote)
		}
	}
	return -1
}
