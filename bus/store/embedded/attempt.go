package embedded

import (
	"encoding/binary"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// maxHeaders bounds the headers of a request or an answer in a record.
const maxHeaders = 8 << 10

// hasExtra reports whether a record has more than those of before: its phases,
// and what is known of a failure.
func hasExtra(a *store.Attempt) bool { return a.Failure != nil || a.Phases != store.Phases{} }

// appendExtra writes the phases as varints of nanoseconds, then whether there
// is a failure, and that.
func appendExtra(dst []byte, a *store.Attempt) []byte {
	p := &a.Phases
	for _, d := range [...]time.Duration{p.DNS, p.Connect, p.TLS, p.FirstByte} {
		dst = binary.AppendVarint(dst, int64(d))
	}
	f := a.Failure
	if f == nil {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = appendText(dst, f.Class)
	dst = appendText(dst, clip(f.Request, maxHeaders))
	dst = appendText(dst, clip(f.Answer, maxHeaders))
	return binary.AppendVarint(dst, optionalNanos(f.NextAt))
}

// extra reads what appendExtra wrote.
func (r *rowReader) extra(a *store.Attempt) {
	p := &a.Phases
	for _, d := range [...]*time.Duration{&p.DNS, &p.Connect, &p.TLS, &p.FirstByte} {
		*d = time.Duration(r.varint())
	}
	if r.u8() == 0 {
		return
	}
	a.Failure = &store.Failure{Class: r.text(), Request: r.text(), Answer: r.text()}
	a.Failure.NextAt = fromOptionalNanos(r.varint())
}
