package targettest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// Sample is an event to test with.
type Sample struct {
	Name  string
	Event *event.Event
}

// Samples are events that are easy to get wrong on the way.
func Samples(t testing.TB) []Sample {
	all := bytes.Repeat([]byte{0}, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var out []Sample
	add := func(name, structured string) {
		e, err := event.FromStructured([]byte(structured), event.Limits{MaxEventSize: 1 << 20})
		if err != nil {
			t.Fatalf("sample %q: %v", name, err)
		}
		out = append(out, Sample{name, e})
	}
	attributes := `"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order"`
	add("only what is required", `{`+attributes+`}`)
	add("every attribute", `{`+attributes+`,"subject":"eu/de","time":"2026-11-22T10:11:12.123456789+02:00","dataschema":"https://example.com/s",
		"datacontenttype":"application/json; charset=utf-8","partitionkey":"k","count":-7,"flag":true,"off":false,"data":{"total":150}}`)
	add("unicode", `{`+attributes+`,"subject":"Grüße € 😀 100% \"quoted\" a\\b","note":"naïve  %41","datacontenttype":"text/plain; charset=utf-8","data":"Grüße\r\n\t😀\u0000\u001b"}`)
	add("a trace", `{`+attributes+`,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=b,c=d"}`)
	add("JSON that a parser would change", `{`+attributes+`,"datacontenttype":"application/json","data":{"n":12345678901234567890.120,"e":1E+2,"u":"\u00e9\/",
		"list":[ ] , "html":"<&>"}}`)
	add("a JSON text", `{`+attributes+`,"datacontenttype":"application/json","data":"just text"}`)
	add("a JSON null", `{`+attributes+`,"datacontenttype":"application/json","data":null}`)
	add("XML", `{`+attributes+`,"datacontenttype":"application/xml","data":"<a b=\"c\"/>"}`)
	add("an event as the data", `{`+attributes+`,"datacontenttype":"application/cloudevents+json","data":{"specversion":"1.0","id":"evil","source":"/admin","type":"evil"}}`)
	add("a batch as the data", `{`+attributes+`,"datacontenttype":"application/cloudevents-batch+json","data":[]}`)
	binary, _ := json.Marshal(all)
	add("binary data", `{`+attributes+`,"datacontenttype":"application/octet-stream","data_base64":`+string(binary)+`}`)
	add("binary data without a type", `{`+attributes+`,"data_base64":`+string(binary)+`}`)
	big, _ := json.Marshal(bytes.Repeat(all, 800))
	add("200 KiB of binary data", `{`+attributes+`,"datacontenttype":"application/octet-stream","data_base64":`+string(big)+`}`)
	add("200 KiB of JSON", `{`+attributes+`,"datacontenttype":"application/json","data":{"text":"`+strings.Repeat("0123456789", 20<<10)+`"}}`)
	return out
}

// delivery makes a delivery of e, number n.
func delivery(e *event.Event, n int) *targets.Delivery {
	return &targets.Delivery{
		ID:           fmt.Sprintf("01JDELIVERY%08d", n),
		Subscription: "conformance/target",
		Bus:          "conformance",
		Sequence:     uint64(n + 1),
		Recorded:     time.Date(2026, 11, 22, 10, 11, 12, 0, time.UTC),
		Attempt:      1,
		Event:        e,
	}
}

// numbered is a small event whose id tells it apart.
func numbered(t testing.TB, n int) *event.Event {
	b := event.NewBuilder()
	for _, a := range [][2]string{{"id", fmt.Sprint(n)}, {"source", "/conformance"}, {"type", "com.example.numbered"}} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	b.SetJSON(fmt.Appendf(nil, `{"n":%d}`, n))
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Difference says how two events differ, "" if they do not. The text forms of
// attributes are compared, which is what every protocol carries, and JSON data
// but for the space between its tokens.
func Difference(want, got *event.Event) string {
	texts := func(e *event.Event) map[string]string {
		m := map[string]string{}
		for name, v := range e.Attributes() {
			m[name] = v.Text()
		}
		return m
	}
	w, g := texts(want), texts(got)
	for name, v := range w {
		if other, ok := g[name]; !ok || other != v {
			return fmt.Sprintf("attribute %s is %q, not %q", name, other, v)
		}
	}
	for name, v := range g {
		if _, ok := w[name]; !ok {
			return fmt.Sprintf("there is an attribute %s, %q", name, v)
		}
	}
	a, b := want.Data(), got.Data()
	if want.Format() == event.JSON {
		a, b = compact(a), compact(b)
	}
	if !bytes.Equal(a, b) {
		return fmt.Sprintf("the data is %.200q (%d bytes), not %.200q (%d bytes)", b, len(b), a, len(a))
	}
	return ""
}

func compact(data []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, data) != nil {
		return data
	}
	return out.Bytes()
}
