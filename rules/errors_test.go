package rules

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files and the results in docs/functions.md")

func TestCompileErrors(t *testing.T) {
	sources := []string{
		`event.type == foo`,
		`evnt.type == "a"`,
		`event.type > 5`,
		`event.type.startsWith(3)`,
		`event.type`,
		`event.time == "x"`,
		`event.data.total + 1.0`,
		`event.Type == "a"`,
		`event.data_base64 == "a"`,
		`event.type == `,
		`event.type = "a"`,
		`event.type === "a"`,
		`event.`,
		`event.data. == 1`,
		`event..type == "a"`,
		`event.data.items.0.id == 1`,
		`event.data.2x == 1`,
		`event.type == "a" event.id == "b"`,
		`event.type == "a"))`,
		`event.data.items.exists(i, i.q > )`,
		`&& event.type == "a"`,
		`event.type == “a”`,
		`(event.type == "a" event.id`,
		`event.in == "a"`,
		`event["in`,
		"event.type == \"a\" &&\n  foo(event.id) &&\n  bar",
		`google.protobuf.Struct{} == null`,
		`Event{id: "1"} == event`,
		`event.subject.matches(event.type)`,
		`event.subject.matches("(")`,
		`event.subject.matches("(a{100}){100}")`,
		`regex.extract(event.subject, event.type).hasValue()`,
		`[1].exists(a, [1].exists(b, [1].exists(c, [1].exists(d, a == d))))`,
		`timestamp("yesterday") == event.time`,
		`duration("1 day") == duration("1h")`,
		`   `,
		`"` + strings.Repeat("x", MaxSource) + `" == event.id`,
		strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300),
		`event.id in [` + strings.Repeat(`"a",`, 4000) + `"b"]`,
		`"%d".format(["x"]) == ""`,
		`size(event) == 1`,
		`event == 5`,
		"event.type == \"\x00\xff\"",
		`"äöü" == event.typ && event.type == 5`,
		`type == "x"`,
		`event.type.matches("\d+") && event.id == 1`,
		`event.type == "a" and event.id == "b"`,
		`event.type == "a" OR event.id == "b"`,
		`not event.data.x`,
		`startsWith(event.type, "com")`,
		`event.type.startswith("com")`,
		`len(event.data.items) > 3`,
		`event.data.items.any(i, i > 1)`,
		`default(event.data.x) == 1`,
		`event.time > "2026-01-01T00:00:00Z"`,
		`event.id == 1`,
		`event.subject == null`,
		`event.data.items.exists(i.qty > 5)`,
		`event.data.order-id == 5`,
		`event.detail-type == "a"`,
		`event.partition-key == "a"`,
		`event.time > '2026-01-01'`,
		"${{ event.data.x == 1 }}",
		`event.data.x ? "a" : 1`,
		`event.type == "a" &&`,
		`(event.type == "a"`,
		`event.type <> "a"`,
		`event.type == "a" & event.id == "b"`,
		`event.type in "a"`,
		`event.type.name == "a"`,
		`data.total > 3`,
		`has(event.data["x"])`,
		`event.data.x` + strings.Repeat(".a", 120) + ` == 1`,
		`event.subject.matches("^[a-z0-9-]{1,63}([.][a-z0-9-]{1,63})*$")`,
		`event.subject.matches("(a{200}b){6}")`,
	}
	env := mustEnv(t)
	var b strings.Builder
	for _, src := range sources {
		shown := src
		if len(shown) > 100 {
			shown = shown[:100] + "…"
		}
		b.WriteString("> " + strings.ReplaceAll(shown, "\n", "\n> ") + "\n")
		_, err := env.Compile(Filter{When: src})
		if err == nil {
			b.WriteString("compiles\n\n")
			continue
		}
		all := []error{err}
		if list, ok := err.(interface{ Unwrap() []error }); ok {
			all = list.Unwrap()
		}
		for _, err := range all {
			var c *CompileError
			if !errors.As(err, &c) {
				t.Errorf("%s: %T is no *CompileError: %v", shown, err, err)
				continue
			}
			b.WriteString(c.Error() + "\n")
			if len(c.text) < 100 {
				b.WriteString(c.Caret() + " " + c.Offending + "\n")
			}
		}
		b.WriteString("\n")
	}
	const golden = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("errors differ from %s (run with -update to accept):\n%s", golden, b.String())
	}
}
