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

// expander makes of a parsed tree what it stands for: aliases and merge keys
// become what they name, references are resolved, keys given twice are reported.
// It changes the tree in place, unless aliases let parts of it stand in several
// places: then it makes a copy.
type expander struct {
	doc     *document
	path    keyPath // of the node at hand
	copies  bool
	open    []*yaml.Node // aliases being expanded
	aliased int
	stopped bool
}

// expand is the tree below root, expanded.
func (e *expander) expand(root *yaml.Node) *yaml.Node {
	e.copies = hasAlias(root)
	e.path = append(e.path, e.doc.prefix...)
	return e.node(root, 0)
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

func (e *expander) node(n *yaml.Node, depth int) *yaml.Node {
	if e.stopped {
		return n
	}
	if depth > maxDepth {
		e.stop(n, fmt.Sprintf("it is nested more than %d levels deep", maxDepth))
		return n
	}
	if len(e.open) > 0 {
		if e.aliased++; e.aliased > maxAliased {
			e.stop(n, fmt.Sprintf("aliases expand to more than %d values", maxAliased))
			return n
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if slices.Contains(e.open, n.Alias) {
			e.stop(n, fmt.Sprintf("the anchor %s contains itself", quote(n.Value)))
			return n
		}
		e.open = append(e.open, n.Alias)
		out := e.node(n.Alias, depth+1)
		e.open = e.open[:len(e.open)-1]
		// Errors in it are best shown where it is used.
		if out != n.Alias {
			out.Line, out.Column = n.Line, n.Column
		}
		return out
	case yaml.MappingNode:
		return e.mapping(n, depth)
	case yaml.SequenceNode:
		content := n.Content
		out := e.own(n)
		for i, c := range content {
			e.path = append(e.path, step{index: i, element: true})
			out.Content = append(out.Content, e.node(c, depth+1))
			e.path = e.path[:len(e.path)-1]
		}
		return out
	}
	out := e.own(n)
	if out.ShortTag() == "!!str" && strings.Contains(out.Value, "${") {
		e.doc.resolve(out, slices.Clone(e.path))
	}
	return out
}

// own is the node that becomes what n stands for, to be filled with no more
// children than n has: n itself, or a copy.
func (e *expander) own(n *yaml.Node) *yaml.Node {
	if e.copies {
		return shallow(n)
	}
	n.Content = n.Content[:0]
	return n
}

func (e *expander) mapping(n *yaml.Node, depth int) *yaml.Node {
	content := n.Content
	out := e.own(n)
	var seen keys
	var merges []*yaml.Node
	for i := 0; i+1 < len(content); i += 2 {
		key, value := content[i], content[i+1]
		if key.Kind == yaml.AliasNode {
			key = e.node(key, depth+1)
		}
		if key.Kind != yaml.ScalarNode {
			e.report(key, "a key must be a text")
			continue
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		e.path = append(e.path, step{key: key.Value})
		if first := seen.add(key); first != nil {
			e.report(key, fmt.Sprintf("%s is given twice; the first is in line %d", quote(key.Value), first.Line))
		} else {
			v := e.node(value, depth+1)
			if v.Kind != yaml.ScalarNode && v.Style&yaml.FlowStyle == 0 {
				// A block is best shown where its key is, not at the first line in it.
				v.Line, v.Column = key.Line, key.Column
			}
			if e.copies {
				key = shallow(key)
			}
			out.Content = append(out.Content, key, v)
		}
		e.path = e.path[:len(e.path)-1]
	}
	for _, m := range merges {
		e.merge(out, &seen, m, depth)
	}
	return out
}

// keys are the keys of a mapping.
type keys struct {
	few  []*yaml.Node
	many map[string]*yaml.Node // once there are more than a few
}

const fewKeys = 16

// add takes a key in, or returns the one that is its equal.
func (k *keys) add(key *yaml.Node) (first *yaml.Node) {
	if k.many == nil {
		for _, have := range k.few {
			if have.Value == key.Value {
				return have
			}
		}
		if k.few = append(k.few, key); len(k.few) > fewKeys {
			k.many = make(map[string]*yaml.Node, 2*fewKeys)
			for _, have := range k.few {
				k.many[have.Value] = have
			}
		}
		return nil
	}
	if first = k.many[key.Value]; first == nil {
		k.many[key.Value] = key
	}
	return first
}

// merge adds what `<<: *anchor` or `<<: [*a, *b]` brings and out lacks.
func (e *expander) merge(out *yaml.Node, seen *keys, m *yaml.Node, depth int) {
	m = e.node(m, depth+1)
	parts := []*yaml.Node{m}
	if m.Kind == yaml.SequenceNode {
		parts = m.Content
	}
	for _, part := range parts {
		if part.Kind != yaml.MappingNode {
			e.report(part, "<< takes an alias of settings (key: value), or a list of such")
			return
		}
		for i := 0; i+1 < len(part.Content); i += 2 {
			if key := part.Content[i]; seen.add(key) == nil {
				out.Content = append(out.Content, key, part.Content[i+1])
			}
		}
	}
}

func (e *expander) report(n *yaml.Node, message string) {
	e.doc.report(n, slices.Clone(e.path), message)
}

func (e *expander) stop(n *yaml.Node, message string) {
	if !e.stopped {
		e.report(n, message)
	}
	e.stopped = true
}

// shallow copies a node without its children and anchors.
func shallow(n *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
}
