package configs

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is one YAML or JSON text while it is read: its nodes with aliases
// and references resolved, where each came from, and what was found wrong.
type document struct {
	loader   *Loader
	file     string // "" for an object that came through the API
	sent     bool   // it is of a file whose objects are to be sent through the API
	prefix   keyPath
	source   []byte
	lines    []int // where the lines of source begin, once that is needed
	root     *yaml.Node
	diags    Diagnostics
	linted   int  // how many filters were looked at by lint
	unlinted bool // they are not to be
	scratch  []byte
	room     room      // of a file's texts; an object that came through the API is on its own
	recorder *recorder // writes its rules down; nil does not
	recalled *recalled // the rules that the tree is without; nil is none
	// objectStart is where the diagnostics of the object begin that is decoded.
	objectStart int

	// written has the text of the scalars that were changed when references
	// were resolved, as they stand in the document.
	written map[*yaml.Node]string
	// secrets has what references were replaced with, which is never shown.
	secrets map[*yaml.Node][]string
}

// api reports whether only what may come through the API is allowed.
func (d *document) api() bool { return d.file == "" || d.sent }

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
	if d.recalled != nil {
		text = d.without(d.recalled.taken)
	}
	raw, err := parseText(text, jsonToo)
	if err != nil {
		d.addAt(err.line, err.column, d.prefix, err.message, false)
		return false
	}
	e := expander{doc: d}
	d.root = e.expand(raw)
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
		return nil, yamlSyntax(text, e)
	}
	if e := dec.Decode(&more); e == nil {
		return nil, &syntaxError{line: more.Line, column: max(more.Column, 1), message: "a second YAML document begins here; put it in a file of its own"}
	} else if e.Error() != "EOF" {
		return nil, yamlSyntax(text, e)
	}
	if len(doc.Content) != 1 {
		return nil, &syntaxError{line: 1, column: 1, message: "it is empty"}
	}
	return doc.Content[0], nil
}

// yamlSyntax turns an error of the YAML parser into words and a place.
func yamlSyntax(text []byte, err error) *syntaxError {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	out := &syntaxError{}
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(message); m != nil {
		out.line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	out.line = syntaxLine(text, message, out.line)
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

// maxBisected bounds the text that syntaxLine reads several times.
const maxBisected = 256 << 10

// syntaxLine is the line of a syntax error. The YAML library counts the lines of
// what its scanner finds from 1 and those of what its parser finds from 0, leaves
// the first line out, and names the line where a block begins rather than the one
// that does not fit into it.
func syntaxLine(text []byte, message string, said int) int {
	switch message {
	case "did not find expected key", "did not find expected '-' indicator":
		// What stands before the line at fault has not this error; all that has the
		// line in it has.
		lines := bytes.SplitAfter(text, []byte("\n"))
		if len(text) > maxBisected {
			return said + 1
		}
		return 1 + sort.Search(len(lines)-1, func(i int) bool {
			dec := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:i+1], nil)))
			var first, second yaml.Node
			err := dec.Decode(&first)
			if err == nil {
				err = dec.Decode(&second)
			}
			return err != nil && strings.HasSuffix(err.Error(), message)
		})
	case "did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected node content", "did not find expected <document start>":
		return min(said+1, 1+bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")))
	}
	if m := regexp.MustCompile(`^unknown anchor '(.+)' referenced$`).FindStringSubmatch(message); m != nil {
		if at := regexp.MustCompile(`\*` + regexp.QuoteMeta(m[1]) + `(\W|$)`).FindIndex(text); at != nil {
			return 1 + bytes.Count(text[:at[0]], []byte("\n"))
		}
	}
	if said == 0 && regexp.MustCompile(`^(found|could not find|mapping values|block) `).MatchString(message) {
		return 1
	}
	return said
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

// folder is what relative paths in the document are relative to.
func (d *document) folder() string { return filepath.Dir(d.file) }
