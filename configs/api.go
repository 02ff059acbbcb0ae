package configs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// ParseObject decodes and checks one object as it comes through the API, JSON
// or YAML: everything but whether the names in it exist, which Merge does.
// References to the environment and to files are refused. Pointers and places
// of the diagnostics are in data.
func (l *Loader) ParseObject(kind, name string, data []byte) (Object, Diagnostics) {
	return l.parseObject(kind, name, data, false)
}

// ReadObjects decodes and checks what a configuration file, or all *.yaml and
// *.yml files of a folder, have for the API: each object as ParseObject does it,
// with diagnostics that have their places in the files. What an object names need
// not be there. The objects are in an order in which each can be made: what
// others name comes first.
func (l *Loader) ReadObjects(path string) ([]Object, Diagnostics) {
	files, found := configurationFiles(path)
	if found.HasErrors() {
		return nil, found
	}
	m := l.merger()
	return m.sending(m.readFiles(files))
}

// ReadObjectsOf is ReadObjects for a file from memory, which name stands for in
// diagnostics.
func (l *Loader) ReadObjectsOf(name string, data []byte) ([]Object, Diagnostics) {
	return l.merger().sending([]source{{name, data}})
}

// sending is the objects of files, to be sent through the API.
func (m *merger) sending(files []source) ([]Object, Diagnostics) {
	m.sent = true
	for _, f := range files {
		m.objects(m.read(f.name, f.data))
	}
	m.diags.sort()
	out := make([]Object, 0, len(m.found))
	for _, o := range m.found {
		out = append(out, o.public())
	}
	made := []string{Buses, Targets, Sources, Rules}
	slices.SortFunc(out, func(a, b Object) int {
		return cmp.Or(slices.Index(made, a.Kind)-slices.Index(made, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out, m.diags
}

// ParseStored is ParseObject for what was checked by it when it was stored: it
// does not look for what filters cannot mean.
func (l *Loader) ParseStored(kind, name string, data []byte) (Object, Diagnostics) {
	return l.parseObject(kind, name, data, true)
}

func (l *Loader) parseObject(kind, name string, data []byte, unlinted bool) (Object, Diagnostics) {
	d := &document{loader: l, prefix: pathOf(kind, name), unlinted: unlinted}
	if !slices.Contains([]string{Buses, Sources, Rules, Targets}, kind) {
		d.addAt(0, 0, nil, fmt.Sprintf("%s is not a kind of object%s", quote(kind), DidYouMean(kind, []string{Buses, Sources, Rules, Targets}, "kinds")), false)
		return Object{Kind: kind, Name: name}, d.diags
	}
	if problem := checkName(name); problem != "" {
		d.addAt(0, 0, d.prefix, problem, false)
	}
	if !d.parse(data, true) {
		return Object{Kind: kind, Name: name}, d.diags
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Value: name, Line: d.root.Line, Column: d.root.Column}
	o := d.object(kind, key, d.root)
	d.diags.sort()
	return o.public(), d.diags
}

// Merge adds the objects that came through the API to a configuration from
// files, which it leaves as it is; nil stands for an empty one. The diagnostics
// are about the objects: what is wrong with them (unless ParseObject made them
// and has said so), names in them that do not exist, and names that a file has
// already. Without objects it is the configuration from files itself.
func (l *Loader) Merge(file *Config, objects []Object) (*Config, Diagnostics) {
	if file == nil {
		file = newConfig()
	}
	if len(objects) == 0 {
		return file, nil
	}
	all := make(map[objectKey]*object, file.objects.Len()+len(objects))
	maps.Insert(all, file.objects.All())
	var diags Diagnostics
	for _, o := range objects {
		if o.decoded == nil {
			var found Diagnostics
			o, found = l.ParseStored(o.Kind, o.Name, o.Raw)
			diags = append(diags, found...)
		}
		if o.decoded == nil {
			continue
		}
		key := objectKey{o.Kind, o.Name}
		if first := all[key]; first != nil {
			p := pathOf(o.Kind, o.Name)
			diags = append(diags, Diagnostic{
				Path: p.String(), path: p, above: len(p),
				Message: fmt.Sprintf("it is defined in %s, and one of that name was made through the API; delete that one, or take this one out of the file", first.origin()),
			})
			continue
		}
		all[key] = o.decoded
	}
	c, found := l.assemble(file, all)
	return c, append(diags, found...)
}

// assemble makes a configuration of objects, with the rest of another one, and
// checks those that came through the API.
func (l *Loader) assemble(rest *Config, objects map[objectKey]*object) (*Config, Diagnostics) {
	c := newConfig()
	c.Server, c.Network = rest.Server, rest.Network
	c.take(objects)
	check := l.checker(c, (*object).fromAPI)
	check.check()
	c.settle()
	return c, check.diags
}

// With is the configuration c with one object more that ParseObject made, in
// place of the one of its name if there is one, which must not be from a file.
// The diagnostics are those that Merge would have; with a rule they are about
// this rule and the targets that it names, and it takes no longer with many rules
// than with few.
func (l *Loader) With(c *Config, o Object) (*Config, Diagnostics) {
	key := objectKey{o.Kind, o.Name}
	if o.Kind != Rules {
		all := maps.Collect(c.objects.All())
		all[key] = o.decoded
		return l.assemble(c, all)
	}
	next := *c
	next.exchange(o.Name, o.decoded)
	check := l.checker(&next, (*object).fromAPI)
	check.rule(o.decoded)
	return &next, check.diags
}

// Without is the configuration c without one object that came through the API
// and that no other names.
func (l *Loader) Without(c *Config, kind, name string) (*Config, Diagnostics) {
	if kind != Rules {
		all := maps.Collect(c.objects.All())
		delete(all, objectKey{kind, name})
		return l.assemble(c, all)
	}
	next := *c
	next.exchange(name, nil)
	return &next, nil
}

// exchange puts the rule o in place of the one of this name; nil removes it.
func (c *Config) exchange(name string, o *object) {
	key := objectKey{Rules, name}
	scanning := func(r *Rule, by int) {
		if r != nil && r.scans() {
			c.scanning = maps.Clone(c.scanning)
			c.scanning[r.Bus] += by
		}
	}
	scanning(c.Rules.At(name), -1)
	if o == nil {
		c.Rules, c.objects, c.relays = c.Rules.Without(name), c.objects.Without(key), c.relays.Without(name)
		return
	}
	r := o.value.(*Rule)
	scanning(r, 1)
	c.Rules, c.objects = c.Rules.With(name, r), c.objects.With(key, o)
	if c.relay(r) {
		c.relays = c.relays.With(name, struct{}{})
	} else {
		c.relays = c.relays.Without(name)
	}
}

// API returns the objects that came through the API, in order of kind and name.
func (c *Config) API() []Object {
	var out []Object
	for _, o := range c.objects.All() {
		if o.fromAPI() {
			out = append(out, o.public())
		}
	}
	slices.SortFunc(out, func(a, b Object) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out
}

// List returns the named objects of one kind in order of name.
func (c *Config) List(kind string) []Object {
	var out []Object
	for key, o := range c.objects.All() {
		if key.kind == kind {
			out = append(out, o.public())
		}
	}
	slices.SortFunc(out, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Users are the rules, sources and targets that name an object, as
// "rules.NAME", in order; an object with users must not be deleted.
func (c *Config) Users(kind, name string) []string {
	if kind == Rules || kind == Sources {
		return nil // nothing names these
	}
	var out []string
	for _, o := range c.objects.All() {
		if slices.ContainsFunc(o.names, func(m mention) bool { return m.kind() == kind && m.name == name }) {
			out = append(out, pathOf(o.kind, o.name).String())
		}
	}
	slices.Sort(out)
	return out
}
