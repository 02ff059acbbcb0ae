package rules

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"pgregory.net/rapid"
)

// The expressions and the data come from one small pool of names and literals,
// so that they meet.
var (
	poolKeys    = []string{"a", "b", "c"}
	poolScalars = []string{"1", "0", "-1", "2.5", "-0.0", "1e2", "9007199254740993", `"a"`, `""`, `"ab"`, `"\u00e9"`, "true", "false", "null"}
	poolCEL     = []string{"1", "0", "-1", "2.5", "-0.0", "1e2", "9007199254740993", "2u", `"a"`, `""`, `"ab"`, `"é"`, "true", "false", "null", "[]", "{}", `[1, "a"]`, `{"a": 1}`}
)

func genJSON(t *rapid.T, depth int) string {
	kind := rapid.SampledFrom([]int{0, 3, 3, 3, 4, 4}).Draw(t, "kind")
	if depth == 0 || kind < 2 {
		return rapid.SampledFrom(poolScalars).Draw(t, "scalar")
	}
	var parts []string
	if kind < 4 {
		for _, k := range poolKeys {
			if rapid.SampledFrom([]bool{true, true, true, true, false}).Draw(t, "has") {
				parts = append(parts, strconv.Quote(k)+":"+genJSON(t, depth-1))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	for range rapid.IntRange(0, 3).Draw(t, "len") {
		parts = append(parts, genJSON(t, depth-1))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func genPath(t *rapid.T) string {
	p := "event.data"
	for range rapid.IntRange(0, 3).Draw(t, "steps") {
		key := rapid.SampledFrom(poolKeys).Draw(t, "key")
		switch rapid.IntRange(0, 7).Draw(t, "step") {
		case 0:
			p += "[" + strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "index")) + "]"
		case 1:
			p += "[" + strconv.Quote(key) + "]"
		case 2:
			p += ".?" + key + ".orValue(" + rapid.SampledFrom(poolCEL).Draw(t, "default") + ")"
		default:
			p += "." + key
		}
	}
	return p
}

func genValue(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "value") {
	case 0, 1:
		return rapid.SampledFrom(poolCEL).Draw(t, "literal")
	case 2:
		return "[" + genPath(t) + ", " + genPath(t) + "]"
	case 3:
		return "type(" + genPath(t) + ")"
	case 4:
		return "dyn(" + genPath(t) + " + " + genPath(t) + ")"
	case 5:
		return "dyn(size(" + genPath(t) + "))"
	}
	return genPath(t)
}

func genBool(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 12).Draw(t, "bool")
	if depth == 0 && kind > 5 {
		kind %= 6
	}
	switch kind {
	case 0, 1, 2:
		op := rapid.SampledFrom([]string{"==", "!=", "<", ">=", "in"}).Draw(t, "op")
		return "dyn(" + genValue(t) + ") " + op + " dyn(" + genValue(t) + ")"
	case 3:
		return "has(" + genPath(t) + "." + rapid.SampledFrom(poolKeys).Draw(t, "key") + ")"
	case 4:
		return genPath(t) + "." + rapid.SampledFrom([]string{"startsWith", "contains", "endsWith"}).Draw(t, "fn") + `("a")`
	case 5:
		return genPath(t) + "." + rapid.SampledFrom([]string{"?a", "?b.?c"}).Draw(t, "opt") + ".hasValue()"
	case 6:
		return "(" + genBool(t, depth-1) + " && " + genBool(t, depth-1) + ")"
	case 7:
		return "(" + genBool(t, depth-1) + " || " + genBool(t, depth-1) + ")"
	case 8:
		return "!(" + genBool(t, depth-1) + ")"
	case 9:
		return "(" + genBool(t, depth-1) + " ? " + genBool(t, depth-1) + " : " + genBool(t, depth-1) + ")"
	case 10:
		macro := rapid.SampledFrom([]string{"all", "exists", "exists_one"}).Draw(t, "macro")
		return genPath(t) + "." + macro + "(x, x " + rapid.SampledFrom([]string{"==", "!=", "in"}).Draw(t, "op") + " " + genPath(t) + ")"
	case 11:
		return genPath(t) + ".exists(k, v, v == " + genPath(t) + " && k != dyn(" + rapid.SampledFrom(poolCEL).Draw(t, "literal") + "))"
	}
	// Not the lists themselves: the order of a Go map is random.
	return "size(" + genPath(t) + ".filter(x, x != " + genPath(t) + ")) == size(" + genPath(t) + ".map(x, [x]))"
}

// TestSameAsMaps compares evaluation over the tape with plain cel-go over maps
// that encoding/json makes. Rapid prints the seed of a failure.
func TestSameAsMaps(t *testing.T) {
	env := mustEnv(t)
	oracle, err := newCEL(cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		data, when := `{"a":`+genJSON(t, 2)+`,"b":`+genJSON(t, 2)+`,"c":`+genJSON(t, 1)+`}`, genBool(t, 2)
		m, err := env.Compile(Filter{When: when})
		checked, issues := oracle.Compile(when)
		if (err == nil) != (issues.Err() == nil) {
			t.Fatalf("%s compiles to %v, for the oracle %v", when, err, issues.Err())
		}
		if err != nil {
			counts["refused"]++
			return
		}
		var v any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		program, err := oracle.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		want, _, wantErr := program.Eval(map[string]any{"event": map[string]any{"data": v}})
		got := m.Evaluate(mustRapidEvent(t, data))
		expected := "error"
		if wantErr == nil {
			expected = fmt.Sprint(want == types.True)
		}
		actual := "error"
		if got.Error == "" {
			actual = fmt.Sprint(got.Matched)
		}
		counts[expected]++
		if actual != expected {
			t.Fatalf("%s\non %s\ngot %s (%s), want %s (%v)", when, data, actual, got.Error, expected, wantErr)
		}
	})
	t.Log(counts)
}

func mustRapidEvent(t *rapid.T, data string) (ev eventPointer) {
	ev, err := structured(data)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}
