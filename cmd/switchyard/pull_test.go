package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pullclient "github.com/switchyard-dev/switchyard/targets/pull/client"
)

// TestNoEventIsLostByKillsWithLeasesOut works on a queue with the Go client,
// while the server is killed with SIGKILL again and again, and checks that
// every acknowledged event was worked on, in each consumer of a broadcast, too.
func TestNoEventIsLostByKillsWithLeasesOut(t *testing.T) {
	const rounds, each = 4, 60
	dir := t.TempDir()
	config := `
version: 1
buses: {orders: {}}
rules:
  all: {bus: orders, targets: [workers, caches]}
targets:
  workers:
    pull: {lease: 5s}
    retry: {initial: 10ms, max: 200ms}
    order: key
  caches:
    pull: {lease: 5s, broadcast: true}
    retry: {initial: 10ms, max: 200ms}
`
	var url atomic.Value
	through := &http.Client{Transport: rewriting(func(r *http.Request) {
		r.URL.Host = url.Load().(string)[len("http://"):]
	})}
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	seen := map[string]*sync.Map{}
	run := func(target, consumer string) {
		mine := &sync.Map{}
		seen[target+"/"+consumer] = mine
		c, err := pullclient.New(url.Load().(string), "all", target, pullclient.Options{Consumer: consumer, HTTP: through, Wait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		workers.Go(func() {
			err := c.Run(ctx, 4, func(_ context.Context, d pullclient.Delivery) error {
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				if rand.IntN(5) == 0 {
					return errors.New("one in five fails")
				}
				mine.Store(d.Event.ID(), true)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	s := serve(t, dir, config)
	url.Store(s.url)
	run("workers", "shared")
	run("caches", "a")
	run("caches", "b")
	eventually(t, "that the consumers are there", 10*time.Second, func() bool {
		for _, name := range []string{"a", "b"} {
			if status, _ := s.call(http.MethodGet, "/v1/subscriptions/all/caches?consumer="+name, "", ""); status != http.StatusOK {
				return false
			}
		}
		return true
	})
	published := 0
	for range rounds {
		for range each {
			body := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/test","type":"t","subject":"key%d"}`, published, published%5)
			if status, answer := s.call(http.MethodPost, "/v1/buses/orders/events", "application/cloudevents+json", body); status != http.StatusAccepted {
				t.Fatal(status, answer)
			}
			published++
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		s.kill()
		s = serve(t, dir, config)
		url.Store(s.url)
	}
	eventually(t, "that all is settled", time.Minute, func() bool {
		_, body := s.call(http.MethodGet, "/v1/subscriptions", "", "")
		var page struct {
			Items []struct{ DeadLetters int }
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		for _, sub := range page.Items {
			if sub.DeadLetters > 0 {
				t.Fatalf("there are dead letters: %s", body)
			}
		}
		return len(page.Items) == 4 && s.settled()
	})
	for name, ids := range seen {
		for i := range published {
			if _, ok := ids.Load(fmt.Sprint(i)); !ok {
				t.Errorf("%s never worked on event %d", name, i)
			}
		}
	}
}

// rewriting changes requests before they are sent.
type rewriting func(*http.Request)

func (f rewriting) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return http.DefaultTransport.RoundTrip(r)
}
