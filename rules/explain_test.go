package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// explained is a short form of an explanation: the summary, then each condition
// with its outcome, those that were not needed in brackets.
func explained(e Explanation) string {
	lines := []string{e.Summary}
	for _, c := range e.Conditions {
		line := c.Outcome + " " + c.Text + ": " + c.Note
		if c.NotNeeded {
			line = "(" + line + ")"
		}
		if c.Decides {
			line = "> " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func explainEvent(t *testing.T, more string) *event.Event {
	t.Helper()
	ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order"`+more+`}`), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestAnExplanationSaysWhatEachConditionSaw(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, when, event, want string }{
		{"a comparison that does not hold", `event.data.total > 100`, `,"data":{"total":87}`,
			"event.data.total > 100: total is 87\n> false event.data.total > 100: total is 87"},
		{"one that does", `event.data.total > 100`, `,"data":{"total":150.50}`,
			"event.data.total > 100: total is 150.50\ntrue event.data.total > 100: total is 150.50"},
		{"what is missing is named, and not what is below it", `event.data.user.id == 7`, `,"data":{}`,
			"event.data.user.id == 7: event.data.user is missing\n> failed event.data.user.id == 7: event.data.user is missing"},
		{"no data", `event.data.total > 100`, ``,
			"event.data.total > 100: event.data is missing\n> failed event.data.total > 100: event.data is missing"},
		{"data that is text", `event.data.total > 100`, `,"datacontenttype":"text/plain","data":"hello"`,
			"event.data.total > 100: event.data is \"hello\", so it has no total\n> failed event.data.total > 100: event.data is \"hello\", so it has no total"},
		{"another type", `event.data.total > 100`, `,"data":{"total":"87"}`,
			"event.data.total > 100: total is \"87\", which is text, not a number\n> failed event.data.total > 100: total is \"87\", which is text, not a number"},
		{"another type in an equation", `event.data.total == 100`, `,"data":{"total":"100"}`,
			"event.data.total == 100: total is \"100\", which is text, not a number\n> false event.data.total == 100: total is \"100\", which is text, not a number"},
		{"null", `event.data.total > 100`, `,"data":{"total":null}`,
			"event.data.total > 100: total is null, not a number\n> failed event.data.total > 100: total is null, not a number"},
		{"a list where text is wanted", `event.data.tag.startsWith("a")`, `,"data":{"tag":["a","b","c","d"]}`,
			"event.data.tag.startsWith(\"a\"): tag is a list of 4 (\"a\", \"b\", \"c\", …), not text\n> failed event.data.tag.startsWith(\"a\"): tag is a list of 4 (\"a\", \"b\", \"c\", …), not text"},
		{"the first of several decides, and the others are shown", `event.type == "com.example.order" && event.data.total > 100 && event.subject.startsWith("eu/")`, `,"subject":"us/ca","data":{"total":87}`,
			"event.data.total > 100: total is 87\ntrue event.type == \"com.example.order\": type is \"com.example.order\"\n" +
				"> false event.data.total > 100: total is 87\n(false event.subject.startsWith(\"eu/\"): subject is \"us/ca\")"},
		{"a failure is passed over for a condition that says no", `event.data.total > 100 && event.type == "x"`, `,"data":{}`,
			"event.type == \"x\": type is \"com.example.order\"\nfailed event.data.total > 100: event.data.total is missing\n> false event.type == \"x\": type is \"com.example.order\""},
		{"one of two holds", `event.type == "com.example.order" || event.data.total > 100`, `,"data":{"total":87}`,
			"event.type == \"com.example.order\": type is \"com.example.order\"\ntrue event.type == \"com.example.order\": type is \"com.example.order\"\n(false event.data.total > 100: total is 87)"},
		{"none of two holds", `event.type == "x" || event.data.total > 100`, `,"data":{"total":87}`,
			"none of these holds: event.type == \"x\": type is \"com.example.order\"; event.data.total > 100: total is 87\n" +
				"> false event.type == \"x\": type is \"com.example.order\"\n> false event.data.total > 100: total is 87"},
		{"a negation", `!(event.type == "com.example.order" || event.data.a == 1)`, `,"data":{"a":1}`,
			"!(event.type == \"com.example.order\"): type is \"com.example.order\"\n> false !(event.type == \"com.example.order\"): type is \"com.example.order\"\n(false !(event.data.a == 1): a is 1)"},
		{"a presence", `has(event.data.user)`, `,"data":{}`,
			"has(event.data.user): event.data.user is missing\n> false has(event.data.user): event.data.user is missing"},
		{"a choice", `event.data.vip ? event.data.total > 10 : event.data.total > 100`, `,"data":{"vip":false,"total":87}`,
			"event.data.total > 100: total is 87\nfalse event.data.vip: vip is false\n(true event.data.total > 10: total is 87)\n> false event.data.total > 100: total is 87"},
		{"a list of items", `event.data.items.exists(i, i.n > 3)`, `,"data":{"items":[{"n":1},{"n":2}]}`,
			"event.data.items.exists(i, i.n > 3): items: n is 1, 2\n> false event.data.items.exists(i, i.n > 3): items: n is 1, 2"},
		{"a list of many items", `event.data.items.all(i, i.q.n > 3 && i.sku != event.data.sku)`, `,"data":{"items":[{"sku":"a","q":{"n":1}},{"q":{"n":[]}},{"q":5},{},{}],"sku":"b"}`,
			"event.data.items.all(i, i.q.n > 3 && i.sku != event.data.sku): items: q.n is 1, an empty list, missing and of 2 more, sku is \"a\", missing, missing and of 2 more; sku is \"b\"\n" +
				"> false event.data.items.all(i, i.q.n > 3 && i.sku != event.data.sku): items: q.n is 1, an empty list, missing and of 2 more, sku is \"a\", missing, missing and of 2 more; sku is \"b\""},
		{"a list of numbers", `event.data.items.exists(i, i > 3)`, `,"data":{"items":[1,2]}`,
			"event.data.items.exists(i, i > 3): items is a list of 2 (1, 2)\n> false event.data.items.exists(i, i > 3): items is a list of 2 (1, 2)"},
		{"a branch in an expression that is asked", `(has(event.data.a) ? event.data.a : event.data.b) > 1.0`, `,"data":{"b":1}`,
			"(has(event.data.a) ? event.data.a : event.data.b) > 1.0: event.data.a is missing; b is 1\n> false (has(event.data.a) ? event.data.a : event.data.b) > 1.0: event.data.a is missing; b is 1"},
		{"arithmetic", `event.data.price * event.data.count > 100.0`, `,"data":{"price":8.5,"count":3}`,
			"event.data.price * event.data.count > 100.0: price is 8.5; count is 3\n> false event.data.price * event.data.count > 100.0: price is 8.5; count is 3"},
		{"a presence in an expression", `(has(event.data.a) ? event.data.a : event.data.b) > 1.0`, `,"data":{"a":1}`,
			"(has(event.data.a) ? event.data.a : event.data.b) > 1.0: a is 1\n> false (has(event.data.a) ? event.data.a : event.data.b) > 1.0: a is 1"},
		{"arithmetic on what is missing", `event.data.price * event.data.order.count > 100.0`, `,"data":{"price":8.5}`,
			"event.data.price * event.data.order.count > 100.0: price is 8.5; event.data.order is missing\n> failed event.data.price * event.data.order.count > 100.0: price is 8.5; event.data.order is missing"},
		{"what costs is not asked when it is not needed", `event.type == "x" && event.data.items.all(i, i.n > 3)`, `,"data":{"items":[{"n":1}]}`,
			"event.type == \"x\": type is \"com.example.order\"\n> false event.type == \"x\": type is \"com.example.order\"\n(not evaluated event.data.items.all(i, i.n > 3): it was not asked)"},
		{"a residue keeps its place", `event.data.items.size() > 3 && event.type == "com.example.order"`, `,"data":{"items":[1]}`,
			"event.data.items.size() > 3: items is a list of 1 (1)\n> false event.data.items.size() > 3: items is a list of 1 (1)\n(true event.type == \"com.example.order\": type is \"com.example.order\")"},
		{"a time", `event.time > timestamp("2030-01-01T00:00:00Z")`, `,"time":"2026-01-02T15:04:05Z"`,
			"event.time > timestamp(\"2030-01-01T00:00:00Z\"): time is 2026-01-02T15:04:05Z\n> false event.time > timestamp(\"2030-01-01T00:00:00Z\"): time is 2026-01-02T15:04:05Z"},
		{"an index into a list", `event.data.a[0].b == event.data.c`, `,"data":{"a":[{"b":1}],"c":2}`,
			"event.data.a[0].b == event.data.c: b is 1; c is 2\n> false event.data.a[0].b == event.data.c: b is 1; c is 2"},
		{"nothing", ``, ``, "the rule has no filter, so it matches every event"},
		{"a constant", `false`, ``, "false: it is always false\n> false false: it is always false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := env.Compile(Filter{When: c.when})
			if err != nil {
				t.Fatal(err)
			}
			ev := explainEvent(t, c.event)
			if got := explained(m.Explain(ev)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if n, _, _, _, _ := m.Stats(); n != 0 {
				t.Error("an explanation was counted")
			}
		})
	}
}

func TestAnExplanationIsBounded(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for i := range 200 {
		parts = append(parts, fmt.Sprintf("event.data.n != %d", i))
	}
	m, err := env.Compile(Filter{When: strings.Join(parts, " && ")})
	if err != nil {
		t.Fatal(err)
	}
	e := m.Explain(explainEvent(t, `,"data":{"n":150}`))
	last := e.Conditions[len(e.Conditions)-1]
	if len(e.Conditions) != 64 || e.More != 136 || !last.Decides || last.Text != "event.data.n != 150" || e.DecidedBy != last.Text {
		t.Errorf("%d conditions and %d more, the last %+v", len(e.Conditions), e.More, last)
	}
	long, err := env.Compile(Filter{When: `event.data.text == "` + strings.Repeat("é", 4000) + `"`})
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(long.Explain(explainEvent(t, `,"data":{"text":"`+strings.Repeat("ü", 10000)+`"}`)))
	if err != nil || len(out) > 2500 {
		t.Errorf("an explanation of %d bytes: %v", len(out), err)
	}
}

func TestMissesCountTheConditionsThatKeepAnEventFromMatching(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	m, err := env.Compile(Filter{When: `event.type == "a" && (event.data.n > 1 || event.data.m > 1 && event.data.m < 5) && !has(event.subject)`})
	if err != nil {
		t.Fatal(err)
	}
	x := m.Explainer()
	for fields, want := range map[string]int{
		`,"type":"a","data":{"n":2,"m":0}`:               0,
		`,"type":"a","data":{"n":0,"m":0}`:               1,
		`,"type":"b","data":{"n":2,"m":0}`:               1,
		`,"type":"b","data":{"n":0,"m":0}`:               2,
		`,"type":"b","subject":"s","data":{"n":0,"m":0}`: 3,
	} {
		ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/shop"`+fields+`}`), event.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Misses(ev); got != want {
			t.Errorf("%s: %d misses, want %d", fields, got, want)
		}
		if x.Evaluate(ev).Matched != (want == 0) {
			t.Errorf("%s: matched %v", fields, want != 0)
		}
	}
}

// TestWhatIsEvaluatedApartDoesNotSuspend holds a dry run apart from the rule in
// force: who tries an expression out must not stop deliveries.
func TestWhatIsEvaluatedApartDoesNotSuspend(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	m, err := env.Compile(Filter{When: `event.data.a.exists(x, event.data.a.exists(y, event.data.a.exists(z, x + y + z < 0.0)))`})
	if err != nil {
		t.Fatal(err)
	}
	ev := explainEvent(t, `,"data":{"a":[`+strings.Repeat("1,", 900)+`1]}`)
	x := m.Explainer()
	for range 8 {
		if res := x.Evaluate(ev); !strings.Contains(res.Error, "takes too long") {
			t.Fatalf("%+v", res)
		}
		if e := x.Explain(ev); !strings.Contains(e.Summary, "takes too long") {
			t.Fatalf("%+v", e)
		}
	}
	if _, _, _, _, suspended := m.Stats(); suspended {
		t.Error("the filter is suspended")
	}
	// The same for the expression of a transform.
	expr, err := env.CompileExpr(m.filter.source)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if _, err := expr.Try(ev); err == nil || !strings.Contains(err.Error(), "takes too long") {
			t.Fatal(err)
		}
	}
	if _, err := expr.Eval(ev); err == nil || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("the expression is suspended: %v", err)
	}
}

func TestAClassHasAReason(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for when, want := range map[string]string{
		``:                       "scan: there is no filter, so every event of the bus matches",
		`event.data.total > 100`: "indexed: ",
		`event.type == "a" && event.data.a + event.data.b > 3.0`: "mixed: after the index, a part of it is evaluated as an expression: event.data.a + event.data.b > 3.0",
		`event.data.a + event.data.b > 3.0`:                      `scan: it is evaluated on every event of the bus, for nothing in it has to hold that an index could find; join it to a comparison, such as event.type == "…" && …`,
	} {
		m, err := env.Compile(Filter{When: when})
		if err != nil {
			t.Fatal(err)
		}
		class, reason := m.Class()
		if got := class.String() + ": " + reason; got != want {
			t.Errorf("%s: %s", when, got)
		}
	}
}

// TestAnExplanationAgreesWithTheFilter explains generated filters.
func TestAnExplanationAgreesWithTheFilter(t *testing.T) {
	env := mustEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		data := `{"a":` + genJSON(t, 2) + `,"b":` + genJSON(t, 2) + `,"c":` + genJSON(t, 1) + `}`
		agrees(t, env, Filter{When: genBool(t, 3)}, mustRapidEvent(t, data))
	})
	rapid.Check(t, func(t *rapid.T) {
		agrees(t, env, Filter{SQL: genSQL(t, 3)}, mustRapidText(t, genSQLEvent(t)))
	})
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal([]any{genFilter(t, 3), genFilter(t, 2)})
		if err != nil {
			t.Fatal(err)
		}
		agrees(t, env, Filter{Filters: string(text)}, mustRapidText(t, genSQLEvent(t)))
	})
}

// TestAnExplanationOfAPatternAgreesWithIt explains random patterns.
func TestAnExplanationOfAPatternAgreesWithIt(t *testing.T) {
	env := mustEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		pattern, err := json.Marshal(modelPattern(r, 3))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(modelValue(r, 4, true))
		if err != nil {
			t.Fatal(err)
		}
		agrees(t, env, onData(string(pattern)), withData(string(data)))
	})
}

// agrees holds the explanation of a filter to its outcome.
func agrees(t *rapid.T, env *Env, f Filter, ev *event.Event) {
	m, err := env.Compile(f)
	if err != nil {
		return
	}
	want, x := m.Evaluate(ev), m.Explainer()
	if got := x.Evaluate(ev); got != want {
		t.Fatalf("%+v\non %s\napart %+v, else %+v", f, event.AppendStructured(nil, ev), got, want)
	}
	e := x.Explain(ev)
	if (x.root.out == yes) != want.Matched || (x.root.out == failure) != (want.Error != "") || (e.DecidedBy == "") != want.Matched || e.Summary == "" {
		t.Fatalf("%+v\non %s\n%+v, explained as %s", f, event.AppendStructured(nil, ev), want, explained(e))
	}
	if n := x.Misses(ev); (n == 0) != want.Matched {
		t.Fatalf("%+v\non %s\n%+v, with %d misses", f, event.AppendStructured(nil, ev), want, n)
	}
}

func TestWhatIsRedactedIsNotExplained(t *testing.T) {
	env := mustEnv(t)
	secret := strings.Repeat("hush ", 100)
	m, err := env.Compile(Filter{When: `event.type.startsWith("com") && event.data.token == "` + secret + `" && event.data.token + "x" != "` + secret + `"`})
	if err != nil {
		t.Fatal(err)
	}
	m.Redact(func(text string) string { return strings.ReplaceAll(text, secret, "[redacted]") })
	e := m.Explain(explainEvent(t, `,"data":{"token":"other"}`))
	if text := explained(e); strings.Contains(text, "hush") || !strings.Contains(text, `event.data.token == "[redacted]": token is "other"`) {
		t.Error(text)
	}
	if _, reason := m.Class(); strings.Contains(reason, "hush") {
		t.Error(reason)
	}
}

func TestAnExplanationSpeaksTheDialectOfTheFilter(t *testing.T) {
	env := mustEnv(t)
	for _, c := range []struct {
		name   string
		filter Filter
		event  string
		want   string
	}{
		{"SQL", Filter{SQL: `type = 'com.example.order' AND subject LIKE 'eu/%' AND EXISTS tenant`}, `,"subject":"us/ca"`,
			"subject LIKE 'eu/%': subject is \"us/ca\"\ntrue type = 'com.example.order': type is \"com.example.order\"\n> false subject LIKE 'eu/%': subject is \"us/ca\"\n(false EXISTS tenant: tenant is missing)"},
		{"an attribute that SQL needs", Filter{SQL: `subject = 'x' OR type = 'com.example.order'`}, ``,
			"subject = 'x': subject is missing\n> failed subject = 'x': subject is missing\n(true type = 'com.example.order': type is \"com.example.order\")"},
		{"a negation in SQL", Filter{SQL: `NOT (type = 'com.example.order' OR source = '/x')`}, ``,
			"NOT (type = 'com.example.order'): type is \"com.example.order\"\n> false NOT (type = 'com.example.order'): type is \"com.example.order\"\n(true NOT (source = '/x'): source is \"/shop\")"},
		{"an expression in SQL", Filter{SQL: `LENGTH(subject) > 3 AND level < 5`}, `,"subject":"eu/de","level":7`,
			"level < 5: level is 7\ntrue LENGTH(subject) > 3: subject is \"eu/de\"\n> false level < 5: level is 7"},
		{"filters", Filter{Filters: `[{"prefix":{"type":"com.","subject":"eu/"}},{"not":{"any":[{"exact":{"source":"/shop"}},{"sql":"level > 3"}]}}]`}, `,"subject":"eu/de","level":5`,
			"not(exact(source, \"/shop\")): source is \"/shop\"\ntrue prefix(type, \"com.\"): type is \"com.example.order\"\ntrue prefix(subject, \"eu/\"): subject is \"eu/de\"\n" +
				"> false not(exact(source, \"/shop\")): source is \"/shop\"\n(not evaluated not(level > 3): it was not asked)"},
		{"an attribute that filters need", Filter{Filters: `[{"suffix":{"subject":".png"}}]`}, ``,
			"suffix(subject, \".png\"): subject is missing\n> false suffix(subject, \".png\"): subject is missing"},
		{"a pattern", Filter{Pattern: `{"detail-type":["com.example.order"],"detail":{"state":{"code":[{"prefix":"a"}]},"total":[{"numeric":[">",10,"<=",100]}]}}`}, `,"data":{"state":{"code":"b"},"total":50}`,
			"detail.state.code prefix \"a\": code is \"b\"\ntrue detail-type is \"com.example.order\": type is \"com.example.order\"\n" +
				"> false detail.state.code prefix \"a\": code is \"b\"\n(true detail.total > 10 and <= 100: total is 50)"},
		{"a pattern names what is missing", Filter{Pattern: `{"detail":{"state.code":["a"]}}`}, `,"data":{}`,
			"detail.state.code is \"a\": detail.state is missing\n> false detail.state.code is \"a\": detail.state is missing"},
		{"several values of a pattern", Filter{Pattern: `{"detail":{"tags":["x",{"prefix":"y"}]}}`}, `,"data":{"tags":["a","b","c","d","e"]}`,
			"detail.tags is \"x\" or prefix \"y\": tags is \"a\", \"b\", \"c\" and 2 more\n> false detail.tags is \"x\" or prefix \"y\": tags is \"a\", \"b\", \"c\" and 2 more"},
		{"a pattern of several elements", Filter{Pattern: `{"detail":{"items":{"sku":["a"],"n":[2]}}}`}, `,"data":{"items":[{"sku":"a","n":1},{"sku":"b","n":2}]}`,
			"detail as a whole: each condition holds for a value, but not all of them for one and the same element of a list\n" +
				"true detail.items.n is 2: n is 1, 2\ntrue detail.items.sku is \"a\": sku is \"a\", \"b\"\n" +
				"> false detail as a whole: each condition holds for a value, but not all of them for one and the same element of a list"},
		{"an object where a pattern asks for nothing", Filter{Pattern: `{"detail":{"a":[{"exists":false}]}}`}, `,"data":{"a":{"b":1,"c":2}}`,
			"detail.a exists false: a is an object with 2 keys; exists asks for values, and an object is none\ntrue detail.a exists false: a is an object with 2 keys; exists asks for values, and an object is none"},
		{"an object where a pattern asks for something", Filter{Pattern: `{"detail":{"a":[{"exists":true}]}}`}, `,"data":{"a":{"b":1,"c":2}}`,
			"detail.a exists true: a is an object with 2 keys, and exists asks for a value\n> false detail.a exists true: a is an object with 2 keys, and exists asks for a value"},
		{"what a pattern is to be without", Filter{Pattern: `{"source":[{"anything-but":["/shop","/x"]}],"subject":[{"exists":false}]}`}, `,"subject":"a"`,
			"subject exists false: subject is \"a\"\n> false subject exists false: subject is \"a\"\n(false source is not one of \"/shop\", \"/x\": source is \"/shop\")"},
		{"a number in an attribute", Filter{Pattern: `{"level":[{"numeric":[">",5]}]}`}, `,"level":3`,
			"level numeric [\">\",5]: level is 3\n> false level numeric [\">\",5]: level is 3"},
		{"alternatives of a pattern", Filter{Pattern: `{"$or":[{"source":["/a"]},{"detail":{"n":[1]}}]}`}, `,"data":{"n":"1"}`,
			"none of these holds: source is \"/a\": source is \"/shop\"; detail.n is 1: n is \"1\", which is text, not a number\n" +
				"> false source is \"/a\": source is \"/shop\"\n> false detail.n is 1: n is \"1\", which is text, not a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := env.Compile(c.filter)
			if err != nil {
				t.Fatal(err)
			}
			ev := explainEvent(t, c.event)
			if got := explained(m.Explain(ev)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
