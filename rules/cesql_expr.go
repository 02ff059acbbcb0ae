package rules

import "strings"

// sqlType is the type of a value of CloudEvents SQL.
type sqlType uint8

const (
	sqlBoolean sqlType = iota
	sqlInt32
	sqlString
	sqlAny // not known before there is an event, or any of the three
)

func (t sqlType) String() string {
	switch t {
	case sqlBoolean:
		return "a Boolean"
	case sqlInt32:
		return "an Integer"
	case sqlString:
		return "a String"
	}
	return "any type"
}

// sqlValue is a value: num of an Integer, 1 for true.
type sqlValue struct {
	typ  sqlType
	num  int32
	text string
}

func sqlBool(b bool) sqlValue {
	if b {
		return sqlValue{typ: sqlBoolean, num: 1}
	}
	return sqlValue{typ: sqlBoolean}
}

func sqlInt(n int32) sqlValue { return sqlValue{typ: sqlInt32, num: n} }

func sqlStr(s string) sqlValue { return sqlValue{typ: sqlString, text: s} }

// sqlOp is what an expression does with its arguments.
type sqlOp uint8

const (
	sqlLiteral   sqlOp = iota // value
	sqlAttribute              // name
	sqlExists                 // name
	sqlNot
	sqlNegate
	sqlAnd // of two or more, from the left
	sqlOr
	sqlXor
	sqlEqual
	sqlNotEqual
	sqlLess
	sqlAtMost
	sqlGreater
	sqlAtLeast
	sqlAdd
	sqlSubtract
	sqlMultiply
	sqlDivide
	sqlModulo
	sqlLike // like
	sqlIn   // the first argument in the others
	sqlCall // function
)

// sqlExpr is a parsed expression. It never changes once it is compiled.
type sqlExpr struct {
	op         sqlOp
	function   sqlFunction
	start, end int32 // in the source
	value      sqlValue
	name       string
	absent     *sqlError // of an attribute that the event does not have
	like       *sqlPattern
	args       []sqlExpr
}

// typ is the type of what the expression results in, as far as it is known
// without an event: an extension can have any.
func (e *sqlExpr) typ() sqlType {
	switch e.op {
	case sqlLiteral:
		return e.value.typ
	case sqlAttribute:
		if sqlTextual(e.name) {
			return sqlString
		}
		return sqlAny
	case sqlNegate, sqlAdd, sqlSubtract, sqlMultiply, sqlDivide, sqlModulo:
		return sqlInt32
	case sqlCall:
		return sqlFunctions[e.function].result
	}
	return sqlBoolean
}

// sqlTextual reports whether an attribute is a String in every event.
func sqlTextual(name string) bool { return alwaysText(name) || name == "time" }

// walk calls f for the expression and those within it.
func (e *sqlExpr) walk(f func(e *sqlExpr)) {
	f(e)
	for i := range e.args {
		e.args[i].walk(f)
	}
}

// fold replaces what has the same value for every event. What fails stays, for
// it fails only when it is asked, and so does what makes a long text.
func (e *sqlExpr) fold() {
	constant := e.op != sqlAttribute && e.op != sqlExists
	for i := range e.args {
		e.args[i].fold()
		constant = constant && e.args[i].op == sqlLiteral
	}
	if !constant || e.op == sqlLiteral {
		return
	}
	var run sqlRun
	if v, err := run.eval(e); err == nil && len(v.text) <= maxFolded {
		*e = sqlExpr{op: sqlLiteral, start: e.start, end: e.end, value: v}
	}
}

// sqlFunction is one of the functions.
type sqlFunction uint8

const (
	sqlABS sqlFunction = iota
	sqlBOOL
	sqlCONCAT
	sqlCONCATWS
	sqlINT
	sqlISBOOL
	sqlISINT
	sqlLEFT
	sqlLENGTH
	sqlLOWER
	sqlRIGHT
	sqlSTRING
	sqlSUBSTRING
	sqlTRIM
	sqlUPPER
)

// sqlFunctions says how each is called.
var sqlFunctions = [...]struct {
	name        string
	least, most int
	result      sqlType
	signature   string
}{
	sqlABS:       {"ABS", 1, 1, sqlInt32, "ABS(integer)"},
	sqlBOOL:      {"BOOL", 1, 1, sqlBoolean, "BOOL(value)"},
	sqlCONCAT:    {"CONCAT", 0, maxNodes, sqlString, "CONCAT(text, ...)"},
	sqlCONCATWS:  {"CONCAT_WS", 1, maxNodes, sqlString, "CONCAT_WS(separator, text, ...)"},
	sqlINT:       {"INT", 1, 1, sqlInt32, "INT(value)"},
	sqlISBOOL:    {"IS_BOOL", 1, 1, sqlBoolean, "IS_BOOL(value)"},
	sqlISINT:     {"IS_INT", 1, 1, sqlBoolean, "IS_INT(value)"},
	sqlLEFT:      {"LEFT", 2, 2, sqlString, "LEFT(text, length)"},
	sqlLENGTH:    {"LENGTH", 1, 1, sqlInt32, "LENGTH(text)"},
	sqlLOWER:     {"LOWER", 1, 1, sqlString, "LOWER(text)"},
	sqlRIGHT:     {"RIGHT", 2, 2, sqlString, "RIGHT(text, length)"},
	sqlSTRING:    {"STRING", 1, 1, sqlString, "STRING(value)"},
	sqlSUBSTRING: {"SUBSTRING", 2, 3, sqlString, "SUBSTRING(text, from) or SUBSTRING(text, from, length)"},
	sqlTRIM:      {"TRIM", 1, 1, sqlString, "TRIM(text)"},
	sqlUPPER:     {"UPPER", 1, 1, sqlString, "UPPER(text)"},
}

// sqlFunctionNamed finds a function by its name in any case; ok is false when
// there is none, and hint then says what there is.
func sqlFunctionNamed(name string) (f sqlFunction, hint string, ok bool) {
	names := make([]string, len(sqlFunctions))
	for i := range sqlFunctions {
		names[i] = sqlFunctions[i].name
		if strings.EqualFold(name, names[i]) {
			return sqlFunction(i), "", true
		}
	}
	return 0, nearest(strings.ToUpper(name), names, "functions"), false
}
