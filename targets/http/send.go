package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"time"

	"github.com/switchyard-dev/switchyard/targets"
)

// send makes a request of an attempt and returns the answer, whose body the
// caller has to finish. A receiver that no longer accepts the access token is
// asked once more, with a new one.
func (t *target) send(ctx, limited context.Context, d *targets.Delivery, method string, header nethttp.Header, body []byte) (*nethttp.Response, error) {
	steps := clock{begun: time.Now()}
	defer steps.read(&d.Answer)
	for again := false; ; again = true {
		if again { // the first one may still be written
			header = header.Clone()
		}
		req := &nethttp.Request{
			Method: method, URL: t.url, Host: t.url.Host, Header: header,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: nethttp.NoBody, ContentLength: int64(len(body)),
		}
		token, err := t.auth.Authorize(limited, req, body)
		if err != nil {
			return nil, t.unauthorized(ctx, limited, err)
		}
		res, err := t.roundTrip(limited, req, body, &steps, &d.Answer)
		if err != nil {
			t.recordSent(d, header)
			return nil, t.failure(ctx, limited, d, err)
		}
		if res.StatusCode != nethttp.StatusUnauthorized || !t.auth.Refused(token, again) {
			if !succeeded(res.StatusCode) {
				t.recordSent(d, header)
				t.recordAnswer(d, res.Header)
			}
			return res, nil
		}
		finish(res.Body)
	}
}

// roundTrip makes one request, whose body is body.
func (t *target) roundTrip(ctx context.Context, req *nethttp.Request, body []byte, steps *clock, note *targets.Answer) (*nethttp.Response, error) {
	if t.plain.takes(req) {
		return t.plain.roundTrip(ctx, req, body, steps, note)
	}
	if len(body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
	}
	return t.transport.RoundTrip(req.WithContext(steps.trace(ctx, note)))
}

// unauthorized is the outcome of an attempt that got no access token.
func (t *target) unauthorized(ctx, limited context.Context, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return &transportError{"no access token before the attempt was ended", ctx.Err()}
	case limited.Err() != nil && errors.Is(err, limited.Err()):
		return &transportError{fmt.Sprintf("no access token: timeout after %v", t.timeout), limited.Err()}
	}
	return err
}
