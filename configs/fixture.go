package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// Fixture is an example that stands with a rule: an event, and what the rule is
// to make of it.
type Fixture struct {
	Event    *event.Event
	Enriched *event.Tree // what the enrichments are to have answered; nil: nothing
	Match    bool        // what the filter is to say
	Expect   map[string]json.RawMessage
	Origin   Origin
}

// fixtureFields is a fixture as it is written.
type fixtureFields struct {
	Event    fixtureEvent   `yaml:"event" doc:"A CloudEvent: attributes by name, and data. What is left out is filled in: id: test, source: /test, type: test." required:"true"`
	Enriched map[string]any `yaml:"enriched" doc:"What the rule's enrichments answer, by name, since a test calls nothing."`
	Expect   fixtureExpect  `yaml:"expect" doc:"no match, match, or what is delivered: attributes by name (null: the attribute is absent), and data. Attributes that are not named may be anything." required:"true"`
}

type fixtureEvent struct{ node *yaml.Node }

type fixtureExpect struct{ node *yaml.Node }

// The words for fixtures that expect no more than a decision.
const (
	expectMatch   = "match"
	expectNoMatch = "no match"
)

// maxFixture bounds the event of a fixture.
const maxFixture = 4 << 20

// fixture checks a fixture; ok is false when something is wrong with it.
func (d *document) fixture(f fixtureFields, whole *yaml.Node, path keyPath) (out Fixture, ok bool) {
	before := len(d.diags)
	out.Origin = Origin{File: d.file, Line: whole.Line}
	if f.Event.node == nil {
		d.report(whole, path.down("event"), "a test needs an event")
	} else {
		out.Event = d.fixtureEvent(f.Event.node, path.down("event"))
	}
	n := f.Expect.node
	path = path.down("expect")
	switch {
	case n == nil:
		d.report(whole, path, "a test needs an expectation: match, no match, or what is delivered")
	case n.Kind == yaml.MappingNode:
		out.Match = true
		out.Expect = map[string]json.RawMessage{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if !attributeName(key.Value) {
				d.reportf(key, path.down(key.Value), "%s cannot be the name of an attribute; those have a-z and 0-9 only", quote(key.Value))
			}
			out.Expect[key.Value] = d.appendJSON(nil, n.Content[i+1], nil)
		}
	case n.Kind == yaml.ScalarNode && n.Value == expectMatch:
		out.Match = true
	case n.Kind == yaml.ScalarNode && n.Value == expectNoMatch:
	default:
		d.report(n, path, "expected match, no match, or the attributes and data of what is delivered")
	}
	return out, len(d.diags) == before
}

func attributeName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// fixtureEvent builds the event of a fixture.
func (d *document) fixtureEvent(n *yaml.Node, path keyPath) *event.Event {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "the attributes of an event by name, and data")
		return nil
	}
	whole := shallow(n)
	for _, a := range [...][2]string{{"specversion", "1.0"}, {"id", "test"}, {"source", "/test"}, {"type", "test"}} {
		if key, _ := child(n, a[0]); key == nil {
			whole.Content = append(whole.Content,
				&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: a[0]},
				&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: a[1]})
		}
	}
	whole.Content = append(whole.Content, n.Content...)
	ev, err := event.FromStructured(d.appendJSON(nil, whole, nil), event.Limits{MaxEventSize: maxFixture})
	var de *event.DecodeError
	switch {
	case err == nil:
		return ev
	case errors.As(err, &de) && de.Attribute != "":
		at := n
		if key, value := child(n, de.Attribute); key != nil {
			at = key
			de.Reason = d.mask(value, de.Reason)
		}
		d.report(at, path.down(de.Attribute), de.Reason)
	case de != nil:
		d.report(n, path, de.Reason)
	default:
		d.report(n, path, err.Error())
	}
	return nil
}

// FixtureResult says how a fixture went.
type FixtureResult struct {
	Rule   string
	Number int // its place among the rule's fixtures, from 1
	Origin Origin
	Passed bool
	// Problems say what is not as expected, each with the path to it.
	Problems []string
	// Explanation says why the filter decided as it did, when that is not as
	// expected.
	Explanation *rules.Explanation
	// Event is what would be delivered, in the JSON format, without what
	// references stand for; nil if the rule does not match.
	Event json.RawMessage
}

// RunFixtures runs the fixtures of all rules, in order of the rules' names. It
// sends nothing.
func RunFixtures(cfg *Config) []FixtureResult {
	var out []FixtureResult
	all := maps.Collect(cfg.Rules.All())
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name].fixtures(name, all[name].Tests)...)
	}
	return out
}

// fixtures runs some of the fixtures of one rule, from the first on.
func (r *Rule) fixtures(name string, tests []Fixture) (out []FixtureResult) {
	for i, f := range tests {
		res := r.run(name, f)
		res.Rule, res.Number, res.Origin = name, i+1, f.Origin
		res.Passed = len(res.Problems) == 0
		for i, p := range res.Problems {
			res.Problems[i] = scrub(p, r.secrets)
		}
		if res.Event = json.RawMessage(scrub(string(res.Event), r.secrets)); !json.Valid(res.Event) {
			res.Event = nil // a secret that was a number in it
		}
		out = append(out, res)
	}
	return out
}

// mostTests bounds how many fixtures FailedTests runs: a change of the
// configuration waits for them.
const mostTests = 100

// FailedTests runs the fixtures of one rule that came through the API, the first
// 100 of them, and has a warning for each that fails.
func (c *Config) FailedTests(rule string) (found Diagnostics) {
	r := c.Rules.At(rule)
	if r == nil {
		return nil
	}
	for _, res := range r.fixtures(rule, r.Tests[:min(mostTests, len(r.Tests))]) {
		if res.Passed {
			continue
		}
		const most = 3 // of what differs
		problems := res.Problems[:min(most, len(res.Problems))]
		if more := len(res.Problems) - len(problems); more > 0 {
			problems = append(slices.Clone(problems), fmt.Sprintf("and %d more", more))
		}
		if res.Explanation != nil {
			problems = append(slices.Clone(problems), scrub(res.Explanation.Summary, r.secrets))
		}
		p := pathOf(Rules, rule, "tests").at(res.Number - 1)
		found = append(found, Diagnostic{
			File: res.Origin.File, Line: res.Origin.Line, Path: p.String(), path: p, above: 2, Warning: true,
			Message: fmt.Sprintf("test %d of the rule fails: %s", res.Number, strings.Join(problems, "; ")),
		})
	}
	return found
}

func (r *Rule) run(name string, f Fixture) (res FixtureResult) {
	found := r.Matcher.Evaluate(f.Event)
	if found.Matched != f.Match {
		explained := r.Matcher.Explain(f.Event)
		res.Explanation = &explained
	}
	switch {
	case found.Error != "" && f.Match:
		res.Problems = []string{"the filter fails on this event, and so does not match: " + found.Error}
		return res
	case found.Matched != f.Match:
		res.Problems = []string{"expected " + decision(f.Match) + ", got " + decision(found.Matched)}
	}
	if !found.Matched {
		return res
	}
	ev := f.Event
	if r.Transform != nil {
		var err error
		if ev, err = r.Transform.ApplyIn(transform.Context{Bus: r.Bus, Rule: name, Enriched: f.Enriched}, ev); err != nil {
			res.Problems = append(res.Problems, "the transform fails on this event: "+strings.TrimPrefix(err.Error(), "transform: "))
			return res
		}
	}
	res.Event = event.AppendStructured(nil, ev)
	if f.Expect == nil {
		return res
	}
	got := map[string]any{}
	if err := decodeJSON(res.Event, &got); err != nil {
		res.Problems = append(res.Problems, "the result is not JSON: "+err.Error())
		return res
	}
	for _, name := range slices.Sorted(maps.Keys(f.Expect)) {
		var want any
		if err := decodeJSON(f.Expect[name], &want); err != nil {
			res.Problems = append(res.Problems, name+": the expectation is not JSON: "+err.Error())
			continue
		}
		have, there := got[name]
		switch {
		case want == nil && name != "data":
			if there {
				res.Problems = append(res.Problems, fmt.Sprintf("%s: expected it to be absent, got %s", name, show(have)))
			}
		case !there:
			res.Problems = append(res.Problems, fmt.Sprintf("%s: expected %s, got nothing", name, show(want)))
		default:
			res.Problems = differences(res.Problems, name, want, have)
		}
	}
	return res
}

func decision(match bool) string {
	if match {
		return expectMatch
	}
	return expectNoMatch
}

func decodeJSON(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec.Decode(v)
}

// differences adds to dst what differs between two JSON values, with paths.
func differences(dst []string, path string, want, got any) []string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		keys := make([]string, 0, len(w)+len(g))
		for k := range w {
			keys = append(keys, k)
		}
		for k := range g {
			if _, both := w[k]; !both {
				keys = append(keys, k)
			}
		}
		sort.Strings(keys)
		for _, k := range keys {
			p := path + pathSuffix(k)
			wv, inWant := w[k]
			gv, inGot := g[k]
			switch {
			case !inGot:
				dst = append(dst, fmt.Sprintf("%s: expected %s, got nothing", p, show(wv)))
			case !inWant:
				dst = append(dst, fmt.Sprintf("%s: expected nothing, got %s", p, show(gv)))
			default:
				dst = differences(dst, p, wv, gv)
			}
		}
		return dst
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		for i := range min(len(w), len(g)) {
			dst = differences(dst, path+"["+strconv.Itoa(i)+"]", w[i], g[i])
		}
		if len(w) != len(g) {
			dst = append(dst, fmt.Sprintf("%s: expected %d elements, got %d", path, len(w), len(g)))
		}
		return dst
	case json.Number:
		if g, ok := got.(json.Number); ok && sameNumber(w, g) {
			return dst
		}
		return append(dst, fmt.Sprintf("%s: expected %s, got %s", path, show(want), show(got)))
	}
	if reflect.DeepEqual(want, got) {
		return dst
	}
	return append(dst, fmt.Sprintf("%s: expected %s, got %s", path, show(want), show(got)))
}

// sameNumber compares numbers by value: 150, 150.0 and 1.5e2 are the same.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	if _, err := a.Int64(); err == nil {
		if _, err := b.Int64(); err == nil {
			return false // both are exact, and differ
		}
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && x == y
}

func pathSuffix(key string) string {
	s := keyPath{{key: "x"}, {key: key}}.String()
	return s[1:]
}

// show is a JSON value for a message, shortened.
func show(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // as it was written
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	const most = 200
	if len(text) > most {
		return string(bytes.ToValidUTF8(text[:most], nil)) + "…"
	}
	return string(text)
}
