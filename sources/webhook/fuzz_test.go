package webhook

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// signedBy reports, in another way than the schemes do, whether a request has a
// signature that was made with key.
func signedBy(preset string, h http.Header, body string) bool {
	signature, content, encoded := "", body, hex.EncodeToString
	switch preset {
	case "github":
		signature = h.Get("X-Hub-Signature-256")
	case "stripe":
		signature = h.Get("Stripe-Signature")
		for part := range strings.SplitSeq(signature, ",") {
			if at, ok := strings.CutPrefix(strings.TrimSpace(part), "t="); ok {
				content = at + "." + body
			}
		}
	case "slack":
		signature = h.Get("X-Slack-Signature")
		content = "v0:" + h.Get("X-Slack-Request-Timestamp") + ":" + body
	case "shopify":
		signature, encoded = h.Get("X-Shopify-Hmac-Sha256"), base64.StdEncoding.EncodeToString
	case "standard-webhooks":
		signature, encoded = h.Get("Webhook-Signature"), base64.StdEncoding.EncodeToString
		content = h.Get("Webhook-Id") + "." + h.Get("Webhook-Timestamp") + "." + body
	case "hmac":
		signature = h.Get("X-Signature")
	}
	mac := encoded(mac("sha256", key, content))
	return strings.Contains(signature, mac) || strings.Contains(strings.ToLower(signature), mac)
}

// FuzzWebhook: whatever is sent, nothing panics, nothing is accepted that was
// not signed, and what is accepted is an event or an answer of the preset.
func FuzzWebhook(f *testing.F) {
	names := []string{"github", "stripe", "slack", "shopify", "standard-webhooks", "hmac"}
	for i := range names {
		for _, body := range []string{`{"type":"a","id":1}`, `{"type":"url_verification","challenge":"x"}`, "payload=%7B%7D", "ssl_check=1", `[`, "",
			`{"type":"event_callback","event":{"type":"x"},"event_time":99999999999999}`, `{"repository":{"html_url":":","full_name":"\u0000"}}`} {
			f.Add(uint8(i), true, body, "application/json", "x", "sha256=00", "1")
			f.Add(uint8(i), true, body, "application/x-www-form-urlencoded", "x/y", "v0=00", "x")
			f.Add(uint8(i), false, body, "", "x", "t=1700000000,v1=00", "1700000000")
			f.Add(uint8(i), false, body, "text/plain", "x", "v1,AAAA", "1700000000")
		}
	}
	now := time.Unix(1_700_000_000, 0)
	rigs := map[string]*rig{}
	for _, name := range names {
		rigs[name] = build(f, settings(name, secretOf(name)))
		rigs[name].hook.now = func() time.Time { return now }
	}
	f.Fuzz(func(t *testing.T, which uint8, signed bool, body, contentType, name, signature, stamp string) {
		preset := names[int(which)%len(names)]
		r := rigs[preset]
		q := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		q.Header.Set("Content-Type", contentType)
		for _, h := range []string{"X-GitHub-Event", "X-GitHub-Delivery", "X-Shopify-Topic", "X-Shopify-Event-Id", "X-Shopify-Triggered-At", "X-Shopify-Shop-Domain", "Webhook-Id"} {
			q.Header.Set(h, name)
		}
		for _, h := range []string{"X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature", "X-Shopify-Hmac-Sha256", "Webhook-Signature", "X-Signature"} {
			q.Header.Set(h, signature)
		}
		q.Header.Set("X-Slack-Request-Timestamp", stamp)
		q.Header.Set("Webhook-Timestamp", stamp)
		if signed {
			sign(q.Header, preset, body, now)
		}
		before := len(r.sink.Events())
		w := httptest.NewRecorder()
		r.hook.ServeHTTP(w, q)
		events := r.sink.Events()
		if w.Code < 300 && !signedBy(preset, q.Header, body) {
			t.Fatalf("%s accepted a request that nobody signed: %v %q", preset, q.Header, body)
		}
		if w.Code >= 300 && len(events) != before {
			t.Fatalf("%s refused a request with %d and published it", preset, w.Code)
		}
		if signed && (w.Code == 401 && name != "" || w.Code >= 500) {
			t.Fatalf("%s answered a signed request with %d %s", preset, w.Code, w.Body)
		}
		for _, e := range events[before:] {
			if _, err := event.FromStructured(event.AppendStructured(nil, e), event.Limits{}); err != nil {
				t.Fatalf("%s made an event that cannot be read back: %v %s", preset, err, strconv.Quote(string(e.Data())))
			}
		}
	})
}
