package rules

import (
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func mustEvent(t testing.TB, json string) *event.Event {
	t.Helper()
	ev, err := event.FromStructured([]byte(json), event.Limits{})
	if err != nil {
		t.Fatalf("event: %v", err)
	}
	return ev
}

func mustEnv(t testing.TB) *Env {
	t.Helper()
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

const order = `{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order.placed","subject":"eu/de",
 "time":"2026-11-22T10:00:00Z","in":"x","partitionkey":"k","attempt":3,"hot":true,"datacontenttype":"application/json",
 "data":{"id":7,"total":150,"name":"Ana","tags":["a","b"],"nil":null,"big":12345678901234567890,"frac":1.10,
 "items":[{"sku":"s1","qty":2},{"sku":"s2","qty":5}],"nested":{"a":{"b":1}},"esc":"\u00e9\n"}}`

func TestFilters(t *testing.T) {
	const errored = "error"
	tests := []struct {
		name, when, want string
	}{
		{"an attribute equals text", `event.type == "com.example.order.placed"`, "true"},
		{"the contract's example matches", `event.type == "com.example.order.placed" && event.subject.startsWith("eu/") && event.data.total > 100`, "true"},
		{"a number compares with an int literal", `event.data.total > 100`, "true"},
		{"a number compares with a double literal", `event.data.total < 100.5`, "false"},
		{"a number equals an int literal", `event.data.id == 7`, "true"},
		{"a number is in a list of ints", `event.data.id in [1, 7]`, "true"},
		{"adding an int to a number fails", `event.data.id + 1 == 8`, errored},
		{"adding a double to a number works", `event.data.id + 1.0 == 8.0`, "true"},
		{"a number converts to an int", `int(event.data.id) % 2 == 1`, "true"},
		{"a missing key fails", `event.data.nope == 1`, errored},
		{"a missing key fails under not", `!(event.data.nope == 1)`, errored},
		{"or absorbs a failure", `event.data.nope == 1 || true`, "true"},
		{"has finds a key", `has(event.data.total)`, "true"},
		{"has misses a key", `has(event.data.nope)`, "false"},
		{"has below a missing key fails", `has(event.data.nope.x)`, errored},
		{"not has below a missing key fails", `!has(event.data.nope.x)`, errored},
		{"has below a scalar is false", `has(event.data.total.x)`, "false"},
		{"an optional path has a value", `event.data.?nested.?a.?b.hasValue()`, "true"},
		{"an optional path may be absent", `event.data.?nope.?a.?b.hasValue()`, "false"},
		{"an optional path has a default", `event.data.?nope.orValue(1) == 1`, "true"},
		{"has finds an attribute", `has(event.subject)`, "true"},
		{"has misses an attribute", `has(event.dataschema)`, "false"},
		{"has misses an extension", `has(event.nope)`, "false"},
		{"a missing attribute fails", `event.dataschema == ""`, errored},
		{"an extension is read by index", `event["in"] == "x"`, "true"},
		{"an extension is read in backticks", "event.`in` == 'x'", "true"},
		{"has with backticks", "has(event.`in`)", "true"},
		{"an optional index of an extension", `event[?"nope"].orValue("d") == "d"`, "true"},
		{"partitionkey by index", `event["partitionkey"] == "k"`, "true"},
		{"a typed extension is an int", `event.attempt + 1 == 4`, "true"},
		{"a typed extension is a bool", `event.hot`, "true"},
		{"a dynamic index of the event", `event[event.data.items[0].sku] == 1`, errored},
		{"time is a timestamp", `event.time > timestamp("2026-01-01T00:00:00Z")`, "true"},
		{"time has parts", `event.time.getHours() == 10`, "true"},
		{"time by index is a timestamp too", `event["time"] == event.time`, "true"},
		{"specversion is there", `event.specversion == "1.0"`, "true"},
		{"exists over objects", `event.data.items.exists(i, i.qty > 4)`, "true"},
		{"all over objects", `event.data.items.all(i, i.qty > 4)`, "false"},
		{"a filter and a map", `event.data.items.filter(i, i.qty > 4).map(i, i.sku) == ["s2"]`, "true"},
		{"text is in a list", `"b" in event.data.tags`, "true"},
		{"a key is in a map", `"a" in event.data.nested`, "true"},
		{"sizes", `size(event.data.items) == 2 && event.data.tags.size() == 2 && size(event.data.nested) == 1`, "true"},
		{"an index beyond the end fails", `event.data.tags[2] == "c"`, errored},
		{"a negative index fails", `event.data.tags[-1] == "c"`, errored},
		{"an index may be a whole double", `event.data.tags[event.data.nested.a.b] == "b"`, "true"},
		{"null equals null", `event.data.nil == null`, "true"},
		{"null is not missing", `has(event.data.nil)`, "true"},
		{"lists equal", `event.data.tags == ["a", "b"] && ["a", "b"] == event.data.tags`, "true"},
		{"maps equal", `event.data.nested == {"a": {"b": 1}} && {"a": {"b": 1}} == event.data.nested`, "true"},
		{"a list equals itself", `event.data.items == event.data.items`, "true"},
		{"escapes are decoded", `event.data.esc == "é\n"`, "true"},
		{"lists join with lists", `event.data.tags + ["c"] == ["a", "b", "c"]`, "true"},
		{"the strings library", `event.data.tags.join("-") == "a-b" && event.subject.split("/")[0] == "eu"`, "true"},
		{"the math library", `math.greatest(event.data.items.map(i, i.qty)) == 5`, "true"},
		{"the sets library", `sets.contains(event.data.tags, ["a"])`, "true"},
		{"the encoders library", `json.encode(event.data.nested) == '{"a":{"b":1}}'`, "true"},
		{"the regex library", `regex.extract(event.subject, "^(..)/").value() == "eu"`, "true"},
		{"the lists library", `event.data.tags.reverse()[0] == "b" && event.data.tags.distinct().size() == 2`, "true"},
		{"bindings", `cel.bind(t, event.data.total, t > 100 && t < 200)`, "true"},
		{"two-variable comprehensions", `event.data.tags.exists(i, t, i == 1 && t == "b")`, "true"},
		{"two-variable comprehensions over maps", `event.data.nested.all(k, v, k == "a" && v.b == 1)`, "true"},
		{"comprehensions over keys", `event.data.nested.exists(k, k == "a")`, "true"},
		{"regular expressions", `event.subject.matches("^eu/[a-z]+$")`, "true"},
		{"regular expressions as a function", `matches(event.subject, "^us/")`, "false"},
		{"a result that is not a bool fails", `event.data.total`, errored},
		{"type of data", `type(event.data) == map && type(event.data.tags) == list`, "true"},
		{"dyn of event", `dyn(event).id == "1" && dyn(event)["in"] == "x"`, "true"},
		{"has on dyn of event", `has(dyn(event).id) && !has(dyn(event).nope)`, "true"},
		{"constants", `true`, "true"},
	}
	env := mustEnv(t)
	ev := mustEvent(t, order)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m, err := env.Compile(Filter{When: tc.when})
			if err != nil {
				t.Fatalf("%s\n%v", tc.when, err)
			}
			r := m.Evaluate(ev)
			got := "false"
			if r.Matched {
				got = "true"
			}
			if r.Error != "" {
				got = errored
			}
			if got != tc.want {
				t.Errorf("%s: got %s (%s), want %s", tc.when, got, r.Error, tc.want)
			}
			if ids := NewSet([]Entry{{ID: 1, Rule: "r", Matcher: m}}).Match(ev, nil); (len(ids) == 1) != r.Matched {
				t.Errorf("Match says %v, Evaluate %v", ids, r)
			}
		})
	}
}
