package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus"
)

// compacted makes orders a compacted bus.
func (s *server) compacted() {
	s.t.Helper()
	p := s.engine.Plan()
	orders := p.Buses["orders"]
	orders.Table = true
	next := bus.Plan{Buses: map[string]bus.BusPlan{"orders": orders, "audit": p.Buses["audit"]}, Rules: p.Rules, Targets: p.Targets}
	if err := s.engine.Apply(s.t.Context(), next); err != nil {
		s.t.Fatal(err)
	}
}

// about publishes an event with a subject, without data if that is "".
func (s *server) about(id, subject, data string) {
	s.t.Helper()
	more := fmt.Sprintf(`,"subject":%q`, subject)
	if data != "" {
		more += `,"data":` + data
	}
	if res, body := s.call("POST", "/v1/buses/orders/events", eventJSON(id, more), "Content-Type", "application/cloudevents+json"); res.StatusCode != 202 {
		s.t.Fatalf("%d %s", res.StatusCode, body)
	}
}

func TestTheTableOfACompactedBusHasTheNewestEventOfEachSubject(t *testing.T) {
	s := newServer(t)
	s.compacted()
	for i := range 25 {
		s.about(fmt.Sprint("old-", i), fmt.Sprintf("eu/%02d", i), `{"n":1}`)
	}
	for i := range 20 {
		s.about(fmt.Sprint("new-", i), fmt.Sprintf("eu/%02d", i), `{"n":2}`)
	}
	s.about("us", "us/é ü", `{}`)
	s.about("end", "eu/03", "")
	var subjects []string
	next := "/v1/buses/orders/table?limit=7"
	for pages := 0; next != "" && pages < 10; pages++ {
		res, got := s.call("GET", next, "")
		var page []struct{ ID, Subject, Sequence, RecordedTime string }
		if err := json.Unmarshal([]byte(got), &page); err != nil || res.StatusCode != 200 || len(page) > 7 {
			t.Fatalf("%d %s", res.StatusCode, got)
		}
		for _, r := range page {
			subjects = append(subjects, r.Subject)
			var n int
			if _, err := fmt.Sscanf(r.Subject, "eu/%d", &n); err == nil {
				want := fmt.Sprint("new-", n)
				if n >= 20 {
					want = fmt.Sprint("old-", n)
				}
				if r.ID != want || len(r.Sequence) != 20 || r.RecordedTime == "" {
					t.Errorf("the row of %q is %+v, want %s", r.Subject, r, want)
				}
			}
		}
		link := res.Header.Get("Link")
		if next, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">"); link != "" && !strings.HasSuffix(link, `>; rel="next"`) {
			t.Fatalf("Link: %s", link)
		}
	}
	if len(subjects) != 25 || subjects[3] != "eu/04" || subjects[24] != "us/é ü" {
		t.Errorf("the subjects are %q", subjects)
	}
	res, got := s.call("GET", "/v1/buses/orders/table?subject="+url.QueryEscape("us/é ü"), "")
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/cloudevents+json") || !strings.Contains(got, `"id":"us"`) {
		t.Errorf("one row: %d %s", res.StatusCode, got)
	}
	if _, got := s.call("GET", "/v1/buses/orders/table?prefix=us/", ""); strings.Count(got, `"specversion"`) != 1 {
		t.Errorf("with a prefix there is %s", got)
	}
	if _, got := s.call("GET", "/v1/buses/orders/table?prefix=none", ""); strings.TrimSpace(got) != "[]" {
		t.Errorf("without rows there is %s", got)
	}
}

func TestARequestForATableThatCannotBeMeantIsRefused(t *testing.T) {
	s := newServer(t)
	if res, got := s.call("GET", "/v1/buses/orders/table", ""); res.StatusCode != 409 || !strings.Contains(got, "compact: subject") {
		t.Errorf("without a table: %d %s", res.StatusCode, got)
	}
	s.compacted()
	s.about("1", "lamp", `{}`)
	s.about("2", "lamp", "")
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"subject=lamp":          {404, `has no subject \"lamp\"`},
		"subject=":              {404, "has no subject"},
		"subject=lamp&prefix=l": {400, "does not go with prefix"},
		"limit=0":               {400, "limit"},
		"sub=1":                 {400, "no query parameter"},
	} {
		if res, got := s.call("GET", "/v1/buses/orders/table?"+query, ""); res.StatusCode != want.status || !strings.Contains(got, want.text) {
			t.Errorf("%s: %d %s", query, res.StatusCode, got)
		}
	}
	if res, _ := s.call("GET", "/v1/buses/absent/table", ""); res.StatusCode != 404 {
		t.Errorf("of no bus: %d", res.StatusCode)
	}
	long := eventJSON("3", fmt.Sprintf(`,"subject":%q`, strings.Repeat("x", 1025)))
	res, got := s.call("POST", "/v1/buses/orders/events", long, "Content-Type", "application/cloudevents+json")
	if res.StatusCode != 400 || !strings.Contains(got, "takes at most 1024") || !strings.Contains(got, `"pointer":"/subject"`) {
		t.Errorf("a long subject: %d %s", res.StatusCode, got)
	}
	if res, got := s.call("POST", "/v1/buses/audit/events", long, "Content-Type", "application/cloudevents+json"); res.StatusCode != 202 {
		t.Errorf("a long subject on a bus without a table: %d %s", res.StatusCode, got)
	}
}
