package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// tabled finds a bus whose table can be read, with all that was appended in it.
func (s *Store) tabled(id store.BusID) (*bus, error) {
	b, err := s.bus(id)
	if err != nil {
		return nil, err
	}
	t := b.table.Load()
	switch {
	case t == nil:
		return nil, fmt.Errorf("bus %q: %w", b.name, store.ErrNoTable)
	case !t.finished():
		return nil, fmt.Errorf("bus %q: %w: %d of %d events that were there before were looked at", b.name, store.ErrTableUnfinished, t.next-t.from, t.until-t.from)
	}
	return b, s.applyPending()
}

// Table implements store.Tables.
func (s *Store) Table(id store.BusID) (info store.TableInfo, err error) {
	if err := s.enter(context.Background()); err != nil {
		return info, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return info, err
	}
	t := b.table.Load()
	if t == nil {
		return info, fmt.Errorf("bus %q: %w", b.name, store.ErrNoTable)
	}
	info = store.TableInfo{Subjects: -1, Total: t.until - t.from, Left: t.until - min(t.next, t.until)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sum != nil {
		info.Subjects, info.First = b.sum.subjects, b.sum.first
	}
	return info, nil
}

// TableRow implements store.Tables.
func (s *Store) TableRow(ctx context.Context, id store.BusID, subject string) (r store.Record, err error) {
	if err := s.enter(ctx); err != nil {
		return r, err
	}
	defer s.leave()
	b, err := s.tabled(id)
	if err != nil {
		return r, err
	}
	row, ok, err := s.rowOf(b, subject)
	if err == nil && ok && inTable(subject) {
		r, ok, err = (&tableReader{s: s, b: b}).record(ctx, subject, row)
	}
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("bus %q: subject %q: %w", b.name, subject, err)
	}
	return r, nil
}

// subjectRow is a row with its subject.
type subjectRow struct {
	subject string
	tableRow
}

// ReadTable implements store.Tables.
func (s *Store) ReadTable(ctx context.Context, id store.BusID, prefix, after string, max, maxBytes int, dst []store.Record) ([]store.Record, string, error) {
	if err := s.enter(ctx); err != nil {
		return dst, "", err
	}
	defer s.leave()
	b, err := s.tabled(id)
	if err != nil || max <= 0 {
		return dst, "", err
	}
	start := len(dst)
	reader := tableReader{s: s, b: b}
	for bytes := 0; ; {
		rows, more, err := s.rowsAfter(ctx, b, prefix, after, max-(len(dst)-start))
		if err != nil {
			return dst[:start], "", fmt.Errorf("bus %q: read the table: %w", b.name, err)
		}
		for i, row := range rows {
			r, ok, err := reader.record(ctx, row.subject, row.tableRow)
			if err != nil {
				return dst[:start], "", fmt.Errorf("bus %q: read the table: subject %q: %w", b.name, row.subject, err)
			}
			after = row.subject
			if !ok {
				continue // it was ended meanwhile
			}
			dst = append(dst, r)
			if bytes += r.Event.Size(); bytes >= maxBytes && (more || i+1 < len(rows)) {
				return dst, after, nil
			}
		}
		switch {
		case !more:
			return dst, "", nil
		case len(dst)-start >= max:
			return dst, after, nil
		}
	}
}

// rowsAfter lists some rows of a table in order of subject; more says that
// others follow.
func (s *Store) rowsAfter(ctx context.Context, b *bus, prefix, after string, most int) (rows []subjectRow, more bool, err error) {
	lower := tableRowKey(nil, b.id, prefix)
	upper := successor(lower)
	if after != "" && after >= prefix {
		lower = append(tableRowKey(nil, b.id, after), 0)
	}
	head := len(idKey(nil, prefixRow, uint32(b.id)))
	n := 0
	err = s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		row, err := parseTableRow(value)
		if err != nil || row.ends {
			return err == nil, err
		}
		if len(rows) == most {
			more = true
			return false, nil
		}
		rows = append(rows, subjectRow{string(key[head:]), row})
		return true, nil
	})
	return rows, more, err
}

// tableReader reads the events of rows. It keeps the frame that it read last,
// for events that were appended together stand together.
type tableReader struct {
	s       *Store
	b       *bus
	pos     seglog.Position
	payload []byte
	buf     []byte
}

// record reads the event of a row; ok is false if the subject was ended
// meanwhile.
func (t *tableReader) record(ctx context.Context, subject string, row tableRow) (r store.Record, ok bool, err error) {
	for try := range 16 {
		if try >= 4 { // a rewrite takes a moment to say where it has moved an event
			select {
			case <-ctx.Done():
				return r, false, ctx.Err()
			case <-time.After(time.Duration(try) * 4 * time.Millisecond):
			}
		}
		if row.ends {
			return r, false, nil
		}
		if r, ok, err = t.at(row); err != nil || ok {
			return r, ok, err
		}
		// A rewrite has moved it, or a newer event has replaced it.
		if r, ok, err = t.s.recordOf(ctx, t.b, row.seq); err != nil || ok {
			return r, ok, err
		}
		if row, ok, err = t.s.rowOf(t.b, subject); err != nil || !ok {
			return r, false, err
		}
	}
	return r, false, fmt.Errorf("sequence %d is not where the state says: %w", row.seq, errBadRow)
}

// at looks for the event where its row says that it stands.
func (t *tableReader) at(row tableRow) (r store.Record, ok bool, err error) {
	if t.payload == nil || t.pos != row.pos {
		payload, _, err := t.s.log.Read(row.pos, t.buf)
		var moved *seglog.MovedError
		switch {
		case errors.As(err, &moved) || errors.Is(err, seglog.ErrGone):
			t.payload = nil
			return r, false, nil
		case err != nil:
			return r, false, err
		}
		t.pos, t.payload, t.buf = row.pos, payload, payload
	}
	found := entry{}
	err = walkPayload(t.payload, func(e *entry) error {
		if e.bus == t.b.id && e.seq == row.seq && e.flags&flagScheduled == 0 {
			found = *e
		}
		return nil
	})
	if err != nil || found.seq == 0 {
		return r, false, err
	}
	r, err = found.stored()
	return r, err == nil, err
}

// recordOf finds an event of a bus with a table by its sequence; ok is false if
// it is gone.
func (s *Store) recordOf(ctx context.Context, b *bus, seq uint64) (r store.Record, ok bool, err error) {
	b.mu.Lock()
	first := b.first
	b.mu.Unlock()
	err = s.scanBus(ctx, b, seq, func(e *entry, _ seglog.Position) (bool, error) {
		if e.seq != seq {
			return false, nil
		}
		if e.seq < first {
			if there, err := s.kept(b, e); err != nil || !there {
				return false, err
			}
		}
		r, err = e.stored()
		ok = err == nil
		return false, err
	})
	return r, ok, err
}

// keptAt is SequenceAt for a bus with a table.
func (s *Store) keptAt(ctx context.Context, b *bus, t time.Time) (uint64, error) {
	if err := s.applyPending(); err != nil {
		return 0, err
	}
	at := nanos(t)
	b.mu.Lock()
	first, last, recorded := b.first, b.last, b.recorded
	b.mu.Unlock()
	if recorded < at {
		return last + 1, nil
	}
	start, _, err := s.locate(b, func(e indexEntry) bool { return e.recorded < at })
	if err != nil {
		return 0, err
	}
	found := last + 1
	err = s.scanBusFrom(ctx, b, start.pos, func(e *entry, _ seglog.Position) (bool, error) {
		if e.record < at {
			return true, nil
		}
		if e.seq < first {
			if there, err := s.kept(b, e); err != nil || !there {
				return err == nil, err
			}
		}
		found = e.seq
		return false, nil
	})
	return found, err
}

// scanBusFrom calls f for the events of a bus with a table from a position on,
// which may be gone, until f returns false.
func (s *Store) scanBusFrom(ctx context.Context, b *bus, start seglog.Position, f func(e *entry, pos seglog.Position) (bool, error)) error {
	visit := func(pos seglog.Position, e *entry) (bool, error) {
		if e.bus != b.id || e.seq == 0 {
			return true, nil
		}
		return f(e, pos)
	}
	seen := false
	err := s.scanLog(ctx, start, seglog.Position{}, func(pos seglog.Position, e *entry) (bool, error) {
		seen = true
		return visit(pos, e)
	})
	if errors.Is(err, seglog.ErrGone) && !seen {
		// The oldest segment went before what the state says of it: nothing of
		// this bus was in it.
		err = s.scanLog(ctx, seglog.Position{}, seglog.Position{}, visit)
	}
	return err
}
