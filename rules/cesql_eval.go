package rules

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// sqlErrorKind is the type of an error, as the specification names them.
type sqlErrorKind uint8

const (
	sqlMathError sqlErrorKind = iota
	sqlCastError
	sqlMissingAttribute
	sqlFunctionError
)

// sqlError is what evaluation can fail with. Its text is only made when it is
// asked for.
type sqlError struct {
	kind  sqlErrorKind
	what  string   // the text, or the name of an attribute
	value sqlValue // of a cast
	to    sqlType
}

func (e *sqlError) Error() string {
	switch e.kind {
	case sqlCastError:
		return fmt.Sprintf("%q is not %s", excerpt(e.value.text), e.to)
	case sqlMissingAttribute:
		return missing(e.what).Error()
	}
	return e.what
}

var (
	errSQLOverflow = &sqlError{kind: sqlMathError, what: "the result is not an Integer of 32 bits"}
	errSQLZero     = &sqlError{kind: sqlMathError, what: "division by zero"}
	errSQLLength   = &sqlError{kind: sqlFunctionError, what: "the length is negative"}
	errSQLPosition = &sqlError{kind: sqlFunctionError, what: "the position is outside of the text"}
	errSQLWork     = &sqlError{kind: sqlFunctionError, what: "the expression takes too long on this event"}
)

// sqlRun is one evaluation. Its work is bounded: a function that reads or makes
// text spends as many bytes, and what an expression may spend grows with the
// event. (Without that, CONCAT_WS within CONCAT_WS would repeat a separator as
// often as the product of their arguments.)
type sqlRun struct {
	ev   *event.Event
	work int
}

// spend takes n bytes of work.
func (r *sqlRun) spend(n int) error {
	if r.work += n; r.work <= sqlWork*budgetStep {
		return nil
	}
	if r.ev == nil || r.work > sqlWork*max(r.ev.Size(), budgetStep) {
		return errSQLWork
	}
	return nil
}

// eval is the value of an expression. With an error it is the value that the
// specification has beside the error: the zero of its type, mostly.
func (r *sqlRun) eval(e *sqlExpr) (sqlValue, error) {
	switch e.op {
	case sqlLiteral:
		return e.value, nil
	case sqlAttribute:
		return r.attribute(e)
	case sqlExists:
		_, ok := r.ev.Attribute(e.name)
		return sqlBool(ok), nil
	case sqlNegate, sqlAdd, sqlSubtract, sqlMultiply, sqlDivide, sqlModulo:
		n, err := r.arithmetic(e)
		return sqlInt(n), err
	case sqlCall:
		return r.call(e)
	}
	b, err := r.condition(e)
	return sqlBool(b && err == nil), err
}

func (r *sqlRun) attribute(e *sqlExpr) (sqlValue, error) {
	a, ok := r.ev.Attribute(e.name)
	if !ok {
		return sqlBool(false), e.absent
	}
	switch a.Kind() {
	case event.KindInteger:
		return sqlInt(a.Integer()), nil
	case event.KindBoolean:
		return sqlBool(a.Boolean()), nil
	}
	return sqlStr(a.Text()), nil
}

// condition evaluates what results in a Boolean.
func (r *sqlRun) condition(e *sqlExpr) (bool, error) {
	switch e.op {
	case sqlNot:
		x, err := r.boolean(&e.args[0])
		return !x, err
	case sqlAnd, sqlOr:
		for i := range e.args {
			x, err := r.boolean(&e.args[i])
			if err != nil {
				return false, err
			}
			if x == (e.op == sqlOr) {
				return x, nil
			}
		}
		return e.op == sqlAnd, nil
	case sqlXor:
		x, err := r.boolean(&e.args[0])
		if err != nil {
			return false, err
		}
		y, err := r.boolean(&e.args[1])
		return x != y, err
	case sqlLike:
		x, err := r.text(&e.args[0])
		if err == nil {
			err = r.spend(len(x) * e.like.weight)
		}
		if err != nil {
			return false, err
		}
		return e.like.match(x), nil
	case sqlIn:
		return r.in(e)
	}
	return r.compare(e)
}

// in looks for the first argument among the others, each made its type in turn,
// up to the first that is equal.
func (r *sqlRun) in(e *sqlExpr) (bool, error) {
	x, err := r.eval(&e.args[0])
	if err != nil {
		return false, err
	}
	for i := 1; i < len(e.args); i++ {
		y, err := r.eval(&e.args[i])
		if err == nil {
			y, err = r.cast(y, x.typ)
		}
		if err == nil {
			err = r.spend(min(len(x.text), len(y.text)))
		}
		if err != nil {
			return false, err
		}
		if x == y {
			return true, nil
		}
	}
	return false, nil
}

// compare compares two values. For = and != the left one becomes the type of
// the right one; the others are for Integers.
func (r *sqlRun) compare(e *sqlExpr) (bool, error) {
	x, err := r.eval(&e.args[0])
	if err != nil {
		return false, err
	}
	y, err := r.eval(&e.args[1])
	if err != nil {
		return false, err
	}
	if e.op == sqlEqual || e.op == sqlNotEqual {
		x, err = r.cast(x, y.typ)
		if err == nil && x.typ == sqlString {
			err = r.spend(min(len(x.text), len(y.text)))
		}
		return (x == y) == (e.op == sqlEqual), err
	}
	if x, err = r.cast(x, sqlInt32); err != nil {
		return false, err
	}
	if y, err = r.cast(y, sqlInt32); err != nil {
		return false, err
	}
	switch e.op {
	case sqlLess:
		return x.num < y.num, nil
	case sqlAtMost:
		return x.num <= y.num, nil
	case sqlGreater:
		return x.num > y.num, nil
	}
	return x.num >= y.num, nil
}

// arithmetic evaluates what results in an Integer. What does not fit into 32
// bits is an error, and 0.
func (r *sqlRun) arithmetic(e *sqlExpr) (int32, error) {
	if e.op == sqlNegate {
		x, err := r.integer(&e.args[0])
		return fit(-int64(x), err)
	}
	// Both are evaluated before either is cast: a missing attribute is said first.
	a, err := r.eval(&e.args[0])
	if err != nil {
		return 0, err
	}
	b, err := r.eval(&e.args[1])
	if err != nil {
		return 0, err
	}
	if a, err = r.cast(a, sqlInt32); err != nil {
		return 0, err
	}
	if b, err = r.cast(b, sqlInt32); err != nil {
		return 0, err
	}
	x, y := int64(a.num), int64(b.num)
	switch e.op {
	case sqlAdd:
		return fit(x+y, nil)
	case sqlSubtract:
		return fit(x-y, nil)
	case sqlMultiply:
		return fit(x*y, nil)
	}
	if y == 0 {
		return 0, errSQLZero
	}
	if e.op == sqlDivide {
		return fit(x/y, nil)
	}
	return int32(x % y), nil
}

func fit(n int64, err error) (int32, error) {
	if err == nil && (n < math.MinInt32 || n > math.MaxInt32) {
		err = errSQLOverflow
	}
	if err != nil {
		return 0, err
	}
	return int32(n), nil
}

func (r *sqlRun) boolean(e *sqlExpr) (bool, error) {
	v, err := r.evalAs(e, sqlBoolean)
	return v.num != 0, err
}

func (r *sqlRun) integer(e *sqlExpr) (int32, error) {
	v, err := r.evalAs(e, sqlInt32)
	return v.num, err
}

func (r *sqlRun) text(e *sqlExpr) (string, error) {
	v, err := r.evalAs(e, sqlString)
	return v.text, err
}

func (r *sqlRun) evalAs(e *sqlExpr, t sqlType) (sqlValue, error) {
	v, err := r.eval(e)
	if err != nil {
		return sqlValue{typ: t}, err
	}
	return r.cast(v, t)
}

// runes is the number of characters of a text.
func (r *sqlRun) runes(s string) (int, error) {
	if err := r.spend(len(s)); err != nil {
		return 0, err
	}
	return utf8.RuneCountInString(s), nil
}
