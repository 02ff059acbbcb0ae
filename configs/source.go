package configs

import (
	"reflect"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

func (d *document) sourceObject(o *object, n *yaml.Node, path keyPath) Source {
	s := Source{Origin: o.origin(), Dedupe: -1}
	kinds := make([]string, len(d.loader.Kinds.Sources))
	for i, spec := range d.loader.Kinds.Sources {
		kinds[i] = spec.Kind
	}
	part := componentPart{doc: d, object: o, kinds: kinds, what: "source", new: func(i int) component.Config {
		spec := d.loader.Kinds.Sources[i]
		s.Config, s.Kind = spec.New(), spec.Kind
		if spec.Dedupe > 0 && s.Dedupe < 0 {
			s.Dedupe = component.Duration(spec.Dedupe)
		}
		return s.Config
	}}
	// The kind's default goes below what is set, wherever in the text it is.
	part.find(n)
	d.decodeStruct(n, reflect.ValueOf(&s).Elem(), path, kinds, part.isKind)
	part.decode(n, path)
	s.Fingerprint = part.fingerprint
	if _, v := child(n, "dedupe"); !isNull(v) && s.Dedupe < 0 {
		d.reportBelow(n, path, "it cannot be negative; 0s stores repeats", "dedupe")
	}
	if s.Bus == "" {
		d.reportBelow(n, path, "it is required: the bus that the events go to", "bus")
	} else {
		d.mention(o, n, path, s.Bus, "bus")
	}
	return s
}
