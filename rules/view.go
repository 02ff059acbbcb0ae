package rules

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// view is one event as CEL sees it: at once the activation and the value of
// the variable event. It keeps what it made of the attributes, so that many
// rules over one event make each of them once. It is not safe for concurrent
// use, and what was read through it must not be used after release.
type view struct {
	ev    *event.Event
	slots [slotCount]ref.Val
	arena arena
	seen  seen // for conditions

	apart      bool       // what takes too long does not suspend the filter
	enriched   event.Node // of an expression in a transform; the zero Node without
	tree       event.Tree // of the event's data, while the event has none of its own
	parsed     bool
	failed     any // the last residual or pattern that failed
	failure    error
	candidates []candidate
	met        []uint32 // the mark of the event for which a group or posting was met last
	block      *block
	fold       []byte
}

// begin makes a view that was released one of ev.
func (v *view) begin(ev *event.Event, of *block) {
	v.ev, v.block = ev, of
	if v.seen.begin(&of.slots); v.seen.mark == 1 {
		clear(v.met)
	}
}

// first reports whether a group or posting is met for the first time for the
// event.
func (v *view) first(id int32) bool {
	if v.met == nil {
		v.met = make([]uint32, len(v.block.entries)+v.block.postings)
	}
	if v.met[id] == v.seen.mark {
		return false
	}
	v.met[id] = v.seen.mark
	return true
}

// root is the data as JSON; the zero Node when it is something else.
func (v *view) root() event.Node {
	if v.parsed {
		return v.tree.Root()
	}
	if t := v.ev.TreeIn(&v.tree); t != &v.tree {
		return t.Root()
	}
	v.parsed = true
	return v.tree.Root()
}

// keepTree leaves the tree with the event.
func (v *view) keepTree() {
	if v.parsed {
		v.ev.KeepTree(&v.tree)
	}
}

// slot is the place of an attribute that a view keeps.
type slot uint8

const (
	slotType slot = iota
	slotSource
	slotID
	slotSubject
	slotTime
	slotData
	slotCount
	noSlot = slotCount
)

func slotOf(name string) slot {
	switch name {
	case "type":
		return slotType
	case "source":
		return slotSource
	case "id":
		return slotID
	case "subject":
		return slotSubject
	case "time":
		return slotTime
	case "data":
		return slotData
	}
	return noSlot
}

var errNotEvent = errors.New("not an event")

// missing is the error for an attribute that is not set.
func missing(name string) error { return fmt.Errorf("no such key: %s", name) }

// release forgets the event, so that the view can be used for another.
func (v *view) release() {
	v.ev = nil
	clear(v.slots[:])
	v.arena.reset()
	v.seen.forget()
	v.parsed = false
	v.failed, v.failure = nil, nil
}

// dataValue is the whole data, as conditions see it.
func (v *view) dataValue() value {
	switch v.ev.Format() {
	case event.JSON:
		return nodeValue(v.root())
	case event.Text:
		return value{kind: textValue, text: unsafe.String(unsafe.SliceData(v.ev.Data()), len(v.ev.Data()))}
	case event.Binary:
		return value{kind: otherValue}
	}
	return value{}
}

func (v *view) has(s slot, name string) bool {
	if s == slotData {
		return v.ev.Format() != event.NoData
	}
	_, ok := v.ev.Attribute(name)
	return ok
}

// get is the value of an attribute or of data, nil when it is not set.
func (v *view) get(s slot, name string) ref.Val {
	if s != noSlot {
		if v.slots[s] == nil {
			v.slots[s] = v.read(s, name)
		}
		return v.slots[s]
	}
	return v.read(s, name)
}

func (v *view) read(s slot, name string) ref.Val {
	if s == slotData {
		return v.data()
	}
	a, ok := v.ev.Attribute(name)
	if !ok {
		return nil
	}
	switch a.Kind() {
	case event.KindInteger:
		return types.Int(a.Integer())
	case event.KindBoolean:
		return types.Bool(a.Boolean())
	case event.KindTimestamp:
		return types.Timestamp{Time: a.Time()}
	}
	return types.String(a.Text())
}

func (v *view) data() ref.Val {
	switch v.ev.Format() {
	case event.JSON:
		if n := v.root(); n.Kind() != event.Missing {
			return v.arena.value(n)
		}
		return types.NewErr("the stored data is damaged")
	case event.Text:
		return types.String(v.ev.Data())
	case event.Binary:
		return types.Bytes(v.ev.Data())
	}
	return nil
}

// ResolveName is the activation's lookup of a variable.
func (v *view) ResolveName(name string) (any, bool) {
	switch {
	case name == "event":
		return v, true
	case name == enrichedVariable && v.enriched.Kind() == event.Object:
		return v.arena.value(v.enriched), true
	}
	return nil, false
}

// Parent is nil: there is no outer activation.
func (v *view) Parent() cel.Activation { return nil }

// FindStringKey reads a field whose name was not known to the compiler.
func (v *view) FindStringKey(name string) (any, bool) {
	val := v.get(slotOf(name), name)
	return val, val != nil
}

// Get is the CEL index operator.
func (v *view) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	if val := v.get(slotOf(string(name)), string(name)); val != nil {
		return val
	}
	return types.WrapErr(missing(string(name)))
}

// IsSet is CEL's has() for a name that was not known to the compiler.
func (v *view) IsSet(field ref.Val) ref.Val {
	name, ok := field.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(field)
	}
	return types.Bool(v.has(slotOf(string(name)), string(name)))
}

func (v *view) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an event cannot be converted to %v", t)
}

func (v *view) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return types.NewObjectType(eventTypeName)
	}
	return types.NewErr("an event cannot be converted to %s", t.TypeName())
}

func (v *view) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(v)) }
func (v *view) Type() ref.Type              { return eventType{} }
func (v *view) Value() any                  { return v }
