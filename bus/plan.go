package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/bus/persistent"
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
	c := &planChange{whole: true, rules: plan.Rules, next: &state{planned: true}}
	plan.Rules = nil // they are in rules
	c.next.plan = plan
	var err error
	if c.fresh, err = e.deliverer.startTargets(ctx, plan.Targets); err != nil {
		return err
	}
	known := e.state.Load().subs
	var inStore []store.SubscriptionInfo
	if inStore, err = e.openAll(ctx, c); err == nil {
		err = e.swap(ctx, c)
	}
	if err != nil {
		for _, t := range c.fresh {
			t.close()
		}
		return err
	}
	for _, end := range c.ends {
		end()
	}
	err = e.orphan(ctx, inStore)
	e.pressure.changed()
	e.kick(func(s *subscription) bool { return known.At(s.id) != nil || s.mayOwe() })
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
		errs = append(errs, p.checkRule(name, r)...)
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

func (p Plan) checkRule(name string, r RulePlan) (errs []error) {
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
	return errs
}

// openAll opens the plan's buses and subscriptions in the store and compiles
// each bus's rules into a set. It returns the subscriptions that there are in the
// store.
func (e *Engine) openAll(ctx context.Context, c *planChange) ([]store.SubscriptionInfo, error) {
	plan, next := c.next.plan, c.next
	next.buses, next.byID = make(map[string]*busState, len(plan.Buses)), make(map[store.BusID]*busState, len(plan.Buses))
	for name, b := range plan.Buses {
		id, err := e.store.OpenBus(ctx, name, store.BusOptions{MaxAge: b.MaxAge, MaxBytes: b.MaxBytes, Table: b.Table})
		if err != nil {
			return nil, fmt.Errorf("bus: open bus %q: %w", name, err)
		}
		if b.MaxEventSize <= 0 {
			b.MaxEventSize = DefaultMaxEventSize
		}
		bs := &busState{name: name, id: id, plan: b}
		next.buses[name], next.byID[id] = bs, bs
	}
	old := e.state.Load()
	entries, err := e.openRules(ctx, c)
	if err != nil {
		return nil, err
	}
	// With many rules each of these takes a while, and none needs another.
	var inStore []store.SubscriptionInfo
	var parts errgroup.Group
	parts.Go(func() error {
		inStore = e.store.Subscriptions()
		return e.openConsumers(ctx, c, func() []store.SubscriptionInfo { return inStore })
	})
	parts.Go(func() (err error) {
		c.known, err = e.readVersions(ctx, c)
		return err
	})
	parts.Go(func() error {
		next.rules = persistent.Of(c.rules)
		subs := make(map[store.SubscriptionID]*subscription, len(c.subs))
		for _, s := range c.subs {
			subs[s.id] = s
		}
		next.subs = persistent.Of(subs)
		next.named = persistent.From(len(subs), func(yield func(string, *subscription) bool) {
			for _, s := range subs {
				if !yield(s.name, s) {
					return
				}
			}
		})
		for _, s := range old.subs.All() {
			if subs[s.id] == nil {
				c.gone = append(c.gone, s)
			}
		}
		return nil
	})
	sets := make(map[store.BusID]*rules.Set, len(next.buses))
	for name, b := range next.buses {
		sets[b.id] = old.sets.At(b.id).Update(entries[name])
	}
	next.sets = persistent.Of(sets)
	return inStore, parts.Wait()
}

// orphan marks those of the subscriptions in the store whose rule or target is
// not in force.
func (e *Engine) orphan(ctx context.Context, infos []store.SubscriptionInfo) error {
	var errs []error
	for _, info := range infos {
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

// Plan is the plan in force, its rules included, which takes a while when there
// are many; Rule, Rules, Buses and Targets take none. Do not change its buses
// and targets.
func (e *Engine) Plan() Plan {
	st := e.state.Load()
	plan := st.plan
	plan.Rules = maps.Collect(st.rules.All())
	return plan
}

// Buses are the buses of the plan in force, the system bus included; do not
// change them.
func (e *Engine) Buses() map[string]BusPlan { return e.state.Load().plan.Buses }

// Targets are the targets of the plan in force; do not change them.
func (e *Engine) Targets() map[string]TargetPlan { return e.state.Load().plan.Targets }

// Rule is one rule of the plan in force, and whether there is one of this name.
func (e *Engine) Rule(name string) (RulePlan, bool) { return e.state.Load().rules.Get(name) }

// Rules goes through the rules of the plan in force as it is when it begins, in
// no particular order.
func (e *Engine) Rules() iter.Seq2[string, RulePlan] { return e.state.Load().rules.All() }
