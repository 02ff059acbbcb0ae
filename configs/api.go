package configs

import (
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
// already.
func (l *Loader) Merge(file *Config, objects []Object) (*Config, Diagnostics) {
	c := newConfig()
	if file != nil {
		c.Server, c.Network = file.Server, file.Network
		maps.Copy(c.Buses, file.Buses)
		maps.Copy(c.Sources, file.Sources)
		maps.Copy(c.Rules, file.Rules)
		maps.Copy(c.Targets, file.Targets)
		maps.Copy(c.objects, file.objects)
	}
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
		if first := c.objects[objectKey{o.Kind, o.Name}]; first != nil {
			p := pathOf(o.Kind, o.Name)
			diags = append(diags, Diagnostic{
				Path: p.String(), path: p, above: len(p),
				Message: fmt.Sprintf("it is already defined (%s); remove one of the two", first.origin()),
			})
			continue
		}
		c.put(o.decoded)
	}
	listen := c.Server.Listen
	if l.Listen != "" {
		listen = l.Listen
	}
	check := checker{config: c, listen: listen, of: func(o *object) bool { return o.file == "" }}
	check.check()
	c.settle()
	return c, append(diags, check.diags...)
}

// List returns the named objects of one kind in order of name.
func (c *Config) List(kind string) []Object {
	var out []Object
	for key, o := range c.objects {
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
	var out []string
	for _, o := range c.objects {
		if slices.ContainsFunc(o.names, func(m mention) bool { return m.kind == kind && m.name == name }) {
			out = append(out, pathOf(o.kind, o.name).String())
		}
	}
	slices.Sort(out)
	return out
}
