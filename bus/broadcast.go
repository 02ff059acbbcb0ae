package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// A broadcast is a pull target of which each consumer gets every event. A
// consumer is a subscription of its own, RULE/TARGET/CONSUMER, which is made at
// its first receive and begins at the end of the bus. The router hands what
// RULE/TARGET matches to all of its consumers, so that one more costs the rules
// nothing. After a restart the consumers are those in the store.

const (
	// MaxConsumers is how many consumers one broadcast may have.
	MaxConsumers = 1000
	// ConsumerIdle is how long a consumer may stay away before it is removed,
	// with all that it is owed.
	ConsumerIdle = 7 * 24 * time.Hour
)

// Errors of broadcasts; test with errors.Is.
var (
	// ErrConsumer means that a broadcast was asked without a consumer's name.
	ErrConsumer = errors.New("the target is a broadcast, where each consumer has a name of its own; say which consumer this is")
	// ErrTooManyConsumers means that a broadcast has MaxConsumers already.
	ErrTooManyConsumers = fmt.Errorf("the broadcast has %d consumers, and more are not allowed; remove one", MaxConsumers)
)

// consumerKind is the catalogue's kind of what is kept of consumers: when each
// was last here.
const consumerKind = "system/consumers"

// How often that is written, and looked at.
const (
	seenEvery  = time.Hour
	sweepEvery = 10 * time.Minute
)

// consumerSeen is the value of such an object.
type consumerSeen struct {
	Seen time.Time `json:"seen"`
}

// consumers are the consumers of one broadcast by name. The map is never
// changed, but replaced under Engine.routing.
type consumers map[string]*subscription

// isConsumer reports whether a subscription's name is one of a consumer.
func isConsumer(name string) bool { return strings.Count(name, "/") == 2 }

// consumer finds a consumer of the broadcast s, or makes it.
func (e *Engine) consumer(ctx context.Context, s *subscription, name string) (*subscription, error) {
	if name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("subscription %q: %w", s.name, ErrConsumer)
	}
	if c := s.consumer(name); c != nil {
		return c, nil
	}
	e.applying.Lock()
	defer e.applying.Unlock()
	if c := s.consumer(name); c != nil {
		return c, nil
	}
	if e.closed.Load() || e.deliverer.isStopped() {
		return nil, ErrStopping
	}
	spec := s.spec.Load()
	if e.state.Load().subs.At(s.id) != s || spec.target.pull == nil || !spec.target.pull.Broadcast {
		return nil, notPull(s.name) // the plan changed meanwhile
	}
	all := consumers{}
	if have := s.consumers.Load(); have != nil {
		all = maps.Clone(*have)
	}
	if len(all) >= MaxConsumers {
		return nil, fmt.Errorf("subscription %q: %w", s.name, ErrTooManyConsumers)
	}
	// Between two batches of the router: what it has not read yet is above the
	// end of the bus at which the consumer begins.
	e.routing.Lock()
	defer e.routing.Unlock()
	info, err := store.OpenSubscription(ctx, e.store, store.SubscriptionOptions{Name: s.name + "/" + name, Bus: spec.bus.id, Order: spec.order})
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	c := &subscription{id: info.ID, name: info.Name, from: info.From}
	c.spec.Store(spec)
	e.deliverer.setPull(c, spec.target, true)
	all[name] = c
	e.consumers.Store(c.id, c)
	s.consumers.Store(&all)
	e.noteSeen(ctx, c.name, time.Now())
	e.log.Info("a broadcast has a new consumer", "subscription", c.name)
	return c, nil
}

// consumer is the consumer of s with this name, nil if there is none.
func (s *subscription) consumer(name string) *subscription {
	if all := s.consumers.Load(); all != nil {
		return (*all)[name]
	}
	return nil
}

// noteSeen writes when a consumer was last here. Should that fail, it is
// written the next time.
func (e *Engine) noteSeen(ctx context.Context, name string, seen time.Time) {
	value, err := json.Marshal(consumerSeen{seen.UTC()})
	if err == nil {
		_, err = e.store.PutObject(ctx, consumerKind, name, value, store.AnyVersion)
	}
	if err != nil {
		e.log.Warn("when a consumer was last here was not written", "subscription", name, "error", err)
	}
}

// openConsumers opens the consumers of the broadcasts of the rules that change
// which are in the store, of which list has all subscriptions.
func (e *Engine) openConsumers(ctx context.Context, c *planChange, list func() []store.SubscriptionInfo) error {
	plan := c.next.plan
	if !c.broadcasts() {
		return nil // listing all subscriptions takes time
	}
	var wanted []store.SubscriptionOptions
	for _, info := range list() {
		if !isConsumer(info.Name) {
			continue
		}
		rule, target := SplitSubscription(info.Name)
		r, t := c.rules[rule], plan.Targets[target]
		if p := pullOf(t); p == nil || !p.Broadcast || !r.has(target) {
			continue
		}
		wanted = append(wanted, store.SubscriptionOptions{Name: info.Name, Bus: c.next.buses[r.Bus].id, Order: t.Order})
	}
	infos, err := e.store.OpenSubscriptions(ctx, wanted)
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	for _, info := range infos {
		s := e.subscription(info.ID)
		if s == nil {
			s = &subscription{id: info.ID, name: info.Name, from: info.From}
		}
		c.consumers = append(c.consumers, s)
	}
	return nil
}

// broadcasts reports whether a rule that changes has a broadcast.
func (c *planChange) broadcasts() bool {
	for _, r := range c.rules {
		for _, target := range r.Targets {
			if pull := pullOf(c.next.plan.Targets[target]); pull != nil && pull.Broadcast {
				return true
			}
		}
	}
	return false
}

// has reports whether target is one of the rule's.
func (r RulePlan) has(target string) bool {
	for _, t := range r.Targets {
		if t == target {
			return true
		}
	}
	return false
}

// adoptConsumers makes the consumers of the rules that change the ones in force;
// the routing lock is held.
func (e *Engine) adoptConsumers(ctx context.Context, c *planChange) {
	byParent := map[*subscription]consumers{}
	kept := map[store.SubscriptionID]bool{}
	for _, s := range c.consumers {
		kept[s.id] = true
		rule, target := SplitSubscription(s.name)
		parent := c.next.named.At(rule + "/" + target)
		if byParent[parent] == nil {
			byParent[parent] = consumers{}
		}
		byParent[parent][consumerOf(s.name)] = s
		spec := parent.spec.Load()
		s.spec.Store(spec)
		known := s.pull.Load() != nil
		e.deliverer.setPull(s, spec.target, true)
		if p := s.pull.Load(); !known && p != nil {
			p.seen = e.lastSeen(ctx, s.name)
		}
		e.consumers.Store(s.id, s)
	}
	for _, s := range c.subs {
		if all, ok := byParent[s]; ok {
			s.consumers.Store(&all)
		} else if s.consumers.Load() != nil {
			s.consumers.Store(nil)
		}
	}
	e.consumers.Range(func(id, value any) bool {
		s := value.(*subscription)
		if rule, _ := SplitSubscription(s.name); !kept[s.id] && c.touches(rule) {
			e.consumers.Delete(id)
			c.end(e.deliverer.setPull(s, nil, true))
			c.gone = append(c.gone, s)
		}
		return true
	})
}

// lastSeen is when a consumer was last here, now if that is not known.
func (e *Engine) lastSeen(ctx context.Context, name string) time.Time {
	var v consumerSeen
	if o, err := e.store.GetObject(ctx, consumerKind, name); err == nil && json.Unmarshal(o.Value, &v) == nil {
		return v.Seen
	}
	return time.Now()
}

// consumerOf is the consumer's part of a subscription's name, "" if it has none.
func consumerOf(name string) string {
	if !isConsumer(name) {
		return ""
	}
	return name[strings.LastIndexByte(name, '/')+1:]
}

// RemoveConsumer removes a consumer of a broadcast, with all that it is owed
// and its dead letters. store.ErrNotFound if there is none.
func (e *Engine) RemoveConsumer(ctx context.Context, rule, target, consumer string) error {
	e.applying.Lock()
	defer e.applying.Unlock()
	return e.removeConsumer(ctx, rule+"/"+target, consumer)
}

// removeConsumer is RemoveConsumer; Engine.applying is held.
func (e *Engine) removeConsumer(ctx context.Context, parent, consumer string) error {
	s := e.state.Load().named.At(parent)
	if s == nil || s.consumer(consumer) == nil {
		return fmt.Errorf("subscription %q has no consumer %q: %w", parent, consumer, store.ErrNotFound)
	}
	c := s.consumer(consumer)
	e.routing.Lock() // no batch under way names it
	all := maps.Clone(*s.consumers.Load())
	delete(all, consumer)
	s.consumers.Store(&all)
	e.consumers.Delete(c.id)
	end := e.deliverer.setPull(c, nil, true)
	e.routing.Unlock()
	if end != nil {
		end()
	}
	err := e.store.OrphanSubscription(ctx, c.id)
	if err == nil {
		_, err = e.PurgeDead(ctx, c.id, Selection{})
	}
	if err == nil {
		err = e.store.PurgeSubscription(ctx, c.id)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("remove consumer %q of %q: %w", consumer, parent, err)
	}
	if err := e.store.DeleteObject(ctx, consumerKind, c.name, store.AnyVersion); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("remove consumer %q of %q: %w", consumer, parent, err)
	}
	return nil
}

// sweepConsumers removes the consumers that stay away and notes when the others
// were last here, until ctx is done.
func (e *Engine) sweepConsumers(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	noted := map[store.SubscriptionID]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.sweep(ctx, noted)
	}
}

// sweep is one round of sweepConsumers; noted is when each was noted to be here.
func (e *Engine) sweep(ctx context.Context, noted map[store.SubscriptionID]time.Time) {
	jumped := e.store.Stats().ClockAhead > 0 // who was seen long ago may have been seen a moment ago
	e.consumers.Range(func(_, value any) bool {
		c := value.(*subscription)
		p := c.pull.Load()
		if p == nil {
			return ctx.Err() == nil
		}
		seen, here := p.lastSeen()
		if !here && !jumped && time.Since(seen) >= ConsumerIdle {
			e.removeIdle(ctx, c, seen)
			delete(noted, c.id)
			return ctx.Err() == nil
		}
		if seen.Sub(noted[c.id]) >= seenEvery {
			noted[c.id] = seen
			e.noteSeen(ctx, c.name, seen)
		}
		return ctx.Err() == nil
	})
}

// removeIdle removes a consumer that stayed away.
func (e *Engine) removeIdle(ctx context.Context, c *subscription, seen time.Time) {
	e.applying.Lock()
	defer e.applying.Unlock()
	p := c.pull.Load()
	if p == nil {
		return
	}
	if again, here := p.lastSeen(); here || again.After(seen) { // it is back
		return
	}
	rule, target := SplitSubscription(c.name)
	depth := int64(0)
	if info, err := e.store.Subscription(c.id); err == nil {
		depth = info.Depth
	}
	if err := e.removeConsumer(ctx, rule+"/"+target, consumerOf(c.name)); err != nil {
		e.log.Error("an idle consumer was not removed", "subscription", c.name, "error", err)
		return
	}
	e.log.Warn("a consumer stayed away too long and was removed with what it was owed",
		"subscription", c.name, "last_seen", seen, "deliveries", depth)
}

// lastSeen is when a consumer was last here, and whether it is now: a poll of
// its waits, or a lease is out.
func (p *pulls) lastSeen() (seen time.Time, here bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line.Len() > 0 || len(p.leases) > 0 {
		p.seen = time.Now()
		return p.seen, true
	}
	return p.seen, false
}

// subscription finds a subscription in force by its id, consumers included.
func (e *Engine) subscription(id store.SubscriptionID) *subscription {
	if s := e.state.Load().subs.At(id); s != nil {
		return s
	}
	if c, ok := e.consumers.Load(id); ok {
		return c.(*subscription)
	}
	return nil
}

// pullers are the subscriptions that are pulled from at present.
func (e *Engine) pullers() []*subscription {
	var all []*subscription
	for _, s := range e.state.Load().subs.All() {
		if s.pull.Load() != nil {
			all = append(all, s)
		}
	}
	e.consumers.Range(func(_, value any) bool {
		if c := value.(*subscription); c.pull.Load() != nil {
			all = append(all, c)
		}
		return true
	})
	return all
}

// broadcasts reports whether s is a broadcast: its consumers get what it
// matches.
func (spec *subscriptionSpec) broadcasts() bool {
	return spec.target != nil && spec.target.pull != nil && spec.target.pull.Broadcast
}
