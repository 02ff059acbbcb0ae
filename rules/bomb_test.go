package rules

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// largeEvent has data of nearly 256 KiB.
func largeEvent(t testing.TB, data string) *event.Event {
	t.Helper()
	return mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+data+`}`)
}

func repeated(item, sep string, size int) string {
	n := size / (len(item) + len(sep))
	return strings.Repeat(item+sep, n) + item
}

func TestNoExpressionTakesLong(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 250 << 10
	longText := `{"s":"` + strings.Repeat("a", size) + `"}`
	numbers := `{"a":[` + repeated("1", ",", size) + `]}`
	lists := `{"a":[` + repeated("[]", ",", size) + `]}`
	texts := `{"a":[` + repeated(`"x"`, ",", size) + `]}`
	escaped := `{"s":"` + strings.Repeat(`\n`, size/2) + `"}`
	var keys strings.Builder
	keys.WriteString(`{"m":{"k":1`)
	for i := range size / 11 {
		keys.WriteString(`,"` + "abc"[i%3:i%3+1] + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26)) + string(rune('a'+i/17576%26)) + `":1`)
	}
	keys.WriteString(`}}`)
	tests := []struct{ name, when, data string }{
		{"nested loops", `event.data.a.all(x, event.data.a.all(y, event.data.a.all(z, x == y && y == z)))`, numbers},
		{"nested loops over ranges", `lists.range(10000).all(x, lists.range(10000).all(y, x + y >= 0))`, numbers},
		{"nested maps", `event.data.a.map(x, event.data.a.map(y, [x, y])).size() > 0`, numbers},
		{"a huge regular expression", `event.data.s.matches("(a?){60}a{60}b")`, longText},
		{"many regular expressions", strings.Repeat(`event.data.s.matches("(a*)*b$") || `, 100) + "false", longText},
		{"regex.replace by itself", `regex.replace(event.data.s, "", event.data.s).size() > 0`, longText},
		{"regex.extractAll", `regex.extractAll(event.data.s, "a|aa|aaa").size() > 0`, longText},
		{"a huge concatenation", strings.Repeat(`event.data.s + `, 90) + `"" == "x"`, longText},
		{"doubling by bindings", `cel.bind(a, event.data.s + event.data.s, cel.bind(b, a+a+a+a+a+a+a+a, cel.bind(c, b+b+b+b+b+b+b+b, cel.bind(d, c+c+c+c+c+c+c+c, d.size() > 0))))`, longText},
		{"replace nothing by everything", `event.data.s.replace("", event.data.s).size() > 0`, longText},
		{"join with itself", `event.data.s.split("").join(event.data.s).size() > 0`, longText},
		{"format with itself", `"%s%s%s%s%s%s%s%s".format([event.data.s, event.data.s, event.data.s, event.data.s, event.data.s, event.data.s, event.data.s, event.data.s]).size() > 0`, longText},
		{"characters one by one", `lists.range(10000).all(i, event.data.s.charAt(i) == "a")`, longText},
		{"substrings", `lists.range(10000).all(i, event.data.s.substring(i) != "")`, longText},
		{"comparisons of long text", strings.Repeat(`event.data.s == event.data.s && `, 400) + "true", longText},
		{"sizes of long text", strings.Repeat(`size(event.data.s) > 0 && `, 500) + "true", longText},
		{"contains in long text", strings.Repeat(`event.data.s.contains("aab") || `, 400) + "false", longText},
		{"indexOf in long text", `event.data.s.indexOf(event.data.s.substring(100000) + "b") == 0`, longText},
		{"escaped text", strings.Repeat(`event.data.s == "a" || `, 500) + "false", escaped},
		{"distinct", `event.data.a.distinct().size() == 1`, lists},
		{"a regular expression that reads on from each match", `regex.extractAll(event.data.s, "a*b|a").size() > 3`, longText},
		{"the same replaced", `regex.replace(event.data.s, "a(.*b)?", "x").size() > 3`, longText},
		{"the same again and again", `lists.range(10000).all(i, regex.extractAll(event.data.s.substring(0, 500), "a*b|a").size() > 3)`, longText},
		{"patterns again and again", `lists.range(10000).all(i, !regex.extract(event.data.s, "b").hasValue())`, longText},
		{"sorting", `event.data.a.sort().size() > 1`, numbers},
		{"sorting by a key", `event.data.a.sortBy(x, -x).size() > 1`, numbers},
		{"flattening", `event.data.a.flatten(100).size() > 1`, lists},
		{"sets", `sets.equivalent(event.data.a, event.data.a)`, numbers},
		{"a list equals itself", strings.Repeat(`event.data.a == event.data.a && `, 30) + "true", lists},
		{"a list equals itself many times", strings.Repeat(`event.data.a == event.data.a && `, 400) + "true", lists},
		{"in a list", strings.Repeat(`"y" in event.data.a || `, 30) + "false", texts},
		{"in a list many times", `event.data.a.exists(x, "y" in event.data.a)`, texts},
		{"an index far behind", `event.data.a.all(x, event.data.a[80000] == [])`, lists},
		{"a map equals itself", `event.data.m == event.data.m`, keys.String()},
		{"keys looked up one by one", `event.data.m.all(k, event.data.m[k] == 1)`, keys.String()},
		{"keys looked up in two variables", `event.data.m.all(k, v, k in event.data.m)`, keys.String()},
		{"keys collected", `event.data.m.transformMap(k, v, v).size() > 0`, keys.String()},
		{"encoded again and again", `lists.range(10000).all(i, json.encode([` + strings.Repeat(`event.data.s, `, 16) + `1]) != "")`, longText},
		{"encoded in a map", `event.data.a.map(x, json.encode(event.data)).size() > 0`, numbers},
		{"string conversions", `lists.range(10000).all(i, bytes(event.data.s).size() > 0)`, longText},
		{"base64 again and again", `lists.range(10000).all(i, base64.encode(bytes(event.data.s)) != "")`, longText},
		{"quotes and cases", `lists.range(10000).all(i, strings.quote(event.data.s.upperAscii().lowerAscii().reverse()) != "")`, longText},
		{"hashes again and again", `lists.range(10000).all(i, hash.sha512(event.data.s) != "")`, longText},
		{"parsed again and again", `lists.range(10000).all(i, size(json.parse(json.encode(event.data))) > 0)`, numbers},
		{"merged again and again", `lists.range(10000).all(i, size(json.mergePatch(event.data, event.data)) > 0)`, keys.String()},
		{"cases again and again", `lists.range(10000).all(i, text.snakeCase(text.camelCase(event.data.s)) != "")`, longText},
		{"encoded for URLs again and again", `lists.range(10000).all(i, url.encode(url.encode(event.data.s)) != "")`, escaped},
		{"defaults within defaults", strings.Repeat(`coalesce(event.data.a, `, 40) + "0" + strings.Repeat(")", 40) + " == 0", numbers},
	}
	env := mustEnv(t)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			ev := largeEvent(t, tc.data)
			m, err := env.Compile(Filter{When: tc.when})
			if err != nil {
				t.Logf("refused: %v", shorten(err.Error()))
				return
			}
			start := time.Now()
			done := make(chan Result, 1)
			go func() { done <- m.Evaluate(ev) }()
			select {
			case r := <-done:
				t.Logf("%v %v %s", time.Since(start).Round(10*time.Microsecond), r.Matched, shorten(r.Error))
			case <-time.After(time.Minute): // without limits most of these take hours
				t.Fatal("the evaluation does not end")
			}
		})
	}
}

func TestSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := mustEnv(t).Compile(Filter{When: `lists.range(int(event.data.n)).exists(x, lists.range(int(event.data.n)).exists(y, x + y < 0))`})
		if err != nil {
			t.Fatal(err)
		}
		s := NewSet([]Entry{{ID: 1, Rule: "bomb", Matcher: m}})
		bomb, harmless := largeEvent(t, `{"n":10000}`), largeEvent(t, `{"n":1}`)
		suspended := func() bool { _, _, _, _, s := m.Stats(); return s }
		for range 4 {
			s.Match(bomb, nil)
			if suspended() {
				t.Fatal("suspended too soon")
			}
		}
		s.Match(bomb, nil)
		if !suspended() {
			t.Fatal("not suspended after five overruns")
		}
		if r := m.Evaluate(harmless); !strings.HasPrefix(r.Error, "suspended until 2000-01-01T00:00:30Z") {
			t.Errorf("while suspended: %+v", r)
		}
		time.Sleep(firstPause)
		if suspended() {
			t.Error("still suspended")
		}
		s.Match(bomb, nil)
		if !suspended() {
			t.Error("another overrun did not suspend at once")
		}
		time.Sleep(firstPause)
		if !suspended() {
			t.Error("the second pause is no longer than the first")
		}
		time.Sleep(firstPause)
		for range 200 {
			s.Match(harmless, nil)
		}
		evaluated, matched, failed, lastError, still := m.Stats()
		if evaluated != 206 || matched != 0 || failed != 6 || lastError == "" || still {
			t.Errorf("stats: %d %d %d %q %v", evaluated, matched, failed, lastError, still)
		}
		for range 4 {
			s.Match(bomb, nil)
		}
		if m.filter.suspended() {
			t.Error("good runs were not taken into account")
		}
	})
}
