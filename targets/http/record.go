package http

import (
	"context"
	"crypto/tls"
	nethttp "net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/targets"
)

// maxRecorded bounds the headers of a request or an answer in a record.
const maxRecorded = 8 << 10

// hidden stands in a record for what must not be shown.
const hidden = "[redacted]"

// clock notes how long the steps of a request take. The transport may go on
// with a dial when the request has ended, so what is noted is read and written
// atomically and belongs to no delivery. Nanoseconds; 0 is not noted.
type clock struct {
	begun                         time.Time
	dnsFrom, connectFrom, tlsFrom atomic.Int64
	dns, connect, tls, firstByte  atomic.Int64
}

// since is the time from begun on, at least 1 ns.
func (c *clock) since() int64 { return max(1, int64(time.Since(c.begun))) }

// end notes how long a step took that began at from.
func (c *clock) end(step, from *atomic.Int64) {
	if at := from.Load(); at > 0 {
		step.CompareAndSwap(0, max(1, c.since()-at))
	}
}

// trace has the transport, or a dial, report to the clock, and the address to
// note.
func (c *clock) trace(ctx context.Context, note *targets.Answer) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { note.Address = remote(info.Conn) },
		DNSStart:             func(httptrace.DNSStartInfo) { c.dnsFrom.CompareAndSwap(0, c.since()) },
		DNSDone:              func(httptrace.DNSDoneInfo) { c.end(&c.dns, &c.dnsFrom) },
		ConnectStart:         func(string, string) { c.connectFrom.CompareAndSwap(0, c.since()) },
		ConnectDone:          func(string, string, error) { c.end(&c.connect, &c.connectFrom) },
		TLSHandshakeStart:    func() { c.tlsFrom.CompareAndSwap(0, c.since()) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { c.end(&c.tls, &c.tlsFrom) },
		GotFirstResponseByte: func() { c.firstByte.Store(c.since()) },
	})
}

// read fills in what the clock has noted.
func (c *clock) read(a *targets.Answer) {
	a.DNS, a.Connect = time.Duration(c.dns.Load()), time.Duration(c.connect.Load())
	a.TLS, a.FirstByte = time.Duration(c.tls.Load()), time.Duration(c.firstByte.Load())
}

// recordSent notes the headers of a request that failed.
func (t *target) recordSent(d *targets.Delivery, header nethttp.Header) {
	d.Answer.Sent = t.headerText(header)
}

// recordAnswer notes the headers of an answer that is a failure.
func (t *target) recordAnswer(d *targets.Delivery, header nethttp.Header) {
	d.Answer.Headers = t.headerText(header)
}

// headerText is headers as a text, sorted, without what must not be shown.
func (t *target) headerText(header nethttp.Header) string {
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		for _, value := range header[name] {
			if t.secret(name) {
				value = hidden
			}
			line := name + ": " + t.scrub(value) + "\n"
			if b.Len()+len(line) > maxRecorded {
				b.WriteString("…\n")
				return b.String()
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// secret reports whether the values of a header are not shown: those that the
// settings give, that sign or authenticate, and any whose name says so.
func (t *target) secret(name string) bool {
	if _, set := t.configured[name]; set || name == t.names.Signature || name == t.auth.Header() {
		return true
	}
	lower := strings.ToLower(name)
	for _, part := range [...]string{"auth", "cookie", "signature", "secret", "token", "password", "api-key", "apikey", "credential"} {
		if strings.Contains(lower, part) {
			return true
		}
	}
	return false
}

// scrub takes secrets out of a text that the receiver may have made of what it
// was sent.
func (t *target) scrub(text string) string {
	text = t.auth.Scrub(text)
	for _, value := range t.configured {
		if len(value) >= minHidden {
			text = strings.ReplaceAll(text, value, hidden)
		}
	}
	return text
}

// minHidden is the length from which the value of a header counts as a secret
// in other texts; shorter ones would make a mess of them.
const minHidden = 4
