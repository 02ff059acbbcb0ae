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
	*s = scanner{}
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
	return s.utf8() && s.value(0) && s.end()
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

// value scans any value; depth is the number of containers around it.
func (s *scanner) value(depth int) bool {
	switch c := s.next(); c {
	case '"':
		if i := plain(s.buf, s.pos+1); i < len(s.buf) && s.buf[i] == '"' {
			s.pos = i + 1
			return true
		}
		_, ok := s.str()
		return ok
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number()
	}
	if s.pos >= len(s.buf) {
		return s.fail(s.pos, "the text ends where a JSON value should stand")
	}
	return s.fail(s.pos, "not the start of a JSON value")
}

func (s *scanner) object(depth int) bool {
	if depth > MaxDepth {
		return s.fail(s.pos, "nested more than "+strconv.Itoa(MaxDepth)+" levels deep")
	}
	s.pos++
	base := s.keys.open()
	if s.next() == '}' {
		s.pos++
		return true
	}
	for {
		if _, ok := s.key(); !ok || !s.value(depth) {
			return false
		}
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return s.closeKeys(base)
		default:
			return s.fail(s.pos, "a comma or } should follow an object's member")
		}
	}
}

// key scans an object's key and its colon, remembers the key and returns it
// decoded.
func (s *scanner) key() (name string, ok bool) {
	if s.next() != '"' {
		return "", s.fail(s.pos, "an object's key should stand here")
	}
	start := s.pos + 1
	if i := plain(s.buf, start); i < len(s.buf) && s.buf[i] == '"' {
		name = alias(s.buf[start:i])
		s.keys.add(start, i)
		s.pos = i + 1
	} else {
		if name, ok = s.text(); !ok {
			return "", false
		}
		s.keys.addDecoded(start, name)
	}
	if s.next() != ':' {
		return "", s.fail(s.pos, "a colon should follow an object's key")
	}
	s.pos++
	return name, true
}

// closeKeys ends the object whose keys began at base.
func (s *scanner) closeKeys(base int) bool {
	if at := s.keys.close(base); at >= 0 {
		return s.fail(at, "an object has this key twice")
	}
	return true
}

func (s *scanner) array(depth int) bool {
	if depth > MaxDepth {
		return s.fail(s.pos, "nested more than "+strconv.Itoa(MaxDepth)+" levels deep")
	}
	s.pos++
	if s.next() == ']' {
		s.pos++
		return true
	}
	for {
		if !s.value(depth) {
			return false
		}
		switch s.next() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return true
		default:
			return s.fail(s.pos, "a comma or ] should follow an array's element")
		}
	}
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
