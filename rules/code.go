package rules

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"unsafe"
)

// code is a condition of tests of short literals, written into one piece of
// memory. It is what most filters are: a third of the size of the nodes that it
// was made of, and next to each other, so that to evaluate a filter that no cache
// holds reads one or two lines of memory. Residuals, expressions, globs, and
// patterns with more to them than fields, have none; filters with those keep their
// nodes.
//
// A part begins with its kind, or for a test with testCode and the kind of the
// test. What follows is, of a constant, its outcome; of several parts, their
// length and themselves, of a pattern their number before and a length before
// each; of a test, its outcomes and the type of its literal, the
// id of its place, and the literal, of isIn their number and literals with a type
// each.
type code string

// testCode is added to the kinds of tests.
const testCode = byte(codeNode) + 1

// codeMost bounds the code of a filter. One that is longer keeps its nodes.
const codeMost = 4 << 10

// patternTests is how many fields a pattern has at most that has code.
const patternTests = 16

// codeFrame is what codes have in common. Filters of one kind share it.
type codeFrame struct {
	node   node          // the codeNode of it
	places []*place      // of tests, so that their ids stay theirs
	steps  []patternStep // of the pattern, if there is one
}

// codeFrames are those that were asked for lately, for most filters look at the
// same places as others do.
type codeFrames struct {
	mu   sync.Mutex
	seen [64]*codeFrame
}

// of is a frame with the places and steps of another.
func (s *codeFrames) of(f *codeFrame) *codeFrame {
	at := uint32(0)
	for _, p := range f.places {
		at = at*31 + uint32(p.id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := &s.seen[at%uint32(len(s.seen))]
	if *seen == nil || !slices.Equal((*seen).places, f.places) || unsafe.SliceData((*seen).steps) != unsafe.SliceData(f.steps) {
		*seen = &codeFrame{places: slices.Clone(f.places), steps: f.steps}
		(*seen).node = node{kind: codeNode, more: *seen}
	}
	return *seen
}

// encode is the code of a condition, and its frame; ok is false if it has none.
func (n *node) encode() (c code, f codeFrame, ok bool) {
	b, ok := f.append(make([]byte, 0, 128), n)
	return code(b), f, ok && len(b) <= codeMost
}

func (f *codeFrame) append(dst []byte, n *node) (_ []byte, ok bool) {
	switch n.kind {
	case constNode:
		return append(dst, byte(n.kind), byte(n.value)), true
	case andNode, orNode, andThenNode, orElseNode, notNode, ifNode:
		var parts []byte
		for i := range n.kids() {
			if parts, ok = f.append(parts, &n.kids()[i]); !ok {
				return nil, false
			}
		}
		return appendBytes(append(dst, byte(n.kind)), parts), true
	case patternNode:
		p := n.more.(*pattern)
		if p.rare != nil || p.testing > patternTests || f.steps != nil {
			return nil, false
		}
		f.steps = p.steps()
		return f.appendPattern(append(dst, byte(n.kind)), p)
	case testNode:
		return f.appendTest(dst, n)
	}
	return nil, false
}

func (f *codeFrame) appendPattern(dst []byte, p *pattern) (_ []byte, ok bool) {
	parts := []byte{byte(p.testing)}
	for i := range p.tests() {
		var test []byte
		if test, ok = f.append(nil, &p.tests()[i]); !ok {
			return nil, false
		}
		parts = appendBytes(parts, test)
	}
	return appendBytes(dst, parts), true
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func (f *codeFrame) appendTest(dst []byte, n *node) (_ []byte, ok bool) {
	if n.test == isLike || n.test == isMatch || n.test == inNetwork {
		return nil, false
	}
	if !slices.Contains(f.places, n.place) {
		f.places = append(f.places, n.place)
	}
	dst = append(dst, testCode+byte(n.test), byte(n.missing)|byte(n.wrong)<<2|byte(n.operand)<<4)
	dst = binary.AppendUvarint(dst, uint64(n.place.id))
	if n.test != isIn {
		return appendLiteral(dst, n.literal()), true
	}
	in := n.more.(operands)
	if len(in) > manyOperands { // which are not looked at one by one
		return nil, false
	}
	dst = append(dst, byte(len(in)))
	for _, o := range in {
		dst = appendLiteral(append(dst, byte(o.kind)), o)
	}
	return dst, true
}

func appendLiteral(dst []byte, s scalar) []byte {
	switch s.kind {
	case boolValue, numberValue:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.num))
	case textValue:
		return append(binary.AppendUvarint(dst, uint64(len(s.text))), s.text...)
	}
	return dst
}

// number is the one at i, and where it ends.
func (c code) number(i int) (x uint32, end int) {
	if b := c[i]; b < 0x80 {
		return uint32(b), i + 1
	}
	return c.longNumber(i)
}

func (c code) longNumber(i int) (x uint32, end int) {
	for shift := 0; ; shift += 7 {
		b := c[i]
		i++
		if x |= uint32(b&0x7f) << shift; b < 0x80 {
			return x, i
		}
	}
}

// literal is the one at i, and where it ends.
func (c code) literal(kind valueKind, i int) (s scalar, end int) {
	s.kind = kind
	switch kind {
	case boolValue, numberValue:
		s.num = math.Float64frombits(load(string(c[i:])))
		return s, i + 8
	case textValue:
		n, i := c.number(i)
		end = i + int(n)
		s.text = string(c[i:end])
		return s, end
	}
	return s, i
}

// equals reports whether a value is the literal at i, and where that ends.
func (c code) equals(x *value, kind valueKind, i int) (same bool, end int) {
	switch kind {
	case boolValue, numberValue:
		return x.kind == kind && x.num == math.Float64frombits(load(string(c[i:]))), i + 8
	case textValue:
		n, i := c.number(i)
		end = i + int(n)
		return x.kind == textValue && x.text == string(c[i:end]), end
	}
	return x.kind == kind, i
}

// among reports whether a value is one of the literals at i, and where these end.
func (c code) among(x *value, i int) (found bool, end int) {
	count := c[i]
	i++
	for range count {
		var same bool
		same, i = c.equals(x, valueKind(c[i]), i+1)
		found = found || same
	}
	return found, i
}

// test reads what comes before the literal of the one at i.
func (c code) test(i int, t *literalTest) (place int32, end int) {
	outcomes := c[i+1]
	t.test, t.missing, t.wrong, t.operand = testKind(c[i]-testCode), outcome(outcomes&3), outcome(outcomes>>2&3), valueKind(outcomes>>4)
	id, end := c.number(i + 2)
	return int32(id), end
}

// skip is the end of the part at i.
func (c code) skip(i int) int {
	switch kind := c[i]; {
	case kind >= testCode:
		var t literalTest
		_, i = c.test(i, &t)
		if t.test == isIn {
			_, i = c.among(&value{}, i)
		} else {
			_, i = c.literal(t.operand, i)
		}
		return i
	case nodeKind(kind) == constNode:
		return i + 2
	}
	size, i := c.number(i + 1)
	return i + int(size)
}

// weight is that of the test of a pattern at i, as that of a node is.
func (c code) weight(i, length int) (steps int) {
	switch {
	case c[i] == testCode+byte(contains):
		return 4 + length/16
	case c[i] >= testCode || nodeKind(c[i]) == constNode:
		return 4
	}
	size, i := c.number(i + 1)
	steps = 1
	for end := i + int(size); i < end; i = c.skip(i) {
		steps += c.weight(i, length)
	}
	return steps
}

// evalCode evaluates the part at i, and says where it ends. With x its tests are
// about that value, wherever it stands.
func (v *view) evalCode(c code, i int, f *codeFrame, x *value) (o outcome, end int) {
	if c[i] >= testCode {
		return v.testCode(c, i, f, x)
	}
	kind := nodeKind(c[i])
	if kind == constNode {
		return outcome(c[i+1]), i + 2
	}
	size, i := c.number(i + 1)
	end = i + int(size)
	switch kind {
	case patternNode:
		w := patternWalk{steps: f.steps, code: c, frame: f, testing: int32(c[i])}
		i++
		for j := range w.testing {
			size, i = c.number(i)
			w.at[j] = uint16(i)
			i += int(size)
		}
		return w.eval(v), end
	case notNode:
		o, _ = v.evalCode(c, i, f, x)
		return o.not(), end
	case ifNode:
		o, i = v.evalCode(c, i, f, x)
		switch o {
		case failure:
			return o, end
		case no:
			i = c.skip(i)
		}
		o, _ = v.evalCode(c, i, f, x)
		return o, end
	}
	decides, inTurn := no, kind == andThenNode || kind == orElseNode
	if kind == orNode || kind == orElseNode {
		decides = yes
	}
	out := decides.not()
	for i < end {
		if c[i] >= testCode {
			o, i = v.testCode(c, i, f, x)
		} else {
			o, i = v.evalCode(c, i, f, x)
		}
		switch {
		case o == decides || o == failure && inTurn:
			return o, end
		case o == failure:
			out = failure
		}
	}
	return out, end
}

func (v *view) testCode(c code, i int, f *codeFrame, x *value) (o outcome, end int) {
	var t literalTest
	id, i := c.test(i, &t)
	absent := x == nil // is for the place to say
	if x == nil {
		x = v.atID(id, f)
	}
	var same bool
	switch t.test {
	case equals:
		same, end = c.equals(x, t.operand, i)
	case isIn:
		same, end = c.among(x, i)
	default:
		var lit scalar
		lit, end = c.literal(t.operand, i)
		if absent && t.test == exists && x.kind == missingValue {
			return f.place(id).absent(v, t.missing), end
		}
		t.num, t.text = lit.num, lit.text
		return t.check(x), end
	}
	if x.kind == missingValue {
		return t.missing, end
	}
	return outcomeOf(same), end
}

// atID is the value at a place, by its id.
func (v *view) atID(id int32, f *codeFrame) *value {
	if s := &v.seen; s.slots != nil {
		if i := s.slots.ofID(id); i >= 0 {
			return v.slot(i)
		}
	}
	return v.at(f.place(id))
}

func (f *codeFrame) place(id int32) *place {
	return f.places[slices.IndexFunc(f.places, func(p *place) bool { return p.id == id })]
}

// nodes is the condition of the code.
func (f *codeFrame) nodes(c code) *node {
	n, _ := f.part(c, 0)
	return &n
}

func (f *codeFrame) part(c code, i int) (n node, end int) {
	kind := nodeKind(c[i])
	switch {
	case c[i] >= testCode:
		return f.test(c, i)
	case kind == constNode:
		return node{kind: kind, value: outcome(c[i+1])}, i + 2
	}
	size, i := c.number(i + 1)
	end = i + int(size)
	var k kids
	if kind == patternNode {
		k = make(kids, 0, c[i])
		i++
	} else {
		parts := 0
		for at := i; at < end; at = c.skip(at) {
			parts++
		}
		k = make(kids, 0, parts)
	}
	for i < end {
		if kind == patternNode {
			_, i = c.number(i)
		}
		var kid node
		kid, i = f.part(c, i)
		k = append(k, kid)
	}
	if kind == patternNode {
		return node{kind: kind, more: newPattern(k, f.steps)}, end
	}
	return parent(kind, k...), end
}

func (f *codeFrame) test(c code, i int) (n node, end int) {
	var t literalTest
	id, i := c.test(i, &t)
	n = node{kind: testNode, test: t.test, missing: t.missing, wrong: t.wrong, place: f.place(id)}
	if n.test != isIn {
		lit, end := c.literal(t.operand, i)
		return n.with(lit), end
	}
	in := make(operands, c[i])
	i++
	for j := range in {
		in[j], i = c.literal(valueKind(c[i]), i+1)
	}
	n.more = in
	return n, i
}
