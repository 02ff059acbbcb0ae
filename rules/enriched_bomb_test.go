package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// The environment that sees enriched is made from the other one: limits, guards
// and budgets hold in it, over answers as over data.
func TestNoExpressionOverAnAnswerTakesLong(t *testing.T) {
	env := mustEnv(t)
	for _, source := range []string{
		`[1].all(a, [1].all(b, [1].all(c, [1].all(d, enriched.a == d))))`,
		`enriched.a.matches(enriched.b)`,
		strings.Repeat("(", 200) + "enriched.a" + strings.Repeat(")", 200),
		`[` + strings.Repeat("1,", 5000) + `enriched.a]`,
		`enriched.a.matches("(a?){900}a{900}")`,
		`Event{}`,
	} {
		if _, err := env.CompileEnrichedExpr(source, []string{"a", "b"}); err == nil {
			t.Errorf("%s compiles", shorten(source))
		}
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 1 << 20
	text := `{"a":"` + strings.Repeat("a", size) + `"}`
	numbers := `{"a":[` + repeated("1", ",", size/4) + `]}`
	ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)
	for _, tc := range []struct{ source, data string }{
		{`enriched.a.all(x, enriched.a.all(y, enriched.a.all(z, x == y && y == z)))`, numbers},
		{`enriched.a.map(x, json.encode(enriched)).size()`, numbers},
		{`enriched.a.replace("", enriched.a).size()`, text},
		{`enriched.a.split("").join(enriched.a).size()`, text},
		{`lists.range(10000).all(i, hash.sha512(enriched.a) != "")`, text},
		{`enriched.a.indexOf(enriched.a.substring(100000) + "b")`, text},
		{`sets.equivalent(enriched.a, enriched.a)`, numbers},
		{`cel.bind(a, enriched.a + enriched.a, cel.bind(b, a+a+a+a, cel.bind(c, b+b+b+b, cel.bind(d, c+c+c+c, d.size()))))`, text},
		{`regex.extractAll(enriched.a, "a|aa|aaa").size()`, text},
	} {
		x, err := env.CompileEnrichedExpr(tc.source, []string{"a"})
		if err != nil {
			t.Logf("%s is refused: %v", tc.source, err)
			continue
		}
		tree, err := event.ParseTree([]byte(tc.data))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		begun := time.Now()
		go func() {
			_, err := x.EvalIn(Scope{Event: ev, Enriched: tree.Root()})
			done <- err
		}()
		select {
		case err := <-done:
			t.Logf("%v %s: %v", time.Since(begun).Round(time.Millisecond), tc.source, err)
		case <-time.After(time.Minute):
			t.Fatalf("%s does not end", tc.source)
		}
	}
}
