package rules

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Expr is a compiled expression over event that results in any value, as a
// transform has it.
type Expr struct {
	source   string
	root     branch
	enriched []string
}

// Scope is what an expression is evaluated on.
type Scope struct {
	Event *event.Event
	// Enriched is the variable enriched: an object of the answers by name; the
	// zero Node without.
	Enriched event.Node
	// Trial says that the event is tried out: an expression that takes too long
	// fails, and is not suspended for others.
	Trial bool
}

// Value is what an Expr results in: Node when it is a value of the event's own
// JSON data or of an answer in enriched, with its text as it came, else Val.
type Value struct {
	Node event.Node
	Val  ref.Val
}

// CompileExpr compiles an expression, unless an equal one was lately, which it is
// then. What is wrong with it is a *CompileError, or several of them, joined in
// the order of their places.
func (env *Env) CompileExpr(source string) (*Expr, error) {
	return env.compileExpr(source, nil)
}

func (env *Env) compileExpr(source string, enriched []string) (*Expr, error) {
	return env.exprs.get(exprKey{source, strings.Join(enriched, " ")}, func() (*Expr, error) { return env.newExpr(source, enriched) })
}

func (env *Env) newExpr(source string, enriched []string) (*Expr, error) {
	checked, err := env.check(source, "the expression")
	if err != nil {
		return nil, err
	}
	var used []string
	if len(enriched) > 0 {
		if used, err = usedEnriched(source, checked.NativeRep(), enriched); err != nil {
			return nil, err
		}
	}
	root, err := env.branch(source, checked.NativeRep(), checked.NativeRep().Expr())
	if err != nil {
		return nil, err
	}
	return &Expr{source: source, root: root, enriched: used}, nil
}

// Source is the expression as it was written.
func (x *Expr) Source() string { return x.source }

// Enriched names the answers that the expression reads, in order.
func (x *Expr) Enriched() []string { return x.enriched }

// Eval evaluates the expression. A path into event.data or enriched results in
// a Node; so do cond ? path : path and path.orValue(x) when a path is chosen.
// Nothing of the event is copied.
func (x *Expr) Eval(ev *event.Event) (Value, error) {
	return x.EvalIn(Scope{Event: ev})
}

// EvalIn is Eval with what there is beside the event.
func (x *Expr) EvalIn(s Scope) (Value, error) {
	return x.root.eval(&view{ev: s.Event, apart: s.Trial, enriched: s.Enriched})
}

// Try is Eval for an event that is tried out: an expression that takes too long
// fails, and is not suspended for others.
func (x *Expr) Try(ev *event.Event) (Value, error) {
	return x.EvalIn(Scope{Event: ev, Trial: true})
}

// branch is an expression whose value is the result of the whole: what stands
// within a condition or as a default is one again.
type branch struct {
	program  *program // of the whole branch
	path     *path    // when it is one
	cond     *program // of cond ? yes : no
	yes, no  *branch
	optional *path // of optional.orValue(no)
}

func (env *Env) branch(source string, whole *ast.AST, e ast.Expr) (branch, error) {
	var b branch
	var err error
	if b.program, err = env.part(source, whole, e); err != nil {
		return b, err
	}
	if p, ok := pathOf(e); ok {
		if !p.optional() {
			b.path = p
		}
		return b, nil
	}
	if e.Kind() != ast.CallKind {
		return b, nil
	}
	call := e.AsCall()
	switch {
	case call.FunctionName() == operators.Conditional:
		args := call.Args()
		if b.cond, err = env.part(source, whole, args[0]); err != nil {
			return b, err
		}
		yes, err := env.branch(source, whole, args[1])
		if err != nil {
			return b, err
		}
		no, err := env.branch(source, whole, args[2])
		if err != nil {
			return b, err
		}
		b.yes, b.no = &yes, &no
	case call.FunctionName() == "orValue" && call.IsMemberFunction():
		p, ok := pathOf(call.Target())
		if !ok {
			return b, nil
		}
		no, err := env.branch(source, whole, call.Args()[0])
		if err != nil {
			return b, err
		}
		b.optional, b.no = p, &no
	}
	return b, nil
}

// part is the program of one part of an expression.
func (env *Env) part(source string, whole *ast.AST, e ast.Expr) (*program, error) {
	if e != whole.Expr() {
		whole = ast.NewCheckedAST(ast.NewAST(e, whole.SourceInfo()), whole.TypeMap(), whole.ReferenceMap())
	}
	return newProgram(env.cel, source, whole)
}

func (b *branch) eval(v *view) (Value, error) {
	switch {
	case b.path != nil:
		if n, state := b.path.resolve(v); state == found {
			return Value{Node: n}, nil
		}
	case b.cond != nil:
		yes, err := b.cond.test(v)
		if err != nil {
			return Value{}, err
		}
		if yes {
			return b.yes.eval(v)
		}
		return b.no.eval(v)
	case b.optional != nil:
		switch n, state := b.optional.resolve(v); state {
		case found:
			return Value{Node: n}, nil
		case absent:
			return b.no.eval(v)
		}
	}
	out, err := b.program.run(v, v.ev.Size()+len(v.enriched.Raw()))
	if err != nil {
		return Value{}, err
	}
	switch val := out.(type) {
	case *object:
		return Value{Node: val.node}, nil
	case *array:
		return Value{Node: val.node}, nil
	}
	return Value{Val: out}, nil
}

// path is a chain of constant steps from event.data, or from enriched.
type path struct {
	steps    []step
	maybe    bool // event.?data: there may be no data
	enriched bool
}

type step struct {
	key      string
	index    int // of an array; -1 with a key
	optional bool
}

// resolution is what became of a path.
type resolution uint8

const (
	failed resolution = iota // CEL is asked, which says what is wrong
	found
	absent // at an optional step
)

func (p *path) optional() bool {
	if p.maybe {
		return true
	}
	for _, s := range p.steps {
		if s.optional {
			return true
		}
	}
	return false
}

func (p *path) resolve(v *view) (event.Node, resolution) {
	n := v.enriched
	if !p.enriched {
		tree := v.ev.Tree()
		if tree == nil {
			return event.Node{}, failed
		}
		n = tree.Root()
	}
	optional := false
	for _, s := range p.steps {
		optional = optional || s.optional
		var next event.Node
		var ok bool
		switch n.Kind() {
		case event.Object:
			if s.index >= 0 {
				return event.Node{}, failed
			}
			next, ok = n.Get(s.key)
		case event.Array:
			if s.index < 0 {
				return event.Node{}, failed
			}
			next, ok = n.Index(s.index)
		}
		if !ok {
			if optional {
				return event.Node{}, absent
			}
			return event.Node{}, failed
		}
		n = next
	}
	return n, found
}

// pathOf recognizes event.data.a["b"][0] and enriched.a["b"][0], with optional
// steps.
func pathOf(e ast.Expr) (*path, bool) {
	var p path
	if !p.add(e) {
		return nil, false
	}
	return &p, true
}

func (p *path) add(e ast.Expr) bool {
	var operand ast.Expr
	var s step
	switch e.Kind() {
	case ast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() {
			return false
		}
		operand, s = sel.Operand(), step{key: sel.FieldName(), index: -1}
	case ast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
		default:
			return false
		}
		args := call.Args()
		if len(args) != 2 || args[1].Kind() != ast.LiteralKind {
			return false
		}
		operand = args[0]
		switch key := args[1].AsLiteral().Value().(type) {
		case string:
			s = step{key: key, index: -1}
		case int64:
			if key < 0 || key > 1<<30 {
				return false
			}
			s = step{index: int(key)}
		default:
			return false
		}
		s.optional = call.FunctionName() != operators.Index
	default:
		return false
	}
	if operand.Kind() == ast.IdentKind {
		if isEnriched(operand) {
			p.enriched = true
			p.steps = append(p.steps, s)
			return true
		}
		p.maybe = s.optional
		return strings.TrimPrefix(operand.AsIdent(), ".") == "event" && s.key == "data"
	}
	if !p.add(operand) {
		return false
	}
	p.steps = append(p.steps, s)
	return true
}
