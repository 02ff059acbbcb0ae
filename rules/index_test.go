package rules

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/switchyard-dev/switchyard/bus/event"
)

var (
	pairs = flag.Int("rules.pairs", 1_000_000, "how many pairs of a filter and an event TestIndexAgreesWithCEL compares")
	seed  = flag.Uint64("rules.seed", 0, "the seed of TestIndexAgreesWithCEL; 0 takes a new one")
)

// ruled is a filter with its oracle.
type ruled struct {
	when    string
	matcher *Matcher
	oracle  cel.Program
}

// TestIndexAgreesWithCEL compares what sets match with what plain cel-go says
// of maps that encoding/json makes, for filters and events of a grammar, and
// again after rules were added and removed.
func TestIndexAgreesWithCEL(t *testing.T) {
	const rulesPerSet, eventsPerSet = 400, 500
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	env := mustEnv(t)
	oracle, err := newCEL(cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		t.Fatal(err)
	}
	classes := map[Class]int{}
	counts := map[outcome]int{}
	for done := 0; done < *pairs; done += rulesPerSet * eventsPerSet {
		g := grammar{rand.New(rand.NewPCG(s, uint64(done)))}
		all := g.rules(t, env, oracle, rulesPerSet)
		for _, r := range all {
			class, _ := r.matcher.Class()
			classes[class]++
		}
		set := NewSet(entriesOf(all))
		for i := range eventsPerSet {
			if i > 0 && i%50 == 0 { // exchange a few, and now and then many
				n := 8
				if i%200 == 0 {
					n = rulesPerSet / 2
				}
				at := g.IntN(rulesPerSet - n)
				copy(all[at:], g.rules(t, env, oracle, n))
				if entries := entriesOf(all); i%100 == 0 {
					set = set.Update(entries)
				} else { // one at a time
					for j := at; j < at+n; j++ {
						set = set.Change([]ID{ID(j)}, entries[j:j+1])
					}
				}
				if set.Len() != len(all) {
					t.Fatalf("the set has %d entries of %d", set.Len(), len(all))
				}
			}
			g.compare(t, set, all, counts)
		}
	}
	t.Log(classes, counts)
}

func (g grammar) rules(t *testing.T, env *Env, oracle *cel.Env, n int) []ruled {
	t.Helper()
	var out []ruled
	for len(out) < n {
		r := ruled{when: g.filter()}
		checked, issues := oracle.Compile(r.when)
		m, err := env.Compile(Filter{When: r.when})
		if err != nil || issues.Err() != nil {
			continue // such as a comparison of types that never meet
		}
		p, err := oracle.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		r.matcher, r.oracle = m, p
		out = append(out, r)
	}
	return out
}

func entriesOf(all []ruled) []Entry {
	out := make([]Entry, len(all))
	for i, r := range all {
		out[i] = Entry{ID: ID(i), Rule: r.when, Matcher: r.matcher}
	}
	return out
}

func (g grammar) compare(t *testing.T, set *Set, all []ruled, counts map[outcome]int) {
	t.Helper()
	structured, attributes, data := g.event()
	ev, err := event.FromStructured([]byte(structured), event.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", structured, err)
	}
	var decoded any
	if err := json.Unmarshal([]byte(data), &decoded); err != nil {
		t.Fatal(err)
	}
	attributes["data"] = decoded
	vars := map[string]any{"event": attributes}
	got := set.Match(ev, nil)
	slices.Sort(got)
	if again := slices.Compact(slices.Clone(got)); len(again) != len(got) {
		t.Fatalf("an event matched a rule twice: %v", got)
	}
	for i, r := range all {
		out, _, err := r.oracle.Eval(vars)
		want := failure
		if b, ok := out.(types.Bool); ok && err == nil {
			want = outcomeOf(bool(b))
		}
		counts[want]++
		if _, matched := slices.BinarySearch(got, ID(i)); matched != (want == yes) {
			t.Fatalf("%s\non %s\nmatched: %v, CEL says %v (%v)", r.when, structured, matched, out, err)
		}
		if i%16 == 0 {
			if res := r.matcher.Evaluate(ev); res.Matched != (want == yes) || (res.Error != "") != (want == failure) {
				t.Fatalf("%s\non %s\nevaluated to %+v, CEL says %v (%v)", r.when, structured, res, out, err)
			}
		}
	}
}

// FuzzConditionsAgainstCEL compares sets of filters with plain cel-go, from any
// seed of the grammar.
func FuzzConditionsAgainstCEL(f *testing.F) {
	env := mustEnv(f)
	oracle, err := newCEL(cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		g := grammar{rand.New(rand.NewPCG(a, b))}
		all := g.rules(t, env, oracle, leafSize+4)
		set := NewSet(entriesOf(all))
		for range 20 {
			g.compare(t, set, all, map[outcome]int{})
		}
	})
}

// TestIndexLooksAtFewFilters keeps a silent scan from passing: for each shape of
// 2,000 filters, a bounded number is evaluated beyond those that match.
func TestIndexLooksAtFewFilters(t *testing.T) {
	const many = 2000
	tests := []struct {
		name   string
		filter func(i int) string
		most   int // candidates that do not match
	}{
		{"distinct types", func(i int) string { return fmt.Sprintf(`event.type == "t%d"`, i) }, 0},
		{"one type and distinct values", func(i int) string { return fmt.Sprintf(`event.source == "/shop/a" && event.data.id == "v%d"`, i) }, 0},
		{"a shared condition and distinct types", func(i int) string {
			return fmt.Sprintf(`event.source.startsWith("/shop") && event.type == "t%d"`, i)
		}, 0},
		{"a grid of types and values", func(i int) string {
			return fmt.Sprintf(`event.data.row == "r%d" && event.data.column == "c%d"`, i%40, i/40)
		}, leafSize},
		{"narrow ranges", func(i int) string { return fmt.Sprintf(`event.data.n > %d && event.data.n <= %d`, i*10, i*10+10) }, 2},
		{"lists", func(i int) string { return fmt.Sprintf(`event.data.id in ["v%d", "w%d", "x%d"]`, i, i, i) }, 0},
		{"suffixes", func(i int) string { return fmt.Sprintf(`event.subject.endsWith("/item-%06d")`, i) }, 0},
		{"parts of a text", func(i int) string { return fmt.Sprintf(`event.subject.contains("item-%06d")`, i) }, 32},
		{"regular expressions", func(i int) string { return fmt.Sprintf(`event.subject.matches("^eu/item-%06d(/|$)")`, i) }, 1},
		{"distinct paths", func(i int) string { return fmt.Sprintf(`event.data.f%d > 1`, i) }, 0},
		{"negated comparisons", func(i int) string { return fmt.Sprintf(`!(event.data.n != %d)`, 10*i+5) }, 0},
		{"alternatives", func(i int) string { return fmt.Sprintf(`event.type == "t%d" || event.data.id == "v%d"`, i, i) }, 0},
		{"a choice", func(i int) string {
			return fmt.Sprintf(`event.type == "t%d" ? event.data.n > 0 : event.type == "u%d"`, i, i)
		}, 1},
		{"a part that only CEL can say", func(i int) string {
			return fmt.Sprintf(`event.type == "t%d" && event.data.list.exists(x, x > %d)`, i, i)
		}, 0},
	}
	env := mustEnv(t)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var entries []Entry
			for i := range many {
				m, err := env.Compile(Filter{When: tc.filter(i)})
				if err != nil {
					t.Fatal(err)
				}
				if class, why := m.Class(); class == Scan {
					t.Fatalf("%s is a scan: %s", tc.filter(i), why)
				}
				entries = append(entries, Entry{ID: ID(i), Rule: "r", Matcher: m})
			}
			s := NewSet(entries)
			matches, most := 0, 0
			for i := 0; i < many; i += 97 {
				ev := mustEvent(t, fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/shop/a","type":"t%d","subject":"eu/item-%06d",
					"data":{"id":"v%d","row":"r%d","column":"c%d","n":%d,"list":[%d],"f%d":2}}`, i, i, i, i%40, i/40, 10*i+5, i+1, i))
				got := s.Match(ev, nil)
				matches += len(got)
				v := s.base.views.Get().(*view)
				v.begin(ev, s.base)
				distinct := map[int32]bool{}
				for _, g := range s.base.candidates(v) {
					distinct[g.group] = true
				}
				most = max(most, len(distinct)-len(got))
				v.release()
			}
			if want := (many + 96) / 97; matches != want {
				t.Errorf("%d matches, want %d", matches, want)
			}
			if most > tc.most {
				t.Errorf("%d filters were evaluated in vain for one event, of %d; at most %d", most, many, tc.most)
			}
		})
	}
}
