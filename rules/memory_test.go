package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/packed"
)

func TestRememberedFiltersAreThoseThatWereCompiled(t *testing.T) {
	g := grammar{rand.New(rand.NewPCG(1, 2))}
	env := mustEnv(t)
	var sources []string
	var matchers []*Matcher
	for len(sources) < 500 {
		source := g.filter()
		if m, err := env.Compile(Filter{When: source}); err == nil {
			sources, matchers = append(sources, source), append(matchers, m)
		}
	}
	written := AppendCompiled(nil, "this build", matchers)
	again := mustEnv(t)
	if n, err := again.Remember("this build", written); err != nil || n == 0 {
		t.Fatalf("remembered %d: %v", n, err)
	}
	for range 100 {
		structured, _, _ := g.event()
		ev := mustEvent(t, structured)
		for i, source := range sources {
			m, err := again.Compile(Filter{When: source})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := m.Evaluate(ev), matchers[i].Evaluate(ev); got != want {
				t.Fatalf("%s\non %s\ngot %+v, want %+v", source, structured, got, want)
			}
		}
	}
	if n := again.Compiled(); n != 0 {
		t.Errorf("%d filters were compiled again", n)
	}
	again.Forget()
	if _, err := again.Compile(Filter{When: `event.type == "unheard of"`}); err != nil || again.Compiled() != 1 {
		t.Errorf("compiled %d: %v", again.Compiled(), err)
	}
}

// remembered are the matchers of filters from what is written down of them, and
// those that were compiled, in the order of the filters that compile.
func remembered(t *testing.T, filters []Filter) (compiled, recalled []*Matcher) {
	t.Helper()
	env, again := mustEnv(t), mustEnv(t)
	for _, f := range filters {
		if m, err := env.Compile(f); err == nil {
			compiled = append(compiled, m)
		}
	}
	written := AppendCompiled(nil, "this build", compiled)
	if _, err := again.Remember("this build", written); err != nil {
		t.Fatal(err)
	}
	for _, m := range compiled {
		f := Filter{}
		*[...]*string{inCEL: &f.When, inPattern: &f.Pattern, inFilters: &f.Filters, inSQL: &f.SQL}[m.filter.dialect] = m.filter.source
		r, err := again.Compile(f)
		if err != nil {
			t.Fatalf("%s: %v", m.filter.source, err)
		}
		recalled = append(recalled, r)
	}
	if n := again.Compiled(); n != 0 {
		t.Fatalf("%d filters were compiled again", n)
	}
	if !bytes.Equal(AppendCompiled(nil, "this build", recalled), written) {
		t.Fatal("what was remembered is not written down as it was")
	}
	return compiled, recalled
}

func TestFiltersOfEveryDialectAreRemembered(t *testing.T) {
	var filters []Filter
	for _, alternatives := range []string{`"a"`, `"a", 1, true, null`, `{"exists": false}`, `{"exists": true}`, `"a", {"exists": false}`, `{"prefix": "a"}`, `{"suffix": {"equals-ignore-case": "A"}}`,
		`{"numeric": [">", 1, "<=", 5]}`, `{"wildcard": "a*c*"}`, `{"wildcard": {"equals-ignore-case": "A*B"}}`, `{"regexp": "^a+$"}`, `{"cidr": "10.0.0.0/8"}`, `{"cidr": "2001:db8::/32"}`,
		`{"anything-but": ["a", "b"]}`, `{"anything-but": {"wildcard": "a*"}}`, `"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"`} {
		for _, pattern := range []string{`{"detail": {"a": [%s]}}`, `{"subject": ["none"], "detail": {"a": {"b": [%s]}, "a.c": [5], "d": [7]}}`,
			`{"$or": [{"detail": {"a": [%s]}}, {"type": ["b"]}]}`, `{"detail": {"c": [1], "$or": [{"a": [%s]}, {"b": [3], "a": ["x"]}]}}`} {
			filters = append(filters, Filter{Pattern: fmt.Sprintf(pattern, alternatives)})
		}
		if alternatives != `"a", 1, true, null` {
			filters = append(filters, Filter{Pattern: fmt.Sprintf(`{"subject": [%s], "num": [{"numeric": ["=", 5]}]}`, alternatives)})
		}
	}
	events := []*event.Event{mustEvent(t, order)}
	for _, value := range []string{`"a"`, `"aXcY"`, `"aab"`, `1`, `5`, `true`, `null`, `"10.1.2.3"`, `"2001:db8::1"`, `["a", 3]`, `{"b": "a", "c": 5}`, `"x"`} {
		for _, data := range []string{`{"a": %s}`, `{"a": %s, "b": 3, "c": 1, "d": 7}`, `{"a": [%s, {"b": 1}], "c": 1}`} {
			events = append(events, withData(fmt.Sprintf(data, value)))
		}
	}
	for _, subject := range []string{"a", "abc", "10.9.9.9", "aXc"} {
		events = append(events, mustEvent(t, fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/s","type":"b","subject":%q,"num":5}`, subject)))
	}
	compiled, recalled := remembered(t, filters)
	if len(compiled) != len(filters) {
		t.Errorf("of %d filters %d compile", len(filters), len(compiled))
	}
	same(t, compiled, recalled, events)

	r := rand.New(rand.NewPCG(3, 4))
	filters, events = nil, nil
	for range 100 {
		pattern, _ := json.Marshal(modelPattern(r, 3))
		data, _ := json.Marshal(modelValue(r, 4, true))
		filters, events = append(filters, onData(string(pattern))), append(events, withData(string(data)))
	}
	compiled, recalled = remembered(t, filters)
	same(t, compiled, recalled, events)

	filters, events = nil, nil
	sql := rapid.Custom(func(t *rapid.T) string { return genSQL(t, 2) })
	list := rapid.Custom(func(t *rapid.T) string {
		list, _ := json.Marshal([]any{genFilter(t, 2), map[string]any{"not": map[string]any{"sql": genSQL(t, 2)}}})
		return string(list)
	})
	sqlEvent := rapid.Custom(genSQLEvent)
	for seed := range 300 {
		filters = append(filters, Filter{SQL: sql.Example(seed)}, Filter{Filters: list.Example(seed)})
		events = append(events, mustEvent(t, sqlEvent.Example(seed)))
	}
	compiled, recalled = remembered(t, filters)
	same(t, compiled, recalled, events[:20])
}

// same compares matchers one by one, alone and in a Set.
func same(t *testing.T, compiled, recalled []*Matcher, events []*event.Event) {
	t.Helper()
	set := func(matchers []*Matcher) *Set {
		var entries []Entry
		for i, m := range matchers {
			entries = append(entries, Entry{ID: ID(i), Matcher: m})
		}
		return NewSet(entries)
	}
	a, b := set(compiled), set(recalled)
	for i, m := range compiled {
		if got, want := recalled[i].IndexClass(), m.IndexClass(); got != want {
			t.Fatalf("%s\nis %s, not %s", m.filter.source, got, want)
		}
	}
	for n, ev := range events {
		for i, m := range compiled {
			if got, want := recalled[i].Evaluate(ev), m.Evaluate(ev); got != want {
				t.Fatalf("%s\non %s\ngot %+v, want %+v", m.filter.source, ev.Data(), got, want)
			}
			if n%16 > 0 {
				continue // to explain takes long
			}
			if got, want := recalled[i].Explain(ev), m.Explain(ev); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s\non %s\nexplained as %+v, want %+v", m.filter.source, ev.Data(), got, want)
			}
		}
		got, want := b.Match(ev, nil), a.Match(ev, nil)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("on %s\nthe set finds %v, want %v", ev.Data(), got, want)
		}
	}
}

func TestWhatIsRememberedMustFitTheBuild(t *testing.T) {
	env := mustEnv(t)
	m, err := env.Compile(Filter{When: `event.type == "a" && event.data.n in [1, "b"]`})
	if err != nil {
		t.Fatal(err)
	}
	written := AppendCompiled(nil, "one", []*Matcher{m})
	if _, err := env.Remember("two", written); err == nil {
		t.Error("another build's filters were taken")
	}
	for i := range written {
		damaged := append([]byte(nil), written...)
		damaged[i] ^= 4
		if _, err := env.Remember("one", damaged); err == nil {
			t.Errorf("damage at %d was not seen", i)
		}
		if _, err := env.Remember("one", written[:i]); err == nil {
			t.Errorf("the first %d bytes were taken for all", i)
		}
	}
}

// A bus may have 100,000 rules: each, with its source and what finds it, is to
// take at most 500 bytes.
func TestARuleIsSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, filter := range map[string]func(i int) Filter{
		"a range": func(i int) Filter {
			return Filter{When: fmt.Sprintf(`event.type == "com.example.order" && event.data.total >= %d && event.data.total < %d`, 10*i, 10*i+10)}
		},
		"a list": func(i int) Filter {
			return Filter{When: fmt.Sprintf(`event.data.sku in ["a-%d", "b-%d", "c-%d", "d-%d"]`, i, i, i, i)}
		},
		"a pattern of a type and two fields": func(i int) Filter {
			return Filter{Pattern: fmt.Sprintf(`{"detail-type":["com.example.order"],"detail":{"customer":["C-%06d"],"total":[{"numeric":[">=",%d]}]}}`, i, i)}
		},
		"a pattern of a type, a list and limits": func(i int) Filter {
			return Filter{Pattern: fmt.Sprintf(`{"detail-type":["com.example.order"],"detail":{"customer":["C-%06d","D-%06d"],"total":[{"numeric":[">=",%d,"<",%d]}]}}`, i, i, i, 2*i+1)}
		},
		"a pattern of three fields": func(i int) Filter {
			return Filter{Pattern: fmt.Sprintf(`{"detail":{"country":["DE"],"customer":["C-%06d"],"total":[{"numeric":[">",100]}]}}`, i)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := mustEnv(t)
			const n = 20_000
			entries := make([]Entry, n)
			before := heap()
			for i := range n {
				m, err := env.Compile(filter(i))
				if err != nil {
					t.Fatal(err)
				}
				entries[i] = Entry{ID: ID(i), Matcher: m}
			}
			set := NewSet(entries)
			each := int(heap()-before) / n
			t.Logf("%d bytes", each)
			if each > 500 {
				t.Errorf("%d bytes a rule", each)
			}
			runtime.KeepAlive(env)
			runtime.KeepAlive(set)
		})
	}
}

// FuzzRecall reads places, steps and conditions of any bytes.
func FuzzRecall(f *testing.F) {
	env := mustEnv(f)
	for _, filter := range []Filter{{When: `event.type == "a"`}, {When: `event.data.a.b > 1 && !has(event.data.c)`}, {When: `event.data.x in [1, "a"] || event.subject.matches("^a+$")`},
		{When: `event.ok ? event.data.list.exists(x, x > 1) : true`}, {Pattern: `{"subject": [{"numeric": ["<", 5]}], "detail": {"a": {"b": ["x", {"wildcard": "a*"}]}, "c": [{"exists": false}]}}`},
		{Pattern: `{"$or": [{"detail": {"a": [{"cidr": "10.0.0.0/8"}]}}, {"detail": {"b": [{"regexp": "a+"}]}}]}`}, {SQL: `type LIKE 'a_b' AND LENGTH(subject) > 3`},
		{Filters: `[{"not": {"sql": "UPPER(subject) = 'A' OR ext = 5"}}]`}} {
		m, err := env.Compile(filter)
		if err != nil {
			f.Fatal(err)
		}
		w := memoryWriter{source: m.filter.source, placeAt: map[*place]int{}, stepsAt: map[*patternStep]int{}}
		condition := w.node(nil, m.filter.tree())
		f.Add(m.filter.source, w.tables(nil), condition)
	}
	ev := mustEvent(f, order)
	f.Fuzz(func(t *testing.T, source string, tables, condition []byte) {
		if len(tables)+len(condition) > 1<<12 {
			return
		}
		r := reader{Reader: packed.Reader{Rest: string(tables)}, env: env, memory: &memory{}, source: source}
		r.tables()
		if r.Bad {
			return
		}
		r.Rest = string(condition)
		n := r.node(0)
		if r.Bad {
			return
		}
		fuzzed := &filter{source: source}
		env.keep(fuzzed, &n)
		m := &Matcher{filter: fuzzed, env: env, record: fuzzed.record}
		if m.record == nil {
			m.record = env.records.next("")
		}
		_ = fuzzed.result(&view{ev: ev})
		_ = fuzzed.tree().cover(counting{})
		_ = NewSet([]Entry{{Matcher: m}}).Match(ev, nil)
	})
}

func BenchmarkRecall(b *testing.B) {
	env := mustEnv(b)
	const many = 1000
	var matchers []*Matcher
	for i := range many {
		m, err := env.Compile(Filter{When: fmt.Sprintf(benchFilter, i)})
		if err != nil {
			b.Fatal(err)
		}
		matchers = append(matchers, m)
	}
	written := AppendCompiled(nil, "b", matchers)
	if _, err := env.Remember("b", written); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, ok := env.recall(inCEL, fmt.Sprintf(benchFilter, i%many)); !ok {
			b.Fatal("not known")
		}
		i++
	}
}
