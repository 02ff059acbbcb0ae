package rules

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const eventTypeName = "Event"

// eventType describes event to the type checker: the attributes of the
// specification have their types, data and extensions are dynamic, and a name
// that no attribute can have is no field.
type eventType struct{}

var (
	_ types.StructTypeDescriptor = eventType{}
	_ ref.Type                   = eventType{}
)

func (eventType) HasTrait(trait int) bool {
	return trait&(traits.FieldTesterType|traits.IndexerType) != 0
}

func (eventType) TypeName() string          { return eventTypeName }
func (eventType) ReflectType() reflect.Type { return nil }

func (eventType) FieldNames() []string {
	return []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"}
}

// FindFieldType gives the field called name, with how to read it.
func (eventType) FindFieldType(name string) (*types.FieldType, bool) {
	if !attributeName(name) {
		return nil, false
	}
	t := types.StringType
	switch name {
	case "specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema":
	case "time":
		t = types.TimestampType
	default:
		t = types.DynType
	}
	s := slotOf(name)
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			v, ok := target.(*view)
			return ok && v.has(s, name)
		},
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*view)
			if !ok {
				return nil, errNotEvent
			}
			if val := v.get(s, name); val != nil {
				return val, nil
			}
			return nil, missing(name)
		},
	}, true
}

func (eventType) NewValue(types.Adapter, map[string]ref.Val) ref.Val {
	return types.NewErr("an event cannot be constructed")
}

func (eventType) Adapt(_ types.Adapter, value any) ref.Val {
	return types.UnsupportedRefValConversionErr(value)
}

// attributeName reports whether a CloudEvents attribute can have this name, or
// it is data.
func attributeName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
