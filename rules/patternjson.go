package rules

import (
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
	at       int // how far it is read
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
	if text := []byte(s.source); !json.Valid(text) {
		err := json.Unmarshal(text, new(json.RawMessage))
		at := len(s.source)
		var wrong *json.SyntaxError
		if errors.As(err, &wrong) && !strings.HasPrefix(wrong.Error(), "unexpected end") {
			at = max(int(wrong.Offset)-1, 0)
		}
		s.refuse(at, at+1, fmt.Sprintf("%s is not JSON: %v", what, err), "")
		return false
	}
	v, err := s.value(0)
	if err != nil {
		at := s.next()
		s.refuse(at, at+1, what+" is "+err.Error(), "")
		return false
	}
	s.root = v
	return true
}

// next goes to where the next token starts.
func (s *jsonSource) next() int {
	for s.at < len(s.source) && strings.IndexByte(" \t\r\n,:", s.source[s.at]) >= 0 {
		s.at++
	}
	return s.at
}

var errTooDeep = fmt.Errorf("nested more than %d deep", maxNesting)

// value reads the next value of a source that is valid JSON.
func (s *jsonSource) value(depth int) (v jsonValue, err error) {
	v.start = s.next()
	switch c := s.source[s.at]; c {
	case 'n':
		v.kind = nullValue
		s.at += len("null")
	case 't':
		v.kind, v.truth = boolValue, true
		s.at += len("true")
	case 'f':
		v.kind = boolValue
		s.at += len("false")
	case '"':
		v.kind, v.text = textValue, s.string()
	case '[', '{':
		s.at++
		switch {
		case depth >= maxNesting:
			return v, errTooDeep
		case c == '[':
			v.kind = listValue
			err = s.elements(&v, depth)
		default:
			v.kind = mapValue
			err = s.membersOf(&v, depth)
		}
	default:
		for s.at < len(s.source) && strings.IndexByte("+-.0123456789Ee", s.source[s.at]) >= 0 {
			s.at++
		}
		v.kind, v.num = numberValue, s.source[v.start:s.at]
	}
	v.end = s.at
	return v, err
}

// string reads a text. Most are what stands between the quotes.
func (s *jsonSource) string() (text string) {
	start, escaped := s.at, false
	for s.at++; s.source[s.at] != '"'; s.at++ {
		if s.source[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at++
	if escaped {
		_ = json.Unmarshal([]byte(s.source[start:s.at]), &text) // which is valid
		return text
	}
	return s.source[start+1 : s.at-1]
}

func (s *jsonSource) elements(v *jsonValue, depth int) error {
	for s.source[s.next()] != ']' {
		e, err := s.value(depth + 1)
		if err != nil {
			return err
		}
		v.list = append(v.list, e)
	}
	s.at++
	return nil
}

func (s *jsonSource) membersOf(v *jsonValue, depth int) error {
	for s.source[s.next()] != '}' {
		m := jsonMember{start: s.at}
		m.name = s.string()
		m.end = s.at
		var err error
		if m.value, err = s.value(depth + 1); err != nil {
			return err
		}
		v.members = append(v.members, m)
	}
	s.at++
	return nil
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
			return "/" + pointerToken(m.name) + m.value.pointerTo(at)
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
