package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/api"
)

// publishOrders publishes n orders, of which every tenth has no total, and the
// others have totals from 1 on.
func (s *server) publishOrders(n int) {
	s.t.Helper()
	var batch []string
	for i := 1; i <= n; i++ {
		data := fmt.Sprintf(`,"data":{"total":%d}`, i)
		if i%10 == 0 {
			data = `,"data":{}`
		}
		batch = append(batch, eventJSON(fmt.Sprint(i), data))
	}
	if res, body := s.call("POST", "/v1/buses/orders/events", "["+strings.Join(batch, ",")+"]", "Content-Type", batched); res.StatusCode != 202 {
		s.t.Fatalf("%d %s", res.StatusCode, body)
	}
}

func (s *server) history(body string) (out api.RuleHistory) {
	s.t.Helper()
	res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json")
	if err := json.Unmarshal([]byte(got), &out); err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s: %d %s", body, res.StatusCode, got)
	}
	return out
}

func TestARuleIsTriedOnStoredEvents(t *testing.T) {
	s := newServer(t)
	s.publishOrders(200)
	got := s.history(`{"rule":"big","from":1,"samples":3}`)
	if got.Scanned != 200 || got.Matched != 90 || got.Failed != 20 || got.TransformFailed != 0 || got.From != 1 || got.To != 200 || !got.Complete || got.Next != 0 {
		t.Errorf("%+v", got)
	}
	if len(got.Matches) != 3 || got.Matches[0].Sequence != 199 || !strings.Contains(string(got.Matches[0].Event), `"total":199`) {
		t.Errorf("matches %+v", got.Matches)
	}
	if len(got.NearMisses) != 3 || got.NearMisses[0].Sequence != 99 || got.NearMisses[0].Misses != 1 || got.NearMisses[0].Explanation.Summary != "event.data.total > 100: total is 99" {
		t.Errorf("near misses %+v", got.NearMisses)
	}
	if len(got.Failures) != 3 || got.Failures[0].Sequence != 200 || got.Failures[0].Stage != "filter" || got.Failures[0].Explanation.Summary != "event.data.total > 100: event.data.total is missing" {
		t.Errorf("failures %+v", got.Failures)
	}
	for body, want := range map[string][4]uint64{ // scanned, matched, from, to
		`{"rule":"big","from":101,"to":"110"}`:                          {10, 9, 101, 110},
		`{"rule":"big","to":50}`:                                        {50, 0, 1, 50},
		`{"rule":"big","from":201}`:                                     {},
		`{"rule":"big","to":0}`:                                         {},
		`{"rule":"big","to":"2001-01-01T00:00:00Z"}`:                    {},
		`{"rule":"big","from":"2001-01-01T00:00:00Z"}`:                  {200, 90, 1, 200},
		`{"bus":"orders","filter":{},"from":1}`:                         {200, 200, 1, 200},
		`{"bus":"audit","filter":{},"from":1}`:                          {},
		`{"bus":"orders","filter":{"when":"event.id == '7'"},"from":1}`: {200, 1, 1, 200},
	} {
		got := s.history(body)
		if have := [4]uint64{got.Scanned, got.Matched, got.From, got.To}; have != want || !got.Complete {
			t.Errorf("%s: %+v, want %v", body, got, want)
		}
	}
	// The transform shows what would be delivered, and where it fails.
	got = s.history(`{"bus":"orders","filter":{},"transform":{"type":"big","data":{"sum":"${{ event.data.total }}"}},"from":1,"to":10}`)
	if got.Matched != 10 || got.TransformFailed != 1 || len(got.Matches) != 9 || !strings.Contains(string(got.Matches[0].Event), `"type":"big"`) ||
		!strings.Contains(string(got.Matches[0].Event), `"data":{"sum":9}`) || len(got.Failures) != 1 || got.Failures[0].Stage != "transform" || got.Failures[0].Error == "" {
		t.Errorf("with a transform: %+v", got)
	}
	// Those that fail by the fewest conditions come before newer ones.
	got = s.history(`{"bus":"orders","filter":{"when":"event.data.total > 150 && event.data.total < 10 && event.id.startsWith('1')"},"from":1,"to":30,"samples":2}`)
	if len(got.NearMisses) != 2 || got.NearMisses[0].Misses != 1 || got.NearMisses[0].Sequence != 1 || got.NearMisses[1].Misses != 2 || got.NearMisses[1].Sequence != 19 {
		t.Errorf("near misses %+v", got.NearMisses)
	}
	// Nothing of it is counted.
	eventually(t, "that only what was routed is counted", func() bool {
		_, body := s.call("GET", "/metrics", "")
		return strings.Contains(body, `switchyard_filter_errors_total{bus="orders"} 20`) && strings.Contains(body, `switchyard_rules{bus="orders",class="indexed"} 1`)
	})
}

func TestADryRunGoesOnWhereItsTimeOrLimitEnded(t *testing.T) {
	s := newServerWith(t, func(o *api.Options) { o.DryRunBudget = time.Nanosecond })
	s.publishOrders(30)
	got := s.history(`{"rule":"big","from":1}`)
	if got.Complete || got.Scanned != 1 || got.Next != 2 {
		t.Errorf("out of time: %+v", got)
	}
	s = newServer(t)
	s.publishOrders(30)
	scanned := uint64(0)
	for next := uint64(1); next > 0; next = got.Next {
		if got = s.history(fmt.Sprintf(`{"rule":"big","from":%d,"limit":12}`, next)); got.Scanned > 12 || got.Complete != (got.Next == 0) {
			t.Fatalf("%+v", got)
		}
		scanned += got.Scanned
	}
	if scanned != 30 {
		t.Errorf("%d events were looked at, in all", scanned)
	}
}

func TestADryRunTellsItsProgress(t *testing.T) {
	s := newServer(t)
	s.publishOrders(20)
	res, body := s.call("POST", "/v1/rules/test", `{"rule":"big","from":1}`, "Content-Type", "application/json", "Accept", "text/event-stream")
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") || !strings.HasSuffix(body, "\n\n") {
		t.Fatalf("%v %s", res.Header, body)
	}
	i := strings.Index(body, "event: result\ndata: ")
	var got api.RuleHistory
	if i < 0 || json.Unmarshal([]byte(body[i+len("event: result\ndata: "):]), &got) != nil || got.Scanned != 20 || !got.Complete {
		t.Errorf("%s", body)
	}
	res, body = s.call("POST", "/v1/rules/test", `{"rule":"nope","from":1}`, "Content-Type", "application/json", "Accept", "text/event-stream")
	s.problemOf(res, body, 404)
}

func TestAFewDryRunsAreUnderWayAtMost(t *testing.T) {
	s := newServer(t)
	// It takes long: each event takes nearly all of an expression's budget.
	data := `,"data":{"a":[` + strings.Repeat("1,", 60) + `1]}`
	var batch []string
	for i := range 300 {
		batch = append(batch, eventJSON(fmt.Sprint(i), data))
	}
	s.call("POST", "/v1/buses/orders/events", "["+strings.Join(batch, ",")+"]", "Content-Type", batched)
	slow := `{"bus":"orders","filter":{"when":"event.data.a.exists(x, event.data.a.exists(y, event.data.a.exists(z, x + y + z < 0.0)))"},"from":1}`
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{}, 2)
	for range 2 {
		req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/rules/test", strings.NewReader(slow))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "text/event-stream")
		res, err := http.DefaultClient.Do(req) // its header comes when it is under way
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer res.Body.Close()
			for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			}
			ended <- struct{}{}
		}()
	}
	res, body := s.call("POST", "/v1/rules/test", slow, "Content-Type", "application/json")
	s.problemOf(res, body, 429)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// Clients that go away end theirs.
	cancel()
	<-ended
	<-ended
	eventually(t, "that there is room again", func() bool {
		res, _ := s.call("POST", "/v1/rules/test", `{"rule":"big","from":1,"limit":1}`, "Content-Type", "application/json")
		return res.StatusCode == 200
	})
}

func TestDryRunsThatCannotBeMeantAreRefused(t *testing.T) {
	s := newServer(t)
	for body, c := range map[string]struct {
		status  int
		pointer string
	}{
		`{"rule":"big","from":"soon"}`:                         {400, "/from"},
		`{"rule":"big","to":{}}`:                               {400, "/to"},
		`{"rule":"big","from":1,"event":{}}`:                   {400, "/event"},
		`{"rule":"big","bus":"orders","from":1}`:               {400, "/bus"},
		`{"filter":{},"from":1}`:                               {400, "/bus"},
		`{"filter":{},"bus":"nope","from":1}`:                  {404, "/bus"},
		`{"rule":"nope","from":1}`:                             {404, ""},
		`{"bus":"orders","from":1}`:                            {400, ""},
		`{"rule":"big","from":1,"samples":101}`:                {400, "/samples"},
		`{"rule":"big","from":1,"limit":-1}`:                   {400, "/limit"},
		`{"rule":"big","event":{},"limit":5}`:                  {400, ""},
		`{"filter":{"when":"event."},"bus":"orders","from":1}`: {400, ""},
	} {
		res, got := s.call("POST", "/v1/rules/test", body, "Content-Type", "application/json")
		p := s.problemOf(res, got, c.status)
		if c.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer) {
			t.Errorf("%s: %s, want the pointer %s", body, got, c.pointer)
		}
	}
	res, got := s.call("POST", "/v1/rules/test?limit=5", `{"rule":"big","from":1}`, "Content-Type", "application/json")
	s.problemOf(res, got, 400)
}
