package rules

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// defaultMacros give a value to what may be missing. They are expanded when the
// source is parsed, so that nothing is evaluated twice or in vain and a path
// into event.data still copies the text that it points at:
//
//	default(event.data.a.b, 0)   event.?data.?a.?b.orValue(0)
//	coalesce(event.data.a, 0)    event.?data.?a.orValue(null) != null ? event.data.a : 0
func defaultMacros() []cel.EnvOption {
	return []cel.EnvOption{cel.Macros(
		cel.GlobalMacro("default", 2, expandDefault),
		cel.GlobalVarArgMacro("coalesce", expandCoalesce),
	)}
}

func expandDefault(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	path, ok := optionalPath(f, args[0])
	if !ok {
		return nil, f.NewError(args[0].ID(), `default takes a path that may be missing, such as event.data.a.b, and what to take then`)
	}
	return f.NewMemberCall("orValue", path, args[1]), nil
}

func expandCoalesce(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	if len(args) < 2 {
		return nil, f.NewError(0, `coalesce takes paths that may be missing or null, and at last what to take then`)
	}
	result := args[len(args)-1]
	if !plainPath(result) {
		result = f.NewCall("dyn", result) // it may be of another type than the paths
	}
	for i := len(args) - 2; i >= 0; i-- {
		if !plainPath(args[i]) {
			return nil, f.NewError(args[i].ID(), `coalesce takes paths with written keys, such as event.data.a["b"][0]; only the last argument may be another expression`)
		}
		path, _ := optionalPath(f, f.Copy(args[i]))
		null := f.NewCall("dyn", f.NewLiteral(types.NullValue))
		there := f.NewCall(operators.NotEquals, f.NewMemberCall("orValue", path, null), f.NewLiteral(types.NullValue))
		result = f.NewCall(operators.Conditional, there, args[i], result)
	}
	return result, nil
}

// optionalPath is a chain of fields and indexes with each step made optional;
// ok is false when there is no step.
func optionalPath(f cel.MacroExprFactory, e ast.Expr) (out ast.Expr, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() {
			return nil, false
		}
		return f.NewCall(operators.OptSelect, inner(f, s.Operand()), f.NewLiteral(types.String(s.FieldName()))), true
	case ast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex:
			return f.NewCall(operators.OptIndex, inner(f, call.Args()[0]), call.Args()[1]), true
		case operators.OptSelect:
			return f.NewCall(operators.OptSelect, inner(f, call.Args()[0]), call.Args()[1]), true
		}
	}
	return nil, false
}

// inner is what a path starts with, its own steps made optional.
func inner(f cel.MacroExprFactory, e ast.Expr) ast.Expr {
	if out, ok := optionalPath(f, e); ok {
		return out
	}
	return e
}

// plainPath reports whether e is a variable with steps that are written out,
// which cost little to evaluate twice.
func plainPath(e ast.Expr) bool {
	for steps := 0; ; steps++ {
		switch e.Kind() {
		case ast.IdentKind:
			return steps > 0
		case ast.SelectKind:
			if e.AsSelect().IsTestOnly() {
				return false
			}
			e = e.AsSelect().Operand()
		case ast.CallKind:
			call := e.AsCall()
			if call.FunctionName() != operators.Index || call.Args()[1].Kind() != ast.LiteralKind {
				return false
			}
			e = call.Args()[0]
		default:
			return false
		}
	}
}
