package nats

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// message is a message of core NATS or of JetStream.
type message struct {
	subject string
	header  nats.Header
	data    []byte
	place   string    // its place in the stream, as an id; "" without one
	stored  time.Time // when the stream took it
}

// limits lets the bus decide how large an event may be; NATS itself allows
// messages of 64 MiB at most.
func limits() event.Limits { return event.Limits{MaxEventSize: 80 << 20} }

// events are the events of a message: itself, if it is a CloudEvent or a batch
// of them, else one that wraps it.
func (s *source) events(m message) ([]*event.Event, error) {
	h := http.Header{}
	for name, values := range m.header {
		h[http.CanonicalHeaderKey(name)] = append(h[http.CanonicalHeaderKey(name)], values...)
	}
	contentType := h.Get("Content-Type")
	if h.Get("Ce-Specversion") != "" || isCloudEvents(contentType) {
		// Some libraries write this attribute like the others.
		if own := h["Ce-Datacontenttype"]; len(own) == 1 && (contentType == "" || contentType == own[0]) {
			h["Content-Type"] = own
			delete(h, "Ce-Datacontenttype")
		}
		events, _, err := event.FromHTTP(h, m.data, limits())
		return events, err
	}
	if contentType == "" && looksStructured(m.data) {
		e, err := event.FromStructured(m.data, limits())
		return []*event.Event{e}, err
	}
	e, err := s.wrap(m, h, contentType)
	return []*event.Event{e}, err
}

func isCloudEvents(contentType string) bool {
	const prefix = "application/cloudevents"
	return len(contentType) >= len(prefix) && strings.EqualFold(contentType[:len(prefix)], prefix)
}

// looksStructured reports whether data is JSON that calls itself a CloudEvent.
func looksStructured(data []byte) bool {
	if !bytes.Contains(data, []byte(`"specversion"`)) {
		return false
	}
	tree, err := event.ParseTree(data)
	if err != nil {
		return false
	}
	version, _ := tree.Root().Get("specversion")
	return version.Text() == "1.0"
}

// wrap makes an event that has the message as its data.
func (s *source) wrap(m message, h http.Header, contentType string) (*event.Event, error) {
	b := event.NewBuilder()
	_ = b.Set("type", event.StringValue(s.config.Event.Type)) // Build reports what these refuse
	_ = b.Set("source", event.StringValue(s.config.Event.Source))
	_ = b.Set("subject", event.StringValue(m.subject))
	id := m.place
	if id == "" {
		id = rand.Text()
	}
	if own := h.Get(nats.MsgIdHdr); own == "" || b.Set("id", event.StringValue(own)) != nil {
		_ = b.Set("id", event.StringValue(id))
	}
	if !m.stored.IsZero() {
		_ = b.Set("time", event.TimeValue(m.stored.UTC(), ""))
	}
	for _, name := range [...]string{"traceparent", "tracestate"} {
		if v := h.Get(name); v != "" && b.Set(name, event.StringValue(v)) != nil {
			b.Unset(name)
		}
	}
	setData(b, contentType, m.data)
	return b.Build()
}

// setData keeps the content type that the message names, if it fits, and else
// finds one out.
func setData(b *event.Builder, contentType string, data []byte) {
	valid := event.CheckJSON(data) == nil
	switch {
	case len(data) == 0:
		return
	case contentType != "" && b.Set("datacontenttype", event.StringValue(contentType)) == nil && (valid || !claimsJSON(contentType)):
		b.SetData(contentType, data)
	case valid:
		b.Unset("datacontenttype")
		b.SetJSON(data)
	case utf8.Valid(data):
		b.SetData("text/plain; charset=utf-8", data)
	default:
		b.SetData("application/octet-stream", data)
	}
}

func claimsJSON(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}
