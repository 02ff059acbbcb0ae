package transform

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// resolve is what a node stands for: the root of a document, the target of an
// alias. The tag of a scalar is filled in.
func resolve(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode && n.Alias != nil:
			n = n.Alias
		default:
			if n.Kind == yaml.ScalarNode && n.Tag != n.ShortTag() {
				resolved := *n
				resolved.Tag = n.ShortTag()
				return &resolved
			}
			return n
		}
	}
	return n
}

// join makes the path of a member.
func join(path, name string) string {
	for i := range len(name) {
		if c := name[i]; c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return path + "[" + strconv.Quote(cut(name)) + "]"
		}
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// exact reports whether the file has the text of a scalar as it is, on one
// line, so that offsets in it are columns.
func exact(n *yaml.Node) bool {
	if n.Line == 0 || strings.ContainsAny(n.Value, "\r\n") {
		return false
	}
	switch n.Style &^ yaml.TaggedStyle {
	case 0:
		return true
	case yaml.SingleQuotedStyle:
		return !strings.Contains(n.Value, "'")
	case yaml.DoubleQuotedStyle:
		return !strings.ContainsAny(n.Value, "\\\"\t")
	}
	return false
}

// place is where a byte of a scalar's text stands in the file.
func place(n *yaml.Node, offset int) (line, column int) {
	if !exact(n) {
		return n.Line, n.Column
	}
	column = n.Column + utf8.RuneCountInString(n.Value[:offset])
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		column++
	}
	return n.Line, column
}

// scalarJSON writes a scalar that is not text as JSON, a number with its own
// digits when JSON can have them.
func scalarJSON(n *yaml.Node) ([]byte, error) {
	switch n.Tag {
	case "!!null":
		return []byte("null"), nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, err
		}
		return strconv.AppendBool(nil, b), nil
	case "!!int", "!!float":
		if c := n.Value; c != "" && (c[0] == '-' || c[0] >= '0' && c[0] <= '9') && event.CheckJSON([]byte(c)) == nil {
			return []byte(c), nil
		}
		if n.Tag == "!!int" {
			var i int64
			if err := n.Decode(&i); err == nil {
				return strconv.AppendInt(nil, i, 10), nil
			}
			var u uint64
			if err := n.Decode(&u); err != nil {
				return nil, fmt.Errorf("%s is not a number that JSON can have", n.Value)
			}
			return strconv.AppendUint(nil, u, 10), nil
		}
		var f float64
		if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, fmt.Errorf("%s is not a number that JSON can have", n.Value)
		}
		return strconv.AppendFloat(nil, f, 'g', -1, 64), nil
	}
	if n.Tag == "" {
		return nil, errors.New("not a value")
	}
	return nil, fmt.Errorf("the YAML tag %s is not supported", n.Tag)
}

// yamlOf makes the YAML node of a JSON value.
func yamlOf(n event.Node) *yaml.Node {
	scalar := func(tag, value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	}
	switch n.Kind() {
	case event.Object:
		out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for key, v := range n.Entries() {
			out.Content = append(out.Content, scalar("!!str", key), yamlOf(v))
		}
		return out
	case event.Array:
		out := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for v := range n.Elements() {
			out.Content = append(out.Content, yamlOf(v))
		}
		return out
	case event.String:
		return scalar("!!str", n.Text())
	case event.True:
		return scalar("!!bool", "true")
	case event.False:
		return scalar("!!bool", "false")
	case event.Number:
		if _, ok := n.Int(); ok {
			return scalar("!!int", string(n.Raw()))
		}
		return scalar("!!float", string(n.Raw()))
	}
	return scalar("!!null", "null")
}
