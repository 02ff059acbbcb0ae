package rules

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

const functionsPage = "../docs/functions.md"

// functionRow is a row of a table of the page: call, what it does, example and
// result.
var functionRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\| `([^`]+)` \\| `([^`]*)` \\|$")

// Every example of docs/functions.md results in what the page says.
func TestTheExamplesOfThePageAreTrue(t *testing.T) {
	page, err := os.ReadFile(functionsPage)
	if err != nil {
		t.Fatal(err)
	}
	ev := pageEvent(t, string(page))
	env := mustEnv(t)
	rows := 0
	fresh := functionRow.ReplaceAllStringFunc(string(page), func(row string) string {
		rows++
		cells := functionRow.FindStringSubmatch(row)
		example, want := cells[3], cells[4]
		x, err := env.CompileExpr(example)
		if err != nil {
			t.Errorf("%s: %v", example, err)
			return row
		}
		v, err := x.Eval(ev)
		if err != nil {
			t.Errorf("%s: %v", example, err)
			return row
		}
		got, err := v.AppendJSON(nil, 1<<10)
		if err != nil {
			t.Errorf("%s: %v", example, err)
			return row
		}
		if string(got) != want && !*update {
			t.Errorf("%s\nresults in  %s\nthe page has %s", example, got, want)
		}
		return strings.TrimSuffix(row, "`"+want+"` |") + "`" + string(got) + "` |"
	})
	if lines := strings.Count(string(page), "\n| `"); rows != lines {
		t.Errorf("%d rows can be read of %d", rows, lines)
	}
	if *update {
		if err := os.WriteFile(functionsPage, []byte(fresh), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Every function and macro that expressions have stands on the page.
func TestThePageHasEveryFunction(t *testing.T) {
	page, err := os.ReadFile(functionsPage)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]bool{}
	name := regexp.MustCompile(`^(?:(?:list|map|m|o|s|t)\.)?([a-zA-Z0-9_.]+)\(`)
	for _, row := range functionRow.FindAllStringSubmatch(string(page), -1) {
		if m := name.FindStringSubmatch(row[1]); m != nil {
			calls[m[1]] = true
		}
	}
	env := mustEnv(t)
	operator := regexp.MustCompile(`^[^a-zA-Z]|@|^in$`)
	for f := range env.cel.Functions() {
		if !operator.MatchString(f) && !calls[f] {
			t.Errorf("the page lacks %s", f)
		}
	}
	for _, m := range env.cel.Macros() {
		f := m.Function()
		if prefix := map[string]string{"bind": "cel.", "greatest": "math.", "least": "math."}[f]; !calls[prefix+f] {
			t.Errorf("the page lacks the macro %s", f)
		}
	}
}

func pageEvent(t *testing.T, page string) *event.Event {
	t.Helper()
	_, rest, _ := strings.Cut(page, "```json\n")
	json, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no event")
	}
	return mustEvent(t, json)
}
