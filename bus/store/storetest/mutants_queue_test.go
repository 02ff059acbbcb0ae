package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// settlements changes each outcome; those for which change is false are passed
// over.
func (b *broken) settlements(change func(o *store.Settlement) bool) {
	b.settle = func(ctx context.Context, outcomes []store.Settlement) error {
		var changed []store.Settlement
		for _, o := range outcomes {
			if change(&o) {
				changed = append(changed, o)
			}
		}
		return b.Model.Settle(ctx, changed)
	}
}

// deliveries changes each delivery that is claimed.
func (b *broken) deliveries(change func(d *store.Delivery)) {
	b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
		n := len(dst)
		dst, next, err := b.Model.Claim(ctx, sub, now, most, dst)
		for i := n; i < len(dst); i++ {
			change(&dst[i])
		}
		return dst, next, err
	}
}

// ordering makes each subscription's order another one.
func (b *broken) ordering(change func(store.Order) store.Order) {
	b.openSub = func(ctx context.Context, opts store.SubscriptionOptions) (store.SubscriptionInfo, error) {
		opts.Order = change(opts.Order)
		return store.OpenSubscription(ctx, b.Model, opts)
	}
}

// after runs f on the state when the method of a subscription was called.
func (b *broken) after(method func(context.Context, store.SubscriptionID) error, f func(s *modelState)) func(context.Context, store.SubscriptionID) error {
	return func(ctx context.Context, sub store.SubscriptionID) error {
		err := method(ctx, sub)
		if err == nil {
			b.locked(f)
		}
		return err
	}
}

// everySub calls f for each subscription.
func everySub(f func(*modelSub)) func(*modelState) {
	return func(s *modelState) {
		for _, sub := range s.subs {
			f(sub)
		}
	}
}

// dropFresh lets the deliveries go that were never put off, as if they had been
// in memory only although the position has passed them.
func dropFresh(sub *modelSub) {
	sub.queue = slices.DeleteFunc(sub.queue, func(d *modelDelivery) bool {
		drop := d.retryAt.IsZero()
		if drop {
			delete(sub.owed, d.id)
		}
		return drop
	})
}

// dropQueue lets the whole queue go.
func dropQueue(sub *modelSub) {
	for _, d := range sub.queue {
		delete(sub.owed, d.id)
	}
	sub.queue = nil
}

// dropClaimed lets what is in flight go.
func dropClaimed(sub *modelSub) {
	sub.queue = slices.DeleteFunc(sub.queue, func(d *modelDelivery) bool {
		if d.claimed {
			delete(sub.owed, d.id)
		}
		return d.claimed
	})
}

// restart routes everything again, as if nothing of the queues had been kept.
func restart(s *modelState) {
	for _, sub := range s.subs {
		dropQueue(sub)
	}
	for _, b := range s.buses {
		b.position = 0
	}
}

func queueMutants() []mutant {
	return []mutant{
		{"loses a delivery", func(b *broken) {
			b.enqueue = func(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
				if len(events) > 1 {
					events = events[1:]
				}
				return b.Model.Enqueue(ctx, bus, position, events)
			}
		}},
		{"gives each event to all subscriptions", func(b *broken) {
			b.enqueue = func(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
				events = slices.Clone(events)
				for i := range events {
					for _, s := range b.Model.Subscriptions() {
						events[i].Matches = append(slices.Clone(events[i].Matches), store.Routed{Subscription: s.ID})
					}
				}
				return b.Model.Enqueue(ctx, bus, position, events)
			}
		}},
		{"fails on a match of a subscription that is gone", func(b *broken) {
			b.enqueue = func(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
				for _, e := range events {
					for _, m := range e.Matches {
						if _, err := b.Model.Subscription(m.Subscription); err != nil {
							return err
						}
					}
				}
				return b.Model.Enqueue(ctx, bus, position, events)
			}
		}},
		{"queues a match twice", func(b *broken) {
			b.enqueue = func(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
				b.locked(everySub(func(s *modelSub) { clear(s.owed) }))
				return b.Model.Enqueue(ctx, bus, position, events)
			}
		}},
		{"does not move the position", func(b *broken) {
			b.enqueue = func(ctx context.Context, bus store.BusID, _ uint64, events []store.RoutedEvent) error {
				return b.Model.Enqueue(ctx, bus, 0, events)
			}
		}},
		{"hands out a delivery twice", func(b *broken) {
			n := 0
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				b.locked(everySub(func(s *modelSub) {
					if n++; n%3 == 0 && len(s.queue) > 0 {
						s.queue[0].claimed = false
					}
				}))
				return b.Model.Claim(ctx, sub, now, most, dst)
			}
		}},
		{"hands out again what is in flight for an hour", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				b.locked(everySub(func(s *modelSub) {
					for _, d := range s.queue {
						if now.Sub(d.due) > time.Hour {
							d.claimed = false
						}
					}
				}))
				return b.Model.Claim(ctx, sub, now, most, dst)
			}
		}},
		{"hands out again what is being settled", func(b *broken) {
			b.settle = func(ctx context.Context, outcomes []store.Settlement) error {
				for _, o := range outcomes {
					if o.Kind == store.Done && o.ID.Sequence%20 == 0 {
						o.Kind = store.Release
						return b.Model.Settle(ctx, []store.Settlement{o})
					}
				}
				return b.Model.Settle(ctx, outcomes)
			}
		}},
		{"claims more than it is asked for", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				return b.Model.Claim(ctx, sub, now, most+1, dst)
			}
		}},
		{"claims over what it is given", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				return b.Model.Claim(ctx, sub, now, most, dst[:0])
			}
		}},
		{"forgets the end of a long queue", func(b *broken) {
			b.enqueue = func(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
				err := b.Model.Enqueue(ctx, bus, position, events)
				b.locked(everySub(func(s *modelSub) { s.queue = s.queue[:min(len(s.queue), 1000)] }))
				return err
			}
		}},
		{"hands out a long queue from the front again", func(b *broken) {
			b.close = func() error {
				b.locked(func(s *modelState) {
					for _, sub := range s.subs {
						if len(sub.queue) > 1000 {
							sub.queue = append(sub.queue, sub.queue[0])
						}
					}
				})
				return b.Model.Close()
			}
		}},
		{"does not find subscriptions wrongly", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				ds, next, err := b.Model.Claim(ctx, sub, now, most, dst)
				if errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				return ds, next, err
			}
		}},
		{"ignores expired outcomes", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				if o.Kind == store.Expired {
					o.Kind = store.Release
				}
				return true
			})
		}},
		{"ignores what is done", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				if o.Kind == store.Done {
					o.Kind = store.Release
				}
				return true
			})
		}},
		{"retries at once", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool { o.RetryAt = time.Time{}; return true })
		}},
		{"retries by the full minute", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool { o.RetryAt = o.RetryAt.Truncate(time.Minute); return true })
		}},
		{"retries never", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool { return o.Kind != store.Retry })
		}},
		{"does not say when the next is due", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				ds, _, err := b.Model.Claim(ctx, sub, now, most, dst)
				return ds, time.Time{}, err
			}
		}},
		{"forgets attempts", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool { o.Attempt = nil; return true })
		}},
		{"counts attempts that were not made", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				if o.Attempt == nil {
					o.Attempt = &store.Attempt{}
				}
				return true
			})
		}},
		{"takes every attempt for the first", func(b *broken) { b.deliveries(func(d *store.Delivery) { d.Trigger = store.TriggerFirst }) }},
		{"counts a release as a retry", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				if o.Kind == store.Release {
					o.Kind, o.Attempt = store.Retry, &store.Attempt{}
				}
				return true
			})
		}},
		{"settles what is not claimed", func(b *broken) {
			b.settle = func(ctx context.Context, outcomes []store.Settlement) error {
				b.locked(everySub(func(s *modelSub) {
					for _, d := range s.queue {
						d.claimed = true
					}
				}))
				return b.Model.Settle(ctx, outcomes)
			}
		}},
		{"gives another record to a delivery", func(b *broken) { b.deliveries(func(d *store.Delivery) { d.Record.Via = "" }) }},
		{"gives no key to a delivery", func(b *broken) { b.deliveries(func(d *store.Delivery) { d.Key = 0 }) }},
		{"counts wrong", func(b *broken) {
			b.sub = func(sub store.SubscriptionID) (store.SubscriptionInfo, error) {
				i, err := b.Model.Subscription(sub)
				i.Depth -= i.InFlight
				return i, err
			}
		}},
		{"shows no last error", func(b *broken) {
			b.sub = func(sub store.SubscriptionID) (store.SubscriptionInfo, error) {
				i, err := b.Model.Subscription(sub)
				i.LastError = ""
				return i, err
			}
		}},
		{"lets the position pass what is unsettled, seen after reopening", func(b *broken) {
			b.close = func() error { b.locked(everySub(dropFresh)); return b.Model.Close() }
		}},
		{"lets the position pass what is unsettled, seen after a crash", func(b *broken) {
			b.lose = func() { b.locked(everySub(dropFresh)) }
		}},
		{"forgets what is in flight when it is closed", func(b *broken) {
			b.close = func() error { b.locked(everySub(dropClaimed)); return b.Model.Close() }
		}},
		{"forgets what is in flight in a crash", func(b *broken) { b.lose = func() { b.locked(everySub(dropClaimed)) } }},
		{"repeats everything after reopening", func(b *broken) {
			b.close = func() error { b.locked(restart); return b.Model.Close() }
		}},
		{"repeats everything after a crash", func(b *broken) { b.lose = func() { b.locked(restart) } }},
		{"unpauses when it is closed", func(b *broken) {
			b.close = func() error {
				b.locked(everySub(func(s *modelSub) { s.paused = false }))
				return b.Model.Close()
			}
		}},
		{"unpauses in a crash", func(b *broken) {
			b.lose = func() { b.locked(everySub(func(s *modelSub) { s.paused = false })) }
		}},
		{"does not order", func(b *broken) { b.ordering(func(store.Order) store.Order { return store.OrderNone }) }},
		{"orders by key strictly", func(b *broken) {
			b.ordering(func(o store.Order) store.Order {
				return map[store.Order]store.Order{store.OrderKey: store.OrderStrict, store.OrderStrict: store.OrderStrict}[o]
			})
		}},
		{"orders strictly by key", func(b *broken) { b.ordering(func(o store.Order) store.Order { return min(o, store.OrderKey) }) }},
		{"orders what need not be", func(b *broken) { b.ordering(func(o store.Order) store.Order { return max(o, store.OrderKey) }) }},
		{"orders strictly always", func(b *broken) { b.ordering(func(store.Order) store.Order { return store.OrderStrict }) }},
		{"lets a dead letter hold its key", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				if o.Kind == store.Dead || o.Kind == store.Expired {
					o.Kind, o.RetryAt = store.Retry, o.RetryAt.AddDate(9000, 0, 0)
				}
				return true
			})
		}},
		{"keeps the order of its first opening", func(b *broken) {
			b.openSub = func(ctx context.Context, opts store.SubscriptionOptions) (store.SubscriptionInfo, error) {
				b.locked(everySub(func(s *modelSub) {
					if s.opts.Name == opts.Name {
						opts.Order = s.opts.Order
					}
				}))
				return store.OpenSubscription(ctx, b.Model, opts)
			}
		}},
		{"brings a retry to the end of the queue", func(b *broken) {
			b.settle = func(ctx context.Context, outcomes []store.Settlement) error {
				err := b.Model.Settle(ctx, outcomes)
				b.locked(everySub(func(s *modelSub) {
					slices.SortStableFunc(s.queue, func(x, y *modelDelivery) int { return x.made - y.made })
				}))
				return err
			}
		}},
	}
}
