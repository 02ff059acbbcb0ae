package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/switchyard-dev/switchyard/targets"
)

const (
	maxRetryAfter = 24 * time.Hour
	maxExcerpt    = 200
)

func succeeded(status int) bool { return status >= 200 && status <= 299 }

// finish reads what is left of an answer that no longer matters, up to a bound,
// so that its connection can be used again. An answer that goes on for longer,
// breaks off or comes too slowly costs the connection; the outcome stands.
func finish(body io.ReadCloser) {
	if body != nethttp.NoBody {
		_, _ = io.CopyN(io.Discard, body, maxDrain)
	}
	body.Close()
}

// readAnswer is the start of an answer, as text, and finishes it.
func (t *target) readAnswer(res *nethttp.Response) string {
	if res.StatusCode == nethttp.StatusSwitchingProtocols {
		res.Body.Close()
		return ""
	}
	// Twice as much as is kept, so that no secret is cut in two before it is
	// taken out.
	start, err := io.ReadAll(io.LimitReader(res.Body, 2*targets.MaxAnswer))
	if err == nil {
		finish(res.Body)
	} else {
		res.Body.Close()
	}
	return shorten(t.scrub(strings.ToValidUTF8(string(start), "\uFFFD")), targets.MaxAnswer)
}

// shorten cuts s to at most n bytes between two characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// outcome is what an answer other than 2xx means (CONTRACT.md, "Delivery over
// HTTP").
func (t *target) outcome(res *nethttp.Response, body string, now time.Time) error {
	err := t.statusError(res, body)
	status := res.StatusCode
	switch {
	case status == nethttp.StatusRequestTimeout, status == nethttp.StatusTooEarly,
		status == nethttp.StatusTooManyRequests, status >= 500, status < 200,
		slices.Contains(t.variant.Retried, status):
		if after := retryAfter(res.Header.Get("Retry-After"), now); after > 0 {
			return &targets.RetryAfter{Err: err, After: after}
		}
		return err
	case status == nethttp.StatusGone:
		return &targets.Permanent{Err: err, Pause: "the receiver answered 410 Gone: it wants no more events"}
	}
	return &targets.Permanent{Err: err}
}

// statusError describes an answer in one line.
func (t *target) statusError(res *nethttp.Response, body string) error {
	status := strings.TrimSpace(strconv.Itoa(res.StatusCode) + " " + nethttp.StatusText(res.StatusCode))
	switch location := res.Header.Get("Location"); {
	case res.StatusCode >= 300 && res.StatusCode <= 399 && location != "":
		return fmt.Errorf("%s: redirects are not followed; it points to %q", status, shorten(t.scrub(location), maxExcerpt))
	case strings.TrimSpace(body) == "":
		return errors.New(status)
	}
	return fmt.Errorf("%s: %s", status, excerpt(body))
}

// excerpt is the start of a text on one line, without control characters.
func excerpt(s string) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case !unicode.IsPrint(r):
			r = utf8.RuneError
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		if b.Len()+utf8.RuneLen(r) > maxExcerpt {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// retryAfter reads Retry-After (RFC 9110 §10.2.3): seconds or a date; 0 if it is
// neither or has passed.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := nethttp.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

// transportError is a short text for a failure to send or to be answered.
type transportError struct {
	text string
	err  error
}

func (e *transportError) Error() string { return e.text }

func (e *transportError) Unwrap() error { return e.err }

// failure is the outcome of a request that was not answered. It is tried again,
// unless the dial refused for good.
func (t *target) failure(ctx, limited context.Context, d *targets.Delivery, err error) error {
	if d.Answer.Address == "" {
		d.Answer.Address = dialled(err)
	}
	switch {
	case targets.IsPermanent(err):
		return err
	case ctx.Err() != nil:
		return &transportError{"no answer before the attempt was ended", ctx.Err()}
	case limited.Err() != nil:
		return &transportError{fmt.Sprintf("timeout after %v", t.timeout), limited.Err()}
	}
	return &transportError{t.scrub(describe(err)), err}
}

func dialled(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && op.Addr != nil {
		return op.Addr.String()
	}
	return ""
}

// describe says what went wrong on the way, without the layers around it.
func describe(err error) string {
	var (
		errno  syscall.Errno
		lookup *net.DNSError
		cert   *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &lookup):
		return fmt.Sprintf("lookup of %q: %s", lookup.Name, lookup.Err)
	case errors.As(err, &cert):
		return "the certificate is not accepted: " + cert.Err.Error()
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout while connecting"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed idle connection"):
		return "the connection was closed before an answer came"
	}
	text := err.Error()
	for _, prefix := range [...]string{"net/http: ", "HTTP/1.x transport connection broken: ", "net/http: ", "http: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
