package rules

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// suite reads recorded answers of EventBridge's own matcher, of which there are
// as many as want.
func suite[T any](t *testing.T, name string, want int) []T {
	t.Helper()
	data, err := os.ReadFile("../../shared/testdata/patterns/" + name)
	switch {
	case err != nil && os.Getenv("SWITCHYARD_REQUIRE") == "all":
		t.Fatalf("%v, and SWITCHYARD_REQUIRE=all", err)
	case err != nil:
		t.Skip(err)
	}
	var cases []T
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var c T
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if len(cases) != want {
		t.Fatalf("%s has %d cases, not %d", name, len(cases), want)
	}
	return cases
}

// onData is a pattern that asks it of the data.
func onData(pattern string) Filter { return Filter{Pattern: `{"detail": ` + pattern + `}`} }

// withData is an event with the data; nil when no event may have it, for a key
// that stands twice.
func withData(data string) *event.Event {
	if event.CheckJSON([]byte(data)) != nil {
		return nil
	}
	ev, err := structured(data)
	if err != nil {
		return nil
	}
	return ev
}

func TestPatternsMatchAsEventBridgeDoes(t *testing.T) {
	type pair struct{ ID, Pattern, Event, Expect string }
	env := mustEnv(t)
	left := 0
	for _, c := range suite[pair](t, "aws_eventruler_suite.jsonl", 1379) {
		ev := withData(c.Event)
		if ev == nil {
			left++
			continue
		}
		m, err := env.Compile(onData(c.Pattern))
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
			continue
		}
		r := m.Evaluate(ev)
		if r.Error != "" || r.Matched != (c.Expect == "match") {
			t.Errorf("%s: %+v, want %s\n%s\n%s", c.ID, r, c.Expect, c.Pattern, c.Event)
		}
	}
	t.Logf("%d events that have a key twice were left out", left)
}

func TestPatternsAreValidAsInEventBridge(t *testing.T) {
	type check struct{ ID, Pattern, Expect string }
	env := mustEnv(t)
	for _, c := range suite[check](t, "aws_eventruler_check.jsonl", 438) {
		if _, err := env.Compile(onData(c.Pattern)); (err == nil) != (c.Expect == "valid") {
			t.Errorf("%s: %v, want %s\n%s", c.ID, err, c.Expect, c.Pattern)
		}
	}
}

func TestSetsOfPatternsMatchAsEventBridgeDoes(t *testing.T) {
	type ruleset struct {
		ID    string
		Rules []struct{ Name, Pattern string }
		Event string
		Match []string `json:"matched"`
	}
	env := mustEnv(t)
	for _, c := range suite[ruleset](t, "aws_eventruler_rulesets.jsonl", 177) {
		ev := withData(c.Event)
		if ev == nil {
			continue
		}
		var entries []Entry
		for i, r := range c.Rules {
			m, err := env.Compile(onData(r.Pattern))
			if err != nil {
				t.Fatalf("%s: %v", c.ID, err)
			}
			entries = append(entries, Entry{ID: ID(i), Rule: r.Name, Matcher: m})
		}
		var got []string
		for _, id := range NewSet(entries).Match(ev, nil) {
			got = append(got, c.Rules[id].Name)
		}
		slices.Sort(got)
		slices.Sort(c.Match)
		if got = slices.Compact(got); !slices.Equal(got, c.Match) {
			t.Errorf("%s: %q, want %q\n%v\n%s", c.ID, got, c.Match, c.Rules, c.Event)
		}
	}
}

// TestAnIndexFindsPatternsThatMatch has all patterns in one set, which is large
// enough to be indexed.
func TestAnIndexFindsPatternsThatMatch(t *testing.T) {
	type pair struct{ ID, Pattern, Event string }
	env := mustEnv(t)
	var entries []Entry
	events := map[string]*event.Event{}
	known := map[string]bool{}
	for _, c := range suite[pair](t, "aws_eventruler_suite.jsonl", 1379) {
		if ev := withData(c.Event); ev != nil {
			events[c.Event] = ev
		}
		m, err := env.Compile(onData(c.Pattern))
		if err != nil || known[c.Pattern] {
			continue
		}
		known[c.Pattern] = true
		entries = append(entries, Entry{ID: ID(len(entries)), Rule: c.Pattern, Matcher: m})
	}
	s := NewSet(entries)
	for data, ev := range events {
		got := s.Match(ev, nil)
		slices.Sort(got)
		var want []ID
		for _, e := range entries {
			if e.Matcher.Evaluate(ev).Matched {
				want = append(want, e.ID)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the index finds %v, want %v", data, got, want)
		}
	}
	t.Logf("%d patterns, %d events", len(entries), len(events))
}
