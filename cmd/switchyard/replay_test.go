package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// replayKills is how often the server is killed while a replay runs.
const replayKills = 5

// TestAReplaySurvivesKills kills the server with SIGKILL again and again while a
// replay runs, and checks that every replayed delivery arrived at least once,
// under one id, in order for each key.
func TestAReplaySurvivesKills(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	receiver := newReplayReceiver(random)
	defer receiver.Close()
	config := fmt.Sprintf(`
version: 1
buses: {orders: {}}
rules:
  all: {bus: orders, when: event.data.n >= 0, targets: [keyed, free]}
targets:
  keyed:
    http: {url: "%[1]s/keyed", timeout: 2s}
    retry: {initial: 5ms, max: 50ms}
    order: key
  free:
    http: {url: "%[1]s/free", timeout: 2s}
    retry: {initial: 5ms, max: 50ms}
`, receiver.URL)
	const events, keys = 3000, 7
	dir := t.TempDir()
	s := serve(t, dir, config)
	for from := 0; from < events; from += 500 {
		var batch []string
		for n := from; n < from+500; n++ {
			batch = append(batch, fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/replay","type":"t","subject":"k%d","data":{"n":%d}}`, n, n%keys, n))
		}
		if code, body := s.call(http.MethodPost, "/v1/buses/orders/events", "application/cloudevents-batch+json", "["+strings.Join(batch, ",")+"]"); code != http.StatusAccepted {
			t.Fatalf("publishing answered %d %s", code, body)
		}
	}
	eventually(t, "that all is delivered", time.Minute, s.settled)
	code, body := s.call(http.MethodPost, "/v1/buses/orders/replay", "application/json", `{"from": 1001, "to": "2800", "rate": "1500/s", "name": "again"}`)
	var started struct{ ID string }
	if err := json.Unmarshal([]byte(body), &started); code != http.StatusAccepted || err != nil {
		t.Fatalf("the replay answered %d %s", code, body)
	}
	for kill := range replayKills {
		before := receiver.replayed()
		eventually(t, "that some are replayed", time.Minute, func() bool { return receiver.replayed() > before || kill == replayKills-1 })
		<-time.After(time.Duration(random.IntN(200)) * time.Millisecond)
		s.kill()
		s = serve(t, dir, config)
	}
	var now struct {
		State                                   string
		Scanned, Total, Queued, Remaining, Dead int
	}
	eventually(t, "that the replay is done", time.Minute, func() bool {
		_, body := s.call(http.MethodGet, "/v1/replays/"+started.ID, "", "")
		return json.Unmarshal([]byte(body), &now) == nil && now.State != "running"
	})
	if now.State != "done" || now.Scanned != 1800 || now.Queued != 3600 || now.Remaining != 0 || now.Dead != 0 {
		t.Errorf("at the end the replay is %+v", now)
	}
	repeats := 0
	for _, target := range []string{"keyed", "free"} {
		got := receiver.of(target)
		last, ids := map[int]int{}, map[int]string{}
		for _, d := range got {
			if ids[d.n] != "" {
				repeats++
				if ids[d.n] != d.id {
					t.Errorf("%s: event %d came as delivery %s and as %s", target, d.n, ids[d.n], d.id)
				}
				continue
			}
			ids[d.n] = d.id
			if key := d.n % keys; target == "keyed" {
				if d.n < last[key] {
					t.Errorf("event %d came first after %d", d.n, last[key])
				}
				last[key] = d.n
			}
		}
		for n := 1000; n < 2800; n++ {
			if ids[n] == "" {
				t.Errorf("%s: event %d was not replayed", target, n)
			}
		}
		if len(ids) != 1800 {
			t.Errorf("%s: %d events were replayed", target, len(ids))
		}
	}
	t.Logf("%d repeats over %d kills", repeats, replayKills)
}

// replayReceiver takes replayed events, and refuses one of ten for now.
type replayReceiver struct {
	*httptest.Server
	mu     sync.Mutex
	random *rand.Rand
	got    map[string][]replayedEvent
}

type replayedEvent struct {
	n  int
	id string
}

func newReplayReceiver(random *rand.Rand) *replayReceiver {
	r := &replayReceiver{random: rand.New(rand.NewPCG(random.Uint64(), 1)), got: map[string][]replayedEvent{}}
	r.Server = httptest.NewServer(r)
	return r
}

func (r *replayReceiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	io.Copy(io.Discard, q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.random.IntN(10) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if q.Header.Get("ce-replayname") == "again" {
		d := replayedEvent{id: q.Header.Get("webhook-id")}
		fmt.Sscan(q.Header.Get("ce-id"), &d.n)
		target := strings.TrimPrefix(q.URL.Path, "/")
		r.got[target] = append(r.got[target], d)
	}
}

func (r *replayReceiver) replayed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got["keyed"]) + len(r.got["free"])
}

func (r *replayReceiver) of(target string) []replayedEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[target]
}
