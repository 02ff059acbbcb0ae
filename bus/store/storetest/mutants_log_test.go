package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// mutant is one way to be wrong.
type mutant struct {
	name string
	how  func(b *broken)
}

// locked calls f with the model's state, under its lock.
func (b *broken) locked(f func(s *modelState)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.state)
}

// entries changes each entry before it is appended.
func (b *broken) entries(change func(e *store.Entry)) {
	b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
		batch = slices.Clone(batch)
		for i := range batch {
			change(&batch[i])
		}
		return b.Model.Append(ctx, batch)
	}
}

// results changes each result.
func (b *broken) results(change func(e store.Entry, r *store.Result)) {
	b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
		results, err := b.Model.Append(ctx, batch)
		for i := range results {
			change(batch[i], &results[i])
		}
		return results, err
	}
}

// dropLast forgets the newest event of each bus.
func dropLast(s *modelState) {
	for _, b := range s.buses {
		if n := len(b.records); n > 0 {
			b.records = b.records[:n-1]
		}
	}
}

func logMutants() []mutant {
	return []mutant{
		{"acknowledges an event that it does not keep", func(b *broken) {
			n := 0
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				results, err := b.Model.Append(ctx, batch)
				b.locked(func(s *modelState) {
					if n++; n%7 == 0 {
						dropLast(s)
					}
				})
				return results, err
			}
		}},
		{"answers with the sequence of another event", func(b *broken) {
			b.results(func(_ store.Entry, r *store.Result) { r.Sequence++ })
		}},
		{"leaves out a sequence", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				results, err := b.Model.Append(ctx, batch)
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						if n := len(bus.records); n > 8 {
							bus.records[n-1].Sequence++
						}
					}
				})
				return results, err
			}
		}},
		{"keeps the first part of a batch that fails", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) (results []store.Result, err error) {
				for _, e := range batch {
					r, err := b.Model.Append(ctx, []store.Entry{e})
					if err != nil {
						return nil, err
					}
					results = append(results, r...)
				}
				return results, nil
			}
		}},
		{"keeps a batch and says that it failed", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				results, err := b.Model.Append(context.WithoutCancel(ctx), batch)
				return results, errors.Join(err, ctx.Err())
			}
		}},
		{"appends a batch in reverse", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				batch = slices.Clone(batch)
				slices.Reverse(batch)
				results, err := b.Model.Append(ctx, batch)
				slices.Reverse(results)
				return results, err
			}
		}},
		{"refuses an empty batch", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				if len(batch) == 0 {
					return nil, errors.New("empty")
				}
				return b.Model.Append(ctx, batch)
			}
		}},
		{"records at the time of a clock that goes back", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						bus.recorded = time.Time{}
					}
				})
				return b.Model.Append(ctx, batch)
			}
		}},
		{"forgets who brought an event", func(b *broken) {
			b.entries(func(e *store.Entry) { e.Via = "" })
		}},
		{"forgets through how many buses an event came", func(b *broken) {
			b.entries(func(e *store.Entry) { e.Hops = 0 })
		}},
		{"does not tell the watcher", func(b *broken) { b.watch = func(store.Watcher) {} }},
		{"tells the watcher of another bus", func(b *broken) {
			b.watch = func(w store.Watcher) { b.Model.Watch(shifted{w}) }
		}},
		{"makes a new bus each time", func(b *broken) {
			b.openBus = func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						bus.name += "'"
					}
				})
				return b.Model.OpenBus(ctx, name, opts)
			}
		}},
		{"loses the newest event when it is closed", func(b *broken) {
			b.close = func() error { b.locked(dropLast); return b.Model.Close() }
		}},
		{"loses the newest event in a crash", func(b *broken) { b.lose = func() { b.locked(dropLast) } }},
		{"mixes up two of many buses", func(b *broken) {
			b.entries(func(e *store.Entry) {
				if e.Bus > 700 {
					e.Bus = 700
				}
			})
		}},
		{"shows an event that is not kept", func(b *broken) {
			n := 0
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				dst, err := b.Model.Read(ctx, bus, from, most, maxBytes, dst)
				b.mu.Lock()
				defer b.mu.Unlock()
				if n++; len(dst) > 0 && n%3 == 0 {
					last := dst[len(dst)-1]
					last.Sequence++
					dst = append(dst, last)
				}
				return dst, err
			}
		}},
		{"reads old events last", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				n := len(dst)
				dst, err := b.Model.Read(ctx, bus, from, most, maxBytes, dst)
				slices.Reverse(dst[n:])
				return dst, err
			}
		}},
		{"does not heed the size of a page", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, _ int, dst []store.Record) ([]store.Record, error) {
				return b.Model.Read(ctx, bus, from, most, 1<<30, dst)
			}
		}},
		{"reads nothing when an event is larger than the page", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				if maxBytes < 100 {
					return dst, nil
				}
				return b.Model.Read(ctx, bus, from, most, maxBytes, dst)
			}
		}},
		{"reads over what it is given", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				return b.Model.Read(ctx, bus, from, most, maxBytes, dst[:0])
			}
		}},
		{"finds nothing below the first event", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				if bounds, err := b.Bounds(bus); err == nil && from < bounds.First {
					return dst, nil
				}
				return b.Model.Read(ctx, bus, from, most, maxBytes, dst)
			}
		}},
		{"shows an event only at the second look", func(b *broken) {
			seen := map[place]bool{}
			b.get = func(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
				r, err := b.Model.Get(ctx, bus, sequence)
				b.mu.Lock()
				defer b.mu.Unlock()
				if at := (place{bus, sequence}); !seen[at] {
					seen[at] = true
					return store.Record{}, store.ErrNotFound
				}
				return r, err
			}
		}},
		{"says that what never was is trimmed", func(b *broken) {
			b.get = func(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
				r, err := b.Model.Get(ctx, bus, sequence)
				if errors.Is(err, store.ErrNotFound) {
					err = store.ErrTrimmed
				}
				return r, err
			}
		}},
		{"finds the event after a time", func(b *broken) {
			b.sequenceAt = func(ctx context.Context, bus store.BusID, t time.Time) (uint64, error) {
				return b.Model.SequenceAt(ctx, bus, t.Add(1))
			}
		}},
		{"does not wait for more", func(b *broken) {
			b.await = func(context.Context, store.BusID, uint64) error { return nil }
		}},
		{"waits for ever", func(b *broken) {
			b.await = func(context.Context, store.BusID, uint64) error { time.Sleep(3 * time.Second); return nil }
		}},
		{"takes any bus for an empty one", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				dst, err := b.Model.Read(ctx, bus, from, most, maxBytes, dst)
				if errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				return dst, err
			}
		}},
	}
}

// shifted tells a watcher of the next bus.
type shifted struct{ store.Watcher }

func (s shifted) Appended(bus store.BusID) { s.Watcher.Appended(bus + 1) }

func scheduleMutants() []mutant {
	return []mutant{
		{"knows no duplicates", func(b *broken) { b.entries(func(e *store.Entry) { e.Window = 0 }) }},
		{"knows duplicates for ever", func(b *broken) {
			b.entries(func(e *store.Entry) {
				if e.Window > 0 {
					e.Window = 1 << 60
				}
			})
		}},
		{"knows duplicates without a window", func(b *broken) { b.entries(func(e *store.Entry) { e.Window = time.Hour }) }},
		{"takes the same event on another bus for a duplicate", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				b.locked(func(s *modelState) {
					known := map[[16]byte]*identity{}
					for _, bus := range s.buses {
						if len(bus.known) > 0 {
							known = bus.known
						}
					}
					for _, bus := range s.buses {
						bus.known = known
					}
				})
				return b.Model.Append(ctx, batch)
			}
		}},
		{"answers a duplicate without a sequence", func(b *broken) {
			b.results(func(_ store.Entry, r *store.Result) {
				if r.Duplicate {
					r.Sequence = 0
				}
			})
		}},
		{"does not say that a duplicate is one", func(b *broken) {
			b.results(func(_ store.Entry, r *store.Result) { r.Duplicate = false })
		}},
		{"knows no duplicates after reopening", func(b *broken) {
			b.close = func() error { b.locked(forgetIdentities); return b.Model.Close() }
		}},
		{"knows no duplicates after a crash", func(b *broken) { b.lose = func() { b.locked(forgetIdentities) } }},
		{"forgets the identities of what retention removes", func(b *broken) {
			b.trim = func(ctx context.Context) error {
				err := b.Model.Trim(ctx)
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						for key, who := range bus.known {
							if who.sequence < bus.first {
								delete(bus.known, key)
							}
						}
					}
				})
				return err
			}
		}},
		{"forgets the identity of a scheduled event at its time", func(b *broken) {
			b.tick = func() {
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						for _, w := range bus.waiting {
							if !w.entry.Due.After(b.clock()) {
								delete(bus.known, w.entry.Dedupe)
							}
						}
					}
				})
				b.Model.Tick()
			}
		}},
		{"remembers the identity of a cancelled event", func(b *broken) {
			b.cancel = func(ctx context.Context, bus store.BusID, source, id string) error {
				var known map[[16]byte]*identity
				b.locked(func(s *modelState) { known = cloneIdentities(s.buses[bus]) })
				err := b.Model.CancelScheduled(ctx, bus, source, id)
				b.locked(func(s *modelState) {
					if s.buses[bus] != nil {
						s.buses[bus].known = known
					}
				})
				return err
			}
		}},
		{"records scheduled events at once", func(b *broken) { b.entries(func(e *store.Entry) { e.Due = time.Time{} }) }},
		{"never records scheduled events", func(b *broken) { b.tick = func() {} }},
		{"records scheduled events in the order in which they came", func(b *broken) {
			b.entries(func(e *store.Entry) {
				if !e.Due.IsZero() {
					e.Due = e.Due.Truncate(time.Hour).Add(time.Hour)
				}
			})
		}},
		{"schedules what is due already", func(b *broken) {
			b.results(func(e store.Entry, r *store.Result) {
				if !e.Due.IsZero() && !r.Duplicate {
					*r = store.Result{Scheduled: true}
				}
			})
		}},
		{"lists scheduled events without their end", func(b *broken) {
			b.listSched = func(ctx context.Context, bus store.BusID, source, id, after string, limit int) ([]store.Scheduled, string, error) {
				items, _, err := b.Model.ListScheduled(ctx, bus, source, id, after, limit)
				return items, "", err
			}
		}},
		{"takes any cursor of the schedule", func(b *broken) {
			b.listSched = func(ctx context.Context, bus store.BusID, source, id, after string, limit int) ([]store.Scheduled, string, error) {
				items, next, err := b.Model.ListScheduled(ctx, bus, source, id, after, limit)
				if errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				return items, next, err
			}
		}},
		{"lists scheduled events of any id", func(b *broken) {
			b.listSched = func(ctx context.Context, bus store.BusID, source, _, after string, limit int) ([]store.Scheduled, string, error) {
				return b.Model.ListScheduled(ctx, bus, source, "", after, limit)
			}
		}},
		{"does not cancel", func(b *broken) {
			b.cancel = func(context.Context, store.BusID, string, string) error { return nil }
		}},
		{"cancels one of several events with a name", func(b *broken) {
			b.cancel = func(ctx context.Context, bus store.BusID, source, id string) error {
				return b.cancelling(ctx, bus, source, id, func(hidden, s *modelScheduled) bool {
					return hidden == nil && s.is(source, id)
				})
			}
		}},
		{"cancels by what events are deduplicated on", func(b *broken) {
			b.cancel = func(ctx context.Context, bus store.BusID, source, id string) error {
				return b.cancelling(ctx, bus, source, id, func(_, s *modelScheduled) bool {
					return s.entry.Dedupe == event.DedupeKey(source, id)
				})
			}
		}},
		{"cancels all events of a source", func(b *broken) {
			b.cancel = func(ctx context.Context, bus store.BusID, source, id string) error {
				err := b.Model.CancelScheduled(ctx, bus, source, id)
				b.locked(func(s *modelState) {
					if on := s.buses[bus]; on != nil && err == nil {
						on.waiting = slices.DeleteFunc(on.waiting, func(s *modelScheduled) bool { return s.entry.Event.Source() == source })
					}
				})
				return err
			}
		}},
		{"loses what is scheduled when it is closed", func(b *broken) {
			b.close = func() error { b.locked(forgetScheduled); return b.Model.Close() }
		}},
		{"loses what is scheduled in a crash", func(b *broken) { b.lose = func() { b.locked(forgetScheduled) } }},
		{"does not count scheduled events", func(b *broken) {
			b.stats = func() store.Stats { s := b.Model.Stats(); s.Scheduled = 0; return s }
		}},
		{"does not count duplicates", func(b *broken) {
			b.stats = func() store.Stats { s := b.Model.Stats(); s.Duplicates = 0; return s }
		}},
		{"does not count events", func(b *broken) {
			b.stats = func() store.Stats { s := b.Model.Stats(); s.Events = 0; return s }
		}},
	}
}

// cancelling cancels only those that take picks, one after another; it is told
// what it picked last.
func (b *broken) cancelling(ctx context.Context, bus store.BusID, source, id string, take func(last, s *modelScheduled) bool) error {
	var kept []*modelScheduled
	b.locked(func(s *modelState) {
		on := s.buses[bus]
		if on == nil {
			return
		}
		on.sortWaiting()
		var last *modelScheduled
		var taken []*modelScheduled
		for _, w := range on.waiting {
			if take(last, w) {
				last = w
				taken = append(taken, w)
			} else {
				kept = append(kept, w)
			}
		}
		on.waiting = taken
	})
	err := b.Model.CancelScheduled(ctx, bus, source, id)
	b.locked(func(s *modelState) {
		if on := s.buses[bus]; on != nil {
			on.waiting = append(on.waiting, kept...)
		}
	})
	return err
}

func forgetIdentities(s *modelState) {
	for _, b := range s.buses {
		clear(b.known)
	}
}

func forgetScheduled(s *modelState) {
	for _, b := range s.buses {
		b.waiting = nil
	}
}

func cloneIdentities(b *modelBus) map[[16]byte]*identity {
	known := map[[16]byte]*identity{}
	if b != nil {
		for k, v := range b.known {
			known[k] = v
		}
	}
	return known
}
