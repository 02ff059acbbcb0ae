package event

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strconv"
)

// FromStructured reads one event in the JSON format (CloudEvents JSON format
// §2, §3), which it copies. Members that are null count as unset. Numbers are
// whole, without fraction or exponent, and of 32 bits. The error is a
// *DecodeError.
//
// Data under a content type that is not JSON is text when it is a JSON string.
// Any other JSON value there is kept as the JSON value that it is (its format
// is JSON, whatever the content type), so that it is forwarded unchanged and
// rules can read into it; §3.1.2 leaves this case open.
func FromStructured(json []byte, lim Limits) (*Event, error) {
	s := scan(json)
	defer s.release()
	if !s.utf8() {
		return nil, s.error()
	}
	e, err := s.event(lim.eventSize())
	if err == nil && !s.end() {
		err = s.error()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// FromBatch reads a batch in the JSON format (CloudEvents JSON format §4), an
// array of events; an empty one is valid. Each event is copied on its own and
// keeps nothing of the batch alive. One bad member refuses the whole batch. The
// error is a *DecodeError.
func FromBatch(json []byte, lim Limits) ([]*Event, error) {
	s := scan(json)
	defer s.release()
	if !s.utf8() {
		return nil, s.error()
	}
	events, err := s.batch(lim)
	if err != nil {
		return nil, err
	}
	return events, nil
}

func (s *scanner) error() *DecodeError { return s.errorIn("") }

func (s *scanner) errorIn(attribute string) *DecodeError {
	return invalid(attribute, s.reason).at(s.errAt)
}

func (s *scanner) batch(lim Limits) ([]*Event, *DecodeError) {
	if s.next() != '[' {
		return nil, invalid("", "a batch is a JSON array of events").at(s.pos)
	}
	s.pos++
	events := []*Event{}
	if s.next() == ']' {
		s.pos++
	} else {
		for more := true; more; {
			if len(events) == lim.batch() {
				e := invalid("", "the batch has more than "+strconv.Itoa(lim.batch())+" events").at(s.pos)
				e.Status = http.StatusRequestEntityTooLarge
				return nil, e
			}
			e, err := s.event(lim.eventSize())
			if err != nil {
				err.Member = len(events)
				return nil, err
			}
			events = append(events, e)
			switch s.next() {
			case ',':
			case ']':
				more = false
			default:
				return nil, invalid("", "a comma or ] should follow an event of a batch").at(s.pos)
			}
			s.pos++
		}
	}
	if !s.end() {
		return nil, s.error()
	}
	return events, nil
}

// event reads the event at pos.
func (s *scanner) event(limit int) (*Event, *DecodeError) {
	if s.next() != '{' {
		return nil, invalid("", "an event is a JSON object").at(s.pos)
	}
	start := s.pos
	s.pos++
	d := newDraft()
	defer d.release()
	var payload payload
	base := s.keys.open()
	if s.next() == '}' {
		s.pos++
	} else {
		for more := true; more; {
			if s.pos = s.key(s.pos); s.pos < 0 {
				return nil, s.error()
			}
			if len(s.keys.keys)-base > MaxAttributes+1 { // data is one more
				return nil, tooMany("").at(s.pos)
			}
			if err := s.member(d, &payload, s.keys.last()); err != nil {
				return nil, err
			}
			switch s.next() {
			case ',':
			case '}':
				more = false
			default:
				return nil, invalid("", "a comma or } should follow an object's member").at(s.pos)
			}
			s.pos++
		}
	}
	if at := s.keys.close(base); at >= 0 {
		name := s.nameAt(at)
		return nil, invalid(name, "is given twice").at(at)
	}
	if err := payload.into(d); err != nil {
		return nil, err.at(start)
	}
	e, err := d.event(limit)
	return e, err.at(start)
}

// nameAt reads again the key whose quote is at.
func (s *scanner) nameAt(at int) string {
	again := scanner{buf: s.buf, pos: at}
	name, _ := again.text()
	return name
}

// payload is what an event's object says about its data.
type payload struct {
	json      []byte // the data member's token
	jsonAt    int
	base64    string
	base64At  int
	hasBase64 bool
}

// member reads the value of one member of an event.
func (s *scanner) member(d *draft, p *payload, name string) *DecodeError {
	first := s.next()
	start := s.pos
	switch name {
	case "data":
		if !s.value() { // the data's own depth counts, in any mode
			return s.errorIn(name)
		}
		p.json, p.jsonAt = s.buf[start:s.pos], start
		return nil
	case "data_base64":
		switch first {
		case '"':
			text, ok := s.text()
			if !ok {
				return s.errorIn(name)
			}
			p.base64, p.base64At, p.hasBase64 = text, start, true
			return nil
		case 'n':
			if !s.literal("null") {
				return s.errorIn(name)
			}
			return nil
		}
		return invalid(name, "must be a string").at(start)
	}
	v, null, err := s.attribute(first, name)
	if err != nil {
		return err
	}
	if null {
		if reason := checkName(name); reason != "" {
			return invalid(name, reason).at(start)
		}
		return nil
	}
	return d.set(name, v).at(start)
}

// attribute reads an attribute's value (CloudEvents JSON format §2.2).
func (s *scanner) attribute(first byte, name string) (v Value, null bool, err *DecodeError) {
	start := s.pos
	switch {
	case first == '"':
		text, ok := s.text()
		if !ok {
			return v, false, s.errorIn(name)
		}
		return StringValue(text), false, nil
	case first == '-' || first-'0' <= 9:
		if !s.number() {
			return v, false, s.errorIn(name)
		}
		n, e := strconv.ParseInt(alias(s.buf[start:s.pos]), 10, 32)
		if e != nil {
			return v, false, invalid(name, "a number must be a whole number of 32 bits, written without fraction and exponent").at(start)
		}
		return IntegerValue(int32(n)), false, nil
	case first == 't' && s.literal("true"), first == 'f' && s.literal("false"):
		return BooleanValue(first == 't'), false, nil
	case first == 'n' && s.literal("null"):
		return v, true, nil
	}
	return v, false, invalid(name, "must be a string, a whole number, a boolean or null").at(start)
}

// into settles the event's data once all members are known, for the content
// type may stand after the data (CloudEvents JSON format §3.1).
func (p *payload) into(d *draft) *DecodeError {
	switch {
	case p.json != nil && p.hasBase64:
		return invalid("data_base64", "an event has either data or data_base64").at(p.base64At)
	case p.hasBase64:
		data, err := base64.StdEncoding.Strict().DecodeString(p.base64)
		if err != nil {
			return invalid("data_base64", "not valid base64").at(p.base64At)
		}
		if len(data) == 0 && !isJSONType(d.contentType) {
			d.data, d.format = data, Binary
			return nil
		}
		if e := d.setBytes(data); e != nil {
			e.Attribute, e.Offset = "data_base64", p.base64At
			return e
		}
	case p.json != nil:
		d.data, d.format = p.json, JSON
		if d.contentType == "" {
			d.contentType = "application/json"
		}
		if p.json[0] == '"' && !isJSONType(d.contentType) {
			return p.text(d)
		}
	}
	return nil
}

// text keeps the data member's string as text. It is stored and forwarded as
// UTF-8, so a content type of another charset is refused unless that makes no
// difference.
func (p *payload) text(d *draft) *DecodeError {
	d.data, d.format = p.json[1:len(p.json)-1], Text
	if bytes.IndexByte(d.data, '\\') >= 0 {
		d.data = appendUnescaped(nil, d.data)
	}
	if charset, ok := foreignCharset(d.contentType); ok && !isASCII(d.data) {
		return invalid("data", "text of the charset "+quote(charset)+" can be published as data_base64 only").at(p.jsonAt)
	}
	return nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
