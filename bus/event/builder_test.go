package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBuilderReportsEveryProblem(t *testing.T) {
	b := NewBuilder()
	for name, value := range map[string]string{"time": "soon", "Foo": "x", "source": "a b"} {
		if err := b.Set(name, StringValue(value)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	b.SetData("nonsense", []byte("x"))
	_, err := b.Build()
	if err == nil {
		t.Fatal("built")
	}
	for _, want := range []string{`"time"`, `"Foo"`, `"source"`, `"datacontenttype"`, `"id": is required`, `"type": is required`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not reported in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), `"source": is required`) {
		t.Errorf("source is reported twice:\n%v", err)
	}
	var e *DecodeError
	if !errors.As(err, &e) {
		t.Error("no DecodeError")
	}
}

func TestBuilderForgivesWhatIsPutRight(t *testing.T) {
	b := FromEvent(orderEvent(t))
	_ = b.Set("time", StringValue("soon"))
	_ = b.Set("Foo", StringValue("x"))
	b.Unset("Foo")
	if err := b.Set("time", TimeValue(time.Date(2026, 11, 5, 1, 2, 3, 4, time.FixedZone("", 3600)), "")); err != nil {
		t.Fatal(err)
	}
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if e.TimeText() != "2026-11-05T01:02:03.000000004+01:00" {
		t.Error(e.TimeText())
	}
}

func TestBuilderKeepsTheEventItStartsFrom(t *testing.T) {
	from := orderEvent(t)
	b := FromEvent(from)
	same, err := b.Build()
	if err != nil || !bytes.Equal(same.enc, from.enc) {
		t.Fatal("the parts are not kept", err)
	}
	before := bytes.Clone(from.enc)
	for name, v := range map[string]Value{"partitionkey": StringValue("other"), "aaa": IntegerValue(1), "type": StringValue("u")} {
		if err := b.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	b.Unset("subject")
	b.Unset("traceparent")
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if wrong := differ(e.ExtensionText("partitionkey"), "other", e.ExtensionText("aaa"), "1", e.Type(), "u", e.Subject(), "", e.ExtensionText("traceparent"), "", e.ID(), from.ID()); wrong != "" {
		t.Error(wrong)
	}
	if !bytes.Equal(before, from.enc) || from.ExtensionText("partitionkey") != "customer-7" || len(from.Extensions()) != 2 {
		t.Error("the first event changed")
	}
	if same.ExtensionText("partitionkey") != "customer-7" {
		t.Error("an event that was built changed")
	}
}

func TestBuilderSettlesDataByItsContentType(t *testing.T) {
	text := func(b *Builder) { b.SetData("text/plain", []byte(`{"a":1}`)) }
	tests := []struct {
		name        string
		parts       func(*Builder)
		contentType string
		format      DataFormat
		data        string
		problem     string
	}{
		{"text", text, "text/plain", Text, `{"a":1}`, ""},
		{"bytes", func(b *Builder) { b.SetData("", []byte{0xFF}) }, "", Binary, "\xff", ""},
		{"JSON bytes", func(b *Builder) { b.SetData("text/json", []byte("1")) }, "text/json", JSON, "1", ""},
		{"JSON bytes that are not", func(b *Builder) { b.SetData("text/json", []byte("1 2")) }, "", 0, "", "not one JSON value"},
		{"JSON", func(b *Builder) { b.SetJSON([]byte("[1]")) }, "application/json", JSON, "[1]", ""},
		{"JSON that is not", func(b *Builder) { b.SetJSON([]byte(`1,"source":"x"`)) }, "", 0, "", "more text"},
		{"JSON after text", func(b *Builder) { text(b); b.SetJSON([]byte("[1]")) }, "application/json", JSON, "[1]", ""},
		{"JSON under a JSON type", func(b *Builder) { _ = b.Set("datacontenttype", StringValue("a/b+json")); b.SetJSON([]byte("1")) }, "a/b+json", JSON, "1", ""},
		{"no data", func(b *Builder) { text(b); b.Unset("data") }, "text/plain", NoData, "", ""},
		{"empty data", func(b *Builder) { b.SetData("application/json", nil) }, "application/json", NoData, "", ""},
		{"data before its type", func(b *Builder) { text(b); _ = b.Set("datacontenttype", StringValue("application/json")) }, "application/json", JSON, `{"a":1}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := FromEvent(orderEvent(t))
			test.parts(b)
			e, err := b.Build()
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.DataContentType() != test.contentType || e.Format() != test.format || string(e.Data()) != test.data {
				t.Errorf("%q, format %d, %q", e.DataContentType(), e.Format(), e.Data())
			}
		})
	}
}

func TestBuilderReclassifiesKeptData(t *testing.T) {
	b := FromEvent(orderEvent(t))
	b.Unset("datacontenttype")
	if e, err := b.Build(); err != nil || e.Format() != JSON || e.DataContentType() != "application/json" {
		t.Error("JSON data lost its type", err)
	}
	if err := b.Set("datacontenttype", StringValue("text/plain")); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Build(); err != nil || e.Format() != Text || string(e.Data()) != string(orderData()) {
		t.Error("data did not become text", err)
	}
}
