package configs

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bounds on what aliases and nesting may grow to.
const (
	maxDepth   = 100
	maxAliased = 50_000 // nodes that stand in for aliases, in one document
)

// expander copies a parsed tree: aliases and merge keys become what they stand
// for, references are resolved, keys given twice are reported.
type expander struct {
	doc     *document
	open    []*yaml.Node // aliases being expanded
	aliased int
	stopped bool
}

func (e *expander) expand(n *yaml.Node, path keyPath, depth int) *yaml.Node {
	if e.stopped {
		return n
	}
	if depth > maxDepth {
		e.stop(n, path, fmt.Sprintf("it is nested more than %d levels deep", maxDepth))
		return n
	}
	if len(e.open) > 0 {
		if e.aliased++; e.aliased > maxAliased {
			e.stop(n, path, fmt.Sprintf("aliases expand to more than %d values", maxAliased))
			return n
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if slices.Contains(e.open, n.Alias) {
			e.stop(n, path, fmt.Sprintf("the anchor %s contains itself", quote(n.Value)))
			return n
		}
		e.open = append(e.open, n.Alias)
		out := e.expand(n.Alias, path, depth+1)
		e.open = e.open[:len(e.open)-1]
		// Errors in it are best shown where it is used.
		if out != n.Alias {
			out.Line, out.Column = n.Line, n.Column
		}
		return out
	case yaml.MappingNode:
		return e.mapping(n, path, depth)
	case yaml.SequenceNode:
		out := shallow(n)
		for i, c := range n.Content {
			out.Content = append(out.Content, e.expand(c, path.at(i), depth+1))
		}
		return out
	}
	out := shallow(n)
	if out.ShortTag() == "!!str" && strings.Contains(out.Value, "${") {
		e.doc.resolve(out, path)
	}
	return out
}

func (e *expander) mapping(n *yaml.Node, path keyPath, depth int) *yaml.Node {
	out := shallow(n)
	seen := map[string]*yaml.Node{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = e.expand(key, path, depth+1)
		}
		if key.Kind != yaml.ScalarNode {
			e.doc.report(key, path, "a key must be a text")
			continue
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if first := seen[key.Value]; first != nil {
			e.doc.reportf(key, path.down(key.Value), "%s is given twice; the first is in line %d", quote(key.Value), first.Line)
			continue
		}
		seen[key.Value] = key
		v := e.expand(value, path.down(key.Value), depth+1)
		if v.Kind != yaml.ScalarNode && v.Style&yaml.FlowStyle == 0 {
			// A block is best shown where its key is, not at the first line in it.
			v.Line, v.Column = key.Line, key.Column
		}
		out.Content = append(out.Content, shallow(key), v)
	}
	for _, m := range merges {
		e.merge(out, seen, m, path, depth)
	}
	return out
}

// merge adds what `<<: *anchor` or `<<: [*a, *b]` brings and out lacks.
func (e *expander) merge(out *yaml.Node, seen map[string]*yaml.Node, m *yaml.Node, path keyPath, depth int) {
	m = e.expand(m, path, depth+1)
	parts := []*yaml.Node{m}
	if m.Kind == yaml.SequenceNode {
		parts = m.Content
	}
	for _, part := range parts {
		if part.Kind != yaml.MappingNode {
			e.doc.report(part, path, "<< takes an alias of settings (key: value), or a list of such")
			return
		}
		for i := 0; i+1 < len(part.Content); i += 2 {
			if key := part.Content[i]; seen[key.Value] == nil {
				seen[key.Value] = key
				out.Content = append(out.Content, key, part.Content[i+1])
			}
		}
	}
}

func (e *expander) stop(n *yaml.Node, path keyPath, message string) {
	if !e.stopped {
		e.doc.report(n, path, message)
	}
	e.stopped = true
}

// shallow copies a node without its children and anchors.
func shallow(n *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
}
