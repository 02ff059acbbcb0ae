package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// RuleTest asks what rules make of an event, or of stored events.
type RuleTest struct {
	Rule      string          `json:"rule,omitempty" doc:"A rule that is in force; or give filter, or bus alone."`
	Bus       string          `json:"bus,omitempty" doc:"Alone: try all rules of this bus on the event. With filter, from and to: the bus whose events are read."`
	Filter    *RuleTestFilter `json:"filter,omitempty" doc:"A filter to try."`
	Transform json.RawMessage `json:"transform,omitempty" doc:"A transform block to go with filter."`
	Event     json.RawMessage `json:"event,omitempty" doc:"A CloudEvent in the JSON format; specversion, id, source and type may be left out."`
	Enriched  json.RawMessage `json:"enriched,omitempty" doc:"What the rule's enrichments answer, by name: a test calls nothing. A transform that you bring sees these names."`
	From      json.RawMessage `json:"from,omitempty" doc:"Try the rule on stored events instead: from this sequence or RFC 3339 time on, inclusive. Of from and to, one may be left out."`
	To        json.RawMessage `json:"to,omitempty" doc:"Stored events up to this sequence or time, inclusive."`
	Limit     int             `json:"limit,omitempty" doc:"Look at this many stored events at most."`
	Samples   *int            `json:"samples,omitempty" doc:"How many matches, near misses and failures are shown: 10 by default, 100 at most."`
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
	Matched     bool              `json:"matched"`
	Explanation rules.Explanation `json:"explanation" doc:"Why the filter matches or does not."`
	Error       string            `json:"error,omitempty" doc:"Why the filter or the transform failed on this event."`
	Event       json.RawMessage   `json:"event,omitempty" doc:"The transformed event, when it matched."`
	Warnings    []Warning         `json:"warnings,omitempty" doc:"What the filter and the transform of the request cannot mean, whatever the event."`
}

// RuleOutcome is what one rule of a bus makes of an event.
type RuleOutcome struct {
	Rule        string            `json:"rule"`
	Matched     bool              `json:"matched"`
	Explanation rules.Explanation `json:"explanation" doc:"Why the filter matches or does not."`
	Error       string            `json:"error,omitempty" doc:"Why the filter or the transform failed on this event."`
	Event       json.RawMessage   `json:"event,omitempty" doc:"The transformed event, when it matched."`
}

// testRule evaluates a filter and a transform on one event, or the rules of a
// bus; it sends nothing.
func (s *Server) testRule(c *gin.Context) {
	var req RuleTest
	err := needJSON(c)
	if err == nil {
		err = readRequest(c, &req)
	}
	switch {
	case err != nil:
	case given(req.From) || given(req.To):
		err = s.testHistory(c, &req)
	case req.Limit != 0 || req.Samples != nil:
		err = problem(http.StatusBadRequest, "invalid-parameter", `"limit" and "samples" go with "from" or "to", which ask for stored events`)
	case req.Bus != "" && req.Rule == "" && req.Filter == nil:
		err = s.testBus(c, &req)
	default:
		err = s.testOne(c, &req)
	}
	if err != nil {
		fail(c, err)
	}
}

// testOne answers for a rule or a filter.
func (s *Server) testOne(c *gin.Context, req *RuleTest) error {
	if err := noPaging(c); err != nil {
		return err
	}
	if req.Bus != "" {
		return problem(http.StatusBadRequest, "invalid-parameter", `"bus" goes without "rule" or "filter", for all rules of the bus`).with("/bus", "not with rule or filter")
	}
	m, t, in, err := s.ruleUnderTest(req)
	if err != nil {
		return err
	}
	ev, err := eventUnderTest(req)
	if err != nil {
		return err
	}
	out := TryRule(m, t, in, ev)
	out.Warnings = s.warningsOf(req)
	c.PureJSON(http.StatusOK, out)
	return nil
}

// warningsOf is what a filter and a transform that compile cannot mean.
func (s *Server) warningsOf(req *RuleTest) (out []Warning) {
	if req.Filter == nil {
		return nil
	}
	key, filter, err := req.Filter.one()
	if err != nil {
		return nil
	}
	for _, w := range s.opts.Rules.Lint(filter) {
		found := Warning{Pointer: "/filter/" + key + w.Pointer, Line: w.Line, Column: w.Column, Message: withHint(w.Message, w.Hint)}
		if key == "pattern" || key == "filters" {
			found.Line, found.Column = 0, 0
		}
		out = append(out, found)
	}
	block, err := req.block()
	if err != nil || block == nil {
		return out
	}
	for _, w := range transform.Lint(s.opts.Rules, block, s.opts.Rules.LintExpr) {
		found := Warning{Pointer: "/transform" + configs.TransformPointer(block, w.Key), Message: w.Message}
		var at *rules.CompileError
		if errors.As(w.Err, &at) {
			found.Line, found.Column = at.Line, at.Column
		}
		out = append(out, found)
	}
	return out
}

// eventUnderTest is the event of a request.
func eventUnderTest(req *RuleTest) (*event.Event, error) {
	ev, err := TestEvent(req.Event)
	var wrong *event.DecodeError
	if errors.As(err, &wrong) {
		return nil, problem(http.StatusBadRequest, "invalid-event", "the event: %v", wrong).with("/event"+wrong.Pointer(), wrong.Reason)
	}
	return ev, err
}

// block is the transform of a request as a document, nil without one.
func (req *RuleTest) block() (*yaml.Node, error) {
	if len(req.Transform) == 0 {
		return nil, nil
	}
	var doc yaml.Node // JSON is YAML, with places
	if err := yaml.Unmarshal(req.Transform, &doc); err != nil || len(doc.Content) != 1 {
		return nil, problem(http.StatusBadRequest, "invalid-transform", "the transform cannot be read: %v", err).with("/transform", "it cannot be read")
	}
	return doc.Content[0], nil
}

// transformProblem is the problem of a transform that does not compile.
func transformProblem(block *yaml.Node, err error) *Problem {
	p := problem(http.StatusBadRequest, "invalid-transform", "the transform does not compile: %v", err)
	for _, err := range each(err) {
		field := ProblemField{Pointer: "/transform", Detail: err.Error()}
		var te *transform.Error
		if errors.As(err, &te) {
			field = ProblemField{Pointer: "/transform" + configs.TransformPointer(block, te.Key), Line: te.TextLine, Column: te.TextColumn, Detail: te.Message}
		}
		var at *rules.CompileError
		if errors.As(err, &at) {
			field.Line, field.Column = at.Line, at.Column
		}
		p.Errors = append(p.Errors, field)
	}
	return p
}

// noPaging refuses the query parameters of a list, where there is none.
func noPaging(c *gin.Context) error {
	for _, name := range []string{"limit", "after"} {
		if c.Query(name) != "" {
			return problem(http.StatusBadRequest, "invalid-parameter", "?%s= goes with all rules of a bus: send {\"bus\", \"event\"}", name)
		}
	}
	return nil
}

// testBus answers for all rules of a bus, in pages.
func (s *Server) testBus(c *gin.Context, req *RuleTest) error {
	enriched, err := TestEnriched(req.Enriched)
	if err != nil {
		return err
	}
	if _, ok := s.opts.Engine.Buses()[req.Bus]; !ok {
		return problem(http.StatusNotFound, "not-found", "there is no bus %q", req.Bus).with("/bus", "there is no such bus")
	}
	if len(req.Transform) > 0 {
		return problem(http.StatusBadRequest, "invalid-parameter", `"transform" goes with "filter"; a rule has its own`).with("/transform", "not with all rules of a bus")
	}
	ev, err := eventUnderTest(req)
	if err != nil {
		return err
	}
	names, plans := rulesOf(s.opts.Engine, req.Bus)
	page(c, names, func(name string) string { return name }, func(name string) RuleOutcome {
		r := plans[name]
		res := TryRule(r.Matcher, r.Transform, transform.Context{Bus: req.Bus, Rule: name, Enriched: enriched}, ev)
		return RuleOutcome{name, res.Matched, res.Explanation, res.Error, res.Event}
	})
	return nil
}

// rulesOf is the rules of a bus that are in force, and their names in order.
func rulesOf(e *bus.Engine, busName string) (names []string, plans map[string]bus.RulePlan) {
	plans = map[string]bus.RulePlan{}
	for name, r := range e.Rules() {
		if r.Bus == busName {
			names = append(names, name)
			plans[name] = r
		}
	}
	slices.Sort(names)
	return names, plans
}

// TryRule is what a filter and a transform, which may be nil, make of an event.
// They are evaluated apart from the events of the bus.
func TryRule(m *rules.Matcher, t *transform.Transform, in transform.Context, ev *event.Event) RuleTestResult {
	x := m.Explainer()
	res := x.Evaluate(ev)
	out := RuleTestResult{Matched: res.Matched, Error: res.Error, Explanation: x.Explain(ev)}
	if !res.Matched {
		return out
	}
	if t != nil {
		in.Trial = true
		var err error
		if ev, err = t.ApplyIn(in, ev); err != nil {
			out.Error = err.Error()
			return out
		}
	}
	out.Event = event.AppendStructured(nil, ev)
	return out
}

// ruleUnderTest is the rule that a request names, or what it brings compiled.
func (s *Server) ruleUnderTest(req *RuleTest) (*rules.Matcher, *transform.Transform, transform.Context, error) {
	in := transform.Context{Rule: req.Rule}
	var err error
	if in.Enriched, err = TestEnriched(req.Enriched); err != nil {
		return nil, nil, in, err
	}
	if (req.Rule == "") == (req.Filter == nil) {
		return nil, nil, in, problem(http.StatusBadRequest, "invalid-parameter", `give either "rule" or "filter", or "bus" alone for all its rules`)
	}
	if req.Rule != "" {
		if len(req.Transform) > 0 {
			return nil, nil, in, problem(http.StatusBadRequest, "invalid-parameter", `"transform" goes with "filter"; a rule has its own`).with("/transform", "not with rule")
		}
		r, ok := s.opts.Engine.Rule(req.Rule)
		if !ok {
			return nil, nil, in, problem(http.StatusNotFound, "not-found", "there is no rule %q", req.Rule)
		}
		in.Bus = r.Bus
		return r.Matcher, r.Transform, in, nil
	}
	m, err := req.Filter.compile(s.opts.Rules)
	if err != nil {
		return m, nil, in, err
	}
	block, err := req.block()
	if err != nil || block == nil {
		return m, nil, in, err
	}
	t, err := transform.CompileWith(s.opts.Rules, block, transform.Options{Enriched: namesOf(in.Enriched)})
	if err != nil {
		return nil, nil, in, transformProblem(block, err)
	}
	return m, t, in, nil
}

// one is the one filter that is given, and its key.
func (f *RuleTestFilter) one() (given string, filter rules.Filter, err error) {
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
			return "", filter, problem(http.StatusBadRequest, "invalid-filter", "the filter has %q and %q; give one", given, d.key).
				with("/filter/"+d.key, "beside "+given)
		default:
			given, *d.to = d.key, d.source
		}
	}
	return given, filter, nil
}

// compile compiles the one filter that is given; without one, every event
// matches.
func (f *RuleTestFilter) compile(env *rules.Env) (*rules.Matcher, error) {
	given, filter, err := f.one()
	if err != nil {
		return nil, err
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

// TestEnriched reads what enrichments answer, an object by name; nil without any.
// The error is a *Problem.
func TestEnriched(raw json.RawMessage) (*event.Tree, error) {
	if !given(raw) {
		return nil, nil
	}
	tree, err := event.ParseTree(raw)
	if err != nil || tree.Root().Kind() != event.Object {
		return nil, problem(http.StatusBadRequest, "invalid-parameter", `"enriched" is an object of the answers by name`).with("/enriched", "not an object")
	}
	for _, name := range namesOf(tree) {
		if reason := rules.EnrichmentName(name); reason != "" {
			return nil, problem(http.StatusBadRequest, "invalid-parameter", "%q cannot be the name of an enrichment: %s", name, reason).with("/enriched", name)
		}
	}
	return tree, nil
}

// namesOf are the keys of an object.
func namesOf(tree *event.Tree) (names []string) {
	if tree == nil {
		return nil
	}
	for name := range tree.Root().Entries() {
		names = append(names, name)
	}
	return names
}

// TestEvent reads an event in the JSON format, filling in what a test need not
// say: specversion, id, source and type. The error is a *Problem or an
// *event.DecodeError.
func TestEvent(raw json.RawMessage) (*event.Event, error) {
	var syntax *event.SyntaxError
	if errors.As(event.CheckJSON(raw), &syntax) && given(raw) {
		line, column := placeIn(raw, syntax.Offset)
		return nil, problem(http.StatusBadRequest, "invalid-event", "the event is not JSON: %s (byte %d, line %d, column %d)", syntax.Reason, syntax.Offset, line, column).with("/event", syntax.Reason)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		what := "nothing"
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			what = valueWords(wrong.Value)
		}
		return nil, problem(http.StatusBadRequest, "invalid-event", "the event is to be one CloudEvent as a JSON object, not %s", what).with("/event", "missing or not an object")
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
