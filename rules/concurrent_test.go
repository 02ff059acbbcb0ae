package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

type eventPointer = *event.Event

func structured(data string) (*event.Event, error) {
	return event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+data+`}`), event.Limits{})
}

func TestASetIsSafeForConcurrentUse(t *testing.T) {
	env := mustEnv(t)
	var entries []Entry
	for i := range 50 {
		m, err := env.Compile(Filter{When: fmt.Sprintf(`event.data.items.exists(i, i.qty == %d) || event.data.id == %d || event.data.nested.a.b == %d`, i, i, i)})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{ID: ID(2 * i), Rule: fmt.Sprint(i), Matcher: m}, Entry{ID: ID(2*i + 1), Rule: fmt.Sprint(i), Matcher: m})
	}
	s := NewSet(entries)
	ev := mustEvent(t, order)
	want := s.Match(ev, nil)
	slices.Sort(want)
	if !slices.Equal(want, []ID{2, 3, 4, 5, 10, 11, 14, 15}) {
		t.Fatalf("matched %v", want)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			own, _ := structured(string(ev.Data()))
			for i := range 50 {
				one := ev
				if i%2 == 1 {
					one = own
				}
				got := s.Match(one, nil)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("matched %v", got)
				}
				if _, err := env.Compile(Filter{When: fmt.Sprintf(`event.id == "%d"`, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if evaluated, matched, failed, _, _ := entries[2].Matcher.Stats(); evaluated != 401 || matched != 401 || failed != 0 {
		t.Errorf("stats: %d %d %d", evaluated, matched, failed)
	}
}

// TestRulesChangeWhileEventsAreMatched adds and removes rules in many steps, as
// an engine does, while others match events against whatever set is in force.
func TestRulesChangeWhileEventsAreMatched(t *testing.T) {
	env := mustEnv(t)
	const rules, steps = 300, 200
	var all []Entry
	for i := range rules {
		m, err := env.Compile(Filter{When: fmt.Sprintf(`event.type == "t%d" && event.data.id >= %d`, i%10, i)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Entry{ID: ID(i), Rule: "r", Matcher: m})
	}
	always := all[:20]
	var current atomic.Pointer[Set]
	current.Store(NewSet(always))
	var done atomic.Bool
	var wg sync.WaitGroup
	for reader := range 4 {
		ev := mustEvent(t, fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/s","type":"t%d","data":{"id":1000}}`, reader))
		wg.Go(func() {
			for !done.Load() {
				got := current.Load().Match(ev, nil)
				slices.Sort(got)
				for i := reader; i < len(always); i += 10 {
					if _, ok := slices.BinarySearch(got, ID(i)); !ok {
						t.Errorf("rule %d, which was always there, did not match", i)
						return
					}
				}
				for _, id := range got {
					if int(id)%10 != reader {
						t.Errorf("rule %d matched an event of another type", id)
						return
					}
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range steps {
		some := slices.Clone(always)
		for _, e := range all[len(always):] {
			if r.IntN(2) == 0 {
				some = append(some, e)
			}
		}
		next := current.Load().Update(some[:len(always)+r.IntN(len(some)-len(always))])
		for range 4 { // one may be there already, and is no more then
			e := all[len(always)+r.IntN(len(all)-len(always))]
			next = next.Change([]ID{e.ID}, [][]Entry{nil, {e}}[r.IntN(2)])
		}
		current.Store(next)
	}
	done.Store(true)
	wg.Wait()
}

func TestEqualFiltersAreEvaluatedOnceAndCountedApart(t *testing.T) {
	env := mustEnv(t)
	a, _ := env.Compile(Filter{When: `event.id == "1"`})
	b, _ := env.Compile(Filter{When: `event.id == "1"`})
	all, _ := env.Compile(Filter{})
	if a.filter != b.filter {
		t.Error("equal sources do not share a filter")
	}
	s := NewSet([]Entry{{ID: 1, Rule: "a", Matcher: a}, {ID: 2, Rule: "b", Matcher: b}, {ID: 3, Rule: "all", Matcher: all}, {ID: 4, Rule: "a", Matcher: a}})
	got := s.Match(mustEvent(t, order), []ID{9})
	slices.Sort(got)
	if !slices.Equal(got, []ID{1, 2, 3, 4, 9}) || s.Len() != 4 {
		t.Errorf("matched %v of %d", got, s.Len())
	}
	for _, m := range []*Matcher{a, b, all} {
		if evaluated, matched, _, _, _ := m.Stats(); evaluated != 1 || matched != 1 {
			t.Errorf("counted %d, %d", evaluated, matched)
		}
	}
	if got := NewSet(nil).Match(mustEvent(t, order), nil); got != nil {
		t.Errorf("an empty set matched %v", got)
	}
}

func TestDataThatIsNotJSON(t *testing.T) {
	env := mustEnv(t)
	build := func(contentType string, data []byte) *event.Event {
		b := event.NewBuilder()
		for n, v := range map[string]string{"id": "1", "source": "/s", "type": "t"} {
			_ = b.Set(n, event.StringValue(v))
		}
		b.SetData(contentType, data)
		ev, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	tests := []struct {
		name, when string
		ev         *event.Event
		want       Result
	}{
		{"text is a string", `event.data == "hi"`, build("text/plain", []byte("hi")), Result{Matched: true}},
		{"anything else is bytes", `event.data == b"\xff"`, build("image/png", []byte{0xff}), Result{Matched: true}},
		{"no data is a missing key", `event.data == "hi"`, build("", nil), Result{Error: "no such key: data"}},
		{"has finds no data", `!has(event.data)`, build("", nil), Result{Matched: true}},
		{"a list at the top", `event.data[1].a == 2`, build("application/json", []byte(`[1,{"a":2}]`)), Result{Matched: true}},
		{"null at the top", `event.data == null`, build("application/json", []byte(`null`)), Result{Matched: true}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m, err := env.Compile(Filter{When: tc.when})
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Evaluate(tc.ev); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
