// Package event is the stored CloudEvent: an immutable value that keeps every
// attribute as published and the data as raw bytes.
//
// It stands at both ends of the pipeline: the HTTP and JSON decoders make an
// Event in one validating scan on the way in, the store keeps its binary
// encoding, rules read its attributes and its lazily parsed data, and targets
// encode it again on the way out.
//
// An Event never changes after it was made, so it is safe for concurrent use;
// the lazily parsed data is published through an atomic pointer.
package event

import (
	"iter"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

// DataFormat says what an event's data is, which decides how it is written
// back and what a rule sees as event.data.
type DataFormat uint8

const (
	// NoData means that the event has no data at all.
	NoData DataFormat = iota
	// JSON is one JSON value, checked when the event was made.
	JSON
	// Text is UTF-8 text of a content type that is not JSON.
	Text
	// Binary is anything else.
	Binary
)

// Event is one CloudEvent 1.0. The zero value is not a valid event; make one
// with a decoder of this package or with a Builder.
type Event struct {
	id, source, typ string
	subject         string
	dataSchema      string
	contentType     string
	time            string // as published; "" when absent
	seconds         int64  // time in Unix seconds, when present
	nanos           int32
	format          DataFormat
	ext             []Extension // sorted by name
	data            []byte
	enc             []byte // the storage encoding, which all of the above alias

	tree atomic.Pointer[Tree]
}

// Extension is one extension attribute.
type Extension struct {
	Name  string
	Value Value
}

// ID is the event's id, never empty.
func (e *Event) ID() string { return e.id }

// Source is the event's source, never empty. Source and ID identify the event.
func (e *Event) Source() string { return e.source }

// Type is the event's type, never empty.
func (e *Event) Type() string { return e.typ }

// Subject is the event's subject, "" when absent (an empty one is invalid).
func (e *Event) Subject() string { return e.subject }

// DataSchema is the event's dataschema, "" when absent.
func (e *Event) DataSchema() string { return e.dataSchema }

// DataContentType is the event's datacontenttype, "" when absent.
func (e *Event) DataContentType() string { return e.contentType }

// Time is the instant of the event's time attribute, in UTC; ok is false when
// it is absent. TimeText has the offset that it was published with.
func (e *Event) Time() (t time.Time, ok bool) {
	if e.time == "" {
		return time.Time{}, false
	}
	return time.Unix(e.seconds, int64(e.nanos)).UTC(), true
}

// TimeText is the time attribute exactly as it was published, "" when absent.
func (e *Event) TimeText() string { return e.time }

// Data is the event's raw data; the caller must not change it.
func (e *Event) Data() []byte { return e.data }

// Format says what Data holds.
func (e *Event) Format() DataFormat { return e.format }

// Extensions are the extension attributes in order of name; the caller must
// not change them.
func (e *Event) Extensions() []Extension { return e.ext }

// Extension returns the extension called name; ok is false when it is absent.
func (e *Event) Extension(name string) (v Value, ok bool) {
	if len(e.ext) <= 8 {
		for i := range e.ext {
			if e.ext[i].Name == name {
				return e.ext[i].Value, true
			}
		}
		return Value{}, false
	}
	i := sort.Search(len(e.ext), func(i int) bool { return e.ext[i].Name >= name })
	if i < len(e.ext) && e.ext[i].Name == name {
		return e.ext[i].Value, true
	}
	return Value{}, false
}

// ExtensionText is the text form of the extension called name, "" when absent.
func (e *Event) ExtensionText(name string) string {
	v, ok := e.Extension(name)
	if !ok {
		return ""
	}
	return v.Text()
}

// Attribute returns any context attribute by its CloudEvents name, including
// specversion and the extensions; ok is false when it is absent.
func (e *Event) Attribute(name string) (v Value, ok bool) {
	switch name {
	case "specversion":
		return StringValue("1.0"), true
	case "id":
		return StringValue(e.id), true
	case "source":
		return StringValue(e.source), true
	case "type":
		return StringValue(e.typ), true
	case "subject":
		return StringValue(e.subject), e.subject != ""
	case "dataschema":
		return StringValue(e.dataSchema), e.dataSchema != ""
	case "datacontenttype":
		return StringValue(e.contentType), e.contentType != ""
	case "time":
		if e.time == "" {
			return Value{}, false
		}
		return timestamp(e.seconds, e.nanos, e.time), true
	}
	return e.Extension(name)
}

// Attributes yields every attribute that is set: specversion, id, source and
// type first, then the optional ones, then the extensions by name.
func (e *Event) Attributes() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, name := range contextAttributes {
			if v, ok := e.Attribute(name); ok && !yield(name, v) {
				return
			}
		}
		for i := range e.ext {
			if !yield(e.ext[i].Name, e.ext[i].Value) {
				return
			}
		}
	}
}

var contextAttributes = [...]string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

// IsContextAttribute reports whether name is an attribute that the CloudEvents
// specification itself defines (specversion included), not an extension.
func IsContextAttribute(name string) bool {
	for _, n := range contextAttributes {
		if n == name {
			return true
		}
	}
	return false
}

// Size is the event's size in bytes as limits and budgets count it: its
// attributes' names and values plus its data, in the encoding that it is
// stored in.
func (e *Event) Size() int { return len(e.enc) }

// PartitionKey is the order key of the event: the partitionkey extension, else
// the subject, else "" for an event without order.
func (e *Event) PartitionKey() string {
	if k := e.ExtensionText("partitionkey"); k != "" {
		return k
	}
	return e.subject
}

// isJSONType reports whether a content type means JSON: */json and */*+json,
// with any parameters (CloudEvents JSON format §3.1).
func isJSONType(contentType string) bool {
	t := contentType
	if i := strings.IndexByte(t, ';'); i >= 0 {
		t = t[:i]
	}
	t = strings.TrimSpace(t)
	i := strings.IndexByte(t, '/')
	if i < 0 {
		return false
	}
	sub := t[i+1:]
	return strings.EqualFold(sub, "json") || (len(sub) > 5 && strings.EqualFold(sub[len(sub)-5:], "+json"))
}
