package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/targets"
)

func TestDelaysAreTheWaitsBetweenAttempts(t *testing.T) {
	s, m, h := time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct {
		retry bus.RetryPolicy
		waits []time.Duration
		spare float64 // share by which a wait may differ
		want  string
	}{
		"exact":               {bus.RetryPolicy{Delays: []time.Duration{s, 10 * s, m}}, []time.Duration{s, 10 * s, m}, 0, "gave up after 4 attempts"},
		"none at all":         {bus.RetryPolicy{Delays: []time.Duration{0, s}}, []time.Duration{0, s}, 0, "gave up after 3 attempts"},
		"fewer attempts":      {bus.RetryPolicy{Delays: []time.Duration{s, m, h}, Attempts: 2}, []time.Duration{s}, 0, "gave up after 2 attempts"},
		"more attempts":       {bus.RetryPolicy{Delays: []time.Duration{s}, Attempts: 185}, []time.Duration{s}, 0, "gave up after 2 attempts"},
		"an age":              {bus.RetryPolicy{Delays: []time.Duration{s, m, h}, Age: 30 * m}, []time.Duration{s, m}, 0, "retry.age 30m0s"},
		"longer than 24 h":    {bus.RetryPolicy{Delays: []time.Duration{20 * h, 20 * h, 20 * h}}, []time.Duration{20 * h, 20 * h, 20 * h}, 0, "gave up after 4 attempts"},
		"up to 20% of jitter": {bus.RetryPolicy{Delays: []time.Duration{5 * s, 5 * m, 10 * h, 10 * h}, Jitter: 0.2}, []time.Duration{5 * s, 5 * m, 10 * h, 10 * h}, 0.2, "gave up after 5 attempts"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				var at []time.Time
				w.to(&target{deliver: func(context.Context, *targets.Delivery) error {
					at = append(at, time.Now())
					return errors.New("down")
				}}, bus.TargetPlan{Retry: c.retry})
				w.run()
				w.publish(w.event("1"))
				time.Sleep(100 * time.Hour)
				synctest.Wait()
				if len(at) != len(c.waits)+1 {
					t.Fatalf("%d attempts, want %d", len(at), len(c.waits)+1)
				}
				exact := true
				for i, want := range c.waits {
					got, spare := at[i+1].Sub(at[i]), time.Duration(c.spare*float64(want))
					if (got - want).Abs() > spare+time.Millisecond {
						t.Errorf("wait %d is %v, want %v ± %v", i+1, got, want, spare)
					}
					exact = exact && (got-want).Abs() <= time.Millisecond
				}
				if exact != (c.spare == 0) {
					t.Errorf("the waits are exact: %v", exact)
				}
				letters := w.dead("all/t")
				if len(letters) != 1 || !strings.Contains(letters[0].Reason, c.want) {
					t.Fatalf("%d dead letters %+v, want one with %q", len(letters), letters, c.want)
				}
			})
		})
	}
}

func TestRetryAfterIsHonouredAboveADelay(t *testing.T) {
	within(t, func(w *world) {
		var at []time.Time
		w.to(&target{deliver: func(context.Context, *targets.Delivery) error {
			at = append(at, time.Now())
			return &targets.RetryAfter{Err: errors.New("busy"), After: time.Minute}
		}}, bus.TargetPlan{Retry: bus.RetryPolicy{Delays: []time.Duration{time.Second, time.Hour}}})
		w.run()
		w.publish(w.event("1"))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(at) != 3 || at[1].Sub(at[0]).Round(time.Second) != time.Minute || at[2].Sub(at[1]).Round(time.Second) != time.Hour {
			t.Errorf("the attempts were at %v", at)
		}
	})
}

func TestARetryPolicyPrintsWhatItIs(t *testing.T) {
	a := fmt.Sprintf("%+v", bus.RetryPolicy{Delays: []time.Duration{time.Second}})
	b := fmt.Sprintf("%+v", bus.RetryPolicy{Delays: []time.Duration{time.Minute}})
	if a == b || a != fmt.Sprintf("%+v", bus.RetryPolicy{Delays: []time.Duration{time.Second}}) {
		t.Errorf("policies are printed as %s and %s", a, b)
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	timeouts := []bus.RetryMatch{{Class: targets.Timeout}, {Class: targets.DNS}}
	for name, c := range map[string]struct {
		err     error
		on, not []bus.RetryMatch
		again   bool
	}{
		"a 500":                              {err: &statusError{500}, again: true},
		"a 501 that is excluded":             {err: &statusError{501}, not: []bus.RetryMatch{{From: 501, To: 501}}},
		"a 502 beside that":                  {err: &statusError{502}, not: []bus.RetryMatch{{From: 501, To: 501}}, again: true},
		"a 404":                              {err: &targets.Permanent{Err: &statusError{404}}},
		"a 404 that is included":             {err: &targets.Permanent{Err: &statusError{404}}, on: []bus.RetryMatch{{From: 400, To: 499}}, again: true},
		"a 410 that is included":             {err: &targets.Permanent{Err: &statusError{410}, Pause: "gone"}, on: []bus.RetryMatch{{From: 410, To: 410}}, again: true},
		"a 404 that is both":                 {err: &targets.Permanent{Err: &statusError{404}}, on: []bus.RetryMatch{{From: 400, To: 499}}, not: []bus.RetryMatch{{From: 404, To: 404}}},
		"a timeout":                          {err: context.DeadlineExceeded, again: true},
		"a timeout that is excluded":         {err: context.DeadlineExceeded, not: timeouts},
		"another error beside that":          {err: errors.New("reset"), not: timeouts, again: true},
		"a permanent failure without status": {err: targets.Permanentf("forbidden"), on: []bus.RetryMatch{{From: 300, To: 599}}},
		"Retry-After that is excluded":       {err: &targets.RetryAfter{Err: &statusError{429}, After: time.Second}, not: []bus.RetryMatch{{From: 429, To: 429}}},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				m := newMoody(c.err)
				p := w.plan(map[string]bus.TargetPlan{"t": {Target: m.target, Retry: bus.RetryPolicy{Attempts: 1}}})
				r := p.Rules["all"] // the rule's policy wins over its target's
				r.Retry = &bus.RetryPolicy{Attempts: 2, On: c.on, Not: c.not}
				p.Rules["all"] = r
				w.apply(p)
				w.run()
				w.publish(w.event("1"))
				w.after(time.Hour)
				gone := strings.Contains(name, "410") // pauses once it is given up
				if again := m.calls() == 2; again != c.again || len(w.dead("all/t")) != 1 || w.info("all/t").Paused != gone {
					t.Errorf("%d attempts, %d dead letters, %+v", m.calls(), len(w.dead("all/t")), w.info("all/t"))
				}
			})
		})
	}
}
