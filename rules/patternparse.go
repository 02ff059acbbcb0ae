package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// patternSource reads a pattern. What is wrong with it is kept, and reading
// goes on.
type patternSource struct {
	jsonSource
	env    *Env
	fields []field // of the data
	attrs  []field // of attributes; their path is the name
	paths  map[string]int32
	ways   []combination
	steps  int  // of all regular expressions
	full   bool // there are too many fields or ways, which was said
}

// field is what a pattern asks of the values at one path.
type field struct {
	path   []string
	test   node // on one value
	absent bool // that there is no value will do, too
	pathID int32
}

// combination is fields that hold together, as numbers: those of the data, and,
// negative and less one, those of attributes.
type combination []int32

// compilePattern makes the condition of an event pattern.
func (env *Env) compilePattern(source string) (node, error) {
	s := &patternSource{jsonSource: jsonSource{source: source}, env: env, paths: map[string]int32{}}
	if s.read("the pattern") {
		if s.root.kind != mapValue {
			s.refuseValue(&s.root, "a pattern is an object, not "+s.root.kindName(), `write {"detail-type": ["…"]}`)
		} else {
			s.ways = []combination{nil}
			s.object(&s.root, nil)
		}
	}
	if err := join(s.problems); err != nil {
		return node{}, err
	}
	return s.condition(), nil
}

// object reads the fields of an object.
func (s *patternSource) object(v *jsonValue, path []string) {
	if len(v.members) == 0 {
		s.refuseValue(v, "an object without fields", "write at least one field")
	}
	for i := range v.members {
		m := &v.members[i]
		if m.name == "$or" && either(&m.value) {
			s.or(m, path)
			continue
		}
		if below := append(path[:len(path):len(path)], strings.Split(m.name, ".")...); len(path) > 0 || s.top(m, below) {
			s.field(m, below)
		}
	}
}

// top checks the name of a field on the top.
func (s *patternSource) top(m *jsonMember, path []string) bool {
	name := path[0]
	switch {
	case name == "detail":
		return true
	case name == "data":
		s.refuseMember(m, "an event's data is called detail in a pattern", `write "detail"`)
		return false
	case m.name == "$or":
		s.refuseMember(m, "an $or needs at least two objects, in a list", `write "$or": [{…}, {…}]`)
		return false
	case m.name != "detail-type" && !attributeName(m.name):
		hint := "below detail a pattern reads the data; on the top it has detail-type and names of attributes, of a to z and 0 to 9"
		if near := meant(m.name, "detail", "detail-type", "source", "type", "subject", "time", "id"); near != "" {
			hint = near
		}
		s.refuseMember(m, fmt.Sprintf("%s is no name of an attribute", inQuotes(m.name)), hint)
		return false
	}
	return true
}

// meant is the hint when one of the known names is near.
func meant(name string, known ...string) string {
	if hint := nearest(name, known, ""); strings.HasPrefix(hint, "did you mean") {
		return hint
	}
	return ""
}

func (s *patternSource) field(m *jsonMember, path []string) {
	v := &m.value
	if len(path) > maxNesting {
		s.refuseMember(m, fmt.Sprintf("the path of a field has %d steps; at most %d", len(path), maxNesting), "")
		return
	}
	switch v.kind {
	case mapValue:
		if path[0] != "detail" {
			hint := `write a list of what it may be: ["…"]`
			if near := meant(m.name, "detail"); near != "" {
				hint = near
			} else if len(v.members) == 1 && slices.Contains(operatorNames(), v.members[0].name) {
				hint = "an operator stands in a list: [" + shorten(s.source[v.start:v.end]) + "]"
			}
			s.refuseMember(m, fmt.Sprintf("the attribute %s has no fields", inQuotes(m.name)), hint)
			return
		}
		s.object(v, path)
	case listValue:
		if f, ok := s.alternatives(m, path); ok {
			s.put(m, f)
		}
	default:
		hint := "write what the field may be in a list: [" + shorten(s.source[v.start:v.end]) + "]"
		if slices.Contains(operatorNames(), m.name) {
			hint = "an operator stands in a list: [{" + shorten(s.source[m.start:v.end]) + "}]"
		}
		if v.kind == nullValue {
			hint = "indent what is to stand in it; for a field that is null, write [null]"
			if path[0] != "detail" || len(path) == 1 {
				hint = "indent what is to stand in it"
			}
		}
		s.refuseValue(v, fmt.Sprintf("%s has %s, where a list or an object should be", inQuotes(m.name), v.kindName()), hint)
	}
}

// put adds a field to each of the ways. As in EventBridge, what is said of a
// field last replaces what was said of it before, also when one of both is in an
// $or.
func (s *patternSource) put(m *jsonMember, f field) {
	var name strings.Builder
	for _, k := range f.path {
		name.WriteString(strconv.Itoa(len(k)) + ":" + k)
	}
	id, known := s.paths[name.String()]
	if !known {
		id = int32(len(s.paths))
		s.paths[name.String()] = id
	}
	if len(s.fields)+len(s.attrs) >= maxFields {
		if !s.full {
			s.full = true
			s.refuseMember(m, fmt.Sprintf("the pattern has more than %d fields", maxFields), "write some of it as rules of their own")
		}
		return
	}
	f.pathID = id
	var number int32
	if f.path[0] == "detail" {
		f.path = s.env.places.of(reachAll, "data", f.path[1:]).keys // which are kept once for all patterns
		s.fields = append(s.fields, f)
		number = int32(len(s.fields) - 1)
	} else {
		s.attrs = append(s.attrs, f)
		number = -int32(len(s.attrs))
	}
	for i, w := range s.ways {
		at := slices.IndexFunc(w, func(n int32) bool { return s.numbered(n).pathID == id })
		if at >= 0 {
			w[at] = number
		} else {
			s.ways[i] = append(w, number)
		}
	}
}

// attribute is the place of an attribute, by its name in patterns.
func (s *patternSource) attribute(name string) *place {
	if name == "detail-type" {
		name = "type"
	}
	return s.env.places.of(reachText, name, nil)
}

func (s *patternSource) numbered(n int32) *field {
	if n < 0 {
		return &s.attrs[-n-1]
	}
	return &s.fields[n]
}

// either reports whether the value of a key "$or" is alternatives: at least two
// objects, none of which is an operator. Else it is a field with that name.
func either(v *jsonValue) bool {
	if v.kind != listValue || len(v.list) < 2 {
		return false
	}
	names := operatorNames()
	for i := range v.list {
		if v.list[i].kind != mapValue {
			return false
		}
		for j := range v.list[i].members {
			if slices.Contains(names, v.list[i].members[j].name) {
				return false
			}
		}
	}
	return true
}

// or reads alternatives: each makes ways of its own of those so far.
func (s *patternSource) or(m *jsonMember, path []string) {
	before, all := s.ways, []combination(nil)
	for i := range m.value.list {
		s.ways = make([]combination, len(before))
		for j, w := range before {
			s.ways[j] = slices.Clone(w)
		}
		s.object(&m.value.list[i], path)
		if all = append(all, s.ways...); len(all) > maxWays {
			if !s.full {
				s.full = true
				s.refuseMember(m, fmt.Sprintf("$or makes more than %d combinations of fields", maxWays), "write some of it as rules of their own")
			}
			all = all[:1] // to go on with
		}
	}
	s.ways = all
}
