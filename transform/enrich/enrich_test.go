package enrich

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform"
)

func mustEnv(t *testing.T) *rules.Env {
	t.Helper()
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func node(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: 7, Column: 3}
}

func mustURL(t *testing.T, text string) *URL {
	t.Helper()
	u, err := CompileURL(mustEnv(t), node(text))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func orderOf(t *testing.T, data string) *event.Event {
	t.Helper()
	ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/shop","type":"order","traceparent":"00-1-2-01","data":`+data+`}`), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// enricher makes one with a single call, which ends with the test.
func enricher(t *testing.T, c Call) *Enricher {
	t.Helper()
	c.Name = "customer"
	if c.Method == "" {
		c.Method = nethttp.MethodGet
	}
	e := New([]Call{c}, Options{Version: "1.2"})
	t.Cleanup(e.Close)
	return e
}

func enrich(t *testing.T, e *Enricher, ev *event.Event) (string, []Report, error) {
	t.Helper()
	tree, reports, err := e.Enrich(t.Context(), transform.Context{}, ev, nil)
	if tree == nil {
		return "", reports, err
	}
	return string(tree.Root().Raw()), reports, err
}

// counted answers as handler does and counts the requests.
func counted(t *testing.T, handler nethttp.HandlerFunc) (address string, calls *atomic.Int64) {
	calls = new(atomic.Int64)
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		calls.Add(1)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

func TestAnswersBecomeValues(t *testing.T) {
	for _, c := range []struct{ contentType, body, want string }{
		{"application/json", ` {"id":12345678901234567890, "rate":1.10} `, `{"id":12345678901234567890, "rate":1.10}`},
		{"application/problem+json; charset=utf-8", `[1,"a"]`, `[1,"a"]`},
		{"application/json", ``, `null`},
		{"text/plain", `gold "plus"` + "\n", `"gold \"plus\"\n"`},
		{"text/csv", `{"a":1}`, `"{\"a\":1}"`},
	} {
		address, calls := counted(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			w.Header().Set("Content-Type", c.contentType)
			io.WriteString(w, c.body)
		})
		got, reports, err := enrich(t, enricher(t, Call{URL: mustURL(t, address)}), orderOf(t, "1"))
		if err != nil || got != `{"customer":`+c.want+`}` {
			t.Errorf("%s %s: %s, %v", c.contentType, c.body, got, err)
		}
		if len(reports) != 1 || reports[0].Name != "customer" || reports[0].Calls != 1 || reports[0].Hit || reports[0].Err != nil || calls.Load() != 1 {
			t.Errorf("%+v", reports)
		}
	}
}

func TestRequestsSayWhatTheyAreTo(t *testing.T) {
	type seen struct{ line, body, contentType, team, agent, trace string }
	var got seen
	address, _ := counted(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method + " " + r.RequestURI, string(body), r.Header.Get("Content-Type"), r.Header.Get("X-Team"), r.UserAgent(), r.Header.Get("Traceparent")}
	})
	var block yaml.Node
	if err := yaml.Unmarshal([]byte(`data: {ids: ["${{ event.data.id }}"]}`), &block); err != nil {
		t.Fatal(err)
	}
	body, err := transform.Compile(mustEnv(t), &block)
	if err != nil {
		t.Fatal(err)
	}
	ev := orderOf(t, `{"id":"a/b?c d&e=ü","n":7}`)
	team := map[string]component.Secret{"x-team": component.NewSecret("billing")}
	for _, c := range []struct {
		call Call
		want seen
	}{
		{Call{URL: mustURL(t, address+"/customers/${{ event.data.id }}/v${{ event.data.n }}?q=${{ event.data.id }}"), Headers: team},
			seen{line: "GET /customers/a%2Fb%3Fc%20d&e=%C3%BC/v7?q=a%2Fb%3Fc+d%26e%3D%C3%BC", team: "billing"}},
		{Call{URL: mustURL(t, address+"/find"), Method: "POST", Body: body},
			seen{line: "POST /find", body: `{"ids":["a/b?c d&e=ü"]}`, contentType: "application/json"}},
		{Call{URL: mustURL(t, address+"/find"), Method: "POST"},
			seen{line: "POST /find", body: string(event.AppendStructured(nil, ev)), contentType: "application/cloudevents+json; charset=utf-8"}},
	} {
		if _, _, err := enrich(t, enricher(t, c.call), ev); err != nil {
			t.Fatal(err)
		}
		c.want.agent, c.want.trace = "Switchyard/1.2", "00-1-2-01"
		if got != c.want {
			t.Errorf("got %+v\nnot %+v", got, c.want)
		}
	}
}

func TestAddressesThatLeadElsewhereAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"https://${{ event.data.host }}/x":   "an expression may stand in the path or the query only",
		"https://crm.${{ event.source }}/x":  "an expression may stand in the path or the query only",
		"${{ event.data.url }}":              "an expression may stand in the path or the query only",
		"https://crm.example.com/a/../b":     `the path has the segment ".."`,
		"ftp://crm.example.com/":             `scheme "ftp" is not supported`,
		"https://u:p@crm.example.com/":       "must not hold a username or password",
		"https://crm.example.com/#${{ 1 }}":  "must not have a fragment",
		"https://crm.example.com/${{ evnt }": "has no }}",
	} {
		if _, err := CompileURL(mustEnv(t), node(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "7:") {
			t.Errorf("%s: %v", text, err)
		}
	}
	e := enricher(t, Call{URL: mustURL(t, "http://127.0.0.1:1/customers/${{ event.data.id }}/orders")})
	for id, want := range map[string]string{
		`{"id":""}`:     `it is empty, so the path would be another one`,
		`{"id":".."}`:   `the path has the segment "..", which leads elsewhere`,
		`{"id":"."}`:    `has the segment "."`,
		`{"id":null}`:   `it is null, an object or an array`,
		`{"id":{}}`:     `it is null, an object or an array`,
		`{"other":"x"}`: `no such key: id`,
	} {
		_, _, err := enrich(t, e, orderOf(t, id))
		if !targets.IsPermanent(err) || !strings.HasPrefix(err.Error(), "enrich customer: url: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestFailuresAreOutcomes(t *testing.T) {
	for _, c := range []struct {
		name      string
		status    int
		header    string
		calls     int64
		permanent bool
		after     time.Duration
		want      string
	}{
		{"a 503 is tried twice", 503, "", 2, false, 0, "enrich customer: 503 Service Unavailable: no"},
		{"one that asks for time gets it", 503, "7", 1, false, 7 * time.Second, "enrich customer: 503 Service Unavailable: no (retry after 7s)"},
		{"so does a 429", 429, "3", 1, false, 3 * time.Second, "enrich customer: 429 Too Many Requests: no (retry after 3s)"},
		{"a 429 is not asked again at once in any case", 429, "", 1, false, 0, "enrich customer: 429 Too Many Requests: no"},
		{"a 400 is final", 400, "", 1, true, 0, "enrich customer: 400 Bad Request: no"},
		{"a 404 is final", 404, "", 1, true, 0, "enrich customer: 404 Not Found: no"},
		{"a redirect is final", 302, "", 1, true, 0, `enrich customer: 302 Found: redirects are not followed; it points to "http://169.254.169.254/latest/"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, calls := counted(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				if c.status == 302 {
					w.Header().Set("Location", "http://169.254.169.254/latest/")
				}
				w.WriteHeader(c.status)
				io.WriteString(w, "no")
			})
			_, reports, err := enrich(t, enricher(t, Call{URL: mustURL(t, address)}), orderOf(t, "1"))
			var after *targets.RetryAfter
			errors.As(err, &after)
			if err == nil || err.Error() != c.want || targets.IsPermanent(err) != c.permanent || (after != nil) != (c.after > 0) ||
				after != nil && after.After != c.after {
				t.Errorf("%v (permanent %v)", err, targets.IsPermanent(err))
			}
			if calls.Load() != c.calls || reports[0].Calls != int(c.calls) || reports[0].Err == nil {
				t.Errorf("%d calls, %+v", calls.Load(), reports)
			}
			got, _, err := enrich(t, enricher(t, Call{URL: mustURL(t, address), OnError: Null}), orderOf(t, "1"))
			if err != nil || got != `{"customer":null}` {
				t.Errorf("with onError: null: %s, %v", got, err)
			}
		})
	}
}

func TestGoneDoesNotPause(t *testing.T) {
	address, _ := counted(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { w.WriteHeader(410) })
	_, _, err := enrich(t, enricher(t, Call{URL: mustURL(t, address)}), orderOf(t, "1"))
	var p *targets.Permanent
	if !errors.As(err, &p) || p.Pause != "" {
		t.Errorf("%#v", err)
	}
}

func TestNotFoundMayBeNullWhileOtherFailuresFail(t *testing.T) {
	status := atomic.Int64{}
	address, calls := counted(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { w.WriteHeader(int(status.Load())) })
	e := enricher(t, Call{URL: mustURL(t, address), NotFound: Null, For: time.Minute})
	for _, s := range []int64{404, 410, 404} {
		status.Store(s)
		if got, reports, err := enrich(t, e, orderOf(t, "1")); err != nil || got != `{"customer":null}` || reports[0].Hit {
			t.Errorf("%d: %s, %v", s, got, err)
		}
	}
	if calls.Load() != 3 {
		t.Errorf("what was not found is kept: %d calls", calls.Load())
	}
	status.Store(403)
	if _, _, err := enrich(t, e, orderOf(t, "1")); !targets.IsPermanent(err) {
		t.Errorf("403: %v", err)
	}
}

func TestASecondTryMendsAFailure(t *testing.T) {
	first := atomic.Bool{}
	address, _ := counted(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		if first.CompareAndSwap(false, true) {
			w.WriteHeader(500)
		}
	})
	if got, reports, err := enrich(t, enricher(t, Call{URL: mustURL(t, address)}), orderOf(t, "1")); err != nil || reports[0].Calls != 2 {
		t.Errorf("%s, %+v, %v", got, reports, err)
	}
}

func TestSeveralCallsAreMadeTogether(t *testing.T) {
	begun := make(chan struct{}, 2)
	both := make(chan struct{})
	address, _ := counted(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		begun <- struct{}{}
		<-both
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%q", r.URL.Path)
	})
	go func() {
		<-begun
		<-begun
		close(both)
	}()
	e := New([]Call{{Name: "a", Method: "GET", URL: mustURL(t, address+"/1")}, {Name: "b", Method: "GET", URL: mustURL(t, address+"/2")}}, Options{})
	t.Cleanup(e.Close)
	if got, _, err := enrich(t, e, orderOf(t, "1")); err != nil || got != `{"a":"/1","b":"/2"}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestRefusedAddressesAreFinal(t *testing.T) {
	e := New([]Call{{Name: "customer", Method: "GET", URL: mustURL(t, "http://169.254.169.254/latest/meta-data")}}, Options{
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			return nil, targets.Permanentf("the network rules do not allow %s", address)
		}})
	t.Cleanup(e.Close)
	_, reports, err := enrich(t, e, orderOf(t, "1"))
	if !targets.IsPermanent(err) || err.Error() != "enrich customer: the network rules do not allow 169.254.169.254:80" || reports[0].Calls != 1 {
		t.Errorf("%v", err)
	}
}

func TestAnEndedAttemptIsNoNull(t *testing.T) {
	release := make(chan struct{})
	address, _ := counted(t, func(nethttp.ResponseWriter, *nethttp.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	e := enricher(t, Call{URL: mustURL(t, address), OnError: Null, Timeout: time.Minute, For: time.Minute})
	if tree, _, err := e.Enrich(ctx, transform.Context{}, orderOf(t, "1"), nil); err == nil || targets.IsPermanent(err) {
		t.Errorf("%v, %v", tree, err)
	}
}
