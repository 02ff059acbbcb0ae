package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonValue is a value of a filter that is written as JSON, with its place.
// Unlike in events, a key may stand twice in an object.
type jsonValue struct {
	kind       valueKind
	num        string // a number as it is written
	text       string
	truth      bool
	list       []jsonValue
	members    []jsonMember
	start, end int // of its text in the source
}

type jsonMember struct {
	name       string
	start, end int // of the name
	value      jsonValue
}

// jsonSource reads JSON and keeps what is wrong with a filter that is written
// in it.
type jsonSource struct {
	source   string
	root     jsonValue
	problems []*CompileError
}

// refuse notes what is wrong with the text from start to end.
func (s *jsonSource) refuse(start, end int, message, hint string) {
	if len(s.problems) >= maxProblems {
		return
	}
	e := problemAt(s.source, start, message, hint)
	e.Pointer = s.root.pointerTo(start)
	if start < end && end <= len(s.source) {
		e.Offending = shorten(s.source[start:end])
	}
	s.problems = append(s.problems, e)
}

func (s *jsonSource) refuseValue(v *jsonValue, message, hint string) {
	s.refuse(v.start, v.end, message, hint)
}

func (s *jsonSource) refuseMember(m *jsonMember, message, hint string) {
	s.refuse(m.start, m.end, message, hint)
}

// inQuotes is a user's text in a message.
func inQuotes(s string) string { return strconv.Quote(shorten(s)) }

// read reads the whole source; what says whose it is, for error texts. It
// reports whether the source is JSON.
func (s *jsonSource) read(what string) bool {
	switch {
	case len(s.source) > MaxSource:
		s.problems = []*CompileError{problemAt("", 0, fmt.Sprintf("%s is %d bytes long; at most %d", what, len(s.source), MaxSource), "")}
		return false
	case !utf8.ValidString(s.source):
		s.problems = []*CompileError{problemAt("", 0, what+" is not valid UTF-8", "")}
		return false
	case strings.TrimSpace(s.source) == "":
		s.refuse(0, 0, what+" is empty", "")
		return false
	}
	var wrong *json.SyntaxError
	if text := []byte(s.source); !json.Valid(text) && errors.As(json.Unmarshal(text, new(json.RawMessage)), &wrong) {
		at := max(int(wrong.Offset)-1, 0)
		if strings.HasPrefix(wrong.Error(), "unexpected end") {
			at = len(s.source)
		}
		s.refuse(at, at+1, what+" is not JSON: "+wrong.Error(), "")
		return false
	}
	d := json.NewDecoder(strings.NewReader(s.source))
	d.UseNumber()
	v, err := s.value(d, 0)
	if err != nil {
		at := s.next(int(d.InputOffset()))
		s.refuse(at, at+1, what+" is "+err.Error(), "")
		return false
	}
	s.root = v
	return true
}

// next is where the token after an offset starts.
func (s *jsonSource) next(at int) int {
	for at < len(s.source) && bytes.IndexByte([]byte(" \t\r\n,:"), s.source[at]) >= 0 {
		at++
	}
	return at
}

var errTooDeep = fmt.Errorf("nested more than %d deep", maxNesting)

func (s *jsonSource) value(d *json.Decoder, depth int) (v jsonValue, err error) {
	v.start = s.next(int(d.InputOffset()))
	token, err := d.Token()
	if err != nil {
		return v, err
	}
	switch t := token.(type) {
	case nil:
		v.kind = nullValue
	case bool:
		v.kind, v.truth = boolValue, t
	case json.Number:
		v.kind, v.num = numberValue, t.String()
	case string:
		v.kind, v.text = textValue, t
	case json.Delim:
		if depth >= maxNesting {
			return v, errTooDeep
		}
		if t == '[' {
			v.kind = listValue
			err = s.elements(d, &v, depth)
		} else {
			v.kind = mapValue
			err = s.membersOf(d, &v, depth)
		}
	}
	v.end = int(d.InputOffset())
	return v, err
}

func (s *jsonSource) elements(d *json.Decoder, v *jsonValue, depth int) error {
	for d.More() {
		e, err := s.value(d, depth+1)
		if err != nil {
			return err
		}
		v.list = append(v.list, e)
	}
	_, err := d.Token()
	return err
}

func (s *jsonSource) membersOf(d *json.Decoder, v *jsonValue, depth int) error {
	for d.More() {
		m := jsonMember{start: s.next(int(d.InputOffset()))}
		token, err := d.Token()
		if err != nil {
			return err
		}
		m.name, _ = token.(string)
		m.end = int(d.InputOffset())
		if m.value, err = s.value(d, depth+1); err != nil {
			return err
		}
		v.members = append(v.members, m)
	}
	_, err := d.Token()
	return err
}

// pointerTo is the JSON pointer (RFC 6901) from a value to the innermost one
// that has what is at an offset: that itself, or the name before it.
func (v *jsonValue) pointerTo(at int) string {
	for i := range v.list {
		if e := &v.list[i]; e.start <= at && at < e.end {
			return "/" + strconv.Itoa(i) + e.pointerTo(at)
		}
	}
	for i := range v.members {
		if m := &v.members[i]; m.start <= at && at < m.value.end {
			name := strings.ReplaceAll(strings.ReplaceAll(m.name, "~", "~0"), "/", "~1")
			return "/" + name + m.value.pointerTo(at)
		}
	}
	return ""
}

// kindName says in error texts what a value is.
func (v *jsonValue) kindName() string {
	switch v.kind {
	case nullValue:
		return "null"
	case boolValue:
		return strconv.FormatBool(v.truth)
	case numberValue:
		return "a number"
	case textValue:
		return "a text"
	case listValue:
		return "a list"
	}
	return "an object"
}
