package configs

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-dev/switchyard/rules"
)

// checker checks the objects of a configuration against each other.
type checker struct {
	config *Config
	listen string
	of     func(*object) bool // which objects to check
	names  map[string][]string
	diags  Diagnostics
}

func (c *checker) check() {
	objects := slices.SortedFunc(maps.Values(c.config.objects), func(a, b *object) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	})
	used := map[string]bool{}
	for _, r := range c.config.Rules {
		for _, t := range r.Targets {
			used[t] = true
		}
	}
	guardian := c.config.Network.Guardian(c.listen)
	for _, o := range objects {
		if !c.of(o) {
			continue
		}
		for _, m := range o.names {
			c.mention(o, m)
		}
		for _, h := range o.hosts {
			address := h.address
			if address == "localhost" {
				address = "127.0.0.1"
			}
			ip, err := netip.ParseAddr(address)
			if err == nil && guardian.SafeAddr(ip.Unmap().WithZone("")) != nil {
				c.add(o, h.line, h.column, h.path, forbiddenAddress(h.address, ip), true)
			}
		}
		// One that came through the API may be made before its rule.
		if o.kind == Targets && o.file != "" && !o.bad && !used[o.name] {
			c.add(o, o.line, o.column, pathOf(o.kind, o.name), "no rule uses this target", true)
		}
	}
	c.loops()
	c.scans()
}

func forbiddenAddress(shown string, ip netip.Addr) string {
	if ip.IsLoopback() {
		return fmt.Sprintf("%s is this machine itself, which targets may not reach while the server listens to other machines; deliveries will fail unless network.allow has it", shown)
	}
	bits := ip.Unmap().BitLen()
	return fmt.Sprintf("targets may not reach %s, which is not a public address; deliveries will fail unless network.allow has it, such as %s/%d", shown, ip.Unmap().WithZone(""), bits)
}

func (c *checker) add(o *object, line, column int, path keyPath, message string, warning bool) {
	above := 0
	if o.file == "" {
		above = 2
	}
	c.diags = append(c.diags, Diagnostic{
		File: o.file, Line: line, Column: column, Path: path.String(), Message: message, Warning: warning,
		path: path, above: above,
	})
}

// mention checks that a name which an object mentions is there.
func (c *checker) mention(o *object, m mention) {
	if c.config.objects[objectKey{m.kind, m.name}] != nil {
		return
	}
	if m.kind == Buses && m.name == SystemBus {
		if o.kind != Rules {
			c.add(o, m.line, m.column, m.path, quote(SystemBus)+" can be read by rules; only Switchyard itself publishes to it", false)
		}
		return
	}
	what := strings.TrimSuffix(m.kind, "s")
	if m.kind == Buses {
		what = "bus"
	}
	if m.hidden {
		c.add(o, m.line, m.column, m.path, "there is no "+what+" with the name that the reference gives", false)
		return
	}
	hint := DidYouMean(m.name, c.known(m.kind), m.kind)
	c.add(o, m.line, m.column, m.path, fmt.Sprintf("there is no %s %s%s", what, quote(m.name), hint), false)
}

// known are the names of a kind, collected when they are first needed.
func (c *checker) known(kind string) []string {
	if c.names == nil {
		c.names = map[string][]string{}
		for key := range c.config.objects {
			c.names[key.kind] = append(c.names[key.kind], key.name)
		}
		for _, names := range c.names {
			slices.Sort(names)
		}
	}
	return c.names[kind]
}

// loops warns of rules without a filter that send every event in a circle.
// With a filter on the way, the circle may be meant, and may end.
func (c *checker) loops() {
	next := map[string][]string{} // from each bus, by its rules without filter
	for _, r := range c.config.Rules {
		if r.Filter != (rules.Filter{}) {
			continue
		}
		for _, t := range r.Targets {
			if to := c.busOf(t); to != "" {
				next[r.Bus] = append(next[r.Bus], to)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.config.Rules)) {
		r := c.config.Rules[name]
		o := c.config.objects[objectKey{Rules, name}]
		if o == nil || !c.of(o) || r.Filter != (rules.Filter{}) {
			continue
		}
		for i, t := range r.Targets {
			to := c.busOf(t)
			if to == "" {
				continue
			}
			if way := path(next, to, r.Bus); way != nil {
				circle := strings.Join(append([]string{r.Bus}, way...), " → ")
				c.add(o, o.line, o.column, pathOf(Rules, name, "targets").at(i),
					"every event goes in a circle: "+circle+"; it is stopped after some rounds, as a dead letter; give a rule on the way a filter", true)
			}
		}
	}
}

// scans reports the rules beyond what a bus allows that are evaluated on each of
// its events, one for each bus: the first in order of name, those of files before
// those of the API.
func (c *checker) scans() {
	scanning := map[string][]*object{}
	for name, r := range c.config.Rules {
		o := c.config.objects[objectKey{Rules, name}]
		if o == nil || r.Matcher == nil || r.Filter == (rules.Filter{}) { // without a filter there is nothing to evaluate
			continue
		}
		if class, _ := r.Matcher.Class(); class == rules.Scan {
			scanning[r.Bus] = append(scanning[r.Bus], o)
		}
	}
	for bus, objects := range scanning {
		b, ok := c.config.Buses[bus]
		if !ok || len(objects) <= b.ScanRules {
			continue
		}
		slices.SortFunc(objects, func(a, b *object) int {
			return cmp.Or(-cmp.Compare(min(len(a.file), 1), min(len(b.file), 1)), strings.Compare(a.name, b.name))
		})
		// A change through the API is refused even if what is in files is enough.
		beyond := objects[b.ScanRules:]
		i := slices.IndexFunc(beyond, c.of)
		if i < 0 {
			continue
		}
		o := beyond[i]
		c.add(o, o.line, o.column, pathOf(Rules, o.name, filterKey(c.config.Rules[o.name].Filter)), fmt.Sprintf("rule %s is evaluated on every event of bus %s, "+
			"which has %d such rules, and at most %d are allowed; let it compare an attribute or a value in the data with a literal, "+
			"joined to the rest by &&, such as event.type == \"…\" && …, so that an index finds it; or raise scanRules of the bus",
			quote(o.name), quote(bus), len(objects), b.ScanRules), false)
	}
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
func (c *checker) busOf(target string) string {
	o := c.config.objects[objectKey{Targets, target}]
	if o == nil {
		return ""
	}
	for _, m := range o.names {
		if m.kind == Buses && m.path[2].key == "bus" {
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
