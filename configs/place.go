package configs

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// inside is the place of line and column (both from 1) of a text that stands in
// the scalar n. It is found by counting what is not white space, for YAML moves
// that: it folds lines and takes indentation off.
func (d *document) inside(n *yaml.Node, line, column int) (int, int) {
	if _, changed := d.written[n]; changed || n.Kind != yaml.ScalarNode || d.source == nil {
		return n.Line, n.Column
	}
	left, total, at := 0, 0, position{1, 1}
	for _, r := range n.Value {
		if !unicode.IsSpace(r) {
			if total++; at.line < line || at.line == line && at.column < column {
				left = total
			}
		}
		at.advance(r)
	}
	missing := left == total // something is missing at the end of the text
	at = position{n.Line, 1}
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	opened := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
	escaped := false
	for text := d.fromLine(n.Line); len(text) > 0; {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		inText := at.line > n.Line || at.line == n.Line && at.column >= n.Column && !block
		switch {
		case !inText:
		case !opened:
			opened = true // the opening quote
		case unicode.IsSpace(r):
		case r == '\\' && n.Style&yaml.DoubleQuotedStyle != 0 && !escaped,
			r == '\'' && n.Style&yaml.SingleQuotedStyle != 0 && !escaped:
			escaped = true
		case left == 0:
			return at.line, at.column
		default:
			escaped = false
			if left--; left == 0 && missing {
				return at.line, at.column + 1
			}
		}
		at.advance(r)
	}
	return n.Line, n.Column
}

// fromLine is the source from the beginning of a line on.
func (d *document) fromLine(line int) []byte {
	starts := d.lineStarts()
	if line < 1 || line > len(starts) {
		return nil
	}
	return d.source[starts[line-1]:]
}

// lineStarts is where the lines of the source begin.
func (d *document) lineStarts() []int {
	if d.lines == nil {
		d.lines = make([]int, 1, 2+bytes.Count(d.source, []byte{'\n'}))
		for i, c := range d.source {
			if c == '\n' {
				d.lines = append(d.lines, i+1)
			}
		}
	}
	return d.lines
}

// position is a place in a text, from 1; columns count characters.
type position struct{ line, column int }

func (p *position) advance(r rune) {
	if r == '\n' {
		p.line++
		p.column = 1
		return
	}
	p.column++
}
