// Package rules decides which events a rule matches.
//
// A filter is compiled by an Env to a Matcher; a Set holds the matchers of all
// rules of a bus and answers, for one event, which subscriptions get it. The
// same environment compiles the expressions of transforms (Expr) and, over
// another variable, those of webhook sources (RequestEnv).
//
// # What an expression sees
//
// The variable event has every attribute and extension of the CloudEvent as a
// field. The attributes of the specification are strings, event.time is a
// timestamp; an extension is a string, or an int or a bool when it was
// published as one. event["in"] and event.`in` read names that CEL cannot
// parse as a field. event.data is the parsed JSON value: objects are maps,
// arrays are lists, numbers are doubles. Data of another content type is a
// string, or bytes when it is not text.
//
// An attribute that is not set, absent data and a missing key are errors, and an
// expression that fails does not match. has(event.subject) and
// has(event.data.a) ask first; as CEL defines it, has(event.data.a.b) is itself
// an error when a is missing. event.data.?a.?b.hasValue() is false then, and
// event.data.?a.?b.orValue(0) has a default.
//
// # Functions
//
// Besides CEL's own there are the extension libraries strings, math, lists,
// sets, encoders (base64, json.encode), regex, bindings (cel.bind), two-variable
// comprehensions (transformList, transformMap, ...) and optional values (?. and
// orValue), and functions of our own for times and zones, hashes, JSON, text and
// what may be missing. docs/functions.md has them all. Messages cannot be
// constructed.
//
// # Limits
//
// The source is at most 16 KiB and 4096 nodes, comprehensions nest at most three
// deep. An expression that could take more than time linear in the event runs
// with a budget, CEL's cost units, that grows with the event's size; one that
// overruns fails on that event, and one that keeps overrunning is suspended for
// a while, which Matcher.Stats shows.
//
// The expressions of a transform also see the variable enriched when their rule
// enriches events: an object of the answers by name.
//
// An Env, a Matcher, an Expr and a Set are safe for concurrent use.
package rules

import (
	"sync"
	"sync/atomic"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/ext"
)

// Env is what filters and transform expressions are compiled in. It is made
// once and shared.
type Env struct {
	cel    *cel.Env
	cache  *cache[cacheKey, *filter]
	exprs  *cache[exprKey, *Expr]
	places *places
	shelf  *shelf
	nodes  nodeSlab
	texts  sharedTexts

	records recordSlab
	frames  codeFrames

	memory   atomic.Pointer[memory]
	compiled atomic.Uint64

	enriching func() (*Env, error) // made once, when a rule first asks for it
}

// NewEnv makes the environment over the variable event.
func NewEnv() (*Env, error) {
	env, err := newCEL(
		cel.Types(eventType{}),
		cel.Variable("event", cel.ObjectType(eventTypeName)),
		cel.Function(operators.Index, cel.Overload("index_event_string",
			[]*cel.Type{cel.ObjectType(eventTypeName), cel.StringType}, cel.DynType)),
		cel.Function(operators.OptIndex, cel.Overload("optional_index_event_string",
			[]*cel.Type{cel.ObjectType(eventTypeName), cel.StringType}, cel.OptionalType(cel.DynType))),
	)
	if err != nil {
		return nil, err
	}
	return &Env{
		cel: env, cache: newCache[cacheKey, *filter](cachedFilters), exprs: newCache[exprKey, *Expr](cachedExprs),
		places: newPlaces(), shelf: &shelf{most: plannedPrograms},
		enriching: sync.OnceValues(func() (*Env, error) { return enrichingEnv(env) }),
	}, nil
}

// newCEL makes a CEL environment with the functions and limits that all
// expressions have.
func newCEL(variables ...cel.EnvOption) (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.EagerlyValidateDeclarations(true),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EnableIdentifierEscapeSyntax(),
		cel.EnableMacroCallTracking(), // so that has and exists can be shown as they were written
		cel.OptionalTypes(),
		cel.EnableMacroCallTracking(), // so that a part of an expression can be shown
		ext.Strings(ext.StringsValidateFormatCalls(true), ext.StringsMaxPrecision(maxPrecision)),
		ext.Math(),
		ext.Lists(ext.ListsMaxRangeSize(maxRange)),
		ext.Sets(),
		ext.Encoders(ext.EncodersVersion(0)),
		jsonEncode(),
		ext.Regex(),
		ext.Bindings(),
		ext.TwoVarComprehensions(),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateComprehensionNestingLimit(maxComprehensions),
			cel.ValidateBindNestingLimit(maxBinds),
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
		),
	}
	options = append(options, library()...)
	options = append(options, variables...)
	return cel.NewEnv(append(options, guardFunctions)...)
}
