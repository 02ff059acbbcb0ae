package configs

import (
	"net/url"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

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
