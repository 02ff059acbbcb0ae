package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestWhatABackupOwesIsDeliveredAfterARestore backs a server up whose receiver is
// down while others publish, goes on for a while, and restores: every event that
// was acknowledged before the backup is there, those owed are delivered with new
// delivery ids, and the dead letter of that time is listed.
func TestWhatABackupOwesIsDeliveredAfterARestore(t *testing.T) {
	var up atomic.Bool
	var mu sync.Mutex
	got := map[string]string{} // the last delivery id, by event
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Ce-Id") == "dead":
			w.WriteHeader(http.StatusBadRequest)
		case !up.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			mu.Lock()
			got[r.Header.Get("Ce-Id")] = r.Header.Get("Webhook-Id")
			mu.Unlock()
		}
	}))
	defer receiver.Close()
	config := fmt.Sprintf(`
version: 1
buses: {orders: {}}
rules: {all: {bus: orders, targets: [crm]}}
targets: {crm: {http: {url: %q}, retry: {initial: 100ms, max: 100ms}, breaker: {failures: 1000000}}}
`, receiver.URL)
	dir := t.TempDir()
	s := serve(t, dir, config)
	publish := func(s *server, id string) {
		if status, body := s.call("POST", "/v1/buses/orders/events", structured, order(id, 1)); status != http.StatusAccepted {
			t.Errorf("%s: %d %s", id, status, body)
		}
	}
	publish(s, "dead")
	eventually(t, "a dead letter", 20*time.Second, func() bool {
		_, body := s.call("GET", "/v1/subscriptions/all/crm/deadletters", "", "")
		return strings.Contains(body, `"dlv_`)
	})
	for i := range 50 {
		publish(s, fmt.Sprint(i))
	}
	var others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				publish(s, fmt.Sprintf("beside-%d", i))
			}
		}
	})
	backups := filepath.Join(dir, "backups")
	out, code := s.cli("backup", backups, "--server", s.url)
	close(stop)
	others.Wait()
	if code != 0 {
		t.Fatalf("backup: %d %s", code, out)
	}
	up.Store(true) // the original delivers all of them
	eventually(t, "deliveries of the original", 20*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return got["49"] != ""
	})
	mu.Lock()
	before := got["49"]
	mu.Unlock()
	s.stop()
	data := filepath.Join(dir, "restored", "data")
	if out, code := s.cli("restore", backups, "--data", data); code != 0 {
		t.Fatalf("restore: %d %s", code, out)
	}
	mu.Lock()
	clear(got)
	mu.Unlock()
	s = serve(t, filepath.Dir(data), config)
	eventually(t, "the owed deliveries", 20*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i := range 50 {
			if got[fmt.Sprint(i)] == "" {
				return false
			}
		}
		return true
	})
	mu.Lock()
	if got["49"] == before {
		t.Error("the restored store repeats delivery ids of the original")
	}
	mu.Unlock()
	if _, body := s.call("GET", "/v1/subscriptions/all/crm/deadletters", "", ""); strings.Count(body, `"id":"dlv_`) != 1 {
		t.Errorf("dead letters: %s", body)
	}
	if _, body := s.call("POST", "/v1/buses/orders/events", structured, order("7", 1)); !strings.Contains(body, `"duplicate":true`) {
		t.Errorf("a duplicate is not known: %s", body)
	}
}
