package configs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// document is one YAML or JSON text while it is read: its nodes with aliases
// and references resolved, where each came from, and what was found wrong.
type document struct {
	loader *Loader
	file   string // "" for an object that came through the API
	prefix keyPath
	source []byte
	root   *yaml.Node
	diags  Diagnostics
	// objectStart is where the diagnostics of the object begin that is decoded.
	objectStart int

	// written has the text of the scalars that were changed when references
	// were resolved, as they stand in the document.
	written map[*yaml.Node]string
	// secrets has what references were replaced with, which is never shown.
	secrets map[*yaml.Node][]string
}

func (d *document) api() bool { return d.file == "" }

// report adds a diagnostic about node, which may be nil.
func (d *document) report(node *yaml.Node, path keyPath, message string) {
	d.add(node, path, message, false)
}

func (d *document) reportf(node *yaml.Node, path keyPath, format string, args ...any) {
	d.add(node, path, fmt.Sprintf(format, args...), false)
}

func (d *document) add(node *yaml.Node, path keyPath, message string, warning bool) {
	line, column := 0, 0
	if node != nil {
		line, column = node.Line, node.Column
		message = d.mask(node, message)
	}
	d.addAt(line, column, path, message, warning)
}

func (d *document) addAt(line, column int, path keyPath, message string, warning bool) {
	d.diags = append(d.diags, Diagnostic{
		File: d.file, Line: line, Column: column, Path: path.String(), Message: message, Warning: warning,
		path: path, above: len(d.prefix),
	})
}

// maxFile bounds a configuration file and an object.
const maxFile = 16 << 20

// parse reads text as YAML (or, if it looks like it, JSON) into d.root; it
// reports false when there is nothing to go on with.
func (d *document) parse(text []byte, jsonToo bool) bool {
	d.source = text
	if len(text) > maxFile {
		d.addAt(0, 0, d.prefix, fmt.Sprintf("it has %d bytes; at most %d are read", len(text), maxFile), false)
		return false
	}
	raw, err := parseText(text, jsonToo)
	if err != nil {
		d.addAt(err.line, err.column, d.prefix, err.message, false)
		return false
	}
	e := expander{doc: d}
	d.root = e.expand(raw, d.prefix, 0)
	return !e.stopped
}

// syntaxError says where a text is not YAML or JSON.
type syntaxError struct {
	line, column int
	message      string
}

func parseText(text []byte, jsonToo bool) (*yaml.Node, *syntaxError) {
	var jsonErr *syntaxError
	if first := strings.TrimLeft(string(text[:min(len(text), 64)]), " \t\r\n"); jsonToo && strings.HasPrefix(first, "{") {
		n, err := parseJSON(text)
		if err == nil {
			return n, nil
		}
		jsonErr = err
	}
	n, err := parseYAML(text)
	if err != nil && jsonErr != nil {
		return nil, jsonErr
	}
	return n, err
}

func parseYAML(text []byte) (n *yaml.Node, err *syntaxError) {
	// The parser reports what it meets by panics of its own, which it turns
	// into errors; what it should miss must not end the process.
	defer func() {
		if r := recover(); r != nil {
			n, err = nil, &syntaxError{message: fmt.Sprintf("it cannot be read as YAML: %v", r)}
		}
	}()
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, more yaml.Node
	if e := dec.Decode(&doc); e != nil {
		if e.Error() == "EOF" {
			return nil, &syntaxError{line: 1, column: 1, message: "it is empty"}
		}
		return nil, yamlSyntax(e)
	}
	if e := dec.Decode(&more); e == nil {
		return nil, &syntaxError{line: more.Line, column: max(more.Column, 1), message: "a second YAML document begins here; put it in a file of its own"}
	} else if e.Error() != "EOF" {
		return nil, yamlSyntax(e)
	}
	if len(doc.Content) != 1 {
		return nil, &syntaxError{line: 1, column: 1, message: "it is empty"}
	}
	return doc.Content[0], nil
}

// yamlSyntax turns an error of the YAML parser into words and a place.
func yamlSyntax(err error) *syntaxError {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	out := &syntaxError{}
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(message); m != nil {
		out.line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	switch {
	case strings.Contains(message, "found character that cannot start any token"):
		message += `; indent with spaces, not tabs, and put text that begins with @, %, or a backquote in quotes`
	case strings.Contains(message, "mapping values are not allowed"):
		message += `; is a line indented wrongly, or does a text with ": " in it lack quotes?`
	case strings.Contains(message, "did not find expected"):
		message += "; look at the indentation, the quotes and the brackets here and in the line before"
	}
	out.message = "not valid YAML: " + message
	return out
}

// Bounds on what aliases and nesting may grow to.
const (
	maxDepth   = 100
	maxAliased = 100_000 // nodes that stand in for aliases, in one document
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

// child is the value under key of a mapping, with its key, or nil.
func child(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// isNull reports whether n has no value: absent, empty, ~ or null.
func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// inside is the place of line and column (both from 1) of a text that stands in
// the scalar n. It is found by counting what is not white space, for YAML moves
// that: it folds lines and takes indentation off.
func (d *document) inside(n *yaml.Node, line, column int) (int, int) {
	if _, changed := d.written[n]; changed || n.Kind != yaml.ScalarNode || d.source == nil {
		return n.Line, n.Column
	}
	left, total, at := 0, 0, position{1, 1}
	for _, r := range n.Value {
		if !unicode.IsSpace(r) {
			if total++; at.line < line || at.line == line && at.column < column {
				left = total
			}
		}
		at.advance(r)
	}
	missing := left == total // something is missing at the end of the text
	at = position{1, 1}
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	opened := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
	escaped := false
	for _, r := range string(d.source) {
		inText := at.line > n.Line || at.line == n.Line && at.column >= n.Column && !block
		switch {
		case !inText:
		case !opened:
			opened = true // the opening quote
		case unicode.IsSpace(r):
		case r == '\\' && n.Style&yaml.DoubleQuotedStyle != 0 && !escaped,
			r == '\'' && n.Style&yaml.SingleQuotedStyle != 0 && !escaped:
			escaped = true
		case left == 0:
			return at.line, at.column
		default:
			escaped = false
			if left--; left == 0 && missing {
				return at.line, at.column + 1
			}
		}
		at.advance(r)
	}
	return n.Line, n.Column
}

// position is a place in a text, from 1; columns count characters.
type position struct{ line, column int }

func (p *position) advance(r rune) {
	if r == '\n' {
		p.line++
		p.column = 1
		return
	}
	p.column++
}

// folder is what relative paths in the document are relative to.
func (d *document) folder() string { return filepath.Dir(d.file) }
