package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/storetest"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
)

// server is the API on an engine on the model store, with buses "orders" and
// "audit", a rule "big" to the target "t", which fails for good.
type server struct {
	t      *testing.T
	url    string
	store  *storetest.Model
	engine *bus.Engine
	api    *api.Server
}

type refusing struct{}

func (refusing) Start(context.Context) error { return nil }
func (refusing) Close() error                { return nil }
func (refusing) Deliver(_ context.Context, d *targets.Delivery) error {
	d.Answer.Status = 400
	return targets.Permanentf("400 Bad Request")
}

// objects is a fixed set of configuration objects.
type objects struct{}

func (objects) List(kind string) ([]api.Object, error) {
	if kind != configs.Rules {
		return nil, nil
	}
	return []api.Object{{Name: "a", Origin: "api", JSON: []byte(`{"bus":"orders"}`)}, {Name: "b", Origin: "f.yaml:3", JSON: []byte(`{}`)}, {Name: "c", JSON: []byte(`{}`)}}, nil
}
func (objects) Get(kind, name string) (api.Object, error) {
	if name != "a" {
		return api.Object{}, store.ErrNotFound
	}
	return api.Object{Name: "a", Origin: "api", ETag: "v1", JSON: []byte(`{"bus":"orders"}`)}, nil
}
func (objects) Put(_ context.Context, _, name string, body []byte, cond api.Condition) (api.Object, bool, error) {
	switch {
	case name == "file":
		return api.Object{}, false, &api.ConflictError{Reason: "defined in f.yaml:3"}
	case cond.ETag == "stale":
		return api.Object{}, false, api.ErrPrecondition
	}
	return api.Object{Name: name, Origin: "api", ETag: "v2", JSON: body}, true, nil
}
func (objects) Apply(_ context.Context, all []api.Named, _ bool) (out []api.Applied, err error) {
	for _, n := range all {
		if n.Name == "bad" {
			return nil, &api.ApplyError{Fields: []api.ProblemField{n.Fault("/when", "it does not compile")}}
		}
		out = append(out, api.Applied{Kind: api.Singular(n.Kind), Name: n.Name, Result: api.Created})
	}
	return out, nil
}
func (objects) Delete(_ context.Context, _, name string, _ api.Condition) ([]api.Orphan, error) {
	if name == "gone" {
		return nil, store.ErrNotFound
	}
	return nil, nil
}

func newServer(t *testing.T) *server { return newServerWith(t, func(*api.Options) {}) }

// newServerWith is newServer with other options.
func newServerWith(t *testing.T, change func(*api.Options)) *server {
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	s := &server{t: t, store: storetest.NewModel(time.Now)}
	if s.engine, err = bus.New(bus.Options{Store: s.store, Registry: registry}); err != nil {
		t.Fatal(err)
	}
	big, err := env.Compile(rules.Filter{When: `event.data.total > 100`})
	if err != nil {
		t.Fatal(err)
	}
	err = s.engine.Apply(t.Context(), bus.Plan{
		Buses:   map[string]bus.BusPlan{"orders": {Dedupe: time.Hour, MaxEventSize: 10 << 10}, "audit": {}},
		Rules:   map[string]bus.RulePlan{"big": {Bus: "orders", Matcher: big, Targets: []string{"t"}}},
		Targets: map[string]bus.TargetPlan{"t": {Target: refusing{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	opts := api.Options{Engine: s.engine, Objects: objects{}, Rules: env, Registry: registry,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test", MaxRequest: 1 << 20}
	change(&opts)
	s.api, err = api.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.engine.Run(ctx) }()
	web := httptest.NewServer(s.api)
	s.url = web.URL
	t.Cleanup(func() { s.api.Shutdown(); web.Close(); cancel(); <-done; s.engine.Close() })
	return s
}

// call makes a request; headers are pairs. It returns the answer with its body.
func (s *server) call(method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(out)
}

const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
)

func eventJSON(id, more string) string {
	return `{"specversion":"1.0","id":"` + id + `","source":"/shop","type":"order.placed"` + more + `}`
}

// problemOf checks that an answer is problem details with this status.
func (s *server) problemOf(res *http.Response, body string, status int) api.Problem {
	s.t.Helper()
	var p api.Problem
	if res.StatusCode != status || res.Header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("%s %s: %d %s %s, want problem details with status %d", res.Request.Method, res.Request.URL.Path, res.StatusCode, res.Header.Get("Content-Type"), body, status)
	} else if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != status || p.Title == "" || p.Type == "" || p.Detail == "" {
		s.t.Errorf("incomplete problem %s", body)
	}
	return p
}

func TestPublishTakesAllModes(t *testing.T) {
	s := newServer(t)
	res, body := s.call("POST", "/v1/buses/orders/events", `{"total":1}`, "Content-Type", "application/json",
		"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/shop", "ce-type", "order.placed")
	if want := `{"results":[{"id":"1","source":"/shop","sequence":1,"duplicate":false}]}` + "\n"; res.StatusCode != 202 || body != want {
		t.Errorf("binary: %d %s", res.StatusCode, body)
	}
	if _, body = s.call("POST", "/v1/buses/orders/events", eventJSON("2", ""), "Content-Type", structured); !strings.Contains(body, `"sequence":2`) {
		t.Errorf("structured: %s", body)
	}
	if _, body = s.call("POST", "/v1/buses/orders/events", "["+eventJSON("3", "")+","+eventJSON("2", "")+"]", "Content-Type", batched); !strings.Contains(body, `"sequence":3,"duplicate":false`) || !strings.Contains(body, `"sequence":2,"duplicate":true`) {
		t.Errorf("batched: %s", body)
	}
	if res, body = s.call("POST", "/v1/buses/orders/events", "[]", "Content-Type", batched); res.StatusCode != 202 || body != `{"results":[]}`+"\n" {
		t.Errorf("empty batch: %d %s", res.StatusCode, body)
	}
	if _, body = s.call("POST", "/v1/buses/orders/events?delay=1h", eventJSON("9", ""), "Content-Type", structured); !strings.Contains(body, `"sequence":null`) {
		t.Errorf("scheduled: %s", body)
	}
	if _, body = s.call("POST", "/v1/events", "["+eventJSON("10", `,"bus":"orders"`)+","+eventJSON("10", `,"bus":"audit"`)+"]", "Content-Type", batched); !strings.Contains(body, `"sequence":4`) || !strings.Contains(body, `"sequence":1`) {
		t.Errorf("across: %s", body)
	}
}

func TestRefusedRequestsAreProblemsAndStoreNothing(t *testing.T) {
	s := newServer(t)
	ok := eventJSON("1", "")
	for name, c := range map[string]struct {
		path, contentType, body string
		status                  int
		pointer, detail         string
	}{
		"a bad member":           {"/v1/buses/orders/events", batched, "[" + ok + "," + eventJSON("2", `,"time":"now"`) + "]", 400, "/1/time", "batch member 1"},
		"a bus that is not":      {"/v1/buses/nope/events", structured, ok, 404, "", "nope"},
		"a reserved bus":         {"/v1/buses/system.events/events", structured, ok, 403, "", "only Switchyard itself publishes"},
		"a bus of a member":      {"/v1/events", batched, "[" + eventJSON("1", `,"bus":"orders"`) + "," + eventJSON("2", `,"bus":"nope"`) + "]", 404, "/1", "nope"},
		"a member without bus":   {"/v1/events", batched, "[" + eventJSON("1", `,"bus":"orders"`) + "," + ok + "]", 400, "/1/bus", "names its bus"},
		"too large":              {"/v1/buses/orders/events", structured, eventJSON("1", `,"data":"`+strings.Repeat("x", 15<<10)+`"`), 413, "", "nothing was stored"},
		"much too large":         {"/v1/buses/orders/events", structured, eventJSON("1", `,"data":"`+strings.Repeat("x", 200<<10)+`"`), 413, "", "nothing was stored"},
		"a duplicate key":        {"/v1/buses/orders/events", structured, eventJSON("1", `,"id":"2"`), 400, "/id", ""},
		"no event":               {"/v1/buses/orders/events", "application/json", `{}`, 415, "", "not a CloudEvent"},
		"a bad delay":            {"/v1/buses/orders/events?delay=soon", structured, ok, 400, "", "soon"},
		"a delay too long":       {"/v1/buses/orders/events?delay=9000h", structured, ok, 400, "", "366 days"},
		"a time too far":         {"/v1/buses/orders/events", structured, eventJSON("1", `,"deliverytime":"2999-01-01T00:00:00Z"`), 400, "/deliverytime", "366 days"},
		"an unknown path":        {"/v1/nothing", structured, ok, 404, "", "/openapi.json"},
		"an injected envelope":   {"/v1/buses/orders/events", structured, eventJSON("1", `,"data":{}}, "source":"/admin"`), 400, "", ""},
		"a compressed request":   {"/v1/buses/orders/events", "gzip", ok, 415, "", "gzip"},
		"a method on a resource": {"/v1/subscriptions", structured, ok, 405, "", "GET"},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Content-Type", c.contentType}
			if c.contentType == "gzip" {
				headers = []string{"Content-Type", structured, "Content-Encoding", "gzip"}
			}
			res, body := s.call("POST", c.path, c.body, headers...)
			p := s.problemOf(res, body, c.status)
			if !strings.Contains(p.Detail, c.detail) || (c.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer)) {
				t.Errorf("problem %s; want the pointer %q and the detail %q", body, c.pointer, c.detail)
			}
		})
	}
	for _, name := range []string{"orders", "audit"} {
		id, _ := s.engine.BusID(name)
		if b, _ := s.store.Bounds(id); b.Last != 0 {
			t.Errorf("bus %s holds something: %+v", name, b)
		}
	}
}

func TestAChunkedBodyIsCutAtItsLimit(t *testing.T) {
	s := newServer(t)
	endless := io.MultiReader(strings.NewReader(`{"specversion":"1.0","data":"`), &repeat{n: 1 << 30})
	req, _ := http.NewRequestWithContext(t.Context(), "POST", s.url+"/v1/buses/orders/events", endless)
	req.Header.Set("Content-Type", structured)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the connection was closed while we were sending: refused as well
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("status %d", res.StatusCode)
	}
}

type repeat struct{ n int }

func (r *repeat) Read(b []byte) (int, error) {
	if r.n <= 0 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = 'x'
	}
	r.n -= len(b)
	return len(b), nil
}

func TestEventsReadBackInPages(t *testing.T) {
	s := newServer(t)
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		s.call("POST", "/v1/buses/orders/events", eventJSON(id, `,"sequence":"mine","data":{"total":`+id+`}`), "Content-Type", structured)
	}
	res, body := s.call("GET", "/v1/buses/orders/events?limit=2&from=2", "")
	var events []map[string]any
	if err := json.Unmarshal([]byte(body), &events); err != nil || len(events) != 2 {
		t.Fatalf("%v %s", err, body)
	}
	if e := events[0]; e["id"] != "2" || e["sequence"] != "00000000000000000002" || e["originalsequence"] != "mine" || e["recordedtime"] == nil {
		t.Errorf("read back %v", e)
	}
	if link := res.Header.Get("Link"); link != `</v1/buses/orders/events?from=4&limit=2>; rel="next"` {
		t.Errorf("Link: %s", link)
	}
	res, body = s.call("GET", "/v1/buses/orders/events?when="+`event.data.total%20%3E%3D%204`, "")
	if json.Unmarshal([]byte(body), &events); len(events) != 2 || res.Header.Get("Link") != "" {
		t.Errorf("filtered: %s", body)
	}
	if _, body = s.call("GET", "/v1/buses/orders/events?from=2&to=2", ""); strings.Count(body, `"specversion"`) != 1 {
		t.Errorf("from and to are inclusive: %s", body)
	}
	for _, q := range []string{"to=2001-01-01T00:00:00Z", "from=2999-01-01T00:00:00Z", "from=99"} {
		if _, body = s.call("GET", "/v1/buses/orders/events?"+q, ""); body != "[]\n" {
			t.Errorf("%s: %s", q, body)
		}
	}
	if res, body = s.call("GET", "/v1/buses/orders/events/3", ""); !strings.Contains(body, `"id":"3"`) || res.StatusCode != 200 {
		t.Errorf("one event: %s", body)
	}
	for path, status := range map[string]int{
		"/v1/buses/orders/events/99": 404, "/v1/buses/orders/events/x": 404, "/v1/buses/nope/events": 404, "/v1/buses/orders/events?limit=0": 400,
		"/v1/buses/orders/events?from=x": 400, "/v1/buses/orders/events?when=event.": 400, "/v1/buses/orders/events?when=event.type%20%3E%205": 400,
	} {
		res, body := s.call("GET", path, "")
		s.problemOf(res, body, status)
	}
}

// eventually polls what happens in the background of a real server.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestDeadLettersAndTracesShowWhatHappened(t *testing.T) {
	s := newServer(t)
	s.call("POST", "/v1/buses/orders/events", eventJSON("1", `,"data":{"total":150}`), "Content-Type", structured)
	var list api.List[api.DeadLetter]
	eventually(t, "the dead letter", func() bool {
		_, body := s.call("GET", "/v1/subscriptions/big/t/deadletters", "")
		return json.Unmarshal([]byte(body), &list) == nil && len(list.Items) == 1
	})
	l := list.Items[0]
	if l.Sequence != 1 || l.Bus != "orders" || l.Reason != "400 Bad Request" || len(l.Attempts) != 1 || l.Attempts[0].Status != 400 || !strings.Contains(string(l.Event), `"total":150`) {
		t.Errorf("dead letter %+v", l)
	}
	_, body := s.call("GET", "/v1/buses/orders/events/1/trace", "")
	var trace api.TraceResponse
	if err := json.Unmarshal([]byte(body), &trace); err != nil || trace.Via != "http" || trace.Origin.Kind != "http" || trace.Origin.Principal != "127.0.0.1" || len(trace.Deliveries) != 1 || trace.Deliveries[0].State != "dead" || trace.Deliveries[0].Rule != "big" || len(trace.Deliveries[0].Attempts) != 1 {
		t.Errorf("trace %s", body)
	}
	for rule, want := range map[string]string{"big": `"explained":[{"rule":"big","matched":true,"explanation":{"summary":"event.data.total > 100: total is 150"`, "*": `"explained":[{"rule":"big"`} {
		if _, body := s.call("GET", "/v1/buses/orders/events/1/trace?explain="+rule, ""); !strings.Contains(body, want) {
			t.Errorf("explain=%s: %s", rule, body)
		}
	}
	res, body := s.call("GET", "/v1/buses/orders/events/1/trace?explain=nope", "")
	s.problemOf(res, body, 404)
	if res, body := s.call("POST", "/v1/subscriptions/big/t/deadletters/redrive", `{"ids":["`+l.ID+`"]}`, "Content-Type", "application/json"); res.StatusCode != 202 || strings.TrimSpace(body) != `{"count":1}` {
		t.Errorf("redrive: %d %s", res.StatusCode, body)
	}
	eventually(t, "the second death", func() bool {
		_, body := s.call("GET", "/v1/subscriptions/big/t/deadletters", "")
		return strings.Contains(body, `"trigger":"redrive"`)
	})
	for path, req := range map[string]string{"redrive": `{"ids":["x"]}`, "purge": `{}`, "purge ": `{"all":true,"when":"true"}`, "redrive ": `{"when":"event."}`, " redrive": `{"all":false}`} {
		res, body := s.call("POST", "/v1/subscriptions/big/t/deadletters/"+strings.TrimSpace(path), req, "Content-Type", "application/json")
		s.problemOf(res, body, 400)
	}
	res, body = s.call("POST", "/v1/subscriptions/big/t/deadletters/redrive", `{}`, "Content-Type", "text/plain")
	s.problemOf(res, body, 415)
	if _, body := s.call("POST", "/v1/subscriptions/big/t/deadletters/purge", `{"all":true}`, "Content-Type", "application/json"); strings.TrimSpace(body) != `{"count":1}` {
		t.Errorf("purge: %s", body)
	}
}

func TestSubscriptionsArePausedAndResumed(t *testing.T) {
	s := newServer(t)
	_, body := s.call("POST", "/v1/subscriptions/big/t/pause", `{"reason":"maintenance"}`, "Content-Type", "application/json")
	if !strings.Contains(body, `"state":"paused","reason":"maintenance"`) {
		t.Errorf("pause: %s", body)
	}
	s.call("POST", "/v1/buses/orders/events", eventJSON("1", `,"data":{"total":150}`), "Content-Type", structured)
	eventually(t, "the match", func() bool {
		_, body := s.call("GET", "/v1/subscriptions/big/t", "")
		return strings.Contains(body, `"depth":1,"inFlight":0`)
	})
	if _, body = s.call("POST", "/v1/subscriptions/big/t/resume", ""); !strings.Contains(body, `"state":"active","reason":""`) {
		t.Errorf("resume: %s", body)
	}
	if _, body = s.call("GET", "/v1/subscriptions", ""); !strings.Contains(body, `"name":"big/t"`) || !strings.HasSuffix(strings.TrimSpace(body), `"next":""}`) {
		t.Errorf("list: %s", body)
	}
	res, body := s.call("GET", "/v1/subscriptions/big/nope", "")
	s.problemOf(res, body, 404)
}

func TestTailStreamsAndResumes(t *testing.T) {
	s := newServer(t)
	s.call("POST", "/v1/buses/orders/events", eventJSON("1", ""), "Content-Type", structured)
	s.call("POST", "/v1/buses/orders/events", eventJSON("2", `,"data":{`+"\n"+`"a":1}`), "Content-Type", structured)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v1/buses/orders/tail", nil)
	req.Header.Set("Last-Event-ID", "1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if l := lines.Text(); l != "" && l[0] != ':' {
				return l
			}
		}
		return ""
	}
	if id, data := next(), next(); id != "id: 2" || !strings.HasPrefix(data, `data: {"specversion":"1.0","id":"2"`) || !strings.HasSuffix(data, "}") {
		t.Errorf("resumed with %q %q", id, data)
	}
	s.call("POST", "/v1/buses/orders/events", eventJSON("3", ""), "Content-Type", structured)
	if id := next(); id != "id: 3" {
		t.Errorf("live: %q", id)
	}
}

func TestScheduledEventsAreListedAndCancelled(t *testing.T) {
	s := newServer(t)
	s.call("POST", "/v1/buses/orders/events?delay=1h", eventJSON("1", ""), "Content-Type", structured)
	if _, body := s.call("GET", "/v1/buses/orders/scheduled", ""); !strings.Contains(body, `"id":"1","source":"/shop"`) {
		t.Errorf("list: %s", body)
	}
	res, _ := s.call("DELETE", "/v1/buses/orders/scheduled?source=/shop&id=1", "")
	if res.StatusCode != 204 {
		t.Errorf("cancel: %d", res.StatusCode)
	}
	res, body := s.call("DELETE", "/v1/buses/orders/scheduled?source=/shop&id=1", "")
	s.problemOf(res, body, 404)
	res, body = s.call("DELETE", "/v1/buses/orders/scheduled?source=/shop", "")
	s.problemOf(res, body, 400)
}

func TestListsRefuseWhatIsNoCursorOfTheirs(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/v1/buses/orders/scheduled", "/v1/subscriptions/big/t/deadletters", "/v1/subscriptions/big/t/attempts"} {
		res, body := s.call("GET", path+"?after=5x", "")
		if s.problemOf(res, body, 400); !strings.Contains(body, "is not a cursor of this list") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestRulesAreTriedOnAnEvent(t *testing.T) {
	s := newServer(t)
	for body, want := range map[string]string{
		`{"rule":"big","event":{"data":{"total":150}}}`:                                   `"matched":true`,
		`{"rule":"big","event":{"data":{"total":5}}}`:                                     `"matched":false`,
		`{"rule":"big","event":{"data":{}}}`:                                              `"error":`,
		`{"filter":{"when":"event.type == 'x'"},"event":{"type":"x"}}`:                    `"type":"x"`,
		`{"filter":{},"transform":{"type":"y${{ event.id }}"},"event":{"id":"7"}}`:        `"type":"y7"`,
		`{"filter":{},"transform":{"jq":".data | map(. * 2)"},"event":{"data":[1,2]}}`:    `"data":[2,4]`,
		`{"filter":{},"transform":{"inputPath":"$.detail.a"},"event":{"data":{"a":[5]}}}`: `"data":[5]`,
		`{"filter":{},"transform":{"input":{"a":1}},"event":{}}`:                          `"data":{"a":1}`,
		`{"filter":{},"transform":{"inputTransformer":{"inputPathsMap":{"a":"$.detail.a"},"inputTemplate":"{\"x\": <a>, \"at\": <aws.events.event.ingestion-time>}"}},"event":{"time":"2026-11-22T10:00:00Z","data":{"a":1}}}`: `"data":{"x":1,"at":"2026-11-22T10:00:00.000Z"}`,
		`{"filter":{},"transform":{"jq":".data[]"},"event":{"data":[1,2]}}`:                              `"error":"transform: jq: the program results in more than one value`,
		`{"filter":{},"transform":{"jq":".","subject":"${{ event.data.s }}"},"event":{"data":{"s":""}}}`: `"error":"transform: subject:`,
	} {
		res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json")
		if res.StatusCode != 200 || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s, want %s", body, res.StatusCode, got, want)
		}
	}
	for _, c := range []struct{ body, query, want string }{
		{`{"rule":"big","event":{"data":{"total":87}}}`, "", `{"matched":false,"explanation":{"summary":"event.data.total > 100: total is 87","decidedBy":"event.data.total > 100",` +
			`"conditions":[{"condition":"event.data.total > 100","value":"87","outcome":"false","note":"total is 87","decides":true}]}}`},
		{`{"rule":"big","event":{"data":{}}}`, "", `"summary":"event.data.total > 100: event.data.total is missing"`},
		{`{"bus":"orders","event":{"data":{"total":150}}}`, "", `{"items":[{"rule":"big","matched":true,"explanation":{"summary":"event.data.total > 100: total is 150"`},
		{`{"bus":"orders","event":{"data":{"total":150}}}`, "?limit=1&after=big", `{"items":[],"next":""}`},
		{`{"bus":"audit","event":{}}`, "", `{"items":[],"next":""}`},
	} {
		res, got := s.call("POST", "/v1/rules/test"+c.query, c.body, "Content-Type", "application/json")
		if res.StatusCode != 200 || !strings.Contains(got, c.want) {
			t.Errorf("%s: %d %s, want %s", c.body, res.StatusCode, got, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"filter":{"pattern":{"type":["x"]}},"event":{"type":"x"}}`:           `"matched":true`,
		`{"filter":{"filters":[{"exact":{"type":"y"}}]},"event":{"type":"x"}}`: `"matched":false`,
		`{"filter":{"sql":"type = 'x'","when":""},"event":{"type":"x"}}`:       `"matched":true`,
		`{"filter":{"pattern":null,"filters":[]},"event":{"type":"x"}}`:        `"matched":true`,
		`{"filter":{"pattern":{"detail":{"x":[[1]]}}},"event":{}}`:             `"pointer":"/filter/pattern/detail/x/0"`,
		`{"filter":{"filters":[{"exact":{"type":5}}]},"event":{}}`:             `"pointer":"/filter/filters/0/exact/type"`,
		`{"filter":{"sql":"type ="},"event":{}}`:                               `"pointer":"/filter/sql"`,
		`{"filter":{"when":"true","sql":"TRUE"},"event":{}}`:                   `"pointer":"/filter/sql"`,
	} {
		if _, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json"); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	for body, want := range map[string]string{
		`{"filter":"x","event":{}}`:            `"errors":[{"pointer":"/filter","detail":"expected an object, not a text"}]`,
		`{"filter":{"wen":"true"},"event":{}}`: `"errors":[{"pointer":"/filter/wen","detail":"there is no such key; did you mean \"when\"?"}]`,
		`[]`:                                   `"detail":"the request body: expected an object, not a list"`,
		"{\n \"filter\": {},}":                 `"errors":[{"line":2,"column":15,"detail":`,
		`{"filter":{"when":"event.id == 1"},"event":{}}`:                      `"detail":"== cannot be applied to (string, int); write the number in quotes, or convert the text with int(…)"`,
		`{"filter":{"when":"event.a == foo || bar"},"event":{}}`:              `"line":1,"column":19,`,
		`{"filter":{},"event":{"type":5}}`:                                    `"pointer":"/event/type"`,
		`{"filter":{},"event":[]}`:                                            `"detail":"the event is to be one CloudEvent as a JSON object, not a list"`,
		`{"filter":{},"transform":{"jq":".data |"},"event":{}}`:               `"pointer":"/transform/jq"`,
		`{"filter":{},"transform":{"data":{"a":["${{ nope }}"]}},"event":{}}`: `"errors":[{"pointer":"/transform/data/a/0","line":1,"column":1,`,
	} {
		res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json")
		if res.StatusCode != 400 || !strings.Contains(got, want) || strings.Contains(got, "stored") || strings.Contains(got, "Go ") {
			t.Errorf("%s: %d %s, want %s", body, res.StatusCode, got, want)
		}
	}
	for body, want := range map[string]string{
		`{"filter":{"when":"event.tpye == 'x'"},"event":{}}`:                                          `"warnings":[{"pointer":"/filter/when","line":1,"column":7,"message":"tpye is no attribute of CloudEvents, only nearly one; did you mean type?"}]`,
		`{"filter":{"pattern":{"detail":{"a":{"prefix":["x"]}}}},"event":{}}`:                         `"warnings":[{"pointer":"/filter/pattern/detail/a/prefix","message":"prefix is an operator`,
		`{"filter":{},"transform":{"data":{"a":"${{ event.data.x + 1 }}"}},"event":{"data":{"x":1}}}`: `"warnings":[{"pointer":"/transform/data/a","line":1,"column":1,"message":"event.data.x + 1 always fails`,
	} {
		if _, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json"); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	for body, status := range map[string]int{
		`{"bus":"nope","event":{}}`: 404, `{"bus":"orders"}`: 400, `{"bus":"orders","transform":{},"event":{}}`: 400, `{"bus":"orders","rule":"big","event":{}}`: 400,
		`{"filter":{"when":"event."},"event":{}}`: 400, `{"event":{}}`: 400, `{"rule":"nope","event":{}}`: 404, `{"rule":"big"}`: 400,
		`{"filter":{},"transform":{"type":"${{ nope }}"},"event":{}}`: 400, `{"filter":{},"transform":{"jq":".data |"},"event":{}}`: 400,
		`{"filter":{},"transform":{"jq":".data","input":1},"event":{}}`: 400, `{"filter":{},"transform":{"inputPath":"x"},"event":{}}`: 400, `{"filter":{"when":"true","sql":"TRUE"},"event":{}}`: 400, `{`: 400,
	} {
		res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json")
		s.problemOf(res, got, status)
	}
}

func TestObjectsAreListedReadAndChanged(t *testing.T) {
	s := newServer(t)
	if _, body := s.call("GET", "/v1/rules?limit=2", ""); strings.TrimSpace(body) != `{"items":[{"name":"a","origin":"api","bus":"orders"},{"name":"b","origin":"f.yaml:3"}],"next":"b"}` {
		t.Errorf("list: %s", body)
	}
	if _, body := s.call("GET", "/v1/rules?limit=2&after=b", ""); !strings.Contains(body, `"name":"c"`) || !strings.Contains(body, `"next":""`) {
		t.Errorf("second page: %s", body)
	}
	res, body := s.call("GET", "/v1/rules/a", "")
	if res.Header.Get("ETag") != `"v1"` || body != `{"name":"a","origin":"api","bus":"orders"}`+"\n" {
		t.Errorf("get: %s", body)
	}
	res, body = s.call("PUT", "/v1/rules/x", `{"name":"x","origin":"api","bus":"orders"}`, "Content-Type", "application/json")
	if res.StatusCode != 201 || body != `{"name":"x","origin":"api","bus":"orders"}`+"\n" {
		t.Errorf("put: %d %s", res.StatusCode, body)
	}
	for _, c := range []struct {
		method, path, body, contentType, ifMatch string
		status                                   int
	}{
		{"GET", "/v1/rules/nope", "", "", "", 404},
		{"PUT", "/v1/rules/file", "{}", "application/json", "", 409},
		{"PUT", "/v1/rules/x", "{}", "application/json", `"stale"`, 412},
		{"PUT", "/v1/rules/x", "{}", "text/plain", "", 415},
		{"PUT", "/v1/rules/x", "{}", "application/json", "stale", 400},
		{"PUT", "/v1/rules/x", "[]", "application/json", "", 400},
		{"PUT", "/v1/rules/x", `{"name":"y"}`, "application/json", "", 400},
		{"DELETE", "/v1/rules/gone", "", "", "", 404},
	} {
		headers := []string{"Content-Type", c.contentType}
		if c.ifMatch != "" {
			headers = append(headers, "If-Match", c.ifMatch)
		}
		res, body := s.call(c.method, c.path, c.body, headers...)
		s.problemOf(res, body, c.status)
	}
	if res, _ := s.call("DELETE", "/v1/rules/a", ""); res.StatusCode != 204 {
		t.Errorf("delete: %d", res.StatusCode)
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	s := newServer(t)
	res, body := s.call("POST", "/v1/buses/orders/events", eventJSON("1", ""), "Content-Type", structured, "Sec-Fetch-Site", "cross-site")
	s.problemOf(res, body, 403)
}

func TestTheHandshakeIsAnswered(t *testing.T) {
	s := newServer(t)
	res, _ := s.call("OPTIONS", "/v1/buses/orders/events", "", "WebHook-Request-Origin", "eventemitter.example.com", "WebHook-Request-Rate", "120")
	if res.StatusCode != 200 || res.Header.Get("WebHook-Allowed-Origin") != "eventemitter.example.com" || res.Header.Get("WebHook-Allowed-Rate") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

func TestOperatorsSeeHealthMetricsAndTheDescription(t *testing.T) {
	s := newServer(t)
	s.call("POST", "/v1/buses/orders/events", eventJSON("1", `,"data":{"total":150}`), "Content-Type", structured)
	for _, path := range []string{"/healthz", "/readyz"} {
		if res, body := s.call("GET", path, ""); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	eventually(t, "the metrics", func() bool {
		_, body := s.call("GET", "/metrics", "")
		for _, want := range []string{`switchyard_events_received_total{bus="orders"} 1`, `switchyard_deliveries_matched_total{bus="orders"} 1`, `switchyard_deliveries_dead_total{target="t"} 1`, `switchyard_dead_letters{target="t"} 1`, "switchyard_store_available 1"} {
			if !strings.Contains(body, want) {
				return false
			}
		}
		return true
	})
	_, body := s.call("GET", "/openapi.json", "")
	var doc struct {
		OpenAPI    string                    `json:"openapi"`
		Paths      map[string]map[string]any `json:"paths"`
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.OpenAPI != "3.1.0" || doc.Paths["/v1/buses/{bus}/events"]["post"] == nil || doc.Components.Schemas["DeadLetterList"] == nil {
		t.Errorf("openapi: %v %s", err, body[:200])
	}
	s.store.Close()
	res, body := s.call("GET", "/readyz", "")
	s.problemOf(res, body, 503)
	res, body = s.call("POST", "/v1/buses/orders/events", eventJSON("2", ""), "Content-Type", structured)
	s.problemOf(res, body, 503)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestAnswersEndWithALineBreak(t *testing.T) {
	s := newServer(t)
	for _, c := range [][4]string{
		{"POST", "/v1/buses/orders/events", eventJSON("1", ""), structured},
		{"POST", "/v1/buses/orders/events", "[" + eventJSON("2", "") + "]", batched},
		{"POST", "/v1/events", "[" + eventJSON("3", `,"bus":"orders"`) + "]", batched},
		{"GET", "/v1/buses/orders/events"},
		{"GET", "/v1/buses/orders/events/1"},
		{"GET", "/v1/buses/orders/events/1/trace"},
		{"GET", "/v1/rules"},
		{"GET", "/v1/rules/a"},
		{"GET", "/v1/rules/nope"},
		{"PUT", "/v1/rules/x", `{}`, "application/json"},
		{"GET", "/openapi.json"},
		{"GET", "/healthz"},
	} {
		_, body := s.call(c[0], c[1], c[2], "Content-Type", c[3])
		if !strings.HasSuffix(body, "\n") || strings.HasSuffix(body, "\n\n") {
			t.Errorf("%s %s ends with %q", c[0], c[1], body[max(0, len(body)-10):])
		}
	}
}
