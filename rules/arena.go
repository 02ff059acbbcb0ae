package rules

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// arena makes CEL values of JSON nodes without an allocation for each, and
// keeps indexes of large containers so that no expression can make lookups in
// them quadratic. It is not safe for concurrent use.
type arena struct {
	objects []object
	arrays  []array
	scanned int // members that lookups went over one by one
	members map[event.Node]map[string]event.Node
	places  map[event.Node][]event.Node
	texts   map[event.Node]ref.Val // long strings, which may take long to decode
}

const (
	slab = 64
	// scanLimit is how many members lookups go over before indexes are built.
	scanLimit = 64 << 10
	longText  = 4 << 10
)

func (a *arena) reset() {
	clear(a.objects[:cap(a.objects)])
	clear(a.arrays[:cap(a.arrays)])
	a.objects, a.arrays = a.objects[:0], a.arrays[:0]
	a.scanned, a.members, a.places, a.texts = 0, nil, nil, nil
}

// value is the CEL value of a node.
func (a *arena) value(n event.Node) ref.Val {
	switch n.Kind() {
	case event.Null:
		return types.NullValue
	case event.False:
		return types.False
	case event.True:
		return types.True
	case event.Number:
		return types.Double(n.Float())
	case event.String:
		return a.text(n)
	case event.Object:
		if len(a.objects) < slab {
			if a.objects == nil {
				a.objects = make([]object, 0, slab)
			}
			a.objects = append(a.objects, object{n, a})
			return &a.objects[len(a.objects)-1]
		}
		return &object{n, a}
	case event.Array:
		if len(a.arrays) < slab {
			if a.arrays == nil {
				a.arrays = make([]array, 0, slab)
			}
			a.arrays = append(a.arrays, array{n, a})
			return &a.arrays[len(a.arrays)-1]
		}
		return &array{n, a}
	}
	return nil
}

func (a *arena) text(n event.Node) ref.Val {
	if len(n.Raw()) < longText {
		return types.String(n.Text())
	}
	v, ok := a.texts[n]
	if !ok {
		v = types.String(n.Text())
		if a.texts == nil {
			a.texts = make(map[event.Node]ref.Val)
		}
		a.texts[n] = v
	}
	return v
}

// get is the member of an object.
func (a *arena) get(n event.Node, key string) (event.Node, bool) {
	if a.scanned < scanLimit || n.Len() < slab {
		a.scanned += n.Len()
		return n.Get(key)
	}
	m, ok := a.members[n]
	if !ok {
		m = make(map[string]event.Node, n.Len())
		for k, v := range n.Entries() {
			m[k] = v
		}
		if a.members == nil {
			a.members = make(map[event.Node]map[string]event.Node)
		}
		a.members[n] = m
	}
	v, ok := m[key]
	return v, ok
}

// index is the element of an array.
func (a *arena) index(n event.Node, i int) (event.Node, bool) {
	if i < slab || a.scanned < scanLimit {
		a.scanned += max(i, 0)
		return n.Index(i)
	}
	p, ok := a.places[n]
	if !ok {
		p = make([]event.Node, 0, n.Len())
		for v := range n.Elements() {
			p = append(p, v)
		}
		if a.places == nil {
			a.places = make(map[event.Node][]event.Node)
		}
		a.places[n] = p
	}
	if i < 0 || i >= len(p) {
		return event.Node{}, false
	}
	return p[i], true
}

// rewind gives the values back that one expression made; data, which the view
// keeps, stays when it was the first.
func (a *arena) rewind() {
	a.objects, a.arrays = a.objects[:min(1, len(a.objects))], a.arrays[:min(1, len(a.arrays))]
	a.scanned = 0
}
