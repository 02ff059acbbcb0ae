package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// crashRounds is how often the server is killed under load.
const crashRounds = 8

// TestNoAcknowledgedEventIsLostByKills publishes with the public CloudEvents
// client from many goroutines, kills the server with SIGKILL again and again,
// and checks that every acknowledged event ended delivered or dead-lettered on
// each of its two subscriptions.
func TestNoAcknowledgedEventIsLostByKills(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	receiver := newFlaky()
	defer receiver.Close()
	config := fmt.Sprintf(`
version: 1
buses: {orders: {}}
rules:
  all: {bus: orders, when: event.data.n >= 0, targets: [first, second]}
targets:
  first:
    http: {url: "%[1]s/first", timeout: 2s}
    retry: {initial: 10ms, max: 200ms}
  second:
    http: {url: "%[1]s/second", timeout: 2s}
    retry: {initial: 10ms, max: 200ms}
    order: key
`, receiver.URL)

	dir := t.TempDir()
	var ids sync.Map // of the events that were acknowledged
	var acked atomic.Int64
	for round := range crashRounds {
		s := serve(t, dir, config)
		ctx, cancel := context.WithCancel(context.Background())
		var publishers sync.WaitGroup
		for p := range 8 {
			publishers.Go(func() {
				publishUntil(ctx, t, s.url, fmt.Sprintf("r%d-p%d", round, p), func(id string) { ids.Store(id, true); acked.Add(1) })
			})
		}
		before := acked.Load()
		eventually(t, "that some events are acknowledged", time.Minute, func() bool { return acked.Load() >= before+40 })
		<-time.After(time.Duration(random.IntN(700)) * time.Millisecond)
		s.kill()
		cancel()
		publishers.Wait()
	}
	s := serve(t, dir, config)
	eventually(t, "that everything is settled", 2*time.Minute, s.settled)
	dead := map[string]bool{}
	for _, target := range []string{"first", "second"} {
		for path := "/v1/subscriptions/all/" + target + "/deadletters?limit=1000"; path != ""; {
			_, body := s.call(http.MethodGet, path, "", "")
			var page struct {
				Items []struct{ Event struct{ ID string } }
				Next  string
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatal(err)
			}
			for _, l := range page.Items {
				dead[target+" "+l.Event.ID] = true
			}
			path = ""
			if page.Next != "" {
				path = "/v1/subscriptions/all/" + target + "/deadletters?limit=1000&after=" + page.Next
			}
		}
	}
	lost := 0
	ids.Range(func(id, _ any) bool {
		for _, target := range []string{"first", "second"} {
			if k := target + " " + id.(string); !receiver.took(k) && !dead[k] {
				if lost++; lost < 10 {
					t.Errorf("event %s was acknowledged, and neither delivered to %s nor dead-lettered", id, target)
				}
			}
		}
		return true
	})
	t.Logf("%d events acknowledged over %d kills, %d requests at the receiver, %d dead letters, %d lost",
		acked.Load(), crashRounds, receiver.requests(), len(dead), lost)
	if len(dead) == 0 || lost > 0 {
		t.Error("events were lost, or the test saw no dead letters")
	}
}

// publishUntil publishes events with the public client and notes which were
// acknowledged.
func publishUntil(ctx context.Context, t *testing.T, url, prefix string, acked func(id string)) {
	client, err := cloudevents.NewClientHTTP()
	if err != nil {
		t.Error(err)
		return
	}
	ctx = cloudevents.ContextWithTarget(ctx, url+"/v1/buses/orders/events")
	for i := 0; ctx.Err() == nil; i++ {
		e := cloudevents.NewEvent()
		id := fmt.Sprintf("%s-%d", prefix, i)
		e.SetID(id)
		e.SetSource("/crash")
		e.SetType("com.example.crash")
		e.SetSubject(fmt.Sprint("k", i%20))
		if err := e.SetData(cloudevents.ApplicationJSON, map[string]any{"n": i, "fill": strings.Repeat("x", 500)}); err != nil {
			t.Error(err)
			return
		}
		if cloudevents.IsACK(client.Send(ctx, e)) {
			acked(id)
		} else if ctx.Err() == nil {
			<-time.After(time.Millisecond)
		}
	}
}

// flaky is a receiver that answers every tenth request with 503 and refuses
// every event whose id ends in -0 for good.
type flaky struct {
	*httptest.Server
	mu   sync.Mutex
	n    int
	seen map[string]bool
}

func newFlaky() *flaky {
	f := &flaky{seen: map[string]bool{}}
	f.Server = httptest.NewServer(f)
	return f
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	id := r.Header.Get("ce-id")
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.n++; {
	case strings.HasSuffix(id, "-0"):
		w.WriteHeader(http.StatusBadRequest)
	case f.n%10 == 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		f.seen[strings.TrimPrefix(r.URL.Path, "/")+" "+id] = true
	}
}

func (f *flaky) took(key string) bool { f.mu.Lock(); defer f.mu.Unlock(); return f.seen[key] }
func (f *flaky) requests() int        { f.mu.Lock(); defer f.mu.Unlock(); return f.n }
