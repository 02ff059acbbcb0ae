package rules

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// sqlParser makes an expression of a source. It stops at the first place where
// it does not understand the source, but goes on after names that are wrong.
type sqlParser struct {
	lex      sqlLexer
	token    sqlToken
	last     int // where the token before ended
	depth    int
	nodes    int
	problems []*CompileError
}

// parseSQL parses a source that is within the limits of size. The problems are
// in the order of their places.
func parseSQL(source string) (sqlExpr, []*CompileError) {
	p := sqlParser{lex: sqlLexer{source: source}}
	p.advance()
	e := p.binary(0)
	if p.token.kind != sqlEnd {
		p.unexpected("an operator or the end")
	}
	if p.lex.fault != nil {
		p.problems = append(p.problems, p.lex.fault)
	}
	slices.SortStableFunc(p.problems, byPlace)
	return e, p.problems
}

func (p *sqlParser) advance() {
	p.last = p.token.end
	p.token = p.lex.next()
}

func (p *sqlParser) fail(at int, message, hint string) {
	p.token = p.lex.fail(at, message, hint)
}

// problem is one after which the parser goes on.
func (p *sqlParser) problem(at int, message, hint string) {
	if p.lex.fault == nil && len(p.problems) < maxProblems {
		p.problems = append(p.problems, problemAt(p.lex.source, at, message, hint))
	}
}

func (p *sqlParser) unexpected(expected string) {
	if p.lex.fault != nil {
		return
	}
	at, found := p.token.start, "the end"
	if p.token.kind != sqlEnd {
		found = excerpt(p.lex.source[at:p.token.end])
	}
	switch strings.ToUpper(found) {
	case "IS":
		p.fail(at, "unexpected "+found, "write EXISTS subject, or NOT EXISTS subject for one that is not set")
	case "ILIKE":
		p.fail(at, "unexpected "+found, "write LOWER(subject) LIKE 'a%'")
	default:
		p.fail(at, "unexpected "+found, "expected "+expected)
	}
}

// excerpt shortens what is quoted in an error.
func excerpt(s string) string {
	const most = 40
	for i := range s {
		if i > most {
			return s[:i] + "..."
		}
	}
	return s
}

// take goes past a symbol or keyword when it is next.
func (p *sqlParser) take(text string) bool {
	if !p.at(text) {
		return false
	}
	p.advance()
	return true
}

func (p *sqlParser) at(text string) bool {
	return (p.token.kind == sqlSymbol || p.token.keyword) && p.token.text == text
}

func (p *sqlParser) expect(text string) {
	if !p.take(text) {
		p.unexpected(text)
	}
}

// node counts an expression that begins at start and ends before the token.
func (p *sqlParser) node(e sqlExpr, start int) sqlExpr {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(start, fmt.Sprintf("the expression has more than %d parts", maxNodes), "")
	}
	e.start, e.end = int32(start), int32(p.last)
	return e
}

// sqlLevels are the operators between two expressions, from those that bind
// least. Those of one level are applied from left to right; AND, OR and XOR are
// one level.
var sqlLevels = [...][]struct {
	text string
	op   sqlOp
}{
	{{"AND", sqlAnd}, {"OR", sqlOr}, {"XOR", sqlXor}},
	{{"=", sqlEqual}, {"!=", sqlNotEqual}, {"<>", sqlNotEqual}, {"<=", sqlAtMost}, {">=", sqlAtLeast}, {"<", sqlLess}, {">", sqlGreater}},
	{{"+", sqlAdd}, {"-", sqlSubtract}},
	{{"*", sqlMultiply}, {"/", sqlDivide}, {"%", sqlModulo}},
}

func (p *sqlParser) binary(level int) sqlExpr {
	if level == len(sqlLevels) {
		return p.postfix()
	}
	start := p.token.start
	left := p.binary(level + 1)
next:
	for {
		for _, o := range sqlLevels[level] {
			if !p.take(o.text) {
				continue
			}
			right := p.binary(level + 1)
			if (o.op == sqlAnd || o.op == sqlOr) && left.op == o.op { // a long chain is one expression
				left.args = append(left.args, right)
				left.end = int32(p.last)
				continue next
			}
			left = p.node(sqlExpr{op: o.op, args: []sqlExpr{left, right}}, start)
			continue next
		}
		return left
	}
}

// postfix is an expression and the LIKE and IN after it.
func (p *sqlParser) postfix() sqlExpr {
	start := p.token.start
	e := p.prefix()
	for {
		not := p.take("NOT")
		switch {
		case p.take("LIKE"):
			pattern := p.token
			if pattern.kind != sqlText {
				p.unexpected("a string literal")
				return e
			}
			p.advance()
			e = p.node(sqlExpr{op: sqlLike, args: []sqlExpr{e}, like: newSQLPattern(pattern.text)}, start)
		case p.take("IN"):
			e = p.node(sqlExpr{op: sqlIn, args: append([]sqlExpr{e}, p.list()...)}, start)
		case not:
			p.unexpected("LIKE or IN")
			return e
		default:
			return e
		}
		if not {
			e = p.node(sqlExpr{op: sqlNot, args: []sqlExpr{e}}, start)
		}
	}
}

// list is one or more expressions in parentheses.
func (p *sqlParser) list() []sqlExpr {
	p.expect("(")
	defer p.leave()
	if !p.enter() {
		return nil
	}
	var list []sqlExpr
	for {
		list = append(list, p.binary(0))
		if !p.take(",") {
			break
		}
	}
	if !p.take(")") {
		p.unexpected(", or )")
	}
	return list
}

// enter bounds how deep the parser goes; leave is called in any case.
func (p *sqlParser) enter() bool {
	if p.depth++; p.depth <= maxNesting {
		return true
	}
	p.fail(p.last, fmt.Sprintf("parts of the expression stand more than %d deep in each other", maxNesting), "")
	return false
}

func (p *sqlParser) leave() { p.depth-- }

// prefix is an operand. NOT and - bind closer than all operators that stand
// between or after operands.
func (p *sqlParser) prefix() sqlExpr {
	defer p.leave()
	if !p.enter() {
		return sqlExpr{}
	}
	t := p.token
	switch {
	case t.kind == sqlInteger:
		p.advance()
		return p.integer(t.start, t.text)
	case t.kind == sqlText:
		p.advance()
		return p.node(sqlExpr{op: sqlLiteral, value: sqlStr(t.text)}, t.start)
	case p.take("TRUE"):
		return p.node(sqlExpr{op: sqlLiteral, value: sqlBool(true)}, t.start)
	case p.take("FALSE"):
		return p.node(sqlExpr{op: sqlLiteral, value: sqlBool(false)}, t.start)
	case p.take("NOT"):
		x := p.prefix()
		return p.node(sqlExpr{op: sqlNot, args: []sqlExpr{x}}, t.start)
	case p.take("EXISTS"):
		return p.exists(t.start)
	case p.take("-"), p.take("+"):
		if n := p.token; n.kind == sqlInteger && n.start == t.end {
			p.advance()
			return p.integer(t.start, t.text+n.text)
		}
		if t.text == "+" {
			p.fail(t.start, "unexpected +", "a + before an operand is the sign of a number")
			return sqlExpr{}
		}
		x := p.prefix()
		return p.node(sqlExpr{op: sqlNegate, args: []sqlExpr{x}}, t.start)
	case p.take("("):
		e := p.binary(0)
		p.expect(")")
		e.start, e.end = int32(t.start), int32(p.last)
		return e
	case t.kind == sqlWord && !t.keyword:
		p.advance()
		if p.at("(") {
			return p.call(t)
		}
		return p.attribute(sqlAttribute, t, t.start)
	}
	p.unexpected("an attribute, a literal, a function, NOT, EXISTS or (")
	return sqlExpr{}
}

func (p *sqlParser) integer(start int, text string) sqlExpr {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		p.problem(start, "the number is not an Integer", fmt.Sprintf("an Integer is from %d to %d", math.MinInt32, math.MaxInt32))
	}
	return p.node(sqlExpr{op: sqlLiteral, value: sqlInt(int32(n))}, start)
}

func (p *sqlParser) exists(start int) sqlExpr {
	t := p.token
	if t.kind != sqlWord || t.keyword {
		p.unexpected("an attribute")
		return sqlExpr{}
	}
	p.advance()
	return p.attribute(sqlExists, t, start)
}

// attribute is an attribute's name, which may be written in any case.
func (p *sqlParser) attribute(op sqlOp, t sqlToken, start int) sqlExpr {
	name := strings.ToLower(t.text)
	switch {
	case name == "data":
		p.problem(t.start, "sql does not see the data", "use when or pattern for it")
	case strings.Contains(name, "_"):
		hint := "names of attributes are letters and digits"
		if f, _, ok := sqlFunctionNamed(name); ok {
			hint = "the function is " + sqlFunctions[f].signature
		}
		p.problem(t.start, t.text+" is not an attribute", hint)
	}
	return p.node(sqlExpr{op: op, name: name, absent: &sqlError{kind: sqlMissingAttribute, what: name}}, start)
}

func (p *sqlParser) call(name sqlToken) sqlExpr {
	f, hint, known := sqlFunctionNamed(name.text)
	if !known {
		p.problem(name.start, "there is no function "+excerpt(name.text), hint)
	}
	var args []sqlExpr
	p.take("(")
	if !p.take(")") {
		for {
			args = append(args, p.binary(0))
			if !p.take(",") {
				break
			}
		}
		if !p.take(")") {
			p.unexpected(", or )")
		}
	}
	if spec := &sqlFunctions[f]; known && (len(args) < spec.least || len(args) > spec.most) {
		p.problem(name.start, fmt.Sprintf("there is no function %s of %s", spec.name, arguments(len(args))), "it is "+spec.signature)
	}
	return p.node(sqlExpr{op: sqlCall, function: f, args: args}, name.start)
}

func arguments(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "one argument"
	}
	return strconv.Itoa(n) + " arguments"
}
