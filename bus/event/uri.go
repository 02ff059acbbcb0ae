package event

import "strings"

// uriBytes are the bytes that a URI may hold (RFC 3986 §2), percent and square
// brackets included.
var uriBytes = bytesOf("-._~:/?#[]@!$&'()*+,;=%" + alphanumerics)

// checkURIReference checks a URI-reference (RFC 3986 §4.1); it says what is
// wrong, "" when all is well.
func checkURIReference(s string) string {
	_, reason := splitScheme(s)
	if reason != "" {
		return quote(s) + " is not a URI-reference: " + reason
	}
	return ""
}

// checkURI checks a URI with a scheme (RFC 3986 §3). A fragment is let pass,
// though §4.3 excludes it, for references into JSON Schemas have one.
func checkURI(s string) string {
	scheme, reason := splitScheme(s)
	if reason == "" && scheme == "" {
		reason = "it has no scheme"
	}
	if reason != "" {
		return quote(s) + " is not an absolute URI: " + reason
	}
	return ""
}

// splitScheme checks s as a URI-reference and returns its scheme, "" for a
// relative reference.
func splitScheme(s string) (scheme, reason string) {
	colon, path, fragment, bracket := -1, -1, -1, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if uriBytes[c>>6]>>(c&63)&1 == 0 {
			if c >= 0x80 {
				return "", "it holds a character that must be percent-encoded"
			}
			return "", "it holds " + quote(s[i:i+1])
		}
		switch c {
		case ':':
			if colon < 0 && path < 0 {
				colon = i
			}
		case '/', '?':
			if path < 0 {
				path = i
			}
		case '#':
			if fragment >= 0 {
				return "", "it has two fragments"
			}
			fragment = i
			if path < 0 {
				path = i
			}
		case '[', ']':
			bracket = true
		case '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", "% is not followed by two hexadecimal digits"
			}
			i += 2
		}
	}
	if colon >= 0 {
		if !isScheme(s[:colon]) {
			return "", "what stands before its first colon is not a scheme"
		}
		scheme = s[:colon]
	}
	if bracket && strings.ContainsAny(withoutAuthority(s[colon+1:]), "[]") {
		return "", "square brackets outside of a host"
	}
	return scheme, ""
}

// withoutAuthority cuts the //authority off the rest of a URI behind the scheme.
func withoutAuthority(s string) string {
	if !strings.HasPrefix(s, "//") {
		return s
	}
	if i := strings.IndexAny(s[2:], "/?#"); i >= 0 {
		return s[2+i:]
	}
	return ""
}

func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c-'0' > 9 && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func isHex(c byte) bool {
	_, ok := hexDigit(c)
	return ok
}
