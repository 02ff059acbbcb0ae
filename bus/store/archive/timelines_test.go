package archive_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
)

// deliver publishes n events that match a subscription, and settles each as how
// says.
func (f *fixture) deliver(n int, how func(store.Delivery) store.Settlement) {
	f.Helper()
	info, err := store.OpenSubscription(f.Context(), f.store, store.SubscriptionOptions{Name: "all/crm", Bus: f.bus})
	f.must(err)
	from := uint64(f.last) + 1
	f.publish(n)
	var routed []store.RoutedEvent
	for seq := from; seq <= uint64(f.last); seq++ {
		r, err := f.store.Get(f.Context(), f.bus, seq)
		f.must(err)
		routed = append(routed, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: info.ID}}})
	}
	f.must(f.store.Enqueue(f.Context(), f.bus, uint64(f.last), routed))
	ds, _, err := f.store.Claim(f.Context(), info.ID, f.now, n, nil)
	f.must(err)
	if len(ds) != n {
		f.Fatalf("claimed %d of %d", len(ds), n)
	}
	for _, d := range ds {
		o := how(d)
		o.ID = d.ID
		f.must(f.store.Settle(f.Context(), []store.Settlement{o}))
	}
}

// attempt is the record of a first attempt.
func (f *fixture) attempt(status int) *store.Attempt {
	return &store.Attempt{Number: 1, Started: f.now, Duration: 5 * time.Millisecond, Status: status, Address: "192.0.2.1:443"}
}

func (f *fixture) trace(seq uint64) []store.DeliveryTrace {
	f.Helper()
	all, err := f.store.TraceOf(f.Context(), f.bus, seq)
	f.must(err)
	return all
}

func TestTimelinesAreArchivedWithTheirEvents(t *testing.T) {
	f := newFixture(t)
	ev, err := event.New("/shop", "1", "t1", "in a transaction")
	f.must(err)
	tx, err := f.store.OpenTransaction(t.Context(), []store.Entry{{Bus: f.bus, Event: ev, Via: "test", Hops: 2}}, "", f.now.Add(time.Hour))
	f.must(err)
	_, err = f.store.CommitTransaction(t.Context(), tx.ID)
	f.must(err)
	f.last = 1
	f.deliver(100, func(d store.Delivery) store.Settlement {
		switch d.ID.Sequence {
		case 50:
			failed := f.attempt(503)
			failed.Error = "503 Service Unavailable"
			return store.Settlement{Kind: store.Dead, Reason: "2 attempts failed", Attempt: failed}
		case 51:
			return store.Settlement{Kind: store.Expired}
		case 52:
			return store.Settlement{Kind: store.Retry, RetryAt: f.now.Add(time.Hour), Attempt: f.attempt(500)}
		}
		return store.Settlement{Kind: store.Done, Attempt: f.attempt(200)}
	})
	before := map[uint64][]store.DeliveryTrace{}
	for seq := uint64(1); seq <= 101; seq++ {
		before[seq] = f.trace(seq)
	}
	f.flush()
	// What is delivered after that is known no more, unless it is owed.
	f.now = f.now.Add(90 * time.Minute)
	ds, _, err := f.store.Claim(t.Context(), before[52][0].ID.Subscription, f.now, 1, nil)
	f.must(err)
	f.must(f.store.Settle(t.Context(), []store.Settlement{{ID: ds[0].ID, Kind: store.Done, Attempt: f.attempt(200)}}))
	f.age()
	if first := f.localFirst(); first != 102 {
		t.Fatalf("the local store begins at %d", first)
	}
	f.reopen()
	for seq := uint64(1); seq <= 101; seq++ {
		if !f.store.Remembered(t.Context(), f.bus, seq) {
			t.Fatalf("the timeline of %d is gone", seq)
		}
		if seq == 52 {
			continue
		}
		if got, want := asText(t, f.trace(seq)), asText(t, before[seq]); got != want {
			t.Errorf("the timeline of %d is %s, was %s", seq, got, want)
		}
	}
	got := f.trace(52)
	if len(got) != 1 || got[0].State != "unknown" || got[0].Reason != "it was retrying when its timeline was archived" || len(got[0].Attempts) != 1 {
		t.Errorf("the timeline of what ended after it was archived is %+v", got)
	}
	if r, err := f.store.ReceiptOf(t.Context(), f.bus, 1); err != nil || r.Transaction != tx.ID {
		t.Errorf("the receipt of the event of transaction %d is %+v, %v", tx.ID, r, err)
	}
}

func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTimelinesAreWrittenWhenRetentionComesNear(t *testing.T) {
	for name, c := range map[string]struct {
		retain store.BusOptions
		near   func(f *fixture)
	}{
		"by age": {store.BusOptions{MaxAge: time.Hour}, func(f *fixture) { f.now = f.now.Add(46 * time.Minute) }},
		"by size": {store.BusOptions{MaxBytes: 64 << 10}, func(f *fixture) {
			f.publish(400)
			f.must(f.store.Pass(f.Context(), f.bus))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.retain, f.settings.After = c.retain, time.Second
			f.reopen()
			f.deliver(30, func(store.Delivery) store.Settlement {
				return store.Settlement{Kind: store.Done, Attempt: f.attempt(200)}
			})
			f.now = f.now.Add(10 * time.Minute)
			f.must(f.store.Pass(t.Context(), f.bus))
			if g := f.objects()[0]; g.Timelines != 0 {
				t.Fatalf("the timelines of events %d to %d are archived long before retention removes them", g.First, g.Last)
			}
			c.near(f)
			f.must(f.store.Pass(t.Context(), f.bus))
			if g := f.objects()[0]; g.Timelines == 0 {
				t.Fatalf("the timelines of events %d to %d are not archived", g.First, g.Last)
			}
			f.age()
			if got := f.trace(1); f.localFirst() == 1 || len(got) != 1 || got[0].State != "delivered" {
				t.Errorf("the local store begins at %d; the first timeline is %+v", f.localFirst(), got)
			}
		})
	}
}

func TestMissingAndDamagedTimelinesAreNamed(t *testing.T) {
	f := newFixture(t)
	f.deliver(30, func(store.Delivery) store.Settlement {
		return store.Settlement{Kind: store.Done, Attempt: f.attempt(200)}
	})
	f.flush()
	f.age()
	name := strings.TrimSuffix(f.objects()[0].Object, ".sya") + ".syt"
	path := filepath.Join(f.dir, filepath.FromSlash(name))
	whole, err := os.ReadFile(path)
	f.must(err)
	f.must(os.WriteFile(path, flip(whole, 20), 0o600))
	f.reopen()
	if _, err := f.store.TraceOf(t.Context(), f.bus, 1); !errors.Is(err, archive.ErrMissing) || !strings.Contains(err.Error(), name) {
		t.Errorf("TraceOf: %v, want ErrMissing with the object", err)
	}
	if _, err := archive.Verify(t.Context(), f.faulty, f.objects()[0]); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("Verify: %v", err)
	}
	// An archive of a release that wrote none has its events, and says that there
	// are no timelines.
	f.must(os.Remove(path))
	f.reopen()
	f.wantAll(1, 30)
	if got := f.trace(1); len(got) != 0 || f.store.Remembered(t.Context(), f.bus, 1) {
		t.Errorf("without the object the timeline is %+v", got)
	}
	if n, err := archive.Verify(t.Context(), f.faulty, f.objects()[0]); err != nil || n == 0 {
		t.Errorf("Verify: %d events, %v", n, err)
	}
}

// TestTheFormOfATimeline keeps what archives have written readable: its names are
// those of Go's fields.
func TestTheFormOfATimeline(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := asText(t, archive.Timeline{
		Receipt: &store.Receipt{Accepted: at, Due: at, Transaction: 3},
		Deliveries: []store.DeliveryTrace{{
			ID: store.DeliveryID{Subscription: 1, Bus: 2, Sequence: 3, Run: 4}, Subscription: "rule/target", Queued: at, State: "dead", Settled: at, Reason: "why", NextAt: at,
			Attempts: []store.Attempt{{
				Number: 1, Trigger: store.TriggerRetry, Started: at, Duration: time.Second, Status: 503, Error: "e", Response: "r", Address: "a", Waited: store.WaitRate,
				Phases:  store.Phases{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4},
				Failure: &store.Failure{Class: "c", Request: "q", Answer: "s", NextAt: at},
			}, {
				Failure: &store.Failure{Died: at, Reason: "gone"}, ReplyDropped: "large",
			}},
		}},
	})
	want := `{"Receipt":{"Accepted":"2026-03-01T12:00:00Z","Due":"2026-03-01T12:00:00Z","Transaction":3},` +
		`"Deliveries":[{"ID":{"Subscription":1,"Bus":2,"Sequence":3,"Run":4},"Subscription":"rule/target","Queued":"2026-03-01T12:00:00Z",` +
		`"Attempts":[{"Number":1,"Trigger":1,"Started":"2026-03-01T12:00:00Z","Duration":1000000000,"Status":503,"Error":"e","Response":"r","Address":"a","Waited":4,` +
		`"Phases":{"DNS":1,"Connect":2,"TLS":3,"FirstByte":4},"Failure":{"Class":"c","Request":"q","Answer":"s","NextAt":"2026-03-01T12:00:00Z"}},` +
		`{"Number":0,"Trigger":0,"Started":"0001-01-01T00:00:00Z","Duration":0,"Status":0,"Error":"","Response":"","Address":"","Waited":0,` +
		`"Phases":{"DNS":0,"Connect":0,"TLS":0,"FirstByte":0},` +
		`"Failure":{"Class":"","Request":"","Answer":"","NextAt":"0001-01-01T00:00:00Z","Died":"2026-03-01T12:00:00Z","Reason":"gone"},"ReplyDropped":"large"}],` +
		`"State":"dead","Settled":"2026-03-01T12:00:00Z","Reason":"why","NextAt":"2026-03-01T12:00:00Z"}]}`
	if got != want {
		t.Errorf("a timeline is archived as\n%s, not as\n%s", got, want)
	}
}
