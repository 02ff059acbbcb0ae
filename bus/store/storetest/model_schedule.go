package storetest

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelScheduled is an event that waits for its time.
type modelScheduled struct {
	entry store.Entry
	place uint64    // orders events with one due time
	who   *identity // gets the sequence
}

// before says which of two waiting events is recorded first.
func (s *modelScheduled) before(o *modelScheduled) bool {
	if !s.entry.Due.Equal(o.entry.Due) {
		return s.entry.Due.Before(o.entry.Due)
	}
	return s.place < o.place
}

// ListScheduled implements store.Schedule. The cursor is the due time and the
// place of the last event of the page.
func (m *Model) ListScheduled(ctx context.Context, bus store.BusID, source, id, after string, limit int) ([]store.Scheduled, string, error) {
	if err := m.enter(ctx); err != nil {
		return nil, "", err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return nil, "", err
	}
	b.sortWaiting()
	var due int64
	var at uint64
	if after != "" {
		if _, err := fmt.Sscanf(after, "%d.%d", &due, &at); err != nil || fmt.Sprintf("%d.%d", due, at) != after {
			return nil, "", fmt.Errorf("cursor %q: %w", after, store.ErrNotFound)
		}
	}
	var items []store.Scheduled
	next := ""
	for _, s := range b.waiting {
		nanos := s.entry.Due.UnixNano()
		if after != "" && (nanos < due || nanos == due && s.place <= at) || !s.is(source, id) {
			continue
		}
		if len(items) == limit {
			return items, next, nil
		}
		items = append(items, store.Scheduled{Due: s.entry.Due, Bus: bus, Event: s.entry.Event})
		next = fmt.Sprintf("%d.%d", nanos, s.place)
	}
	return items, "", nil
}

// CancelScheduled implements store.Schedule. The identity of a cancelled event
// is forgotten with it, so that it can be published again.
func (m *Model) CancelScheduled(ctx context.Context, bus store.BusID, source, id string) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	b, err := m.bus(bus)
	if err != nil {
		return err
	}
	before := len(b.waiting)
	b.waiting = slices.DeleteFunc(b.waiting, func(s *modelScheduled) bool {
		if s.entry.Event.Source() != source || s.entry.Event.ID() != id {
			return false
		}
		if b.known[s.entry.Dedupe] == s.who {
			delete(b.known, s.entry.Dedupe)
		}
		return true
	})
	if len(b.waiting) == before {
		return fmt.Errorf("bus %q: scheduled event %q of %q: %w", b.name, id, source, store.ErrNotFound)
	}
	return nil
}

// recordDue records the waiting events whose time has come, in order of it.
func (m *Model) recordDue(notes *notices) {
	now := m.clock()
	for _, b := range m.state.buses {
		b.sortWaiting()
		for len(b.waiting) > 0 && !b.waiting[0].entry.Due.After(now) {
			s := b.waiting[0]
			b.waiting = b.waiting[1:]
			s.who.sequence = m.record(b, s.entry, now, store.Receipt{Accepted: s.who.kept, Due: s.entry.Due}, notes)
		}
	}
}

func (b *modelBus) sortWaiting() {
	sort.Slice(b.waiting, func(i, j int) bool { return b.waiting[i].before(b.waiting[j]) })
}

// is says whether s has this source and id; "" is any.
func (s *modelScheduled) is(source, id string) bool {
	return (source == "" || s.entry.Event.Source() == source) && (id == "" || s.entry.Event.ID() == id)
}
