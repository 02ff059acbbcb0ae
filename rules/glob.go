package rules

import (
	"strings"
	"unicode/utf8"
)

// glob is what a text may be like: literal parts with any text between them.
// Matching takes time linear in the text for parts without places for one
// character, and never more than the product of the lengths.
type glob struct {
	parts []globPart // the first stands at the beginning, the last at the end
	fold  bool       // upper and lower case are one
}

// globPart is literal text, with places for any one character each between its
// pieces.
type globPart struct {
	pieces []string
}

// match reports whether the whole of s is like g.
func (g *glob) match(s string) bool {
	n := g.begins(&g.parts[0], s)
	if n < 0 {
		return false
	}
	last := len(g.parts) - 1
	if last == 0 {
		return n == len(s)
	}
	s = s[n:]
	for i := 1; i < last; i++ {
		if n = g.find(&g.parts[i], s); n < 0 {
			return false
		}
		s = s[n:]
	}
	return g.ends(&g.parts[last], s)
}

// begins is how much of s the part takes at its beginning, -1 when s does not
// begin with it.
func (g *glob) begins(p *globPart, s string) int {
	at := 0
	for i, piece := range p.pieces {
		if i > 0 {
			_, n := utf8.DecodeRuneInString(s[at:])
			if n == 0 {
				return -1
			}
			at += n
		}
		switch {
		case !g.fold && strings.HasPrefix(s[at:], piece):
			at += len(piece)
		case g.fold:
			n := prefixFoldLen(s[at:], piece)
			if n < 0 {
				return -1
			}
			at += n
		default:
			return -1
		}
	}
	return at
}

// find is the place after the first occurrence of the part in s, -1 without one.
func (g *glob) find(p *globPart, s string) int {
	if len(p.pieces) == 1 && !g.fold {
		i := strings.Index(s, p.pieces[0])
		if i < 0 {
			return -1
		}
		return i + len(p.pieces[0])
	}
	for at := 0; ; {
		if n := g.begins(p, s[at:]); n >= 0 {
			return at + n
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		if n == 0 {
			return -1
		}
		at += n
	}
}

// ends reports whether s ends with the part.
func (g *glob) ends(p *globPart, s string) bool {
	if len(p.pieces) == 1 {
		if g.fold {
			return hasSuffixFold(s, p.pieces[0])
		}
		return strings.HasSuffix(s, p.pieces[0])
	}
	runes := len(p.pieces) - 1
	for _, piece := range p.pieces {
		runes += utf8.RuneCountInString(piece)
	}
	at := len(s)
	for ; runes > 0; runes-- {
		_, n := utf8.DecodeLastRuneInString(s[:at])
		if n == 0 {
			return false
		}
		at -= n
	}
	return g.begins(p, s[at:]) == len(s)-at
}

// prefixFoldLen is how much of s is prefix but for upper and lower case, -1
// when s does not begin with it.
func prefixFoldLen(s, prefix string) int {
	at := 0
	for prefix != "" {
		r, n := utf8.DecodeRuneInString(prefix)
		q, m := utf8.DecodeRuneInString(s[at:])
		if m == 0 || r != q && !strings.EqualFold(prefix[:n], s[at:at+m]) {
			return -1
		}
		prefix, at = prefix[n:], at+m
	}
	return at
}

// hasSuffixFold is strings.HasSuffix but for upper and lower case.
func hasSuffixFold(s, suffix string) bool {
	for suffix != "" {
		_, n := utf8.DecodeLastRuneInString(suffix)
		_, m := utf8.DecodeLastRuneInString(s)
		if m == 0 || !strings.EqualFold(suffix[len(suffix)-n:], s[len(s)-m:]) {
			return false
		}
		suffix, s = suffix[:len(suffix)-n], s[:len(s)-m]
	}
	return true
}
