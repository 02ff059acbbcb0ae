// Package function is the target that calls a serverless function: AWS Lambda,
// Knative or OpenFaaS. It knows how each platform is called and what its
// answers mean; the requests themselves are made by package targets/http, whose
// rules of concurrency are this package's.
package function

import (
	"fmt"
	nethttp "net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/auth"
	"github.com/switchyard-dev/switchyard/targets/http"
)

const (
	defaultTimeout = 60 * time.Second // leaves room for a cold start
	maxTimeout     = 15 * time.Minute // which is Lambda's, too
)

// Config is the settings of a function target. It has one of Lambda, Knative
// and OpenFaaS.
type Config struct {
	Lambda   *Lambda   `yaml:"lambda" doc:"A function of AWS Lambda, by its URL or by the Invoke API."`
	Knative  *Knative  `yaml:"knative" doc:"A Knative service."`
	OpenFaaS *OpenFaaS `yaml:"openfaas" doc:"A function of OpenFaaS."`

	Mode    string                      `yaml:"mode" enum:"binary,structured" doc:"How an event is sent: binary (attributes in headers, data as the body) or structured (one JSON body); absent, structured for lambda and binary for the others."`
	Timeout time.Duration               `yaml:"timeout" doc:"How long one attempt may take, a cold start included."`
	Headers map[string]component.Secret `yaml:"headers" doc:"Headers to add to every request; their values are never shown."`
	Secret  component.Secrets           `yaml:"secret" doc:"Signs requests as Standard Webhooks has it, as for http targets."`
	Auth    *auth.Config                `yaml:"auth" doc:"How requests are authenticated: one of basic, bearer, apiKey, oauth2, mtls and sigv4. Of sigv4, service is lambda if absent, and region that of the function."`
}

// NewConfig makes settings with the defaults filled in.
func NewConfig() *Config { return &Config{Timeout: defaultTimeout} }

// Spec describes the kind.
func Spec() targets.Spec {
	return targets.Spec{
		Spec: component.Spec{
			Kind:    "function",
			Summary: "Calls a serverless function with each event: AWS Lambda, Knative or OpenFaaS.",
			Doc:     doc,
		},
		New: func() targets.Config { return NewConfig() },
	}
}

const doc = "A function gets what an `http` target sends, `webhook-id` and `webhook-timestamp` included, and its answers mean the " +
	"same: 2xx ends the delivery; 408, 425, 429, 5xx and failures to connect or to answer in time are tried again, no sooner " +
	"than `Retry-After` says; anything else is final. Besides, 404 and 409 of `knative` are tried again, as Knative's " +
	"delivery contract has it, and 409 of `lambda.invoke`, which is a function that is being changed. A 200 answer that is a " +
	"CloudEvent is published to the target's `replyTo`; `knative` is told by `Prefer: reply` that it would be.\n\n" +
	"The default `timeout` of 60s leaves room for a cold start. An attempt that a longer one outlasts fails and is tried " +
	"again; the function has usually started by then.\n\n" +
	"`lambda.url` is a function URL: the function sees the structured event as the `body` of its payload. " +
	"`lambda.invoke` calls the Invoke API: the payload is the event itself, in the CloudEvents JSON format, " +
	"and an answer that is an event in that format is a reply; its address is no `url`. From either, an answer with " +
	"`X-Amz-Function-Error` is a failed attempt, with the error's payload in its record. Both need `auth: {sigv4: {accessKey: …, secretKey: …}}`, unless a function URL is public.\n\n" +
	"`openfaas` calls `/function/NAME` of the gateway, or with `async: true` `/async-function/NAME`, which answers 202 before " +
	"the function has run: the delivery is done then, and the function's own failures are no longer seen here. Its result " +
	"goes to `callback`, if that is given. Without `function`, `url` is the whole address of the function."

// call is how a platform's function is called.
type call struct {
	url     string
	mode    string // the default one
	fixed   bool   // there is no other mode
	headers map[string]string
	variant http.Variant
}

// call is how the function of the settings is called. They may be incomplete.
func (c *Config) call() call {
	switch {
	case c.Lambda != nil:
		return c.Lambda.call(c.region())
	case c.Knative != nil:
		return call{url: c.Knative.URL, mode: http.Binary, variant: http.Variant{
			// Knative Eventing Data Plane Contract, "Event Acknowledgement and
			// Delivery Retry" and "Derived (Reply) Events".
			Retried: []int{nethttp.StatusNotFound, nethttp.StatusConflict}, AskForReply: true,
		}}
	case c.OpenFaaS != nil:
		return c.OpenFaaS.call()
	}
	return call{mode: http.Binary}
}

// region is the region of a function of Lambda, "" if it is not known.
func (c *Config) region() string {
	switch {
	case c.Lambda == nil:
	case c.Lambda.Invoke != nil && c.Lambda.Invoke.Region != "":
		return c.Lambda.Invoke.Region
	case c.Lambda.Invoke != nil && c.Lambda.Invoke.namedRegion() != "":
		return c.Lambda.Invoke.namedRegion()
	case c.Lambda.URL != "":
		if u, err := url.Parse(c.Lambda.URL); err == nil {
			// ID.lambda-url.REGION.on.aws
			if parts := strings.Split(u.Hostname(), "."); len(parts) == 5 && parts[1] == "lambda-url" {
				return parts[2]
			}
		}
	}
	if c.Auth != nil && c.Auth.SigV4 != nil {
		return c.Auth.SigV4.Region
	}
	return ""
}

// auth is the settings of that name, with what the function says already.
func (c *Config) auth() *auth.Config {
	if c.Auth == nil || c.Auth.SigV4 == nil || c.Lambda == nil {
		return c.Auth
	}
	filled, sigv4 := *c.Auth, *c.Auth.SigV4
	if sigv4.Region == "" {
		sigv4.Region = c.region()
	}
	if sigv4.Service == "" {
		sigv4.Service = "lambda"
	}
	filled.SigV4 = &sigv4
	return &filled
}

// http is the settings of the target that makes the requests.
func (c *Config) http(k call) *http.Config {
	h := http.NewConfig()
	h.URL, h.Mode, h.Timeout, h.Headers, h.Secret, h.Auth = k.url, k.mode, c.Timeout, c.Headers, c.Secret, c.auth()
	if c.Mode != "" && !k.fixed {
		h.Mode = c.Mode
	}
	return h
}

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	platforms := map[string]bool{"lambda": c.Lambda != nil, "knative": c.Knative != nil, "openfaas": c.OpenFaaS != nil}
	var given []string
	for _, name := range [...]string{"lambda", "knative", "openfaas"} {
		if platforms[name] {
			given = append(given, name)
		}
	}
	switch len(given) {
	case 0:
		p.Add("needs a platform: one of lambda, knative and openfaas")
		return
	case 1:
	default:
		for i, name := range given {
			others := strings.Join(append(append([]string{}, given[:i]...), given[i+1:]...), " and ")
			p.Addf([]string{name}, "a function has one platform, and there is %s, too; keep one", others)
		}
		return
	}
	k := c.call()
	switch {
	case c.Lambda != nil:
		c.Lambda.validate(p, c)
	case c.OpenFaaS != nil:
		c.OpenFaaS.validate(p)
	}
	if c.Mode != "" && k.fixed {
		p.Add("is structured for invocations by the API; take it out", "mode")
	} else if c.Mode != "" && c.Mode != http.Binary && c.Mode != http.Structured {
		p.Addf([]string{"mode"}, "%q is not a mode; use binary or structured", c.Mode)
	}
	for name := range k.headers {
		for own := range c.Headers {
			if strings.EqualFold(own, name) {
				p.Add("is set by Switchyard and cannot be changed", "headers", own)
			}
		}
	}
	c.validateHTTP(p, k)
}

// validateHTTP reports what is wrong with what the requests are made by.
func (c *Config) validateHTTP(p *component.Problems, k call) {
	h := c.http(k)
	h.Mode = http.Binary // was checked
	var found component.Problems
	h.Validate(&found)
	for _, x := range found.All {
		switch {
		case c.missingRegion() && slices.Equal(x.Path, []string{"auth", "sigv4", "region"}):
			continue // is reported in its place
		case x.Path[0] == "url":
			x.Path = c.urlPath()
			if x.Path == nil {
				continue // what is missing is reported in its place
			}
			x.Message = strings.Replace(x.Message, "the URL that events are posted to", "the URL of the function", 1)
		}
		p.All = append(p.All, x)
	}
}

// urlPath is where the address stands that requests go to, nil if it is made
// of parts that are missing.
func (c *Config) urlPath() []string {
	switch {
	case c.Knative != nil:
		return []string{"knative", "url"}
	case c.OpenFaaS != nil:
		return []string{"openfaas", "url"}
	case c.Lambda.Invoke == nil && c.Lambda.URL == "":
		return nil
	case c.Lambda.Invoke == nil:
		return []string{"lambda", "url"}
	case c.Lambda.Invoke.Endpoint != "":
		return []string{"lambda", "invoke", "endpoint"}
	}
	return nil
}

// missingRegion reports whether the address of the API cannot be told.
func (c *Config) missingRegion() bool {
	return c.Lambda != nil && c.Lambda.Invoke != nil && c.Lambda.Invoke.Endpoint == "" && c.region() == ""
}

// Build implements targets.Config.
func (c *Config) Build(env targets.Env) (targets.Target, error) {
	var problems component.Problems
	c.Validate(&problems)
	for _, p := range problems.All {
		if !p.Warning {
			return nil, fmt.Errorf("%s: %s", strings.Join(p.Path, "."), p.Message)
		}
	}
	k := c.call()
	h := c.http(k)
	if len(k.headers) > 0 {
		h.Headers = map[string]component.Secret{}
		for name, value := range c.Headers {
			h.Headers[name] = value
		}
		for name, value := range k.headers {
			h.Headers[name] = component.NewSecret(value)
		}
	}
	return h.BuildVariant(env, k.variant)
}

// CheckFiles implements component.FileChecker.
func (c *Config) CheckFiles(p *component.Problems, read func(string) ([]byte, error), now time.Time) {
	c.Auth.CheckFiles(p, read, now, "auth")
}
