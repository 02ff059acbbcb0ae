package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/sourcetest"
)

const patience = 20 * time.Second

// embedded starts a server in this process.
func embedded(t *testing.T, change ...func(*natsserver.Options)) (url, monitor string) {
	t.Helper()
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}
	for _, f := range change {
		f(o)
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s.ClientURL(), "http://" + s.MonitorAddr().String()
}

// binary starts the nats-server that is installed.
func binary(t *testing.T) (url, monitor string) {
	t.Helper()
	path, err := exec.LookPath("nats-server")
	if err != nil {
		if os.Getenv("SWITCHYARD_REQUIRE") == "all" {
			t.Fatal("nats-server is not installed, and SWITCHYARD_REQUIRE=all")
		}
		t.Skip("nats-server is not installed")
	}
	port, http := freePort(t), freePort(t)
	dir := t.TempDir()
	cmd := exec.Command(path, "-a", "127.0.0.1", "-p", port, "-m", http, "-js", "-sd", dir, "-l", filepath.Join(dir, "log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	return "nats://127.0.0.1:" + port, "http://127.0.0.1:" + http
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// subscribed asks the server whether anyone has subscribed to subject.
func subscribed(t *testing.T, monitor, subject string) bool {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(monitor + "/subsz?subs=1&limit=10000")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct {
		List []struct{ Subject string } `json:"subscriptions_list"`
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for _, s := range answer.List {
		if s.Subject == subject {
			return true
		}
	}
	return false
}

// dial connects a client of the test, waiting for the server if need be.
func dial(t *testing.T, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	connected := make(chan struct{})
	options = append(options, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ConnectHandler(func(*nats.Conn) { close(connected) }))
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	select {
	case <-connected:
	case <-time.After(patience):
		t.Fatal("the server does not answer")
	}
	return nc
}

// until waits until ok returns true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-timeout.C:
			t.Fatalf("it never came that %s", what)
		}
	}
}

func config(url string) *Config {
	c := Spec().New().(*Config)
	c.URL = url
	return c
}

func makeStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Storage: jetstream.FileStorage}); err != nil {
		t.Fatal(err)
	}
	return js
}

func input(n int) *nats.Msg {
	return &nats.Msg{
		Subject: fmt.Sprintf("orders.eu.%d", n),
		Header:  nats.Header{nats.MsgIdHdr: []string{fmt.Sprintf("m%d", n)}},
		Data:    fmt.Appendf(nil, `{"n": %d}`, n),
	}
}

func checkInput(source, id string) func(*testing.T, int, *event.Event) {
	return func(t *testing.T, n int, e *event.Event) {
		t.Helper()
		if !strings.HasPrefix(e.ID(), strings.ReplaceAll(id, "%d", strconv.Itoa(n))) || e.Type() != "nats.message" || e.Source() != source ||
			e.Subject() != fmt.Sprintf("orders.eu.%d", n) || string(e.Data()) != fmt.Sprintf(`{"n": %d}`, n) || e.DataContentType() != "application/json" {
			t.Errorf("message %d became %s", n, event.AppendStructured(nil, e))
		}
	}
}

func badInput() *nats.Msg {
	return &nats.Msg{Subject: "orders.bad", Header: nats.Header{"content-type": []string{"application/cloudevents+json"}}, Data: []byte(`{"specversion":"1.0"}`)}
}

func coreFixture(t *testing.T, url, monitor string) sourcetest.Fixture {
	nc := dial(t, url)
	c := config(url)
	c.Subject = "orders.>"
	send := func(m *nats.Msg) error {
		if err := nc.PublishMsg(m); err != nil {
			return err
		}
		return nc.Flush()
	}
	return sourcetest.Fixture{
		Config: c,
		// A subscription is there once the server has someone to send to.
		Ready: func(t *testing.T) {
			until(t, "the source has subscribed", func() bool { return subscribed(t, monitor, "orders.>") })
		},
		Send:    func(_ context.Context, _ sources.Source, n int) error { return send(input(n)) },
		Invalid: func(context.Context, sources.Source) { _ = send(badInput()) },
		Check:   checkInput(url+"/orders.%3E", "m%d"),
	}
}

func streamFixture(t *testing.T, url string) sourcetest.Fixture {
	nc := dial(t, url)
	js := makeStream(t, nc)
	c := config(url)
	c.Stream, c.Durable = "ORDERS", "switchyard"
	return sourcetest.Fixture{
		Config: c,
		Random: true, // sent twice, a message has two places in the stream
		Send: func(ctx context.Context, _ sources.Source, n int) error {
			m := input(n)
			m.Header = nil
			_, err := js.PublishMsg(ctx, m)
			return err
		},
		Invalid: func(ctx context.Context, _ sources.Source) { _, _ = js.PublishMsg(ctx, badInput()) },
		Check:   checkInput(url+"/ORDERS", "ORDERS:"),
		Acknowledged: func(t *testing.T) int {
			consumer, err := js.Consumer(context.Background(), "ORDERS", "switchyard")
			if err != nil {
				t.Fatal(err)
			}
			return int(consumer.CachedInfo().AckFloor.Stream)
		},
	}
}

func TestConformance(t *testing.T) {
	for _, server := range []struct {
		name  string
		start func(*testing.T) (url, monitor string)
	}{{"embedded", func(t *testing.T) (string, string) { return embedded(t) }}, {"binary", binary}} {
		t.Run(server.name+"/core", func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{New: func(t *testing.T) sourcetest.Fixture {
				url, monitor := server.start(t)
				return coreFixture(t, url, monitor)
			}})
		})
		t.Run(server.name+"/stream", func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{New: func(t *testing.T) sourcetest.Fixture {
				url, _ := server.start(t)
				return streamFixture(t, url)
			}})
		})
	}
}
