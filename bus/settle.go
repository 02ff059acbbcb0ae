package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// settleMost is how many outcomes a runner settles together.
const settleMost = 32

// settler collects a runner's outcomes and hands them to the store: at once
// for a slow target, a few at a time for a fast one. Until then a crash makes
// the deliveries repeat, so nothing is forgotten.
type settler struct {
	d        *deliverer
	outcomes []store.Settlement
	attempts []store.Attempt
}

// attemptResult is what came of one attempt.
type attemptResult struct {
	started time.Time
	took    time.Duration
	err     error
	answer  targets.Answer
}

func (w *settler) len() int   { return len(w.outcomes) }
func (w *settler) full() bool { return len(w.outcomes) >= settleMost }

// add queues an outcome; attempt may be nil.
func (w *settler) add(o store.Settlement, attempt *store.Attempt) {
	if attempt != nil {
		if cap(w.attempts) == 0 {
			w.attempts = make([]store.Attempt, 0, settleMost)
		}
		if len(w.attempts) == cap(w.attempts) {
			w.flush()
		}
		w.attempts = append(w.attempts, *attempt)
		o.Attempt = &w.attempts[len(w.attempts)-1]
	}
	w.outcomes = append(w.outcomes, o)
}

// flush settles what was collected. While the store refuses, it tries again
// until the engine is stopped: the deliveries are owed as long.
func (w *settler) flush() {
	if len(w.outcomes) == 0 {
		return
	}
	ctx := w.d.ctx
	for {
		err := w.d.e.store.Settle(context.WithoutCancel(ctx), w.outcomes)
		if err == nil || errors.Is(err, store.ErrClosed) {
			break
		}
		w.d.e.log.Error("settling deliveries failed, trying again", "deliveries", len(w.outcomes), "error", err)
		select {
		case <-time.After(routePause):
			continue
		case <-ctx.Done():
		}
		break
	}
	clear(w.outcomes)
	clear(w.attempts)
	w.outcomes, w.attempts = w.outcomes[:0], w.attempts[:0]
}

// release gives dl back as if it had not been claimed.
func (w *settler) release(dl *store.Delivery) {
	w.add(store.Settlement{ID: dl.ID, Kind: store.Release}, nil)
}

// expired settles a delivery whose event's expirytime has passed.
func (w *settler) expired(s *subscription, spec *subscriptionSpec, dl *store.Delivery) {
	s.settled(spec, dl.ID)
	w.d.e.metrics.expired(spec)
	w.d.e.log.Debug("expired undelivered", logKeys(s, spec, dl)...)
	w.add(store.Settlement{ID: dl.ID, Kind: store.Expired}, nil)
}

// settle decides what follows from an attempt: done, another try, or a dead
// letter.
func (w *settler) settle(s *subscription, spec *subscriptionSpec, c *claimed, r attemptResult) {
	dl := &c.Delivery
	attempt := store.Attempt{
		Number: dl.Attempt, Trigger: dl.Trigger, Started: r.started, Duration: r.took,
		Status: r.answer.Status, Address: r.answer.Address, Waited: c.waited,
		Phases: store.Phases{DNS: r.answer.DNS, Connect: r.answer.Connect, TLS: r.answer.TLS, FirstByte: r.answer.FirstByte},
	}
	m, log := w.d.e.metrics, w.d.e.log
	if r.err == nil {
		s.settled(spec, dl.ID)
		m.delivered(spec, r.took, time.Since(dl.Record.Recorded))
		if why := r.answer.ReplyDropped; why != "" {
			attempt.ReplyDropped = truncate(why, 1<<10)
			m.replyDropped(spec)
		}
		if p := r.answer.Published; p.Sequence > 0 {
			if id, err := w.d.e.BusID(p.Bus); err == nil { // else it is gone since
				attempt.Published = store.EventPlace{Bus: id, Sequence: p.Sequence}
			}
		}
		if log.Enabled(w.d.ctx, -4) {
			log.Debug("delivered", append(logKeys(s, spec, dl), "took", r.took)...)
		}
		w.add(store.Settlement{ID: dl.ID, Kind: store.Done}, &attempt)
		return
	}
	attempt.Error, attempt.Response = truncate(r.err.Error(), 1<<10), truncate(r.answer.Body, targets.MaxAnswer)
	attempt.Failure = &store.Failure{
		Class: string(targets.FailureOf(r.err, r.answer.Status)), Request: r.answer.Sent, Answer: r.answer.Headers,
	}
	reason, delay := w.verdict(spec, dl, r)
	if reason == "" {
		m.retried(spec)
		at := time.Now().Add(delay)
		attempt.Failure.NextAt = at
		log.Info("attempt failed, trying again", append(logKeys(s, spec, dl), "error", attempt.Error, "next", at)...)
		w.add(store.Settlement{ID: dl.ID, Kind: store.Retry, RetryAt: at}, &attempt)
		return
	}
	m.dead(spec)
	attempt.Failure.Died, attempt.Failure.Reason = time.Now(), truncate(reason, 1<<10)
	log.Warn("delivery given up, now a dead letter", append(logKeys(s, spec, dl), "error", attempt.Error, "reason", reason)...)
	s.settled(spec, dl.ID)
	w.copyToDeadLetterBus(s, spec, dl, reason)
	w.pauseIfAsked(s, spec.target, r.err) // first: what it held back must not be claimed in between
	w.add(store.Settlement{ID: dl.ID, Kind: store.Dead, Reason: attempt.Failure.Reason}, &attempt)
}

// verdict is why a failed delivery is given up, or "" and how long to wait
// before the next attempt.
func (w *settler) verdict(spec *subscriptionSpec, dl *store.Delivery, r attemptResult) (reason string, delay time.Duration) {
	policy := spec.retry
	var after *targets.RetryAfter
	var exact *againAfter
	switch {
	case !policy.again(r.err, r.answer.Status):
		return r.err.Error(), 0
	case dl.Attempt >= policy.Attempts && dl.Attempt == 1:
		return fmt.Sprintf("gave up after 1 attempt: %v", r.err), 0
	case dl.Attempt >= policy.Attempts:
		return fmt.Sprintf("gave up after %d attempts; the last: %v", dl.Attempt, r.err), 0
	case errors.As(r.err, &after):
		delay = max(after.After, policy.delay(dl.Attempt))
	case errors.As(r.err, &exact):
		delay = exact.after
	default:
		delay = policy.delay(dl.Attempt)
	}
	if age := dl.Age + r.took + delay; age > policy.Age {
		return fmt.Sprintf("gave up after %s, the next attempt would come after retry.age %s; the last: %v",
			(dl.Age + r.took).Round(time.Millisecond), policy.Age, r.err), 0
	}
	return "", delay
}

// copyToDeadLetterBus also publishes a dead letter where its target asks for
// it. The dead letter is kept on the subscription in any case.
func (w *settler) copyToDeadLetterBus(s *subscription, spec *subscriptionSpec, dl *store.Delivery, reason string) {
	bus := spec.target.plan.DeadLetterBus
	if bus == "" {
		return
	}
	e := w.d.e
	if dl.Record.Event == nil {
		e.log.Error("a dead letter was not published to its bus, because its event cannot be read; it is kept on the subscription",
			append(logKeys(s, spec, dl), "dead_letter_bus", bus)...)
		return
	}
	b := event.FromEvent(dl.Record.Event)
	err := errors.Join(
		b.Set("deadlettersubscription", event.StringValue(s.name)),
		b.Set("deadletterreason", event.StringValue(printable(truncate(reason, 512)))),
		b.Set("deadletterattempts", event.IntegerValue(int32(dl.Attempt))),
	)
	if err == nil {
		var ev *event.Event
		if ev, err = b.Build(); err == nil {
			id := e.DeliveryID(dl.ID)
			td := &targets.Delivery{ID: id, Subscription: s.name, Hops: dl.Record.Hops, Event: ev}
			err = e.publishOwn(w.d.ctx, bus, store.Entry{Event: ev, Via: originOf(OriginDeadLetter, s.name, id)}, "dead/"+id, td)
		}
	}
	if err != nil {
		e.log.Error("a dead letter was not published to its bus; it is kept on the subscription",
			append(logKeys(s, spec, dl), "dead_letter_bus", bus, "error", err)...)
	}
}

// pauseIfAsked pauses the subscription when the destination wants no more.
func (w *settler) pauseIfAsked(s *subscription, t *target, cause error) {
	var p *targets.Permanent
	if !errors.As(cause, &p) || p.Pause == "" {
		return
	}
	if err := w.d.e.store.Pause(context.WithoutCancel(w.d.ctx), s.id, p.Pause); err != nil {
		w.d.e.log.Error("pausing a subscription failed", "subscription", s.name, "error", err)
		return
	}
	w.d.e.log.Warn("subscription paused", "subscription", s.name, "reason", p.Pause)
	w.d.e.keeper.announce(systemEvent{kind: TypeTargetPaused, target: t.name,
		data: systemData{Subscriptions: []string{s.name}, Reason: p.Pause, LastError: errorText(cause)}})
}

// logKeys are the stable keys of a delivery's log lines.
func logKeys(s *subscription, spec *subscriptionSpec, dl *store.Delivery) []any {
	id := ""
	if dl.Record.Event != nil { // a lease does not hold the event, see pull.go
		id = dl.Record.Event.ID()
	}
	return []any{"bus", spec.bus.name, "subscription", s.name, "event_id", id,
		"sequence", dl.Record.Sequence, "attempt", dl.Attempt}
}

// truncate cuts s to at most n bytes, not inside a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// printable makes control characters spaces, which attributes may not hold.
func printable(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r < 0x20 || (r >= 0x7f && r <= 0x9f) || r == 0xFFFE || r == 0xFFFF || r == 0xFFFD {
			out[i] = ' '
		}
	}
	return string(out)
}
