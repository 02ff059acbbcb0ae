package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// modelField is a value of an event with the elements that it is in, by the
// numbers of their arrays.
type modelField struct {
	path  string
	value any
	in    map[int]int
}

// modelFields lists the values of an event.
func modelFields(x any, path []string, in map[int]int, arrays *int, dst []modelField) []modelField {
	switch x := x.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			dst = modelFields(x[k], append(slices.Clone(path), k), in, arrays, dst)
		}
	case []any:
		id := *arrays
		*arrays++
		for i, e := range x {
			inside := maps.Clone(in)
			switch e.(type) {
			case map[string]any, []any:
				inside[id] = i
			}
			dst = modelFields(e, path, inside, arrays, dst)
		}
	default:
		dst = append(dst, modelField{strings.Join(path, "."), x, in})
	}
	return dst
}

// modelRule is one combination of a pattern: alternatives by path.
type modelRule map[string][]any

// modelRules are the combinations of a pattern without the same path twice.
func modelRules(p map[string]any, path []string, rules []modelRule) []modelRule {
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if k == "$or" {
			var all []modelRule
			for _, alternative := range p[k].([]any) {
				var copies []modelRule
				for _, r := range rules {
					copies = append(copies, maps.Clone(r))
				}
				all = append(all, modelRules(alternative.(map[string]any), path, copies)...)
			}
			rules = all
			continue
		}
		below := append(slices.Clone(path), k)
		if sub, ok := p[k].(map[string]any); ok {
			rules = modelRules(sub, below, rules)
			continue
		}
		for _, r := range rules {
			r[strings.Join(below, ".")] = p[k].([]any)
		}
	}
	return rules
}

// modelMatches tries all choices of values.
func modelMatches(rule modelRule, fields []modelField) bool {
	var try func(paths []string, in map[int]int, absent []string) bool
	try = func(paths []string, in map[int]int, absent []string) bool {
		if len(paths) == 0 {
			for _, f := range fields {
				if slices.Contains(absent, f.path) && consistent(in, f.in) {
					return false
				}
			}
			return true
		}
		path, rest := paths[0], paths[1:]
		for _, alternative := range rule[path] {
			if op, ok := alternative.(map[string]any); ok && op["exists"] == false {
				if try(rest, in, append(slices.Clone(absent), path)) {
					return true
				}
				continue
			}
			for _, f := range fields {
				if f.path != path || !consistent(in, f.in) || !modelHolds(alternative, f.value) {
					continue
				}
				joined := maps.Clone(in)
				maps.Copy(joined, f.in)
				if try(rest, joined, absent) {
					return true
				}
			}
		}
		return false
	}
	return try(slices.Sorted(maps.Keys(rule)), map[int]int{}, nil)
}

func consistent(a, b map[int]int) bool {
	for k, v := range b {
		if w, ok := a[k]; ok && v != w {
			return false
		}
	}
	return true
}

func modelHolds(alternative, x any) bool {
	op, ok := alternative.(map[string]any)
	if !ok {
		return alternative == x
	}
	if b, ok := op["anything-but"]; ok {
		return b != x
	}
	return op["exists"] == true
}

// TestPatternsMatchAsAModelDoes compares with a matcher that tries all choices
// of array elements.
func TestPatternsMatchAsAModelDoes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	env := mustEnv(t)
	matched := 0
	const rounds = 5_000
	for range rounds {
		source, data := modelPattern(r, 3), modelValue(r, 4, true)
		pattern, _ := json.Marshal(source)
		text, _ := json.Marshal(data)
		ways := modelRules(source, nil, []modelRule{{}})
		m, err := env.Compile(onData(string(pattern)))
		if refused := len(ways) > maxWays; refused != (err != nil) {
			t.Fatalf("%s makes %d combinations: %v", pattern, len(ways), err)
		} else if refused {
			continue
		}
		arrays := 0
		fields := modelFields(data, nil, map[int]int{}, &arrays, nil)
		want := slices.ContainsFunc(ways, func(rule modelRule) bool {
			return modelMatches(rule, fields)
		})
		ev := withData(string(text))
		if got := m.Evaluate(ev).Matched; got != want {
			t.Fatalf("%s on %s: %v, want %v", pattern, text, got, want)
		}
		if want {
			matched++
			if p := dataPattern(m); p != nil && !p.shadowHolds(ev) {
				t.Fatalf("%s matches %s, but not in the shadow", pattern, text)
			}
		}
	}
	if matched < rounds/20 {
		t.Errorf("only %d of %d matched", matched, rounds)
	}
}

// modelPattern is a random pattern. Keys are written in their order, so that an
// $or comes first, and what it says of a field may be replaced.
func modelPattern(r *rand.Rand, depth int) map[string]any {
	p := map[string]any{}
	for _, k := range []string{"a", "b", "c"}[r.IntN(2):] {
		switch n := r.IntN(8); {
		case n < 3 && depth > 0:
			p[k] = modelPattern(r, depth-1)
		case n < 6:
			var list []any
			for range 1 + r.IntN(2) {
				list = append(list, modelAlternative(r))
			}
			p[k] = list
		}
	}
	if depth > 0 && r.IntN(4) == 0 {
		var list []any
		for i := range 2 + r.IntN(2) {
			list = append(list, map[string]any{fmt.Sprintf("%c", 'c'+i): []any{modelAlternative(r)}, "d": []any{modelAlternative(r)}})
		}
		p["$or"] = list
	}
	if len(p) == 0 {
		p["a"] = []any{1.0}
	}
	return p
}

func modelAlternative(r *rand.Rand) any {
	switch r.IntN(8) {
	case 0, 3:
		return map[string]any{"exists": false}
	case 1:
		return map[string]any{"exists": true}
	case 2:
		return map[string]any{"anything-but": float64(r.IntN(3))}
	}
	return float64(r.IntN(3))
}

func modelValue(r *rand.Rand, depth int, object bool) any {
	switch n := r.IntN(5); {
	case object || depth > 0 && n < 2:
		x := map[string]any{}
		for _, k := range []string{"a", "b", "c", "d"} {
			if r.IntN(4) > 0 {
				x[k] = modelValue(r, depth-1, false)
			}
		}
		return x
	case depth > 0 && n == 2:
		x := []any{}
		for range r.IntN(4) {
			x = append(x, modelValue(r, depth-1, false))
		}
		return x
	}
	return float64(r.IntN(3))
}
