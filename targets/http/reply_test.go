package http

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

func TestRepliesThatAreEvents(t *testing.T) {
	const structured = `{"specversion":"1.0","id":"2","source":"/billing","type":"com.example.billed","subject":"Euro €","datacontenttype":"application/json","data":{"n":1}}`
	attributes := []string{"ce-specversion: 1.0", "ce-id: 2", "ce-source: /billing", "ce-type: com.example.billed"}
	binary := append([]string{"ce-subject: Euro%20%E2%82%AC", "Content-Type: application/json"}, attributes...)
	large := `{"specversion":"1.0","id":"2","source":"/billing","type":"t","data":"` + strings.Repeat("x", maxReply) + `"}`
	almost := strings.Replace(large, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "", 1)
	for name, c := range map[string]struct {
		status  int
		headers []string
		body    string
		want    string // the reply; "" is none
		log     string // what the log says; "" is nothing
	}{
		"structured":            {200, []string{"Content-Type: application/cloudevents+json"}, structured, structured, ""},
		"structured, a charset": {200, []string{"Content-Type: Application/CloudEvents+JSON; charset=UTF-8"}, structured, structured, ""},
		"binary":                {200, binary, `{"n":1}`, structured, ""},
		"binary without data":   {200, attributes, "", `{"specversion":"1.0","id":"2","source":"/billing","type":"com.example.billed"}`, ""},
		"up to 1 MiB":           {200, []string{"Content-Type: application/cloudevents+json"}, almost, almost, ""},
		"another status":        {202, binary, `{"n":1}`, "", ""},
		"no event":              {200, []string{"Content-Type: application/json"}, structured, "", ""},
		"text":                  {200, []string{"Content-Type: text/plain"}, "ok", "", ""},
		"nothing":               {200, nil, "", "", ""},
		"a batch":               {200, []string{"Content-Type: application/cloudevents-batch+json"}, "[" + structured + "]", "", "it is a batch"},
		"half an event":         {200, []string{"ce-specversion: 1.0", "ce-id: 2"}, "", "", "source"},
		"not JSON":              {200, []string{"Content-Type: application/cloudevents+json"}, "{", "", "an object's key should stand here"},
		"another format":        {200, []string{"Content-Type: application/cloudevents+avro"}, "x", "", "not supported"},
		"more than 1 MiB":       {200, []string{"Content-Type: application/cloudevents+json"}, large, "", "1 MiB"},
		"compressed":            {200, append([]string{"Content-Encoding: gzip"}, binary...), "x", "", "Content-Encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				for _, h := range c.headers {
					name, value, _ := strings.Cut(h, ": ")
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}))
			t.Cleanup(s.Close)
			var log bytes.Buffer
			config := NewConfig()
			config.URL = s.URL
			target := newTarget(t, config, targets.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			d := deliveryOf(order(t))
			d.WantReply = true
			if err := target.Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if why := d.Answer.ReplyDropped; (why != "") != (c.log != "") || !strings.Contains(why, c.log) {
				t.Errorf("the reply was dropped because %q, want %q", why, c.log)
			}
			if (d.Reply != nil) != (c.want != "") {
				t.Fatalf("the reply is %v; the log:\n%s", d.Reply, log.String())
			}
			if d.Reply != nil {
				want, err := event.FromStructured([]byte(c.want), event.Limits{MaxEventSize: 2 * maxReply})
				if err != nil {
					t.Fatal(err)
				}
				if difference := targettest.Difference(want, d.Reply); difference != "" {
					t.Error(difference)
				}
			}
			if got := log.String(); (got == "") != (c.log == "") || !strings.Contains(got, c.log) {
				t.Errorf("the log does not say %q:\n%s", c.log, got)
			}
			d.WantReply, d.Reply = false, nil
			if err := target.Deliver(t.Context(), d); err != nil || d.Reply != nil {
				t.Errorf("with no wish for replies: %v, %v", d.Reply, err)
			}
		})
	}
}

func TestAReplyThatBreaksOffIsTriedAgain(t *testing.T) {
	for name, contentType := range map[string]string{"an event": "application/cloudevents+json", "no event": "text/plain"} {
		address, _ := rawServer(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: "+contentType+"\r\nContent-Length: 100\r\n\r\n{\"specversion\"")
			c.Close()
		})
		config := NewConfig()
		config.URL = "http://" + address
		d := deliveryOf(order(t))
		d.WantReply = true
		err := newTarget(t, config, targets.Env{}).Deliver(t.Context(), d)
		if wanted := name == "an event"; (err != nil) != wanted || targets.IsPermanent(err) || d.Reply != nil {
			t.Errorf("%s: the outcome is %v, the reply %v", name, err, d.Reply)
		}
	}
}

func TestAReplyThatComesTooSlowlyIsTriedAgain(t *testing.T) {
	inBubble(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Content-Type", "application/cloudevents+json")
		w.WriteHeader(200)
		w.(nethttp.Flusher).Flush()
		<-r.Context().Done()
	}, nil, func(t *testing.T, target *target) {
		begun := time.Now()
		d := deliveryOf(order(t))
		d.WantReply = true
		err := target.Deliver(t.Context(), d)
		if err == nil || err.Error() != "the reply could not be read to its end: timeout after 10s" || time.Since(begun) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}
