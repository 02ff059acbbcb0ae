package event

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// The storage encoding, version 1:
//
//	byte    1 (version)
//	byte    format (bits 0-1), and which optional attributes follow (bits 2-5)
//	12 byte Unix seconds and nanoseconds, little endian (only with time)
//	text    id, source, type, and those of subject, dataschema,
//	        datacontenttype, time that are set
//	uvarint number of extensions, and for each, in order of name:
//	        text name, byte kind, then text, four bytes little endian or one byte
//	text    data
//
// where text is its length as a uvarint and its bytes. Fields of a decoded
// event alias these bytes, so decoding copies nothing.
const storageVersion = 1

const (
	formatMask     = 3
	hasSubject     = 1 << 2
	hasDataSchema  = 1 << 3
	hasContentType = 1 << 4
	hasTime        = 1 << 5
	knownFlags     = 1<<6 - 1
)

var errDamaged = errors.New("stored event is damaged or of an unknown version")

// EncodedSize is the length of what AppendBinary appends, in bytes.
func (e *Event) EncodedSize() int { return len(e.enc) }

// AppendBinary appends the storage encoding, which the event holds already: one
// copy.
func (e *Event) AppendBinary(dst []byte) []byte { return append(dst, e.enc...) }

// Decode reads an event from its storage encoding, the whole of buf. The event
// aliases buf, which must not change afterwards. Bounds are checked, so damaged
// bytes give an error or a wrong event but never a panic; texts and data are
// not checked again.
func Decode(buf []byte) (*Event, error) {
	if len(buf) < 2 || buf[0] != storageVersion || buf[1]&^knownFlags != 0 {
		return nil, errDamaged
	}
	flags := buf[1]
	e := &Event{enc: buf, format: DataFormat(flags & formatMask)}
	r := reader{rest: alias(buf[2:])}
	if flags&hasTime != 0 {
		e.seconds, e.nanos = r.time()
	}
	e.id, e.source, e.typ = r.required(), r.required(), r.required()
	if flags&hasSubject != 0 {
		e.subject = r.required()
	}
	if flags&hasDataSchema != 0 {
		e.dataSchema = r.required()
	}
	if flags&hasContentType != 0 {
		e.contentType = r.required()
	}
	if flags&hasTime != 0 {
		e.time = r.required()
	}
	if n := r.uvarint(); n > MaxAttributes {
		r.bad = true
	} else if n > 0 {
		e.ext = make([]Extension, n)
		for i := range e.ext {
			e.ext[i] = Extension{Name: r.required(), Value: r.value()}
		}
	}
	n := r.uvarint()
	if r.bad || n != uint64(len(r.rest)) || e.format == NoData && n > 0 || e.format == JSON && n == 0 {
		return nil, errDamaged
	}
	if e.format != NoData {
		at := len(buf) - int(n)
		e.data = buf[at:len(buf):len(buf)]
	}
	return e, nil
}

// PeekSubject reads the subject of an event in its storage encoding, "" if it has
// none, and whether the event has data. Of the rest it sees nothing, so it costs
// little. The subject aliases buf.
func PeekSubject(buf []byte) (subject string, data bool, err error) {
	if len(buf) < 2 || buf[0] != storageVersion || buf[1]&^knownFlags != 0 {
		return "", false, errDamaged
	}
	flags := buf[1]
	data = DataFormat(flags&formatMask) != NoData
	if flags&hasSubject == 0 {
		return "", data, nil
	}
	r := reader{rest: alias(buf[2:])}
	if flags&hasTime != 0 {
		r.take(12)
	}
	for range 3 { // id, source, type
		r.take(r.uvarint())
	}
	subject = r.required()
	if r.bad {
		return "", false, errDamaged
	}
	return subject, data, nil
}

// PeekAttributes calls f with the name and the value of the id, the source, the
// type, the subject if there is one, and each extension of an event in its storage
// encoding. They alias buf.
func PeekAttributes(buf []byte, f func(name string, value Value)) error {
	if len(buf) < 2 || buf[0] != storageVersion || buf[1]&^knownFlags != 0 {
		return errDamaged
	}
	flags := buf[1]
	r := reader{rest: alias(buf[2:])}
	if flags&hasTime != 0 {
		r.take(12)
	}
	f("id", StringValue(r.required()))
	f("source", StringValue(r.required()))
	f("type", StringValue(r.required()))
	if flags&hasSubject != 0 {
		f("subject", StringValue(r.required()))
	}
	for _, flag := range [...]byte{hasDataSchema, hasContentType, hasTime} {
		if flags&flag != 0 {
			r.required()
		}
	}
	n := r.uvarint()
	if n > MaxAttributes {
		return errDamaged
	}
	for ; n > 0 && !r.bad; n-- {
		f(r.required(), r.value())
	}
	if r.bad {
		return errDamaged
	}
	return nil
}

// reader takes parts off the front of a text; bad stays set after a fault.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		n := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(n)
	}
	var n uint64
	for i := 0; i < len(r.rest) && i < 5; i++ {
		c := r.rest[i]
		n |= uint64(c&0x7F) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.bad = true
	return 0
}

func (r *reader) take(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// required takes a text that is not empty.
func (r *reader) required() string {
	s := r.take(r.uvarint())
	if s == "" {
		r.bad = true
	}
	return s
}

func (r *reader) time() (seconds int64, nanos int32) {
	b := r.take(12)
	if len(b) != 12 {
		return 0, 0
	}
	nanos = int32(le32(b[8:]))
	if nanos < 0 || nanos > 999_999_999 {
		r.bad = true
	}
	return int64(le64(b)), nanos
}

func (r *reader) value() Value {
	kind := r.take(1)
	if kind == "" {
		return Value{}
	}
	switch Kind(kind[0]) {
	case KindString:
		return StringValue(r.take(r.uvarint()))
	case KindInteger:
		if b := r.take(4); len(b) == 4 {
			return IntegerValue(int32(le32(b)))
		}
	case KindBoolean:
		if b := r.take(1); len(b) == 1 && b[0] <= 1 {
			return BooleanValue(b[0] == 1)
		}
	}
	r.bad = true
	return Value{}
}

func le32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func le64(s string) uint64 { return uint64(le32(s)) | uint64(le32(s[4:]))<<32 }

func uvarintSize(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

func textSize(s string) int { return uvarintSize(len(s)) + len(s) }

// size is the length of the draft's storage encoding.
func (d *draft) size() int {
	n := 2 + textSize(d.id) + textSize(d.source) + textSize(d.typ)
	for _, s := range [...]string{d.subject, d.dataSchema, d.contentType, d.time} {
		if s != "" {
			n += textSize(s)
		}
	}
	if d.time != "" {
		n += 12
	}
	n += uvarintSize(len(d.ext))
	for i := range d.ext {
		n += textSize(d.ext[i].Name) + 1
		switch d.ext[i].Value.kind {
		case KindInteger:
			n += 4
		case KindBoolean:
			n++
		default:
			n += textSize(d.ext[i].Value.text)
		}
	}
	return n + uvarintSize(len(d.data)) + len(d.data)
}

// fewExtensions is how many extensions stand in one piece of memory with their event.
const fewExtensions = 4

// newEvent makes an event with room for n extensions.
func newEvent(n int) *Event {
	switch {
	case n == 0:
		return new(Event)
	case n <= fewExtensions:
		one := new(struct {
			Event
			ext [fewExtensions]Extension
		})
		one.Event.ext = one.ext[:n:n]
		return &one.Event
	}
	return &Event{ext: make([]Extension, n)}
}

// seal writes the storage encoding and makes the event that aliases it.
func (d *draft) seal(size int) *Event {
	w := writer{buf: make([]byte, 0, size)}
	e := newEvent(len(d.ext))
	e.seconds, e.nanos, e.format = d.seconds, d.nanos, d.format
	copy(e.ext, d.ext)
	flags := byte(d.format)
	if d.subject != "" {
		flags |= hasSubject
	}
	if d.dataSchema != "" {
		flags |= hasDataSchema
	}
	if d.contentType != "" {
		flags |= hasContentType
	}
	if d.time != "" {
		flags |= hasTime
	}
	w.buf = append(w.buf, storageVersion, flags)
	if d.time != "" {
		w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(d.seconds))
		w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(d.nanos))
	}
	e.id, e.source, e.typ = w.text(d.id), w.text(d.source), w.text(d.typ)
	e.subject, e.dataSchema = w.optional(d.subject), w.optional(d.dataSchema)
	e.contentType, e.time = w.optional(d.contentType), w.optional(d.time)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(e.ext)))
	for i := range e.ext {
		x := &e.ext[i]
		x.Name = w.text(x.Name)
		w.buf = append(w.buf, byte(x.Value.kind))
		switch x.Value.kind {
		case KindInteger:
			w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(x.Value.num))
		case KindBoolean:
			w.buf = append(w.buf, byte(x.Value.num))
		default:
			x.Value.text = w.text(x.Value.text)
		}
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(len(d.data)))
	at := len(w.buf)
	w.buf = append(w.buf, d.data...)
	if d.format != NoData {
		e.data = w.buf[at:len(w.buf):len(w.buf)]
	}
	e.enc = w.buf
	return e
}

// writer fills a buffer that is large enough, and returns aliases into it.
type writer struct{ buf []byte }

func (w *writer) text(s string) string {
	w.buf = binary.AppendUvarint(w.buf, uint64(len(s)))
	at := len(w.buf)
	w.buf = append(w.buf, s...)
	return alias(w.buf[at:])
}

func (w *writer) optional(s string) string {
	if s == "" {
		return ""
	}
	return w.text(s)
}
