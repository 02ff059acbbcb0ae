package storetest

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// replaying runs f on the state after each EnqueueReplay.
func (b *broken) replaying(f func(s *modelState, run uint32)) {
	b.enqueueRun = func(ctx context.Context, run uint32, position uint64, subs []store.SubscriptionID, events []store.RoutedEvent) error {
		err := b.Model.EnqueueReplay(ctx, run, position, subs, events)
		b.locked(func(s *modelState) { f(s, run) })
		return err
	}
}

// eachOf calls f for the queued deliveries of a run.
func eachOf(run uint32, f func(d *modelDelivery)) func(*modelSub) {
	return func(sub *modelSub) {
		for _, d := range sub.queue {
			if d.id.Run == run {
				f(d)
			}
		}
	}
}

// seeking runs f on the subscription after each Seek.
func (b *broken) seeking(f func(s *modelSub, opts store.SeekOptions, r *store.SeekResult)) {
	b.seek = func(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (store.SeekResult, error) {
		r, err := b.Model.Seek(ctx, sub, opts)
		if err == nil {
			b.locked(func(s *modelState) { f(s.subs[sub], opts, &r) })
		}
		return r, err
	}
}

func replayMutants() []mutant {
	return []mutant{
		{"queues replayed deliveries as live ones", func(b *broken) {
			b.replaying(func(s *modelState, run uint32) {
				everySub(eachOf(run, func(d *modelDelivery) { d.trigger = store.TriggerFirst }))(s)
			})
		}},
		{"orders replayed deliveries with live ones", func(b *broken) {
			b.replaying(func(s *modelState, run uint32) {
				everySub(eachOf(run, func(d *modelDelivery) { d.lane = nil }))(s)
			})
		}},
		{"replays without an order", func(b *broken) {
			b.replaying(func(s *modelState, run uint32) { everySub(eachOf(run, func(d *modelDelivery) { d.key = 0 }))(s) })
		}},
		{"does not move a replay", func(b *broken) {
			b.replaying(func(s *modelState, run uint32) {
				for _, p := range s.replays[run] {
					p.Position = p.After
				}
			})
		}},
		{"lets a replay go first", func(b *broken) {
			b.claim = func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
				b.locked(everySub(func(s *modelSub) { s.turns = 1 << 20 }))
				return b.Model.Claim(ctx, sub, now, most, dst)
			}
		}},
		{"keeps no dead letters of replays", func(b *broken) {
			b.settlements(func(o *store.Settlement) bool {
				if o.ID.Run != 0 && o.Kind == store.Dead {
					o.Kind = store.Done
				}
				return true
			})
		}},
		{"loses what a replay queued when it is closed", func(b *broken) {
			lose := func() {
				b.locked(everySub(func(sub *modelSub) {
					b.dropOwed(sub, func(d *modelDelivery) bool { return d.id.Run != 0 })
				}))
			}
			b.close = func() error { lose(); return b.Model.Close() }
			b.lose = lose
		}},
		{"forgets a seek in a crash", func(b *broken) {
			b.lose = func() {
				b.locked(everySub(func(sub *modelSub) {
					if p := sub.catchUp(); p != nil {
						b.endParts(sub, p)
					}
				}))
			}
		}},
		{"drops nothing with a replay", func(b *broken) {
			b.dropRun = func(context.Context, uint32, []store.SubscriptionID) (int64, error) { return 0, nil }
		}},
		{"drops all with a part of a replay", func(b *broken) {
			b.dropRun = func(ctx context.Context, run uint32, _ []store.SubscriptionID) (int64, error) {
				return b.Model.DropReplay(ctx, run, nil)
			}
		}},
		{"goes on with a replay that was purged", func(b *broken) {
			b.purge = func(ctx context.Context, sub store.SubscriptionID) error {
				var parts []*modelPart
				b.locked(func(s *modelState) { parts, s.subs[sub].parts = s.subs[sub].parts, nil })
				err := b.Model.PurgeSubscription(ctx, sub)
				b.locked(func(s *modelState) {
					if s.subs[sub] != nil {
						s.subs[sub].parts = parts
					}
				})
				return err
			}
		}},
		{"queues again what it has queued", func(b *broken) {
			b.enqueueRun = func(ctx context.Context, run uint32, position uint64, subs []store.SubscriptionID, events []store.RoutedEvent) error {
				b.locked(func(s *modelState) {
					for _, p := range s.replays[run] {
						p.Position = p.After
					}
				})
				return b.Model.EnqueueReplay(ctx, run, position, subs, events)
			}
		}},
		{"uses the number of a replay again", func(b *broken) {
			b.dropRun = func(ctx context.Context, run uint32, subs []store.SubscriptionID) (int64, error) {
				n, err := b.Model.DropReplay(ctx, run, subs)
				b.locked(func(s *modelState) {
					if s.lastRun == run {
						s.lastRun--
					}
				})
				return n, err
			}
		}},
		{"lets retention take what a replay owes", func(b *broken) {
			b.trim = func(ctx context.Context) error {
				b.locked(everySub(func(sub *modelSub) {
					b.dropOwed(sub, func(d *modelDelivery) bool { return d.lane != nil })
				}))
				return b.Model.Trim(ctx)
			}
		}},
		{"drops nothing with a seek", func(b *broken) {
			b.seek = func(context.Context, store.SubscriptionID, store.SeekOptions) (store.SeekResult, error) {
				return store.SeekResult{}, nil
			}
		}},
		{"claims what is later than a seek has queued", func(b *broken) {
			b.seeking(func(s *modelSub, _ store.SeekOptions, _ *store.SeekResult) {
				if p := s.catchUp(); p != nil {
					p.Bus = 0 // nothing is ahead of it
				}
			})
		}},
		{"seeks one event too far", func(b *broken) {
			b.seek = func(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (store.SeekResult, error) {
				opts.To++
				return b.Model.Seek(ctx, sub, opts)
			}
		}},
		{"mixes up the order with a seek", func(b *broken) {
			b.seeking(func(s *modelSub, _ store.SeekOptions, _ *store.SeekResult) {
				for _, d := range s.queue {
					d.key = 0
				}
			})
		}},
		{"leaves replays alone with a seek", func(b *broken) {
			b.seek = func(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (store.SeekResult, error) {
				var parts []*modelPart
				b.locked(func(s *modelState) {
					if s.subs[sub] != nil {
						parts = slices.Clone(s.subs[sub].parts)
						s.subs[sub].parts = nil
					}
				})
				r, err := b.Model.Seek(ctx, sub, opts)
				b.locked(func(s *modelState) {
					if s.subs[sub] != nil {
						s.subs[sub].parts = append(parts, s.subs[sub].parts...)
					}
				})
				return r, err
			}
		}},
		{"leaves no trace of what a seek drops", func(b *broken) {
			b.seek = func(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (store.SeekResult, error) {
				r, err := b.Model.Seek(ctx, sub, opts)
				b.locked(func(s *modelState) {
					for at, all := range s.traces {
						s.traces[at] = slices.DeleteFunc(all, func(d *modelDelivery) bool { return d.outcome == "dropped" })
					}
				})
				return r, err
			}
		}},
		{"takes what was not routed after a seek", func(b *broken) {
			b.seeking(func(s *modelSub, _ store.SeekOptions, r *store.SeekResult) { s.from, r.From = 0, 0 })
		}},
	}
}
