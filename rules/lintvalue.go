package rules

import (
	"math"
	"slices"
	"strings"
)

// satisfiable reports whether some value at a place lets each of the tests have
// one of its outcomes. What is hard to say it calls satisfiable.
func satisfiable(p *place, tests []assumption) bool {
	for _, kind := range p.kinds() {
		if p.someOf(kind, tests) {
			return true
		}
	}
	return false
}

// kinds are the types of value that a place can have. The specification's own
// attributes are text that is not empty, and some of them always there.
func (p *place) kinds() []valueKind {
	if p.attr == "data" {
		if len(p.keys) > 0 {
			return []valueKind{missingValue, nullValue, boolValue, numberValue, textValue, listValue, mapValue}
		}
		return []valueKind{missingValue, nullValue, boolValue, numberValue, textValue, otherValue, listValue, mapValue}
	}
	switch p.attr {
	case "specversion", "id", "source", "type":
		return []valueKind{textValue}
	case "subject", "datacontenttype", "dataschema":
		return []valueKind{missingValue, textValue}
	case "time":
		if p.reach == reachValue {
			return []valueKind{missingValue, otherValue}
		}
	}
	if p.reach != reachValue {
		return []valueKind{missingValue, textValue}
	}
	return []valueKind{missingValue, boolValue, numberValue, textValue, otherValue}
}

// someOf reports whether there is such a value of one type.
func (p *place) someOf(kind valueKind, tests []assumption) bool {
	switch kind {
	case missingValue:
		return allow(tests, func(n *node) outcomes {
			if n.test == exists {
				if n.missing != failure || p.parent == nil {
					return isNo
				}
				return isNo | isFailure
			}
			return 1 << n.missing
		})
	case boolValue:
		return allowValue(tests, value{kind: kind}) || allowValue(tests, value{kind: kind, num: 1})
	case numberValue:
		for _, x := range numbersAmong(tests) {
			if allowValue(tests, value{kind: kind, num: x}) {
				return true
			}
		}
		return false
	case textValue:
		return p.someText(tests)
	case listValue, mapValue:
		return allow(tests, func(n *node) outcomes {
			if n.test == hasMember {
				return isYes | isNo
			}
			return 1 << n.check(&value{kind: kind})
		})
	}
	return allowValue(tests, value{kind: kind})
}

// allow reports whether each test can have one of its outcomes.
func allow(tests []assumption, of func(n *node) outcomes) bool {
	return !slices.ContainsFunc(tests, func(a assumption) bool { return of(a.claim.test)&a.out == 0 })
}

func allowValue(tests []assumption, x value) bool {
	return allow(tests, func(n *node) outcomes {
		if n.test == isMatch && x.kind == textValue && n.more.(*expression).takesLong(x.text) {
			return isAny
		}
		return 1 << n.check(&x)
	})
}

// numbersAmong has a number for each range that the tests tell apart.
func numbersAmong(tests []assumption) []float64 {
	var points []float64
	for _, a := range tests {
		switch n := a.claim.test; {
		case n.test == isIn:
			for _, o := range n.more.(operands) {
				if o.kind == numberValue {
					points = append(points, o.num)
				}
			}
		case n.operand == numberValue:
			points = append(points, n.num())
		}
	}
	if len(points) == 0 {
		return []float64{0}
	}
	slices.Sort(points)
	points = slices.Compact(points)
	out := []float64{math.Nextafter(points[0], math.Inf(-1)), math.Nextafter(points[len(points)-1], math.Inf(1))}
	for i, x := range points {
		out = append(out, x)
		if i > 0 {
			out = append(out, points[i-1]/2+x/2)
		}
	}
	return out
}

// textFacts is what is known of a text.
type textFacts struct {
	prefix, suffix        string
	contains              []string
	low, high             string
	lowStrict, highStrict bool
	bounded               bool // high counts
}

// someText reports whether there is such a text: among those that it has to
// equal, or, when there are none, by what is known of its ends, its parts and
// its order.
func (p *place) someText(tests []assumption) bool {
	tests = slices.Clone(tests)
	for i := range tests {
		if tests[i].out &= tests[i].claim.test.onText(); tests[i].out == 0 {
			return false
		}
	}
	if texts, ok := p.textsAmong(tests); ok {
		return slices.ContainsFunc(texts, func(s string) bool {
			return (s != "" || !p.neverEmpty()) && allowValue(tests, value{kind: textValue, text: s})
		})
	}
	var f textFacts
	if p.neverEmpty() {
		f.lowStrict = true
	}
	for _, a := range tests {
		if !f.learn(a) {
			return false
		}
	}
	if !f.possible() {
		return false
	}
	return allow(tests, f.of)
}

// onText is the outcomes that a test can have on any text at all.
func (n *node) onText() outcomes {
	switch n.test {
	case equals:
		if n.operand != textValue {
			return isNo
		}
	case less, atMost, greater, atLeast:
		if n.operand != textValue {
			return 1 << n.wrong
		}
	case exists, isTrue, hasMember:
		return 1 << n.check(&value{kind: textValue})
	case isMatch, inNetwork:
		return isAny
	}
	return isYes | isNo
}

// neverEmpty reports whether the empty text is refused where events are read.
func (p *place) neverEmpty() bool { return alwaysText(p.attr) }

// textsAmong are the texts that a value has to be one of.
func (p *place) textsAmong(tests []assumption) (texts []string, ok bool) {
	if p.attr == "specversion" {
		return []string{"1.0"}, true
	}
	for _, a := range tests {
		n := a.claim.test
		if a.out != isYes {
			continue
		}
		switch n.test {
		case equals:
			if n.operand == textValue {
				return []string{n.text()}, true
			}
			return nil, true
		case isIn:
			for _, o := range n.more.(operands) {
				if o.kind == textValue {
					texts = append(texts, o.text)
				}
			}
			return texts, true
		}
	}
	return nil, false
}

// learn takes in what a test's outcome says; it reports false when that goes
// against what is known.
func (f *textFacts) learn(a assumption) bool {
	n := a.claim.test
	positive, negative := a.out == isYes, a.out&isYes == 0
	switch n.test {
	case hasPrefix:
		if positive {
			if !strings.HasPrefix(f.prefix, n.text()) && !strings.HasPrefix(n.text(), f.prefix) {
				return false
			}
			f.prefix = longer(f.prefix, n.text())
		}
	case hasSuffix:
		if positive {
			if !strings.HasSuffix(f.suffix, n.text()) && !strings.HasSuffix(n.text(), f.suffix) {
				return false
			}
			f.suffix = longer(f.suffix, n.text())
		}
	case contains:
		if positive {
			f.contains = append(f.contains, n.text())
		}
	case less, atMost, greater, atLeast:
		if n.operand == textValue && (positive || negative) {
			f.learnOrder(n.test, n.text(), positive)
		}
	}
	return true
}

func (f *textFacts) learnOrder(k testKind, text string, positive bool) {
	if !positive {
		k = map[testKind]testKind{less: atLeast, atMost: greater, greater: atMost, atLeast: less}[k]
	}
	if k == greater || k == atLeast {
		if text > f.low || text == f.low && k == greater {
			f.low, f.lowStrict = text, k == greater
		}
	} else if !f.bounded || text < f.high || text == f.high && k == less {
		f.high, f.highStrict, f.bounded = text, k == less, true
	}
}

// possible reports whether a text can be as it has to be.
func (f *textFacts) possible() bool {
	if f.bounded {
		if f.low > f.high || f.low == f.high && (f.lowStrict || f.highStrict) {
			return false
		}
		if f.prefix > f.high || f.prefix == f.high && f.highStrict {
			return false
		}
	}
	// Everything with the prefix is below what is above the prefix at a place in it.
	return f.low <= f.prefix || strings.HasPrefix(f.low, f.prefix)
}

// of is the outcomes that a test can have on such a text.
func (f *textFacts) of(n *node) outcomes {
	open := isYes | isNo
	switch n.test {
	case equals:
		if n.operand != textValue || !f.allows(n.text()) {
			return isNo
		}
		return open
	case isIn:
		for _, o := range n.more.(operands) {
			if o.kind == textValue && f.allows(o.text) {
				return open
			}
		}
		return isNo
	case hasPrefix:
		if strings.HasPrefix(f.prefix, n.text()) {
			return isYes
		}
		if !strings.HasPrefix(n.text(), f.prefix) {
			return isNo
		}
		return open
	case hasSuffix:
		if strings.HasSuffix(f.suffix, n.text()) {
			return isYes
		}
		if !strings.HasSuffix(n.text(), f.suffix) {
			return isNo
		}
		return open
	case contains:
		for _, s := range append([]string{f.prefix, f.suffix}, f.contains...) {
			if strings.Contains(s, n.text()) {
				return isYes
			}
		}
		return open
	case less, atMost, greater, atLeast:
		if n.operand != textValue {
			return 1 << n.wrong
		}
		return f.order(n)
	case exists, isTrue, hasMember:
		return 1 << n.check(&value{kind: textValue})
	}
	return isAny
}

// allows reports whether the text could be s.
func (f *textFacts) allows(s string) bool {
	return strings.HasPrefix(s, f.prefix) && strings.HasSuffix(s, f.suffix) &&
		(s > f.low || s == f.low && !f.lowStrict) &&
		(!f.bounded || s < f.high || s == f.high && !f.highStrict)
}

// order is the outcomes of a comparison with n.text().
func (f *textFacts) order(n *node) outcomes {
	low := max(f.low, f.prefix)
	below := low < n.text()                                                              // some may be less
	equal := f.allows(n.text())                                                          // it may be equal
	above := !f.bounded || f.high > n.text()                                             // some may be greater
	if f.prefix != "" && n.text() > f.prefix && !strings.HasPrefix(n.text(), f.prefix) { // all with the prefix are less
		above = false
	}
	var out outcomes
	add := func(may, isTrue bool) {
		switch {
		case may && isTrue:
			out |= isYes
		case may:
			out |= isNo
		}
	}
	add(below, n.test == less || n.test == atMost)
	add(equal, n.test == atMost || n.test == atLeast)
	add(above, n.test == greater || n.test == atLeast)
	return out
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}
