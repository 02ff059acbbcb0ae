package api_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

// newPullServer is a server with a rule "all" to the pull target "workers" and
// the broadcast "caches", and to "t", which is of another kind.
func newPullServer(t *testing.T) *server {
	s := newServer(t)
	build := func(broadcast bool) targets.Target {
		config := pull.NewConfig()
		config.Lease, config.Broadcast = component.Duration(time.Minute), broadcast
		built, err := config.Build(targets.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	every, err := env.Compile(rules.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.engine.Apply(t.Context(), bus.Plan{
		Buses: map[string]bus.BusPlan{"orders": {}},
		Rules: map[string]bus.RulePlan{"all": {Bus: "orders", Matcher: every, Targets: []string{"workers", "caches", "t"}}},
		Targets: map[string]bus.TargetPlan{"workers": {Target: build(false), Retry: bus.RetryPolicy{Attempts: 2}}, "caches": {Target: build(true)},
			"t": {Target: refusing{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) publish(id string) {
	s.t.Helper()
	res, body := s.call("POST", "/v1/buses/orders/events", `{"specversion":"1.0","id":"`+id+`","source":"/s","type":"t","data":{"n":1}}`,
		"Content-Type", "application/cloudevents+json")
	if res.StatusCode != http.StatusAccepted {
		s.t.Fatal(res.Status, body)
	}
}

// post posts JSON, wants a status, and decodes the answer.
func (s *server) post(path, body string, status int, answer any) {
	s.t.Helper()
	res, text := s.call("POST", path, body, "Content-Type", "application/json")
	if res.StatusCode != status {
		s.t.Fatalf("POST %s %s answered %s: %s", path, body, res.Status, text)
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
}

const workers = "/v1/subscriptions/all/workers"

func TestAWorkerReceivesAndAcknowledges(t *testing.T) {
	s := newPullServer(t)
	s.publish("1")
	var got api.ReceiveAnswer
	s.post(workers+"/receive", `{"max": 5, "wait": "10s", "consumer": "w1"}`, 200, &got)
	if len(got.Deliveries) != 1 || got.LeaseTime != "1m" {
		t.Fatalf("received %+v", got)
	}
	d := got.Deliveries[0]
	var event map[string]any
	if err := json.Unmarshal(d.Event, &event); err != nil || event["id"] != "1" || event["specversion"] != "1.0" || d.Attempt != 1 || !strings.HasPrefix(d.ID, "dlv_") {
		t.Errorf("received %+v with event %v", d, event)
	}
	var sub api.Subscription
	_, body := s.call("GET", workers, "")
	if err := json.Unmarshal([]byte(body), &sub); err != nil || sub.InFlight != 1 || sub.Leases == nil || *sub.Leases != 1 || *sub.Waiting != 0 {
		t.Errorf("the subscription is %s", body)
	}
	var done api.LeaseAnswer
	s.post(workers+"/extend", `{"leases": ["`+d.Lease+`", "x"]}`, 200, &done)
	if len(done.Valid) != 1 || len(done.Invalid) != 1 {
		t.Errorf("extending answered %+v", done)
	}
	s.post(workers+"/nack", `{"leases": ["`+d.Lease+`"], "delay": "0s", "reason": "busy"}`, 200, &done)
	s.post(workers+"/receive", `{}`, 200, &got)
	if len(got.Deliveries) != 1 || got.Deliveries[0].Attempt != 2 {
		t.Fatalf("received %+v", got)
	}
	s.post(workers+"/nack", `{"leases": ["`+got.Deliveries[0].Lease+`"]}`, 200, &done)
	if _, body = s.call("GET", workers+"/deadletters", ""); !strings.Contains(body, "the consumer gave it back: busy") || !strings.Contains(body, `"address":"w1"`) {
		t.Errorf("dead letters: %s", body)
	}
	s.publish("2")
	s.post(workers+"/receive", `{}`, 200, &got)
	s.post(workers+"/ack", `{"leases": ["`+got.Deliveries[0].Lease+`"]}`, 200, &done)
	if len(done.Valid) != 1 || done.Invalid == nil {
		t.Errorf("acknowledging answered %+v", done)
	}
	if _, body = s.call("GET", "/v1/buses/orders/events/2/trace", ""); !strings.Contains(body, `"state":"delivered"`) {
		t.Errorf("the trace is %s", body)
	}
	_, body = s.call("GET", "/metrics", "")
	for _, want := range []string{
		`switchyard_pull_leases_total{event="received",target="workers"} 3`, `switchyard_pull_leases_total{event="acked",target="workers"} 1`,
		`switchyard_pull_leases_total{event="nacked",target="workers"} 2`, `switchyard_pull_waiting{target="workers"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestPullRequestsThatAreWrongAreProblems(t *testing.T) {
	s := newPullServer(t)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{workers + "/receive", `{"max": 0}`, 400, `"pointer":"/max"`},
		{workers + "/receive", `{"max": 1001}`, 400, `"pointer":"/max"`},
		{workers + "/receive", `{"wait": "61s"}`, 400, `"pointer":"/wait"`},
		{workers + "/receive", `{"wait": "soon"}`, 400, `"pointer":"/wait"`},
		{workers + "/receive", `{"wait": "-1s"}`, 400, `"pointer":"/wait"`},
		{workers + "/receive", `{"consumer": "a/b"}`, 400, `"pointer":"/consumer"`},
		{workers + "/receive", `{"maxx": 1}`, 400, "there is no such key"},
		{workers + "/ack", `{}`, 400, `"pointer":"/leases"`},
		{workers + "/extend", `{"leases": [` + strings.Repeat(`"x",`, 1000) + `"x"]}`, 400, "1001 leases"},
		{workers + "/nack", `{"leases": [], "delay": "-1s"}`, 400, `"pointer":"/delay"`},
		{workers + "/nack", `{"leases": [], "reason": "` + strings.Repeat("x", 501) + `"}`, 400, `"pointer":"/reason"`},
		{"/v1/subscriptions/all/t/receive", `{}`, 409, "not a pull target"},
		{"/v1/subscriptions/all/t/ack", `{"leases": []}`, 409, "not a pull target"},
		{"/v1/subscriptions/all/x/receive", `{}`, 404, "there is no subscription"},
		{"/v1/subscriptions/all/caches/receive", `{}`, 400, "say which consumer"},
	} {
		res, body := s.call("POST", c.path, c.body, "Content-Type", "application/json")
		if res.StatusCode != c.status || !strings.Contains(body, c.want) || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("POST %s %.40s answered %s: %s, want %d with %s", c.path, c.body, res.Status, body, c.status, c.want)
		}
	}
}

func TestAShutdownAnswersReceivesThatWait(t *testing.T) {
	s := newPullServer(t)
	start := time.Now()
	time.AfterFunc(100*time.Millisecond, s.api.Shutdown)
	var got api.ReceiveAnswer
	s.post(workers+"/receive", `{"wait": "30s"}`, 200, &got)
	if len(got.Deliveries) != 0 || got.Deliveries == nil || time.Since(start) > 5*time.Second {
		t.Errorf("received %+v after %s", got, time.Since(start))
	}
}

func TestConsumersOfABroadcastAreListedAndRemoved(t *testing.T) {
	s := newPullServer(t)
	const caches = "/v1/subscriptions/all/caches"
	var a, b api.ReceiveAnswer
	s.post(caches+"/receive", `{"consumer": "a", "wait": "0s"}`, 200, &a)
	s.post(caches+"/receive", `{"consumer": "b", "wait": "0s"}`, 200, &b)
	s.publish("1")
	s.post(caches+"/receive", `{"consumer": "a"}`, 200, &a)
	s.post(caches+"/receive", `{"consumer": "b"}`, 200, &b)
	if len(a.Deliveries) != 1 || len(b.Deliveries) != 1 {
		t.Fatalf("a got %+v, b got %+v", a, b)
	}
	if _, body := s.call("GET", "/v1/subscriptions", ""); !strings.Contains(body, `"name":"all/caches/a"`) || !strings.Contains(body, `"consumer":"b"`) {
		t.Errorf("the list is %s", body)
	}
	if _, body := s.call("GET", caches+"?consumer=a", ""); !strings.Contains(body, `"inFlight":1`) || !strings.Contains(body, `"target":"caches"`) {
		t.Errorf("consumer a is %s", body)
	}
	for _, c := range []struct {
		query  string
		status int
	}{{"", 400}, {"?consumer=x", 404}, {"?consumer=a", 204}, {"?consumer=a", 404}} {
		if res, body := s.call("DELETE", caches+c.query, ""); res.StatusCode != c.status {
			t.Errorf("DELETE %s answered %s: %s", c.query, res.Status, body)
		}
	}
	if res, _ := s.call("GET", caches+"?consumer=a", ""); res.StatusCode != 404 {
		t.Errorf("consumer a is still there: %s", res.Status)
	}
}

func TestAThousandReceivesWaitAndEachIsAnsweredOnce(t *testing.T) {
	s := newPullServer(t)
	const polls = 1000
	hc := &http.Client{Transport: &http.Transport{MaxConnsPerHost: polls}}
	defer hc.CloseIdleConnections()
	answers := make(chan api.ReceiveAnswer, polls)
	for range polls {
		go func() {
			var got api.ReceiveAnswer
			defer func() { answers <- got }()
			res, err := hc.Post(s.url+workers+"/receive", "application/json", strings.NewReader(`{"wait": "60s", "max": 1000}`))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
				t.Error(err)
			}
		}()
	}
	var sub api.Subscription
	for deadline := time.Now().Add(30 * time.Second); sub.Waiting == nil || *sub.Waiting < polls; {
		_, body := s.call("GET", workers, "")
		if err := json.Unmarshal([]byte(body), &sub); err != nil || time.Now().After(deadline) {
			t.Fatalf("not all are waiting: %s, %v", body, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for i := range polls / 4 {
		s.publish(strconv.Itoa(i))
	}
	seen := map[string]bool{}
	for len(seen) < polls/4 {
		for _, d := range (<-answers).Deliveries {
			if seen[d.ID] {
				t.Errorf("delivery %s was handed out twice", d.ID)
			}
			seen[d.ID] = true
		}
	}
	s.api.Shutdown() // answers the others
}
