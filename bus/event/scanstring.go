package event

import (
	"encoding/binary"
	"math/bits"
)

// text scans a string and returns it decoded; without escapes it aliases the
// text that is scanned.
func (s *scanner) text() (string, bool) {
	start := s.pos + 1
	escaped, ok := s.str()
	if !ok {
		return "", false
	}
	raw := s.buf[start : s.pos-1]
	if escaped {
		return string(appendUnescaped(nil, raw)), true
	}
	return alias(raw), true
}

// str scans the string whose opening quote is at pos.
func (s *scanner) str() (escaped, ok bool) {
	b, i := s.buf, s.pos+1
	for {
		i = plain(b, i)
		if i >= len(b) {
			return escaped, s.fail(s.pos, "a string has no end")
		}
		switch b[i] {
		case '"':
			s.pos = i + 1
			return escaped, true
		case '\\':
			escaped = true
			n := s.escape(i)
			if n == 0 {
				return escaped, false
			}
			i += n
		default:
			return escaped, s.fail(i, "a control character in a string; write it as an escape")
		}
	}
}

// escape checks the escape sequence at i and returns its length, 0 at a fault.
// A surrogate pair is one sequence.
func (s *scanner) escape(i int) int {
	b := s.buf
	if i+1 < len(b) {
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			return 2
		case 'u':
			u, ok := hex4(b, i+2)
			if !ok {
				s.fail(i, `\u without four hexadecimal digits`)
				return 0
			}
			if u&0xF800 != 0xD800 {
				return 6
			}
			if _, ok := lowSurrogate(b, i+6); ok && u < 0xDC00 {
				return 12
			}
			s.fail(i, "a lone surrogate")
			return 0
		}
	}
	s.fail(i, "an unknown escape in a string")
	return 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns the first place from i on that holds a quote, a backslash or a
// control character, looking at eight bytes at a time.
func plain(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	return i
}

// special marks the first byte of x, the lowest, that is a quote, a backslash or a
// control character, by its highest bit; what is above that bit says nothing.
func special(x uint64) uint64 {
	// With one bit changed the quote comes to stand just above the control
	// characters, and nothing else comes down there.
	c, e := x^(ones*2), x^(ones*'\\')
	return ((c-ones*0x21)&^c | (e-ones)&^e) & highs
}
