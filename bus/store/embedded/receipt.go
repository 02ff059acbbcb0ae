package embedded

import (
	"context"
	"fmt"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// ReceiptOf implements store.Trace. All that it tells stands in the event's
// frame. A frame that was rewritten for its survivors is of no transaction any
// more, and a copy for who is owed an event has its record only.
func (s *Store) ReceiptOf(ctx context.Context, id store.BusID, seq uint64) (store.Receipt, error) {
	r, err := s.Get(ctx, id, seq)
	if err != nil {
		return store.Receipt{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Receipt{}, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return store.Receipt{}, err
	}
	out := store.Receipt{Accepted: r.Recorded}
	b.mu.Lock()
	first := b.first
	b.mu.Unlock()
	if seq < first {
		return out, nil
	}
	err = s.receipts(ctx, b, seq, seq, func(_ uint64, r store.Receipt) { out = r })
	if err == nil {
		return out, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first > seq { // retention was faster
		return out, nil
	}
	return store.Receipt{}, fmt.Errorf("bus %q: sequence %d: %w", b.name, seq, err)
}

// Receipts implements store.Trace.
func (s *Store) Receipts(ctx context.Context, id store.BusID, from, to uint64) (map[uint64]store.Receipt, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	b, first, high, err := s.tracedRange(id, from, to)
	if err != nil {
		return nil, err
	}
	low := max(from, first)
	if low > high {
		return nil, nil
	}
	found := map[uint64]store.Receipt{}
	err = s.receipts(ctx, b, low, high, func(seq uint64, r store.Receipt) {
		if !r.Due.IsZero() || r.Transaction != 0 {
			found[seq] = r
		}
	})
	if err != nil {
		return nil, fmt.Errorf("bus %q: how events %d to %d came in: %w", b.name, low, high, err)
	}
	return found, nil
}

// receipts calls f for the events from low to high that the log has. Each frame is
// read once for all of its events.
func (s *Store) receipts(ctx context.Context, b *bus, low, high uint64, f func(seq uint64, r store.Receipt)) error {
	var at seglog.Position
	var transaction uint64
	return s.scanBus(ctx, b, low, func(e *entry, pos seglog.Position) (bool, error) {
		if e.seq > high {
			return false, nil
		}
		if pos != at {
			payload, _, err := s.log.Read(pos, nil)
			if err != nil {
				return false, err
			}
			at, transaction = pos, transactionOf(payload)
		}
		r := store.Receipt{Accepted: fromNanos(e.record), Transaction: transaction}
		if e.flags&flagFired != 0 {
			r.Accepted, r.Due = fromNanos(e.accepted()), fromNanos(e.due())
		}
		f(e.seq, r)
		return e.seq < high, nil
	})
}
