package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const structured = "application/cloudevents+json"

// order is an order event of the quickstart.
func order(id string, total int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/shop","type":"com.example.order.placed","subject":"eu/de","data":{"id":7,"total":%d,"customer":{"name":"Ada"}}}`, id, total)
}

func TestTheQuickstartRunsTheMainJob(t *testing.T) {
	s := serveFile(t, t.TempDir(), filepath.Join("..", "..", "configs", "quickstart.yaml"))
	if status, body := s.call("POST", "/v1/buses/orders/events", structured, order("1", 2500)); status != http.StatusAccepted || !strings.Contains(body, `"sequence":1`) {
		t.Fatalf("publish: %d %s", status, body)
	}
	if out, code := s.cli("publish", "orders", "--type", "com.example.order.refunded", "--data", `{"id": 7, "amount": 20}`); code != 0 || !strings.Contains(out, "sequence 2") {
		t.Fatalf("switchyard publish: %d %s", code, out)
	}
	eventually(t, "that the log target prints the refund and the large order", 20*time.Second, func() bool {
		return strings.Contains(s.stdout(), "refund of 20 for order 7") && strings.Contains(s.stdout(), "com.example.audit.large")
	})
	eventually(t, "that the trace shows the attempts", 20*time.Second, func() bool {
		out, code := s.cli("trace", "orders", "1")
		return code == 0 && strings.Contains(out, "rule large-eu-orders (version 1) → target crm: retrying") && strings.Contains(out, "rule keep-for-audit (version 1) → target audit: delivered")
	})
	if out, code := s.cli("get", "subscriptions"); code != 0 || !strings.Contains(out, "large-eu-orders/crm") {
		t.Errorf("get subscriptions: %d %s", code, out)
	}
	if code, took := s.stop(); code != 0 || took > 10*time.Second {
		t.Errorf("SIGTERM: exit code %d after %v\n%s", code, took, s.stderr())
	}
}

func TestARestartKeepsWhatIsOwed(t *testing.T) {
	dir := t.TempDir()
	config := `
version: 1
buses: {orders: {}}
rules: {all: {bus: orders, targets: [printed]}}
targets: {printed: {log: {format: json}}}
`
	s := serve(t, dir, config)
	s.call("POST", "/v1/subscriptions/all/printed/pause", "", "")
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 1))
	s.call("POST", "/v1/buses/orders/events?delay=700ms", structured, order("2", 2))
	if code, _ := s.stop(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, s.stderr())
	}
	s = serve(t, dir, config)
	if s.stdout() != "" {
		t.Errorf("a paused subscription delivered %s", s.stdout())
	}
	s.call("POST", "/v1/subscriptions/all/printed/resume", "", "")
	eventually(t, "that both events are printed", 20*time.Second, func() bool { return strings.Count(s.stdout(), `"specversion"`) == 2 })
}

func TestTheConfigurationIsReloadedAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	config := func(filter string) string {
		return `
version: 1
buses: {orders: {}}
rules: {big: {bus: orders, when: '` + filter + `', targets: [printed]}}
targets: {printed: {log: {format: json}}}
`
	}
	s := serve(t, dir, config("event.data.total > 100"))
	file := filepath.Join(dir, "switchyard.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(config("event.data.total >> 100"))
	eventually(t, "that the invalid file is refused", 20*time.Second, func() bool {
		return strings.Contains(s.stderr(), "the old one stays in force") && strings.Contains(s.stderr(), "switchyard.yaml:4:")
	})
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 150))
	eventually(t, "that the old rule still matches", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"1"`) })
	write(config("event.data.total > 1000"))
	eventually(t, "the reload", 20*time.Second, func() bool { return strings.Contains(s.stderr(), "configuration reloaded") })
	s.call("POST", "/v1/buses/orders/events", structured, order("2", 150))
	s.call("POST", "/v1/buses/orders/events", structured, order("3", 1500))
	eventually(t, "that the new rule matches", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"3"`) })
	if strings.Contains(s.stdout(), `"id":"2"`) {
		t.Error("the old rule is still in force")
	}
}

func TestAppliedObjectsSurviveARestartAndHaveVersions(t *testing.T) {
	dir := t.TempDir()
	config := "version: 1\nbuses: {orders: {}}\n"
	s := serve(t, dir, config)
	apply := func(when string) (int, string) {
		return s.call("POST", "/v1/apply", "application/json",
			`{"rules":{"big":{"bus":"orders","when":"`+when+`","targets":["screen"]}},"targets":{"screen":{"log":{"format":"json"}}}}`)
	}
	if status, body := apply("event.data.total > 100"); status != http.StatusOK || strings.Count(body, `"created"`) != 2 {
		t.Fatalf("%d %s", status, body)
	}
	etag := func() string {
		res, err := http.Head(s.url + "/v1/rules/big")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.Header.Get("ETag")
	}
	tag := etag()
	if status, body := apply("event.data.total > 1000"); status != http.StatusOK || strings.Count(body, `"changed"`) != 1 {
		t.Fatalf("%d %s", status, body)
	}
	if now := etag(); now == tag {
		t.Errorf("a changed rule has the ETag %s that it had before", tag)
	}
	s.stop()
	s = serve(t, dir, config)
	if _, body := s.call("GET", "/v1/rules/big", "", ""); !strings.Contains(body, "event.data.total > 1000") {
		t.Errorf("after the restart: %s", body)
	}
}

func TestObjectsOfTheAPISurviveARestartAndFilesAreReadOnly(t *testing.T) {
	dir := t.TempDir()
	config := "version: 1\nbuses: {orders: {}}\ntargets: {printed: {log: {format: json}}}\n"
	s := serve(t, dir, config)
	put := func(path, body string) (int, string) { return s.call("PUT", path, "application/json", body) }
	if status, body := put("/v1/rules/big", `{"bus":"orders","when":"event.data.total > 100","targets":["printed"]}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := put("/v1/buses/extra", `{"retention":{"age":"1d"}}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	for body, want := range map[string]string{
		`{"bus":"orders","when":"event.data.total >","targets":["printed"]}`:           "when",
		`{"bus":"nope","targets":["printed"]}`:                                         "nope",
		`{"bus":"orders","targets":["printed"],"whem":"true"}`:                         "when",
		`{"bus":"orders","targets":["printed"],"transform":{"subject":"${env:HOME}"}}`: "${env:",
	} {
		status, answer := put("/v1/rules/bad", body)
		var p struct {
			Errors []struct{ Pointer, Detail string }
		}
		if err := json.Unmarshal([]byte(answer), &p); err != nil || status != http.StatusUnprocessableEntity || len(p.Errors) == 0 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if status, body := put("/v1/buses/orders", `{}`); status != http.StatusConflict || !strings.Contains(body, "switchyard.yaml:2") {
		t.Errorf("a file's bus: %d %s", status, body)
	}
	if status, body := s.call("DELETE", "/v1/targets/printed", "", ""); status != http.StatusConflict {
		t.Errorf("a target in use: %d %s", status, body)
	}
	s.stop()
	s = serve(t, dir, config)
	if _, body := s.call("GET", "/v1/rules/big", "", ""); !strings.Contains(body, `"origin":"api"`) || !strings.Contains(body, "event.data.total") {
		t.Errorf("after the restart: %s", body)
	}
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 150))
	eventually(t, "that the rule matches", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"1"`) })
	for _, path := range []string{"/v1/rules/big", "/v1/buses/extra"} {
		if status, body := s.call("DELETE", path, "", ""); status != http.StatusNoContent {
			t.Errorf("DELETE %s: %d %s", path, status, body)
		}
	}
	if status, _ := s.call("GET", "/v1/rules/big", "", ""); status != http.StatusNotFound {
		t.Errorf("the deleted rule is still there: %d", status)
	}
}

func TestAnObjectThatNoLongerFitsIsLeftOutAndCanBeMended(t *testing.T) {
	dir := t.TempDir()
	const with = "version: 1\nbuses: {orders: {}}\ntargets: {printed: {log: {format: json}}, other: {log: {}}}\n"
	s := serve(t, dir, with)
	rule := `{"bus":"orders","targets":["printed","other"]}`
	if status, body := s.call("PUT", "/v1/rules/all", "application/json", rule); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := s.call("PUT", "/v1/rules/bad", "application/json", `{"bus":"nope","when":"foo(","targets":["gone"]}`); status != http.StatusUnprocessableEntity ||
		!strings.Contains(body, `"pointer":"/bus"`) || !strings.Contains(body, `"pointer":"/when"`) || !strings.Contains(body, `"pointer":"/targets/0"`) {
		t.Errorf("not all errors are reported: %d %s", status, body)
	}
	s.stop()
	s = serve(t, dir, "version: 1\nbuses: {orders: {}}\ntargets: {printed: {log: {format: json}}}\n")
	if !strings.Contains(s.stderr(), "not in force") || !strings.Contains(s.stderr(), "other") {
		t.Errorf("the log does not say what was left out:\n%s", s.stderr())
	}
	if status, body := s.call("PUT", "/v1/rules/all", "application/json", `{"bus":"orders","targets":["printed"]}`); status != http.StatusCreated {
		t.Errorf("%d %s", status, body)
	}
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 1))
	eventually(t, "that the mended rule delivers", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"1"`) })
}

func TestAnObjectThatAFileHasTooIsLeftOutAndCanBeDeleted(t *testing.T) {
	dir := t.TempDir()
	const without = "version: 1\nbuses: {orders: {}}\ntargets: {printed: {log: {}}}\n"
	const with = without + "rules: {all: {bus: orders, when: event.id == 'file', targets: [printed]}}\n"
	s := serve(t, dir, without)
	if status, body := s.call("PUT", "/v1/rules/all", "application/json", `{"bus":"orders","targets":["printed"]}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	s.stop()
	s = serve(t, dir, with)
	if !strings.Contains(s.stderr(), "not in force") || !strings.Contains(s.stderr(), "made through the API") {
		t.Errorf("the log does not say what was left out:\n%s", s.stderr())
	}
	if status, body := s.call("DELETE", "/v1/rules/all", "", ""); status != http.StatusNoContent {
		t.Errorf("%d %s", status, body)
	}
	if _, body := s.call("GET", "/v1/rules/all", "", ""); !strings.Contains(body, "event.id == 'file'") {
		t.Errorf("the file's rule is not in force any more: %s", body)
	}
	if status, body := s.call("DELETE", "/v1/rules/all", "", ""); status != http.StatusConflict {
		t.Errorf("a file's rule was deleted: %d %s", status, body)
	}
	s.stop()
	s = serve(t, dir, without)
	if status, _ := s.call("GET", "/v1/rules/all", "", ""); status != http.StatusNotFound {
		t.Errorf("what was deleted is back: %d", status)
	}
}

func TestAPutSaysWhatIsWrongAndWhatIsOdd(t *testing.T) {
	s := serve(t, t.TempDir(), "version: 1\nbuses: {orders: {scanRules: 0}}\ntargets: {printed: {log: {}}}\n")
	for _, tc := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"a slip in a name", `{"bus":"orders","when":"event.tpye == 'x'","targets":["printed"]}`, http.StatusCreated,
			`"warnings":[{"pointer":"/when","line":1,"column":31,"message":"tpye is no attribute of CloudEvents, only nearly one; did you mean type?"}]`},
		{"a test of its own that fails", `{"bus":"orders","when":"event.type == 'x'","targets":["printed"],"tests":[{"event":{"type":"x"},"expect":"match"},{"event":{"type":"y"},"expect":"match"}]}`,
			http.StatusOK, `"warnings":[{"pointer":"/tests/1","line":1,"message":"test 2 of the rule fails: expected match, got no match; event.type == \"x\": type is \"y\""}]`},
		{"a transform that always fails", `{"bus":"orders","transform":{"data":{"a":"${{ event.data.x + 1 }}"}},"targets":["printed"]}`, http.StatusOK,
			`"warnings":[{"pointer":"/transform/data/a","line":1,"column":47,"message":"event.data.x + 1 always fails`},
		{"an operator as a field", `{"bus":"orders","pattern":{"detail":{"total":{"numeric":[">",100]}}},"targets":["printed"]}`, http.StatusOK,
			`"warnings":[{"pointer":"/pattern/detail/total/numeric",`},
		{"a rule that no index finds", `{"bus":"orders","when":"size(event.data.a) > 3","targets":["printed"]}`, http.StatusUnprocessableEntity,
			`"errors":[{"pointer":"/when",`},
		{"no object", `[]`, http.StatusBadRequest, `"detail":"the request body: expected an object, not a list"`},
		{"no JSON", `{"bus": "orders",}`, http.StatusBadRequest, `(line 1, column 18)"`},
		{"no UTF-8", "{\"bus\": \"\xff\"}", http.StatusUnprocessableEntity, `not UTF-8`},
	} {
		status, body := s.call("PUT", "/v1/rules/r", "application/json", tc.body)
		if status != tc.status || !strings.Contains(body, tc.want) || strings.Contains(body, "empty") || strings.Contains(body, "Go value") {
			t.Errorf("%s: %d %s, want %d %s", tc.name, status, body, tc.status, tc.want)
		}
	}
}

func TestMistakesAreSaidAndExitWithTwo(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nbuses: {orders: {retension: {}}}\nrules: {r: {bus: nope, targets: [gone]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: "http://127.0.0.1:1"}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"validate", bad}, 2, []string{"bad.yaml:2:18", "retention", "nope", "gone"}},
		{[]string{"serve", "-c", bad, "--data", dir}, 2, []string{"bad.yaml:2:18"}},
		{[]string{"serve", "--listen", "0.0.0.0:0", "--data", dir}, 2, []string{"--insecure"}},
		{[]string{"serve", "--store", "nats://x"}, 2, []string{"not available"}},
		{[]string{"nonsense"}, 2, []string{"nonsense"}},
		{[]string{"publish", "orders", "--bogus"}, 2, []string{"bogus"}},
		{[]string{"publish", "orders"}, 2, []string{"--type"}},
		{[]string{"publish", "orders", "--type", "x", "-o", "xml"}, 2, []string{"xml"}},
		{[]string{"publish", "orders", "--type", "x"}, 1, []string{"no answer", "--server"}},
		{[]string{"deadletters", "list", "nosuch"}, 2, []string{"RULE/TARGET"}},
		{[]string{"version", "-o", "json"}, 0, []string{`"version"`}},
		{[]string{"schema"}, 0, []string{`"$schema"`}},
		{[]string{"validate", filepath.Join("..", "..", "configs", "quickstart.yaml")}, 0, []string{"is valid"}},
		{[]string{"rules", "test", filepath.Join("..", "..", "configs", "quickstart.yaml")}, 0, []string{"0 failed"}},
	} {
		out, code := s.cli(c.args...)
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d\n%s", c.args, code, c.code, out)
		}
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%v does not say %q:\n%s", c.args, w, out)
			}
		}
	}
}

func TestABreakerIsShownAndSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	config := `
version: 1
buses: {orders: {}}
rules:
  all: {bus: orders, targets: [crm]}
  alarms: {bus: system.events, when: event.type.endsWith(".breaker.opened"), targets: [printed]}
targets:
  crm: {http: {url: "http://127.0.0.1:1/"}, retry: {initial: 1ms, max: 1ms}, breaker: {failures: 3, open: 10m}}
  printed: {log: {format: json}}
`
	s := serve(t, dir, config)
	for i := range 20 {
		s.call("POST", "/v1/buses/orders/events", structured, order(fmt.Sprint(i), 1))
	}
	open := func() bool {
		_, target := s.call("GET", "/v1/targets/crm", "", "")
		_, sub := s.call("GET", "/v1/subscriptions/all/crm", "", "")
		return strings.Contains(target, `"breaker":"open"`) && strings.Contains(sub, `"state":"active","reason":"breaker open until`) &&
			strings.Contains(sub, `"depth":20,"inFlight":0`)
	}
	eventually(t, "that the breaker is open", 20*time.Second, open)
	eventually(t, "that a rule hears of it", 20*time.Second, func() bool {
		return strings.Contains(s.stdout(), "com.switchyard.target.breaker.opened")
	})
	if out, code := s.cli("get", "targets"); code != 0 || !strings.Contains(out, `breaker=open reason="breaker open until`) {
		t.Errorf("get targets: %d %s", code, out)
	}
	if out, code := s.cli("trace", "orders", "20"); code != 0 || !strings.Contains(out, "(breaker open until") {
		t.Errorf("trace: %d %s", code, out)
	}
	if _, body := s.call("GET", "/metrics", "", ""); !strings.Contains(body, `switchyard_target_breaker_open{target="crm"} 1`) {
		t.Error("the metrics do not show it")
	}
	if code, _ := s.stop(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, s.stderr())
	}
	s = serve(t, dir, config)
	if !open() {
		_, target := s.call("GET", "/v1/targets/crm", "", "")
		t.Errorf("after a restart: %s", target)
	}
}
