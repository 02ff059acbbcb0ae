package http

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/auth"
)

// authServer is a token server and a receiver that accepts only the newest of
// its tokens.
type authServer struct {
	tokens, receiver *httptest.Server
	asked, delivered atomic.Int64
	valid            atomic.Int64                                        // the number of the token that the receiver accepts
	lifetime         int                                                 // of tokens, in seconds
	slow             time.Duration                                       // how long the token server takes
	answer           func(nethttp.ResponseWriter, *nethttp.Request) bool // in place of a token, if it returns true
	forms            chan url.Values
}

func newAuthServer(t *testing.T) *authServer {
	s := &authServer{lifetime: 3600, forms: make(chan url.Values, 1000)}
	s.tokens = httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		n := s.asked.Add(1)
		if err := r.ParseForm(); err != nil || r.Method != "POST" {
			t.Errorf("the token server got %s, %v", r.Method, err)
		}
		form := r.PostForm
		if id, secret, ok := r.BasicAuth(); ok {
			form.Set("basic", id+" "+secret)
		}
		s.forms <- form
		if s.answer != nil && s.answer(w, r) {
			return
		}
		time.Sleep(s.slow)
		s.valid.Store(n)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, n, s.lifetime)
	}))
	t.Cleanup(s.tokens.Close)
	s.receiver = httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if got := r.Header.Get("Authorization"); got != fmt.Sprintf("Bearer token-%d", s.valid.Load()) {
			nethttp.Error(w, "not a good token: "+got, nethttp.StatusUnauthorized)
			return
		}
		s.delivered.Add(1)
	}))
	t.Cleanup(s.receiver.Close)
	return s
}

func (s *authServer) target(t *testing.T, change func(*Config)) *target {
	c := NewConfig()
	c.URL = s.receiver.URL
	c.Auth = &auth.Config{OAuth2: &auth.OAuth2{
		TokenURL: s.tokens.URL + "/token", ClientID: "an id", ClientSecret: component.NewSecret("the+secret"), Scopes: []string{"a", "b"}, Audience: "shop",
	}}
	if change != nil {
		change(c)
	}
	return newTarget(t, c, targets.Env{})
}

func deliverAll(t *testing.T, target *target, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		e := order(t)
		all.Go(func() {
			if err := target.Deliver(t.Context(), deliveryOf(e)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestOAuth2TokenIsSharedAndRenewed(t *testing.T) {
	s := newAuthServer(t)
	s.slow = 50 * time.Millisecond
	target := s.target(t, nil)
	deliverAll(t, target, 32)
	deliverAll(t, target, 32)
	if s.asked.Load() != 1 || s.delivered.Load() != 64 {
		t.Errorf("%d tokens for %d deliveries", s.asked.Load(), s.delivered.Load())
	}
	want := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"shop"}, "basic": {"an+id the%2Bsecret"}}
	if form := <-s.forms; form.Encode() != want.Encode() {
		t.Errorf("asked with %v, not %v", form, want)
	}
	s.valid.Store(-1) // revoked: all are refused at once, and one new token is enough
	deliverAll(t, target, 32)
	if s.asked.Load() != 2 || s.delivered.Load() != 96 {
		t.Errorf("%d tokens for %d deliveries", s.asked.Load(), s.delivered.Load())
	}
}

func TestOAuth2CredentialsInTheBody(t *testing.T) {
	s := newAuthServer(t)
	deliverAll(t, s.target(t, func(c *Config) { c.Auth.OAuth2.ClientAuth = "post" }), 1)
	if form := <-s.forms; form.Get("client_id") != "an id" || form.Get("client_secret") != "the+secret" || form.Has("basic") {
		t.Errorf("asked with %v", form)
	}
}

func TestOAuth2TokenIsRenewedBeforeItExpires(t *testing.T) {
	s := newAuthServer(t)
	s.lifetime = 1 // and 0.9s until it is renewed
	target := s.target(t, nil)
	deliverAll(t, target, 1)
	time.Sleep(950 * time.Millisecond)
	deliverAll(t, target, 1)
	if s.asked.Load() != 2 {
		t.Errorf("%d tokens", s.asked.Load())
	}
}

func TestOAuth2RefusalOfANewTokenIsFinal(t *testing.T) {
	s := newAuthServer(t)
	target := s.target(t, nil)
	deliverAll(t, target, 1)
	s.tokens.Config.Handler = nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		s.asked.Add(1)
		io.WriteString(w, `{"access_token":"other-token"}`)
	})
	s.valid.Store(-1)
	for range 5 {
		d := deliveryOf(order(t))
		err := target.Deliver(t.Context(), d)
		if !targets.IsPermanent(err) || d.Answer.Status != 401 {
			t.Errorf("the outcome is %v, %+v", err, d.Answer)
		}
		if shown := fmt.Sprint(err, d.Answer); strings.Contains(shown, "other-token") || strings.Contains(shown, "token-1") {
			t.Errorf("a token is shown: %s", shown)
		}
	}
	if s.asked.Load() != 2 {
		t.Errorf("%d tokens were asked for; want no more while new ones are refused", s.asked.Load())
	}
}

func TestOAuth2WithoutATokenIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(nethttp.ResponseWriter, *nethttp.Request) bool
		want   string
		after  time.Duration
	}{
		{"invalid_client", func(w nethttp.ResponseWriter, _ *nethttp.Request) bool {
			w.WriteHeader(401)
			io.WriteString(w, `{"error":"invalid_client","error_description":"the+secret is\nwrong"}`)
			return true
		}, "401 Unauthorized: invalid_client: [redacted] is wrong", 15 * time.Second},
		{"busy", func(w nethttp.ResponseWriter, _ *nethttp.Request) bool {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(503)
			return true
		}, "503 Service Unavailable", time.Minute},
		{"a redirect", func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			nethttp.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", nethttp.StatusFound)
			return true
		}, "302 Found: redirects are not followed", 15 * time.Second},
		{"no token", func(w nethttp.ResponseWriter, _ *nethttp.Request) bool {
			io.WriteString(w, `{"id_token":"hidden"}`)
			return true
		}, "its answer has no access_token", 15 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newAuthServer(t)
			s.answer = c.answer
			target := s.target(t, nil)
			for i := range 3 { // the server is asked once only
				err := target.Deliver(t.Context(), deliveryOf(order(t)))
				var after *targets.RetryAfter
				var token *auth.TokenError
				if !errors.As(err, &after) || !errors.As(err, &token) || targets.IsPermanent(err) {
					t.Fatalf("attempt %d: %v", i, err)
				}
				if got := token.Error(); got != "no access token from "+s.tokens.Listener.Addr().String()+": "+c.want {
					t.Errorf("the error is %q", got)
				}
				if after.After > c.after || after.After < c.after-5*time.Second {
					t.Errorf("again after %v, not %v", after.After, c.after)
				}
			}
			if s.asked.Load() != 1 || s.delivered.Load() != 0 {
				t.Errorf("%d requests, %d deliveries", s.asked.Load(), s.delivered.Load())
			}
		})
	}
}

func TestHostileTokenServers(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		want   string
	}{
		{"never answers", func(c net.Conn) { io.Copy(io.Discard, c) }, "timeout after 300ms"},
		{"an endless token", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"")
			flood(c, strings.Repeat("x", 1000))
		}, "larger than 256 KiB"},
		{"an endless refusal", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 400 No\r\n\r\n{\"error\":\"")
			flood(c, strings.Repeat("x", 1000))
		}, "400 Bad Request"},
		{"one byte at a time", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			drip(c, ' ')
		}, "timeout after 300ms"},
		{"10 MB of headers", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for range 10_000 {
				if _, err := io.WriteString(c, "X-Header: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, "server response headers exceeded 65536 bytes"},
		{"breaks off", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") }, "unexpected EOF"},
		{"hangs up", func(net.Conn) {}, "EOF"},
		{"does not speak HTTP", func(c net.Conn) { io.WriteString(c, "220 mail\r\n") }, "malformed HTTP"},
		{"compresses", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")
		}, "not the JSON of a token"},
		{"a token of two lines", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"a\\r\\nX: y\"}")
		}, "cannot be sent in a header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			address, _ := rawServer(t, c.answer)
			config := NewConfig()
			config.URL, config.Timeout = "http://127.0.0.1:1/", timeout
			config.Auth = &auth.Config{OAuth2: &auth.OAuth2{TokenURL: "http://" + address, ClientID: "i", ClientSecret: component.NewSecret("secret")}}
			target, err := config.build(targets.Env{})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			err = target.Deliver(t.Context(), deliveryOf(order(t)))
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			if err == nil || targets.IsPermanent(err) || !strings.Contains(err.Error(), c.want) && !strings.HasPrefix(err.Error(), "no access token: timeout") {
				t.Errorf("the error is %v; want %q", err, c.want)
			}
			target.Close()
		})
	}
}

func TestTokenServerBehindTheNetworkRules(t *testing.T) {
	s := newAuthServer(t)
	c := NewConfig()
	c.URL = s.receiver.URL
	c.Auth = &auth.Config{OAuth2: &auth.OAuth2{TokenURL: "http://169.254.169.254/token", ClientID: "i", ClientSecret: component.NewSecret("secret")}}
	var dialled []string
	target := newTarget(t, c, targets.Env{Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return nil, targets.Permanentf("%s is not a public address", address)
	}})
	err := target.Deliver(t.Context(), deliveryOf(order(t)))
	if !targets.IsPermanent(err) || !slices.Equal(dialled, []string{"169.254.169.254:80"}) {
		t.Errorf("dialled %v: %v", dialled, err)
	}
}

// What kept a token from coming can still be told apart.
func TestTokenErrorsKeepTheirCause(t *testing.T) {
	c := NewConfig()
	c.URL = "http://127.0.0.1:1/"
	c.Auth = &auth.Config{OAuth2: &auth.OAuth2{TokenURL: "http://tokens.example", ClientID: "i", ClientSecret: component.NewSecret("secret")}}
	target := newTarget(t, c, targets.Env{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "tokens.example", IsNotFound: true}}
	}})
	err := target.Deliver(t.Context(), deliveryOf(order(t)))
	var lookup *net.DNSError
	var token *auth.TokenError
	if !errors.As(err, &lookup) || !errors.As(err, &token) || token.Host != "tokens.example" || targets.IsPermanent(err) {
		t.Errorf("%v", err)
	}
}

func TestAttemptEndsWhileItWaitsForAToken(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	address, asked := rawServer(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	config := NewConfig()
	config.URL = "http://127.0.0.1:1/"
	config.Auth = &auth.Config{OAuth2: &auth.OAuth2{TokenURL: "http://" + address, ClientID: "i", ClientSecret: component.NewSecret("secret")}}
	target, err := config.build(targets.Env{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	err = target.Deliver(ctx, deliveryOf(order(t)))
	if !errors.Is(err, context.Canceled) || err.Error() != "no access token before the attempt was ended" {
		t.Errorf("the error is %v", err)
	}
	target.Close()
	target.Close()
}

func TestSecretsThatAReceiverRepeatsAreNotKept(t *testing.T) {
	for name, a := range map[string]*auth.Config{
		"bearer": {Bearer: component.NewSecret("top-secret-value")},
		"basic":  {Basic: &auth.Basic{Username: "u", Password: component.NewSecret("top-secret-value")}},
		"query":  {APIKey: &auth.APIKey{Query: "k", Value: component.NewSecret("top-secret-value")}},
	} {
		for _, status := range []int{302, 403, 500} {
			s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
				w.Header().Set("Location", "https://example.com"+r.RequestURI)
				w.WriteHeader(status)
				io.WriteString(w, strings.Repeat("x", targets.MaxAnswer-5)+r.Header.Get("Authorization")+r.RequestURI)
			}))
			t.Cleanup(s.Close)
			c := NewConfig()
			c.URL, c.Auth = s.URL, a
			d := deliveryOf(order(t))
			err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), d)
			if shown := fmt.Sprint(err, d.Answer); strings.Contains(shown, "top") || strings.Contains(shown, "dTp0b3") {
				t.Errorf("%s, %d: %s", name, status, shown)
			}
		}
	}
}

// Both servers answer with what they were sent, which is no answer.
func TestSecretsThatAServerEchoesAreNotShown(t *testing.T) {
	echo := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				buf := make([]byte, 64<<10)
				n, _ := c.Read(buf)
				for line := range strings.SplitSeq(string(buf[:n]), "\r\n") {
					if strings.HasPrefix(line, "Authorization") || strings.HasPrefix(line, "POST") && strings.Contains(line, "?") {
						io.WriteString(c, strings.ReplaceAll(line, " ", "_")+"\r\n\r\n")
					}
				}
				c.Close()
			}
		}()
		return "http://" + l.Addr().String()
	}
	const encoded = "dTp0b3Atc2VjcmV0LXZhbHVl"
	for name, a := range map[string]*auth.Config{
		"bearer": {Bearer: component.NewSecret("top-secret-value")},
		"basic":  {Basic: &auth.Basic{Username: "u", Password: component.NewSecret("top-secret-value")}},
		"query":  {APIKey: &auth.APIKey{Query: "k", Value: component.NewSecret("top-secret-value")}},
		"oauth2": {OAuth2: &auth.OAuth2{TokenURL: echo(t), ClientID: "u", ClientSecret: component.NewSecret("top-secret-value")}},
	} {
		c := NewConfig()
		c.URL, c.Auth = echo(t), a
		err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(order(t)))
		if err == nil || strings.Contains(err.Error(), "top-secret") || strings.Contains(err.Error(), encoded) || !strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthBesideOtherSettings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"its header", func(c *Config) {
			c.Headers = map[string]component.Secret{"authorization": component.NewSecret("x")}
			c.Auth = &auth.Config{Bearer: component.NewSecret("x")}
		}, "headers.authorization: is set by auth already; keep one of the two"},
		{"another header", func(c *Config) {
			c.Headers = map[string]component.Secret{"Authorization": component.NewSecret("x")}
			c.Auth = &auth.Config{APIKey: &auth.APIKey{Header: "X-Key", Value: component.NewSecret("x")}}
		}, ""},
		{"a header of the protocol", func(c *Config) {
			c.Auth = &auth.Config{APIKey: &auth.APIKey{Header: "webhook-id", Value: component.NewSecret("x")}}
		}, "auth.apiKey.header: is set by Switchyard and cannot be changed"},
		{"a certificate without TLS", func(c *Config) { c.Auth = &auth.Config{MTLS: &auth.MTLS{Cert: "a", Key: "b"}} },
			"auth.mtls: a client certificate needs TLS; use https in url"},
	} {
		config := NewConfig()
		config.URL = "http://example.com"
		c.change(config)
		if _, err := config.Build(targets.Env{}); (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The verifier reads the request as a server got it, and computes the signature
// by AWS's description.
func TestSigV4IsVerified(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for _, mode := range []string{Binary, Structured} {
		u, requests := recorder(t)
		c := NewConfig()
		c.URL, c.Mode, c.Secret = u+"/stage/a%20b?x=1&a=%2F", mode, component.NewSecrets("1234567890123456")
		c.Headers = map[string]component.Secret{"X-Team": component.NewSecret("billing  team")}
		c.Auth = &auth.Config{SigV4: &auth.SigV4{Region: "eu-west-1", Service: "execute-api", AccessKey: "AKID", SecretKey: component.NewSecret(secret), SessionToken: component.NewSecret("session")}}
		if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(order(t))); err != nil {
			t.Fatal(err)
		}
		r := <-requests
		verifySigV4(t, r, secret)
		for _, name := range []string{"webhook-signature", "x-team", "x-amz-security-token", "content-type", "content-length", "host"} {
			if !strings.Contains(r.Header.Get("Authorization"), name) {
				t.Errorf("%s is not signed: %s", name, r.Header.Get("Authorization"))
			}
		}
		if mode == Binary && !strings.Contains(r.Header.Get("Authorization"), "ce-subject") {
			t.Error("ce-subject is not signed")
		}
	}
}

func verifySigV4(t *testing.T, r request, secret string) {
	t.Helper()
	got := r.Header.Get("Authorization")
	field := func(name string) string {
		_, rest, _ := strings.Cut(got, name+"=")
		value, _, _ := strings.Cut(rest, ",")
		return value
	}
	scope := strings.SplitN(field("Credential"), "/", 2)[1]
	text := r.Method + "\n" + strings.ReplaceAll(r.URL.EscapedPath(), "%", "%25") + "\n"
	var query []string
	for name, values := range r.URL.Query() {
		for _, v := range values {
			query = append(query, url.QueryEscape(name)+"="+url.QueryEscape(v))
		}
	}
	slices.Sort(query)
	text += strings.Join(query, "&") + "\n"
	for name := range strings.SplitSeq(field("SignedHeaders"), ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		text += name + ":" + strings.Join(strings.Fields(value), " ") + "\n"
	}
	hash := func(b []byte) string {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	text += "\n" + field("SignedHeaders") + "\n" + hash(r.body)
	at := r.Header.Get("X-Amz-Date")
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+at+"\n"+scope+"\n"+hash([]byte(text))) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	if want := hex.EncodeToString(key); field("Signature") != want {
		t.Errorf("the signature does not verify: %s", got)
	}
	if when, err := time.Parse("20060102T150405Z", at); err != nil || time.Since(when).Abs() > time.Minute {
		t.Errorf("the time is %s", at)
	}
}

func TestHandshakeIsAuthenticated(t *testing.T) {
	var methods []string
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		methods = append(methods, r.Method+" "+r.Header.Get("Authorization"))
		w.Header().Set("WebHook-Allowed-Origin", "*")
	}))
	t.Cleanup(s.Close)
	c := NewConfig()
	c.URL, c.Handshake, c.Auth = s.URL, true, &auth.Config{Bearer: component.NewSecret("abcd")}
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(order(t))); err != nil {
		t.Fatal(err)
	}
	if want := []string{"OPTIONS Bearer abcd", "POST Bearer abcd"}; !slices.Equal(methods, want) {
		t.Errorf("%q", methods)
	}
}
