package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// operatorNames are what an alternative of a field may be, beside a value.
// contains and regexp are ours, beyond EventBridge's.
func operatorNames() []string {
	return []string{"prefix", "suffix", "equals-ignore-case", "wildcard", "numeric", "cidr", "exists", "anything-but", "exactly", "contains", "regexp"}
}

// fieldSource reads the alternatives of one field.
type fieldSource struct {
	*patternSource
	place  *place
	attr   bool // of an attribute, which is compared as text
	absent bool // one alternative is that there is no value
	failed bool
}

func (s *fieldSource) refuse(v *jsonValue, message, hint string) {
	s.failed = true
	s.refuseValue(v, message, hint)
}

// alternatives reads what a field may be.
func (s *patternSource) alternatives(m *jsonMember, path []string) (f field, ok bool) {
	f.path = path
	l := &fieldSource{patternSource: s, attr: path[0] != "detail"}
	if l.attr {
		l.place = s.attribute(path[0])
	} else {
		l.place = s.env.places.of(reachAll, "data", path[1:])
	}
	if len(m.value.list) == 0 {
		l.refuse(&m.value, fmt.Sprintf("the field %s has an empty list", inQuotes(m.name)), `write what it may be, or {"exists": false}`)
	}
	var values operands
	var tests kids
	for i := range m.value.list {
		v := &m.value.list[i]
		switch v.kind {
		case mapValue:
			if n, ok := l.operator(m.name, v); ok {
				tests = append(tests, n)
			}
		case listValue:
			l.refuse(v, "a list within a list", "write the alternatives one after the other")
		default:
			if x, ok := l.literal(v); ok {
				values = append(values, x)
			}
		}
	}
	if len(values) > 0 {
		tests = slices.Insert(tests, 0, l.equalsOne(values))
	}
	f.test, f.absent = anyOf(tests), l.absent
	return f, !l.failed
}

// anyOf is the disjunction of tests; without any, that of none.
func anyOf(tests kids) node {
	switch len(tests) {
	case 0:
		return node{kind: constNode, value: no}
	case 1:
		return tests[0]
	}
	return parent(orNode, tests...)
}

func (s *fieldSource) test(k testKind) node { return node{kind: testNode, test: k, place: s.place} }

func (s *fieldSource) text(k testKind, text string) node {
	return s.test(k).with(scalar{kind: textValue, text: within(s.source, text)})
}

func (s *fieldSource) equalsOne(values operands) node {
	if len(values) == 1 {
		return s.test(equals).with(values[0])
	}
	n := s.test(isIn)
	n.more = slices.Clip(values).sorted()
	return n
}

// literal is a value that a field equals.
func (s *fieldSource) literal(v *jsonValue) (x scalar, ok bool) {
	x.kind = v.kind
	switch v.kind {
	case textValue:
		x.text = within(s.source, v.text)
	case numberValue:
		if x.num, ok = s.number(v); !ok {
			return x, false
		}
	case boolValue:
		if v.truth {
			x.num = 1
		}
	case nullValue:
		if s.attr {
			s.refuse(v, "an attribute is never null", `write {"exists": false} for one that is not set`)
			return x, false
		}
	}
	if s.attr && v.kind != textValue {
		x = scalar{kind: textValue, text: s.canonical(v, x.num)}
	}
	return x, true
}

// canonical is how an attribute with the value is written.
func (s *fieldSource) canonical(v *jsonValue, num float64) string {
	if v.kind == boolValue {
		return strconv.FormatBool(v.truth)
	}
	if i := int64(num); num > -1<<53 && num < 1<<53 && float64(i) == num {
		return strconv.FormatInt(i, 10)
	}
	return v.num
}

func (s *fieldSource) number(v *jsonValue) (float64, bool) {
	f, err := strconv.ParseFloat(v.num, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(v.num), "e")
	if err != nil || f == 0 && strings.ContainsAny(mantissa, "123456789") {
		s.refuse(v, fmt.Sprintf("the number %s is beyond what can be compared", shorten(v.num)), "numbers are doubles; compare a longer one as text")
		return 0, false
	}
	return f, true
}

// operator reads an alternative that is an object. A node is false when it is
// only that there is no value, or when something is wrong.
func (s *fieldSource) operator(field string, v *jsonValue) (n node, ok bool) {
	if len(v.members) != 1 {
		s.refuse(v, fmt.Sprintf("an operator is an object with one key; this has %d", len(v.members)), "write several as alternatives: [{…}, {…}]")
		return n, false
	}
	m := &v.members[0]
	arg := &m.value
	switch m.name {
	case "exists":
		return s.exists(arg)
	case "numeric":
		return s.numeric(arg)
	case "anything-but":
		return s.anythingBut(arg)
	case "prefix", "suffix", "wildcard":
		if arg.kind == mapValue {
			return s.ignoringCase(m)
		}
	}
	if !slices.Contains(operatorNames(), m.name) {
		hint := nearest(m.name, operatorNames(), "operators")
		if field == "$or" {
			hint = "an $or needs at least two objects, and nothing else, in its list"
		}
		s.failed = true
		s.refuseMember(m, fmt.Sprintf("there is no operator %s", inQuotes(m.name)), hint)
		return n, false
	}
	if arg.kind != textValue {
		s.refuse(arg, fmt.Sprintf("%s takes a text, not %s", m.name, arg.kindName()), "")
		return n, false
	}
	return s.textual(m.name, arg, false)
}

// textual is the test of an operator that takes a text.
func (s *fieldSource) textual(name string, arg *jsonValue, fold bool) (n node, ok bool) {
	switch name {
	case "exactly":
		return s.text(equals, arg.text), true
	case "prefix":
		if fold {
			return s.text(prefixFold, arg.text), true
		}
		return s.text(hasPrefix, arg.text), true
	case "suffix":
		if fold {
			return s.text(suffixFold, arg.text), true
		}
		return s.text(hasSuffix, arg.text), true
	case "equals-ignore-case":
		return s.text(equalsFold, arg.text), true
	case "contains":
		return s.text(contains, arg.text), true
	case "wildcard":
		g := s.wildcard(arg, fold)
		n = s.text(isLike, arg.text)
		n.more = g
		return n, g != nil
	case "regexp":
		x := s.regexp(arg)
		n = s.text(isMatch, arg.text)
		n.more = x
		return n, x != nil
	}
	prefix, ok := s.cidr(arg)
	n = s.text(inNetwork, arg.text)
	n.more = prefix
	return n, ok
}

// ignoringCase reads {"equals-ignore-case": "…"}, the argument of an operator.
func (s *fieldSource) ignoringCase(m *jsonMember) (n node, ok bool) {
	v := &m.value
	if len(v.members) != 1 {
		s.refuse(v, fmt.Sprintf("the object of %s has %d keys", m.name, len(v.members)), `write {"equals-ignore-case": "…"}`)
		return n, false
	}
	inner := &v.members[0]
	if inner.name != "equals-ignore-case" {
		s.failed = true
		s.refuseMember(inner, fmt.Sprintf("%s takes a text or equals-ignore-case, not %s", m.name, inQuotes(inner.name)), `write {"equals-ignore-case": "…"}`)
		return n, false
	}
	if inner.value.kind != textValue {
		s.refuse(&inner.value, "equals-ignore-case takes a text here, not "+inner.value.kindName(), "")
		return n, false
	}
	return s.textual(m.name, &inner.value, true)
}

// exists: that there is no value is no test of one, so that the node is false.
func (s *fieldSource) exists(arg *jsonValue) (n node, ok bool) {
	switch {
	case arg.kind != boolValue:
		s.refuse(arg, "exists takes true or false, not "+arg.kindName(), "")
	case arg.truth:
		return s.test(exists), true
	default:
		s.absent = true
	}
	return n, false
}

func (s *fieldSource) cidr(arg *jsonValue) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(arg.text)
	switch {
	case !strings.Contains(arg.text, "/"):
		s.refuse(arg, fmt.Sprintf("%s has no mask", inQuotes(arg.text)), `write a network, as in "10.0.0.0/24" or "2001:db8::/32"`)
	case err != nil:
		s.refuse(arg, fmt.Sprintf("%s is no network", inQuotes(arg.text)), `write an IPv4 or IPv6 address and a mask, as in "10.0.0.0/24" or "2001:db8::/32"`)
	default:
		return p.Masked(), true
	}
	return netip.Prefix{}, false
}

func (s *fieldSource) regexp(arg *jsonValue) *expression {
	x, err := newExpression(arg.text)
	var wrong *syntax.Error
	switch {
	case errors.As(err, &wrong):
		s.refuse(arg, fmt.Sprintf("regular expression: %s: %s", wrong.Code, inQuotes(wrong.Expr)), "the syntax is that of RE2")
	case err != nil:
		s.refuse(arg, "regular expression: "+err.Error(), "the syntax is that of RE2")
	case x.size > maxRegexProgram:
		s.refuse(arg, fmt.Sprintf("the regular expression is too large: %d steps; at most %d", x.size, maxRegexProgram), "shorten its repetitions")
	case s.steps+x.size > maxRegexPrograms:
		s.refuse(arg, fmt.Sprintf("the regular expressions of the pattern are too large together; at most %d steps", maxRegexPrograms), "write some as rules of their own")
	default:
		s.steps += x.size
		return x
	}
	return nil
}
