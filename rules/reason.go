package rules

import (
	"errors"
	"fmt"
)

// failed says why the condition failed on the view's event, after it was
// evaluated.
func (n *node) failed(v *view) error {
	if err := n.reason(v); err != nil {
		return err
	}
	return errors.New("the filter fails on this event: a text is too long for a regular expression")
}

// reason is the failure of the first part of the condition that fails.
func (n *node) reason(v *view) error {
	switch n.kind {
	case testNode:
		if n.test == isMatch && v.failed != nil && v.failed == residual(n.more.(*expression).long) {
			return v.failure
		}
		if n.test == isMatch && n.more.(*expression).takesLong(v.at(n.place).text) || n.eval(v) != failure {
			return nil
		}
		return n.testReason(v)
	case patternNode:
		if v.failed == any(n.more.(*pattern).step) {
			return v.failure
		}
		return nil
	case residualNode:
		if v.failed == n.more.(residual) {
			return v.failure
		}
		return nil
	}
	k := n.kids()
	for i := range k {
		if err := k[i].reason(v); err != nil {
			return err
		}
	}
	return nil
}

// testReason says why a test fails.
func (n *node) testReason(v *view) error {
	p := n.place
	if n.test == exists && p.parent != nil {
		p = p.parent
	}
	for p.parent != nil && v.at(p.parent).kind == missingValue {
		p = p.parent
	}
	if x := v.at(p); x.kind == missingValue && (p.parent == nil || v.at(p.parent).kind == mapValue) {
		return missing(p.last())
	}
	return fmt.Errorf("no such overload: %s is not what the comparison is for", n.place)
}
