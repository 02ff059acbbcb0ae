package event

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// reencode checks what must hold for every event that was accepted.
func reencode(t *testing.T, e *Event) {
	t.Helper()
	text := AppendStructured(nil, e)
	if !json.Valid(text) {
		t.Fatalf("the encoding is not JSON: %q", text)
	}
	limits := Limits{MaxEventSize: 1 << 30}
	raw := e
	if e.Format() == JSON { // the JSON format does not keep white space around the data
		e = trimmed(t, e)
	}
	again, err := FromStructured(text, limits)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if !bytes.Equal(again.enc, e.enc) {
		t.Fatalf("structured: %q became %q", text, AppendStructured(nil, again))
	}
	batch, err := FromBatch(AppendBatch(nil, []*Event{e, e}), limits)
	if err != nil || len(batch) != 2 || !bytes.Equal(batch[1].enc, e.enc) {
		t.Fatalf("batch: %q: %v", text, err)
	}
	e = raw
	stored, err := Decode(e.AppendBinary(nil))
	if err != nil || !bytes.Equal(AppendStructured(nil, stored), text) {
		t.Fatalf("storage: %q: %v", text, err)
	}
	h := http.Header{}
	SetHeaders(h, e)
	for name, values := range h {
		if strings.ContainsFunc(name+values[0], func(r rune) bool { return r < ' ' || r >= 0x7F }) {
			t.Fatalf("the header %q: %q cannot be sent", name, values[0])
		}
	}
	binary, _, err := FromHTTP(h, e.Data(), limits)
	if err != nil {
		t.Fatalf("binary: %q: %v", text, err)
	}
	if want := textual(t, e); !bytes.Equal(binary[0].enc, want.enc) {
		t.Fatalf("binary: %q became %q", AppendStructured(nil, want), AppendStructured(nil, binary[0]))
	}
	if (e.Tree() == nil) != (e.Format() != JSON) {
		t.Fatalf("%q has the tree %v", text, e.Tree())
	}
}

func trimmed(t *testing.T, e *Event) *Event {
	d := draft{id: e.id, source: e.source, typ: e.typ, subject: e.subject, dataSchema: e.dataSchema, contentType: e.contentType,
		time: e.time, seconds: e.seconds, nanos: e.nanos, specVersion: true, ext: slices.Clone(e.ext),
		data: bytes.Trim(e.data, " \t\r\n"), format: e.format}
	out, err := d.event(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func seeds() []string {
	return []string{
		object(``), object(`"data":null`), object(`"data_base64":5`), object(`"data_base64":"AP8="`), object(`"x":1e2,"y":true,"z":null`),
		object(`"time":"2026-11-05T17:31:00+01:00","datacontenttype":"text/plain","data":"\ud83d\ude00"`),
		object(`"\u0069d":"2"`), object(`"datacontenttype":"application/vnd.x+json","data":{"a":[1.5,{}]}`), `[]`, `{}`, `nul`, "\xff",
	}
}

func FuzzFromStructured(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := FromStructured(body, Limits{})
		if err != nil {
			_ = err.Error() + err.(*DecodeError).Pointer()
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is accepted and is not JSON", body)
		}
		reencode(t, e)
	})
}

func FuzzFromBatch(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte("[" + s + "," + s + "]"))
	}
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := FromBatch(body, Limits{})
		if err != nil {
			_ = err.Error() + err.(*DecodeError).Pointer()
			return
		}
		var members []json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil || len(members) != len(events) {
			t.Fatalf("%q has %d events and %d members: %v", body, len(events), len(members), err)
		}
		for i, e := range events {
			one, err := FromStructured(members[i], Limits{})
			if err != nil || !bytes.Equal(one.enc, e.enc) {
				t.Fatalf("%q by itself: %v", members[i], err)
			}
			reencode(t, e)
		}
	})
}

func FuzzFromBinary(f *testing.F) {
	f.Add("subject", "100%", "application/json", []byte(`{}, "source":"/admin","type":"evil"`))
	f.Add("subject", "Euro%20%E2%82%AC", "text/plain; charset=utf-8", []byte("hé"))
	f.Add("time", "2026-11-05T17:31:00Z", "", []byte{0xFF})
	f.Add("foo", `"a\"b"`, "application/vnd.x+json", []byte(`{"a":1}`))
	f.Add("foo", "caf\xe9", "application/octet-stream", []byte{})
	f.Fuzz(func(t *testing.T, name, value, contentType string, body []byte) {
		h := headers()
		h["ce-"+name] = []string{value}
		h["Content-Type"] = []string{contentType}
		e, err := FromBinary(h, body, Limits{})
		if err != nil {
			_ = err.Error() + err.(*DecodeError).Pointer()
			return
		}
		if isJSONType(contentType) && len(body) > 0 && !json.Valid(body) {
			t.Fatalf("%q is accepted and is not JSON", body)
		}
		reencode(t, e)
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range seeds() {
		if e, err := FromStructured([]byte(s), Limits{}); err == nil {
			f.Add(e.AppendBinary(nil))
		}
	}
	f.Add(orderEvent(f).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, buf []byte) {
		_, refused := peeked(buf)
		e, err := Decode(buf)
		if err != nil {
			return
		}
		if refused != nil {
			t.Fatal("it is refused only when it is peeked at")
		}
		if !bytes.Equal(e.AppendBinary(nil), buf) {
			t.Fatal("the bytes changed")
		}
		use(e)
	})
}

func FuzzTree(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Add([]byte(` [ 1 , [ ] , { "a" : { } } , -0.5e-3 ] `))
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, err := ParseTree(text)
		if err != nil {
			if e := err.(*SyntaxError); e.Offset < 0 || e.Offset > len(text) || e.Reason == "" {
				t.Fatalf("%+v", e)
			}
			if json.Valid(text) && !strings.Contains("a lone surrogate, an object has this key twice, a number is too large for a double, nested more than 128 levels deep, invalid UTF-8", err.(*SyntaxError).Reason) {
				t.Fatalf("%q is refused: %v", text, err)
			}
			// The index alone must hold on whatever bytes there are.
			if damaged, err := indexTree(text); err == nil {
				value(damaged.Root())
			}
			return
		}
		sameAsStandardJSON(t, text, tree)
	})
}

// FuzzAppendJSONString writes any text as a JSON string and reads it back with the
// standard library and with the scanner.
func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "plain text", `a "quote"`, `C:\temp`, "line\nbreak\x01\x7f", "h\u00e9llo, \u4e16\u754c", "1234567\"", "bad \xff\xfe utf-8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := AppendJSONString([]byte("x"), s)[1:]
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q became %s: %v", s, text, err)
		}
		if want := string([]rune(s)); got != want {
			t.Fatalf("%q came back as %q", want, got)
		}
		if err := CheckJSON(text); err != nil {
			t.Fatalf("%q became %s: %v", s, text, err)
		}
	})
}
