package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelTable is the table of a bus.
type modelTable struct {
	from   uint64                  // the first sequence of the bus when it was begun
	newest map[string]store.Record // of each subject, tombstones included
	kept   []store.Record          // what retention has passed while it was a row, in order
}

func inTable(r store.Record) bool {
	s := r.Event.Subject()
	return s != "" && len(s) <= store.MaxTableSubject
}

// note takes a new event in.
func (t *modelTable) note(r store.Record) {
	if t != nil && inTable(r) {
		t.newest[r.Event.Subject()] = r
	}
}

// keep takes over an event that retention removes from the bus.
func (t *modelTable) keep(r store.Record) {
	if t != nil && t.isRow(r) {
		t.kept = append(t.kept, r)
	}
}

// isRow says whether an event is the row of its subject.
func (t *modelTable) isRow(r store.Record) bool {
	return inTable(r) && t.newest[r.Event.Subject()].Sequence == r.Sequence && r.Event.Format() != event.NoData
}

// below lists the rows that retention has passed, from a sequence on.
func (t *modelTable) below(from uint64) (rows []store.Record) {
	if t == nil {
		return nil
	}
	for _, r := range t.kept {
		if r.Sequence >= from && t.isRow(r) {
			rows = append(rows, r)
		}
	}
	return rows
}

// setOptions begins or drops the table as opts say.
func (b *modelBus) setOptions(opts store.BusOptions) {
	switch {
	case !opts.Table:
		b.table = nil
	case b.table == nil:
		b.table = &modelTable{from: b.first, newest: map[string]store.Record{}}
		for _, r := range b.records {
			b.table.note(r)
		}
	}
	b.opts = opts
}

func (m *Model) tabled(bus store.BusID) (*modelBus, error) {
	b, err := m.bus(bus)
	if err == nil && b.table == nil {
		err = fmt.Errorf("bus %q: %w", b.name, store.ErrNoTable)
	}
	return b, err
}

// ReadTable implements store.Tables.
func (m *Model) ReadTable(ctx context.Context, bus store.BusID, prefix, after string, most, maxBytes int, dst []store.Record) ([]store.Record, string, error) {
	if err := m.enter(ctx); err != nil {
		return dst, "", err
	}
	defer m.mu.Unlock()
	b, err := m.tabled(bus)
	if err != nil {
		return dst, "", err
	}
	var rows []store.Record
	for subject, r := range b.table.newest {
		if strings.HasPrefix(subject, prefix) && subject > after && b.table.isRow(r) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b store.Record) int { return strings.Compare(a.Event.Subject(), b.Event.Subject()) })
	for i, bytes := 0, 0; i < len(rows); i++ {
		if i == most || i > 0 && bytes >= maxBytes {
			return dst, rows[i-1].Event.Subject(), nil
		}
		dst = append(dst, rows[i])
		bytes += rows[i].Event.Size()
	}
	return dst, "", nil
}

// TableRow implements store.Tables.
func (m *Model) TableRow(ctx context.Context, bus store.BusID, subject string) (store.Record, error) {
	if err := m.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer m.mu.Unlock()
	b, err := m.tabled(bus)
	if err != nil {
		return store.Record{}, err
	}
	r, ok := b.table.newest[subject]
	if !ok || !b.table.isRow(r) {
		return store.Record{}, fmt.Errorf("bus %q: subject %q: %w", b.name, subject, store.ErrNotFound)
	}
	return r, nil
}

// Table implements store.Tables; a model's table is always finished.
func (m *Model) Table(bus store.BusID) (info store.TableInfo, err error) {
	if err := m.enter(context.Background()); err != nil {
		return info, err
	}
	defer m.mu.Unlock()
	b, err := m.tabled(bus)
	if err != nil {
		return info, err
	}
	for _, r := range b.table.newest {
		if b.table.isRow(r) {
			info.Subjects++
			if info.First == 0 || r.Sequence < info.First {
				info.First = r.Sequence
			}
		}
	}
	return info, nil
}
