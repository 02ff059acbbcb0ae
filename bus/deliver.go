package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform"
)

// claimMost bounds what one subscription claims at a time.
const claimMost = 64

// fastTarget is the mean duration of an attempt below which one goroutine goes
// through several deliveries and settles them together.
const fastTarget = 200 * time.Microsecond

// subscription is the runtime of one subscription. It lives as long as its
// name is in the plan; what the plan says of it is in spec.
type subscription struct {
	id   store.SubscriptionID
	name string
	from uint64 // only events above are for it
	spec atomic.Pointer[subscriptionSpec]
	pull atomic.Pointer[pulls] // nil unless workers come for its deliveries
	// consumers are those of a broadcast, which get what it matches.
	consumers atomic.Pointer[consumers]

	mu       sync.Mutex
	claimed  []store.Delivery // claimed and not yet begun
	claiming bool             // a runner is at the store
	dirty    bool             // there may be more to claim than the last claim saw

	arrived chan struct{}                 // not nil: a runner waits for more to fill a batch
	alone   map[store.DeliveryID]struct{} // was refused in a batch and is to be sent alone
}

// claimed is a delivery with what its runner knows of it.
type claimed struct {
	store.Delivery
	probe  trial     // not 0: it tries whether the target is well again
	asking []trialOf // it tries whether these endpoints are
	waited store.Wait
}

// subscriptionSpec is what the plan in force says of a subscription.
type subscriptionSpec struct {
	rule      string
	bus       *busState
	transform *transform.Transform
	asks      *asked // nil without enrichments
	target    *target
	order     store.Order
	retry     *RetryPolicy // the rule's, else the target's; never changed
	hideRule  func(text string) string
}

// passes reports whether the deliveries of a subscription go through g.
func (spec *subscriptionSpec) passes(g *gate) bool {
	return spec.target != nil && spec.target.gate == g || spec.asks != nil && slices.Contains(spec.asks.needed, g)
}

// deliverer runs attempts. A subscription with work has runners: goroutines
// that each hold one permit of the target and one of the whole engine, and go
// through what the subscription claims. A target that is slow or down runs out
// of its own permits only.
type deliverer struct {
	e       *Engine
	limit   *limiter // over all targets
	wakes   *wakes
	runners sync.WaitGroup
	// settlers are those of runners that ended. A runner often ends after a few
	// deliveries, and what a settler collects in is large.
	settlers sync.Pool

	mu      sync.Mutex
	stopped bool
	stop    chan struct{}   // closed when stopped becomes true
	ctx     context.Context // of the attempts; done when draining took too long
	cancel  context.CancelFunc
	targets map[string]*target             // guarded by Engine.applying
	asked   persistent.Map[string, *asked] // by rule; guarded by Engine.applying
}

func newDeliverer(e *Engine) *deliverer {
	d := &deliverer{e: e, targets: map[string]*target{}, stopped: true}
	d.settlers.New = func() any { return &settler{d: d} }
	d.limit = newLimiter(float64(e.opts.MaxInFlight), float64(e.opts.MaxInFlight))
	d.wakes = newWakes(func(s *subscription) { d.wake(s) })
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// start lets runners begin; until then wake does nothing.
func (d *deliverer) start(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.stopped, d.stop = false, make(chan struct{})
}

// drain stops new attempts, waits for those under way, and cancels what is
// left after timeout. What was claimed and not begun goes back to the store.
func (d *deliverer) drain(timeout time.Duration) {
	d.mu.Lock()
	if d.stopped = true; d.stop != nil {
		close(d.stop)
		d.stop = nil
	}
	d.mu.Unlock()
	d.wakes.stop()
	d.e.endPulls()
	timer := time.AfterFunc(timeout, d.cancel)
	d.runners.Wait()
	timer.Stop()
	d.cancel()
	var back []store.Settlement
	for _, s := range d.e.state.Load().subs.All() {
		s.mu.Lock()
		for i := range s.claimed {
			back = append(back, store.Settlement{ID: s.claimed[i].ID, Kind: store.Release})
		}
		s.claimed = nil
		s.mu.Unlock()
	}
	if err := d.e.store.Settle(context.Background(), back); err != nil {
		d.e.log.Warn("claimed deliveries were not given back; they are owed all the same", "error", err)
	}
}

// begin registers a runner unless the deliverer is stopped.
func (d *deliverer) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return false
	}
	d.runners.Add(1)
	return true
}

// wake starts a runner for s if its target has a permit, else s waits in line
// for one. It never blocks on the store.
func (d *deliverer) wake(s *subscription) {
	s.mu.Lock()
	s.dirty = true
	busy := s.claiming
	if s.arrived != nil {
		busy = true
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	if !busy {
		d.spawn(s)
	}
}

// mayOwe reports whether there may be something to claim that nobody has looked for
// yet.
func (s *subscription) mayOwe() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty
}

// spawn starts one runner if permits allow.
func (d *deliverer) spawn(s *subscription) {
	spec := s.spec.Load()
	if spec == nil || spec.target == nil {
		return
	}
	t := spec.target
	if t.pull != nil {
		if p := s.pull.Load(); p != nil {
			p.wake()
		}
		return
	}
	if t.gate.refuses(s) || spec.asks.refuses(s) {
		return
	}
	// A target's only attempt needs no permit of the engine, so that targets
	// that hang, however many, never take all of them from the others.
	only, ok := t.limit.acquire(s)
	if !ok {
		return
	}
	if !only {
		if _, ok := d.limit.acquire(s); !ok {
			d.freed(t.limit)
			return
		}
	}
	if !d.begin() {
		d.freed(t.limit)
		if !only {
			d.freed(d.limit)
		}
		return
	}
	go func() {
		defer d.runners.Done()
		if !only {
			defer d.freed(d.limit)
		}
		defer d.freed(t.limit)
		d.run(s, t, spec.asks)
	}()
}

// freed gives a permit back and starts whoever waited for it.
func (d *deliverer) freed(l *limiter) {
	if next := l.release(); next != nil {
		d.spawn(next)
	}
}

// run goes through deliveries of s until there are none to claim.
func (d *deliverer) run(s *subscription, t *target, asks *asked) {
	out := d.settlers.Get().(*settler)
	defer d.settlers.Put(out) // empty, for what ends a runner flushes it first
	for {
		dl, more, ok := d.take(s, t, asks)
		if !ok {
			out.flush()
			return
		}
		spec := s.spec.Load()
		if spec.target != t || spec.asks != asks { // the plan changed
			out.flush()
			d.untried(t, &dl)
			s.putBack(dl.Delivery)
			d.wake(s)
			return
		}
		if b := t.batcher(); b != nil {
			d.deliverBatch(s, spec, b, dl, out)
			out.flush()
			if t.limit.excess() {
				d.wake(s)
				return
			}
			continue
		}
		fast := s.quick(t)
		if more && (!fast || out.len() == 0) {
			d.spawn(s)
		}
		d.deliver(s, spec, &dl, out)
		if !fast || spec.order != store.OrderNone || out.full() {
			out.flush()
		}
		if t.limit.excess() || spec.yields(t.limit) {
			out.flush()
			d.wake(s)
			return
		}
	}
}

// putBack makes dl the next that take returns.
func (s *subscription) putBack(dl store.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claimed = append([]store.Delivery{dl}, s.claimed...)
}

// take returns the next delivery of s, claiming more from the store when there
// is none left; more says that another runner would find work too.
// What was claimed before the target's gate shut goes back to the store first.
func (d *deliverer) take(s *subscription, t *target, asks *asked) (dl claimed, more, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if n := len(s.claimed); n > 0 && (!asks.pass(dl.asking) || !t.gate.pass(dl.probe)) {
			d.giveBack(s, t, &dl)
			continue
		} else if n > 0 {
			dl.Delivery = s.claimed[0]
			s.claimed[0] = store.Delivery{}
			s.claimed = s.claimed[1:]
			return dl, n > 1 || (s.dirty && !s.claiming), true
		}
		if s.claiming || d.isStopped() {
			// What this runner has settled may let more be claimed than the one
			// who claims now has seen: it looks again.
			s.dirty = true
			return dl, false, false
		}
		s.claiming, s.dirty = true, false
		buf := s.claimed[:0]
		s.mu.Unlock()
		ds, probe, asking, next, err := d.claim(s, t, asks, buf)
		s.mu.Lock()
		s.claiming = false
		if len(s.claimed) > 0 { // was put back meanwhile, and goes first
			ds = append(s.claimed, ds...)
		}
		s.claimed, dl.probe, dl.asking = ds, probe, asking
		switch {
		case errors.Is(err, store.ErrNotFound) && d.e.subscription(s.id) != s: // it was removed with its rule
		case err != nil:
			d.e.log.Error("claiming deliveries failed, trying again", "subscription", s.name, "error", err)
			next = time.Now().Add(routePause)
		case len(ds) > 0:
			s.dirty = true // there may be more than was asked for, or was put back
		}
		if !next.IsZero() {
			d.wakes.at(s, next)
		}
		if len(s.claimed) == 0 && (!s.dirty || err != nil) {
			return dl, false, false
		}
	}
}

// giveBack releases what is claimed and not begun; s.mu is held before and after.
func (d *deliverer) giveBack(s *subscription, t *target, dl *claimed) {
	out := settler{d: d}
	s.letGo(&out)
	s.mu.Unlock()
	out.flush()
	d.untried(t, dl)
	s.mu.Lock()
}

// letGo hands what is claimed and not begun to out, to be released; s.mu is held.
func (s *subscription) letGo(out *settler) {
	for i := range s.claimed {
		out.release(&s.claimed[i])
	}
	s.claimed = nil
}

// moved is called after the store has moved s: what was claimed before goes back,
// as far as it is still owed. Some may have been claimed since.
func (d *deliverer) moved(s *subscription) {
	out := settler{d: d}
	s.mu.Lock()
	s.letGo(&out)
	s.mu.Unlock()
	out.flush()
	d.wake(s)
}

// claim asks the store for as many deliveries as the target can begin now;
// probe and asking say that it is one that tries whether the target, or an
// endpoint that the rule asks, is well again.
func (d *deliverer) claim(s *subscription, t *target, asks *asked, buf []store.Delivery) (ds []store.Delivery, probe trial, asking []trialOf, next time.Time, err error) {
	now := time.Now()
	want := claimMost
	if !s.quick(t) {
		want = min(want, t.limit.free()+1)
	}
	if t.batcher() != nil {
		want = max(want, t.plan.Batch.Events)
	}
	if want, asking = asks.enter(s, want); want == 0 {
		return buf, 0, nil, next, nil
	}
	if want, probe = t.gate.enter(s, want); want == 0 {
		leave(asking)
		return buf, 0, nil, next, nil
	}
	ds, next, err = d.e.store.Claim(d.ctx, s.id, now, want, buf)
	if len(ds) == 0 {
		if probe != 0 {
			t.gate.leave(probe)
		}
		leave(asking)
		probe, asking = 0, nil
	}
	return ds, probe, asking, next, err
}

// stopSignal is closed when the deliverer stops; nil: it has.
func (d *deliverer) stopSignal() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stop
}

func (d *deliverer) isStopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// deliver makes one attempt at dl and hands its outcome to out.
func (d *deliverer) deliver(s *subscription, spec *subscriptionSpec, dl *claimed, out *settler) {
	t := spec.target
	td, ok := d.prepare(s, spec, dl, out)
	if !ok {
		return
	}
	started := time.Now()
	ctx, cancel := context.WithTimeout(d.ctx, t.plan.Timeout)
	err := t.conceal(callTarget(ctx, t.plan.Target, &td), &td.Answer)
	cancel()
	took := time.Since(started)
	if d.cutOff(err) {
		d.untried(t, dl)
	} else {
		d.e.keeper.changed(t.gate, t.observe(took, err, td.Answer, dl.probe), err)
		if err == nil && td.WantReply && td.Reply != nil {
			err = d.publishReply(s, spec, &dl.Delivery, &td)
		}
	}
	if d.cutOff(err) {
		out.release(&dl.Delivery)
		return
	}
	out.settle(s, spec, dl, attemptResult{started: started, took: took, err: err, answer: td.Answer})
}

// prepare makes of dl what its target is given. What expired or cannot be
// transformed is settled instead, and a trial of the target is given back.
func (d *deliverer) prepare(s *subscription, spec *subscriptionSpec, dl *claimed, out *settler) (td targets.Delivery, ok bool) {
	t, now := spec.target, time.Now()
	if expired(dl.Record.Event, now) {
		d.untried(t, dl)
		out.expired(s, spec, &dl.Delivery)
		return td, false
	}
	dl.waited = d.waited(spec, dl, now)
	ev, err := d.eventFor(spec, dl)
	err = conceal(err, spec.hideRule)
	if d.cutOff(err) {
		d.untried(t, dl)
		out.release(&dl.Delivery)
		return td, false
	}
	if err != nil {
		d.untried(t, dl)
		out.settle(s, spec, dl, attemptResult{started: now, took: time.Since(now), err: err})
		return td, false
	}
	if spec.asks != nil && expired(dl.Record.Event, time.Now()) { // meanwhile
		d.untried(t, dl)
		out.expired(s, spec, &dl.Delivery)
		return td, false
	}
	return targets.Delivery{
		ID: d.e.DeliveryID(dl.ID), Subscription: s.name, Bus: spec.bus.name,
		Sequence: dl.Record.Sequence, Recorded: dl.Record.Recorded,
		Attempt: dl.Attempt, Redriven: dl.Redriven, Hops: dl.Record.Hops, Event: ev,
		WantReply: t.plan.ReplyTo != "",
	}, true
}

// untried gives trials back that were not made with dl, of the target and of
// what is asked before.
func (d *deliverer) untried(t *target, dl *claimed) {
	leave(dl.asking)
	if dl.probe != 0 {
		t.gate.leave(dl.probe)
	}
	dl.asking, dl.probe = nil, 0
}

// cutOff reports whether an attempt failed because of our own shutdown. It does
// not count then.
func (d *deliverer) cutOff(err error) bool {
	return err != nil && d.ctx.Err() != nil && !targets.IsPermanent(err)
}

// publishReply publishes the reply to a delivery that succeeded. One that its
// bus can never accept would fail with every attempt, and the destination has
// taken the event: it is given up with a warning.
func (d *deliverer) publishReply(s *subscription, spec *subscriptionSpec, dl *store.Delivery, td *targets.Delivery) error {
	bus := spec.target.plan.ReplyTo
	ctx, cancel := context.WithTimeout(d.ctx, spec.target.plan.Timeout)
	defer cancel()
	err := d.e.publishReply(ctx, bus, td)
	if targets.IsPermanent(err) {
		d.e.log.Warn("a reply cannot be published and is dropped; the delivery is done",
			append(logKeys(s, spec, dl), "reply_to", bus, "reply_id", td.Reply.ID(), "error", err)...)
		td.Answer.ReplyDropped = fmt.Sprintf("bus %q does not take it: %v", bus, err)
		return nil
	}
	if err != nil {
		return targets.Classify(targets.Reply, fmt.Errorf("the reply was not published to bus %q: %w", bus, err))
	}
	return nil
}

// callTarget makes a panic of a target a permanent failure of the delivery.
func callTarget(ctx context.Context, t targets.Target, d *targets.Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = targets.Classify(targets.Internal, targets.Permanentf("the target panicked: %v\n%s", p, firstLines(debug.Stack(), 12)))
		}
	}()
	return t.Deliver(ctx, d)
}

// applyTransform makes a panic of a transform an error.
func applyTransform(spec *subscriptionSpec, in transform.Context, ev *event.Event) (out *event.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return spec.transform.ApplyIn(in, ev)
}

// firstLines is the start of a stack trace.
func firstLines(b []byte, n int) []byte {
	for i, c := range b {
		if c == '\n' {
			if n--; n == 0 {
				return b[:i]
			}
		}
	}
	return b
}

// expired reports whether the event's expirytime has passed. An expirytime
// that is no time never passes.
func expired(ev *event.Event, now time.Time) bool {
	v, ok := ev.Extension("expirytime")
	if !ok {
		return false
	}
	t, err := event.ParseTime(v.Text())
	return err == nil && !now.Before(t)
}
