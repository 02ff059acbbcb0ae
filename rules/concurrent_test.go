package rules

import (
	"fmt"
	"slices"
	"sync"
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
