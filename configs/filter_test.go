package configs

import (
	"errors"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/rules"
)

// A pointer of the compiler becomes a place in the YAML, whatever its style.
func TestPointersOfAFilterBecomePlaces(t *testing.T) {
	const text = `pattern:
  source: [/shop]
  detail:
    a/b~c:
      - prefix: x
      - {exact: y}
    list: [1, [2, 3]]
    "": 4
`
	root, syntax := parseYAML([]byte(text))
	if syntax != nil {
		t.Fatal(syntax)
	}
	for pointer, want := range map[string]string{
		"":                           "1:1: pattern: m; h",
		"/source":                    "2:11: pattern.source: m; h",
		"/source/0":                  "2:12: pattern.source[0]: m; h",
		"/source/1":                  "2:11: pattern.source: m; h",
		"/detail":                    "3:3: pattern.detail: m; h",
		"/detail/a~1b~0c":            `4:5: pattern.detail["a/b~c"]: m; h`,
		"/detail/a~1b~0c/0":          `5:9: pattern.detail["a/b~c"][0]: m; h`,
		"/detail/a~1b~0c/0/prefix":   `5:17: pattern.detail["a/b~c"][0].prefix: m; h`,
		"/detail/a~1b~0c/1/exact":    `6:17: pattern.detail["a/b~c"][1].exact: m; h`,
		"/detail/a~1b~0c/1/exact/no": `6:17: pattern.detail["a/b~c"][1].exact: m; h`,
		"/detail/list/1/0":           "7:16: pattern.detail.list[1][0]: m; h",
		"/detail/list/x":             "7:11: pattern.detail.list: m; h",
		"/detail/":                   `8:9: pattern.detail[""]: m; h`,
		"/detail/gone":               "3:3: pattern.detail: m; h",
	} {
		d := &document{loader: testLoader(t), source: []byte(text)}
		e := expander{doc: d}
		d.root = e.expand(root)
		_, n := child(d.root, "pattern")
		d.filterErrors(n, pathOf("pattern"), &rules.CompileError{Line: 1, Column: 9, Pointer: pointer, Message: "m", Hint: "h"})
		if got := d.diags.String(); got != want {
			t.Errorf("%q is at %s; want %s", pointer, got, want)
		}
		if got := d.diags[0].Pointer(); pointer != "" && strings.HasPrefix(want, "5:") && got != "/pattern"+pointer {
			t.Errorf("%q has the pointer %s", pointer, got)
		}
	}
}

func TestErrorsOfAFilterWithoutAPlaceAreReportedAtTheFilter(t *testing.T) {
	d := &document{loader: testLoader(t)}
	root, _ := parseYAML([]byte("a: [1]"))
	_, n := child(root, "a")
	d.filterErrors(n, pathOf("a"), errors.New("broken"))
	if got := d.diags.String(); got != "1:4: a: broken" {
		t.Error(got)
	}
}
