// Package webhook is the source that other services call: it takes signed HTTP
// posts at /v1/hooks/{source} and makes one event of each.
//
// A request passes through scheme (who signed it), preset (what its attributes
// are), the settings' own expressions, and the Sink; it is answered after the
// event is on stable storage. Presets for well-known senders stand in one file
// each.
//
// A Hook never changes after Build and serves any number of requests at once.
package webhook

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/sources"
)

// Config is the settings of a webhook source.
type Config struct {
	Preset         string           `yaml:"preset" doc:"Who calls: github, stripe, slack, shopify, standard-webhooks, or hmac for any other sender that signs its requests with a shared secret."`
	Secret         component.Secret `yaml:"secret" doc:"The secret that the sender signs its requests with."`
	PreviousSecret component.Secret `yaml:"previousSecret" doc:"A secret that is still accepted while it is being rotated out."`
	MaxEventSize   component.Size   `yaml:"maxEventSize" doc:"The largest request body that is accepted; the default is the preset's: 25MiB for github, 5MiB for shopify, 1MiB for the others."`

	Event Event `yaml:"event" doc:"CEL expressions over request.headers, request.body and request.query that replace the preset's choice of the event's attributes."`

	Tolerance component.Duration `yaml:"tolerance" doc:"How far a signed timestamp may be from now, before and after, where the scheme has one."`

	Header          string `yaml:"header" doc:"Of preset hmac: the header that holds the signature."`
	Algorithm       string `yaml:"algorithm" doc:"Of preset hmac: the hash, which is sha256, sha512 or sha1."`
	Encoding        string `yaml:"encoding" doc:"Of preset hmac: how the signature is written, which is hex or base64."`
	Prefix          string `yaml:"prefix" doc:"Of preset hmac: what stands before the signature in its header, such as sha256=."`
	TimestampHeader string `yaml:"timestampHeader" doc:"Of preset hmac: the header with the time of signing in Unix seconds or milliseconds, for signed: timestamp.body."`
	Signed          string `yaml:"signed" doc:"Of preset hmac: what is signed, which is body, or timestamp.body for the timestamp, a dot and the body."`
	IDHeader        string `yaml:"idHeader" doc:"Of preset hmac: the header with the delivery's id, which a repeat of the delivery has again; the event's id is taken from it."`
}

// Event has the expressions for an event's attributes; an empty one leaves the
// choice to the preset.
type Event struct {
	Type    string `yaml:"type" doc:"The event's type."`
	Source  string `yaml:"source" doc:"The event's source, a URI reference."`
	Subject string `yaml:"subject" doc:"The event's subject; an empty result leaves it out."`
	ID      string `yaml:"id" doc:"The event's id; after an empty result it is the SHA-256 of the body."`
	Time    string `yaml:"time" doc:"The event's time in RFC 3339; an empty result leaves it out."`
}

// fields are the expressions by the names of their attributes, in a fixed order.
func (e *Event) fields() []namedExpression {
	return []namedExpression{{"type", e.Type}, {"source", e.Source}, {"subject", e.Subject}, {"id", e.ID}, {"time", e.Time}}
}

type namedExpression struct{ attribute, text string }

const defaultTolerance = component.Duration(5 * time.Minute)

func defaults() *Config {
	return &Config{
		Tolerance: defaultTolerance,
		Header:    "X-Signature",
		Algorithm: "sha256",
		Encoding:  "hex",
		Signed:    "body",
	}
}

// Spec describes the kind.
func Spec() sources.Spec {
	return sources.Spec{
		Spec: component.Spec{
			Kind:    "webhook",
			Summary: "Takes signed webhooks of GitHub, Stripe, Slack, Shopify and others.",
			Doc:     doc,
		},
		New:    func() sources.Config { return defaults() },
		Dedupe: 72 * time.Hour,
	}
}

const doc = `Give the sender the address ` + "`https://HOST/v1/hooks/SOURCE`" + ` and the same secret as here.
Every request is checked against its signature, in constant time and over the
raw body, before anything in it is believed; a request without a good signature
is answered with 401, and one with a timestamp outside of the tolerance too.

The answer is 202 after the event is on stable storage, with its id, source and
sequence (Slack's slash commands and interactions are answered with 200 and no
body, as Slack demands). 503 asks the sender to try again later.

| preset | signature | id | type | source | subject | time |
| --- | --- | --- | --- | --- | --- | --- |
| github | X-Hub-Signature-256 | X-GitHub-Delivery | com.github.EVENT | the repository's URL, else the organization's | the repository's full name | |
| stripe | Stripe-Signature | id | com.stripe.TYPE | https://api.stripe.com, with the account's path for Connect | data.object.id | created |
| slack | X-Slack-Signature | event_id, else trigger_id | com.slack.TYPE | the workspace's URL | the channel, or the slash command | event_time |
| shopify | X-Shopify-Hmac-Sha256 | X-Shopify-Event-Id and the topic | com.shopify.TOPIC, with dots | the shop's URL | admin_graphql_api_id, else id | X-Shopify-Triggered-At |
| standard-webhooks | webhook-signature | webhook-id | type of the body, else webhook.received | /v1/hooks/SOURCE | | timestamp of the body |
| hmac | as configured | idHeader | webhook.received | /v1/hooks/SOURCE | | |

The event's data is the body as it came. GitHub's form encoding is opened: the
data is the JSON of its payload. Slack's forms become a JSON object.

A request without an id gets the SHA-256 of its body as one, so that the
sender's repeats are still recognized; equal bodies then count as one event
within the source's dedupe window, which is 72h by default.

GitHub and Shopify sign the body only, not the headers: use HTTPS, so that
nobody can see a signed body and send it again under another delivery id.
`

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	known := presets()
	if _, ok := known[c.Preset]; !ok {
		names := strings.Join(slices.Sorted(maps.Keys(known)), ", ")
		if c.Preset == "" {
			p.Add("a preset is required; use one of "+names, "preset")
		} else {
			p.Add(fmt.Sprintf("%q is not a preset; use one of %s", c.Preset, names), "preset")
		}
	}
	if c.Secret.IsZero() {
		p.Add("a secret is required: the one that the sender signs with", "secret")
	}
	if c.Preset == "standard-webhooks" {
		validateStandardSecret(p, c.Secret, "secret")
		validateStandardSecret(p, c.PreviousSecret, "previousSecret")
	}
	if c.MaxEventSize < 0 {
		p.Add("a size cannot be negative", "maxEventSize")
	}
	if c.Tolerance <= 0 {
		p.Add("the tolerance must be more than 0, such as 5m", "tolerance")
	}
	c.validateHMAC(p)
	c.Event.validate(p)
}

// validateHMAC checks the settings of preset hmac, which no other takes.
func (c *Config) validateHMAC(p *component.Problems) {
	std := defaults()
	for _, f := range [...]struct{ key, value, std string }{
		{"header", c.Header, std.Header}, {"algorithm", c.Algorithm, std.Algorithm}, {"encoding", c.Encoding, std.Encoding},
		{"prefix", c.Prefix, ""}, {"timestampHeader", c.TimestampHeader, ""}, {"signed", c.Signed, std.Signed}, {"idHeader", c.IDHeader, ""},
	} {
		if c.Preset != "hmac" && f.value != f.std && f.value != "" {
			p.Add("only preset hmac takes it; remove it or use preset: hmac", f.key)
		}
	}
	if c.Preset != "hmac" {
		return
	}
	if c.Header == "" {
		p.Add("the name of the header with the signature is required", "header")
	}
	if hashOf(c.Algorithm) == nil {
		p.Add(fmt.Sprintf("%q is not supported; use sha256, sha512 or sha1", c.Algorithm), "algorithm")
	}
	if decoderOf(c.Encoding) == nil {
		p.Add(fmt.Sprintf("%q is not supported; use hex or base64", c.Encoding), "encoding")
	}
	switch c.Signed {
	case "body":
		if c.TimestampHeader != "" {
			p.Add("a timestamp that is not signed proves nothing; use signed: timestamp.body, or remove it", "timestampHeader")
		}
	case "timestamp.body":
		if c.TimestampHeader == "" {
			p.Add("signed: timestamp.body needs the name of the header with the timestamp", "timestampHeader")
		}
	default:
		p.Add(fmt.Sprintf("%q is not supported; use body or timestamp.body", c.Signed), "signed")
	}
}

// Limit is the largest request body that is accepted: maxEventSize or the
// preset's default.
func (c *Config) Limit() component.Size {
	if c.MaxEventSize > 0 {
		return c.MaxEventSize
	}
	if p, ok := presets()[c.Preset]; ok {
		return p.limit
	}
	return defaultLimit
}

// Build implements sources.Config. The source is a *Hook.
func (c *Config) Build(env sources.Env) (sources.Source, error) {
	p, ok := presets()[c.Preset]
	if !ok {
		return nil, fmt.Errorf("webhook: %q is not a preset", c.Preset)
	}
	if c.Secret.IsZero() {
		return nil, errors.New("webhook: a secret is required")
	}
	s, err := p.scheme(c)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	chosen, err := compileExpressions(c.Event)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Hook{env: env, preset: p, scheme: s, limit: int64(c.Limit()), idHeader: c.IDHeader, chosen: chosen, now: time.Now}, nil
}
