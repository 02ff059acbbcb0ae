// Package http is the target that posts events to a URL: as CloudEvents, and
// as Standard Webhooks. It is the last step of a delivery: build the request,
// sign it, send it, and turn the answer into an outcome.
//
// A target is one http.Transport with a pool of connections; it is safe for
// concurrent use and holds nothing of a delivery after Deliver returned.
package http

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/auth"
)

const (
	maxDrain         = 64 << 10 // read of an answer to keep its connection
	maxAnswerHeaders = 64 << 10
	maxIdle          = 1024 // above any sensible concurrency of one target
	idleTimeout      = 60 * time.Second
	pingAfter        = 15 * time.Second // HTTP/2 only
	structuredType   = "application/cloudevents+json; charset=utf-8"
)

type target struct {
	url     *url.URL
	mode    string
	timeout time.Duration
	static  nethttp.Header // set on every request; never changed
	// configured are the headers of the settings; their values are secrets.
	configured map[string]string
	names      SignatureHeaders
	signer     *signer            // nil without a secret
	auth       *auth.Auth         // nil without
	plain      *plain             // nil if the receiver is not for it
	transport  *nethttp.Transport // for TLS, large bodies and everything else
	handshake  *handshake         // nil without one
	variant    Variant
	log        *slog.Logger
	end        context.CancelFunc // ends dials and connections
}

// Build implements targets.Config.
func (c *Config) Build(env targets.Env) (targets.Target, error) { return c.build(env) }

func (c *Config) build(env targets.Env) (*target, error) {
	var problems component.Problems
	c.Validate(&problems)
	for _, p := range problems.All {
		if !p.Warning {
			return nil, fmt.Errorf("%s: %s", strings.Join(p.Path, "."), p.Message)
		}
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	version := env.Version
	if version == "" {
		version = "dev"
	}
	t := &target{url: u, mode: c.Mode, timeout: c.Timeout, log: env.Logger, static: nethttp.Header{
		"User-Agent": {"Switchyard/" + version},
		// An empty list sends nothing, but lets the transport repeat a request
		// whose reused connection the receiver was just closing. Receivers know
		// repeats by webhook-id.
		"Idempotency-Key": {},
	}}
	t.configured = make(map[string]string, len(c.Headers))
	for name, value := range c.Headers {
		t.configured[nethttp.CanonicalHeaderKey(name)] = value.Reveal()
		t.static[nethttp.CanonicalHeaderKey(name)] = []string{value.Reveal()}
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if c.Handshake {
		t.handshake = newHandshake(originOf(c.Origin))
		t.static[originHeader] = []string{t.handshake.origin}
	}
	t.auth = c.Auth.Build(auth.Env{Dial: env.Dial, Timeout: c.Timeout, UserAgent: t.static.Get("User-Agent"), Logger: t.log})
	t.names, t.signer = canonicalNames(c.Signature.Headers), newSigner(c)
	t.transport, t.end = newTransport(env.Dial, c.Timeout)
	if t.auth.Mutual() {
		secureWith(t.transport, t.auth, c.Timeout)
	}
	t.plain = newPlain(t)
	return t, nil
}

// newTransport makes the pool of connections; end cuts all of them.
func newTransport(dial func(context.Context, string, string) (net.Conn, error), timeout time.Duration) (tr *nethttp.Transport, end context.CancelFunc) {
	life, end := context.WithCancel(context.Background())
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &nethttp.Transport{
		// The transport goes on dialling after the request that asked for it
		// has ended, so the dial has a bound of its own.
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			stop := context.AfterFunc(life, cancel)
			defer stop()
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newConn(life, c), nil
		},
		TLSHandshakeTimeout:    timeout,
		MaxIdleConns:           0, // no limit but the one below
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeaders,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &nethttp.HTTP2Config{SendPingTimeout: pingAfter},
	}, end
}

// secureWith has the transport make connections with a client certificate.
func secureWith(tr *nethttp.Transport, a *auth.Auth, timeout time.Duration) {
	dial := tr.DialContext
	tr.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return a.Secure(ctx, c, address)
	}
}

// Start implements targets.Target. Connections are made when they are needed.
func (t *target) Start(context.Context) error { return nil }

// Close implements targets.Target.
func (t *target) Close() error {
	t.transport.CloseIdleConnections()
	t.plain.close()
	t.end()
	t.auth.Close()
	return nil
}

// Deliver implements targets.Target.
func (t *target) Deliver(ctx context.Context, d *targets.Delivery) error {
	if t.mode == Batched {
		return t.DeliverBatch(ctx, []*targets.Delivery{d})[0]
	}
	if t.handshake != nil {
		if err := t.admit(ctx, d); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()

	body, header, err := t.encode(d, time.Now())
	if err != nil {
		return err
	}
	if t.variant.AskForReply && d.WantReply {
		header["Prefer"] = []string{"reply"}
	}
	res, err := t.send(ctx, limited, d, nethttp.MethodPost, header, body)
	if err != nil {
		return err
	}
	d.Answer.Status = res.StatusCode
	if succeeded(res.StatusCode) {
		if err := t.failed(d, res); err != nil {
			return err
		}
	}
	if res.StatusCode == nethttp.StatusOK && d.WantReply {
		return t.reply(ctx, limited, d, res)
	}
	if succeeded(res.StatusCode) {
		finish(res.Body)
		return nil
	}
	d.Answer.Body = t.readAnswer(res)
	return t.outcome(res, d.Answer.Body, time.Now())
}

// encode makes the body and the headers of a request.
func (t *target) encode(d *targets.Delivery, now time.Time) ([]byte, nethttp.Header, error) {
	e := d.Event
	header := make(nethttp.Header, len(t.static)+len(e.Extensions())+14)
	for name, values := range t.static {
		header[name] = values
	}
	body := e.Data()
	switch {
	case t.mode == Structured, t.mode == Binary && looksLikeEvent(e.DataContentType()):
		body = event.AppendStructured(make([]byte, 0, e.Size()+len(e.Data())/2+256), e)
		header["Content-Type"] = structuredHeader()
	case t.mode == Binary:
		event.SetHeaders(header, e)
	case e.DataContentType() != "":
		header["Content-Type"] = []string{e.DataContentType()}
	}
	if !httpguts.ValidHeaderFieldValue(header.Get("Content-Type")) {
		return nil, nil, targets.Permanentf("the content type %q cannot be sent as a header", e.DataContentType())
	}
	t.mark(header, d.ID, d.Redriven, body, now)
	passTrace(header, e)
	return body, header, nil
}

// mark sets the headers that tell and prove what a request is.
func (t *target) mark(header nethttp.Header, id string, redriven bool, body []byte, now time.Time) {
	t.setSignature(header, id, strconv.FormatInt(now.Unix(), 10), body)
	if redriven {
		header["Switchyard-Redriven"] = []string{"true"}
	}
}

func structuredHeader() []string { return []string{structuredType} }

// looksLikeEvent reports whether data of this content type, as the body of a
// request, would be taken for the event itself.
func looksLikeEvent(contentType string) bool {
	const prefix = "application/cloudevents"
	return len(contentType) >= len(prefix) && strings.EqualFold(contentType[:len(prefix)], prefix)
}

// passTrace sends the event's trace on in the plain headers.
func passTrace(header nethttp.Header, e *event.Event) {
	if v := e.ExtensionText("traceparent"); v != "" && printable(v) {
		header["Traceparent"] = []string{v}
		if v := e.ExtensionText("tracestate"); v != "" && printable(v) {
			header["Tracestate"] = []string{v}
		}
	}
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
