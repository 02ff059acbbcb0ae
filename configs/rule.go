package configs

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// transformNode is the transform of a rule as it is written; package transform
// reads it.
type transformNode struct{ node *yaml.Node }

// rule decodes and compiles a rule.
func (d *document) rule(whole *ruleObject, n *yaml.Node, path keyPath) *Rule {
	w := ruleSettings{Retry: defaultRetry()}
	d.decodeStruct(n, reflect.ValueOf(&w).Elem(), path, nil, nil)
	o, r := &whole.object, &whole.rule
	o.names, r.Targets = whole.names[:0], whole.targets[:0]
	r.Bus, r.Origin, r.secrets = d.loader.shared.of(w.Bus), o.origin(), d.taint(n)
	for _, name := range w.Targets {
		r.Targets = append(r.Targets, d.loader.shared.of(name))
	}
	if r.Bus == "" {
		d.reportBelow(n, path, "it is required: the bus whose events the rule looks at", "bus")
	} else {
		d.mention(o, n, path, r.Bus, "bus")
	}
	d.ruleTargets(o, n, path, r.Targets)
	if _, retry := child(n, "retry"); !isNull(retry) {
		d.checkRetry(n, path, &w.Retry)
		retry := w.Retry // without the rest of what was written
		r.Retry = &retry
	}
	d.enrich(o, r, n, path, w.Enrich)
	d.compile(o.name, r, n, path, &w)
	d.unread(r, n, path)
	_, tests := child(n, "tests")
	for i, f := range w.Tests {
		at := path.down("tests").at(i)
		if fixture, ok := d.fixture(f, tests.Content[i], at); ok {
			fixture.Enriched = d.fixtureEnriched(r, tests.Content[i], at)
			r.Tests = append(r.Tests, fixture)
		}
	}
	if hide := r.Hide(); hide != nil && r.Matcher != nil {
		r.Matcher.Redact(hide)
	}
	if hide := r.Hide(); hide != nil && r.Transform != nil {
		r.Transform.Redact(hide)
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
			o.names = append(o.names, mention{name: name, spot: spotOf(element), index: int32(i), hidden: len(d.taint(element)) > 0})
		}
		seen[name] = true
	}
}

// compile compiles the filter and the transform.
func (d *document) compile(name string, r *Rule, n *yaml.Node, path keyPath, w *ruleSettings) {
	r.Matcher = d.filter(name, r, n, path, w)
	if w.Transform != nil {
		var err error
		r.Transform, err = transform.CompileWith(d.loader.Rules, w.Transform.node,
			transform.Options{Enriched: slices.Sorted(maps.Keys(w.Enrich))})
		d.transformErrors(w.Transform.node, path.down("transform"), err)
		if err == nil {
			d.lintTransform(name, r, w.Transform.node, path.down("transform"))
		}
	}
}

// transformErrors reports the errors of a transform at their places in it.
func (d *document) transformErrors(n *yaml.Node, path keyPath, err error) {
	for _, err := range all(err) {
		var te *transform.Error
		if !errors.As(err, &te) {
			d.report(n, path, err.Error())
			continue
		}
		d.transformProblem(n, path, te, false)
	}
}

// transformProblem reports a problem of the transform n.
func (d *document) transformProblem(n *yaml.Node, path keyPath, te *transform.Error, warning bool) {
	at, p := walk(n, path, te.Key)
	line, column := te.Line, te.Column
	switch _, changed := d.written[at]; {
	case changed || line == 0:
		line, column = at.Line, at.Column
	case te.TextLine > 0:
		line, column = d.inside(at, te.TextLine, te.TextColumn)
	}
	d.addAt(line, column, p, d.mask(at, te.Message), warning)
}

// lintTransform warns of what a transform cannot mean, and of what it reads and
// no stored event has.
func (d *document) lintTransform(name string, r *Rule, n *yaml.Node, path keyPath) {
	if d.unlinted || d.loader.MostLinted > 0 && d.linted > d.loader.MostLinted || d.loader.hasTransform(name, r, d.appendJSON(nil, n, d.asWritten)) {
		return
	}
	env := d.loader.Rules
	warnings := transform.Lint(env, n, func(source string) []rules.Warning {
		found := env.LintExpr(source)
		if d.loader.Stored != nil {
			events, which := d.loader.Stored(r.Bus)
			found = append(found, env.UnseenExpr(source, r.Filter, events, which)...)
		}
		return found
	})
	for _, w := range warnings {
		d.transformProblem(n, path, w, true)
	}
}

// hasTransform reports whether the rule of this name is in force with the same
// filter and the same transform, which were looked at before.
func (l *Loader) hasTransform(name string, r *Rule, text []byte) bool {
	if l.inForce(name, r.Filter, r) == nil {
		return false
	}
	o := l.Current.objects.At(objectKey{Rules, name})
	return o != nil && bytes.Contains(o.raw, append([]byte(`"transform":`), text...))
}

// TransformPointer is the JSON pointer (RFC 6901) to what the key of a
// transform.Error stands for within the block n.
func TransformPointer(n *yaml.Node, key string) string {
	_, p := walk(n, nil, key)
	return Diagnostic{path: p}.Pointer()
}

// walk follows a path such as data.items[0].id as far as there is something.
func walk(n *yaml.Node, path keyPath, text string) (*yaml.Node, keyPath) {
	for text != "" {
		if n.Kind == yaml.SequenceNode {
			digits, rest, _ := strings.Cut(strings.TrimPrefix(text, "["), "]")
			i, err := strconv.Atoi(digits)
			if err != nil || i < 0 || i >= len(n.Content) {
				return n, path
			}
			n, path, text = n.Content[i], path.at(i), strings.TrimPrefix(rest, ".")
			continue
		}
		key, value := longestKey(n, text)
		if key == nil {
			return n, path
		}
		path, text = path.down(key.Value), strings.TrimPrefix(text[len(key.Value):], ".")
		n = value
	}
	return n, path
}

// longestKey is the longest key of a mapping that text begins with; keys may
// have dots in them.
func longestKey(n *yaml.Node, text string) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		rest, ok := strings.CutPrefix(text, k.Value)
		if ok && k.Value != "" && (rest == "" || rest[0] == '.' || rest[0] == '[') && (key == nil || len(k.Value) > len(key.Value)) {
			key, value = k, n.Content[i+1]
		}
	}
	return key, value
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
