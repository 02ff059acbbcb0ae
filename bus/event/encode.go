package event

import (
	"encoding/base64"
	"strconv"
)

// AppendStructured appends the event in the JSON format (CloudEvents JSON
// format §2): JSON data as it was published, byte for byte, text as a string,
// anything else as data_base64. Each of extra is written as an extension, in
// place of one of the same name; their names must be valid and differ.
//
// Published JSON may hold line breaks between its tokens; a caller that frames
// lines must split there.
func AppendStructured(dst []byte, e *Event, extra ...Extension) []byte {
	dst = append(dst, `{"specversion":"1.0"`...)
	dst = appendMember(dst, "id", e.id)
	dst = appendMember(dst, "source", e.source)
	dst = appendMember(dst, "type", e.typ)
	dst = appendMember(dst, "subject", e.subject)
	dst = appendMember(dst, "time", e.time)
	dst = appendMember(dst, "datacontenttype", e.contentType)
	dst = appendMember(dst, "dataschema", e.dataSchema)
	for i := range e.ext {
		if !named(extra, e.ext[i].Name) {
			dst = appendExtension(dst, &e.ext[i])
		}
	}
	for i := range extra {
		dst = appendExtension(dst, &extra[i])
	}
	switch e.format {
	case JSON:
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.data...)
	case Text:
		dst = append(dst, `,"data":`...)
		dst = AppendJSONString(dst, alias(e.data))
	case Binary:
		dst = append(dst, `,"data_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.data)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// AppendBatch appends the events as a batch in the JSON format (CloudEvents
// JSON format §4).
func AppendBatch(dst []byte, events []*Event) []byte {
	dst = append(dst, '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendStructured(dst, e)
	}
	return append(dst, ']')
}

func named(extra []Extension, name string) bool {
	for i := range extra {
		if extra[i].Name == name {
			return true
		}
	}
	return false
}

// appendMember appends a member of an object, unless its value is empty.
func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return AppendJSONString(dst, value)
}

func appendExtension(dst []byte, x *Extension) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, x.Name...)
	dst = append(dst, '"', ':')
	switch x.Value.kind {
	case KindInteger:
		return strconv.AppendInt(dst, int64(x.Value.num), 10)
	case KindBoolean:
		return strconv.AppendBool(dst, x.Value.num == 1)
	}
	return AppendJSONString(dst, x.Value.text)
}
