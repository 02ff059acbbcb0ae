package configs

import (
	"net/url"
	"reflect"
	"strconv"
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
	d.checkSchedule(n, path, &t.Retry)
	if _, given := child(n, "concurrency"); t.Kind == "pull" && isNull(given) {
		t.Concurrency = 0 // the engine's default for leases
	}
	if t.ReplyTo != "" {
		if t.Kind != "" && t.Kind != "http" {
			d.reportBelow(n, path, "a "+t.Kind+" target gets no replies; only http targets can have replyTo", "replyTo")
		}
		d.mention(o, n, path, Buses, t.ReplyTo, "replyTo")
	}
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

// checkSchedule checks delays and preset, and lifts the limit on the age that
// is there by default where a list says how long a delivery is tried.
func (d *document) checkSchedule(n *yaml.Node, path keyPath, r *Retry) {
	_, retry := child(n, "retry")
	given := func(key string) bool {
		_, value := child(retry, key)
		return !isNull(value)
	}
	list := ""
	for _, key := range [...]string{"delays", "preset"} {
		switch {
		case !given(key):
		case list == "":
			list = key
		default:
			d.reportBelow(n, path, "retry has delays already; keep one of delays and "+key, "retry", key)
		}
	}
	if list == "" {
		return
	}
	for _, key := range [...]string{"initial", "max"} {
		if given(key) {
			d.reportBelow(n, path, key+" is for exponential back-off and excludes "+list+"; keep one of the two", "retry", key)
		}
	}
	if list == "delays" && len(r.Delays) == 0 {
		d.reportBelow(n, path, "it is empty; give the pauses between attempts, or attempts: 1 for no retries", "retry", "delays")
	}
	for i, delay := range r.Delays {
		if delay < 0 {
			d.reportBelow(n, path, "it cannot be negative", "retry", "delays", strconv.Itoa(i))
		}
	}
	if !given("age") {
		r.Age = 0
	}
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
