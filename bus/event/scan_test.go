package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCheckJSON(t *testing.T) {
	long := strings.Repeat("x", 37)
	accepted := map[string]string{
		"white space around":             " \t\r\n{ \"a\" : [ 1 , 2 ] }\n",
		"literals":                       `[true,false,null]`,
		"numbers":                        `[0,-0,1.5,-1.5e+10,1E-5,123456789012345678901234567890]`,
		"a number that underflows":       `1e-999`,
		"all escapes":                    `"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"`,
		"UTF-8":                          `"é€😀` + long + `é"`,
		"DEL and C1 in data":             "\"\x7f\u0085\"",
		"a noncharacter in data":         `"\uffff"`,
		"empty containers":               `[{},[],""]`,
		"an empty key":                   `{"":1}`,
		"the same key in two objects":    `{"a":{"a":1},"b":{"a":1}}`,
		"keys that differ in case":       `{"a":1,"A":2}`,
		"128 levels":                     strings.Repeat("[", 128) + strings.Repeat("]", 128),
		"the largest double":             `1.7976931348623157e308`,
		"a double of many digits":        "1" + strings.Repeat("0", 308),
		"keys with the same ends":        `{"axxb":1,"ayyb":2,"azzb":3}`,
		"quotes and backslashes in runs": `"` + strings.Repeat(`\\\"`, 40) + `"`,
	}
	for name, text := range accepted {
		t.Run("accepts "+name, func(t *testing.T) {
			if err := CheckJSON([]byte(text)); err != nil {
				t.Error(err)
			}
			if !json.Valid([]byte(text)) {
				t.Error("encoding/json refuses it")
			}
		})
	}
	refused := []struct {
		name, text string
		offset     int
		reason     string
	}{
		{"nothing", "", 0, "the text ends"},
		{"white space only", "  ", 2, "the text ends"},
		{"two values", "1 2", 2, "more text"},
		{"a trailing comma in an array", "[1,]", 3, "not the start"},
		{"a trailing comma in an object", `{"a":1,}`, 7, "key should stand"},
		{"a key without quotes", `{a:1}`, 1, "key should stand"},
		{"no colon", `{"a" 1}`, 5, "colon"},
		{"no comma", `[1 2]`, 3, "comma or ]"},
		{"the wrong bracket", `[1}`, 2, "comma or ]"},
		{"an open array", `[1`, 2, "comma or ]"},
		{"a word cut off", "tru", 0, "not the start"},
		{"a word too long", "nulll", 4, "more text"},
		{"a leading zero", "01", 0, "leading zero"},
		{"a plus sign", "+1", 0, "not the start"},
		{"a lone minus", "-", 1, "a digit"},
		{"no digit after the point", "1.", 2, "decimal point"},
		{"no digit before the point", ".5", 0, "not the start"},
		{"no digit in the exponent", "1e+", 3, "exponent"},
		{"a number beyond a double", "[1e309]", 1, "too large"},
		{"a long number beyond a double", "1" + strings.Repeat("0", 309), 0, "too large"},
		{"not a number", "NaN", 0, "not the start"},
		{"an open string", `"abc`, 0, "no end"},
		{"an open string after an escape", `"abc\"`, 0, "no end"},
		{"a backslash at the end", `"abc\`, 4, "unknown escape"},
		{"a line break in a string", "\"a\nb\"", 2, "control character"},
		{"a NUL in a long string", `"` + long + "\x00\"", 38, "control character"},
		{"an unknown escape", `"\x41"`, 1, "unknown escape"},
		{"a short escape", `"\u12"`, 1, "four hexadecimal"},
		{"a lone high surrogate", `"\ud800"`, 1, "lone surrogate"},
		{"a lone low surrogate", `"\udc00"`, 1, "lone surrogate"},
		{"a high surrogate before text", `"\ud800abcdef"`, 1, "lone surrogate"},
		{"two high surrogates", `"\ud800\ud800"`, 1, "lone surrogate"},
		{"surrogates the wrong way round", `"\ude00\ud83d"`, 1, "lone surrogate"},
		{"invalid UTF-8", "\"é\xff\"", 3, "invalid UTF-8"},
		{"a surrogate in UTF-8", "\"\xed\xa0\x80\"", 1, "invalid UTF-8"},
		{"an overlong form", "\"\xc0\xaf\"", 1, "invalid UTF-8"},
		{"a byte order mark", "\ufeff{}", 0, "not the start"},
		{"129 levels", strings.Repeat("[", 129) + strings.Repeat("]", 129), 128, "128 levels"},
		{"129 levels of objects", strings.Repeat(`{"a":`, 129) + "1" + strings.Repeat("}", 129), 640, "128 levels"},
		{"a key twice", `{"a":1,"b":2,"a":3}`, 13, "this key twice"},
		{"a key twice, once escaped", `{"id":1,"\u0069d":2}`, 8, "this key twice"},
		{"an empty key twice", `{"":1,"":2}`, 6, "this key twice"},
		{"a key twice around an object", `{"a":{"b":1,"c":2},"a":{}}`, 19, "this key twice"},
		{"a key twice among many", "{" + manyKeys(300) + `,"k17":0}`, 0, "this key twice"},
	}
	for _, test := range refused {
		t.Run("refuses "+test.name, func(t *testing.T) {
			err := CheckJSON([]byte(test.text))
			if err == nil {
				t.Fatal("accepted")
			}
			e := err.(*SyntaxError)
			if !strings.Contains(e.Reason, test.reason) || e.Offset != test.offset && test.offset > 0 {
				t.Errorf("%v, want …%s… at %d", e, test.reason, test.offset)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":{"k%d":1}`, i, i)
	}
	return b.String()
}

// The time of a scan must grow with the text, whatever its keys are.
func TestKeysDoNotMakeTheScanQuadratic(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	var flat, nested, sameEnds strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&flat, `"%d":1,`, i)
		fmt.Fprintf(&sameEnds, `"x%06dx":1,`, i)
	}
	for range 3_000 {
		nested.WriteString(`{` + manyKeys(17) + `},`)
	}
	for name, text := range map[string]string{
		"one object of 100,000 keys": "{" + flat.String() + `"x":1}`,
		"keys that look alike":       "{" + sameEnds.String() + `"x":1}`,
		"3,000 objects of 17 keys":   "[" + nested.String() + "1]",
	} {
		start := time.Now()
		if err := CheckJSON([]byte(text)); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*time.Second { // linear: some 10 ms
			t.Errorf("%s (%d bytes) took %v", name, len(text), took)
		}
	}
}

func TestCheckURI(t *testing.T) {
	tests := []struct {
		text          string
		reference, is bool // a URI-reference; with a scheme, too
	}{
		{"/shop", true, false},
		{"shop", true, false},
		{"../a?b#c", true, false},
		{"//host:80/a", true, false},
		{"#frag", true, false},
		{"?q=a:b", true, false},
		{"https://example.com/a%20b?c=d", true, true},
		{"https://[::1]:8080/a", true, true},
		{"urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", true, true},
		{"mailto:a@example.com", true, true},
		{"https://example.com/s.json#/definitions/a", true, true},
		{"a b", false, false},
		{"1:a", false, false},
		{":a", false, false},
		{"/a%2", false, false},
		{"/a%zz", false, false},
		{"/a#b#c", false, false},
		{"/a[0]", false, false},
		{"https://h/a[0]", false, false},
		{"/é", false, false},
		{`/a\b`, false, false},
		{"/a<b>", false, false},
	}
	for _, test := range tests {
		if got := checkURIReference(test.text); (got == "") != test.reference {
			t.Errorf("URI-reference %q: %q", test.text, got)
		}
		if got := checkURI(test.text); (got == "") != test.is {
			t.Errorf("URI %q: %q", test.text, got)
		}
	}
}

func TestCheckMediaType(t *testing.T) {
	for _, good := range []string{"application/json", "text/plain; charset=utf-8", "text/plain;charset=\"a; b\\\"c\"", "a/b;", "a/b ; c=d ;; e=f", "application/vnd.x+json;v=1"} {
		if reason := checkMediaType(good); reason != "" {
			t.Errorf("%q: %s", good, reason)
		}
	}
	for _, bad := range []string{"json", "a/", "/b", "a/b/c", "a b/c", "a/b;c", "a/b;c=", "a/b;c=\"d", "a/b;c=d e", "a/b\r\n", "a/b;c=\"\n\"", "a/é", "a/b,c/d", " a/b"} {
		if checkMediaType(bad) == "" {
			t.Errorf("%q is accepted", bad)
		}
	}
	if charset, _ := parameter(`a/b; x="; charset=1"; CharSet="ut\f-8"`, "charset"); charset != "utf-8" {
		t.Errorf("charset %q", charset)
	}
}
