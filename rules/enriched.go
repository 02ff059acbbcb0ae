package rules

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// enrichedVariable holds what a rule's enrichments answered. It is a map of JSON
// values and not a type with fields, so that all rules share one environment;
// names that a rule does not have are found in the checked expression.
const enrichedVariable = "enriched"

// enrichingEnv is an environment for expressions that see enriched too.
func enrichingEnv(base *cel.Env) (*Env, error) {
	env, err := base.Extend(cel.Variable(enrichedVariable, cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		return nil, err
	}
	return &Env{cel: env, exprs: newCache[exprKey, *Expr](cachedExprs)}, nil // expressions need nothing else of it
}

// CompileEnrichedExpr is CompileExpr for an expression that sees the variable
// enriched, an object that has these names. A name that it lacks is an error.
func (env *Env) CompileEnrichedExpr(source string, enriched []string) (*Expr, error) {
	if len(enriched) == 0 {
		return env.CompileExpr(source)
	}
	with, err := env.enriching()
	if err != nil {
		return nil, err
	}
	return with.compileExpr(source, enriched)
}

// EnrichmentName says why an answer cannot have this name in expressions, ""
// when it can.
func EnrichmentName(name string) string {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return "expressions read it as enriched.NAME, so it has letters, digits and _ only, and begins with no digit"
		}
	}
	switch {
	case name == "" || len(name) > 63:
		return "it has 1 to 63 characters"
	case slices.Contains(reservedWords(), name):
		return "CEL has a meaning of its own for it"
	}
	return ""
}

// reservedWords cannot be fields in CEL without quoting.
func reservedWords() []string {
	return []string{"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let",
		"loop", "namespace", "null", "package", "return", "true", "var", "void", "while"}
}

func isEnriched(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && strings.TrimPrefix(e.AsIdent(), ".") == enrichedVariable
}

// usedEnriched is which of the names an expression reads, in order; all of
// them, when it takes enriched as a whole.
func usedEnriched(source string, checked *ast.AST, names []string) ([]string, error) {
	var problems []*CompileError
	used := map[string]bool{}
	whole, stepped := 0, 0
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if isEnriched(e) {
			whole++
			return
		}
		name, at, constant := stepFromEnriched(e)
		if at == nil {
			return
		}
		stepped++
		switch {
		case !constant:
			problems = append(problems, enrichedError(source, checked, at, "an answer in enriched is read by its name", "write enriched."+names[0]))
		case slices.Contains(names, name):
			used[name] = true
		default:
			hint := nearest(name, names, "names of this rule")
			problems = append(problems, enrichedError(source, checked, at, fmt.Sprintf("enriched has no %q", name), hint))
		}
	}))
	if err := join(problems); err != nil {
		return nil, err
	}
	if whole > stepped {
		return slices.Sorted(slices.Values(names)), nil
	}
	return slices.DeleteFunc(slices.Sorted(slices.Values(names)), func(n string) bool { return !used[n] }), nil
}

// stepFromEnriched is the name that an expression reads of enriched, and the
// expression itself, nil when it is something else.
func stepFromEnriched(e ast.Expr) (name string, at ast.Expr, constant bool) {
	switch e.Kind() {
	case ast.SelectKind:
		if s := e.AsSelect(); isEnriched(s.Operand()) {
			return s.FieldName(), e, true
		}
	case ast.CallKind:
		call := e.AsCall()
		args := call.Args()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
		default:
			return "", nil, false
		}
		if len(args) != 2 || !isEnriched(args[0]) {
			return "", nil, false
		}
		if args[1].Kind() == ast.LiteralKind {
			name, constant = args[1].AsLiteral().Value().(string)
		}
		return name, e, constant
	}
	return "", nil, false
}

func enrichedError(source string, checked *ast.AST, at ast.Expr, message, hint string) *CompileError {
	place := checked.SourceInfo().GetStartLocation(at.ID())
	return compileError(source, place.Line(), place.Column()+1, message, hint)
}
