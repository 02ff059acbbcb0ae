package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// lintPattern looks at an event pattern: at the alternatives of each field, which
// are about one value. Fields of different paths have nothing to do with each
// other, and two values of an array may be what one cannot.
func (l *linter) lintPattern() {
	s := &patternSource{jsonSource: jsonSource{source: l.source}, env: l.env, paths: map[string]int32{}}
	if !s.read("the pattern") {
		return
	}
	l.oneValue = true
	l.fields(s, &s.root, nil, "; the filter never matches")
}

// fields looks at the fields of an object; so is what follows when one of them
// is never true.
func (l *linter) fields(s *patternSource, v *jsonValue, path []string, so string) {
	if len(path) == 0 {
		l.bothTypes(s, v)
	}
	for i := range v.members {
		m := &v.members[i]
		if m.name == "$or" && either(&m.value) {
			for j := range m.value.list {
				l.fields(s, &m.value.list[j], path, "")
			}
			continue
		}
		if near := nearAttribute(m.name); len(path) == 0 && near != "" && near != "data" {
			l.slip(&claim{line: 1, column: 1, pointer: s.root.pointerTo(m.start)}, m.name, near)
		}
		below := append(path[:len(path):len(path)], strings.Split(m.name, ".")...)
		switch m.value.kind {
		case mapValue:
			l.fields(s, &m.value, below, so)
		case listValue:
			l.operatorOutside(s, v, m, path)
			l.alternatives(s, m, below, so)
		}
	}
}

// bothTypes warns of two fields for one attribute.
func (l *linter) bothTypes(s *patternSource, v *jsonValue) {
	var first *jsonMember
	for i := range v.members {
		m := &v.members[i]
		if m.name != "type" && m.name != "detail-type" {
			continue
		}
		if first != nil && first.name != m.name {
			l.warn(&claim{line: 1, column: 1, pointer: s.root.pointerTo(m.start)}, "write one of them; several types are alternatives in its list",
				"%s and %s are the same attribute, and both have to hold", first.name, m.name)
		}
		first = m
	}
}

// operatorOutside warns of a field that is called as an operator, in place of an
// operator in a list. Fields of data may have any name, so either the name or
// what stands with it has to be unusual.
func (l *linter) operatorOutside(s *patternSource, of *jsonValue, m *jsonMember, path []string) {
	if len(path) < 2 || path[0] != "detail" || !slices.Contains(operatorNames(), m.name) {
		return
	}
	list := m.value.list
	plain := len(list) > 0 && !slices.ContainsFunc(list, func(v jsonValue) bool { return v.kind == mapValue })
	switch m.name {
	case "numeric":
		plain = len(list) >= 2 && list[0].kind == textValue && list[1].kind == numberValue
	case "anything-but", "equals-ignore-case":
	default:
		plain = plain && len(of.members) == 1
	}
	if !plain {
		return
	}
	argument := s.source[m.value.start:m.value.end]
	if m.name != "numeric" && len(list) == 1 {
		argument = s.source[list[0].start:list[0].end]
	}
	l.warn(&claim{line: 1, column: 1, pointer: s.root.pointerTo(m.start)}, fmt.Sprintf("write [{%q: %s}]", m.name, shorten(argument)),
		"%s is an operator, which stands in a list; here it is the name of a field", m.name)
}

// alternatives looks at what a field may be.
func (l *linter) alternatives(s *patternSource, m *jsonMember, path []string, so string) {
	at := func(v *jsonValue) claim {
		return claim{line: 1, column: 1, pointer: s.root.pointerTo(v.start), text: s.source[v.start:v.end]}
	}
	c := at(&m.value)
	c.kind = orNode
	for i := range m.value.list {
		v := &m.value.list[i]
		one := *m
		one.value.list = m.value.list[i : i+1]
		f, ok := s.alternatives(&one, path)
		if !ok {
			return
		}
		kid := at(v)
		for j := range v.members {
			if x := &v.members[j]; x.name == "regexp" && x.value.kind == textValue {
				l.plainAlternative(kid, x.value.text)
			}
		}
		if f.absent { // that there is no value
			kid.kind, kid.key = residualNode, l.newKey()
			c.kids = append(c.kids, &kid)
			continue
		}
		c.kids = append(c.kids, l.claimOf(&f.test, kid))
	}
	if len(c.kids) == 1 {
		c = *c.kids[0]
	}
	switch {
	case !l.logic.possible(assumption{&c, isYes}):
		l.never(&c, nil, so)
	case !l.logic.possible(assumption{&c, isNo | isFailure}):
		l.warn(&c, "take it out", "%s makes no difference, for %s", l.show(&c), l.always(&c))
	default:
		l.within(&c, nil)
	}
}

// plainAlternative warns of a regular expression that is plain text.
func (l *linter) plainAlternative(at claim, pattern string) {
	kind, text, ok := plainExpression(pattern)
	if !ok {
		return
	}
	quoted := strconv.Quote(text)
	instead := map[testKind]string{
		hasPrefix: `{"prefix": ` + quoted + "}", hasSuffix: `{"suffix": ` + quoted + "}", contains: `{"contains": ` + quoted + "}", equals: quoted,
	}[kind]
	l.warn(&at, "write "+instead, "the regular expression %s is plain text", strconv.Quote(pattern))
}
