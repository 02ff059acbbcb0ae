package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

// traced is the trace of an event.
func (s *server) traced(t *testing.T, bus string, sequence int, query string) (out api.TraceResponse) {
	t.Helper()
	code, body := s.call(http.MethodGet, fmt.Sprintf("/v1/buses/%s/events/%d/trace%s", bus, sequence, query), "", "")
	if err := json.Unmarshal([]byte(body), &out); code != http.StatusOK || err != nil {
		t.Fatalf("the trace of %d answered %d %s", sequence, code, body)
	}
	return out
}

func TestATraceShowsTheRuleThatMatchedAndWhatItMade(t *testing.T) {
	s := serve(t, t.TempDir(), "version: 1\nbuses: {orders: {}, audit: {}}\ntargets: {chained: {bus: {name: audit}}}\n")
	put := func(rule string) {
		t.Helper()
		if code, body := s.call(http.MethodPut, "/v1/rules/r", "application/json", rule); code/100 != 2 {
			t.Fatalf("%d %s", code, body)
		}
	}
	publish := func(id string) {
		t.Helper()
		if code, body := s.call(http.MethodPost, "/v1/buses/orders/events", structured, order(id, 150)); code != http.StatusAccepted {
			t.Fatalf("%d %s", code, body)
		}
		eventually(t, "that everything is settled", 20*time.Second, s.settled)
	}
	put(`{"bus": "orders", "when": "event.data.total > 1", "transform": {"subject": "first"}, "targets": ["chained"]}`)
	publish("1")
	put(`{"bus": "orders", "when": "event.data.total > 2", "transform": {"subject": "second"}, "targets": ["chained"]}`)
	publish("2")

	one := s.traced(t, "orders", 1, "?rules=true&transforms=true")
	d := one.Deliveries[0]
	if d.Rule != "r" || d.RuleVersion != 1 || !d.RuleChanged || d.Transformed == nil || len(d.Transformed.Event) > 0 ||
		d.Transformed.Note != "the rule has changed since: it was version 1, and is version 2" {
		t.Errorf("the first event: %+v, %+v", d, d.Transformed)
	}
	if len(one.Rules) != 1 || one.Rules[0].Current || !strings.Contains(string(one.Rules[0].Definition), "event.data.total > 1") {
		t.Errorf("the rule as it was: %+v", one.Rules)
	}
	two := s.traced(t, "orders", 2, "?transforms=true").Deliveries[0]
	if two.RuleVersion != 2 || two.RuleChanged || two.Transformed == nil || !strings.Contains(string(two.Transformed.Event), `"subject":"second"`) {
		t.Errorf("the second event: %+v, %+v", two, two.Transformed)
	}
	// What was chained can be followed on, and back.
	if p := two.Attempts[0].Published; p == nil || *p != (api.EventPlace{Bus: "audit", Sequence: 2}) {
		t.Errorf("the second event was chained to %+v", p)
	}
	back := s.traced(t, "audit", 2, "").Origin
	if back.Kind != "bus" || back.Rule != "r" || back.Target != "chained" || back.Delivery != two.ID || back.From == nil || *back.From != (api.EventPlace{Bus: "orders", Sequence: 2}) {
		t.Errorf("the chained event came from %+v", back)
	}
	if code, body := s.call(http.MethodDelete, "/v1/rules/r", "application/json", ""); code/100 != 2 {
		t.Fatalf("%d %s", code, body)
	}
	if d := s.traced(t, "orders", 2, "?transforms=true").Deliveries[0]; d.Rule != "r" || d.RuleVersion != 2 || !d.RuleChanged || d.Transformed.Note != "the rule is gone, or of another bus" {
		t.Errorf("after the rule was removed: %+v, %+v", d, d.Transformed)
	}
	var versions api.List[api.RuleVersion]
	code, body := s.call(http.MethodGet, "/v1/rules/r/versions?limit=2", "", "")
	if err := json.Unmarshal([]byte(body), &versions); err != nil || code != http.StatusOK || len(versions.Items) != 2 || versions.Next != "2" || !versions.Items[0].Removed || versions.Items[1].Version != 2 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := s.call(http.MethodGet, "/v1/rules/r/versions?after=2", "", ""); !strings.Contains(body, `"version":1,`) || !strings.Contains(body, `"next":""`) {
		t.Errorf("the second page: %d %s", code, body)
	}
	if code, body := s.call(http.MethodGet, "/v1/rules/never/versions", "", ""); code != http.StatusNotFound {
		t.Errorf("%d %s", code, body)
	}
	if code, body := s.call(http.MethodGet, "/v1/buses/orders/events/2/trace?rules=perhaps", "", ""); code != http.StatusBadRequest {
		t.Errorf("%d %s", code, body)
	}
}

func TestATraceSaysWhatIsLeftOfItsTimeline(t *testing.T) {
	delivered := []api.DeliveryTrace{{Rule: "r", Target: "t", State: "delivered"}}
	for name, c := range map[string]struct {
		trace     api.TraceResponse
		says, not []string
	}{
		"archived with its timeline": {
			api.TraceResponse{Archived: true, Deliveries: delivered}, []string{"read from the archive\n", "delivered"}, []string{"went with", "no rule"},
		},
		"archived, nothing matched": {api.TraceResponse{Archived: true}, []string{"read from the archive\n", "no rule matched"}, []string{"went with"}},
		"archived without its timeline": {
			api.TraceResponse{Archived: true, Forgotten: true}, []string{"read from the archive\n", "its timeline went with the bus's retention"}, []string{"no rule"},
		},
		"passed by retention": {api.TraceResponse{Forgotten: true}, []string{"its timeline went with the bus's retention"}, []string{"archive", "no rule"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.trace.Routed = true
			cmd, out := &cobra.Command{}, &bytes.Buffer{}
			cmd.SetOut(out)
			showTrace(cmd, c.trace)
			for _, s := range c.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("it does not say %q:\n%s", s, out)
				}
			}
			for _, s := range c.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("it says %q:\n%s", s, out)
				}
			}
		})
	}
}
