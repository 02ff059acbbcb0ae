package event

import (
	"net/http"
	"strconv"
	"strings"
)

// DecodeError says why a message is not a CloudEvent that can be accepted, and
// where the fault is. Every decoder of this package returns it.
type DecodeError struct {
	// Member is the place of the event in its batch, from 0; -1 when the
	// message is not a batch or the fault is not in one event.
	Member int
	// Attribute is the name of the attribute at fault, "data" or
	// "data_base64"; "" when none is.
	Attribute string
	// Offset is the byte of the message body at which the fault was found, -1
	// when it is not in the body.
	Offset int
	// Status is the HTTP status that fits: 400, 413 or 415.
	Status int
	// Reason says what is wrong, in a few words.
	Reason string
}

// Error names the member, the attribute and the reason.
func (e *DecodeError) Error() string {
	var b strings.Builder
	if e.Member >= 0 {
		b.WriteString("batch member ")
		b.WriteString(strconv.Itoa(e.Member))
		b.WriteString(": ")
	}
	if e.Attribute != "" {
		if e.Attribute == "data" || e.Attribute == "data_base64" {
			b.WriteString(e.Attribute)
		} else {
			b.WriteString("attribute ")
			b.WriteString(quote(e.Attribute))
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	if e.Offset >= 0 {
		b.WriteString(" (at byte ")
		b.WriteString(strconv.Itoa(e.Offset))
		b.WriteString(")")
	}
	return b.String()
}

// Pointer is a JSON pointer (RFC 6901) to the fault: "/3/time" for the time of
// the fourth event of a batch, "/time" for that of a single event, "" for the
// whole message.
func (e *DecodeError) Pointer() string {
	p := ""
	if e.Member >= 0 {
		p = "/" + strconv.Itoa(e.Member)
	}
	if e.Attribute != "" {
		p += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(e.Attribute)
	}
	return p
}

// at fills in where the fault stands in the body, unless that is known.
func (e *DecodeError) at(offset int) *DecodeError {
	if e != nil && e.Offset < 0 {
		e.Offset = offset
	}
	return e
}

// invalid makes a DecodeError of status 400 that is not about a place. The
// attribute may alias the message, which may be overwritten before the error is read.
func invalid(attribute, reason string) *DecodeError {
	return &DecodeError{Member: -1, Attribute: strings.Clone(attribute), Offset: -1, Status: http.StatusBadRequest, Reason: reason}
}

// quote quotes a user's value for an error text, shortened to a readable length.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
