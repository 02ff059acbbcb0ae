package function

import (
	nethttp "net/http"
	"net/url"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets/http"
)

// Knative is a Knative service.
type Knative struct {
	URL string `yaml:"url" doc:"The address of the service, such as http://thumbnail.default.svc.cluster.local."`
}

// Lambda is a function of AWS Lambda, by one of its two ways in.
type Lambda struct {
	URL    string  `yaml:"url" doc:"The function's URL, such as https://ID.lambda-url.eu-west-1.on.aws/."`
	Invoke *Invoke `yaml:"invoke" doc:"How the function is invoked by the API, in place of a URL."`
}

// Invoke is a function of Lambda that is called by the API.
type Invoke struct {
	Function  string `yaml:"function" doc:"The function's name or ARN."`
	Qualifier string `yaml:"qualifier" doc:"A version or an alias of the function."`
	Region    string `yaml:"region" doc:"The function's region; absent, that of its ARN or of auth.sigv4."`
	Endpoint  string `yaml:"endpoint" doc:"The address of the API, for one that is not AWS's own: an http or https URL without a path."`
	Async     bool   `yaml:"async" doc:"Whether Lambda queues the event and answers before the function has run; it makes its own retries then."`
}

const (
	invocationType = "X-Amz-Invocation-Type"
	functionError  = "X-Amz-Function-Error"
	callbackURL    = "X-Callback-Url"

	invokePath = "/2015-03-31/functions/"
)

func (l *Lambda) call(region string) call {
	i := l.Invoke
	if i == nil {
		return call{url: l.URL, mode: http.Structured, variant: http.Variant{Failed: functionFailed}}
	}
	endpoint := strings.TrimSuffix(i.Endpoint, "/")
	if endpoint == "" {
		endpoint = "https://lambda." + region + ".amazonaws.com"
	}
	// Colons are escaped as AWS's own clients do, since they are signed.
	name := strings.ReplaceAll(url.PathEscape(i.Function), ":", "%3A")
	k := call{
		url: endpoint + invokePath + name + "/invocations", mode: http.Structured, fixed: true,
		headers: map[string]string{invocationType: "RequestResponse"},
		variant: http.Variant{Failed: functionFailed, Retried: []int{nethttp.StatusConflict}, JSONReplies: true},
	}
	if i.Async {
		k.headers[invocationType] = "Event"
	}
	if i.Qualifier != "" {
		k.url += "?Qualifier=" + url.QueryEscape(i.Qualifier)
	}
	return k
}

// namedRegion is the region in the function's ARN, "" without one.
func (i *Invoke) namedRegion() string {
	// arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
	if parts := strings.Split(i.Function, ":"); len(parts) >= 7 && parts[0] == "arn" && parts[2] == "lambda" {
		return parts[3]
	}
	return ""
}

// functionFailed is an http.Variant's Failed.
func functionFailed(header nethttp.Header) string {
	if kind := header.Get(functionError); kind != "" {
		return "the function failed (" + kind + ")"
	}
	return ""
}

func (l *Lambda) validate(p *component.Problems, c *Config) {
	i := l.Invoke
	switch {
	case i == nil && l.URL == "":
		p.Add("needs the function's url, or invoke", "lambda")
	case i != nil && l.URL != "":
		p.Add("the function has a url already; keep one of url and invoke", "lambda", "invoke")
	case isInvocation(l.URL):
		p.Add("is an address of the Invoke API, not a function's URL; use lambda.invoke, with the function's name or ARN as function", "lambda", "url")
	}
	if i == nil {
		return
	}
	if i.Function == "" {
		p.Add("is required; give the function's name or ARN", "lambda", "invoke", "function")
	} else if strings.ContainsFunc(i.Function, func(r rune) bool { return !plain(r) && r != ':' && r != '$' }) {
		p.Add("is not the name or the ARN of a function", "lambda", "invoke", "function")
	}
	signed := c.Auth != nil && c.Auth.SigV4 != nil
	switch {
	case c.missingRegion():
		p.Add("is required; give the function's region, such as eu-west-1", "lambda", "invoke", "region")
	case i.Endpoint == "" && !signed:
		p.Add("needs auth.sigv4: AWS takes no invocation without a signature", "lambda", "invoke")
	case strings.ContainsFunc(i.Region, func(r rune) bool { return !plain(r) }):
		p.Add("is not a region; write one such as eu-west-1", "lambda", "invoke", "region")
	}
	named := i.namedRegion()
	if i.Region != "" && named != "" && i.Region != named {
		p.Addf([]string{"lambda", "invoke", "region"}, "%q is not the region of the function's ARN, %s; take it out", i.Region, named)
	} else if region := c.region(); i.Endpoint == "" && signed && c.Auth.SigV4.Region != "" && c.Auth.SigV4.Region != region {
		p.Addf([]string{"auth", "sigv4", "region"}, "%q is not the function's region, %s, and AWS takes no other signature; take it out", c.Auth.SigV4.Region, region)
	}
	if u, err := url.Parse(i.Endpoint); err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
		p.Add("must not have a path or a query", "lambda", "invoke", "endpoint")
	}
}

// isInvocation reports whether an address is one of the Invoke API, whose answers
// mean something else than those of a function's URL.
func isInvocation(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	name, found := strings.CutPrefix(strings.TrimSuffix(u.Path, "/"), invokePath)
	return found && strings.HasSuffix(name, "/invocations")
}

func plain(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// OpenFaaS is a function of OpenFaaS.
type OpenFaaS struct {
	URL      string `yaml:"url" doc:"The gateway's address, such as http://gateway.openfaas:8080, or the function's whole address if function is absent."`
	Function string `yaml:"function" doc:"The function's name, with .NAMESPACE if it is not in the default one."`
	Async    bool   `yaml:"async" doc:"Whether the gateway queues the event and answers before the function has run."`
	Callback string `yaml:"callback" doc:"Where the gateway posts the result of an asynchronous call to."`
}

func (o *OpenFaaS) call() call {
	k := call{url: o.URL, mode: http.Binary}
	if o.Function != "" && o.URL != "" {
		way := "/function/"
		if o.Async {
			way = "/async-function/"
		}
		k.url = strings.TrimSuffix(o.URL, "/") + way + url.PathEscape(o.Function)
	}
	if o.Callback != "" {
		k.headers = map[string]string{callbackURL: o.Callback}
	}
	return k
}

func (o *OpenFaaS) validate(p *component.Problems) {
	u, err := url.Parse(o.URL)
	async := o.Async || err == nil && strings.HasPrefix(u.Path, "/async-function/")
	switch {
	case o.Function == "" && o.Async:
		p.Add("needs function, the function's name; a whole address says itself whether it is asynchronous", "openfaas", "async")
	case o.Function == "" && err == nil && u.Host != "" && strings.Trim(u.Path, "/") == "":
		p.Warn("looks like the address of a gateway; give function, too, or the function's whole address", "openfaas", "url")
	case o.Function != "" && err == nil && isFunction(u.Path):
		p.Add("is a function's whole address; give the gateway's alone, or take function out", "openfaas", "url")
	case o.Function != "" && err == nil && u.RawQuery != "":
		p.Add("must not have a query beside function", "openfaas", "url")
	case strings.ContainsFunc(o.Function, func(r rune) bool { return !plain(r) && r != '.' }):
		p.Add("is not the name of a function", "openfaas", "function")
	}
	if o.Callback == "" {
		return
	}
	if c, err := url.Parse(o.Callback); err != nil || c.Host == "" || c.Scheme != "http" && c.Scheme != "https" {
		p.Add("is not an http or https URL", "openfaas", "callback")
	}
	if !async {
		p.Add("is of asynchronous calls; set async: true", "openfaas", "callback")
	}
}

// isFunction reports whether a path is that of a function at a gateway.
func isFunction(path string) bool {
	path += "/"
	return strings.Contains(path, "/function/") || strings.Contains(path, "/async-function/")
}
