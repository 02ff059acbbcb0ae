package event

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// headers makes the headers of a valid event in binary mode, with changes:
// "name: value" lines, an empty value removing the header.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range append([]string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: /shop", "ce-type: order.placed"}, lines...) {
		name, value, _ := strings.Cut(line, ": ")
		if value == "" {
			h.Del(name)
			continue
		}
		h.Set(name, value)
	}
	return h
}

func TestBinaryMode(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		body   string
		check  func(*Event) string // what is wrong
	}{
		{"the least event there is", headers(), "", func(e *Event) string {
			return differ(e.ID(), "1", e.Source(), "/shop", e.Type(), "order.placed", e.Subject(), "", e.TimeText(), "")
		}},
		{"percent-encoding is decoded once", headers("ce-subject: Euro%20%E2%82%AC%20%2525"), "", func(e *Event) string {
			return differ(e.Subject(), "Euro € %25")
		}},
		{"needless and lower-case percent-encoding is accepted", headers("ce-subject: %61%c3%a9"), "", func(e *Event) string {
			return differ(e.Subject(), "aé")
		}},
		{"a stray percent sign stands for itself", headers("ce-subject: 100%"), "", func(e *Event) string {
			return differ(e.Subject(), "100%")
		}},
		{"a percent sign before no digits stands for itself", headers("ce-subject: 5%zz%4"), "", func(e *Event) string {
			return differ(e.Subject(), "5%zz%4")
		}},
		{"UTF-8 that was not percent-encoded is accepted", headers("ce-subject: Euro €"), "", func(e *Event) string {
			return differ(e.Subject(), "Euro €")
		}},
		{"a quoted string is unquoted before percent-decoding", headers(`ce-subject: "a\"b\\c%22"`), "", func(e *Event) string {
			return differ(e.Subject(), `a"b\c"`)
		}},
		{"two quoted words are no quoted string", headers(`ce-subject: "a" or "b"`), "", func(e *Event) string {
			return differ(e.Subject(), `"a" or "b"`)
		}},
		{"extensions are text", headers("ce-count: 5", "ce-flag: true"), "", func(e *Event) string {
			v, _ := e.Extension("count")
			if v.Kind() != KindString {
				return "count is not a string"
			}
			return differ(e.ExtensionText("count"), "5", e.ExtensionText("flag"), "true")
		}},
		{"header names are in any case", http.Header{"CE-SPECVERSION": {"1.0"}, "ce-id": {"1"}, "cE-Source": {"/a"}, "Ce-Type": {"t"}, "ce-FooBar": {"x"}}, "", func(e *Event) string {
			return differ(e.ExtensionText("foobar"), "x")
		}},
		{"an empty body is no data even under a JSON content type", headers("Content-Type: application/json; charset=utf-8"), "", func(e *Event) string {
			if e.Format() != NoData {
				return "there is data"
			}
			return differ(e.DataContentType(), "application/json; charset=utf-8")
		}},
		{"a JSON body is JSON", headers("Content-Type: application/vnd.x+json"), ` {"a":1} `, func(e *Event) string {
			if e.Format() != JSON {
				return "not JSON"
			}
			return differ(string(e.Data()), ` {"a":1} `)
		}},
		{"a text body is text", headers("Content-Type: text/plain; charset=UTF-8"), "hé", func(e *Event) string {
			if e.Format() != Text {
				return "not text"
			}
			return ""
		}},
		{"XML is text", headers("Content-Type: application/soap+xml"), "<a/>", func(e *Event) string {
			if e.Format() != Text {
				return "not text"
			}
			return ""
		}},
		{"text of another charset is binary", headers("Content-Type: text/plain; charset=latin1"), "h", func(e *Event) string {
			if e.Format() != Binary {
				return "not binary"
			}
			return ""
		}},
		{"text that is not UTF-8 is binary", headers("Content-Type: text/plain"), "h\xe9", func(e *Event) string {
			if e.Format() != Binary {
				return "not binary"
			}
			return ""
		}},
		{"a body without a content type is binary", headers(), "{}", func(e *Event) string {
			if e.Format() != Binary {
				return "not binary"
			}
			return differ(e.DataContentType(), "")
		}},
		{"a CloudEvents format that is not known may be data", headers("Content-Type: application/cloudevents+avro"), "x", func(e *Event) string {
			return differ(e.DataContentType(), "application/cloudevents+avro")
		}},
		{"the time keeps its offset", headers("ce-time: 2026-11-05T17:31:00.10+01:00"), "", func(e *Event) string {
			at, ok := e.Time()
			if !ok || at.Unix() != 1793896260 {
				return "the instant is " + at.String()
			}
			return differ(e.TimeText(), "2026-11-05T17:31:00.10+01:00")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events, mode, err := FromHTTP(test.header, []byte(test.body), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if mode != ModeBinary || len(events) != 1 {
				t.Fatalf("mode %d, %d events", mode, len(events))
			}
			if wrong := test.check(events[0]); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

func TestBinaryModeRefuses(t *testing.T) {
	twice := headers()
	twice["Ce-Id"] = []string{"1", "2"}
	spelled := headers()
	spelled["ce-id"] = []string{"2"}
	extension := headers("ce-foo: 1")
	extension["CE-FOO"] = []string{"2"}
	contentTypes := headers()
	contentTypes["Content-Type"] = []string{"text/plain", "application/json"}
	many := headers()
	for i := range 257 {
		many["Ce-X"+strings.Repeat("x", i%50)+string(rune('a'+i/50))] = []string{"1"}
	}
	empty := headers()
	empty["Ce-Subject"] = []string{""}
	emptyKey := headers()
	emptyKey["Ce-Partitionkey"] = []string{""}
	tests := []struct {
		name      string
		header    http.Header
		body      string
		attribute string
		reason    string
	}{
		{"envelope injection", headers("Content-Type: application/json"), `{}, "source":"/admin","type":"evil"`, "data", "more text after the JSON value"},
		{"a JSON body that is cut off", headers("Content-Type: text/json"), `{"a":`, "data", "the text ends"},
		{"a JSON body with a key twice", headers("Content-Type: application/json"), `{"a":1,"\u0061":2}`, "data", "this key twice"},
		{"an attribute in two headers", twice, "", "id", "the header is repeated"},
		{"an attribute in two spellings", spelled, "", "id", "is given twice"},
		{"an extension in two spellings", extension, "", "foo", "is given twice"},
		{"two content types", contentTypes, "", "datacontenttype", "is repeated"},
		{"a ce-datacontenttype header", headers("ce-datacontenttype: text/plain"), "", "datacontenttype", "must not be a ce- header"},
		{"a ce-data header", headers("ce-data: x"), "", "data", "not the name of an attribute"},
		{"a name with a hyphen", headers("ce-foo-bar: x"), "", "foo-bar", "a-z and 0-9"},
		{"a name of 65 bytes", headers("ce-" + strings.Repeat("x", 65) + ": 1"), "", strings.Repeat("x", 65), "longer than 64"},
		{"the byte E9", headers("ce-subject: caf\xe9"), "", "subject", "not valid UTF-8"},
		{"a percent-encoded byte E9", headers("ce-subject: caf%E9"), "", "subject", "not valid UTF-8"},
		{"CR LF in a subject", headers("ce-subject: a%0D%0Ab"), "", "subject", "control character"},
		{"a C1 control character", headers("ce-subject: a%C2%85b"), "", "subject", "control character"},
		{"DEL", headers("ce-foo: a%7F"), "", "foo", "control character"},
		{"a noncharacter", headers("ce-foo: %EF%BF%BF"), "", "foo", "noncharacter"},
		{"a noncharacter of a higher plane", headers("ce-foo: %F0%9F%BF%BE"), "", "foo", "noncharacter"},
		{"an encoded surrogate", headers("ce-foo: %ED%A0%80"), "", "foo", "not valid UTF-8"},
		{"an empty subject", empty, "", "subject", "must not be empty"},
		{"an empty partition key", emptyKey, "", "partitionkey", "must not be empty"},
		{"no id", headers("ce-id: "), "", "id", "is required"},
		{"no specversion", headers("ce-specversion: "), "", "specversion", "is required"},
		{"specversion 0.3", headers("ce-specversion: 0.3"), "", "specversion", `only "1.0"`},
		{"a time in words", headers("ce-time: yesterday"), "", "time", "not an RFC 3339 time"},
		{"a time without an offset", headers("ce-time: 2026-11-05T17:31:00"), "", "time", "not an RFC 3339 time"},
		{"a relative dataschema", headers("ce-dataschema: /schema"), "", "dataschema", "has no scheme"},
		{"a source with a space", headers("ce-source: a b"), "", "source", "not a URI-reference"},
		{"a bad content type", headers("Content-Type: json"), "{}", "datacontenttype", "not a media type"},
		{"too many attributes", many, "", "", "more than 256"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := FromHTTP(test.header, []byte(test.body), Limits{})
			wantError(t, err, -1, test.attribute, 400, test.reason)
		})
	}
}

func TestModeFollowsFromTheContentType(t *testing.T) {
	one := `{"specversion":"1.0","id":"1","source":"/a","type":"t"}`
	tests := []struct {
		name        string
		contentType string
		header      http.Header
		body        string
		mode        Mode
		status      int
	}{
		{"structured", "application/cloudevents+json", nil, one, ModeStructured, 0},
		{"structured in capitals", "Application/CloudEvents+JSON", nil, one, ModeStructured, 0},
		{"structured with a charset", "application/cloudevents+json; charset=UTF-8", nil, one, ModeStructured, 0},
		{"structured with a quoted charset", `application/cloudevents+json ; charset="utf-8"`, nil, one, ModeStructured, 0},
		{"structured with repeated attribute headers", "application/cloudevents+json", http.Header{"Ce-Id": {"8", "9"}, "Ce-Datacontenttype": {"x"}}, one, ModeStructured, 0},
		{"batched", "application/cloudevents-batch+json", nil, "[" + one + "]", ModeBatched, 0},
		{"batched with a charset", "application/cloudevents-batch+json; charset=utf-8", nil, "[]", ModeBatched, 0},
		{"batched in capitals", "APPLICATION/CLOUDEVENTS-BATCH+JSON", nil, "[]", ModeBatched, 0},
		{"batched in Latin-1", "application/cloudevents-batch+json; charset=iso-8859-1", nil, "[]", ModeBatched, 415},
		{"structured in UTF-16", "application/cloudevents+json; charset=utf-16", nil, one, ModeStructured, 415},
		{"a second parameter does not hide the charset", `application/cloudevents+json; a="; charset=utf-8"; charset=latin1`, nil, one, ModeStructured, 415},
		{"structured in another format", "application/cloudevents+avro", nil, "x", ModeStructured, 415},
		{"batched in another format", "application/cloudevents-batch+protobuf", nil, "x", ModeBatched, 415},
		{"no format", "application/cloudevents", nil, one, ModeStructured, 415},
		{"plain JSON", "application/json", nil, "{}", ModeUnknown, 415},
		{"nothing", "", nil, "", ModeUnknown, 415},
		{"two content types", "", http.Header{"Content-Type": {"application/cloudevents+json", "text/plain"}}, one, ModeUnknown, 400},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := test.header
			if h == nil {
				h = http.Header{}
			}
			if test.contentType != "" {
				h.Set("Content-Type", test.contentType)
			}
			_, mode, err := FromHTTP(h, []byte(test.body), Limits{})
			if mode != test.mode {
				t.Errorf("mode %d, want %d", mode, test.mode)
			}
			var e *DecodeError
			if errors.As(err, &e); test.status == 0 && err != nil || test.status != 0 && (e == nil || e.Status != test.status) {
				t.Errorf("error %v, want status %d", err, test.status)
			}
		})
	}
}

func TestHeaderValueEncodesWhatHeadersCannotHold(t *testing.T) {
	tests := []struct{ text, want string }{
		{"plain/text~!", "plain/text~!"},
		{"Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"},
		{`100% "sure"`, "100%25%20%22sure%22"},
		{"\x7f", "%7F"},
	}
	for _, test := range tests {
		if got := HeaderValue(test.text); got != test.want {
			t.Errorf("HeaderValue(%q) = %q, want %q", test.text, got, test.want)
		}
		if back, ok := decodeHeader(HeaderValue(test.text)); !ok || back != test.text {
			t.Errorf("%q reads back as %q", test.text, back)
		}
	}
}

// differ takes pairs of got and want, and says which differ.
func differ(pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != pairs[i+1] {
			return "got " + quote(pairs[i]) + ", want " + quote(pairs[i+1])
		}
	}
	return ""
}

func wantError(t *testing.T, err error, member int, attribute string, status int, reason string) {
	t.Helper()
	var e *DecodeError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want a DecodeError", err)
	}
	if e.Member != member || e.Status != status || !strings.Contains(e.Reason, reason) || attribute != "" && e.Attribute != attribute {
		t.Errorf("member %d, attribute %q, status %d: %v\nwant member %d, attribute %q, status %d: …%s…",
			e.Member, e.Attribute, e.Status, e, member, attribute, status, reason)
	}
}
