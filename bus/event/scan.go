package event

import (
	"math"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// MaxDepth is how deeply arrays and objects may be nested in JSON data. The
// event's own object and the array of a batch do not count, so data that is
// accepted in one mode is accepted in all.
const MaxDepth = 128

// SyntaxError says why a text is not acceptable JSON.
type SyntaxError struct {
	// Offset is the byte at which the fault was found, from 0.
	Offset int
	// Reason says what is wrong there.
	Reason string
}

// Error gives the reason and the byte offset.
func (e *SyntaxError) Error() string {
	return e.Reason + " (at byte " + strconv.Itoa(e.Offset) + ")"
}

// CheckJSON reports whether text is exactly one JSON value (RFC 8259) that any
// reader understands in the same way: valid UTF-8, no lone surrogates, no
// object with two equal keys, no number beyond a double, nesting of at most
// MaxDepth. The error is a *SyntaxError. It takes time linear in the text.
func CheckJSON(text []byte) error {
	s := scan(text)
	defer s.release()
	if !s.document() {
		return &SyntaxError{Offset: s.errAt, Reason: s.reason}
	}
	return nil
}

// scanner walks over JSON text once and checks it. Its methods return false
// after a fault, which then stands in errAt and reason.
type scanner struct {
	buf    []byte
	pos    int
	errAt  int
	reason string
	keys   keySet
	open   [MaxDepth]int32 // the containers around pos: where an object's keys begin, or inArray
}

// scanners are those that were released.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

// scan takes a scanner for a text. It is to be released.
func scan(text []byte) *scanner {
	s := scanners.Get().(*scanner)
	s.buf, s.keys.buf = text, text
	return s
}

// maxKept is how many keys of open objects a released scanner keeps room for.
const maxKept = 1 << 10

// release gives a scanner back, with nothing of the text.
func (s *scanner) release() {
	clear(s.keys.decoded)
	keys, decoded, table := s.keys.keys[:0], s.keys.decoded[:0], s.keys.table
	s.buf, s.pos, s.errAt, s.reason, s.keys = nil, 0, 0, "", keySet{}
	if cap(keys)+cap(decoded)+cap(table) <= maxKept {
		s.keys.keys, s.keys.decoded, s.keys.table = keys, decoded, table
	}
	scanners.Put(s)
}

func (s *scanner) fail(at int, reason string) bool {
	s.errAt, s.reason = at, reason
	return false
}

// document checks the whole text as one value.
func (s *scanner) document() bool {
	return s.utf8() && s.value() && s.end()
}

// utf8 checks the encoding of the whole text, so that the rest of the scan can
// work on bytes.
func (s *scanner) utf8() bool {
	if len(s.buf) > math.MaxInt32 {
		return s.fail(math.MaxInt32, "the text is longer than 2 GiB")
	}
	if utf8.Valid(s.buf) {
		return true
	}
	return s.fail(invalidUTF8At(s.buf), "invalid UTF-8")
}

func invalidUTF8At(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// end checks that nothing but white space follows.
func (s *scanner) end() bool {
	s.space()
	if s.pos < len(s.buf) {
		return s.fail(s.pos, "more text after the JSON value")
	}
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.buf) {
		switch s.buf[s.pos] {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return
		}
	}
}

// next skips white space and returns the byte after it, 0 at the end.
func (s *scanner) next() byte {
	if s.pos < len(s.buf) && s.buf[s.pos] > ' ' {
		return s.buf[s.pos]
	}
	s.space()
	if s.pos < len(s.buf) {
		return s.buf[s.pos]
	}
	return 0
}

// value scans the value at pos with all that it contains. It goes by without
// recursion, its place in a variable, for it looks at every byte of every event.
func (s *scanner) value() bool {
	b, i, depth := s.buf, s.pos, 0
	for {
		if i = skipSpace(b, i); i >= len(b) {
			return s.fail(i, "the text ends where a JSON value should stand")
		}
		s.pos = i
		opened := false
		switch c := b[i]; c {
		case '"':
			if i = plain(b, i+1); i < len(b) && b[i] == '"' {
				i++
				break
			}
			if _, ok := s.str(); !ok {
				return false
			}
			i = s.pos
		case '{', '[':
			if depth == MaxDepth {
				return s.fail(i, "nested more than "+strconv.Itoa(MaxDepth)+" levels deep")
			}
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == c+2 { // ']' and '}' are two after their openings
				i++
				break
			}
			s.open[depth] = inArray
			if c == '{' {
				s.open[depth] = int32(s.keys.open())
			}
			depth++
			opened = true
		default:
			if !s.scalar(c) {
				return false
			}
			i = s.pos
		}
		for !opened { // a value has ended, and with it perhaps what it stands in
			if depth == 0 {
				s.pos = i
				return true
			}
			if i = skipSpace(b, i); i < len(b) && b[i] == ',' {
				i++
				break
			}
			if keys := int(s.open[depth-1]); keys == inArray {
				if i >= len(b) || b[i] != ']' {
					return s.fail(i, "a comma or ] should follow an array's element")
				}
			} else {
				if i >= len(b) || b[i] != '}' {
					return s.fail(i, "a comma or } should follow an object's member")
				}
				if at := s.keys.close(keys); at >= 0 {
					return s.fail(at, "an object has this key twice")
				}
			}
			i++
			depth--
		}
		if s.open[depth-1] != inArray {
			if i = s.key(i); i < 0 {
				return false
			}
		}
	}
}

// scalar scans the value at pos that begins with c and is no text and contains none.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number()
	}
	return s.fail(s.pos, "not the start of a JSON value")
}

// inArray stands where an object would have the place of its keys.
const inArray = -1

// key scans the object's key at i with its colon, remembers the key and returns
// the place after it, -1 at a fault.
func (s *scanner) key(i int) int {
	b := s.buf
	if i = skipSpace(b, i); i >= len(b) || b[i] != '"' {
		s.fail(i, "an object's key should stand here")
		return -1
	}
	start := i + 1
	if i = plain(b, start); i < len(b) && b[i] == '"' {
		s.keys.add(start, i)
		i++
	} else {
		s.pos = start - 1
		name, ok := s.text()
		if !ok {
			return -1
		}
		s.keys.addDecoded(start, name)
		i = s.pos
	}
	if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
		s.fail(i, "a colon should follow an object's key")
		return -1
	}
	return i + 1
}

func (s *scanner) literal(word string) bool {
	if len(s.buf)-s.pos < len(word) || string(s.buf[s.pos:s.pos+len(word)]) != word {
		return s.fail(s.pos, "not the start of a JSON value")
	}
	s.pos += len(word)
	return true
}

// number scans a number and refuses one that is beyond a double.
func (s *scanner) number() bool {
	b, start, i := s.buf, s.pos, s.pos
	if b[i] == '-' {
		i++
	}
	first := i
	i = digits(b, i)
	if i == first {
		return s.fail(i, "a digit should stand here")
	}
	if b[first] == '0' && i > first+1 {
		return s.fail(first, "a number has a leading zero")
	}
	whole := i - first
	if i < len(b) && b[i] == '.' {
		n := digits(b, i+1)
		if n == i+1 {
			return s.fail(n, "a digit should follow the decimal point")
		}
		i = n
	}
	exponent := false
	if i < len(b) && b[i]|0x20 == 'e' {
		exponent = true
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		n := digits(b, i)
		if n == i {
			return s.fail(n, "a digit should stand in the exponent")
		}
		i = n
	}
	if exponent || whole > 300 {
		if _, err := strconv.ParseFloat(alias(b[start:i]), 64); err != nil {
			return s.fail(start, "a number is too large for a double")
		}
	}
	s.pos = i
	return true
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// alias is a string over the bytes of b, which must not change while it is used.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
