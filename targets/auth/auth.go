// Package auth proves to a destination who sends a request. Targets that speak
// HTTP have its Config among their settings and pass every request through an
// Auth just before it is sent, when all of its headers are set.
//
// An Auth is safe for concurrent use. What it learns (an access token, the
// certificates of files that have changed) is shared by all deliveries of its
// target and ends with it; one goroutine at most, which asks for a token, runs
// in its name, and Close waits for it.
package auth

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// Config is how requests are authenticated; one of its fields is set.
type Config struct {
	Basic  *Basic           `yaml:"basic" doc:"A username and a password."`
	Bearer component.Secret `yaml:"bearer" doc:"A token that is sent as Authorization: Bearer."`
	APIKey *APIKey          `yaml:"apiKey" doc:"A key in a header or in the query of the URL."`
	OAuth2 *OAuth2          `yaml:"oauth2" doc:"An access token of OAuth 2.0, got with client credentials and sent as Authorization: Bearer."`
	MTLS   *MTLS            `yaml:"mtls" doc:"A client certificate (mutual TLS); the files are read again when they change."`
	SigV4  *SigV4           `yaml:"sigv4" doc:"AWS Signature Version 4, as Lambda function URLs and API Gateway want it."`
}

// Basic is a username and a password.
type Basic struct {
	Username string           `yaml:"username" doc:"The username; it holds no colon."`
	Password component.Secret `yaml:"password" doc:"The password."`
}

// APIKey is a key in a header or in the query.
type APIKey struct {
	Header string           `yaml:"header" doc:"The header that holds the key, such as X-Api-Key."`
	Query  string           `yaml:"query" doc:"The parameter of the URL's query that holds the key, in place of a header."`
	Value  component.Secret `yaml:"value" doc:"The key."`
}

// Doc describes the settings, for the pages of targets that have them.
const Doc = "`auth` has one kind. With `oauth2`, an access token is got from `tokenURL` (RFC 6749, client credentials) when it is " +
	"first needed, shared by all deliveries of the target, and renewed shortly before it expires. A receiver that answers 401 " +
	"is asked once more with a new token, within the same attempt (unless it has just refused a new one). While there is no token, attempts fail and are tried " +
	"again, whatever the reason, a wrong secret included: it should not cost events. The token server is then left alone for " +
	"2 seconds, or 15 after a refusal (longer if it says so in `Retry-After`). It is reached by the same network rules as " +
	"the target; redirects are not followed.\n\n" +
	"`mtls` names files, so it works in configuration files only. `switchyard validate` reads them: files that cannot be read or " +
	"do not belong together, and certificates that have expired or are not valid yet, are errors, and one that expires within " +
	"30 days is a warning. A server does the same when it loads a configuration, but only warns of a certificate whose time is over " +
	"or has not come. The files are read again when they have changed, for new " +
	"connections; what cannot be used leaves the certificate before in use, with a warning in the log. With `sigv4`, the " +
	"body and all headers are signed but those that change on the way (`User-Agent`, `traceparent`, …). What authenticates a " +
	"request is taken out of answers that repeat it, before they are kept in the record of an attempt."

// given lists the kinds that are set, by their keys.
func (c *Config) given() []string {
	var out []string
	for _, k := range [...]struct {
		key string
		set bool
	}{
		{"basic", c.Basic != nil}, {"bearer", !c.Bearer.IsZero()}, {"apiKey", c.APIKey != nil},
		{"oauth2", c.OAuth2 != nil}, {"mtls", c.MTLS != nil}, {"sigv4", c.SigV4 != nil},
	} {
		if k.set {
			out = append(out, k.key)
		}
	}
	return out
}

// Validate reports what is wrong with the settings, which stand at path. A nil
// Config is fine: nothing is authenticated.
func (c *Config) Validate(p *component.Problems, path ...string) {
	if c == nil {
		return
	}
	at := func(keys ...string) []string { return append(path[:len(path):len(path)], keys...) }
	given := c.given()
	switch len(given) {
	case 0:
		p.Add("needs a kind: one of basic, bearer, apiKey, oauth2, mtls and sigv4, with a value", path...)
	case 1:
	default:
		for i, kind := range given {
			others := slices.Delete(slices.Clone(given), i, i+1)
			p.Addf(at(kind), "requests are authenticated in one way, and there is %s, too; keep one", strings.Join(others, " and "))
		}
	}
	if c.Basic != nil {
		c.Basic.validate(p, at("basic"))
	}
	if !c.Bearer.IsZero() && !headerText(c.Bearer.Reveal()) {
		p.Add("cannot stand in a header; use printable text on one line", at("bearer")...)
	}
	if c.APIKey != nil {
		c.APIKey.validate(p, at("apiKey"))
	}
	if c.OAuth2 != nil {
		c.OAuth2.validate(p, at("oauth2"))
	}
	if c.MTLS != nil {
		c.MTLS.validate(p, at("mtls"))
	}
	if c.SigV4 != nil {
		c.SigV4.validate(p, at("sigv4"))
	}
}

// CheckFiles reports what is wrong with the files that the settings name, which
// stand at path; see component.FileChecker. A nil Config names none.
func (c *Config) CheckFiles(p *component.Problems, read func(string) ([]byte, error), now time.Time, path ...string) {
	if c != nil && c.MTLS != nil {
		c.MTLS.check(p, read, now, append(path[:len(path):len(path)], "mtls"))
	}
}

func (b *Basic) validate(p *component.Problems, path []string) {
	if b.Username == "" && b.Password.IsZero() {
		p.Add("needs a username and a password", path...)
	}
	if strings.ContainsFunc(b.Username, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7F }) {
		p.Add("must not hold a colon or control characters", append(path, "username")...)
	}
}

func (k *APIKey) validate(p *component.Problems, path []string) {
	switch {
	case k.Header == "" && k.Query == "":
		p.Add("needs the name of a header or of a query parameter: header or query", path...)
	case k.Header != "" && k.Query != "":
		p.Add("the key is in a header already; keep one of header and query", append(path, "query")...)
	case k.Header != "" && !httpguts.ValidHeaderFieldName(k.Header):
		p.Add("is not a valid header name", append(path, "header")...)
	}
	switch {
	case k.Value.IsZero():
		p.Add("is required; give the key", append(path, "value")...)
	case k.Header != "" && !headerText(k.Value.Reveal()):
		p.Add("cannot stand in a header; use printable text on one line", append(path, "value")...)
	}
}

func headerText(s string) bool {
	return httpguts.ValidHeaderFieldValue(s) && strings.TrimSpace(s) == s
}

// Headers are the names of the headers that the settings set, in their
// canonical form.
func (c *Config) Headers() []string {
	switch {
	case c == nil:
		return nil
	case c.APIKey != nil && c.APIKey.Header != "":
		return []string{http.CanonicalHeaderKey(c.APIKey.Header)}
	case c.Basic != nil, !c.Bearer.IsZero(), c.OAuth2 != nil:
		return []string{authorization}
	case c.SigV4 != nil:
		return []string{authorization, amzDate, amzToken}
	}
	return nil
}

const authorization = "Authorization"

// minHidden is the length from which a text counts as a secret in other texts.
const minHidden = 4

// Env is what an Auth works with.
type Env struct {
	// Dial opens connections, by the network rules in force.
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
	Timeout   time.Duration // of one request for a token
	UserAgent string
	Logger    *slog.Logger
}

// Auth authenticates the requests of one target. A nil Auth does nothing.
type Auth struct {
	header, value string // set on every request, if there is one
	query         string // added to every URL, if there is one
	signer        *sigv4
	identity      *identity
	tokens        *tokens
	secrets       []string // what Scrub takes out
}

// Build makes an Auth of settings that were found valid. It opens nothing.
func (c *Config) Build(env Env) *Auth {
	if c == nil {
		return nil
	}
	a := &Auth{}
	switch {
	case c.Basic != nil:
		encoded := base64.StdEncoding.EncodeToString([]byte(c.Basic.Username + ":" + c.Basic.Password.Reveal()))
		a.header, a.value = authorization, "Basic "+encoded
		a.hide(encoded, c.Basic.Password.Reveal())
	case !c.Bearer.IsZero():
		a.header, a.value = authorization, "Bearer "+c.Bearer.Reveal()
		a.hide(c.Bearer.Reveal())
	case c.APIKey != nil && c.APIKey.Header != "":
		a.header, a.value = http.CanonicalHeaderKey(c.APIKey.Header), c.APIKey.Value.Reveal()
		a.hide(a.value)
	case c.APIKey != nil:
		a.query = url.QueryEscape(c.APIKey.Query) + "=" + url.QueryEscape(c.APIKey.Value.Reveal())
		a.hide(c.APIKey.Value.Reveal())
	case c.OAuth2 != nil:
		a.tokens = newTokens(c.OAuth2, env)
	case c.MTLS != nil:
		a.identity = &identity{files: *c.MTLS, log: env.Logger}
	case c.SigV4 != nil:
		a.signer = newSigV4(c.SigV4)
		a.hide(c.SigV4.SecretKey.Reveal(), c.SigV4.SessionToken.Reveal())
	}
	return a
}

// hide notes texts, and how they look in a URL, for Scrub. Very short ones are
// no secrets, and would make a mess of other texts.
func (a *Auth) hide(texts ...string) {
	for _, text := range texts {
		if len(text) < minHidden {
			continue
		}
		a.secrets = append(a.secrets, text)
		for _, escaped := range [...]string{url.QueryEscape(text), url.PathEscape(text)} {
			if escaped != text {
				a.secrets = append(a.secrets, escaped)
			}
		}
	}
}

// Authorize adds to a request what proves who sends it; body is the request's.
// It may have to ask for an access token first, and returns the one it used,
// "" if there is none.
func (a *Auth) Authorize(ctx context.Context, req *http.Request, body []byte) (token string, err error) {
	switch {
	case a == nil:
	case a.header != "":
		req.Header[a.header] = []string{a.value}
	case a.query != "":
		u := *req.URL
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += a.query
		req.URL = &u
	case a.signer != nil:
		a.signer.sign(req, body, time.Now())
	case a.tokens != nil:
		if token, err = a.tokens.get(ctx); err != nil {
			return "", err
		}
		req.Header[authorization] = []string{"Bearer " + token}
	}
	return token, nil
}

// Refused is told that a request with a token was answered with 401. It reports
// whether it is worth repeating, with a new token; again says that this was the
// repetition.
func (a *Auth) Refused(token string, again bool) bool {
	return token != "" && a.tokens.refused(token, again)
}

// Header is the canonical name of the header that proves who sends a request,
// "" if there is none.
func (a *Auth) Header() string {
	switch {
	case a == nil:
		return ""
	case a.header != "":
		return a.header
	case a.signer != nil, a.tokens != nil:
		return authorization
	}
	return ""
}

// Mutual reports whether connections have to be made by Secure.
func (a *Auth) Mutual() bool { return a != nil && a.identity != nil }

// Secure makes a connection to address one with TLS and a client certificate.
// It closes c if that fails.
func (a *Auth) Secure(ctx context.Context, c net.Conn, address string) (net.Conn, error) {
	return a.identity.secure(ctx, c, address)
}

// Scrub takes what must not be shown out of a text of the destination, which
// may repeat what it was sent.
func (a *Auth) Scrub(text string) string {
	if a == nil || text == "" {
		return text
	}
	text = without(text, a.secrets)
	if a.tokens != nil {
		text = a.tokens.scrub(text)
	}
	return text
}

// Close ends what runs in the name of the Auth. It is idempotent.
func (a *Auth) Close() {
	if a != nil && a.tokens != nil {
		a.tokens.close()
	}
}
