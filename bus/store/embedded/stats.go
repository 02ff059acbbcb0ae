package embedded

import (
	"context"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	if s.enter(context.Background()) != nil {
		return store.Stats{}
	}
	defer s.leave()
	state := s.state.db.Metrics()
	ahead, hold := s.clock.state()
	return store.Stats{
		Events:        s.events.Load(),
		Bytes:         s.bytes.Load(),
		Duplicates:    s.duplicates.Load(),
		Scheduled:     s.schedule.count.Load(),
		Fsyncs:        s.fsyncs.Load(),
		DiskBytes:     s.log.DiskUsage().Total() + s.trace.log.DiskUsage().Total() + int64(state.DiskSpaceUsage()),
		OwedBytes:     s.owed.Load(),
		QueuedRecords: s.records.Load(),
		WindowBytes:   s.windowBytes.Load(),
		WaitingBytes:  s.log.PendingBytes(),
		ClockAhead:    ahead,
		ClockHold:     hold,
	}
}
