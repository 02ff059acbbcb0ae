package rules

import "slices"

// claim is a condition, or a part of one, as Lint looks at it: a node with the
// place that it was written at.
type claim struct {
	kind  nodeKind
	value outcome // of a constNode
	test  *node   // of a testNode
	key   string  // of what is opaque: equal keys have equal outcomes
	kids  []*claim

	line, column int
	pointer      string
	text         string // as it was written, "" if that is not known
}

// outcomes is a set of outcomes.
type outcomes uint8

const (
	isNo      outcomes = 1 << no
	isYes     outcomes = 1 << yes
	isFailure outcomes = 1 << failure
	isAny              = isNo | isYes | isFailure
)

func (s outcomes) has(o outcome) bool { return s&(1<<o) != 0 }

func (s outcomes) not() outcomes {
	out := s & isFailure
	if s.has(no) {
		out |= isYes
	}
	if s.has(yes) {
		out |= isNo
	}
	return out
}

// assumption is that a claim has one of some outcomes.
type assumption struct {
	claim *claim
	out   outcomes
}

// logic finds out whether assumptions can hold together for any event at all.
// It errs to one side: what it calls impossible is; what would take it too long
// it calls possible.
type logic struct{ work int }

// maxLogic bounds the work on one filter.
const maxLogic = 30_000

func (l *logic) possible(all ...assumption) bool {
	return l.solve(slices.Clone(all), nil)
}

// solve takes the assumptions apart until only such about tests are left, which
// known has.
func (l *logic) solve(pending, known []assumption) bool {
	for len(pending) > 0 {
		if l.work++; l.work > maxLogic {
			return true
		}
		a := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		c := a.claim
		switch {
		case a.out == isAny:
			continue
		case a.out == 0:
			return false
		case c.kind == constNode:
			if !a.out.has(c.value) {
				return false
			}
			continue
		case c.kind == notNode:
			pending = append(slices.Clip(pending), assumption{c.kids[0], a.out.not()})
			continue
		case c.kind == testNode, c.kids == nil:
			known = append(slices.Clip(known), a)
			if !l.consistent(known, a) {
				return false
			}
			continue
		}
		for _, way := range c.ways(a.out) {
			if l.solve(append(slices.Clip(pending), way...), known) {
				return true
			}
		}
		return false
	}
	return true
}

// ways are the assumptions about the kids of which one set holds if the claim
// has one of the outcomes.
func (c *claim) ways(out outcomes) [][]assumption {
	goesOn := isYes
	switch c.kind {
	case orNode, orElseNode:
		goesOn = isNo
	case ifNode:
		ways := [][]assumption{{{c.kids[1], out}, {c.kids[0], isYes}}, {{c.kids[2], out}, {c.kids[0], isNo}}}
		if out.has(failure) {
			ways = append(ways, []assumption{{c.kids[0], isFailure}})
		}
		return ways
	}
	every := func(kids []*claim, out outcomes) []assumption {
		var all []assumption
		for _, k := range kids {
			all = append(all, assumption{k, out})
		}
		return all
	}
	var ways [][]assumption
	if c.kind == andThenNode || c.kind == orElseNode {
		if out&goesOn != 0 {
			ways = append(ways, every(c.kids, goesOn))
		}
		for i, k := range c.kids {
			if stops := out &^ goesOn; stops != 0 {
				ways = append(ways, append(every(c.kids[:i], goesOn), assumption{k, stops}))
			}
		}
		return ways
	}
	switch out {
	case goesOn, goesOn | isFailure:
		return [][]assumption{every(c.kids, out)}
	case isFailure:
		for i, k := range c.kids {
			others := every(slices.Delete(slices.Clone(c.kids), i, i+1), goesOn|isFailure)
			ways = append(ways, append(others, assumption{k, isFailure}))
		}
		return ways
	}
	for _, k := range c.kids { // one that decides, or fails where that is as good
		ways = append(ways, []assumption{{k, out &^ goesOn}})
	}
	if out&goesOn != 0 {
		ways = append(ways, every(c.kids, goesOn))
	}
	return ways
}

// consistent reports whether the assumptions about the same thing as the last
// one can hold together.
func (l *logic) consistent(known []assumption, last assumption) bool {
	together := known[:0:0]
	for _, a := range known {
		if l.work++; a.claim.about(last.claim) {
			together = append(together, a)
		}
	}
	merged := together[:0:0]
	for _, a := range together {
		same := slices.IndexFunc(merged, func(o assumption) bool { return a.claim.same(o.claim) })
		if same < 0 {
			merged = append(merged, a)
			continue
		}
		if merged[same].out &= a.out; merged[same].out == 0 {
			return false
		}
	}
	l.work += len(merged) * len(merged)
	if last.claim.key != "" {
		return true
	}
	return satisfiable(last.claim.test.place, merged)
}

// about reports whether two claims look at the same thing.
func (c *claim) about(o *claim) bool {
	if c.key != "" || o.key != "" {
		return c.key == o.key
	}
	return c.test.place == o.test.place
}

// same reports whether two claims always have the same outcome. Expressions,
// globs and networks are compared by their text.
func (c *claim) same(o *claim) bool {
	if c.key != "" || o.key != "" {
		return c.key == o.key
	}
	a, b := c.test, o.test
	return a.place == b.place && a.test == b.test && a.missing == b.missing && a.wrong == b.wrong &&
		a.operand == b.operand && a.num() == b.num() && a.text() == b.text() && a.sameMore(b)
}

func (n *node) sameMore(o *node) bool {
	switch x := n.more.(type) {
	case operands:
		y, ok := o.more.(operands)
		return ok && slices.Equal(x, y)
	case *expression:
		y, ok := o.more.(*expression)
		return ok && x.re.String() == y.re.String()
	case *glob:
		y, ok := o.more.(*glob)
		return ok && x.fold == y.fold && slices.EqualFunc(x.parts, y.parts, func(p, q globPart) bool { return slices.Equal(p.pieces, q.pieces) })
	}
	return n.more == o.more
}
