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

// check is the test on a value.
func (n *node) check(x *value) outcome {
	switch n.test {
	case isIn:
		if x.kind == missingValue {
			return n.missing
		}
		return outcomeOf(n.more.(operands).have(x))
	case isLike, isMatch, inNetwork:
		switch x.kind {
		case missingValue:
			return n.missing
		case textValue:
			return n.checkText(x.text)
		}
		return n.wrong
	}
	t := literalTest{n.test, n.missing, n.wrong, n.operand, n.num(), n.text()}
	return t.check(x)
}

func (n *node) checkText(s string) outcome {
	switch n.test {
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

// literalTest is a test with one literal, or none.
type literalTest struct {
	test           testKind
	missing, wrong outcome
	operand        valueKind
	num            float64
	text           string
}

// check is the test on a value. Values of different types are not equal.
func (t *literalTest) check(x *value) outcome {
	if x.kind == missingValue {
		return t.missing
	}
	switch t.test {
	case exists:
		return yes
	case isTrue:
		if x.kind == boolValue {
			return outcomeOf(x.num != 0)
		}
		return t.wrong
	case equals:
		return outcomeOf(x.kind == t.operand && x.num == t.num && x.text == t.text)
	case less, atMost, greater, atLeast:
		return t.order(x)
	case hasMember:
		return t.member(x)
	}
	if x.kind != textValue {
		return t.wrong
	}
	switch t.test {
	case hasPrefix:
		return outcomeOf(strings.HasPrefix(x.text, t.text))
	case hasSuffix:
		return outcomeOf(strings.HasSuffix(x.text, t.text))
	case contains:
		return outcomeOf(strings.Contains(x.text, t.text))
	case equalsFold:
		return outcomeOf(strings.EqualFold(x.text, t.text))
	case prefixFold:
		return outcomeOf(prefixFoldLen(x.text, t.text) >= 0)
	}
	return outcomeOf(hasSuffixFold(x.text, t.text)) // suffixFold
}

// absent is what has() says of a place without a value: in CEL it fails below
// what is missing and below a list; below what else has no members there is
// nothing.
func (p *place) absent(v *view, without outcome) outcome {
	if without != failure || p.parent == nil {
		return no
	}
	if k := v.at(p.parent).kind; k == missingValue || k == listValue {
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

func (t *literalTest) order(x *value) outcome {
	if x.kind != t.operand {
		return t.wrong
	}
	var c int
	switch x.kind {
	case boolValue, numberValue:
		switch {
		case x.num < t.num:
			c = -1
		case x.num > t.num:
			c = 1
		}
	case textValue:
		c = strings.Compare(x.text, t.text)
	default:
		return t.wrong
	}
	switch t.test {
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
func (t *literalTest) member(x *value) outcome {
	switch x.kind {
	case listValue:
		for e := range x.node.Elements() {
			if y := nodeValue(e); y.kind == t.operand && y.num == t.num && y.text == t.text {
				return yes
			}
		}
		return no
	case mapValue:
		if t.operand != textValue {
			return no
		}
		_, ok := x.node.Get(t.text)
		return outcomeOf(ok)
	}
	return t.wrong
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
