package event

import (
	"strconv"
	"time"
)

// Kind is the type of an attribute's value (CloudEvents core, "Type System").
// URI, URI-reference and Binary values travel as strings.
type Kind uint8

const (
	// KindString is text.
	KindString Kind = iota
	// KindInteger is a whole number of 32 bits, signed.
	KindInteger
	// KindBoolean is true or false.
	KindBoolean
	// KindTimestamp is an RFC 3339 time; only the time attribute has it.
	KindTimestamp
)

// Value is the value of one attribute. The zero value is the empty string.
type Value struct {
	kind    Kind
	num     int32 // KindInteger; 1 for true; nanoseconds of a KindTimestamp
	seconds int64 // Unix seconds of a KindTimestamp
	text    string
}

// StringValue makes a string value.
func StringValue(s string) Value { return Value{text: s} }

// IntegerValue makes an integer value.
func IntegerValue(n int32) Value { return Value{kind: KindInteger, num: n} }

// BooleanValue makes a boolean value.
func BooleanValue(b bool) Value {
	v := Value{kind: KindBoolean}
	if b {
		v.num = 1
	}
	return v
}

// TimeValue makes a timestamp value; text is how it was written, or "" to
// write t in RFC 3339 with nanoseconds.
func TimeValue(t time.Time, text string) Value {
	if text == "" {
		if _, offset := t.Zone(); offset%60 != 0 {
			t = t.UTC() // RFC 3339 has no seconds in an offset
		}
		text = t.Format(time.RFC3339Nano)
	}
	return timestamp(t.Unix(), int32(t.Nanosecond()), text)
}

func timestamp(seconds int64, nanos int32, text string) Value {
	return Value{kind: KindTimestamp, num: nanos, seconds: seconds, text: text}
}

// Kind is the value's type.
func (v Value) Kind() Kind { return v.kind }

// Integer is the number of a KindInteger value, else 0.
func (v Value) Integer() int32 {
	if v.kind != KindInteger {
		return 0
	}
	return v.num
}

// Boolean is the truth of a KindBoolean value, else false.
func (v Value) Boolean() bool { return v.kind == KindBoolean && v.num == 1 }

// Time is the instant of a KindTimestamp value in UTC, else the zero time.
func (v Value) Time() time.Time {
	if v.kind != KindTimestamp {
		return time.Time{}
	}
	return time.Unix(v.seconds, int64(v.num)).UTC()
}

// Text is the canonical string form of any value (CloudEvents core, "Type
// System"): what an HTTP header carries before percent-encoding.
func (v Value) Text() string {
	switch v.kind {
	case KindInteger:
		return strconv.FormatInt(int64(v.num), 10)
	case KindBoolean:
		if v.num == 1 {
			return "true"
		}
		return "false"
	}
	return v.text
}
