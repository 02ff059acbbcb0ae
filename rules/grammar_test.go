package rules

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// grammar makes filters and events from one small pool of names and literals,
// so that they meet: missing and null values, values of the wrong type, numbers
// around 2^53, both zeros, empty and escaped texts, lists and objects.
type grammar struct{ *rand.Rand }

func (g grammar) one(of ...string) string { return of[g.IntN(len(of))] }

var (
	grammarNumbers = []string{"0", "-0.0", "1", "2", "3.5", "100", "-1", "9007199254740991", "9007199254740992", "9007199254740993", "1e300"}
	grammarTexts   = []string{"", "a", "ab", "abc", "b", "é", "€uro", "line\nbreak", "com.example.a", "com.example.ab", "eu/de", "eu/fr", "A", "abab"}
	grammarPaths   = []string{"event.data.n", "event.data.s", "event.data.flag", "event.data.list", "event.data.o.n", "event.data.o.s", "event.data.o.deep.n",
		`event.data["o"]["s"]`, "event.data.nil", "event.data.nope", "event.data.nope.n", "event.data.n.x", "event.num", "event.ok", "event.txt", "event.gone", "event.data"}
	grammarAttributes = []string{"event.type", "event.source", "event.subject", "event.id"}
)

func (g grammar) number() string { return g.one(grammarNumbers...) }
func (g grammar) text() string   { return strconv.Quote(g.one(grammarTexts...)) }

func (g grammar) scalar() string {
	switch g.IntN(8) {
	case 0:
		return "null"
	case 1:
		return g.one("true", "false")
	case 2, 3, 4:
		return g.number()
	}
	return g.text()
}

// filter is a filter over the pool.
func (g grammar) filter() string { return g.condition(3) }

func (g grammar) condition(depth int) string {
	if depth == 0 || g.IntN(3) == 0 {
		return g.test()
	}
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		return "(" + g.condition(depth-1) + " && " + g.condition(depth-1) + ")"
	case 4, 5, 6:
		return "(" + g.condition(depth-1) + " || " + g.condition(depth-1) + ")"
	case 7:
		return "!(" + g.condition(depth-1) + ")"
	case 8:
		return "!!(" + g.condition(depth-1) + ")"
	case 9:
		return "(" + g.condition(depth-1) + " ? " + g.condition(depth-1) + " : " + g.condition(depth-1) + ")"
	case 10:
		return "(" + g.condition(depth-1) + " || false)"
	}
	return "(" + g.condition(depth-1) + " && true)"
}

func (g grammar) test() string {
	path, attribute := g.one(grammarPaths...), g.one(grammarAttributes...)
	switch g.IntN(20) {
	case 0, 1, 2:
		return attribute + " == " + g.text()
	case 3:
		return attribute + "." + g.one("startsWith", "endsWith", "contains") + "(" + g.text() + ")"
	case 4:
		return attribute + " in [" + g.text() + ", " + g.text() + "]"
	case 5:
		return attribute + " != " + g.text()
	case 6, 7:
		return path + " == " + g.scalar()
	case 8:
		return path + " != " + g.scalar()
	case 9, 10:
		return path + g.one(" < ", " <= ", " > ", " >= ") + g.one(g.number(), g.number(), g.number(), g.text(), "true")
	case 11:
		return g.number() + g.one(" < ", " <= ", " > ", " >= ") + path
	case 12:
		return path + " in [" + g.scalar() + ", " + g.scalar() + ", " + g.scalar() + "]"
	case 13:
		return g.scalar() + " in " + path
	case 14:
		return "has(" + g.one("event.data.n", "event.data.nope", "event.data.nope.x", "event.data.o.n", "event.subject", "event.gone", "event.data.n.x", "event.data.list.x", "event.num") + ")"
	case 15:
		return path + "." + g.one("startsWith", "endsWith", "contains") + "(" + g.text() + ")"
	case 16:
		return path + ".matches(" + g.one(`"^a"`, `"b+"`, `"^eu/"`, `"de$"`, `"^abc$"`, `"(?i)A"`, `"x|a"`, `"com\\..*ab"`) + ")"
	case 17:
		return g.one("true", "false", path)
	case 18:
		return path + ".exists(x, x == " + g.scalar() + ")"
	}
	return "size(" + path + ") > 1"
}

// value is a JSON value.
func (g grammar) value(depth int) string {
	switch g.IntN(9) {
	case 0:
		return "null"
	case 1:
		return g.one("true", "false")
	case 2, 3, 4:
		return g.number()
	case 5, 6:
		return quoteJSON(g.one(grammarTexts...))
	case 7:
		if depth > 0 {
			return "[" + g.value(depth-1) + "," + g.value(depth-1) + "]"
		}
		return "[]"
	}
	if depth > 0 {
		return `{"n":` + g.value(depth-1) + `,"s":` + g.value(depth-1) + `}`
	}
	return "{}"
}

// quoteJSON writes a text with escapes now and then.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r > 0x7e || r < 0x20 {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// event is an event as JSON and what an oracle is given for it.
func (g grammar) event() (structured string, attributes map[string]any, data string) {
	attributes = map[string]any{
		"specversion": "1.0", "id": g.one("1", "2", "a"), "source": g.one("/a", "/b", "a", "eu/de"),
		"type": g.one("com.example.a", "com.example.ab", "a", "abc"), "datacontenttype": "application/json",
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"specversion":"1.0","id":%q,"source":%q,"type":%q,"datacontenttype":"application/json"`, attributes["id"], attributes["source"], attributes["type"])
	if g.IntN(3) > 0 {
		s := g.one("eu/de", "eu/fr", "a", "abc")
		attributes["subject"] = s
		fmt.Fprintf(&b, `,"subject":%q`, s)
	}
	if g.IntN(2) > 0 {
		n := g.IntN(4)
		attributes["num"] = int64(n)
		fmt.Fprintf(&b, `,"num":%d`, n)
	}
	if g.IntN(2) > 0 {
		ok := g.IntN(2) > 0
		attributes["ok"] = ok
		fmt.Fprintf(&b, `,"ok":%t`, ok)
	}
	if g.IntN(2) > 0 {
		s := g.one("a", "abc", "1")
		attributes["txt"] = s
		fmt.Fprintf(&b, `,"txt":%q`, s)
	}
	var members []string
	for _, m := range []struct{ name, value string }{
		{"n", g.one(g.number(), g.number(), g.value(1))}, {"s", g.one(quoteJSON(g.one(grammarTexts...)), g.value(1))},
		{"flag", g.one("true", "false", g.value(0))}, {"list", "[" + g.value(0) + "," + g.value(1) + "," + g.value(0) + "]"},
		{"nil", "null"}, {"o", g.one(`{"n":`+g.number()+`,"s":`+quoteJSON(g.one(grammarTexts...))+`,"deep":{"n":`+g.value(0)+`}}`, g.value(2))},
	} {
		if g.IntN(6) > 0 {
			members = append(members, strconv.Quote(m.name)+":"+m.value)
		}
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	data = "{" + strings.Join(members, ",") + "}"
	return b.String() + `,"data":` + data + "}", attributes, data
}
