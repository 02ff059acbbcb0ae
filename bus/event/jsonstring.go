package event

import (
	"unicode/utf8"
	"unsafe"
)

// AppendJSONString appends s as a JSON string, quotes included. Only what must
// be escaped is; what is not UTF-8 becomes the replacement character.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if simple(s) {
		return append(append(dst, s...), '"')
	}
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	b := s
	for {
		i := plainString(b)
		dst = append(dst, b[:i]...)
		if i == len(b) {
			return append(dst, '"')
		}
		switch c := b[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		b = b[i+1:]
	}
}

// simple reports whether s is ASCII of which nothing must be escaped.
func simple(s string) bool {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if x := le64(s[i:]); (special(x)|x)&highs != 0 {
			return false
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// plainString is plain for a string, from its start.
func plainString(s string) int {
	return plain(unsafe.Slice(unsafe.StringData(s), len(s)), 0)
}
