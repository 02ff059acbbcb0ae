package webhook

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/switchyard-dev/switchyard/bus/component"
)

func settings(preset, secret string) *Config {
	c := defaults()
	c.Preset, c.Secret = preset, component.NewSecret(secret)
	return c
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// check gives the reason for which a preset refuses a request, "" for none.
func check(t testing.TB, c *Config, h http.Header, body string, now time.Time) string {
	t.Helper()
	s, err := presets()[c.Preset].scheme(c)
	if err != nil {
		t.Fatal(err)
	}
	cl, ok := s.parse(h)
	if !ok {
		return badSignature
	}
	return s.verify(cl, []byte(body), now)
}

// The vectors are those that the senders' own documentation and libraries publish.
func TestPublishedSignaturesVerify(t *testing.T) {
	slackBody := "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	for _, c := range []struct {
		name   string
		config *Config
		header http.Header
		body   string
		now    int64
	}{
		{
			"GitHub's documentation", settings("github", "It's a Secret to Everybody"),
			header("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
			"Hello, World!", 0,
		},
		{
			"Slack's documentation", settings("slack", "8f742231b10e8888abcd99yyyzzz85a5"),
			header("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", "X-Slack-Request-Timestamp", "1531420618"),
			slackBody, 1531420618,
		},
		{
			"Standard Webhooks' library", settings("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
			header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330", "webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
			`{"test": 2432232314}`, 1614265330,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(c.now, 0)
			if reason := check(t, c.config, c.header, c.body, now); reason != "" {
				t.Errorf("refused: %s", reason)
			}
			if reason := check(t, c.config, c.header, c.body+" ", now); reason != badSignature {
				t.Errorf("with another body: %q", reason)
			}
			c.config.Secret = component.NewSecret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
			if reason := check(t, c.config, c.header, c.body, now); reason != badSignature {
				t.Errorf("with another secret: %q", reason)
			}
		})
	}
}

func mac(algorithm, key, text string) []byte {
	m := hmac.New(hashOf(algorithm), []byte(key))
	m.Write([]byte(text))
	return m.Sum(nil)
}

func TestTheStandardLibraryOfStandardWebhooksAgrees(t *testing.T) {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	wh, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	body := "{\"a\":1}"
	signature, err := wh.Sign("msg_1", now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	for _, c := range []struct{ name, id, signature, body string }{
		{"a good one", "msg_1", signature, body},
		{"a good one after others", "msg_1", "v1,AAAA v1a,AAAA v2,x " + signature, body},
		{"another body", "msg_1", signature, body + "x"},
		{"another id", "msg_2", signature, body},
		{"another version", "msg_1", "v2" + signature[2:], body},
		{"none", "msg_1", "", body},
	} {
		h := header("webhook-id", c.id, "webhook-timestamp", stamp, "webhook-signature", c.signature)
		want := wh.Verify([]byte(c.body), h) == nil
		if got := check(t, settings("standard-webhooks", secret), h, c.body, now) == ""; got != want {
			t.Errorf("%s: accepted %v, the library says %v", c.name, got, want)
		}
	}
}

func TestTimestampsOutsideOfTheToleranceAreStale(t *testing.T) {
	const body = "{}"
	signed := int64(1_700_000_000)
	stamp := strconv.FormatInt(signed, 10)
	key := "0123456789abcdef0123456789abcdef"
	whsec := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	own := settings("hmac", key)
	own.Signed, own.TimestampHeader = "timestamp.body", "X-Time"
	millis := settings("hmac", key)
	millis.Signed, millis.TimestampHeader = "timestamp.body", "X-Time"
	for _, c := range []struct {
		name   string
		config *Config
		header http.Header
	}{
		{"stripe", settings("stripe", key), header("Stripe-Signature", "t="+stamp+",v1="+hex.EncodeToString(mac("sha256", key, stamp+"."+body)))},
		{"slack", settings("slack", key), header("X-Slack-Request-Timestamp", stamp, "X-Slack-Signature", "v0="+hex.EncodeToString(mac("sha256", key, "v0:"+stamp+":"+body)))},
		{"standard-webhooks", settings("standard-webhooks", whsec), header("Webhook-Id", "m", "Webhook-Timestamp", stamp, "Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac("sha256", key, "m."+stamp+"."+body)))},
		{"hmac", own, header("X-Time", stamp, "X-Signature", hex.EncodeToString(mac("sha256", key, stamp+"."+body)))},
		{"hmac in milliseconds", millis, header("X-Time", stamp+"000", "X-Signature", hex.EncodeToString(mac("sha256", key, stamp+"000."+body)))},
	} {
		for after, want := range map[int64]string{0: "", 300: "", -300: "", 301: staleRequest, -301: staleRequest, 1 << 40: staleRequest} {
			if got := check(t, c.config, c.header, body, time.Unix(signed+after, 0)); got != want {
				t.Errorf("%s, %d s later: %q; want %q", c.name, after, got, want)
			}
		}
		// Who cannot sign does not learn what the clock says.
		if got := check(t, c.config, c.header, body+"x", time.Unix(signed+1000, 0)); got != badSignature {
			t.Errorf("%s, wrong and old: %q", c.name, got)
		}
	}
}

func TestStripeSignaturesWithSeveralParts(t *testing.T) {
	c := settings("stripe", "whsec_test")
	good := hex.EncodeToString(mac("sha256", "whsec_test", "100.{}"))
	for text, want := range map[string]string{
		"t=100,v1=" + good:                        "",
		"t=100, v1=" + good:                       "",
		"t=100,v1=00ff,v1=" + good + ",v0=abcdef": "",
		"v1=" + good + ",t=100":                   "",
		"t=101,v1=" + good:                        badSignature,
		"t=100,t=100,v1=" + good:                  badSignature,
		"v1=" + good:                              badSignature,
		"t=100,v0=" + good:                        badSignature,
		"t=100,v1=" + good[:62]:                   badSignature,
		"t=x,v1=" + good:                          badSignature,
		"t=100,v1=":                               badSignature,
		"":                                        badSignature,
		"t=100":                                   badSignature,
	} {
		if got := check(t, c, header("Stripe-Signature", text), "{}", time.Unix(100, 0)); got != want {
			t.Errorf("%q: %q; want %q", text, got, want)
		}
	}
}

func TestHMACWithEveryAlgorithmAndEncoding(t *testing.T) {
	for _, algorithm := range []string{"sha1", "sha256", "sha512"} {
		for _, encoding := range []string{"hex", "base64"} {
			c := settings("hmac", "k")
			c.Algorithm, c.Encoding, c.Header, c.Prefix = algorithm, encoding, "X-Own", "v="
			m := mac(algorithm, "k", "body")
			text := hex.EncodeToString(m)
			if encoding == "base64" {
				text = base64.StdEncoding.EncodeToString(m)
			}
			for given, want := range map[string]string{"v=" + text: "", text: badSignature, "v=": badSignature, "v=" + text[:8]: badSignature} {
				if got := check(t, c, header("X-Own", given), "body", time.Time{}); got != want {
					t.Errorf("%s in %s, %q: %q; want %q", algorithm, encoding, given, got, want)
				}
			}
		}
	}
}

func TestThePreviousSecretIsStillAccepted(t *testing.T) {
	for _, preset := range []string{"github", "hmac"} {
		c := settings(preset, "new")
		c.PreviousSecret = component.NewSecret("old")
		for key, want := range map[string]string{"new": "", "old": "", "older": badSignature, "": badSignature} {
			text := hex.EncodeToString(mac("sha256", key, "{}"))
			h := header("X-Hub-Signature-256", "sha256="+text, "X-Signature", text)
			if got := check(t, c, h, "{}", time.Time{}); got != want {
				t.Errorf("%s signed with %q: %q; want %q", preset, key, got, want)
			}
		}
	}
}
