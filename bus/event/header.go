package event

import "net/http"

// SetHeaders writes the event's attributes into h as the binary mode has them
// (CloudEvents HTTP binding §3.1): ce- headers, percent-encoded, and
// Content-Type. The body that goes with them is Data. Headers of h with other
// names are left alone.
func SetHeaders(h http.Header, e *Event) {
	h["Ce-Specversion"] = []string{"1.0"}
	h["Ce-Id"] = []string{HeaderValue(e.id)}
	h["Ce-Source"] = []string{HeaderValue(e.source)}
	h["Ce-Type"] = []string{HeaderValue(e.typ)}
	if e.subject != "" {
		h["Ce-Subject"] = []string{HeaderValue(e.subject)}
	}
	if e.time != "" {
		h["Ce-Time"] = []string{HeaderValue(e.time)}
	}
	if e.dataSchema != "" {
		h["Ce-Dataschema"] = []string{HeaderValue(e.dataSchema)}
	}
	if e.contentType != "" {
		h["Content-Type"] = []string{e.contentType}
	}
	for i := range e.ext {
		h[headerName(e.ext[i].Name)] = []string{HeaderValue(e.ext[i].Value.Text())}
	}
}

// headerName is the canonical name of an attribute's header.
func headerName(name string) string {
	b := make([]byte, 0, 3+MaxNameLength)
	b = append(append(b, "Ce-"...), name...)
	if b[3]-'a' <= 25 {
		b[3] -= 'a' - 'A'
	}
	return string(b)
}

// HeaderValue percent-encodes an attribute's text for a header (CloudEvents
// HTTP binding §3.1.3.2): the space, the double quote, the percent sign and
// everything outside of printable ASCII.
func HeaderValue(s string) string {
	extra := 0
	for i := 0; i < len(s); i++ {
		if encoded(s[i]) {
			extra += 2
		}
	}
	if extra == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+extra)
	for i := 0; i < len(s); i++ {
		if c := s[i]; encoded(c) {
			out = append(out, '%', hex[c>>4], hex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return alias(out)
}

func encoded(c byte) bool { return c <= ' ' || c == '"' || c == '%' || c >= 0x7F }
