package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// Trim implements store.Log. Tables that are being made are finished first.
func (s *Store) Trim(ctx context.Context) error { return s.trim(ctx, true) }

// trim moves the first sequence of each bus up,
// keeping copies of what is owed, and then removes the segments of the log in
// which nothing is left. A bus whose table is being made is left as it is, unless
// that is to be finished.
func (s *Store) trim(ctx context.Context, finish bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	if err := s.applyPending(); err != nil {
		return err
	}
	now, err := s.watchClock()
	if err != nil {
		return err
	}
	if err := s.buryOld(now); err != nil {
		return fmt.Errorf("retention of dead letters: %w", err)
	}
	cuts := map[*bus]cut{}
	for _, b := range s.allBuses() {
		if finish {
			if err := s.finishTable(ctx, b); err != nil {
				return err
			}
		}
		if t := b.table.Load(); t != nil && !t.finished() {
			continue
		}
		c, err := s.plan(ctx, b, now)
		if err != nil {
			return fmt.Errorf("retention of bus %q: %w", b.name, err)
		}
		if c.first > 0 {
			cuts[b] = c
		}
	}
	if len(cuts) > 0 {
		// What is in memory only becomes rows, so that it is seen as owed.
		if err := s.checkpoint(0); err != nil {
			return err
		}
		for b, c := range cuts {
			if err := s.cut(ctx, b, c); err != nil {
				return fmt.Errorf("retention of bus %q: %w", b.name, err)
			}
		}
	}
	if err := s.sweepDedupe(s.clock.now().steady); err != nil {
		return err
	}
	for _, b := range s.allBuses() {
		if err := s.sumTable(ctx, b); err != nil {
			return fmt.Errorf("table of bus %q: %w", b.name, err)
		}
	}
	if err := s.state.flush(); err != nil {
		return err
	}
	if s.snapshots.Load() > 0 {
		return nil // the next time: a backup may be reading them
	}
	return errors.Join(s.removeSegments(ctx), s.removeTraces())
}

// cut is where a bus is to begin.
type cut struct {
	first  uint64
	before int64 // bytes of all events before it, ever

	// Where that is; without a segment if it was not appended yet.
	pos      seglog.Position
	recorded int64
}

// plan finds where b should begin; first is 0 when nothing is to be removed.
// What was not routed yet, and what is held, stays.
func (s *Store) plan(ctx context.Context, b *bus, now int64) (c cut, err error) {
	b.queue.mu.Lock()
	limit := b.queue.routed + 1
	b.queue.mu.Unlock()
	b.mu.Lock()
	opts, first, held, appended := b.opts, b.first, b.appended-b.removed, b.appended
	limit = min(limit, b.last+1)
	if b.opts.Hold {
		limit = min(limit, b.released+1)
	}
	b.mu.Unlock()
	target := first
	if opts.MaxAge > 0 {
		if target, err = s.sequenceAt(ctx, b, now-int64(opts.MaxAge)); err != nil {
			return c, err
		}
		target = max(target, first)
	}
	// The bytes before a sequence are found by going on from an index entry.
	find := func(keep func(before int64, seq uint64) bool) error {
		c = cut{}
		var before int64
		seen := false
		err := s.scanFrom(ctx, b, func(e indexEntry) bool { return keep(e.before, e.seq) }, 0, func(e *entry, pos seglog.Position, start indexEntry) bool {
			if !seen {
				before, seen = start.before, true
			}
			if e.seq < first || keep(before, e.seq) && e.seq < limit {
				before += int64(len(e.event))
				c = cut{first: e.seq + 1, before: before}
				return true
			}
			c = cut{e.seq, before, pos, e.record}
			return false
		})
		if err == nil && !seen {
			err = errors.New("no place in the log is known")
		}
		return err
	}
	bySize := opts.MaxBytes > 0 && held > opts.MaxBytes
	target = min(target, limit)
	if target <= first && !bySize || first >= limit {
		return cut{}, nil
	}
	err = find(func(before int64, seq uint64) bool {
		return seq < target || bySize && appended-before > opts.MaxBytes
	})
	if c.first <= first {
		c = cut{}
	}
	return c, err
}

// cut makes b begin at c.first.
func (s *Store) cut(ctx context.Context, b *bus, c cut) error {
	b.queue.mu.Lock()
	reached := b.queue.position + 1
	b.queue.mu.Unlock()
	if c.first > reached {
		return nil // something came into memory meanwhile: the next time
	}
	if err := s.keepOwed(b, c.first); err != nil {
		return err
	}
	at, found, err := s.locateSeq(b, c.first)
	if err != nil {
		return err
	}
	b.mu.Lock()
	first := b.first
	b.mu.Unlock()
	batch := s.state.db.NewBatch()
	_ = batch.Set(idKey(nil, prefixFirst, uint32(b.id)), be64(be64(nil, c.first), uint64(c.before)), nil)
	switch {
	case b.table.Load() != nil:
		// What is below stays, as far as it is in the table. How many bytes are
		// before the first event could not be counted any more from there.
		if c.pos.Segment != 0 {
			e := indexEntry{c.first, c.pos, c.recorded, c.before}
			_ = batch.Set(seqKey(nil, prefixIndex, b.id, c.first), e.append(nil), nil)
		}
	case found:
		_ = batch.DeleteRange(idKey(nil, prefixIndex, uint32(b.id)), seqKey(nil, prefixIndex, b.id, at.seq), nil)
	}
	_ = batch.DeleteRange(idKey(nil, prefixBlock, uint32(b.id)), seqKey(nil, prefixBlock, b.id, c.first>>traceBucket), nil)
	_ = batch.DeleteRange(idKey(nil, prefixSummary, uint32(b.id)), seqKey(nil, prefixSummary, b.id, c.first/s.opts.summaryEvents), nil)
	if err := s.dropGivenUp(batch, b.id, c.first); err != nil {
		_ = batch.Close()
		return err
	}
	if err := s.dropAttempts(batch, b.id, first, c.first); err != nil {
		_ = batch.Close()
		return err
	}
	if err := s.state.commit(batch); err != nil {
		return err
	}
	b.mu.Lock()
	b.first, b.removed = c.first, c.before
	if freed := b.tail.pass(c.first - 1); freed != 0 {
		s.tailBytes.Add(-freed)
	}
	b.mu.Unlock()
	return nil
}

// dropGivenUp drops what is known of lost sequences that are all below first.
func (s *Store) dropGivenUp(batch *pebble.Batch, bus store.BusID, first uint64) error {
	return s.state.scan(idKey(nil, prefixLost, uint32(bus)), seqKey(nil, prefixLost, bus, first), func(key, value []byte) (bool, error) {
		g, err := parseGap(key, value)
		if err == nil && g.to < first {
			_ = batch.Delete(key, nil)
		}
		return true, err
	})
}

// dropAttempts drops the attempts of the events of a bus from first up to
// without end, but not of those that are owed.
func (s *Store) dropAttempts(batch *pebble.Batch, bus store.BusID, first, end uint64) error {
	drop := func(from, to uint64) {
		if from < to {
			_ = batch.DeleteRange(seqKey(nil, prefixAttempt, bus, from), seqKey(nil, prefixAttempt, bus, to), nil)
		}
	}
	err := s.state.scan(seqKey(nil, prefixOwed, bus, first), seqKey(nil, prefixOwed, bus, end), func(key, _ []byte) (bool, error) {
		seq := binary.BigEndian.Uint64(key[5:])
		drop(first, seq)
		first = seq + 1
		return true, nil
	})
	drop(first, end)
	return err
}

// segmentUse is what of a segment is still needed.
type segmentUse struct {
	info  seglog.SegmentInfo
	live  int64 // bytes of events that are left, about
	keeps bool
}

const (
	// sparse is the share of a segment that must be left for it to stay as it is.
	sparse = 4
	// emptied is the most that a segment has which holds nothing: one in the
	// middle stays, tiny, until it is the oldest.
	emptied = 8 << 10
)

// removeSegments removes the sealed segments of the log that no bus needs, and
// brings together what is left of those of which that is little. The state
// that covers them is synced.
func (s *Store) removeSegments(ctx context.Context) error {
	s.applyMu.Lock()
	covered := s.covered
	s.applyMu.Unlock()
	var run []segmentUse
	var live int64
	for _, info := range s.log.Segments() {
		if !info.Sealed || info.Last >= covered.Segment {
			break
		}
		use, err := s.useOf(info)
		if err != nil {
			return err
		}
		small := !use.keeps && info.Size <= emptied && len(run) > 0 // goes with what it stands behind
		if (use.keeps || small) && use.live*sparse < s.opts.SegmentSize && live+use.live < s.opts.SegmentSize/2 {
			run = append(run, use)
			live += use.live
			continue
		}
		if err := s.rewriteRun(ctx, run); err != nil {
			return err
		}
		run, live = nil, 0
		if !use.keeps && (info.Size > emptied || info.First == s.log.Segments()[0].First) {
			if err := s.removeSegment(info); err != nil && !errors.Is(err, seglog.ErrBusy) {
				return fmt.Errorf("remove segment %d of the log: %w", info.Last, err)
			}
		}
	}
	return s.rewriteRun(ctx, run)
}

// rewriteRun rewrites adjacent segments into one, if that frees some space or
// several files.
func (s *Store) rewriteRun(ctx context.Context, run []segmentUse) error {
	var size, live int64
	for _, use := range run {
		size += use.info.Size
		live += use.live
	}
	if len(run) == 0 || len(run) < 8 && (live*sparse >= size || size <= emptied*int64(len(run))) {
		return nil
	}
	err := s.rewrite(ctx, run[0].info.First, run[len(run)-1].info.Last)
	if errors.Is(err, seglog.ErrBusy) || errors.Is(err, seglog.ErrGone) || errors.Is(err, seglog.ErrRewriteTooLarge) {
		return nil // another time
	}
	if err != nil {
		return fmt.Errorf("rewrite %s of the log: %w", span("segment", "segments", run[0].info.First, run[len(run)-1].info.Last), err)
	}
	return nil
}

// useOf sums up what a segment still holds.
func (s *Store) useOf(info seglog.SegmentInfo) (use segmentUse, err error) {
	use.info = info
	lower, upper := be64([]byte{prefixSegment}, info.First), be64([]byte{prefixSegment}, info.Last+1)
	err = s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
		k, v := rowReader{rest: key[9:]}, rowReader{rest: value}
		id, row := store.BusID(k.u32()), v.segmentRow()
		if k.bad || v.bad {
			return false, errBadRow
		}
		b, err := s.bus(id)
		if err != nil {
			return true, nil
		}
		b.mu.Lock()
		first := b.first
		b.mu.Unlock()
		rest := int64(0) // below the first sequence
		if b.table.Load() != nil && row.min < first {
			rest = min(b.rowBytes(info, row), row.bytes)
		}
		if row.max < first {
			use.keeps = use.keeps || rest > 0
			use.live += rest
			return true, nil
		}
		use.keeps = true
		if row.min >= first || row.max == row.min {
			use.live += row.bytes
		} else {
			use.live += min(rest+int64(float64(row.bytes)*float64(row.max-first+1)/float64(row.max-row.min+1)), row.bytes)
		}
		return true, nil
	})
	return use, err
}

func (s *Store) removeSegment(info seglog.SegmentInfo) error {
	err := s.log.Remove(info.Last)
	if err != nil && !errors.Is(err, seglog.ErrGone) {
		return err
	}
	batch := s.state.db.NewBatch()
	lower, upper := be64([]byte{prefixSegment}, info.First), be64([]byte{prefixSegment}, info.Last+1)
	_ = batch.DeleteRange(lower, upper, nil)
	err = s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
		k, v := rowReader{rest: key[9:]}, rowReader{rest: value}
		id, row := store.BusID(k.u32()), v.segmentRow()
		if b, err := s.bus(id); err != nil || b.table.Load() == nil {
			return true, nil
		}
		return true, errors.Join(k.err(), v.err(), s.eachIndexIn(id, row.max, info.First, info.Last, func(key []byte, _ indexEntry) {
			_ = batch.Delete(key, nil)
		}))
	})
	if err != nil {
		return errors.Join(err, batch.Close())
	}
	return s.state.commit(batch)
}

// eachIndexIn calls f for the index rows of a bus up to a sequence that point
// into some segments.
func (s *Store) eachIndexIn(id store.BusID, upTo, first, last uint64, f func(key []byte, e indexEntry)) error {
	return s.state.scan(idKey(nil, prefixIndex, uint32(id)), seqKey(nil, prefixIndex, id, upTo+1), func(key, value []byte) (bool, error) {
		e, err := parseIndexEntry(key, value)
		if err == nil && e.pos.Segment >= first && e.pos.Segment <= last {
			f(key, e)
		}
		return err == nil, err
	})
}

// rewriting is what a rewrite finds out.
type rewriting struct {
	rows  map[store.BusID]segmentRow          // of what it keeps
	seen  map[store.BusID]uint64              // of buses with tables: the highest sequence that was there
	moved map[*bus][]rowMove                  // rows of tables
	moves map[seglog.Position]seglog.Position // of the frames that it keeps
}

// rewrite copies what is left of some segments into a new one and moves the
// index to it.
func (s *Store) rewrite(ctx context.Context, first, last uint64) error {
	w := &rewriting{
		rows: map[store.BusID]segmentRow{}, seen: map[store.BusID]uint64{},
		moved: map[*bus][]rowMove{}, moves: map[seglog.Position]seglog.Position{},
	}
	rw, err := s.log.Rewrite(ctx, first, last, func(pos seglog.Position, payload []byte) ([]byte, bool) {
		return s.liveOf(pos, payload, w)
	}, func(from, to seglog.Position) { w.moves[from] = to })
	if err != nil {
		return err
	}
	err = rw.Commit(func() error { return s.moveIndex(first, last, w) })
	if err != nil {
		return errors.Join(err, rw.Abort())
	}
	return nil
}

// liveOf is a frame's payload without the entries that nobody needs, and a sum
// of what it keeps.
func (s *Store) liveOf(pos seglog.Position, payload []byte, w *rewriting) ([]byte, bool) {
	var kept []byte
	count := 0
	total := 0
	err := walkAll(payload, func(e *entry) error {
		total++
		if e.flags&(flagVoid|flagScheduled) != 0 {
			return nil
		}
		b, err := s.bus(e.bus)
		if err != nil {
			return nil
		}
		b.mu.Lock()
		first := b.first
		b.mu.Unlock()
		tabled := b.table.Load() != nil
		if e.seq < first && !tabled {
			return nil
		}
		if tabled {
			w.seen[e.bus] = max(w.seen[e.bus], e.seq)
			subject, row, ok, err := s.ownRow(b, e)
			if err == nil && e.seq < first && (!ok || row.ends) {
				return nil
			}
			if ok {
				w.moved[b] = append(w.moved[b], rowMove{strings.Clone(subject), e.seq, pos})
			}
		}
		row, ok := w.rows[e.bus]
		if !ok {
			row.min = e.seq
		}
		row.max = e.seq
		row.bytes += int64(len(e.event))
		w.rows[e.bus] = row
		if kept == nil {
			kept = appendPayloadHeader(make([]byte, 0, len(payload)), 0)
		}
		kept = append(kept, e.raw...)
		count++
		return nil
	})
	switch {
	case err != nil: // not ours to lose
		return payload, true
	case count == 0:
		return nil, false
	case count == total:
		return payload, true
	}
	binary.LittleEndian.PutUint32(kept[1:], uint32(count))
	return kept, true
}

// moveIndex brings the index entries of a rewritten segment to its new place,
// and the rows of tables.
func (s *Store) moveIndex(first, last uint64, w *rewriting) error {
	for b, moved := range w.moved {
		if err := s.moveRows(b, moved, w.moves); err != nil {
			return err
		}
	}
	batch := s.state.db.NewBatch()
	_ = batch.DeleteRange(be64([]byte{prefixSegment}, first), be64([]byte{prefixSegment}, last+1), nil)
	for id, row := range w.rows {
		_ = batch.Set(segmentKey(nil, prefixSegment, last, id), row.append(nil), nil)
	}
	froms := slices.SortedFunc(maps.Keys(w.moves), seglog.Position.Compare)
	upTo := w.seen
	for id, row := range w.rows {
		upTo[id] = max(upTo[id], row.max)
	}
	for id, highest := range upTo {
		b, err := s.bus(id)
		if err != nil {
			continue // it was dropped, and its index with it
		}
		b.mu.Lock()
		begin := b.first
		b.mu.Unlock()
		tabled := b.table.Load() != nil
		before := seglog.Position{} // where the entry before points
		err = s.eachIndexIn(id, highest, first, last, func(key []byte, e indexEntry) {
			// The event that it stood at may be gone: the next one that is left.
			i, _ := slices.BinarySearchFunc(froms, e.pos, seglog.Position.Compare)
			switch {
			case i < len(froms):
				e.pos = w.moves[froms[i]]
			case len(froms) > 0 && !tabled:
				e.pos = w.moves[froms[0]]
			default:
				_ = batch.Delete(key, nil) // nothing of the bus is behind it
				return
			}
			near := before != (seglog.Position{}) && e.pos.Offset-before.Offset < indexDistance
			if tabled && e.seq < begin && near {
				_ = batch.Delete(key, nil)
				return
			}
			before = e.pos
			_ = batch.Set(key, e.append(nil), nil)
		})
		if err != nil {
			_ = batch.Close()
			return err
		}
	}
	return s.state.commitSynced(batch)
}

// removeTraces drops the segments of the trace log whose events are all gone,
// and the names that only they had.
func (s *Store) removeTraces() error {
	if err := s.forgetFormer(); err != nil {
		return err
	}
	for _, info := range s.trace.log.Segments() {
		if !info.Sealed {
			break
		}
		needed := false
		lower, upper := be64([]byte{prefixBlocks}, info.First), be64([]byte{prefixBlocks}, info.Last+1)
		err := s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
			k, v := rowReader{rest: key[9:]}, rowReader{rest: value}
			id, highest := store.BusID(k.u32()), v.u64()
			if b, err := s.bus(id); err == nil {
				b.mu.Lock()
				needed = highest >= b.first
				b.mu.Unlock()
			}
			return !needed, errors.Join(k.err(), v.err())
		})
		if err != nil {
			return err
		}
		if needed {
			break // the later ones are younger; they go when this one does
		}
		if err := s.trace.log.Remove(info.Last); err != nil {
			return fmt.Errorf("remove segment %d of the traces: %w", info.Last, err)
		}
		batch := s.state.db.NewBatch()
		_ = batch.DeleteRange(lower, upper, nil)
		if err := s.state.commit(batch); err != nil {
			return err
		}
	}
	return nil
}
