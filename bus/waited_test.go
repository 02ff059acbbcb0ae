package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/targets"
)

// TestTracesSayWhatAttemptsWaitedFor makes deliveries wait for each reason that
// there is.
func TestTracesSayWhatAttemptsWaitedFor(t *testing.T) {
	slow := func(d time.Duration) func(context.Context, *targets.Delivery) error {
		return func(context.Context, *targets.Delivery) error { time.Sleep(d); return nil }
	}
	failsFirst := func(err error) func(context.Context, *targets.Delivery) error {
		return func(_ context.Context, d *targets.Delivery) error {
			if d.Event.ID() == "1" && d.Attempt == 1 {
				return err
			}
			return nil
		}
	}
	for _, c := range []struct {
		want    store.Wait
		policy  bus.TargetPlan
		deliver func(context.Context, *targets.Delivery) error
		subject func(event int) string
		event   int // whose attempt is looked at
		attempt int
	}{
		{store.WaitNone, bus.TargetPlan{}, nil, nil, 1, 1},
		{store.WaitBackoff, bus.TargetPlan{}, failsFirst(errors.New("down")), nil, 1, 2},
		{store.WaitRetryAfter, bus.TargetPlan{Concurrency: 1}, failsFirst(&targets.RetryAfter{Err: &statusError{429}, After: time.Minute}), nil, 3, 1},
		{store.WaitBreaker, bus.TargetPlan{Concurrency: 1, Breaker: bus.BreakerPolicy{Failures: 1, Open: time.Minute}}, failsFirst(errors.New("down")), nil, 3, 1},
		{store.WaitRate, bus.TargetPlan{Rate: 1, Burst: 1}, nil, nil, 3, 1},
		{store.WaitOrder, bus.TargetPlan{Order: store.OrderKey}, failsFirst(errors.New("down")), func(int) string { return "same" }, 3, 1},
		{store.WaitOrder, bus.TargetPlan{Order: store.OrderStrict}, failsFirst(errors.New("down")), nil, 3, 1},
		{store.WaitConcurrency, bus.TargetPlan{Concurrency: 1}, slow(time.Second), nil, 4, 1},
	} {
		// No draw of the jitter is so short that nobody has to wait.
		c.policy.Retry.Delays = []time.Duration{10 * time.Second, 10 * time.Second}
		t.Run(fmt.Sprintf("%q with order %v", c.want.String(), c.policy.Order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, err := embedded.Open(embedded.Options{FS: vfs.NewMem(), Dir: "data", DiskReserve: -1})
				if err != nil {
					t.Fatal(err)
				}
				w := &world{t: t, env: (*world)(nil).envOf(t)}
				if w.engine, err = bus.New(bus.Options{Store: st}); err != nil {
					t.Fatal(err)
				}
				defer func() {
					w.stop()
					if err := errors.Join(w.engine.Close(), st.Close()); err != nil {
						t.Error(err)
					}
				}()
				w.to(&target{deliver: c.deliver}, c.policy)
				w.run()
				for i := 1; i <= 4; i++ {
					subject := fmt.Sprint("of its own ", i)
					if c.subject != nil {
						subject = c.subject(i)
					}
					w.publish(w.event(fmt.Sprint(i), "subject", subject))
					time.Sleep(time.Millisecond)
				}
				w.after(time.Hour)
				traces, err := st.TraceOf(context.Background(), w.info("all/t").Bus, uint64(c.event))
				if err != nil || len(traces) != 1 || len(traces[0].Attempts) < c.attempt {
					t.Fatalf("%+v, %v", traces, err)
				}
				if got := traces[0].Attempts[c.attempt-1].Waited; got != c.want {
					t.Errorf("attempt %d at event %d waited for %q, want %q", c.attempt, c.event, got, c.want)
				}
			})
		})
	}
}

// The names are in the API, so that they stay.
func TestEveryWaitHasAName(t *testing.T) {
	names := map[string]bool{}
	for w := store.WaitBreaker; w <= store.WaitConcurrency; w++ {
		if w.String() == "" || names[w.String()] {
			t.Errorf("wait %d is called %q", w, w)
		}
		names[w.String()] = true
	}
	if store.WaitNone.String() != "" {
		t.Errorf("no wait is called %q", store.WaitNone)
	}
}
