package rules

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// lintFilters looks at filters of the CloudEvents Subscriptions API.
func (l *linter) lintFilters() {
	c := l.claimList(andNode, json.RawMessage(l.source), claim{line: 1, column: 1})
	if len(c.kids) == 0 {
		l.warn(c, "write a filter into it, or take it out if every event is to match", "the filter matches every event: the list is empty")
		return
	}
	l.check(c)
}

// claimList is an array of filters as a claim.
func (l *linter) claimList(kind nodeKind, raw json.RawMessage, at claim) *claim {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return l.claimOpaque(raw, at)
	}
	at.kind, at.text = kind, string(raw)
	for i, element := range list {
		at.kids = append(at.kids, l.claimFilter(element, claim{line: 1, column: 1, pointer: at.pointer + "/" + strconv.Itoa(i)}))
	}
	return &at
}

// claimFilter is one filter as a claim.
func (l *linter) claimFilter(raw json.RawMessage, at claim) *claim {
	at.text = string(raw)
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || len(object) != 1 {
		return l.claimOpaque(raw, at)
	}
	for dialect, value := range object {
		switch inner := (claim{line: 1, column: 1, pointer: at.pointer + "/" + dialect}); dialect {
		case "all":
			return l.claimList(andNode, value, inner)
		case "any":
			return l.claimList(orNode, value, inner)
		case "not":
			at.kind, at.kids = notNode, []*claim{l.claimFilter(value, inner)}
			return &at
		case "exact", "prefix", "suffix":
			return l.claimAttributes(dialect, value, at)
		case "sql":
			var source string
			if json.Unmarshal(value, &source) == nil {
				l.readsSQL(source, claim{line: 1, column: 1, pointer: inner.pointer})
			}
		}
	}
	return l.claimOpaque(raw, at)
}

// claimAttributes is what exact, prefix or suffix says of attributes, each a
// claim of its own.
func (l *linter) claimAttributes(dialect string, raw json.RawMessage, at claim) *claim {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return l.claimOpaque(raw, at)
	}
	whole := at
	whole.kind = andNode
	for _, name := range slices.Sorted(maps.Keys(object)) {
		one, err := json.Marshal(map[string]any{dialect: map[string]json.RawMessage{name: object[name]}})
		if err != nil {
			return l.claimOpaque(raw, at)
		}
		if near := nearAttribute(name); near != "" {
			l.slip(&claim{line: 1, column: 1, pointer: at.pointer + "/" + dialect + "/" + pointerToken(name)}, name, near)
		}
		n, err := l.env.compileFilters("[" + string(one) + "]")
		if err != nil {
			return l.claimOpaque(raw, at)
		}
		whole.kids = append(whole.kids, l.claimOf(&n, claim{
			line: 1, column: 1, pointer: at.pointer + "/" + dialect + "/" + pointerToken(name), text: string(one)}))
	}
	if len(whole.kids) == 1 {
		return whole.kids[0]
	}
	return &whole
}

// claimOpaque is what only another evaluator knows about.
func (l *linter) claimOpaque(raw json.RawMessage, at claim) *claim {
	at.kind, at.key, at.text = residualNode, "filter "+string(raw), string(raw)
	return &at
}
