package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

// pipes is a listener whose connections are in memory, as virtual time needs.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inBubble runs f in virtual time with a target and a receiver for it.
func inBubble(t *testing.T, receive nethttp.HandlerFunc, change func(*Config), f func(*testing.T, *target)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		s := &nethttp.Server{Handler: receive}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(p) }()
		config := NewConfig()
		config.URL = "http://receiver.example/in"
		if change != nil {
			change(config)
		}
		target, err := config.build(targets.Env{Dial: p.dial})
		if err != nil {
			t.Fatal(err)
		}
		f(t, target)
		target.Close()
		s.Close()
		<-ended
		synctest.Wait()
	})
}

// asked are the requests that a receiver got.
type asked struct {
	mu   sync.Mutex
	list []string
}

func (a *asked) add(r *nethttp.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, r.Method+" "+r.Header.Get("WebHook-Request-Origin"))
}

func (a *asked) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := strings.Join(a.list, ", ")
	a.list = nil
	return out
}

func withHandshake(c *Config) { c.Handshake, c.Origin = true, "events.example.com" }

func TestDeliveriesBeginWithTheReceiversConsent(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		headers []string
		want    string // the error; "" is consent
	}{
		"its name":          {200, []string{"WebHook-Allowed-Origin: events.example.com"}, ""},
		"in capitals":       {204, []string{"WebHook-Allowed-Origin: Events.Example.com", "WebHook-Allowed-Rate: *"}, ""},
		"everybody":         {200, []string{"WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: 600"}, ""},
		"silence":           {200, nil, "its answer to OPTIONS has no WebHook-Allowed-Origin"},
		"another name":      {200, []string{"WebHook-Allowed-Origin: example.com"}, `WebHook-Allowed-Origin is "example.com", which is not this sender, "events.example.com"`},
		"no number":         {200, []string{"WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: many"}, `WebHook-Allowed-Rate is "many", which is neither * nor a number a minute`},
		"nothing a minute":  {200, []string{"WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: 0"}, `WebHook-Allowed-Rate is "0", which is neither * nor a number a minute`},
		"not understood":    {405, []string{"WebHook-Allowed-Origin: *"}, "OPTIONS was answered 405 Method Not Allowed"},
		"a redirect":        {307, []string{"WebHook-Allowed-Origin: *", "Location: /else"}, `OPTIONS was answered 307 Temporary Redirect: redirects are not followed; it points to "/else"`},
		"gone":              {410, nil, "OPTIONS was answered 410 Gone"},
		"a server in pains": {500, nil, "OPTIONS was answered 500 Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			var requests asked
			inBubble(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				requests.add(r)
				if got := r.Header.Get("X-Team") + " " + r.URL.Path; got != "billing /in" {
					t.Errorf("%s has %q", r.Method, got)
				}
				if r.Method != nethttp.MethodOptions {
					w.WriteHeader(204)
					return
				}
				for name := range r.Header {
					if name = strings.ToLower(name); strings.HasPrefix(name, "ce-") || name == "webhook-id" || name == "content-type" {
						t.Errorf("the handshake has a header %s", name)
					}
				}
				for _, h := range c.headers {
					name, value, _ := strings.Cut(h, ": ")
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
			}, func(config *Config) {
				withHandshake(config)
				config.Headers = map[string]component.Secret{"X-Team": component.NewSecret("billing")}
			}, func(t *testing.T, target *target) {
				d := deliveryOf(order(t))
				err := target.Deliver(t.Context(), d)
				const ask, post = "OPTIONS events.example.com", "POST events.example.com"
				if c.want == "" {
					if again := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil || again != nil {
						t.Errorf("the outcomes are %v and %v", err, again)
					}
					if got := requests.take(); got != ask+", "+post+", "+post {
						t.Errorf("the requests were %s", got)
					}
					if d.Answer.Status != 204 {
						t.Errorf("the answer is %+v", d.Answer)
					}
					return
				}
				var after *targets.RetryAfter
				if !errors.As(err, &after) || targets.IsPermanent(err) || after.Err.Error() != "the receiver has not allowed deliveries: "+c.want {
					t.Fatalf("the error is %v", err)
				}
				if got := requests.take(); got != ask || d.Answer.Status != c.status {
					t.Errorf("the requests were %s, the answer %+v", got, d.Answer)
				}
				// It is asked again, but not at once.
				first := after.After
				time.Sleep(time.Second)
				if err := target.Deliver(t.Context(), deliveryOf(order(t))); !errors.As(err, &after) || after.After != first-time.Second || requests.take() != "" {
					t.Errorf("soon after, the error is %v", err)
				}
				time.Sleep(after.After)
				if err := target.Deliver(t.Context(), deliveryOf(order(t))); err == nil || requests.take() != ask {
					t.Errorf("later, the error is %v", err)
				}
			})
		})
	}
}

func TestConsentThatComesLaterIsFound(t *testing.T) {
	var mu sync.Mutex
	open := false
	inBubble(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		mu.Lock()
		defer mu.Unlock()
		if open {
			w.Header().Set("WebHook-Allowed-Origin", "*")
		} else {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(503)
		}
	}, withHandshake, func(t *testing.T, target *target) {
		var after *targets.RetryAfter
		if err := target.Deliver(t.Context(), deliveryOf(order(t))); !errors.As(err, &after) || after.After != time.Minute {
			t.Errorf("Retry-After is not honoured: %v", err)
		}
		mu.Lock()
		open = true
		mu.Unlock()
		time.Sleep(time.Minute)
		if err := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil {
			t.Error(err)
		}
	})
}

func TestOneDeliveryAsksForAll(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		var requests asked
		inBubble(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			requests.add(r)
			if r.Method == nethttp.MethodOptions {
				time.Sleep(time.Second)
				if allowed {
					w.Header().Set("WebHook-Allowed-Origin", "*")
				}
			}
		}, withHandshake, func(t *testing.T, target *target) {
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					if err := target.Deliver(t.Context(), deliveryOf(order(t))); (err == nil) != allowed {
						t.Errorf("allowed %v: %v", allowed, err)
					}
				})
			}
			group.Wait()
			got := requests.take()
			if n, posts := strings.Count(got, "OPTIONS"), strings.Count(got, "POST"); n != 1 || posts != map[bool]int{true: 20}[allowed] {
				t.Errorf("allowed %v: %d handshakes and %d deliveries", allowed, n, posts)
			}
		})
	}
}

func TestAHandshakeThatHangsEndsWithTheTimeout(t *testing.T) {
	inBubble(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) { <-r.Context().Done() }, withHandshake, func(t *testing.T, target *target) {
		begun := time.Now()
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if err := target.Deliver(t.Context(), deliveryOf(order(t))); err == nil || !strings.Contains(err.Error(), "timeout after 10s") {
					t.Errorf("the error is %v", err)
				}
			})
		}
		group.Wait()
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("the deliveries took %v", took)
		}
		// An attempt that is ended from outside says nothing about the receiver.
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := target.Deliver(ctx, deliveryOf(order(t)))
		if !errors.Is(err, context.DeadlineExceeded) || target.handshake.again.After(time.Now()) {
			t.Errorf("the error is %v; it asks again at %v", err, target.handshake.again)
		}
	})
}

func TestTheGuardRefusesTheHandshakeForGood(t *testing.T) {
	config := NewConfig()
	config.URL, config.Handshake = "http://10.0.0.1/", true
	target := newTarget(t, config, targets.Env{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, targets.Permanentf("the network rules do not allow 10.0.0.1")
	}})
	for range 2 {
		if err := target.Deliver(t.Context(), deliveryOf(order(t))); !targets.IsPermanent(err) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestTheAllowedRateIsObeyed(t *testing.T) {
	var mu sync.Mutex
	var at []time.Time
	inBubble(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Method == nethttp.MethodOptions {
			w.Header().Set("WebHook-Allowed-Origin", "*")
			w.Header().Set("WebHook-Allowed-Rate", "30")
			return
		}
		mu.Lock()
		at = append(at, time.Now())
		mu.Unlock()
	}, withHandshake, func(t *testing.T, target *target) {
		// One every two seconds: six have their turn within the timeout of 10s.
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				err := target.Deliver(t.Context(), deliveryOf(order(t)))
				var after *targets.RetryAfter
				if err != nil && (!errors.As(err, &after) || after.After != 12*time.Second ||
					after.Err.Error() != "the receiver allows 30 deliveries a minute (WebHook-Allowed-Rate)") {
					t.Errorf("the error is %v", err)
				}
			})
		}
		group.Wait()
		if len(at) != 6 {
			t.Errorf("%d deliveries were made, not 6", len(at))
		}
		for i := 1; i < len(at); i++ {
			if wait := at[i].Sub(at[i-1]); wait < 2*time.Second {
				t.Errorf("delivery %d came %v after the one before", i+1, wait)
			}
		}
		// What an attempt has left is kept for the delivery itself.
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var after *targets.RetryAfter
		if err := target.Deliver(ctx, deliveryOf(order(t))); !errors.As(err, &after) || after.After != 2*time.Second {
			t.Errorf("the error is %v", err)
		}
		// One that is ended while it waits gives its turn back.
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := target.Deliver(ctx, deliveryOf(order(t))); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		begun := time.Now()
		if err := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil || time.Since(begun) > time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

func TestTheOriginIsTheMachineUnlessItIsSet(t *testing.T) {
	name, err := os.Hostname()
	if err != nil || !hostName(name) {
		name = "switchyard"
	}
	for setting, want := range map[string]string{"": name, "events.example.com": "events.example.com"} {
		if got := originOf(setting); got != want {
			t.Errorf("the origin of %q is %q, not %q", setting, got, want)
		}
	}
	for name, valid := range map[string]bool{
		"a": true, "events.example.com": true, "my_host-1": true, strings.Repeat("a", 63): true,
		"": false, ".": false, "a..b": false, "a.": false, "a b": false, "a:80": false, "é": false, "*": false, "a\r\nb": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 130) + "a": false,
	} {
		if hostName(name) != valid {
			t.Errorf("%s is a host name: %v", fmt.Sprintf("%.20q", name), !valid)
		}
	}
}

func TestWithoutHandshakeNothingIsAsked(t *testing.T) {
	url, requests := recorder(t)
	config := NewConfig()
	config.URL = url
	if err := newTarget(t, config, targets.Env{}).Deliver(t.Context(), deliveryOf(order(t))); err != nil {
		t.Fatal(err)
	}
	if r := <-requests; r.Method != nethttp.MethodPost || r.Header.Get("WebHook-Request-Origin") != "" {
		t.Errorf("%s with %v", r.Method, r.Header)
	}
}
