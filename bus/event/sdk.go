package event

import (
	"fmt"
	"net/url"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// FromSDK makes an event of one of the CloudEvents SDK for Go, checked as the
// decoders check. Its specversion must be 1.0. Values of the types URI, binary
// and timestamp become text. Data without a content type that is not marked as
// binary is JSON, as the SDK itself writes it. The data is copied.
func FromSDK(in ce.Event) (*Event, error) {
	if in.Context == nil {
		return nil, invalid("specversion", "is required")
	}
	b := NewBuilder()
	_ = b.Set("specversion", StringValue(in.SpecVersion())) // Build reports what Set refuses
	for _, a := range [...]struct{ name, value string }{
		{"id", in.ID()}, {"source", in.Source()}, {"type", in.Type()}, {"subject", in.Subject()}, {"dataschema", in.DataSchema()},
	} {
		if a.value != "" {
			_ = b.Set(a.name, StringValue(a.value))
		}
	}
	if t := in.Time(); !t.IsZero() {
		_ = b.Set("time", TimeValue(t, ""))
	}
	for name, value := range in.Extensions() {
		v, err := sdkValue(value)
		if err != nil {
			return nil, invalid(name, err.Error())
		}
		_ = b.Set(name, v)
	}
	if contentType := in.DataContentType(); contentType != "" {
		_ = b.Set("datacontenttype", StringValue(contentType))
	}
	switch data := in.Data(); {
	case len(data) == 0:
	case in.DataContentType() == "" && !in.DataBase64:
		b.SetJSON(data)
	default:
		b.SetData(in.DataContentType(), data)
	}
	return b.Build()
}

func sdkValue(value any) (Value, error) {
	switch v := value.(type) {
	case bool:
		return BooleanValue(v), nil
	case int32:
		return IntegerValue(v), nil
	}
	text, err := types.Format(value)
	return StringValue(text), err
}

// SDK is the event as one of the CloudEvents SDK for Go, for its protocol
// bindings. The SDK writes times in UTC. It shares the data with e, so it must
// not be changed. An error means that the SDK cannot hold an attribute, such as
// a source that net/url does not parse.
func (e *Event) SDK() (ce.Event, error) {
	source, err := url.Parse(e.source)
	if err != nil {
		return ce.Event{}, e.sdkError(err)
	}
	// The setters of the SDK trim white space, so the context is filled in here.
	c := &ce.EventContextV1{ID: e.id, Type: e.typ, Source: types.URIRef{URL: *source}}
	if e.subject != "" {
		subject := e.subject
		c.Subject = &subject
	}
	if e.contentType != "" {
		contentType := e.contentType
		c.DataContentType = &contentType
	}
	if e.dataSchema != "" {
		schema, err := url.Parse(e.dataSchema)
		if err != nil {
			return ce.Event{}, e.sdkError(err)
		}
		c.DataSchema = &types.URI{URL: *schema}
	}
	if t, ok := e.Time(); ok {
		if zoned, err := time.Parse(time.RFC3339Nano, e.time); err == nil {
			t = zoned // keeps the offset; fails on a leap second
		}
		c.Time = &types.Timestamp{Time: t}
	}
	if len(e.ext) > 0 {
		c.Extensions = make(map[string]any, len(e.ext))
	}
	for _, x := range e.ext {
		switch x.Value.kind {
		case KindInteger:
			c.Extensions[x.Name] = x.Value.Integer()
		case KindBoolean:
			c.Extensions[x.Name] = x.Value.Boolean()
		default:
			c.Extensions[x.Name] = x.Value.text
		}
	}
	out := ce.Event{Context: c, DataEncoded: e.data, DataBase64: e.format == Binary}
	if err := out.Validate(); err != nil {
		return ce.Event{}, e.sdkError(err)
	}
	return out, nil
}

func (e *Event) sdkError(err error) error {
	return fmt.Errorf("the CloudEvents SDK cannot hold event %s: %w", quote(e.id), err)
}
