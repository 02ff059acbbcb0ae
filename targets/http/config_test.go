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
	whsk := func(n int) string { return "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, c := range []struct{ name, yaml, want string }{
		{"the least", `url: https://example.com/in`, ""},
		{"all", `{url: "http://[::1]:8080/", mode: data, timeout: 1m30s, headers: {X-Team: a, Authorization: Bearer x}, secret: ` + whsec(24) + `}`, ""},
		{"no url", `{}`, "url: is required; give the URL that events are posted to"},
		{"scheme", `url: ftp://example.com`, `url: scheme "ftp" is not supported; use http or https`},
		{"no scheme", `url: example.com/in`, `url: has no scheme; write http:// or https:// before it`},
		{"no host", `url: "http:///in"`, "url: has no host"},
		{"not a URL", `url: "http://a:b:c"`, "url: is not a URL"},
		{"userinfo", `url: http://user:secret@example.com`, "url: must not hold a username or password; give them in auth.basic"},
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
		{"private key", `{url: "http://a", secret: ` + whsk(32) + `}`, ""},
		{"not base64", `{url: "http://a", secret: whsk_a!}`, "secret: does not go on in base64 after whsk_"},
		{"private key of 31", `{url: "http://a", secret: ` + whsk(31) + `}`, "secret: must hold a key of ed25519 after whsk_: its seed of 32 bytes, or 64 bytes with the public key"},
		{"two that do not belong together", `{url: "http://a", secret: ` + whsk(64) + `}`, "secret: holds a public key after whsk_ that does not belong to the private one"},
		{"public key", `{url: "http://a", secret: whpk_abc}`, "secret: is a public key, which verifies; give the private one, which begins with whsk_"},
		{"secrets", `{url: "http://a", secret: [` + whsec(24) + `, "1234567890123456", ` + whsk(32) + `]}`, ""},
		{"bad secrets", `{url: "http://a", secret: [` + whsec(24) + `, short, ""]}`,
			"secret.1: is too short; use at least 16 bytes, or whsec_ and the base64 of 24 to 64 bytes\nsecret.2: is empty; take it out"},
		{"another form", `{url: "http://a", secret: "1234567890123456", signature: {form: hex, prefix: sha256=, headers: {signature: X-Hub-Signature-256}}}`, ""},
		{"other names", `{url: "http://a", secret: "1234567890123456", signature: {headers: {id: svix-id, timestamp: svix-timestamp, signature: svix-signature}}}`, ""},
		{"the standard names", `{url: "http://a", secret: "1234567890123456", signature: {headers: {id: webhook-id, signature: Webhook-Signature}}}`, ""},
		{"an unknown form", `{url: "http://a", signature: {form: base64}}`,
			"signature.form: \"base64\" is not a form; use standard, timestamped or hex\nsignature: nothing is signed without a secret"},
		{"hex with two", `{url: "http://a", secret: ["1234567890123456", "1234567890123456"], signature: {form: hex}}`, "secret: the form hex holds one signature; give one secret"},
		{"ed25519 in hex", `{url: "http://a", secret: ` + whsk(32) + `, signature: {form: hex}}`, "secret: is a key of ed25519, which signs in form standard only"},
		{"a prefix of another form", `{url: "http://a", secret: "1234567890123456", signature: {prefix: a}}`, "signature.prefix: is of the form hex only; take it out"},
		{"a prefix of two lines", `{url: "http://a", secret: "1234567890123456", signature: {form: hex, prefix: "a\nb"}}`, "signature.prefix: cannot stand in a header; use printable text on one line"},
		{"names of the protocol", `{url: "http://a", secret: "1234567890123456", headers: {X-A: b}, signature: {headers: {id: ce-id, timestamp: x-a, signature: X-A}}}`,
			"signature.headers.id: is set by Switchyard and cannot be changed\n" +
				"signature.headers.timestamp: is the name of a header in headers already\n" +
				"signature.headers.signature: is the name of a header in signature.headers already"},
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
	c.Secret = component.NewSecrets("1234567890123456")
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
