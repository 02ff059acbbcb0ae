package embedded

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// The table of a bus is a row of the state for each subject, which says where
// its newest event stands in the log. The applier writes them as it follows the
// log, without reading what was there, so they are as recoverable as everything
// else that it writes. What they point at outlives retention: of a segment that
// retention has passed, the entries that are rows are all that is left after it
// was rewritten (retention.go). An entry below the first sequence of its bus is
// there if it is the row of its subject, else it is gone, whether or not its
// bytes are.
//
// A tombstone is a row, too, so that what it ended is known to be gone; it is
// removed once retention has passed it.

// tableState says how far the table of a bus is. It is never changed.
type tableState struct {
	from        uint64 // lowest sequence that was left when the table was begun
	next, until uint64 // the events from next on, up to without until, are still to be looked at
}

func (t *tableState) finished() bool { return t.next >= t.until }

func (t *tableState) append(dst []byte) []byte { return be64(be64(be64(dst, t.from), t.next), t.until) }

func parseTableState(v []byte) (*tableState, error) {
	r := rowReader{rest: v}
	t := &tableState{r.u64(), r.u64(), r.u64()}
	return t, r.err()
}

// tableRow is the newest event of a subject.
type tableRow struct {
	seq  uint64
	pos  seglog.Position // where it stands, unless a crash came between a rewrite and this row
	size uint32          // of the event
	ends bool            // it is a tombstone
}

func (r *tableRow) append(dst []byte) []byte {
	dst = be32(appendPosition(be64(dst, r.seq), r.pos), r.size)
	if r.ends {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func parseTableRow(v []byte) (tableRow, error) {
	r := rowReader{rest: v}
	row := tableRow{seq: r.u64()}
	row.pos.Segment, row.pos.Offset = r.u64(), r.i64()
	row.size, row.ends = r.u32(), r.u8() == 1
	return row, r.err()
}

func tableRowKey(dst []byte, bus store.BusID, subject string) []byte {
	return append(idKey(dst, prefixRow, uint32(bus)), subject...)
}

// inTable says whether events with a subject belong to a table.
func inTable(subject string) bool { return subject != "" && len(subject) <= store.MaxTableSubject }

// rowNote is a row that the applier is to write; its subject stands in
// pending.subjects.
type rowNote struct {
	bus      *bus
	from, to int
	row      tableRow
}

// noteRow takes note of an event of a bus with a table; pendingMu is held.
func (p *pending) noteRow(b *bus, subject string, row tableRow) {
	if !inTable(subject) {
		return
	}
	from := len(p.subjects)
	p.subjects = append(p.subjects, subject...)
	p.rows = append(p.rows, rowNote{b, from, len(p.subjects), row})
}

// applyRows writes the rows of what was noted; s.applyMu is held.
func (s *Store) applyRows(batch *pebble.Batch, p *pending) {
	var key, value []byte
	for i := range p.rows {
		n := &p.rows[i]
		if n.bus.table.Load() == nil {
			continue // it was turned off meanwhile
		}
		key = append(idKey(key[:0], prefixRow, uint32(n.bus.id)), p.subjects[n.from:n.to]...)
		value = n.row.append(value[:0])
		_ = batch.Set(key, value, nil)
	}
}

// rowOf finds the row of a subject.
func (s *Store) rowOf(b *bus, subject string) (row tableRow, ok bool, err error) {
	ok, err = s.state.get(tableRowKey(nil, b.id, subject), func(v []byte) error {
		row, err = parseTableRow(v)
		return err
	})
	return row, ok, err
}

// ownRow finds the row that an entry is; ok is false if it is none, or not any
// more.
func (s *Store) ownRow(b *bus, e *entry) (subject string, row tableRow, ok bool, err error) {
	subject, _, err = event.PeekSubject(e.event)
	if err != nil || !inTable(subject) {
		return subject, row, false, err
	}
	row, ok, err = s.rowOf(b, subject)
	return subject, row, ok && row.seq == e.seq, err
}

// kept says whether an entry that retention has passed is still there.
func (s *Store) kept(b *bus, e *entry) (bool, error) {
	_, row, ok, err := s.ownRow(b, e)
	return ok && !row.ends, err
}

// putTable puts into the batch that the table of b begins, or with nil that
// there is none.
func putTable(batch *pebble.Batch, id store.BusID, t *tableState) {
	key := idKey(nil, prefixTable, uint32(id))
	if t == nil {
		_ = batch.Delete(key, nil)
		rows := idKey(nil, prefixRow, uint32(id))
		_ = batch.DeleteRange(rows, successor(rows), nil)
		return
	}
	_ = batch.Set(key, t.append(nil), nil)
}

// switchTable begins the table of a bus, or drops it, in the batch that says
// so; trimMu is held. What it drops of the log goes when retention looks next.
func (s *Store) switchTable(b *bus, on bool, batch *pebble.Batch) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.apply(); err != nil {
		return err
	}
	b.mu.Lock()
	before := b.table.Load()
	var t *tableState
	if on {
		t = &tableState{from: b.first, next: b.first, until: b.last + 1}
	}
	b.table.Store(t) // what is appended from here on is noted
	b.sum = nil
	first := b.first
	b.mu.Unlock()
	putTable(batch, b.id, t)
	if at, ok, err := s.locateSeq(b, first); err == nil && ok && !on {
		_ = batch.DeleteRange(idKey(nil, prefixIndex, uint32(b.id)), seqKey(nil, prefixIndex, b.id, at.seq), nil)
	}
	if err := s.state.commit(batch); err != nil {
		b.table.Store(before)
		return err
	}
	s.wakeTabler()
	return nil
}

// loadTables takes up the tables at a start.
func (s *Store) loadTables() error {
	return s.eachID(prefixTable, func(id uint32, v []byte) error {
		t, err := parseTableState(v)
		if b := s.buses.get(id); b != nil && err == nil {
			b.table.Store(t)
			b.opts.Table = true
		}
		return err
	})
}

func (s *Store) wakeTabler() {
	select {
	case s.tableSignal <- struct{}{}:
	default:
	}
}

// tabler makes the tables of buses that had events before, and leaves half of
// the time to others.
func (s *Store) tabler() {
	for {
		for _, b := range s.allBuses() {
			for more := true; more && !s.closing.Load(); {
				began := time.Now()
				s.trimMu.Lock()
				var err error
				more, err = s.tableStep(context.Background(), b)
				s.trimMu.Unlock()
				if err != nil && !s.closing.Load() {
					s.opts.Logger.Error("making the table of a bus failed; the next retention tries again", "bus", b.name, "error", err)
					break
				}
				if more && !s.pause(time.Since(began)) {
					return
				}
			}
		}
		select {
		case <-s.halt:
			return
		case <-s.tableSignal:
		}
	}
}

// pause waits, and says whether the store goes on.
func (s *Store) pause(d time.Duration) bool {
	select {
	case <-s.halt:
		return false
	case <-time.After(d):
		return true
	}
}

// finishTable makes what lacks of the table of b; trimMu is held.
func (s *Store) finishTable(ctx context.Context, b *bus) error {
	for {
		more, err := s.tableStep(ctx, b)
		if err != nil || !more {
			return err
		}
	}
}

// tableEvents is how many events one step of making a table looks at.
const tableEvents = 4096

// tableStep takes some events that were there before the table into it; trimMu
// is held, so that none of them goes meanwhile. more says that others are left.
func (s *Store) tableStep(ctx context.Context, b *bus) (more bool, err error) {
	t := b.table.Load()
	if t == nil || b.dropped.Load() || t.finished() {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	newest := map[string]tableRow{}
	next, looked := t.until, 0
	err = s.scanBus(ctx, b, t.next, func(e *entry, pos seglog.Position) (bool, error) {
		if e.seq >= t.until {
			return false, nil
		}
		if looked == tableEvents {
			next = e.seq
			return false, nil
		}
		looked++
		subject, data, err := event.PeekSubject(e.event)
		if err == nil && inTable(subject) {
			newest[strings.Clone(subject)] = tableRow{e.seq, pos, uint32(len(e.event)), !data}
		}
		return e.seq+1 < t.until, err
	})
	if err != nil {
		return false, fmt.Errorf("bus %q: make the table from sequence %d on: %w", b.name, t.next, err)
	}
	after := &tableState{t.from, next, t.until}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	batch := s.state.db.NewBatch()
	for subject, row := range newest {
		old, ok, err := s.rowOf(b, subject)
		if err != nil {
			_ = batch.Close()
			return false, err
		}
		if !ok || old.seq < row.seq {
			_ = batch.Set(tableRowKey(nil, b.id, subject), row.append(nil), nil)
		}
	}
	putTable(batch, b.id, after)
	if err := s.state.commit(batch); err != nil {
		return false, err
	}
	b.table.Store(after)
	return !after.finished(), nil
}

// tableSum sums up the rows of a table.
type tableSum struct {
	last     uint64           // the bus's when it was made: it knows the rows up to it
	subjects int64            // without tombstones
	first    uint64           // lowest sequence of these; 0 without any
	live     map[uint64]int64 // bytes of rows by segment, without tombstones
	ended    uint64           // sequence of the oldest tombstone, 0 without any
}

// sumTable sums the table of b up anew, unless that would say little new, and
// removes the tombstones that retention has passed; trimMu is held. A sum is made again after a quarter as many events as
// there are subjects, so that it costs a few rows for each event at most.
func (s *Store) sumTable(ctx context.Context, b *bus) error {
	t := b.table.Load()
	if t == nil || !t.finished() {
		return nil
	}
	b.mu.Lock()
	old, first, last := b.sum, b.first, b.last
	b.mu.Unlock()
	if old != nil && int64(last-old.last)*4 <= old.subjects && (old.ended == 0 || old.ended >= first) {
		return nil
	}
	if err := s.applyPending(); err != nil { // the rows of all up to last
		return err
	}
	sum := &tableSum{last: last, live: map[uint64]int64{}}
	var over []string
	n := 0
	prefix := idKey(nil, prefixRow, uint32(b.id))
	err := s.state.scanPrefix(prefix, func(key, value []byte) (bool, error) {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		row, err := parseTableRow(value)
		switch {
		case err != nil:
			return false, err
		case !row.ends:
			sum.subjects++
			if sum.first == 0 || row.seq < sum.first {
				sum.first = row.seq
			}
			sum.live[row.pos.Segment] += int64(row.size)
		case row.seq < first && len(over) < 1<<16: // the others the next time
			over = append(over, string(key[len(prefix):]))
		case sum.ended == 0 || row.seq < sum.ended:
			sum.ended = row.seq
		}
		return true, nil
	})
	if err == nil {
		err = s.dropEnded(b, first, over)
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.sum = sum
	b.mu.Unlock()
	return nil
}

// dropEnded removes tombstones below first, unless there is a newer event.
func (s *Store) dropEnded(b *bus, first uint64, subjects []string) error {
	for len(subjects) > 0 {
		n := min(len(subjects), 1024)
		err := s.changeRows(b, subjects[:n], func(batch *pebble.Batch, subject string, row tableRow) {
			if row.ends && row.seq < first {
				_ = batch.Delete(tableRowKey(nil, b.id, subject), nil)
			}
		})
		if err != nil {
			return err
		}
		subjects = subjects[n:]
	}
	return nil
}

// changeRows calls f for the rows of some subjects, and commits what it puts
// into the batch before the applier goes on.
func (s *Store) changeRows(b *bus, subjects []string, f func(batch *pebble.Batch, subject string, row tableRow)) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if b.table.Load() == nil {
		return nil
	}
	batch := s.state.db.NewBatch()
	for _, subject := range subjects {
		row, ok, err := s.rowOf(b, subject)
		if err != nil {
			_ = batch.Close()
			return err
		}
		if ok {
			f(batch, subject, row)
		}
	}
	return s.state.commit(batch)
}

// rowBytes is the size of the rows of b that stand in a segment whose newest
// event of b is max; all of its bytes when a sum does not know.
func (b *bus) rowBytes(info seglog.SegmentInfo, held segmentRow) (n int64) {
	b.mu.Lock()
	sum := b.sum
	b.mu.Unlock()
	if sum == nil || sum.last < held.max {
		return held.bytes
	}
	for segment := info.First; segment <= info.Last; segment++ {
		n += sum.live[segment]
	}
	return n
}

// rowMove is a row whose event a rewrite has moved.
type rowMove struct {
	subject string
	seq     uint64
	from    seglog.Position
}

// moveRows points rows at the new places of their events.
func (s *Store) moveRows(b *bus, moved []rowMove, moves map[seglog.Position]seglog.Position) error {
	for len(moved) > 0 {
		n := min(len(moved), 1024)
		subjects := make([]string, n)
		to := make(map[string]rowMove, n)
		for i, m := range moved[:n] {
			subjects[i] = m.subject
			to[m.subject] = m
		}
		err := s.changeRows(b, subjects, func(batch *pebble.Batch, subject string, row tableRow) {
			if m := to[subject]; m.seq == row.seq {
				row.pos = moves[m.from]
				_ = batch.Set(tableRowKey(nil, b.id, subject), row.append(nil), nil)
			}
		})
		if err != nil {
			return err
		}
		moved = moved[n:]
	}
	return nil
}
