package rules

import (
	"errors"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`event.type == "a"`, `event.data.a[0].b > 1 && has(event.data.c)`, `event.data.a.exists(x, x.b in [1, "a"])`,
		`event.subject.matches("^a(b|c)+$")`, `cel.bind(a, event.data, a.?b.orValue(1) == 1)`, "event.`in`", `"\u00e9" + 'a' == """b"""`, `event.`, "\xff", "(((", `event["in`,
		`default(event.data.a[0].?b["c"], coalesce(event.data, event.subject, 1)) == 1`, `time.format(event.time, "%F", "Europe/Berlin") == hash.md5(text.camelCase(event.id))`} {
		f.Add(s)
	}
	env := mustEnv(f)
	ev := mustEvent(f, order)
	f.Fuzz(func(t *testing.T, source string) {
		m, err := env.Compile(Filter{When: source})
		if err != nil {
			var c *CompileError
			if !errors.As(err, &c) || c.Line < 1 || c.Column < 1 || c.Message == "" {
				t.Errorf("%q: %#v", source, err)
			}
			if c != nil {
				_ = c.Caret()
			}
			return
		}
		if r := m.Evaluate(ev); r.Matched && r.Error != "" {
			t.Errorf("%q: %+v", source, r)
		}
	})
}

func FuzzMatch(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `[1,[],{}]`, `"x"`, `null`, `{"a":{"b":[1,2,{"c":"\ud83d\ude00"}]}}`, `-0.0`, `1e308`} {
		f.Add([]byte(s))
	}
	env := mustEnv(f)
	var entries []Entry
	for i, when := range []string{`event.data.a.b[2].c != ""`, `event.data == event.data`, `json.encode(event.data) != ""`, `event.data.exists(x, x == 1)`,
		`event.data.exists(k, v, v == 1)`, `size(event.data) > 1`, `event.data in [1, "x", null]`, `has(event.data.a)`, `event.data[0] == event.data[1]`, `event.data.?a.?b.hasValue()`} {
		m, err := env.Compile(Filter{When: when})
		if err != nil {
			f.Fatal(err)
		}
		entries = append(entries, Entry{ID: ID(i), Rule: when, Matcher: m})
	}
	s := NewSet(entries)
	f.Fuzz(func(t *testing.T, data []byte) {
		if event.CheckJSON(data) != nil {
			return
		}
		ev, err := structured(string(data))
		if err != nil {
			return
		}
		got := map[ID]bool{}
		for _, id := range s.Match(ev, nil) {
			got[id] = true
		}
		for _, e := range entries {
			if r := e.Matcher.Evaluate(ev); r.Matched != got[e.ID] {
				t.Errorf("%s on %s: Match says %v, Evaluate %+v", e.Rule, data, got[e.ID], r)
			}
		}
		if !got[1] {
			t.Errorf("%s does not equal itself", data)
		}
	})
}
