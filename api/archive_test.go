package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
	stored "github.com/switchyard-dev/switchyard/bus/store/objects"
	"github.com/switchyard-dev/switchyard/bus/store/storetest"
	"github.com/switchyard-dev/switchyard/rules"
)

// archived is a server whose bus "orders" has an archive in dir that holds its
// first six events, which local retention has removed, and two after them.
func archived(t *testing.T) (s *server, kept *archive.Store, dir string) {
	dir = t.TempDir()
	var later atomic.Int64
	model := storetest.NewModel(func() time.Time { return time.Now().Add(time.Duration(later.Load())) })
	kept, err := archive.New(archive.Options{Store: model})
	if err != nil {
		t.Fatal(err)
	}
	location := stored.Location{Scheme: "file", Path: dir}
	if err := kept.Configure(t.Context(), map[string]archive.Settings{"orders": {To: location, Segment: 1}}); err != nil {
		t.Fatal(err)
	}
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	big, err := env.Compile(rules.Filter{When: `event.data.total > 3`})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	engine, err := bus.New(bus.Options{Store: kept, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	err = engine.Apply(t.Context(), bus.Plan{
		Buses:   map[string]bus.BusPlan{"orders": {MaxAge: time.Hour}, "audit": {MaxAge: time.Hour, Table: true}},
		Rules:   map[string]bus.RulePlan{"big": {Bus: "orders", Matcher: big, Targets: []string{"t"}}},
		Targets: map[string]bus.TargetPlan{"t": {Target: refusing{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s = &server{t: t, store: model, engine: engine}
	if s.api, err = api.New(api.Options{Engine: engine, Archive: kept, Objects: objects{}, Rules: env, Registry: registry,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); engine.Run(ctx) }()
	web := httptest.NewServer(s.api)
	s.url = web.URL
	t.Cleanup(func() { s.api.Shutdown(); web.Close(); cancel(); <-done; engine.Close() })

	publish := func(totals ...string) {
		for _, n := range totals {
			if res, body := s.call("POST", "/v1/buses/orders/events", `{"total": `+n+`}`, "Content-Type", "application/json",
				"ce-specversion", "1.0", "ce-id", n, "ce-source", "/s", "ce-type", "t"); res.StatusCode != 202 {
				t.Fatal(body)
			}
		}
	}
	id, err := engine.BusID("orders")
	if err != nil {
		t.Fatal(err)
	}
	publish("1", "2", "3", "4", "5", "6")
	s.eventually("that all is routed", func() bool { return kept.Position(id) == 6 })
	if err := kept.Flush(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res, body := s.call("POST", "/v1/buses/audit/events", eventJSON("row", `,"subject":"lamp","data":{}`), "Content-Type", "application/cloudevents+json"); res.StatusCode != 202 {
		t.Fatal(body)
	}
	audit, err := engine.BusID("audit")
	if err != nil {
		t.Fatal(err)
	}
	s.eventually("that the other bus is routed", func() bool { return kept.Position(audit) == 1 })
	later.Store(int64(2 * time.Hour))
	if err := kept.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := model.Bounds(id); err != nil || b.First != 7 {
		t.Fatalf("the store begins at %d, %v", b.First, err)
	}
	publish("7", "8")
	return s, kept, dir
}

// eventually polls what other goroutines bring about.
func (s *server) eventually(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// want makes a GET and looks for texts in the answer.
func (s *server) want(path string, status int, texts ...string) string {
	s.t.Helper()
	res, body := s.call("GET", path, "")
	if res.StatusCode != status {
		s.t.Errorf("GET %s: %d, want %d: %s", path, res.StatusCode, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			s.t.Errorf("GET %s: there is no %s in %s", path, text, body)
		}
	}
	return body
}

func TestHistoryIsReadAcrossTheArchive(t *testing.T) {
	s, _, _ := archived(t)
	if body := s.want("/v1/buses/orders/events", 200); strings.Count(body, `"recordedtime"`) != 8 {
		t.Errorf("read back: %s", body)
	}
	s.want("/v1/buses/orders/events?from=5&when=event.data.total%20%3C%208", 200, `"sequence":"00000000000000000005"`, `"sequence":"00000000000000000007"`)
	s.want("/v1/buses/orders/events/2", 200, `"total": 2`)
	if body := s.want("/v1/buses/orders/events/2/trace", 200, `"archived":true`, `"deliveries":[]`); strings.Contains(body, "forgotten") {
		t.Errorf("trace of an archived event: %s", body)
	}
	if body := s.want("/v1/buses/orders/events/7/trace", 200); strings.Contains(body, "archived") || strings.Contains(body, "forgotten") {
		t.Errorf("trace of an event that is not archived: %s", body)
	}
	if body := s.want("/v1/buses/audit/events/1/trace", 200, `"forgotten":true`); strings.Contains(body, "archived") {
		t.Errorf("trace of a row of a bus without an archive: %s", body)
	}
	s.want("/v1/events/search?bus=orders&id=3", 200, `"id":"3"`)
	s.want("/v1/events/search?bus=orders&when=event.data.total%20%3E%206&order=oldest", 200, `"id":"7"`, `"id":"8"`)
	res, body := s.call("POST", "/v1/rules/test", `{"rule": "big", "from": 1, "to": 8}`, "Content-Type", "application/json")
	if res.StatusCode != 200 || !strings.Contains(body, `"scanned":8`) || !strings.Contains(body, `"matched":5`) {
		t.Errorf("dry run: %s", body)
	}
}

func TestReplaysReadTheArchive(t *testing.T) {
	s, _, _ := archived(t)
	dead := func() int {
		_, body := s.call("GET", "/v1/subscriptions/big/t/deadletters", "")
		return strings.Count(body, `"reason"`)
	}
	s.eventually("that 4 to 8 are dead letters", func() bool { return dead() == 5 })
	if res, body := s.call("POST", "/v1/buses/orders/replay", `{"from": 1, "to": 8}`, "Content-Type", "application/json"); res.StatusCode != 202 {
		t.Fatal(body)
	}
	s.eventually("that they are so again", func() bool { return dead() == 10 })
}

func TestTheListOfAnArchive(t *testing.T) {
	s, _, dir := archived(t)
	body := s.want("/v1/buses/orders/archive?limit=4", 200, `"first":1,"last":1,`, `"next":"4"`, `"to":"`+dir+`"`, `"objects":6`, `"error":""`)
	if strings.Count(body, ".sya") != 4 {
		t.Errorf("a page of four: %s", body)
	}
	if body = s.want("/v1/buses/orders/archive?limit=4&after=4", 200, `"next":""`); strings.Count(body, ".sya") != 2 {
		t.Errorf("the next page: %s", body)
	}
	s.want("/v1/buses/orders/archive?after=x", 400, "is not a cursor")
	s.want("/v1/buses/audit/archive", 404, `bus \"audit\" has no archive`)
	s.want("/v1/buses/nope/archive", 404, "there is no bus")
}

func TestDamagedAndUnreachableArchivesAreSaid(t *testing.T) {
	s, kept, dir := archived(t)
	s.want("/readyz", 200, `"ok"`)
	found, err := filepath.Glob(filepath.Join(dir, "orders", "*", "00000000000000000003-*.sya"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.Truncate(found[0], 10); err != nil {
		t.Fatal(err)
	}
	s.want("/v1/buses/orders/events/3", 502, "archive-damaged", filepath.Base(found[0]), "archive verify")
	for _, query := range []string{"from=1&to=2", "limit=2", "to=8", "to=2&when=true"} {
		if body := s.want("/v1/buses/orders/events?"+query, 200); strings.Count(body, `"recordedtime"`) != 2 {
			t.Errorf("%s: not the two events before the damaged object: %s", query, body)
		}
	}
	s.want("/v1/buses/orders/events?from=3", 502, "archive-damaged")
	s.want("/v1/buses/orders/events/2", 200)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	id, _ := s.engine.BusID("orders")
	s.eventually("that the rest is routed", func() bool { return kept.Position(id) == 8 })
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no folder can be made there
		t.Fatal(err)
	}
	if err := kept.Flush(t.Context(), id); err == nil {
		t.Fatal("archived into nowhere")
	}
	s.want("/readyz", 200, `"ok"`, `archive of bus \"orders\"`, "2 events wait in the local store")
	s.want("/v1/buses/orders/archive", 503, "archive-unreachable")
	s.want("/v1/buses/orders/events?from=1", 503, "archive-unreachable")
	s.want("/v1/buses/orders/events?from=7", 200)
}
