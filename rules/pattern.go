package rules

import (
	"math/bits"
	"unsafe"
)

// pattern is what an event pattern says of the data. It never changes, so it
// is safe for concurrent use.
//
// # The language
//
// A pattern is a JSON object. Its key detail is the event's data, detail-type
// its type, and every other key on the top is the name of an attribute. Below
// detail, keys are those of the data; a key with dots is a path, in patterns
// and in events. A field has a list of alternatives, one of which holds for a
// value of the field; all fields hold, but of the objects in an "$or" one.
// An alternative is a text, a number, true, false or null, which equals the
// value, or an object with one operator, which operators lists.
//
// Arrays stand for their elements, at any depth. What fields ask of an array of
// objects holds for one and the same of its elements, and {"exists": false} is
// asked of that element; when no other field chooses one, of all. Only texts,
// numbers, true, false and null are values: a field whose value is an object or
// an empty array does not exist. Data that is itself an array does not match
// (events of EventBridge are objects); data that is text or a number is
// reached by {"detail": [...]}. Numbers are compared as doubles.
//
// An attribute is compared as text, in its canonical form, whether or not it
// was published with a type: an extension loses its type over HTTP in binary
// mode, which must not change what matches. So 5, 5.0 and "5" in a pattern are
// one there, as are true and "true", and numeric reads the text as a number.
type pattern struct {
	test    *node        // the first of tests
	step    *patternStep // the first of steps
	testing int32        // how many tests there are
	leading int32        // how many steps
	rare    *patternRare // nil when all fields hold together, need a value and are quick to test
}

// shadow is a condition that holds for every event that the pattern matches. It
// is about the values of its places (reachAll), of which one has to do; it says
// nothing of which element of an array they come from.
func (p *pattern) shadow() node {
	switch {
	case p.rare != nil:
		return p.rare.shadow
	case p.testing == 1:
		return *p.test
	}
	return node{kind: andNode, count: uint16(p.testing), more: p.test}
}

// newPattern makes one of fields that all hold.
func newPattern(tests []node, steps []patternStep) *pattern {
	return &pattern{test: &tests[0], testing: int32(len(tests)), step: &steps[0], leading: int32(len(steps))}
}

// tests are of fields, on one value, in the order of their paths.
func (p *pattern) tests() []node { return unsafe.Slice(p.test, p.testing) }

// steps are the way to the fields. The first is the data; patterns of the same
// paths share them.
func (p *pattern) steps() []patternStep { return unsafe.Slice(p.step, p.leading) }

// patternRare is what few patterns have.
type patternRare struct {
	ways  []way   // nil for all fields, which need a value
	costs []int32 // of tests that take long, by number; nil when none does
	// shadow is the pattern's.
	shadow node
}

// way is one of the combinations that an $or makes: fields that hold together.
type way struct {
	fields fieldSet
	needs  fieldSet // those that want a value
}

// patternStep is a place on the way to fields. The fields at it and below are from
// first to last, those at it before own.
type patternStep struct {
	first, own, last int32
	names            []string // in order
	next             []int32
	places           []*place // of the first step: all that are led to, whose ids name the steps
}

// fieldSet has the fields of a pattern, by number.
type fieldSet [maxFields / 64]uint64

func (s *fieldSet) add(i int32) { s[i/64] |= 1 << (i % 64) }

// upTo is the first n fields.
func upTo(n int) (s fieldSet) {
	for i := range s {
		switch left := n - i*64; {
		case left >= 64:
			s[i] = ^uint64(0)
		case left > 0:
			s[i] = 1<<left - 1
		}
	}
	return s
}

func (s *fieldSet) has(i int32) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s *fieldSet) union(o *fieldSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

// within reports whether all of s are in o.
func (s *fieldSet) within(o *fieldSet) bool {
	for i := range s {
		if s[i]&^o[i] != 0 {
			return false
		}
	}
	return true
}

// mask has the bits of word i that are of fields from first to last.
func mask(i, first, last int32) uint64 {
	m := ^uint64(0)
	if i == first/64 {
		m <<= first % 64
	}
	if rest := last - i*64; rest < 64 {
		m &= 1<<rest - 1
	}
	return m
}

// count is how many there are from first to last.
func (s *fieldSet) count(first, last int32) int {
	n := 0
	for i := first / 64; i*64 < last; i++ {
		n += bits.OnesCount64(s[i] & mask(i, first, last))
	}
	return n
}
