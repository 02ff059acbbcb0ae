package event

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// object is a valid structured event with more members.
func object(members string) string {
	if members != "" {
		members = "," + members
	}
	return `{"specversion":"1.0","id":"1","source":"/shop","type":"t"` + members + `}`
}

func TestStructuredMode(t *testing.T) {
	type want struct {
		contentType string
		format      DataFormat
		data        string
	}
	tests := []struct {
		name, members string
		want          want
	}{
		{"no data", ``, want{"", NoData, ""}},
		{"a missing content type is made explicit", `"data":{"a": 1}`, want{"application/json", JSON, `{"a": 1}`}},
		{"null data is an explicit null", `"data":null`, want{"application/json", JSON, `null`}},
		{"a string under JSON stays a JSON string", `"data":"a\n"`, want{"application/json", JSON, `"a\n"`}},
		{"a string under a text type is text", `"datacontenttype":"text/plain","data":"a\n\u20ac\ud83d\ude00"`, want{"text/plain", Text, "a\n€😀"}},
		{"the content type may follow the data", `"data":"<a/>","datacontenttype":"application/xml"`, want{"application/xml", Text, "<a/>"}},
		{"an empty string is empty text", `"datacontenttype":"text/plain","data":""`, want{"text/plain", Text, ""}},
		{"an object under a type that is not JSON stays JSON", `"datacontenttype":"text/plain","data":{"a":1}`, want{"text/plain", JSON, `{"a":1}`}},
		{"an object under a vendor's JSON type", `"datacontenttype":"application/vnd.x+json","data":{"a":1}`, want{"application/vnd.x+json", JSON, `{"a":1}`}},
		{"data_base64 infers nothing", `"data_base64":"AP8="`, want{"", Binary, "\x00\xff"}},
		{"data_base64 before the content type", `"data_base64":"aGk=","datacontenttype":"text/plain"`, want{"text/plain", Text, "hi"}},
		{"data_base64 of JSON is checked and is JSON", `"datacontenttype":"application/json","data_base64":"eyJhIjoxfQ=="`, want{"application/json", JSON, `{"a":1}`}},
		{"empty data_base64 is empty data", `"data_base64":""`, want{"", Binary, ""}},
		{"data_base64 with an escape", `"data_base64":"a\u0047k="`, want{"", Binary, "hi"}},
		{"data_base64 may be broken into lines, as MIME does", `"data_base64":"aG\r\nk="`, want{"", Binary, "hi"}},
		{"data_base64 that is null is unset", `"data_base64":null,"data":1`, want{"application/json", JSON, "1"}},
		{"a null content type is unset", `"datacontenttype":null,"data":1`, want{"application/json", JSON, "1"}},
		{"ASCII text of another charset", `"datacontenttype":"text/plain; charset=latin1","data":"hi"`, want{"text/plain; charset=latin1", Text, "hi"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := FromStructured([]byte(object(test.members)), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := (want{e.DataContentType(), e.Format(), string(e.Data())}); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			again, err := FromStructured(AppendStructured(nil, e), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.enc, e.enc) {
				t.Errorf("read back as %s", AppendStructured(nil, again))
			}
		})
	}
}

func TestAttributesKeepTheirTypes(t *testing.T) {
	e, err := FromStructured([]byte(object(`"n":-2147483648,"m":2147483647,"zero":-0,"yes":true,"no":false,"s":"5","gone":null,"esc":"a\"b","e":""`)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Value{
		"n": IntegerValue(-2147483648), "m": IntegerValue(2147483647), "zero": IntegerValue(0), "yes": BooleanValue(true),
		"no": BooleanValue(false), "s": StringValue("5"), "esc": StringValue(`a"b`), "e": StringValue(""),
	} {
		if got, ok := e.Extension(name); !ok || got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
	if _, ok := e.Extension("gone"); ok || len(e.Extensions()) != 8 {
		t.Errorf("a null extension is set: %v", e.Extensions())
	}
}

func TestStructuredModeRefuses(t *testing.T) {
	var many, nulls strings.Builder
	for i := range 257 {
		fmt.Fprintf(&many, `"x%d":1,`, i)
		fmt.Fprintf(&nulls, `"x%d":null,`, i)
	}
	tests := []struct {
		name, text, attribute, reason string
	}{
		{"an array", `[]`, "", "an event is a JSON object"},
		{"nothing", ``, "", "an event is a JSON object"},
		{"text after the event", object(``) + `{}`, "", "more text"},
		{"invalid UTF-8", object(`"subject":"` + "caf\xe9" + `"`), "", "invalid UTF-8"},
		{"a key twice", object(`"id":"2"`), "id", "twice"},
		{"a key twice, once escaped", object(`"\u0069d":"2"`), "id", "twice"},
		{"a key twice, once null", object(`"subject":null,"subject":"a"`), "subject", "twice"},
		{"an extension twice", object(`"x":"1","x":"1"`), "x", "twice"},
		{"data twice", object(`"data":1,"data":2`), "data", "twice"},
		{"data with a key twice", object(`"data":{"a":{"b":1,"b":2}}`), "data", "twice"},
		{"an extension 1.5", object(`"x":1.5`), "x", "whole number"},
		{"an extension 1.0", object(`"x":1.0`), "x", "whole number"},
		{"an extension 1e2", object(`"x":1e2`), "x", "whole number"},
		{"an integer beyond 32 bits", object(`"x":2147483648`), "x", "32 bits"},
		{"an extension that is an object", object(`"x":{}`), "x", "must be a string"},
		{"an extension that is an array", object(`"x":[1]`), "x", "must be a string"},
		{"an id that is a number", `{"specversion":"1.0","id":5,"source":"/a","type":"t"}`, "id", "must be a string"},
		{"an empty id", `{"specversion":"1.0","id":"","source":"/a","type":"t"}`, "id", "must not be empty"},
		{"an id that is null", `{"specversion":"1.0","id":null,"source":"/a","type":"t"}`, "id", "is required"},
		{"an empty source", `{"specversion":"1.0","id":"1","source":"","type":"t"}`, "source", "must not be empty"},
		{"an empty type", `{"specversion":"1.0","id":"1","source":"/a","type":""}`, "type", "must not be empty"},
		{"an empty subject", object(`"subject":""`), "subject", "must not be empty"},
		{"an empty dataschema", object(`"dataschema":""`), "dataschema", "must not be empty"},
		{"a dataschema without a scheme", object(`"dataschema":"schemas/1"`), "dataschema", "not an absolute URI"},
		{"an empty time", object(`"time":""`), "time", "RFC 3339"},
		{"an empty content type", object(`"datacontenttype":""`), "datacontenttype", "must not be empty"},
		{"specversion 1.1", `{"specversion":"1.1","id":"1","source":"/a","type":"t"}`, "specversion", `only "1.0"`},
		{"specversion as a number", `{"specversion":1.0,"id":"1","source":"/a","type":"t"}`, "specversion", "whole number"},
		{"no specversion", `{"id":"1","source":"/a","type":"t"}`, "specversion", "is required"},
		{"a name in capitals", object(`"Foo":"x"`), "Foo", "a-z and 0-9"},
		{"a name with an underscore that is null", object(`"foo_bar":null`), "foo_bar", "a-z and 0-9"},
		{"an empty name", object(`"":"x"`), "", "name is empty"},
		{"data and data_base64", object(`"data":1,"data_base64":"AA=="`), "data_base64", "either data or data_base64"},
		{"data_base64 that is a number", object(`"data_base64":5`), "data_base64", "must be a string"},
		{"data_base64 that is a number, before anything", `{"data_base64":5,"specversion":"1.0"}`, "data_base64", "must be a string"},
		{"data_base64 that is not base64", object(`"data_base64":"a-_="`), "data_base64", "not valid base64"},
		{"data_base64 that smuggles under a JSON type", object(`"datacontenttype":"application/json","data_base64":"e30sInNvdXJjZSI6Ii9hZG1pbiI="`), "data_base64", "not one JSON value"},
		{"text that the charset cannot hold", object(`"datacontenttype":"text/plain;charset=latin1","data":"€"`), "data", "charset"},
		{"a control character as an escape", object(`"subject":"a\u0000b"`), "subject", "control character"},
		{"CR LF in a subject", object(`"subject":"a\r\nb"`), "subject", "control character"},
		{"a noncharacter as an escape", object(`"x":"\ufdd0"`), "x", "noncharacter"},
		{"a lone surrogate", object(`"x":"\ud800"`), "x", "lone surrogate"},
		{"a lone surrogate in data", object(`"data":"\udc00"`), "data", "lone surrogate"},
		{"data deeper than 128", object(`"data":` + strings.Repeat("[", 129) + strings.Repeat("]", 129)), "data", "128 levels"},
		{"too many attributes", `{` + many.String() + `"id":"1"}`, "", "more than 256"},
		{"too many attributes that are null", `{` + nulls.String() + `"id":"1"}`, "", "more than 256"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := FromStructured([]byte(test.text), Limits{})
			wantError(t, err, -1, test.attribute, 400, test.reason)
		})
	}
}

func TestDataOf128LevelsIsAcceptedInEveryMode(t *testing.T) {
	data := strings.Repeat("[", 128) + strings.Repeat("]", 128)
	b := NewBuilder()
	for name, value := range map[string]string{"id": "1", "source": "/a", "type": "t"} {
		if err := b.Set(name, StringValue(value)); err != nil {
			t.Fatal(err)
		}
	}
	b.SetJSON([]byte(data))
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromBatch(AppendBatch(nil, []*Event{e, e}), Limits{}); err != nil {
		t.Error(err)
	}
	if e.Tree().Root().Len() != 1 {
		t.Error("no tree")
	}
}

func TestBatchMode(t *testing.T) {
	events, err := FromBatch([]byte(" [ ] "), Limits{})
	if err != nil || events == nil || len(events) != 0 {
		t.Errorf("an empty batch gives %v, %v", events, err)
	}
	body := []byte("[" + object(`"data":1`) + " ,\n" + object(`"x":"\u00e9"`) + "]")
	events, err = FromBatch(body, Limits{})
	if err != nil || len(events) != 2 {
		t.Fatalf("%v, %v", events, err)
	}
	clear(body)
	if got := string(AppendBatch(nil, events)); got != `[`+object(`"datacontenttype":"application/json","data":1`)+`,`+object(`"x":"é"`)+`]` {
		t.Errorf("an event changed with the request's body: %s", got)
	}
}

func TestBatchModeNamesTheMember(t *testing.T) {
	good := object("")
	tests := []struct {
		name, text        string
		limits            Limits
		member, status    int
		attribute, reason string
		pointer           string
	}{
		{"a bad time in the fourth", "[" + strings.Repeat(good+",", 3) + object(`"time":"yesterday"`) + "]", Limits{}, 3, 400, "time", `"yesterday" is not an RFC 3339 time`, "/3/time"},
		{"a member that is no object", "[" + good + ",5]", Limits{}, 1, 400, "", "an event is a JSON object", "/1"},
		{"a required attribute that is missing", `[{"specversion":"1.0","id":"1","source":"/a"}]`, Limits{}, 0, 400, "type", "is required", "/0/type"},
		{"a trailing comma", "[" + good + ",]", Limits{}, 1, 400, "", "an event is a JSON object", "/1"},
		{"no end", "[" + good, Limits{}, -1, 400, "", "a comma or ]", ""},
		{"text after the batch", "[" + good + "]]", Limits{}, -1, 400, "", "more text", ""},
		{"no array", good, Limits{}, -1, 400, "", "a JSON array", ""},
		{"too many events", "[" + good + "," + good + "]", Limits{MaxBatch: 1}, -1, 413, "", "more than 1 events", ""},
		{"an event that is too large", "[" + good + "," + object(`"data":"`+strings.Repeat("x", 200)+`"`) + "]", Limits{MaxEventSize: 200}, 1, 413, "", "the limit is 200", "/1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := FromBatch([]byte(test.text), test.limits)
			wantError(t, err, test.member, test.attribute, test.status, test.reason)
			if p := err.(*DecodeError).Pointer(); p != test.pointer {
				t.Errorf("pointer %q, want %q", p, test.pointer)
			}
		})
	}
}

func TestErrorsReadAsASentence(t *testing.T) {
	_, err := FromBatch([]byte("["+object("")+","+object(`"time":"yesterday"`)+"]"), Limits{})
	want := `batch member 1: attribute "time": "yesterday" is not an RFC 3339 time (at byte 125)`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestExtrasOverrideExtensions(t *testing.T) {
	e, err := FromStructured([]byte(object(`"sequence":"7","x":"1","data":2`)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := string(AppendStructured(nil, e, Extension{"sequence", StringValue("00000000000000000009")}, Extension{"n", IntegerValue(3)}))
	if want := object(`"datacontenttype":"application/json","x":"1","sequence":"00000000000000000009","n":3,"data":2`); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestAnErrorKeepsNothingOfTheMessage overwrites a message that was refused, as
// whoever reads the next one into the same memory does.
func TestAnErrorKeepsNothingOfTheMessage(t *testing.T) {
	text := []byte(`[{"specversion":"1.0","Bad_Name":"x"}]`)
	_, err := FromBatch(text, Limits{})
	for i := range text {
		text[i] = '#'
	}
	var refused *DecodeError
	if !errors.As(err, &refused) || refused.Pointer() != "/0/Bad_Name" || strings.Contains(err.Error(), "#") {
		t.Errorf("got %v", err)
	}
}
