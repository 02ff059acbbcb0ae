package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// shipment is an event of about 1 KB.
const shipment = `{"specversion":"1.0","id":"9f1c","source":"/warehouse/7","type":"com.example.shipment.updated","time":"2026-11-22T10:00:00Z",
"data":{"shipment":{"id":"S-2026-000172","state":"in-transit","carrier":"Nordpost","weight":12.75,"insured":true,"labels":["fragile","express","signature"],
"from":{"name":"Lager 7","street":"Hafenstrasse 11","city":"Bremen","zip":"28195","country":"DE"},
"to":{"name":"Ana Horvat","street":"Ilica 42","city":"Zagreb","zip":"10000","country":"HR"},
"parcels":[{"sku":"A-100","quantity":2,"size":{"l":30,"w":20,"h":10},"customs":"8471.30"},{"sku":"B-205","quantity":1,"size":{"l":60,"w":40,"h":35},"customs":"9403.60"},
{"sku":"C-031","quantity":12,"size":{"l":5,"w":5,"h":5},"customs":"8523.51"}],
"events":[{"at":"2026-11-20T08:12:00Z","code":"PICKED","place":"Bremen"},{"at":"2026-11-21T02:40:00Z","code":"SORTED","place":"Hannover"},{"at":"2026-11-22T09:58:00Z","code":"DEPARTED","place":"Hannover"}]},
"trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736","span":"00f067aa0ba902b7","host":"10.0.4.17","retries":0},"tenant":"north","schema":3}}`

const typicalPattern = `{"detail-type": ["com.example.shipment.updated"], "source": [{"prefix": "/warehouse/"}], "detail": {
"shipment": {"state": ["in-transit", "delivered"], "weight": [{"numeric": [">", 10, "<=", 31.5]}], "to": {"country": [{"anything-but": ["DE"]}]},
"parcels": {"sku": [{"prefix": "B-"}], "quantity": [1]}}}}`

func BenchmarkPattern(b *testing.B) {
	env := mustEnv(b)
	m, err := env.Compile(Filter{Pattern: typicalPattern})
	if err != nil {
		b.Fatal(err)
	}
	ev := mustEvent(b, shipment)
	v := &view{ev: ev}
	b.ReportAllocs()
	for b.Loop() {
		if m.filter.eval(v) != yes {
			b.Fatal("does not match")
		}
	}
}

func TestPatternsDoNotAllocate(t *testing.T) {
	env := mustEnv(t)
	ev := mustEvent(t, shipment)
	for _, source := range []string{typicalPattern,
		`{"detail": {"$or": [{"tenant": ["south"]}, {"shipment": {"parcels": {"sku": ["C-031"], "quantity": [12]}}}]}}`,
		`{"detail": {"shipment.events": {"code": [{"wildcard": "SO*ED"}], "place": [{"regexp": "^H"}], "by": [{"exists": false}]}, "trace.host": [{"cidr": "10.0.0.0/16"}]}}`,
	} {
		m, err := env.Compile(Filter{Pattern: source})
		if err != nil {
			t.Fatal(err)
		}
		v := &view{ev: ev}
		if n := testing.AllocsPerRun(100, func() {
			if m.filter.eval(v) != yes {
				t.Errorf("%s does not match", source)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", source, n)
		}
	}
}

// TestHostilePatternsEndSoon has what would take forever if all choices were
// tried.
func TestHostilePatternsEndSoon(t *testing.T) {
	or := func(n int, f func(i int) string) string {
		var list []string
		for i := range n {
			list = append(list, f(i))
		}
		return `"$or": [` + strings.Join(list, ", ") + `]`
	}
	list := func(n int, f func(i int) string) string {
		var all []string
		for i := range n {
			all = append(all, f(i))
		}
		return strings.Join(all, ", ")
	}
	tests := []struct{ name, pattern, data string }{
		{
			"two of many elements for each of many fields",
			`{` + list(40, func(i int) string { return fmt.Sprintf(`"f%d": {"x": [1], "y": [1]}`, i) }) + `}`,
			`{` + list(40, func(i int) string {
				return fmt.Sprintf(`"f%d": [%s]`, i, list(100, func(j int) string { return fmt.Sprintf(`{"x": %d, "y": %d}`, j%2, 1-j%2) }))
			}) + `}`,
		},
		{
			"arrays in arrays",
			`{"a": {"b": {"c": {"d": {"x": [1], "y": [1]}, "z": [1]}, "z": [1]}, "z": [1]}}`,
			`{"a": ` + strings.Repeat(`[`, 60) + list(3000, func(int) string { return `{"b": [{"c": [[{"d": [{"x": 1}, {"y": 1}]}]]}]}` }) + strings.Repeat(`]`, 60) + `}`,
		},
		{
			"as many combinations as may be, on arrays",
			`{"a": {` + or(10, func(i int) string { return fmt.Sprintf(`{"p": [%d]}`, i) }) + `, "b": {` +
				or(10, func(i int) string { return fmt.Sprintf(`{"q": [%d]}`, i) }) + `, "c": {` +
				or(10, func(i int) string { return fmt.Sprintf(`{"r": [%d]}`, i) }) + `}}}}`,
			`{"a": [` + list(300, func(i int) string {
				return fmt.Sprintf(`{"p": %d, "b": [{"q": %d}, {"c": [{"r": %d}, {"r": 0}]}]}`, i%10, i/10%10, i/100%10)
			}) + `]}`,
		},
		{
			"one path in many ways",
			`{"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"x": [1], "y": [1], "z": [1]}}}}}}}}}}`,
			spellings(8),
		},
		{
			"wildcards and expressions on long texts",
			`{"x": [` + list(15, func(i int) string {
				return fmt.Sprintf(`{"wildcard": {"equals-ignore-case": "*%s%d*"}}`, strings.Repeat("a", 300), i)
			}) + `, {"regexp": "(a|aa){40}b"}, {"regexp": "(a?){40}c"}]}`,
			`{"x": [` + list(200, func(int) string { return `"` + strings.Repeat("a", 1000) + `"` }) + `]}`,
		},
	}
	env := mustEnv(t)
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			m, err := env.Compile(onData(c.pattern))
			if err != nil {
				t.Fatal(err)
			}
			ev := withData(c.data)
			if ev == nil {
				t.Fatal("not an event")
			}
			ev.Tree()
			start := time.Now()
			if r := m.Evaluate(ev); r.Matched {
				t.Error("matches")
			}
			took := time.Since(start)
			t.Logf("%v for a pattern of %d bytes on an event of %d", took, len(c.pattern), len(c.data))
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// spellings is an object in which the path a.a.…, of depth keys and one more, is
// written with dots and as nested objects in all ways; at its end is each time an
// array of which no element is enough.
func spellings(depth int) string {
	if depth < 0 {
		return `[{"x": 1}, {"y": 1}, {"z": 2}]`
	}
	var members []string
	key := "a"
	for i := depth - 1; i >= -1; i-- {
		members = append(members, fmt.Sprintf(`"%s": %s`, key, spellings(i)))
		key += ".a"
	}
	return "{" + strings.Join(members, ", ") + "}"
}
