package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// knows says whether a repair has given up a gap before.
func (b *checkedBus) knows(g gap) bool {
	return slices.ContainsFunc(b.given, func(k gap) bool { return k.from <= g.from && g.to <= k.to })
}

// index puts into the batch what the state knows of the log, built anew from
// the log, and which sequences are given up. c has just read both.
func (r *repair) index(ctx context.Context, c *checker) error {
	covered, schedule, err := coveredRow(c.state)
	if err != nil {
		return err
	}
	if c.end.Less(covered) {
		covered = c.end
	}
	for _, prefix := range []byte{prefixIndex, prefixSegment} {
		_ = r.batch.DeleteRange([]byte{prefix}, []byte{prefix + 1}, nil)
	}
	_ = r.batch.Set(metaKey("covered"), be64(appendPosition(nil, covered), schedule), nil)
	buses := map[store.BusID]*bus{}
	for id, cb := range c.buses {
		if cb.name == "" {
			continue
		}
		b := &bus{id: id, name: cb.name, first: cb.first}
		_, err := c.state.get(idKey(nil, prefixFirst, uint32(id)), func(v []byte) error {
			f := rowReader{rest: v}
			f.u64()
			b.removed = f.i64()
			return f.err()
		})
		if err != nil {
			return err
		}
		for _, g := range cb.lost {
			if g.from <= b.first { // a bus begins with an event that is there
				b.first = g.to + 1
				continue
			}
			_ = r.batch.Set(seqKey(nil, prefixLost, id, g.from), be64(nil, g.to), nil)
		}
		if b.first != cb.first {
			_ = r.batch.Set(idKey(nil, prefixFirst, uint32(id)), be64(be64(nil, b.first), uint64(b.removed)), nil)
		}
		b.last, b.appended = b.first-1, b.removed
		if cb.tabled { // what is left below the first sequence is found, too
			b.last, b.appended = 0, 0
		}
		buses[id] = b
	}
	_, err = seglog.Check(ctx, r.opts.FS, r.path("log"), seglog.Visitor{
		Record: func(pos seglog.Position, payload []byte) error {
			later := covered.Less(pos) // the next start reads it, but for what the bus's numbers cover
			return walkPayload(payload, func(e *entry) error {
				if b := buses[e.bus]; b != nil && e.flags&flagScheduled == 0 && e.seq > b.last && (!later || e.seq <= c.buses[e.bus].last) {
					if b.last < b.first && e.seq >= b.first {
						b.appended = b.removed
					}
					r.account(b, e, pos)
				}
				return nil
			})
		},
		Damaged: func(seglog.Damage) {},
		Segment: func(done, of int) { r.opts.Progress("index", done, of) },
	})
	if err != nil {
		return err
	}
	for id, b := range buses {
		if b.last < b.first {
			b.appended = b.removed
		}
		b.last = max(b.last, c.buses[id].last)
		b.recorded = max(b.recorded, c.buses[id].before)
		b.writeRows(r.batch, nil, nil)
	}
	return nil
}

// account takes note of an event of a bus.
func (r *repair) account(b *bus, e *entry, pos seglog.Position) {
	b.account(e.seq, e.record, len(e.event), pos)
	b.touched = true
	for _, d := range b.done {
		_ = r.batch.Set(segmentKey(nil, prefixSegment, d.segment, b.id), d.row.append(nil), nil)
	}
	b.done = b.done[:0]
	for _, x := range b.recent {
		_ = r.batch.Set(seqKey(nil, prefixIndex, b.id, x.seq), x.append(nil), nil)
	}
	b.recent = b.recent[:0]
	r.commitSome()
}

// coveredRow reads up to where the state knows the log.
func coveredRow(st *state) (pos seglog.Position, schedule uint64, err error) {
	_, err = st.get(metaKey("covered"), func(v []byte) error {
		r := rowReader{rest: v}
		pos = seglog.Position{Segment: r.u64(), Offset: r.i64()}
		schedule = r.u64()
		return r.err()
	})
	return pos, schedule, err
}

// salvage copies the rows that can be read into a new state, and keeps the old
// one aside.
func (r *repair) salvage() (err error) {
	const name = "state.new"
	fs := r.opts.FS
	if err := fs.RemoveAll(r.path(name)); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	from, err := openState(fs, r.path("state"), quiet, true, nil)
	if err != nil {
		return err
	}
	to, err := openState(fs, r.path(name), quiet, false, nil)
	if err != nil {
		return errors.Join(err, from.db.Close())
	}
	if err = errors.Join(copyRows(from, to), from.db.Close(), to.close()); err != nil {
		return err
	}
	if err := r.keepState(); err != nil {
		return err
	}
	if err := fs.Rename(r.path(name), r.path("state")); err != nil {
		return err
	}
	return syncDir(fs, r.opts.Dir)
}

// copyRows copies what can be read.
func copyRows(from, to *state) error {
	batch := to.db.NewBatch()
	for prefix := range 256 {
		_, err := from.scanReadable([]byte{byte(prefix)}, func(key, value []byte) error {
			_ = batch.Set(key, value, nil)
			if batch.Len() < 1<<20 {
				return nil
			}
			err := to.commit(batch)
			batch = to.db.NewBatch()
			return err
		})
		if err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	return to.commitSynced(batch)
}

// scanReadable calls f for the rows under a prefix that can be read. Behind those
// that cannot, it goes on where the next table of the state begins or ends; damage
// says why it had to.
func (st *state) scanReadable(prefix []byte, f func(key, value []byte) error) (damage, err error) {
	tables, err := st.db.SSTables()
	if err != nil {
		return nil, err
	}
	upper := successor(prefix)
	var bounds [][]byte
	for _, level := range tables {
		for i := range level {
			bounds = append(bounds, slices.Clone(level[i].Smallest.UserKey), append(slices.Clone(level[i].Largest.UserKey), 0))
		}
	}
	slices.SortFunc(bounds, bytes.Compare)
	for lower := prefix; ; {
		last := slices.Clone(lower)
		unread := st.scan(lower, upper, func(key, value []byte) (bool, error) {
			last = append(last[:0], key...)
			err = f(key, value)
			return err == nil, nil
		})
		if unread == nil || err != nil {
			return damage, err
		}
		damage = errors.Join(damage, unread)
		i, _ := slices.BinarySearchFunc(bounds, append(last, 0), bytes.Compare)
		if i == len(bounds) || upper != nil && bytes.Compare(bounds[i], upper) >= 0 {
			return damage, nil
		}
		lower, bounds = bounds[i], bounds[i+1:]
	}
}

// findBuses reads which buses the log has, for a state that is lost, and what
// is missing between their events. gave, if set, gets each gap.
func (r *repair) findBuses(ctx context.Context, gave func(store.BusID, gap)) error {
	found := map[store.BusID]*FoundBus{}
	r.report.Buses = nil
	r.losses = map[store.BusID]*Loss{}
	_, err := seglog.Check(ctx, r.opts.FS, r.path("log"), seglog.Visitor{
		Record: func(_ seglog.Position, payload []byte) error {
			_ = walkPayload(payload, func(e *entry) error { // a bad frame is a problem already
				b := found[e.bus]
				if b == nil {
					b = &FoundBus{Number: e.bus, Name: fmt.Sprintf("recovered-%d", e.bus)}
					if name := r.opts.Names[e.bus]; name != "" {
						b.Name = name
					}
					found[e.bus] = b
				}
				if e.flags&flagScheduled != 0 {
					return nil
				}
				if b.Events == 0 {
					b.First, b.From = e.seq, fromNanos(e.record)
				} else if g := (gap{b.Last + 1, e.seq - 1}); g.from <= g.to {
					r.loss(e.bus).add(g)
					if gave != nil {
						gave(e.bus, g)
					}
				}
				b.Events++
				b.Last, b.To = e.seq, fromNanos(e.record)
				if ev, err := event.Decode(e.event); err == nil {
					b.Type, b.Source = ev.Type(), ev.Source()
				}
				return nil
			})
			return nil
		},
		Damaged: func(seglog.Damage) {},
		Segment: func(done, of int) { r.opts.Progress("buses", done, of) },
	})
	if err != nil {
		return err
	}
	taken := map[string]store.BusID{}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		b := found[id]
		if other, dup := taken[b.Name]; dup {
			return fmt.Errorf("the buses %d and %d would both be called %q", other, id, b.Name)
		}
		taken[b.Name] = id
		r.report.Buses = append(r.report.Buses, *b)
	}
	for id, name := range r.opts.Names {
		if found[id] == nil {
			return fmt.Errorf("the log has no bus %d, which was to be called %q", id, name)
		}
	}
	return nil
}

// newState starts a state that knows the buses only; the next start reads all of
// the log into it.
func (r *repair) newState(ctx context.Context) error {
	if err := r.keepState(); err != nil {
		return err
	}
	st, err := openState(r.opts.FS, r.path("state"), slog.New(slog.DiscardHandler), false, nil)
	if err != nil {
		return err
	}
	batch := st.db.NewBatch()
	err = r.findBuses(ctx, func(id store.BusID, g gap) { // again, for the log was mended
		_ = batch.Set(seqKey(nil, prefixLost, id, g.from), be64(nil, g.to), nil)
	})
	if err != nil {
		return errors.Join(err, batch.Close(), st.close())
	}
	for _, b := range r.report.Buses {
		_ = batch.Set(idKey(nil, prefixBus, uint32(b.Number)), be64(be64(appendText(nil, b.Name), 0), 0), nil)
		_ = batch.Set(metaKey("bus"), be32(nil, uint32(b.Number)), nil) // the greatest is the last
		if b.Events == 0 {
			continue
		}
		_ = batch.Set(idKey(nil, prefixFirst, uint32(b.Number)), be64(be64(nil, b.First), 0), nil)
		_ = batch.Set(idKey(nil, prefixLast, uint32(b.Number)), (&bus{last: b.First - 1}).lastRow(nil), nil)
		_ = batch.Set(idKey(nil, prefixPosition, uint32(b.Number)), be64(nil, b.Last), nil)
	}
	return errors.Join(st.commitSynced(batch), st.close())
}
