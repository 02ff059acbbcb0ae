package rules

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func lintText(warnings []Warning) string {
	var lines []string
	for _, w := range warnings {
		s := fmt.Sprintf("%d:%d", w.Line, w.Column)
		if w.Pointer != "" {
			s = w.Pointer
		}
		s += ": " + w.Message
		if w.Hint != "" {
			s += "; " + w.Hint
		}
		lines = append(lines, s)
	}
	return strings.Join(lines, "\n")
}

func TestLintOfExpressions(t *testing.T) {
	env := mustEnv(t)
	for _, tc := range []struct{ name, when, want string }{
		{"true matches everything", `true`,
			`1:1: the filter matches every event: it is always true; take the filter out if every event is to match`},
		{"false matches nothing", `false`,
			`1:1: false is never true; the filter never matches`},
		{"two literals that are equal", `1 == 1`,
			`1:1: the filter matches every event: it is always true; take the filter out if every event is to match`},
		{"two different values", `event.data.x == 1 && event.data.x == 2`,
			`1:22: event.data.x == 1 and event.data.x == 2 are never both true; the filter never matches`},
		{"two different types", `event.type == "a" && event.type == "b"`,
			`1:22: event.type == "a" and event.type == "b" are never both true; the filter never matches`},
		{"a range that is empty", `event.data.x > 5 && event.data.x < 3`,
			`1:21: event.data.x > 5 and event.data.x < 3 are never both true; the filter never matches`},
		{"a range that is one point short", `event.data.x > 5 && event.data.x <= 5`,
			`1:21: event.data.x > 5 and event.data.x <= 5 are never both true; the filter never matches`},
		{"a value that a prefix excludes", `event.data.s.startsWith("a") && event.data.s == "b"`,
			`1:33: event.data.s.startsWith("a") and event.data.s == "b" are never both true; the filter never matches`},
		{"prefixes that differ", `event.subject.startsWith("eu/") && event.subject.startsWith("us/")`,
			`1:36: event.subject.startsWith("eu/") and event.subject.startsWith("us/") are never both true; the filter never matches`},
		{"a value outside of a list", `event.type in ["a", "b"] && event.type == "c"`,
			`1:29: event.type in ["a", "b"] and event.type == "c" are never both true; the filter never matches`},
		{"an empty list", `event.type in []`,
			`1:1: event.type in [] is never true; the filter never matches`},
		{"text and a number", `event.data.x == "a" && event.data.x > 3`,
			`1:24: event.data.x == "a" and event.data.x > 3 are never both true; the filter never matches`},
		{"a condition and its opposite", `event.data.x == 1 && !(event.data.x == 1)`,
			`1:22: event.data.x == 1 and !(event.data.x == 1) are never both true; the filter never matches`},
		{"an expression and its opposite", `event.data.l.exists(i, i > 1.0) && !event.data.l.exists(i, i > 1.0)`,
			`1:36: event.data.l.exists(i, i > 1.0) and !event.data.l.exists(i, i > 1.0) are never both true; the filter never matches`},
		{"a specversion that is not", `event.specversion == "2.0"`,
			`1:1: event.specversion == "2.0" is never true, for specversion is always "1.0"; the filter never matches`},
		{"the specversion that is", `event.specversion == "1.0" && event.data.x == 1`,
			`1:1: event.specversion == "1.0" makes no difference, for specversion is always "1.0"; take it out`},
		{"an empty type", `event.type == ""`,
			`1:1: event.type == "" is never true, for type is never empty; the filter never matches`},
		{"a type that is not empty", `event.type != "" && event.data.x == 1`,
			`1:1: event.type != "" makes no difference, for type is never empty; take it out`},
		{"an attribute as a number", `event["subject"] == 5`,
			`1:1: event["subject"] == 5 is never true, for subject is text; the filter never matches`},
		{"has of what is always there", `has(event.source) && event.data.x > 1`,
			`1:1: has(event.source) makes no difference, for every event has the attribute source; take it out`},
		{"or covers everything", `event.type == "a" || event.type != "a"`,
			`1:1: the filter matches every event: event.type == "a" || event.type != "a" is always true; take the filter out if every event is to match`},
		{"a condition twice in or", `event.type == "a" || event.type == "a"`,
			`1:22: event.type == "a" stands here twice; take one of them out`},
		{"a condition twice in and", `event.data.a && event.data.a`,
			`1:17: event.data.a stands here twice; take one of them out`},
		{"an expression twice", `event.data.l.exists(i, i > 1.0) || event.data.l.exists(i, i > 1.0)`,
			`1:36: event.data.l.exists(i, i > 1.0) stands here twice; take one of them out`},
		{"a weaker limit", `event.data.x > 5 && event.data.x > 3`,
			`1:21: event.data.x > 3 makes no difference, for it is true whenever event.data.x > 5 is; take it out, or correct one of the two`},
		{"a stronger alternative", `event.data.x > 5 || event.data.x > 3`,
			`1:1: event.data.x > 5 makes no difference, for event.data.x > 3 is true whenever it is; take it out, or correct one of the two`},
		{"a value with the prefix beside it", `event.subject == "abc" || event.subject.startsWith("a")`,
			`1:1: event.subject == "abc" makes no difference, for event.subject.startsWith("a") is true whenever it is; take it out, or correct one of the two`},
		{"a conjunction behind its part", `event.type == "a" || (event.type == "a" && event.data.x > 3)`,
			`1:23: event.type == "a" && event.data.x > 3 makes no difference, for event.type == "a" is true whenever it is; take it out, or correct one of the two`},
		{"an alternative that its surroundings exclude", `event.type == "a" && (event.type == "b" || event.data.x > 3)`,
			`1:23: event.type == "b" is never true here, beside event.type == "a"`},
		{"an alternative that is never true", `event.specversion == "0.3" || event.data.x > 3`,
			`1:1: event.specversion == "0.3" is never true, for specversion is always "1.0"`},
		{"a branch that is never taken", `event.type == "a" ? event.data.x > 1 : event.type == "a" ? event.data.x > 2 : event.data.x > 3`,
			`1:40: event.type == "a" is never true here, behind event.type == "a"; what follows the ? is never reached`},
		{"a condition that is always true", `has(event.type) ? event.data.x > 1 : event.data.x > 2`,
			`1:38: event.data.x > 2 is never reached, for every event has the attribute type`},
		{"an int added to a number of JSON", `event.data.n + 1 > 5`,
			`1:1: event.data.n + 1 always fails: numbers in JSON are doubles, and + does not take a double and an int; write 1.0 in place of 1, or int(event.data.n)`},
		{"a remainder of a number of JSON", `event.data.n % 2 == 0`,
			`1:1: event.data.n % 2 always fails: % is for ints, and numbers in JSON are doubles; write int(event.data.n)`},
		{"an int times an element", `event.data.items[0].qty * 2 > 4.0`,
			`1:1: event.data.items[0].qty * 2 always fails: numbers in JSON are doubles, and * does not take a double and an int; write 2.0 in place of 2, or int(event.data.items[0].qty)`},
		{"an int in a comprehension", `event.data.items.exists(i, i.qty + 1 > 4)`,
			`1:28: i.qty + 1 always fails: numbers in JSON are doubles, and + does not take a double and an int; write 1.0 in place of 1, or int(i.qty)`},
		{"a regular expression that is a prefix", `event.subject.matches("^eu/")`,
			`1:1: the regular expression "^eu/" is plain text; write event.subject.startsWith("eu/"), which an index finds`},
		{"a regular expression that is a suffix", `event.subject.matches("/de$")`,
			`1:1: the regular expression "/de$" is plain text; write event.subject.endsWith("/de"), which an index finds`},
		{"a regular expression that is a part", `event.subject.matches("eu")`,
			`1:1: the regular expression "eu" is plain text; write event.subject.contains("eu"), which an index finds`},
		{"a regular expression that is the whole", `event.subject.matches("^eu$")`,
			`1:1: the regular expression "^eu$" is plain text; write event.subject == "eu", which an index finds`},
		{"a regular expression with anything around", `event.subject.matches(".*eu.*")`,
			`1:1: the regular expression ".*eu.*" is plain text; write event.subject.contains("eu"), which an index finds`},
		{"a regular expression with anything after its prefix", `matches(event.data.s, "^eu.*")`,
			`1:1: the regular expression "^eu.*" is plain text; write event.data.s.startsWith("eu"), which an index finds`},
		{"letters that changed places", `event.tpye == "a"`,
			`1:7: tpye is no attribute of CloudEvents, only nearly one; did you mean type?`},
		{"a letter left out", `event.sourc == "a"`,
			`1:7: sourc is no attribute of CloudEvents, only nearly one; did you mean source?`},
		{"a letter left out of data", `has(event.dat.x)`,
			`1:11: dat is no attribute of CloudEvents, only nearly one; did you mean data?`},
		{"a letter that is wrong in a long name", `event.datacontentype == "a"`,
			`1:7: datacontentype is no attribute of CloudEvents, only nearly one; did you mean datacontenttype?`},
		{"a field of an attribute", `event.detail.total > 100`,
			`1:1: event.detail.total always fails: event.detail is an attribute, which has no fields; the data is event.data; did you mean event.data.total?`},
		{"a field of a field of an attribute", `event.body["a-b"].c == "x"`,
			`1:1: event.body["a-b"] always fails: event.body is an attribute, which has no fields; the data is event.data; did you mean event.data["a-b"]?`},
		{"has of a field of an attribute", `has(event.payload.x)`,
			`1:1: has(event.payload.x) always fails: event.payload is an attribute, which has no fields; the data is event.data; did you mean event.data.x?`},
		{"elements of an attribute", `event.items.exists(i, i == 1)`,
			`1:1: to go over event.items always fails: it is an attribute, and no list; the data is event.data; did you mean event.data.items?`},
		{"in a second line", "event.type == \"a\" &&\n  event.subject.matches(\"^ä\")",
			`2:3: the regular expression "^ä" is plain text; write event.subject.startsWith("ä"), which an index finds`},

		{"the contract's example", `event.type == "com.example.order.placed" && event.subject.startsWith("eu/") && event.data.total > 100`, ""},
		{"a guard", `has(event.data.x) && event.data.x == 1`, ""},
		{"a guard in two steps", `has(event.data.a) && has(event.data.a.b) && event.data.a.b == "x"`, ""},
		{"a guard against null", `event.data.x != null && event.data.x > 1`, ""},
		{"a guard of an attribute", `has(event.subject) && event.subject == "a"`, ""},
		{"no guard", `event.data.a.b.c == 1`, ""},
		{"a number or a text", `event.data.x == 1 || event.data.x == "1"`, ""},
		{"every number", `event.data.x > 5 || event.data.x <= 5`, ""},
		{"a closed range", `event.data.x >= 5 && event.data.x <= 5`, ""},
		{"a prefix and a longer one", `event.data.s.startsWith("a") && event.data.s.endsWith("ab")`, ""},
		{"a value or a prefix that does not fit", `event.data.s == "b" || event.data.s.startsWith("a")`, ""},
		{"a key or no key", `event.data.x == 1 || !has(event.data.x)`, ""},
		{"not equal to two values", `event.data.x != 1 && event.data.x != 2`, ""},
		{"an extension that is a number", `event.attempt + 1 == 4`, ""},
		{"an int of a conversion", `int(event.data.n) % 2 == 0`, ""},
		{"a double added", `event.data.n + 1.0 > 5`, ""},
		{"an int for what is missing", `event.data.?n.orValue(1) + 1 == 2`, ""},
		{"an index in a comprehension", `event.data.items.exists(i, v, i + 1 == 2 && v.a == 1)`, ""},
		{"a size and an int", `size(event.data.items) + 1 > 3`, ""},
		{"two numbers of JSON", `event.data.a + event.data.b > 3`, ""},
		{"a regular expression that needs to be one", `event.subject.matches("^eu/[a-z]+$")`, ""},
		{"a regular expression with a dot", `event.type.matches("^com.example")`, ""},
		{"a regular expression that ignores case", `event.subject.matches("(?i)eu")`, ""},
		{"a regular expression that a line break matters to", `event.data.s.matches("^eu.*$")`, ""},
		{"an alternative of regular expressions", `event.data.s.matches("^(a|b)$")`, ""},
		{"extensions that are words", `event.date == "a" || event.times == "b" || event.sources == "c" || event.dataref == "d" || event.ids == "e"`, ""},
		{"an extension", `event.partitionkey == "a" && event.severity == "b"`, ""},
		{"conditions under not", `!(event.type == "a" || event.type == "b")`, ""},
		{"branches by type", `event.type == "a" ? event.data.x > 1 : event.type == "b" ? event.data.x > 2 : false`, ""},
		{"lists are told apart from texts", `"a" in event.data.x && event.data.x != "a"`, ""},
		{"two members", `"a" in event.data.x && "b" in event.data.x`, ""},
		{"order of texts", `event.data.s >= "a" && event.data.s < "b"`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := env.Compile(Filter{When: tc.when}); err != nil {
				t.Fatal(err)
			}
			if got := lintText(env.Lint(Filter{When: tc.when})); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.when, got, tc.want)
			}
		})
	}
}

func TestLintOfOtherExpressions(t *testing.T) {
	env := mustEnv(t)
	for _, tc := range []struct{ name, source, want string }{
		{"an int added to a number of JSON", `event.data.x + 1`,
			`1:1: event.data.x + 1 always fails: numbers in JSON are doubles, and + does not take a double and an int; write 1.0 in place of 1, or int(event.data.x)`},
		{"a slip in a name", `{"a": event.dta.x}`,
			`1:13: dta is no attribute of CloudEvents, only nearly one; did you mean data?`},
		{"a path", `event.data.x`, ""},
		{"what does not compile", `event.`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := lintText(env.LintExpr(tc.source)); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.source, got, tc.want)
			}
		})
	}
}

// genText makes filters about the attributes, which meet more often than those
// of genBool.
func genText(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 11).Draw(t, "bool")
	if depth == 0 && kind > 6 {
		kind %= 7
	}
	place := rapid.SampledFrom([]string{"event.type", "event.subject", "event.data.s", "event.data.n", `event["x"]`, "event.specversion"}).Draw(t, "place")
	text := rapid.SampledFrom([]string{`"a"`, `"ab"`, `"b"`, `"ba"`, `"abc"`, `""`, `"1.0"`}).Draw(t, "text")
	number := rapid.SampledFrom([]string{"0", "1", "1.5", "2", "-1"}).Draw(t, "number")
	switch kind {
	case 0:
		return "dyn(" + place + ") == dyn(" + rapid.SampledFrom([]string{text, number, "true", "null"}).Draw(t, "operand") + ")"
	case 1:
		return "dyn(" + place + ") " + rapid.SampledFrom([]string{"<", "<=", ">", ">="}).Draw(t, "op") + " dyn(" + rapid.SampledFrom([]string{text, number}).Draw(t, "operand") + ")"
	case 2, 3:
		return "dyn(" + place + ")." + rapid.SampledFrom([]string{"startsWith", "contains", "endsWith"}).Draw(t, "fn") + "(" + text + ")"
	case 4:
		return "dyn(" + place + ") in [dyn(" + text + "), dyn(" + number + ")]"
	case 5:
		return "has(" + rapid.SampledFrom([]string{"event.subject", "event.data", "event.data.s", "event.x", "event.data.n.m"}).Draw(t, "has") + ")"
	case 6:
		return "dyn(" + place + ") != dyn(" + rapid.SampledFrom([]string{text, number}).Draw(t, "operand") + ")"
	case 7, 8:
		return "(" + genText(t, depth-1) + " && " + genText(t, depth-1) + ")"
	case 9:
		return "(" + genText(t, depth-1) + " || " + genText(t, depth-1) + ")"
	case 10:
		return "!(" + genText(t, depth-1) + ")"
	}
	return "(" + genText(t, depth-1) + " ? " + genText(t, depth-1) + " : " + genText(t, depth-1) + ")"
}

func genTextEvent(t *rapid.T) string {
	text := rapid.SampledFrom([]string{`"a"`, `"ab"`, `"b"`, `"ba"`, `"abc"`, `"aba"`, `"z"`})
	scalar := rapid.SampledFrom([]string{`"a"`, `"ab"`, `""`, `"ba"`, "0", "1", "1.2", "7", "true", "null", "[]", `["a"]`, `{"m":1}`})
	s := `{"specversion":"1.0","id":"1","source":"/s","type":` + text.Draw(t, "type")
	if rapid.Bool().Draw(t, "subject") {
		s += `,"subject":` + text.Draw(t, "text")
	}
	if rapid.Bool().Draw(t, "x") {
		s += `,"x":` + rapid.SampledFrom([]string{`"a"`, `"ab"`, "1", "true", "2"}).Draw(t, "extension")
	}
	if rapid.IntRange(0, 3).Draw(t, "data") > 0 {
		s += `,"data":{"s":` + scalar.Draw(t, "s") + `,"n":` + scalar.Draw(t, "n") + `}`
	}
	return s + "}"
}

// What Lint says of a filter holds for every event: one that never matches does
// not, one that always does so does, and to take out what makes no difference
// makes none.
func TestLintIsTrueOfGeneratedEvents(t *testing.T) {
	env := mustEnv(t)
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		when, json := genText(t, 3), genTextEvent(t)
		if rapid.IntRange(0, 3).Draw(t, "pool") == 0 {
			when, json = genBool(t, 2), `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":`+genJSON(t, 2)+`,"b":`+genJSON(t, 2)+`,"c":`+genJSON(t, 1)+`}}`
		}
		m, err := env.Compile(Filter{When: when})
		if err != nil {
			return
		}
		res := m.Evaluate(mustTextEvent(t, json))
		for _, w := range env.Lint(Filter{When: when}) {
			switch {
			case strings.Contains(w.Message, "the filter never matches"):
				counts["never"]++
				if res.Matched {
					t.Fatalf("%s\nmatches %s\nalthough %s", when, json, w.Message)
				}
			case strings.HasPrefix(w.Message, "the filter matches every event"):
				counts["always"]++
				if !res.Matched {
					t.Fatalf("%s\ndoes not match %s (%s)\nalthough %s", when, json, res.Error, w.Message)
				}
			default:
				counts["other"]++
			}
		}
	})
	t.Log(counts)
}

func mustTextEvent(t *rapid.T, json string) eventPointer {
	ev, err := event.FromStructured([]byte(json), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// outcomeOn is what a claim says of an event; ok is false if it holds what only
// CEL can evaluate.
func (c *claim) outcomeOn(v *view) (o outcome, ok bool) {
	n := node{kind: c.kind, value: c.value}
	var k kids
	for _, kid := range c.kids {
		o, ok := kid.outcomeOn(v)
		if !ok {
			return 0, false
		}
		k = append(k, node{kind: constNode, value: o})
	}
	switch {
	case c.kind == testNode:
		return c.test.eval(v), true
	case c.key != "":
		return 0, false
	}
	if len(k) > 0 {
		n = parent(c.kind, k...)
	}
	return n.eval(v), true
}

// What happens is possible: of a whole filter, and of all its tests together.
func TestLogicFindsPossibleWhatHappens(t *testing.T) {
	env := mustEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		when := genText(t, 3)
		checked, err := env.check(when, "the filter")
		if err != nil {
			return
		}
		ev := mustTextEvent(t, genTextEvent(t))
		l := celLint{&linter{env: env, source: when}, lowering{env: env, source: when}, checked.NativeRep().SourceInfo()}
		var tests []assumption
		var visit func(c *claim)
		visit = func(c *claim) {
			o, ok := c.outcomeOn(&view{ev: ev})
			if !ok {
				return
			}
			if !l.logic.possible(assumption{c, 1 << o}) {
				t.Fatalf("%s in %s is called impossible, but is outcome %d of %s", c.text, when, o, event.AppendStructured(nil, ev))
			}
			if c.kind == testNode {
				tests = append(tests, assumption{c, 1 << o})
			}
			for _, k := range c.kids {
				visit(k)
			}
		}
		visit(l.claim(checked.NativeRep().Expr()))
		if !l.logic.possible(tests...) {
			t.Fatalf("the tests of %s are called impossible together, on %s", when, event.AppendStructured(nil, ev))
		}
	})
}

func TestLintOfSQL(t *testing.T) {
	env := mustEnv(t)
	for _, tc := range []struct{ name, sql, want string }{
		{"two values", `type = 'a' AND type = 'b'`,
			`1:16: type = 'a' and type = 'b' are never both true; the filter never matches`},
		{"the same twice", `subject = 'a' OR subject = 'a'`,
			`1:18: subject = 'a' stands here twice; take one of them out`},
		{"a value that is like what stands before it", `type = 'abc' AND type LIKE 'a%'`,
			`1:18: type LIKE 'a%' makes no difference, for it is true whenever type = 'abc' is; take it out, or correct one of the two`},
		{"an alternative that the first has", `type LIKE 'a%' OR type = 'abc'`,
			`1:19: type = 'abc' makes no difference, for type LIKE 'a%' is true whenever it is; take it out, or correct one of the two`},
		{"what is always there", `EXISTS type AND subject = 'a'`,
			`1:1: EXISTS type makes no difference, for every event has the attribute type; take it out`},
		{"true", `TRUE`,
			`1:1: the filter matches every event: it is always true; take the filter out if every event is to match`},
		{"false", `1 = 2`,
			`1:1: 1 = 2 is never true; the filter never matches`},
		{"letters that changed places", `tpye = 'a' AND EXISTS sourc`,
			`1:1: tpye is no attribute of CloudEvents, only nearly one; did you mean type?
1:16: sourc is no attribute of CloudEvents, only nearly one; did you mean source?`},
		{"in a second line", "EXISTS subject\nAND specversion = '2.0'",
			`2:5: specversion = '2.0' is never true, for specversion is always "1.0"; the filter never matches`},
		{"an expression twice", `LENGTH(subject) > 3 AND LENGTH(subject) > 3`,
			`1:25: LENGTH(subject) > 3 stands here twice; take one of them out`},
		{"an order of times", `EXISTS time AND time > '2026-01-01T00:00:00Z'`,
			`1:17: time > '2026-01-01T00:00:00Z' always fails: it is for whole numbers, and time is none; in when, write event.time > timestamp("2026-01-01T00:00:00Z")`},
		{"an order of texts", `subject >= 'b'`,
			`1:1: subject >= 'b' always fails: it is for whole numbers, and 'b' is none; texts can be compared with = and LIKE; when has an order of texts and times`},
		{"a division by zero", `1/0 = 1`,
			`1:1: 1/0 always fails: it divides by 0`},
		{"a sum of texts", `LENGTH(subject) + 'a' = 3`,
			`1:1: LENGTH(subject) + 'a' always fails: it is for whole numbers, and 'a' is none; texts can be compared with = and LIKE; when has an order of texts and times`},
		{"an order of numbers in a text", `priority > '3'`, ""},

		{"different attributes", `type = 'a' AND subject = 'b' OR myext = 5`, ""},
		{"a guard", `EXISTS subject AND subject = 'a'`, ""},
		{"a guard by kind", `EXISTS myext AND myext = 5 AND myext < 7`, ""},
		{"a prefix and a suffix", `type LIKE 'a%' AND type LIKE '%b'`, ""},
		{"one of two", `type IN ('a', 'b') AND NOT type = 'a'`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := env.Compile(Filter{SQL: tc.sql}); err != nil {
				t.Fatal(err)
			}
			if got := lintText(env.Lint(Filter{SQL: tc.sql})); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.sql, got, tc.want)
			}
		})
	}
}

func TestLintOfFilters(t *testing.T) {
	env := mustEnv(t)
	for _, tc := range []struct{ name, filters, want string }{
		{"two values", `[{"exact":{"type":"a"}},{"not":{"not":{"exact":{"type":"b"}}}}]`,
			`/1: {"exact":{"type":"a"}} and {"not":{"not":{"exact":{"type":"b"}}}} are never both true; the filter never matches`},
		{"an alternative twice", `[{"any":[{"exact":{"type":"a"}},{"exact":{"type":"a"}}]}]`,
			`/0/any/1/exact/type: {"exact":{"type":"a"}} stands here twice; take one of them out`},
		{"a prefix of the value", `[{"exact":{"type":"abc","subject":"x"}},{"prefix":{"type":"a"}}]`,
			`/1/prefix/type: {"prefix":{"type":"a"}} makes no difference, for it is true whenever {"exact":{"type":"abc","subject":"x"}} is; take it out, or correct one of the two`},
		{"what is excluded already", `[{"not":{"prefix":{"type":"a"}}},{"any":[{"exact":{"type":"ab"}},{"suffix":{"type":"z"}}]}]`,
			`/1/any/0/exact/type: {"exact":{"type":"ab"}} is never true here, beside {"not":{"prefix":{"type":"a"}}}`},
		{"everything", `[{"any":[{"exact":{"subject":"a"}},{"not":{"exact":{"subject":"a"}}}]}]`,
			`1:1: the filter matches every event: [{"any":[{"exact":{"subject":"a"}},{"not":{"exact":{"subject":"a"}}}]}] is always true; take the filter out if every event is to match`},

		{"a letter left out", `[{"prefix":{"sbject":"a"}}]`,
			`/0/prefix/sbject: sbject is no attribute of CloudEvents, only nearly one; did you mean subject?`},
		{"no filter at all", `[]`,
			`1:1: the filter matches every event: the list is empty; write a filter into it, or take it out if every event is to match`},
		{"SQL that always fails", `[{"any":[{"sql":"time > 'x'"},{"exact":{"type":"a"}}]}]`,
			`/0/any/0/sql: time > 'x' always fails: it is for whole numbers, and time is none; in when, write event.time > timestamp("x")`},
		{"two attributes", `[{"exact":{"type":"a","subject":"b"}},{"sql":"myext > 4"}]`, ""},
		{"alternatives", `[{"any":[{"exact":{"type":"a"}},{"prefix":{"type":"b"}},{"sql":"type = 'a'"}]}]`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := env.Compile(Filter{Filters: tc.filters}); err != nil {
				t.Fatal(err)
			}
			if got := lintText(env.Lint(Filter{Filters: tc.filters})); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.filters, got, tc.want)
			}
		})
	}
}

func TestLintOfPatterns(t *testing.T) {
	env := mustEnv(t)
	for _, tc := range []struct{ name, pattern, want string }{
		{"an alternative twice", `{"detail":{"a":{"b":["x","y","x"]}}}`,
			`/detail/a/b/2: "x" stands here twice; take one of them out`},
		{"an alternative that another has", `{"detail-type":["com.example.a",{"prefix":"com.example."}]}`,
			`/detail-type/0: "com.example.a" makes no difference, for {"prefix":"com.example."} is true whenever it is; take it out, or correct one of the two`},
		{"a range in a range", `{"detail":{"n":[{"numeric":[">",5]},{"numeric":[">",3,"<",10]},{"numeric":[">",4,"<",6]}]}}`,
			`/detail/n/2: {"numeric":[">",4,"<",6]} makes no difference, for {"numeric":[">",3,"<",10]} is true whenever it is; take it out, or correct one of the two`},
		{"an empty type", `{"type":[""]}`,
			`/type/0: "" is never true, for type is never empty; the filter never matches`},
		{"an empty type beside another", `{"type":["","a"]}`,
			`/type/0: "" is never true, for type is never empty`},
		{"a specversion that is not", `{"specversion":["0.3"]}`,
			`/specversion/0: "0.3" is never true, for specversion is always "1.0"; the filter never matches`},
		{"what is always there", `{"source":[{"exists":true}],"subject":["a"]}`,
			`/source/0: {"exists":true} makes no difference, for every event has the attribute source; take it out`},
		{"a regular expression that is a prefix", `{"subject":[{"regexp":"^eu/"}]}`,
			`/subject/0: the regular expression "^eu/" is plain text; write {"prefix": "eu/"}`},
		{"a slip in a name", `{"sorce":["a"]}`,
			`/sorce: sorce is no attribute of CloudEvents, only nearly one; did you mean source?`},
		{"an operator as a field", `{"detail":{"total":{"numeric":[">",100]}}}`,
			`/detail/total/numeric: numeric is an operator, which stands in a list; here it is the name of a field; write [{"numeric": [">",100]}]`},
		{"an exclusion as a field", `{"detail":{"a":{"status":{"anything-but":["x"]},"n":[1]}}}`,
			`/detail/a/status/anything-but: anything-but is an operator, which stands in a list; here it is the name of a field; write [{"anything-but": "x"}]`},
		{"a prefix as a field", `{"detail":{"tags":{"prefix":["ne"]}}}`,
			`/detail/tags/prefix: prefix is an operator, which stands in a list; here it is the name of a field; write [{"prefix": "ne"}]`},
		{"two fields for the type", `{"type":["a"],"detail-type":["b"]}`,
			`/detail-type: type and detail-type are the same attribute, and both have to hold; write one of them; several types are alternatives in its list`},
		{"in an $or", `{"$or":[{"type":["a","a"]},{"subject":["b"]}]}`,
			`/$or/0/type/1: "a" stands here twice; take one of them out`},

		{"the four kinds", `{"source":["/shop"],"detail":{"total":[{"numeric":[">",100]}],"state":[{"anything-but":["x"]}],"tags":["a","b"],"gone":[{"exists":false}]}}`, ""},
		{"fields that are called as operators", `{"detail":{"prefix":["a"],"phone":{"prefix":["+49"],"number":["1"]},"x":{"numeric":["a"],"contains":[{"exists":true}]}}}`, ""},
		{"values or none", `{"detail":{"a":["x",{"exists":false}]}}`, ""},
		{"two paths to one array", `{"detail":{"items":{"a":["x"]},"items.b":["y"]}}`, ""},
		{"a prefix and a suffix", `{"subject":[{"prefix":"eu/"},{"suffix":"/de"}]}`, ""},
		{"a text and a number", `{"detail":{"a":["1",1]}}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := env.Compile(Filter{Pattern: tc.pattern}); err != nil {
				t.Fatal(err)
			}
			if got := lintText(env.Lint(Filter{Pattern: tc.pattern})); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.pattern, got, tc.want)
			}
		})
	}
}
