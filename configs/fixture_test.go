package configs

import (
	"strings"
	"testing"
)

func TestFixturesExplainWhatDiffers(t *testing.T) {
	cfg := load(t, `
version: 1
buses: {orders: {}}
rules:
  r:
    bus: orders
    when: event.type == "a" && event.data.n > 1
    targets: [t]
    tests:
      - {event: {type: a, data: {n: 2}}, expect: match}
      - {event: {type: b, data: {n: 2}}, expect: match}
      - {event: {type: a, data: {n: 2}}, expect: no match}
      - {event: {type: a}, expect: no match}
      - {event: {type: a}, expect: match}
      - event: {type: a, subject: s, data: {n: 2.0, list: [1, 2], deep: {a: {b: x}}, big: 12345678901234567890}}
        expect: {type: a, id: test, source: /test, time: null, data: {n: 2, list: [1, 2], deep: {a: {b: x}}, big: 12345678901234567890}}
      - event: {type: a, subject: s, data: {n: 2, list: [1, 2], deep: {a: {b: x}}, more: true}}
        expect: {type: b, subject: null, time: "2026-01-01T00:00:00Z", data: {n: 3, list: [1, 3, 4], deep: {a: {c: "y"}}}}
      - {event: {type: a, data: {n: 2}}, expect: {data: [1]}}
targets: {t: {log: {}}}
`)
	got := ""
	for _, res := range RunFixtures(cfg) {
		got += res.Rule + " " + res.Origin.String()
		if res.Passed {
			got += " passed"
		}
		got += "\n"
		for _, p := range res.Problems {
			got += "  " + p + "\n"
		}
		if res.Explanation != nil {
			got += "  " + res.Explanation.Summary + "\n"
		}
	}
	golden(t, "testdata/results.golden", got)
}

func TestFixturesDoNotShowWhatReferencesStandFor(t *testing.T) {
	cfg := load(t, `
version: 1
buses: {orders: {}}
rules:
  r:
    bus: orders
    targets: [t]
    tests:
      - {event: {data: {token: "${env:SECRET}"}}, expect: {data: {token: other}}}
targets: {t: {log: {}}}
`)
	res := RunFixtures(cfg)
	if len(res) != 1 || res[0].Passed || res[0].Problems[0] != `data.token: expected "other", got "[redacted]"` {
		t.Errorf("%+v", res)
	}
}

func TestExplanationsDoNotShowWhatReferencesStandFor(t *testing.T) {
	cfg := load(t, `
version: 1
buses: {orders: {}}
rules:
  r:
    bus: orders
    when: event.data.token == "${env:SECRET}" && event.data.token + "x" == "${env:SECRET}"
    targets: [t]
    tests:
      - {event: {data: {token: other}}, expect: match}
targets: {t: {log: {}}}
`)
	res := RunFixtures(cfg)
	if len(res) != 1 || res[0].Explanation == nil || res[0].Explanation.Summary != `event.data.token == "[redacted]": token is "other"` {
		t.Fatalf("%+v", res)
	}
	for _, c := range res[0].Explanation.Conditions {
		if !strings.Contains(c.Text, "[redacted]") {
			t.Errorf("%+v", c)
		}
	}
	if _, reason := cfg.Rules.At("r").Matcher.Class(); !strings.Contains(reason, "[redacted]") {
		t.Error(reason)
	}
}

func TestScrubFindsEscapedSecrets(t *testing.T) {
	const secret = "a\"b<c>\n"
	for _, text := range []string{secret, `"a\"b<c>\n"`} {
		if got := scrub("x "+text+" y", []string{secret}); got != "x [redacted] y" && got != `x "[redacted]" y` {
			t.Errorf("scrub(%q) = %q", text, got)
		}
	}
}
