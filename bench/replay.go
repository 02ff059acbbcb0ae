package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
)

// The contenders beside replays, and the rule that is replayed to.
const (
	readsAlone    = "reads alone"
	withoutReplay = "without a replay"
	again         = "again"

	replayPoll = 5 * time.Millisecond
)

// replayReadScenario is how fast a replay goes through what is stored.
func replayReadScenario() *scenario {
	return &scenario{
		name:  "replay/read",
		about: "stored events of 100 bytes that a replay reads and matches a second, to a rule that takes none of them",
		rows:  []row{{measure: perSecond, limit: readsAlone, bar: bar{value: 500_000, absolute: true}}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			u, err := openStore(e, c, embedded.Options{})
			if err != nil {
				return nil, err
			}
			if err := u.fillSmall(ctx, e); err != nil {
				return nil, err
			}
			engine, err := openReplaying(ctx, c, u)
			if err != nil {
				return nil, err
			}
			return []contender{
				{ours, func(ctx context.Context, _ time.Duration) (measures, error) { return replayAll(ctx, engine, nil) }},
				{readsAlone, func(ctx context.Context, _ time.Duration) (measures, error) { return u.readAll(ctx) }},
			}, nil
		},
	}
}

// fillSmall appends small events.
func (u *underTest) fillSmall(ctx context.Context, e *environment) error {
	batch := make([]store.Entry, 1000)
	for written := 0; written < e.events; written += len(batch) {
		for i := range batch {
			b := event.NewBuilder()
			for _, a := range [...][2]string{{"id", fmt.Sprint(e.ids.next())}, {"source", "/shop"}, {"type", "com.example.order.placed"}, {"subject", "eu/de"}} {
				if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
					return err
				}
			}
			ev, err := b.Build()
			if err != nil {
				return err
			}
			batch[i] = store.Entry{Bus: u.bus, Event: ev, Via: storeVia}
		}
		if _, err := u.store.Append(ctx, batch); err != nil {
			return err
		}
	}
	return u.trim(ctx)
}

// openReplaying runs an engine with one rule, which matches nothing.
func openReplaying(ctx context.Context, c *closer, u *underTest) (*bus.Engine, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	matcher, err := env.Compile(rules.Filter{When: `event.subject == "us"`})
	if err != nil {
		return nil, err
	}
	return u.run(ctx, c, bus.Plan{
		Buses:   map[string]bus.BusPlan{"bench": {MaxBytes: keepBytes}},
		Rules:   map[string]bus.RulePlan{again: {Bus: "bench", Matcher: matcher, Targets: []string{again}}},
		Targets: map[string]bus.TargetPlan{again: {Target: noOp{new(atomic.Int64)}}},
	})
}

// replayAll replays all that is stored and waits for the end.
func replayAll(ctx context.Context, engine *bus.Engine, to []string) (measures, error) {
	began := time.Now()
	r, err := engine.StartReplay(ctx, bus.ReplayRequest{Bus: "bench", Rules: to})
	for err == nil && r.State == bus.ReplayRunning {
		if err = sleep(ctx, replayPoll); err == nil {
			r, err = engine.Replay(r.ID)
		}
	}
	if err != nil {
		if r.ID != "" {
			_, _ = engine.CancelReplay(context.WithoutCancel(ctx), r.ID) // why it is over is the error
		}
		return nil, err
	}
	if r.State != bus.ReplayDone || r.Scanned != r.Total() {
		return nil, fmt.Errorf("the replay ended as %+v", r)
	}
	return measures{perSecond: float64(r.Scanned) / time.Since(began).Seconds()}, nil
}

// readAll reads all that is stored.
func (u *underTest) readAll(ctx context.Context) (measures, error) {
	began, n, from := time.Now(), 0, uint64(1)
	var records []store.Record
	for {
		var err error
		if records, err = u.store.Read(ctx, u.bus, from, 4096, 4<<20, records[:0]); err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return measures{perSecond: float64(n) / time.Since(began).Seconds()}, nil
		}
		n += len(records)
		from = records[len(records)-1].Sequence + 1
	}
}

// replayLiveScenario is what live events lose to a replay beside them.
func replayLiveScenario() *scenario {
	return &scenario{
		name:  "replay/live",
		about: fmt.Sprintf("the whole bus in process, %d publishers, while all that is stored is replayed to one of its rules over and over", busPublishers),
		rows:  []row{{measure: perSecond, limit: withoutReplay, bar: bar{value: 0.9}}, {measure: p99, limit: withoutReplay}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			b, err := openBus(ctx, e, c, t, embedded.Options{}, noOp{new(atomic.Int64)})
			if err != nil {
				return nil, err
			}
			run := b.publishing(e, busPublishers)
			return []contender{
				{ours, func(ctx context.Context, d time.Duration) (measures, error) { return b.beside(ctx, d, run) }},
				{withoutReplay, run},
			}, nil
		},
	}
}

// beside runs while replays run.
func (b *wholeBus) beside(ctx context.Context, d time.Duration, run func(context.Context, time.Duration) (measures, error)) (measures, error) {
	replaying, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = replayAll(replaying, b.engine, []string{again})
			if errors.Is(err, bus.ErrReplay) { // nothing is stored yet
				err = sleep(replaying, time.Millisecond)
			}
		}
		if replaying.Err() != nil {
			err = nil
		}
		ended <- err
	}()
	m, err := run(ctx, d)
	stop()
	return m, errors.Join(err, <-ended)
}
