package configs

import (
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/transform/enrich"
)

const enrichRule = `{"bus": "a", "enrich": {
  "second": {"http": {"url": "https://e.example/x"}, "onError": null},
  "first": {"http": {"url": "https://e.example/${{ event.id }}", "method": "POST", "timeout": "5s", "headers": {"Authorization": "Bearer s3cret"}},
            "cache": {"for": "1m", "key": "${{ event.id }}", "entries": 5}, "notFound": "null"}},
  "transform": {"data": ["${{ enriched.first }}", "${{ enriched.second }}"]}, "targets": ["t"]}`

func TestEnrichmentsAreCompiled(t *testing.T) {
	l := realLoader(t, nil)
	file, found := l.LoadBytes("x.yaml", []byte("version: 1\nbuses: {a: {}}\ntargets: {t: {log: {}}}\n"))
	if found.HasErrors() {
		t.Fatal(found)
	}
	o, found := l.ParseObject(Rules, "r", []byte(enrichRule))
	if len(found) > 0 {
		t.Fatal(found)
	}
	cfg, found := l.Merge(file, []Object{o})
	if found.HasErrors() {
		t.Fatal(found)
	}
	r := cfg.Rules.At("r")
	if len(r.Enrich) != 2 || r.EnrichFingerprint == "" {
		t.Fatalf("%+v", r.Enrich)
	}
	first, second := r.Enrich[0], r.Enrich[1]
	if first.Name != "first" || first.Method != "POST" || first.Timeout != 5*time.Second || first.For != time.Minute || first.Entries != 5 ||
		first.Key == nil || first.OnError != enrich.Fail || first.NotFound != enrich.Null || first.Headers["Authorization"].Reveal() != "Bearer s3cret" {
		t.Errorf("%+v", first)
	}
	if second.Name != "second" || second.Method != "GET" || second.For != 0 || second.OnError != enrich.Null || second.NotFound != enrich.Fail {
		t.Errorf("%+v", second)
	}
	if view := string(o.View()); strings.Contains(view, "s3cret") || !strings.Contains(view, `"onError":null`) || !strings.Contains(view, "${{ event.id }}") {
		t.Errorf("it is shown as %s", view)
	}
	again, found := l.ParseStored(Rules, "r", o.Raw)
	if found.HasErrors() {
		t.Fatal(found)
	}
	if cfg, _ := l.Merge(file, []Object{again}); cfg.Rules.At("r").EnrichFingerprint != r.EnrichFingerprint {
		t.Error("the fingerprint is another after the rule was stored")
	}
}

func TestOnErrorNullIsNoAbsentValue(t *testing.T) {
	for text, want := range map[string]enrich.Fallback{
		"": enrich.Fail, "onError: fail": enrich.Fail, "onError:": enrich.Fail,
		"onError: null": enrich.Null, `onError: "null"`: enrich.Null, "onError: ~": enrich.Null,
	} {
		cfg, found := realLoader(t, nil).LoadBytes("x.yaml", []byte(`version: 1
buses: {a: {}}
rules:
  r:
    bus: a
    enrich:
      x:
        http: {url: "https://e.example/x"}
        `+text+`
    transform: {data: "${{ enriched.x }}"}
    targets: [t]
targets: {t: {log: {}}}
`))
		if found.HasErrors() {
			t.Fatal(found)
		}
		if got := cfg.Rules.At("r").Enrich[0].OnError; got != want {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestBreakersOfEnrichmentsHaveDefaults(t *testing.T) {
	for text, want := range map[string]enrich.Breaker{
		"":                                   {Failures: 10},
		", breaker: {failures: 0}":           {},
		", breaker: {failures: 3, open: 5s}": {Failures: 3, Open: 5 * time.Second},
	} {
		cfg, found := realLoader(t, nil).LoadBytes("x.yaml", []byte(`version: 1
buses: {a: {}}
rules:
  r: {bus: a, targets: [t], transform: {data: "${{ enriched.x }}"}, enrich: {x: {http: {url: "https://e.example/x"}`+text+`}}}
targets: {t: {log: {}}}
`))
		if found.HasErrors() {
			t.Fatal(found)
		}
		if got := cfg.Rules.At("r").Enrich[0].Breaker; got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestSchemaOfEnrichmentsAgreesWithTheLoader(t *testing.T) {
	s := compileSchema(t, realKinds())
	for text, valid := range map[string]bool{
		`{x: {http: {url: "https://a/"}}}`:                                                        true,
		`{x: {http: {url: "https://a/"}, onError: null, notFound: "null"}}`:                       true,
		`{x: {http: {url: "https://a/", method: POST, body: [1]}, cache: {for: 1m, entries: 1}}}`: true,
		`{x: {http: {url: "https://a/"}, onError: maybe}}`:                                        false,
		`{x: {http: {url: "https://a/", method: PUT}}}`:                                           false,
		`{x: {http: {}}}`: false,
		`{x: {}}`:         false,
		`{x: {http: {url: "https://a/"}, retries: 3}}`: false,
	} {
		doc := []byte("version: 1\nbuses: {a: {}}\nrules: {r: {bus: a, targets: [t], transform: {data: \"${{ enriched.x }}\"}, enrich: " + text + "}}\ntargets: {t: {log: {}}}\n")
		if _, found := realLoader(t, nil).LoadBytes("x.yaml", doc); found.HasErrors() == valid {
			t.Errorf("the loader on %s: %v", text, found)
		}
		if err := s.Validate(instance(t, doc)); (err == nil) != valid {
			t.Errorf("the schema on %s: %v", text, err)
		}
	}
}

func TestAFixtureWithoutAnswersSaysWhatIsMissing(t *testing.T) {
	cfg, found := realLoader(t, nil).LoadBytes("x.yaml", []byte(`version: 1
buses: {a: {}}
rules:
  r:
    bus: a
    enrich: {x: {http: {url: "https://e.example/x"}}}
    transform: {data: "${{ enriched.x }}"}
    targets: [t]
    tests:
      - {event: {}, expect: {data: 1}}
      - {event: {}, enriched: {x: 1}, expect: {data: 1}}
targets: {t: {log: {}}}
`))
	if found.HasErrors() {
		t.Fatal(found)
	}
	got := RunFixtures(cfg)
	const want = "the transform fails on this event: enriched.x is not known: nothing is called where a rule is tried out; " +
		"give what the call would answer, as enriched: {x: ...}"
	if len(got) != 2 || len(got[0].Problems) != 1 || got[0].Problems[0] != want || !got[1].Passed {
		t.Errorf("%+v", got)
	}
}
