package rules

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/packed"
)

// reader reads what a memoryWriter wrote, and builds nothing of what does not fit.
type reader struct {
	packed.Reader
	env    *Env
	memory *memory
	source string
}

// tables reads the places and steps, before all filters.
func (r *reader) tables() {
	m := r.memory
	m.places = make([]*place, r.Count())
	for i := range m.places {
		reached, attr := reach(r.Byte()), r.Text()
		keys := make([]string, r.Count())
		for k := range keys {
			keys[k] = r.Text()
		}
		if r.Bad || reached > reachAll || len(keys) > 0 && attr != "data" {
			r.Fail()
			return
		}
		m.places[i] = r.env.places.of(reached, attr, keys)
	}
	m.steps = make([][]patternStep, r.Count())
	for i := range m.steps {
		to := make([]*place, r.Count())
		for k := range to {
			to[k] = r.place()
		}
		if r.Bad || len(to) == 0 || len(to) > maxFields || !slices.IsSortedFunc(to, comparePaths) ||
			slices.ContainsFunc(to, func(p *place) bool { return p.reach != reachAll || p.attr != "data" }) {
			r.Fail()
			return
		}
		m.steps[i] = r.env.places.stepsTo(to)
	}
}

func (r *reader) place() *place {
	n := r.Number()
	if n >= len(r.memory.places) {
		r.Fail()
		return nil
	}
	return r.memory.places[n]
}

// node reads a condition.
func (r *reader) node(depth int) node {
	n := node{kind: nodeKind(r.Byte())}
	if depth > maxNodes || r.Bad {
		r.Fail()
		return n
	}
	switch n.kind {
	case constNode:
		n.value = r.outcome()
	case andNode, orNode, andThenNode, orElseNode, notNode, ifNode:
		k := make(kids, r.Count())
		for i := range k {
			k[i] = r.node(depth + 1)
		}
		if len(k) == 0 || len(k) > math.MaxUint16 || n.kind == notNode && len(k) != 1 || n.kind == ifNode && len(k) != 3 {
			r.Fail()
			return n
		}
		n = parent(n.kind, k...)
	case residualNode:
		n.more = r.residual(depth)
	case patternNode:
		n.more = r.pattern(depth)
	case testNode:
		r.test(&n)
	default:
		r.Fail()
	}
	return n
}

func (r *reader) outcome() outcome {
	o := outcome(r.Byte())
	if o > failure {
		r.Fail()
	}
	return o
}

// onValue reads a condition whose tests are all about one value.
func (r *reader) onValue(depth int) node {
	n := r.node(depth)
	n.walk(func(n *node) {
		if n.kind == patternNode || n.kind == residualNode || n.kind == ifNode {
			r.Fail()
		}
	})
	return n
}

func (r *reader) pattern(depth int) *pattern {
	at := r.Number()
	if at >= len(r.memory.steps) {
		r.Fail()
		return nil
	}
	steps := r.memory.steps[at]
	tests := make([]node, len(steps[0].places))
	for i := range tests {
		tests[i] = r.onValue(depth + 1)
	}
	ways := make([]way, r.Count())
	for i := range ways {
		ways[i] = way{fields: r.fields(len(tests)), needs: r.fields(len(tests))}
	}
	if r.Bad {
		return nil
	}
	p := newPattern(tests, steps)
	rare := patternRare{costs: testCosts(tests)}
	if len(ways) > 0 {
		rare.ways, rare.shadow = ways, r.node(depth+1)
	} else {
		rare.shadow = p.shadow()
	}
	if rare.ways != nil || rare.costs != nil {
		p.rare = &rare
	}
	return p
}

// fields reads some of the first most.
func (r *reader) fields(most int) (s fieldSet) {
	for i := range s {
		word, n := binary.Uvarint([]byte(r.Rest[:min(len(r.Rest), binary.MaxVarintLen64)]))
		if n <= 0 {
			r.Fail()
			return s
		}
		s[i] = word
		r.Take(n)
	}
	if all := upTo(most); !s.within(&all) {
		r.Fail()
	}
	return s
}

func (r *reader) test(n *node) {
	n.test, n.missing, n.wrong, n.place = testKind(r.Byte()), r.outcome(), r.outcome(), r.place()
	*n = n.with(r.scalar())
	if r.Bad || n.test > inNetwork {
		r.Fail()
		return
	}
	switch n.test {
	case isIn:
		in := make(operands, r.Count())
		for i := range in {
			in[i] = r.scalar()
		}
		n.more = in
	case isMatch:
		x, err := newExpression(n.text())
		if err != nil {
			r.Fail()
			return
		}
		if r.Byte() == 1 {
			x.long = r.residue()
		}
		n.more = x
	case isLike:
		n.more = r.glob()
	case inNetwork:
		network, err := netip.ParsePrefix(r.Text())
		if err != nil {
			r.Fail()
		}
		n.more = network
	}
}

func (r *reader) glob() *glob {
	g := &glob{fold: r.Byte() == 1, parts: make([]globPart, r.Count())}
	for i := range g.parts {
		pieces := make([]string, r.Count())
		for k := range pieces {
			pieces[k] = strings.Clone(r.Text())
		}
		if len(pieces) == 0 {
			r.Fail()
		}
		g.parts[i].pieces = pieces
	}
	if len(g.parts) == 0 {
		r.Fail()
	}
	return g
}

func (r *reader) residual(depth int) residual {
	switch residualKind(r.Byte()) {
	case celResidual:
		return r.residue()
	case sqlExpression:
		s := &sqlResidual{linear: r.Byte() == 1, whole: r.text(), part: r.Number(), start: r.Number(), end: r.Number()}
		if s.start > s.end || s.end > len(s.whole) {
			r.Fail()
		}
		s.expr = r.env.sqlPart(s.whole, s.part)
		return s
	case sqlNotFailing:
		return &sqlDecided{source: r.text(), node: r.node(depth + 1)}
	case numericText:
		return &numericAttribute{place: r.place(), source: r.text(), limits: r.onValue(depth + 1)}
	}
	r.Fail()
	return nil
}

func (r *reader) residue() *residue {
	part := r.Number() + wholeFilter
	return &residue{env: r.env, source: r.source, part: int32(part), linear: r.Byte() == 1}
}

func (r *reader) scalar() (s scalar) {
	s.kind = valueKind(r.Byte())
	switch s.kind {
	case missingValue, nullValue:
	case boolValue, numberValue:
		if b := r.Take(8); b != "" {
			s.num = math.Float64frombits(binary.LittleEndian.Uint64([]byte(b)))
		}
	case textValue:
		s.text = r.text()
	default:
		r.Fail()
	}
	return s
}

// text is a part of the source, or a text of its own.
func (r *reader) text() string {
	at := r.Number()
	if at == 0 {
		return strings.Clone(r.Text())
	}
	n := r.Number()
	if at-1 > len(r.source) || n > len(r.source)-(at-1) {
		r.Fail()
		return ""
	}
	return r.source[at-1 : at-1+n]
}
