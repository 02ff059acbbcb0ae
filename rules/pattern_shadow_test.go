package rules

import (
	"errors"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func replaceAll(s, from, to string) string { return strings.ReplaceAll(s, from, to) }

// dataPattern is a pattern in the filter's condition, if there is one.
func dataPattern(m *Matcher) (p *pattern) {
	m.filter.tree().walk(func(n *node) {
		if n.kind == patternNode {
			p = n.more.(*pattern)
		}
	})
	return p
}

// shadowHolds evaluates the shadow as plainly as can be: the part of it that is
// about one place holds when it does for one of the values there.
func (p *pattern) shadowHolds(ev *event.Event) bool {
	v := &view{ev: ev}
	values := map[string][]value{}
	spread(v.dataValue(), nil, values)
	shadow := p.shadow()
	return holds(&shadow, values) == yes
}

func spread(x value, path []string, into map[string][]value) {
	switch x.kind {
	case missingValue:
	case listValue:
		for e := range x.node.Elements() {
			spread(nodeValue(e), path, into)
		}
	case mapValue:
		for key, m := range x.node.Entries() {
			spread(nodeValue(m), append(path[:len(path):len(path)], key), into)
		}
	default:
		into[dotted(path)] = append(into[dotted(path)], x)
	}
}

func dotted(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return "." + strings.Join(path, ".")
}

func holds(n *node, values map[string][]value) outcome {
	var p *place
	one := true
	n.walk(func(n *node) {
		if n.kind == testNode {
			one = one && (p == nil || p == n.place)
			p = n.place
		}
	})
	if one && p != nil {
		name := dotted(p.keys)
		if len(values[name]) == 0 {
			return n.on(&value{})
		}
		for _, x := range values[name] {
			if o := n.on(&x); o == yes {
				return yes
			}
		}
		return no
	}
	switch n.kind {
	case constNode:
		return n.value
	case andNode:
		for i := range n.kids() {
			if o := holds(&n.kids()[i], values); o != yes {
				return o
			}
		}
		return yes
	case orNode:
		for i := range n.kids() {
			if o := holds(&n.kids()[i], values); o == yes {
				return yes
			}
		}
		return no
	}
	panic("a shadow has no other nodes over several places")
}

// FuzzPattern looks for patterns and events that break the matcher, and for
// events that match but not in the shadow.
func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{
		{`{"a": {"x": [1], "y": [{"exists": false}]}}`, `{"a": [{"x": 1}, {"y": 2}]}`},
		{`{"a": ["b"], "$or": [{"c": [{"numeric": [">", 1, "<", 2]}]}, {"d.e": [{"anything-but": {"prefix": ["x"]}}]}]}`, `{"a": "b", "d": {"e": "y"}}`},
		{`{"a": [{"wildcard": "*a\\*"}, {"cidr": "::/8"}, {"regexp": "a+"}, {"contains": ""}, null, true]}`, `{"a.": [[[]]], "a": "::1"}`},
		{`{"a": [1], "a.b": [2], "a": [{"exists": false}, 3]}`, `{"a": [1, {"b": 2}], "a.b": []}`},
		{`["x"]`, `"x"`}, {`{"x": [{"exists": false}]}`, `{"x": {}}`}, {`{`, `{}`}, {`{"$or": [{"a": [1]}, {"a": [2]}], "a": [3]}`, `{"a": 3}`},
	} {
		f.Add(s[0], s[1])
	}
	env := mustEnv(f)
	f.Fuzz(func(t *testing.T, source, data string) {
		filter := onData(source)
		if strings.HasPrefix(source, "\x00") {
			filter.Pattern = source[1:] // to get at the top, too
		}
		m, err := env.Compile(filter)
		if err != nil {
			checkCompileErrors(t, filter.Pattern, err)
			return
		}
		ev := withData(data)
		if ev == nil || m.filter == nil {
			return
		}
		r := m.Evaluate(ev)
		if r.Error != "" && !strings.Contains(r.Error, "too long") {
			t.Errorf("%s on %s: %s", source, data, r.Error)
		}
		m.filter.tree().walk(func(n *node) {
			if n.kind == patternNode {
				p := n.more.(*pattern)
				if p.eval(&view{ev: ev}) == yes && !p.shadowHolds(ev) {
					t.Errorf("%s matches %s, but not in the shadow", source, data)
				}
			}
		})
	})
}

func checkCompileErrors(t *testing.T, source string, err error) {
	all := []error{err}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		all = list.Unwrap()
	}
	for _, err := range all {
		var c *CompileError
		if !errors.As(err, &c) || c.Line < 1 || c.Column < 1 || c.Message == "" {
			t.Errorf("%q: %#v", source, err)
			return
		}
		_ = c.Caret()
	}
}
