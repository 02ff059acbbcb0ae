package rules

import (
	"math"
	"sync"
	"unsafe"
)

// outcome is what a condition says of an event. A failure stands until
// something decides without it, as in CEL.
type outcome uint8

const (
	no outcome = iota
	yes
	failure
)

func outcomeOf(b bool) outcome {
	if b {
		return yes
	}
	return no
}

func (o outcome) not() outcome {
	switch o {
	case no:
		return yes
	case yes:
		return no
	}
	return failure
}

// nodeKind is how the parts of a condition make it up.
type nodeKind uint8

const (
	constNode    nodeKind = iota // value is the outcome
	andNode                      // a kid that says no decides, wherever it stands
	orNode                       // a kid that says yes decides
	andThenNode                  // left to right: the first kid that does not say yes decides
	orElseNode                   // left to right: the first kid that does not say no decides
	notNode                      // one kid
	ifNode                       // kids: condition, then, else
	testNode                     // compares the value at a place
	patternNode                  // more is a *pattern, on the event's data
	residualNode                 // more is a residual
	codeNode                     // more is a *codeFrame; the condition is in the code of the filter's record
)

// node is a condition, or a part of one: what filters of every dialect are
// compiled to. The dialects differ in what a test says when there is no value,
// or one of another type. A node never changes, so it is safe for concurrent
// use. It is small, for a bus may have 100,000 rules.
type node struct {
	kind    nodeKind
	test    testKind
	value   outcome   // of a constNode
	missing outcome   // of a testNode when there is no value at its place
	wrong   outcome   // of a testNode when the value has a type that the test is not for
	operand valueKind // of the literal of a testNode: its type, with num or text
	count   uint16    // of kids
	bits    uint64    // of num, or how long text is
	place   *place
	more    any // the first of the kids, the first byte of text, operands, *glob, *expression, netip.Prefix, *pattern or residual
}

// num is the literal that is a number, or true (1) or false; else 0.
func (n *node) num() float64 {
	if n.operand == textValue {
		return 0
	}
	return math.Float64frombits(n.bits)
}

// text is the literal that is a text, else "". A glob or a network has none.
func (n *node) text() string {
	switch more := n.more.(type) {
	case *byte:
		return unsafe.String(more, n.bits)
	case *expression:
		return more.re.String()
	}
	return ""
}

// literal is what a test compares with.
func (n *node) literal() scalar { return scalar{n.operand, n.num(), n.text()} }

// with is the test with a literal.
func (n node) with(s scalar) node {
	n.operand, n.bits, n.more = s.kind, math.Float64bits(s.num), nil
	if s.text != "" {
		n.bits, n.more = uint64(len(s.text)), unsafe.StringData(s.text)
	}
	return n
}

// kids are the parts of an and, or, not or if.
type kids []node

// parent is a condition of several others. It keeps its own copy of them when
// their slice has room to spare.
func parent(kind nodeKind, k ...node) node {
	if len(k) == 0 {
		return node{kind: kind}
	}
	if cap(k) > len(k) {
		k = append(make(kids, 0, len(k)), k...)
	}
	return node{kind: kind, count: uint16(len(k)), more: &k[0]}
}

// nodeSlab gives room for conditions that are compiled one after the other, one
// after the other: a set with many filters goes through them in turn. A filter
// keeps what is beside it from being freed, but that is little.
type nodeSlab struct {
	mu   sync.Mutex
	rest []node
}

func (s *nodeSlab) next(n int) []node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > len(s.rest) {
		if n > slabNodes/4 {
			return make([]node, 0, n)
		}
		s.rest = make([]node, slabNodes)
	}
	room := s.rest[:0:n]
	s.rest = s.rest[n:]
	return room
}

// slabNodes fill 8 KiB, a size of which nothing is wasted.
const slabNodes = 204

// together is a copy of the condition that stands in one piece of memory, level by
// level.
func (n *node) together(room *nodeSlab) *node {
	total := 0
	n.walk(func(*node) { total++ })
	all := append(room.next(total), *n)
	for i := 0; i < len(all); i++ {
		if k := all[i].kids(); len(k) > 0 {
			all = append(all, k...)
			all[i].more = &all[len(all)-len(k)]
		}
	}
	return &all[0]
}

// residual is what only a dialect's own evaluator can say.
type residual interface {
	// test evaluates the expression on the view's event. An error is a failure.
	test(v *view) (bool, error)
	// text is the expression, as it was written or as near as it gets.
	text() string
	// straight reports whether it takes time at most linear in the event.
	straight() bool
}

func (n *node) kids() kids {
	if n.count == 0 {
		return nil
	}
	return unsafe.Slice(n.more.(*node), n.count)
}

// eval evaluates the condition. Residuals are asked last where their order does
// not matter, for they cost most.
func (n *node) eval(v *view) outcome {
	switch n.kind {
	case constNode:
		return n.value
	case andNode:
		return n.evalKids(v, no)
	case orNode:
		return n.evalKids(v, yes)
	case andThenNode:
		return n.evalInTurn(v, yes)
	case orElseNode:
		return n.evalInTurn(v, no)
	case notNode:
		return n.kids()[0].eval(v).not()
	case ifNode:
		k := n.kids()
		switch k[0].eval(v) {
		case yes:
			return k[1].eval(v)
		case no:
			return k[2].eval(v)
		}
		return failure
	case testNode:
		return n.evalOn(v, v.at(n.place))
	case patternNode:
		return n.more.(*pattern).eval(v)
	}
	return v.ask(n.more.(residual))
}

// evalOn evaluates a test on the value at its place.
func (n *node) evalOn(v *view, x *value) outcome {
	switch {
	case n.test == exists && x.kind == missingValue:
		return n.place.absent(v, n.missing)
	case n.test == isMatch && x.kind == textValue && n.more.(*expression).takesLong(x.text):
		return n.matchLong(v)
	}
	return n.check(x)
}

// ask evaluates a residual and remembers how it failed, for to ask it again
// would cost its budget again.
func (v *view) ask(r residual) outcome {
	ok, err := r.test(v)
	if err != nil {
		v.failed, v.failure = r, err
		return failure
	}
	return outcomeOf(ok)
}

func (n *node) matchLong(v *view) outcome {
	if long := n.more.(*expression).long; long != nil {
		return v.ask(long)
	}
	return failure
}

// evalKids evaluates a conjunction or disjunction, which one kid decides.
func (n *node) evalKids(v *view, decides outcome) outcome {
	out := decides.not()
	k := n.kids()
	for i := range k {
		switch k[i].eval(v) {
		case decides:
			return decides
		case failure:
			out = failure
		}
	}
	return out
}

// evalInTurn asks the kids in turn while they say what lets the next be asked.
func (n *node) evalInTurn(v *view, goOn outcome) outcome {
	k := n.kids()
	for i := range k {
		if o := k[i].eval(v); o != goOn {
			return o
		}
	}
	return goOn
}

// on evaluates a condition whose tests are all about the value x, wherever
// that stands: it has no patterns, residuals or ifs.
func (n *node) on(x *value) outcome {
	switch n.kind {
	case constNode:
		return n.value
	case notNode:
		return n.kids()[0].on(x).not()
	case testNode:
		return n.check(x)
	}
	decides := no
	if n.kind == orNode || n.kind == orElseNode {
		decides = yes
	}
	out := decides.not()
	k := n.kids()
	for i := range k {
		switch k[i].on(x) {
		case decides:
			return decides
		case failure:
			out = failure
		}
	}
	return out
}

// residuals appends those in the condition.
func (n *node) residuals(dst []residual) []residual {
	n.walk(func(n *node) {
		if n.kind == residualNode {
			dst = append(dst, n.more.(residual))
		}
	})
	return dst
}

// walk calls f for each node of the condition, itself first.
func (n *node) walk(f func(n *node)) {
	f(n)
	k := n.kids()
	for i := range k {
		k[i].walk(f)
	}
}
