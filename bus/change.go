package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// planChange is on the way from one state to the next.
type planChange struct {
	whole bool // it is a whole plan, not one rule
	next  *state
	rules map[string]RulePlan // that may differ from those in force
	// removed is the one rule that is to be removed; a whole plan removes those
	// that it does not have.
	removed string

	fresh     map[string]*target       // targets that were started for it
	subs      []*subscription          // those of rules
	owners    []string                 // of each of subs, its rule
	moved     map[*subscription]uint64 // those of subs that are of another bus now, and from where
	gone      []*subscription          // those in force that are no more
	consumers []*subscription          // those of broadcasts among subs, as they were in the store
	ends      []func()                 // to be called afterwards: they end pulls that are no more
	known     *knownVersions
}

// asking are those of the rules that the change touches, of asked in force before.
func (c *planChange) asking(old persistent.Map[string, *asked]) iter.Seq2[string, *asked] {
	if c.whole {
		return old.All()
	}
	return func(yield func(string, *asked) bool) {
		for name := range c.rules {
			if a := old.At(name); a != nil && !yield(name, a) {
				return
			}
		}
		if a := old.At(c.removed); a != nil {
			yield(c.removed, a)
		}
	}
}

// touches reports whether the change is about a rule.
func (c *planChange) touches(rule string) bool {
	_, ok := c.rules[rule]
	return ok || c.whole || rule == c.removed
}

// ChangeRule puts one rule in force in place of the one of its name; nil removes
// it. It is Apply of the plan in force with this one difference, but takes about
// as long with many rules as with few: once in a while, after many changes, the
// rules of the bus are indexed anew. If it fails, nothing changes.
func (e *Engine) ChangeRule(ctx context.Context, name string, rule *RulePlan) error {
	e.applying.Lock()
	defer e.applying.Unlock()
	if e.closed.Load() {
		return errors.New("bus: engine is closed")
	}
	old := e.state.Load()
	next := *old
	c := &planChange{next: &next}
	if _, ok := old.rules.Get(name); rule == nil && !ok {
		return nil
	}
	if rule == nil {
		c.removed = name
		next.rules = old.rules.Without(name)
	} else {
		if err := errors.Join(old.plan.checkRule(name, *rule)...); err != nil {
			return err
		}
		c.rules = map[string]RulePlan{name: *rule}
		next.rules = old.rules.With(name, *rule)
	}
	var err error
	if c.known, err = e.readVersions(ctx, c); err != nil {
		return err
	}
	if err := e.openRule(ctx, c, name); err != nil {
		return err
	}
	if err := e.swap(ctx, c); err != nil {
		return err
	}
	for _, end := range c.ends {
		end()
	}
	var infos []store.SubscriptionInfo
	for _, s := range c.gone {
		if info, err := e.store.Subscription(s.id); err == nil {
			infos = append(infos, info)
		}
	}
	err = e.orphan(ctx, infos)
	e.pressure.changed()
	if rule != nil {
		e.router.queue.add(next.buses[rule.Bus].id)
	}
	for _, s := range append(c.subs, c.consumers...) {
		e.deliverer.wake(s)
	}
	return err
}

// openRule opens the subscriptions of the one rule that changes in the store and
// brings the sets and subscriptions of the next state up to it.
func (e *Engine) openRule(ctx context.Context, c *planChange, name string) error {
	old, next := e.state.Load(), c.next
	entries, err := e.openRules(ctx, c)
	if err != nil {
		return err
	}
	stays := map[*subscription]bool{}
	for _, s := range c.subs {
		stays[s] = true
		next.subs, next.named = next.subs.With(s.id, s), next.named.With(s.name, s)
	}
	was, had := old.rules.Get(name)
	var ids []rules.ID
	for _, target := range was.Targets {
		s := old.named.At(name + "/" + target)
		ids = append(ids, rules.ID(s.id))
		if !stays[s] {
			c.gone = append(c.gone, s)
			next.subs, next.named = next.subs.Without(s.id), next.named.Without(s.name)
		}
	}
	is := c.rules[name]
	if had && was.Bus != is.Bus {
		id := next.buses[was.Bus].id
		next.sets = next.sets.With(id, old.sets.At(id).Change(ids, nil))
		ids = nil
	}
	if b := next.buses[is.Bus]; b != nil {
		next.sets = next.sets.With(b.id, old.sets.At(b.id).Change(ids, entries[is.Bus]))
	}
	return e.openConsumers(ctx, c, e.store.Subscriptions)
}

// subscriptionsTogether is how many subscriptions at most are in one piece of
// memory, which the garbage collector goes to once. One of them keeps the others
// from being freed, but these are few.
const subscriptionsTogether = 64

// openRules opens the subscriptions of the rules that change in the store, and
// makes the entries of the buses' sets.
func (e *Engine) openRules(ctx context.Context, c *planChange) (entries map[string][]rules.Entry, err error) {
	old := e.state.Load()
	total, counts := 0, map[string]int{}
	for _, r := range c.rules {
		total += len(r.Targets)
		counts[r.Bus] += len(r.Targets)
	}
	wanted := make([]store.SubscriptionOptions, 0, total)
	c.owners = make([]string, 0, total)
	for name, r := range c.rules {
		for _, target := range r.Targets {
			wanted = append(wanted, store.SubscriptionOptions{
				Name: name + "/" + target, Bus: c.next.buses[r.Bus].id, Order: c.next.plan.Targets[target].Order,
			})
			c.owners = append(c.owners, name)
		}
	}
	infos, err := e.store.OpenSubscriptions(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	entries, c.moved = map[string][]rules.Entry{}, map[*subscription]uint64{}
	for bus, n := range counts {
		entries[bus] = make([]rules.Entry, 0, n)
	}
	c.subs = make([]*subscription, 0, len(infos))
	var room []subscription
	for i, info := range infos {
		s := old.subs.At(info.ID)
		if s == nil {
			if len(room) == 0 {
				room = make([]subscription, min(subscriptionsTogether, len(infos)-i))
			}
			s, room = &room[0], room[1:]
			s.id, s.name, s.from = info.ID, info.Name, info.From
			// At a start, when nothing else works on the store, most owe nothing.
			s.dirty = old.planned || info.Depth+info.Dead > 0
		}
		c.subs = append(c.subs, s)
		r := c.rules[c.owners[i]]
		if spec := s.spec.Load(); spec != nil && spec.bus.id != c.next.buses[r.Bus].id {
			c.moved[s] = info.From
		}
		entries[r.Bus] = append(entries[r.Bus], rules.Entry{
			ID: rules.ID(info.ID), Rule: c.owners[i], Matcher: r.Matcher, ReadsData: r.Transform != nil,
		})
	}
	return entries, nil
}

// swap puts the next state in force between two routed batches. A checkpoint
// first makes what the old rules matched durable, so that a crash does not route
// it again by the new rules.
func (e *Engine) swap(ctx context.Context, c *planChange) error {
	e.routing.Lock()
	defer e.routing.Unlock()
	old, next := e.state.Load(), c.next
	if old.subs.Len() > 0 {
		if err := e.store.Checkpoint(ctx); err != nil {
			return fmt.Errorf("bus: checkpoint before the change: %w", err)
		}
	}
	if err := e.recordVersions(ctx, c); err != nil {
		return err
	}
	if c.whole {
		e.deliverer.adopt(next.plan.Targets, c.fresh)
	}
	e.deliverer.adoptAsked(c)
	e.keeper.forget(e.deliverer.inForce)
	next.targets, next.asked = e.deliverer.targets, e.deliverer.asked
	specs := make([]subscriptionSpec, len(c.subs))
	for i, s := range c.subs {
		name, spec := c.owners[i], &specs[i]
		r, target := c.rules[name], s.name[len(name)+1:]
		*spec = subscriptionSpec{
			rule: name, bus: next.buses[r.Bus], transform: r.Transform, asks: e.deliverer.asked.At(name),
			target: e.deliverer.targets[target], order: next.plan.Targets[target].Order, hideRule: r.Hide,
		}
		spec.retry = &spec.target.plan.Retry
		if r.Retry != nil {
			own := r.Retry.withDefaults()
			spec.retry = &own
		}
		s.spec.Store(spec)
		c.end(e.deliverer.setPull(s, spec.target, false))
	}
	for s, from := range c.moved {
		s.from = from
	}
	for _, s := range c.gone {
		c.end(e.deliverer.setPull(s, nil, false))
	}
	e.adoptConsumers(ctx, c)
	retireEnrichers(old, c)
	e.state.Store(next)
	return nil
}

// end notes what setPull returned.
func (c *planChange) end(end func()) {
	if end != nil {
		c.ends = append(c.ends, end)
	}
}
