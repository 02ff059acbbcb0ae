package bus

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// BatchPolicy bounds what goes to a target in one request, of one subscription.
// The zero value sends events one by one.
type BatchPolicy struct {
	Events int           // at most; up to 1 is no batch
	Bytes  int           // of the events, about; a larger event goes alone. 0 is no limit
	Wait   time.Duration // how long a batch that is not full waits for more
}

// batchMember is one delivery of a batch, ready to be sent.
type batchMember struct {
	dl claimed
	td targets.Delivery
}

// batcher is the target's interface for batches, nil if it gets none.
func (t *target) batcher() targets.Batcher {
	if t.plan.Batch.Events <= 1 {
		return nil
	}
	b, _ := t.plan.Target.(targets.Batcher)
	return b
}

// deliverBatch makes one attempt at first and at what else of s is due, in one
// request. The claim hands out one unsettled delivery of a key at most, so a
// batch holds no two of one key, and of a strict subscription one in all.
func (d *deliverer) deliverBatch(s *subscription, spec *subscriptionSpec, b targets.Batcher, first claimed, out *settler) {
	t := spec.target
	all, more := d.gather(s, spec, first, out)
	if more {
		d.spawn(s)
	}
	if len(all) == 0 {
		return
	}
	if probe := all[0].dl.probe; probe == 0 && t.gate.shut.Load() { // while it was gathered
		for i := range all {
			out.release(&all[i].dl.Delivery)
		}
		return
	}
	started := time.Now()
	ctx, cancel := context.WithTimeout(d.ctx, t.plan.Timeout)
	errs := callBatcher(ctx, b, all)
	cancel()
	for i := range errs {
		errs[i] = t.conceal(errs[i], &all[i].td.Answer)
	}
	took := time.Since(started)
	d.observeBatch(t, all, errs, took)
	if len(all) > 1 && refusedWhole(errs) {
		d.separate(s, spec, all, errs[0], out)
		return
	}
	for i := range all {
		m := &all[i]
		if d.cutOff(errs[i]) {
			out.release(&m.dl.Delivery)
			continue
		}
		out.settle(s, spec, &m.dl, attemptResult{started: started, took: took, err: errs[i], answer: m.td.Answer})
	}
}

// gather takes deliveries of s until the batch is full, or there are none and
// the wait is over; more says that another runner would find some, too.
func (d *deliverer) gather(s *subscription, spec *subscriptionSpec, dl claimed, out *settler) (all []batchMember, more bool) {
	t, policy := spec.target, spec.target.plan.Batch
	until := time.Now().Add(policy.Wait)
	bytes := 0
	for {
		alone := s.isAlone(dl.ID)
		td, ok := d.prepare(s, spec, &dl, out)
		if ok && len(all) > 0 && (alone || dl.probe != 0 || policy.Bytes > 0 && bytes+td.Event.Size() > policy.Bytes) {
			d.untried(t, &dl)
			s.putBack(dl.Delivery)
			return all, true
		}
		if ok {
			bytes += td.Event.Size()
			all = append(all, batchMember{dl, td})
			if alone || dl.probe != 0 || spec.order == store.OrderStrict || len(all) >= policy.Events ||
				policy.Bytes > 0 && bytes >= policy.Bytes {
				return all, more || s.hasMore()
			}
		}
		for {
			if dl, more, ok = d.take(s, t, spec.asks); ok {
				break
			}
			if len(all) == 0 || !d.linger(s, until) {
				return all, false
			}
		}
	}
}

// linger waits until there may be more deliveries of s; false says that the
// time is up, or that another runner waits already.
func (d *deliverer) linger(s *subscription, until time.Time) bool {
	left := time.Until(until)
	stopping := d.stopSignal()
	if left <= 0 || stopping == nil {
		return false
	}
	arrived := make(chan struct{}, 1)
	s.mu.Lock()
	if s.arrived != nil {
		s.mu.Unlock()
		return false
	}
	s.arrived = arrived
	s.mu.Unlock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	came := true
	select {
	case <-arrived:
	case <-timer.C:
		came = false
	case <-stopping:
		came = false
	}
	s.mu.Lock()
	s.arrived = nil
	s.mu.Unlock()
	return came
}

// observeBatch learns from a batch what the target is like: it is well if it
// took any of it.
func (d *deliverer) observeBatch(t *target, all []batchMember, errs []error, took time.Duration) {
	probe := all[0].dl.probe
	shown := 0
	for i, err := range errs {
		if d.cutOff(err) {
			if probe != 0 {
				t.gate.leave(probe)
			}
			return
		}
		if err == nil {
			shown = i
			break
		}
	}
	d.e.keeper.changed(t.gate, t.observe(took, errs[shown], all[shown].td.Answer, probe), errs[shown])
}

// refusedWhole reports whether a batch was refused for good as a whole: all
// have the very same error.
func refusedWhole(errs []error) bool {
	var first, p *targets.Permanent
	if !errors.As(errs[0], &first) {
		return false
	}
	for _, err := range errs {
		if !errors.As(err, &p) || p != first {
			return false
		}
	}
	return true
}

// separate gives the members of a batch back, to be sent one by one: it was
// refused for good, and one of them may be to blame. That attempt counts for
// none.
func (d *deliverer) separate(s *subscription, spec *subscriptionSpec, all []batchMember, cause error, out *settler) {
	d.e.log.Info("a batch was refused, sending its events one by one", "subscription", s.name, "target", spec.target.name,
		"events", len(all), "error", cause)
	s.mu.Lock()
	if s.alone == nil {
		s.alone = map[store.DeliveryID]struct{}{}
	}
	for i := range all {
		s.alone[all[i].dl.ID] = struct{}{}
	}
	s.mu.Unlock()
	for i := range all {
		out.release(&all[i].dl.Delivery)
	}
	out.flush()
}

// isAlone reports whether a delivery is to be sent alone.
func (s *subscription) isAlone(id store.DeliveryID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.alone[id]
	return ok
}

// settled forgets that a delivery was to be sent alone.
func (s *subscription) settled(spec *subscriptionSpec, id store.DeliveryID) {
	if spec.target.plan.Batch.Events <= 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.alone, id)
}

// hasMore reports whether another runner would find work.
func (s *subscription) hasMore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claimed) > 0 || s.dirty && !s.claiming
}

// callBatcher makes a panic of a target, or a wrong number of outcomes, a
// permanent failure of all.
func callBatcher(ctx context.Context, b targets.Batcher, all []batchMember) (errs []error) {
	fail := func(err error) []error {
		errs := make([]error, len(all))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer func() {
		if p := recover(); p != nil {
			errs = fail(targets.Permanentf("the target panicked: %v\n%s", p, firstLines(debug.Stack(), 12)))
		}
	}()
	ds := make([]*targets.Delivery, len(all))
	for i := range all {
		ds[i] = &all[i].td
	}
	if errs = b.DeliverBatch(ctx, ds); len(errs) != len(all) {
		return fail(targets.Permanentf("the target gave %d outcomes for %d deliveries", len(errs), len(all)))
	}
	return errs
}
