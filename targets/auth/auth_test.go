package auth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"basic", `basic: {username: u, password: p}`, ""},
		{"bearer", `bearer: abc`, ""},
		{"a header", `apiKey: {header: X-Api-Key, value: v}`, ""},
		{"a parameter", `apiKey: {query: key, value: "a b"}`, ""},
		{"oauth2", `oauth2: {tokenURL: "https://a/t", clientID: i, clientSecret: s, scopes: [a, b], audience: x, clientAuth: post}`, ""},
		{"mtls", `mtls: {cert: a, key: b}`, ""},
		{"sigv4", `sigv4: {region: eu-west-1, service: lambda, accessKey: k, secretKey: s, sessionToken: t}`, ""},
		{"nothing", `{}`, "auth: needs a kind: one of basic, bearer, apiKey, oauth2, mtls and sigv4, with a value"},
		{"an empty token", `bearer: ""`, "auth: needs a kind: one of basic, bearer, apiKey, oauth2, mtls and sigv4, with a value"},
		{"two", `{bearer: a, basic: {username: u}}`,
			"auth.basic: requests are authenticated in one way, and there is bearer, too; keep one\n" +
				"auth.bearer: requests are authenticated in one way, and there is basic, too; keep one"},
		{"an empty basic", `basic: {}`, "auth.basic: needs a username and a password"},
		{"a colon", `basic: {username: "a:b", password: p}`, "auth.basic.username: must not hold a colon or control characters"},
		{"a token of two lines", `bearer: "a\nb"`, "auth.bearer: cannot stand in a header; use printable text on one line"},
		{"a key nowhere", `apiKey: {value: v}`, "auth.apiKey: needs the name of a header or of a query parameter: header or query"},
		{"a key in two places", `apiKey: {header: a, query: b, value: v}`, "auth.apiKey.query: the key is in a header already; keep one of header and query"},
		{"no key", `apiKey: {header: "a b"}`, "auth.apiKey.header: is not a valid header name\nauth.apiKey.value: is required; give the key"},
		{"no oauth2", `oauth2: {}`, "auth.oauth2.tokenURL: is required; give the URL where access tokens are got\nauth.oauth2.clientID: is required\nauth.oauth2.clientSecret: is required"},
		{"a bad oauth2", `oauth2: {tokenURL: "ftp://a/t", clientID: i, clientSecret: s, scopes: [a b], clientAuth: x}`,
			"auth.oauth2.tokenURL: scheme \"ftp\" is not supported; use http or https\n" +
				"auth.oauth2.scopes.0: \"a b\" cannot be a scope; give one a list entry, without spaces\nauth.oauth2.clientAuth: \"x\" is not known; use basic or post"},
		{"a token URL with a password", `oauth2: {tokenURL: "https://a:b@c/t", clientID: i, clientSecret: s}`, "auth.oauth2.tokenURL: must not hold a username or password; use clientID and clientSecret"},
		{"no certificate", `mtls: {ca: a}`, "auth.mtls.cert: is required; give the file of the certificate\nauth.mtls.key: is required; give the file of the private key"},
		{"no sigv4", `sigv4: {accessKey: "a/b"}`, "auth.sigv4.region: is required, such as eu-west-1\n" +
			"auth.sigv4.service: is required: lambda for function URLs, execute-api for API Gateway\n" +
			"auth.sigv4.accessKey: must be printable text without spaces, slashes and commas\nauth.sigv4.secretKey: is required; give the secret access key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var config Config
			if err := yaml.Unmarshal([]byte(c.yaml), &config); err != nil {
				t.Fatal(err)
			}
			var p component.Problems
			config.Validate(&p, "auth")
			var lines []string
			for _, problem := range p.All {
				lines = append(lines, strings.Join(problem.Path, ".")+": "+problem.Message)
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("the problems are\n%s\nnot\n%s", got, c.want)
			}
			out, err := yaml.Marshal(config)
			if err != nil || strings.Contains(string(out), "abc") {
				t.Errorf("it is shown as %s, %v", out, err)
			}
		})
	}
	var none *Config
	var p component.Problems
	none.Validate(&p)
	if len(p.All) != 0 || none.Headers() != nil || none.Build(Env{}) != nil {
		t.Error("nothing is not nothing")
	}
}

func TestWhatIsSent(t *testing.T) {
	for _, c := range []struct{ yaml, header, value, query, echo, scrubbed string }{
		{`basic: {username: Aladdin, password: open sesame}`, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "a=b",
			"no QWxhZGRpbjpvcGVuIHNlc2FtZQ== nor open sesame, open+sesame", "no [redacted] nor [redacted], [redacted]"},
		{`bearer: tok_123`, "Authorization", "Bearer tok_123", "a=b", "tok_123 is bad", "[redacted] is bad"},
		{`apiKey: {header: x-api-key, value: k/ey=}`, "X-Api-Key", "k/ey=", "a=b", "k/ey= k%2Fey%3D", "[redacted] [redacted]"},
		{`apiKey: {query: "the key", value: k/ey=}`, "Authorization", "", "a=b&the+key=k%2Fey%3D", "/in?the+key=k%2Fey%3D", "/in?the+key=[redacted]"},
	} {
		var config Config
		if err := yaml.Unmarshal([]byte(c.yaml), &config); err != nil {
			t.Fatal(err)
		}
		a := config.Build(Env{})
		u := &url.URL{Scheme: "https", Host: "example.com", RawQuery: "a=b"}
		req := &http.Request{URL: u, Header: http.Header{}}
		if _, err := a.Authorize(context.Background(), req, nil); err != nil {
			t.Fatal(err)
		}
		if got := req.Header.Get(c.header); got != c.value || req.URL.RawQuery != c.query || u.RawQuery != "a=b" {
			t.Errorf("%s: %q, %q", c.yaml, got, req.URL.RawQuery)
		}
		if got := a.Scrub(c.echo); got != c.scrubbed {
			t.Errorf("%s: %q is shown as %q", c.yaml, c.echo, got)
		}
		a.Close()
	}
}

func TestReadToken(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"t","token_type":"Bearer","expires_in":60}`:   "t 1m0s",
		`{"access_token":"t","token_type":"bearer","expires_in":"60"}`: "t 1m0s",
		`{"access_token":"t"}`:                                       "t 1h0m0s",
		`{"access_token":"t","expires_in":null}`:                     "t 1h0m0s",
		`{"access_token":"t","expires_in":0}`:                        "t 1s",
		`{"access_token":"t","expires_in":-5}`:                       "t 1s",
		`{"access_token":"t","expires_in":1e300}`:                    "t 720h0m0s",
		`{"access_token":"t","expires_in":0.5}`:                      "t 1s",
		`{"access_token":"t","expires_in":[]}`:                       "t 1h0m0s",
		`{"access_token":"t","token_type":"mac"}`:                    `its token_type is "mac"; only Bearer is supported`,
		`{"access_token":""}`:                                        "its answer has no access_token",
		`{"access_token":5}`:                                         "its answer is not the JSON of a token",
		`{"access_token":"a\r\nX: y"}`:                               "its access_token cannot be sent in a header",
		`{"access_token":"` + strings.Repeat("x", maxToken+1) + `"}`: "its access_token cannot be sent in a header",
		`<html>`: "its answer is not the JSON of a token",
		``:       "its answer is not the JSON of a token",
		`[]`:     "its answer is not the JSON of a token",
		`null`:   "its answer has no access_token",
	} {
		token, lifetime, err := readToken([]byte(body))
		got := token + " " + lifetime.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.80s: %s, not %s", body, got, want)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":60}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, lifetime, err := readToken(body)
		if err == nil && (token == "" || !headerText(token) || lifetime <= 0 || lifetime > maxLifetime) {
			t.Errorf("%q, %v", token, lifetime)
		}
	})
}
