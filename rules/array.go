package rules

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// array is a JSON array as a CEL list, read from the text of the event.
type array struct {
	node  event.Node
	arena *arena
}

var (
	_ traits.Lister   = (*array)(nil)
	_ traits.Foldable = (*array)(nil)
)

// GetInt64Index is the lookup of a constant place.
func (l *array) GetInt64Index(i int64) (any, bool) {
	if i < 0 || i >= int64(l.node.Len()) {
		return nil, false
	}
	n, _ := l.arena.index(l.node, int(i))
	return l.arena.value(n), true
}

func (l *array) Get(index ref.Val) ref.Val {
	i, err := types.GetOrError(index)
	if err != nil {
		return types.ValOrErr(index, "%v", err)
	}
	n, ok := l.arena.index(l.node, i)
	if !ok {
		return types.NewErr("index '%d' out of range in list size '%d'", i, l.node.Len())
	}
	return l.arena.value(n)
}

func (l *array) Add(other ref.Val) ref.Val {
	if _, ok := other.(traits.Lister); !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return l.list().Add(other)
}

// list is the same list made of values.
func (l *array) list() traits.Lister {
	return types.NewRefValList(types.DefaultTypeAdapter, l.values())
}

func (l *array) values() []ref.Val {
	values := make([]ref.Val, 0, l.node.Len())
	for n := range l.node.Elements() {
		values = append(values, l.arena.value(n))
	}
	return values
}

func (l *array) Contains(elem ref.Val) ref.Val {
	for n := range l.node.Elements() {
		if elem.Equal(l.arena.value(n)) == types.True {
			return types.True
		}
	}
	return types.False
}

func (l *array) Size() ref.Val     { return types.Int(l.node.Len()) }
func (l *array) IsZeroValue() bool { return l.node.Len() == 0 }
func (l *array) Type() ref.Type    { return types.ListType }
func (l *array) Value() any        { return l }
func (l *array) String() string    { return string(l.node.Raw()) }

// Iterator looks the elements up one by one, for CEL often asks for the first
// only.
func (l *array) Iterator() traits.Iterator {
	i, n := 0, l.node.Len()
	return &iterator{
		more: func() bool { return i < n },
		next: func() ref.Val { i++; return l.Get(types.Int(i - 1)) },
	}
}

// Fold visits the elements in order.
func (l *array) Fold(f traits.Folder) {
	i := 0
	for n := range l.node.Elements() {
		if !f.FoldEntry(types.Int(i), l.arena.value(n)) {
			return
		}
		i++
	}
}

func (l *array) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	if !ok || l.Size() != o.Size() {
		return types.False
	}
	i := 0
	for n := range l.node.Elements() {
		if types.Equal(l.arena.value(n), o.Get(types.Int(i))) == types.False {
			return types.False
		}
		i++
	}
	return types.True
}

func (l *array) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.ListType:
		return l
	case types.TypeType:
		return types.ListType
	}
	return types.NewErr("type conversion error from 'list' to '%s'", t.TypeName())
}

func (l *array) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(l.node, t)
}
