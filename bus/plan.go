package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// Plan is everything that an Engine works with, by name. Make it whole, hand
// it to Apply and do not change it afterwards.
type Plan struct {
	Buses   map[string]BusPlan
	Rules   map[string]RulePlan
	Targets map[string]TargetPlan
	Limits  Limits // on the whole server
}

// BusPlan is one bus.
type BusPlan struct {
	MaxAge       time.Duration // retention by age; 0 keeps events for ever
	MaxBytes     int64         // retention by size; 0 is unlimited
	Table        bool          // compacted: the newest event of each subject outlives retention
	Dedupe       time.Duration // dedupe window; 0 does not deduplicate
	MaxEventSize int           // bytes per event; 0 is DefaultMaxEventSize
	Limits       BusLimits     // above which publishing to it is refused
}

// DefaultMaxEventSize is a bus's limit on one event, in bytes, unless its plan
// says otherwise.
const DefaultMaxEventSize = 256 << 10

// RulePlan is one rule, compiled.
type RulePlan struct {
	Bus       string
	Matcher   *rules.Matcher
	Transform *transform.Transform // nil delivers events as they are
	Targets   []string
	Retry     *RetryPolicy // in place of its targets' own; nil leaves those
	// Enrich asks for what the transform reads beside the event; nil asks
	// nothing. One that the plan in force has goes on, with its cache; another
	// takes its place.
	Enrich *enrich.Enricher
	// EnrichFingerprint tells settings apart, for whoever makes plans; with the
	// same one, breakers of the endpoints are over a restart as they were. ""
	// keeps none.
	EnrichFingerprint string
	// Hide takes out of errors what must not be shown of the rule's settings; nil
	// leaves them.
	Hide func(text string) string
	// Definition is the rule as people see it, as JSON without secrets. The
	// engine keeps what it was before, to tell which version matched an event;
	// empty keeps nothing.
	Definition []byte
}

// TargetPlan is one target, built but not started, with its delivery policy.
type TargetPlan struct {
	Target targets.Target
	// Fingerprint tells settings apart: a target whose fingerprint is the one
	// in force goes on undisturbed and the new Target is closed unused. ""
	// always replaces.
	Fingerprint   string
	Retry         RetryPolicy
	Timeout       time.Duration // of one attempt; 0 is DefaultAttemptTimeout
	Concurrency   int           // ceiling of attempts at the same time; 0 is DefaultConcurrency
	Rate          float64       // attempts a second; 0 is unlimited
	Burst         int           // attempts that Rate lets through at once; 0 is those of a tenth of a second
	Breaker       BreakerPolicy // the zero value is none
	Batch         BatchPolicy   // for a targets.Batcher; the zero value is none
	Order         store.Order
	DeadLetterBus string // "" keeps dead letters on the subscription only
	ReplyTo       string // the bus that replies are published to; "" does not look at replies
	// Hide takes out of errors and answers what must not be shown of the target's
	// settings; nil leaves them.
	Hide func(text string) string
}

// DefaultConcurrency is a target's ceiling of attempts at the same time unless
// its plan says otherwise.
const DefaultConcurrency = 32

// DefaultAttemptTimeout bounds one attempt unless the target's plan says
// otherwise. It is the last resort: targets have timeouts of their own, of 15
// minutes at most.
const DefaultAttemptTimeout = 16 * time.Minute

// busState is a bus in force.
type busState struct {
	name string
	id   store.BusID
	plan BusPlan
	set  *rules.Set
}

// Apply makes plan the one in force. New targets are started first; if one of
// them or the store fails, nothing changes. What was matched before stays
// queued; rules apply to events routed after Apply. Buses that are gone from
// the plan keep their events and are not published to; see DropBus.
func (e *Engine) Apply(ctx context.Context, plan Plan) error {
	e.applying.Lock()
	defer e.applying.Unlock()
	if e.closed.Load() {
		return errors.New("bus: engine is closed")
	}
	plan = plan.withSystem()
	if err := plan.check(); err != nil {
		return err
	}
	next := &state{
		plan:  plan,
		buses: make(map[string]*busState, len(plan.Buses)),
		byID:  make(map[store.BusID]*busState, len(plan.Buses)),
		subs:  map[store.SubscriptionID]*subscription{},
	}
	fresh, err := e.deliverer.startTargets(ctx, plan.Targets)
	if err != nil {
		return err
	}
	if err := e.openAll(ctx, plan, next); err != nil {
		for _, t := range fresh {
			t.close()
		}
		return err
	}
	ends, err := e.swap(ctx, next, fresh)
	if err != nil {
		for _, t := range fresh {
			t.close()
		}
		return err
	}
	for _, end := range ends {
		end()
	}
	err = e.orphan(ctx)
	e.pressure.changed()
	e.kick()
	return err
}

// withSystem is the plan with the system bus in it.
func (p Plan) withSystem() Plan {
	if _, ok := p.Buses[SystemBus]; !ok {
		buses := make(map[string]BusPlan, len(p.Buses)+1)
		maps.Copy(buses, p.Buses)
		buses[SystemBus] = SystemPlan()
		p.Buses = buses
	}
	return p
}

// check refuses a plan whose names do not fit together.
func (p Plan) check() error {
	var errs []error
	for name, r := range p.Rules {
		if _, ok := p.Buses[r.Bus]; !ok {
			errs = append(errs, fmt.Errorf("bus: rule %q: there is no bus %q", name, r.Bus))
		}
		if r.Matcher == nil {
			errs = append(errs, fmt.Errorf("bus: rule %q has no matcher", name))
		}
		if err := r.checkEnrich(name); err != nil {
			errs = append(errs, err)
		}
		for _, t := range r.Targets {
			if _, ok := p.Targets[t]; !ok {
				errs = append(errs, fmt.Errorf("bus: rule %q: there is no target %q", name, t))
			}
		}
	}
	for name, t := range p.Targets {
		if t.Target == nil {
			errs = append(errs, fmt.Errorf("bus: target %q is not built", name))
		}
		if _, ok := p.Buses[t.DeadLetterBus]; t.DeadLetterBus != "" && !ok {
			errs = append(errs, fmt.Errorf("bus: target %q: there is no bus %q for its dead letters", name, t.DeadLetterBus))
		}
		if _, ok := p.Buses[t.ReplyTo]; t.ReplyTo != "" && !ok {
			errs = append(errs, fmt.Errorf("bus: target %q: there is no bus %q for its replies", name, t.ReplyTo))
		}
	}
	return errors.Join(errs...)
}

// openAll opens the plan's buses and subscriptions in the store and compiles
// each bus's rules into a set.
func (e *Engine) openAll(ctx context.Context, plan Plan, next *state) error {
	entries := map[string][]rules.Entry{}
	for name, b := range plan.Buses {
		id, err := e.store.OpenBus(ctx, name, store.BusOptions{MaxAge: b.MaxAge, MaxBytes: b.MaxBytes, Table: b.Table})
		if err != nil {
			return fmt.Errorf("bus: open bus %q: %w", name, err)
		}
		if b.MaxEventSize <= 0 {
			b.MaxEventSize = DefaultMaxEventSize
		}
		bs := &busState{name: name, id: id, plan: b}
		next.buses[name], next.byID[id] = bs, bs
	}
	old := e.state.Load()
	var wanted []store.SubscriptionOptions
	var owners []string // of each, its rule
	for name, r := range plan.Rules {
		for _, target := range r.Targets {
			wanted = append(wanted, store.SubscriptionOptions{
				Name: name + "/" + target, Bus: next.buses[r.Bus].id, Order: plan.Targets[target].Order,
			})
			owners = append(owners, name)
		}
	}
	infos, err := e.store.OpenSubscriptions(ctx, wanted)
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	for i, info := range infos {
		s := old.subs[info.ID]
		if s == nil {
			s = &subscription{id: info.ID, name: info.Name, from: info.From}
		}
		next.subs[info.ID] = s
		r := plan.Rules[owners[i]]
		entries[r.Bus] = append(entries[r.Bus], rules.Entry{
			ID: rules.ID(info.ID), Rule: owners[i], Matcher: r.Matcher, ReadsData: r.Transform != nil,
		})
	}
	for name, b := range next.buses {
		var before *rules.Set
		if was := old.byID[b.id]; was != nil {
			before = was.set
		}
		b.set = before.Update(entries[name])
	}
	return e.openConsumers(ctx, plan, next)
}

// swap puts next in force between two routed batches. A checkpoint first makes
// what the old rules matched durable, so that a crash does not route it again
// by the new rules. What it returns is to be called afterwards: it ends pulls
// that the plan has no more.
func (e *Engine) swap(ctx context.Context, next *state, fresh map[string]*target) (ends []func(), err error) {
	e.routing.Lock()
	defer e.routing.Unlock()
	old := e.state.Load()
	if len(old.subs) > 0 {
		if err := e.store.Checkpoint(ctx); err != nil {
			return nil, fmt.Errorf("bus: checkpoint before the change: %w", err)
		}
	}
	if err := e.recordVersions(ctx, next); err != nil {
		return nil, err
	}
	e.deliverer.adopt(next.plan.Targets, fresh)
	e.deliverer.adoptAsked(next.plan.Rules)
	e.keeper.forget(e.deliverer.inForce)
	next.targets, next.asked = e.deliverer.targets, e.deliverer.asked
	next.named = make(map[string]*subscription, len(next.subs))
	for _, s := range next.subs {
		next.named[s.name] = s
	}
	end := func(s *subscription, t *target) {
		if f := e.deliverer.setPull(s, t, false); f != nil {
			ends = append(ends, f)
		}
	}
	for name, r := range next.plan.Rules {
		for _, target := range r.Targets {
			s := next.named[name+"/"+target]
			spec := &subscriptionSpec{
				rule: name, bus: next.buses[r.Bus], transform: r.Transform, asks: e.deliverer.asked[name],
				target: e.deliverer.targets[target], order: next.plan.Targets[target].Order,
			}
			spec.retry, spec.hideRule = spec.target.plan.Retry, r.Hide
			if r.Retry != nil {
				spec.retry = r.Retry.withDefaults()
			}
			s.spec.Store(spec)
			end(s, e.deliverer.targets[target])
		}
	}
	for id, s := range old.subs {
		if next.subs[id] == nil {
			end(s, nil)
		}
	}
	ends = append(ends, e.adoptConsumers(ctx, next)...)
	retireEnrichers(old.plan, next.plan)
	e.state.Store(next)
	return ends, nil
}

// orphan marks the subscriptions in the store whose rule or target is not in
// force.
func (e *Engine) orphan(ctx context.Context) error {
	var errs []error
	for _, info := range e.store.Subscriptions() {
		if e.subscription(info.ID) != nil || info.Orphaned {
			continue
		}
		if err := e.store.OrphanSubscription(ctx, info.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			errs = append(errs, fmt.Errorf("bus: subscription %q: %w", info.Name, err))
		}
		if info.Depth+info.Dead > 0 {
			e.log.Warn("a subscription has lost its rule or target; what it owes is kept until it is purged or the name returns",
				"subscription", info.Name, "deliveries", info.Depth, "dead_letters", info.Dead)
		}
	}
	return errors.Join(errs...)
}

// DropBus removes the events of a bus that the plan in force no longer has. It
// is not an error if the store has no such bus.
func (e *Engine) DropBus(ctx context.Context, name string) error {
	e.applying.Lock()
	defer e.applying.Unlock()
	if _, ok := e.state.Load().buses[name]; ok {
		return fmt.Errorf("bus: bus %q is in use", name)
	}
	id, err := e.store.OpenBus(ctx, name, store.BusOptions{})
	if err != nil {
		return err
	}
	if err := e.store.DropBus(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	e.router.forget(id)
	return nil
}

// Plan is the plan in force; do not change it.
func (e *Engine) Plan() Plan { return e.state.Load().plan }
