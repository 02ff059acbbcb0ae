package event

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyText draws text that an attribute may hold, with what encodings trip over.
func anyText() *rapid.Generator[string] {
	runes := rapid.SampledFrom([]rune(`abcXYZ019 %"\/'<>&;,=+-_.~{}[]%20€é😀` + "\u00a0\u2028\ufeff"))
	return rapid.Custom(func(t *rapid.T) string {
		return "k" + string(rapid.SliceOfN(runes, 1, 40).Draw(t, "runes"))
	})
}

func anyEvent() *rapid.Generator[*Event] {
	return rapid.Custom(func(t *rapid.T) *Event {
		b := NewBuilder()
		set := func(name string, v Value) {
			if err := b.Set(name, v); err != nil {
				t.Fatal(err)
			}
		}
		set("id", StringValue(anyText().Draw(t, "id")))
		set("type", StringValue(anyText().Draw(t, "type")))
		set("source", StringValue(rapid.SampledFrom([]string{"/a", "https://example.com/a%20b?c#d", "urn:a:b", "a", "//h/p"}).Draw(t, "source")))
		if rapid.Bool().Draw(t, "subject") {
			set("subject", StringValue(anyText().Draw(t, "subject")))
		}
		if rapid.Bool().Draw(t, "schema") {
			set("dataschema", StringValue("https://example.com/schema"))
		}
		if rapid.Bool().Draw(t, "time") {
			zone := time.FixedZone("", 60*rapid.IntRange(-720, 720).Draw(t, "zone"))
			set("time", TimeValue(time.Unix(rapid.Int64Range(-1e9, 1e10).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).In(zone), ""))
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`x[a-z0-9]{0,20}`), 0, 20, rapid.ID).Draw(t, "extensions") {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				set(name, StringValue(anyText().Draw(t, "text")))
			case 1:
				set(name, IntegerValue(rapid.Int32().Draw(t, "integer")))
			case 2:
				set(name, BooleanValue(rapid.Bool().Draw(t, "boolean")))
			}
		}
		switch rapid.IntRange(0, 4).Draw(t, "data") {
		case 0:
			b.SetData("text/plain", []byte(anyText().Draw(t, "data text")))
		case 1:
			b.SetData("application/octet-stream", rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "bytes"))
		case 2:
			b.SetData("", rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "bytes without a type"))
		case 3:
			raw, err := json.Marshal(rapid.MapOf(rapid.String(), rapid.Float64Range(-1e300, 1e300)).Draw(t, "members"))
			if err != nil {
				t.Fatal(err)
			}
			b.SetJSON(raw)
		}
		e, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return e
	})
}

func TestEventsSurviveEveryEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(anyEvent(), 0, 5).Draw(t, "events")
		same := func(how string, got, want *Event) {
			if !bytes.Equal(got.enc, want.enc) {
				t.Fatalf("%s: %s became %s", how, AppendStructured(nil, want), AppendStructured(nil, got))
			}
		}
		for _, e := range events {
			stored, err := Decode(e.AppendBinary(nil))
			if err != nil {
				t.Fatal(err)
			}
			same("storage", stored, e)
			resealed, err := FromEvent(stored).Build()
			if err != nil {
				t.Fatal(err)
			}
			same("builder", resealed, e)
			structured, err := FromStructured(AppendStructured(nil, stored), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			same("structured", structured, e)
			h := http.Header{}
			SetHeaders(h, e)
			binary, mode, err := FromHTTP(h, e.Data(), Limits{})
			if err != nil || mode != ModeBinary {
				t.Fatal(mode, err)
			}
			same("binary", binary[0], textual(t, e))
		}
		batch, err := FromBatch(AppendBatch(nil, events), Limits{})
		if err != nil || len(batch) != len(events) {
			t.Fatal(len(batch), err)
		}
		for i := range batch {
			same("batch", batch[i], events[i])
		}
	})
}

// textual is e as the binary mode keeps it: extensions are text, no bytes are no
// data, and bytes that are not JSON are what the content type says.
func textual(t interface{ Fatal(...any) }, e *Event) *Event {
	b := FromEvent(e)
	for _, x := range e.Extensions() {
		if err := b.Set(x.Name, StringValue(x.Value.Text())); err != nil {
			t.Fatal(err)
		}
	}
	if e.Format() != NoData {
		b.SetData(e.DataContentType(), e.Data())
	}
	out, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
