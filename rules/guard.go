package rules

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// A budget is charged after each call, so a single call must not be able to
// take long or to make much. A guard looks at the arguments before the call and
// returns what is wrong with them, "" when nothing is.
type guard func(args []ref.Val) string

func guards() map[string]map[string]guard {
	return map[string]map[string]guard{
		"replace":         {"string_replace_string_string": guardReplace, "string_replace_string_string_int": guardReplace},
		"join":            {"list_join_string": guardJoin},
		"indexOf":         {"string_index_of_string": guardSearch, "string_index_of_string_int": guardSearch},
		"lastIndexOf":     {"string_last_index_of_string": guardSearch, "string_last_index_of_string_int": guardSearch},
		"distinct":        {"list_distinct": guardDistinct},
		"hasOnly":         {"list_hasOnly_list": guardPairs},
		"hasAny":          {"list_hasAny_list": guardPairs},
		"hasAll":          {"list_hasAll_list": guardPairs},
		"hasExactly":      {"list_hasExactly_list": guardPairs},
		"sets.contains":   {"list_sets_contains_list": guardPairs},
		"sets.equivalent": {"list_sets_equivalent_list": guardPairs},
		"sets.intersects": {"list_sets_intersects_list": guardPairs},
		"regex.extract":   {"regex_extract_string_string": guardRegex},
		"regex.extractAll": {
			"regex_extractAll_string_string": guardRegexAll,
		},
		"regex.replace": {
			"regex_replace_string_string_string":     guardRegexReplace,
			"regex_replace_string_string_string_int": guardRegexReplace,
		},
	}
}

// guardFunctions puts the guards before the functions of an environment.
func guardFunctions(e *cel.Env) (*cel.Env, error) {
	declared := e.Functions()
	for name, overloads := range guards() {
		decl, ok := declared[name]
		if !ok {
			return nil, fmt.Errorf("guard: no function %s", name)
		}
		bindings, err := decl.Bindings()
		if err != nil {
			return nil, err
		}
		found := 0
		for _, o := range decl.OverloadDecls() {
			g, ok := overloads[o.ID()]
			if !ok {
				continue
			}
			for _, b := range bindings {
				if b.Operator != o.ID() {
					continue
				}
				found++
				declare := cel.Overload
				if o.IsMemberFunction() {
					declare = cel.MemberOverload
				}
				option := cel.Function(name, declare(o.ID(), o.ArgTypes(), o.ResultType(), guarded(g, b)))
				if e, err = option(e); err != nil {
					return nil, err
				}
				break
			}
		}
		if found != len(overloads) {
			return nil, fmt.Errorf("guard: not all overloads of %s were found", name)
		}
	}
	return e, nil
}

func guarded(g guard, b *functions.Overload) cel.OverloadOpt {
	switch {
	case b.Unary != nil:
		return cel.UnaryBinding(func(v ref.Val) ref.Val {
			if problem := g([]ref.Val{v}); problem != "" {
				return types.NewErrFromString(problem)
			}
			return b.Unary(v)
		})
	case b.Binary != nil:
		return cel.BinaryBinding(func(l, r ref.Val) ref.Val {
			if problem := g([]ref.Val{l, r}); problem != "" {
				return types.NewErrFromString(problem)
			}
			return b.Binary(l, r)
		})
	}
	return cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		if problem := g(args); problem != "" {
			return types.NewErrFromString(problem)
		}
		return b.Function(args...)
	})
}

func text(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

func length(v ref.Val) int {
	l, ok := v.(traits.Sizer)
	if !ok {
		return 0
	}
	n, _ := l.Size().(types.Int)
	return int(n)
}

func guardReplace(args []ref.Val) string {
	s, old, with := text(args[0]), text(args[1]), text(args[2])
	if len(with) <= len(old) {
		return ""
	}
	n := strings.Count(s, old)
	if len(args) == 4 {
		if most, ok := args[3].(types.Int); ok && most >= 0 && int64(most) < int64(n) {
			n = int(most)
		}
	}
	return outputs("replace", len(s), n, len(with)-len(old))
}

func guardJoin(args []ref.Val) string {
	return outputs("join", 0, length(args[0]), len(text(args[1])))
}

// outputs bounds base + n*each.
func outputs(call string, base, n, each int) string {
	if n > 0 && (each > maxOutput/n || base > maxOutput-n*each) {
		return fmt.Sprintf("%s makes more than %d bytes", call, maxOutput)
	}
	return ""
}

func guardSearch(args []ref.Val) string {
	if a, b := len(text(args[0])), len(text(args[1])); b > 0 && a > maxSearch/b {
		return fmt.Sprintf("a search for %d bytes in %d is too long", b, a)
	}
	return ""
}

func guardDistinct(args []ref.Val) string {
	if n := length(args[0]); n > int(math.Sqrt(2*maxPairs)) {
		return fmt.Sprintf("distinct on a list of %d members; it takes at most %d", n, int(math.Sqrt(2*maxPairs)))
	}
	return ""
}

func guardPairs(args []ref.Val) string {
	if a, b := length(args[0]), length(args[1]); b > 0 && a > maxPairs/b {
		return fmt.Sprintf("lists of %d and %d members are too long to compare each with each", a, b)
	}
	return ""
}

func guardRegex(args []ref.Val) string {
	size, err := regexSize(text(args[1]))
	if err != nil {
		return "pattern: " + err.Error()
	}
	return regexSteps(len(text(args[0])), size)
}

// guardRegexAll bounds the matches, for the search for each may read all of
// the text that follows.
func guardRegexAll(args []ref.Val) string {
	if problem := guardRegex(args); problem != "" {
		return problem
	}
	s, pattern := text(args[0]), text(args[1])
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || flat(re) {
		return ""
	}
	size, err := regexSize(pattern)
	if err != nil {
		return ""
	}
	compiled, err := regexp.Compile(pattern)
	if err != nil {
		return ""
	}
	most := maxRegexWork / size / max(len(s), 1)
	if len(s) <= most { // also if every byte is a match
		return ""
	}
	if found := compiled.FindAllStringIndex(s, most+1); len(found) > most {
		return fmt.Sprintf("more than %d matches in a text of %d bytes are too many for this pattern", most, len(s))
	}
	return ""
}

// flat reports whether a pattern is literals and sets of characters in turn,
// each repeated or not: the search for such a match reads little more than what
// matches.
func flat(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if sub.Op == syntax.OpConcat || !flat(sub) {
				return false
			}
		}
		return true
	case syntax.OpCapture:
		return flat(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		switch re.Sub[0].Op {
		case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			return true
		case syntax.OpLiteral:
			return len(re.Sub[0].Rune) == 1
		}
		return false
	case syntax.OpAlternate:
		return false
	}
	return true
}

func guardRegexReplace(args []ref.Val) string {
	if problem := guardRegexAll(args); problem != "" {
		return problem
	}
	// A reference to a group can stand for the whole text.
	s, with := len(text(args[0])), text(args[2])
	if groups := strings.Count(with, `\`); groups > 0 {
		return outputs("regex.replace", s, groups, s)
	}
	return outputs("regex.replace", s, s+1, len(with))
}

func regexSteps(textLength, programSize int) string {
	if textLength > maxRegexSteps/programSize {
		return fmt.Sprintf("a text of %d bytes is too long for this pattern; at most %d", textLength, maxRegexSteps/programSize)
	}
	return ""
}

// regexSize is the size of a pattern's program, which is at least 1.
func regexSize(pattern string) (int, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	p, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0, err
	}
	return max(1, len(p.Inst)), nil
}
