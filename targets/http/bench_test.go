package http

import (
	"bytes"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// The two benchmarks are a pair: the same 1 KB event to the same server, first
// delivered, then only posted. Compare them within one run:
//
//	go test -run '^$' -bench 'Deliver|BareClient' -count 5 ./targets/http

func benchServer(b *testing.B) string {
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(nethttp.StatusAccepted)
	}))
	b.Cleanup(s.Close)
	return s.URL
}

func benchEvent(b *testing.B) *event.Event {
	return parse(b, `{"specversion":"1.0","id":"01JD0000000000000000000001","source":"/shop/eu","type":"com.example.order.placed","subject":"eu/de/1234",
		"time":"2026-11-22T10:11:12.123Z","partitionkey":"customer-77","datacontenttype":"application/json","data":{"text":"`+
		string(bytes.Repeat([]byte("0123456789"), 70))+`"}}`)
}

func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct{ name, mode, secret string }{
		{"binary", Binary, ""},
		{"binary-signed", Binary, "1234567890123456"},
		{"structured", Structured, ""},
	} {
		deliver := func(b *testing.B) (*target, *event.Event) {
			config := NewConfig()
			config.URL, config.Mode, config.Secret = benchServer(b), c.mode, component.NewSecrets(c.secret)
			return newTarget(b, config, targets.Env{}), benchEvent(b)
		}
		b.Run(c.name, func(b *testing.B) {
			target, e := deliver(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := target.Deliver(b.Context(), deliveryOf(e)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"-parallel", func(b *testing.B) {
			target, e := deliver(b)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := target.Deliver(b.Context(), deliveryOf(e)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkBareClient(b *testing.B) {
	prepare := func(b *testing.B) (post func() error) {
		client := &nethttp.Client{Transport: &nethttp.Transport{MaxIdleConnsPerHost: maxIdle}}
		b.Cleanup(client.CloseIdleConnections)
		url, data := benchServer(b), benchEvent(b).Data()
		return func() error {
			res, err := client.Post(url, "application/json", bytes.NewReader(data))
			if err != nil {
				return err
			}
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
			return err
		}
	}
	b.Run("serial", func(b *testing.B) {
		post := prepare(b)
		b.ReportAllocs()
		for b.Loop() {
			if err := post(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		post := prepare(b)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := post(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
