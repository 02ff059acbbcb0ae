package embedded

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// recover loads the tables from the state and brings them up with the log.
// Queues are not read: each is when it is first claimed from.
func (s *Store) recover() error {
	s.tick.Store(1)
	s.sealed.Store(s.clock.now().steady)
	for _, load := range []func() error{s.loadMeta, s.loadBuses, s.loadTables, s.loadSubs, s.loadLanes, s.loadLoose, s.loadRuns, s.loadJournal, s.loadTransactions, s.loadSchedule, s.openLog, s.nameScheduled, s.openTrace} {
		if err := load(); err != nil {
			return err
		}
	}
	// Last: a state without this row is one that nothing was ever opened with.
	batch := s.state.db.NewBatch()
	_ = batch.Set(metaKey("opened"), be64(nil, s.deaths.Load()>>deathsShift), nil)
	return s.state.commit(batch)
}

// deathsShift leaves room for the deaths of one run.
const deathsShift = 40

func (s *Store) loadMeta() error {
	n, err := s.state.metaNumber("bus")
	if err != nil {
		return err
	}
	s.lastBus = store.BusID(n)
	if n, err = s.state.metaNumber("sub"); err != nil {
		return err
	}
	s.lastSub = store.SubscriptionID(n)
	if n, err = s.state.metaNumber("replay"); err != nil {
		return err
	}
	s.lastRun = uint32(n)
	// Deaths at one instant are told apart by a number that goes on.
	if n, err = s.state.metaNumber("opened"); err != nil {
		return err
	}
	n++
	s.deaths.Store(n << deathsShift)
	ok, err := s.state.get(metaKey("identity"), func(v []byte) error {
		s.identity = hex.EncodeToString(v)
		return nil
	})
	if err != nil {
		return err
	}
	if !ok {
		var random [6]byte
		_, _ = rand.Read(random[:]) // never fails
		s.identity = hex.EncodeToString(random[:])
		batch := s.state.db.NewBatch()
		_ = batch.Set(metaKey("identity"), random[:], nil)
		if err := s.state.commit(batch); err != nil {
			return err
		}
	}
	_, err = s.state.get(metaKey("covered"), func(v []byte) error {
		r := rowReader{rest: v}
		s.covered = seglog.Position{Segment: r.u64(), Offset: r.i64()}
		s.lastSchedule = r.u64()
		return r.err()
	})
	if err != nil {
		return err
	}
	_, err = s.state.get(metaKey("owed"), func(v []byte) error {
		c, err := parseCounts(v)
		s.owed.Store(c.records)
		return err
	})
	return err
}

// eachID calls f for the rows under a prefix that are named by one number.
func (s *Store) eachID(prefix byte, f func(id uint32, value []byte) error) error {
	return s.state.scanPrefix([]byte{prefix}, func(key, value []byte) (bool, error) {
		if len(key) != 5 {
			return false, errBadRow
		}
		if err := f(binary.BigEndian.Uint32(key[1:]), value); err != nil {
			return false, fmt.Errorf("row %q: %w", key, err)
		}
		return true, nil
	})
}

func (s *Store) loadBuses() error {
	err := s.eachID(prefixBus, func(id uint32, v []byte) error {
		b, err := parseBusRow(store.BusID(id), v)
		if err == nil {
			s.addBus(b)
		}
		return err
	})
	if err != nil {
		return err
	}
	known := func(f func(b *bus, v []byte) error) func(uint32, []byte) error {
		return func(id uint32, v []byte) error {
			if b := s.buses.get(id); b != nil {
				return f(b, v)
			}
			return nil
		}
	}
	if err := s.eachID(prefixLast, known((*bus).readLastRow)); err != nil {
		return err
	}
	err = s.eachID(prefixFirst, known(func(b *bus, v []byte) error {
		r := rowReader{rest: v}
		b.first, b.removed = r.u64(), r.i64()
		b.trimming.Store(b.first)
		return r.err()
	}))
	if err != nil {
		return err
	}
	if s.owed.Load() > 0 {
		if err := s.dropUnneeded(); err != nil {
			return err
		}
	}
	return s.eachID(prefixPosition, known(func(b *bus, v []byte) error {
		r := rowReader{rest: v}
		b.queue.position = r.u64()
		b.queue.routed = b.queue.position
		return r.err()
	}))
}

func (s *Store) loadSubs() error {
	err := s.eachID(prefixSub, func(id uint32, v []byte) error {
		sub := s.newSub()
		if err := sub.parse(store.SubscriptionID(id), v); err != nil {
			return err
		}
		s.addSub(sub)
		return nil
	})
	if err != nil {
		return err
	}
	err = s.eachID(prefixCounts, func(id uint32, v []byte) error {
		c, err := parseCounts(v)
		if sub := s.sub(store.SubscriptionID(id)); sub != nil && err == nil {
			sub.counts = c
			sub.backlog, sub.timed = c.records > 0, c.records > 0
			s.records.Add(c.records)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.eachID(prefixError, func(id uint32, v []byte) error {
		r := rowReader{rest: v}
		e := &lastError{at: r.i64(), text: r.text()}
		if sub := s.sub(store.SubscriptionID(id)); sub != nil {
			sub.lastErr = e
		}
		return r.err()
	})
}

// openLog opens the log and gives the state what it lacks of it.
func (s *Store) openLog() error {
	covered := s.covered
	s.log = nil
	var fill func() bool
	if overwritesInPlace(s.opts.Dir) {
		fill = s.disk.roomy
	}
	log, err := seglog.Open(seglog.Options{
		FS: s.opts.FS, Dir: s.opts.FS.PathJoin(s.opts.Dir, "log"), SegmentSize: s.opts.SegmentSize,
		ReadAhead: 256 << 10, MaxPendingBytes: s.opts.MaxWaiting,
		FillAhead: fill, Reserve: s.reserve, Seal: s.seal, Committed: s.committed, Failed: s.failed,
		FsyncDuration: func(d time.Duration) {
			s.fsyncs.Add(1)
			if s.opts.OnFsync != nil {
				s.opts.OnFsync(d)
			}
		},
		Logger: s.opts.Logger,
	}, func(pos seglog.Position, payload []byte) error {
		if !covered.Less(pos) {
			return nil
		}
		return s.replay(pos, payload)
	}, covered)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	s.log = log
	for _, b := range s.buses.all() {
		b.assigned, b.assignedTime = b.last, b.recorded
		b.queue.known = b.last
	}
	return s.applyPending()
}

// replay takes note of a frame that the state does not cover.
func (s *Store) replay(pos seglog.Position, payload []byte) error {
	err := walkPayload(payload, func(e *entry) error {
		if e.hasDue() && e.flags&(flagScheduled|flagFired) != 0 {
			s.lastSchedule = max(s.lastSchedule, e.id())
		}
		b := s.buses.get(uint32(e.bus))
		if b == nil && e.bus > s.lastBus {
			// A bus is in the state, synced, before anything of it is logged.
			return fmt.Errorf("it has events of bus number %d, of which the state knows nothing: the folder state is missing, or is that of an earlier time; put it back, or run switchyard store repair, which builds it anew from the log, or switchyard restore", e.bus)
		}
		if b == nil {
			return nil // dropped since
		}
		at := s.clock.lookBack(e.record)
		if w := int64(e.window()); w > 0 {
			s.dedupe.remember(&identity{b.id, e.key()}, known{e.seq, e.keptAt(at), w})
		}
		s.pending.note(e, b, at)
		// Its numbers may be ahead of the covered position, its rows are not.
		if e.flags&flagScheduled == 0 && b.table.Load() != nil {
			subject, data, err := event.PeekSubject(e.event)
			if err != nil {
				return fmt.Errorf("at %v: %w", pos, err)
			}
			s.pending.noteRow(b, subject, tableRow{e.seq, pos, uint32(len(e.event)), !data})
		}
		switch {
		case e.flags&flagScheduled != 0 || e.seq <= b.last && e.seq != 0:
			return nil
		case e.seq != b.last+1 && !s.givenUp(b.id, gap{b.last + 1, e.seq - 1}):
			return fmt.Errorf("at %v: bus %q goes on with sequence %d after %d", pos, b.name, e.seq, b.last)
		}
		b.account(e.seq, e.record, len(e.event), pos)
		if !b.touched {
			b.touched = true
			s.pending.buses = append(s.pending.buses, b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.pending.noteCommit(payload, s.clock.now().wall)
	s.pending.pos, s.pending.schedule, s.pending.mark = pos, s.lastSchedule, s.dedupe.mark()
	if s.pending.full(4) {
		return s.applyPending()
	}
	return nil
}

// givenUp says whether a repair has given up all of some sequences.
func (s *Store) givenUp(id store.BusID, g gap) (yes bool) {
	lower, upper := idKey(nil, prefixLost, uint32(id)), seqKey(nil, prefixLost, id, g.from+1)
	err := s.state.scan(lower, upper, func(key, value []byte) (bool, error) {
		row, err := parseGap(key, value)
		yes = yes || row.from <= g.from && g.to <= row.to
		return !yes, err
	})
	return yes && err == nil
}
