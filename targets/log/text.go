package log

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

const (
	maxData    = 4 << 10 // of an event's data as printed
	indent     = "    "
	timeLayout = "2006-01-02T15:04:05.000Z07:00"
	// Least widths of the header line's columns; most names fit.
	subscriptionWidth = 24
	typeWidth         = 28
	idWidth           = 36
)

// appendText appends the header line and the data of a delivery's event.
func appendText(dst []byte, d *targets.Delivery) []byte {
	e := d.Event
	at := d.Recorded
	if at.IsZero() {
		at, _ = e.Time()
	}
	line := fmt.Appendf(nil, "%s  %-*s  %-*s  %-*s  %s", at.UTC().Truncate(time.Millisecond).Format(timeLayout),
		subscriptionWidth, d.Subscription, typeWidth, e.Type(), idWidth, e.ID(), e.Subject())
	if d.Redriven {
		line = append(line, "  (redriven)"...)
	}
	if d.Attempt > 1 {
		line = fmt.Appendf(line, "  (attempt %d)", d.Attempt)
	}
	dst = appendPlain(dst, bytes.TrimRight(line, " "))
	dst = append(dst, '\n')
	switch data := e.Data(); {
	case len(data) == 0:
		return dst
	case e.Format() == event.JSON:
		pretty, done := appendPretty(nil, data, maxData)
		dst = appendIndented(dst, pretty)
		return appendCut(dst, done, len(data))
	case e.Format() == event.Text && utf8.Valid(data):
		start := data[:min(len(data), maxData)]
		for len(start) < len(data) && len(start) > 0 && !utf8.RuneStart(data[len(start)]) {
			start = start[:len(start)-1]
		}
		dst = appendIndented(dst, start)
		return appendCut(dst, len(start) == len(data), len(data))
	default:
		contentType := e.DataContentType()
		if contentType == "" {
			contentType = "no content type"
		}
		dst = fmt.Appendf(dst, "%s(%d bytes of binary data, ", indent, len(data))
		dst = appendPlain(dst, []byte(contentType))
		return append(dst, ")\n"...)
	}
}

func appendCut(dst []byte, complete bool, size int) []byte {
	if complete {
		return dst
	}
	return fmt.Appendf(dst, "%s… (cut, %d bytes of data)\n", indent, size)
}

// appendIndented appends the lines of text, each indented and ended.
func appendIndented(dst, text []byte) []byte {
	for line := range bytes.Lines(text) {
		dst = append(dst, indent...)
		dst = appendPlain(dst, bytes.TrimRight(line, "\r\n"))
		dst = append(dst, '\n')
	}
	return dst
}

// appendPlain appends text with what could steer a terminal shown as escapes.
func appendPlain(dst, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\x%02x`, text[0])
		case unicode.IsPrint(r), r == '\t':
			dst = append(dst, text[:n]...)
		default:
			quoted := strconv.AppendQuoteRuneToASCII(nil, r)
			dst = append(dst, quoted[1:len(quoted)-1]...)
		}
		text = text[n:]
	}
	return dst
}

// appendPretty appends valid JSON with a line for each member and element, in
// at most about limit bytes. It reports whether that was all.
func appendPretty(dst, json []byte, limit int) (out []byte, complete bool) {
	depth, end := 0, len(dst)+limit
	for i := 0; i < len(json); i++ {
		if len(dst) >= end {
			return dst, false
		}
		switch c := json[i]; c {
		case ' ', '\t', '\n', '\r':
		case '{', '[':
			dst = append(dst, c)
			if next := nextToken(json, i+1); next < len(json) && json[next] == c+2 { // '}' and ']' are two after
				dst = append(dst, c+2)
				i = next
				continue
			}
			depth++
			dst = appendBreak(dst, depth, end)
		case '}', ']':
			depth--
			dst = append(appendBreak(dst, depth, end), c)
		case ',':
			dst = appendBreak(append(dst, c), depth, end)
		case ':':
			dst = append(dst, c, ' ')
		case '"':
			stop := stringEnd(json, i)
			if over := len(dst) + stop - i - end; over > 0 {
				stop = max(stop-over, i)
				for stop > i && !utf8.RuneStart(json[stop]) {
					stop--
				}
				return append(dst, json[i:stop]...), false
			}
			dst = append(dst, json[i:stop]...)
			i = stop - 1
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

// appendBreak starts a line, no further to the right than end allows.
func appendBreak(dst []byte, depth, end int) []byte {
	dst = append(dst, '\n')
	for range min(depth, max(0, (end-len(dst))/2)) {
		dst = append(dst, ' ', ' ')
	}
	return dst
}

func nextToken(json []byte, i int) int {
	for i < len(json) && (json[i] == ' ' || json[i] == '\t' || json[i] == '\n' || json[i] == '\r') {
		i++
	}
	return i
}

// stringEnd is the place after the string that starts at i.
func stringEnd(json []byte, i int) int {
	for i++; i < len(json); i++ {
		switch json[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(json)
}
