package transform

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/itchyny/gojq"

	"github.com/switchyard-dev/switchyard/rules"
)

// jqOptions are the functions that boundJQ writes into programs. Their first
// argument is the *jqRun. The checked ones do what jq's own do, when that is not
// too much.
func jqOptions(variables ...string) []gojq.CompilerOption {
	function := func(name string, args int, f func(b *jqRun, v any, args []any) any) gojq.CompilerOption {
		return gojq.WithFunction(name, args+1, args+1, func(v any, args []any) any {
			b, ok := args[0].(*jqRun)
			if !ok {
				return errors.New("the run is missing") // boundJQ gives it
			}
			return f(b, v, args[1:])
		})
	}
	times, join, transpose := original(".[0] * .[1]"), original(".[0] as $s | .[1] | join($s)"), original(".[1] | transpose")
	return []gojq.CompilerOption{
		gojq.WithVariables(append([]string{runVariable}, variables...)),
		function(callWeigh, 0, func(b *jqRun, v any, _ []any) any {
			if err := b.weigh(v); err != nil {
				return err
			}
			return v
		}),
		function(callText, 0, func(b *jqRun, v any, _ []any) any {
			s, ok := v.(string)
			if !ok {
				return v
			}
			if len(s) > maxRegexText {
				return fmt.Errorf("the text is %d bytes long; at most %d for this function", len(s), maxRegexText)
			}
			// gojq goes over the text again for each match.
			if b.spent += len(s) * len(s) / 8; b.spent > b.total {
				return errTotal
			}
			return v
		}),
		function(callIndex, 0, func(_ *jqRun, v any, _ []any) any {
			if err := checkIndex(v); err != nil {
				return err
			}
			return v
		}),
		function(callTimes, 2, func(b *jqRun, _ any, args []any) any {
			if err := b.product(args[0], args[1]); err != nil {
				return err
			}
			return times(args[0], args[1])
		}),
		function(callJoin, 1, func(b *jqRun, v any, args []any) any {
			parts, _ := v.([]any)
			if sep, ok := args[0].(string); ok && len(parts) > 0 && len(sep) > b.value/len(parts) {
				return errValue
			}
			return join(args[0], v)
		}),
		function(callTranspose, 0, func(b *jqRun, v any, _ []any) any {
			rows, _ := v.([]any)
			columns := 0
			for _, row := range rows {
				if cells, ok := row.([]any); ok {
					columns = max(columns, len(cells))
				}
			}
			if len(rows) > 0 && columns > b.value/16/len(rows) {
				return errValue
			}
			return transpose(nil, v)
		}),
	}
}

// original is jq's own function of two values.
func original(source string) func(a, b any) any {
	q, err := gojq.Parse(source)
	if err != nil {
		panic(err) // a test calls each
	}
	code, err := gojq.Compile(q)
	if err != nil {
		panic(err)
	}
	return func(a, b any) any {
		v, ok := code.Run([]any{a, b}).Next()
		if !ok {
			return errors.New("no result")
		}
		return v
	}
}

// product checks what a product would be: jq repeats a text so many times.
func (b *jqRun) product(x, y any) error {
	s, ok := x.(string)
	n := y
	if !ok {
		if s, ok = y.(string); ok {
			n = x
		}
	}
	if ok {
		if f, isNumber := gojq.ToFloat64(n); isNumber && len(s) > 0 && f > float64(b.value/len(s)) {
			return errValue
		}
		return nil
	}
	if bits(x)+bits(y) > maxBits {
		return errValue
	}
	return nil
}

func bits(v any) int {
	switch v := v.(type) {
	case *big.Int:
		return v.BitLen()
	case json.Number:
		return 4 * len(v)
	}
	return 64
}

// checkIndex refuses places of arrays that would make long ones of short ones.
func checkIndex(v any) error {
	if path, ok := v.([]any); ok {
		for _, step := range path {
			if err := checkIndex(step); err != nil {
				return err
			}
		}
		return nil
	}
	if n, ok := gojq.ToFloat64(v); ok && n > maxIndex {
		return fmt.Errorf("the index %s is too large; at most %d", gojq.Preview(v), maxIndex)
	}
	return nil
}

// appendJQ appends a value of jq as JSON, keys in order. As in jq, what is not a
// number becomes null and infinity the largest double.
func appendJQ(dst []byte, v any, limit, depth int) ([]byte, error) {
	if len(dst) > limit {
		return dst, rules.ErrTooLarge
	}
	if depth > maxNested {
		return dst, errDepth
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case *big.Int:
		return v.Append(dst, 10), nil
	case json.Number:
		return append(dst, v...), nil
	case float64:
		if math.IsNaN(v) {
			return append(dst, "null"...), nil
		}
		return rules.AppendFloat(dst, min(max(v, -math.MaxFloat64), math.MaxFloat64)), nil
	case string:
		if len(v) > limit-len(dst) {
			return dst, rules.ErrTooLarge
		}
		return rules.AppendString(dst, v), nil
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendJQ(dst, e, limit, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		dst = append(dst, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(rules.AppendString(dst, key), ':')
			var err error
			if dst, err = appendJQ(dst, v[key], limit, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	return dst, fmt.Errorf("a value of type %T cannot be written as JSON", v)
}
