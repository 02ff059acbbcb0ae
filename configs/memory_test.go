package configs

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// again loads a text, and loads it once more with what the first load found of
// it, and reports whether all of that was used.
func again(t testing.TB, l *Loader, name string, text []byte) (first, second *Config, found, foundAgain Diagnostics, remembered bool) {
	t.Helper()
	l.Memory = &Memory{}
	first, found = l.LoadBytes(name, text)
	l.Memory = remembering(t, l.Memory)
	second, foundAgain = l.LoadBytes(name, text)
	return first, second, found, foundAgain, len(l.Memory.last) > 0 && !l.Memory.Fresh()
}

// remembering is a Memory out of what another one wrote.
func remembering(t testing.TB, m *Memory) *Memory {
	t.Helper()
	out := &Memory{}
	if err := out.Remember("build", m.Append(nil, "build")); err != nil {
		t.Fatal(err)
	}
	return out
}

// described is all that a configuration says, but for what compiles.
func described(c *Config) []string {
	var out []string
	for _, kind := range []string{Buses, Sources, Rules, Targets} {
		for _, o := range c.List(kind) {
			out = append(out, fmt.Sprintf("%s %s %s %s %s", kind, o.Name, o.Origin, o.Raw, o.View()))
		}
	}
	all := maps.Collect(c.Rules.All())
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		out = append(out, fmt.Sprintf("%s: %q %q %q %+v %v %v %s", name, r.Bus, r.Filter, r.Targets, r.Retry, r.Transform != nil, r.Origin, r.EnrichFingerprint))
	}
	for kind := range map[string]bool{Buses: true, Targets: true} {
		for _, o := range c.List(kind) {
			out = append(out, fmt.Sprintf("%s %s: %q", kind, o.Name, c.Users(kind, o.Name)))
		}
	}
	slices.Sort(out)
	return append(out, fmt.Sprintf("%+v %+v", c.Server, c.Network))
}

// sameLoad holds a configuration of which rules were remembered against the one
// that was read.
func sameLoad(t testing.TB, first, second *Config, found, foundAgain Diagnostics) {
	t.Helper()
	if got, want := foundAgain.String(), found.String(); got != want {
		t.Errorf("found again:\n%s\nwant\n%s", got, want)
	}
	if got, want := described(second), described(first); !reflect.DeepEqual(got, want) {
		t.Errorf("remembered:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if found.HasErrors() {
		return
	}
	for name, r := range first.Rules.All() {
		was := second.Rules.At(name)
		for i, f := range r.Tests {
			want := r.run(name, f)
			got := was.run(name, f)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("rule %s, test %d: %+v, want %+v", name, i, got, want)
			}
		}
	}
}

func TestRememberedRulesAreThoseOfTheFile(t *testing.T) {
	texts := map[string]string{
		"all dialects, transforms and retries": `version: 1
buses: {a: {}}
targets:
  out: {log: {}}
  other: {log: {}}
rules:
  # a comment
  when: {bus: a, when: 'event.type == "x" && event.data.n > 1', targets: [out, other]}
  pattern:
    bus: a
    pattern: {detail: {n: [1, {numeric: [">", 3]}]}}
    targets: [out]
    retry: {attempts: 3, delays: [1s, 2m]}
    tests:
      - event: {type: x, data: {n: 5}}
        expect: match
      - event: {type: x, data: {n: 2}}
        expect: no match

  filters:
    bus: a
    filters: [{exact: {type: x}}, {prefix: {source: /s}}]
    transform:
      subject: null
      type: made
      data:
        id: "${{ event.data.id }}"
        note: >-
          order ${{ event.data.id }}
          of ${{ event.source }}
        list: [1, -2, true, text]
    targets: [other]
    tests:
      - event: {type: x, source: /shop, data: {id: 7}}
        expect: {type: made, data: {id: 7, note: order 7 of /shop, list: [1, -2, true, text]}}
  sql:
    bus: a
    sql: type LIKE 'x%'
    targets: [out]
    tests: [{event: {type: xy}, expect: match}]
  every: {bus: a, targets: [out]}
`,
		"a rule without a filter in a circle, and a target that none uses": `version: 1
buses: {a: {}, b: {}}
rules:
  there:
    bus: a
    targets: [b]
  back:
    bus: b
    targets: [a]
targets:
  a: {bus: {name: a}}
  b: {bus: {name: b}}
  spare: {log: {}}
`,
		"warnings of filters and transforms": `version: 1
buses: {a: {}}
targets: {out: {log: {}}}
rules:
  never:
    bus: a
    when: event.type == "x" && event.type == "y"
    targets: [out]
  slip:
    bus: a
    when: event.typ == "x"
    transform: {data: {x: "{{ event.id }}"}, sorce: x}
    targets: [out]
`,
		"references beside plain rules": `version: 1
buses: {a: {}}
targets: {out: {http: {url: "http://a.example.com:${env:PORT}/", secret: "${env:SECRET}"}}}
rules:
  first: {bus: a, targets: [out]}
  with-reference:
    bus: a
    when: event.subject == "${env:NAME}"
    targets: [out]
  with-escape:
    bus: a
    when: event.subject == "$${x}"
    targets: [out]
  last:
    bus: a
    targets: [out]
`,
		"a text that keeps its empty lines before a rule": "version: 1\nbuses: {a: {}}\ntargets: {out: {log: {}}}\nrules:\n" +
			"  r1:\n    bus: a\n    targets: [out]\n    when: |+\n      event.subject == \"${env:NAME}\"\n\n\n  r2:\n    bus: a\n    targets: [out]\n",
		"anchors within rules":        "version: 1\nbuses: {a: {}}\ntargets: {out: {log: {}}}\nrules:\n  r1: &r\n    bus: a\n    targets: [out]\n  r2: *r\n  r3:\n    <<: *r\n    when: event.id == \"1\"\n",
		"an anchor that a target has": "version: 1\nbuses: {a: {}}\ntargets:\n  out: {log: {}, retry: &r {attempts: 3}}\nrules:\n  r1:\n    bus: a\n    targets: [out]\n    retry: *r\n",
		"an anchor of a rule that a target uses": "version: 1\nbuses: {a: {}}\nrules:\n  r1:\n    bus: a\n    targets: [out]\n    retry: &r {attempts: 3}\n" +
			"targets:\n  out:\n    log: {}\n    retry: *r\n",
		"rules on one line":               "version: 1\nbuses: {a: {}}\nrules: {r1: {bus: a, targets: [out]}, r2: {bus: a, targets: [out]}}\ntargets: {out: {log: {}}}\n",
		"no line break at the end":        "version: 1\nbuses: {a: {}}\ntargets: {out: {log: {}}}\nrules:\n  r1:\n    bus: a\n    targets: [out]",
		"carriage returns":                "version: 1\r\nbuses: {a: {}}\r\ntargets: {out: {log: {}}}\r\nrules:\r\n  r1:\r\n    bus: a\r\n    targets: [out]\r\n  r2: {bus: a, targets: [out]}\r\n",
		"carriage returns alone":          "version: 1\rbuses: {a: {}}\rtargets: {out: {log: {}}}\rrules:\r  r1:\r    bus: a\r    targets: [out]\r",
		"a next-line character in a text": "version: 1\nbuses: {a: {}}\nrules:\n  r1:\n    bus: a\n    when: |\n      event.id == \"1\" ||\u0085      event.id == \"2\"\n    targets: [out]\n  r2: {bus: a, targets: [out]}\ntargets: {out: {log: {}}}\n",
		"quoted names and a merged root":  "version: 1\nbuses: {a: {}}\n\"rules\":\n  \"r1\": {bus: a, targets: [out]}\n  ? r2\n  : {bus: a, targets: [out]}\ntargets: {out: {log: {}}}\n",
		"numbers that JSON has not":       "version: 1\nbuses: {a: {}}\ntargets: {out: {log: {}}}\nrules:\n  r1:\n    bus: a\n    targets: [out]\n    transform: {data: {a: 0x10, b: 1_000, c: .5, d: 2024-01-01, e: ~, f: 1.50, 1: x}}\n    tests: [{event: {}, expect: match}]\n",
		"a rule that enriches":            "version: 1\nbuses: {a: {}}\ntargets: {out: {log: {}}}\nrules:\n  r1: {bus: a, targets: [out]}\n  r2:\n    bus: a\n    targets: [out]\n    enrich: {c: {http: {url: \"http://c.example.com\", headers: {Authorization: \"Bearer hunter2hunter2\"}}}}\n    transform: {data: \"${{ enriched.c }}\"}\n",
	}
	doubted := map[string]bool{ // of which nothing is remembered
		"a text that keeps its empty lines before a rule": false,
		"an anchor of a rule that a target uses":          true,
		"rules on one line":                               true,
		"carriage returns alone":                          true,
		"a next-line character in a text":                 true,
		"numbers that JSON has not":                       true,
	}
	for _, pattern := range []string{"*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			texts[f] = string(data)
			doubted[f] = true // or not
		}
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			first, second, found, foundAgain, remembered := again(t, testLoader(t), "a.yaml", []byte(text))
			sameLoad(t, first, second, found, foundAgain)
			if !remembered && !doubted[name] {
				t.Error("nothing was remembered")
			}
		})
	}
}

// FuzzMemory looks for texts that are another configuration when their rules are
// remembered.
func FuzzMemory(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("version: 1\nbuses: {a: {}}\ntargets: {out: {log: {}}}\nrules:\n  r1: &r\n    bus: a\n    targets: [out]\n  r2: *r\n"))
	l := testLoader(f)
	l.ReadFile = func(string) ([]byte, error) { return nil, os.ErrNotExist }
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		first, second, found, foundAgain, _ := again(t, l, "a.yaml", data)
		sameLoad(t, first, second, found, foundAgain)
	})
}

const rememberedText = `version: 1
buses: {a: {}}
targets:
  out: {http: {url: "https://user:pass1234@out.example.com/", secret: literal-secret-1234}}
  to: {http: {url: "http://to.example.com:${env:PORT}/", secret: "${env:SECRET}"}}
rules:
  plain: {bus: a, when: 'event.type == "x"', targets: [out]}
  referring: {bus: a, when: 'event.subject == "${env:NAME}"', targets: [to]}
`

func TestWhatIsRememberedIsNotUsedForAnythingElse(t *testing.T) {
	l := testLoader(t)
	l.Memory = &Memory{}
	if _, found := l.LoadBytes("a.yaml", []byte(rememberedText)); found.HasErrors() {
		t.Fatal(found)
	}
	written := l.Memory.Append(nil, "build")
	load := func(name, text string, change func(*Loader)) (*Config, *Memory) {
		t.Helper()
		l := testLoader(t)
		l.Memory = &Memory{}
		if err := l.Memory.Remember("build", written); err != nil {
			t.Fatal(err)
		}
		change(l)
		c, found := l.LoadBytes(name, []byte(text))
		if found.HasErrors() {
			t.Fatal(found)
		}
		return c, l.Memory
	}
	nothing := func(*Loader) {}
	if _, m := load("a.yaml", rememberedText, nothing); m.Fresh() {
		t.Error("the same text was read anew")
	}
	changed := strings.Replace(rememberedText, `"x"`, `"y"`, 1)
	c, m := load("a.yaml", changed, nothing)
	if got := c.Rules.At("plain").Filter.When; got != `event.type == "y"` || !m.Fresh() {
		t.Errorf("of a changed text: %s", got)
	}
	c, m = load("b.yaml", rememberedText, nothing)
	if got := c.Rules.At("plain").Origin.String(); got != "b.yaml:7" || !m.Fresh() {
		t.Errorf("in another file: %s", got)
	}
	c, _ = load("a.yaml", rememberedText, func(l *Loader) {
		env := l.Env
		l.Env = func(name string) (string, bool) {
			if name == "NAME" {
				return "changed", true
			}
			return env(name)
		}
	})
	if got := c.Rules.At("referring").Filter.When; got != `event.subject == "changed"` {
		t.Errorf("with another environment: %s", got)
	}
	_, m = load("a.yaml", rememberedText, func(l *Loader) { l.MostLinted = 1 })
	if !m.Fresh() {
		t.Error("what was linted less was taken")
	}
	if err := new(Memory).Remember("another build", written); err == nil {
		t.Error("another build was believed")
	}
}

func TestDamagedMemoryIsRefused(t *testing.T) {
	l := testLoader(t)
	l.Memory = &Memory{}
	l.LoadBytes("a.yaml", []byte(rememberedText))
	written := l.Memory.Append(nil, "build")
	for i := range written {
		damaged := bytes.Clone(written)
		damaged[i] ^= 1
		if new(Memory).Remember("build", damaged) == nil {
			t.Fatalf("damage at %d was not seen", i)
		}
		if new(Memory).Remember("build", written[:i]) == nil {
			t.Fatalf("%d bytes of it were taken", i)
		}
	}
}

// What a faulty program might have written ends in a load of the whole file, not
// in a panic or in less than that.
func TestMemoryThatMakesNoSenseIsReadAnew(t *testing.T) {
	l := testLoader(t)
	l.Memory = &Memory{}
	want, _ := l.LoadBytes("a.yaml", []byte(rememberedText))
	kept := l.Memory.last[0]
	for i := range kept.body {
		for _, with := range []byte{0, 1, 0x7f, 0xff} {
			body := kept.body[:i] + string([]byte{with}) + kept.body[i+1:]
			if body == kept.body || i > len(body)-len(want.objects.At(objectKey{Rules, "plain"}).raw) {
				continue
			}
			l := testLoader(t)
			l.Memory = &Memory{known: map[documentKey]string{kept.key: body}}
			if c, _ := l.LoadBytes("a.yaml", []byte(rememberedText)); c.Rules.Len() > 2 {
				t.Fatalf("%d rules with %#x at %d", c.Rules.Len(), with, i)
			}
		}
	}
}

func TestNoSecretIsRemembered(t *testing.T) {
	l := testLoader(t)
	l.Memory = &Memory{}
	if _, found := l.LoadBytes("a.yaml", []byte(rememberedText)); found.HasErrors() {
		t.Fatal(found)
	}
	written := string(l.Memory.Append(nil, "build"))
	if !strings.Contains(written, "plain") {
		t.Fatal("nothing was remembered")
	}
	for _, secret := range []string{"hunter2", "secretname", "literal-secret", "pass1234", "8080"} {
		if strings.Contains(written, secret) {
			t.Errorf("%s was written down", secret)
		}
	}
}
