package nats

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	cenats "github.com/cloudevents/sdk-go/protocol/nats/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	natsserver "github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

func unescape(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return out
}

func newTarget(t *testing.T, c *Config, env targets.Env) targets.Target {
	t.Helper()
	env.Logger = slog.New(slog.DiscardHandler)
	target, err := c.Build(env)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func configFor(server string) *Config {
	c := NewConfig()
	c.URL, c.Subject = "nats://"+server, testSubject
	return c
}

func deliveryOf(t *testing.T, data string) *targets.Delivery {
	t.Helper()
	e, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"100% €","n":7,"data":`+data+`}`), event.Limits{MaxEventSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return &targets.Delivery{ID: "01JD0001", Subscription: "r/t", Bus: "b", Sequence: 1, Attempt: 1, Event: e}
}

func next(t *testing.T, sub *natsgo.Subscription) *natsgo.Msg {
	t.Helper()
	m, err := sub.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func subscribe(t *testing.T, server string) *natsgo.Subscription {
	t.Helper()
	nc := dial(t, server)
	sub, err := nc.SubscribeSync(testSubject)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestSDKReadsWhatIsSent(t *testing.T) {
	server := embedded(t)
	sub := subscribe(t, server)
	target := newTarget(t, configFor(server), targets.Env{})
	for _, s := range targettest.Samples(t) {
		if s.Name == "an event as the data" || s.Name == "a batch as the data" {
			continue // the SDK does not read these content types as data
		}
		if err := target.Deliver(t.Context(), &targets.Delivery{ID: "d", Attempt: 1, Event: s.Event}); err != nil {
			t.Fatal(err)
		}
		got, err := binding.ToEvent(t.Context(), cenats.NewMessage(next(t, sub)))
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		back, err := event.FromSDK(*got)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		want, err := s.Event.SDK()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := event.FromSDK(want) // the SDK writes times in UTC
		if err != nil {
			t.Fatal(err)
		}
		if diff := targettest.Difference(ours, back); diff != "" {
			t.Errorf("%s: %s", s.Name, diff)
		}
	}
}

func TestMessageForms(t *testing.T) {
	server := embedded(t)
	sub := subscribe(t, server)
	for mode, want := range map[string]struct {
		headers map[string]string
		data    string
	}{
		Structured: {map[string]string{"Content-Type": "application/cloudevents+json", "Nats-Msg-Id": "01JD0001"},
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"100% €","datacontenttype":"application/json","n":7,"data":{"a":1}}`},
		Binary: {map[string]string{"Nats-Msg-Id": "01JD0001", "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t",
			"ce-subject": "100%25%20%E2%82%AC", "ce-datacontenttype": "application/json", "ce-n": "7"}, `{"a":1}`},
	} {
		c := configFor(server)
		c.Mode = mode
		d := deliveryOf(t, `{"a":1}`)
		if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		m := next(t, sub)
		if len(m.Header) != len(want.headers) || string(m.Data) != want.data {
			t.Errorf("%s: sent %v %s", mode, m.Header, m.Data)
		}
		for name, v := range want.headers {
			if m.Header.Get(name) != v {
				t.Errorf("%s: header %s is %q, not %q", mode, name, m.Header.Get(name), v)
			}
		}
		if d.Answer.Address != server {
			t.Errorf("the address is %q", d.Answer.Address)
		}
	}
}

func TestServerWithoutHeaders(t *testing.T) {
	server := embedded(t, func(o *natsserver.Options) { o.NoHeaderSupport = true; o.JetStream = false })
	sub := subscribe(t, server)
	c := configFor(server)
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(t, `1`)); err != nil {
		t.Error(err)
	}
	if m := next(t, sub); len(m.Header) != 0 || !strings.Contains(string(m.Data), `"data":1`) {
		t.Errorf("sent %v %s", m.Header, m.Data)
	}
	c.Mode = Binary
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(t, `1`)); err == nil || targets.IsPermanent(err) {
		t.Errorf("the error is %v", err)
	}
}

func check(t *testing.T, err error, permanent bool, text string) {
	t.Helper()
	if err == nil || targets.IsPermanent(err) != permanent || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v; want one with %q, permanent: %v", err, text, permanent)
	}
}

func TestTooLargeIsPermanent(t *testing.T) {
	server := embedded(t)
	large := deliveryOf(t, `"`+strings.Repeat("x", 2<<20)+`"`)
	for _, js := range []bool{false, true} {
		c := configFor(server)
		c.JetStream = js
		check(t, newTarget(t, c, targets.Env{}).Deliver(t.Context(), large), true, "larger than the server takes (1048576 bytes)")
	}
}

func newStream(t *testing.T, server string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	js, err := jetstream.New(dial(t, server))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config := jetstream.StreamConfig{Name: "CRM", Subjects: []string{"crm.>"}}
	change(&config)
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
}

func TestStreamsThatRefuse(t *testing.T) {
	t.Run("no stream has the subject", func(t *testing.T) {
		c := configFor(embedded(t))
		c.JetStream = true
		check(t, newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(t, `1`)), true, `no stream has the subject "crm.orders"`)
	})
	t.Run("JetStream is off", func(t *testing.T) {
		c := configFor(embedded(t, func(o *natsserver.Options) { o.JetStream = false }))
		c.JetStream = true
		check(t, newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(t, `1`)), false, `no stream answers on the subject "crm.orders"`)
	})
	t.Run("the message is too large for the stream", func(t *testing.T) {
		server := embedded(t)
		newStream(t, server, func(s *jetstream.StreamConfig) { s.MaxMsgSize = 100 })
		c := configFor(server)
		c.JetStream = true
		check(t, newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(t, `"`+strings.Repeat("x", 200)+`"`)), true, "the stream refuses the message: message size exceeds maximum allowed")
	})
	t.Run("the stream is full", func(t *testing.T) {
		server := embedded(t)
		newStream(t, server, func(s *jetstream.StreamConfig) { s.MaxMsgs, s.Discard = 1, jetstream.DiscardNew })
		c := configFor(server)
		c.JetStream = true
		target := newTarget(t, c, targets.Env{})
		if err := target.Deliver(t.Context(), deliveryOf(t, `1`)); err != nil {
			t.Fatal(err)
		}
		d := deliveryOf(t, `1`)
		d.ID = "01JD0002"
		check(t, target.Deliver(t.Context(), d), false, "maximum messages exceeded")
	})
}

func TestLogins(t *testing.T) {
	users := embedded(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{
			{Username: "good", Password: "pw"},
			{Username: "reader", Password: "pw", Permissions: &natsserver.Permissions{Publish: &natsserver.SubjectPermission{Deny: []string{"crm.>"}}}},
		}
	})
	token := embedded(t, func(o *natsserver.Options) { o.Authorization = "s3cret" })
	for _, c := range []struct {
		name, server, username, password, token, want string
	}{
		{"a good user", users, "good", "pw", "", ""},
		{"a bad password", users, "good", "no", "", "the server refuses the login (Authorization Violation)"},
		{"no user", users, "", "", "", "the server refuses the login"},
		{"no permission", users, "reader", "pw", "", `the server does not permit publishing to "crm.orders"`},
		{"a good token", token, "", "", "s3cret", ""},
		{"a bad token", token, "", "", "no", "the server refuses the login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := configFor(c.server)
			config.Username, config.Password, config.Token = c.username, component.NewSecret(c.password), component.NewSecret(c.token)
			target := newTarget(t, config, targets.Env{})
			for range 2 {
				err := target.Deliver(t.Context(), deliveryOf(t, `1`))
				if c.want == "" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				check(t, err, false, c.want)
				if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "pw") {
					t.Errorf("the error %v shows a secret", err)
				}
			}
		})
	}
	t.Run("no credentials file", func(t *testing.T) {
		config := configFor(users)
		config.CredsFile = "/nowhere/user.creds"
		check(t, newTarget(t, config, targets.Env{}).Deliver(t.Context(), deliveryOf(t, `1`)), false, "/nowhere/user.creds")
	})
}

func TestRefusalOfTheDialIsPermanent(t *testing.T) {
	forbidden := errors.New("10.0.0.1 is a private address")
	c := NewConfig()
	c.URL, c.Subject = "nats://10.0.0.1:4222", testSubject
	target := newTarget(t, c, targets.Env{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &targets.Permanent{Err: forbidden}}
	}})
	check(t, target.Deliver(t.Context(), deliveryOf(t, `1`)), true, "not connected to nats://10.0.0.1:4222: 10.0.0.1 is a private address")
	c.URL = "nats://10.0.0.1:4222, nats://10.0.0.2:4222"
	target = newTarget(t, c, targets.Env{Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "10.0.0.1:") {
			return nil, &targets.Permanent{Err: forbidden}
		}
		return nil, errors.New("no route to host")
	}})
	check(t, target.Deliver(t.Context(), deliveryOf(t, `1`)), false, "no route to host")
}

func TestConnectionRefusedIsReadable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	err = newTarget(t, configFor(address), targets.Env{}).Deliver(t.Context(), deliveryOf(t, `1`))
	check(t, err, false, "not connected to nats://"+address+": connection refused")
}

func TestTimeout(t *testing.T) {
	proxy := targettest.NewProxy(t, embedded(t))
	c := configFor(proxy.Address())
	c.Timeout = 100 * time.Millisecond
	target := newTarget(t, c, targets.Env{})
	connected := false
	for end := time.Now().Add(patience); !connected && time.Now().Before(end); {
		connected = target.Deliver(t.Context(), deliveryOf(t, `1`)) == nil // a busy machine may need more than one
	}
	proxy.Set(targettest.Hang)
	check(t, target.Deliver(t.Context(), deliveryOf(t, `1`)), false, "timeout after 100ms")
}

func TestValidate(t *testing.T) {
	const url = `url: "nats://a:4222", `
	for _, c := range []struct{ name, yaml, want string }{
		{"the least", `{` + url + `subject: crm.orders}`, ""},
		{"all", `{url: "tls://a:4222, b:4222,wss://c", subject: crm.orders, jetStream: true, mode: binary, timeout: 3s, username: u, password: p}`, ""},
		{"nothing", `{}`, "url: is required; give the address of a NATS server, such as nats://127.0.0.1:4222\nsubject: is required; give the subject that events are published to"},
		{"scheme", `{url: "http://a", subject: a}`, `url: scheme "http" is not supported; use nats, tls, ws or wss`},
		{"empty address", `{url: "nats://a,,", subject: a}`, "url: an address cannot be read; write it like nats://host:4222\nurl: an address cannot be read; write it like nats://host:4222"},
		{"userinfo", `{url: "nats://u:p@a", subject: a}`, "url: an address must not hold credentials, for it is shown; use token, username and password, or credsFile"},
		{"wildcard", `{` + url + `subject: crm.*}`, "subject: must not hold the wildcard *; events are published to one subject"},
		{"full wildcard", `{` + url + `subject: crm.>}`, "subject: must not hold the wildcard >; events are published to one subject"},
		{"empty part", `{` + url + `subject: crm..x}`, "subject: has an empty part; check the dots"},
		{"space", `{` + url + `subject: "crm x"}`, "subject: must not hold spaces or control characters"},
		{"expression", `{` + url + `subject: "crm.${{ event.type }}"}`, "subject: cannot hold an expression; give one plain subject"},
		{"mode", `{` + url + `subject: a, mode: data}`, `mode: "data" is not a mode; use structured or binary`},
		{"time", `{` + url + `subject: a, timeout: -1s}`, "timeout: -1s is out of range; use more than 0s and at most 15m"},
		{"two logins", `{` + url + `subject: a, token: x, credsFile: y}`, "token: token, username and credsFile exclude each other; keep one"},
		{"password alone", `{` + url + `subject: a, password: y}`, "password: needs a username"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Spec().New().(*Config)
			if err := yaml.Unmarshal([]byte(c.yaml), config); err != nil {
				t.Fatal(err)
			}
			var p component.Problems
			config.Validate(&p)
			var lines []string
			for _, problem := range p.All {
				lines = append(lines, strings.Join(problem.Path, ".")+": "+problem.Message)
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("the problems are\n%s\nnot\n%s", got, c.want)
			}
			if _, err := config.Build(targets.Env{}); (err == nil) != (c.want == "") {
				t.Errorf("Build: %v", err)
			}
		})
	}
}
