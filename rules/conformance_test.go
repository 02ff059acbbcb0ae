package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	exprpb "cel.dev/expr"
	test "cel.dev/expr/conformance/test"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	// The messages that the cases name.
	_ "cel.dev/expr/conformance/proto2"
	_ "cel.dev/expr/conformance/proto3"
)

// beyond are what cases need that expressions over event do not have, by a part
// of the expression or of the reason why it does not compile.
var beyond = []string{
	"cannot be constructed here",                                                                            // messages
	"TestAllTypes", "GlobalEnum", "google.protobuf", "google.rpc", "proto.", "proto2", "proto3", "cel.expr", // messages and enums
	"cel.block", "cel.index", "cel.iterVar", // for optimizers
	"google.api",
	"ip(", "isIP(", "ip.isCanonical(", "cidr(", "isCIDR(", // functions of addresses are not offered
}

// differs are the cases that cel-go itself, whose evaluator this is, answers in
// another way, and how.
var differs = map[string]string{
	"fields/map_fields/map_bad_key_type_or_true":                                "a key of bytes is refused when it is compiled",
	"fields/map_fields/map_bad_key_type_and_false":                              "a key of bytes is refused when it is compiled",
	"fields/qualified_identifier_resolution/map_value_repeat_key":               "of equal keys of a literal the last stands",
	"fields/qualified_identifier_resolution/map_value_repeat_key_heterogeneous": "1u and 1 are two keys of a literal",
	"optionals/optionals/map_null_entry_no_such_key":                            "below null there is nothing, which is no failure",
	"optionals/optionals/map_present_key_invalid_field":                         "below a number there is nothing, which is no failure",
	"string_ext/value_errors/indexof_out_of_range":                              "a search from beyond the end finds nothing",
	"string_ext/value_errors/lastindexof_out_of_range":                          "a search from beyond the end finds nothing",
}

// TestCELConformance runs the conformance cases of CEL for what event can
// express: those without variables, messages and namespaces. A case with a bool
// is also run as a filter, and so as a condition.
func TestCELConformance(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "cel.dev/expr").Output()
	if err != nil {
		t.Fatalf("where the module of the cases is: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "tests", "simple", "testdata", "*.textproto"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files of cases: %v", len(files), err)
	}
	env := mustEnv(t)
	ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)
	ran, left, known := 0, 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases test.SimpleTestFile
		if err := prototext.Unmarshal(data, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, section := range cases.GetSection() {
			for _, c := range section.GetTest() {
				name := cases.GetName() + "/" + section.GetName() + "/" + c.GetName()
				if !expressible(c) {
					left++
					continue
				}
				if differs[name] != "" {
					known++
					continue
				}
				ran++
				t.Run(name, func(t *testing.T) { conform(t, env, ev, c) })
			}
		}
	}
	t.Logf("%d cases ran, %d need more than event has", ran, left)
	if ran < 1400 || known != len(differs) {
		t.Errorf("only %d cases ran, and %d of %d that differ are there", ran, known, len(differs))
	}
}

// expressible reports whether a case needs nothing that expressions over event
// do not have.
func expressible(c *test.SimpleTest) bool {
	if len(c.GetTypeEnv()) > 0 || len(c.GetBindings()) > 0 || c.GetContainer() != "" || c.GetDisableCheck() || c.GetCheckOnly() || c.GetDisableMacros() {
		return false
	}
	text := c.GetExpr() + prototext.Format(c)
	for _, b := range beyond {
		if strings.Contains(text, b) {
			return false
		}
	}
	return true
}

func conform(t *testing.T, env *Env, ev eventPointer, c *test.SimpleTest) {
	t.Helper()
	x, err := env.CompileExpr(c.GetExpr())
	if err != nil {
		if c.GetEvalError() == nil && c.GetAnyEvalErrors() == nil {
			t.Fatalf("%s\ndoes not compile: %v", c.GetExpr(), err)
		}
		return
	}
	got, err := x.Eval(ev)
	switch c.GetResultMatcher().(type) {
	case *test.SimpleTest_EvalError, *test.SimpleTest_AnyEvalErrors:
		if err == nil {
			t.Errorf("%s\nresults in %v, not in a failure", c.GetExpr(), got.Val)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s\nfailed: %v", c.GetExpr(), err)
	}
	value, err := cel.ValueAsProto(got.Val)
	if err != nil {
		t.Fatal(err)
	}
	want := c.GetValue()
	switch r := c.GetResultMatcher().(type) {
	case *test.SimpleTest_TypedResult:
		if want = r.TypedResult.GetResult(); want == nil {
			return // only its type matters
		}
	case nil: // a case without a result results in true
		want = &exprpb.Value{Kind: &exprpb.Value_BoolValue{BoolValue: true}}
	}
	if !proto.Equal(inOrder(value), inOrder(want)) {
		t.Errorf("%s\nresults in %v, not in %v", c.GetExpr(), value, want)
	}
	if m, err := env.Compile(Filter{When: c.GetExpr()}); err == nil {
		if r := m.Evaluate(ev); r.Error == "" && r.Matched != want.GetBoolValue() {
			t.Errorf("%s\nas a filter: %+v, want %v", c.GetExpr(), r, want)
		}
	}
}

// inOrder sorts the entries of a map, which have no order.
func inOrder(v *exprpb.Value) *exprpb.Value {
	slices.SortFunc(v.GetMapValue().GetEntries(), func(a, b *exprpb.MapValue_Entry) int {
		return strings.Compare(a.GetKey().String(), b.GetKey().String())
	})
	return v
}
