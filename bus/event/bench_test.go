package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// orderData is 1 KB of JSON as an order service publishes it.
func orderData() []byte {
	var b strings.Builder
	b.WriteString(`{"id":"ord_01HZX3V8K2","total":150.25,"currency":"EUR","customer":{"id":7,"name":"Ada Lovelace","vip":true,"tags":["eu","b2b"]},"items":[`)
	for i := 0; b.Len() < 980; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"SKU-%04d","quantity":%d,"price":%d.5,"note":"packed with care, \u00e9 by hand"}`, i, i+1, 10*i)
	}
	b.WriteString(`],"comment":null}`)
	return []byte(b.String())
}

func orderEvent(tb testing.TB) *Event {
	b := NewBuilder()
	for _, a := range [][2]string{
		{"id", "b1c0f1f0-3c5e-4d8a-9d0e-1f2a3b4c5d6e"}, {"source", "https://shop.example.com/orders"},
		{"type", "com.example.order.placed"}, {"subject", "eu/de/12345"}, {"time", "2026-11-05T17:31:00.123456Z"},
		{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"partitionkey", "customer-7"},
	} {
		if err := b.Set(a[0], StringValue(a[1])); err != nil {
			tb.Fatal(err)
		}
	}
	b.SetData("application/json", orderData())
	e, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func batchOf(tb testing.TB, n int) []byte {
	events := make([]*Event, n)
	for i := range events {
		events[i] = orderEvent(tb)
	}
	return AppendBatch(nil, events)
}

func binaryHeaders(tb testing.TB) http.Header {
	h := http.Header{"Content-Length": {"1024"}, "User-Agent": {"bench"}, "Accept-Encoding": {"gzip"}}
	SetHeaders(h, orderEvent(tb))
	return h
}

func BenchmarkBinary(b *testing.B) {
	h, body := binaryHeaders(b), orderData()
	b.Run("switchyard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := FromHTTP(h, body, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(body)))
			if _, err := binding.ToEvent(b.Context(), m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStructured(b *testing.B) {
	body := AppendStructured(nil, orderEvent(b))
	h := http.Header{"Content-Type": {"application/cloudevents+json"}}
	b.Run("switchyard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := FromHTTP(h, body, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(body)))
			if _, err := binding.ToEvent(b.Context(), m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBatch100(b *testing.B) {
	body := batchOf(b, 100)
	b.Run("switchyard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := FromBatch(body, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var events []ce.Event
			if err := json.Unmarshal(body, &events); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStorageDecode(b *testing.B) {
	buf := orderEvent(b).AppendBinary(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	e := orderEvent(b)
	dst := make([]byte, 0, e.EncodedSize())
	b.ReportAllocs()
	for b.Loop() {
		dst = e.AppendBinary(dst[:0])
	}
}

func BenchmarkTree(b *testing.B) {
	data := orderData()
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := indexTree(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if err := CheckJSON(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json valid", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !json.Valid(data) {
				b.Fatal("invalid")
			}
		}
	})
	b.Run("json to map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := json.Unmarshal(data, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		t, _ := indexTree(data)
		b.ReportAllocs()
		for b.Loop() {
			if n, ok := t.Root().Get("total"); !ok || n.Float() != 150.25 {
				b.Fatal("no total")
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e := orderEvent(b)
	sdk, err := e.SDK()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("structured", func(b *testing.B) {
		dst := make([]byte, 0, 4096)
		b.ReportAllocs()
		for b.Loop() {
			dst = AppendStructured(dst[:0], e)
		}
	})
	b.Run("structured sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(sdk); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("binary", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			SetHeaders(make(http.Header, 12), e)
		}
	})
	b.Run("binary sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			req := &http.Request{Header: make(http.Header, 12)}
			if err := cehttp.WriteRequest(b.Context(), (*binding.EventMessage)(&sdk), req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDedupeKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		DedupeKey("https://shop.example.com/orders", "b1c0f1f0-3c5e-4d8a-9d0e-1f2a3b4c5d6e")
	}
}
