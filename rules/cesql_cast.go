package rules

import (
	"math"
	"strconv"
	"strings"
)

// cast makes v a value of type t, or the zero value and an error.
func (r *sqlRun) cast(v sqlValue, t sqlType) (sqlValue, error) {
	if v.typ == t {
		return v, nil
	}
	switch t {
	case sqlString:
		if v.typ == sqlInt32 {
			return sqlStr(strconv.FormatInt(int64(v.num), 10)), nil
		}
		return sqlStr(strconv.FormatBool(v.num != 0)), nil
	case sqlBoolean:
		switch {
		case v.typ == sqlInt32:
			return sqlBool(v.num != 0), nil
		case asciiFold(v.text, "true"):
			return sqlBool(true), nil
		case asciiFold(v.text, "false"):
			return sqlBool(false), nil
		}
	default:
		if v.typ == sqlBoolean {
			return sqlInt(v.num), nil
		}
		if err := r.spend(len(v.text)); err != nil {
			return sqlInt(0), err
		}
		if n, ok := decimal(v.text); ok {
			return sqlInt(n), nil
		}
	}
	return sqlValue{typ: t}, &sqlError{kind: sqlCastError, value: v, to: t}
}

// asciiFold reports whether s is lower, which is in lower case, but for the case
// of ASCII letters.
func asciiFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != lower[i] && (c < 'A' || c > 'Z' || c|0x20 != lower[i]) {
			return false
		}
	}
	return true
}

// decimal reads digits with an optional sign, of any length as long as the
// number fits.
func decimal(s string) (int32, bool) {
	digits := strings.TrimPrefix(s, "-")
	negative := len(digits) < len(s)
	if !negative {
		digits = strings.TrimPrefix(s, "+")
	}
	var n int64
	for i := range len(digits) {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		if n = n*10 + int64(c); n > -math.MinInt32 {
			return 0, false
		}
	}
	if negative {
		n = -n
	}
	return int32(n), digits != "" && n <= math.MaxInt32
}
