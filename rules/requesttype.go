package rules

import (
	"errors"
	"fmt"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// requestType describes request to the type checker.
type requestType struct{}

var (
	_ types.StructTypeDescriptor = requestType{}
	_ ref.Type                   = requestType{}
)

func (requestType) HasTrait(trait int) bool {
	return trait&(traits.FieldTesterType|traits.IndexerType) != 0
}

func (requestType) TypeName() string          { return requestTypeName }
func (requestType) ReflectType() reflect.Type { return nil }
func (requestType) FieldNames() []string      { return []string{"headers", "query", "body"} }

// FindFieldType gives the field called name, with how to read it.
func (requestType) FindFieldType(name string) (*types.FieldType, bool) {
	t := types.NewMapType(types.StringType, types.StringType)
	switch name {
	case "headers", "query":
	case "body":
		t = types.DynType
	default:
		return nil, false
	}
	return &types.FieldType{
		Type:  t,
		IsSet: func(target any) bool { v, ok := target.(*requestView); return ok && v.field(name) != nil },
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*requestView)
			if !ok {
				return nil, errors.New("not a request")
			}
			if val := v.field(name); val != nil {
				return val, nil
			}
			return nil, missing(name)
		},
	}, true
}

func (requestType) NewValue(types.Adapter, map[string]ref.Val) ref.Val {
	return types.NewErr("a request cannot be constructed")
}

func (requestType) Adapt(_ types.Adapter, value any) ref.Val {
	return types.UnsupportedRefValConversionErr(value)
}

// requestView is one request as CEL sees it: the activation and the value of
// its only variable.
type requestView struct {
	request Request
	body    ref.Val
	arena   arena
}

// field is the value of a field, nil when there is none.
func (v *requestView) field(name string) any {
	switch name {
	case "headers":
		return v.request.Headers
	case "query":
		return v.request.Query
	case "body":
		if v.body == nil {
			switch {
			case v.request.Body != nil:
				v.body = v.arena.value(v.request.Body.Root())
			case v.request.Raw != nil:
				v.body = types.String(v.request.Raw)
			default:
				return nil
			}
		}
		return v.body
	}
	return nil
}

// ResolveName is the activation's lookup of the only variable.
func (v *requestView) ResolveName(name string) (any, bool) {
	if name == requestVariable {
		return v, true
	}
	return nil, false
}

// Parent is nil: there is no outer activation.
func (v *requestView) Parent() cel.Activation { return nil }

// FindStringKey reads a field whose name was not known to the compiler.
func (v *requestView) FindStringKey(name string) (any, bool) {
	val := v.field(name)
	return val, val != nil
}

func (v *requestView) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a request cannot be converted to %v", t)
}

func (v *requestView) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return types.NewObjectType(requestTypeName)
	}
	return types.NewErr("a request cannot be converted to %s", t.TypeName())
}

func (v *requestView) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(v)) }
func (v *requestView) Type() ref.Type              { return requestType{} }
func (v *requestView) Value() any                  { return v }
