package configs

import (
	"errors"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
)

// patternNode and filtersNode are filters as they are written in YAML; package
// rules reads them as JSON.
type (
	patternNode struct{ node *yaml.Node }
	filtersNode struct{ node *yaml.Node }
)

// dialects are the keys of a rule that a filter can stand under.
var dialects = [...]string{"when", "pattern", "filters", "sql"}

// filter compiles the filter of a rule, which has at most one. Of more than one,
// each is compiled all the same, so that all errors come at once.
func (d *document) filter(name string, r *Rule, n *yaml.Node, path keyPath, w *ruleSettings) *rules.Matcher {
	var matcher *rules.Matcher
	var first *yaml.Node
	for _, dialect := range d.dialectsOf(n) {
		key, value := child(n, dialect)
		p := path.down(dialect)
		if first != nil {
			d.reportf(key, p, "a rule has one filter, and %s in line %d, column %d is one already; keep one of the two, or make two rules",
				first.Value, first.Line, first.Column)
		} else {
			first = key
		}
		f := rules.Filter{}
		switch dialect {
		case "when":
			f.When = w.When
		case "pattern":
			f.Pattern = d.jsonText(w.Pattern.node)
		case "filters":
			f.Filters = d.jsonText(w.Filters.node)
		case "sql":
			f.SQL = w.SQL
		}
		if value.Kind == yaml.ScalarNode && strings.TrimSpace(value.Value) == "" {
			if value.ShortTag() != "!!str" {
				continue // what it is was reported
			}
			d.report(value, p, "it is empty; take it out if every event is to match")
			continue
		}
		m := d.loader.inForce(name, f, r)
		if m == nil {
			var err error
			m, err = d.loader.Rules.Compile(f)
			d.filterErrors(value, p, err)
			if err == nil {
				d.lint(r.Bus, value, p, f)
			}
		}
		if key == first {
			r.Filter, matcher = f, m
		}
	}
	if first == nil {
		var err error
		if matcher, err = d.loader.Rules.Compile(rules.Filter{}); err != nil {
			d.report(n, path, err.Error())
		}
	}
	return matcher
}

// inForce is the matcher of the rule of this name that is in force, if its
// filter is f. A rule with secrets is compiled anew, for what must not be shown
// of it may have changed.
func (l *Loader) inForce(name string, f rules.Filter, r *Rule) *rules.Matcher {
	if l.Current == nil {
		return nil
	}
	old, ok := l.Current.Rules.Get(name)
	if !ok || old.Filter != f || old.Bus != r.Bus || len(old.secrets)+len(r.secrets) > 0 {
		return nil
	}
	return old.Matcher
}

// dialectsOf are the filters that a rule has, in the order that they were
// written in.
func (d *document) dialectsOf(n *yaml.Node) []string {
	var out []string
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		for _, name := range dialects {
			if n.Content[i].Value == name && !isNull(n.Content[i+1]) {
				out = append(out, name)
			}
		}
	}
	return out
}

// jsonText is a value of the document as JSON.
func (d *document) jsonText(n *yaml.Node) string {
	if n == nil {
		return "" // it had the wrong type, which was reported
	}
	d.scratch = d.appendJSON(d.scratch[:0], n, nil)
	return string(d.scratch)
}

// filterErrors reports the errors of a filter at their places in it.
func (d *document) filterErrors(n *yaml.Node, path keyPath, err error) {
	for _, err := range all(err) {
		var ce *rules.CompileError
		if !errors.As(err, &ce) {
			d.report(n, path, err.Error())
			continue
		}
		message := ce.Message
		if ce.Hint != "" {
			message += "; " + ce.Hint
		}
		d.filterProblem(n, path, ce.Line, ce.Column, ce.Pointer, message, false)
	}
}

// lint warns of what the filter n of a rule of the bus cannot mean, and of what
// it asks for that no stored event has.
func (d *document) lint(bus string, n *yaml.Node, path keyPath, f rules.Filter) {
	if d.linted++; d.unlinted || d.loader.MostLinted > 0 && d.linted > d.loader.MostLinted {
		return
	}
	warnings := d.loader.Rules.Lint(f)
	if d.loader.Stored != nil {
		events, which := d.loader.Stored(bus)
		warnings = append(warnings, d.loader.Rules.Unseen(f, events, which)...)
	}
	if len(warnings) > 0 && len(d.taint(n)) > 0 {
		d.add(n, path, "a part of it cannot be meant; what is not shown, for there is a reference in the filter", true)
		return
	}
	for _, w := range warnings {
		message := w.Message
		if w.Hint != "" {
			message += "; " + w.Hint
		}
		d.filterProblem(n, path, w.Line, w.Column, w.Pointer, message, true)
	}
}

// filterProblem reports a problem of the filter n. Expressions have lines and
// columns, the other dialects pointers.
func (d *document) filterProblem(n *yaml.Node, path keyPath, line, column int, pointer, message string, warning bool) {
	message = d.mask(n, message)
	at, p := follow(n, path, pointer)
	if at.Kind == yaml.ScalarNode && at == n {
		line, column = d.inside(n, line, column)
	} else {
		line, column = at.Line, at.Column
	}
	d.addAt(line, column, p, message, warning)
}

// follow goes down a JSON pointer (RFC 6901) as far as there is something.
func follow(n *yaml.Node, path keyPath, pointer string) (*yaml.Node, keyPath) {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	rest, more := strings.CutPrefix(pointer, "/")
	for more {
		var token string
		token, rest, more = strings.Cut(rest, "/")
		token = unescape.Replace(token)
		switch n.Kind {
		case yaml.MappingNode:
			_, value := child(n, token)
			if value == nil {
				return n, path
			}
			n, path = value, path.down(token)
		case yaml.SequenceNode:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(n.Content) {
				return n, path
			}
			n, path = n.Content[i], path.at(i)
		default:
			return n, path
		}
	}
	return n, path
}
