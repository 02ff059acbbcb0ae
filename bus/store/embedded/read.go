package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// errStop ends a scan of the log that has seen enough.
var errStop = errors.New("stop")

// cursor remembers that the frame at pos holds seq, or comes before it.
type cursor struct {
	seq uint64
	pos seglog.Position
}

// Read implements store.Log.
func (s *Store) Read(ctx context.Context, id store.BusID, from uint64, max, maxBytes int, dst []store.Record) ([]store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return dst, err
	}
	return s.read(ctx, b, from, max, maxBytes, dst)
}

func (s *Store) read(ctx context.Context, b *bus, from uint64, max, maxBytes int, dst []store.Record) ([]store.Record, error) {
	b.mu.Lock()
	first, last := b.first, b.last
	below := from < first && b.table.Load() != nil
	if from < first && !below {
		from = first
	}
	if from > last || max <= 0 {
		b.mu.Unlock()
		return dst, nil
	}
	if records := b.tail.from(from); records != nil && !below {
		for n, bytes := 0, 0; n < len(records) && n < max && (n == 0 || bytes < maxBytes); n++ {
			dst = append(dst, records[n])
			bytes += records[n].Event.Size()
		}
		b.mu.Unlock()
		return dst, nil
	}
	b.mu.Unlock()
	if below {
		if err := s.applyPending(); err != nil { // so that the rows are known
			return dst, err
		}
	}
	start := len(dst)
	n, bytes, next := 0, 0, from
	var at seglog.Position
	err := s.scanBus(ctx, b, from, func(e *entry, pos seglog.Position) (bool, error) {
		if e.seq > last {
			return false, nil
		}
		if e.seq < first {
			if there, err := s.kept(b, e); err != nil || !there {
				return err == nil, err
			}
		}
		r, err := e.stored()
		if err != nil {
			return false, err
		}
		dst = append(dst, r)
		n++
		bytes += r.Event.Size()
		next, at = e.seq+1, pos
		return n < max && bytes < maxBytes && e.seq < last, nil
	})
	if err != nil {
		b.mu.Lock()
		passed := b.first > from && !below
		b.mu.Unlock()
		if passed { // retention was faster
			return s.read(ctx, b, from, max, maxBytes, dst[:start])
		}
		return dst[:start], fmt.Errorf("bus %q: read from sequence %d: %w", b.name, from, err)
	}
	if n > 0 {
		b.mu.Lock()
		b.cursor = cursor{next, at}
		b.mu.Unlock()
	}
	return dst, nil
}

// scanBus calls f for the events of b from sequence from on, in order, until f
// returns false.
func (s *Store) scanBus(ctx context.Context, b *bus, from uint64, f func(e *entry, pos seglog.Position) (bool, error)) error {
	b.mu.Lock()
	c := b.cursor
	b.mu.Unlock()
	start := c.pos
	tabled := b.table.Load() != nil
	if c.seq != from || c.seq == 0 {
		e, ok, err := s.locateSeq(b, from)
		if err != nil {
			return err
		}
		if !ok && !tabled {
			return fmt.Errorf("no place in the log is known for sequence %d", from)
		}
		start = e.pos // without any, the beginning of the log
	}
	if tabled {
		return s.scanBusFrom(ctx, b, start, func(e *entry, pos seglog.Position) (bool, error) {
			if e.seq < from {
				return true, nil
			}
			return f(e, pos)
		})
	}
	return s.scanLog(ctx, start, seglog.Position{}, func(pos seglog.Position, e *entry) (bool, error) {
		if e.bus != b.id || e.seq < from || e.seq == 0 {
			return true, nil
		}
		return f(e, pos)
	})
}

// scanLog calls f for each entry of the log from a position on until it
// returns false. What a rewrite has moved is found in its new place.
func (s *Store) scanLog(ctx context.Context, from, to seglog.Position, f func(pos seglog.Position, e *entry) (bool, error)) error {
	visit := func(pos seglog.Position, payload []byte) error {
		es, err := parsePayload(payload)
		if err != nil {
			return err
		}
		var e entry
		for {
			ok, err := es.next(&e)
			if err != nil {
				return fmt.Errorf("at %v: %w", pos, err)
			}
			if !ok {
				return nil
			}
			if e.flags&flagVoid != 0 {
				continue
			}
			more, err := f(pos, &e)
			if err != nil {
				return err
			}
			if !more {
				return errStop
			}
		}
	}
	_, err := s.log.Scan(ctx, from, to, visit)
	for moved := (*seglog.MovedError)(nil); errors.As(err, &moved); {
		_, err = s.log.Scan(ctx, moved.To, to, visit)
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// Get implements store.Log.
func (s *Store) Get(ctx context.Context, id store.BusID, seq uint64) (store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return store.Record{}, err
	}
	return s.get(ctx, b, seq)
}

func (s *Store) get(ctx context.Context, b *bus, seq uint64) (store.Record, error) {
	b.mu.Lock()
	first, last := b.first, b.last
	b.mu.Unlock()
	if seq == 0 || seq > last {
		return store.Record{}, fmt.Errorf("bus %q: sequence %d: %w", b.name, seq, store.ErrNotFound)
	}
	if seq >= first {
		rs, err := s.read(ctx, b, seq, 1, math.MaxInt, nil)
		if err != nil {
			return store.Record{}, err
		}
		if len(rs) == 1 && rs[0].Sequence == seq {
			return rs[0], nil
		}
	}
	r, ok, err := s.owedRecord(b.id, seq)
	if err == nil && !ok && b.table.Load() != nil {
		if err = s.applyPending(); err == nil {
			r, ok, err = s.recordOf(ctx, b, seq)
		}
	}
	if err == nil && !ok {
		err = store.ErrTrimmed
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("bus %q: sequence %d: %w", b.name, seq, err)
	}
	return r, nil
}

// body returns the record of an event that is owed, wherever it is kept.
func (s *Store) body(ctx context.Context, id store.BusID, seq uint64) (store.Record, error) {
	if r, ok, err := s.owedRecord(id, seq); ok || err != nil {
		return r, err
	}
	b, err := s.bus(id)
	if err != nil {
		return store.Record{}, err
	}
	return s.get(ctx, b, seq)
}

// SequenceAt implements store.Log.
func (s *Store) SequenceAt(ctx context.Context, id store.BusID, t time.Time) (uint64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return 0, err
	}
	if b.table.Load() != nil {
		return s.keptAt(ctx, b, t)
	}
	return s.sequenceAt(ctx, b, nanos(t))
}

// sequenceAt is the lowest sequence of the history that was recorded at t or
// later.
func (s *Store) sequenceAt(ctx context.Context, b *bus, t int64) (uint64, error) {
	b.mu.Lock()
	first, last, recorded := b.first, b.last, b.recorded
	b.mu.Unlock()
	if first > last || recorded < t {
		return last + 1, nil
	}
	found := last + 1
	err := s.scanFrom(ctx, b, func(e indexEntry) bool { return e.recorded < t }, first, func(e *entry, _ seglog.Position, _ indexEntry) bool {
		if e.record < t {
			return true
		}
		found = e.seq
		return false
	})
	return found, err
}

// scanFrom calls f for the events of b from the newest index entry that keep
// accepts on, but none below first.
func (s *Store) scanFrom(ctx context.Context, b *bus, keep func(indexEntry) bool, first uint64, f func(e *entry, pos seglog.Position, start indexEntry) bool) error {
	start, ok, err := s.locate(b, keep)
	if err == nil && (!ok || start.seq < first) {
		var at indexEntry
		if at, ok, err = s.locateSeq(b, first); ok && at.seq > start.seq {
			start = at
		}
	}
	if err != nil || !ok {
		return err
	}
	return s.scanLog(ctx, start.pos, seglog.Position{}, func(pos seglog.Position, e *entry) (bool, error) {
		if e.bus != b.id || e.seq == 0 || e.seq < start.seq || e.seq < first {
			return true, nil
		}
		return f(e, pos, start), nil
	})
}

// nanos is t in Unix nanoseconds, clamped to what they can express.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}
