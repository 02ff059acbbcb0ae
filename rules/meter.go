package rules

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// meter charges a call for the sizes of its arguments and its result, also when
// their types were not known to the compiler; CEL by itself charges such a call
// as if they were small. A unit is 40 to 100 nanoseconds.
type meter struct{}

const (
	bytesPerUnit   = 32
	membersPerUnit = 4
	stepsPerUnit   = 32 // of a regular expression
)

// CallCost is the cost of one call that was made.
func (meter) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	cost := uint64(1)
	switch function {
	case operators.Equals, operators.NotEquals:
		// What is compared is at most the smaller of the two.
		if len(args) == 2 {
			cost += min(deep(args[0], 3), deep(args[1], 3))
		}
	case operators.In:
		for _, a := range args {
			cost += deep(a, 3)
		}
	case "matches":
		if overload != "" {
			return nil // CEL knows the pattern
		}
		cost += shallow(args) * 8
	case "json.encode":
		// A value of the event is not even copied.
		switch {
		case types.IsError(result):
			cost += maxEncoded / bytesPerUnit
		case len(args) == 1 && !own(args[0]):
			cost += bulk(result)
		}
	case "regex.extract", "regex.extractAll", "regex.replace":
		cost += regexCost(args)
	case "base64.encodeUrl", "base64.decodeUrl", "hex.encode", "hex.decode", "url.encode", "url.decode", "text.truncate", "text.padStart":
		cost += 4*shallow(args) + 4*bulk(result)
	case "text.camelCase", "text.snakeCase", "text.kebabCase", "text.titleCase":
		cost += 16 * shallow(args)
	case "time.format", "time.parse", "time.startOf":
		cost += 20
		if types.IsError(result) {
			cost += 500 // a zone that does not exist is looked for in files
		}
	case "json.parse":
		cost += 2 * shallow(args)
	case "json.mergePatch":
		cost += 2 * (jsonBulk(result) + shallow(args))
		for _, a := range args {
			cost += jsonBulk(a)
		}
	case "startsWith", "endsWith":
		if len(args) == 2 {
			cost += bulk(args[1])
		}
	case "strings.quote", "charAt", "substring", "reverse", "size", "lowerAscii", "upperAscii", "trim",
		"base64.encode", "base64.decode", "replace", "split", "format", "sort", "@sortByAssociatedKeys":
		cost += 4*shallow(args) + 4*bulk(result)
	case "indexOf", "lastIndexOf":
		a, b := shallow(args[:1]), shallow(args[1:])
		cost += 4*a + a*b
	default:
		cost += shallow(args) + bulk(result)
	}
	return &cost
}

// regexCost charges the length of the text times the size of the program, once.
// What searches for many matches has a bound of its own.
func regexCost(args []ref.Val) uint64 {
	if len(args) < 2 {
		return 0
	}
	size, err := regexSize(text(args[1]))
	if err != nil {
		return 0
	}
	return uint64(len(text(args[0])))*uint64(size)/stepsPerUnit + uint64(size)
}

func shallow(args []ref.Val) uint64 {
	n := uint64(0)
	for _, a := range args {
		n += bulk(a)
	}
	return n
}

// bulk is the cost of going over a value's bytes or members.
func bulk(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v)) / bytesPerUnit
	case types.Bytes:
		return uint64(len(v)) / bytesPerUnit
	case traits.Mapper, traits.Lister:
		return uint64(length(v)) / membersPerUnit
	}
	return 0
}

// jsonBulk is the cost of reading or writing a value's JSON text, when it is there.
func jsonBulk(v ref.Val) uint64 {
	switch v := v.(type) {
	case *object:
		return uint64(len(v.node.Raw())) / bytesPerUnit
	case *array:
		return uint64(len(v.node.Raw())) / bytesPerUnit
	}
	return 0
}

// own reports whether a value is a container of the event.
func own(v ref.Val) bool {
	switch v.(type) {
	case *object, *array:
		return true
	}
	return false
}

// deep is the cost of going over all that a value contains.
func deep(v ref.Val, depth int) uint64 {
	switch v := v.(type) {
	case *object:
		return uint64(len(v.node.Raw())) / 2
	case *array:
		return uint64(len(v.node.Raw())) / 2
	case traits.Lister:
		n := bulk(v)
		if depth > 0 {
			size, _ := v.Size().(types.Int)
			for i := range min(size, 64) {
				n += deep(v.Get(i), depth-1)
			}
		}
		return n
	}
	return bulk(v)
}
