package function

import (
	"errors"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// aws is sigv4 with what a function cannot say itself.
const aws = `auth: {sigv4: {accessKey: AKID, secretKey: secret}}`

func parseConfig(t *testing.T, text string) *Config {
	t.Helper()
	c := Spec().New().(*Config)
	if err := yaml.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"a function URL", `lambda: {url: "https://abc.lambda-url.eu-west-1.on.aws/"}`, ""},
		{"a signed function URL", `{lambda: {url: "https://abc.lambda-url.eu-west-1.on.aws/"}, ` + aws + `}`, ""},
		{"a function URL of another host", `{lambda: {url: "https://f.example.com/"}, ` + aws + `}`, "auth.sigv4.region: is required, such as eu-west-1"},
		{"an invocation", `{lambda: {invoke: {function: f, region: eu-west-1}}, ` + aws + `}`, ""},
		{"an invocation with all", `{lambda: {invoke: {function: "arn:aws:lambda:eu-west-1:1:function:f", qualifier: "$LATEST", endpoint: "http://127.0.0.1:4566", async: true}}}`, ""},
		{"the region of the signature", `{lambda: {invoke: {function: f}}, auth: {sigv4: {region: eu-west-1, accessKey: A, secretKey: s}}}`, ""},
		{"the region of the ARN", `{lambda: {invoke: {function: "arn:aws:lambda:eu-west-1:1:function:f"}}, ` + aws + `}`, ""},
		{"another region than the ARN's", `{lambda: {invoke: {function: "arn:aws:lambda:eu-west-1:1:function:f:3", region: us-east-1}}, ` + aws + `}`,
			`lambda.invoke.region: "us-east-1" is not the region of the function's ARN, eu-west-1; take it out`},
		{"a signature for another region", `{lambda: {invoke: {function: "arn:aws:lambda:eu-west-1:1:function:f"}}, auth: {sigv4: {region: us-east-1, accessKey: A, secretKey: s}}}`,
			`auth.sigv4.region: "us-east-1" is not the function's region, eu-west-1, and AWS takes no other signature; take it out`},
		{"a function's address beside its name", `openfaas: {url: "http://gateway:8080/function/f", function: f}`,
			"openfaas.url: is a function's whole address; give the gateway's alone, or take function out"},
		{"knative", `knative: {url: "http://f.default.svc.cluster.local"}`, ""},
		{"openfaas", `openfaas: {url: "http://gateway:8080/function/f"}`, ""},
		{"openfaas by its parts", `openfaas: {url: "http://gateway:8080", function: f, async: true, callback: "http://a/b"}`, ""},
		{"openfaas, a whole asynchronous address", `openfaas: {url: "http://gateway:8080/async-function/f", callback: "http://a/b"}`, ""},

		{"nothing", `{}`, ": needs a platform: one of lambda, knative and openfaas"},
		{"two", `{knative: {url: "http://a"}, lambda: {url: "http://a"}}`,
			"lambda: a function has one platform, and there is knative, too; keep one\nknative: a function has one platform, and there is lambda, too; keep one"},
		{"an empty lambda", `lambda: {}`, "lambda: needs the function's url, or invoke"},
		{"lambda twice", `lambda: {url: "https://a", invoke: {function: f, endpoint: "http://a"}}`, "lambda.invoke: the function has a url already; keep one of url and invoke"},
		{"no function", `{lambda: {invoke: {region: eu-west-1}}, ` + aws + `}`, "lambda.invoke.function: is required; give the function's name or ARN"},
		{"a bad function", `{lambda: {invoke: {function: a/b, region: eu-west-1}}, ` + aws + `}`, "lambda.invoke.function: is not the name or the ARN of a function"},
		{"no region", `{lambda: {invoke: {function: f}}, ` + aws + `}`, "lambda.invoke.region: is required; give the function's region, such as eu-west-1"},
		{"a bad region", `{lambda: {invoke: {function: f, region: "a.b/"}}, ` + aws + `}`,
			"lambda.invoke.region: is not a region; write one such as eu-west-1\nauth.sigv4.region: must be printable text without spaces, slashes and commas"},
		{"no signature", `lambda: {invoke: {function: f, region: eu-west-1}}`, "lambda.invoke: needs auth.sigv4: AWS takes no invocation without a signature"},
		{"a mode of an invocation", `{mode: binary, lambda: {invoke: {function: f, region: eu-west-1}}, ` + aws + `}`, "mode: is structured for invocations by the API; take it out"},
		{"a header of an invocation", `{headers: {x-amz-invocation-type: Event}, lambda: {invoke: {function: f, region: eu-west-1}}, ` + aws + `}`, "headers.x-amz-invocation-type: is set by Switchyard and cannot be changed"},
		{"an endpoint with a path", `lambda: {invoke: {function: f, endpoint: "http://a/b"}}`, "lambda.invoke.endpoint: must not have a path or a query"},
		{"a bad endpoint", `lambda: {invoke: {function: f, endpoint: "ftp://a"}}`, `lambda.invoke.endpoint: scheme "ftp" is not supported; use http or https`},
		{"an invocation by its address", `lambda: {url: "http://a/2015-03-31/functions/f/invocations"}`,
			"lambda.url: is an address of the Invoke API, not a function's URL; use lambda.invoke, with the function's name or ARN as function"},
		{"no service", `knative: {}`, "knative.url: is required; give the URL of the function"},
		{"no gateway", `openfaas: {function: f}`, "openfaas.url: is required; give the URL of the function"},
		{"async without a function", `openfaas: {url: "http://gateway:8080/function/f", async: true}`, "openfaas.async: needs function, the function's name; a whole address says itself whether it is asynchronous"},
		{"a callback of a synchronous call", `openfaas: {url: "http://gateway:8080", function: f, callback: a}`,
			"openfaas.callback: is not an http or https URL\nopenfaas.callback: is of asynchronous calls; set async: true"},
		{"a mode", `{mode: data, knative: {url: "http://a"}}`, `mode: "data" is not a mode; use binary or structured`},
		{"no time", `{timeout: 0s, knative: {url: "http://a"}}`, "timeout: 0s is out of range; use more than 0s and at most 15m"},
		{"two ways", `{knative: {url: "http://a"}, auth: {bearer: b, basic: {username: u}}}`,
			"auth.basic: requests are authenticated in one way, and there is bearer, too; keep one\n" +
				"auth.bearer: requests are authenticated in one way, and there is basic, too; keep one"},
		{"a short secret", `{secret: a, knative: {url: "http://a"}}`, "secret: is too short; use at least 16 bytes, or whsec_ and the base64 of 24 to 64 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := parseConfig(t, c.yaml)
			var p component.Problems
			config.Validate(&p)
			var lines []string
			for _, problem := range p.All {
				lines = append(lines, strings.Join(problem.Path, ".")+": "+problem.Message)
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("the problems are\n%s\nnot\n%s", got, c.want)
			}
			target, err := config.Build(targets.Env{})
			if (err == nil) != (c.want == "") {
				t.Errorf("Build: %v", err)
			}
			if err == nil {
				target.Close()
			}
		})
	}
}

func TestGatewayWithoutAFunctionDrawsAWarning(t *testing.T) {
	var p component.Problems
	parseConfig(t, `openfaas: {url: "http://gateway:8080/"}`).Validate(&p)
	if len(p.All) != 1 || !p.All[0].Warning || !strings.Contains(p.All[0].Message, "gateway") {
		t.Errorf("%+v", p.All)
	}
}

func deliveryOf(t *testing.T, structured string) *targets.Delivery {
	t.Helper()
	e, err := event.FromStructured([]byte(structured), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &targets.Delivery{ID: "01JD0000000000000000000001", Subscription: "r/t", Bus: "photos", Sequence: 1, Attempt: 1, Event: e, WantReply: true}
}

const photo = `{"specversion":"1.0","id":"1","source":"/photos","type":"com.example.photo.uploaded","datacontenttype":"application/json","data":{"name":"cat.jpg"}}`

// called delivers one event to a server that answers as answer says, and
// returns what it was sent.
func called(t *testing.T, config string, answer func(nethttp.ResponseWriter)) (r *nethttp.Request, body string, d *targets.Delivery, err error) {
	t.Helper()
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		b, _ := io.ReadAll(req.Body)
		r, body = req, string(b)
		answer(w)
	}))
	t.Cleanup(s.Close)
	target, err := parseConfig(t, strings.ReplaceAll(config, "SERVER", s.URL)).Build(targets.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	d = deliveryOf(t, photo)
	err = target.Deliver(t.Context(), d)
	return r, body, d, err
}

func TestInvocation(t *testing.T) {
	for _, c := range []struct{ settings, kind, uri string }{
		{`{function: thumbnail, region: eu-west-1, endpoint: "SERVER"}`, "RequestResponse", "/2015-03-31/functions/thumbnail/invocations"},
		{`{function: thumbnail, region: eu-west-1, endpoint: "SERVER", qualifier: $LATEST, async: true}`, "Event", "/2015-03-31/functions/thumbnail/invocations?Qualifier=%24LATEST"},
	} {
		r, body, d, err := called(t, `{lambda: {invoke: `+c.settings+`}, `+aws+`}`, func(w nethttp.ResponseWriter) { w.WriteHeader(202) })
		if err != nil || d.Answer.Status != 202 {
			t.Fatalf("%v, %+v", err, d.Answer)
		}
		if r.RequestURI != c.uri || r.Method != "POST" || r.Header.Get("X-Amz-Invocation-Type") != c.kind {
			t.Errorf("called %s %s as %s", r.Method, r.RequestURI, r.Header.Get("X-Amz-Invocation-Type"))
		}
		authorization := r.Header.Get("Authorization")
		if !strings.Contains(authorization, "/eu-west-1/lambda/aws4_request, SignedHeaders=") || !strings.Contains(authorization, "x-amz-invocation-type") {
			t.Errorf("signed as %s", authorization)
		}
		if m := structuredOf(t, body); m["type"] != "com.example.photo.uploaded" || m["data"].(map[string]any)["name"] != "cat.jpg" {
			t.Errorf("the payload is %s", body)
		}
	}
}

func TestAnswersOfTheInvokeAPI(t *testing.T) {
	const reply = `{"specversion":"1.0","id":"2","source":"/thumbnails","type":"com.example.thumbnail.made","data":{"n":1}}`
	write := func(status int, body string, headers ...string) func(nethttp.ResponseWriter) {
		return func(w nethttp.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		name   string
		answer func(nethttp.ResponseWriter)
		want   string // the error; "" is success
		kind   string // retry, after or permanent
		reply  string
	}{
		{"null", write(200, "null"), "", "", ""},
		{"nothing", write(200, ""), "", "", ""},
		{"other JSON", write(200, `{"ok":true}`), "", "", ""},
		{"other text", write(200, `{"specversion`), "", "", ""},
		{"a list", write(200, `[{"specversion":"1.0"}]`), "", "", ""},
		{"an event", write(200, reply), "", "", "com.example.thumbnail.made"},
		{"half an event", write(200, `{"specversion":"1.0"}`), "", "", ""},
		{"a failure", write(200, `{"errorType":"Error","errorMessage":"no cat"}`, "X-Amz-Function-Error", "Unhandled"),
			`the function failed (Unhandled): {"errorType":"Error","errorMessage":"no cat"}`, "retry", ""},
		{"too many", write(429, `{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}`, "Retry-After", "7"),
			`429 Too Many Requests: {"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"} (retry after 7s)`, "after", ""},
		{"being changed", write(409, ""), "409 Conflict", "retry", ""},
		{"not there", write(404, `{"Message":"Function not found"}`), `404 Not Found: {"Message":"Function not found"}`, "permanent", ""},
		{"forbidden", write(403, ""), "403 Forbidden", "permanent", ""},
		{"broken", write(500, ""), "500 Internal Server Error", "retry", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, d, err := called(t, `{lambda: {invoke: {function: f, endpoint: "SERVER", region: r}}, `+aws+`}`, c.answer)
			var after *targets.RetryAfter
			kind := ""
			switch {
			case targets.IsPermanent(err):
				kind = "permanent"
			case errors.As(err, &after):
				kind = "after"
			case err != nil:
				kind = "retry"
			}
			if kind != c.kind || err != nil && err.Error() != c.want {
				t.Errorf("%s: %v", kind, err)
			}
			if c.name == "a failure" && !strings.Contains(d.Answer.Body, "no cat") {
				t.Errorf("the record has %+v", d.Answer)
			}
			if got := d.Reply; (got == nil) != (c.reply == "") || got != nil && got.Type() != c.reply {
				t.Errorf("the reply is %v", got)
			}
		})
	}
}

func TestFunctionErrorBehindAURLIsAFailure(t *testing.T) {
	_, _, _, err := called(t, `lambda: {url: "SERVER/"}`, func(w nethttp.ResponseWriter) {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		io.WriteString(w, `{"errorMessage":"no cat"}`)
	})
	if want := `the function failed (Unhandled): {"errorMessage":"no cat"}`; err == nil || err.Error() != want || targets.IsPermanent(err) {
		t.Errorf("%v, not %s", err, want)
	}
}

func TestPlatformsAndTheirReplies(t *testing.T) {
	answer := func(w nethttp.ResponseWriter) {
		for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "2", "Ce-Source": "/f", "Ce-Type": "made", "Content-Type": "application/json"} {
			w.Header().Set(name, value)
		}
		io.WriteString(w, `{"n":1}`)
	}
	for _, c := range []struct {
		name, config, uri, contentType, callback, prefer string
	}{
		{"knative", `knative: {url: "SERVER"}`, "/", "application/json", "", "reply"},
		{"knative, structured", `{mode: structured, knative: {url: "SERVER/a"}}`, "/a", "application/cloudevents+json; charset=utf-8", "", "reply"},
		{"openfaas", `openfaas: {url: "SERVER", function: f}`, "/function/f", "application/json", "", ""},
		{"openfaas, async", `openfaas: {url: "SERVER", function: f, async: true, callback: "http://a/done"}`, "/async-function/f", "application/json", "http://a/done", ""},
		{"a function URL", `lambda: {url: "SERVER/"}`, "/", "application/cloudevents+json; charset=utf-8", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, d, err := called(t, c.config, answer)
			if err != nil || d.Reply == nil || d.Reply.Type() != "made" {
				t.Fatalf("%v, %v", err, d.Reply)
			}
			if r.RequestURI != c.uri || r.Header.Get("Content-Type") != c.contentType || r.Header.Get("X-Callback-Url") != c.callback || r.Header.Get("Prefer") != c.prefer || r.Header.Get("webhook-id") != d.ID {
				t.Errorf("called %s with %v", r.RequestURI, r.Header)
			}
		})
	}
}

func TestRegionOfAnARNIsWhereItIsInvoked(t *testing.T) {
	c := parseConfig(t, `{lambda: {invoke: {function: "arn:aws:lambda:eu-west-1:1:function:f"}}, `+aws+`}`)
	if got := c.call().url; !strings.HasPrefix(got, "https://lambda.eu-west-1.amazonaws.com/") || c.auth().SigV4.Region != "eu-west-1" {
		t.Errorf("it is called at %s, signed for %s", got, c.auth().SigV4.Region)
	}
}

func TestTimeLeavesRoomForAColdStart(t *testing.T) {
	if got := NewConfig().Timeout; got != time.Minute {
		t.Errorf("the default is %v", got)
	}
}
