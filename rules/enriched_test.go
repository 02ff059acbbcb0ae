package rules_test

import (
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

func enrichedScope(t *testing.T, enriched string) rules.Scope {
	t.Helper()
	ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1}}`), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := event.ParseTree([]byte(enriched))
	if err != nil {
		t.Fatal(err)
	}
	return rules.Scope{Event: ev, Enriched: tree.Root()}
}

func TestExpressionsSeeEnriched(t *testing.T) {
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	scope := enrichedScope(t, `{"customer":{"id":12345678901234567890,"rate":1.10,"tags":["a","b"]},"geo":null}`)
	for _, c := range []struct{ source, want, reads string }{
		{`enriched.customer.id`, `12345678901234567890`, "customer"},
		{`enriched["customer"].rate`, `1.10`, "customer"},
		{`enriched.customer`, `{"id":12345678901234567890,"rate":1.10,"tags":["a","b"]}`, "customer"},
		{`enriched.customer.tags[1] + "!"`, `"b!"`, "customer"},
		{`enriched.geo == null ? event.data.n : enriched.geo.n`, `1`, "geo"},
		{`enriched.customer.?name.orValue("nobody")`, `"nobody"`, "customer"},
		{`has(enriched.customer.name)`, `false`, "customer"},
		{`enriched.customer.tags.exists(t, t == "a") && enriched.geo == null`, `true`, "customer geo"},
		{`size(enriched)`, `2`, "customer geo"},
		{`enriched`, `{"customer":{"id":12345678901234567890,"rate":1.10,"tags":["a","b"]},"geo":null}`, "customer geo"},
		{`event.data.n`, `1`, ""},
	} {
		x, err := env.CompileEnrichedExpr(c.source, []string{"geo", "customer"})
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if got := strings.Join(x.Enriched(), " "); got != c.reads {
			t.Errorf("%s: it reads %q, not %q", c.source, got, c.reads)
		}
		v, err := x.EvalIn(scope)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if out, err := v.AppendJSON(nil, 1000); err != nil || string(out) != c.want {
			t.Errorf("%s is %s, %v; want %s", c.source, out, err, c.want)
		}
	}
}

func TestEnrichedNamesAreCheckedWhenCompiled(t *testing.T) {
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ source, want string }{
		{`enriched.custmer.id`, `1:10: enriched has no "custmer"; did you mean customer?`},
		{`enriched["geo"].a`, `1:9: enriched has no "geo"; the names of this rule are customer`},
		{`enriched.?zip`, `enriched has no "zip"`},
		{`enriched[event.type]`, `an answer in enriched is read by its name; write enriched.customer`},
		{`customer.id`, `the expression sees "event" and "enriched" only`},
		{`event.Type`, `did you mean event.type?`},
	} {
		if _, err := env.CompileEnrichedExpr(c.source, []string{"customer"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.source, err, c.want)
		}
	}
	const want = "transforms see enriched when their rule has enrich"
	if _, err := env.CompileExpr(`enriched.customer`); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without enrich: %v", err)
	}
	if _, err := env.Compile(rules.Filter{When: `enriched.customer.id == 1`}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("in a filter: %v", err)
	}
}

func TestEnrichmentNames(t *testing.T) {
	for name, good := range map[string]bool{
		"customer": true, "customerData2": true, "_x": true, "": false, "2x": false, "a-b": false, "a.b": false, "in": false,
		strings.Repeat("x", 64): false,
	} {
		if reason := rules.EnrichmentName(name); (reason == "") != good {
			t.Errorf("%q: %q", name, reason)
		}
	}
}
