package webhook

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/sourcetest"
)

const (
	key = "0123456789abcdef0123456789abcdef"
	// whsec is key as Standard Webhooks writes it.
	whsec = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
)

func secretOf(preset string) string {
	if preset == "standard-webhooks" {
		return whsec
	}
	return key
}

// sign signs a body as the senders do, at the given time.
func sign(h http.Header, preset, body string, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	switch preset {
	case "github":
		h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac("sha256", key, body)))
	case "stripe":
		h.Set("Stripe-Signature", "t="+at+",v1="+hex.EncodeToString(mac("sha256", key, at+"."+body)))
	case "slack":
		h.Set("X-Slack-Request-Timestamp", at)
		h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac("sha256", key, "v0:"+at+":"+body)))
	case "shopify":
		h.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(mac("sha256", key, body)))
	case "standard-webhooks":
		if h.Get("Webhook-Id") == "" {
			h.Set("Webhook-Id", "msg_1")
		}
		h.Set("Webhook-Timestamp", at)
		h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac("sha256", key, h.Get("Webhook-Id")+"."+at+"."+body)))
	case "hmac":
		h.Set("X-Signature", hex.EncodeToString(mac("sha256", key, body)))
	}
}

// rig is a hook with what is around it.
type rig struct {
	hook     *Hook
	sink     *sourcetest.Sink
	rejected []string
}

func build(t testing.TB, c *Config) *rig {
	t.Helper()
	var p component.Problems
	c.Validate(&p)
	for _, bad := range p.All {
		t.Errorf("%v: %s", bad.Path, bad.Message)
	}
	r := &rig{sink: &sourcetest.Sink{Dedupe: true}}
	s, err := c.Build(sources.Env{
		Name: "hooks", Bus: "test", Logger: slog.New(slog.DiscardHandler), Sink: r.sink, State: &sourcetest.State{},
		Rejected: func(reason string) { r.rejected = append(r.rejected, reason) }, Failing: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.hook = s.(*Hook)
	return r
}

// post sends a signed request.
func (r *rig) post(preset, body string, headers ...string) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodPost, "/v1/hooks/hooks?a=b", strings.NewReader(body))
	q.Header = header(headers...)
	sign(q.Header, preset, body, r.hook.now())
	w := httptest.NewRecorder()
	r.hook.ServeHTTP(w, q)
	return w
}

func TestPresetsMakeTheEventsThatTheirDocumentationPromises(t *testing.T) {
	slash := "team_id=T1&channel_id=C1&command=%2Fdeploy&text=now&trigger_id=13345224609.7"
	for _, c := range []struct {
		name, preset, body string
		header             http.Header
		want               string // the structured event
	}{
		{
			"a push on GitHub", "github",
			`{"ref":"refs/heads/main","repository":{"full_name":"octo/hello","html_url":"https://github.com/octo/hello"}}`,
			header("Content-Type", "application/json", "X-GitHub-Event", "push", "X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
			`{"specversion":"1.0","id":"72d3162e-cc78-11e3-81ab-4c9367dc0958","source":"https://github.com/octo/hello","type":"com.github.push","subject":"octo/hello","datacontenttype":"application/json","data":{"ref":"refs/heads/main","repository":{"full_name":"octo/hello","html_url":"https://github.com/octo/hello"}}}`,
		},
		{
			"an organization's ping on GitHub, as a form", "github",
			"payload=" + url.QueryEscape(`{"zen":"Keep it  \"logically\" awesome.","organization":{"login":"octo"}}`),
			header("Content-Type", "application/x-www-form-urlencoded", "X-GitHub-Event", "ping", "X-GitHub-Delivery", "d1"),
			`{"specversion":"1.0","id":"d1","source":"https://github.com/octo","type":"com.github.ping","datacontenttype":"application/json","data":{"zen":"Keep it  \"logically\" awesome.","organization":{"login":"octo"}}}`,
		},
		{
			"a charge on Stripe", "stripe",
			`{"id":"evt_1","object":"event","created":1686089970,"type":"charge.succeeded","data":{"object":{"id":"ch_1"}}}`,
			header("Content-Type", "application/json; charset=utf-8"),
			`{"specversion":"1.0","id":"evt_1","source":"https://api.stripe.com","type":"com.stripe.charge.succeeded","subject":"ch_1","time":"2023-06-06T22:19:30Z","datacontenttype":"application/json; charset=utf-8","data":{"id":"evt_1","object":"event","created":1686089970,"type":"charge.succeeded","data":{"object":{"id":"ch_1"}}}}`,
		},
		{
			"a connected account on Stripe", "stripe", `{"id":"evt_2","account":"acct_9","type":"payout.paid"}`, header("Content-Type", "application/json"),
			`{"specversion":"1.0","id":"evt_2","source":"https://api.stripe.com/v1/accounts/acct_9","type":"com.stripe.payout.paid","datacontenttype":"application/json","data":{"id":"evt_2","account":"acct_9","type":"payout.paid"}}`,
		},
		{
			"a message on Slack", "slack",
			`{"token":"x","team_id":"T1","type":"event_callback","event":{"type":"message","channel":"C2"},"event_id":"Ev1","event_time":1234567890}`,
			header("Content-Type", "application/json"),
			`{"specversion":"1.0","id":"Ev1","source":"https://app.slack.com/client/T1","type":"com.slack.message","subject":"C2","time":"2009-02-13T23:31:30Z","datacontenttype":"application/json","data":{"token":"x","team_id":"T1","type":"event_callback","event":{"type":"message","channel":"C2"},"event_id":"Ev1","event_time":1234567890}}`,
		},
		{
			"a slash command on Slack", "slack", slash, header("Content-Type", "application/x-www-form-urlencoded"),
			`{"specversion":"1.0","id":"13345224609.7","source":"https://app.slack.com/client/T1","type":"com.slack.slash_command","subject":"/deploy","datacontenttype":"application/json","data":{"channel_id":"C1","command":"/deploy","team_id":"T1","text":"now","trigger_id":"13345224609.7"}}`,
		},
		{
			"a button on Slack", "slack", "payload=" + url.QueryEscape(`{"type":"block_actions","team":{"id":"T1"},"channel":{"id":"C1"},"trigger_id":"t9"}`),
			header("Content-Type", "application/x-www-form-urlencoded"),
			`{"specversion":"1.0","id":"t9","source":"https://app.slack.com/client/T1","type":"com.slack.block_actions","subject":"C1","datacontenttype":"application/json","data":{"type":"block_actions","team":{"id":"T1"},"channel":{"id":"C1"},"trigger_id":"t9"}}`,
		},
		{
			"an order on Shopify", "shopify", `{"id":820982911946154508,"admin_graphql_api_id":"gid://shopify/Order/820982911946154508"}`,
			header("Content-Type", "application/json", "X-Shopify-Topic", "orders/create", "X-Shopify-Shop-Domain", "my.myshopify.com",
				"X-Shopify-Event-Id", "98880550-7158-44d4-b7cd-2c97c8a091b5", "X-Shopify-Webhook-Id", "w1", "X-Shopify-Triggered-At", "2023-03-29T18:00:27.877041743Z"),
			`{"specversion":"1.0","id":"98880550-7158-44d4-b7cd-2c97c8a091b5:orders/create","source":"https://my.myshopify.com","type":"com.shopify.orders.create","subject":"gid://shopify/Order/820982911946154508","time":"2023-03-29T18:00:27.877041743Z","datacontenttype":"application/json","data":{"id":820982911946154508,"admin_graphql_api_id":"gid://shopify/Order/820982911946154508"}}`,
		},
		{
			"an older order on Shopify", "shopify", `{"id":820982911946154508}`,
			header("Content-Type", "application/json", "X-Shopify-Topic", "orders/create", "X-Shopify-Webhook-Id", "w1"),
			`{"specversion":"1.0","id":"w1","source":"https://shopify.com","type":"com.shopify.orders.create","subject":"820982911946154508","datacontenttype":"application/json","data":{"id":820982911946154508}}`,
		},
		{
			"Standard Webhooks", "standard-webhooks", `{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{}}`,
			header("Content-Type", "application/json", "Webhook-Id", "msg_2"),
			`{"specversion":"1.0","id":"msg_2","source":"/v1/hooks/hooks","type":"contact.created","time":"2022-11-03T20:26:10.344522Z","datacontenttype":"application/json","data":{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{}}}`,
		},
		{
			"any sender, with text", "hmac", "hello", header("Content-Type", "text/plain"),
			`{"specversion":"1.0","id":"sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","source":"/v1/hooks/hooks","type":"webhook.received","datacontenttype":"text/plain","data":"hello"}`,
		},
		{
			"any sender, without a content type", "hmac", "[1]", header(),
			`{"specversion":"1.0","id":"sha256-a257152fc57a2ab27c26de38a3c83ad6be97017fa17c6c3b22bbb9b16d3f3b2a","source":"/v1/hooks/hooks","type":"webhook.received","datacontenttype":"application/json","data":[1]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := build(t, settings(c.preset, secretOf(c.preset)))
			var pairs []string
			for name, values := range c.header {
				pairs = append(pairs, name, values[0])
			}
			for repeat := range 2 {
				w := r.post(c.preset, c.body, pairs...)
				if c.preset == "slack" && strings.Contains(c.header.Get("Content-Type"), "form") {
					if w.Code != http.StatusOK || w.Body.Len() != 0 {
						t.Errorf("answered %d %s; Slack wants 200 and nothing", w.Code, w.Body)
					}
				} else {
					var got struct {
						Results []struct {
							ID, Source string
							Sequence   int
							Duplicate  bool
						}
					}
					if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusAccepted || len(got.Results) != 1 ||
						got.Results[0].Sequence != 1 || got.Results[0].Duplicate != (repeat == 1) || got.Results[0].ID != r.sink.Events()[0].ID() {
						t.Errorf("answered %d %s", w.Code, w.Body)
					}
				}
			}
			events := r.sink.Events()
			if len(events) != 1 {
				t.Fatalf("%d events after a repeat", len(events))
			}
			got := string(event.AppendStructured(nil, events[0]))
			if strings.Contains(c.name, "without a content type") { // the hash is not worth writing out
				got, c.want = got[strings.Index(got, `"source"`):], c.want[strings.Index(c.want, `"source"`):]
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if len(r.rejected) != 0 {
				t.Errorf("counted as refused: %v", r.rejected)
			}
		})
	}
}

func TestSlackIsAnsweredItsChallengeOnlyWhenSigned(t *testing.T) {
	r := build(t, settings("slack", key))
	body := `{"token":"x","challenge":"3eZbrw1a<b>","type":"url_verification"}`
	w := r.post("slack", body, "Content-Type", "application/json")
	var got struct{ Challenge string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Challenge != "3eZbrw1a<b>" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	q := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	w = httptest.NewRecorder()
	if r.hook.ServeHTTP(w, q); w.Code != 401 || strings.Contains(w.Body.String(), "3eZ") {
		t.Errorf("without a signature: %d %s", w.Code, w.Body)
	}
	if len(r.sink.Events()) != 0 {
		t.Error("the challenge became an event")
	}
}

// problemOf checks that an answer is a problem document and returns it.
func problemOf(t *testing.T, w *httptest.ResponseRecorder) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" ||
		p.Status != w.Code || p.Title != http.StatusText(w.Code) || p.Type == "" || p.Detail == "" {
		t.Errorf("not a problem document: %d %v %s", w.Code, w.Header(), w.Body)
	}
	return p
}

func TestWhatIsRefused(t *testing.T) {
	wrong := func(h http.Header) { h.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("00", 32)) }
	for _, c := range []struct {
		name   string
		body   string
		change func(*http.Request)
		status int
		reason string
		says   string
	}{
		{"GET", "{}", func(q *http.Request) { q.Method = http.MethodGet }, 405, "", "POST"},
		{"no signature", "{}", func(q *http.Request) { q.Header.Del("X-Hub-Signature-256") }, 401, "signature", "no valid signature"},
		{"a wrong signature", "{}", func(q *http.Request) { wrong(q.Header) }, 401, "signature", "no valid signature"},
		{"a signature without its prefix", "{}", func(q *http.Request) {
			q.Header.Set("X-Hub-Signature-256", strings.TrimPrefix(q.Header.Get("X-Hub-Signature-256"), "sha256="))
		}, 401, "signature", "no valid signature"},
		{"only the older SHA-1 signature", "{}", func(q *http.Request) {
			q.Header.Del("X-Hub-Signature-256")
			q.Header.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(mac("sha1", key, "{}")))
		}, 401, "signature", "no valid signature"},
		{"another body", "{}", func(q *http.Request) { q.Body = io.NopCloser(strings.NewReader("[]")); q.ContentLength = 2 }, 401, "signature", "no valid signature"},
		{"not JSON", "{", nil, 400, "invalid", "byte 1"},
		{"a key twice", `{"a":1,"a":2}`, nil, 400, "invalid", "twice"},
		{"nothing", "", nil, 400, "invalid", "JSON"},
		{"too large, and says so", strings.Repeat("x", 101), nil, 413, "too_large", "100 bytes"},
		{"too large, in chunks", strings.Repeat("x", 101), func(q *http.Request) { q.ContentLength = -1 }, 413, "too_large", "100 bytes"},
		{"compressed", "{}", func(q *http.Request) { q.Header.Set("Content-Encoding", "gzip") }, 415, "invalid", "compressed"},
		{"no event name", "{}", func(q *http.Request) { q.Header.Del("X-Github-Event") }, 422, "invalid", "X-GitHub-Event"},
		{"an event name that cannot be", "{}", func(q *http.Request) { q.Header.Set("X-Github-Event", "a\x01b") }, 422, "invalid", "type"},
		{"a body that breaks off", "{}", func(q *http.Request) { q.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), broken{})) }, 400, "invalid", "to its end"},
		{"a form without a payload", "a=b", func(q *http.Request) { q.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 400, "invalid", "payload"},
		{"a form that cannot be read", "payload=%zz", func(q *http.Request) { q.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 400, "invalid", "form"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := settings("github", key)
			set.MaxEventSize = 100
			r := build(t, set)
			q := httptest.NewRequest(http.MethodPost, "/v1/hooks/hooks", strings.NewReader(c.body))
			q.Header.Set("X-Github-Event", "ping")
			sign(q.Header, "github", c.body, time.Now())
			if c.change != nil {
				c.change(q)
			}
			w := httptest.NewRecorder()
			r.hook.ServeHTTP(w, q)
			p := problemOf(t, w)
			if w.Code != c.status || !strings.Contains(p.Detail, c.says) {
				t.Errorf("answered %d %s; want %d and %q", w.Code, w.Body, c.status, c.says)
			}
			if got := strings.Join(r.rejected, ","); got != c.reason {
				t.Errorf("counted as %q; want %q", got, c.reason)
			}
			if len(r.sink.Events()) != 0 {
				t.Error("it became an event")
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestOldRequestsAreStaleAndAnsweredLikeWrongOnes(t *testing.T) {
	r := build(t, settings("stripe", key))
	now := time.Unix(1_700_000_000, 0)
	r.hook.now = func() time.Time { return now }
	body := `{"id":"evt_1","type":"a"}`
	q := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	sign(q.Header, "stripe", body, now)
	now = now.Add(5*time.Minute + time.Second)
	stale := httptest.NewRecorder()
	r.hook.ServeHTTP(stale, q)
	q = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	q.Header.Set("Stripe-Signature", "t=1,v1=00")
	wrong := httptest.NewRecorder()
	r.hook.ServeHTTP(wrong, q)
	if stale.Code != 401 || wrong.Code != 401 || stale.Body.String() != wrong.Body.String() {
		t.Errorf("%d %s and %d %s", stale.Code, stale.Body, wrong.Code, wrong.Body)
	}
	if got := strings.Join(r.rejected, ","); got != "stale,signature" {
		t.Errorf("counted as %s", got)
	}
}

func TestABusThatDoesNotTakeTheEvent(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		reason string
		retry  string
	}{
		{errors.New("disk full"), 503, "", "5"},
		{&sources.InvalidError{Err: errors.New("larger than the 256KiB of bus test")}, 422, "invalid", ""},
		{fmt.Errorf("publish: %w", &sources.InvalidError{Err: errors.New("too large")}), 422, "invalid", ""},
	} {
		r := build(t, settings("github", key))
		r.sink.Fail(c.err, 1)
		w := r.post("github", "{}", "X-GitHub-Event", "ping")
		p := problemOf(t, w)
		if w.Code != c.status || w.Header().Get("Retry-After") != c.retry || strings.Join(r.rejected, ",") != c.reason {
			t.Errorf("%v: answered %d %v %s, counted %v", c.err, w.Code, w.Header(), w.Body, r.rejected)
		}
		if strings.Contains(p.Detail, "disk") {
			t.Errorf("a sender learns of the inside: %s", p.Detail)
		}
		if w = r.post("github", "{}", "X-GitHub-Event", "ping"); w.Code != 202 {
			t.Errorf("%v: healed, it answers %d", c.err, w.Code)
		}
	}
}

func TestExpressionsReplaceThePresetsChoice(t *testing.T) {
	c := settings("github", key)
	c.Event = Event{
		Type:    `"com.example." + request.headers["x-github-event"]`,
		Source:  `"/github/" + request.query.a`,
		Subject: "request.body.repository.full_name",
		ID:      `""`,
		Time:    "timestamp(request.body.at)",
	}
	r := build(t, c)
	w := r.post("github", `{"at":"2024-02-29T12:00:00Z","repository":{"full_name":"o/r"}}`, "X-GitHub-Event", "push", "X-GitHub-Delivery", "d")
	if w.Code != 202 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	e := r.sink.Events()[0]
	if e.Type() != "com.example.push" || e.Source() != "/github/b" || e.Subject() != "o/r" || e.TimeText() != "2024-02-29T12:00:00Z" ||
		!strings.HasPrefix(e.ID(), "sha256-") || len(e.ID()) != 71 {
		t.Errorf("%s", event.AppendStructured(nil, e))
	}
	w = r.post("github", `{"at":"2024-02-29T12:00:00Z"}`, "X-GitHub-Event", "push", "X-GitHub-Delivery", "d")
	if p := problemOf(t, w); w.Code != 422 || !strings.Contains(p.Detail, "event.subject") || !strings.Contains(p.Detail, c.Event.Subject) {
		t.Errorf("a field that is missing: %d %s", w.Code, w.Body)
	}
	if strings.Join(r.rejected, ",") != "invalid" {
		t.Errorf("counted as %v", r.rejected)
	}
}

func TestSettingsReportWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		path   string
		says   string
	}{
		{"no preset", Config{Secret: component.NewSecret("x")}, "preset", "github"},
		{"an unknown preset", Config{Preset: "gitlab", Secret: component.NewSecret("x")}, "preset", "gitlab"},
		{"no secret", Config{Preset: "github"}, "secret", "required"},
		{"a secret that is not base64", Config{Preset: "standard-webhooks", Secret: component.NewSecret("whsec_!")}, "secret", "base64"},
		{"a secret that is short", Config{Preset: "standard-webhooks", Secret: component.NewSecret("whsec_AAAA")}, "secret", "24"},
		{"a setting of another preset", Config{Preset: "github", Secret: component.NewSecret("x"), Prefix: "v="}, "prefix", "hmac"},
		{"an unknown hash", Config{Preset: "hmac", Secret: component.NewSecret("x"), Header: "X", Encoding: "hex", Signed: "body", Algorithm: "md5"}, "algorithm", "md5"},
		{"a timestamp that is not signed", Config{Preset: "hmac", Secret: component.NewSecret("x"), Header: "X", Encoding: "hex", Signed: "body", Algorithm: "sha256", TimestampHeader: "T"}, "timestampHeader", "proves nothing"},
		{"a timestamp that is not named", Config{Preset: "hmac", Secret: component.NewSecret("x"), Header: "X", Encoding: "hex", Signed: "timestamp.body", Algorithm: "sha256"}, "timestampHeader", "name of the header"},
		{"an expression that does not compile", Config{Preset: "github", Secret: component.NewSecret("x"), Event: Event{Type: "request.headers["}}, "event.type", ""},
		{"a variable that is not there", Config{Preset: "github", Secret: component.NewSecret("x"), Event: Event{Type: "event.type"}}, "event.type", ""},
	} {
		if c.config.Tolerance == 0 {
			c.config.Tolerance = defaultTolerance
		}
		var p component.Problems
		c.config.Validate(&p)
		found := false
		for _, bad := range p.All {
			if strings.Join(bad.Path, ".") == c.path && strings.Contains(bad.Message, c.says) {
				found = true
			}
			if strings.Contains(bad.Message, "whsec_!") {
				t.Errorf("%s: the message has the secret", c.name)
			}
		}
		if !found || len(p.All) != 1 {
			t.Errorf("%s: %+v", c.name, p.All)
		}
	}
}

func TestConformance(t *testing.T) {
	for preset := range presets() {
		t.Run(preset, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{New: func(t *testing.T) sourcetest.Fixture { return fixture(preset) }})
		})
	}
}

func fixture(preset string) sourcetest.Fixture {
	var taken atomic.Int64
	bodyOf := func(n int) string { return fmt.Sprintf(`{"id":"%d","type":"tick","event_id":"%d"}`, n, n) }
	post := func(ctx context.Context, s sources.Source, body string, n int) error {
		server := httptest.NewServer(s.(sources.Hook))
		defer server.Close()
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			return err
		}
		for _, name := range []string{"X-GitHub-Delivery", "X-Shopify-Webhook-Id", "Webhook-Id"} {
			q.Header.Set(name, strconv.Itoa(n))
		}
		q.Header.Set("X-GitHub-Event", "tick")
		q.Header.Set("X-Shopify-Topic", "tick")
		q.Header.Set("Content-Type", "application/json")
		sign(q.Header, preset, body, time.Now())
		r, err := server.Client().Do(q)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusAccepted {
			return errors.New(r.Status)
		}
		taken.Add(1)
		return nil
	}
	return sourcetest.Fixture{
		Config:       settings(preset, secretOf(preset)),
		Send:         func(ctx context.Context, s sources.Source, n int) error { return post(ctx, s, bodyOf(n), n) },
		Invalid:      func(ctx context.Context, s sources.Source) { _ = post(ctx, s, "{", 9) },
		Acknowledged: func(*testing.T) int { return int(taken.Load()) },
		Check: func(t *testing.T, n int, e *event.Event) {
			if string(e.Data()) != bodyOf(n) || preset != "hmac" && e.ID() != strconv.Itoa(n) {
				t.Errorf("request %d became %s", n, event.AppendStructured(nil, e))
			}
		},
	}
}
