package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// Limits are what a server takes before publishing to any bus is refused.
// They are measured several times a second while Run works. A limit that was
// reached holds until use is a tenth below it.
type Limits struct {
	Memory int64 // bytes that the process needs, see Options.MemoryUsed; 0 is no limit
	Disk   int64 // bytes that the store uses on disk; 0 is no limit
	Owed   int64 // bytes of events kept beyond retention because they are owed; 0 is no limit
}

// BusLimits are what may wait to be delivered from a bus before publishing to
// it is refused. Orphaned subscriptions do not count, paused ones do.
type BusLimits struct {
	Depth int64         // deliveries of all its subscriptions; 0 is no limit
	Age   time.Duration // of the oldest of them since it was due; 0 is no limit
}

// The names of limits, as in store.LimitError.
const (
	limitMemory = "memory"
	limitDisk   = "disk"
	limitOwed   = "owed"
	limitDepth  = "depth"
	limitAge    = "age"
)

// pressure measures what limits are on and keeps what they refuse. One
// goroutine measures; publishers load one pointer that seldom changes.
type pressure struct {
	e        *Engine
	wake     chan struct{}
	memory   func() int64
	collects bool // memory is the Go runtime's, which a collection brings up to date

	refusing  atomic.Pointer[refusals] // nil: nothing is refused
	measured  atomic.Pointer[[]measure]
	collected time.Time     // when a collection was asked for last
	pause     time.Duration // until it is measured again; 0: there is no limit
}

// refusals are the limits that are reached. They do not change.
type refusals struct {
	all   *store.LimitError // of the server, nil for none
	buses map[string]*store.LimitError
}

// measure is one limit that is set, and its use.
type measure struct {
	bus, limit  string
	used, bound int64
	refuse      func(store.LimitError) store.LimitError // fills in what is special
}

// How often limits are measured. Counting many subscriptions takes time, so
// that a pause is never shorter than measureShare times what it took.
const (
	measureEvery = 250 * time.Millisecond
	measureShare = 20
	collectEvery = 2 * time.Second
)

func newPressure(e *Engine) *pressure {
	p := &pressure{e: e, wake: make(chan struct{}, 1), memory: e.opts.MemoryUsed}
	if p.memory == nil {
		p.memory, p.collects = neededMemory, true
	}
	return p
}

// changed says that a plan with other limits may be in force.
func (p *pressure) changed() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run goes on measuring until ctx is done; without a limit it sleeps.
func (p *pressure) run(ctx context.Context) {
	for {
		var next <-chan time.Time
		if p.pause > 0 {
			next = time.After(p.pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-next:
		}
		p.measure()
	}
}

// measure looks at each limit that is set.
func (p *pressure) measure() {
	started := time.Now()
	st := p.e.state.Load()
	found := p.ofServer(st.plan.Limits)
	found = append(found, p.ofBuses(st)...)
	old := p.refusing.Load()
	next := &refusals{buses: map[string]*store.LimitError{}}
	for _, m := range found {
		bound := m.bound
		if old.has(m) {
			bound -= bound / 10
		}
		if m.used < bound {
			continue
		}
		e := m.refuse(store.LimitError{Limit: m.limit, Bus: m.bus, Value: m.used, Bound: m.bound, RetryAfter: 5 * time.Second})
		if m.bus != "" && next.buses[m.bus] == nil {
			next.buses[m.bus] = &e
		} else if m.bus == "" && next.all == nil {
			next.all = &e
		}
		if !old.has(m) {
			p.e.log.Warn("publishing is refused: a limit is reached", "limit", m.limit, "bus", m.bus, "used", m.used, "bound", m.bound)
		}
	}
	p.measured.Store(&found)
	if next.all == nil && len(next.buses) == 0 {
		next = nil
		if old != nil {
			p.e.log.Info("publishing is accepted again: no limit is reached")
		}
	}
	p.refusing.Store(next)
	p.collectGarbage(next)
	p.pause = 0
	if len(found) > 0 {
		p.pause = max(measureEvery, measureShare*time.Since(started))
	}
}

// has says whether the limit of m was reached.
func (r *refusals) has(m measure) bool {
	if r == nil {
		return false
	}
	e := r.all
	if m.bus != "" {
		e = r.buses[m.bus]
	}
	return e != nil && e.Limit == m.limit
}

func (p *pressure) ofServer(l Limits) (found []measure) {
	lacks := func(limit string, used, bound int64, format string) {
		if bound <= 0 {
			return
		}
		found = append(found, measure{limit: limit, used: used, bound: bound, refuse: func(e store.LimitError) store.LimitError {
			e.Reason = fmt.Sprintf(format, e.Value>>20, e.Bound>>20)
			return e
		}})
	}
	if l.Memory > 0 {
		lacks(limitMemory, p.memory(), l.Memory, "the process needs %d MiB of memory, its limit is %d MiB (server.limits.memory)")
	}
	if l.Disk <= 0 && l.Owed <= 0 {
		return found
	}
	stats := p.e.store.Stats()
	lacks(limitDisk, stats.DiskBytes, l.Disk, "the store uses %d MiB of disk, its limit is %d MiB (server.limits.disk); shorten retention or raise the limit")
	lacks(limitOwed, stats.OwedBytes, l.Owed, "%d MiB of events are kept beyond retention because they are owed, the limit is %d MiB (server.limits.owed); "+
		"mend the targets that do not take them, or redrive or purge dead letters")
	return found
}

// ofBuses measures the queues of buses that have limits.
func (p *pressure) ofBuses(st *state) (found []measure) {
	type queue struct {
		depth           int64
		oldest          time.Time
		deepest, eldest string // subscriptions
		most            int64
	}
	queues := map[store.BusID]*queue{}
	for id, b := range st.byID {
		if b.plan.Limits != (BusLimits{}) {
			queues[id] = &queue{}
		}
	}
	if len(queues) == 0 {
		return nil
	}
	for _, info := range p.e.store.Subscriptions() {
		q := queues[info.Bus]
		if q == nil || info.Orphaned {
			continue
		}
		q.depth += info.Depth
		if info.Depth > q.most {
			q.most, q.deepest = info.Depth, info.Name
		}
		if !info.Oldest.IsZero() && (q.oldest.IsZero() || info.Oldest.Before(q.oldest)) {
			q.oldest, q.eldest = info.Oldest, info.Name
		}
	}
	for id, q := range queues {
		b := st.byID[id]
		if bound := b.plan.Limits.Depth; bound > 0 {
			found = append(found, measure{bus: b.name, limit: limitDepth, used: q.depth, bound: bound, refuse: func(e store.LimitError) store.LimitError {
				e.Busy, e.Reason = true, fmt.Sprintf("%d deliveries wait, its limit is %d (limits.depth); the most of them for subscription %q", e.Value, e.Bound, q.deepest)
				return e
			}})
		}
		if bound := b.plan.Limits.Age; bound > 0 {
			age := time.Duration(0)
			if !q.oldest.IsZero() {
				age = max(0, time.Since(q.oldest))
			}
			found = append(found, measure{bus: b.name, limit: limitAge, used: int64(age), bound: int64(bound), refuse: func(e store.LimitError) store.LimitError {
				e.Busy, e.Value, e.Bound = true, int64(age/time.Second), int64(bound/time.Second)
				e.Reason = fmt.Sprintf("the oldest delivery has been due for %v, the limit is %v (limits.age); it is for subscription %q", age.Round(time.Second), bound, q.eldest)
				return e
			}})
		}
	}
	return found
}

// refuses is the limit that a batch meets, nil if there is none.
func (p *pressure) refuses(batch []Publication) error {
	r := p.refusing.Load()
	if r == nil {
		return nil
	}
	for i := range batch {
		if err := r.on(batch[i].Bus); err != nil {
			p.count(batch[i].Bus, err)
			return err
		}
	}
	return nil
}

// holds makes what Switchyard publishes itself wait while bus is refused: the
// delivery that it comes from is tried again.
func (p *pressure) holds(bus string) error {
	r := p.refusing.Load()
	if r == nil {
		return nil
	}
	if err := r.on(bus); err != nil {
		p.count(bus, err)
		return &targets.RetryAfter{Err: err, After: time.Second}
	}
	return nil
}

func (r *refusals) on(bus string) error {
	if r.all != nil {
		return r.all
	}
	if e := r.buses[bus]; e != nil {
		return e
	}
	return nil
}

// count counts a refusal, if err is one.
func (p *pressure) count(bus string, err error) {
	var limit *store.LimitError
	if errors.As(err, &limit) {
		m := p.e.metrics
		m.refused.WithLabelValues(m.shown("bus", bus), limit.Limit).Inc()
	}
}

// Refusing is a *store.LimitError while a limit of the server refuses all that
// is published, else nil.
func (e *Engine) Refusing() error {
	if r := e.pressure.refusing.Load(); r != nil && r.all != nil {
		return r.all
	}
	return nil
}

// collect shows the limits that are set. Those of buses without series of their
// own are left out.
func (p *pressure) collect(gauge func(*prometheus.Desc, float64, ...string)) {
	found := p.measured.Load()
	if found == nil {
		return
	}
	m := p.e.metrics
	for _, l := range *found {
		if l.bus != "" && m.shown("bus", l.bus) != l.bus {
			continue
		}
		unit := 1.0
		if l.limit == limitAge {
			unit = float64(time.Second)
		}
		gauge(m.limitUsed, float64(l.used)/unit, l.bus, l.limit)
		gauge(m.limitBound, float64(l.bound)/unit, l.bus, l.limit)
	}
}
