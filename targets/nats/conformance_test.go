package nats

import (
	"context"
	"fmt"
	nethttp "net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

const testSubject = "crm.orders"

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name      string
		mode      string
		jetStream bool
	}{
		{"structured", Structured, false},
		{"binary", Binary, false},
		{"structured to JetStream", Structured, true},
		{"binary to JetStream", Binary, true},
	} {
		for _, s := range []struct {
			name  string
			start func(testing.TB) string
		}{{"embedded", func(t testing.TB) string { return embedded(t) }}, {"installed", installed}} {
			t.Run(c.name+" on the "+s.name+" server", func(t *testing.T) {
				if s.name == "installed" {
					needServer(t)
				}
				targettest.Run(t, targettest.Harness{
					CarriesID:    true,
					Deduplicates: c.jetStream,
					New: func(t *testing.T) *targettest.Receiver {
						return newReceiver(t, s.start(t), c.mode, c.jetStream)
					},
				})
			})
		}
	}
}

// needServer skips the test, visibly, without nats-server; with
// SWITCHYARD_REQUIRE=all it fails.
func needServer(t *testing.T) {
	if _, err := exec.LookPath("nats-server"); err == nil {
		return
	}
	if os.Getenv("SWITCHYARD_REQUIRE") == "all" {
		t.Fatal("nats-server is not installed, and SWITCHYARD_REQUIRE=all")
	}
	t.Skip("nats-server is not installed")
}

func newReceiver(t *testing.T, server, mode string, jetStream bool) *targettest.Receiver {
	proxy := targettest.NewProxy(t, server)
	c := NewConfig()
	c.URL, c.Subject, c.Mode, c.JetStream = "nats://"+proxy.Address(), testSubject, mode, jetStream
	arrived := listen(t, server)
	if jetStream {
		arrived = stream(t, server)
	}
	return &targettest.Receiver{
		Config:    c,
		Unwelcome: tooLarge(t),
		Set: func(b targettest.Behaviour) {
			if b == targettest.RefuseForGood {
				b = targettest.Accept // refused for what it is
			}
			proxy.Set(b)
		},
		Arrived: arrived,
	}
}

// tooLarge is an event that is larger than servers take by default.
func tooLarge(t *testing.T) *event.Event {
	b := event.NewBuilder()
	for _, a := range [][2]string{{"id", "large"}, {"source", "/s"}, {"type", "t"}} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	b.SetData("application/octet-stream", make([]byte, 2<<20))
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func dial(t testing.TB, server string) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect("nats://" + server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// listen subscribes, past the proxy.
func listen(t *testing.T, server string) func(int) []targettest.Arrival {
	nc := dial(t, server)
	var mu sync.Mutex
	more := sync.NewCond(&mu)
	var arrived []targettest.Arrival
	if _, err := nc.Subscribe(testSubject, func(m *natsgo.Msg) {
		a := arrival(t, m.Header, m.Data)
		mu.Lock()
		defer mu.Unlock()
		arrived = append(arrived, a)
		more.Broadcast()
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return func(n int) []targettest.Arrival {
		late := false
		timer := time.AfterFunc(patience, func() {
			mu.Lock()
			defer mu.Unlock()
			late = true
			more.Broadcast()
		})
		defer timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		for len(arrived) < n && !late {
			more.Wait()
		}
		return arrived
	}
}

// stream makes a stream, past the proxy, and reads it.
func stream(t *testing.T, server string) func(int) []targettest.Arrival {
	js, err := jetstream.New(dial(t, server))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "CRM", Subjects: []string{"crm.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return func(int) (arrived []targettest.Arrival) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		info, err := s.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range info.State.LastSeq {
			m, err := s.GetMsg(ctx, i+1)
			if err != nil {
				t.Fatal(err)
			}
			arrived = append(arrived, arrival(t, m.Header, m.Data))
		}
		return arrived
	}
}

// arrival reads a message as the CloudEvents NATS binding says.
func arrival(t testing.TB, h natsgo.Header, data []byte) targettest.Arrival {
	e, err := read(h, data)
	if err != nil {
		t.Errorf("%v: %v %.200q", err, h, data)
		e = &event.Event{}
	}
	return targettest.Arrival{ID: h.Get("Nats-Msg-Id"), Event: e}
}

func read(h natsgo.Header, data []byte) (*event.Event, error) {
	limits := event.Limits{MaxEventSize: 1 << 20}
	switch h.Get("Content-Type") {
	case "application/cloudevents+json":
		return event.FromStructured(data, limits)
	case "":
	default:
		return nil, fmt.Errorf("the content type is %q", h.Get("Content-Type"))
	}
	in := nethttp.Header{}
	for name, values := range h {
		if name == "ce-datacontenttype" {
			name = "content-type"
			for i, v := range values {
				values[i] = unescape(v)
			}
		}
		for _, v := range values {
			in.Add(name, v)
		}
	}
	return event.FromBinary(in, data, limits)
}
