package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// readAhead is how many blocks one request of a forward read fetches at most.
const readAhead = 8

// Bounds implements store.Store: First and History are the archive's if that has
// events which the engine has not.
func (s *Store) Bounds(bus store.BusID) (store.Bounds, error) {
	b, err := s.Store.Bounds(bus)
	a := s.of(bus)
	if err != nil || a == nil {
		return b, err
	}
	if first := a.first(); first > 0 {
		b.First, b.History = min(b.First, first), min(b.History, first)
	}
	return b, nil
}

// Read implements store.Store. Events that only the archive has are read from
// there; one call does not cross the border. An object that cannot be read ends
// a page that has events already; the error is for the call that begins with it.
func (s *Store) Read(ctx context.Context, bus store.BusID, from uint64, max, maxBytes int, dst []store.Record) ([]store.Record, error) {
	a := s.of(bus)
	if a == nil {
		return s.Store.Read(ctx, bus, from, max, maxBytes, dst)
	}
	start := len(dst)
	for {
		b, err := s.Store.Bounds(bus)
		if err != nil {
			return dst, err
		}
		if from >= b.History {
			dst, err = s.Store.Read(ctx, bus, from, max, maxBytes, dst)
			if err != nil || len(dst) == start || dst[start].Sequence == from {
				return dst, err
			}
			// Retention was faster, and the archive has it now, or a repair gave
			// it up.
			if b, err = s.Store.Bounds(bus); err != nil || from >= b.History {
				return dst, err
			}
			dst = dst[:start]
			continue
		}
		// What a table holds of the time before the archive.
		if first := a.first(); first == 0 || from < first {
			end := b.History
			if first > 0 {
				end = min(end, first)
			}
			dst, err = s.Store.Read(ctx, bus, from, max, maxBytes, dst)
			for len(dst) > start && dst[len(dst)-1].Sequence >= end {
				dst = dst[:len(dst)-1]
			}
			if err != nil || len(dst) > start || max <= 0 {
				return dst, err
			}
			from = end
			continue
		}
		bytes := 0
		err = a.each(ctx, from, b.History-1, false, func(r store.Record) bool {
			if len(dst)-start >= max || len(dst) > start && bytes >= maxBytes {
				return false
			}
			dst = append(dst, r)
			bytes += r.Event.Size()
			return true
		})
		if len(dst) > start {
			return dst, nil
		}
		if err != nil || max <= 0 {
			return dst, err
		}
		from = b.History
	}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, bus store.BusID, seq uint64) (store.Record, error) {
	r, err := s.Store.Get(ctx, bus, seq)
	a := s.of(bus)
	if a == nil || !errors.Is(err, store.ErrTrimmed) {
		return r, err
	}
	found := false
	failed := a.each(ctx, seq, seq, false, func(got store.Record) bool {
		r, found = got, true
		return false
	})
	if failed != nil {
		return store.Record{}, failed
	}
	if !found {
		return store.Record{}, err
	}
	return r, nil
}

// ReceiptOf implements store.Store: of an archived event without a timeline, only
// what its record tells.
func (s *Store) ReceiptOf(ctx context.Context, bus store.BusID, seq uint64) (store.Receipt, error) {
	receipt, err := s.Store.ReceiptOf(ctx, bus, seq)
	if !errors.Is(err, store.ErrTrimmed) {
		return receipt, err
	}
	r, err := s.Get(ctx, bus, seq)
	if err != nil {
		return store.Receipt{}, err
	}
	receipt = store.Receipt{Accepted: r.Recorded}
	t, err := s.timeline(ctx, bus, seq)
	if t.Receipt != nil {
		receipt = *t.Receipt
	}
	return receipt, err
}

// SequenceAt implements store.Store.
func (s *Store) SequenceAt(ctx context.Context, bus store.BusID, t time.Time) (uint64, error) {
	a := s.of(bus)
	if a == nil {
		return s.Store.SequenceAt(ctx, bus, t)
	}
	b, err := s.Store.Bounds(bus)
	if err != nil {
		return 0, err
	}
	if first := a.first(); first == 0 || first >= b.History {
		return s.Store.SequenceAt(ctx, bus, t)
	}
	segments, err := a.list(ctx)
	if err != nil {
		return 0, err
	}
	for _, g := range segments {
		if g.Gap || g.To.Before(t) || g.First >= b.History {
			continue
		}
		found, err := a.sequenceAt(ctx, g, t)
		if err != nil {
			return 0, err
		}
		if found < b.History {
			return found, nil
		}
		break
	}
	return s.Store.SequenceAt(ctx, bus, t)
}

// sequenceAt is the first event of a segment at t or later; there is one.
func (a *archive) sequenceAt(ctx context.Context, g Segment, t time.Time) (uint64, error) {
	if !g.From.Before(t) {
		return g.First, nil
	}
	blocks, err := a.index(ctx, g, magic)
	if err != nil {
		return 0, err
	}
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].end >= t.UnixNano() })
	if i == len(blocks) {
		return g.Last + 1, nil
	}
	records, err := a.block(ctx, g, blocks, i, 1)
	if err != nil {
		return 0, err
	}
	j := sort.Search(len(records), func(j int) bool { return !records[j].Recorded.Before(t) })
	return blocks[i].first + uint64(j), nil
}

// Scan implements store.Store. One call looks on one side of a border only; where
// the archive has nothing, the engine may have events that are owed.
func (s *Store) Scan(ctx context.Context, bus store.BusID, q store.ScanQuery) (out store.Scanned, err error) {
	a := s.of(bus)
	if a == nil {
		return s.Store.Scan(ctx, bus, q)
	}
	b, err := s.Store.Bounds(bus)
	if err != nil {
		return out, err
	}
	from, to := max(q.From, 1), q.To
	if to == 0 || to > b.Last {
		to = b.Last
	}
	if first := a.first(); first == 0 || first >= b.History || from >= b.History || from > to {
		return s.Store.Scan(ctx, bus, q)
	}
	part, archived := q, false
	if part.From, part.To = b.History, to; !q.Newest || to < b.History {
		part.From, part.To, archived, err = a.span(ctx, from, min(to, b.History-1), q.Newest)
	}
	switch {
	case err != nil:
	case archived:
		out, err = a.scan(ctx, part.From, part.To, q)
	default:
		out, err = s.Store.Scan(ctx, bus, part)
	}
	switch {
	case err != nil || out.Next > 0:
	case q.Newest && part.From > from:
		out.Next = part.From - 1
	case !q.Newest && part.To < to:
		out.Next = part.To + 1
	}
	return out, err
}

// span is the part of a range, from where a scan of it begins, that the archive
// has, or else that it has not: a gap, or the time before it.
func (a *archive) span(ctx context.Context, from, to uint64, newest bool) (low, high uint64, archived bool, err error) {
	segments, err := a.list(ctx)
	if err != nil || len(segments) == 0 {
		return from, to, false, err
	}
	at := from
	if newest {
		at = to
	}
	if first := segments[0].First; at < first {
		return from, min(to, first-1), false, nil
	}
	i := sort.Search(len(segments), func(i int) bool { return segments[i].Last >= at })
	if i < len(segments) && segments[i].Gap {
		return max(from, segments[i].First), min(to, segments[i].Last), false, nil
	}
	// To the next gap; what no object has is for each to report.
	low, high = from, to
	if newest {
		for i--; i >= 0 && segments[i].Last >= from; i-- {
			if segments[i].Gap {
				low = segments[i].Last + 1
				break
			}
		}
		return max(low, segments[0].First), high, true, nil
	}
	for i++; i < len(segments) && segments[i].First <= to; i++ {
		if segments[i].Gap {
			high = segments[i].First - 1
			break
		}
	}
	return low, high, true, nil
}

// scan looks through archived events. Like Read, it ends before what it cannot
// read if it has looked at something.
func (a *archive) scan(ctx context.Context, from, to uint64, q store.ScanQuery) (out store.Scanned, err error) {
	bytes := 0
	var last uint64
	err = a.each(ctx, from, to, q.Newest, func(r store.Record) bool {
		if len(out.Records) >= q.Max || out.Looked > 0 && bytes+r.Event.Size() > q.MaxBytes {
			out.Next = r.Sequence
			return false
		}
		out.Looked++
		last = r.Sequence
		bytes += r.Event.Size()
		if !slices.ContainsFunc(q.Has, func(v store.AttributeValue) bool { return !v.In(r.Event) }) {
			out.Records = append(out.Records, r)
		}
		return true
	})
	switch {
	case err == nil:
		return out, nil
	case out.Looked == 0:
		return store.Scanned{}, err
	case q.Newest:
		out.Next = last - 1
	default:
		out.Next = last + 1
	}
	return out, nil
}

// each calls f for the archived events from one sequence to another, in order
// or newest first, until it returns false. What retention of the archive has
// deleted, and gaps, are passed over; what must be there and is not is an error.
func (a *archive) each(ctx context.Context, from, to uint64, newest bool, f func(store.Record) bool) error {
	first := a.first()
	from = max(from, first)
	if first == 0 || from > to {
		return nil
	}
	segments, err := a.list(ctx)
	if err != nil {
		return err
	}
	// The segments that overlap, and holes between them.
	i := sort.Search(len(segments), func(i int) bool { return segments[i].Last >= from })
	j := sort.Search(len(segments), func(j int) bool { return segments[j].First > to })
	run := segments[i:max(i, j)]
	next := from
	check := func(begins uint64) error {
		if begins > next {
			return fmt.Errorf("archive of bus %q in %s: no object has %s: %w", a.name, a.storage, EventsBetween(next, begins-1), ErrMissing)
		}
		return nil
	}
	for _, g := range run {
		if !newest {
			break
		}
		if err := check(g.First); err != nil {
			return err
		}
		next = g.Last + 1
	}
	if newest {
		if err := check(to + 1); err != nil {
			return err
		}
		for _, g := range slices.Backward(run) {
			if more, err := a.segment(ctx, g, from, to, true, f); err != nil || !more {
				return err
			}
		}
		return nil
	}
	for _, g := range run {
		if err := check(g.First); err != nil {
			return err
		}
		if more, err := a.segment(ctx, g, from, to, false, f); err != nil || !more {
			return err
		}
		next = g.Last + 1
	}
	return check(to + 1)
}

// segment calls f for the events of one segment; more is false when f was.
func (a *archive) segment(ctx context.Context, g Segment, from, to uint64, newest bool, f func(store.Record) bool) (more bool, err error) {
	if g.Gap {
		return true, nil
	}
	blocks, err := a.index(ctx, g, magic)
	if err != nil {
		return false, err
	}
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].last() >= from })
	j := sort.Search(len(blocks), func(j int) bool { return blocks[j].first > to })
	for k := range max(0, j-i) {
		at, ahead := i+k, min(readAhead, j-i-k)
		if newest {
			at, ahead = j-1-k, 1
		}
		records, err := a.block(ctx, g, blocks, at, ahead)
		if err != nil {
			return false, err
		}
		for n := range records {
			r := records[n]
			if newest {
				r = records[len(records)-1-n]
			}
			if r.Sequence >= from && r.Sequence <= to && !f(r) {
				return false, nil
			}
		}
	}
	return true, nil
}

// index is a segment's index, or that of its timelines.
func (a *archive) index(ctx context.Context, g Segment, magic string) ([]blockInfo, error) {
	key := a.storage.String() + "/" + g.Object
	if blocks, ok := a.s.cache.index(key); ok {
		return blocks, nil
	}
	blocks, err := readIndex(ctx, a.storage, g, magic)
	if err != nil {
		return nil, a.failure(ctx, err)
	}
	a.s.cache.putIndex(key, blocks)
	return blocks, nil
}

// block is the records of a block; with it, some that follow are fetched.
func (a *archive) block(ctx context.Context, g Segment, blocks []blockInfo, i, ahead int) ([]store.Record, error) {
	key := func(i int) blockKey { return blockKey{a.storage.String(), g.Object, blocks[i].offset} }
	if records, ok := a.s.cache.block(key(i)); ok {
		return records, nil
	}
	unpacked := int(blocks[i].unpacked)
	end := i + 1
	for end < i+ahead && unpacked+int(blocks[end].unpacked) <= cacheBytes/4 {
		unpacked += int(blocks[end].unpacked)
		end++
	}
	begin, stop := blocks[i].offset, blocks[end-1].offset+int64(blocks[end-1].packed)
	data, err := fetch(ctx, a.storage, g, begin, stop-begin)
	if err != nil {
		return nil, a.failure(ctx, err)
	}
	var out []store.Record
	for n, b := range blocks[i:end] {
		at := b.offset - begin
		raw, err := unpack(data[at:at+int64(b.packed)], b.sum, b.unpacked)
		var records []store.Record
		if err == nil {
			records, err = parseBlock(raw, b, a.id())
		}
		if err != nil && n > 0 {
			break // whoever reads that one is told
		}
		if err != nil {
			return nil, a.failure(ctx, damaged(a.storage, g, "block at %d: %w", b.offset, err))
		}
		if n == 0 {
			out = records
		}
		a.s.cache.putBlock(key(i+n), records, int(b.unpacked))
	}
	return out, nil
}

// failure makes an error one of the archive, and has it listed again when an
// object is not there: retention may have deleted it meanwhile.
func (a *archive) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrMissing) {
		a.doubt()
	} else {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	a.s.metrics.readFailed(a.name)
	return &busError{a.name, err}
}

// busError is an error that names the bus whose archive it is of.
type busError struct {
	bus string
	err error
}

func (e *busError) Error() string { return fmt.Sprintf("archive of bus %q: %v", e.bus, e.err) }
func (e *busError) Unwrap() error { return e.err }
