package rules

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// ErrTooLarge is the error for text that grew beyond its limit.
var ErrTooLarge = errors.New("the result is too large")

// maxJSONDepth is how deeply a value may be nested that is written as JSON.
const maxJSONDepth = event.MaxDepth

// AppendJSON appends the value as JSON: a value of the event byte for byte, keys
// of others in order, timestamps and durations as text, bytes in base64. The
// result has at most limit bytes, or the error is ErrTooLarge.
func (v Value) AppendJSON(dst []byte, limit int) ([]byte, error) {
	if v.Node.Kind() != event.Missing {
		return appendRaw(dst, v.Node.Raw(), limit)
	}
	return appendJSON(dst, v.Val, limit, 0)
}

func appendRaw(dst, raw []byte, limit int) ([]byte, error) {
	if len(raw) > limit-len(dst) {
		return dst, ErrTooLarge
	}
	return append(dst, raw...), nil
}

func appendJSON(dst []byte, v ref.Val, limit, depth int) ([]byte, error) {
	if len(dst) > limit {
		return dst, ErrTooLarge
	}
	if depth > maxJSONDepth {
		return dst, fmt.Errorf("the result is nested more than %d levels deep", maxJSONDepth)
	}
	switch v := v.(type) {
	case types.Null:
		return append(dst, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case types.Double:
		return appendFloat(dst, float64(v))
	case types.String:
		if len(v) > limit-len(dst) {
			return dst, ErrTooLarge
		}
		return AppendString(dst, string(v)), nil
	case types.Bytes:
		if base64.StdEncoding.EncodedLen(len(v)) > limit-len(dst) {
			return dst, ErrTooLarge
		}
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, '"'), nil
	case types.Timestamp, types.Duration:
		return AppendString(dst, ScalarText(v)), nil
	case *object:
		return appendRaw(dst, v.node.Raw(), limit)
	case *array:
		return appendRaw(dst, v.node.Raw(), limit)
	case *types.Optional:
		if !v.HasValue() {
			return dst, errors.New("the optional value is absent; give it a default with orValue")
		}
		return appendJSON(dst, v.GetValue(), limit, depth)
	case traits.Mapper:
		return appendMap(dst, v, limit, depth)
	case traits.Lister:
		dst = append(dst, '[')
		n, _ := v.Size().(types.Int)
		for i := range n {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendJSON(dst, v.Get(i), limit, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case *types.Err:
		return dst, v
	case *view:
		return dst, errors.New("the whole event cannot be a value; choose its attributes")
	}
	return dst, fmt.Errorf("a value of type %s cannot be written as JSON", v.Type().TypeName())
}

func appendMap(dst []byte, m traits.Mapper, limit, depth int) ([]byte, error) {
	type entry struct {
		name string
		key  ref.Val
	}
	var entries []entry
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		switch k.(type) {
		case types.String, types.Int, types.Uint, types.Bool:
			entries = append(entries, entry{ScalarText(k), k})
		default:
			return dst, fmt.Errorf("a key of type %s cannot be written as JSON", k.Type().TypeName())
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		switch {
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
	dst = append(dst, '{')
	for i, e := range entries {
		if i > 0 {
			if e.name == entries[i-1].name {
				return dst, fmt.Errorf("a map has the key %q twice when written as JSON", shorten(e.name))
			}
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, e.name), ':')
		var err error
		if dst, err = appendJSON(dst, m.Get(e.key), limit, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("%v cannot be written as JSON", f)
	}
	return AppendFloat(dst, f), nil
}

// AppendFloat appends a finite number as JSON: with all digits that it needs, an
// exponent only if it is very large or small.
func AppendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}

// AppendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, '\\', 'n')
			case c == '\r':
				dst = append(dst, '\\', 'r')
			case c == '\t':
				dst = append(dst, '\\', 't')
			case c < 0x20:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = utf8.AppendRune(dst, utf8.RuneError)
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}

// jsonEncode is the function json.encode. A value of the event is its own text,
// without a copy, so that calls cost nothing that a budget would have to count.
func jsonEncode() cel.EnvOption {
	return cel.Function("json.encode", cel.Overload("json_encode_value", []*cel.Type{cel.DynType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			switch v := v.(type) {
			case *object:
				return alias(v.node.Raw())
			case *array:
				return alias(v.node.Raw())
			}
			text, err := appendJSON(nil, v, maxEncoded, 0)
			if err != nil {
				return types.WrapErr(fmt.Errorf("json.encode: %w", err))
			}
			return types.String(text)
		})))
}

// alias is the text of an event, which never changes.
func alias(b []byte) types.String { return types.String(unsafe.String(unsafe.SliceData(b), len(b))) }
