package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// sharedTestdata reads conformance cases that do not stand in the repository.
func sharedTestdata(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "shared", "testdata", filepath.FromSlash(name)))
	if errors.Is(err, os.ErrNotExist) {
		if os.Getenv("SWITCHYARD_REQUIRE") == "all" {
			t.Fatalf("%s is not there, and SWITCHYARD_REQUIRE=all", name)
		}
		t.Skipf("%s is not there", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}

type tckCase struct {
	Name, Expression, Result any
	Error, File              string
	Event, EventOverrides    map[string]any
}

func (c *tckCase) event(t *testing.T) *event.Event {
	t.Helper()
	attributes := map[string]any{"specversion": "1.0", "id": "1", "source": "/tck", "type": "com.example.tck"}
	if c.Event != nil {
		attributes = c.Event
	}
	for k, v := range c.EventOverrides {
		attributes[k] = v
	}
	text, err := json.Marshal(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return mustEvent(t, string(text))
}

// TestSQLConformance runs the specification's conformance cases: values and
// types of errors with the evaluator, and what passes with the filter.
func TestSQLConformance(t *testing.T) {
	var cases []tckCase
	if err := json.Unmarshal(sharedTestdata(t, "cloudevents/cesql_tck.json"), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 275 {
		t.Fatalf("%d cases", len(cases))
	}
	env := mustEnv(t)
	for i := range cases {
		c := &cases[i]
		t.Run(fmt.Sprintf("%s/%d %v", c.File, i, c.Name), func(t *testing.T) {
			source := fmt.Sprint(c.Expression)
			ev := c.event(t)
			parsed, problems := parseSQL(source)
			m, compileErr := env.Compile(Filter{SQL: source})
			if c.Error == "parse" || c.Error == "missingFunction" {
				about := len(problems) == 1 && strings.HasPrefix(problems[0].Message, "there is no function")
				if len(problems) == 0 || compileErr == nil || about != (c.Error == "missingFunction") {
					t.Fatalf("compiles to %v, %v", compileErr, problems)
				}
				return
			}
			if problems != nil {
				t.Fatal(problems)
			}
			r := sqlRun{ev: ev}
			v, err := r.eval(&parsed)
			if got, want := shown(v), c.Result; got != want && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s is %v, not %v", source, got, want)
			}
			if got := shownError(err); got != c.Error {
				t.Errorf("%s fails with %q (%v), not %q", source, got, err, c.Error)
			}
			if parsed.typ() != sqlBoolean && compileErr != nil {
				return // it can only result in another type
			}
			if compileErr != nil {
				t.Fatal(compileErr)
			}
			got := m.Evaluate(ev)
			if got.Matched != (c.Result == true && c.Error == "") || (got.Error != "") != (c.Error != "" || v.typ != sqlBoolean) {
				t.Errorf("%s as a filter: %+v", source, got)
			}
		})
	}
}

func shown(v sqlValue) any {
	switch v.typ {
	case sqlBoolean:
		return v.num != 0
	case sqlInt32:
		return float64(v.num)
	}
	return v.text
}

func shownError(err error) string {
	var e *sqlError
	if !errors.As(err, &e) {
		if err != nil {
			return "unknown: " + err.Error()
		}
		return ""
	}
	return [...]string{"math", "cast", "missingAttribute", "functionEvaluation"}[e.kind]
}
