package configs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// One change after another makes the configuration that all objects together
// make, with the same errors, and its warnings about the rule.
func TestChangesMakeWhatAMergeOfAllWouldMake(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	l := testLoader(t)
	file := load(t, `version: 1
buses: {a: {scanRules: 3}, b: {scanRules: 1}, c: {}}
rules: {f1: {bus: a, targets: [to-b]}, f2: {bus: a, when: size(event.data.z) > 1, targets: [out]}}
targets: {out: {log: {}}, to-b: {bus: {name: b}}}
`)
	current, found := l.Merge(file, nil)
	if found.HasErrors() {
		t.Fatal(found)
	}
	var objects []Object
	refused, warned := 0, 0
	for range 600 {
		kind, name := Rules, fmt.Sprint("r", r.IntN(12))
		text := fmt.Sprintf(`{"bus": %q, %s"targets": [%q]}`, pick("a", "a", "b", "b", "c", "gone"),
			pick("", `"when": "event.type == \"x\"", `, `"when": "size(event.data.z) > 1", `), pick("out", "to-b", "to-a", "gone"))
		if r.IntN(6) == 0 {
			kind, name = Targets, "to-a"
			text = pick(`{"bus": {"name": "a"}}`, `{"log": {}}`, `{"http": {"url": "http://10.0.0.1/"}}`)
		}
		at := slices.IndexFunc(objects, func(o Object) bool { return o.Kind == kind && o.Name == name })
		next := slices.Clone(objects)
		if at >= 0 {
			next = slices.Delete(next, at, at+1)
		}
		var changed *Config
		var got Diagnostics
		if at >= 0 && r.IntN(3) == 0 && len(current.Users(kind, name)) == 0 {
			changed, got = l.Without(current, kind, name)
		} else {
			o, diags := l.ParseObject(kind, name, []byte(text))
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			next = append(next, o)
			changed, got = l.With(current, o)
		}
		whole, want := l.Merge(file, next)
		if diff := cmp.Diff(want.Errors().String(), got.Errors().String()); diff != "" {
			t.Fatalf("%s %s: %s: errors differ: %s", kind, name, text, diff)
		}
		for _, w := range want.Warnings() {
			if k, n := w.Object(); k == kind && n == name {
				warned++
				if !slices.ContainsFunc(got, func(d Diagnostic) bool { return d.String() == w.String() }) {
					t.Fatalf("%s: it does not warn: %s", text, w)
				}
			}
		}
		if got.HasErrors() {
			refused++
			continue
		}
		current, objects = changed, next
		if diff := cmp.Diff(describe(whole), describe(current)); diff != "" {
			t.Fatal(diff)
		}
	}
	if refused == 0 || warned == 0 {
		t.Errorf("%d changes were refused and %d warned of; the test tries nothing", refused, warned)
	}
}

// describe is what a configuration says, as text.
func describe(c *Config) string {
	var b strings.Builder
	for _, kind := range []string{Buses, Rules, Targets} {
		for _, o := range c.List(kind) {
			fmt.Fprintf(&b, "%s %s %s %s\n", kind, o.Name, o.Origin, o.View())
		}
	}
	for _, o := range c.API() {
		fmt.Fprintf(&b, "api %s %s\n", o.Kind, o.Name)
		if r := c.Rules.At(o.Name); o.Kind == Rules {
			fmt.Fprintf(&b, "rule %s %s %v %v\n", o.Name, r.Bus, r.Targets, r.Filter)
		}
	}
	for name := range c.relays.All() {
		fmt.Fprintf(&b, "relay %s\n", name)
	}
	for bus, n := range c.scanning {
		if n > 0 {
			fmt.Fprintf(&b, "scan %s %d\n", bus, n)
		}
	}
	lines := strings.Split(b.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
