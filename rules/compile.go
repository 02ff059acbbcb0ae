package rules

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Filter is what a rule says about the events that it takes, in one of four
// dialects. The empty Filter matches every event.
type Filter struct {
	// When is a CEL expression over event that results in true or false.
	When string
	// Pattern is an event pattern, as JSON.
	Pattern string
	// Filters is a list of filters of the CloudEvents Subscriptions API, as JSON.
	Filters string
	// SQL is a CloudEvents SQL expression.
	SQL string
}

// dialect is the language of a filter.
type dialect uint8

const (
	inCEL dialect = iota
	inPattern
	inFilters
	inSQL
)

// written is the filter's only dialect and its source.
func (f Filter) written() (d dialect, source string, err error) {
	n := 0
	for i, s := range [...]string{inCEL: f.When, inPattern: f.Pattern, inFilters: f.Filters, inSQL: f.SQL} {
		if s != "" {
			d, source = dialect(i), s
			n++
		}
	}
	if n > 1 {
		return d, source, errTwoDialects
	}
	return d, source, nil
}

var errTwoDialects = errors.New("a rule has one filter: when, pattern, filters or sql")

// Compile makes the Matcher of a filter. What is wrong with the filter is a
// *CompileError, or several of them, joined in the order of their places.
func (env *Env) Compile(f Filter) (*Matcher, error) {
	d, source, err := f.written()
	if err != nil {
		return nil, err
	}
	if source == "" {
		return &Matcher{record: env.records.next("")}, nil
	}
	shared, err := env.cache.get(cacheKey{d, source}, func() (*filter, error) { return env.compile(d, source) })
	if err != nil {
		return nil, err
	}
	m := &shared.first
	if shared.taken.Swap(true) {
		m = &Matcher{}
	}
	m.filter, m.env = shared, env
	m.record = shared.record
	if m.record == nil || m != &shared.first {
		m.record = env.records.next(shared.code())
	}
	return m, nil
}

func (env *Env) compile(d dialect, source string) (f *filter, err error) {
	f = &filter{dialect: d, source: source}
	root, class, ok := env.recall(d, source)
	if ok {
		f.class = class
		env.keep(f, &root)
		return f, nil
	}
	env.compiled.Add(1)
	switch d {
	case inCEL:
		root, err = env.compileCEL(source)
	case inPattern:
		root, err = env.compilePattern(source)
	case inFilters:
		root, err = env.compileFilters(source)
	case inSQL:
		root, err = env.compileSQL(source)
	}
	if err != nil {
		return nil, err
	}
	f.class = classOf(&root)
	env.keep(f, &root)
	return f, nil
}

// keep makes root the filter's condition: as code, if it has any.
func (env *Env) keep(f *filter, root *node) {
	if c, frame, ok := root.encode(); ok {
		f.record, f.root = env.records.next(c), &env.frames.of(&frame).node
		return
	}
	f.root = root.together(&env.nodes)
}

// compileCEL makes the condition of a CEL expression.
func (env *Env) compileCEL(source string) (node, error) {
	checked, err := env.check(source, "the filter")
	if err != nil {
		return node{}, err
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return node{}, compileError(source, 1, 1, fmt.Sprintf("the filter results in %s, not in true or false", cel.FormatCELType(t)),
			"compare it with something")
	}
	e := checked.NativeRep().Expr()
	l := lowering{env: env, source: source, keep: true}
	root := l.lower(e)
	if !bounded(&root) {
		root = node{kind: residualNode, more: &residue{env: env, source: source, part: wholeFilter, linear: straight(e)}}
		l.parts = []ast.Expr{e}
	}
	// What cannot be planned is wrong with the filter, and is to be said now.
	for _, e := range l.parts {
		if _, err := env.part(source, checked.NativeRep(), e); err != nil {
			return node{}, err
		}
	}
	return root, nil
}

// bounded reports whether a condition cannot take long: each of its residuals
// has a budget of its own, and some tests read all of a text. What has too many
// of them runs as a whole, with one budget.
func bounded(root *node) bool {
	budgets, linear, matches := 0, 0, 0
	root.walk(func(n *node) {
		switch {
		case n.kind == residualNode && n.more.(residual).straight():
			linear++
		case n.kind == residualNode:
			budgets++
		case n.kind == testNode && n.test == isMatch:
			matches++
		case n.kind == testNode && (n.test == contains || n.test == isLike || n.test == hasMember):
			linear++
		}
	})
	return budgets <= maxBudgets && linear <= maxLinearTests && matches <= maxMatches
}

// check parses and type-checks a source within the limits; what says whose
// expression it is, for error texts.
func (env *Env) check(source, what string) (*cel.Ast, error) {
	variable := "event"
	if env.enriching == nil {
		variable = enrichedVariable
	}
	return checkIn(env.cel, source, what, variable)
}

func checkIn(env *cel.Env, source, what, variable string) (*cel.Ast, error) {
	if len(source) > MaxSource {
		return nil, compileError(source, 1, 1, fmt.Sprintf("%s is %d bytes long; at most %d", what, len(source), MaxSource), "")
	}
	if !utf8.ValidString(source) {
		return nil, compileError("", 1, 1, what+" is not valid UTF-8", "")
	}
	if strings.TrimSpace(source) == "" {
		return nil, compileError(source, 1, 1, what+" is empty", "")
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, translate(env, source, what, variable, issues)
	}
	var problems []*CompileError
	native := checked.NativeRep()
	ast.PostOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		message, hint := refuse(e)
		if message == "" {
			return
		}
		at := native.SourceInfo().GetStartLocation(e.ID())
		problems = append(problems, compileError(source, at.Line(), at.Column()+1, message, hint))
	}))
	if err := join(problems); err != nil {
		return nil, err
	}
	return checked, nil
}

// refuse says what is wrong with an expression that CEL accepts, "" when
// nothing is.
func refuse(e ast.Expr) (message, hint string) {
	switch e.Kind() {
	case ast.StructKind:
		return fmt.Sprintf("a message %s cannot be constructed here", e.AsStruct().TypeName()), "use a map: {\"key\": value}"
	case ast.CallKind:
		call := e.AsCall()
		pattern := 1
		switch call.FunctionName() {
		case "matches":
			if call.IsMemberFunction() {
				pattern = 0
			}
		case "regex.extract", "regex.extractAll", "regex.replace":
		default:
			return "", ""
		}
		if len(call.Args()) <= pattern {
			return "", ""
		}
		arg := call.Args()[pattern]
		source, ok := "", false
		if arg.Kind() == ast.LiteralKind {
			source, ok = arg.AsLiteral().Value().(string)
		}
		if !ok {
			return fmt.Sprintf("the pattern of %s is not a literal", call.FunctionName()), "write the regular expression as text"
		}
		if _, err := regexp.Compile(source); err != nil {
			var s *syntax.Error
			if errors.As(err, &s) {
				return fmt.Sprintf("regular expression: %s: %q", s.Code, s.Expr), ""
			}
			return "regular expression: " + err.Error(), ""
		}
		if size, err := regexSize(source); err == nil && size > maxRegexProgram {
			return fmt.Sprintf("the regular expression is too large: %d steps; at most %d", size, maxRegexProgram), "shorten its repetitions"
		}
	}
	return "", ""
}

// straight reports whether an expression takes time at most linear in the
// event, so that it can run without a budget.
func straight(e ast.Expr) bool {
	linear, ok := 0, true
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			ok = false
		case ast.CallKind:
			call := e.AsCall()
			switch call.FunctionName() {
			case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional,
				operators.Index, operators.OptIndex, operators.OptSelect, operators.Negate,
				"startsWith", "endsWith", "hasValue", "value", "orValue", "or",
				"int", "double", "uint", "bool", "dyn", "type", "timestamp", "duration",
				"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear",
				"getHours", "getMinutes", "getSeconds", "getMilliseconds":
			case operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
			case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals,
				operators.Greater, operators.GreaterEquals, operators.In:
				if !literalAmong(call.Args()) {
					linear++
				}
			case "size", "contains":
				linear++
			default:
				ok = false
			}
		}
	}))
	return ok && linear <= maxLinearCalls
}

// literalAmong reports whether one of the arguments is written out, so that a
// comparison does not read more than that of the other.
func literalAmong(args []ast.Expr) bool {
	for _, a := range args {
		switch a.Kind() {
		case ast.LiteralKind:
			return true
		case ast.ListKind:
			for _, e := range a.AsList().Elements() {
				if e.Kind() != ast.LiteralKind {
					return false
				}
			}
			return true
		}
	}
	return false
}
