package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func subscriptionMutants() []mutant {
	return []mutant{
		{"starts a new subscription at the beginning", func(b *broken) {
			b.openSub = func(ctx context.Context, opts store.SubscriptionOptions) (store.SubscriptionInfo, error) {
				i, err := store.OpenSubscription(ctx, b.Model, opts)
				i.From = 0
				return i, err
			}
		}},
		{"makes a new subscription each time", func(b *broken) {
			b.openSub = func(ctx context.Context, opts store.SubscriptionOptions) (store.SubscriptionInfo, error) {
				b.locked(everySub(func(s *modelSub) { s.opts.Name += "'" }))
				return store.OpenSubscription(ctx, b.Model, opts)
			}
		}},
		{"lists subscriptions in another order", func(b *broken) {
			b.subs = func() []store.SubscriptionInfo {
				infos := b.Model.Subscriptions()
				slices.Reverse(infos)
				return infos
			}
		}},
		{"keeps every orphan", func(b *broken) {
			b.orphan = func(ctx context.Context, sub store.SubscriptionID) error {
				return b.change(ctx, sub, func(s *modelSub) { s.orphaned = true })
			}
		}},
		{"removes every orphan", func(b *broken) {
			b.orphan = func(ctx context.Context, sub store.SubscriptionID) error {
				return b.change(ctx, sub, func(*modelSub) { delete(b.state.subs, sub) })
			}
		}},
		{"claims from orphans", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				b.locked(everySub(func(s *modelSub) { s.orphaned = false }))
				return b.Model.Claim(ctx, sub, now, most, dst)
			}
		}},
		{"purges nothing", func(b *broken) { b.purge = func(context.Context, store.SubscriptionID) error { return nil } }},
		{"purges dead letters too", func(b *broken) {
			b.purge = b.after(b.Model.PurgeSubscription, everySub(func(s *modelSub) { s.dropDead(func(*modelDelivery) bool { return true }) }))
		}},
		{"does not purge what is in flight", func(b *broken) {
			b.purge = func(ctx context.Context, sub store.SubscriptionID) error {
				return b.change(ctx, sub, func(s *modelSub) {
					s.queue = slices.DeleteFunc(s.queue, func(d *modelDelivery) bool {
						if !d.claimed {
							delete(s.owed, d.id)
						}
						return !d.claimed
					})
				})
			}
		}},
		{"uses ids of subscriptions again", func(b *broken) {
			b.orphan = b.after(b.Model.OrphanSubscription, func(s *modelState) {
				s.lastSub = 0
				for id := range s.subs {
					s.lastSub = max(s.lastSub, id)
				}
			})
		}},
		{"purges a subscription that moves", func(b *broken) {
			b.openSub = func(ctx context.Context, opts store.SubscriptionOptions) (store.SubscriptionInfo, error) {
				b.locked(everySub(func(s *modelSub) {
					if s.opts.Name == opts.Name && s.opts.Bus != opts.Bus {
						dropQueue(s)
					}
				}))
				return store.OpenSubscription(ctx, b.Model, opts)
			}
		}},
		{"claims during a pause", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				b.locked(everySub(func(s *modelSub) { s.paused = false }))
				return b.Model.Claim(ctx, sub, now, most, dst)
			}
		}},
		{"does not resume", func(b *broken) { b.resume = func(context.Context, store.SubscriptionID) error { return nil } }},
		{"passes over outcomes during a pause", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				i, err := b.Model.Subscription(o.ID.Subscription)
				return err == nil && !i.Paused
			})
		}},
		{"counts pauses into the age", func(b *broken) {
			b.resume = b.after(b.Model.Resume, everySub(func(s *modelSub) { s.pauses = nil }))
		}},
		{"starts the age anew after reopening", func(b *broken) {
			b.close = func() error {
				b.locked(everySub(func(s *modelSub) {
					for _, d := range s.queue {
						d.due = b.clock()
					}
				}))
				return b.Model.Close()
			}
		}},
		{"forgets why it is paused", func(b *broken) {
			b.pause = func(ctx context.Context, sub store.SubscriptionID, _ string) error {
				return b.Model.Pause(ctx, sub, "")
			}
		}},
	}
}

// deadLetters changes each list of dead letters.
func (b *broken) deadLetters(change func(letters []store.DeadLetter)) {
	b.listDead = func(ctx context.Context, sub store.SubscriptionID, after string, limit int) ([]store.DeadLetter, string, error) {
		letters, next, err := b.Model.ListDead(ctx, sub, after, limit)
		change(letters)
		return letters, next, err
	}
}

func dropDead(s *modelSub) { s.dropDead(func(*modelDelivery) bool { return true }) }

func deadMutants() []mutant {
	return []mutant{
		{"shows only the last attempt of a dead letter", func(b *broken) {
			b.deadLetters(func(letters []store.DeadLetter) {
				for i := range letters {
					if n := len(letters[i].Attempts); n > 1 {
						letters[i].Attempts = letters[i].Attempts[n-1:]
					}
				}
			})
		}},
		{"lists the newest dead letter first", func(b *broken) { b.deadLetters(func(letters []store.DeadLetter) { slices.Reverse(letters) }) }},
		{"begins anew at a malformed cursor", func(b *broken) {
			b.listDead = func(ctx context.Context, sub store.SubscriptionID, after string, limit int) ([]store.DeadLetter, string, error) {
				letters, next, err := b.Model.ListDead(ctx, sub, after, limit)
				if after != "" && errors.Is(err, store.ErrNotFound) {
					return b.Model.ListDead(ctx, sub, "", limit)
				}
				return letters, next, err
			}
		}},
		{"pages dead letters by their number", func(b *broken) {
			b.listDead = func(ctx context.Context, sub store.SubscriptionID, after string, limit int) ([]store.DeadLetter, string, error) {
				all, _, err := b.Model.ListDead(ctx, sub, "", 1<<30)
				at := min(len(after), len(all))
				end := min(at+limit, len(all))
				next := ""
				if end < len(all) {
					next = string(make([]byte, end))
				}
				return all[at:end], next, err
			}
		}},
		{"redrives the last first", func(b *broken) {
			b.redrive = func(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error) {
				n, err := b.Model.Redrive(ctx, sub, ids)
				b.locked(everySub(func(s *modelSub) { slices.Reverse(s.queue) }))
				return n, err
			}
		}},
		{"redrives with the old budget", func(b *broken) {
			b.redrive = func(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error) {
				n, err := b.Model.Redrive(ctx, sub, ids)
				b.locked(everySub(func(s *modelSub) {
					for _, d := range s.queue {
						d.made = len(d.attempts)
					}
				}))
				return n, err
			}
		}},
		{"keeps redriven letters in the list", func(b *broken) {
			b.redrive = func(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error) {
				var dead []*modelDelivery
				b.locked(func(s *modelState) { dead = slices.Clone(s.subs[sub].dead) })
				n, err := b.Model.Redrive(ctx, sub, ids)
				b.locked(func(s *modelState) { s.subs[sub].dead = dead })
				return n, err
			}
		}},
		{"purges no dead letters", func(b *broken) {
			b.purgeDead = func(_ context.Context, _ store.SubscriptionID, ids []store.DeliveryID) (int, error) {
				return len(ids), nil
			}
		}},
		{"loses dead letters when it is closed", func(b *broken) {
			b.close = func() error { b.locked(everySub(dropDead)); return b.Model.Close() }
		}},
		{"adopts an orphan by its redrive", func(b *broken) {
			b.redrive = func(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error) {
				b.locked(everySub(func(s *modelSub) { s.orphaned = false }))
				return b.Model.Redrive(ctx, sub, ids)
			}
		}},
		{"drops dead letters with retention", func(b *broken) {
			b.trim = func(ctx context.Context) error { b.locked(everySub(dropDead)); return b.Model.Trim(ctx) }
		}},
		{"keeps dead letters for ever", func(b *broken) {
			b.trim = func(context.Context) error { return nil }
			b.tick = func() {}
		}},
	}
}

func retentionMutants() []mutant {
	return []mutant{
		{"keeps everything", func(b *broken) {
			b.openBus = func(ctx context.Context, name string, _ store.BusOptions) (store.BusID, error) {
				return b.Model.OpenBus(ctx, name, store.BusOptions{})
			}
		}},
		{"holds nothing", func(b *broken) {
			b.openBus = func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
				opts.Hold = false
				return b.Model.OpenBus(ctx, name, opts)
			}
		}},
		{"keeps nothing for longer than a year", func(b *broken) {
			b.openBus = func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
				if opts.MaxAge == 0 {
					opts.MaxAge = 365 * 24 * time.Hour
				}
				return b.Model.OpenBus(ctx, name, opts)
			}
		}},
		{"keeps the options of its first opening", func(b *broken) {
			b.openBus = func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						if bus.name == name {
							opts = bus.opts
						}
					}
				})
				return b.Model.OpenBus(ctx, name, opts)
			}
		}},
		{"removes what is owed", func(b *broken) {
			b.get = func(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
				r, err := b.Model.Get(ctx, bus, sequence)
				if bounds, e := b.Bounds(bus); e == nil && err == nil && sequence < bounds.First {
					return store.Record{}, store.ErrTrimmed
				}
				return r, err
			}
		}},
		{"removes what was not routed", func(b *broken) {
			b.trim = func(ctx context.Context) error {
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						bus.position = bus.last()
					}
				})
				return b.Model.Trim(ctx)
			}
		}},
		{"says that what retention removed never was", func(b *broken) {
			b.get = func(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
				r, err := b.Model.Get(ctx, bus, sequence)
				if errors.Is(err, store.ErrTrimmed) {
					err = store.ErrNotFound
				}
				return r, err
			}
		}},
		{"starts the sequences of an empty bus anew", func(b *broken) {
			b.trim = func(ctx context.Context) error {
				err := b.Model.Trim(ctx)
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						if len(bus.records) == 0 {
							bus.first = 1
						}
					}
				})
				return err
			}
		}},
		{"drops no bus", func(b *broken) { b.dropBus = func(context.Context, store.BusID) error { return nil } }},
		{"uses the id of a dropped bus again", func(b *broken) {
			b.dropBus = func(ctx context.Context, bus store.BusID) error {
				err := b.Model.DropBus(ctx, bus)
				if err == nil {
					b.locked(func(s *modelState) { s.lastBus = bus - 1 })
				}
				return err
			}
		}},
		{"drops what is owed with its bus", func(b *broken) {
			b.dropBus = func(ctx context.Context, bus store.BusID) error {
				b.locked(everySub(dropQueue))
				return b.Model.DropBus(ctx, bus)
			}
		}},
	}
}

// traces changes each trace.
func (b *broken) traces(change func(traces []store.DeliveryTrace) []store.DeliveryTrace) {
	b.traceOf = func(ctx context.Context, bus store.BusID, sequence uint64) ([]store.DeliveryTrace, error) {
		traces, err := b.Model.TraceOf(ctx, bus, sequence)
		return change(traces), err
	}
}

// recentAttempts changes each page of attempts.
func (b *broken) recentAttempts(change func(page []store.AttemptOf)) {
	b.recent = func(ctx context.Context, sub store.SubscriptionID, q store.AttemptQuery) ([]store.AttemptOf, string, error) {
		page, next, err := b.Model.RecentAttempts(ctx, sub, q)
		change(page)
		return page, next, err
	}
}

func otherMutants() []mutant {
	return []mutant{
		{"forgets many objects in a crash", func(b *broken) {
			b.lose = func() {
				b.locked(func(s *modelState) {
					for key := range s.objects {
						if key.kind == "many" {
							delete(s.objects, key)
						}
					}
				})
			}
		}},
		{"traces a removed subscription without its name", func(b *broken) {
			b.traces(func(traces []store.DeliveryTrace) []store.DeliveryTrace {
				for i, t := range traces {
					if b.state.former[t.ID.Subscription] != "" {
						traces[i].Subscription = ""
					}
				}
				return traces
			})
		}},
		{"takes a scheduled event for one that was published when it was due", func(b *broken) {
			b.receiptOf = func(ctx context.Context, bus store.BusID, sequence uint64) (store.Receipt, error) {
				r, err := b.Model.ReceiptOf(ctx, bus, sequence)
				r.Due = time.Time{}
				return r, err
			}
		}},
		{"lists attempts of the oldest event first", func(b *broken) {
			b.recentAttempts(func(page []store.AttemptOf) { slices.Reverse(page) })
		}},
		{"lists attempts without what is known of a failure", func(b *broken) {
			b.recentAttempts(func(page []store.AttemptOf) {
				for i := range page {
					page[i].Attempt.Failure = nil
				}
			})
		}},
		{"lists attempts of every subscription", func(b *broken) {
			b.recent = func(ctx context.Context, sub store.SubscriptionID, q store.AttemptQuery) ([]store.AttemptOf, string, error) {
				page, next, err := b.Model.RecentAttempts(ctx, sub, q)
				for _, info := range b.Model.Subscriptions() {
					if info.ID != sub && next == "" && q.After == "" {
						more, _, _ := b.Model.RecentAttempts(ctx, info.ID, q)
						page = append(page, more...)
					}
				}
				return page, next, err
			}
		}},
		{"does not heed the version that is expected", func(b *broken) {
			b.put = func(ctx context.Context, kind, name string, value []byte, _ uint64) (uint64, error) {
				return b.Model.PutObject(ctx, kind, name, value, store.AnyVersion)
			}
		}},
		{"checks a version before it takes the lock", func(b *broken) {
			b.put = func(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error) {
				o, err := b.Model.GetObject(ctx, kind, name)
				time.Sleep(time.Millisecond) // so that others come between
				if expect != store.AnyVersion && expect != o.Version {
					return 0, store.ErrConflict
				}
				if errors.Is(err, store.ErrClosed) {
					return 0, err
				}
				return b.Model.PutObject(ctx, kind, name, value, store.AnyVersion)
			}
		}},
		{"starts the versions of each object anew", func(b *broken) {
			b.put = func(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error) {
				b.locked(func(s *modelState) { s.version = s.objects[objectKey{kind, name}].Version })
				return b.Model.PutObject(ctx, kind, name, value, expect)
			}
		}},
		{"cuts the values of objects", func(b *broken) {
			b.put = func(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error) {
				return b.Model.PutObject(ctx, kind, name, value[:min(len(value), 1000)], expect)
			}
		}},
		{"lists objects in another order", func(b *broken) {
			b.list = func(ctx context.Context, kind string) ([]store.Object, error) {
				objects, err := b.Model.ListObjects(ctx, kind)
				slices.Reverse(objects)
				return objects, err
			}
		}},
		{"loses objects when it is closed", func(b *broken) {
			b.close = func() error { b.locked(func(s *modelState) { clear(s.objects) }); return b.Model.Close() }
		}},
		{"loses objects in a crash", func(b *broken) { b.lose = func() { b.locked(func(s *modelState) { clear(s.objects) }) } }},
		{"ends receipts an event early", func(b *broken) {
			b.receipts = func(ctx context.Context, bus store.BusID, from, to uint64) (map[uint64]store.Receipt, error) {
				return b.Model.Receipts(ctx, bus, from, to-1)
			}
		}},
		{"ends timelines an event early", func(b *broken) {
			b.timelines = func(ctx context.Context, bus store.BusID, from, to uint64) ([]store.Timeline, error) {
				return b.Model.Timelines(ctx, bus, from, to-1)
			}
		}},
		{"keeps no traces", func(b *broken) { b.traces(func([]store.DeliveryTrace) []store.DeliveryTrace { return nil }) }},
		{"traces what is not there", func(b *broken) {
			b.traces(func(t []store.DeliveryTrace) []store.DeliveryTrace {
				return append(t, store.DeliveryTrace{State: "queued"})
			})
		}},
		{"traces without attempts", func(b *broken) {
			b.traces(func(traces []store.DeliveryTrace) []store.DeliveryTrace {
				for i := range traces {
					traces[i].Attempts = nil
				}
				return traces
			})
		}},
		{"loses traces when it is closed", func(b *broken) {
			b.close = func() error { b.locked(func(s *modelState) { clear(s.traces) }); return b.Model.Close() }
		}},
		{"refuses events", func(b *broken) { b.err = func() error { return store.ErrUnavailable } }},
		{"goes on after Close", func(b *broken) { b.close = func() error { return nil } }},
		{"lets those wait who wait when it is closed", func(b *broken) {
			b.await = func(ctx context.Context, bus store.BusID, after uint64) error {
				err := b.Model.Await(ctx, bus, after)
				if errors.Is(err, store.ErrClosed) {
					<-ctx.Done()
				}
				return err
			}
		}},
		{"fails when it is closed twice", func(b *broken) {
			closed := false
			b.close = func() error {
				if closed {
					return errors.New("closed already")
				}
				closed = true
				return b.Model.Close()
			}
		}},
	}
}
