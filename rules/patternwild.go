package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// wildcard reads a text in which * stands for any text, and \* and \\ for
// themselves.
func (s *fieldSource) wildcard(arg *jsonValue, fold bool) *glob {
	text := arg.text
	if len(text) > maxWildcard {
		s.refuse(arg, fmt.Sprintf("the wildcard is %d bytes long; at most %d", len(text), maxWildcard), "")
		return nil
	}
	var parts []globPart
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '*' && strings.HasPrefix(text[i+1:], "*"):
			s.refuse(arg, "a wildcard with ** in it", `one * stands for any text; \* stands for a star`)
			return nil
		case text[i] == '*':
			parts = append(parts, globPart{[]string{part.String()}})
			part.Reset()
		case text[i] != '\\':
			part.WriteByte(text[i])
		case i+1 < len(text) && (text[i+1] == '*' || text[i+1] == '\\'):
			i++
			part.WriteByte(text[i])
		default:
			s.refuse(arg, `a wildcard with a \ that is not followed by * or \`, `write \\ for it, which is "\\\\" in JSON`)
			return nil
		}
	}
	return &glob{parts: slices.Clip(append(parts, globPart{[]string{part.String()}})), fold: fold}
}

// limit is a comparison of numeric.
func limit(sign string) (k testKind, ok bool) {
	switch sign {
	case "=":
		return equals, true
	case "<":
		return less, true
	case "<=":
		return atMost, true
	case ">":
		return greater, true
	case ">=":
		return atLeast, true
	}
	return k, false
}

const numericHint = `write ["=", 5], ["<", 5] or [">", 0, "<=", 5], with = < <= > >=; a lower limit stands before an upper one`

// numeric reads one comparison, or a lower and an upper limit.
func (s *fieldSource) numeric(arg *jsonValue) (n node, ok bool) {
	if arg.kind != listValue {
		s.refuse(arg, "numeric takes a list, not "+arg.kindName(), numericHint)
		return n, false
	}
	if len(arg.list) != 2 && len(arg.list) != 4 {
		s.refuse(arg, fmt.Sprintf("numeric takes one or two comparisons; this list has %d members", len(arg.list)), numericHint)
		return n, false
	}
	var tests kids
	for i := 0; i < len(arg.list); i += 2 {
		sign, num := &arg.list[i], &arg.list[i+1]
		kind, known := limit(sign.text)
		if sign.kind != textValue || !known {
			s.refuse(sign, fmt.Sprintf("numeric has no comparison %s", shorten(s.source[sign.start:sign.end])), numericHint)
			return n, false
		}
		if num.kind == textValue && outOfRange(num.text) { // which YAML takes for text
			s.refuse(num, fmt.Sprintf("the number %s is beyond what can be compared", shorten(num.text)), doublesHint)
			return n, false
		}
		if num.kind != numberValue {
			s.refuse(num, fmt.Sprintf("numeric compares with a number, not %s", num.kindName()), numericHint)
			return n, false
		}
		x, ok := s.number(num, doublesHint)
		if !ok {
			return n, false
		}
		tests = append(tests, s.test(kind).with(scalar{kind: numberValue, num: x}))
	}
	n = tests[0]
	if len(tests) == 2 {
		low, high := tests[0].test, tests[1].test
		switch {
		case low != greater && low != atLeast || high != less && high != atMost:
			s.refuse(arg, "numeric has two comparisons that are not a lower and an upper limit", numericHint)
			return n, false
		case tests[0].num() >= tests[1].num():
			s.refuse(arg, "the lower limit of numeric is not below the upper one", "")
			return n, false
		}
		n = parent(andNode, tests...)
	}
	if s.attr {
		return s.numericText(n, s.source[arg.start:arg.end]), true
	}
	return n, true
}

// numericText is numeric for an attribute, whose text is read as a number.
func (s *fieldSource) numericText(n node, source string) node {
	test := node{kind: residualNode, more: &numericAttribute{place: s.place, limits: n, source: source}}
	return parent(andNode, s.test(exists), test)
}

const doublesHint = "numbers are doubles, of at most about 1.8e308"

// outOfRange reports whether text is a number that is no double.
func outOfRange(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return errors.Is(err, strconv.ErrRange)
}

// numericAttribute is a residual: the number that an attribute's text is, is
// within limits.
type numericAttribute struct {
	place  *place
	limits node
	source string
}

func (a *numericAttribute) test(v *view) (bool, error) {
	x := *v.at(a.place)
	if x.kind != textValue || strings.Trim(x.text, "+-.0123456789eE") != "" {
		return false, nil // hexadecimal numbers and the like are not what is meant
	}
	f, err := strconv.ParseFloat(x.text, 64)
	if err != nil || math.IsInf(f, 0) {
		return false, nil
	}
	return a.limits.on(&value{kind: numberValue, num: f}) == yes, nil
}

func (a *numericAttribute) text() string   { return a.place.String() + " numeric " + a.source }
func (a *numericAttribute) straight() bool { return true }

const anythingButHint = `write a text, a number, a list of texts or one of numbers, or one of {"prefix": …}, {"suffix": …}, {"equals-ignore-case": …}, {"wildcard": …}, {"contains": …} and {"regexp": …} with a text or a list of texts`

// anythingBut is that there is a value for which none of the tests holds.
func (s *fieldSource) anythingBut(arg *jsonValue) (n node, ok bool) {
	var tests kids
	switch arg.kind {
	case textValue, numberValue:
		x, ok := s.literal(arg)
		if !ok {
			return n, false
		}
		tests = kids{s.equalsOne(operands{x})}
	case listValue:
		var values operands
		for i := range arg.list {
			v := &arg.list[i]
			if v.kind != textValue && v.kind != numberValue || v.kind != arg.list[0].kind {
				s.refuse(v, "the list of anything-but has "+v.kindName(), "it has only texts or only numbers")
				return n, false
			}
			x, ok := s.literal(v)
			if !ok {
				return n, false
			}
			values = append(values, x)
		}
		if len(values) == 0 {
			s.refuse(arg, "the list of anything-but is empty", `write {"exists": true} for any value`)
			return n, false
		}
		tests = kids{s.equalsOne(values)}
	case mapValue:
		if tests = s.anythingLike(arg); tests == nil {
			return n, false
		}
	default:
		s.refuse(arg, "anything-but does not take "+arg.kindName(), anythingButHint)
		return n, false
	}
	if s.attr {
		return parent(andNode, s.test(exists), not(anyOf(tests))), true
	}
	for i := range tests {
		tests[i].missing = failure // so that nothing is said of no value
	}
	return not(anyOf(tests)), true
}

// anythingLike reads the object of anything-but.
func (s *fieldSource) anythingLike(v *jsonValue) kids {
	if len(v.members) != 1 {
		s.refuse(v, fmt.Sprintf("the object of anything-but has %d keys", len(v.members)), anythingButHint)
		return nil
	}
	m := &v.members[0]
	if known := []string{"prefix", "suffix", "equals-ignore-case", "wildcard", "contains", "regexp"}; !slices.Contains(known, m.name) {
		s.failed = true
		s.refuseMember(m, "anything-but does not take "+inQuotes(m.name), nearest(m.name, known, "operators of anything-but"))
		return nil
	}
	args := m.value.list
	if m.value.kind != listValue {
		args = []jsonValue{m.value}
	} else if len(args) == 0 {
		s.refuse(&m.value, "the list of anything-but is empty", `write {"exists": true} for any value`)
		return nil
	}
	var tests kids
	for i := range args {
		a := &args[i]
		switch {
		case a.kind != textValue:
			s.refuse(a, fmt.Sprintf("anything-but with %s takes a text or a list of texts, not %s", m.name, a.kindName()), "")
			return nil
		case a.text == "" && (m.name == "prefix" || m.name == "suffix"):
			s.refuse(a, fmt.Sprintf("anything-but with an empty %s never matches", m.name), "")
			return nil
		}
		n, ok := s.textual(m.name, a, false)
		if !ok {
			return nil
		}
		tests = append(tests, n)
	}
	return tests
}
