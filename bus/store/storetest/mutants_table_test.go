package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// tables changes each table.
func (b *broken) tables(change func(t *modelTable)) {
	b.locked(func(s *modelState) {
		for _, bus := range s.buses {
			if bus.table != nil {
				change(bus.table)
			}
		}
	})
}

// opens changes the options of each bus.
func (b *broken) opens(change func(opts *store.BusOptions)) {
	b.openBus = func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
		change(&opts)
		return b.Model.OpenBus(ctx, name, opts)
	}
}

func tableMutants() []mutant {
	return []mutant{
		{"keeps no table", func(b *broken) { b.opens(func(opts *store.BusOptions) { opts.Table = false }) }},
		{"keeps a table of every bus", func(b *broken) { b.opens(func(opts *store.BusOptions) { opts.Table = true }) }},
		{"keeps the oldest event of a subject", func(b *broken) {
			b.append = func(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
				old := map[store.BusID]map[string]store.Record{}
				b.locked(func(s *modelState) {
					for id, bus := range s.buses {
						if bus.table != nil {
							old[id] = map[string]store.Record{}
							for subject, r := range bus.table.newest {
								old[id][subject] = r
							}
						}
					}
				})
				results, err := b.Model.Append(ctx, batch)
				b.locked(func(s *modelState) {
					for id, rows := range old {
						for subject, r := range rows {
							s.buses[id].table.newest[subject] = r
						}
					}
				})
				return results, err
			}
		}},
		{"leaves out a row at the end of a page", func(b *broken) {
			b.readTable = func(ctx context.Context, bus store.BusID, prefix, after string, most, maxBytes int, dst []store.Record) ([]store.Record, string, error) {
				rows, next, err := b.Model.ReadTable(ctx, bus, prefix, after, most, maxBytes, dst)
				if next != "" {
					next += "/1"
				}
				return rows, next, err
			}
		}},
		{"finds a row by the start of its subject", func(b *broken) {
			b.tableRow = func(ctx context.Context, bus store.BusID, subject string) (store.Record, error) {
				rows, _, err := b.Model.ReadTable(ctx, bus, subject, "", 1, 1<<20, nil)
				if err == nil && len(rows) == 0 {
					err = store.ErrNotFound
				}
				if err != nil {
					return store.Record{}, err
				}
				return rows[0], nil
			}
		}},
		{"lets retention remove rows", func(b *broken) {
			b.trim = func(ctx context.Context) error {
				err := b.Model.Trim(ctx)
				b.tables(func(t *modelTable) { t.kept = nil })
				return err
			}
		}},
		{"keeps rows that were replaced", func(b *broken) {
			b.read = func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
				var kept []store.Record
				b.locked(func(s *modelState) {
					if one := s.buses[bus]; one != nil && one.table != nil {
						kept = slices.DeleteFunc(slices.Clone(one.table.kept), func(r store.Record) bool { return r.Sequence < from })
						from = max(from, one.first)
					}
				})
				return b.Model.Read(ctx, bus, from, most, maxBytes, append(dst, kept...))
			}
		}},
		{"takes an event without data for a row", func(b *broken) {
			b.tableRow = func(ctx context.Context, bus store.BusID, subject string) (store.Record, error) {
				r, err := b.Model.TableRow(ctx, bus, subject)
				if errors.Is(err, store.ErrNotFound) {
					b.locked(func(s *modelState) {
						if newest, ok := s.buses[bus].table.newest[subject]; ok {
							r, err = newest, nil
						}
					})
				}
				return r, err
			}
		}},
		{"keeps events without a subject", func(b *broken) {
			b.trim = func(ctx context.Context) error {
				var kept []store.Record
				var of *modelBus
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						for _, r := range bus.records {
							if bus.table != nil && !inTable(r) {
								kept, of = append(kept, r), bus
							}
						}
					}
				})
				err := b.Model.Trim(ctx)
				b.locked(func(*modelState) {
					if of != nil && len(of.records) == 0 {
						of.records, of.first = kept, kept[0].Sequence
					}
				})
				return err
			}
		}},
		{"forgets what is owed once a newer event replaces it", func(b *broken) {
			b.get = func(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
				r, err := b.Model.Get(ctx, bus, sequence)
				b.locked(func(s *modelState) {
					if one := s.buses[bus]; err == nil && one.table != nil && sequence < one.first && !one.table.isRow(r) {
						r, err = store.Record{}, store.ErrTrimmed
					}
				})
				return r, err
			}
		}},
		{"begins a table with what comes", func(b *broken) {
			b.openBus = func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
				had := false
				b.locked(func(s *modelState) {
					for _, bus := range s.buses {
						had = had || bus.name == name && bus.table != nil
					}
				})
				id, err := b.Model.OpenBus(ctx, name, opts)
				if !had {
					b.tables(func(t *modelTable) { clear(t.newest) })
				}
				return id, err
			}
		}},
		{"loses a row now and then", func(b *broken) {
			trims := 0
			b.trim = func(ctx context.Context) error {
				err := b.Model.Trim(ctx)
				if trims++; trims%5 == 0 {
					b.tables(func(t *modelTable) {
						if i := slices.IndexFunc(t.kept, t.isRow); i >= 0 {
							t.kept = slices.Delete(t.kept, i, i+1)
						}
					})
				}
				return err
			}
		}},
		{"loses the rows in a crash", func(b *broken) {
			b.lose = func() { b.tables(func(t *modelTable) { clear(t.newest) }) }
		}},
		{"does not look for the time of rows", func(b *broken) {
			b.sequenceAt = func(ctx context.Context, bus store.BusID, t time.Time) (at uint64, err error) {
				at, err = b.Model.SequenceAt(ctx, bus, t)
				b.locked(func(s *modelState) {
					if one := s.buses[bus]; err == nil {
						at = max(at, one.first)
					}
				})
				return at, err
			}
		}},
	}
}
