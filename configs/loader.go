package configs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/targets"
)

// Kinds are the kinds of sources and targets that a configuration can use.
type Kinds struct {
	Sources []sources.Spec
	Targets []targets.Spec
}

// Loader reads configurations. Kinds and Rules are required.
type Loader struct {
	Kinds Kinds
	// Rules compiles filters and the expressions of transforms.
	Rules *rules.Env
	// Env looks up environment variables; nil is os.LookupEnv.
	Env func(name string) (string, bool)
	// ReadFile reads configuration files and what ${file:PATH} names; nil is
	// os.ReadFile.
	ReadFile func(path string) ([]byte, error)
	// MostLinted bounds how many filters of one file are looked at for what they
	// cannot mean, which takes as long as to compile them; 0 is all.
	MostLinted int
	// Stored gives newest stored events of a bus, and says in words which they
	// are; filters are held against them. Nil, or no events, holds them against
	// nothing.
	Stored func(bus string) (events []*event.Event, which string)
	// Listen is the listen address of the command line, which wins over the
	// file's in warnings about addresses; "" leaves the file's.
	Listen string
	// Current is the configuration in force; rules that have the same filters in
	// it take its matchers over, with their counts, instead of compiling them
	// again. nil is none.
	Current *Config
	// Serving says that a server loads, which warns of what only time has made
	// wrong, such as a client certificate that has expired.
	Serving bool
	// Now is the time that certificates are held against; nil is time.Now.
	Now func() time.Time
	// Prepare is called by LoadPath and LoadBytes with the server's settings before
	// any filter is compiled, and may let Memory remember; nil does nothing. It is
	// called before the files are parsed, with what the settings most likely are,
	// and again when a file says that they are others.
	Prepare func(Server)
	// Memory has the rules that an earlier load found in the same files, and takes
	// up what this one finds; nil reads all of them anew. A rule out of it has no
	// Tests, and its Transform is compiled when it is first applied. It is not used
	// beside Current or Stored.
	Memory *Memory

	fields sync.Map // []field by reflect.Type
	shared names    // of buses and targets, in rules
}

func (l *Loader) lookupEnv(name string) (string, bool) {
	if l.Env != nil {
		return l.Env(name)
	}
	return os.LookupEnv(name)
}

func (l *Loader) now() time.Time {
	if l.Now != nil {
		return l.Now()
	}
	return time.Now()
}

func (l *Loader) readFile(path string) ([]byte, error) {
	if l.ReadFile != nil {
		return l.ReadFile(path)
	}
	return os.ReadFile(path)
}

// LoadPath reads a configuration file, or all *.yaml and *.yml files of a
// folder (not of the folders in it) as one configuration. The configuration
// must stand on its own: what it names has to be in it. It may only be used if
// the diagnostics have no errors.
func (l *Loader) LoadPath(path string) (*Config, Diagnostics) {
	files, found := configurationFiles(path)
	if found.HasErrors() {
		return newConfig(), found
	}
	m := l.merger()
	return m.load(m.readFiles(files))
}

// configurationFiles are the files that a path stands for.
func configurationFiles(path string) (files []string, found Diagnostics) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, failed(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, failed(path, err)
	}
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); !e.IsDir() && !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path, name))
		}
	}
	if len(files) == 0 {
		return nil, Diagnostics{{File: path, Message: "the folder has no files that end in .yaml or .yml"}}
	}
	return files, nil
}

// LoadBytes reads one configuration file from memory. Relative paths in it are
// relative to the folder of name; "" stands for "configuration".
func (l *Loader) LoadBytes(name string, data []byte) (*Config, Diagnostics) {
	if name == "" {
		name = "configuration"
	}
	return l.merger().load([]source{{name, data}})
}

// readFiles reads files as they are, and reports those that cannot be.
func (m *merger) readFiles(files []string) (all []source) {
	for _, f := range files {
		data, err := m.loader.readFile(f)
		if err != nil {
			m.diags = append(m.diags, failed(f, err)...)
			continue
		}
		all = append(all, source{f, data})
	}
	return all
}

// source is a file that was read.
type source struct {
	name string
	data []byte
}

// failed is the diagnostic for a file that cannot be read.
func failed(path string, err error) Diagnostics {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return Diagnostics{{File: path, Message: fmt.Sprintf("it cannot be read: %v", err)}}
}

func newConfig() *Config {
	return &Config{
		Server:  defaultServer(),
		Buses:   map[string]Bus{},
		Sources: map[string]Source{},
		Targets: map[string]Target{},
	}
}

// merger puts the objects of several documents together.
type merger struct {
	loader *Loader
	config *Config
	found  map[objectKey]*object
	diags  Diagnostics

	sent            bool   // the objects are to be sent through the API
	server, network Origin // where these sections were found
	prepared        Server // what Prepare was called with
}

func (l *Loader) merger() *merger {
	return &merger{loader: l, config: newConfig(), found: map[objectKey]*object{}}
}

// load puts files together.
func (m *merger) load(files []source) (*Config, Diagnostics) {
	if m.loader.remembers() {
		m.loader.Memory.last, m.loader.Memory.fresh = nil, false
	}
	if m.loader.Prepare != nil {
		m.prepared = m.loader.likelyServer(files)
		m.loader.Prepare(m.prepared)
	}
	for _, f := range files {
		d := m.read(f.name, f.data)
		if m.loader.Prepare != nil && m.config.Server != m.prepared {
			m.prepared = m.config.Server
			m.loader.Prepare(m.prepared)
		}
		m.objects(d) // now, so that the trees of no two files are there at once
	}
	return m.finish()
}

// likelyServer is what the server's settings are most likely, found without
// parsing files as a whole.
func (l *Loader) likelyServer(files []source) Server {
	m := l.merger()
	for _, f := range files {
		if section := serverSection(f.data); section != nil {
			m.read(f.name, append([]byte("version: 1\n"), section...))
		}
	}
	return m.config.Server
}

// serverSection is the lines from one that begins with "server:" up to the next
// that begins with a letter; nil if there is none.
func serverSection(text []byte) []byte {
	const key = "server:"
	if !bytes.HasPrefix(text, []byte(key)) {
		at := bytes.Index(text, []byte("\n"+key))
		if at < 0 {
			return nil
		}
		text = text[at+1:]
	}
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '\n')
		if next < 0 {
			return text
		}
		if at += next + 1; at < len(text) && text[at] >= 'a' && text[at] <= 'z' {
			return text[:at]
		}
	}
}

// sections of a file, in the order of the documentation.
type fileSettings struct {
	Version int                       `yaml:"version" doc:"The version of this format: 1." required:"true"`
	Server  Server                    `yaml:"server" doc:"How Switchyard itself runs; flags win over it."`
	Network Network                   `yaml:"network" doc:"Where targets may connect to."`
	Buses   map[string]Bus            `yaml:"buses" doc:"Named, durable logs of events."`
	Sources map[string]Source         `yaml:"sources" doc:"Where events come in from, beside the HTTP API."`
	Rules   map[string]ruleSettings   `yaml:"rules" doc:"Which events of a bus go to which targets, and what becomes of them on the way."`
	Targets map[string]targetSettings `yaml:"targets" doc:"Named destinations and how deliveries to them are made."`
}

// targetSettings is a Target; the name keeps the table of fileSettings plain.
type targetSettings = Target

// read takes up the settings of one file; objects takes up the rest.
func (m *merger) read(name string, data []byte) *document {
	d := &document{loader: m.loader, file: name, source: data, sent: m.sent}
	d.recalled = d.recall(data)
	if !d.parse(data, false) {
		d.root = nil
		return d
	}
	if d.root.Kind != yaml.MappingNode {
		d.report(d.root, nil, `it must begin with "version: 1", followed by sections such as buses: and rules:`)
		d.root = nil
		return d
	}
	if !d.checkVersion() {
		d.root = nil
		return d
	}
	known := []string{"version", "server", "network", Buses, Sources, Rules, Targets}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		key, value := d.root.Content[i], d.root.Content[i+1]
		if m.sent && (key.Value == "server" || key.Value == "network") {
			d.report(key, pathOf(key.Value), "the API cannot set it: it belongs into the server's own file; leave it out here")
			continue
		}
		switch key.Value {
		case "version", Buses, Sources, Rules, Targets:
		case "server":
			if m.once(d, key, &m.server) {
				d.decodeServer(value, &m.config.Server)
			}
		case "network":
			if m.once(d, key, &m.network) {
				d.decodeNetwork(value, &m.config.Network)
			}
		default:
			d.unknownKey(key, nil, known)
		}
	}
	return d
}

// objects takes up those of a file that was read.
func (m *merger) objects(d *document) {
	if d.root != nil {
		m.rules(d)
	}
	if d.root != nil {
		for i := 0; i+1 < len(d.root.Content); i += 2 {
			switch kind := d.root.Content[i].Value; kind {
			case Buses, Sources, Rules, Targets:
				for _, o := range d.objects(kind, d.root.Content[i+1]) {
					m.add(d, o)
				}
			}
		}
	}
	if r := d.recorder; r != nil && r.count > 0 && !d.diags.HasErrors() {
		m.loader.Memory.keep(r.key, r.document())
	}
	d.diags.sort()
	m.diags = append(m.diags, d.diags...)
}

// rules takes up those that are remembered of a document, or begins to write
// them down.
func (m *merger) rules(d *document) {
	if d.recalled == nil {
		d.recorder = d.record()
		return
	}
	all, ok := d.recalled.objects(d)
	if !ok { // which only a fault in the program that wrote it explains
		delete(m.loader.Memory.known, d.recalled.key)
		d.recalled = nil
		if !d.parse(d.source, false) {
			d.root = nil
			return
		}
		d.recorder = d.record()
		return
	}
	if len(m.found) == 0 {
		m.found = make(map[objectKey]*object, len(all)) // so that it does not grow, for there may be many
	}
	for _, o := range all {
		m.add(d, o)
	}
	m.loader.Memory.keep(d.recalled.key, d.recalled.whole)
}

// checkVersion reports false when the rest is not worth reading.
func (d *document) checkVersion() bool {
	key, value := child(d.root, "version")
	switch {
	case key == nil:
		d.addAt(1, 1, pathOf("version"), `it is missing; begin the file with "version: 1"`, false)
		return true
	case value.ShortTag() == "!!int" && value.Value != "1":
		d.reportf(value, pathOf("version"), "version %s is not one that this Switchyard reads; it reads version %d", value.Value, Version)
		return false
	case value.Value != "1" || value.ShortTag() != "!!int":
		d.wrongType(value, pathOf("version"), "the number 1")
	}
	return true
}

// once reports a section that stands in two files.
func (m *merger) once(d *document, key *yaml.Node, first *Origin) bool {
	if first.File != "" {
		d.reportf(key, pathOf(key.Value), "it is already set in %s; keep one of the two", *first)
		return false
	}
	*first = Origin{File: d.file, Line: key.Line}
	return true
}

// add takes an object in unless its name is taken.
func (m *merger) add(d *document, o *object) {
	key := objectKey{o.kind, o.name}
	if first := m.found[key]; first != nil {
		d.addAt(int(o.line), int(o.column), pathOf(o.kind, o.name), fmt.Sprintf("it is already defined in %s; a name is defined once", first.origin()), false)
		return
	}
	m.found[key] = o
}

// finish checks the objects against each other.
func (m *merger) finish() (*Config, Diagnostics) {
	m.config.take(m.found)
	c := m.loader.checker(m.config, func(*object) bool { return true })
	c.check()
	m.config.settle()
	m.diags = append(m.diags, c.diags...)
	m.diags.sort()
	return m.config, m.diags
}

// checker checks those of the objects of c.
func (l *Loader) checker(c *Config, of func(*object) bool) *checker {
	return &checker{config: c, listen: cmp.Or(l.Listen, c.Server.Listen), of: of}
}

// take makes decoded objects those of an empty configuration.
func (c *Config) take(objects map[objectKey]*object) {
	var both sync.WaitGroup
	both.Go(func() { c.objects = persistent.Of(objects) })
	rules := 0
	for _, o := range objects {
		switch v := o.value.(type) {
		case Bus:
			c.Buses[o.name] = v
		case Source:
			c.Sources[o.name] = v
		case *Rule:
			rules++
		case Target:
			c.Targets[o.name] = v
		}
	}
	c.Rules = persistent.From(rules, func(yield func(string, *Rule) bool) {
		for _, o := range objects {
			if r, ok := o.value.(*Rule); ok && !yield(o.name, r) {
				return
			}
		}
	})
	both.Wait()
}

// settle fills in the defaults that depend on another object.
func (c *Config) settle() {
	for name, s := range c.Sources {
		if s.Dedupe < 0 {
			s.Dedupe = c.Buses[s.Bus].Dedupe
			c.Sources[name] = s
		}
	}
}
