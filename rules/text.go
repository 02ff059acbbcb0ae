package rules

import (
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// ScalarText is the text of a string, number, bool, timestamp or duration: a
// whole number has no exponent. It is "" for any other value.
func ScalarText(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return string(v)
	case types.Bool:
		return strconv.FormatBool(bool(v))
	case types.Int:
		return strconv.FormatInt(int64(v), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10)
	case types.Double:
		return floatText(float64(v))
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano)
	case types.Duration:
		return v.Duration.String()
	}
	return ""
}

func floatText(f float64) string {
	if f == math.Trunc(f) && !math.IsInf(f, 0) {
		if f == 0 {
			return "0"
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// NumberText is a JSON number as text: its own digits, without an exponent when
// it is a whole number.
func NumberText(token string) string {
	at := strings.IndexAny(token, "eE")
	if at < 0 {
		return token
	}
	exponent, err := strconv.Atoi(strings.TrimPrefix(token[at+1:], "+"))
	if err != nil || exponent > 400 || exponent < -400 {
		return token
	}
	sign, digits := "", token[:at]
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	fraction = strings.TrimRight(fraction, "0")
	switch {
	case exponent >= len(fraction):
		whole += fraction + strings.Repeat("0", exponent-len(fraction))
	case fraction == "" && exponent < 0 && len(whole) > -exponent && strings.Trim(whole[len(whole)+exponent:], "0") == "":
		whole = whole[:len(whole)+exponent]
	default:
		return token
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		return "0"
	}
	return sign + whole
}
