package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// How long after a failure, and then between tries, the mender waits.
const (
	firstMend = 50 * time.Millisecond
	lastMend  = 5 * time.Second
)

// mender opens a failed state again as soon as that works.
func (s *Store) mender() {
	wait := firstMend
	timer := time.NewTimer(wait)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-s.broken:
		case <-timer.C:
		}
		err := s.mend()
		switch {
		case err == nil:
			wait = firstMend
		case errors.Is(err, store.ErrClosed):
			return
		default:
			s.opts.Logger.Warn("the state was not opened again; it is tried once more", "error", err, "after", wait)
			timer.Reset(wait)
			wait = min(2*wait, lastMend)
		}
	}
}

// mend opens a state that failed again, from what is known durable, and brings
// it up to the log, as a start does. What was only in memory, or committed and
// not yet synced, is as after a crash: routers go back to the position that is
// durable, and some deliveries are made twice. A state that is well is left
// alone. One call at a time.
func (s *Store) mend() error {
	if s.down.Load() == nil && s.state.err() == nil {
		return nil
	}
	// While the disk does not take anything, what is open can still be read.
	if err := s.home.checkNow(); err != nil {
		return err
	}
	if err := s.probe(); err != nil {
		return err
	}
	if s.down.Load() == nil {
		if err := s.reopenLog(); err != nil {
			return err
		}
		s.stop()
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closing.Load() {
		return store.ErrClosed
	}
	if s.down.Load() == nil {
		_ = s.closeCore() // it failed; what matters stands on disk
		s.wakeAll()
	}
	s.core = newCore(&s.opts)
	if err := s.openCore(nil); err != nil {
		_ = s.closeCore()
		s.core = newCore(&s.opts)
		s.stop()
		err = fmt.Errorf("the store cannot be opened again: %w: %w", err, store.ErrUnavailable)
		s.down.Store(&err)
		return err
	}
	s.rewind()
	s.down.Store(nil)
	if !s.opts.NoBackground {
		s.start()
	}
	s.opts.Logger.Info("the state is open again; deliveries of the last seconds may be repeated")
	s.tellAll()
	return nil
}

// openCore opens the files and loads what is in them; first, if set, is done
// before anything else with the state.
func (s *Store) openCore(first func() error) (err error) {
	fs := s.opts.FS
	s.state, err = openState(fs, fs.PathJoin(s.opts.Dir, "state"), s.opts.Logger, false, func() {
		select {
		case s.broken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	if first != nil {
		if err := first(); err != nil {
			return err
		}
	}
	if err := s.recover(); err != nil {
		return err
	}
	s.state.placed = s.home.checkNow
	return s.state.err()
}

// closeCore closes the files as they are.
func (s *Store) closeCore() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.trace != nil {
		errs = append(errs, s.trace.close())
	}
	if s.state != nil && s.state.db != nil {
		errs = append(errs, s.state.db.Close())
	}
	return errors.Join(errs...)
}

// probe says whether the disk takes and keeps anything.
func (s *Store) probe() error {
	fs := s.opts.FS
	path := fs.PathJoin(s.opts.Dir, "PROBE")
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("try the disk: %w", err)
	}
	_, err = f.Write(make([]byte, 64<<10))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), fs.Remove(path)); err != nil {
		return fmt.Errorf("try the disk: %w", err)
	}
	return nil
}

// reopenLog gets a log that failed to write again, so that it closes with its
// end on record.
func (s *Store) reopenLog() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastMend)
	defer cancel()
	return s.log.Reopen(ctx)
}

// rewind makes the router and the replays ask where to go on: it may be before
// what they handed over.
func (s *Store) rewind() {
	s.epoch++
	for _, b := range s.allBuses() {
		b.queue.mu.Lock()
		b.queue.rewound = true
		b.queue.mu.Unlock()
	}
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	for _, lanes := range s.lanes {
		for _, l := range lanes {
			l.owner.mu.Lock()
			l.rewound = true
			l.owner.mu.Unlock()
		}
	}
}

// wakeAll wakes who waits for events.
func (s *Store) wakeAll() {
	for _, b := range s.allBuses() {
		b.mu.Lock()
		b.wake()
		b.mu.Unlock()
	}
}

// tellAll tells the watcher of everything that there may be to do.
func (s *Store) tellAll() {
	w := s.watcher.Load()
	if w == nil {
		return
	}
	for _, b := range s.allBuses() {
		(*w).Appended(b.id)
	}
	for _, sub := range s.allSubs() {
		sub.mu.Lock()
		ready := sub.claimable()
		sub.mu.Unlock()
		if ready {
			(*w).Ready(sub.id)
		}
	}
}
