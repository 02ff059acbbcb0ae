package archive

import (
	"context"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Pass is one look of the archiver at a bus.
func (s *Store) Pass(ctx context.Context, bus store.BusID) error { return s.of(bus).pass(ctx, false) }
