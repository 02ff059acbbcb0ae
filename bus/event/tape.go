package event

import (
	"bytes"
	"math/bits"
)

// token is one value or key of a Tree. The tokens of a container follow it:
// an array's elements, or an object's keys and values in turn.
type token struct {
	start, end uint32 // bytes of the text; a string's with its quotes
	next       uint32 // the token after this one and all that it contains
	info       uint32 // children<<4 | escaped<<3 | kind
}

const (
	kindMask    = 7
	escapedFlag = 8
	countShift  = 4
	// maxTree keeps the offsets and the counts within their bits.
	maxTree = 1 << 28
)

// tape builds the tokens of JSON text in one pass. It checks the structure and
// stays within the text whatever that is, but leaves to the scanner what does
// not change the structure.
type tape struct {
	buf    []byte
	tokens []token // appended to
}

// parse returns the place of a fault, -1 when there is none.
func (t *tape) parse() int {
	if len(t.buf) > maxTree {
		return maxTree
	}
	if t.tokens == nil {
		t.tokens = make([]token, 0, tokenBound(t.buf))
	}
	var open [MaxDepth]uint32
	depth, i := 0, 0
	for {
		// A value begins here, or the end of an empty container.
		i = skipSpace(t.buf, i)
		if i >= len(t.buf) {
			return i
		}
		switch c := t.buf[i]; c {
		case '{', '[':
			if depth == MaxDepth {
				return i
			}
			kind := Array
			if c == '{' {
				kind = Object
			}
			open[depth] = uint32(len(t.tokens))
			depth++
			t.tokens = append(t.tokens, token{start: uint32(i), info: uint32(kind)})
			i = skipSpace(t.buf, i+1)
			if i < len(t.buf) && t.buf[i] == c+2 { // ']' and '}' are two after their openings
				break
			}
			if kind == Object {
				if i = t.key(i); i < 0 {
					return -1 - i
				}
			}
			continue
		case '"':
			end, escaped := stringEnd(t.buf, i)
			if end == 0 {
				return i
			}
			t.push(i, end, uint32(String)|escaped)
			i = end
		default:
			kind, end := scalar(t.buf, i)
			if end == i {
				return i
			}
			t.push(i, end, uint32(kind))
			i = end
		}
		// A value has ended, or a container is at its end.
		for {
			if depth == 0 {
				if i = skipSpace(t.buf, i); i < len(t.buf) {
					return i
				}
				return -1
			}
			i = skipSpace(t.buf, i)
			if i >= len(t.buf) {
				return i
			}
			parent := &t.tokens[open[depth-1]]
			switch c := t.buf[i]; {
			case c == ',':
				parent.info += 1 << countShift
				i++
				if parent.info&kindMask == uint32(Object) {
					if i = t.key(skipSpace(t.buf, i)); i < 0 {
						return -1 - i
					}
				}
			case c == '}' && parent.info&kindMask == uint32(Object), c == ']' && parent.info&kindMask == uint32(Array):
				if uint32(len(t.tokens)) > open[depth-1]+1 {
					parent.info += 1 << countShift
				}
				i++
				parent.end, parent.next = uint32(i), uint32(len(t.tokens))
				depth--
				continue
			default:
				return i
			}
			break
		}
	}
}

// key adds the object key at i and returns the place after its colon, or
// -1-place at a fault.
func (t *tape) key(i int) int {
	if i >= len(t.buf) || t.buf[i] != '"' {
		return -1 - i
	}
	end, escaped := stringEnd(t.buf, i)
	if end == 0 {
		return -1 - i
	}
	t.push(i, end, uint32(String)|escaped)
	i = skipSpace(t.buf, end)
	if i >= len(t.buf) || t.buf[i] != ':' {
		return -1 - i
	}
	return i + 1
}

func (t *tape) push(start, end int, info uint32) {
	t.tokens = append(t.tokens, token{uint32(start), uint32(end), uint32(len(t.tokens) + 1), info})
}

// tokenBound is at least the number of tokens: each but the first stands after
// an opening bracket, a comma or a colon.
func tokenBound(b []byte) int {
	return 1 + bytes.Count(b, []byte{'{'}) + bytes.Count(b, []byte{'['}) + bytes.Count(b, []byte{','}) + bytes.Count(b, []byte{':'})
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// stringEnd returns the place after the closing quote of the string at i, 0
// when it has none, and escapedFlag when it holds an escape.
func stringEnd(b []byte, i int) (end int, escaped uint32) {
	for i++; ; i++ {
		i = plain(b, i)
		if i >= len(b) {
			return 0, 0
		}
		switch b[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = escapedFlag
			i++
		}
	}
}

// scalar returns the kind of the number or word at i and where it ends.
func scalar(b []byte, i int) (NodeKind, int) {
	switch c := b[i]; {
	case c-'0' <= 9 || c == '-':
		end := i + 1
		for end < len(b) && numberByte(b[end]) {
			end++
		}
		return Number, end
	case c == 't' && hasWord(b, i, "true"):
		return True, i + 4
	case c == 'f' && hasWord(b, i, "false"):
		return False, i + 5
	case c == 'n' && hasWord(b, i, "null"):
		return Null, i + 4
	}
	return Missing, i
}

func numberByte(c byte) bool {
	return c-'0' <= 9 || c == '.' || c|0x20 == 'e' || c == '-' || c == '+'
}

func hasWord(b []byte, i int, word string) bool {
	return len(b)-i >= len(word) && string(b[i:i+len(word)]) == word
}

// tight gives back memory that commas within strings made the bound waste.
func (t *tape) tight() []token {
	if bits.Len(uint(cap(t.tokens))) > bits.Len(uint(len(t.tokens)))+1 {
		return append(make([]token, 0, len(t.tokens)), t.tokens...)
	}
	return t.tokens
}
