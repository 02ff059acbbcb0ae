package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// componentPart decodes the settings of a source's or target's kind.
type componentPart struct {
	doc    *document
	object *object
	kinds  []string
	what   string
	new    func(i int) component.Config

	config      component.Config
	kind        string
	unknown     bool // a key was not known, which may be meant as the kind
	fingerprint string
}

// find looks which kind it is and makes its settings with their defaults.
func (p *componentPart) find(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if at := slices.Index(p.kinds, n.Content[i].Value); at >= 0 {
			p.kind = p.kinds[at]
			p.config = p.new(at)
			return
		}
	}
}

// isKind is an extraKey.
func (p *componentPart) isKind(key, _ *yaml.Node) bool {
	if !slices.Contains(p.kinds, key.Value) {
		p.unknown = true
		return false
	}
	if key.Value != p.kind {
		p.doc.reportf(key, pathOf(p.object.kind, p.object.name, key.Value), "a %s has one kind, and %s is given already", p.what, quote(p.kind))
	}
	return true
}

// decode decodes and validates the settings.
func (p *componentPart) decode(n *yaml.Node, path keyPath) {
	d := p.doc
	if p.config == nil {
		if !p.unknown {
			d.reportBelow(n, path, "it needs a kind: one of "+strings.Join(p.kinds, ", "))
		}
		return
	}
	_, settings := child(n, p.kind)
	path = path.down(p.kind)
	before := len(d.diags)
	d.decode(settings, reflect.ValueOf(p.config), path)
	p.validate(settings, path, d.diags[before:])
	if checker, ok := p.config.(component.FileChecker); ok && !d.api() && !d.diags[before:].HasErrors() {
		var problems component.Problems
		checker.CheckFiles(&problems, d.loader.readFile, d.loader.now())
		p.report(settings, path, problems.All, nil)
	}
	sum := sha256.Sum256(d.appendJSON([]byte(p.kind+" "), settings, nil))
	p.fingerprint = hex.EncodeToString(sum[:])
}

// validate reports the component's own problems, but not those of a field that
// could not even be decoded.
func (p *componentPart) validate(settings *yaml.Node, path keyPath, decoding Diagnostics) {
	var problems component.Problems
	p.config.Validate(&problems)
	failed := map[string]bool{}
	for _, x := range decoding {
		failed[x.Path] = true
	}
	p.report(settings, path, problems.All, failed)
}

// report reports problems, but not those of fields that have failed.
func (p *componentPart) report(settings *yaml.Node, path keyPath, problems []component.Problem, failed map[string]bool) {
	for _, x := range problems {
		at, where := p.doc.descend(settings, path, x.Path)
		if failed[where.String()] {
			continue
		}
		line, column := at.Line, at.Column
		if x.Line > 0 {
			line, column = p.doc.inside(at, x.Line, x.Column)
		}
		message := scrub(p.doc.mask(at, x.Message), p.doc.taint(settings))
		p.doc.addAt(line, column, where, message, x.Warning || x.Dated && p.doc.loader.Serving)
	}
}
