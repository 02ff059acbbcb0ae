package rules

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestPatternErrors(t *testing.T) {
	sources := []string{
		`{"detail": {"state": [{"prefx": "a"}]}}`,
		`{"detail": {"state": [{"regex": "a"}]}}`,
		`{"detail": {"state": [{"starts": "a"}]}}`,
		`{"detail": {"state": "running"}}`,
		`{"detail": {"state": null, "n": 5}}`,
		`{"detail": {"state": []}}`,
		`{"detail": {}}`,
		`{}`,
		`["a"]`,
		`"a"`,
		`   `,
		`{"detail": {"state": ["a"]}`,
		`{"detail": {"state": ["a" "b"]}}`,
		`{"detail": {"state": ["a",]}}`,
		`{"detail": {"state": ["a]}}`,
		`{"detail": {"state": ["a"]}} x`,
		`{'detail': 1}`,
		"{\n  \"source\": [\"a\"],\n  \"detail\": {\n    \"a\": [{\"prefix\": 5}],\n    \"b\": [{\"numeric\": [\">\"]}],\n    \"c~/d\": [[1]]\n  }\n}",
		`{"data": {"a": [1]}}`,
		`{"detial": {"a": [1]}}`,
		`{"detail_type": ["a"]}`,
		`{"Account-ID": ["a"]}`,
		`{"source": {"a": ["b"]}}`,
		`{"subject": [null]}`,
		`{"detail": {"a": [{}]}}`,
		`{"detail": {"a": [{"prefix": "a", "suffix": "b"}]}}`,
		`{"detail": {"a": [{"prefix": {"equals": "a"}}]}}`,
		`{"detail": {"a": [{"prefix": {"equals-ignore-case": ["a"]}}]}}`,
		`{"detail": {"a": [{"suffix": {}}]}}`,
		`{"detail": {"a": [{"equals-ignore-case": {"prefix": "a"}}]}}`,
		`{"detail": {"a": [{"exists": "yes"}]}}`,
		`{"detail": {"a": {"exists": true}}}`,
		`{"detail": {"a": [{"numeric": 5}]}}`,
		`{"detail": {"a": [{"numeric": ["=>", 5]}]}}`,
		`{"detail": {"a": [{"numeric": ["=", "5"]}]}}`,
		`{"detail": {"a": [{"numeric": ["<", 5, ">", 0]}]}}`,
		`{"detail": {"a": [{"numeric": [">", 5, "<", 5]}]}}`,
		`{"detail": {"a": [{"numeric": ["=", 1e999]}]}}`,
		`{"detail": {"a": [{"cidr": "10.0.0.1"}]}}`,
		`{"detail": {"a": [{"cidr": "10.0.0/8"}]}}`,
		`{"detail": {"a": [{"cidr": "10.0.0.0/33"}]}}`,
		`{"detail": {"a": [{"wildcard": "a**b"}]}}`,
		`{"detail": {"a": [{"wildcard": "a\\b"}]}}`,
		`{"detail": {"a": [{"wildcard": "` + strings.Repeat("a", 600) + `"}]}}`,
		`{"detail": {"a": [{"regexp": "a("}]}}`,
		`{"detail": {"a": [{"regexp": "(a{100}){100}"}]}}`,
		`{"detail": {"a": [{"regexp": "a{200}"}, {"regexp": "a{201}"}, {"regexp": "a{202}"}, {"regexp": "a{203}"}, {"regexp": "a{204}"}, {"regexp": "a{205}"}]}}`,
		`{"detail": {"a": [{"anything-but": null}]}}`,
		`{"detail": {"a": [{"anything-but": []}]}}`,
		`{"detail": {"a": [{"anything-but": ["a", 1]}]}}`,
		`{"detail": {"a": [{"anything-but": [true]}]}}`,
		`{"detail": {"a": [{"anything-but": {"prefix": ""}}]}}`,
		`{"detail": {"a": [{"anything-but": {"prefix": []}}]}}`,
		`{"detail": {"a": [{"anything-but": {"sufix": "a"}}]}}`,
		`{"detail": {"a": [{"anything-but": {"wildcard": ["a", 5]}}]}}`,
		`{"detail": {"a": [{"anything-but": {"prefix": "a", "suffix": "b"}}]}}`,
		`{"$or": [{"source": ["a"]}]}`,
		`{"detail": {"$or": [{"a": ["a"]}]}}`,
		`{"detail": {"$or": [{"a": ["a"]}, {}]}}`,
		`{"detail": {"$or": [{"a": ["a"]}, ["b"]]}}`,
		`{"detail": {` + manyWays(11) + `}}`,
		`{"detail": {` + manyFields(300) + `}}`,
		`{"detail": {"` + strings.Repeat("a.", 200) + `": [1]}}`,
		strings.Repeat(`{"a":`, 200) + `[1]` + strings.Repeat(`}`, 200),
		`{"detail": {"a": ["` + strings.Repeat("x", MaxSource) + `"]}}`,
		"{\"detail\": {\"a\": [\"\xff\"]}}",
		`{"detail": {"äöü": ["ä", {"präfix": 1}]}}`,
	}
	env := mustEnv(t)
	var b strings.Builder
	for _, source := range sources {
		shown := source
		if len(shown) > 200 {
			shown = shown[:100] + "…"
		}
		b.WriteString("> " + strings.ReplaceAll(shown, "\n", "\n> ") + "\n")
		_, err := env.Compile(Filter{Pattern: source})
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
			fmt.Fprintf(&b, "%s\n  at %q: %s\n", c.Error(), c.Pointer, c.Offending)
		}
		b.WriteString("\n")
	}
	const golden = "testdata/pattern_errors.golden"
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

// manyWays is fields each of which has an $or of two.
func manyWays(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"f%d": {"$or": [{"a": [1]}, {"b": [1]}]}`, i))
	}
	return strings.Join(list, ", ")
}

func manyFields(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"f%d": [1]`, i))
	}
	return strings.Join(list, ", ")
}
