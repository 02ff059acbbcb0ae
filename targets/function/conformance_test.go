package function

import (
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets/auth"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

// platform stands in for one that runs functions, and behaves as the suite
// wants.
type platform struct {
	t       *testing.T
	path    string // that the function is called at
	refusal int    // the status of a final refusal
	failure func(nethttp.ResponseWriter)

	mu        sync.Mutex
	behaviour targettest.Behaviour
	released  chan struct{} // closed when it no longer hangs
	arrived   []targettest.Arrival
}

func (p *platform) set(b targettest.Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behaviour == targettest.Hang {
		close(p.released)
	}
	if b == targettest.Hang {
		p.released = make(chan struct{})
	}
	p.behaviour = b
}

func (p *platform) now() (targettest.Behaviour, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behaviour, p.released
}

func (p *platform) ServeHTTP(w nethttp.ResponseWriter, req *nethttp.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	if req.URL.EscapedPath() != p.path {
		p.t.Errorf("called at %s, not %s", req.URL.EscapedPath(), p.path)
	}
	switch b, released := p.now(); b {
	case targettest.RefuseForNow:
		p.failure(w)
	case targettest.RefuseForGood:
		nethttp.Error(w, "no", p.refusal)
	case targettest.Hang:
		select {
		case <-released:
		case <-req.Context().Done():
		}
		nethttp.Error(w, "too late", nethttp.StatusServiceUnavailable)
	default:
		events, _, err := event.FromHTTP(req.Header, body, event.Limits{MaxEventSize: 1 << 20})
		if err != nil || len(events) != 1 {
			nethttp.Error(w, fmt.Sprint("not an event: ", err), nethttp.StatusTeapot)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.arrived = append(p.arrived, targettest.Arrival{ID: req.Header.Get("webhook-id"), Event: events[0]})
		w.WriteHeader(nethttp.StatusAccepted)
	}
}

func busy(w nethttp.ResponseWriter) { nethttp.Error(w, "cold", nethttp.StatusServiceUnavailable) }

func TestConformance(t *testing.T) {
	sigv4 := &auth.Config{SigV4: &auth.SigV4{AccessKey: "AKID", SecretKey: component.NewSecret("secret")}}
	for _, c := range []struct {
		name, path string
		refusal    int
		failure    func(nethttp.ResponseWriter)
		config     func(c *Config, address string)
	}{
		{"knative", "/", 400, func(w nethttp.ResponseWriter) { nethttp.Error(w, "no such service yet", nethttp.StatusNotFound) },
			func(c *Config, address string) { c.Knative = &Knative{URL: address} }},
		{"openfaas", "/function/thumbnail.dev", 404, busy,
			func(c *Config, address string) { c.OpenFaaS = &OpenFaaS{URL: address, Function: "thumbnail.dev"} }},
		{"openfaas, asynchronous", "/async-function/thumbnail", 404, busy, func(c *Config, address string) {
			c.OpenFaaS = &OpenFaaS{URL: address + "/", Function: "thumbnail", Async: true, Callback: "http://127.0.0.1/done"}
		}},
		{"a function URL", "/", 403, func(w nethttp.ResponseWriter) { nethttp.Error(w, "throttled", nethttp.StatusTooManyRequests) },
			func(c *Config, address string) { c.Lambda = &Lambda{URL: address + "/"} }},
		{"a function URL, signed, binary", "/", 403, busy, func(c *Config, address string) {
			c.Lambda, c.Mode = &Lambda{URL: address + "/"}, "binary"
			c.Auth = &auth.Config{SigV4: &auth.SigV4{Region: "eu-west-1", AccessKey: "AKID", SecretKey: component.NewSecret("secret")}}
		}},
		{"the Invoke API", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Athumbnail/invocations", 413,
			func(w nethttp.ResponseWriter) {
				w.Header().Set("X-Amz-Function-Error", "Unhandled")
				io.WriteString(w, `{"errorMessage":"boom"}`)
			},
			func(c *Config, address string) {
				c.Lambda = &Lambda{Invoke: &Invoke{Region: "eu-west-1", Endpoint: address, Function: "arn:aws:lambda:eu-west-1:123456789012:function:thumbnail"}}
				c.Auth = sigv4
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			targettest.Run(t, targettest.Harness{CarriesID: true, New: func(t *testing.T) *targettest.Receiver {
				p := &platform{t: t, path: c.path, refusal: c.refusal, failure: c.failure}
				s := httptest.NewServer(p)
				t.Cleanup(s.Close)
				t.Cleanup(func() { p.set(targettest.Accept) })
				u, err := url.Parse(s.URL)
				if err != nil {
					t.Fatal(err)
				}
				proxy := targettest.NewProxy(t, u.Host)
				config := NewConfig()
				c.config(config, "http://"+proxy.Address())
				return &targettest.Receiver{
					Config: config,
					Set: func(b targettest.Behaviour) {
						if b == targettest.Down {
							proxy.Set(b)
							return
						}
						proxy.Set(targettest.Accept)
						p.set(b)
					},
					Arrived: func(int) []targettest.Arrival {
						p.mu.Lock()
						defer p.mu.Unlock()
						return p.arrived
					},
				}
			}})
		})
	}
}

// structuredOf is a body as JSON, for comparisons.
func structuredOf(t *testing.T, body string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(strings.TrimSpace(body)), &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return m
}
