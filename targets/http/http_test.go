package http

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

// request is what a server received.
type request struct {
	*nethttp.Request
	body []byte
}

// recorder is a server that keeps requests and answers 202.
func recorder(t *testing.T) (url string, requests <-chan request) {
	c := make(chan request, 100)
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		c <- request{req, body}
		w.WriteHeader(nethttp.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s.URL, c
}

func newTarget(t testing.TB, c *Config, env targets.Env) *target {
	t.Helper()
	target, err := c.build(env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func parse(t testing.TB, structured string) *event.Event {
	t.Helper()
	e, err := event.FromStructured([]byte(structured), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func order(t testing.TB) *event.Event {
	return parse(t, `{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order","subject":"Euro € 100%","datacontenttype":"application/json","data":{"total":150}}`)
}

func deliveryOf(e *event.Event) *targets.Delivery {
	return &targets.Delivery{ID: "01JD0000000000000000000001", Subscription: "r/t", Bus: "orders", Sequence: 1, Attempt: 1, Event: e}
}

func TestBinaryRequest(t *testing.T) {
	url, requests := recorder(t)
	c := NewConfig()
	c.URL = url + "/in?a=b"
	c.Headers = map[string]component.Secret{"x-team": component.NewSecret("billing")}
	target := newTarget(t, c, targets.Env{Version: "1.2.3"})
	d := deliveryOf(parse(t, `{"specversion":"1.0","id":"1","source":"/shop","type":"t","subject":"Euro € 100% \"q\"","count":-7,"flag":true,
		"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=b","data":{"total":150}}`))
	begun := time.Now().Unix()
	if err := target.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	if got := r.Method + " " + r.RequestURI; got != "POST /in?a=b" {
		t.Errorf("the request was %s", got)
	}
	if r.ContentLength != int64(len(`{"total":150}`)) || r.TransferEncoding != nil || string(r.body) != `{"total":150}` {
		t.Errorf("length %d, encoding %v, body %q", r.ContentLength, r.TransferEncoding, r.body)
	}
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "t",
		"ce-subject": "Euro%20%E2%82%AC%20100%25%20%22q%22", "ce-count": "-7", "ce-flag": "true",
		"ce-traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"traceparent":    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b",
		"content-type": "application/json", "user-agent": "Switchyard/1.2.3", "x-team": "billing", "webhook-id": d.ID,
		"accept-encoding": "", "webhook-signature": "", "switchyard-redriven": "", "idempotency-key": "",
	} {
		if got := strings.Join(r.Header.Values(name), "|"); got != want {
			t.Errorf("header %s is %q, not %q", name, got, want)
		}
	}
	if seconds, err := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64); err != nil || seconds < begun || seconds > time.Now().Unix() {
		t.Errorf("webhook-timestamp is %q", r.Header.Get("webhook-timestamp"))
	}
	if d.Answer.Status != 202 || d.Answer.Address != r.Host || d.Answer.Body != "" {
		t.Errorf("the answer is %+v", d.Answer)
	}
}

func TestStructuredAndDataRequests(t *testing.T) {
	url, requests := recorder(t)
	e := order(t)
	for _, c := range []struct{ mode, contentType, body string }{
		{Structured, "application/cloudevents+json; charset=utf-8", string(event.AppendStructured(nil, e))},
		{Data, "application/json", `{"total":150}`},
	} {
		t.Run(c.mode, func(t *testing.T) {
			config := NewConfig()
			config.URL, config.Mode = url, c.mode
			d := deliveryOf(e)
			d.Redriven = true
			if err := newTarget(t, config, targets.Env{}).Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			r := <-requests
			if string(r.body) != c.body || r.Header.Get("content-type") != c.contentType {
				t.Errorf("sent %q as %q", r.body, r.Header.Get("content-type"))
			}
			for name := range r.Header {
				if strings.HasPrefix(name, "Ce-") {
					t.Errorf("there is a header %s", name)
				}
			}
			if r.Header.Get("webhook-id") == "" || r.Header.Get("switchyard-redriven") != "true" {
				t.Errorf("the headers are %v", r.Header)
			}
		})
	}
}

func TestNoDataMeansContentLengthZero(t *testing.T) {
	address, sent := rawServer(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n") })
	c := NewConfig()
	c.URL = "http://" + address
	e := parse(t, `{"specversion":"1.0","id":"1","source":"/shop","type":"t"}`)
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(e)); err != nil {
		t.Fatal(err)
	}
	if text := <-sent; !strings.Contains(text, "\r\nContent-Length: 0\r\n") || strings.Contains(text, "chunked") || strings.Contains(text, "Content-Type") {
		t.Errorf("sent %q", text)
	}
}

func TestSignatureIsVerifiedByTheStandardLibrary(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	encoded := "whsec_" + base64.StdEncoding.EncodeToString(key)
	raw := "a text of sufficient length"
	for _, c := range []struct {
		name, secret string
		verifier     func() (*standardwebhooks.Webhook, error)
	}{
		{"whsec_", encoded, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhook(encoded) }},
		{"raw", raw, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhookRaw([]byte(raw)) }},
	} {
		for _, mode := range []string{Binary, Structured, Batched, Data} {
			t.Run(c.name+" "+mode, func(t *testing.T) {
				url, requests := recorder(t)
				config := NewConfig()
				config.URL, config.Mode, config.Secret = url, mode, component.NewSecrets(c.secret)
				target := newTarget(t, config, targets.Env{})
				hook, err := c.verifier()
				if err != nil {
					t.Fatal(err)
				}
				for range 3 { // the keyed hash is used again
					if err := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil {
						t.Fatal(err)
					}
					r := <-requests
					if err := hook.Verify(r.body, r.Header); err != nil {
						t.Error(err)
					}
					if hook.Verify(append(r.body, ' '), r.Header) == nil {
						t.Error("a changed body has a good signature")
					}
				}
			})
		}
	}
}

func TestSDKReadsWhatIsSent(t *testing.T) {
	for _, mode := range []string{Binary, Structured} {
		t.Run(mode, func(t *testing.T) {
			url, requests := recorder(t)
			config := NewConfig()
			config.URL, config.Mode = url, mode
			target := newTarget(t, config, targets.Env{})
			for _, s := range targettest.Samples(t) {
				switch s.Name {
				case "an event as the data", "a batch as the data":
					continue // the SDK refuses to marshal what it cannot tell apart
				case "unicode":
					if mode == Binary {
						continue // the SDK does not percent-decode headers
					}
				}
				if err := target.Deliver(t.Context(), deliveryOf(s.Event)); err != nil {
					t.Fatal(err)
				}
				r := <-requests
				in := r.Clone(t.Context())
				in.Body = io.NopCloser(bytes.NewReader(r.body))
				got, err := cehttp.NewEventFromHTTPRequest(in)
				if err != nil {
					t.Errorf("%s: %v", s.Name, err)
					continue
				}
				if err := got.Validate(); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
				want, err := s.Event.SDK()
				if err != nil {
					t.Fatal(err)
				}
				if got.ID() != want.ID() || got.Type() != want.Type() || got.Source() != want.Source() || got.Subject() != want.Subject() ||
					!got.Time().Equal(want.Time()) || got.DataSchema() != want.DataSchema() || got.DataContentType() != want.DataContentType() {
					t.Errorf("%s: got %v, want %v", s.Name, got, want)
				}
				for name, v := range want.Extensions() {
					if fmt.Sprint(got.Extensions()[name]) != fmt.Sprint(v) {
						t.Errorf("%s: extension %s is %v, not %v", s.Name, name, got.Extensions()[name], v)
					}
				}
				if !bytes.Equal(bytes.Join(bytes.Fields(got.Data()), nil), bytes.Join(bytes.Fields(want.Data()), nil)) {
					t.Errorf("%s: data %q, want %q", s.Name, got.Data(), want.Data())
				}
			}
		})
	}
}

func TestTraceThatIsNotAHeaderIsLeftOut(t *testing.T) {
	url, requests := recorder(t)
	c := NewConfig()
	c.URL = url
	e := parse(t, `{"specversion":"1.0","id":"1","source":"/shop","type":"t","traceparent":"spuré"}`)
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(e)); err != nil {
		t.Fatal(err)
	}
	if r := <-requests; r.Header.Get("traceparent") != "" || r.Header.Get("ce-traceparent") != "spur%C3%A9" {
		t.Errorf("the headers are %v", r.Header)
	}
}

func TestStatusesDecideTheOutcome(t *testing.T) {
	type outcome struct {
		kind  string // "", retry, permanent, pause or the pause that was asked for
		after time.Duration
		text  string
	}
	var answer func(nethttp.ResponseWriter)
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) { answer(w) }))
	t.Cleanup(s.Close)
	c := NewConfig()
	c.URL = s.URL
	target := newTarget(t, c, targets.Env{})
	inAnHour := time.Now().Add(time.Hour).UTC().Format(nethttp.TimeFormat)
	for _, test := range []struct {
		status int
		header string // name: value
		body   string
		want   outcome
	}{
		{200, "", `{"specversion":"1.0"}`, outcome{}},
		{201, "", "", outcome{}},
		{202, "", "", outcome{}},
		{204, "", "", outcome{}},
		{299, "", "", outcome{}},
		{300, "", "", outcome{kind: "permanent", text: "300 Multiple Choices"}},
		{301, "Location: https://example.com/", "", outcome{kind: "permanent", text: `301 Moved Permanently: redirects are not followed; it points to "https://example.com/"`}},
		{304, "", "", outcome{kind: "permanent", text: "304 Not Modified"}},
		{307, "Location: /x", "", outcome{kind: "permanent", text: `307 Temporary Redirect: redirects are not followed; it points to "/x"`}},
		{400, "", " bad\r\n\torder\x1b[31m ", outcome{kind: "permanent", text: "400 Bad Request: bad order\uFFFD[31m"}},
		{401, "", "", outcome{kind: "permanent", text: "401 Unauthorized"}},
		{404, "Retry-After: 5", "", outcome{kind: "permanent", text: "404 Not Found"}},
		{408, "", "", outcome{kind: "retry", text: "408 Request Timeout"}},
		{410, "", "", outcome{kind: "pause", text: "410 Gone"}},
		{415, "", "", outcome{kind: "permanent", text: "415 Unsupported Media Type"}},
		{425, "", "", outcome{kind: "retry", text: "425 Too Early"}},
		{429, "", "", outcome{kind: "retry", text: "429 Too Many Requests"}},
		{429, "Retry-After: 120", "", outcome{kind: "after", after: 2 * time.Minute, text: "429 Too Many Requests (retry after 2m0s)"}},
		{451, "", "", outcome{kind: "permanent", text: "451 Unavailable For Legal Reasons"}},
		{499, "", "", outcome{kind: "permanent", text: "499"}},
		{500, "Retry-After: 1", "", outcome{kind: "after", after: time.Second, text: "500 Internal Server Error (retry after 1s)"}},
		{501, "", "", outcome{kind: "retry", text: "501 Not Implemented"}},
		{503, "", "upstream down", outcome{kind: "retry", text: "503 Service Unavailable: upstream down"}},
		{503, "Retry-After: " + inAnHour, "", outcome{kind: "after", after: time.Hour}},
		{503, "Retry-After: 99999999999999999999", "", outcome{kind: "after", after: 24 * time.Hour}},
		{503, "Retry-After: soon", "", outcome{kind: "retry", text: "503 Service Unavailable"}},
		{599, "", "", outcome{kind: "retry", text: "599"}},
		{999, "", "", outcome{kind: "retry", text: "999"}},
	} {
		t.Run(fmt.Sprint(test.status, " ", test.header), func(t *testing.T) {
			answer = func(w nethttp.ResponseWriter) {
				if name, value, ok := strings.Cut(test.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}
			d := deliveryOf(order(t))
			err := target.Deliver(t.Context(), d)
			var permanent *targets.Permanent
			var after *targets.RetryAfter
			got := outcome{}
			switch {
			case err == nil:
			case errors.As(err, &permanent) && permanent.Pause != "":
				got.kind = "pause"
			case errors.As(err, &permanent):
				got.kind = "permanent"
			case errors.As(err, &after):
				got.kind, got.after = "after", after.After
			default:
				got.kind = "retry"
			}
			if got.kind != test.want.kind || (got.after-test.want.after).Abs() > 5*time.Second {
				t.Errorf("the outcome is %+v (%v), not %+v", got, err, test.want)
			}
			if test.want.text != "" && err.Error() != test.want.text {
				t.Errorf("the error is %q, not %q", err, test.want.text)
			}
			if d.Answer.Status != test.status || (err != nil && d.Answer.Body != test.body) {
				t.Errorf("the answer is %+v", d.Answer)
			}
		})
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 30 ": 30 * time.Second, "86400": 24 * time.Hour, "86401": 24 * time.Hour,
		"-5": 0, "1.5": 0, "5s": 0, "never": 0,
		"Sun, 22 Nov 2026 10:00:30 GMT":   30 * time.Second,
		"Sunday, 22-Nov-26 10:00:30 GMT":  30 * time.Second,
		"Sun Nov 22 10:00:30 2026":        30 * time.Second,
		"Sun, 22 Nov 2026 09:00:00 GMT":   0,
		"Sun, 22 Nov 2099 09:00:00 GMT":   24 * time.Hour,
		"Sun, 22 Nov 2026 10:00:30 +0100": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q is %v, not %v", value, got, want)
		}
	}
}

func TestLongAnswersAreCutBetweenCharacters(t *testing.T) {
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.WriteHeader(400)
		io.WriteString(w, "x"+strings.Repeat("€", 10_000)+"\xff")
	}))
	t.Cleanup(s.Close)
	c := NewConfig()
	c.URL = s.URL
	d := deliveryOf(order(t))
	err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), d)
	if !targets.IsPermanent(err) || len(err.Error()) > 300 || !strings.HasSuffix(err.Error(), "€…") {
		t.Errorf("the error is %q", err)
	}
	if n := len(d.Answer.Body); n > targets.MaxAnswer || n < targets.MaxAnswer-4 {
		t.Errorf("%d bytes of the answer are kept", n)
	}
	if strings.Trim(d.Answer.Body, "x€\uFFFD") != "" {
		t.Errorf("the answer is kept as %q", d.Answer.Body)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	for _, status := range []int{200, 503, 400} {
		var mu sync.Mutex
		conns := map[string]bool{}
		s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
			mu.Lock()
			conns[r.RemoteAddr] = true
			mu.Unlock()
			w.WriteHeader(status)
			w.Write(make([]byte, 20<<10))
		}))
		t.Cleanup(s.Close)
		c := NewConfig()
		c.URL = s.URL
		target := newTarget(t, c, targets.Env{})
		for range 20 {
			target.Deliver(t.Context(), deliveryOf(order(t)))
		}
		if len(conns) != 1 {
			t.Errorf("status %d: %d connections were used for 20 deliveries one after another", status, len(conns))
		}
	}
}

func TestHTTP2IsUsedWhereItIsOffered(t *testing.T) {
	proto := make(chan string, 1)
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		io.Copy(io.Discard, r.Body)
		proto <- r.Proto
		w.WriteHeader(204)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := NewConfig()
	c.URL = s.URL
	target := newTarget(t, c, targets.Env{})
	d := deliveryOf(order(t))
	err := target.Deliver(t.Context(), d)
	if err == nil || targets.IsPermanent(err) || !strings.HasPrefix(err.Error(), "the certificate is not accepted: x509: ") {
		t.Fatalf("delivered with a certificate that is not trusted: %v", err)
	}
	target = newTarget(t, c, targets.Env{})
	target.transport.TLSClientConfig = s.Client().Transport.(*nethttp.Transport).TLSClientConfig.Clone()
	if err := target.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if p := <-proto; p != "HTTP/2.0" {
		t.Errorf("the protocol was %s", p)
	}
	if d.Answer.Address != s.Listener.Addr().String() || d.Answer.Status != 204 {
		t.Errorf("the answer is %+v", d.Answer)
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	url, requests := recorder(t)
	c := NewConfig()
	c.URL = strings.Replace(url, "127.0.0.1", "receiver.example", 1)
	target := newTarget(t, c, targets.Env{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	}})
	if err := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil {
		t.Fatal(err)
	}
	<-requests
}

func TestRefusalOfTheDialIsPermanent(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		c := NewConfig()
		c.URL = scheme + "://10.0.0.1:8080/"
		target := newTarget(t, c, targets.Env{Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8080},
				Err: targets.Permanentf("10.0.0.1 is a private address")}
		}})
		d := deliveryOf(order(t))
		if err := target.Deliver(t.Context(), d); !targets.IsPermanent(err) {
			t.Errorf("%s: the error is %v", scheme, err)
		}
		if d.Answer.Address != "10.0.0.1:8080" {
			t.Errorf("%s: the address is %q", scheme, d.Answer.Address)
		}
	}
}

func TestFailuresToConnectAreReadable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()
	c := NewConfig()
	c.URL = "http://" + free
	d := deliveryOf(order(t))
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), d); err == nil || err.Error() != "connection refused" {
		t.Errorf("the error is %v", err)
	}
	if d.Answer.Address != free {
		t.Errorf("the address is %q", d.Answer.Address)
	}
	c.URL = "http://nowhere.example"
	target := newTarget(t, c, targets.Env{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true}}
	}})
	if err := target.Deliver(t.Context(), d); err == nil || err.Error() != `lookup of "nowhere.example": no such host` {
		t.Errorf("the error is %v", err)
	}
}
