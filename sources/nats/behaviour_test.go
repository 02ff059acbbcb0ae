package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/sourcetest"
)

// started is a source that runs.
type started struct {
	sink     *sourcetest.Sink
	rejected atomic.Int64
	failing  atomic.Pointer[error] // to what was said last
	stop     func() error
}

func run(t *testing.T, c *Config, sink *sourcetest.Sink) *started {
	t.Helper()
	r := &started{sink: sink}
	s, err := c.Build(sources.Env{
		Name: "legacy", Bus: "test", Logger: slog.New(slog.DiscardHandler), Sink: sink, State: &sourcetest.State{},
		Rejected: func(string) { r.rejected.Add(1) }, Failing: func(err error) { r.failing.Store(&err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.(sources.Runner).Run(ctx) }()
	r.stop = func() error {
		cancel()
		select {
		case err := <-done:
			done <- err
			return err
		case <-time.After(patience):
			return errors.New("Run goes on")
		}
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// says waits until the source says that it fails with what has text in it, or,
// with "", that it works.
func (r *started) says(t *testing.T, text string) {
	t.Helper()
	until(t, fmt.Sprintf("the source says %q", text), func() bool {
		err := r.failing.Load()
		return err != nil && (text == "" && *err == nil || text != "" && *err != nil && strings.Contains((*err).Error(), text))
	})
}

func (r *started) kept(t *testing.T, n int) []*event.Event {
	t.Helper()
	until(t, fmt.Sprintf("%d events are kept", n), func() bool { return len(r.sink.Events()) >= n })
	return r.sink.Events()
}

func builtSource(t *testing.T, c *Config) *source {
	t.Helper()
	s, err := c.Build(sources.Env{Name: "legacy", Logger: slog.New(slog.DiscardHandler), Failing: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*source)
}

func TestMessagesBecomeEvents(t *testing.T) {
	c := config("nats://example.com:4222")
	c.Subject = "orders.*"
	s := builtSource(t, c)
	for _, test := range []struct {
		name string
		msg  message
		want string // the events, structured; or "!" and a part of the error
	}{
		{"JSON", message{subject: "orders.eu", data: []byte(`{"a": 1}`), place: "S:1:2"},
			`{"specversion":"1.0","id":"S:1:2","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"orders.eu","datacontenttype":"application/json","data":{"a": 1}}`},
		{"text", message{subject: "o", data: []byte("héllo"), place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","datacontenttype":"text/plain; charset=utf-8","data":"héllo"}`},
		{"bytes", message{subject: "o", data: []byte{0xff, 0}, place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","datacontenttype":"application/octet-stream","data_base64":"/wA="}`},
		{"nothing", message{subject: "o", place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o"}`},
		{"JSON with a key twice", message{subject: "o", data: []byte(`{"a":1,"a":2}`), place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","datacontenttype":"text/plain; charset=utf-8","data":"{\"a\":1,\"a\":2}"}`},
		{"a content type that is kept", message{subject: "o", header: nats.Header{"content-type": {"application/xml"}}, data: []byte("<a/>"), place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","datacontenttype":"application/xml","data":"<a/>"}`},
		{"a content type that is not true", message{subject: "o", header: nats.Header{"content-type": {"application/json"}}, data: []byte("{"), place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","datacontenttype":"text/plain; charset=utf-8","data":"{"}`},
		{"an id of its own, and a trace", message{subject: "o", header: nats.Header{"Nats-Msg-Id": {"own"}, "traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}, place: "p"},
			`{"specversion":"1.0","id":"own","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`},
		{"a structured CloudEvent", message{subject: "o", header: nats.Header{"Content-Type": {"application/cloudevents+json; charset=UTF-8"}}, data: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)},
			`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`},
		{"a structured CloudEvent that does not say so", message{subject: "o", data: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1}`)},
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":1}`},
		{"a binary CloudEvent", message{subject: "o", header: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-own": {"a%20b"}, "content-type": {"application/json"}}, data: []byte("[1]")},
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","own":"a b","data":[1]}`},
		{"a binary CloudEvent with its content type among the others", message{subject: "o", header: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-datacontenttype": {"application/json"}}, data: []byte("[1]")},
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":[1]}`},
		{"a batch of CloudEvents", message{subject: "o", header: nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, data: []byte(`[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"specversion":"1.0","id":"2","source":"/s","type":"t"}]`)},
			`{"specversion":"1.0","id":"1","source":"/s","type":"t"}{"specversion":"1.0","id":"2","source":"/s","type":"t"}`},
		{"JSON that mentions the word", message{subject: "o", data: []byte(`{"a":"specversion"}`), place: "p"},
			`{"specversion":"1.0","id":"p","source":"nats://example.com:4222/orders.%2A","type":"nats.message","subject":"o","datacontenttype":"application/json","data":{"a":"specversion"}}`},
		{"a structured CloudEvent that is not whole", message{subject: "o", data: []byte(`{"specversion":"1.0","id":"1"}`)}, "!required"},
		{"a binary CloudEvent that is not whole", message{subject: "o", header: nats.Header{"ce-specversion": {"1.0"}}}, "!required"},
		{"a binary CloudEvent with wrong data", message{subject: "o", header: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "content-type": {"application/json"}}, data: []byte(`{}, "source":"/admin"`)}, "!JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			events, err := s.events(test.msg)
			if want, bad := strings.CutPrefix(test.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want an error with %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for _, e := range events {
				got = event.AppendStructured(got, e)
			}
			if string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestCredentialsAreUsedAndNeverShown(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("user and password", func(t *testing.T) {
		url, monitor := embedded(t, func(o *natsserver.Options) { o.Username, o.Password = "u", "hush" })
		c := config(url)
		c.Subject, c.Username, c.Password = "a", "u", component.NewSecret("hush")
		r := run(t, c, &sourcetest.Sink{})
		until(t, "the source has subscribed", func() bool { return subscribed(t, monitor, "a") })
		nc := dial(t, url, nats.UserInfo("u", "hush"))
		if err := nc.Publish("a", []byte("1")); err != nil {
			t.Fatal(err)
		}
		if e := r.kept(t, 1)[0]; strings.Contains(string(event.AppendStructured(nil, e)), "hush") {
			t.Error("the event has the password")
		}
	})
	t.Run("token", func(t *testing.T) {
		url, monitor := embedded(t, func(o *natsserver.Options) { o.Authorization = "hush" })
		c := config(url)
		c.Subject, c.Token = "a", component.NewSecret("hush")
		run(t, c, &sourcetest.Sink{})
		until(t, "the source has subscribed", func() bool { return subscribed(t, monitor, "a") })
	})
}

func TestAQueueGroupSharesTheMessages(t *testing.T) {
	url, monitor := embedded(t)
	c := config(url)
	c.Subject, c.Queue = "a", "q"
	sink := &sourcetest.Sink{}
	run(t, c, sink)
	until(t, "the source has subscribed", func() bool { return subscribed(t, monitor, "a") })
	nc := dial(t, url)
	other, err := nc.QueueSubscribeSync("a", "q")
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	for range n {
		if err := nc.Publish("a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	until(t, "all messages arrived once", func() bool {
		theirs, _, err := other.Pending()
		return err == nil && theirs+len(sink.Events()) == n
	})
	if len(sink.Events()) == 0 || len(sink.Events()) == n {
		t.Errorf("the source got %d of %d", len(sink.Events()), n)
	}
}

// TestAStreamIsConsumedThroughTrouble: the server restarts, the sink fails, the
// source restarts, and every message becomes one event, in the end.
func TestAStreamIsConsumedThroughTrouble(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	boot := func(port int) *natsserver.Server {
		s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(patience) {
			t.Fatal("the server does not start")
		}
		return s
	}
	server := boot(-1)
	halt := func() {
		server.Shutdown()
		server.WaitForShutdown()
	}
	defer func() { halt() }()
	url := server.ClientURL()
	port := server.Addr().String()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js := makeStream(t, nc)
	offer := func(from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			until(t, "the stream takes a message", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, err := js.Publish(ctx, fmt.Sprintf("orders.%d", n), fmt.Appendf(nil, `%d`, n), jetstream.WithMsgID(fmt.Sprintf("m%d", n)))
				return err == nil
			})
		}
	}
	c := config(url)
	c.Stream, c.Durable = "ORDERS", "switchyard"
	sink := &sourcetest.Sink{Dedupe: true}
	first := run(t, c, sink)
	offer(1, 300)
	first.kept(t, 300)
	sink.Fail(errors.New("disk full"), 3)
	offer(301, 320)
	first.kept(t, 320)
	halt()
	first.says(t, "connect")
	var number int
	if _, err := fmt.Sscanf(port[strings.LastIndex(port, ":")+1:], "%d", &number); err != nil {
		t.Fatal(err)
	}
	server = boot(number)
	offer(321, 340)
	first.kept(t, 340)
	first.says(t, "")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	offer(341, 350)
	second := run(t, c, sink)
	events := second.kept(t, 350)
	seen := map[string]bool{}
	for _, e := range events {
		seen[e.ID()] = true
	}
	if len(events) != 350 || len(seen) != 350 {
		t.Errorf("%d events, %d ids", len(events), len(seen))
	}
	consumer, err := js.Consumer(context.Background(), "ORDERS", "switchyard")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "all are acknowledged", func() bool {
		info, err := consumer.Info(context.Background())
		return err == nil && info.NumAckPending == 0 && info.NumPending == 0
	})
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestAStreamThatComesLaterIsConsumed(t *testing.T) {
	url, _ := embedded(t)
	c := config(url)
	c.Stream, c.Durable, c.Subject = "ORDERS", "switchyard", "orders.eu.>"
	r := run(t, c, &sourcetest.Sink{})
	r.says(t, "not consuming the stream ORDERS: nats: API error: code=404 err_code=10059 description=stream not found")
	nc := dial(t, url)
	js := makeStream(t, nc)
	for _, subject := range []string{"orders.us.1", "orders.eu.1"} {
		if _, err := js.Publish(context.Background(), subject, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	e := r.kept(t, 1)[0]
	r.says(t, "")
	if e.Subject() != "orders.eu.1" || !strings.HasPrefix(e.ID(), "ORDERS:2:") || e.TimeText() == "" {
		t.Errorf("%s", event.AppendStructured(nil, e))
	}
}

func TestAConsumerThatDoesNotAcknowledgeIsRefused(t *testing.T) {
	url, _ := embedded(t)
	js := makeStream(t, dial(t, url))
	if _, err := js.CreateConsumer(context.Background(), "ORDERS", jetstream.ConsumerConfig{Durable: "loose", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	c := config(url)
	c.Stream, c.Durable = "ORDERS", "loose"
	s := builtSource(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Run(ctx); !errors.Is(err, errConsumer) || !strings.Contains(err.Error(), "explicit") {
		t.Errorf("%v", err)
	}
}

func TestOneBadMessageOfABatchDoesNotHoldUpTheOthers(t *testing.T) {
	url, _ := embedded(t)
	js := makeStream(t, dial(t, url))
	for n := range 20 {
		m := &nats.Msg{Subject: "orders.x", Data: fmt.Appendf(nil, "%d", n)}
		if n%5 == 0 {
			m = badInput()
		}
		if _, err := js.PublishMsg(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	c := config(url)
	c.Stream, c.Durable = "ORDERS", "switchyard"
	sink := &sourcetest.Sink{}
	sink.Fail(&sources.InvalidError{Err: errors.New("one is too large")}, 1) // the batch; then one by one
	r := run(t, c, sink)
	until(t, "every message is settled", func() bool { return len(sink.Events())+int(r.rejected.Load()) == 20 })
	if n := len(sink.Events()); n < 15 || n > 16 {
		t.Errorf("%d events", n)
	}
}

func TestASourceWithoutItsServerStopsSoon(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, stream := range []string{"", "ORDERS"} {
		c := config("nats://127.0.0.1:1")
		c.Subject, c.Stream = "a", stream
		if stream != "" {
			c.Durable = "d"
		}
		r := run(t, c, &sourcetest.Sink{})
		r.says(t, "connection refused")
		begin := time.Now()
		if err := r.stop(); err != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("stream %q: %v after %v", stream, err, time.Since(begin))
		}
	}
}

func TestSettingsReportWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		path   string
		change func(*Config)
	}{
		{"url", func(c *Config) { c.URL = "" }},
		{"url", func(c *Config) { c.URL = "http://h" }},
		{"url", func(c *Config) { c.URL = "nats://u:secretly@h" }},
		{"url", func(c *Config) { c.URL = "nats://a,nats://u:secretly@h:x" }},
		{"subject", func(c *Config) { c.Subject = "" }},
		{"subject", func(c *Config) { c.Subject = "a..b" }},
		{"subject", func(c *Config) { c.Subject = "a.>.b" }},
		{"stream", func(c *Config) { c.Durable = "d" }},
		{"stream", func(c *Config) { c.Stream, c.Durable = "a.b", "d" }},
		{"durable", func(c *Config) { c.Stream = "S" }},
		{"queue", func(c *Config) { c.Stream, c.Durable, c.Queue = "S", "d", "q" }},
		{"token", func(c *Config) { c.Token, c.CredsFile = component.NewSecret("t"), "f" }},
		{"username", func(c *Config) { c.Password = component.NewSecret("p") }},
		{"inFlight", func(c *Config) { c.InFlight = 0 }},
		{"event.type", func(c *Config) { c.Event.Type = "" }},
		{"event.source", func(c *Config) { c.Event.Source = "a b" }},
	} {
		set := config("nats://127.0.0.1:4222")
		set.Subject = "a"
		c.change(set)
		var p component.Problems
		set.Validate(&p)
		if len(p.All) != 1 || strings.Join(p.All[0].Path, ".") != c.path || strings.Contains(p.All[0].Message, "secretly") {
			t.Errorf("%s: %+v", c.path, p.All)
		}
	}
}
