package rules

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"
)

// clauses takes the filter apart as its author wrote it.
func (f *filter) clauses(env *Env, redact func(string) string) clause {
	w := &writer{dialect: f.dialect, source: f.source, redact: redact}
	root := f.tree()
	switch f.dialect {
	case inCEL:
	case inSQL:
		return f.sqlClauses(env, w)
	default:
		return w.clause(root, false)
	}
	checked, err := env.check(f.source, "the filter")
	if err != nil { // it was compiled before
		return w.clause(root, false)
	}
	e := checked.NativeRep().Expr()
	c := celClauses{writer: w, info: checked.NativeRep().SourceInfo(), lower: lowering{env: env, source: f.source, known: map[int32]*residue{}}}
	root.walk(func(n *node) {
		var r *residue
		switch more := n.more.(type) {
		case *residue:
			r = more
		case *expression:
			r = more.long
		}
		if r != nil {
			c.lower.known[r.part] = r
		}
	})
	if c.lower.known[wholeFilter] != nil {
		return c.leaf(e, *root, false)
	}
	return c.clause(e, false)
}

// celClauses makes clauses of a CEL expression. They have the residues of the
// filter, which are planned already.
type celClauses struct {
	*writer
	info  *ast.SourceInfo
	lower lowering
}

func (c *celClauses) clause(e ast.Expr, negated bool) clause {
	e = undyn(e)
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		switch name := call.FunctionName(); name {
		case operators.LogicalAnd, operators.LogicalOr:
			kind := andNode
			if (name == operators.LogicalOr) != negated {
				kind = orNode
			}
			out := clause{kind: kind}
			for _, part := range flatten(nil, e, name) {
				out.kids = append(out.kids, c.clause(part, negated))
			}
			return out
		case operators.LogicalNot:
			return c.clause(call.Args()[0], !negated)
		case operators.Conditional:
			args := call.Args()
			return clause{kind: ifNode, kids: []clause{c.clause(args[0], false), c.clause(args[1], negated), c.clause(args[2], negated)}}
		}
	}
	return c.leaf(e, c.lower.lower(e), negated)
}

// leaf is a condition.
func (c *celClauses) leaf(e ast.Expr, test node, negated bool) clause {
	text, err := parser.Unparse(e, c.info)
	if err != nil {
		text = strings.Join(strings.Fields(c.source), " ")
	}
	text = c.shown(text)
	out := clause{kind: testNode, text: text, test: test, write: c.writer, reads: c.lower.env.readsOf(c.source, e)}
	if negated {
		out.test, out.text = not(test), "!("+text+")"
	}
	out.text = shortened(out.text, textMost)
	return out
}

// sqlClauses takes a filter in SQL apart.
func (f *filter) sqlClauses(env *Env, w *writer) clause {
	e, problems := parseSQL(f.source)
	root := f.tree()
	r, whole := root.more.(*sqlResidual)
	whole = whole && r.text() == f.source[e.start:e.end]
	if len(problems) > 0 || e.op == sqlAttribute || whole && e.op != sqlAnd && e.op != sqlOr && e.op != sqlNot {
		return w.clause(root, false)
	}
	e.fold()
	c := sqlClauses{writer: w, lower: sqlLowering{env: env, source: f.source}}
	return c.clause(&e, false)
}

// sqlClauses makes clauses of an expression in SQL.
type sqlClauses struct {
	*writer
	lower sqlLowering
}

func (c *sqlClauses) clause(e *sqlExpr, negated bool) clause {
	kind := andThenNode
	switch e.op {
	case sqlNot:
		return c.clause(&e.args[0], !negated)
	case sqlOr:
		kind = orElseNode
		fallthrough
	case sqlAnd:
		if negated {
			kind = kind.opposite()
		}
		out := clause{kind: kind}
		for i := range e.args {
			out.kids = append(out.kids, c.clause(&e.args[i], negated))
		}
		return out
	}
	text := c.shown(strings.Join(strings.Fields(c.source[e.start:e.end]), " "))
	out := clause{kind: testNode, text: shortened(c.negation(text, negated), textMost), test: c.lower.condition(e), write: c.writer, reads: sqlReads(e)}
	if negated {
		out.test = not(out.test)
	}
	return out
}

// clause is the clause of a condition of another dialect.
func (w *writer) clause(n *node, negated bool) clause {
	kind := n.kind
	shown := n.behindGuard()
	switch {
	case shown != n:
	case w.dialect == inPattern && n.about() != nil:
	case kind == notNode:
		return w.clause(&n.kids()[0], !negated)
	case kind == andNode || kind == orNode || kind == andThenNode || kind == orElseNode || kind == ifNode:
		if negated {
			kind = kind.opposite()
		}
		out := clause{kind: kind}
		for i := range n.kids() {
			out.kids = append(out.kids, w.clause(&n.kids()[i], negated && (kind != ifNode || i > 0)))
		}
		return out
	case kind == patternNode && !negated:
		shadow := n.more.(*pattern).shadow()
		return clause{kind: kind, text: "detail as a whole", test: *n, write: w, kids: []clause{w.clause(&shadow, false)}}
	}
	out := clause{kind: testNode, test: *n, write: w, text: shortened(w.text(shown, negated), textMost)}
	switch r := shown.more.(type) {
	case *sqlResidual:
		out.reads = sqlReads(r.expr())
	case *sqlDecided:
		if e, problems := parseSQL(r.source); len(problems) == 0 {
			out.reads = sqlReads(&e)
		}
	case *numericAttribute:
		out.reads = []read{{attr: r.place.attr, bare: true}}
	}
	if negated {
		out.test = not(*n)
	}
	return out
}

// behindGuard is the condition without a test that stands before it for an index
// only.
func (n *node) behindGuard() *node {
	k := n.kids()
	if len(k) != 2 || k[0].kind != testNode {
		return n
	}
	_, numeric := k[1].more.(*numericAttribute)
	switch {
	case n.kind == andThenNode && k[0].test == hasPrefix && k[0].text() == "",
		n.kind == andNode && k[0].test == exists && numeric:
		return &k[1]
	}
	return n
}

// opposite is what a negated conjunction or disjunction is of negated parts.
func (k nodeKind) opposite() nodeKind {
	switch k {
	case andNode:
		return orNode
	case orNode:
		return andNode
	case andThenNode:
		return orElseNode
	case orElseNode:
		return andThenNode
	}
	return k
}

// about is the place that all tests of a condition look at, nil when there are
// several or what else there is.
func (n *node) about() *place {
	var p *place
	ok := true
	n.walk(func(n *node) {
		switch n.kind {
		case testNode:
			ok = ok && (p == nil || p == n.place)
			p = n.place
		case andNode, orNode, notNode, andThenNode, orElseNode:
		default:
			ok = false
		}
	})
	if !ok {
		return nil
	}
	return p
}
