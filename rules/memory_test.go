package rules

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
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

// FuzzRecall reads conditions of any bytes.
func FuzzRecall(f *testing.F) {
	env := mustEnv(f)
	for _, source := range []string{`event.type == "a"`, `event.data.a.b > 1 && !has(event.data.c)`, `event.data.x in [1, "a"] || event.subject.matches("^a+$")`,
		`event.ok ? event.data.list.exists(x, x > 1) : true`} {
		m, err := env.Compile(Filter{When: source})
		if err != nil {
			f.Fatal(err)
		}
		written, _ := m.filter.tree().append(nil, source)
		f.Add(source, written)
	}
	ev := mustEvent(f, order)
	f.Fuzz(func(t *testing.T, source string, data []byte) {
		r := reader{rest: string(data), env: env, source: source}
		n := r.node(0)
		if r.bad || len(data) > 1<<12 {
			return
		}
		_ = n.eval(&view{ev: ev})
		_ = n.cover(counting{})
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
