package rules

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
)

const githubPush = `{"specversion":"1.0","id":"1","source":"https://github.com/cloudevents","type":"com.github.push",
 "subject":"https://github.com/cloudevents/spec","time":"2026-11-22T10:00:00Z","attempt":3,"hot":true,"city":"Ålesund"}`

func TestFiltersOfTheSubscriptionsAPI(t *testing.T) {
	tests := []struct {
		name, filters string
		want          bool
	}{
		// The examples of the specification.
		{"exact compares all attributes", `[{"exact": {"type": "com.github.push", "subject": "https://github.com/cloudevents/spec"}}]`, true},
		{"exact needs all attributes", `[{"exact": {"type": "com.github.push", "subject": "https://github.com/cloudevents"}}]`, false},
		{"prefix compares the beginnings", `[{"prefix": {"type": "com.github.", "subject": "https://github.com/cloudevents"}}]`, true},
		{"suffix compares the ends", `[{"suffix": {"type": ".push", "subject": "/cloudevents/spec"}}]`, true},
		{"suffix needs all ends", `[{"suffix": {"type": ".created", "subject": "/cloudevents/spec"}}]`, false},
		{"all needs each filter", `[{"all": [{"exact": {"type": "com.github.push"}}, {"exact": {"subject": "https://github.com/cloudevents/spec"}}]}]`, true},
		{"any needs one filter", `[{"any": [{"exact": {"type": "com.github.pull"}}, {"exact": {"subject": "https://github.com/cloudevents/spec"}}]}]`, true},
		{"not is the opposite", `[{"not": {"exact": {"type": "com.github.push"}}}]`, false},
		{"sql is an expression", `[{"sql": "source LIKE '%cloudevents%'"}]`, true},
		{"the array's filters must all hold", `[{"prefix": {"type": "com."}}, {"suffix": {"type": ".pull"}}]`, false},
		{"an empty array holds for every event", ` [ ] `, true},

		{"values are compared with their case", `[{"exact": {"type": "com.github.PUSH"}}]`, false},
		{"an integer is compared as text", `[{"exact": {"attempt": "3"}}]`, true},
		{"a boolean is compared as text", `[{"prefix": {"hot": "tr"}}]`, true},
		{"a time is compared as it was written", `[{"prefix": {"time": "2026-11-22T10"}}]`, true},
		{"an attribute that is not set is not exact", `[{"exact": {"gone": "a"}}]`, false},
		{"not of an attribute that is not set holds", `[{"not": {"exact": {"gone": "a"}}}]`, true},
		{"not not of it does not", `[{"not": {"not": {"exact": {"gone": "a"}}}}]`, false},
		{"escapes are undone", `[{"exact": {"city": "\u00c5lesund"}}]`, true},

		{"sql that fails is false", `[{"sql": "gone = 'a'"}]`, false},
		{"any does not mind sql that fails", `[{"any": [{"sql": "gone = 'a'"}, {"exact": {"hot": "true"}}]}]`, true},
		{"not of sql that fails holds", `[{"not": {"sql": "gone = 'a'"}}]`, true},
		{"not of sql that fails and says not holds", `[{"not": {"sql": "gone != 'a'"}}]`, true},
		{"not not of sql that fails does not", `[{"not": {"not": {"sql": "gone = 'a'"}}}]`, false},
		{"not of sql that fails on the left of OR holds", `[{"not": {"sql": "gone = 'a' OR hot"}}]`, true},
		{"not of sql that fails in the middle holds", `[{"not": {"sql": "type LIKE 'com.%' AND gone = 'a' AND hot"}}]`, true},
		{"not of any over sql that fails holds", `[{"not": {"any": [{"sql": "gone = 'a'"}, {"exact": {"type": "x"}}]}}]`, true},
		{"not of all over sql that fails holds", `[{"not": {"all": [{"sql": "1/0 = 1"}, {"exact": {"hot": "true"}}]}}]`, true},
		{"not of sql that holds does not", `[{"not": {"sql": "attempt = 3"}}]`, false},
		{"sql that results in text is false", `[{"sql": "city"}, {"exact": {"hot": "true"}}]`, false},
	}
	env, ev := mustEnv(t), mustEvent(t, githubPush)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := env.Compile(Filter{Filters: tt.filters})
			if err != nil {
				t.Fatal(err)
			}
			if r := m.Evaluate(ev); r.Matched != tt.want {
				t.Errorf("%s: %+v", tt.filters, r)
			}
		})
	}
	m, err := env.Compile(Filter{Filters: `[{"sql": "gone = 'a'"}]`})
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Evaluate(ev); r.Error != "no such key: gone" {
		t.Errorf("the failure is not shown: %+v", r)
	}
}

func TestFilterErrorsSayWhereAndWhatToDo(t *testing.T) {
	tests := []struct{ name, filters, pointer, want string }{
		{"an unknown dialect has the nearest name", `[{"exakt": {"type": "a"}}]`, "/0/exakt", `1:3: there is no filter dialect "exakt"; did you mean exact?`},
		{"a dialect far from all lists them", `[{"regexp": 1}]`, "/0/regexp", `1:3: there is no filter dialect "regexp"; the dialects are all, any, exact, not, prefix, sql, suffix`},
		{"a filter has one dialect", `[{"exact": {"id": "a"}, "prefix": {"id": "a"}}]`, "/0/prefix", "1:25: a filter has one dialect; put each into a filter of its own, in all or any"},
		{"a filter has a dialect", `[{}]`, "/0", "1:2: the filter is empty; the dialects are all, any, exact, not, prefix, sql, suffix"},
		{"filters are an array", `{"exact": {"id": "a"}}`, "", `1:1: this is not an array of filters; write [{"exact": {"type": "..."}}]`},
		{"a filter is an object", `["type"]`, "/0", `1:2: a filter is an object with one dialect; such as {"exact": {"type": "..."}}`},
		{"not has one filter", `[{"not": [{"exact": {"id": "a"}}]}]`, "/0/not", `1:10: a filter is an object with one dialect; such as {"exact": {"type": "..."}}`},
		{"all has filters", `[{"all": []}]`, "/0/all", "1:10: there is no filter in the array; write at least one"},
		{"any has an array", `[{"any": {"exact": {"id": "a"}}}]`, "/0/any", `1:10: this is not an array of filters; write [{"exact": {"type": "..."}}]`},
		{"exact has attributes", `[{"exact": {}}]`, "/0/exact", `1:12: there is no attribute in the object; such as {"type": "..."}`},
		{"exact has an object", `[{"exact": "type"}]`, "/0/exact", `1:12: this is not an object of attributes and texts; such as {"type": "..."}`},
		{"a name is not empty", `[{"exact": {"": "a"}}]`, "/0/exact/", "1:13: the name of an attribute is empty"},
		{"a name is in lower case", `[{"exact": {"Type": "a"}}]`, "/0/exact/Type", `1:13: "Type" is not an attribute; did you mean type? names of attributes are lower-case letters and digits`},
		{"a name in a pointer is escaped", `[{"exact": {"a/b~": "a"}}]`, "/0/exact/a~1b~0", `1:13: "a/b~" is not an attribute; names of attributes are lower-case letters and digits`},
		{"the data is not there", `[{"exact": {"data": "a"}}]`, "/0/exact/data", "1:13: filters do not see the data; use when or pattern for it"},
		{"a value is text", `[{"exact": {"attempt": 3}}]`, "/0/exact/attempt", `1:24: the value of an attribute is not text; write it as text: "3"`},
		{"a value is not a list", `[{"exact": {"type": ["a"]}}]`, "/0/exact/type", "1:21: the value of an attribute is not text; write text"},
		{"a value is not empty", `[{"exact": {"subject": ""}}]`, "/0/exact/subject", `1:24: the text is empty; no attribute is; for one that is not set use {"not": {"sql": "EXISTS ..."}}`},
		{"sql is text", `[{"sql": {}}]`, "/0/sql", `1:10: sql is not text; such as {"sql": "type LIKE '%.placed'"}`},
		{"a fault in sql has its place", `[{"all": [{"sql": "hot AND LENGT(id) = 1"}]}]`, "/0/all/0/sql", "1:28: there is no function LENGT; did you mean LENGTH?"},
		{"a fault in sql has its place behind escapes", `[{"sql": "city = \"\u00c5\ud83d\ude00\\\"\" AND FOO() = 1"}]`, "/0/sql", "1:49: there is no function FOO; the functions are ABS, BOOL, CONCAT, CONCAT_WS, INT, IS_BOOL, IS_INT, LEFT, LENGTH, LOWER, RIGHT, STRING, SUBSTRING, TRIM, UPPER"},
		{"sql is not empty", `[{"sql": " "}]`, "/0/sql", "1:11: the filter is empty"},
		{"the text is JSON", "[{\"exact\":\n {\"id\": }}]", "", "2:9: the filters cannot be read: "},
		{"keys are not repeated", `[{"exact": {"id": "a", "id": "b"}}]`, "", "1:24: the filters cannot be read: "},
		{"filters are not too deep", "[" + strings.Repeat(`{"not":`, 40) + `{"exact":{"id":"a"}}` + strings.Repeat("}", 40) + "]", strings.Repeat("/not", 32), "1:226: filters stand more than 32 deep in each other"},
		{"filters are not too long", "[" + strings.Repeat(" ", MaxSource) + "]", "", "1:1: the filters are 16386 bytes long; at most 16384"},
		{"filters cannot take long", `[{"any": [` + strings.Repeat(`{"sql": "id LIKE '%a%'"}, `, 40) + `{"sql": "hot"}]}]`, "", "1:1: more than 16 parts of the filters read whole texts; use fewer of LIKE '%...%' and of functions in sql"},
	}
	env := mustEnv(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := env.Compile(Filter{Filters: tt.filters})
			var c *CompileError
			if !errors.As(err, &c) {
				t.Fatalf("%v", err)
			}
			if c.Error() != tt.want && (!strings.HasSuffix(tt.want, ": ") || !strings.HasPrefix(c.Error(), tt.want)) {
				t.Errorf("got  %s\nwant %s", c, tt.want)
			}
			if c.Pointer != tt.pointer && !strings.HasSuffix(c.Pointer, tt.pointer) {
				t.Errorf("the pointer is %q, not %q", c.Pointer, tt.pointer)
			}
		})
	}
	_, err := env.Compile(Filter{Filters: "[{\"exakt\": {}},\n {\"exact\": {\"A\": 1}},\n {\"sql\": \"LENGT(id) = data\"}]"})
	want := "1:3: there is no filter dialect \"exakt\"; did you mean exact?\n" +
		"2:13: \"A\" is not an attribute; did you mean a? names of attributes are lower-case letters and digits\n" +
		"2:18: the value of an attribute is not text; write it as text: \"1\"\n" +
		"3:11: there is no function LENGT; did you mean LENGTH?\n" +
		"3:23: sql does not see the data; use when or pattern for it"
	if err == nil || err.Error() != want {
		t.Errorf("all at once:\n%v\nwant\n%s", err, want)
	}
}

// naiveFilter is the specification, read aloud.
func naiveFilter(t *rapid.T, filter any, ev *event.Event) bool {
	every := func(attributes any, test func(a, b string) bool) bool {
		for name, value := range attributes.(map[string]any) {
			a, ok := ev.Attribute(name)
			if !ok || !test(a.Text(), value.(string)) {
				return false
			}
		}
		return true
	}
	for dialect, of := range filter.(map[string]any) {
		switch dialect {
		case "exact":
			return every(of, func(a, b string) bool { return a == b })
		case "prefix":
			return every(of, strings.HasPrefix)
		case "suffix":
			return every(of, strings.HasSuffix)
		case "not":
			return !naiveFilter(t, of, ev)
		case "sql":
			e, problems := parseSQL(of.(string))
			if problems != nil {
				t.Fatal(problems)
			}
			r := sqlRun{ev: ev}
			v, err := r.eval(&e)
			return err == nil && v.typ == sqlBoolean && v.num != 0
		}
		for _, f := range of.([]any) {
			if naiveFilter(t, f, ev) == (dialect == "any") {
				return dialect == "any"
			}
		}
		return dialect == "all"
	}
	return true
}

func genFilter(t *rapid.T, depth int) map[string]any {
	kinds := []string{"exact", "prefix", "suffix", "sql", "sql", "not", "not", "all", "any"}
	if depth == 0 {
		kinds = kinds[:5]
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "dialect"); kind {
	case "sql":
		for {
			source := genSQL(t, 1)
			if e, _ := parseSQL(source); e.typ() == sqlBoolean || e.typ() == sqlAny {
				return map[string]any{kind: source}
			}
		}
	case "not":
		return map[string]any{kind: genFilter(t, depth-1)}
	case "all", "any":
		list := make([]any, rapid.IntRange(1, 3).Draw(t, "length"))
		for i := range list {
			list[i] = genFilter(t, depth-1)
		}
		return map[string]any{kind: list}
	default:
		attributes := map[string]any{}
		for range rapid.IntRange(1, 2).Draw(t, "attributes") {
			name := rapid.SampledFrom([]string{"type", "subject", "time", "ext", "num", "flag", "gone"}).Draw(t, "name")
			attributes[name] = rapid.SampledFrom([]string{"a", "ab", "b", "5", "true", "2026-11-22T10:00:00Z", "2026", "é"}).Draw(t, "text")
		}
		return map[string]any{kind: attributes}
	}
}

// TestFiltersSameAsRead compares conditions, alone and in a Set, with a naive
// reading of the filters. Rapid prints the seed of a failure.
func TestFiltersSameAsRead(t *testing.T) {
	env := mustEnv(t)
	counts := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		filter := genFilter(t, 3)
		text, err := json.Marshal([]any{filter})
		if err != nil {
			t.Fatal(err)
		}
		m, err := env.Compile(Filter{Filters: string(text)})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		set := NewSet([]Entry{{ID: 1, Rule: "r", Matcher: m}})
		for range 8 {
			line := genSQLEvent(t)
			ev := mustRapidText(t, line)
			want, got := naiveFilter(t, filter, ev), m.Evaluate(ev)
			counts[want]++
			if got.Matched != want || len(set.Match(ev, nil)) != map[bool]int{true: 1}[want] {
				t.Fatalf("%s\non %s\nis %+v; it should be %v", text, line, got, want)
			}
		}
	})
	t.Log(counts)
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{`[]`, `[{"exact": {"type": "a", "hot": "true"}}]`, `[{"not": {"any": [{"prefix": {"id": "1"}}, {"sql": "gone = 'a' OR hot"}]}}]`,
		`[{"sql": "\u0041\ud83d\ude00("}, {"x/y": [1, {"a": "]"}, null]}]`, `{"all": []}`, `[{"suffix": {"a": 1.5e3}}`, "\xff"} {
		f.Add(s)
	}
	env := mustEnv(f)
	ev := mustEvent(f, githubPush)
	f.Fuzz(func(t *testing.T, source string) {
		m, err := env.Compile(Filter{Filters: source})
		if err != nil {
			var c *CompileError
			if !errors.As(err, &c) || c.Line < 1 || c.Column < 1 || c.Message == "" {
				t.Errorf("%q: %#v", source, err)
			} else {
				_ = c.Caret()
			}
			return
		}
		if r := m.Evaluate(ev); r.Matched && r.Error != "" {
			t.Errorf("%q: %+v", source, r)
		}
	})
}

// BenchmarkFilters needs no memory.
func BenchmarkFilters(b *testing.B) {
	m, err := mustEnv(b).Compile(Filter{Filters: `[{"exact": {"type": "com.github.push", "attempt": "3"}}, {"any": [{"prefix": {"subject": "x"}}, {"suffix": {"subject": "/spec"}}]}, {"not": {"sql": "gone = 'a' OR hot"}}]`})
	if err != nil {
		b.Fatal(err)
	}
	v := &view{ev: mustEvent(b, githubPush)}
	b.ReportAllocs()
	for b.Loop() {
		if m.filter.eval(v) != yes {
			b.Fatal("no match")
		}
	}
}
