package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// This file has the operations of a pairing, but for claims and settlements.

// moveDead is Redrive or PurgeDead.
type moveDead func(s store.Store, ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error)

// publish appends a batch, with duplicates and scheduled events among it. An
// event's window follows from its id, since what windows that differ mean for
// each other is left open.
func (p *pairing) publish(rng *rand.Rand) {
	var batch []store.Entry
	for range 1 + rng.IntN(4) {
		b := p.anyBus(rng)
		n := rng.IntN(120)
		e := sizedEntry(p, b.engine, fmt.Sprintf("e%d", n), rng.IntN(200))
		if b.opts.Table { // subjects that come again, at times without data, or none
			subject, data := fmt.Sprintf("s%d", rng.IntN(20)), fmt.Sprintf(`{"n":%d}`, rng.IntN(1000))
			switch rng.IntN(10) {
			case 0:
				subject = ""
			case 1:
				data = ""
			}
			e.Event = about(p, b.engine, fmt.Sprintf("e%d", n), subject, data).Event
		}
		e.Via, e.Hops = fmt.Sprintf("source/%d", n), uint8(n)
		e.Window = []time.Duration{0, 10*time.Minute + 500*time.Microsecond, 5000 * time.Hour}[n%3]
		when := ""
		if n%3 != 1 && rng.IntN(6) == 0 {
			p.dues++
			after := time.Duration(rng.IntN(3600))*time.Second + time.Duration(p.dues)*time.Nanosecond
			e.Due, when = p.now().Add(time.Millisecond+after), fmt.Sprintf(" due in %v", after)
			if rng.IntN(4) == 0 {
				e.Due, when = p.now().Add(-after), " already due"
			}
		}
		p.say("append %s to %s%s", e.Event.ID(), b.name, when)
		batch = append(batch, e)
	}
	p.appendBoth(batch)
}

// appendBoth appends a batch, whose buses are the engine's, to both.
func (p *pairing) appendBoth(batch []store.Entry) {
	got, err := p.store.Append(p.ctx, batch)
	p.must(err)
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].Bus = p.inModel(store.DeliveryID{Bus: batch[i].Bus}).Bus
	}
	want, err := p.model.Append(p.ctx, batch)
	p.must(err)
	if len(got) != len(want) {
		p.differ("append of %d gave %d results", len(want), len(got))
	}
	for i := range want {
		if got[i].Duplicate && want[i].Duplicate {
			got[i].Scheduled = want[i].Scheduled // left open
		}
		if got[i] != want[i] {
			p.differ("append of %s: result %+v, want %+v", batch[i].Event.ID(), got[i], want[i])
		}
	}
}

// routeSome routes some events of a bus, in both.
func (p *pairing) routeSome(rng *rand.Rand) {
	b := p.anyBus(rng)
	left := p.bounds(b.engine).Last - b.routed
	p.route(b, b.routed+uint64(rng.IntN(int(left)+1)))
}

func (p *pairing) routeAll() {
	for _, b := range p.buses {
		p.route(b, p.bounds(b.engine).Last)
	}
}

// route routes a bus up to a sequence. What an event matches follows from its
// sequence, is decided when it is routed first and remembered.
func (p *pairing) route(b *pairedBus, to uint64) {
	if to > b.routed {
		p.say("route %s to %d", b.name, to)
	}
	for s := b.routed + 1; s <= to; s++ {
		rng := rand.New(rand.NewPCG(s, uint64(b.model)))
		for _, sub := range p.subs {
			key := []uint64{0, 0x9E3779B97F4A7C15, 2, 3, 4}[rng.IntN(5)]
			m := p.modelSub(sub)
			if rng.IntN(2) == 0 && sub.bus == b && m != nil && !m.orphaned && s > m.from {
				b.matches[s] = append(b.matches[s], pairedMatch{sub.engine, sub.model, key})
			}
		}
	}
	b.routed = max(b.routed, to)
	p.enqueue(b, p.store, b.engine, func(m pairedMatch) store.SubscriptionID { return m.engine })
	p.enqueue(b, p.model, b.model, func(m pairedMatch) store.SubscriptionID { return m.model })
}

// enqueue brings one of the two to where both are to be routed.
func (p *pairing) enqueue(b *pairedBus, s store.Store, id store.BusID, sub func(pairedMatch) store.SubscriptionID) {
	position := s.Position(id)
	if position > b.routed {
		p.differ("the position of %s is %d, it was routed to %d", b.name, position, b.routed)
	}
	if position == b.routed {
		return
	}
	records, err := s.Read(p.ctx, id, position+1, int(b.routed-position), 1<<30, nil)
	p.must(err)
	var events []store.RoutedEvent
	for _, r := range records {
		e := store.RoutedEvent{Record: r}
		for _, m := range b.matches[r.Sequence] {
			e.Matches = append(e.Matches, store.Routed{Subscription: sub(m), Key: m.key})
		}
		if r.Sequence <= b.routed {
			events = append(events, e)
		}
	}
	p.must(s.Enqueue(p.ctx, id, b.routed, events))
}

// advance moves the clock, after routing all, so that no delivery is due later
// than its event was recorded, and lets what falls due be recorded.
func (p *pairing) advance(rng *rand.Rand) {
	p.routeAll()
	by := time.Duration(1+rng.IntN(30_000)) * time.Millisecond
	if rng.IntN(10) == 0 && p.now().Sub(p.began) < 20*24*time.Hour {
		by = time.Duration(1+rng.IntN(7200)) * time.Second
	}
	p.say("advance %v", by)
	p.fixture.advance(by)
	p.model.Tick()
	for _, b := range p.buses {
		want, err := p.model.Bounds(b.model)
		p.must(err)
		p.eventually(fmt.Sprintf("%s ends at %d", b.name, want.Last), func() bool { return p.bounds(b.engine).Last >= want.Last })
	}
	p.must(p.store.Trim(p.ctx))
}

func (p *pairing) trim(*rand.Rand) {
	p.routeAll()
	p.say("trim")
	p.must(p.store.Trim(p.ctx))
	p.must(p.model.Trim(p.ctx))
}

// switchTable begins or drops the table of a bus. Retention, which finishes it
// in an engine, is applied in both.
func (p *pairing) switchTable(rng *rand.Rand) {
	p.routeAll()
	b := p.anyBus(rng)
	b.opts.Table = !b.opts.Table
	p.say("table of %s: %v", b.name, b.opts.Table)
	p.busWith(b.name, b.opts)
	_, err := p.model.OpenBus(p.ctx, b.name, b.opts)
	p.must(err)
	p.must(p.store.Trim(p.ctx))
	p.must(p.model.Trim(p.ctx))
}

func (p *pairing) checkpoint(*rand.Rand) {
	p.say("checkpoint")
	p.must(p.store.Checkpoint(p.ctx))
}

func (p *pairing) reopen(*rand.Rand) {
	p.env.hooks.mu.Lock()
	once := p.env.hooks.onlyOnce
	p.env.hooks.mu.Unlock()
	if once {
		return
	}
	p.say("reopen")
	p.fixture.reopen()
	p.begin()
}

// crash crashes right after a checkpoint, when all that is known is durable.
func (p *pairing) crash(*rand.Rand) {
	if !p.canCrash() {
		return
	}
	p.say("checkpoint and crash")
	p.must(p.store.Checkpoint(p.ctx))
	p.fixture.crash()
	p.lossy = true
	p.begin()
}

// begin does what a process does after its start: open everything again, route
// from the position.
func (p *pairing) begin() {
	p.held, p.renewed = nil, true
	p.model = p.model.Reopen()
	for _, b := range p.buses {
		if id := p.busWith(b.name, b.opts); id != b.engine {
			p.differ("%s has id %d after reopening, had %d", b.name, id, b.engine)
		}
		p.route(b, b.routed)
	}
}

func (p *pairing) pauseOrResume(rng *rand.Rand) {
	s := p.anySub(rng)
	m := p.modelSub(s)
	if m == nil {
		return
	}
	if m.paused {
		p.say("resume %s", s.opts.Name)
		p.must(p.store.Resume(p.ctx, s.engine))
		p.must(p.model.Resume(p.ctx, s.model))
		return
	}
	p.say("pause %s", s.opts.Name)
	p.must(p.store.Pause(p.ctx, s.engine, "by hand"))
	p.must(p.model.Pause(p.ctx, s.model, "by hand"))
}

// orphanOrAdopt does not orphan a subscription with deliveries in flight: what
// becomes of it when the last of them is settled is left open.
func (p *pairing) orphanOrAdopt(rng *rand.Rand) {
	s := p.anySub(rng)
	m := p.modelSub(s)
	switch {
	case m == nil || m.orphaned:
		p.say("open %s again", s.opts.Name)
		p.openSub(s)
	case m.info().InFlight == 0:
		p.say("orphan %s", s.opts.Name)
		p.must(p.store.OrphanSubscription(p.ctx, s.engine))
		p.must(p.model.OrphanSubscription(p.ctx, s.model))
	}
}

func (p *pairing) purge(rng *rand.Rand) {
	s := p.anySub(rng)
	m := p.modelSub(s)
	if m == nil {
		return
	}
	p.say("purge %s", s.opts.Name)
	for _, d := range m.queue {
		p.opaque[place{d.id.Bus, d.id.Sequence}] = true
	}
	p.must(p.store.PurgeSubscription(p.ctx, s.engine))
	p.must(p.model.PurgeSubscription(p.ctx, s.model))
}

func (p *pairing) redrive(rng *rand.Rand) { p.moveDead(rng, "redrive", store.Store.Redrive) }

// purgeDead leaves orphans alone: whether one ends with its last letter is left
// open.
func (p *pairing) purgeDead(rng *rand.Rand) { p.moveDead(rng, "purge dead", store.Store.PurgeDead) }

func (p *pairing) moveDead(rng *rand.Rand, name string, do moveDead) {
	s := p.anySub(rng)
	m := p.modelSub(s)
	if m == nil || m.orphaned {
		return
	}
	model := []store.DeliveryID{{Subscription: s.model, Bus: s.bus.model, Sequence: 1 << 40}}
	for _, d := range m.dead {
		if rng.IntN(2) == 0 {
			model = append(model, d.id)
			if name != "redrive" {
				p.opaque[place{d.id.Bus, d.id.Sequence}] = true
			}
		}
	}
	rng.Shuffle(len(model), func(i, j int) { model[i], model[j] = model[j], model[i] })
	var engine []store.DeliveryID
	for _, id := range model {
		engine = append(engine, p.inEngine(id))
	}
	p.say("%s %d letters of %s", name, len(model)-1, s.opts.Name)
	got, err := do(p.store, p.ctx, s.engine, engine)
	p.must(err)
	want, err := do(p.model, p.ctx, s.model, model)
	p.must(err)
	if got != want {
		p.differ("%s of %s moved %d, want %d", name, s.opts.Name, got, want)
	}
}

// cancel cancels a scheduled event and, at times, publishes it again.
func (p *pairing) cancel(rng *rand.Rand) {
	b := p.anyBus(rng)
	waiting := p.model.state.buses[b.model].waiting
	var e store.Entry
	id := "none"
	if len(waiting) > 0 {
		e = waiting[rng.IntN(len(waiting))].entry
		id = e.Event.ID()
	}
	p.say("cancel %s on %s", id, b.name)
	p.agree("cancel", p.store.CancelScheduled(p.ctx, b.engine, "/shop", id), p.model.CancelScheduled(p.ctx, b.model, "/shop", id))
	if e.Event != nil && rng.IntN(2) == 0 {
		p.say("append %s to %s again", id, b.name)
		e.Due, e.Bus = time.Time{}, b.engine
		p.appendBoth([]store.Entry{e})
	}
}

// object writes or deletes an object, at times with a wrong version.
func (p *pairing) object(rng *rand.Rand) {
	name := fmt.Sprintf("o%d", rng.IntN(4))
	versions := p.objects[name]
	switch rng.IntN(4) {
	case 0:
		versions[0]++
		versions[1]++
	case 1:
		versions = [2]uint64{store.AnyVersion, store.AnyVersion}
	}
	if rng.IntN(4) == 0 {
		p.say("delete object %s", name)
		engine, model := p.store.DeleteObject(p.ctx, "kind", name, versions[0]), p.model.DeleteObject(p.ctx, "kind", name, versions[1])
		p.agree("delete object", engine, model)
		if model == nil {
			delete(p.objects, name)
		}
		return
	}
	p.say("put object %s", name)
	value := fmt.Appendf(nil, "value %d", rng.IntN(1000))
	v, engine := p.store.PutObject(p.ctx, "kind", name, value, versions[0])
	w, model := p.model.PutObject(p.ctx, "kind", name, value, versions[1])
	p.agree("put object", engine, model)
	if model == nil {
		if p.versions[name] >= v {
			p.differ("object %s has version %d after %d", name, v, p.versions[name])
		}
		p.objects[name], p.versions[name] = [2]uint64{v, w}, v
	}
}
