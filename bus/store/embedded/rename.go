package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// RenameOptions are what RenameBus works on. Dir must be set.
type RenameOptions struct {
	// FS holds the files; default the operating system's.
	FS vfs.FS
	// Dir is the data folder. No process may have it open.
	Dir string
}

// RenameBus gives a bus another name, in a store that no process has open: its
// events, and what is owed of them, stay as they are. A bus that has the name
// already is dropped if it never had an event and none is scheduled on it, as one
// that a start has made in the meantime; else it is an error, as is a bus that is
// not there (store.ErrNotFound). The new name is durable when RenameBus returns.
func RenameBus(ctx context.Context, opts RenameOptions, from, to string) (err error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if err := newChecker(CheckOptions{FS: opts.FS, Dir: opts.Dir}).mustBeStore(); err != nil {
		return err
	}
	s, err := Open(Options{FS: opts.FS, Dir: opts.Dir, NoBackground: true, DiskReserve: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	b, other := s.byName[from], s.byName[to]
	switch {
	case b == nil:
		return fmt.Errorf("there is no bus %q (%w); switchyard store stats lists those that there are", from, store.ErrNotFound)
	case b == other:
		return fmt.Errorf("the bus is called %q already", to)
	case other != nil:
		if err := s.mustBeUnused(other); err != nil {
			return err
		}
		if err := s.DropBus(ctx, other.id); err != nil {
			return err
		}
	}
	batch := s.state.db.NewBatch()
	if err := batch.Set(idKey(nil, prefixBus, uint32(b.id)), busRow(to, b.opts), nil); err != nil {
		return errors.Join(err, batch.Close())
	}
	return s.state.commitSynced(batch)
}

// mustBeUnused refuses a bus that ever had an event, or that has one scheduled.
func (s *Store) mustBeUnused(b *bus) error {
	if last := b.bounds().Last; last > 0 {
		return fmt.Errorf("a bus %q is there, with events up to sequence %d; give that one another name first", b.name, last)
	}
	scheduled := false
	err := s.state.scanPrefix(idKey(nil, prefixSchedBus, uint32(b.id)), func(_, _ []byte) (bool, error) {
		scheduled = true
		return false, nil
	})
	if err == nil && scheduled {
		err = fmt.Errorf("a bus %q is there, with scheduled events; give that one another name first", b.name)
	}
	return err
}
