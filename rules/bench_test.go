package rules

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// kilobyte is an event of about 1 KB, as an order may be.
func kilobyte(b *testing.B) *event.Event {
	items := make([]string, 8)
	for i := range items {
		items[i] = fmt.Sprintf(`{"sku":"SKU-%05d","name":"Product number %d","qty":%d,"price":%d.99,"tags":["a","b"]}`, i, i, i+1, i*7)
	}
	return mustEvent(b, `{"specversion":"1.0","id":"A-1","source":"/shop","type":"com.example.order.placed","subject":"eu/de","time":"2026-11-22T10:00:00Z",`+
		`"data":{"id":7,"total":150,"currency":"EUR","customer":{"id":"C-1","address":{"country":"DE","city":"Berlin"}},"items":[`+strings.Join(items, ",")+`]}}`)
}

const benchFilter = `event.type == "com.example.order.placed" && event.data.customer.address.country == "DE" && event.data.total > %d`

// BenchmarkMatch is one event against many rules, the first time it is parsed.
func BenchmarkMatch(b *testing.B) {
	for _, rules := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("tape/rules=%d", rules), func(b *testing.B) {
			env := mustEnv(b)
			var entries []Entry
			for i := range rules {
				m, err := env.Compile(Filter{When: fmt.Sprintf(benchFilter, i)})
				if err != nil {
					b.Fatal(err)
				}
				entries = append(entries, Entry{ID: ID(i), Rule: "r", Matcher: m})
			}
			s := NewSet(entries)
			stored := kilobyte(b).AppendBinary(nil)
			var dst []ID
			b.ReportAllocs()
			for b.Loop() {
				ev, err := event.Decode(stored)
				if err != nil {
					b.Fatal(err)
				}
				dst = s.Match(ev, dst[:0])
			}
		})
		b.Run(fmt.Sprintf("maps/rules=%d", rules), func(b *testing.B) {
			env, err := cel.NewEnv(cel.Variable("event", cel.DynType), cel.CrossTypeNumericComparisons(true))
			if err != nil {
				b.Fatal(err)
			}
			var programs []cel.Program
			for i := range rules {
				checked, issues := env.Compile(fmt.Sprintf(benchFilter, i))
				if issues.Err() != nil {
					b.Fatal(issues.Err())
				}
				p, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
				if err != nil {
					b.Fatal(err)
				}
				programs = append(programs, p)
			}
			stored := kilobyte(b).AppendBinary(nil)
			b.ReportAllocs()
			for b.Loop() {
				ev, err := event.Decode(stored)
				if err != nil {
					b.Fatal(err)
				}
				var data any
				if err := json.Unmarshal(ev.Data(), &data); err != nil {
					b.Fatal(err)
				}
				vars := map[string]any{"event": map[string]any{"type": ev.Type(), "data": data}}
				for _, p := range programs {
					_, _, _ = p.Eval(vars)
				}
			}
		})
	}
}

func BenchmarkMatchOneRule(b *testing.B) {
	for name, when := range map[string]string{
		"attributes":    `event.type == "com.example.order.placed" && event.source == "/shop"`,
		"no match":      `event.type == "com.example.order.cancelled"`,
		"data":          `event.data.total > 100`,
		"missing":       `event.data.nope == 1`,
		"comprehension": `event.data.items.exists(i, i.qty == 8)`,
		"regex":         `event.subject.matches("^eu/[a-z]+$")`,
	} {
		b.Run(name, func(b *testing.B) {
			m, err := mustEnv(b).Compile(Filter{When: when})
			if err != nil {
				b.Fatal(err)
			}
			s := NewSet([]Entry{{ID: 1, Rule: "r", Matcher: m}})
			ev := kilobyte(b)
			var dst []ID
			b.ReportAllocs()
			for b.Loop() {
				dst = s.Match(ev, dst[:0])
			}
		})
	}
}

func BenchmarkNewEnv(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewEnv(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	env := mustEnv(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := env.Compile(Filter{When: fmt.Sprintf(benchFilter, i)}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAnEnvironmentIsSmall keeps what an idle server holds within its bar.
func TestAnEnvironmentIsSmall(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	mustEnv(t) // what cel-go makes once for the process
	before := heap()
	env := mustEnv(t)
	after := heap()
	t.Logf("an environment holds %d KiB, the process %d KiB", (after-before)>>10, after>>10)
	if after-before > 4<<20 {
		t.Errorf("an environment holds %d bytes", after-before)
	}
	if _, err := env.Compile(Filter{When: "true"}); err != nil {
		t.Fatal(err)
	}
}

func TestMatchItselfAllocatesNothing(t *testing.T) {
	env := mustEnv(t)
	ev := mustEvent(t, order)
	ev.Tree()
	for when, most := range map[string]float64{
		``:                              0,
		`event.hot`:                     0,
		`has(event.data.nested.a)`:      0,
		`event.data.nested.a.b == null`: 0,
		`event.type == "x" || event.id == "nope"`: 0,
	} {
		m, err := env.Compile(Filter{When: when})
		if err != nil {
			t.Fatal(err)
		}
		s := NewSet([]Entry{{ID: 1, Rule: "r", Matcher: m}})
		dst := make([]ID, 0, 1)
		if got := testing.AllocsPerRun(200, func() { dst = s.Match(ev, dst[:0]) }); got > most && !raceEnabled {
			t.Errorf("%s: %v allocations, want at most %v", when, got, most)
		}
	}
}
