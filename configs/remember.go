package configs

import (
	"bytes"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/packed"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// A remembered document is the lines of its rules; how many rules and names in
// them there are and the rules, each as remember writes it; and their JSON.

// recorder writes the rules of a document down while they are decoded.
type recorder struct {
	key   documentKey
	rules map[*yaml.Node]bool // by their keys
	taken []lines
	count int
	names int
	body  []byte
	raws  []byte // of the objects, one after the other
}

// remembers reports whether what is found depends on the text of a file alone.
func (l *Loader) remembers() bool { return l.Memory != nil && l.Current == nil && l.Stored == nil }

// record begins to write down what can be remembered of a document that was
// parsed; nil when that is not wanted.
func (d *document) record() *recorder {
	l := d.loader
	if !l.remembers() {
		return nil
	}
	r := &recorder{key: d.key(d.source)}
	r.rules, r.taken = d.apart()
	return r
}

// remember writes a rule down that was decoded from n. found is what was found of
// it, all warnings, and linted how many of its filters were looked at.
func (r *recorder) remember(d *document, o *object, n *yaml.Node, found Diagnostics, linted int) {
	rule := o.value.(*Rule)
	r.count++
	r.names += len(o.names)
	b := packed.AppendText(r.body, o.name)
	b = packed.AppendNumber(packed.AppendNumber(b, int(o.line)), int(o.column))
	r.raws = append(r.raws, o.raw...)
	b = packed.AppendNumber(b, len(o.raw))
	b = packed.AppendNumber(b, len(o.names))
	for _, m := range o.names { // the bus, then the targets in their order
		b = packed.AppendNumber(packed.AppendNumber(packed.AppendText(b, m.name), int(m.line)), int(m.column))
	}
	b = appendFilter(b, rule.Filter)
	at, length := 0, 0
	if _, block := child(n, "transform"); rule.Transform != nil {
		text := d.json(block, d.asWritten)
		at, length = bytes.Index(o.raw, text), len(text)
	}
	b = packed.AppendNumber(packed.AppendNumber(b, at), length)
	retry := 0
	if rule.Retry != nil {
		retry = 1
	}
	b = packed.AppendNumber(packed.AppendNumber(b, retry), linted)
	b = packed.AppendNumber(b, len(found))
	for _, w := range found {
		b = packed.AppendNumber(packed.AppendNumber(packed.AppendText(b, w.Message), w.Line), w.Column)
		b = packed.AppendNumber(b, len(w.path))
		for _, s := range w.path {
			b = packed.AppendText(b, s.key)
			element := 0
			if s.element {
				element = 1 + s.index
			}
			b = packed.AppendNumber(b, element)
		}
	}
	r.body = b
}

// document is all that was written.
func (r *recorder) document() string {
	taken := packed.AppendNumber(nil, len(r.taken))
	for _, t := range r.taken {
		taken = packed.AppendNumber(packed.AppendNumber(packed.AppendNumber(taken, t.start), t.end), t.breaks)
	}
	counts := packed.AppendNumber(packed.AppendNumber(nil, r.count), r.names)
	head := packed.AppendNumber(packed.AppendText(nil, taken), len(counts)+len(r.body))
	var out strings.Builder
	out.Grow(len(head) + len(counts) + len(r.body) + len(r.raws))
	for _, part := range [][]byte{head, counts, r.body, r.raws} {
		out.Write(part)
	}
	return out.String()
}

// appendFilter writes the one dialect that a filter has, and its source.
func appendFilter(dst []byte, f rules.Filter) []byte {
	for i, source := range [...]string{f.When, f.Pattern, f.Filters, f.SQL} {
		if source != "" {
			return packed.AppendText(packed.AppendNumber(dst, 1+i), source)
		}
	}
	return packed.AppendNumber(dst, 0)
}

// memoryReader reads what was written.
type memoryReader struct{ packed.Reader }

func (r *memoryReader) filter() (f rules.Filter) {
	switch dialect := r.Number(); dialect {
	case 0:
	case 1:
		f.When = r.Text()
	case 2:
		f.Pattern = r.Text()
	case 3:
		f.Filters = r.Text()
	case 4:
		f.SQL = r.Text()
	default:
		r.Bad = true
	}
	return f
}

// recalled is a document of which rules are remembered.
type recalled struct {
	key   documentKey
	whole string
	taken []lines
	rules memoryReader
	raws  []byte // the JSON of the rules
}

// recall finds what is remembered of the document with this text, nil if that is
// nothing.
func (d *document) recall(text []byte) *recalled {
	if !d.loader.remembers() || len(d.loader.Memory.known) == 0 {
		return nil
	}
	c := &recalled{key: d.key(text)}
	whole, ok := d.loader.Memory.known[c.key]
	if !ok {
		return nil
	}
	c.whole = whole
	parts := packed.Reader{Rest: whole}
	r := packed.Reader{Rest: parts.Text()}
	c.rules.Rest = parts.Text()
	c.raws = unsafe.Slice(unsafe.StringData(parts.Rest), len(parts.Rest)) // which nobody changes
	c.taken = make([]lines, r.Count())
	at := 0
	for i := range c.taken {
		t := lines{r.Number(), r.Number(), r.Number()}
		c.rules.Bad = c.rules.Bad || r.Bad || t.start < at || t.end < t.start || t.end > len(text) || t.breaks > t.end-t.start
		c.taken[i], at = t, t.end
	}
	if c.rules.Bad || parts.Bad || r.Bad {
		return nil
	}
	return c
}

// objects are the remembered rules, with their warnings noted; ok is false when
// they are not what remember wrote.
func (c *recalled) objects(d *document) (all []*object, ok bool) {
	r, raws := c.rules, c.raws
	objects := make([]object, r.Count())
	values := make([]Rule, len(objects))
	names := make([]mention, 0, r.Count())
	targets := make([]string, 0, cap(names))
	found := len(d.diags)
	for i := range objects {
		o := &objects[i]
		o.kind, o.file = Rules, d.file
		o.name, o.spot = r.Text(), spot{int32(r.Number()), int32(r.Number())}
		length := r.Number()
		if length > len(raws) {
			r.Bad = true
		}
		from, first := len(names), len(targets)
		for k := range min(r.Count(), cap(names)-len(names)) {
			m := mention{name: r.Text(), bus: k == 0, index: int32(k - 1), spot: spot{int32(r.Number()), int32(r.Number())}}
			if k > 0 {
				targets = append(targets, m.name)
			}
			names = append(names, m)
		}
		o.names = names[from:len(names):len(names)]
		if !r.Bad {
			o.raw, raws = raws[:length:length], raws[length:]
			o.view = o.raw
			values[i].Targets = targets[first:len(targets):len(targets)]
			r.rule(d, o, &values[i])
		}
		if r.Bad {
			d.diags = d.diags[:found]
			return nil, false
		}
		all = append(all, o)
	}
	if r.Rest != "" || !d.compileAll(objects, values) {
		d.diags = d.diags[:found]
		return nil, false
	}
	return all, true
}

// compileAll compiles the filters of rules that were remembered, on all
// processors, and gives each its value; false says that one does not compile
// after all.
func (d *document) compileAll(objects []object, values []Rule) bool {
	var workers sync.WaitGroup
	var failed atomic.Bool
	share := len(objects)/runtime.GOMAXPROCS(0) + 1
	for from := 0; from < len(objects); from += share {
		workers.Go(func() {
			for i := from; i < min(from+share, len(objects)); i++ {
				var err error
				if values[i].Matcher, err = d.loader.Rules.Compile(values[i].Filter); err != nil {
					failed.Store(true)
					return
				}
				objects[i].value = &values[i]
			}
		})
	}
	workers.Wait()
	return !failed.Load()
}

// rule reads the value of a rule, and its warnings.
func (r *memoryReader) rule(d *document, o *object, rule *Rule) {
	rule.Origin, rule.Filter = o.origin(), r.filter()
	at, length, retry := r.Number(), r.Number(), r.Number()
	d.linted += r.Number()
	for range r.Count() {
		w := Diagnostic{File: d.file, Warning: true, Message: r.Text(), Line: r.Number(), Column: r.Number()}
		for range r.Count() {
			s := step{key: r.Text()}
			if element := r.Number(); element > 0 {
				s.element, s.index = true, element-1
			}
			w.path = append(w.path, s)
		}
		w.Path = w.path.String()
		d.diags = append(d.diags, w)
	}
	if r.Bad || len(o.names) == 0 || at+length > len(o.raw) {
		r.Bad = true
		return
	}
	rule.Bus = o.names[0].name
	if length > 0 {
		rule.Transform = transform.Later(d.loader.Rules, func() *yaml.Node { return fromJSON(o.raw[at : at+length]) })
	}
	if retry > 0 {
		n := fromJSON(o.raw)
		_, settings := child(n, "retry")
		read := defaultRetry()
		d.decode(settings, reflect.ValueOf(&read).Elem(), nil)
		d.checkRetry(n, nil, &read)
		rule.Retry = &read
	}
}

// fromJSON reads JSON that this package wrote; nil if it is not.
func fromJSON(text []byte) *yaml.Node {
	n, err := parseJSON(text)
	if err != nil {
		return nil
	}
	return n
}
