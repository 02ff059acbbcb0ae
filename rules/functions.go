package rules

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// library is the functions of our own, beside CEL's and its extension
// libraries. Each gives the same result for the same arguments, now and later
// and on every machine, so that a replay repeats what was delivered; there is
// neither a clock nor randomness. Each takes time at most linear in its
// arguments, for which the meter charges, and is bounded in what it makes.
//
// docs/functions.md describes them; a test runs its examples and refuses a
// function that the page lacks.
func library() []cel.EnvOption {
	var all []cel.EnvOption
	for _, group := range [][]cel.EnvOption{
		defaultMacros(), timeFunctions(), jsonFunctions(), hashFunctions(), encodingFunctions(), textFunctions(), listFunctions(),
	} {
		all = append(all, group...)
	}
	return all
}

// textCall declares name(string) → string.
func textCall(name string, f func(string) (string, error)) cel.EnvOption {
	return cel.Function(name, cel.Overload(overload(name, "string"), []*cel.Type{cel.StringType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val { return textResult(name)(f(text(v))) })))
}

// bytesCall declares name(x) → result for a string, whose UTF-8 counts, and for
// bytes.
func bytesCall(name string, result *cel.Type, f func([]byte) ref.Val) cel.EnvOption {
	call := cel.UnaryBinding(func(v ref.Val) ref.Val { return f(raw(v)) })
	return cel.Function(name,
		cel.Overload(overload(name, "string"), []*cel.Type{cel.StringType}, result, call),
		cel.Overload(overload(name, "bytes"), []*cel.Type{cel.BytesType}, result, call))
}

// overload is the id of an overload of a function.
func overload(name string, arguments ...string) string {
	return strings.ReplaceAll(name, ".", "_") + "_" + strings.Join(arguments, "_")
}

// textResult makes the result of a call that has text or an error.
func textResult(name string) func(string, error) ref.Val {
	return func(s string, err error) ref.Val {
		if err != nil {
			return callError(name, err)
		}
		return types.String(s)
	}
}

// callError is the error that a call of a function results in.
func callError(name string, err error) ref.Val {
	return types.WrapErr(fmt.Errorf("%s: %w", name, err))
}

// raw are the bytes of a string or of bytes.
func raw(v ref.Val) []byte {
	if b, ok := v.(types.Bytes); ok {
		return b
	}
	return []byte(text(v))
}

// listFunctions are those that the extension library lacks.
func listFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Function("lists.sum", cel.Overload("lists_sum_list", []*cel.Type{cel.ListType(cel.DynType)}, cel.DynType,
			cel.UnaryBinding(sum))),
	}
}

// sum adds the numbers of a list; the sum of none is 0. Those of JSON are
// doubles, and so is a sum with one of them.
func sum(v ref.Val) ref.Val {
	list, ok := v.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	var total ref.Val = types.IntZero
	for i := range types.Int(length(list)) {
		n := list.Get(i)
		switch n.(type) {
		case types.Int, types.Uint, types.Double:
		default:
			return callError("lists.sum", fmt.Errorf("element %d is no number", i))
		}
		if total.Type() != n.Type() {
			if i == 0 {
				total = n
				continue
			}
			total, n = total.ConvertToType(types.DoubleType), n.ConvertToType(types.DoubleType)
		}
		total = total.(traits.Adder).Add(n)
		if types.IsError(total) {
			return total
		}
	}
	return total
}
