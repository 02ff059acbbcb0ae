package transform

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

const (
	maxTemplate  = 8192 // as EventBridge has it
	maxVariables = 100

	keyPathsMap = "inputPathsMap"
	keyTemplate = "inputTemplate"
)

// inputTemplate is a template of EventBridge: text with placeholders, <name>.
// A template is JSON, lines of quoted text, or plain text; the last two make one
// string.
//
// A placeholder outside of a string stands for the whole value, quotes included,
// or "" when the event lacks it. One within a string stands for the text, or
// nothing: objects and arrays lose their quotes there. Other than in
// EventBridge, text is escaped, so that no value can make the result invalid.
type inputTemplate struct {
	parts []templatePart
	text  bool // the parts make the content of one string
}

type templatePart struct {
	literal  string
	variable *variable // else nil
	quoted   bool      // it stands in a string of JSON
}

// variable is what a placeholder stands for.
type variable struct {
	name       string
	path       bridgePath
	predefined bool
}

// value is the zero Node when the event lacks it.
func (v *variable) value(r *run) event.Node {
	if !v.predefined {
		return v.path.resolve(r)
	}
	switch v.name {
	case "aws.events.rule-arn":
		return stringNode(r.ruleARN())
	case "aws.events.rule-name":
		return stringNode(r.context.Rule)
	case "aws.events.event.ingestion-time":
		return stringNode(r.ingestionTime())
	case "aws.events.event":
		return r.bridgeEvent(false)
	case "aws.events.event.json":
		return r.bridgeEvent(true)
	}
	return event.Node{}
}

func predefined(name string) bool {
	switch name {
	case "aws.events.rule-arn", "aws.events.rule-name", "aws.events.event.ingestion-time", "aws.events.event", "aws.events.event.json":
		return true
	}
	return false
}

// inputTransformer compiles the mapping of paths and template.
func (c *compiler) inputTransformer(n *yaml.Node) template {
	const hint = "an inputTransformer is a mapping of inputPathsMap and inputTemplate"
	if n.Kind != yaml.MappingNode {
		c.report(n, formInputTransformer, hint)
		return literal("null")
	}
	var template *yaml.Node
	variables := map[string]*variable{}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], resolve(n.Content[i+1])
		name, ok := c.key(key, formInputTransformer, seen)
		switch {
		case !ok:
		case name == keyPathsMap:
			c.pathsMap(val, variables)
		case name == keyTemplate:
			template = val
		default:
			c.report(key, join(formInputTransformer, name), "unknown key; "+hint)
		}
	}
	path := join(formInputTransformer, keyTemplate)
	switch {
	case template == nil:
		c.report(n, formInputTransformer, "it has no inputTemplate")
	case template.Kind != yaml.ScalarNode || template.Tag != "!!str":
		c.report(template, path, "a template is text; a JSON template stands in quotes or under |")
	case len(template.Value) > maxTemplate:
		c.report(template, path, "the template is %d bytes long; at most %d", len(template.Value), maxTemplate)
	case strings.TrimSpace(template.Value) == "":
		c.report(template, path, "the template is empty")
	default:
		if t, offset, err := parseTemplate(template.Value, variables); err != nil {
			c.reportIn(template, offset, path, err.Error())
		} else {
			return t
		}
	}
	return literal("null")
}

func (c *compiler) pathsMap(n *yaml.Node, variables map[string]*variable) {
	path := join(formInputTransformer, keyPathsMap)
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!null" {
			c.report(n, path, "it is a mapping of names to paths, such as {id: $.detail.id}")
		}
		return
	}
	if len(n.Content)/2 > maxVariables {
		c.report(n, path, "it has %d names; at most %d", len(n.Content)/2, maxVariables)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], resolve(n.Content[i+1])
		name, ok := c.key(key, path, seen)
		if !ok {
			continue
		}
		at := join(path, name)
		switch {
		case strings.HasPrefix(strings.ToLower(name), "aws."):
			c.report(key, at, "names that begin with aws. are predefined")
			continue
		case nameLength(name) != len(name) || name == "":
			c.report(key, at, "a name has letters, digits, - and _ only")
			continue
		case val.Kind != yaml.ScalarNode || val.Tag != "!!str":
			c.report(val, at, "a path is text, such as $.detail.id")
			continue
		}
		p, offset, err := parsePath(val.Value)
		if err != nil {
			c.reportIn(val, offset, at, err.Error())
		} else {
			c.lintBridgePath(val, at, p)
		}
		variables[name] = &variable{name: name, path: p}
	}
}

// nameLength is how much of s can be the name of a variable.
func nameLength(s string) int {
	for i := range len(s) {
		if ch := s[i]; ch != '_' && ch != '-' && (ch < '0' || ch > '9') && (ch < 'a' || ch > 'z') && (ch < 'A' || ch > 'Z') {
			return i
		}
	}
	return len(s)
}

// parseTemplate reads a template. An error comes with its offset.
func parseTemplate(s string, variables map[string]*variable) (t inputTemplate, offset int, err error) {
	switch strings.TrimSpace(s)[0] {
	case '{', '[', '<', '"':
	default:
		t.text = true
	}
	if strings.TrimSpace(s)[0] == '<' && !onlyPlaceholder(strings.TrimSpace(s)) {
		t.text = true
	}
	inString := false
	start := 0
	flush := func(end int) {
		if end > start {
			t.parts = append(t.parts, templatePart{literal: s[start:end]})
		}
	}
	for i := 0; i < len(s); {
		switch ch := s[i]; {
		case ch == '\\' && inString:
			i += 2
			continue
		case ch == '"' && !t.text:
			inString = !inString
		case ch == '<':
			name := placeholder(s[i:])
			if name == "" {
				break
			}
			v := variables[name]
			if v == nil && predefined(name) {
				v = &variable{name: name, predefined: true}
			}
			if v == nil {
				return t, i, fmt.Errorf("<%s> is neither in inputPathsMap nor predefined", name)
			}
			flush(i)
			t.parts = append(t.parts, templatePart{variable: v, quoted: inString})
			i += len(name) + 2
			start = i
			continue
		}
		i++
	}
	flush(len(s))
	if t.text {
		return t, 0, nil
	}
	return t.checked(s)
}

// placeholder is the name in a placeholder that s begins with, or "".
func placeholder(s string) string {
	end := strings.IndexByte(s, '>')
	if end < 2 {
		return ""
	}
	name := s[1:end]
	if nameLength(strings.ReplaceAll(name, ".", "_")) != len(name) {
		return ""
	}
	return name
}

func onlyPlaceholder(s string) bool {
	name := placeholder(s)
	return name != "" && len(name)+2 == len(s)
}

// checked makes sure that whatever the variables are, the result is JSON: it is
// with one value, and no value changes the structure. Lines of quoted text
// become one string.
func (t inputTemplate) checked(s string) (inputTemplate, int, error) {
	var sample []byte
	for _, p := range t.parts {
		switch {
		case p.variable == nil:
			sample = append(sample, p.literal...)
		case !p.quoted:
			sample = append(sample, "null"...)
		}
	}
	err := event.CheckJSON(sample)
	if err == nil {
		return t, 0, nil
	}
	if lines, ok := t.lines(sample); ok {
		return lines, 0, nil
	}
	// The place in the template, with the placeholders before it.
	var syntax *event.SyntaxError
	offset := 0
	if errors.As(err, &syntax) {
		offset = t.offset(syntax.Offset)
		err = errors.New(syntax.Reason)
	}
	if strings.TrimSpace(s)[0] == '"' {
		return t, offset, fmt.Errorf("the template is neither JSON nor lines of quoted text: %w", err)
	}
	return t, offset, fmt.Errorf("the template is not JSON: %w", err)
}

// offset is where a byte of the sample stands in the template.
func (t inputTemplate) offset(sample int) int {
	at := 0
	for _, p := range t.parts {
		in, out := len(p.literal), len(p.literal)
		if p.variable != nil {
			in, out = len(p.variable.name)+2, 0
			if !p.quoted {
				out = len("null")
			}
		}
		if sample < out {
			return at + min(sample, in-1)
		}
		sample -= out
		at += in
	}
	return at
}

// lines makes one string of lines that are each a quoted text.
func (t inputTemplate) lines(sample []byte) (inputTemplate, bool) {
	for line := range strings.Lines(strings.TrimSpace(string(sample))) {
		line = strings.TrimSpace(line)
		if len(line) < 2 || line[0] != '"' || event.CheckJSON([]byte(line)) != nil {
			return t, false
		}
	}
	// Take off the quotes at the ends of lines; what is between two lines is a
	// line break of the string.
	var out inputTemplate
	out.parts = append(out.parts, templatePart{literal: `"`})
	inString, first := false, true
	for _, p := range t.parts {
		if p.variable != nil {
			out.parts = append(out.parts, p)
			continue
		}
		var b strings.Builder
		for i := 0; i < len(p.literal); i++ {
			switch ch := p.literal[i]; {
			case ch == '\\' && inString:
				b.WriteString(p.literal[i : i+2])
				i++
			case ch == '"':
				if inString = !inString; inString && !first {
					b.WriteString(`\n`)
				}
				first = false
			case inString:
				b.WriteByte(ch)
			}
		}
		out.parts = append(out.parts, templatePart{literal: b.String()})
	}
	out.parts = append(out.parts, templatePart{literal: `"`})
	return out, true
}

func (t inputTemplate) appendJSON(dst []byte, r *run) ([]byte, error) {
	start := len(dst)
	for _, p := range t.parts {
		switch {
		case p.variable == nil:
			dst = append(dst, p.literal...)
		case t.text:
			dst = append(dst, plainText(p.variable.value(r))...)
		case p.quoted:
			quoted := rules.AppendString(nil, plainText(p.variable.value(r)))
			dst = append(dst, quoted[1:len(quoted)-1]...)
		default:
			if v := p.variable.value(r); v.Kind() != event.Missing {
				dst = append(dst, v.Raw()...)
			} else {
				dst = append(dst, `""`...)
			}
		}
		if len(dst) > r.limit {
			return dst, &ApplyError{Key: formInputTransformer, Err: rules.ErrTooLarge}
		}
	}
	if t.text {
		dst = append(dst[:start], rules.AppendString(nil, string(dst[start:]))...)
	}
	if err := event.CheckJSON(dst[start:]); err != nil {
		return dst, &ApplyError{Key: formInputTransformer, Err: fmt.Errorf("the result is not JSON: %w", err)}
	}
	return dst, nil
}

// plainText is a value as it stands in a text: a string without its quotes, an
// object or array without any.
func plainText(v event.Node) string {
	switch v.Kind() {
	case event.Missing:
		return ""
	case event.String:
		return v.Text()
	case event.Object, event.Array:
		return strings.ReplaceAll(string(v.Raw()), `"`, "")
	}
	return string(v.Raw())
}
