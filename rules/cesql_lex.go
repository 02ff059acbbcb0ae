package rules

import (
	"strings"
	"unicode/utf8"
)

// sqlTokenKind is what a token of CloudEvents SQL is.
type sqlTokenKind uint8

const (
	sqlEnd     sqlTokenKind = iota
	sqlWord                 // a name, or a keyword in capitals
	sqlInteger              // digits, without a sign
	sqlText                 // a string literal; text is what it stands for
	sqlSymbol               // an operator, a parenthesis or a comma
)

// sqlToken is one token, at source[start:end].
type sqlToken struct {
	kind       sqlTokenKind
	keyword    bool
	text       string
	start, end int
}

// sqlKeyword reports whether a word, in capitals, cannot be a name.
func sqlKeyword(word string) bool {
	switch word {
	case "AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE":
		return true
	}
	return false
}

// sqlLexer takes a source apart. It has one place at which it fails, after which
// there are no more tokens.
type sqlLexer struct {
	source string
	at     int
	fault  *CompileError
}

func (l *sqlLexer) fail(at int, message, hint string) sqlToken {
	if l.fault == nil {
		l.fault = problemAt(l.source, at, message, hint)
	}
	l.at = len(l.source)
	return sqlToken{start: l.at, end: l.at}
}

func (l *sqlLexer) next() sqlToken {
	for l.at < len(l.source) && strings.IndexByte(" \t\r\n", l.source[l.at]) >= 0 {
		l.at++
	}
	start := l.at
	if start == len(l.source) {
		return sqlToken{start: start, end: start}
	}
	c := l.source[start]
	switch {
	case wordRune(rune(c)):
		return l.word()
	case c == '\'' || c == '"':
		return l.literal(c)
	}
	rest := l.source[start:]
	for _, s := range [...]string{"<=", ">=", "<>", "!=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ","} {
		if !strings.HasPrefix(rest, s) {
			continue
		}
		l.at += len(s)
		if s == "=" && strings.HasPrefix(rest, "==") {
			return l.fail(start, "== is not an operator", "= compares")
		}
		return sqlToken{kind: sqlSymbol, text: s, start: start, end: l.at}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	switch {
	case r == '.':
		return l.fail(start, "unexpected .", "attributes stand alone: type, not event.type; sql does not see the data")
	case strings.HasPrefix(rest, "&&"):
		return l.fail(start, "&& is not an operator", "write AND")
	case strings.HasPrefix(rest, "||"):
		return l.fail(start, "|| is not an operator", "write OR, or CONCAT for text")
	case r == '!':
		return l.fail(start, "! is not an operator", "write NOT")
	}
	return l.fail(start, "unexpected "+quoteRune(r), "")
}

func quoteRune(r rune) string {
	if r < ' ' || r == 0x7f {
		return "a control character"
	}
	return string(r)
}

// word is a name, a keyword or a number.
func (l *sqlLexer) word() sqlToken {
	start, digits := l.at, true
	for l.at < len(l.source) && wordRune(rune(l.source[l.at])) {
		digits = digits && l.source[l.at] <= '9'
		l.at++
	}
	t := sqlToken{kind: sqlWord, text: l.source[start:l.at], start: start, end: l.at}
	if digits {
		t.kind = sqlInteger
		return t
	}
	if upper := strings.ToUpper(t.text); sqlKeyword(upper) {
		t.keyword, t.text = true, upper
	}
	return t
}

// literal is a string literal. A backslash before the delimiter, or a second
// delimiter, is the delimiter itself; before anything else a backslash stands
// for itself, and what follows it does not end the literal.
func (l *sqlLexer) literal(quote byte) sqlToken {
	start := l.at
	var b strings.Builder
	for i := start + 1; i < len(l.source); i++ {
		c := l.source[i]
		next := byte(0)
		if i+1 < len(l.source) {
			next = l.source[i+1]
		}
		switch {
		case c == '\\' && next == quote, c == quote && next == quote:
			b.WriteByte(quote)
			i++
		case c == '\\' && i+1 < len(l.source):
			b.WriteByte(c)
			b.WriteByte(next)
			i++
		case c == quote:
			l.at = i + 1
			return sqlToken{kind: sqlText, text: b.String(), start: start, end: l.at}
		default:
			b.WriteByte(c)
		}
	}
	return l.fail(start, "the string does not end", "close it with "+string(quote))
}
