package http

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/webhook"
	"github.com/switchyard-dev/switchyard/targets"
)

// The vector of the reference implementations of Standard Webhooks.
func TestStandardVector(t *testing.T) {
	c := NewConfig()
	c.Secret = component.NewSecrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	got := newSigner(c).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("the signature is %s, not %s", got, want)
	}
}

func TestAllSecretsSignInTheirOrder(t *testing.T) {
	seed := bytes.Repeat([]byte{9}, ed25519.SeedSize)
	private := ed25519.NewKeyFromSeed(seed)
	newer := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	older := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, 32))
	for _, asymmetric := range [][]byte{seed, private} {
		url, requests := recorder(t)
		config := NewConfig()
		config.URL = url
		config.Secret = component.NewSecrets(newer, older, "whsk_"+base64.StdEncoding.EncodeToString(asymmetric))
		target := newTarget(t, config, targets.Env{})
		if err := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil {
			t.Fatal(err)
		}
		r := <-requests
		signatures := strings.Split(r.Header.Get("webhook-signature"), " ")
		if len(signatures) != 3 {
			t.Fatalf("the signatures are %q", signatures)
		}
		for i, secret := range []string{newer, older} {
			hook, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := hook.Verify(r.body, r.Header); err != nil {
				t.Errorf("a receiver with secret %d: %v", i, err)
			}
			alone := r.Header.Clone()
			alone.Set("webhook-signature", signatures[i])
			if err := hook.Verify(r.body, alone); err != nil {
				t.Errorf("signature %d is not that of secret %d: %v", i, i, err)
			}
		}
		encoded, ok := strings.CutPrefix(signatures[2], "v1a,")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		content := r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + string(r.body)
		if !ok || err != nil || !ed25519.Verify(private.Public().(ed25519.PublicKey), []byte(content), sum) {
			t.Errorf("the ed25519 signature is %q", signatures[2])
		}
	}
}

// What is signed in another form is what our own webhook sources accept of the
// senders that have it.
func TestOtherFormsAreThoseOfTheirSenders(t *testing.T) {
	for _, c := range []struct {
		name      string
		signature Signature
		secret    component.Secrets
		preset    string
		theirs    string
	}{
		{"GitHub", Signature{Form: Hex, Prefix: "sha256=", Headers: SignatureHeaders{Signature: "X-Hub-Signature-256"}},
			component.NewSecrets("a secret of GitHub's"), "github", "a secret of GitHub's"},
		{"Stripe", Signature{Form: Timestamped, Headers: SignatureHeaders{Signature: "Stripe-Signature"}},
			component.NewSecrets("whsec_test_secret"), "stripe", "whsec_test_secret"},
		{"Stripe, rotated", Signature{Form: Timestamped, Headers: SignatureHeaders{Signature: "Stripe-Signature"}},
			component.NewSecrets("another secret of theirs", "whsec_test_secret"), "stripe", "whsec_test_secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, requests := recorder(t)
			config := NewConfig()
			config.URL, config.Secret, config.Signature, config.Mode = url, c.secret, c.signature, Data
			config.Headers = map[string]component.Secret{"X-GitHub-Event": component.NewSecret("push"), "X-GitHub-Delivery": component.NewSecret("1")}
			e := parse(t, `{"specversion":"1.0","id":"1","source":"/shop","type":"t","data":{"id":"evt_1","type":"charge.updated","object":"event","created":1,"data":{"object":{"id":"ch_1"}}}}`)
			if err := newTarget(t, config, targets.Env{}).Deliver(t.Context(), deliveryOf(e)); err != nil {
				t.Fatal(err)
			}
			r := <-requests
			if r.Header.Get("webhook-signature") != "" || r.Header.Get("webhook-id") == "" || r.Header.Get("webhook-timestamp") == "" {
				t.Errorf("the headers are %v", r.Header)
			}
			accepted(t, c.preset, c.theirs, r)
		})
	}
}

func TestSignatureUnderOtherNames(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	url, requests := recorder(t)
	config := NewConfig()
	config.URL, config.Secret = url, component.NewSecrets(secret)
	config.Signature.Headers = SignatureHeaders{ID: "svix-id", Timestamp: "svix-timestamp", Signature: "svix-signature"}
	if err := newTarget(t, config, targets.Env{}).Deliver(t.Context(), deliveryOf(order(t))); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	standard := r.Header.Clone()
	for _, name := range []string{"id", "timestamp", "signature"} {
		standard.Set("webhook-"+name, r.Header.Get("svix-"+name))
	}
	if err := hook.Verify(r.body, standard); err != nil {
		t.Error(err)
	}
	if r.Header.Get("webhook-id") != r.Header.Get("svix-id") || r.Header.Get("webhook-signature") != "" {
		t.Errorf("the headers are %v", r.Header)
	}
}

// accepted checks that a webhook source takes a request.
func accepted(t *testing.T, preset, secret string, r request) {
	t.Helper()
	c := webhook.Spec().New().(*webhook.Config)
	c.Preset, c.Secret = preset, component.NewSecret(secret)
	taken := &sink{}
	source, err := c.Build(sources.Env{Name: "hook", Logger: slog.New(slog.DiscardHandler), Sink: taken, Rejected: func(string) {}, Failing: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	in := httptest.NewRequest("POST", "/v1/hooks/hook", bytes.NewReader(r.body))
	in.Header = r.Header
	out := httptest.NewRecorder()
	source.(sources.Hook).ServeHTTP(out, in)
	if out.Code != 202 || taken.n != 1 {
		t.Errorf("%s answered %d and took %d events: %s", preset, out.Code, taken.n, out.Body)
	}
}

type sink struct{ n int }

func (s *sink) Publish(_ context.Context, events ...*event.Event) ([]sources.Result, error) {
	s.n += len(events)
	return make([]sources.Result, len(events)), nil
}
