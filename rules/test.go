package rules

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// testKind is what a test asks of the value at its place.
type testKind uint8

const (
	isTrue     testKind = iota // the value is true
	exists                     // there is a value; in CEL, has(place)
	equals                     // == operand
	isIn                       // == one of the operands
	less                       // < operand
	atMost                     // <= operand
	greater                    // > operand
	atLeast                    // >= operand
	hasPrefix                  // the text begins with operand
	hasSuffix                  // the text ends with operand
	contains                   // the text contains operand
	hasMember                  // a list has the element operand, or a map the key
	equalsFold                 // as equals on text, but for upper and lower case
	prefixFold                 // as hasPrefix, but for upper and lower case
	suffixFold                 // as hasSuffix, but for upper and lower case
	isLike                     // the text is like more, a *glob
	isMatch                    // more, an *expression, is found in the text
	inNetwork                  // the text is an address of more, a netip.Prefix
)

// operands are the literals of isIn; many are sorted.
type operands []scalar

// manyOperands is how many are compared one by one.
const manyOperands = 16

// sorted sorts them if they are many.
func (list operands) sorted() operands {
	if len(list) > manyOperands {
		slices.SortFunc(list, scalar.compare)
	}
	return list
}

func (s scalar) compare(o scalar) int {
	return cmp.Or(cmp.Compare(s.kind, o.kind), cmp.Compare(s.num, o.num), strings.Compare(s.text, o.text))
}

// expression is a regular expression.
type expression struct {
	re   *regexp.Regexp
	size int      // steps of its program
	long *residue // evaluates it with a budget, on texts that take long; nil: that fails
}

// check is the test on a value. Values of different types are not equal.
func (n *node) check(x *value) outcome {
	if x.kind == missingValue {
		return n.missing
	}
	switch n.test {
	case exists:
		return yes
	case isTrue:
		if x.kind == boolValue {
			return outcomeOf(x.num != 0)
		}
		return n.wrong
	case equals:
		return outcomeOf(x.kind == n.operand && x.num == n.num() && x.text == n.text())
	case isIn:
		return outcomeOf(n.more.(operands).have(x))
	case less, atMost, greater, atLeast:
		return n.order(x)
	case hasMember:
		return n.member(x)
	}
	if x.kind != textValue {
		return n.wrong
	}
	return n.checkText(x.text)
}

func (n *node) checkText(s string) outcome {
	switch n.test {
	case hasPrefix:
		return outcomeOf(strings.HasPrefix(s, n.text()))
	case hasSuffix:
		return outcomeOf(strings.HasSuffix(s, n.text()))
	case contains:
		return outcomeOf(strings.Contains(s, n.text()))
	case equalsFold:
		return outcomeOf(strings.EqualFold(s, n.text()))
	case prefixFold:
		return outcomeOf(prefixFoldLen(s, n.text()) >= 0)
	case suffixFold:
		return outcomeOf(hasSuffixFold(s, n.text()))
	case isLike:
		return outcomeOf(n.more.(*glob).match(s))
	case isMatch:
		return n.more.(*expression).match(s)
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return n.wrong
	}
	return outcomeOf(n.more.(netip.Prefix).Contains(addr))
}

// absent is what has() says of a place without a value: in CEL it fails below
// what is missing and below a list; below what else has no members there is
// nothing.
func (n *node) absent(v *view) outcome {
	if n.missing != failure || n.place.parent == nil {
		return no
	}
	if k := v.at(n.place.parent).kind; k == missingValue || k == listValue {
		return failure
	}
	return no
}

func (list operands) have(x *value) bool {
	if len(list) > manyOperands {
		_, ok := slices.BinarySearchFunc(list, scalar{x.kind, x.num, x.text}, scalar.compare)
		return ok
	}
	for i := range list {
		if o := &list[i]; x.kind == o.kind && x.num == o.num && x.text == o.text {
			return true
		}
	}
	return false
}

func (n *node) order(x *value) outcome {
	if x.kind != n.operand {
		return n.wrong
	}
	var c int
	switch x.kind {
	case boolValue, numberValue:
		switch {
		case x.num < n.num():
			c = -1
		case x.num > n.num():
			c = 1
		}
	case textValue:
		c = strings.Compare(x.text, n.text())
	default:
		return n.wrong
	}
	switch n.test {
	case less:
		return outcomeOf(c < 0)
	case atMost:
		return outcomeOf(c <= 0)
	case greater:
		return outcomeOf(c > 0)
	}
	return outcomeOf(c >= 0)
}

// member is whether a list has an element, or a map a key.
func (n *node) member(x *value) outcome {
	switch x.kind {
	case listValue:
		for e := range x.node.Elements() {
			if y := nodeValue(e); y.kind == n.operand && y.num == n.num() && y.text == n.text() {
				return yes
			}
		}
		return no
	case mapValue:
		if n.operand != textValue {
			return no
		}
		_, ok := x.node.Get(n.text())
		return outcomeOf(ok)
	}
	return n.wrong
}

// takesLong reports whether the expression is to run on s with a budget.
func (x *expression) takesLong(s string) bool { return len(s) > quickSteps/x.size }

// match fails on a text that would take too long.
func (x *expression) match(s string) outcome {
	if x.takesLong(s) {
		return failure
	}
	return outcomeOf(x.re.MatchString(s))
}

// newExpression compiles a pattern in RE2 syntax.
func newExpression(pattern string) (*expression, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	size, err := regexSize(pattern)
	if err != nil {
		return nil, err
	}
	return &expression{re: re, size: size}, nil
}
