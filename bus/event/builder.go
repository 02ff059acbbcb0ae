package event

import (
	"errors"
	"math"
	"slices"
)

// Builder makes an event out of parts, checked as the decoders check them. It
// is not safe for concurrent use. A Builder may go on being used after Build,
// to make more events that share its parts.
type Builder struct {
	d        draft
	data     []byte
	kind     dataKind
	kept     string // the content type that goes with keptData
	format   DataFormat
	problems []*DecodeError
}

// dataKind is how a Builder came by its data.
type dataKind uint8

const (
	noData   dataKind = iota
	rawData           // bytes, which the content type describes
	jsonData          // JSON, not checked yet
	keptData          // an event's, described by format while the content type stays
)

// NewBuilder makes a Builder without attributes, but for specversion.
func NewBuilder() *Builder {
	return &Builder{d: draft{specVersion: true}}
}

// FromEvent makes a Builder that starts with all parts of e.
func FromEvent(e *Event) *Builder {
	b := &Builder{d: draft{
		id: e.id, source: e.source, typ: e.typ, subject: e.subject, dataSchema: e.dataSchema,
		contentType: e.contentType, time: e.time, seconds: e.seconds, nanos: e.nanos,
		specVersion: true, ext: slices.Clone(e.ext),
	}}
	if e.format != NoData {
		b.data, b.kind, b.kept, b.format = e.data, keptData, e.contentType, e.format
	}
	return b
}

// Set sets the attribute called name. The attributes of the specification are
// strings, time may also be a timestamp. What is wrong with it, a *DecodeError,
// is returned, and again by Build unless the same name is set well or unset
// before; the attribute then keeps its former value.
func (b *Builder) Set(name string, v Value) error {
	b.forgive(name)
	var probe draft
	if err := probe.set(name, v); err != nil {
		b.problems = append(b.problems, err)
		return err
	}
	if name == "specversion" {
		return nil // it was checked to be 1.0, which it is
	}
	b.clear(name)
	if err := b.d.set(name, v); err != nil {
		b.problems = append(b.problems, err)
		return err
	}
	return nil
}

// Unset removes the attribute called name if it is set; "data" removes the data.
func (b *Builder) Unset(name string) {
	b.forgive(name)
	b.clear(name)
	if name == "data" {
		b.data, b.kind = nil, noData
	}
}

// SetData sets the data and its content type, "" for none. As in the binary
// mode of HTTP, no bytes are no data, and under a JSON content type Build
// checks that data is one JSON value. The Builder keeps data until then.
func (b *Builder) SetData(contentType string, data []byte) {
	b.Unset("datacontenttype")
	if contentType != "" {
		_ = b.Set("datacontenttype", StringValue(contentType)) // Build reports it
	}
	b.data, b.kind = data, rawData
}

// SetJSON sets the data to one JSON value, which Build checks. The content type
// becomes application/json unless it means JSON already. The Builder keeps raw
// until then.
func (b *Builder) SetJSON(raw []byte) { b.data, b.kind = raw, jsonData }

// Build makes the event, or returns everything that is wrong, joined
// *DecodeErrors. Its size is not limited.
func (b *Builder) Build() (*Event, error) {
	var problems []error
	for _, p := range b.problems {
		problems = append(problems, p)
	}
	add := func(err *DecodeError) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	d := b.d
	d.ext = slices.Clone(b.d.ext)
	for _, r := range [...]struct{ name, value string }{{"id", d.id}, {"source", d.source}, {"type", d.typ}} {
		if r.value == "" && !b.blames(r.name) {
			add(invalid(r.name, "is required"))
		}
	}
	add(b.settle(&d))
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	e, err := d.event(math.MaxInt)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// settle gives the draft its data.
func (b *Builder) settle(d *draft) *DecodeError {
	kind := b.kind
	if kind == keptData {
		switch {
		case d.contentType == b.kept:
			d.data, d.format = b.data, b.format
			return nil
		case d.contentType == "" && b.format == JSON:
			kind = jsonData
		default:
			kind = rawData
		}
	}
	switch kind {
	case jsonData:
		if !isJSONType(d.contentType) {
			d.contentType = "application/json"
		}
		s := scan(b.data)
		defer s.release()
		if !s.document() {
			return invalid("data", s.reason).at(s.errAt)
		}
		d.data, d.format = b.data, JSON
	case rawData:
		return d.setBytes(b.data)
	}
	return nil
}

func (b *Builder) forgive(name string) {
	b.problems = slices.DeleteFunc(b.problems, func(p *DecodeError) bool { return p.Attribute == name })
}

func (b *Builder) blames(name string) bool {
	return slices.ContainsFunc(b.problems, func(p *DecodeError) bool { return p.Attribute == name })
}

func (b *Builder) clear(name string) {
	switch field, _ := b.d.field(name); {
	case field != nil:
		*field = ""
	case name == "time":
		b.d.time = ""
	default:
		b.d.ext = slices.DeleteFunc(b.d.ext, func(x Extension) bool { return x.Name == name })
	}
}
