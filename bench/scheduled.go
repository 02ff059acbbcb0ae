package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
)

// The contender beside which many events wait, and the measure of the latest.
const (
	fewWaiting = "few waiting"
	latest     = "max ms"
)

// How scheduled events are published: by so many goroutines, in batches. Those
// that only wait are due from farAhead on, at the rate of the others.
const (
	schedulers    = 4
	scheduleBatch = 500
	farAhead      = 6 * time.Hour
)

// scheduledProcessScenario is how late scheduled events are in process.
func scheduledProcessScenario() *scenario {
	return &scenario{
		name: "scheduled/process",
		about: "from the time that an event is scheduled for to its delivery to a target that does nothing, in process, at 10,000 a second, " +
			"while a million others wait",
		steady: true, cold: true,
		rows: latenessRows(),
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			var all []contender
			for _, n := range []struct {
				name    string
				waiting int
			}{{ours, e.events}, {fewWaiting, 0}} {
				s, err := openScheduled(ctx, e, c)
				if err != nil {
					return nil, err
				}
				if err := s.wait(ctx, e, n.waiting); err != nil {
					return nil, err
				}
				all = append(all, withCPU(contender{n.name, s.steadily(e)}, ownCPU))
			}
			return all, nil
		},
	}
}

func latenessRows() []row {
	return []row{
		{measure: p50, limit: fewWaiting},
		{measure: p99, limit: fewWaiting, bar: bar{value: 10, most: true, absolute: true}},
		{measure: latest, limit: fewWaiting},
		{measure: perSecond, limit: fewWaiting},
		{measure: cpuAnEvent, limit: fewWaiting},
	}
}

// lateness is how late events came. The ids of events say when they are due.
type lateness struct {
	mu    sync.Mutex
	times []time.Duration
	last  time.Time
	count atomic.Int64
}

func (l *lateness) take(id int64, now time.Time) {
	late := time.Duration(now.UnixNano() - id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, late)
	l.last = now
	l.count.Add(1)
}

func (l *lateness) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = l.times[:0]
	l.count.Store(0)
}

// measures fails when an event came before its time.
func (l *lateness) measures(began time.Time) (measures, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return latenessMeasures(slices.Clone(l.times), began, l.last)
}

func latenessMeasures(times []time.Duration, began, last time.Time) (measures, error) {
	slices.Sort(times)
	if times[0] < 0 {
		return nil, fmt.Errorf("an event came %v before its time", -times[0])
	}
	return measures{
		p50: percentile(times, 0.50), p99: percentile(times, 0.99), latest: percentile(times, 1),
		perSecond: float64(len(times)) / last.Sub(began).Seconds(), counted: float64(len(times)),
	}, nil
}

// lateTarget notes when each event comes.
type lateTarget struct{ *lateness }

func (lateTarget) Start(context.Context) error { return nil }
func (lateTarget) Close() error                { return nil }
func (t lateTarget) Deliver(_ context.Context, d *targets.Delivery) error {
	id, ok := parseID([]byte(d.Event.ID()))
	if !ok {
		return fmt.Errorf("the id %q says no time", d.Event.ID())
	}
	t.take(id, time.Now())
	return nil
}

// scheduledBus is an engine to which events are scheduled.
type scheduledBus struct {
	under  *underTest
	engine *bus.Engine
	late   lateness
}

func openScheduled(ctx context.Context, e *environment, c *closer) (*scheduledBus, error) {
	t, err := newTemplate()
	if err != nil {
		return nil, err
	}
	u, err := openFilled(ctx, e, c, t, embedded.Options{})
	if err != nil {
		return nil, err
	}
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	matcher, err := env.Compile(rules.Filter{When: whenPlaced})
	if err != nil {
		return nil, err
	}
	s := &scheduledBus{under: u}
	s.engine, err = u.run(ctx, c, bus.Plan{
		Buses:   map[string]bus.BusPlan{"bench": {MaxBytes: keepBytes, Dedupe: dedupe}},
		Rules:   map[string]bus.RulePlan{"late": {Bus: "bench", Matcher: matcher, Targets: []string{"late"}}},
		Targets: map[string]bus.TargetPlan{"late": {Target: lateTarget{&s.late}}},
	})
	return s, err
}

// wait schedules n events for a time that does not come.
func (s *scheduledBus) wait(ctx context.Context, e *environment, n int) error {
	return schedule(ctx, e, n, time.Now().Add(farAhead), e.schedule, s.publisher)
}

// publisher publishes a batch of events that are due as their ids say.
func (s *scheduledBus) publisher() (func(ctx context.Context, ids []int64) error, error) {
	t, err := newTimedTemplate()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, ids []int64) error {
		batch := make([]bus.Publication, len(ids))
		for i, id := range ids {
			ev, err := t.make(id)
			if err != nil {
				return err
			}
			batch[i] = bus.Publication{Bus: "bench", Event: ev}
		}
		results, err := s.engine.Publish(ctx, batch, bus.PublishOptions{Via: storeVia})
		if err != nil {
			return err
		}
		if !results[0].Scheduled || results[0].Duplicate {
			return errors.New("events were due before they were scheduled; use a machine that does less, or a shorter -steady")
		}
		return nil
	}, nil
}

// schedule publishes n events, due from begin on at a rate.
func schedule(ctx context.Context, e *environment, n int, begin time.Time, rate int, publisher func() (func(context.Context, []int64) error, error)) error {
	due := func(k int) int64 { return begin.Add(time.Duration(k) * time.Second / time.Duration(rate)).UnixNano() }
	var next atomic.Int64
	var g errgroup.Group
	reported := time.Now()
	for i := range schedulers {
		publish, err := publisher()
		if err != nil {
			return err
		}
		g.Go(func() error {
			ids := make([]int64, 0, scheduleBatch)
			for {
				end := int(next.Add(scheduleBatch))
				from := end - scheduleBatch
				if from >= n {
					return nil
				}
				if i == 0 && time.Since(reported) > reportEvery {
					reported = time.Now()
					fmt.Fprintf(e.progress, "scheduled: %d of %d\n", from, n)
				}
				ids = ids[:0]
				for k := from; k < min(end, n); k++ {
					ids = append(ids, due(k))
				}
				if err := publish(ctx, ids); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// reportEvery is how often long preparations say how far they are.
const reportEvery = 5 * time.Second

// lead is how long before the first is due n events begin to be scheduled.
func lead(n int) time.Duration { return 2*time.Second + time.Duration(n)*50*time.Microsecond }

// steadily schedules events for d at the rate of the settings and measures how
// late each comes.
func (s *scheduledBus) steadily(e *environment) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		n := int(d.Seconds() * float64(e.schedule))
		s.late.reset()
		begin := time.Now().Add(lead(n))
		if err := schedule(ctx, e, n, begin, e.schedule, s.publisher); err != nil {
			return nil, err
		}
		stop := every(ctx, s.under.store.Trim)
		err := awaitCount(ctx, int64(n), s.late.count.Load)
		if err := errors.Join(err, stop()); err != nil {
			return nil, err
		}
		return s.late.measures(begin)
	}
}

// The event of the benchmarks with a time to be delivered at.
const (
	timeLayout = "2006-01-02T15:04:05.000000000Z"
	timedText  = `"deliverytime":"` + timeLayout + `",`
)

func timedStructured() []byte {
	return bytes.Replace(structured(), []byte(`"datacontenttype"`), []byte(timedText+`"datacontenttype"`), 1)
}

// timedTemplate makes stored events that are due when their ids say.
type timedTemplate struct {
	template
	due int
}

func newTimedTemplate() (*timedTemplate, error) {
	ev, err := event.FromStructured(timedStructured(), event.Limits{})
	if err != nil {
		return nil, err
	}
	t := &timedTemplate{template: template{encoded: ev.AppendBinary(nil)}}
	t.id, t.due = strings.Index(string(t.encoded), noID), strings.Index(string(t.encoded), timeLayout)
	if t.id < 0 || t.due < 0 {
		return nil, errors.New("the stored form of an event does not hold its id and its deliverytime")
	}
	return t, nil
}

func (t *timedTemplate) make(id int64) (*event.Event, error) {
	buf := bytes.Clone(t.encoded)
	putID(buf[t.id:], id)
	putTime(buf[t.due:], id)
	return event.Decode(buf)
}

// putTime writes a time over the one that dst begins with.
func putTime(dst []byte, nanos int64) {
	time.Unix(0, nanos).UTC().AppendFormat(dst[:0], timeLayout)
}

// scheduledHTTPScenario is the same over HTTP, and what waiting costs in memory.
func scheduledHTTPScenario() *scenario {
	return &scenario{
		name: "scheduled/http",
		about: "from the time that an event is scheduled for to its delivery over HTTP, at a steady 1,000 a second, while a million others wait; " +
			"the most anonymous memory meanwhile",
		steady: true, cold: true,
		rows: append(latenessRows(), row{measure: megabytes, limit: fewWaiting, bar: bar{value: 1.25, most: true}}),
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			var all []contender
			for _, n := range []struct {
				name    string
				waiting int
			}{{ours, e.events}, {fewWaiting, 0}} {
				r, server, err := startDelivering(ctx, e, c)
				if err != nil {
					return nil, err
				}
				publisher := timedClients(c, server.Addr)
				if err := schedule(ctx, e, n.waiting, time.Now().Add(farAhead), e.schedule, publisher); err != nil {
					return nil, err
				}
				if err := server.awaitMetric(ctx, "switchyard_store_scheduled", float64(n.waiting)); err != nil {
					return nil, err
				}
				if err := sleep(ctx, e.idle); err != nil {
					return nil, err
				}
				all = append(all, withCPU(contender{n.name, r.scheduled(e, server, publisher)}, server.cpu))
			}
			return all, nil
		},
	}
}

// timedClients connect to addr and post batches of events that are due as their
// ids say. Each of schedulers has a connection of its own, which is kept.
func timedClients(c *closer, addr string) func() (func(context.Context, []int64) error, error) {
	return func() (func(context.Context, []int64) error, error) {
		one, err := newClient(addr, scheduleBatch)
		if err != nil {
			return nil, err
		}
		c.add(one.conn.Close)
		return func(ctx context.Context, ids []int64) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			event := timedStructured()
			at := bytes.Index(event, []byte(timeLayout))
			body := make([]byte, 0, len(ids)*(len(event)+1)+2)
			for i, id := range ids {
				body = append(body, "[,"[min(i, 1)])
				putID(event[idOffset:], id)
				putTime(event[at:], id)
				body = append(body, event...)
			}
			body = append(body, ']')
			one.post, _ = request(addr, eventsPath, "application/cloudevents-batch+json", body, nil)
			return one.exchange()
		}, nil
	}
}

// scheduled schedules events for d at the rate of latency and measures how late
// each is received.
func (r *receiver) scheduled(e *environment, server *process, publisher func() (func(context.Context, []int64) error, error)) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		r.reset()
		n := int(d.Seconds() * float64(e.rate))
		begin := time.Now().Add(lead(n))
		if err := schedule(ctx, e, n, begin, e.rate, publisher); err != nil {
			return nil, err
		}
		if time.Now().After(begin) {
			return nil, errors.New("events were due before they were scheduled; use a machine that does less, or a shorter -steady")
		}
		if err := sleep(ctx, time.Until(begin)); err != nil { // what publishing took is no part of it
			return nil, err
		}
		peak := server.watchMemory(ctx)
		err := r.await(ctx, int64(n))
		mb, watched := peak()
		if err := errors.Join(err, watched); err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		m, err := latenessMeasures(slices.Clone(r.times), begin, r.last)
		if err == nil {
			m[megabytes] = mb
		}
		return m, err
	}
}
