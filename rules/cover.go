package rules

import (
	"hash/maphash"
	"math"
	"regexp/syntax"
)

// anchorKind is how an index finds the filters of an anchor.
type anchorKind uint8

const (
	anchorValue    anchorKind = iota // the value is equal
	anchorFold                       // the text is equal but for upper and lower case
	anchorMember                     // a list has the element, or a map the key
	anchorPrefix                     // the text begins with it
	anchorSuffix                     // the text ends with it
	anchorContains                   // the text contains it
	anchorRange                      // a number from low to high, both included
	anchorPresent                    // there is a value
)

// anchor is something simple that holds for every event that a filter matches,
// or one of a few such things of which one does. It may hold for others too.
type anchor struct {
	kind      anchorKind
	place     *place
	value     scalar
	low, high float64
}

// cover is anchors of which one holds wherever a condition has an outcome.
// Without anchors there is no such event; known is false when nothing simple
// is known.
type cover struct {
	anchors []anchor
	known   bool
}

const (
	// maxAlternatives bounds the anchors of one filter.
	maxAlternatives = 32
	// maxAffix is how much of a prefix or suffix an anchor has.
	maxAffix = 48
)

// costs say how many filters an anchor brings up, about.
type costs interface {
	of(a *anchor) float64
}

func (c cover) cost(by costs) float64 {
	if !c.known {
		return math.Inf(1)
	}
	sum := 0.0
	for i := range c.anchors {
		sum += by.of(&c.anchors[i])
	}
	return sum
}

// mayRepeat reports whether several of the anchors may hold for one event, or one
// of them for several of its values.
func (c cover) mayRepeat() bool {
	for i := range c.anchors {
		a := &c.anchors[i]
		if a.kind == anchorMember || a.kind == anchorContains || a.place.reach == reachAll ||
			len(c.anchors) > 1 && (a.kind != anchorValue || a.place != c.anchors[0].place) {
			return true
		}
	}
	return false
}

func cheaper(a, b cover, by costs) cover {
	if a.cost(by) <= b.cost(by) {
		return a
	}
	return b
}

func union(a, b cover) cover {
	if !a.known || !b.known || len(a.anchors)+len(b.anchors) > maxAlternatives {
		return cover{}
	}
	return cover{append(a.anchors[:len(a.anchors):len(a.anchors)], b.anchors...), true}
}

func single(a anchor) cover { return cover{[]anchor{a}, true} }

// cover finds the cheapest anchors for where the condition says yes.
func (n *node) cover(by costs) cover {
	c, _ := n.covers(by, true, false)
	return c
}

// covers finds the cheapest anchors for where the condition says yes, and those
// for where it says no, as far as they are wanted.
func (n *node) covers(by costs, wantYes, wantNo bool) (onYes, onNo cover) {
	switch n.kind {
	case constNode:
		return cover{known: n.value != yes}, cover{known: n.value != no}
	case testNode:
		if wantYes {
			onYes = n.coverTest(by)
		}
		if wantNo {
			onNo = n.coverOpposite()
		}
		return onYes, onNo
	case patternNode:
		shadow := n.more.(*pattern).shadow()
		return shadow.cover(by), cover{}
	case residualNode:
		return cover{}, cover{}
	case notNode:
		onNo, onYes = n.kids()[0].covers(by, wantNo, wantYes)
		return onYes, onNo
	}
	k := n.kids()
	yeses, noes := make([]cover, len(k)), make([]cover, len(k))
	for i := range k {
		both := n.kind == ifNode && i == 0
		yeses[i], noes[i] = k[i].covers(by, wantYes || both, wantNo || both)
	}
	switch n.kind {
	case andNode, andThenNode:
		if wantYes {
			onYes = k.coverAll(yeses, by)
		}
		if wantNo {
			onNo = coverOne(noes)
		}
		return onYes, onNo
	case orNode, orElseNode:
		if wantYes {
			onYes = coverOne(yeses)
		}
		if wantNo {
			onNo = k.coverAll(noes, by)
		}
		return onYes, onNo
	}
	return union(cheaper(yeses[0], yeses[1], by), cheaper(noes[0], yeses[2], by)),
		union(cheaper(yeses[0], noes[1], by), cheaper(noes[0], noes[2], by))
}

// coverOne covers where one of the kids has the outcome.
func coverOne(covers []cover) cover {
	c := covers[0]
	for _, other := range covers[1:] {
		c = union(c, other)
	}
	return c
}

// coverAll is the cheapest of the covers of kids that all have the outcome.
// Limits of one number are brought together.
func (k kids) coverAll(covers []cover, by costs) cover {
	var best cover
	var limits []anchor
	for _, c := range covers {
		if len(c.anchors) == 1 && c.anchors[0].kind == anchorRange {
			a := c.anchors[0]
			for _, other := range limits {
				if other.place == a.place && (a.place.reach != reachAll || k.testOnly(a.place)) {
					a.low, a.high = max(a.low, other.low), min(a.high, other.high)
				}
			}
			limits = append(limits, a)
			c = single(a)
		}
		best = cheaper(c, best, by)
	}
	return best
}

// testOnly reports whether all kids are tests at one place, so that what a
// pattern asks of it they ask of the same value.
func (k kids) testOnly(p *place) bool {
	for i := range k {
		if k[i].kind != testNode || k[i].place != p {
			return false
		}
	}
	return true
}

// coverTest is the anchors of a test that says yes.
func (n *node) coverTest(by costs) cover {
	if n.missing == yes || n.wrong == yes {
		return cover{}
	}
	a := anchor{place: n.place, value: n.literal()}
	present := single(anchor{kind: anchorPresent, place: n.place})
	switch n.test {
	case equals:
		return single(a.normal())
	case isTrue:
		a.value = scalar{kind: boolValue, num: 1}
		return single(a)
	case isIn:
		in := n.more.(operands)
		if len(in) > maxAlternatives {
			return present
		}
		c := cover{known: true}
		for _, o := range in {
			a.value = o
			c.anchors = append(c.anchors, a.normal())
		}
		return c
	case hasMember:
		a.kind = anchorMember
		return single(a.normal())
	case less, atMost, greater, atLeast:
		return n.coverRange(n.test)
	case equalsFold:
		a.kind, a.value.text = anchorFold, string(foldKey(nil, n.text()))
		return single(a)
	case hasPrefix, hasSuffix, contains:
		return single(affix(n.place, n.test, n.text()))
	case isLike, isMatch:
		for _, literal := range n.literals() {
			present = cheaper(single(literal), present, by)
		}
	}
	return present
}

// literals are the anchors of texts that a value has to have parts of, to be
// like a glob or to match an expression: each by itself holds.
func (n *node) literals() []anchor {
	switch n.test {
	case isLike:
		return n.more.(*glob).literals(n.place)
	case isMatch:
		return n.more.(*expression).literals(n.place)
	}
	return nil
}

// coverOpposite is the anchors of a test that says no. Where no is what it says
// without a value, there are none.
func (n *node) coverOpposite() cover {
	if n.missing == no {
		return cover{}
	}
	if n.place.reach != reachAll && n.wrong != no {
		switch n.test {
		case less:
			return n.coverRange(atLeast)
		case atMost:
			return n.coverRange(greater)
		case greater:
			return n.coverRange(atMost)
		case atLeast:
			return n.coverRange(less)
		}
	}
	if n.test == exists {
		return cover{}
	}
	return single(anchor{kind: anchorPresent, place: n.place})
}

func (n *node) coverRange(k testKind) cover {
	a := anchor{place: n.place, kind: anchorPresent}
	if n.operand == numberValue {
		a.kind, a.low, a.high = anchorRange, math.Inf(-1), math.Inf(1)
		if k == less || k == atMost {
			a.high = n.num()
		} else {
			a.low = n.num()
		}
	}
	return single(a)
}

// normal makes the two zeros one.
func (a anchor) normal() anchor {
	a.value.num += 0
	return a
}

// affix is the anchor of text that a value begins with, ends with or contains.
func affix(p *place, k testKind, text string) anchor {
	a := anchor{place: p, value: scalar{kind: textValue}}
	switch {
	case text == "":
		return anchor{kind: anchorPresent, place: p}
	case k == hasPrefix:
		a.kind, a.value.text = anchorPrefix, text[:min(len(text), maxAffix)]
	case k == hasSuffix:
		a.kind, a.value.text = anchorSuffix, text[max(len(text)-maxAffix, 0):]
	default:
		a.kind, a.value.text = anchorContains, text
	}
	return a
}

func (g *glob) literals(p *place) (list []anchor) {
	if g.fold {
		return nil
	}
	last := len(g.parts) - 1
	for i := range g.parts {
		pieces := g.parts[i].pieces
		for j, piece := range pieces {
			kind := contains
			switch {
			case piece == "":
				continue
			case i == 0 && j == 0:
				kind = hasPrefix
			case i == last && j == len(pieces)-1:
				kind = hasSuffix
			}
			list = append(list, affix(p, kind, piece))
		}
	}
	return list
}

func (x *expression) literals(p *place) (list []anchor) {
	re, err := syntax.Parse(x.re.String(), syntax.Perl)
	if err != nil {
		return nil
	}
	parts := []*syntax.Regexp{re.Simplify()}
	if parts[0].Op == syntax.OpConcat {
		parts = parts[0].Sub
	}
	for i, part := range parts {
		for part.Op == syntax.OpCapture || part.Op == syntax.OpPlus {
			part = part.Sub[0]
		}
		if part.Op != syntax.OpLiteral || part.Flags&syntax.FoldCase != 0 {
			continue
		}
		kind := contains
		switch {
		case i == 1 && parts[0].Op == syntax.OpBeginText:
			kind = hasPrefix
		case i == len(parts)-2 && parts[i+1].Op == syntax.OpEndText:
			kind = hasSuffix
		}
		list = append(list, affix(p, kind, string(part.Rune)))
	}
	return list
}

// census counts how many filters may have an anchor.
type census struct {
	exact  map[uint64]int32 // by their hashes, which are smaller
	ranges map[*place]int32
	all    map[*place]int32
}

// counting takes all anchors for one, so that covers are not narrowed by it.
type counting struct{}

func (counting) of(*anchor) float64 { return 1 }

// newCensus is for as many filters.
func newCensus(filters int) *census {
	return &census{exact: make(map[uint64]int32, filters), ranges: map[*place]int32{}, all: map[*place]int32{}}
}

func (c *census) add(n *node) {
	n.walk(func(n *node) {
		if n.kind == patternNode {
			shadow := n.more.(*pattern).shadow()
			c.add(&shadow)
		}
		if n.kind != testNode {
			return
		}
		c.all[n.place]++
		for _, a := range n.literals() {
			c.exact[a.hash()]++
		}
		if n.test == isLike || n.test == isMatch {
			return
		}
		for _, a := range n.coverTest(counting{}).anchors {
			switch a.kind {
			case anchorRange:
				c.ranges[a.place]++
			case anchorPresent:
			default:
				c.exact[a.hash()]++
			}
		}
	})
}

// hash tells anchors with a value apart.
func (a *anchor) hash() uint64 {
	h := uint64(a.place.id)<<16 | uint64(a.kind)<<8 | uint64(a.value.kind)
	if a.value.kind == textValue {
		return mix(h) ^ maphash.String(hashSeed, a.value.text)
	}
	return mix(mix(h) ^ math.Float64bits(a.value.num+0))
}

// of weighs an anchor by the filters that it brings up, and by what it costs to
// look for it.
func (c *census) of(a *anchor) float64 {
	switch a.kind {
	case anchorValue:
		return float64(c.exact[a.hash()])
	case anchorMember, anchorPrefix, anchorSuffix, anchorFold:
		return float64(c.exact[a.hash()]) + 1
	case anchorContains:
		return float64(max(c.exact[a.hash()], 1)) + 4
	case anchorRange:
		if math.IsInf(a.low, 0) || math.IsInf(a.high, 0) {
			return float64(c.ranges[a.place])/2 + 2
		}
		return float64(c.ranges[a.place])/64 + 2
	}
	return float64(c.all[a.place]) + 64
}
