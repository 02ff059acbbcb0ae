package api

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"
	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// RuleTest asks what a rule or a filter does with an event.
type RuleTest struct {
	Rule      string          `json:"rule,omitempty" doc:"A rule that is in force; or give filter."`
	Filter    *RuleTestFilter `json:"filter,omitempty" doc:"A filter to try."`
	Transform json.RawMessage `json:"transform,omitempty" doc:"A transform block to go with filter."`
	Event     json.RawMessage `json:"event" doc:"A CloudEvent in the JSON format; specversion, id, source and type may be left out."`
}

// RuleTestFilter is a filter to try.
type RuleTestFilter struct {
	When    string          `json:"when,omitempty" doc:"CEL over event; empty matches everything."`
	Pattern json.RawMessage `json:"pattern,omitempty" doc:"An event pattern; or give one of the others."`
	Filters json.RawMessage `json:"filters,omitempty" doc:"A list of filters of the CloudEvents Subscriptions API."`
	SQL     string          `json:"sql,omitempty" doc:"A CloudEvents SQL expression."`
}

// RuleTestResult is the answer to a RuleTest.
type RuleTestResult struct {
	Matched bool            `json:"matched"`
	Error   string          `json:"error,omitempty" doc:"Why the filter or the transform failed on this event."`
	Event   json.RawMessage `json:"event,omitempty" doc:"The transformed event, when it matched."`
}

// testRule evaluates a filter and a transform on one event; it sends nothing.
func (s *Server) testRule(c *gin.Context) {
	var req RuleTest
	err := needJSON(c)
	if err == nil {
		err = readRequest(c, &req)
	}
	if err != nil {
		fail(c, err)
		return
	}
	m, t, in, err := s.ruleUnderTest(&req)
	if err != nil {
		fail(c, err)
		return
	}
	ev, err := TestEvent(req.Event)
	if err != nil {
		fail(c, err)
		return
	}
	res := m.Evaluate(ev)
	out := RuleTestResult{Matched: res.Matched, Error: res.Error}
	if res.Matched {
		if t != nil {
			ev, err = t.ApplyIn(in, ev)
		}
		if err != nil {
			out.Error = err.Error()
		} else {
			out.Event = event.AppendStructured(nil, ev)
		}
	}
	c.PureJSON(http.StatusOK, out)
}

// ruleUnderTest is the rule that a request names, or what it brings compiled.
func (s *Server) ruleUnderTest(req *RuleTest) (*rules.Matcher, *transform.Transform, transform.Context, error) {
	in := transform.Context{Rule: req.Rule}
	if (req.Rule == "") == (req.Filter == nil) {
		return nil, nil, in, problem(http.StatusBadRequest, "invalid-parameter", `give either "rule" or "filter"`)
	}
	if req.Rule != "" {
		if len(req.Transform) > 0 {
			return nil, nil, in, problem(http.StatusBadRequest, "invalid-parameter", `"transform" goes with "filter"; a rule has its own`).with("/transform", "not with rule")
		}
		r, ok := s.opts.Engine.Plan().Rules[req.Rule]
		if !ok {
			return nil, nil, in, problem(http.StatusNotFound, "not-found", "there is no rule %q", req.Rule)
		}
		in.Bus = r.Bus
		return r.Matcher, r.Transform, in, nil
	}
	m, err := req.Filter.compile(s.opts.Rules)
	if err != nil || len(req.Transform) == 0 {
		return m, nil, in, err
	}
	var doc yaml.Node // JSON is YAML, with places
	if err := yaml.Unmarshal(req.Transform, &doc); err != nil || len(doc.Content) != 1 {
		return nil, nil, in, problem(http.StatusBadRequest, "invalid-transform", "the transform cannot be read: %v", err)
	}
	t, err := transform.Compile(s.opts.Rules, doc.Content[0])
	if err != nil {
		return nil, nil, in, problem(http.StatusBadRequest, "invalid-transform", "the transform does not compile: %v", err).with("/transform", err.Error())
	}
	return m, t, in, nil
}

// compile compiles the one filter that is given; without one, every event
// matches.
func (f *RuleTestFilter) compile(env *rules.Env) (*rules.Matcher, error) {
	given := ""
	var filter rules.Filter
	for _, d := range []struct {
		key, source string
		to          *string
	}{
		{"when", f.When, &filter.When}, {"pattern", jsonGiven(f.Pattern), &filter.Pattern},
		{"filters", jsonGiven(f.Filters), &filter.Filters}, {"sql", f.SQL, &filter.SQL},
	} {
		switch {
		case d.source == "":
		case given != "":
			return nil, problem(http.StatusBadRequest, "invalid-filter", "the filter has %q and %q; give one", given, d.key).
				with("/filter/"+d.key, "beside "+given)
		default:
			given, *d.to = d.key, d.source
		}
	}
	m, err := env.Compile(filter)
	if err == nil {
		return m, nil
	}
	p := asProblem(err)
	for i := range p.Errors {
		p.Errors[i].Pointer = "/filter/" + given + p.Errors[i].Pointer
	}
	return m, p
}

// jsonGiven is a JSON value, "" if it is null.
func jsonGiven(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// TestEvent reads an event in the JSON format, filling in what a test need not
// say: specversion, id, source and type. The error is a *Problem or an
// *event.DecodeError.
func TestEvent(raw json.RawMessage) (*event.Event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, problem(http.StatusBadRequest, "invalid-event", `"event" is a CloudEvent as a JSON object`).with("/event", "missing or not an object")
	}
	missing := false
	for name, value := range map[string]string{"specversion": "1.0", "id": "test", "source": "/test", "type": "test"} {
		if _, ok := fields[name]; !ok {
			quoted, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			fields[name], missing = quoted, true
		}
	}
	if missing {
		var err error
		if raw, err = json.Marshal(fields); err != nil {
			return nil, err
		}
	}
	return event.FromStructured(raw, event.Limits{MaxEventSize: maxControl})
}
