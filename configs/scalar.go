package configs

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// decodeScalar fills a text, a number or a truth value.
func (d *document) decodeScalar(n *yaml.Node, v reflect.Value, path keyPath) {
	if v.Kind() != reflect.String && len(d.secrets[n]) > 0 {
		// What came from the environment is text; where something else is
		// wanted it is read as if it had been written there without quotes.
		line, column := n.Line, n.Column
		copied := &yaml.Node{Kind: yaml.ScalarNode, Value: n.Value, Line: line, Column: column}
		d.secrets[copied] = d.secrets[n]
		n = copied
	}
	tag := n.ShortTag()
	switch v.Kind() {
	case reflect.String:
		switch {
		case n.Kind == yaml.ScalarNode && (tag == "!!str" || tag == "!!timestamp"):
			v.SetString(n.Value)
		case n.Kind == yaml.ScalarNode && strings.HasPrefix(tag, "!") && !strings.HasPrefix(tag, "!!"):
			d.reportf(n, path, "expected a text; a value that begins with ! has to be in quotes, for %s is a tag in YAML", quote(tag))
		case n.Kind == yaml.ScalarNode:
			d.reportf(n, path, "expected a text, not %s %s; put it in quotes", tagWords(tag), n.Value)
		default:
			d.wrongType(n, path, "a text")
		}
	case reflect.Bool:
		var b bool
		if tag != "!!bool" || n.Decode(&b) != nil {
			d.wrongType(n, path, "true or false")
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		if tag != "!!int" || n.Decode(&i) != nil || v.OverflowInt(i) {
			d.wrongType(n, path, "a whole number")
			return
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var i uint64
		if tag != "!!int" || n.Decode(&i) != nil || v.OverflowUint(i) {
			d.wrongType(n, path, "a whole number of 0 or more")
			return
		}
		v.SetUint(i)
	case reflect.Float32, reflect.Float64:
		var f float64
		if tag != "!!int" && tag != "!!float" || n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.wrongType(n, path, "a number")
			return
		}
		v.SetFloat(f)
	default:
		d.report(n, path, fmt.Sprintf("a value of the type %v cannot be read", v.Type()))
	}
}

// plain is a node as map[string]any, []any, string, bool, int, float64 or nil.
func (d *document) plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = d.plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = d.plain(c)
		}
		return list
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 0, strconv.IntSize); err == nil {
			return int(i)
		}
		var f float64
		if n.Decode(&f) == nil {
			return f
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
	return n.Value
}
