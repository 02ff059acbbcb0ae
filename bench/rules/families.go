package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/switchyard-dev/switchyard/rules"
)

// family is a shape of rules, and events that meet them.
type family struct {
	name  string
	about string
	// rule is the filter of rule i of n, in CEL.
	rule func(i, n int) string
	// pattern says that it is an event pattern instead.
	pattern bool
	// fields are the attributes and the members of data that let an event match
	// rule i of n.
	fields func(i, n int) (attributes, data string)
	// indexable is whether every rule can be found by an index alone.
	indexable bool
	// naive is the most rules that plain CEL is given.
	naive int
}

// families are the shapes that are measured.
func families() []family {
	typed := func(i, n int) (string, string) { return fmt.Sprintf(`"type":"com.example.t%d"`, i), `"total":150` }
	return []family{
		{
			name: "types", about: "each rule asks for a type of its own", indexable: true, naive: 10_000,
			rule:   func(i, _ int) string { return fmt.Sprintf(`event.type == "com.example.t%d"`, i) },
			fields: typed,
		},
		{
			name: "values", about: "all ask for one type, each for a value of its own", indexable: true, naive: 10_000,
			rule: func(i, _ int) string {
				return fmt.Sprintf(`event.type == "com.example.order" && event.data.customer == "C-%06d"`, i)
			},
			fields: func(i, _ int) (string, string) {
				return `"type":"com.example.order"`, fmt.Sprintf(`"customer":"C-%06d"`, i)
			},
		},
		{
			name: "prefix+types", about: "all share a prefix of the source and a limit, each asks for a type of its own", indexable: true, naive: 10_000,
			rule: func(i, _ int) string {
				return fmt.Sprintf(`event.source.startsWith("/shop") && event.type == "com.example.t%d" && event.data.total > 100`, i)
			},
			fields: typed,
		},
		{
			name: "ranges", about: "each asks for a number between limits of its own", indexable: true, naive: 10_000,
			rule: func(i, _ int) string {
				return fmt.Sprintf(`event.type == "com.example.order" && event.data.total >= %d && event.data.total < %d`, 10*i, 10*i+10)
			},
			fields: func(i, _ int) (string, string) {
				return `"type":"com.example.order"`, fmt.Sprintf(`"total":%d.5`, 10*i+4)
			},
		},
		{
			name: "lists", about: "each asks for one of four values of its own", indexable: true, naive: 10_000,
			rule: func(i, _ int) string {
				return fmt.Sprintf(`event.data.sku in ["a-%d", "b-%d", "c-%d", "d-%d"]`, i, i, i, i)
			},
			fields: func(i, _ int) (string, string) { return `"type":"com.example.order"`, fmt.Sprintf(`"sku":"c-%d"`, i) },
		},
		{
			name: "patterns", about: "event patterns of a type and two fields of the data, one of them with a value of its own", indexable: true, pattern: true,
			rule: func(i, _ int) string {
				return fmt.Sprintf(`{"detail-type":["com.example.order"],"detail":{"customer":["C-%06d"],"total":[{"numeric":[">=",%d]}]}}`, i, i)
			},
			fields: func(i, _ int) (string, string) {
				return `"type":"com.example.order"`, fmt.Sprintf(`"customer":"C-%06d","total":1000000`, i)
			},
		},
		{
			name: "nested", about: "each asks for two values deep in the data", indexable: true, naive: 10_000,
			rule: func(i, n int) string {
				return fmt.Sprintf(`event.data.customer.address.country == "c%d" && event.data.order.line.id == %d`, i%100, i)
			},
			fields: func(i, _ int) (string, string) {
				return `"type":"com.example.order"`, fmt.Sprintf(`"customer":{"address":{"country":"c%d"}},"order":{"line":{"id":%d}}`, i%100, i)
			},
		},
		{
			name: "grid", about: "rules share each of two conditions with hundreds of others, but no pair of them", indexable: true, naive: 10_000,
			rule: func(i, n int) string {
				side := side(n)
				return fmt.Sprintf(`event.type == "com.example.t%d" && event.data.tenant == "tenant-%d"`, i%side, i/side)
			},
			fields: func(i, n int) (string, string) {
				side := side(n)
				return fmt.Sprintf(`"type":"com.example.t%d"`, i%side), fmt.Sprintf(`"tenant":"tenant-%d"`, i/side)
			},
		},
		{
			name: "affixes", about: "half ask for a suffix, half for a part of a text", indexable: true, naive: 10_000,
			rule: func(i, _ int) string {
				if i%2 == 0 {
					return fmt.Sprintf(`event.subject.endsWith("/item-%06d")`, i)
				}
				return fmt.Sprintf(`event.subject.contains("item-%06d/")`, i)
			},
			fields: func(i, _ int) (string, string) {
				if i%2 == 0 {
					return fmt.Sprintf(`"type":"com.example.order","subject":"eu/de/item-%06d"`, i), `"total":1`
				}
				return fmt.Sprintf(`"type":"com.example.order","subject":"eu/item-%06d/de"`, i), `"total":1`
			},
		},
		{
			name: "mixed", about: "types, and one rule in a hundred with a part that only CEL can evaluate", naive: 10_000,
			rule: func(i, _ int) string {
				if i%100 == 0 {
					return fmt.Sprintf(`event.type == "com.example.t%d" && event.data.lines.exists(l, l.qty > 3)`, i)
				}
				return fmt.Sprintf(`event.type == "com.example.t%d"`, i)
			},
			fields: typed,
		},
		{
			name: "indiscriminate", about: "nothing tells the rules apart but a comparison that most events pass", naive: 100_000,
			rule: func(i, _ int) string {
				return fmt.Sprintf(`event.source.startsWith("/shop") && event.data.total != %d`, i+1000)
			},
			fields: func(i, _ int) (string, string) {
				return `"type":"com.example.order"`, fmt.Sprintf(`"total":%d`, i+1000)
			},
		},
	}
}

// filter is rule i of n as it is compiled.
func (f *family) filter(i, n int) rules.Filter {
	if f.pattern {
		return rules.Filter{Pattern: f.rule(i, n)}
	}
	return rules.Filter{When: f.rule(i, n)}
}

func side(n int) int {
	s := 1
	for s*s < n {
		s++
	}
	return s
}

// structured is an event of about size bytes for rule i of n.
func (f *family) structured(i, n, size int, r *rand.Rand) string {
	attributes, data := f.fields(i, n)
	var b strings.Builder
	fmt.Fprintf(&b, `{"specversion":"1.0","id":"%d","source":"/shop/%d","time":"2026-11-22T10:00:00Z",%s,"data":{%s,"lines":[`, r.Int64(), r.IntN(100), attributes, data)
	for l := 0; ; l++ {
		fmt.Fprintf(&b, `{"sku":"SKU-%05d","name":"Product number %d","qty":%d,"price":%d.99,"tags":["a","b"]}`, r.IntN(100_000), l, 1+r.IntN(9), r.IntN(500))
		if b.Len() > size-100 {
			break
		}
		b.WriteByte(',')
	}
	b.WriteString(`],"currency":"EUR","note":"leave it at the door"}}`)
	return b.String()
}
