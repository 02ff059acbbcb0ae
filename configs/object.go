package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

type objectKey struct{ kind, name string }

// object is a named object after it was decoded: its value, and what is left
// of its text that later checks and the API need. It holds no nodes, so that a
// configuration of many rules stays small.
type object struct {
	kind, name   string
	file         string
	line, column int
	value        any // Bus, Source, Rule or Target
	raw, view    json.RawMessage
	names        []mention
	hosts        []host
	bad          bool // errors were found in it
}

// mention is a name of another object, and where it stands.
type mention struct {
	kind, name   string
	hidden       bool // the name came from a reference
	path         keyPath
	line, column int
}

// host is an address that a target will connect to.
type host struct {
	address      string
	path         keyPath
	line, column int
}

func (o *object) origin() Origin { return Origin{File: o.file, Line: o.line} }

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
		out = append(out, d.object(kind, key, n.Content[i+1]))
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
	o := &object{kind: kind, name: key.Value, file: d.file, line: key.Line, column: key.Column}
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
		o.value = d.rule(o, n, path)
	case Targets:
		o.value = d.target(o, n, path)
	}
	o.bad = d.diags[d.objectStart:].HasErrors()
	o.raw = d.appendJSON(nil, n, func(n *yaml.Node) string { return d.asWritten(n) })
	o.view = d.appendJSON(nil, n, d.redactor(o, n))
	return o
}

// asWritten is the text of a scalar before references were resolved.
func (d *document) asWritten(n *yaml.Node) string {
	if w, ok := d.written[n]; ok {
		return w
	}
	return n.Value
}

func (d *document) decodeServer(n *yaml.Node, s *Server) {
	d.decode(n, reflect.ValueOf(s).Elem(), pathOf("server"), placeOther)
	if _, listen := child(n, "listen"); listen != nil {
		if _, port, err := net.SplitHostPort(s.Listen); err != nil || !validPort(port) {
			d.reportf(listen, pathOf("server", "listen"), "%s is not an address to listen on; write host:port, such as 127.0.0.1:8080", quote(s.Listen))
		}
	}
	if _, data := child(n, "data"); !isNull(data) {
		if s.Data == "" {
			d.report(data, pathOf("server", "data"), "it must name a folder")
		} else if !filepath.IsAbs(s.Data) {
			s.Data = filepath.Join(d.folder(), s.Data)
		}
	}
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= 65535
}

func (d *document) decodeNetwork(n *yaml.Node, net *Network) {
	if n.Kind != yaml.MappingNode && !isNull(n) {
		d.wrongType(n, pathOf("network"), "settings (key: value)")
		return
	}
	// The standard library's errors about prefixes speak to programmers.
	if _, allow := child(n, "allow"); allow != nil && allow.Kind == yaml.SequenceNode {
		for i, c := range allow.Content {
			path := pathOf("network", "allow").at(i)
			prefix, err := netip.ParsePrefix(c.Value)
			switch {
			case err != nil:
				d.reportf(c, path, "%s is not a network; write one such as 10.1.0.0/16, or 10.1.2.3/32 for one address", quote(c.Value))
			case prefix != prefix.Masked():
				d.reportf(c, path, "%s has bits set after its prefix; did you mean %s?", quote(c.Value), quote(prefix.Masked().String()))
			default:
				net.Allow = append(net.Allow, prefix)
			}
		}
		rest := shallow(n)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != "allow" {
				rest.Content = append(rest.Content, n.Content[i], n.Content[i+1])
			}
		}
		n = rest
	}
	d.decode(n, reflect.ValueOf(net).Elem(), pathOf("network"), placeOther)
}

func (d *document) bus(o *object, n *yaml.Node, path keyPath) Bus {
	b := defaultBus()
	b.Origin = o.origin()
	d.decodeStruct(n, reflect.ValueOf(&b).Elem(), path, placeBus, nil, nil)
	if b.Retention.Age <= 0 {
		d.reportBelow(n, path, "it must be more than 0, such as 7d", "retention", "age")
	}
	if b.Dedupe < 0 {
		d.reportBelow(n, path, "it cannot be negative; 0s stores repeats", "dedupe")
	}
	if b.MaxEventSize <= 0 {
		d.reportBelow(n, path, "it must be more than 0, such as 256KiB", "maxEventSize")
	}
	return b
}

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
	d.decodeStruct(n, reflect.ValueOf(&s).Elem(), path, placeOther, kinds, part.isKind)
	part.decode(n, path)
	s.Fingerprint = part.fingerprint
	if _, v := child(n, "dedupe"); !isNull(v) && s.Dedupe < 0 {
		d.reportBelow(n, path, "it cannot be negative; 0s stores repeats", "dedupe")
	}
	if s.Bus == "" {
		d.reportBelow(n, path, "it is required: the bus that the events go to", "bus")
	} else {
		d.mention(o, n, path, Buses, s.Bus, "bus")
	}
	return s
}

func (d *document) target(o *object, n *yaml.Node, path keyPath) Target {
	t := defaultTarget()
	t.Origin = o.origin()
	kinds := make([]string, len(d.loader.Kinds.Targets))
	for i, spec := range d.loader.Kinds.Targets {
		kinds[i] = spec.Kind
	}
	part := componentPart{doc: d, object: o, kinds: kinds, what: "target", new: func(i int) component.Config {
		spec := d.loader.Kinds.Targets[i]
		t.Config, t.Kind = spec.New(), spec.Kind
		return t.Config
	}}
	part.find(n)
	d.decodeStruct(n, reflect.ValueOf(&t).Elem(), path, placeTarget, kinds, part.isKind)
	part.decode(n, path)
	t.Fingerprint = part.fingerprint
	d.checkPolicy(n, path, t)
	if t.DeadLetter.Bus != "" {
		d.mention(o, n, path, Buses, t.DeadLetter.Bus, "deadLetter", "bus")
	}
	if _, settings := child(n, t.Kind); settings != nil {
		if _, name := child(settings, "name"); t.Kind == "bus" && !isNull(name) {
			d.mention(o, n, path, Buses, name.Value, "bus", "name")
		}
		if _, u := child(settings, "url"); u != nil && u.Kind == yaml.ScalarNode {
			for one := range strings.SplitSeq(u.Value, ",") {
				if parsed, err := url.Parse(one); err == nil && parsed.Host != "" && len(d.taint(u)) == 0 {
					o.hosts = append(o.hosts, host{parsed.Hostname(), path.down(t.Kind).down("url"), u.Line, u.Column})
				}
			}
		}
	}
	return t
}

func (d *document) checkPolicy(n *yaml.Node, path keyPath, t Target) {
	for _, c := range [...]struct {
		bad     bool
		message string
		keys    []string
	}{
		{t.Retry.Attempts < 1, "it must be 1 or more; 1 means no retries", []string{"retry", "attempts"}},
		{t.Retry.Age <= 0, "it must be more than 0, such as 24h", []string{"retry", "age"}},
		{t.Retry.Initial <= 0, "it must be more than 0, such as 1s", []string{"retry", "initial"}},
		{t.Retry.Max < t.Retry.Initial, "it must not be less than initial", []string{"retry", "max"}},
		{t.Concurrency < 1, "it must be 1 or more", []string{"concurrency"}},
	} {
		if c.bad {
			d.reportBelow(n, path, c.message, c.keys...)
		}
	}
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

// mention notes a name of another object for the checks.
func (d *document) mention(o *object, n *yaml.Node, path keyPath, kind, name string, keys ...string) {
	at, p := d.descend(n, path, keys)
	o.names = append(o.names, mention{kind, name, len(d.taint(at)) > 0, p, at.Line, at.Column})
}

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
	place := placeOther
	if p.what == "target" && p.kind == "http" {
		place = placeHTTPTarget
	}
	before := len(d.diags)
	d.decode(settings, reflect.ValueOf(p.config), path, place)
	p.validate(settings, path, d.diags[before:])
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
	for _, x := range problems.All {
		at, where := p.doc.descend(settings, path, x.Path)
		if failed[where.String()] {
			continue
		}
		line, column := at.Line, at.Column
		if x.Line > 0 {
			line, column = p.doc.inside(at, x.Line, x.Column)
		}
		message := scrub(p.doc.mask(at, x.Message), p.doc.taint(settings))
		p.doc.addAt(line, column, where, message, x.Warning)
	}
}
