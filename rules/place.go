package rules

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"weak"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// place is where a condition looks: an attribute of the event, its data, or a
// value within the data. Equal places of one Env are one.
type place struct {
	id     int32
	reach  reach
	attr   string // "data" for the data and what is in it
	keys   []string
	parent *place // the place without its last key; nil for an attribute
}

// reach is how a dialect gets from an event to a place.
type reach uint8

const (
	// reachValue takes attributes with their types, and finds keys in objects
	// only, as CEL does.
	reachValue reach = iota
	// reachText takes attributes as text, in their canonical form. It is for
	// attributes that are not text anyway; others have one place for both.
	reachText
	// reachAll is for patterns, within the data: it goes through arrays to each of
	// their elements, and a key with dots is a path. There can be several values.
	reachAll
)

// scalar is a null, a bool, a number or a text.
type scalar struct {
	kind valueKind
	num  float64
	text string
}

// String writes the place as in CEL.
func (p *place) String() string {
	var b strings.Builder
	b.WriteString("event")
	for i, name := range append([]string{p.attr}, p.keys...) {
		if i == 0 && attributeName(name) || i > 0 && identifier(name) {
			b.WriteString("." + name)
		} else {
			b.WriteString("[" + strconv.Quote(name) + "]")
		}
	}
	return b.String()
}

func identifier(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// last is the name of what may be missing at the place.
func (p *place) last() string {
	if len(p.keys) == 0 {
		return p.attr
	}
	return p.keys[len(p.keys)-1]
}

// places makes equal places one, and the steps of patterns to the same places,
// as long as some filter has them: filters come and go.
type places struct {
	mu    sync.Mutex
	last  int32
	known map[string]weak.Pointer[place]
	steps map[string]weakSteps // to places with reachAll, by the ids of those
}

func newPlaces() *places {
	return &places{known: map[string]weak.Pointer[place]{}, steps: map[string]weakSteps{}}
}

// of is the place of an attribute, or of keys within data.
func (ps *places) of(r reach, attr string, keys []string) *place {
	if r == reachText && alwaysText(attr) {
		r = reachValue
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.get(r, attr, keys)
}

// alwaysText reports whether an attribute's value is text without a type.
func alwaysText(attr string) bool {
	switch attr {
	case "specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema":
		return true
	}
	return false
}

func (ps *places) get(r reach, attr string, keys []string) *place {
	name := make([]byte, 0, 64)
	name = append(append(name, '0'+byte(r)), attr...)
	for _, k := range keys { // a length before each, for keys may hold any character
		name = append(append(strconv.AppendInt(append(name, '.'), int64(len(k)), 10), ':'), k...)
	}
	if p := ps.known[string(name)].Value(); p != nil {
		return p
	}
	p := &place{id: ps.last, reach: r, attr: strings.Clone(attr)}
	ps.last++
	if len(keys) > 0 {
		p.keys = make([]string, len(keys))
		for i, k := range keys {
			p.keys[i] = strings.Clone(k)
		}
	}
	key := string(name)
	ps.known[key] = weak.Make(p)
	runtime.AddCleanup(p, ps.forget, key)
	if len(keys) > 0 { // after p, so that ids of what was asked for come first
		p.parent = ps.get(r, attr, keys[:len(keys)-1])
	}
	return p
}

// forget drops a place that nobody has any more, unless it came back.
func (ps *places) forget(key string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.known[key].Value() == nil {
		delete(ps.known, key)
	}
}

// valueKind is the type of a value as conditions tell types apart: numbers of
// all kinds are one.
type valueKind uint8

const (
	missingValue valueKind = iota
	nullValue
	boolValue
	numberValue
	textValue
	otherValue // a timestamp or bytes
	listValue
	mapValue
)

// value is what stands at a place of an event.
type value struct {
	kind valueKind
	num  float64 // of a number; 1 for true
	text string
	node event.Node // of a list, a map or a number of the data
}

func nodeValue(n event.Node) value {
	switch n.Kind() {
	case event.Null:
		return value{kind: nullValue}
	case event.False:
		return value{kind: boolValue}
	case event.True:
		return value{kind: boolValue, num: 1}
	case event.Number:
		return value{kind: numberValue, num: n.Float(), node: n}
	case event.String:
		return value{kind: textValue, text: n.Text()}
	case event.Array:
		return value{kind: listValue, node: n}
	case event.Object:
		return value{kind: mapValue, node: n}
	}
	return value{}
}

func attributeValue(ev *event.Event, p *place) value {
	a, ok := ev.Attribute(p.attr)
	if !ok {
		return value{}
	}
	if p.reach == reachText {
		return value{kind: textValue, text: a.Text()}
	}
	switch a.Kind() {
	case event.KindInteger:
		return value{kind: numberValue, num: float64(a.Integer())}
	case event.KindBoolean:
		v := value{kind: boolValue}
		if a.Boolean() {
			v.num = 1
		}
		return v
	case event.KindTimestamp:
		return value{kind: otherValue}
	}
	return value{kind: textValue, text: a.Text()}
}

// resolve looks at the place in the view's event.
func (p *place) resolve(v *view) value {
	if p.attr != "data" {
		return attributeValue(v.ev, p)
	}
	x := v.dataValue()
	for _, k := range p.keys {
		if x.kind != mapValue {
			return value{}
		}
		n, ok := x.node.Get(k)
		if !ok {
			return value{}
		}
		x = nodeValue(n)
	}
	return x
}
