package configs

import (
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
	// Prepare is called by LoadPath and LoadBytes once the server's settings are
	// known, before any filter is compiled; nil does nothing.
	Prepare func(Server)

	fields sync.Map // []field by reflect.Type
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
	info, err := os.Stat(path)
	if err != nil {
		return newConfig(), failed(path, err)
	}
	if !info.IsDir() {
		return l.load([]string{path})
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return newConfig(), failed(path, err)
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); !e.IsDir() && !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path, name))
		}
	}
	if len(files) == 0 {
		return newConfig(), Diagnostics{{File: path, Message: "the folder has no files that end in .yaml or .yml"}}
	}
	return l.load(files)
}

// LoadBytes reads one configuration file from memory. Relative paths in it are
// relative to the folder of name; "" stands for "configuration".
func (l *Loader) LoadBytes(name string, data []byte) (*Config, Diagnostics) {
	if name == "" {
		name = "configuration"
	}
	m := merger{loader: l, config: newConfig(), found: map[objectKey]*object{}}
	m.read(name, data)
	return m.finish()
}

func (l *Loader) load(files []string) (*Config, Diagnostics) {
	m := merger{loader: l, config: newConfig(), found: map[objectKey]*object{}}
	for _, f := range files {
		data, err := l.readFile(f)
		if err != nil {
			m.diags = append(m.diags, failed(f, err)...)
			continue
		}
		m.read(f, data)
	}
	return m.finish()
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
	docs   []*document
	found  map[objectKey]*object
	diags  Diagnostics

	server, network Origin // where these sections were found
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

// read takes up one file: its settings at once, its objects at the end.
func (m *merger) read(name string, data []byte) {
	d := &document{loader: m.loader, file: name}
	m.docs = append(m.docs, d)
	if !d.parse(data, false) {
		d.root = nil
		return
	}
	if d.root.Kind != yaml.MappingNode {
		d.report(d.root, nil, `it must begin with "version: 1", followed by sections such as buses: and rules:`)
		d.root = nil
		return
	}
	if !d.checkVersion() {
		d.root = nil
		return
	}
	known := []string{"version", "server", "network", Buses, Sources, Rules, Targets}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		key, value := d.root.Content[i], d.root.Content[i+1]
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
}

// objects takes up those of a file that was read.
func (m *merger) objects(d *document) {
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
	d.diags.sort()
	m.diags = append(m.diags, d.diags...)
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
		d.addAt(o.line, o.column, pathOf(o.kind, o.name), fmt.Sprintf("it is already defined in %s; a name is defined once", first.origin()), false)
		return
	}
	m.found[key] = o
}

// finish takes up the objects and checks them against each other.
func (m *merger) finish() (*Config, Diagnostics) {
	if m.loader.Prepare != nil {
		m.loader.Prepare(m.config.Server)
	}
	for _, d := range m.docs {
		m.objects(d)
	}
	m.docs = nil
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
	c.objects = persistent.Of(objects)
	all := map[string]Rule{}
	for _, o := range objects {
		switch v := o.value.(type) {
		case Bus:
			c.Buses[o.name] = v
		case Source:
			c.Sources[o.name] = v
		case Rule:
			all[o.name] = v
		case Target:
			c.Targets[o.name] = v
		}
	}
	c.Rules = persistent.Of(all)
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
