package http

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/auth"
)

// marker stands in every secret of the settings below.
const marker = "MARKER-of-a-secret"

func TestRecordOfAFailureHoldsNoSecret(t *testing.T) {
	for name, a := range map[string]*auth.Config{
		"no auth":            nil,
		"a bearer token":     {Bearer: component.NewSecret(marker)},
		"a password":         {Basic: &auth.Basic{Username: "u", Password: component.NewSecret(marker)}},
		"a key in a header":  {APIKey: &auth.APIKey{Header: "X-Plain", Value: component.NewSecret(marker)}},
		"a key in the query": {APIKey: &auth.APIKey{Query: "k", Value: component.NewSecret(marker)}},
		"an AWS secret key":  {SigV4: &auth.SigV4{Region: "eu-west-1", Service: "lambda", AccessKey: "AKIA", SecretKey: component.NewSecret(marker)}},
		"an AWS session token": {SigV4: &auth.SigV4{Region: "eu-west-1", Service: "lambda", AccessKey: "AKIA",
			SecretKey: component.NewSecret("wwwwwwwwwwww"), SessionToken: component.NewSecret(marker)}},
	} {
		t.Run(name, func(t *testing.T) {
			// It repeats all that it was sent, in its headers and its body.
			server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
				sent := fmt.Sprint(r.URL, r.Header)
				w.Header().Set("X-Echo", sent)
				w.Header().Set("Set-Cookie", "session=1")
				w.WriteHeader(nethttp.StatusServiceUnavailable)
				fmt.Fprint(w, sent)
			}))
			defer server.Close()
			c := NewConfig()
			c.URL, c.Auth = server.URL+"/in", a
			c.Headers = map[string]component.Secret{"X-Team": component.NewSecret(marker)}
			c.Secret = component.Secrets{component.NewSecret(marker)}
			built, err := c.Build(targets.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer built.Close()
			b := event.NewBuilder()
			for name, value := range map[string]string{"id": "1", "source": "/shop", "type": "t"} {
				if err := b.Set(name, event.StringValue(value)); err != nil {
					t.Fatal(err)
				}
			}
			e, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			d := targets.Delivery{ID: "dlv_1", Event: e}
			err = built.Deliver(t.Context(), &d)
			if err == nil {
				t.Fatal("the attempt did not fail")
			}
			all := fmt.Sprint(err, d.Answer)
			if strings.Contains(all, marker) {
				t.Errorf("a secret is shown: %s", all)
			}
			for _, want := range []string{"Webhook-Id: dlv_1\n", "Webhook-Signature: " + hidden, "X-Team: " + hidden} {
				if !strings.Contains(d.Answer.Sent, want) {
					t.Errorf("the headers that were sent lack %q: %s", want, d.Answer.Sent)
				}
			}
			if !strings.Contains(d.Answer.Headers, "Set-Cookie: "+hidden) || d.Answer.Connect <= 0 || d.Answer.FirstByte <= 0 {
				t.Errorf("the answer is %+v", d.Answer)
			}
		})
	}
}
