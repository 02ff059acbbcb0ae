package embedded

import (
	"encoding/binary"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// maxHeaders bounds the headers of a request or an answer in a record.
const maxHeaders = 8 << 10

// What a record has beyond its phases.
const (
	extraFailure = 1 << iota
	extraDeath   // of the failure
	extraReply   // one that was dropped
	extraPublished
	knownExtra = 1<<iota - 1
)

// hasExtra reports whether a record has more than those of before: its phases,
// what is known of a failure, a reply that was dropped, an event that was made of it.
func hasExtra(a *store.Attempt) bool {
	return a.Failure != nil || a.ReplyDropped != "" || a.Published != store.EventPlace{} || a.Phases != store.Phases{}
}

// appendExtra writes the phases as varints of nanoseconds, then what else there
// is, and that.
func appendExtra(dst []byte, a *store.Attempt) []byte {
	p := &a.Phases
	for _, d := range [...]time.Duration{p.DNS, p.Connect, p.TLS, p.FirstByte} {
		dst = binary.AppendVarint(dst, int64(d))
	}
	f := a.Failure
	has := byte(0)
	if f != nil {
		has |= extraFailure
		if !f.Died.IsZero() {
			has |= extraDeath
		}
	}
	if a.ReplyDropped != "" {
		has |= extraReply
	}
	if a.Published != (store.EventPlace{}) {
		has |= extraPublished
	}
	dst = append(dst, has)
	if f != nil {
		dst = appendText(dst, f.Class)
		dst = appendText(dst, clip(f.Request, maxHeaders))
		dst = appendText(dst, clip(f.Answer, maxHeaders))
		dst = binary.AppendVarint(dst, optionalNanos(f.NextAt))
	}
	if has&extraDeath != 0 {
		dst = appendText(binary.AppendVarint(dst, nanos(f.Died)), clip(f.Reason, maxError))
	}
	if has&extraReply != 0 {
		dst = appendText(dst, clip(a.ReplyDropped, maxError))
	}
	if has&extraPublished != 0 {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(a.Published.Bus)), a.Published.Sequence)
	}
	return dst
}

// extra reads what appendExtra wrote.
func (r *rowReader) extra(a *store.Attempt) {
	p := &a.Phases
	for _, d := range [...]*time.Duration{&p.DNS, &p.Connect, &p.TLS, &p.FirstByte} {
		*d = time.Duration(r.varint())
	}
	has := r.u8()
	if has > knownExtra || has&extraDeath != 0 && has&extraFailure == 0 {
		r.bad = true
		return
	}
	if has&extraFailure != 0 {
		a.Failure = &store.Failure{Class: r.text(), Request: r.text(), Answer: r.text()}
		a.Failure.NextAt = fromOptionalNanos(r.varint())
	}
	if has&extraDeath != 0 {
		a.Failure.Died, a.Failure.Reason = fromNanos(r.varint()), r.text()
	}
	if has&extraReply != 0 {
		a.ReplyDropped = r.text()
	}
	if has&extraPublished != 0 {
		a.Published = store.EventPlace{Bus: store.BusID(r.uvarint()), Sequence: r.uvarint()}
	}
}
