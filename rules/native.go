package rules

import (
	"encoding/json"
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// toNative converts a container for the few CEL functions that ask for Go or
// protobuf values.
func toNative(n event.Node, t reflect.Type) (any, error) {
	var v any
	if err := json.Unmarshal(n.Raw(), &v); err != nil {
		return nil, fmt.Errorf("convert to %v: %w", t, err)
	}
	val := types.DefaultTypeAdapter.NativeToValue(v)
	if t.Kind() == reflect.Interface && reflect.TypeOf(v).Implements(t) {
		return v, nil
	}
	return val.ConvertToNative(t)
}

var _ ref.Val = (*view)(nil)
