package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// The filters of the CloudEvents Subscriptions API (subscriptions/spec.md of the
// CloudEvents specification): a JSON array, all of which must hold; an empty one
// holds for every event. Each is an object with one dialect. exact, prefix and
// suffix compare attributes as text, in their canonical form and with their
// case; one that is not set is not equal to anything, so not of it holds.
//
// sql is false when its expression fails, so not of it holds then too. (A failing
// sql that keeps an event from passing shows as the filter's error all the same.)

// filterDialects are the names of the dialects.
var filterDialects = []string{"all", "any", "exact", "not", "prefix", "sql", "suffix"}

// compileFilters makes the condition of filters. How many there are is bounded
// by the length of the source.
func (env *Env) compileFilters(source string) (node, error) {
	p := filterParser{env: env, json: jsonText{text: source}}
	if len(source) > MaxSource {
		return node{}, problemAt(source, 0, fmt.Sprintf("the filters are %d bytes long; at most %d", len(source), MaxSource), "")
	}
	if err := event.CheckJSON([]byte(source)); err != nil {
		at, reason := 0, err.Error()
		var s *event.SyntaxError
		if errors.As(err, &s) {
			at, reason = s.Offset, s.Reason
		}
		return node{}, problemAt(strings.ToValidUTF8(source, "\uFFFD"), at, "the filters cannot be read: "+reason, "")
	}
	root := node{kind: constNode, value: yes}
	if p.json.peek() == '[' && p.json.emptyContainer() {
		return root, nil
	}
	root = p.list(andNode, "", false)
	if len(p.problems) == 0 && !bounded(&root) {
		p.problem(0, "", fmt.Sprintf("more than %d parts of the filters read whole texts", maxLinearTests), "use fewer of LIKE '%...%' and of functions in sql")
	}
	slices.SortStableFunc(p.problems, byPlace)
	return root, join(p.problems)
}

// filterParser makes conditions of JSON that is known to be valid. Each method
// takes one value; after a problem it goes on.
type filterParser struct {
	env      *Env
	json     jsonText
	depth    int
	problems []*CompileError
}

func (p *filterParser) problem(at int, pointer, message, hint string) {
	p.report(problemAt(p.json.text, at, message, hint), pointer)
}

func (p *filterParser) report(e *CompileError, pointer string) {
	e.Pointer = pointer
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, e)
	}
}

// list is an array of filters that is not empty; negated is whether it stands
// within an odd number of nots.
func (p *filterParser) list(kind nodeKind, pointer string, negated bool) node {
	at := p.json.start()
	if p.json.peek() != '[' {
		p.problem(at, pointer, "this is not an array of filters", `write [{"exact": {"type": "..."}}]`)
		p.json.skip()
		return node{}
	}
	var k kids
	p.json.array(func(i int) {
		k = append(k, p.filter(pointer+"/"+strconv.Itoa(i), negated))
	})
	switch len(k) {
	case 0:
		p.problem(at, pointer, "there is no filter in the array", "write at least one")
	case 1:
		return k[0]
	}
	return parent(kind, k...)
}

// filter is one object with its dialect.
func (p *filterParser) filter(pointer string, negated bool) (n node) {
	at := p.json.start()
	if p.json.peek() != '{' {
		p.problem(at, pointer, "a filter is an object with one dialect", `such as {"exact": {"type": "..."}}`)
		p.json.skip()
		return node{}
	}
	if p.depth++; p.depth > maxFilterNesting {
		p.problem(at, pointer, fmt.Sprintf("filters stand more than %d deep in each other", maxFilterNesting), "")
		p.json.skip()
		p.depth--
		return node{}
	}
	defer func() { p.depth-- }()
	count := 0
	p.json.object(func(key string, keyAt int) {
		if count++; count > 1 {
			p.problem(keyAt, pointer+"/"+pointerToken(key), "a filter has one dialect", "put each into a filter of its own, in all or any")
			p.json.skip()
			return
		}
		n = p.dialect(key, keyAt, pointer+"/"+pointerToken(key), negated)
	})
	if count == 0 {
		p.problem(at, pointer, "the filter is empty", "the dialects are "+strings.Join(filterDialects, ", "))
	}
	return n
}

// dialect is the value of a dialect.
func (p *filterParser) dialect(name string, at int, pointer string, negated bool) node {
	switch name {
	case "exact":
		return p.attributes(equals, pointer)
	case "prefix":
		return p.attributes(hasPrefix, pointer)
	case "suffix":
		return p.attributes(hasSuffix, pointer)
	case "all":
		return p.list(andNode, pointer, negated)
	case "any":
		return p.list(orNode, pointer, negated)
	case "not":
		return not(p.filter(pointer, !negated))
	case "sql":
		return p.sql(pointer, negated)
	}
	p.problem(at, pointer, fmt.Sprintf("there is no filter dialect %q", excerpt(name)), nearest(name, filterDialects, "dialects"))
	p.json.skip()
	return node{}
}

// attributes is an object of attributes and texts, all of which must agree.
func (p *filterParser) attributes(test testKind, pointer string) node {
	at := p.json.start()
	if p.json.peek() != '{' {
		p.problem(at, pointer, "this is not an object of attributes and texts", `such as {"type": "..."}`)
		p.json.skip()
		return node{}
	}
	var k kids
	p.json.object(func(name string, nameAt int) {
		k = append(k, p.attribute(test, name, nameAt, pointer+"/"+pointerToken(name)))
	})
	switch len(k) {
	case 0:
		p.problem(at, pointer, "there is no attribute in the object", `such as {"type": "..."}`)
	case 1:
		return k[0]
	}
	return parent(andNode, k...)
}

func (p *filterParser) attribute(test testKind, name string, nameAt int, pointer string) node {
	switch {
	case name == "":
		p.problem(nameAt, pointer, "the name of an attribute is empty", "")
	case name == "data":
		p.problem(nameAt, pointer, "filters do not see the data", "use when or pattern for it")
	case !attributeName(name):
		hint := "names of attributes are lower-case letters and digits"
		if lower := strings.ToLower(name); attributeName(lower) {
			hint = "did you mean " + lower + "? " + hint
		}
		p.problem(nameAt, pointer, fmt.Sprintf("%q is not an attribute", excerpt(name)), hint)
	}
	at := p.json.start()
	if p.json.peek() != '"' {
		hint := "write text"
		if raw := p.json.raw(); strings.IndexByte("[{n", raw[0]) < 0 {
			hint = "write it as text: " + strconv.Quote(raw)
		}
		p.problem(at, pointer, "the value of an attribute is not text", hint)
		return node{}
	}
	text := p.json.string()
	if text == "" {
		p.problem(at, pointer, "the text is empty", "no attribute is; for one that is not set use {\"not\": {\"sql\": \"EXISTS ...\"}}")
	}
	if len(p.problems) > 0 {
		return node{} // and no place is made
	}
	return node{kind: testNode, test: test, place: p.env.places.of(reachText, name, nil)}.with(scalar{kind: textValue, text: text})
}

// sql is an expression of CloudEvents SQL.
func (p *filterParser) sql(pointer string, negated bool) node {
	at := p.json.start()
	if p.json.peek() != '"' {
		p.problem(at, pointer, "sql is not text", "such as {\"sql\": \"type LIKE '%.placed'\"}")
		p.json.skip()
		return node{}
	}
	source := p.json.string()
	n, problems := p.env.sqlCondition(source)
	for _, e := range problems {
		inside := p.json.within(at, offsetOf(source, e.Line, e.Column))
		inText := problemAt(p.json.text, inside, e.Message, e.Hint)
		inText.Offending = e.Offending
		p.report(inText, pointer)
	}
	if negated && len(problems) == 0 {
		return n.decided(source)
	}
	return n
}

// offsetOf is the byte at a line and column.
func offsetOf(source string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		at += strings.IndexByte(source[at:], '\n') + 1
	}
	return at + runeOffset(source[at:], column-1)
}
