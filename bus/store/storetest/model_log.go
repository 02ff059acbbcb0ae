package storetest

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelBus is one bus of a Model.
type modelBus struct {
	id       store.BusID
	name     string
	opts     store.BusOptions
	first    uint64         // sequence of records[0], if there is one
	records  []store.Record // those that retention has left, without gaps
	recorded time.Time      // of the newest event ever
	position uint64         // the router's
	released uint64         // events up to it may go although opts.Hold is set
	known    map[[16]byte]*identity
	waiting  []*modelScheduled // in no order
	table    *modelTable       // nil without one
}

// last is the highest sequence.
func (b *modelBus) last() uint64 { return b.first + uint64(len(b.records)) - 1 }

// identity is what is remembered of an event to know its duplicates.
type identity struct {
	kept     time.Time
	window   time.Duration
	sequence uint64 // 0 while it is scheduled
}

// OpenBus implements store.Buses.
func (m *Model) OpenBus(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	for _, b := range m.state.buses {
		if b.name == name {
			b.setOptions(opts)
			return b.id, nil
		}
	}
	m.state.lastBus++
	id := m.state.lastBus
	b := &modelBus{id: id, name: name, first: 1, known: map[[16]byte]*identity{}}
	b.setOptions(opts)
	m.state.buses[id] = b
	return id, nil
}

// DropBus implements store.Buses. What subscriptions are owed from the bus, and
// their dead letters, stay with them.
func (m *Model) DropBus(ctx context.Context, bus store.BusID) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, err := m.bus(bus); err != nil {
		return err
	}
	delete(m.state.buses, bus)
	for at := range m.state.traces {
		if at.bus == bus {
			delete(m.state.traces, at)
		}
	}
	m.wake()
	return nil
}

// Bounds implements store.Buses.
func (m *Model) Bounds(bus store.BusID) (store.Bounds, error) {
	if err := m.enter(context.Background()); err != nil {
		return store.Bounds{}, err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return store.Bounds{}, err
	}
	bounds := store.Bounds{First: b.first, History: b.first, Last: b.last(), Bytes: size(b.records)}
	if b.table != nil {
		bounds.First = b.table.from
	}
	return bounds, nil
}

// Append implements store.Log.
func (m *Model) Append(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
	var notes notices
	defer m.tell(&notes)
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, e := range batch {
		if _, err := m.bus(e.Bus); err != nil {
			return nil, err
		}
	}
	now := m.clock()
	results := make([]store.Result, len(batch))
	for i, e := range batch {
		results[i] = m.keep(m.state.buses[e.Bus], e, now, 0, &notes)
	}
	return results, nil
}

// keep records or schedules one entry, of a transaction if that is not 0,
// unless it is a duplicate.
func (m *Model) keep(b *modelBus, e store.Entry, now time.Time, transaction uint64, notes *notices) store.Result {
	who := &identity{kept: now, window: e.Window}
	if e.Window > 0 {
		if known := b.known[e.Dedupe]; known != nil && now.Sub(known.kept) < known.window {
			m.counts.Duplicates++
			return store.Result{Sequence: known.sequence, Duplicate: true, Scheduled: known.sequence == 0}
		}
		b.known[e.Dedupe] = who
	}
	if e.Due.After(now) {
		b.waiting = append(b.waiting, &modelScheduled{entry: e, place: m.nextPlace(), who: who})
		return store.Result{Scheduled: true}
	}
	who.sequence = m.record(b, e, now, store.Receipt{Transaction: transaction}, notes)
	return store.Result{Sequence: who.sequence}
}

// record gives an entry the next place in its bus.
func (m *Model) record(b *modelBus, e store.Entry, now time.Time, receipt store.Receipt, notes *notices) uint64 {
	if now.Before(b.recorded) {
		now = b.recorded
	}
	b.recorded = now
	b.records = append(b.records, store.Record{
		Bus: b.id, Sequence: b.last() + 1, Recorded: now, Via: e.Via, Hops: e.Hops, Event: e.Event,
	})
	b.table.note(b.records[len(b.records)-1])
	if receipt.Accepted.IsZero() {
		receipt.Accepted = now
	}
	m.state.receipts[place{b.id, b.last()}] = receipt
	m.counts.Events++
	m.counts.Bytes += uint64(e.Event.Size())
	m.wake()
	if !slices.Contains(notes.appended, b.id) {
		notes.appended = append(notes.appended, b.id)
	}
	return b.last()
}

// Read implements store.Log.
func (m *Model) Read(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
	if err := m.enter(ctx); err != nil {
		return dst, err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return dst, err
	}
	left := b.table.below(from)
	if from = max(from, b.first); from <= b.last() {
		left = append(left, b.records[from-b.first:]...)
	}
	for n, bytes := 0, 0; n < min(most, len(left)) && (n == 0 || bytes < maxBytes); n++ {
		dst = append(dst, left[n])
		bytes += left[n].Event.Size()
	}
	return dst, nil
}

// Get implements store.Log.
func (m *Model) Get(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
	if err := m.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	switch {
	case err != nil:
		return store.Record{}, err
	case sequence == 0 || sequence > b.last():
		return store.Record{}, fmt.Errorf("bus %q: sequence %d: %w", b.name, sequence, store.ErrNotFound)
	case sequence >= b.first:
		return b.records[sequence-b.first], nil
	}
	if r, ok := m.owedRecord(place{bus, sequence}); ok {
		return r, nil
	}
	if rows := b.table.below(sequence); len(rows) > 0 && rows[0].Sequence == sequence {
		return rows[0], nil
	}
	return store.Record{}, fmt.Errorf("bus %q: sequence %d: %w", b.name, sequence, store.ErrTrimmed)
}

// SequenceAt implements store.Log.
func (m *Model) SequenceAt(ctx context.Context, bus store.BusID, t time.Time) (uint64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return 0, err
	}
	for _, r := range b.table.below(0) {
		if !r.Recorded.Before(t) {
			return r.Sequence, nil
		}
	}
	i := sort.Search(len(b.records), func(i int) bool { return !b.records[i].Recorded.Before(t) })
	return b.first + uint64(i), nil
}

// Await implements store.Log.
func (m *Model) Await(ctx context.Context, bus store.BusID, after uint64) error {
	for {
		if err := m.enter(ctx); err != nil {
			return err
		}
		b, err := m.bus(bus)
		done := err != nil || b.last() > after
		changed := m.changed
		m.mu.Unlock()
		if done {
			return err
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// bus finds a bus.
func (m *Model) bus(id store.BusID) (*modelBus, error) {
	if b := m.state.buses[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("bus %d: %w", id, store.ErrNotFound)
}

func size(records []store.Record) (n int64) {
	for _, r := range records {
		n += int64(r.Event.Size())
	}
	return n
}
