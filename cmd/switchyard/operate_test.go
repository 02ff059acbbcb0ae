package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestSIGHUPReloadsTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := func(filter string) string {
		return "version: 1\nbuses: {orders: {}}\nrules: {big: {bus: orders, when: '" + filter + "', targets: [printed]}}\ntargets: {printed: {log: {format: json}}}\n"
	}
	s := serve(t, dir, config("event.data.total > 100"))
	hangUp := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "switchyard.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp(config("event.data.total > 1000"))
	eventually(t, "the reload", 20*time.Second, func() bool { return strings.Contains(s.stderr(), "configuration reloaded") })
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 150))
	s.call("POST", "/v1/buses/orders/events", structured, order("2", 1500))
	eventually(t, "that the new rule matches", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"2"`) })
	if strings.Contains(s.stdout(), `"id":"1"`) {
		t.Error("the old rule is still in force")
	}
	hangUp("version: 1\nbuses: {orders: {}}\nrules: {big: {bus: gone, targets: [printed]}}\n")
	eventually(t, "that an invalid file is refused", 20*time.Second, func() bool {
		return strings.Contains(s.stderr(), "the old one stays in force") && strings.Contains(s.stderr(), `switchyard.yaml:3:20: rules.big.bus: there is no bus "gone"`)
	})
	s.call("POST", "/v1/buses/orders/events", structured, order("3", 1500))
	eventually(t, "that the rule before still matches", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"3"`) })
	// Without a file there is nothing to reload, and no reason to die.
	bare := start(t, "serve", "--data", filepath.Join(dir, "bare"), "--listen", "127.0.0.1:0")
	bare.waitReady()
	if err := bare.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that it says so", 20*time.Second, func() bool { return strings.Contains(bare.stderr(), "there is no configuration file to reload") })
	if status, body := bare.call("GET", "/healthz", "", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}

// TestSIGTERMUnderLoadLosesNothing stops a server while publishers publish and
// deliveries hang at a receiver that answers slowly or not at all.
func TestSIGTERMUnderLoadLosesNothing(t *testing.T) {
	release := make(chan struct{})
	var hanging atomic.Int64
	receiver := newEventReceiver(t)
	receiver.before = func(r *http.Request) {
		hanging.Add(1)
		defer hanging.Add(-1)
		select { // the first server's requests end when it gives them up
		case <-release:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	config := fmt.Sprintf(`
version: 1
buses: {orders: {}}
rules: {all: {bus: orders, targets: [slow, strict]}}
targets:
  slow: {http: {url: "%[1]s/slow", timeout: 30s}, retry: {initial: 10ms, max: 100ms}}
  strict: {http: {url: "%[1]s/strict", timeout: 30s}, retry: {initial: 10ms, max: 100ms}, order: strict}
`, receiver.URL)
	dir := t.TempDir()
	s := serve(t, dir, config)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acked sync.Map
	var publishers sync.WaitGroup
	for p := range 4 {
		publishers.Go(func() { publishUntil(ctx, t, s.url, fmt.Sprint("p", p), func(id string) { acked.Store(id, true) }) })
	}
	count := func() (n int) {
		acked.Range(func(_, _ any) bool { n++; return true })
		return n
	}
	eventually(t, "that deliveries hang", 30*time.Second, func() bool { return hanging.Load() >= 3 && count() >= 50 })
	code, took := s.stop()
	cancel()
	publishers.Wait()
	if code != 0 || took > 10*time.Second {
		t.Errorf("SIGTERM under load: exit code %d after %v\n%s", code, took, s.stderr())
	}
	if strings.Contains(s.stderr(), "panic") || strings.Contains(s.stderr(), "DATA RACE") {
		t.Errorf("it did not end cleanly:\n%s", s.stderr())
	}
	close(release)
	s = serve(t, dir, config)
	eventually(t, "that everything is settled", time.Minute, s.settled)
	lost := 0
	for _, path := range []string{"/slow", "/strict"} {
		got := receiver.of(path)
		acked.Range(func(id, _ any) bool {
			if len(got[id.(string)]) == 0 {
				if lost++; lost < 10 {
					t.Errorf("%s never got %s", path, id)
				}
			}
			return true
		})
	}
	t.Logf("%d events were acknowledged; it stopped within %v; %d were lost", count(), took.Round(time.Millisecond), lost)
}

func TestASecondServerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "version: 1\nbuses: {orders: {}}\n")
	for _, c := range []struct {
		name, data, listen string
		want               []string
	}{
		{"the same folder", filepath.Join(dir, "data"), "127.0.0.1:0", []string{filepath.Join(dir, "data"), "another"}},
		{"the same address", filepath.Join(dir, "other"), strings.TrimPrefix(s.url, "http://"), []string{"address already in use", "--listen"}},
		{"both", filepath.Join(dir, "data"), strings.TrimPrefix(s.url, "http://"), []string{"address already in use", "--listen"}},
	} {
		second := start(t, "serve", "--data", c.data, "--listen", c.listen)
		second.refused(t, c.name, c.want...)
	}
	if status, body := s.call("POST", "/v1/buses/orders/events", structured, order("1", 150)); status != http.StatusAccepted {
		t.Errorf("the first server is disturbed: %d %s", status, body)
	}
	if code, _ := s.stop(); code != 0 {
		t.Errorf("the first server ends with %d\n%s", code, s.stderr())
	}
}

func TestDataOfANewerReleaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "version: 1\nbuses: {orders: {}}\n")
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 150))
	s.stop()
	data := filepath.Join(dir, "data")
	format := filepath.Join(data, "FORMAT")
	before, err := os.ReadFile(format)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(format, []byte("switchyard store 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unchanged := contents(t, data)
	start(t, "serve", "--data", data, "--listen", "127.0.0.1:0").refused(t, "a newer format", data, "newer release", "99")
	if !slices.Equal(contents(t, data), unchanged) {
		t.Errorf("the refused folder was changed: %q, before %q", contents(t, data), unchanged)
	}
	if err := os.WriteFile(format, before, 0o600); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir, "version: 1\nbuses: {orders: {}}\n")
	if status, body := s.call("GET", "/v1/buses/orders/events/1", "", ""); status != http.StatusOK {
		t.Errorf("the data is gone after the refusal: %d %s", status, body)
	}
}

// contents lists the files below a folder with their sizes.
func contents(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out = append(out, fmt.Sprintf("%s %d", path, info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMetricsStayFewWithAThousandRules checks that neither rules nor
// subscriptions are labels.
func TestMetricsStayFewWithAThousandRules(t *testing.T) {
	const many = 1000
	var config strings.Builder
	config.WriteString("version: 1\nbuses: {orders: {}}\ntargets: {printed: {log: {format: json}}}\nrules:\n")
	for i := range many {
		fmt.Fprintf(&config, "  r%d: {bus: orders, when: event.data.total == %d, targets: [printed]}\n", i, i)
	}
	s := serve(t, t.TempDir(), config.String())
	var batch []string
	for i := range many {
		batch = append(batch, order(fmt.Sprint(i), i))
	}
	if status, body := s.call("POST", "/v1/buses/orders/events", "application/cloudevents-batch+json", "["+strings.Join(batch, ",")+"]"); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	eventually(t, "that every rule has delivered", 30*time.Second, func() bool { return strings.Count(s.stdout(), `"specversion"`) >= many })
	const delivered = `switchyard_deliveries_delivered_total{target="printed"} 1000`
	var status int
	var metrics string
	eventually(t, delivered, 30*time.Second, func() bool { // a delivery is counted after it is printed
		status, metrics = s.call("GET", "/metrics", "", "")
		return strings.Contains(metrics, delivered)
	})
	if lines := strings.Count(metrics, "\n"); status != http.StatusOK || lines >= 3000 || strings.Contains(metrics, `"r17"`) {
		t.Errorf("%d: /metrics has %d lines with %d rules", status, lines, many)
	}
	if want := `switchyard_events_received_total{bus="orders"} 1000`; !strings.Contains(metrics, want) {
		t.Errorf("/metrics lacks %s", want)
	}
}

// TestOpenAPIDescribesWhatIsServed holds the description to the rules of
// OpenAPI 3.1 that clients depend on, and every call of it to the server.
func TestOpenAPIDescribesWhatIsServed(t *testing.T) {
	s := serve(t, t.TempDir(), "version: 1\nbuses: {orders: {}}\n")
	_, text := s.call("GET", "/openapi.json", "", "")
	var doc struct {
		OpenAPI    string
		Info       struct{ Title, Version string }
		Paths      map[string]map[string]operation
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^3\.1\.\d+$`).MatchString(doc.OpenAPI) || doc.Info.Title == "" || doc.Info.Version != release || len(doc.Paths) < 20 {
		t.Errorf("openapi %q, info %+v, %d paths", doc.OpenAPI, doc.Info, len(doc.Paths))
	}
	for _, m := range regexp.MustCompile(`"\$ref": "([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if name, ok := strings.CutPrefix(m[1], "#/components/schemas/"); !ok || doc.Components.Schemas[name] == nil {
			t.Errorf("the reference %s leads nowhere", m[1])
		}
	}
	for name := range doc.Components.Schemas {
		if !regexp.MustCompile(`^[a-zA-Z0-9._-]+$`).MatchString(name) { // OpenAPI 3.1, Components Object
			t.Errorf("a schema is called %q", name)
		}
	}
	ids := map[string]string{}
	for path, operations := range doc.Paths {
		allowed := allow(s, path)
		if described := methodsAt(doc.Paths, path); !slices.Equal(allowed, described) {
			t.Errorf("%s: the server allows %v, described are %v", path, allowed, described)
		}
		for method, op := range operations {
			where := strings.ToUpper(method) + " " + path
			if other := ids[op.OperationID]; op.OperationID == "" || other != "" {
				t.Errorf("%s: operationId %q, also of %q", where, op.OperationID, other)
			}
			ids[op.OperationID] = where
			op.check(t, where, path)
		}
	}
	// These have been there from the first release on.
	for _, want := range []string{
		"/v1/buses/{bus}/events", "/v1/events", "/v1/buses/{bus}/events/{sequence}/trace", "/v1/buses/{bus}/tail", "/v1/buses/{bus}/scheduled",
		"/v1/rules/test", "/v1/subscriptions/{rule}/{target}/deadletters/redrive", "/v1/hooks/{source}", "/v1/targets/{target}", "/healthz", "/readyz", "/metrics",
	} {
		if doc.Paths[want] == nil {
			t.Errorf("%s is not described", want)
		}
	}
	// What is served is described, now and once these are there.
	for _, path := range []string{
		"/v1/buses/{bus}/replay", "/v1/replays", "/v1/replays/{id}", "/v1/transactions", "/v1/transactions/{id}/commit", "/v1/transactions/{id}/rollback",
		"/v1/subscriptions/{rule}/{target}/seek", "/v1/subscriptions/{rule}/{target}/receive", "/v1/subscriptions/{rule}/{target}/ack",
	} {
		if allowed, described := allow(s, path), methodsAt(doc.Paths, path); !slices.Equal(allowed, described) {
			t.Errorf("%s: the server allows %v, described are %v", path, allowed, described)
		}
	}
}

// operation is an OpenAPI operation.
type operation struct {
	OperationID string
	Summary     string
	Parameters  []struct {
		Name, In string
		Required bool
		Schema   any
	}
	RequestBody *struct{ Content map[string]any }
	Responses   map[string]struct{ Description string }
}

// check holds an operation to what OpenAPI demands of one.
func (op operation) check(t *testing.T, where, path string) {
	t.Helper()
	if op.Summary == "" || len(op.Responses) < 2 || op.Responses["default"].Description == "" {
		t.Errorf("%s: summary %q, responses %v", where, op.Summary, op.Responses)
	}
	for code, r := range op.Responses {
		if r.Description == "" || !regexp.MustCompile(`^([1-5]\d\d|default)$`).MatchString(code) {
			t.Errorf("%s: response %q without a description", where, code)
		}
	}
	seen := map[string]bool{}
	for _, p := range op.Parameters {
		if seen[p.In+p.Name] || p.Schema == nil || !slices.Contains([]string{"path", "query", "header"}, p.In) || (p.In == "path" && !p.Required) {
			t.Errorf("%s: parameter %+v", where, p)
		}
		seen[p.In+p.Name] = true
	}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		if !seen["path"+m[1]] {
			t.Errorf("%s: the path parameter %s is not described", where, m[1])
		}
	}
	if op.RequestBody != nil && len(op.RequestBody.Content) == 0 {
		t.Errorf("%s: a request body without content", where)
	}
}

var pathParameter = regexp.MustCompile(`\{\w+\}`)

// methodsAt is every method that is described for a path, also by a path with
// parameters that it fits.
func methodsAt(paths map[string]map[string]operation, path string) (out []string) {
	path = pathParameter.ReplaceAllString(path, "nosuch")
	for other, operations := range paths {
		if !regexp.MustCompile("^" + pathParameter.ReplaceAllString(other, "[^/]+") + "$").MatchString(path) {
			continue
		}
		for method := range operations {
			out = append(out, strings.ToUpper(method))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// allow is every method that the server allows at a path, as it answers to one
// that nobody has.
func allow(s *server, path string) (out []string) {
	req, err := http.NewRequestWithContext(context.Background(), "BREW", s.url+pathParameter.ReplaceAllString(path, "nosuch"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	for m := range strings.SplitSeq(res.Header.Get("Allow"), ",") {
		if m = strings.TrimSpace(m); m != "" && m != http.MethodHead { // which goes with GET
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// refused expects that the server ends by itself with exit code 1 and says why.
func (s *server) refused(t *testing.T, what string, want ...string) {
	t.Helper()
	select {
	case <-s.exited:
	case s.url = <-s.ready:
		t.Errorf("%s: it serves", what)
		return
	case <-time.After(30 * time.Second):
		t.Errorf("%s: neither refused nor ready", what)
		return
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%s: exit code %d", what, code)
	}
	for _, w := range append(want, "switchyard: ") {
		if !strings.Contains(s.stderr(), w) {
			t.Errorf("%s: it does not say %q:\n%s", what, w, s.stderr())
		}
	}
	if strings.Contains(s.stderr(), "panic") || strings.Contains(s.stderr(), "goroutine ") {
		t.Errorf("%s: it broke:\n%s", what, s.stderr())
	}
	t.Logf("%s: %s", what, strings.TrimSpace(s.stderr()))
}
