package api_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/store"
)

func (s *server) search(query string) (out api.SearchResults) {
	s.t.Helper()
	res, got := s.call("GET", "/v1/events/search?"+query, "")
	if err := json.Unmarshal([]byte(got), &out); err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s: %d %s", query, res.StatusCode, got)
	}
	return out
}

func TestStoredEventsAreSearched(t *testing.T) {
	s := newServer(t)
	s.publishOrders(200)
	var newest struct{ Source string }
	if err := json.Unmarshal(s.search("limit=1").Items[0].Event, &newest); err != nil {
		t.Fatal(err)
	}
	source := url.QueryEscape(newest.Source)
	for query, want := range map[string][3]int{ // how many, the first, the last
		"id=77":                             {1, 77, 77},
		"id=77&bus=audit":                   {0},
		"bus=orders&id=19*&order=oldest":    {11, 19, 199},
		"source=" + source + "&limit=3":     {3, 200, 198},
		"from=198&bus=orders":               {3, 200, 198},
		"to=0&bus=orders":                   {0},
		"to=2001-01-01T00:00:00Z":           {0},
		"ext.tenant=acme":                   {0},
		"when=event.data.total%20%3E%20197": {2, 199, 198},
		"rule=absent":                       {0},
	} {
		got := s.search(query)
		have := [3]int{len(got.Items)}
		if n := len(got.Items); n > 0 {
			have[1], have[2] = int(got.Items[0].Sequence), int(got.Items[n-1].Sequence)
		}
		if have != want || !got.Complete {
			t.Errorf("%s finds %v (%+v), want %v", query, have, got, want)
		}
	}
	if got := s.search("id=77"); strings.Contains(string(got.Items[0].Event), "total") {
		t.Errorf("data is shown unasked: %s", got.Items[0].Event)
	}
	if got := s.search("id=77&data=true"); !strings.Contains(string(got.Items[0].Event), `"total":77`) {
		t.Errorf("data is not shown: %s", got.Items[0].Event)
	}
}

// Times ask for when an event was recorded, also of events that retention has
// passed, which have no place by time.
func TestASearchByTimeFindsDeadLettersThatOutliveRetention(t *testing.T) {
	s := newServer(t)
	s.publishOrders(101) // the last one becomes a dead letter
	id, err := s.engine.BusID("orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.OpenBus(t.Context(), "orders", store.BusOptions{MaxAge: 1}); err != nil {
		t.Fatal(err)
	}
	for range 500 { // until it is routed, and dead
		if s.call("GET", "/v1/buses/orders/events/101/trace", ""); len(s.search("status=dead").Items) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := s.store.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := s.store.Bounds(id); err != nil || b.First != 102 {
		t.Fatalf("bounds %+v, %v", b, err)
	}
	for query, want := range map[string]int{
		"status=dead":               1,
		"id=101":                    1,
		"id=100":                    0,
		"from=2001-01-01T00:00:00Z": 1,
		"from=2001-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&status=dead":  1,
		"from=2001-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&order=oldest": 1,
		"from=2100-01-01T00:00:00Z":                                      0,
		"to=2001-01-01T00:00:00Z":                                        0,
		"to=2001-01-01T00:00:00Z&order=oldest":                           0,
		"bus=orders&from=102":                                            0,
		"bus=orders&to=101":                                              1,
	} {
		if got := s.search(query); len(got.Items) != want || !got.Complete || got.Next != "" {
			t.Errorf("%s finds %+v, want %d", query, got, want)
		}
	}
}

func TestPagesOfASearchHoldEachEventOnce(t *testing.T) {
	s := newServer(t)
	s.publishOrders(50)
	next, want := "", uint64(50)
	for range 20 {
		page := s.search("limit=7&after=" + next)
		for _, it := range page.Items {
			if it.Sequence != want {
				t.Fatalf("sequence %d comes where %d should", it.Sequence, want)
			}
			want--
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if want != 0 {
		t.Errorf("the pages end before %d", want)
	}
}

func TestASearchThatCannotBeMeantIsRefused(t *testing.T) {
	s := newServer(t)
	for query, want := range map[string]string{
		"status=lost":  "queued, inflight",
		"order=random": "neither newest nor oldest",
		"ext.=1":       "the name of an extension",
		"id=":          "not empty",
		"from=7":       "name one with bus=",
		"bus=absent":   "there is no bus",
		"after=x":      "not the next of a search",
		"data=maybe":   "neither true nor false",
		"when=1%20%2B": "",
		"typ=a":        "no query parameter",
	} {
		if res, got := s.call("GET", "/v1/events/search?"+query, ""); res.StatusCode < 400 || res.StatusCode >= 500 || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s, want %q", query, res.StatusCode, got, want)
		}
	}
}
