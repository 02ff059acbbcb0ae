package configs

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// lines are some lines of a text: the bytes from start up to end, with as many line
// breaks.
type lines struct{ start, end, breaks int }

// apart finds the rules of a document that mean what their own lines say and
// nothing else, so that they can be remembered, and their lines. What is left of
// the text without these is read again at each start: that it says the same then
// is held against the whole, so that no anchor, style or line break can make a
// difference. It is called before objects are decoded, and finds nothing where
// there is a doubt.
func (d *document) apart() (rules map[*yaml.Node]bool, taken []lines) {
	at, section := child(d.root, Rules)
	if section == nil || section.Kind != yaml.MappingNode {
		return nil, nil
	}
	starts := append(d.lineStarts(), len(d.source)) // of line l: starts[l-1]
	end := len(starts)
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if line := d.root.Content[i].Line; line > at.Line {
			end = min(end, line)
		}
	}
	rules = map[*yaml.Node]bool{}
	before, upTo := at.Line, 0
	for i := 0; i+1 < len(section.Content); i += 2 {
		key, value := section.Content[i], section.Content[i+1]
		from, to := key.Line, end
		if i+2 < len(section.Content) {
			to = section.Content[i+2].Line
		}
		if before < from && from < to && to <= len(starts) && d.standsAlone(value) {
			rules[key] = true
			if n := len(taken); n == 0 || upTo != from {
				taken = append(taken, lines{start: starts[from-1]})
			}
			last := &taken[len(taken)-1]
			last.end, upTo = starts[to-1], to
			last.breaks += to - from
		}
		before = max(before, from)
	}
	if len(rules) == 0 {
		return nil, nil
	}
	rest := &document{loader: d.loader, file: d.file}
	if !rest.parse(d.without(taken), false) || len(rest.diags) > 0 || !sameWithout(d.root, rest.root, rules) {
		return nil, nil
	}
	return rules, taken
}

// without is the source without the contents of some lines: all others stay in
// their places.
func (d *document) without(taken []lines) []byte {
	out := make([]byte, 0, len(d.source)/8)
	at := 0
	for _, t := range taken {
		out = append(append(out, d.source[at:t.start]...), '#') // so that the empty lines belong to no text before
		for range t.breaks {
			out = append(out, '\n')
		}
		at = t.end
	}
	return append(out, d.source[at:]...)
}

// standsAlone reports whether a rule means the same whatever else there is, and
// what of it is used later comes back from JSON as it is.
func (d *document) standsAlone(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode || d.refers(n) {
		return false
	}
	_, enrich := child(n, "enrich")
	_, transform := child(n, "transform")
	_, retry := child(n, "retry")
	return isNull(enrich) && (isNull(transform) || asJSON(transform)) && (isNull(retry) || asJSON(retry))
}

// refers reports whether a text of a tree was changed when references were
// resolved.
func (d *document) refers(n *yaml.Node) bool {
	if len(d.written) == 0 {
		return false
	}
	_, changed := d.written[n]
	return changed || slices.ContainsFunc(n.Content, d.refers)
}

// asJSON reports whether a tree is read from the JSON that appendJSON makes of it
// with the same kinds, types and texts.
func asJSON(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].ShortTag() != "!!str" || !asJSON(n.Content[i+1]) {
				return false
			}
		}
		return n.ShortTag() == "!!map"
	case yaml.SequenceNode:
		return n.ShortTag() == "!!seq" && !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !asJSON(c) })
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!str":
			return true
		case "!!null":
			return n.Value == "null"
		case "!!bool":
			return n.Value == "true" || n.Value == "false"
		case "!!int":
			return digits(strings.TrimPrefix(n.Value, "-")) && n.Value != "-0"
		}
	}
	return false
}

// sameWithout reports whether rest is what the document root is without some
// rules, by their keys.
func sameWithout(root, rest *yaml.Node, rules map[*yaml.Node]bool) bool {
	if rest.Kind != yaml.MappingNode || len(rest.Content) != len(root.Content) {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if !sameTree(key, rest.Content[i], true) {
			return false
		}
		if key.Value == Rules {
			left := shallow(value)
			for k := 0; k+1 < len(value.Content); k += 2 {
				if !rules[value.Content[k]] {
					left.Content = append(left.Content, value.Content[k], value.Content[k+1])
				}
			}
			if len(left.Content) == 0 && isNull(rest.Content[i+1]) {
				continue
			}
			value = left
		}
		if !sameTree(value, rest.Content[i+1], true) {
			return false
		}
	}
	return true
}

// sameTree reports whether two trees have the same kinds, types and texts, with
// places at the same places too, written in the same style.
func sameTree(a, b *yaml.Node, places bool) bool {
	if a.Kind != b.Kind || a.ShortTag() != b.ShortTag() || a.Value != b.Value || len(a.Content) != len(b.Content) ||
		places && (a.Line != b.Line || a.Column != b.Column || a.Style != b.Style) {
		return false
	}
	for i := range a.Content {
		if !sameTree(a.Content[i], b.Content[i], places) {
			return false
		}
	}
	return true
}
