package api_test

import (
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// enriching is a server with a rule that enriches, whose endpoint nobody may ask.
func enriching(t *testing.T) *server {
	var env *rules.Env
	s := newServerWith(t, func(o *api.Options) { env = o.Rules })
	plan := s.engine.Plan()
	tr, err := transform.CompileJSON(env, []byte(`{"type":"enriched","data":{"name":"${{ enriched.customer.name }}"}}`), transform.Options{Enriched: []string{"customer"}})
	if err != nil {
		t.Fatal(err)
	}
	with := map[string]bus.RulePlan{}
	for name, r := range plan.Rules {
		with[name] = r
	}
	with["customers"] = bus.RulePlan{Bus: "audit", Matcher: plan.Rules["big"].Matcher, Transform: tr, Enrich: enrich.New(nil, enrich.Options{}), Targets: []string{"t"}}
	plan.Rules = with
	if err := s.engine.Apply(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestATrialCallsNothingAndTakesTheAnswersFromTheRequest(t *testing.T) {
	s := enriching(t)
	const event = `"event":{"data":{"total":150}}`
	for body, want := range map[string]string{
		`{"rule":"customers",` + event + `}`:                                                                         `"error":"transform: enriched.customer is not known: nothing is called where a rule is tried out; give what the call would answer, as enriched: {customer: ...}"`,
		`{"rule":"customers","enriched":{"customer":{"name":"Ada"}},` + event + `}`:                                  `"data":{"name":"Ada"}`,
		`{"bus":"audit","enriched":{"customer":{"name":"Ada"}},` + event + `}`:                                       `"data":{"name":"Ada"}`,
		`{"filter":{},"transform":{"data":"${{ enriched.n }}"},"enriched":{"n":12345678901234567890},` + event + `}`: `"data":12345678901234567890`,
	} {
		if res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json"); res.StatusCode != 200 || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s", body, res.StatusCode, got)
		}
	}
	for body, want := range map[string]string{
		`{"rule":"customers","enriched":[1],` + event + `}`:                                       "an object of the answers by name",
		`{"rule":"customers","enriched":{"a-b":1},` + event + `}`:                                 "cannot be the name of an enrichment",
		`{"bus":"audit","enriched":7,` + event + `}`:                                              "an object of the answers by name",
		`{"filter":{},"transform":{"data":"${{ enriched.m }}"},"enriched":{"n":1},` + event + `}`: "enriched has no",
	} {
		res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json")
		if p := s.problemOf(res, got, 400); !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %s", body, got)
		}
	}
}

func TestADryRunSaysThatItLeavesTheTransformOut(t *testing.T) {
	s := enriching(t)
	if res, body := s.call("POST", "/v1/buses/audit/events", eventJSON("1", `,"data":{"total":150}`), "Content-Type", structured); res.StatusCode != 202 {
		t.Fatal(body)
	}
	got := s.history(`{"rule":"customers","from":1}`)
	if got.Matched != 1 || got.TransformFailed != 0 || !strings.Contains(got.Note, "it reads enriched.customer, and nothing is called here") ||
		!strings.Contains(string(got.Matches[0].Event), `"total":150`) {
		t.Errorf("%+v", got)
	}
	got = s.history(`{"rule":"customers","from":1,"enriched":{"customer":{"name":"Ada"}}}`)
	if got.Matched != 1 || got.Note != "" || !strings.Contains(string(got.Matches[0].Event), `"data":{"name":"Ada"}`) {
		t.Errorf("%+v", got)
	}
}
