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
	err = s.scanBus(ctx, b, seq, func(e *entry, pos seglog.Position) (bool, error) {
		if e.seq != seq {
			return false, nil
		}
		if e.flags&flagFired != 0 {
			out.Accepted, out.Due = fromNanos(e.accepted()), fromNanos(e.due())
		}
		payload, _, err := s.log.Read(pos, nil)
		if err == nil {
			out.Transaction = transactionOf(payload)
		}
		return false, err
	})
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
