package rules

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxPadded is how long text.padStart makes a text, in characters.
const maxPadded = 1024

// encodingFunctions are beside base64.encode and base64.decode of the extension
// library.
func encodingFunctions() []cel.EnvOption {
	decode := func(name string, f func(string) ([]byte, error)) cel.EnvOption {
		return cel.Function(name, cel.Overload(overload(name, "string"), []*cel.Type{cel.StringType}, cel.BytesType,
			cel.UnaryBinding(func(v ref.Val) ref.Val {
				b, err := f(text(v))
				if err != nil {
					return callError(name, err)
				}
				return types.Bytes(b)
			})))
	}
	return []cel.EnvOption{
		bytesCall("base64.encodeUrl", cel.StringType, func(b []byte) ref.Val { return types.String(base64.RawURLEncoding.EncodeToString(b)) }),
		decode("base64.decodeUrl", func(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "=")) }),
		bytesCall("hex.encode", cel.StringType, func(b []byte) ref.Val { return types.String(hex.EncodeToString(b)) }),
		decode("hex.decode", hex.DecodeString),
		textCall("url.encode", func(s string) (string, error) { return percentEncode(s), nil }),
		textCall("url.decode", func(s string) (string, error) {
			out, err := url.PathUnescape(s)
			if err == nil && !utf8.ValidString(out) {
				err = errors.New("what is encoded is not UTF-8")
			}
			return out, err
		}),
	}
}

// percentEncode encodes all but the unreserved characters of RFC 3986, so that
// the result can stand anywhere in a URL.
func percentEncode(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// textFunctions are beside those of the extension library for strings.
func textFunctions() []cel.EnvOption {
	str, num := cel.StringType, cel.IntType
	return []cel.EnvOption{
		textCall("text.camelCase", func(s string) (string, error) {
			parts := words(s)
			for i, w := range parts {
				w = strings.ToLower(w)
				if i > 0 {
					w = capital(w)
				}
				parts[i] = w
			}
			return strings.Join(parts, ""), nil
		}),
		textCall("text.snakeCase", func(s string) (string, error) { return strings.ToLower(strings.Join(words(s), "_")), nil }),
		textCall("text.kebabCase", func(s string) (string, error) { return strings.ToLower(strings.Join(words(s), "-")), nil }),
		textCall("text.titleCase", func(s string) (string, error) { return titleCase(s), nil }),
		cel.Function("text.truncate", cel.Overload("text_truncate_string_int", []*cel.Type{str, num}, str,
			cel.BinaryBinding(func(v, n ref.Val) ref.Val { return types.String(truncate(text(v), int64(n.(types.Int)))) }))),
		cel.Function("text.padStart", cel.Overload("text_padStart_string_int_string", []*cel.Type{str, num, str}, str,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				return textResult("text.padStart")(padStart(text(args[0]), int64(args[1].(types.Int)), text(args[2])))
			}))),
	}
}

// words cuts a name into its words: "userID", "user_id" and "User Id" have the
// same two, "HTTPServer2" has two as well.
func words(s string) []string {
	var out []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			out = append(out, string(word))
			word = word[:0]
		}
	}
	runes := []rune(s)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			flush()
			continue
		}
		if n := len(word); n > 0 && upper(r) {
			before := word[n-1]
			next := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if !upper(before) || next {
				flush()
			}
		}
		word = append(word, r)
	}
	flush()
	return out
}

// upper reports whether a letter is in upper case and has a lower case; some,
// such as ℂ, have none.
func upper(r rune) bool { return unicode.IsUpper(r) && unicode.ToLower(r) != r }

func capital(word string) string {
	r, n := utf8.DecodeRuneInString(word)
	return string(unicode.ToTitle(r)) + word[n:]
}

// titleCase begins each word with a capital; what is between the words stays.
func titleCase(s string) string {
	var b strings.Builder
	inside := false
	for _, r := range s {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r) || inside && r == '\''
		if letter && !inside {
			r = unicode.ToTitle(r)
		}
		inside = letter
		b.WriteRune(r)
	}
	return b.String()
}

// truncate keeps at most n characters, the last of which is then an ellipsis.
func truncate(s string, n int64) string {
	if int64(len(s)) <= n || int64(utf8.RuneCountInString(s)) <= n {
		return s
	}
	if n <= 0 {
		return ""
	}
	for i := range s {
		if n--; n == 0 {
			return s[:i] + "…"
		}
	}
	return s
}

func padStart(s string, n int64, pad string) (string, error) {
	if utf8.RuneCountInString(pad) != 1 {
		return "", fmt.Errorf("%q is not one character to fill up with", shorten(pad))
	}
	missing := n - int64(utf8.RuneCountInString(s))
	if missing <= 0 {
		return s, nil
	}
	if n > maxPadded {
		return "", fmt.Errorf("a length of %d; at most %d", n, maxPadded)
	}
	return strings.Repeat(pad, int(missing)) + s, nil
}
