package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parseJSON reads one JSON value into nodes with places, as parseYAML does.
// YAML reads most JSON, but not all of it.
func parseJSON(text []byte) (*yaml.Node, *syntaxError) {
	if !utf8.Valid(text) {
		return nil, &syntaxError{message: "not valid JSON: it is not UTF-8"}
	}
	p := jsonParser{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err == nil {
		if _, more := p.dec.Token(); more != io.EOF {
			err = errors.New("something follows after its end")
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it ends too early")
		}
		line, column := p.place(int(p.dec.InputOffset()))
		return nil, &syntaxError{line: line, column: column, message: "not valid JSON: " + err.Error()}
	}
	return n, nil
}

type jsonParser struct {
	text []byte
	dec  *json.Decoder

	// How far lines were counted, so that places in order cost one pass.
	line, lineStart, counted int
}

func (p *jsonParser) place(offset int) (line, column int) {
	for ; p.counted < offset; p.counted++ {
		if p.text[p.counted] == '\n' {
			p.line++
			p.lineStart = p.counted + 1
		}
	}
	return p.line, utf8.RuneCount(p.text[p.lineStart:max(offset, p.lineStart)]) + 1
}

// value reads the next value.
func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	}
	start := int(p.dec.InputOffset())
	for start < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[start]) >= 0 {
		start++
	}
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	n.Line, n.Column = p.place(start)
	switch t := token.(type) {
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case json.Delim:
		n.Kind, n.Tag, n.Style = yaml.MappingNode, "!!map", yaml.FlowStyle
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for p.dec.More() {
			c, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		if _, err := p.dec.Token(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// appendJSON writes a node as JSON: keys in the order they were written,
// references as they were written. text says what to write for a scalar that
// is text; nil writes it as it is.
func (d *document) appendJSON(dst []byte, n *yaml.Node, text func(n *yaml.Node) string) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, n.Content[i].Value)
			dst = append(dst, ':')
			dst = d.appendJSON(dst, n.Content[i+1], text)
		}
		return append(dst, '}')
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, c := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = d.appendJSON(dst, c, text)
		}
		return append(dst, ']')
	}
	if text != nil {
		if s := text(n); s != n.Value {
			return appendText(dst, s)
		}
	}
	return appendScalar(dst, n)
}

// json is what appendJSON writes, with no room to spare.
func (d *document) json(n *yaml.Node, text func(n *yaml.Node) string) []byte {
	d.scratch = d.appendJSON(d.scratch[:0], n, text)
	if d.file == "" {
		return bytes.Clone(d.scratch)
	}
	return d.room.bytes(d.scratch)
}

// appendScalar writes a scalar in the JSON type that its YAML type has.
func appendScalar(dst []byte, n *yaml.Node) []byte {
	switch n.ShortTag() {
	case "!!null":
		return append(dst, "null"...)
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return strconv.AppendBool(dst, b)
		}
	case "!!int", "!!float":
		if digits(n.Value) || json.Valid([]byte(n.Value)) {
			return append(dst, n.Value...)
		}
		var i int64
		var f float64
		if n.Decode(&i) == nil && n.ShortTag() == "!!int" {
			return strconv.AppendInt(dst, i, 10)
		}
		if n.Decode(&f) == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return strconv.AppendFloat(dst, f, 'g', -1, 64)
		}
	}
	return appendText(dst, n.Value)
}

func appendText(dst []byte, s string) []byte {
	if plain(s) {
		return append(append(append(dst, '"'), s...), '"')
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// plain reports whether a text stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// digits reports whether a text is a whole number as JSON has it.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && (s[0] != '0' || s == "0")
}
