package event

import (
	"unicode/utf8"
	"unsafe"
)

// AppendJSONString appends s as a JSON string, quotes included. Only what must
// be escaped is; what is not UTF-8 becomes the replacement character.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
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

// plainString is plain for a string, from its start.
func plainString(s string) int {
	return plain(unsafe.Slice(unsafe.StringData(s), len(s)), 0)
}
