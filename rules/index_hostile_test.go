package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// setOf compiles filters into a set with the IDs of their order.
func setOf(t testing.TB, filters ...Filter) *Set {
	t.Helper()
	env := mustEnv(t)
	entries := make([]Entry, len(filters))
	for i, f := range filters {
		m, err := env.Compile(f)
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		entries[i] = Entry{ID: ID(i), Rule: "r", Matcher: m}
	}
	return NewSet(entries)
}

func TestFiltersThatShareTheirLiteralsAreIndexed(t *testing.T) {
	make := func(f func(i int) Filter) (list []Filter) {
		for i := range 60 {
			list = append(list, f(i))
		}
		return list
	}
	tests := []struct {
		name   string
		filter func(i int) Filter
		source string // of an event that filter 7 matches
	}{
		{"wildcards", func(i int) Filter {
			return Filter{Pattern: fmt.Sprintf(`{"source":[{"wildcard":"/shop/*/order-%d"}]}`, i)}
		}, "/shop/x/order-7"},
		{"wildcards beside a type", func(i int) Filter {
			return Filter{Pattern: fmt.Sprintf(`{"detail-type":["t"],"source":[{"wildcard":"/shop/*/order-%d"}]}`, i)}
		}, "/shop/x/order-7"},
		{"LIKE", func(i int) Filter { return Filter{SQL: fmt.Sprintf("source LIKE '/shop/%%/v%d'", i)} }, "/shop/x/v7"},
		{"regular expressions", func(i int) Filter {
			return Filter{When: fmt.Sprintf(`event.source.matches("^/shop/.*b%d$")`, i)}
		}, "/shop/b7"},
		{"parts of different lengths", func(i int) Filter {
			return Filter{When: fmt.Sprintf(`event.source.contains(%q)`, strings.Repeat("a", 8+i))}
		}, strings.Repeat("a", 15)},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			filters := make(tc.filter)
			s := setOf(t, filters...)
			got := s.Match(mustEvent(t, fmt.Sprintf(`{"specversion":"1.0","id":"1","source":%q,"type":"t"}`, tc.source)), nil)
			if len(got) == 0 || tc.name != "parts of different lengths" && (len(got) != 1 || got[0] != 7) {
				t.Errorf("matched %v", got)
			}
		})
	}
}

// TestNothingTakesLongToCompileOrMatch has filters and events that are made to
// take long. It asserts that they end; without bounds they take minutes.
func TestNothingTakesLongToCompileOrMatch(t *testing.T) {
	list := func(n int, f func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = f(i)
		}
		return strings.Join(parts, ",")
	}
	data := func(s string) *event.Event {
		return mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+s+`}`)
	}
	var contained, members []Filter
	for i := range 900 {
		contained = append(contained, Filter{When: fmt.Sprintf(`event.data.s.contains(%q) && event.data.n != %d`, []string{"ab", "cd", "ef"}[i%3], i+1)})
		members = append(members, Filter{When: fmt.Sprintf(`"ab" in event.data.l && event.data.n != %d`, i+1)})
	}
	ternary := "event.data.a"
	for range 40 {
		ternary = "(" + ternary + " ? event.data.b : event.data.c)"
	}
	or := func(field string) string {
		return list(10, func(i int) string { return fmt.Sprintf(`{"%s%d":[1]}`, field, i) })
	}
	tests := []struct {
		name    string
		filters []Filter
		ev      *event.Event
		most    int // candidates
	}{
		{"a part that comes again and again", contained, data(`{"n":0,"s":"` + strings.Repeat("ab", 120_000) + `"}`), 900},
		{"an element that comes again and again", members, data(`{"n":0,"l":[` + strings.Repeat(`"ab",`, 40_000) + `"x"]}`), 900},
		{"nested conditions", []Filter{{When: ternary}}, data(`{"a":true,"b":true,"c":false}`), 1},
		{"XOR of XOR", []Filter{{SQL: "type = 'a'" + strings.Repeat(" XOR type = 'b'", 100)}}, data(`{}`), 1},
		{"alternatives over many elements", []Filter{{Pattern: `{"detail":{"l":{"$or":[` + or("a") + `],"x":{"$or":[` + or("b") + `],"y":{"$or":[` + or("c") + `]}}}}}`}},
			data(`{"l":[` + strings.Repeat(`{},`, 80_000) + `{}]}`), 1},
		{"a long list against a long list", []Filter{{Pattern: `{"detail":{"l":[` + list(3000, func(i int) string { return fmt.Sprint(i * 2) }) + `]}}`}},
			data(`{"l":[` + strings.Repeat("1,", 120_000) + `1]}`), 1},
		{"many suffixes against a long list", []Filter{{Pattern: `{"detail":{"l":[` + list(250, func(i int) string { return fmt.Sprintf(`{"suffix":"a%d"}`, i) }) + `]}}`}},
			data(`{"l":[` + strings.Repeat(`"x",`, 60_000) + `"x"]}`), 1},
		{"many regular expressions", []Filter{{When: list(32, func(i int) string { return "" }) + "false" + strings.Repeat(` || event.data.s.matches("(a|b|c)*d")`, 32)}},
			data(`{"s":"` + strings.Repeat("abc", 80_000) + `"}`), 1},
	}
	tests[len(tests)-1].filters[0].When = strings.TrimLeft(tests[len(tests)-1].filters[0].When, ",")
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				start := time.Now()
				s := setOf(t, tc.filters...)
				built := time.Since(start)
				var dst []ID
				s.Match(tc.ev, nil)
				start = time.Now()
				dst = s.Match(tc.ev, dst)
				t.Logf("built in %v, %d matches in %v", built.Round(time.Microsecond), len(dst), time.Since(start).Round(time.Microsecond))
				v := s.base.views.Get().(*view)
				v.begin(tc.ev, s.base)
				if n := len(s.base.candidates(v)); n > tc.most {
					t.Errorf("%d candidates of %d filters", n, len(tc.filters))
				}
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
		})
	}
}
