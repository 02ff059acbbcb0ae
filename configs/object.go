package configs

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

type objectKey struct{ kind, name string }

// object is a named object after it was decoded: its value, and what is left
// of its text that later checks and the API need. It holds no nodes, so that a
// configuration of many rules stays small.
type object struct {
	kind, name string
	file       string
	spot
	bad       bool // errors were found in it
	value     any  // Bus, Source, *Rule or Target
	raw, view json.RawMessage
	names     []mention
	hosts     []host
}

// spot is a place in a document.
type spot struct{ line, column int32 }

func spotOf(n *yaml.Node) spot { return spot{int32(n.Line), int32(n.Column)} }

// mention is a name of another object, and where it stands.
type mention struct {
	name  string
	place *keyPath // nil in a rule: it is its bus, or its target at index
	spot
	index  int32
	bus    bool // of a bus, not of a target
	hidden bool // the name came from a reference
}

// kind is that of the object.
func (m mention) kind() string {
	if m.bus {
		return Buses
	}
	return Targets
}

// path is where a mention stands.
func (o *object) path(m mention) keyPath {
	switch {
	case m.place != nil:
		return *m.place
	case m.bus:
		return pathOf(o.kind, o.name, "bus")
	}
	return pathOf(o.kind, o.name, "targets").at(int(m.index))
}

// ruleObject is a rule in one piece of memory, with room for the names that most
// rules have: there may be 100,000 of them, and the garbage collector goes to each
// piece.
type ruleObject struct {
	object
	rule    Rule
	names   [2]mention
	targets [1]string
}

// host is an address that a target will connect to.
type host struct {
	address string
	path    keyPath
	spot
}

func (o *object) fromAPI() bool { return o.file == "" }

func (o *object) origin() Origin { return Origin{File: o.file, Line: int(o.line)} }

func (o *object) public() Object {
	return Object{Kind: o.kind, Name: o.name, Raw: o.raw, Origin: o.origin(), decoded: o}
}

// objects decodes a section.
func (d *document) objects(kind string, n *yaml.Node) []*object {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, pathOf(kind), "settings by name (name: …)")
		return nil
	}
	var out []*object
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if problem := checkName(key.Value); problem != "" {
			d.report(key, pathOf(kind, key.Value), problem)
		}
		before, linted := len(d.diags), d.linted
		o := d.object(kind, key, n.Content[i+1])
		out = append(out, o)
		if d.recorder != nil && d.recorder.rules[key] && !o.bad {
			d.recorder.remember(d, o, n.Content[i+1], d.diags[before:], d.linted-linted)
		}
	}
	return out
}

// checkName says what is wrong with the name of an object, "" if nothing is.
func checkName(name string) string {
	valid := len(name) >= 1 && len(name) <= 63 && strings.IndexByte("_.-", name[0]) < 0
	for i := range len(name) {
		c := name[i]
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	switch {
	case !valid:
		return quote(name) + " cannot be a name; use up to 63 of a-z, 0-9, _, . and -, beginning with a letter or a digit"
	case strings.HasPrefix(name, "system."):
		return `names that begin with "system." are reserved`
	}
	return ""
}

// object decodes one named object.
func (d *document) object(kind string, key, n *yaml.Node) *object {
	var o *object
	var rule *ruleObject
	if kind == Rules {
		rule = &ruleObject{}
		o = &rule.object
	} else {
		o = &object{}
	}
	o.kind, o.name, o.file, o.spot = kind, key.Value, d.file, spotOf(key)
	if d.file != "" {
		o.name = d.room.text(key.Value)
	}
	path := pathOf(kind, o.name)
	d.objectStart = len(d.diags)
	if !isNull(n) && n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "settings (key: value)")
		n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	}
	if isNull(n) {
		n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: key.Line, Column: key.Column}
	}
	n.Line, n.Column = key.Line, key.Column
	switch kind {
	case Buses:
		o.value = d.bus(o, n, path)
	case Sources:
		o.value = d.sourceObject(o, n, path)
	case Rules:
		o.value = d.rule(rule, n, path)
	case Targets:
		o.value = d.target(o, n, path)
	}
	o.bad = d.diags[d.objectStart:].HasErrors()
	o.raw = d.json(n, d.asWritten)
	o.view = o.raw
	if shown := d.redactor(o, n); shown != nil {
		o.view = d.json(n, shown)
	}
	return o
}

// asWritten is the text of a scalar before references were resolved.
func (d *document) asWritten(n *yaml.Node) string {
	if w, ok := d.written[n]; ok {
		return w
	}
	return n.Value
}

func (d *document) bus(o *object, n *yaml.Node, path keyPath) Bus {
	b := defaultBus()
	b.Origin = o.origin()
	d.decodeStruct(n, reflect.ValueOf(&b).Elem(), path, nil, nil)
	if b.Retention.Age <= 0 {
		d.reportBelow(n, path, "it must be more than 0, such as 7d", "retention", "age")
	}
	if b.Dedupe < 0 {
		d.reportBelow(n, path, "it cannot be negative; 0s stores repeats", "dedupe")
	}
	if b.MaxEventSize <= 0 {
		d.reportBelow(n, path, "it must be more than 0, such as 256KiB", "maxEventSize")
	}
	if b.ScanRules < 0 {
		d.reportBelow(n, path, "it cannot be negative; 0 allows no such rule", "scanRules")
	}
	d.archive(n, &b, path)
	if b.Limits.Depth < 0 {
		d.reportBelow(n, path, "it cannot be negative; leave it out for no limit", "limits", "depth")
	}
	if b.Limits.Age < 0 {
		d.reportBelow(n, path, "it cannot be negative; leave it out for no limit", "limits", "age")
	}
	return b
}

// reportBelow reports a problem of what stands under keys of n, or of the
// nearest thing above that is there. It keeps quiet when that could not even be
// decoded, which was reported.
func (d *document) reportBelow(n *yaml.Node, path keyPath, message string, keys ...string) {
	node, p := d.descend(n, path, keys)
	for _, x := range d.diags[d.objectStart:] {
		if !x.Warning && (x.path.equal(p) || x.path.equal(path)) {
			return
		}
	}
	d.report(node, p, message)
}

// descend goes down keys as far as there is something and returns the value
// there (its key if it is null) and the whole path.
func (d *document) descend(n *yaml.Node, path keyPath, keys []string) (*yaml.Node, keyPath) {
	at := n
	for _, k := range keys {
		if n != nil && n.Kind == yaml.SequenceNode {
			index, err := strconv.Atoi(k)
			path = path.at(index)
			if err != nil || index < 0 || index >= len(n.Content) {
				n = nil
				continue
			}
			n = n.Content[index]
			at = n
			continue
		}
		path = path.down(k)
		var key *yaml.Node
		key, n = child(n, k)
		switch {
		case key == nil:
		case isNull(n):
			at = key
		default:
			at = n
		}
	}
	return at, path
}

// mention notes a name of a bus for the checks.
func (d *document) mention(o *object, n *yaml.Node, path keyPath, bus string, keys ...string) {
	at, p := d.descend(n, path, keys)
	m := mention{name: bus, bus: true, spot: spotOf(at), hidden: len(d.taint(at)) > 0}
	if o.kind != Rules {
		m.place = &p
	}
	o.names = append(o.names, m)
}
