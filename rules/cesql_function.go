package rules

import (
	"math"
	"strings"
	"unicode/utf8"
)

// call evaluates a function.
func (r *sqlRun) call(e *sqlExpr) (sqlValue, error) {
	switch e.function {
	case sqlINT:
		return r.evalAs(&e.args[0], sqlInt32)
	case sqlBOOL:
		return r.evalAs(&e.args[0], sqlBoolean)
	case sqlSTRING:
		return r.evalAs(&e.args[0], sqlString)
	case sqlISINT, sqlISBOOL:
		to := sqlInt32
		if e.function == sqlISBOOL {
			to = sqlBoolean
		}
		x, err := r.eval(&e.args[0])
		if err != nil {
			return sqlBool(false), err
		}
		_, err = r.cast(x, to)
		return sqlBool(err == nil), nil
	case sqlABS:
		x, err := r.integer(&e.args[0])
		switch {
		case x == math.MinInt32:
			return sqlInt(math.MaxInt32), errSQLOverflow
		case x < 0:
			x = -x
		}
		return sqlInt(x), err
	case sqlCONCAT, sqlCONCATWS:
		s, err := r.concat(e)
		return sqlStr(s), err
	}
	x, err := r.text(&e.args[0])
	if err != nil {
		return sqlValue{typ: sqlFunctions[e.function].result}, err
	}
	if e.function == sqlLENGTH {
		n, err := r.runes(x)
		return sqlInt(int32(n)), err
	}
	s, err := r.textFunction(e, x)
	return sqlStr(s), err
}

// textFunction is a function from a text to a text.
func (r *sqlRun) textFunction(e *sqlExpr, x string) (string, error) {
	if err := r.spend(len(x)); err != nil {
		return "", err
	}
	switch e.function {
	case sqlLOWER:
		return strings.ToLower(x), nil
	case sqlUPPER:
		return strings.ToUpper(x), nil
	case sqlTRIM:
		return strings.TrimSpace(x), nil
	}
	y, err := r.integer(&e.args[1])
	if err != nil {
		return "", err
	}
	switch e.function {
	case sqlLEFT:
		if y < 0 {
			return x, errSQLLength
		}
		return x[:runeOffset(x, int(y))], nil
	case sqlRIGHT:
		if y < 0 {
			return x, errSQLLength
		}
		return x[runeOffset(x, utf8.RuneCountInString(x)-int(y)):], nil
	}
	length := int32(math.MaxInt32)
	if len(e.args) == 3 {
		if length, err = r.integer(&e.args[2]); err != nil {
			return "", err
		}
	}
	return substring(x, int(y), int(length))
}

// substring is up to length characters of s from position from on, which counts
// from 1, or back from the end when it is negative.
func substring(s string, from, length int) (string, error) {
	n := utf8.RuneCountInString(s)
	switch {
	case from > n || from < -n:
		return "", errSQLPosition
	case length < 0:
		return "", errSQLLength
	case from == 0:
		return "", nil
	case from < 0:
		from += n + 1
	}
	s = s[runeOffset(s, from-1):]
	return s[:runeOffset(s, length)], nil
}

// runeOffset is where the n-th character of s begins, from 0; len(s) when s has
// not as many.
func runeOffset(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}

func (r *sqlRun) concat(e *sqlExpr) (string, error) {
	args, separator := e.args, ""
	if e.function == sqlCONCATWS {
		s, err := r.text(&args[0])
		if err != nil {
			return "", err
		}
		args, separator = args[1:], s
	}
	var b strings.Builder
	for i := range args {
		s, err := r.text(&args[i])
		if i > 0 && err == nil {
			err = r.spend(len(separator))
			b.WriteString(separator)
		}
		if err == nil {
			err = r.spend(len(s))
		}
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}
