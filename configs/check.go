package configs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"code.dny.dev/ssrf"

	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/rules"
)

// checker checks the objects of a configuration against each other.
type checker struct {
	config *Config
	listen string
	of     func(*object) bool  // which objects to check
	byKind map[string][]string // names
	diags  Diagnostics
}

func (c *checker) check() {
	// Most rules need no more than that what they name is there.
	var objects []*object
	for _, o := range c.config.objects.All() {
		if c.of(o) && (o.kind != Rules || len(o.hosts) > 0 || slices.ContainsFunc(o.names, c.missing)) {
			objects = append(objects, o)
		}
	}
	slices.SortFunc(objects, func(a, b *object) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	})
	used := map[string]bool{}
	relays := map[string]struct{}{}
	c.config.scanning = map[string]int{}
	for name, r := range c.config.Rules.All() {
		for _, t := range r.Targets {
			used[t] = true
		}
		if c.config.relay(r) {
			relays[name] = struct{}{}
		}
		if r.scans() {
			c.config.scanning[r.Bus]++
		}
	}
	c.config.relays = persistent.Of(relays)
	guardian := c.config.Network.Guardian(c.listen)
	for _, o := range objects {
		c.names(o)
		c.hosts(o, guardian)
		// One that came through the API may be made before its rule.
		if o.kind == Targets && o.file != "" && !o.bad && !used[o.name] {
			c.add(o, o.spot, pathOf(o.kind, o.name), "no rule uses this target", true)
		}
	}
	c.loops()
	for bus := range c.config.scanning {
		c.scans(bus)
	}
}

// rule checks one rule, in a configuration where the rest was checked.
func (c *checker) rule(o *object) {
	c.names(o)
	guardian := c.config.Network.Guardian(c.listen)
	r := c.config.Rules.At(o.name)
	for _, name := range r.Targets {
		if t := c.config.objects.At(objectKey{Targets, name}); t != nil && c.of(t) {
			c.hosts(t, guardian)
		}
	}
	if _, ok := c.config.relays.Get(o.name); ok {
		c.loops()
	}
	c.scans(r.Bus)
}

// names checks that what an object names is there.
func (c *checker) names(o *object) {
	for _, m := range o.names {
		c.mention(o, m)
	}
}

// hosts warns of the addresses of an object that targets may not reach.
func (c *checker) hosts(o *object, guardian *ssrf.Guardian) {
	for _, h := range o.hosts {
		address := h.address
		if address == "localhost" {
			address = "127.0.0.1"
		}
		ip, err := netip.ParseAddr(address)
		if err == nil && guardian.SafeAddr(ip.Unmap().WithZone("")) != nil {
			c.add(o, h.spot, h.path, forbiddenAddress(h.address, ip), true)
		}
	}
}

func forbiddenAddress(shown string, ip netip.Addr) string {
	if ip.IsLoopback() {
		return fmt.Sprintf("%s is this machine itself, which targets may not reach while the server listens to other machines; deliveries will fail unless network.allow has it", shown)
	}
	bits := ip.Unmap().BitLen()
	return fmt.Sprintf("targets may not reach %s, which is not a public address; deliveries will fail unless network.allow has it, such as %s/%d", shown, ip.Unmap().WithZone(""), bits)
}

func (c *checker) add(o *object, at spot, path keyPath, message string, warning bool) {
	above := 0
	if o.file == "" {
		above = 2
	}
	c.diags = append(c.diags, Diagnostic{
		File: o.file, Line: int(at.line), Column: int(at.column), Path: path.String(), Message: message, Warning: warning,
		path: path, above: above,
	})
}

// missing reports whether there is no object that has the name.
func (c *checker) missing(m mention) bool {
	return c.config.objects.At(objectKey{m.kind(), m.name}) == nil
}

// mention checks that a name which an object mentions is there.
func (c *checker) mention(o *object, m mention) {
	if !c.missing(m) {
		return
	}
	if m.bus && m.name == SystemBus {
		if o.kind != Rules {
			c.add(o, m.spot, o.path(m), quote(SystemBus)+" can be read by rules; only Switchyard itself publishes to it", false)
		}
		return
	}
	what := strings.TrimSuffix(m.kind(), "s")
	if m.bus {
		what = "bus"
	}
	if m.hidden {
		c.add(o, m.spot, o.path(m), "there is no "+what+" with the name that the reference gives", false)
		return
	}
	hint := DidYouMean(m.name, c.known(m.kind()), m.kind())
	c.add(o, m.spot, o.path(m), fmt.Sprintf("there is no %s %s%s", what, quote(m.name), hint), false)
}

// known are the names of a kind, collected when they are first needed.
func (c *checker) known(kind string) []string {
	if c.byKind == nil {
		c.byKind = map[string][]string{}
		for key := range c.config.objects.All() {
			c.byKind[key.kind] = append(c.byKind[key.kind], key.name)
		}
		for _, names := range c.byKind {
			slices.Sort(names)
		}
	}
	return c.byKind[kind]
}

// loops warns of rules without a filter that send every event in a circle.
// With a filter on the way, the circle may be meant, and may end.
func (c *checker) loops() {
	next := map[string][]string{} // from each bus, by its rules without filter
	var names []string
	for name := range c.config.relays.All() {
		names = append(names, name)
		r := c.config.Rules.At(name)
		for _, t := range r.Targets {
			if to := c.config.busOf(t); to != "" {
				next[r.Bus] = append(next[r.Bus], to)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		r := c.config.Rules.At(name)
		o := c.config.objects.At(objectKey{Rules, name})
		if !c.of(o) {
			continue
		}
		for i, t := range r.Targets {
			to := c.config.busOf(t)
			if to == "" {
				continue
			}
			if way := path(next, to, r.Bus); way != nil {
				circle := strings.Join(append([]string{r.Bus}, way...), " → ")
				c.add(o, o.spot, pathOf(Rules, name, "targets").at(i),
					"every event goes in a circle: "+circle+"; it is stopped after some rounds, as a dead letter; give a rule on the way a filter", true)
			}
		}
	}
}

// scans reports the rules beyond what a bus allows that are evaluated on each of
// its events by one: the first in order of name, those of files before those of
// the API.
func (c *checker) scans(bus string) {
	b, ok := c.config.Buses[bus]
	if !ok || c.config.scanning[bus] <= b.ScanRules {
		return
	}
	var objects []*object
	for name, r := range c.config.Rules.All() {
		if r.Bus == bus && r.scans() {
			objects = append(objects, c.config.objects.At(objectKey{Rules, name}))
		}
	}
	slices.SortFunc(objects, func(a, b *object) int {
		return cmp.Or(-cmp.Compare(min(len(a.file), 1), min(len(b.file), 1)), strings.Compare(a.name, b.name))
	})
	// A change through the API is refused even if what is in files is enough.
	beyond := objects[b.ScanRules:]
	i := slices.IndexFunc(beyond, c.of)
	if i < 0 {
		return
	}
	o := beyond[i]
	c.add(o, o.spot, pathOf(Rules, o.name, filterKey(c.config.Rules.At(o.name).Filter)), fmt.Sprintf("rule %s is evaluated on every event of bus %s, "+
		"which has %d such rules, and at most %d are allowed; let it compare an attribute or a value in the data with a literal, "+
		"joined to the rest by &&, such as event.type == \"…\" && …, so that an index finds it; or raise scanRules of the bus",
		quote(o.name), quote(bus), len(objects), b.ScanRules), false)
}

// scans reports whether the rule is evaluated on every event of its bus.
func (r *Rule) scans() bool {
	if r.Matcher == nil || r.Filter == (rules.Filter{}) { // without a filter there is nothing to evaluate
		return false
	}
	return r.Matcher.IndexClass() == rules.Scan
}

// relay reports whether the rule sends all events of its bus to another.
func (c *Config) relay(r *Rule) bool {
	return r.Filter == (rules.Filter{}) && slices.ContainsFunc(r.Targets, func(t string) bool { return c.busOf(t) != "" })
}

// filterKey is the key that a filter stands under.
func filterKey(f rules.Filter) string {
	for i, source := range [...]string{f.When, f.Pattern, f.Filters, f.SQL} {
		if source != "" {
			return dialects[i]
		}
	}
	return ""
}

// busOf is the bus that a target publishes to, "" if it is of another kind.
func (c *Config) busOf(target string) string {
	o := c.objects.At(objectKey{Targets, target})
	if o == nil {
		return ""
	}
	for _, m := range o.names {
		if m.bus && o.path(m)[2].key == "bus" {
			return m.name
		}
	}
	return ""
}

// path is a shortest way from one bus to another, both included, nil if there
// is none.
func path(next map[string][]string, from, to string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			var way []string
			for at != "" {
				way = append(way, at)
				at = before[at]
			}
			slices.Reverse(way)
			return way
		}
		for _, n := range next[at] {
			if _, seen := before[n]; !seen {
				before[n] = at
				queue = append(queue, n)
			}
		}
	}
	return nil
}
