package storetest

import (
	"math/rand/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// This file has the operations of a pairing that are about replays and seeks.

// pairedRun is a replay or a seek that queues again.
type pairedRun struct {
	bus           *pairedBus
	engine, model uint32
}

// run puts the number of an engine's replay in the model's terms; one that the
// model does not have is none of its own either.
func (p *pairing) run(engine uint32) uint32 {
	for _, r := range p.runs {
		if r.engine == engine {
			return r.model
		}
	}
	return ^uint32(0)
}

// openReplay begins a replay of a part of a bus to some subscriptions.
func (p *pairing) openReplay(rng *rand.Rand) {
	b := p.anyBus(rng)
	bounds := p.bounds(b.engine)
	if bounds.Last == 0 {
		return
	}
	after := uint64(rng.IntN(int(bounds.Last)))
	to := after + 1 + uint64(rng.IntN(int(bounds.Last-after)))
	engine := store.ReplayOptions{Bus: b.engine, After: after, To: to}
	model := store.ReplayOptions{Bus: b.model, After: after, To: to}
	for _, s := range p.subs {
		if m := p.modelSub(s); m != nil && s.bus == b && rng.IntN(2) == 0 {
			engine.Subscriptions = append(engine.Subscriptions, s.engine)
			model.Subscriptions = append(model.Subscriptions, s.model)
		}
	}
	p.say("replay %d to %d of %s to %d subscriptions", after+1, to, b.name, len(engine.Subscriptions))
	r := pairedRun{bus: b}
	var err error
	r.engine, err = p.store.OpenReplay(p.ctx, engine)
	p.must(err)
	r.model, err = p.model.OpenReplay(p.ctx, model)
	p.must(err)
	p.newRun(r)
}

func (p *pairing) newRun(r pairedRun) {
	for _, o := range p.runs {
		if r.engine == 0 || o.engine == r.engine {
			p.differ("a new replay has the number %d again", r.engine)
		}
	}
	p.runs = append(p.runs, r)
}

// feedReplay queues some more for some parts of a replay, from the place of one
// of them. What an event matches follows from its sequence.
func (p *pairing) feedReplay(rng *rand.Rand) {
	if len(p.runs) == 0 {
		return
	}
	r := p.runs[max(len(p.runs)-5, rng.IntN(len(p.runs)))]
	parts, err := p.model.Replay(r.model)
	if err != nil {
		return
	}
	first := parts[rng.IntN(len(parts))]
	position := min(first.To, first.Position+uint64(rng.IntN(8)))
	var engine, model []store.SubscriptionID
	for _, s := range p.subs {
		for _, part := range parts {
			if s.model == part.Subscription && (part == first || part.Position >= first.Position && part.Position < position) {
				engine, model = append(engine, s.engine), append(model, s.model)
			}
		}
	}
	p.say("feed run %d to %d, %d subscriptions", r.model, position, len(engine))
	feed := func(s store.Store, run uint32, bus store.BusID, subs []store.SubscriptionID) {
		records, err := s.Read(p.ctx, bus, first.Position+1, int(position-first.Position), 1<<30, nil)
		p.must(err)
		var events []store.RoutedEvent
		for _, rec := range records {
			rng := rand.New(rand.NewPCG(rec.Sequence, uint64(r.model)))
			e := store.RoutedEvent{Record: rec}
			for i := range subs {
				if rng.IntN(3) > 0 && rec.Sequence <= position {
					e.Matches = append(e.Matches, store.Routed{Subscription: subs[i], Key: uint64(rng.IntN(3))})
				}
			}
			events = append(events, e)
		}
		p.must(s.EnqueueReplay(p.ctx, run, position, subs, events))
	}
	feed(p.store, r.engine, r.bus.engine, engine)
	feed(p.model, r.model, r.bus.model, model)
}

// dropReplay ends a replay, or its part of one subscription.
func (p *pairing) dropReplay(rng *rand.Rand) {
	if len(p.runs) == 0 {
		return
	}
	r := p.runs[rng.IntN(len(p.runs))]
	var engine, model []store.SubscriptionID
	if s := p.anySub(rng); rng.IntN(2) == 0 && p.modelSub(s) != nil {
		engine, model = []store.SubscriptionID{s.engine}, []store.SubscriptionID{s.model}
	}
	p.say("drop run %d for %v", r.model, model)
	for _, s := range p.model.state.subs {
		p.blur(s, func(d *modelDelivery) bool { return d.id.Run == r.model })
	}
	got, err := p.store.DropReplay(p.ctx, r.engine, engine)
	p.must(err)
	want, err := p.model.DropReplay(p.ctx, r.model, model)
	p.must(err)
	if got != want {
		p.differ("%d deliveries were dropped, want %d", got, want)
	}
}

// blur notes that the traces of queued deliveries may differ from now on.
func (p *pairing) blur(s *modelSub, which func(*modelDelivery) bool) {
	for _, d := range s.queue {
		if which(d) {
			p.opaque[place{d.id.Bus, d.id.Sequence}] = true
		}
	}
}

// seek moves a subscription.
func (p *pairing) seek(rng *rand.Rand) {
	s := p.anySub(rng)
	m := p.modelSub(s)
	if m == nil || m.orphaned {
		return
	}
	bounds := p.bounds(s.bus.engine)
	to := bounds.First + uint64(rng.IntN(int(bounds.Last+2-bounds.First)))
	p.say("seek %s to %d", s.opts.Name, to)
	p.blur(m, func(*modelDelivery) bool { return true })
	got, err := p.store.Seek(p.ctx, s.engine, store.SeekOptions{To: to, Routed: s.bus.routed})
	p.must(err)
	want, err := p.model.Seek(p.ctx, s.model, store.SeekOptions{To: to, Routed: s.bus.routed})
	p.must(err)
	if got.Dropped != want.Dropped || got.From != want.From || (got.Run == 0) != (want.Run == 0) {
		p.differ("a seek of %s did %+v, want %+v", s.opts.Name, got, want)
	}
	if want.Run > 0 {
		p.newRun(pairedRun{s.bus, got.Run, want.Run})
	}
}

func (p *pairing) compareReplay(r pairedRun) {
	got, errGot := p.store.Replay(r.engine)
	want, errWant := p.model.Replay(r.model)
	p.agree("the parts of a replay", errGot, errWant)
	if len(got) != len(want) {
		p.differ("run %d has %d parts, want %d", r.model, len(got), len(want))
	}
	for i, part := range got {
		id := p.inModel(store.DeliveryID{Subscription: part.Subscription, Bus: part.Bus})
		if part.Subscription, part.Bus = id.Subscription, id.Bus; part != want[i] {
			p.differ("run %d: part %+v, want %+v", r.model, part, want[i])
		}
	}
}
