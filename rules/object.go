package rules

import (
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// object is a JSON object as a CEL map, read from the text of the event.
type object struct {
	node  event.Node
	arena *arena
}

var (
	_ traits.Mapper   = (*object)(nil)
	_ traits.Foldable = (*object)(nil)
)

// FindStringKey is the lookup of a constant key.
func (o *object) FindStringKey(key string) (any, bool) {
	n, ok := o.arena.get(o.node, key)
	if !ok {
		return nil, false
	}
	return o.arena.value(n), true
}

func (o *object) Find(key ref.Val) (ref.Val, bool) {
	s, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	n, ok := o.arena.get(o.node, string(s))
	if !ok {
		return nil, false
	}
	return o.arena.value(n), true
}

func (o *object) Get(key ref.Val) ref.Val {
	if v, ok := o.Find(key); ok {
		return v
	}
	return types.ValOrErr(key, "no such key: %v", key)
}

func (o *object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

func (o *object) Size() ref.Val     { return types.Int(o.node.Len()) }
func (o *object) IsZeroValue() bool { return o.node.Len() == 0 }
func (o *object) Type() ref.Type    { return types.MapType }
func (o *object) Value() any        { return o }
func (o *object) String() string    { return string(o.node.Raw()) }

// Iterator goes over the keys. CEL often asks for the first only, so the rest is
// collected when the second is wanted.
func (o *object) Iterator() traits.Iterator {
	i, n := 0, o.node.Len()
	var keys []ref.Val
	return &iterator{
		more: func() bool { return i < n },
		next: func() ref.Val {
			i++
			if i == 1 {
				for k := range o.node.Entries() {
					return types.String(k)
				}
			}
			if keys == nil {
				keys = make([]ref.Val, 0, n)
				for k := range o.node.Entries() {
					keys = append(keys, types.String(k))
				}
			}
			return keys[i-1]
		},
	}
}

// Fold visits the members in the order of the text.
func (o *object) Fold(f traits.Folder) {
	k, ok := f.(interface{ FoldKeyOnly() bool })
	keyOnly := ok && k.FoldKeyOnly()
	for key, n := range o.node.Entries() {
		var v any
		if !keyOnly {
			v = o.arena.value(n)
		}
		if !f.FoldEntry(types.String(key), v) {
			return
		}
	}
}

func (o *object) Equal(other ref.Val) ref.Val {
	m, ok := other.(traits.Mapper)
	if !ok || o.Size() != m.Size() {
		return types.False
	}
	for key, n := range o.node.Entries() {
		v, found := m.Find(types.String(key))
		if !found || types.Equal(o.arena.value(n), v) == types.False {
			return types.False
		}
	}
	return types.True
}

func (o *object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("type conversion error from 'map' to '%s'", t.TypeName())
}

func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(o.node, t)
}

// shorten cuts a text that stands in an error message.
func shorten(s string) string {
	const most = 120
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// iterator goes over the elements of an array or the keys of an object.
type iterator struct {
	more func() bool
	next func() ref.Val
}

func (it *iterator) HasNext() ref.Val { return types.Bool(it.more()) }

func (it *iterator) Next() ref.Val {
	if !it.more() {
		return nil
	}
	return it.next()
}

func (it *iterator) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an iterator cannot be converted to %v", t)
}
func (it *iterator) ConvertToType(ref.Type) ref.Val { return types.NoSuchOverloadErr() }
func (it *iterator) Equal(ref.Val) ref.Val          { return types.NoSuchOverloadErr() }
func (it *iterator) Type() ref.Type                 { return types.IteratorType }
func (it *iterator) Value() any                     { return nil }
