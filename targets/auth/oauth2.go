package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

const (
	maxTokenAnswer   = 256 << 10
	maxTokenHeaders  = 64 << 10
	maxToken         = 32 << 10
	maxTokenTimeout  = 30 * time.Second
	unknownLifetime  = time.Hour // of a token whose answer does not say
	maxLifetime      = 30 * 24 * time.Hour
	renewBefore      = 30 * time.Second // the end of a token's life, or a tenth of it
	pauseFailed      = 2 * time.Second  // after no answer or an error of the server
	pauseRefused     = 15 * time.Second // after a refusal, which somebody has to mend
	pauseFruitless   = time.Second      // after a new token was refused like the old one
	maxTokenPause    = 10 * time.Minute
	maxTokenErrorLen = 200
)

// OAuth2 is client credentials (RFC 6749 §4.4).
type OAuth2 struct {
	TokenURL     string           `yaml:"tokenURL" doc:"Where access tokens are got: an http or https URL."`
	ClientID     string           `yaml:"clientID" doc:"The client's id."`
	ClientSecret component.Secret `yaml:"clientSecret" doc:"The client's secret."`
	Scopes       []string         `yaml:"scopes" doc:"The scopes to ask for."`
	Audience     string           `yaml:"audience" doc:"The audience to ask for, where the server has audiences."`
	ClientAuth   string           `yaml:"clientAuth" enum:"basic,post" doc:"How the client's id and secret are sent: basic (a header, and the default) or post (in the body)."`
}

func (o *OAuth2) validate(p *component.Problems, path []string) {
	at := func(key string) []string { return append(path[:len(path):len(path)], key) }
	u, err := url.Parse(o.TokenURL)
	switch {
	case o.TokenURL == "":
		p.Add("is required; give the URL where access tokens are got", at("tokenURL")...)
	case err != nil:
		p.Add("is not a URL", at("tokenURL")...)
	case u.Scheme != "http" && u.Scheme != "https":
		p.Addf(at("tokenURL"), "scheme %q is not supported; use http or https", u.Scheme)
	case u.Hostname() == "":
		p.Add("has no host", at("tokenURL")...)
	case u.User != nil:
		p.Add("must not hold a username or password; use clientID and clientSecret", at("tokenURL")...)
	case u.Fragment != "":
		p.Add("must not have a fragment (#…)", at("tokenURL")...)
	}
	if o.ClientID == "" {
		p.Add("is required", at("clientID")...)
	}
	if o.ClientSecret.IsZero() {
		p.Add("is required", at("clientSecret")...)
	}
	for i, s := range o.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			p.Addf(append(at("scopes"), strconv.Itoa(i)), "%q cannot be a scope; give one a list entry, without spaces", s)
		}
	}
	if o.ClientAuth != "" && o.ClientAuth != "basic" && o.ClientAuth != "post" {
		p.Addf(at("clientAuth"), "%q is not known; use basic or post", o.ClientAuth)
	}
}

// TokenError is why there is no access token. Attempts that fail with it are
// tried again: most of its causes pass, and what somebody has to mend, such as
// a wrong client secret, should not cost events.
type TokenError struct {
	Host string // of the token URL
	Err  error
}

// Error implements error.
func (e *TokenError) Error() string {
	return fmt.Sprintf("no access token from %s: %v", e.Host, e.Err)
}

// Unwrap gives the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// tokens keeps the access token of one target and gets the next when it is due.
// Whoever needs one first starts the request; all others wait for its answer.
type tokens struct {
	host    string
	request func() *http.Request
	timeout time.Duration
	secrets []string // how the client's secret looks in requests

	transport *http.Transport
	life      context.Context
	end       context.CancelFunc
	running   sync.WaitGroup

	mu     sync.Mutex
	token  string
	last   string    // the token before, for scrub
	due    time.Time // when another one is needed
	asking *asking   // nil if nobody asks
	no     error     // why there was none when it was last asked for
	again  time.Time // when it may be asked again
	hold   time.Time // no refusal leads to a new token before
}

// asking is a request under way.
type asking struct {
	done  chan struct{} // closed when the fields below are set
	token string
	err   error
}

func newTokens(o *OAuth2, env Env) *tokens {
	life, end := context.WithCancel(context.Background())
	u, err := url.Parse(o.TokenURL)
	if err != nil {
		u = &url.URL{} // which Validate refused
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	if o.Audience != "" {
		form.Set("audience", o.Audience)
	}
	id, secret := o.ClientID, o.ClientSecret.Reveal()
	if o.ClientAuth == "post" {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	body := form.Encode()
	m := &tokens{host: u.Host, life: life, end: end, timeout: min(env.Timeout, maxTokenTimeout)}
	escaped := url.QueryEscape(secret)
	m.secrets = []string{secret, escaped, base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + escaped))}
	if m.timeout <= 0 {
		m.timeout = maxTokenTimeout
	}
	m.request = func() *http.Request {
		req := &http.Request{
			Method: http.MethodPost, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{
				"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {env.UserAgent},
			},
			ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		}
		if o.ClientAuth != "post" {
			req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) // RFC 6749 §2.3.1
		}
		return req
	}
	dial := env.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	m.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// The transport goes on dialling after its request has ended.
			ctx, cancel := context.WithTimeout(ctx, m.timeout)
			defer cancel()
			defer context.AfterFunc(life, cancel)()
			return dial(ctx, network, address)
		},
		DisableKeepAlives:      true, // tokens are asked for rarely
		DisableCompression:     true,
		TLSHandshakeTimeout:    m.timeout,
		MaxResponseHeaderBytes: maxTokenHeaders,
	}
	return m
}

// get is the access token, from memory or from the server.
func (m *tokens) get(ctx context.Context) (string, error) {
	m.mu.Lock()
	now := time.Now()
	if m.token != "" && now.Before(m.due) {
		defer m.mu.Unlock()
		return m.token, nil
	}
	a := m.asking
	if a == nil {
		if wait := m.again.Sub(now); m.no != nil && wait > 0 {
			defer m.mu.Unlock()
			return "", m.outcome(m.no, wait)
		}
		a = &asking{done: make(chan struct{})}
		m.asking = a
		m.running.Go(func() { m.ask(a) })
	}
	m.mu.Unlock()
	select {
	case <-a.done:
		return a.token, a.err
	case <-ctx.Done():
		return "", &TokenError{m.host, ctx.Err()}
	}
}

// outcome is an error that is tried again no sooner than it makes sense, unless
// the network rules forbid the server's address.
func (m *tokens) outcome(err error, wait time.Duration) error {
	if targets.IsPermanent(err) {
		return err
	}
	return &targets.RetryAfter{Err: err, After: wait}
}

// ask gets a token and hands it to all who wait.
func (m *tokens) ask(a *asking) {
	begun := time.Now()
	token, lifetime, pause, err := m.fetch()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asking = nil
	if err != nil {
		err = &TokenError{m.host, err}
		m.no, m.again = err, time.Now().Add(pause)
		a.err = m.outcome(err, pause)
	} else {
		m.last, m.token, m.no = m.token, token, nil
		m.due = begun.Add(lifetime - min(renewBefore, lifetime/10))
		a.token = token
	}
	close(a.done)
}

// refused forgets a token that a receiver did not accept and reports whether
// another one may help. A receiver that refuses new tokens, too, must not make
// every delivery ask for one.
func (m *tokens) refused(token string, again bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if again {
		m.hold = time.Now().Add(pauseFruitless)
		return false
	}
	if token != m.token {
		return true // somebody has got another one meanwhile
	}
	if time.Now().Before(m.hold) {
		return false
	}
	m.due = time.Time{}
	return true
}

func (m *tokens) scrub(text string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return without(text, append([]string{m.token, m.last}, m.secrets...))
}

// without takes secrets out of a text.
func without(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) >= minHidden {
			text = strings.ReplaceAll(text, s, component.Redacted)
		}
	}
	return text
}

func (m *tokens) close() {
	m.end()
	m.running.Wait()
}

// fetch asks the server. pause is how long to leave it alone after an error.
func (m *tokens) fetch() (token string, lifetime, pause time.Duration, err error) {
	ctx, cancel := context.WithTimeout(m.life, m.timeout)
	defer cancel()
	res, err := m.transport.RoundTrip(m.request().WithContext(ctx))
	if err != nil {
		return "", 0, pauseFailed, m.describe(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		pause = pauseFailed
		if res.StatusCode < 500 {
			pause = pauseRefused
		}
		if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 32); err == nil {
			pause = min(max(pause, time.Duration(seconds)*time.Second), maxTokenPause)
		}
		return "", 0, pause, m.statusError(res)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxTokenAnswer+1))
	switch {
	case err != nil:
		return "", 0, pauseFailed, m.describe(ctx, err)
	case len(body) > maxTokenAnswer:
		return "", 0, pauseRefused, errors.New("its answer is larger than 256 KiB")
	}
	token, lifetime, err = readToken(body)
	return token, lifetime, pauseRefused, err
}

// describe says why there was no answer. An error may repeat what the server
// sent, and that may repeat the request.
func (m *tokens) describe(ctx context.Context, err error) error {
	switch {
	case targets.IsPermanent(err):
		return err
	case m.life.Err() != nil:
		return errors.New("the target was closed")
	case ctx.Err() != nil:
		return &failure{fmt.Sprintf("timeout after %v", m.timeout), ctx.Err()}
	}
	return &failure{without(err.Error(), m.secrets), err}
}

// failure is an error with a text of its own.
type failure struct {
	text string
	err  error
}

func (e *failure) Error() string { return e.text }

func (e *failure) Unwrap() error { return e.err }

// statusError says what the server answered in place of a token: what it says
// in an error as RFC 6749 §5.2 has it, and nothing else of its body.
func (m *tokens) statusError(res *http.Response) error {
	status := strings.TrimSpace(strconv.Itoa(res.StatusCode) + " " + http.StatusText(res.StatusCode))
	if res.StatusCode >= 300 && res.StatusCode <= 399 {
		return errors.New(status + ": redirects are not followed")
	}
	var answer struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxTokenErrorLen*20))
	if json.Unmarshal(body, &answer) == nil {
		for _, text := range [...]string{answer.Error, answer.Description} {
			if text = printable(without(text, m.secrets)); text != "" {
				status += ": " + text
			}
		}
	}
	return errors.New(status)
}

// printable is a short text on one line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxTokenErrorLen {
		s = string(r[:maxTokenErrorLen]) + "…"
	}
	return s
}

// readToken reads a successful answer (RFC 6749 §5.1).
func readToken(body []byte) (token string, lifetime time.Duration, err error) {
	var answer struct {
		Token   string          `json:"access_token"`
		Type    string          `json:"token_type"`
		Expires json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return "", 0, errors.New("its answer is not the JSON of a token")
	}
	switch {
	case answer.Token == "":
		return "", 0, errors.New("its answer has no access_token")
	case len(answer.Token) > maxToken || !headerText(answer.Token):
		return "", 0, errors.New("its access_token cannot be sent in a header")
	case answer.Type != "" && !strings.EqualFold(answer.Type, "bearer"):
		return "", 0, fmt.Errorf("its token_type is %q; only Bearer is supported", printable(answer.Type))
	}
	lifetime = unknownLifetime
	// A number; some servers put it in quotes.
	if seconds, err := strconv.ParseFloat(strings.Trim(string(answer.Expires), `"`), 64); err == nil {
		seconds = min(max(seconds, 1), maxLifetime.Seconds())
		lifetime = time.Duration(seconds * float64(time.Second))
	}
	return answer.Token, lifetime, nil
}
