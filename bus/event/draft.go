package event

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// draft collects the parts of one event while it is decoded or built. Its
// strings may alias the message, for seal copies all of them into the event's
// own storage encoding.
type draft struct {
	id, source, typ string
	subject         string
	dataSchema      string
	contentType     string
	time            string
	seconds         int64
	nanos           int32
	specVersion     bool
	format          DataFormat
	ext             []Extension // in the order of arrival until sortExtensions
	data            []byte
}

// drafts are those that were released.
var drafts = sync.Pool{New: func() any { return new(draft) }}

// newDraft takes an empty draft. It is to be released.
func newDraft() *draft { return drafts.Get().(*draft) }

// release gives a draft back, with nothing of what it held.
func (d *draft) release() {
	clear(d.ext)
	*d = draft{ext: d.ext[:0]}
	drafts.Put(d)
}

// set checks one attribute and keeps it. A second one of the same name is
// refused: here for the attributes of the specification, in seal for extensions.
func (d *draft) set(name string, v Value) *DecodeError {
	field, check := d.field(name)
	if field == nil && name != "time" && name != "specversion" {
		return d.setExtension(name, v)
	}
	if v.kind != KindString && (v.kind != KindTimestamp || name != "time") {
		return invalid(name, "must be a string")
	}
	s := v.text
	switch {
	case name == "specversion":
		if s != "1.0" {
			return invalid(name, quote(s)+` is not supported; only "1.0" is`)
		}
		if d.specVersion {
			return invalid(name, "is given twice")
		}
		d.specVersion = true
		return nil
	case name == "time":
		seconds, nanos, ok := parseTime(s)
		if !ok {
			return invalid(name, quote(s)+" is not an RFC 3339 time")
		}
		if d.time != "" {
			return invalid(name, "is given twice")
		}
		d.time, d.seconds, d.nanos = s, seconds, nanos
		return nil
	case s == "":
		return invalid(name, "must not be empty")
	case *field != "":
		return invalid(name, "is given twice")
	}
	if reason := check(s); reason != "" {
		return invalid(name, reason)
	}
	*field = s
	return nil
}

// field is where an attribute of the specification is kept, and its check.
func (d *draft) field(name string) (*string, func(string) string) {
	switch name {
	case "id":
		return &d.id, checkText
	case "source":
		return &d.source, checkURIReference
	case "type":
		return &d.typ, checkText
	case "subject":
		return &d.subject, checkText
	case "dataschema":
		return &d.dataSchema, checkURI
	case "datacontenttype":
		return &d.contentType, checkMediaType
	}
	return nil, nil
}

func (d *draft) setExtension(name string, v Value) *DecodeError {
	if reason := checkName(name); reason != "" {
		return invalid(name, reason)
	}
	switch v.kind {
	case KindString:
		if reason := checkText(v.text); reason != "" {
			return invalid(name, reason)
		}
		if v.text == "" && name == "partitionkey" {
			return invalid(name, "must not be empty")
		}
	case KindTimestamp:
		v = StringValue(v.text)
	}
	if len(d.ext) >= MaxAttributes {
		return tooMany(name)
	}
	d.ext = append(d.ext, Extension{name, v})
	return nil
}

// setBytes keeps data that is known by its bytes only, as in the binary mode of
// HTTP: the content type says what they are.
func (d *draft) setBytes(data []byte) *DecodeError {
	d.data, d.format = data, NoData
	switch {
	case len(data) == 0:
		d.data = nil
	case isJSONType(d.contentType):
		s := scan(data)
		defer s.release()
		if !s.document() {
			e := invalid("data", "not one JSON value, as "+quote(d.contentType)+" says: "+s.reason)
			return e.at(s.errAt)
		}
		d.format = JSON
	case isTextType(d.contentType) && utf8.Valid(data):
		d.format = Text
	default:
		d.format = Binary
	}
	return nil
}

// isTextType reports whether a content type means text in UTF-8.
func isTextType(contentType string) bool {
	t := contentType
	if i := strings.IndexByte(t, ';'); i >= 0 {
		if _, foreign := foreignCharset(contentType); foreign {
			return false
		}
		t = strings.TrimRight(t[:i], " \t")
	}
	if len(t) > 5 && strings.EqualFold(t[:5], "text/") {
		return true
	}
	if len(t) > 4 && (strings.EqualFold(t[len(t)-4:], "+xml")) {
		return true
	}
	for _, text := range [...]string{"application/xml", "application/yaml", "application/x-yaml", "application/javascript",
		"application/graphql", "application/sql", "application/toml", "application/x-www-form-urlencoded", "application/x-ndjson"} {
		if strings.EqualFold(t, text) {
			return true
		}
	}
	return len(t) > 5 && strings.EqualFold(t[len(t)-5:], "+yaml")
}

// foreignCharset is the charset that a content type names, if it is not UTF-8
// or a part of it.
func foreignCharset(contentType string) (charset string, foreign bool) {
	charset, ok := parameter(contentType, "charset")
	return charset, ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii")
}

func tooMany(name string) *DecodeError {
	return invalid(name, "more than "+strconv.Itoa(MaxAttributes)+" attributes")
}

// missing names the first required attribute that is absent, "" when none is.
func (d *draft) missing() string {
	switch {
	case !d.specVersion:
		return "specversion"
	case d.id == "":
		return "id"
	case d.source == "":
		return "source"
	case d.typ == "":
		return "type"
	}
	return ""
}

// sortExtensions brings the extensions in order; two of one name are an error.
func (d *draft) sortExtensions() *DecodeError {
	x := d.ext
	if len(x) > 12 {
		slices.SortFunc(x, func(a, b Extension) int { return strings.Compare(a.Name, b.Name) })
	} else {
		for i := 1; i < len(x); i++ {
			for j := i; j > 0 && x[j].Name < x[j-1].Name; j-- {
				x[j], x[j-1] = x[j-1], x[j]
			}
		}
	}
	for i := 1; i < len(x); i++ {
		if x[i].Name == x[i-1].Name {
			return invalid(x[i].Name, "is given twice")
		}
	}
	return nil
}

// count is the number of attributes that are set.
func (d *draft) count() int {
	n := 4 + len(d.ext)
	for _, s := range [...]string{d.subject, d.dataSchema, d.contentType, d.time} {
		if s != "" {
			n++
		}
	}
	return n
}

// event checks the draft as a whole and makes the event; limit is the most
// bytes that it may have.
func (d *draft) event(limit int) (*Event, *DecodeError) {
	if name := d.missing(); name != "" {
		return nil, invalid(name, "is required")
	}
	if err := d.sortExtensions(); err != nil {
		return nil, err
	}
	if d.count() > MaxAttributes {
		return nil, tooMany("")
	}
	size := d.size()
	if size > limit {
		e := invalid("", "the event has "+strconv.Itoa(size)+" bytes; the limit is "+strconv.Itoa(limit))
		e.Status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	return d.seal(size), nil
}
