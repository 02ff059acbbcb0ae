package rules

import "slices"

// decided is the condition with no in place of a failure, as sql is under not:
// there the difference shows. source is the expression.
func (n *node) decided(source string) node {
	if !n.canFail() {
		return *n
	}
	switch n.kind {
	case testNode:
		return n.failing(no)
	case notNode: // what fails must say yes within it
		if kid := n.kids()[0]; kid.kind == testNode {
			return not(kid.failing(yes))
		}
	case andThenNode, andNode:
		return n.decideKids(source)
	case orElseNode:
		// A part that fails keeps those after it from being asked.
		k := n.kids()
		if !slices.ContainsFunc(k[:len(k)-1], func(kid node) bool { return kid.canFail() }) {
			return n.decideKids(source)
		}
	}
	return node{kind: residualNode, more: &sqlDecided{*n, source}}
}

func (n *node) decideKids(source string) node {
	k := slices.Clone(n.kids())
	for i := range k {
		k[i] = k[i].decided(source)
	}
	return parent(n.kind, k...)
}

// failing is a test that says o where it would fail.
func (n *node) failing(o outcome) node {
	t := *n
	if t.missing == failure {
		t.missing = o
	}
	if t.wrong == failure {
		t.wrong = o
	}
	return t
}

// canFail reports whether the condition of an SQL expression fails on any event.
func (n *node) canFail() bool {
	fails := false
	n.walk(func(n *node) {
		switch n.kind {
		case constNode:
			fails = fails || n.value == failure
		case testNode:
			always := required(n.place.attr) && n.test != isTrue
			fails = fails || !always && (n.missing == failure || n.wrong == failure)
		case residualNode:
			fails = true
		}
	})
	return fails
}

// sqlDecided is a condition that does not fail where the one in it does.
type sqlDecided struct {
	node   node
	source string
}

func (d *sqlDecided) test(v *view) (bool, error) { return d.node.eval(v) == yes, nil }

func (d *sqlDecided) straight() bool {
	return !slices.ContainsFunc(d.node.residuals(nil), func(r residual) bool { return !r.straight() })
}

func (d *sqlDecided) text() string { return d.source }
