package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// pairing is an engine and a model that do the same. Their ids may differ: what
// the engine says is put in the model's terms before it is compared.
type pairing struct {
	*fixture // the engine
	model    *Model

	buses    []*pairedBus
	subs     []*pairedSub
	held     []store.Delivery     // claimed and not settled, in the engine's terms
	objects  map[string][2]uint64 // present versions in both
	versions map[string]uint64    // highest versions in the engine
	lastSub  store.SubscriptionID // highest id in the engine
	runs     []pairedRun
	opaque   map[place]bool // events whose traces may differ, because of a purge
	lossy    bool           // there was a crash: traces may lack
	renewed  bool           // reopened: last errors may lack
	dues     int            // makes due times distinct
	began    time.Time
	trail    []string
}

type pairedBus struct {
	name          string
	opts          store.BusOptions
	engine, model store.BusID
	routed        uint64 // up to where both were routed
	matches       map[uint64][]pairedMatch
}

// pairedMatch remembers what an event matched, for when it is routed again.
type pairedMatch struct {
	engine, model store.SubscriptionID
	key           uint64
}

type pairedSub struct {
	opts          store.SubscriptionOptions // with the engine's bus
	bus           *pairedBus
	engine, model store.SubscriptionID
}

func newPairing(f *fixture) *pairing {
	p := &pairing{
		fixture: f, model: NewModel(f.env.Clock.Now), began: f.now(),
		objects: map[string][2]uint64{}, versions: map[string]uint64{}, opaque: map[place]bool{},
	}
	for i, age := range []time.Duration{0, time.Hour, 10 * time.Minute} {
		if age > 0 {
			age += 500 * time.Microsecond // the clock moves by whole milliseconds, so no age is ever equal
		}
		b := &pairedBus{name: fmt.Sprintf("bus%d", i), opts: store.BusOptions{MaxAge: age, Table: i == 2}, matches: map[uint64][]pairedMatch{}}
		b.engine = f.busWith(b.name, b.opts)
		id, err := p.model.OpenBus(f.ctx, b.name, b.opts)
		f.must(err)
		b.model = id
		p.buses = append(p.buses, b)
		for j, order := range []store.Order{store.OrderNone, store.OrderKey, store.OrderStrict} {
			s := &pairedSub{bus: b, opts: store.SubscriptionOptions{Name: fmt.Sprintf("r%d/t%d", i, j), Bus: b.engine, Order: order}}
			p.openSub(s)
			p.subs = append(p.subs, s)
		}
	}
	return p
}

// openSub opens a subscription in both.
func (p *pairing) openSub(s *pairedSub) {
	p.Helper()
	e, err := store.OpenSubscription(p.ctx, p.store, s.opts)
	p.must(err)
	opts := s.opts
	opts.Bus = s.bus.model
	m, err := store.OpenSubscription(p.ctx, p.model, opts)
	p.must(err)
	if m.ID != s.model { // it is a new one
		if e.ID <= p.lastSub {
			p.differ("a new subscription has id %d after %d", e.ID, p.lastSub)
		}
		p.lastSub = e.ID
	}
	s.engine, s.model = e.ID, m.ID
	p.compareInfo(s, e, m)
}

// say writes what the present operation does into the trail.
func (p *pairing) say(format string, args ...any) {
	if last := len(p.trail) - 1; last >= 0 {
		if p.trail[last] != "" {
			p.trail[last] += "; "
		}
		p.trail[last] += fmt.Sprintf(format, args...)
	}
}

func (p *pairing) differ(format string, args ...any) {
	p.Helper()
	p.Fatalf(format, args...)
}

// agree wants both to have answered with the same error, as far as users can
// tell.
func (p *pairing) agree(what string, engine, model error) {
	p.Helper()
	for _, e := range []error{store.ErrNotFound, store.ErrTrimmed, store.ErrConflict} {
		if errors.Is(engine, e) != errors.Is(model, e) {
			p.differ("%s: the engine answers %v, the model %v", what, engine, model)
		}
	}
	if (engine == nil) != (model == nil) {
		p.differ("%s: the engine answers %v, the model %v", what, engine, model)
	}
}

func (p *pairing) anyBus(rng *rand.Rand) *pairedBus { return p.buses[rng.IntN(len(p.buses))] }

func (p *pairing) anySub(rng *rand.Rand) *pairedSub { return p.subs[rng.IntN(len(p.subs))] }

// inModel puts an engine's delivery id in the model's terms.
func (p *pairing) inModel(id store.DeliveryID) store.DeliveryID {
	for _, b := range p.buses {
		if b.engine == id.Bus {
			id.Bus = b.model
			break
		}
	}
	if id.Run > 0 {
		id.Run = p.run(id.Run)
	}
	for _, s := range p.subs {
		if s.engine == id.Subscription {
			id.Subscription = s.model
			return id
		}
	}
	id.Subscription = 0 // it is of a subscription that was removed
	return id
}

// inEngine puts a model's delivery id in the engine's terms.
func (p *pairing) inEngine(id store.DeliveryID) store.DeliveryID {
	for _, b := range p.buses {
		if b.model == id.Bus {
			id.Bus = b.engine
			break
		}
	}
	for _, s := range p.subs {
		if s.model == id.Subscription {
			id.Subscription = s.engine
			break
		}
	}
	for _, r := range p.runs {
		if r.model == id.Run {
			id.Run = r.engine
			break
		}
	}
	return id
}

// sameRecord compares an engine's record with the model's.
func (p *pairing) sameRecord(engine, model store.Record) bool {
	engine.Bus = p.inModel(store.DeliveryID{Bus: engine.Bus}).Bus
	return sameRecord(engine, model)
}

// modelSub is the model's side of a subscription, nil when it was removed.
func (p *pairing) modelSub(s *pairedSub) *modelSub { return p.model.state.subs[s.model] }
