package rules

import (
	"slices"
	"strconv"
)

// condition makes the condition of what was read: tests of attributes, and a
// pattern for what is asked of the data.
func (s *patternSource) condition() node {
	groups := s.groups()
	if len(groups) == 0 {
		return node{kind: constNode, value: yes}
	}
	// Where all groups ask the same of the data, that is asked once.
	same := true
	for i := range groups[1:] {
		same = same && slices.EqualFunc(groups[0].data, groups[i+1].data, slices.Equal[combination])
	}
	if same {
		attrs := make([]combination, len(groups))
		for i := range groups {
			attrs[i] = groups[i].attrs
		}
		return allOf(kids{s.shared(attrs, s.attrTest), s.dataTest(groups[0].data)})
	}
	var either kids
	for i := range groups {
		g := &groups[i]
		either = append(either, allOf(kids{s.shared([]combination{g.attrs}, s.attrTest), s.dataTest(g.data)}))
	}
	return anyOf(either)
}

// attrGroup is ways that ask the same of the attributes.
type attrGroup struct {
	attrs combination
	data  []combination
}

func (s *patternSource) groups() []attrGroup {
	var groups []attrGroup
	known := map[string]int{}
	for _, w := range s.ways {
		var g attrGroup
		var name []byte
		data := combination{}
		slices.Sort(w)
		for _, n := range w {
			if n < 0 {
				g.attrs = append(g.attrs, n)
				name = strconv.AppendInt(append(name, ' '), int64(n), 10)
			} else {
				data = append(data, n)
			}
		}
		i, ok := known[string(name)]
		if !ok {
			i = len(groups)
			known[string(name)] = i
			groups = append(groups, g)
		}
		groups[i].data = append(groups[i].data, data)
	}
	return groups
}

// allOf is the conjunction of conditions, of which those that always hold are
// left out.
func allOf(list kids) node {
	var all kids
	for _, n := range list {
		if n.kind != constNode || n.value != yes {
			all = append(all, n)
		}
	}
	switch len(all) {
	case 0:
		return node{kind: constNode, value: yes}
	case 1:
		return all[0]
	}
	return parent(andNode, all...)
}

// shared is the disjunction of conjunctions of fields, with those that all have
// taken out of it.
func (s *patternSource) shared(ways []combination, test func(n int32) node) node {
	var all kids
	common := slices.Clone(ways[0])
	for _, w := range ways[1:] {
		common = slices.DeleteFunc(common, func(n int32) bool { _, ok := slices.BinarySearch(w, n); return !ok })
	}
	for _, n := range common {
		all = append(all, test(n))
	}
	var either kids
	for _, w := range ways {
		var rest kids
		for _, n := range w {
			if _, ok := slices.BinarySearch(common, n); !ok {
				rest = append(rest, test(n))
			}
		}
		n := allOf(rest)
		if n.kind == constNode { // one asks for no more, so that none has to
			either = nil
			break
		}
		either = append(either, n)
	}
	if len(either) > 0 {
		all = append(all, anyOf(either))
	}
	return allOf(all)
}

// attrTest is what is asked of an attribute.
func (s *patternSource) attrTest(n int32) node {
	f := &s.attrs[-n-1]
	return f.orAbsent(s.attribute(f.path[0]))
}

// orAbsent is the test of a field's value, or that there is none.
func (f *field) orAbsent(p *place) node {
	if !f.absent {
		return f.test
	}
	absent := not(node{kind: testNode, test: exists, place: p})
	if f.test.kind == constNode {
		return absent
	}
	return anyOf(kids{absent, f.test})
}

// dataTest is the pattern of what is asked of the data.
func (s *patternSource) dataTest(ways []combination) node {
	var used []int32
	for _, w := range ways {
		if len(w) == 0 {
			return node{kind: constNode, value: yes}
		}
		used = append(used, w...)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	// In the order of their paths those below a step are next to each other.
	slices.SortStableFunc(used, func(a, b int32) int { return slices.Compare(s.fields[a].path, s.fields[b].path) })
	tests, places := make([]node, len(used)), make([]*place, len(used))
	number := map[int32]int32{}
	plain := len(ways) == 1
	for i, n := range used {
		number[n] = int32(i)
		f := &s.fields[n]
		tests[i], places[i] = f.test, s.env.places.of(reachAll, "data", f.path)
		plain = plain && !f.absent
	}
	p, rare := newPattern(tests, s.env.places.stepsTo(places)), patternRare{costs: testCosts(tests)}
	if !plain {
		rare.ways = make([]way, len(ways))
		for i, w := range ways {
			for _, n := range w {
				rare.ways[i].fields.add(number[n])
				if !s.fields[n].absent {
					rare.ways[i].needs.add(number[n])
				}
			}
		}
	}
	switch {
	case rare.ways == nil && rare.costs == nil:
		return node{kind: patternNode, more: p}
	case plain:
		rare.shadow = p.shadow()
	default:
		rare.shadow = s.shared(ways, s.shadowTest)
	}
	p.rare = &rare
	return node{kind: patternNode, more: p}
}

// testCosts are the testSteps of tests, nil when none takes any.
func testCosts(tests []node) (costs []int32) {
	for i := range tests {
		if cost := testSteps(&tests[i]); cost > 0 {
			if costs == nil {
				costs = make([]int32, len(tests))
			}
			costs[i] = cost
		}
	}
	return costs
}

// testSteps is how many steps the tests take for one character of a text, when
// they may take many.
func testSteps(test *node) (steps int32) {
	test.walk(func(n *node) {
		switch x := n.more.(type) {
		case *expression:
			steps += int32(x.size)
		case *glob:
			if x.fold {
				steps += int32(len(x.text("*", "?"))/8 + 1) // most places differ at once
			}
		}
	})
	return steps
}

// shadowTest is what is asked of the values at a field's place. That there is
// no value is not asked where another field may choose an element of an array
// above it, for other elements may have one.
func (s *patternSource) shadowTest(n int32) node {
	f := &s.fields[n]
	if f.absent && s.beside(f) {
		return node{kind: constNode, value: yes}
	}
	return f.orAbsent(s.env.places.of(reachAll, "data", f.path))
}

// beside reports whether a field of another path goes through the same member of
// the data.
func (s *patternSource) beside(f *field) bool {
	if len(f.path) == 0 {
		return false
	}
	for i := range s.fields {
		if o := &s.fields[i]; o.pathID != f.pathID && len(o.path) > 0 && o.path[0] == f.path[0] {
			return true
		}
	}
	return false
}
