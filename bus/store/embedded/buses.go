package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// bus is one bus in memory. It costs a few hundred bytes while it idles: no
// goroutine, no file.
type bus struct {
	id      store.BusID
	name    string
	dropped atomic.Bool

	// Only the log's appender touches these: what was given out, durable or not.
	assigned     uint64
	assignedTime int64
	group        uint64 // the last group that has events of this bus

	mu       sync.Mutex
	opts     store.BusOptions
	last     uint64        // highest durable sequence
	recorded int64         // its time
	appended int64         // bytes of all events ever appended
	first    uint64        // lowest that retention has left
	removed  int64         // bytes of the events before first
	released uint64        // events up to it may go although opts.Hold is set
	trimming atomic.Uint64 // bodies below it are kept as owed rows; at least first
	seg      segmentRow
	segment  uint64          // that seg is about
	done     []segmentDone   // segments before, of which the state does not know all yet
	indexed  seglog.Position // of the newest index entry
	recent   []indexEntry    // not in the state yet
	cursor   cursor          // where the last sequential read ended
	tail     tail
	notify   chan struct{} // closed at the next append; nil while nobody waits
	touched  bool          // its rows are to be written by the next apply

	table atomic.Pointer[tableState] // nil without a table; changed under applyMu
	sum   *tableSum                  // of its rows; nil until retention was applied once

	summaries atomic.Uint64 // the chunk that is summarised next; 0 after a start
	collect   collector

	queue ring
}

// segmentRow sums up what a segment holds of a bus.
type segmentRow struct {
	min, max uint64
	bytes    int64
}

func (r segmentRow) append(dst []byte) []byte {
	return be64(be64(be64(dst, r.min), r.max), uint64(r.bytes))
}

func (r *rowReader) segmentRow() segmentRow {
	return segmentRow{r.u64(), r.u64(), r.i64()}
}

// lastRow is the row under prefixLast: what the log held of the bus at the
// covered position.
func (b *bus) lastRow(dst []byte) []byte {
	dst = be64(be64(be64(dst, b.last), uint64(b.recorded)), uint64(b.appended))
	return b.seg.append(be64(dst, b.segment))
}

func (b *bus) readLastRow(v []byte) error {
	r := rowReader{rest: v}
	b.last, b.recorded, b.appended = r.u64(), r.i64(), r.i64()
	b.segment = r.u64()
	b.seg = r.segmentRow()
	return r.err()
}

func (b *bus) bounds() store.Bounds {
	b.mu.Lock()
	defer b.mu.Unlock()
	bounds := store.Bounds{First: b.first, History: b.first, Last: b.last, Bytes: b.appended - b.removed}
	if t := b.table.Load(); t != nil {
		bounds.First = t.from
	}
	return bounds
}

// lookup finds a bus that is not dropped.
func (s *Store) bus(id store.BusID) (*bus, error) {
	b := s.buses.get(uint32(id))
	if b == nil || b.dropped.Load() {
		return nil, fmt.Errorf("bus %d: %w", id, store.ErrNotFound)
	}
	return b, nil
}

// errSwitches says that opening a bus begins or drops its table, for which
// trimMu is to be held.
var errSwitches = errors.New("the table is begun or dropped")

// OpenBus implements store.Buses.
func (s *Store) OpenBus(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	id, err := s.openBus(name, opts, false)
	if errors.Is(err, errSwitches) {
		s.trimMu.Lock() // no event goes meanwhile
		id, err = s.openBus(name, opts, true)
		s.trimMu.Unlock()
	}
	if err == nil {
		err = s.state.flush() // of one that was there, too: its creator may not have synced it yet
	}
	if err != nil {
		return 0, fmt.Errorf("open bus %q: %w", name, err)
	}
	return id, nil
}

func (s *Store) openBus(name string, opts store.BusOptions, trimming bool) (store.BusID, error) {
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.tableMu.RLock()
	b := s.byName[name]
	s.tableMu.RUnlock()
	batch := s.state.db.NewBatch()
	if b == nil {
		return s.newBus(name, opts, batch)
	}
	b.mu.Lock()
	same, switches := b.opts == opts, b.opts.Table != opts.Table
	b.mu.Unlock()
	switch {
	case same:
		return b.id, batch.Close()
	case switches && !trimming:
		return 0, errors.Join(errSwitches, batch.Close())
	}
	_ = batch.Set(idKey(nil, prefixBus, uint32(b.id)), busRow(name, opts), nil)
	var err error
	if switches {
		err = s.switchTable(b, opts.Table, batch)
	} else {
		err = s.state.commit(batch)
	}
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	b.opts = opts
	b.mu.Unlock()
	return b.id, nil
}

// newBus makes a bus; openMu is held.
func (s *Store) newBus(name string, opts store.BusOptions, batch *pebble.Batch) (store.BusID, error) {
	b := &bus{id: s.lastBus + 1, name: name, opts: opts, first: 1}
	_ = batch.Set(metaKey("bus"), be32(nil, uint32(b.id)), nil)
	_ = batch.Set(idKey(nil, prefixBus, uint32(b.id)), busRow(name, opts), nil)
	if opts.Table {
		t := &tableState{from: 1, next: 1, until: 1}
		putTable(batch, b.id, t)
		b.table.Store(t)
	}
	if err := s.state.commit(batch); err != nil {
		return 0, err
	}
	s.lastBus = b.id
	s.addBus(b)
	return b.id, nil
}

func busRow(name string, opts store.BusOptions) []byte {
	row := be64(be64(appendText(nil, name), uint64(opts.MaxAge)), uint64(opts.MaxBytes))
	if opts.Hold {
		row = append(row, 1)
	}
	return row
}

// Release implements store.Buses.
func (s *Store) Release(id store.BusID, upTo uint64) error {
	if err := s.enter(context.Background()); err != nil {
		return err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released = max(b.released, upTo)
	return nil
}

func (s *Store) addBus(b *bus) {
	s.buses.set(uint32(b.id), b)
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	s.byName[b.name] = b
}

func parseBusRow(id store.BusID, v []byte) (*bus, error) {
	r := rowReader{rest: v}
	b := &bus{id: id, name: r.text(), first: 1}
	b.opts.MaxAge = time.Duration(r.i64())
	b.opts.MaxBytes = r.i64()
	if !r.bad && len(r.rest) > 0 {
		b.opts.Hold = r.rest[0] == 1
	}
	return b, r.err()
}

// allBuses lists the buses that are not dropped, in order of id.
func (s *Store) allBuses() []*bus {
	return slices.DeleteFunc(s.buses.all(), func(b *bus) bool { return b.dropped.Load() })
}

// DropBus implements store.Buses. What subscriptions are owed of it, and their
// dead letters, stay with them.
func (s *Store) DropBus(ctx context.Context, id store.BusID) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	b, err := s.bus(id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.dropped.Store(true)
	b.wake()
	b.mu.Unlock()
	if err := s.dropBus(b); err != nil {
		b.dropped.Store(false)
		s.schedule.again() // what came due meanwhile was passed over
		return fmt.Errorf("drop bus %q: %w", b.name, err)
	}
	return nil
}

func (s *Store) dropBus(b *bus) error {
	// An append that was sealed before the mark is waited for here; later ones
	// are refused.
	if err := s.barrier(context.Background()); err != nil {
		return err
	}
	if err := s.applyPending(); err != nil {
		return err
	}
	b.queue.enqueueMu.Lock()
	defer b.queue.enqueueMu.Unlock()
	if err := s.checkpoint(0); err != nil {
		return err
	}
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	if err := s.keepOwed(b, last+1); err != nil {
		return err
	}
	batch := s.state.db.NewBatch()
	putTable(batch, b.id, nil)
	for _, prefix := range []byte{prefixIndex, prefixBlock, prefixSummary, prefixLost} {
		key := idKey(nil, prefix, uint32(b.id))
		_ = batch.DeleteRange(key, successor(key), nil)
	}
	for _, prefix := range []byte{prefixBus, prefixLast, prefixFirst, prefixPosition} {
		_ = batch.Delete(idKey(nil, prefix, uint32(b.id)), nil)
	}
	if err := s.dropAttempts(batch, b.id, 1, last+1); err != nil {
		_ = batch.Close()
		return err
	}
	if err := s.dropScheduled(batch, b.id); err != nil {
		_ = batch.Close()
		return err
	}
	if err := s.state.commitSynced(batch); err != nil {
		return err
	}
	s.buses.set(uint32(b.id), nil)
	s.tableMu.Lock()
	if s.byName[b.name] == b {
		delete(s.byName, b.name)
	}
	s.tableMu.Unlock()
	b.mu.Lock()
	s.tailBytes.Add(-b.tail.reset())
	s.collected.Add(-b.collect.reset())
	b.recent = nil
	b.mu.Unlock()
	return nil
}

// Bounds implements store.Buses.
func (s *Store) Bounds(id store.BusID) (store.Bounds, error) {
	if err := s.enter(context.Background()); err != nil {
		return store.Bounds{}, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return store.Bounds{}, err
	}
	return b.bounds(), nil
}

// Await implements store.Log.
func (s *Store) Await(ctx context.Context, id store.BusID, after uint64) error {
	for {
		notify, err := s.appendedAfter(ctx, id, after)
		if err != nil || notify == nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-notify:
		case <-s.closed:
		}
	}
}

// appendedAfter returns nil when the bus holds a sequence above after, else a
// channel that is closed at its next append.
func (s *Store) appendedAfter(ctx context.Context, id store.BusID, after uint64) (<-chan struct{}, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last > after {
		return nil, nil
	}
	if b.notify == nil {
		b.notify = make(chan struct{})
	}
	return b.notify, nil
}

// wake lets every Await look again; b.mu is held.
func (b *bus) wake() {
	if b.notify != nil {
		close(b.notify)
		b.notify = nil
	}
}

// tail is the newest records of a bus, in memory until the router has passed
// them, so that it need not decode what was just encoded. It has no gaps.
type tail struct {
	records []store.Record
	head    int
	bytes   int64
	since   int64 // the background's tick at which the newest came
}

// add appends r, unless that would leave a gap.
func (t *tail) add(r store.Record) int64 {
	if n := len(t.records); n > t.head && t.records[n-1].Sequence+1 != r.Sequence {
		return 0
	}
	size := int64(r.Event.Size()) + 96
	t.records = append(t.records, r)
	t.bytes += size
	return size
}

// pass drops the records up to seq and returns the bytes freed.
func (t *tail) pass(seq uint64) (freed int64) {
	for t.head < len(t.records) && t.records[t.head].Sequence <= seq {
		freed += int64(t.records[t.head].Event.Size()) + 96
		t.records[t.head] = store.Record{}
		t.head++
	}
	t.bytes -= freed
	switch {
	case t.head == len(t.records):
		if cap(t.records) > max(1024, 4*len(t.records)) { // more than it needs of late
			t.records = nil
		}
		t.records, t.head = t.records[:0], 0
	case t.head >= 256 && t.head*2 >= len(t.records):
		n := copy(t.records, t.records[t.head:])
		clear(t.records[n:])
		t.records, t.head = t.records[:n], 0
	}
	return freed
}

func (t *tail) reset() int64 {
	freed := t.bytes
	*t = tail{}
	return freed
}

// from returns the records from seq on, nil if the tail does not have it.
func (t *tail) from(seq uint64) []store.Record {
	live := t.records[t.head:]
	if len(live) == 0 || seq < live[0].Sequence || seq > live[len(live)-1].Sequence {
		return nil
	}
	return live[seq-live[0].Sequence:]
}

func parsePosition(b []byte) (seglog.Position, error) {
	if len(b) != 16 {
		return seglog.Position{}, errBadRow
	}
	return seglog.Position{
		Segment: binary.BigEndian.Uint64(b),
		Offset:  int64(binary.BigEndian.Uint64(b[8:])),
	}, nil
}

func appendPosition(dst []byte, p seglog.Position) []byte {
	return be64(be64(dst, p.Segment), uint64(p.Offset))
}
