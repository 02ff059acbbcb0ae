package http

import (
	nethttp "net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/auth"
)

// The modes of Config.Mode.
const (
	// Binary has the attributes in ce- headers and the data as the body.
	Binary = "binary"
	// Structured has the whole event as a JSON body.
	Structured = "structured"
	// Batched has a JSON array of events as the body.
	Batched = "batched"
	// Data has the data as the body and no attributes.
	Data = "data"
)

const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 15 * time.Minute
)

// Config is the settings of an HTTP target.
type Config struct {
	URL       string                      `yaml:"url" doc:"Where events are posted to: an http or https URL."`
	Mode      string                      `yaml:"mode" enum:"binary,structured,batched,data" doc:"How an event is sent: binary (attributes in headers, data as the body), structured (one JSON body), batched (a JSON array, of as many events as the target's batch allows) or data (the data alone)."`
	Timeout   time.Duration               `yaml:"timeout" doc:"How long one attempt may take, from connecting to the end of the answer."`
	Headers   map[string]component.Secret `yaml:"headers" doc:"Headers to add to every request; their values are never shown."`
	Secret    component.Secrets           `yaml:"secret" doc:"Signs requests as Standard Webhooks has it: whsec_ and the base64 of 24 to 64 bytes, or any other text of at least 16 bytes, which is used as it is; or whsk_ and the base64 of an ed25519 key. All of a list sign, the first one first."`
	Signature Signature                   `yaml:"signature" doc:"How requests are signed, for receivers that expect something else than Standard Webhooks."`
	Auth      *auth.Config                `yaml:"auth" doc:"How requests are authenticated: one of basic, bearer, apiKey, oauth2, mtls and sigv4."`
	Handshake bool                        `yaml:"handshake" doc:"Ask the receiver for its consent, as the CloudEvents webhook specification has it, before the first delivery."`
	Origin    string                      `yaml:"origin" doc:"The name of this sender in the handshake, such as events.example.com; the machine's host name if absent."`
}

// NewConfig makes settings with the defaults filled in.
func NewConfig() *Config {
	return &Config{Mode: Binary, Timeout: defaultTimeout, Signature: Signature{Form: Standard}}
}

// Spec describes the kind.
func Spec() targets.Spec {
	return targets.Spec{
		Spec: component.Spec{
			Kind:    "http",
			Summary: "Posts each event to a URL, as a CloudEvent and a Standard Webhook.",
			Doc:     doc,
		},
		New: func() targets.Config { return NewConfig() },
	}
}

const doc = "Each event is one `POST` with a `Content-Length`. It carries `webhook-id` (the delivery's id, the same on " +
	"every attempt, so that a receiver can drop repeats), `webhook-timestamp` and, with a `secret`, `webhook-signature` " +
	"(Standard Webhooks, HMAC-SHA256, or ed25519 for a secret that begins with `whsk_`). The extensions `traceparent` and `tracestate` are also sent as the plain headers. " +
	"A delivery that was redriven has `switchyard-redriven: true`.\n\n" +
	"To change a secret, list the new one first and the old one after it, wait until every receiver knows the new one, and " +
	"take the old one out: all of them sign, in their order, separated by spaces. `signature` is for receivers that were " +
	"written for another sender. Its form `timestamped` (as Stripe signs) has one `v1` for each secret; `hex` (as GitHub " +
	"signs, with `prefix: sha256=`) holds one signature only. In these two, the text of a secret is the key as it is, also " +
	"if it begins with `whsec_`.\n\n" +
	"A 2xx answer ends the delivery. 408, 425, 429, 5xx and failures to connect or to answer in time are tried again, no " +
	"sooner than `Retry-After` says (up to 24 hours). Any other answer is final: the delivery becomes a dead letter, and " +
	"410 also pauses the subscription. Redirects are not followed and proxies are not used.\n\n" +
	auth.Doc + "\n\n" +
	"In `binary` mode, an event whose own content type is `application/cloudevents…` is sent in structured mode, because " +
	"a receiver could not tell its data from an event.\n\n" +
	"In `batched` mode, the body is a JSON array (`application/cloudevents-batch+json`) of as many events as the target's " +
	"`batch` allows. Each has the id of its delivery in the extension `deliveryid` (in place of one of its own), which is the " +
	"same on every attempt: drop repeats by it. `webhook-id` is that id if there is one event, else it belongs to just these " +
	"events together; the signature covers the whole body. A 2xx answer takes all events, unless it is JSON that names those " +
	"that were not taken: `{\"results\": [{\"id\": DELIVERYID, \"status\": 503, \"error\": \"busy\", \"retryAfter\": 30}]}`, of which " +
	"all but `id` and `status` may be absent; a status means for its event what it means for a whole answer. Any other answer " +
	"counts for all events; if it is final, they are sent again one by one, because one of them may be to blame.\n\n" +
	"With `handshake: true`, an `OPTIONS` request with `WebHook-Request-Origin`, the `headers` and what `auth` adds comes before the first " +
	"delivery (after a start or a change of the target). The receiver consents with a 2xx answer that has " +
	"`WebHook-Allowed-Origin`: the origin, or `*`. Until then deliveries fail and are tried again, and it is asked again " +
	"with the next attempt, but no sooner than after 3 seconds. After that every delivery carries `WebHook-Request-Origin`, " +
	"and `WebHook-Allowed-Rate` of the answer (deliveries a minute, or `*`) is obeyed: an attempt waits for its turn for " +
	"as long as its `timeout`, else it is tried again later.\n\n" +
	"For a target with `replyTo`, a 200 answer that is a CloudEvent in binary or structured mode, of up to 1 MiB, is " +
	"published to that bus. Any other answer is no error; one that claims to be a CloudEvent and is none, or that the bus " +
	"does not take, is dropped: the attempt has why in traces (`replyDropped`), the log a warning, and " +
	"`switchyard_replies_dropped_total` counts it."

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	if reason := checkURL(c.URL); reason != "" {
		p.Add(reason, "url")
	}
	switch c.Mode {
	case Binary, Structured, Batched, Data:
	default:
		p.Addf([]string{"mode"}, "%q is not a mode; use binary, structured, batched or data", c.Mode)
	}
	if c.Timeout <= 0 || c.Timeout > maxTimeout {
		p.Addf([]string{"timeout"}, "%v is out of range; use more than 0s and at most 15m", c.Timeout)
	}
	for _, name := range sortedNames(c.Headers) {
		if reason := checkHeader(name, c.Headers[name].Reveal()); reason != "" {
			p.Add(reason, "headers", name)
		}
	}
	switch {
	case c.Origin != "" && !hostName(c.Origin):
		p.Add("is not the name of a host; use one such as events.example.com", "origin")
	case c.Origin != "" && !c.Handshake:
		p.Warn("is not used without handshake: true", "origin")
	}
	c.validateSignature(p)
	c.validateAuth(p)
}

// validateAuth reports what is wrong with auth, also beside the other settings.
func (c *Config) validateAuth(p *component.Problems) {
	c.Auth.Validate(p, "auth")
	if c.Auth == nil {
		return
	}
	if key := c.Auth.APIKey; key != nil && reserved(strings.ToLower(key.Header)) {
		p.Add("is set by Switchyard and cannot be changed", "auth", "apiKey", "header")
	}
	sets := c.Auth.Headers()
	for _, name := range sortedNames(c.Headers) {
		if slices.Contains(sets, nethttp.CanonicalHeaderKey(name)) {
			p.Add("is set by auth already; keep one of the two", "headers", name)
		}
	}
	if u, err := url.Parse(c.URL); c.Auth.MTLS != nil && err == nil && u.Scheme == "http" {
		p.Add("a client certificate needs TLS; use https in url", "auth", "mtls")
	}
}

// LiteralHost is the address that the settings' URL names, when its host is a
// literal address and not a name.
func LiteralHost(c *Config) (netip.Addr, bool) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return a, err == nil
}

func checkURL(text string) string {
	if text == "" {
		return "is required; give the URL that events are posted to"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "is not a URL" // why not would show it, and it may hold a password
	case u.Scheme == "" || u.Opaque != "" && u.Opaque[0] >= '0' && u.Opaque[0] <= '9': // localhost:9000
		return "has no scheme; write http:// or https:// before it"
	case u.Scheme != "http" && u.Scheme != "https":
		return "scheme \"" + u.Scheme + "\" is not supported; use http or https"
	case u.Hostname() == "":
		return "has no host"
	case u.User != nil:
		return "must not hold a username or password; give them in auth.basic"
	case u.Fragment != "":
		return "must not have a fragment (#…)"
	}
	return ""
}

// checkHeader says why a header cannot be set by the user.
func checkHeader(name, value string) string {
	lower := strings.ToLower(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return "is not a valid header name"
	case reserved(lower):
		return "is set by Switchyard and cannot be changed"
	case !httpguts.ValidHeaderFieldValue(value):
		return "has a value that a header cannot hold; use printable text on one line"
	}
	return ""
}

// reserved reports whether a header, in lower case, belongs to the protocol.
func reserved(name string) bool {
	for _, prefix := range [...]string{"ce-", "webhook-", "switchyard-", "proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "content-type", "content-length", "content-encoding", "transfer-encoding", "te", "trailer", "host",
		"connection", "keep-alive", "upgrade", "http2-settings", "expect", "traceparent", "tracestate":
		return true
	}
	return false
}

func sortedNames(headers map[string]component.Secret) []string {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// CheckFiles implements component.FileChecker.
func (c *Config) CheckFiles(p *component.Problems, read func(string) ([]byte, error), now time.Time) {
	c.Auth.CheckFiles(p, read, now, "auth")
}
