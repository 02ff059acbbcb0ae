package http

import (
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets/auth"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

// receiver is an HTTP server that behaves as the suite wants.
type receiver struct {
	mu        sync.Mutex
	behaviour targettest.Behaviour
	released  chan struct{} // closed when it no longer hangs
	arrived   []targettest.Arrival
}

func (r *receiver) set(b targettest.Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.behaviour == targettest.Hang {
		close(r.released)
	}
	if b == targettest.Hang {
		r.released = make(chan struct{})
	}
	r.behaviour = b
}

func (r *receiver) now() (targettest.Behaviour, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.behaviour, r.released
}

func (r *receiver) ServeHTTP(w nethttp.ResponseWriter, req *nethttp.Request) {
	switch b, released := r.now(); b {
	case targettest.RefuseForNow:
		nethttp.Error(w, "busy", nethttp.StatusServiceUnavailable)
	case targettest.RefuseForGood:
		nethttp.Error(w, "no such order", nethttp.StatusBadRequest)
	case targettest.Hang:
		_, _ = io.Copy(io.Discard, req.Body) // or the server does not notice the end
		select {
		case <-released:
		case <-req.Context().Done():
		}
		nethttp.Error(w, "too late", nethttp.StatusServiceUnavailable)
	default:
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		events, mode, err := event.FromHTTP(req.Header, body, event.Limits{MaxEventSize: 1 << 20})
		if err != nil || len(events) != 1 {
			nethttp.Error(w, "not an event: "+err.Error(), nethttp.StatusTeapot)
			return
		}
		if b := event.FromEvent(events[0]); mode == event.ModeBatched {
			b.Unset(memberID)
			if events[0], err = b.Build(); err != nil {
				nethttp.Error(w, err.Error(), nethttp.StatusTeapot)
				return
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.arrived = append(r.arrived, targettest.Arrival{ID: req.Header.Get("webhook-id"), Event: events[0]})
		w.WriteHeader(nethttp.StatusAccepted)
	}
}

func TestConformance(t *testing.T) {
	for _, mode := range []string{Binary, Structured, Batched} {
		t.Run(mode, func(t *testing.T) {
			targettest.Run(t, targettest.Harness{
				CarriesID: true,
				New:       func(t *testing.T) *targettest.Receiver { return newReceiver(t, mode) },
			})
		})
	}
}

func TestConformanceWithAnAccessToken(t *testing.T) {
	targettest.Run(t, targettest.Harness{
		CarriesID: true,
		New: func(t *testing.T) *targettest.Receiver {
			tokens := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				io.WriteString(w, `{"access_token":"a-token","expires_in":60}`)
			}))
			t.Cleanup(tokens.Close)
			r := newReceiver(t, Binary)
			r.Config.(*Config).Auth = &auth.Config{OAuth2: &auth.OAuth2{TokenURL: tokens.URL, ClientID: "i", ClientSecret: component.NewSecret("secret")}}
			return r
		},
	})
}

func newReceiver(t *testing.T, mode string) *targettest.Receiver {
	r := &receiver{}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	t.Cleanup(func() { r.set(targettest.Accept) })
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := targettest.NewProxy(t, u.Host)
	c := NewConfig()
	c.URL, c.Mode = "http://"+proxy.Address()+"/in?a=b", mode
	return &targettest.Receiver{
		Config: c,
		Set: func(b targettest.Behaviour) {
			if b == targettest.Down {
				proxy.Set(b)
				return
			}
			proxy.Set(targettest.Accept)
			r.set(b)
		},
		Arrived: func(int) []targettest.Arrival {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.arrived
		},
	}
}
