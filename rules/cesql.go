package rules

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// CloudEvents SQL, version 1 (cesql/spec.md of the CloudEvents specification).
//
// An expression sees the attributes and extensions, not the data. It must
// result in a Boolean; an error that comes up while it is evaluated, such as an
// attribute that is not set, makes the filter fail on the event. Where the
// specification leaves room:
//
//   - AND, OR and XOR bind equally and are applied from left to right, so
//     a OR b AND c is (a OR b) AND c. (The grammar file beside the specification
//     groups them from the right; the text of the specification wins.)
//   - NOT binds closer than LIKE, IN and the comparisons: NOT a = b is
//     (NOT a) = b.
//   - IN stops at the first element that is equal, and an element before that
//     which does not cast is an error.
//   - Arithmetic beyond 32 bits is an error.
//   - LENGTH, LEFT, RIGHT and SUBSTRING, and _ in LIKE, count characters.
//   - Unknown functions and wrong numbers of arguments are refused when the
//     filter is compiled, and so is a filter that can only result in a String or
//     an Integer.
//   - Two delimiters within a string literal are one, as in SQL.

// compileSQL makes the condition of a CloudEvents SQL expression.
func (env *Env) compileSQL(source string) (node, error) {
	n, problems := env.sqlCondition(source)
	return n, join(problems)
}

func (env *Env) sqlCondition(source string) (node, []*CompileError) {
	one := func(e *CompileError) (node, []*CompileError) { return node{}, []*CompileError{e} }
	switch {
	case len(source) > MaxSource:
		return one(problemAt(source, 0, fmt.Sprintf("the filter is %d bytes long; at most %d", len(source), MaxSource), ""))
	case !utf8.ValidString(source):
		return one(problemAt("", 0, "the filter is not valid UTF-8", ""))
	case strings.TrimSpace(source) == "":
		return one(problemAt(source, 0, "the filter is empty", ""))
	}
	parsed, problems := parseSQL(source)
	if len(problems) > 0 {
		return node{}, problems
	}
	if t := parsed.typ(); t != sqlBoolean && t != sqlAny {
		return one(problemAt(source, int(parsed.start), "the filter results in "+t.String()+", not in true or false", "compare it with something"))
	}
	parsed.fold()
	l := sqlLowering{env: env, source: source}
	var root node
	if parsed.op == sqlAttribute { // as it is, without a cast
		root = l.test(parsed.name, reachValue, node{test: isTrue})
	} else {
		root = l.condition(&parsed)
	}
	if !bounded(&root) {
		root = l.residual(&parsed)
	}
	root = l.anchored(root)
	for i, r := range root.residuals(nil) {
		r.(*sqlResidual).part = i
	}
	return root, nil
}
