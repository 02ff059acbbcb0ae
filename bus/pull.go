package bus

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// Bounds of one receive.
const (
	MaxReceive     = 1000        // deliveries
	MaxReceiveWait = time.Minute // of a long poll
	receiveBytes   = 8 << 20     // of events, about; one larger event goes alone
)

// DefaultLeases is how many leases of one subscription may be out at the same
// time, unless the target's plan has a Concurrency. It is more than
// DefaultConcurrency, for leases cost the receivers nothing: each takes what it
// asks for.
const DefaultLeases = 1000

// briefWait is what a poll that does not want to wait gives those before it.
const briefWait = 20 * time.Millisecond

// Errors of the calls for pull targets; test with errors.Is.
var (
	// ErrNotPull means that the target of the subscription is of another kind.
	ErrNotPull = errors.New("its target is not a pull target")
	// ErrStopping means that the engine takes up no more work.
	ErrStopping = errors.New("switchyard is stopping")
)

// Receive asks for deliveries.
type Receive struct {
	Max      int             // deliveries at most; 0 is 1, more than MaxReceive is that
	Wait     time.Duration   // how long to wait for the first
	Consumer string          // who asks, for the attempt record; a broadcast needs it
	Stop     <-chan struct{} // ends the wait early, with an empty answer
}

// Received answers a Receive.
type Received struct {
	Lease      time.Duration // how long the leases last unless they are extended
	Deliveries []Leased
}

// Leased is a delivery that a worker has until its lease ends.
type Leased struct {
	Lease    string // proves it; nobody can guess it
	ID       string // of the delivery, stable over attempts
	Attempt  int
	Redriven bool
	Event    *event.Event // as transformed
}

// pulls is the pull side of a subscription: the polls that wait, in line, and
// the leases that are out (lease.go).
//
// One poll at a time has the turn and claims from the store; it gets it only
// if there may be something to claim. So a delivery wakes one poll, however
// many wait, and they are served in the order in which they came.
type pulls struct {
	d *deliverer
	s *subscription

	mu       sync.Mutex
	line     list.List // of *poll
	claiming bool      // a poll has the turn
	dirty    bool      // there may be something to claim
	out      int       // claimed and not settled: the leases, and what is on its way to be one
	leases   map[string]*lease
	byExpiry leaseHeap
	timer    *time.Timer
	ended    chan struct{} // closed when nobody pulls from here any more
	seen     time.Time     // when a consumer was last here
}

// poll is one receive that waits.
type poll struct {
	turn  chan struct{}
	place *list.Element // nil when it is not in line
}

func newPulls(d *deliverer, s *subscription) *pulls {
	return &pulls{d: d, s: s, dirty: true, leases: map[string]*lease{}, ended: make(chan struct{}), seen: time.Now()}
}

// pullOf is how plan's target is pulled from, nil if it is not.
func pullOf(plan TargetPlan) *targets.Pull {
	p, ok := plan.Target.(targets.Pulled)
	if !ok {
		return nil
	}
	settings := p.Pull()
	return &settings
}

// Receive leases deliveries of a pull target. It answers as soon as there are
// some, or without any after r.Wait. store.ErrNotFound, ErrNotPull,
// ErrConsumer, ErrTooManyConsumers, ErrStopping.
func (e *Engine) Receive(ctx context.Context, rule, target string, r Receive) (Received, error) {
	s, err := e.pulledFrom(ctx, rule, target, r.Consumer)
	if err != nil {
		return Received{}, err
	}
	p := s.pull.Load()
	if p == nil {
		return Received{}, notPull(s.name)
	}
	if p.isEnded() {
		return Received{}, ErrStopping
	}
	timer := time.NewTimer(max(r.Wait, briefWait))
	defer timer.Stop()
	w := &poll{turn: make(chan struct{}, 1)}
	p.join(w)
	for {
		select {
		case <-w.turn:
		case <-timer.C:
			return p.leave(w), nil
		case <-r.Stop:
			return p.leave(w), nil
		case <-p.ended:
			return p.leave(w), nil
		case <-ctx.Done():
			return p.leave(w), ctx.Err()
		}
		got, err := p.serve(ctx, w, r)
		if err != nil || len(got.Deliveries) > 0 {
			return got, err
		}
	}
}

// pulledFrom finds the subscription that a receive is for.
func (e *Engine) pulledFrom(ctx context.Context, rule, target, consumer string) (*subscription, error) {
	s, spec, err := e.pulledSubscription(rule, target)
	if err != nil || !spec.target.pull.Broadcast {
		return s, err
	}
	return e.consumer(ctx, s, consumer)
}

// pulledSubscription finds the subscription of a rule and a pull target.
func (e *Engine) pulledSubscription(rule, target string) (*subscription, *subscriptionSpec, error) {
	name := rule + "/" + target
	s := e.state.Load().named.At(name)
	if s == nil {
		return nil, nil, fmt.Errorf("there is no subscription %q: %w", name, store.ErrNotFound)
	}
	spec := s.spec.Load()
	if spec == nil || spec.target == nil || spec.target.pull == nil {
		return nil, nil, notPull(name)
	}
	return s, spec, nil
}

func notPull(subscription string) error {
	return fmt.Errorf("subscription %q: %w", subscription, ErrNotPull)
}

// join puts a poll at the end of the line.
func (p *pulls) join(w *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = time.Now()
	w.place = p.line.PushBack(w)
	p.call()
}

// leave takes a poll that gives up out of the line; a turn that it was given
// goes on to the next. It gives the empty answer.
func (p *pulls) leave(w *poll) Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.place != nil {
		p.line.Remove(w.place)
		w.place = nil
	} else {
		p.claiming, p.dirty = false, true
		p.call()
	}
	return Received{Lease: p.s.spec.Load().target.leaseTime()}
}

// wake says that there may be something to claim. It never blocks.
func (p *pulls) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
	p.call()
}

// call gives the turn to the first in line, if nobody has it, there may be
// something to claim, and a lease to spare; p.mu is held.
func (p *pulls) call() {
	if p.claiming || !p.dirty || p.line.Len() == 0 || p.isEnded() || p.d.isStopped() ||
		p.out >= p.s.spec.Load().target.plan.Concurrency {
		return
	}
	p.claiming, p.dirty = true, false
	w := p.line.Remove(p.line.Front()).(*poll)
	w.place = nil
	w.turn <- struct{}{}
}

func (p *pulls) isEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// serve is a poll's turn. Without deliveries and error the poll is in line
// again.
func (p *pulls) serve(ctx context.Context, w *poll, r Receive) (Received, error) {
	if !p.d.begin() {
		p.leave(w)
		return Received{}, ErrStopping
	}
	defer p.d.runners.Done()
	spec := p.s.spec.Load()
	ds, asking, err := p.claim(ctx, spec, min(max(r.Max, 1), MaxReceive))
	p.mu.Lock()
	p.out += len(ds)
	p.claiming = false
	switch {
	case len(ds) > 0:
		p.dirty = true // there may be more than was asked for
	case err == nil:
		w.place = p.line.PushFront(w)
	}
	p.call()
	p.mu.Unlock()
	if len(ds) == 0 {
		return Received{}, err
	}
	got := Received{Lease: spec.target.leaseTime(), Deliveries: p.handOut(ctx, spec, ds, asking, r.Consumer)}
	if len(got.Deliveries) == 0 {
		if err := ctx.Err(); err != nil {
			return got, err
		}
		p.join(w)
	}
	return got, nil
}

// claim takes up to most deliveries from the store, as far as the leases, the
// rate, the endpoints that the rule asks and the bounds of an answer allow.
// asking says that the first tries whether these endpoints are well again.
func (p *pulls) claim(ctx context.Context, spec *subscriptionSpec, most int) (ds []store.Delivery, asking []trialOf, err error) {
	t := spec.target
	p.mu.Lock()
	most = min(most, t.plan.Concurrency-p.out)
	p.mu.Unlock()
	s, ctx := p.s, context.WithoutCancel(ctx)
	if most, asking = spec.asks.enter(s, most); most == 0 {
		return nil, nil, nil
	}
	ds = s.takeBack(most)
	var next time.Time
	for size := 0; len(ds) < most && size < receiveBytes && err == nil; {
		now, start := time.Now(), len(ds)
		allowed, wait := t.tokens(now, min(most-start, claimMost))
		if allowed == 0 {
			next = now.Add(wait)
			break
		}
		ds, next, err = p.d.e.store.Claim(ctx, s.id, now, allowed, ds)
		t.spend(now, len(ds)-start)
		for i := range ds[start:] {
			size += ds[start+i].Record.Event.Size()
		}
		if len(ds)-start < allowed {
			break
		}
	}
	if err != nil {
		p.d.e.log.Error("claiming deliveries failed, trying again", "subscription", s.name, "error", err)
		next = time.Now().Add(routePause)
		if len(ds) > 0 {
			err = nil
		}
	}
	if !next.IsZero() {
		p.d.wakes.at(s, next)
	}
	if len(ds) == 0 {
		leave(asking)
		asking = nil
	}
	return ds, asking, err
}

// takeBack takes what a runner claimed before the target became one to pull
// from, at most n.
func (s *subscription) takeBack(n int) []store.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = max(0, min(n, len(s.claimed)))
	ds := append([]store.Delivery(nil), s.claimed[:n]...)
	s.claimed = append([]store.Delivery(nil), s.claimed[n:]...)
	return ds
}

// handOut makes leases of claimed deliveries. Those whose expirytime has passed
// and those whose transform fails are settled instead; what is too much for one
// answer, or for a client that is gone, goes back.
func (p *pulls) handOut(ctx context.Context, spec *subscriptionSpec, ds []store.Delivery, asking []trialOf, consumer string) []Leased {
	out := settler{d: p.d}
	leased := make([]Leased, 0, len(ds))
	kept := make([]*lease, 0, len(ds))
	size := 0
	for i := range ds {
		dl := &ds[i]
		c := claimed{Delivery: *dl}
		if i == 0 {
			c.asking = asking
		}
		now := time.Now()
		c.waited = spec.asks.waited(dl.Due, c.asking)
		if ctx.Err() != nil || size >= receiveBytes {
			leave(c.asking)
			out.release(dl)
			continue
		}
		if expired(dl.Record.Event, now) {
			leave(c.asking)
			out.expired(p.s, spec, dl)
			continue
		}
		ev, err := p.d.eventFor(spec, &c)
		err = conceal(err, spec.hideRule)
		if p.d.cutOff(err) {
			out.release(dl)
			continue
		}
		if err != nil {
			out.settle(p.s, spec, &c, attemptResult{started: now, took: time.Since(now), err: err})
			continue
		}
		if size > 0 && size+ev.Size() > receiveBytes {
			size = receiveBytes
			out.release(dl)
			continue
		}
		size += ev.Size()
		l := newLease(p.s.id, dl, consumer)
		kept = append(kept, l)
		leased = append(leased, Leased{Lease: l.token, ID: p.d.e.DeliveryID(dl.ID), Attempt: dl.Attempt, Redriven: dl.Redriven, Event: ev})
	}
	gone := len(ds) - len(kept)
	if !p.keep(kept, spec.target.leaseTime()) {
		for _, l := range kept {
			out.release(&l.dl)
		}
		leased, gone = nil, len(ds)
	}
	out.flush()
	p.freed(gone)
	if leased == nil {
		p.d.wake(p.s) // whoever delivers now
	}
	p.d.e.metrics.leases(spec, leaseReceived, len(leased))
	return leased
}

// freed says that n deliveries are out no more. That they were settled may let
// others be claimed, or the same again.
func (p *pulls) freed(n int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out -= n
	p.dirty = true
	p.call()
}

// end answers all polls and takes the leases back, as if they had not been
// made: the subscription is no longer pulled from, or the engine stops.
func (p *pulls) end() {
	p.mu.Lock()
	if p.isEnded() {
		p.mu.Unlock()
		return
	}
	close(p.ended)
	if p.timer != nil {
		p.timer.Stop()
	}
	back := make([]store.Settlement, 0, len(p.leases))
	for _, l := range p.byExpiry {
		back = append(back, store.Settlement{ID: l.dl.ID, Kind: store.Release})
	}
	p.out -= len(back)
	p.leases, p.byExpiry = map[string]*lease{}, nil
	p.mu.Unlock()
	if err := p.d.e.store.Settle(context.Background(), back); err != nil {
		p.d.e.log.Warn("leased deliveries were not given back; they are owed all the same", "subscription", p.s.name, "error", err)
	}
}

// leaseTime is how long a lease of t's deliveries lasts.
func (t *target) leaseTime() time.Duration {
	if t.pull == nil { // it was one to pull from until now
		return 0
	}
	return t.pull.Lease
}

// setPull gives s the pull side that its target needs, or takes it away. The
// returned function ends what was taken away; call it without locks.
func (d *deliverer) setPull(s *subscription, t *target, consumer bool) (end func()) {
	p := s.pull.Load()
	wanted := t != nil && t.pull != nil && t.pull.Broadcast == consumer
	switch {
	case wanted && p == nil:
		s.pull.Store(newPulls(d, s))
	case !wanted && p != nil:
		s.pull.Store(nil)
		return p.end
	}
	return nil
}

// endPulls ends all polls and leases.
func (e *Engine) endPulls() {
	for _, s := range e.pullers() {
		if p := s.pull.Load(); p != nil {
			p.end()
		}
	}
}

// PullStatus is what goes on at a pull target's subscription.
type PullStatus struct {
	Leases  int // out
	Waiting int // polls that wait
}

// PullStatus says how many leases of the subscription are out and how many
// polls wait; ok is false if it is not pulled from.
func (e *Engine) PullStatus(id store.SubscriptionID) (status PullStatus, ok bool) {
	s := e.subscription(id)
	if s == nil {
		return status, false
	}
	p := s.pull.Load()
	if p == nil {
		return status, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return PullStatus{Leases: len(p.leases), Waiting: p.line.Len()}, true
}
