package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/url"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// Fetcher asks endpoints for something that a delivery needs, by the rules that
// deliveries have themselves: the dial of the network rules, no redirects, no
// proxy, headers and answers that are bounded. It is safe for concurrent use.
type Fetcher struct {
	transport *nethttp.Transport
	end       context.CancelFunc
	timeout   time.Duration
	version   string
	most      int
}

// FetchOptions are what a Fetcher works with.
type FetchOptions struct {
	// Dial opens connections; nil: a plain net.Dialer.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Timeout time.Duration // of a connection; the context bounds the rest
	Version string        // for User-Agent; "" is "dev"
	Most    int           // bytes of an answer
}

// FetchRequest is one request.
type FetchRequest struct {
	Method string
	URL    *url.URL
	Header nethttp.Header // which is not changed; errors do not show its values
	Body   []byte
	Event  *event.Event // whose trace goes on in the request; may be nil
}

// Fetched is an answer. After a failure it has what is known.
type Fetched struct {
	Status      int
	ContentType string
	Body        []byte
}

// NewFetcher makes a Fetcher. Connections are made when they are needed.
func NewFetcher(o FetchOptions) *Fetcher {
	f := &Fetcher{timeout: o.Timeout, version: o.Version, most: o.Most}
	if f.version == "" {
		f.version = "dev"
	}
	f.transport, f.end = newTransport(o.Dial, o.Timeout)
	return f
}

// Retire closes the connections that are idle, and the others when what they are
// used for has ended.
func (f *Fetcher) Retire() { f.transport.CloseIdleConnections() }

// Close ends all connections.
func (f *Fetcher) Close() {
	f.transport.CloseIdleConnections()
	f.end()
}

// Fetch sends one request. Any answer but 2xx is an error, an outcome as the
// targets' are; it never pauses a subscription.
func (f *Fetcher) Fetch(ctx context.Context, q FetchRequest) (Fetched, error) {
	header := nethttp.Header{
		"User-Agent":      {"Switchyard/" + f.version},
		"Accept":          {"application/json, */*;q=0.5"},
		"Idempotency-Key": {}, // as a target has it
	}
	for name, values := range q.Header {
		header[name] = values
	}
	if q.Event != nil {
		passTrace(header, q.Event)
	}
	req := (&nethttp.Request{
		Method: q.Method, URL: q.URL, Host: q.URL.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if len(q.Body) > 0 {
		req.ContentLength = int64(len(q.Body))
		req.Body = io.NopCloser(bytes.NewReader(q.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(q.Body)), nil }
	}
	res, err := f.transport.RoundTrip(req)
	if err != nil {
		return Fetched{}, f.failure(ctx, err)
	}
	out := Fetched{Status: res.StatusCode, ContentType: res.Header.Get("Content-Type")}
	if !succeeded(res.StatusCode) {
		plain := target{configured: map[string]string{}} // it has nothing to authenticate
		for name, values := range q.Header {
			if name != "Content-Type" {
				plain.configured[name] = values[0]
			}
		}
		err := plain.outcome(res, plain.readAnswer(res), time.Now())
		var final *targets.Permanent
		if errors.As(err, &final) {
			err = &targets.Permanent{Err: final.Err}
		}
		return out, err
	}
	out.Body, err = io.ReadAll(io.LimitReader(res.Body, int64(f.most)+1))
	res.Body.Close()
	switch {
	case err != nil:
		return out, f.failure(ctx, err)
	case len(out.Body) > f.most:
		return out, targets.Permanentf("the answer is larger than %d bytes", f.most)
	}
	return out, nil
}

func (f *Fetcher) failure(ctx context.Context, err error) error {
	switch {
	case targets.IsPermanent(err):
		return err
	case ctx.Err() != nil:
		return &transportError{fmt.Sprintf("timeout after %v", f.timeout), ctx.Err()}
	}
	return &transportError{describe(err), err}
}

// CheckURL says why a text is not an address that requests can be sent to, ""
// when it is.
func CheckURL(text string) string { return checkURL(text) }

// CheckHeader says why a header cannot be set by the user, "" when it can.
func CheckHeader(name, value string) string { return checkHeader(name, value) }
