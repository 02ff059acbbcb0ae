package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A target with an access token, from its configuration to its deliveries; no
// secret is seen anywhere.
func TestATargetWithAnAccessToken(t *testing.T) {
	var asked, delivered atomic.Int64
	var revoked atomic.Value // the first token that the receiver sees
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != "the-client-secret" {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"access_token":"the-access-token-%d","token_type":"Bearer","expires_in":3600}`, asked.Add(1))
	}))
	t.Cleanup(tokens.Close)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := r.Header.Get("Authorization")
		switch {
		case r.URL.Path == "/forbidden":
			http.Error(w, got+" may not do this", http.StatusForbidden)
		case revoked.CompareAndSwap(nil, got) || revoked.Load() == got:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			delivered.Add(1)
		}
	}))
	t.Cleanup(receiver.Close)
	target := func(path, secret string) string {
		return fmt.Sprintf(`{http: {url: "%s%s", secret: [a-signing-secret-1, a-signing-secret-2], auth: {oauth2: {tokenURL: "%s/token", clientID: switchyard, clientSecret: %s}}}}`,
			receiver.URL, path, tokens.URL, secret)
	}
	s := serve(t, t.TempDir(), `
version: 1
buses: {orders: {}}
rules:
  good: {bus: orders, targets: [good]}
  forbidden: {bus: orders, targets: [forbidden]}
  wrong: {bus: orders, targets: [wrong]}
targets:
  good: `+target("/in", "the-client-secret")+`
  forbidden: `+target("/forbidden", "the-client-secret")+`
  wrong: `+target("/in", "another-client-secret")+`
`)
	if status, body := s.call("POST", "/v1/buses/orders/events", structured, order("1", 1)); status != http.StatusAccepted {
		t.Fatalf("publish: %d %s", status, body)
	}
	var seen strings.Builder
	look := func(path string) string {
		_, body := s.call("GET", path, "", "")
		seen.WriteString(body)
		return body
	}
	eventually(t, "that the receiver which wants a newer token gets the event", 20*time.Second, func() bool { return delivered.Load() == 1 })
	eventually(t, "that the receiver's refusal is a dead letter, without the token", 20*time.Second, func() bool {
		return strings.Contains(look("/v1/subscriptions/forbidden/forbidden/deadletters"), "[redacted] may not do this")
	})
	eventually(t, "that a wrong client secret is tried again", 20*time.Second, func() bool {
		body := look("/v1/subscriptions/wrong/wrong")
		return strings.Contains(body, "no access token from") && strings.Contains(body, "invalid_client") && strings.Contains(body, `"depth":1`)
	})
	look("/v1/buses/orders/events/1/trace")
	for _, name := range []string{"good", "wrong"} {
		if body := look("/v1/targets/" + name); strings.Count(body, "[redacted]") != 3 {
			t.Errorf("the target is shown as %s", body)
		}
	}
	for _, secret := range []string{"client-secret", "access-token", "signing-secret"} {
		if strings.Contains(seen.String(), "the-"+secret) || strings.Contains(seen.String(), "a-"+secret) || strings.Contains(s.stderr(), secret) {
			t.Errorf("a secret is shown (%s):\n%s\n%s", secret, seen.String(), s.stderr())
		}
	}
}
