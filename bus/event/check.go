package event

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// MaxNameLength is how many bytes an attribute's name may have; CloudEvents
// advises producers to stay within 20.
const MaxNameLength = 64

// MaxAttributes is how many attributes one event may have in all.
const MaxAttributes = 256

// The checks below return what is wrong in a few words, "" when all is well.

// checkName checks an attribute's name (CloudEvents core, "Naming Conventions").
func checkName(name string) string {
	switch {
	case name == "":
		return "an attribute's name is empty"
	case len(name) > MaxNameLength:
		return "an attribute's name is longer than 64 bytes"
	case name == "data":
		return "data is not the name of an attribute"
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c-'0' > 9 && c-'a' > 25 {
			return "an attribute's name is made of a-z and 0-9 only"
		}
	}
	return ""
}

// checkText checks a value of the type String (CloudEvents core, "Type
// System"): no control characters, noncharacters or surrogates.
func checkText(s string) string {
	for i := 0; i < len(s); {
		i += printable(s[i:])
		if i >= len(s) {
			break
		}
		if c := s[i]; c < 0x20 || c == 0x7F {
			return quote(s) + " holds a control character"
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return quote(s) + " is not valid UTF-8"
		case r <= 0x9F:
			return quote(s) + " holds a control character"
		case r >= 0xFDD0 && r <= 0xFDEF, r&0xFFFE == 0xFFFE:
			return quote(s) + " holds a noncharacter of Unicode"
		}
		i += n
	}
	return ""
}

// printable returns how many bytes s begins with that are printable ASCII.
func printable(s string) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := binary.LittleEndian.Uint64([]byte(s[i : i+8]))
		d := x ^ (ones * 0x7F)
		m := ((x-ones*0x20)&^x | (d-ones)&^d | x) & highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(s) && s[i] >= 0x20 && s[i] < 0x7F; i++ {
	}
	return i
}

// checkMediaType checks a media type with its parameters (RFC 2046 §1, in the
// grammar of RFC 9110 §8.3.1).
func checkMediaType(s string) string {
	bad := func() string { return quote(s) + " is not a media type such as application/json" }
	i := tokenEnd(s, 0)
	if i == 0 || i >= len(s) || s[i] != '/' {
		return bad()
	}
	end := tokenEnd(s, i+1)
	if end == i+1 {
		return bad()
	}
	for i = end; i < len(s); {
		i = blankEnd(s, i)
		if i == len(s) || s[i] != ';' {
			return bad()
		}
		i = blankEnd(s, i+1)
		if i == len(s) || s[i] == ';' {
			continue // RFC 9110 §5.6.6 allows an empty parameter
		}
		end = tokenEnd(s, i)
		if end == i || end == len(s) || s[end] != '=' {
			return bad()
		}
		i = end + 1
		if i < len(s) && s[i] == '"' {
			end = quotedEnd(s, i)
		} else {
			end = tokenEnd(s, i)
		}
		if end == i {
			return bad()
		}
		i = end
	}
	return ""
}

// parameter is the value of a media type's parameter, unquoted; s was checked
// by checkMediaType.
func parameter(s, name string) (value string, ok bool) {
	i := tokenEnd(s, 0)
	for i++; i < len(s); {
		semicolon := strings.IndexByte(s[i:], ';')
		if semicolon < 0 {
			return "", false
		}
		start := blankEnd(s, i+semicolon+1)
		i = tokenEnd(s, start)
		if i >= len(s) || s[i] != '=' {
			continue
		}
		key := s[start:i]
		start = i + 1
		if start < len(s) && s[start] == '"' {
			i = quotedEnd(s, start)
			value = unquote(s[start:i])
		} else {
			i = tokenEnd(s, start)
			value = s[start:i]
		}
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}

func blankEnd(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

func tokenEnd(s string, i int) int {
	for i < len(s) && tokenBytes[s[i]>>6]>>(s[i]&63)&1 != 0 {
		i++
	}
	return i
}

// quotedEnd returns the place after the quoted string at i, i when it has no
// end or holds what is not printable ASCII.
func quotedEnd(s string, i int) int {
	for j := i + 1; j < len(s) && s[j] >= 0x20 && s[j] < 0x7F; j++ {
		switch s[j] {
		case '"':
			return j + 1
		case '\\':
			j++
			if j >= len(s) || s[j] < 0x20 || s[j] >= 0x7F {
				return i
			}
		}
	}
	return i
}

// byteSet has one bit for each byte.
type byteSet [4]uint64

func bytesOf(chars string) (set byteSet) {
	for i := 0; i < len(chars); i++ {
		set[chars[i]>>6] |= 1 << (chars[i] & 63)
	}
	return set
}

const alphanumerics = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// tokenBytes are the bytes of a token (RFC 9110 §5.6.2).
var tokenBytes = bytesOf("!#$%&'*+-.^_`|~" + alphanumerics)
