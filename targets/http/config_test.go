package http

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

func TestValidate(t *testing.T) {
	whsec := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, c := range []struct{ name, yaml, want string }{
		{"the least", `url: https://example.com/in`, ""},
		{"all", `{url: "http://[::1]:8080/", mode: data, timeout: 1m30s, headers: {X-Team: a, Authorization: Bearer x}, secret: ` + whsec(24) + `}`, ""},
		{"no url", `{}`, "url: is required; give the URL that events are posted to"},
		{"scheme", `url: ftp://example.com`, `url: scheme "ftp" is not supported; use http or https`},
		{"no scheme", `url: example.com/in`, `url: scheme "" is not supported; use http or https`},
		{"no host", `url: "http:///in"`, "url: has no host"},
		{"not a URL", `url: "http://a:b:c"`, "url: is not a URL"},
		{"userinfo", `url: http://user:secret@example.com`, "url: must not hold a username or password; send them in headers"},
		{"fragment", `url: http://example.com/#a`, "url: must not have a fragment (#…)"},
		{"batched", `{url: "http://a", mode: batched}`, ""},
		{"mode", `{url: "http://a", mode: Binary}`, `mode: "Binary" is not a mode; use binary, structured, batched or data`},
		{"no time", `{url: "http://a", timeout: 0s}`, "timeout: 0s is out of range; use more than 0s and at most 15m"},
		{"too much time", `{url: "http://a", timeout: 1h}`, "timeout: 1h0m0s is out of range; use more than 0s and at most 15m"},
		{"protocol headers", `{url: "http://a", headers: {Webhook-Id: x, ce-id: x, CONTENT-TYPE: x, host: x}}`,
			"headers.CONTENT-TYPE: is set by Switchyard and cannot be changed\n" +
				"headers.Webhook-Id: is set by Switchyard and cannot be changed\n" +
				"headers.ce-id: is set by Switchyard and cannot be changed\n" +
				"headers.host: is set by Switchyard and cannot be changed"},
		{"bad header name", `{url: "http://a", headers: {"a b": x}}`, "headers.a b: is not a valid header name"},
		{"bad header value", `{url: "http://a", headers: {a: "x\r\ny"}}`, "headers.a: has a value that a header cannot hold; use printable text on one line"},
		{"short secret", `{url: "http://a", secret: "123456789012345"}`, "secret: is too short; use at least 16 bytes, or whsec_ and the base64 of 24 to 64 bytes"},
		{"raw secret", `{url: "http://a", secret: "1234567890123456"}`, ""},
		{"whsec_ of 23", `{url: "http://a", secret: ` + whsec(23) + `}`, "secret: must hold 24 to 64 bytes after whsec_"},
		{"whsec_ of 65", `{url: "http://a", secret: ` + whsec(65) + `}`, "secret: must hold 24 to 64 bytes after whsec_"},
		{"whsec_ of 64", `{url: "http://a", secret: ` + whsec(64) + `}`, ""},
		{"whsec_ without base64", `{url: "http://a", secret: "whsec_!!!!"}`, "secret: does not go on in base64 after whsec_"},
		{"a handshake", `{url: "http://a", handshake: true, origin: events.example.com}`, ""},
		{"a handshake as the machine", `{url: "http://a", handshake: true}`, ""},
		{"no origin", `{url: "http://a", handshake: true, origin: "http://a"}`, "origin: is not the name of a host; use one such as events.example.com"},
		{"private key", `{url: "http://a", secret: whsk_abc}`, "secret: asymmetric keys are not available in this version; use a whsec_ secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Spec().New().(*Config)
			if err := yaml.Unmarshal([]byte(c.yaml), config); err != nil {
				t.Fatal(err)
			}
			var p component.Problems
			config.Validate(&p)
			var lines []string
			for _, problem := range p.All {
				lines = append(lines, strings.Join(problem.Path, ".")+": "+problem.Message)
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("the problems are\n%s\nnot\n%s", got, c.want)
			}
			if _, err := config.Build(targets.Env{}); (err == nil) != (c.want == "") {
				t.Errorf("Build: %v", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := Spec().New().(*Config)
	if c.Mode != Binary || c.Timeout != 10*time.Second {
		t.Errorf("the defaults are %+v", c)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	c := NewConfig()
	c.Secret = component.NewSecret("1234567890123456")
	c.Headers = map[string]component.Secret{"Authorization": component.NewSecret("1234567890123456")}
	out, err := yaml.Marshal(c)
	if err != nil || strings.Contains(string(out), "123") {
		t.Errorf("%s (%v)", out, err)
	}
}

func TestLiteralHost(t *testing.T) {
	for url, want := range map[string]string{
		"http://10.0.0.1:80/": "10.0.0.1", "https://[::1]/": "::1", "http://[fe80::1%25eth0]/": "fe80::1%eth0",
		"http://example.com/": "", "http://localhost/": "", ":": "",
	} {
		a, ok := LiteralHost(&Config{URL: url})
		if got := map[bool]string{true: a.String()}[ok]; got != want {
			t.Errorf("%s: %q, not %q", url, got, want)
		}
	}
}
