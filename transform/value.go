package transform

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

// value is what a string of the block results in: mixed text, or the value of
// one whole expression.
type value struct {
	isText bool
	mixed  string
	expr   rules.Value
}

// bytes are those of an expression that results in bytes.
func (v value) bytes() ([]byte, bool) {
	b, ok := v.expr.Val.(types.Bytes)
	return []byte(b), ok && !v.isText
}

func (v value) appendJSON(dst []byte, limit int) ([]byte, error) {
	if !v.isText {
		return v.expr.AppendJSON(dst, limit)
	}
	if len(v.mixed) > limit-len(dst) {
		return dst, rules.ErrTooLarge
	}
	return rules.AppendString(dst, v.mixed), nil
}

func (v value) appendText(dst []byte, limit int) ([]byte, error) {
	if !v.isText {
		return appendText(dst, v.expr, limit)
	}
	if len(v.mixed) > limit-len(dst) {
		return dst, rules.ErrTooLarge
	}
	return append(dst, v.mixed...), nil
}

// appendText appends a value as it stands in mixed text.
func appendText(dst []byte, v rules.Value, limit int) ([]byte, error) {
	var s string
	switch v.Node.Kind() {
	case event.String:
		s = v.Node.Text()
	case event.Number:
		s = rules.NumberText(string(v.Node.Raw()))
	case event.Missing:
		switch val := v.Val.(type) {
		case types.String, types.Double, types.Int, types.Uint, types.Bool, types.Timestamp, types.Duration:
			s = rules.ScalarText(val)
		case types.Bytes:
			s = base64.StdEncoding.EncodeToString(val)
		default:
			return v.AppendJSON(dst, limit)
		}
	default:
		return v.AppendJSON(dst, limit)
	}
	if len(s) > limit-len(dst) {
		return dst, rules.ErrTooLarge
	}
	return append(dst, s...), nil
}

// attribute makes the value that an attribute gets; set is false for null,
// which removes it.
func (v value) attribute() (a event.Value, set bool, err error) {
	if v.isText {
		return event.StringValue(v.mixed), true, nil
	}
	switch n := v.expr.Node; n.Kind() {
	case event.Null:
		return event.Value{}, false, nil
	case event.True, event.False:
		return event.BooleanValue(n.Kind() == event.True), true, nil
	case event.String:
		return event.StringValue(strings.Clone(n.Text())), true, nil
	case event.Number:
		token := string(n.Raw())
		if i, ok := n.Int(); ok {
			return integer(float64(i), token)
		}
		return integer(n.Float(), token)
	case event.Object, event.Array:
		return a, false, errors.New("an object or array cannot be an attribute; use json.encode(...)")
	}
	switch val := v.expr.Val.(type) {
	case types.Null:
		return event.Value{}, false, nil
	case types.Bool:
		return event.BooleanValue(bool(val)), true, nil
	case types.String:
		return event.StringValue(strings.Clone(string(val))), true, nil
	case types.Int:
		return integer(float64(val), strconv.FormatInt(int64(val), 10))
	case types.Uint:
		return integer(float64(val), strconv.FormatUint(uint64(val), 10))
	case types.Double:
		return integer(float64(val), rules.ScalarText(val))
	case types.Timestamp:
		return event.TimeValue(val.UTC(), ""), true, nil
	case types.Duration:
		return event.StringValue(rules.ScalarText(val)), true, nil
	case types.Bytes:
		return a, false, errors.New("bytes cannot be an attribute; use base64.encode(...)")
	case *types.Optional:
		if !val.HasValue() {
			return a, false, errors.New("the optional value is absent; give it a default with orValue")
		}
		return value{expr: rules.Value{Val: val.GetValue()}}.attribute()
	}
	return a, false, fmt.Errorf("a value of type %s cannot be an attribute", v.expr.Val.Type().TypeName())
}

func integer(f float64, text string) (event.Value, bool, error) {
	if f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
		return event.Value{}, false, fmt.Errorf("%s is not a whole number of 32 bits; make it text with \"...${{ }}\" or string(...)", cut(text))
	}
	return event.IntegerValue(int32(f)), true, nil
}

// jsonType reports whether a content type means JSON: */json and */*+json.
func jsonType(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	_, sub, ok := strings.Cut(strings.ToLower(strings.TrimSpace(t)), "/")
	return ok && (sub == "json" || strings.HasSuffix(sub, "+json"))
}

// scalarVal reports whether a computed value has a text of its own.
func scalarVal(v ref.Val) bool {
	switch v.(type) {
	case types.String, types.Double, types.Int, types.Uint, types.Bool, types.Timestamp, types.Duration, types.Bytes:
		return true
	}
	return false
}
