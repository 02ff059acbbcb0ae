package configs

import (
	"errors"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// transformNode is the transform of a rule as it is written; package transform
// reads it.
type transformNode struct{ node *yaml.Node }

// rule decodes and compiles a rule.
func (d *document) rule(o *object, n *yaml.Node, path keyPath) Rule {
	var w ruleSettings
	d.decodeStruct(n, reflect.ValueOf(&w).Elem(), path, placeRule, nil, nil)
	r := Rule{Bus: w.Bus, Filter: rules.Filter{When: w.When}, Targets: w.Targets, Origin: o.origin(), secrets: d.taint(n)}
	if r.Bus == "" {
		d.reportBelow(n, path, "it is required: the bus whose events the rule looks at", "bus")
	} else {
		d.mention(o, n, path, Buses, r.Bus, "bus")
	}
	d.ruleTargets(o, n, path, r.Targets)
	d.compile(&r, n, path, w.Transform)
	for i, f := range w.Tests {
		if fixture, ok := d.fixture(f, path.down("tests").at(i)); ok {
			r.Tests = append(r.Tests, fixture)
		}
	}
	return r
}

func (d *document) ruleTargets(o *object, n *yaml.Node, path keyPath, names []string) {
	key, list := child(n, "targets")
	if key == nil || isNull(list) || list.Kind == yaml.SequenceNode && len(names) == 0 {
		d.reportBelow(n, path, "a rule needs at least one target", "targets")
		return
	}
	seen := map[string]bool{}
	for i, name := range names {
		p := path.down("targets").at(i)
		element := list.Content[i]
		switch {
		case name == "" && (isNull(element) || element.ShortTag() == "!!str"):
			d.report(element, p, "it must name a target")
		case name == "": // that was reported
		case seen[name]:
			d.reportf(element, p, "%s is listed twice; an event goes to a target of a rule once", quote(name))
		default:
			o.names = append(o.names, mention{Targets, name, len(d.taint(element)) > 0, p, element.Line, element.Column})
		}
		seen[name] = true
	}
}

// compile compiles the filter and the transform.
func (d *document) compile(r *Rule, n *yaml.Node, path keyPath, t *transformNode) {
	_, when := child(n, "when")
	if !isNull(when) && when.Kind == yaml.ScalarNode && strings.TrimSpace(when.Value) == "" {
		d.report(when, path.down("when"), "it is empty; take it out if every event is to match")
	}
	var err error
	r.Matcher, err = d.loader.Rules.Compile(r.Filter)
	d.compileErrors(when, path.down("when"), err)
	if t != nil {
		r.Transform, err = transform.Compile(d.loader.Rules, t.node)
		d.transformErrors(t.node, path.down("transform"), err)
	}
}

// compileErrors reports the errors of an expression at their places in it.
func (d *document) compileErrors(n *yaml.Node, path keyPath, err error) {
	for _, err := range all(err) {
		var ce *rules.CompileError
		switch {
		case errors.As(err, &ce) && n != nil:
			line, column := d.inside(n, ce.Line, ce.Column)
			message := ce.Message
			if ce.Hint != "" {
				message += "; " + ce.Hint
			}
			d.addAt(line, column, path, d.mask(n, message), false)
		default:
			d.report(n, path, err.Error())
		}
	}
}

// all is the errors that were joined to err.
func all(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, all(e)...)
		}
		return out
	}
	return []error{err}
}

// transformErrors reports the errors of a transform.
func (d *document) transformErrors(n *yaml.Node, path keyPath, err error) {
	for _, err := range all(err) {
		d.report(n, path, err.Error())
	}
}
