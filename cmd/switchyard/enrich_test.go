package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestARuleEnrichesWhatItDelivers(t *testing.T) {
	var calls atomic.Int64
	var down atomic.Bool
	crm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		switch {
		case strings.HasPrefix(r.URL.Path, "/elsewhere"):
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		case r.Header.Get("X-Team") != "billing" || down.Load():
			http.Error(w, "the CRM is down", http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"path": %q, "account": 12345678901234567890}`, r.RequestURI)
		}
	}))
	defer crm.Close()
	config := func(subject string) string {
		return fmt.Sprintf(`
version: 1
buses: {orders: {}}
rules:
  customers:
    bus: orders
    when: event.type == "com.example.order.placed"
    enrich:
      customer:
        http: {url: "%[1]s/customers/${{ event.data.customer.name }}?of=${{ event.subject }}", headers: {X-Team: billing}}
        cache: {for: 1h, key: "${{ event.data.customer.name }}"}
    transform: {subject: %[2]q, data: "${{ enriched.customer }}"}
    targets: [printed]
  redirected:
    bus: orders
    when: event.type == "redirected"
    enrich: {x: {http: {url: "%[1]s/elsewhere"}}}
    transform: {data: "${{ enriched.x }}"}
    targets: [printed]
  forbidden:
    bus: orders
    when: event.type == "forbidden"
    enrich: {x: {http: {url: "http://169.254.169.254/latest/${{ event.id }}"}}}
    transform: {data: "${{ enriched.x }}"}
    targets: [printed]
targets: {printed: {log: {format: json}, retry: {initial: 10ms, max: 50ms}}}
`, crm.URL, subject)
	}
	dir := t.TempDir()
	s := serve(t, dir, config("one"))
	down.Store(true)
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 150))
	eventually(t, "that the trace says what failed", 20*time.Second, func() bool {
		out, _ := s.cli("trace", "orders", "1")
		return strings.Contains(out, "enrich customer: 503 Service Unavailable: the CRM is down")
	})
	down.Store(false)
	eventually(t, "the enriched event", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `12345678901234567890`) })
	if out := s.stdout(); !strings.Contains(out, `12345678901234567890`) || !strings.Contains(out, `/customers/Ada?of=eu%2Fde`) {
		t.Errorf("printed %s", out)
	}

	// What a reload leaves as it is keeps its cache.
	before := calls.Load()
	if err := os.WriteFile(filepath.Join(dir, "switchyard.yaml"), []byte(config("two")), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reload", 20*time.Second, func() bool { return strings.Contains(s.stderr(), "configuration reloaded") })
	s.call("POST", "/v1/buses/orders/events", structured, order("2", 150))
	eventually(t, "the event after the reload", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"subject":"two"`) })
	if calls.Load() != before {
		t.Errorf("%d calls after the first", calls.Load()-before)
	}

	for _, typ := range []string{"redirected", "forbidden"} {
		s.call("POST", "/v1/buses/orders/events", structured, `{"specversion":"1.0","id":"x","source":"/`+typ+`","type":"`+typ+`"}`)
	}
	for rule, want := range map[string]string{
		"redirected": `enrich x: 302 Found: redirects are not followed; it points to \"http://169.254.169.254/latest/meta-data\"`,
		"forbidden":  "enrich x: dial tcp 169.254.169.254:80: the network rules do not allow 169.254.169.254:80",
	} {
		eventually(t, "the dead letter of "+rule, 20*time.Second, func() bool {
			_, body := s.call("GET", "/v1/subscriptions/"+rule+"/printed/deadletters", "", "")
			return strings.Contains(body, want)
		})
	}
	_, metrics := s.call("GET", "/metrics", "", "")
	for _, want := range []string{`switchyard_enrich_cache_hits_total{rule="customers"} 1`, `switchyard_enrich_failures_total{rule="forbidden"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if status, body := s.call("GET", "/v1/rules/customers", "", ""); status != 200 || strings.Contains(body, "billing") {
		t.Errorf("%d %s", status, body)
	}
}
