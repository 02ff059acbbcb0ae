package storetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// claim claims from the engine, checks that it might and had to hand out what
// it did, and lets the model hand out the same.
func (p *pairing) claim(rng *rand.Rand) {
	s := p.anySub(rng)
	m := p.modelSub(s)
	if m == nil {
		_, _, err := p.store.Claim(p.ctx, s.engine, p.now(), 1, nil)
		p.wantErr("claim from a removed subscription", err, store.ErrNotFound)
		return
	}
	n := 1 + rng.IntN(6)
	p.say("claim %d of %s", n, s.opts.Name)
	ds, next, err := p.store.Claim(p.ctx, s.engine, p.now(), n, nil)
	p.must(err)
	p.say("got %v", sequences(ds))
	if len(ds) > n {
		p.differ("a claim of %d gave %d", n, len(ds))
	}
	if m.paused || m.orphaned {
		if len(ds) > 0 || !next.IsZero() {
			p.differ("claimed %v, next %v, from a subscription that is paused or an orphan", sequences(ds), next)
		}
		return
	}
	claims := m.claims(p.now())
	for _, d := range ds {
		md := m.owed[p.inModel(d.ID)]
		if md == nil || md.claimed || !claims.may[md] {
			p.differ("%s of %s was handed out: %s", describe(d.ID), s.opts.Name, md.whyNot())
		}
		md.claimed = true
		p.compareDelivery(d, md.delivery(m, p.now()))
	}
	p.held = append(p.held, ds...)
	if len(ds) == n {
		return // more may be due; when the others are is not looked at
	}
	for d := range claims.must {
		if !d.claimed {
			p.differ("sequence %d of %s is due and let through, and was not handed out", d.id.Sequence, s.opts.Name)
		}
	}
	if want := claims.next; !claims.free && !next.Equal(want) {
		p.differ("the next of %s is at %v, want %v", s.opts.Name, next, want)
	}
}

// claims is what a subscription may and must hand out.
type claims struct {
	may, must map[*modelDelivery]bool
	next      time.Time // of those that must be handed out later
	free      bool      // next is left open
}

// claims works that out. How redriven deliveries stand to live ones of their
// key is left open, so these need only be in order among themselves; a delivery
// that must be handed out has to be free in any reading.
func (s *modelSub) claims(now time.Time) claims {
	c := claims{may: map[*modelDelivery]bool{}, must: map[*modelDelivery]bool{}}
	for i, d := range s.queue {
		may := !s.ahead(d)
		must := may
		for j, o := range s.queue {
			if i == j || !s.ordered(d, o) {
				continue
			}
			if j < i && o.redriven == d.redriven {
				may = false
			}
			if j < i || o.redriven || d.redriven {
				must = false
			}
			c.free = c.free || o.redriven || d.redriven
		}
		switch due := !d.retryAt.After(now); {
		case d.claimed:
		case due:
			c.may[d] = may
			if must {
				c.must[d] = true
			}
		case must && (c.next.IsZero() || d.retryAt.Before(c.next)):
			c.next = d.retryAt
		}
	}
	return c
}

// ordered says whether two deliveries are in one order.
func (s *modelSub) ordered(a, b *modelDelivery) bool {
	if a.lane != b.lane { // a replay stands beside the live flow
		return false
	}
	switch s.opts.Order {
	case store.OrderStrict:
		return true
	case store.OrderKey:
		return a.key != 0 && a.key == b.key
	}
	return false
}

// whyNot says why a delivery should not have been handed out.
func (d *modelDelivery) whyNot() string {
	switch {
	case d == nil:
		return "it is not owed"
	case d.claimed:
		return "it is in flight"
	case d.outcome != "":
		return "it is " + d.outcome
	}
	return fmt.Sprintf("its order or its time (%v) holds it back", d.retryAt.Format(time.RFC3339Nano))
}

func (p *pairing) compareDelivery(got, want store.Delivery) {
	p.Helper()
	if got.Key != want.Key || got.Attempt != want.Attempt || got.Trigger != want.Trigger ||
		got.Redriven != want.Redriven || got.Age != want.Age {
		p.differ("%s: key %x, attempt %d, trigger %q, redriven %v, age %v; want key %x, attempt %d, trigger %q, redriven %v, age %v",
			describe(got.ID), got.Key, got.Attempt, got.Trigger, got.Redriven, got.Age,
			want.Key, want.Attempt, want.Trigger, want.Redriven, want.Age)
	}
	if !p.sameRecord(got.Record, want.Record) {
		p.differ("%s carries %s, want %s", describe(got.ID), recordText(got.Record), recordText(want.Record))
	}
}

// settle settles some of what is in flight, now and then twice or something
// that is not in flight.
func (p *pairing) settle(rng *rand.Rand) {
	var outcomes []store.Settlement
	var keep []store.Delivery
	for _, d := range p.held {
		if rng.IntN(3) == 0 {
			keep = append(keep, d)
			continue
		}
		o := p.outcome(rng, d)
		p.say("settle %s: %s", describe(d.ID), kindText(o.Kind))
		outcomes = append(outcomes, o)
		if rng.IntN(20) == 0 {
			outcomes = append(outcomes, p.done(d)) // too late
		}
	}
	p.held = keep
	if rng.IntN(10) == 0 {
		s := p.anySub(rng)
		id := store.DeliveryID{Subscription: s.engine, Bus: s.bus.engine, Sequence: 1 + uint64(rng.IntN(int(s.bus.routed)+1))}
		if m := p.modelSub(s); m == nil || m.owed[p.inModel(id)] == nil || !m.owed[p.inModel(id)].claimed {
			outcomes = append(outcomes, store.Settlement{ID: id, Kind: store.Done})
		}
	}
	p.must(p.store.Settle(p.ctx, outcomes))
	for i := range outcomes {
		outcomes[i].ID = p.inModel(outcomes[i].ID)
	}
	p.must(p.model.Settle(p.ctx, outcomes))
}

func (p *pairing) outcome(rng *rand.Rand, d store.Delivery) store.Settlement {
	switch rng.IntN(10) {
	case 0, 1:
		return p.retry(d, time.Duration(rng.IntN(90_000))*time.Millisecond)
	case 2:
		return store.Settlement{ID: d.ID, Kind: store.Retry, RetryAt: p.now().Add(time.Duration(rng.IntN(30_000)) * time.Millisecond)}
	case 3, 4:
		return p.die(d)
	case 5:
		return release(d)
	case 6:
		return store.Settlement{ID: d.ID, Kind: store.Expired}
	}
	return p.done(d)
}

func kindText(k store.OutcomeKind) string {
	return [...]string{"done", "retry", "dead", "expired", "release"}[k]
}

func sequences(ds []store.Delivery) (s []uint64) {
	for _, d := range ds {
		s = append(s, d.ID.Sequence)
	}
	return s
}
