package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCodeSaysWhatItsConditionSays compares filters that are kept as code with
// the conditions that the code is taken apart to, where values have slots and
// where they have none.
func TestCodeSaysWhatItsConditionSays(t *testing.T) {
	env := mustEnv(t)
	g := grammar{rand.New(rand.NewPCG(3, 4))}
	var filters []Filter
	for range 300 {
		filters = append(filters, Filter{When: g.filter()})
	}
	for _, data := range []string{`{"a":["x",1,true,null]}`, `{"a":[{"prefix":"x"}],"b":{"c":[{"numeric":[">",1,"<=",2]}]}}`,
		`{"a":[{"anything-but":["x"]}],"b.c":[2],"list":[{"suffix":"y"},{"equals-ignore-case":"X"}]}`} {
		filters = append(filters, onData(data), Filter{Pattern: `{"source":["/s",{"prefix":"/a"}],"detail-type":[{"anything-but":"u"}],"detail":` + data + `}`})
	}
	var matchers []*Matcher
	var explainers []*Explainer // of which each has slots for its filter
	coded := 0
	for _, f := range filters {
		m, err := env.Compile(f)
		if err != nil {
			continue // such as a comparison of types that never meet
		}
		if m.filter.root.kind == codeNode {
			coded++
		}
		matchers, explainers = append(matchers, m), append(explainers, m.Explainer())
	}
	if coded < len(matchers)/2 {
		t.Errorf("%d of %d filters have code", coded, len(matchers))
	}
	for i := range 150 {
		structured, _, _ := g.event()
		if i%3 == 0 {
			structured = `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":` +
				[]string{`{"a":"x","b":[{"c":1.5},{"c":3}]}`, `{"a":["y",null],"b":{"c":2},"list":["xy","q"]}`, `{"a":[],"b":2,"b.c":2}`}[i/3%3] + `}`
		}
		ev := mustEvent(t, structured)
		for j, m := range matchers {
			want := m.filter.tree().eval(&view{ev: ev})
			x := explainers[j]
			end := x.begin(ev)
			within := m.filter.eval(&x.view)
			end()
			if alone := m.filter.eval(&view{ev: ev}); alone != want || within != want {
				t.Fatalf("%s\non %s\nsays %v, and %v with slots; its condition %v", m.filter.source, structured, alone, within, want)
			}
		}
	}
}

// TestRangesFindEachIntervalOfANumber compares them with a look at each interval.
func TestRangesFindEachIntervalOfANumber(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, many := range []int{1, 3, 4, 5, 32, 33, 257, 3000} {
		b := &block{entries: make([]setEntry, many)}
		all := make([]interval, many)
		for i := range all {
			low := float64(r.IntN(1000))
			b.entries[i].record = &record{}
			all[i] = interval{low, low + float64(r.IntN(1+r.IntN(500))), int32(i)}
		}
		x := (&anchors{block: b, ranges: slices.Clone(all)}).newRanges()
		for num := -1.0; num < 1600; num += 0.5 {
			v := &view{block: b}
			x.find(v, num)
			var got, want []int32
			for _, c := range v.candidates {
				got = append(got, c.group)
				if c.record != b.entries[c.group].record {
					t.Fatalf("interval %d comes with the record of another", c.group)
				}
			}
			for _, in := range all {
				if in.low <= num && num <= in.high {
					want = append(want, in.group)
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("of %d, %v is in %v; found %v", many, num, want, got)
			}
		}
	}
}

// TestAGroupIsMetOnce has filters that an event brings up again and again, more
// than are compared with each other.
func TestAGroupIsMetOnce(t *testing.T) {
	var filters []Filter
	for i := range 3 * leafSize {
		filters = append(filters, Filter{When: fmt.Sprintf(`event.subject.contains("part-%d/") || event.subject.startsWith("part-%d/")`, i%24, i)})
	}
	s := setOf(t, filters...)
	subject := ""
	for range 3 {
		for i := range 3 * leafSize {
			subject += fmt.Sprintf("part-%d/", i)
		}
	}
	ev := mustEvent(t, fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":%q}`, subject))
	got := s.Match(ev, nil)
	slices.Sort(got)
	if len(got) != len(filters) || len(slices.Compact(got)) != len(filters) {
		t.Errorf("%d matches of %d filters: %v", len(got), len(filters), got)
	}
}
