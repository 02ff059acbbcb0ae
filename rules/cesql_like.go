package rules

import (
	"slices"
	"strings"
)

// sqlPattern is the pattern of LIKE: % is any text, _ is any character, and a
// backslash before one of them makes it the character itself.
type sqlPattern struct {
	glob
	// weight is how often a character of the text may have to be looked at.
	weight int
}

func newSQLPattern(pattern string) *sqlPattern {
	p := &sqlPattern{weight: 1}
	piece := []byte{}
	part := globPart{}
	end := func() {
		part.pieces = append(part.pieces, string(piece))
		piece = piece[:0]
	}
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern) && (pattern[i+1] == '%' || pattern[i+1] == '_'):
			i++
			piece = append(piece, pattern[i])
		case c == '_':
			end()
		case c == '%':
			end()
			p.parts = append(p.parts, part)
			part = globPart{}
			for i+1 < len(pattern) && pattern[i+1] == '%' {
				i++
			}
		default:
			piece = append(piece, c)
		}
	}
	end()
	p.parts = append(p.parts, part)
	for i := 1; i < len(p.parts)-1; i++ {
		if pieces := p.parts[i].pieces; len(pieces) > 1 {
			p.weight = max(p.weight, 1+len(pieces)+len(strings.Join(pieces, "")))
		}
	}
	return p
}

// simple is the pattern as another test of a text than isLike.
func (p *sqlPattern) simple() (t testKind, text string, ok bool) {
	if slices.ContainsFunc(p.parts, func(part globPart) bool { return len(part.pieces) > 1 }) {
		return 0, "", false
	}
	first, last := p.parts[0].pieces[0], p.parts[len(p.parts)-1].pieces[0]
	switch {
	case len(p.parts) == 1:
		return equals, first, true
	case len(p.parts) == 2 && last == "":
		return hasPrefix, first, true
	case len(p.parts) == 2 && first == "":
		return hasSuffix, last, true
	case len(p.parts) == 3 && first == "" && last == "":
		return contains, p.parts[1].pieces[0], true
	}
	return 0, "", false
}
