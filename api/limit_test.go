package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// limited is a store that has reached a limit.
type limited struct {
	store.Store
	err *store.LimitError
}

func (l limited) Append(context.Context, []store.Entry) ([]store.Result, error) { return nil, l.err }

func TestALimitIsNamedInTheProblem(t *testing.T) {
	for name, c := range map[string]struct {
		err    store.LimitError
		status int
		after  string
	}{
		"what the publisher can wait out is 429": {store.LimitError{Limit: "depth", Bus: "orders", Value: 12, Bound: 10, Busy: true, RetryAfter: 5 * time.Second, Reason: "too deep"}, http.StatusTooManyRequests, "5"},
		"what the server lacks is 503":           {store.LimitError{Limit: "memory", Value: 2000, Bound: 1000, Reason: "too much"}, http.StatusServiceUnavailable, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServerWith(t, func(o *api.Options) {
				e, err := bus.New(bus.Options{Store: limited{o.Engine.Store(), &c.err}})
				if err != nil {
					t.Fatal(err)
				}
				if err := e.Apply(t.Context(), bus.Plan{Buses: map[string]bus.BusPlan{"orders": {}}}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { e.Close() })
				o.Engine = e
			})
			res, body := s.call("POST", "/v1/buses/orders/events", eventJSON("1", ""), "Content-Type", structured)
			p := s.problemOf(res, body, c.status)
			want := api.ProblemLimit{Name: c.err.Limit, Bus: c.err.Bus, Value: c.err.Value, Bound: c.err.Bound}
			if p.Type != "/problems/limit" || p.Limit == nil || *p.Limit != want || !strings.Contains(p.Detail, "nothing was stored") {
				t.Errorf("got %s, want the limit %+v", body, want)
			}
			if got := res.Header.Get("Retry-After"); got != c.after {
				t.Errorf("Retry-After %q, want %s", got, c.after)
			}
		})
	}
}

// jumped is a store that does not go by its clock.
type jumped struct {
	store.Store
	by time.Duration
}

func (j jumped) Stats() store.Stats {
	return store.Stats{ClockAhead: j.by, ClockHold: time.Hour}
}

func TestAJumpOfTheClockIsAWarningInReadyz(t *testing.T) {
	for by, want := range map[time.Duration]string{0: "", time.Hour: "jumped 1h0m0s forward", -time.Minute: "set back by 1m0s"} {
		s := newServerWith(t, func(o *api.Options) {
			e, err := bus.New(bus.Options{Store: jumped{o.Engine.Store(), by}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { e.Close() })
			o.Engine = e
		})
		res, body := s.call("GET", "/readyz", "")
		if res.StatusCode != http.StatusOK || !strings.Contains(body, want) || strings.Contains(body, "warnings") != (want != "") {
			t.Errorf("after a jump of %v: %d %s", by, res.StatusCode, body)
		}
	}
}
