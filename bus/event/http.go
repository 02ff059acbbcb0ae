package event

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// Mode is how a message of the HTTP binding carries events (CloudEvents HTTP
// binding §3).
type Mode uint8

const (
	// ModeUnknown is a message that is not a CloudEvent.
	ModeUnknown Mode = iota
	// ModeBinary has the attributes in headers and the data as the body.
	ModeBinary
	// ModeStructured has one event as the body.
	ModeStructured
	// ModeBatched has an array of events as the body.
	ModeBatched
)

// String is the mode's name in the specification: binary, structured or batched.
func (m Mode) String() string {
	switch m {
	case ModeBinary:
		return "binary"
	case ModeStructured:
		return "structured"
	case ModeBatched:
		return "batched"
	}
	return "unknown"
}

const (
	eventPrefix = "application/cloudevents"
	batchPrefix = "application/cloudevents-batch"
)

// FromHTTP reads the events of an HTTP message, a request or a reply, whose
// body has been read within the limit of requests. The mode follows from
// Content-Type: batched, structured, else binary (§3). A structured content
// type of a format other than JSON, or of a charset other than UTF-8, is an
// error of status 415. The error is a *DecodeError.
func FromHTTP(h http.Header, body []byte, lim Limits) (events []*Event, mode Mode, err error) {
	mode, e := modeOf(h)
	if e != nil {
		return nil, mode, e
	}
	if mode == ModeBatched {
		events, err = FromBatch(body, lim)
		return events, mode, err
	}
	var one *Event
	if mode == ModeStructured {
		one, err = FromStructured(body, lim)
	} else {
		one, err = FromBinary(h, body, lim)
	}
	if err != nil {
		return nil, mode, err
	}
	return []*Event{one}, mode, nil
}

// modeOf decides the mode of a message.
func modeOf(h http.Header) (Mode, *DecodeError) {
	if len(h["Content-Type"]) > 1 {
		return ModeUnknown, invalid("datacontenttype", "the header Content-Type is repeated")
	}
	contentType := h.Get("Content-Type")
	var mode Mode
	var format string
	switch {
	case hasPrefixFold(contentType, batchPrefix):
		mode, format = ModeBatched, contentType[len(batchPrefix):]
	case hasPrefixFold(contentType, eventPrefix):
		mode, format = ModeStructured, contentType[len(eventPrefix):]
	case hasAttribute(h):
		return ModeBinary, nil
	default:
		return ModeUnknown, unsupported("not a CloudEvent: there is no ce-specversion header, and the content type is neither application/cloudevents+json nor application/cloudevents-batch+json")
	}
	if i := strings.IndexByte(format, ';'); i >= 0 {
		format = format[:i]
	}
	if !strings.EqualFold(strings.TrimRight(format, " \t"), "+json") {
		if hasAttribute(h) { // §3: such a type may be the data's own
			return ModeBinary, nil
		}
		return mode, unsupported("content type " + quote(contentType) + " is not supported; use the format +json")
	}
	if reason := checkMediaType(contentType); reason != "" {
		return mode, unsupported("content type " + reason)
	}
	if charset, ok := parameter(contentType, "charset"); ok && !strings.EqualFold(charset, "utf-8") {
		return mode, unsupported("charset " + quote(charset) + " is not supported; use utf-8")
	}
	return mode, nil
}

func unsupported(reason string) *DecodeError {
	e := invalid("", reason)
	e.Status = http.StatusUnsupportedMediaType
	return e
}

// hasAttribute reports whether any header is an attribute of a CloudEvent.
func hasAttribute(h http.Header) bool {
	if _, ok := h["Ce-Specversion"]; ok {
		return true
	}
	for key := range h {
		if attributeHeader(key) {
			return true
		}
	}
	return false
}

func attributeHeader(key string) bool {
	return len(key) > 3 && key[2] == '-' && key[0]|0x20 == 'c' && key[1]|0x20 == 'e'
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// FromBinary reads an event in the binary mode (CloudEvents HTTP binding §3.1),
// which it copies. An attribute that stands in two headers is refused, and so
// is ce-datacontenttype, for Content-Type says it. A body under a JSON content
// type must be exactly one JSON value; an empty body is no data at all. The
// error is a *DecodeError.
func FromBinary(h http.Header, body []byte, lim Limits) (*Event, error) {
	e, err := fromBinary(h, body, lim.eventSize())
	if err != nil {
		return nil, err
	}
	return e, nil
}

func fromBinary(h http.Header, body []byte, limit int) (*Event, *DecodeError) {
	d := newDraft()
	defer d.release()
	for key, values := range h {
		if !attributeHeader(key) {
			if len(key) != len("Content-Type") || !strings.EqualFold(key, "Content-Type") {
				continue
			}
			if len(values) != 1 || d.contentType != "" {
				return nil, invalid("datacontenttype", "the header Content-Type is repeated")
			}
			if values[0] == "" {
				continue
			}
			if err := d.set("datacontenttype", StringValue(values[0])); err != nil {
				return nil, err
			}
			continue
		}
		name := attributeName(key[3:])
		if len(values) != 1 {
			return nil, invalid(name, "the header is repeated")
		}
		if name == "datacontenttype" {
			return nil, invalid(name, "must not be a ce- header; Content-Type says it")
		}
		text, ok := decodeHeader(values[0])
		if !ok {
			return nil, invalid(name, quote(values[0])+" is not valid UTF-8; percent-encode it")
		}
		if err := d.set(name, StringValue(text)); err != nil {
			return nil, err
		}
	}
	if err := d.setBytes(body); err != nil {
		return nil, err
	}
	return d.event(limit)
}

// attributeName brings a header's name without ce- to lower case; the known
// names cost no allocation.
func attributeName(key string) string {
	switch key {
	case "Specversion":
		return "specversion"
	case "Id":
		return "id"
	case "Source":
		return "source"
	case "Type":
		return "type"
	case "Subject":
		return "subject"
	case "Time":
		return "time"
	case "Dataschema":
		return "dataschema"
	case "Partitionkey":
		return "partitionkey"
	case "Traceparent":
		return "traceparent"
	}
	return strings.ToLower(key)
}

// decodeHeader reads a header's value (§3.1.3.2): quotes are taken off, then
// percent-encoding, once. A percent sign without two hexadecimal digits stands
// for itself.
func decodeHeader(s string) (string, bool) {
	if len(s) > 1 && s[0] == '"' && quotedString(s) {
		s = unquote(s)
	}
	if i := strings.IndexByte(s, '%'); i >= 0 {
		out := append(make([]byte, 0, len(s)), s[:i]...)
		for ; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				high, ok := hexDigit(s[i+1])
				low, also := hexDigit(s[i+2])
				if ok && also {
					out = append(out, high<<4|low)
					i += 2
					continue
				}
			}
			out = append(out, s[i])
		}
		s = alias(out)
	}
	return s, utf8.ValidString(s)
}

// quotedString reports whether s is one quoted string (RFC 9110 §5.6.4).
func quotedString(s string) bool {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i == len(s)-1
		case '\\':
			i++
		}
	}
	return false
}

// unquote takes the quotes and backslashes off a quoted string.
func unquote(s string) string {
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return alias(out)
}
