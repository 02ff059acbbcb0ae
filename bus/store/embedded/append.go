package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// appendCall is one Append on its way through the log's appender.
type appendCall struct {
	entry   seglog.Entry
	buf     []byte
	batch   []store.Entry
	buses   []*bus
	found   []known // what the state knew of each entry's identity
	dup     []bool  // whether found is one
	results []store.Result
	terms   []uint64 // of the entries, one after another
	ends    []int    // where those of each entry end
	epoch   uint64
	fired   []fired // for scheduled events whose time has come
	commits uint64  // the transaction that it commits, 0 if none
	barrier bool    // only waits for what is before it
}

// termsOf is the terms of an entry.
func (c *appendCall) termsOf(i int) []uint64 {
	if i == 0 {
		return c.terms[:c.ends[0]]
	}
	return c.terms[c.ends[i-1]:c.ends[i]]
}

// maxPooled is the largest buffer that is kept for the next Append.
const maxPooled = 256 << 10

func (c *appendCall) reset() {
	clear(c.buses)
	c.buses, c.found, c.dup = c.buses[:0], c.found[:0], c.dup[:0]
	c.terms, c.ends = c.terms[:0], c.ends[:0]
	if cap(c.terms) > maxPooled/8 {
		c.terms = nil
	}
	c.batch, c.results, c.fired, c.commits, c.barrier = nil, nil, nil, 0, false
	if c.buf = c.buf[:0]; cap(c.buf) > maxPooled {
		c.buf = nil
	}
	c.entry = seglog.Entry{}
}

// Append implements store.Log.
func (s *Store) Append(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(batch) == 0 {
		return nil, nil
	}
	return s.append(ctx, batch, nil, 0)
}

func (s *Store) append(ctx context.Context, batch []store.Entry, fired []fired, transaction uint64) ([]store.Result, error) {
	if err := s.state.err(); err != nil {
		return nil, err
	}
	c := s.calls.Get().(*appendCall)
	defer func() {
		c.reset()
		s.calls.Put(c)
	}()
	c.batch, c.fired, c.commits = batch, fired, transaction
	if err := s.prepare(c); err != nil {
		return nil, err
	}
	results := make([]store.Result, len(batch))
	c.results = results
	c.entry.Payload, c.entry.Ctx, c.entry.NoWait = c.buf, c, fired == nil
	if _, err := s.log.Append(ctx, &c.entry); err != nil {
		return nil, s.appendError(err)
	}
	return results, nil
}

// appendError says in the words of package store why an append failed.
func (s *Store) appendError(err error) error {
	switch {
	case errors.Is(err, seglog.ErrClosed):
		return store.ErrClosed
	case errors.Is(err, seglog.ErrFailed):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case errors.Is(err, seglog.ErrFull):
		return &store.LimitError{Limit: "waiting", Value: s.log.PendingBytes(), Bound: s.opts.MaxWaiting, Busy: true, RetryAfter: time.Second,
			Reason: fmt.Sprintf("events of more than %d bytes would wait for the disk to sync; publish more slowly", s.opts.MaxWaiting)}
	case errors.Is(err, seglog.ErrTooLarge):
		return fmt.Errorf("a batch may have %d bytes at most: %w", s.log.MaxPayload(), err)
	}
	return err
}

// prepare does what needs no order: it finds the buses, encodes the entries
// and looks for duplicates in the state.
func (s *Store) prepare(c *appendCall) error {
	size := payloadHeader + commitHeader
	for i := range c.batch {
		e := &c.batch[i]
		if e.Event == nil {
			return fmt.Errorf("entry %d of the batch has no event", i)
		}
		if n := len(c.buses); n > 0 && c.buses[n-1].id == e.Bus {
			c.buses = append(c.buses, c.buses[n-1])
		} else {
			b, err := s.bus(e.Bus)
			if err != nil {
				return err
			}
			c.buses = append(c.buses, b)
		}
		size += encodedSize(e)
	}
	if size > s.log.MaxPayload() {
		return s.appendError(seglog.ErrTooLarge)
	}
	if cap(c.buf) < size {
		c.buf = make([]byte, 0, size)
	}
	if c.commits != 0 {
		c.buf = appendCommitHeader(c.buf[:0], len(c.batch), c.commits)
	} else {
		c.buf = appendPayloadHeader(c.buf[:0], len(c.batch))
	}
	c.epoch = s.dedupe.epoch.Load()
	for i := range c.batch {
		e := &c.batch[i]
		var f *fired
		if c.fired != nil {
			f = &c.fired[i]
		}
		c.buf = appendEntry(c.buf, e, f)
		c.terms = appendTerms(c.terms, e.Event)
		c.ends = append(c.ends, len(c.terms))
	}
	if c.fired != nil {
		return nil
	}
	return s.lookups(c, s.sealed.Load()) // seal looks whether what is found is fresh
}

// reserve refuses a group while the data folder is gone, the disk is nearly
// full or the state failed.
func (s *Store) reserve() error {
	if err := s.home.check(); err != nil {
		return err
	}
	if err := s.state.err(); err != nil {
		return err
	}
	return s.disk.check()
}

// seal gives the entries of a group their sequences and times, in order of the
// log; it runs in the appender. What of a stale batch is looked up in the state
// meanwhile keeps the applier waiting, but nobody else.
func (s *Store) seal(g *seglog.Group) error {
	now := s.clock.now()
	s.sealed.Store(now.steady)
	s.dedupe.mu.Lock()
	defer s.dedupe.mu.Unlock()
	for _, e := range g.Entries {
		c, _ := e.Ctx.(*appendCall)
		if c == nil || c.barrier {
			e.DropWithGroup(nil)
			continue
		}
		if err := s.sealCall(c, now); err != nil {
			e.Drop(err)
			continue
		}
		if c.commits == 0 && c.allVoid() {
			s.duplicates.Add(uint64(len(c.results)))
			e.DropWithGroup(nil)
		}
	}
	return nil
}

func (c *appendCall) allVoid() bool {
	for i := range c.results {
		if !c.results[i].Duplicate {
			return false
		}
	}
	return true
}

func (s *Store) sealCall(c *appendCall, now reading) error {
	for _, b := range c.buses {
		if b.dropped.Load() {
			return fmt.Errorf("bus %d: %w", b.id, store.ErrNotFound)
		}
	}
	if stale := c.epoch != s.dedupe.epoch.Load(); stale && c.fired == nil {
		if err := s.lookups(c, now.steady); err != nil {
			return err
		}
	}
	es, err := parsePayload(c.buf)
	if err != nil {
		return err
	}
	var e entry
	for i := 0; ; i++ {
		ok, err := es.next(&e)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		s.sealEntry(c, i, &e, now)
	}
}

func (s *Store) sealEntry(c *appendCall, i int, e *entry, now reading) {
	b, window := c.buses[i], int64(e.window())
	id := identity{e.bus, e.key()}
	isFired := e.flags&flagFired != 0
	if window > 0 && !isFired {
		k, dup := s.dedupe.find(&id, now.steady)
		if !dup && c.dup[i] {
			k, dup = c.found[i], c.found[i].fresh(now.steady)
		}
		if dup {
			e.setFlag(flagVoid)
			if c.commits != 0 {
				e.setSeq(k.seq) // for the answer
			}
			c.results[i] = store.Result{Sequence: k.seq, Duplicate: true, Scheduled: k.seq == 0}
			return
		}
	}
	at := now.steady
	switch {
	case e.hasDue() && !isFired && e.due() > now.wall:
		e.setFlag(flagScheduled)
		s.lastSchedule++
		e.setID(s.lastSchedule)
		e.setAccepted(at)
		c.results[i] = store.Result{Scheduled: true}
	default:
		b.assigned++
		b.assignedTime = max(b.assignedTime, now.wall)
		e.setSeq(b.assigned)
		e.setRecorded(b.assignedTime)
		c.results[i] = store.Result{Sequence: b.assigned}
		if isFired {
			at = e.accepted()
		}
	}
	if window > 0 {
		s.dedupe.remember(&id, known{e.seq, at, window})
	}
}

// failed takes back what seal gave to entries that were not written.
func (s *Store) failed(g *seglog.Group, _ error) {
	s.dedupe.mu.Lock()
	defer s.dedupe.mu.Unlock()
	for _, ge := range g.Entries {
		c, _ := ge.Ctx.(*appendCall)
		if c == nil || c.barrier {
			continue
		}
		for _, b := range c.buses {
			b.mu.Lock()
			b.assigned, b.assignedTime = b.last, b.recorded
			b.mu.Unlock()
		}
		_ = walkPayload(c.buf, func(e *entry) error {
			if e.window() <= 0 {
				return nil
			}
			id := identity{e.bus, e.key()}
			s.dedupe.forget(&id, func(known) bool { return true })
			if e.flags&flagFired != 0 { // it is scheduled again
				s.dedupe.remember(&id, known{0, e.accepted(), int64(e.window())})
			}
			return nil
		})
	}
}

// walkPayload calls f for each entry that is there.
func walkPayload(payload []byte, f func(e *entry) error) error {
	return walkAll(payload, func(e *entry) error {
		if e.flags&flagVoid != 0 {
			return nil
		}
		return f(e)
	})
}

// committed makes a durable group visible; it runs in the appender.
func (s *Store) committed(g *seglog.Group) {
	s.groups++
	touched := s.touched[:0]
	s.pendingMu.Lock()
	for _, ge := range g.Entries {
		c, _ := ge.Ctx.(*appendCall)
		if c == nil || c.barrier {
			continue
		}
		pos := ge.Position()
		s.pending.pos = pos
		s.pending.noteCommit(c.buf, s.clock.now().wall)
		i := -1
		_ = walkAll(c.buf, func(e *entry) error {
			i++
			if e.flags&flagVoid != 0 {
				s.duplicates.Add(1)
				return nil
			}
			s.commitEntry(c, i, e, pos)
			if b := c.buses[i]; e.seq != 0 && b.group != s.groups {
				b.group = s.groups
				touched = append(touched, b)
			}
			return nil
		})
	}
	s.pending.mark, s.pending.schedule = s.dedupe.mark(), s.lastSchedule
	full := s.pending.full(1)
	s.pendingMu.Unlock()
	for _, b := range touched {
		b.mu.Lock()
		b.wake()
		b.mu.Unlock()
	}
	if w := s.watcher.Load(); w != nil {
		for _, b := range touched {
			(*w).Appended(b.id)
		}
	}
	clear(touched)
	s.touched = touched[:0]
	if full {
		_ = s.applyPending() // the state is behind: appending waits for it
	} else {
		s.wakeApplier()
	}
}

// walkAll is walkPayload with the entries that are void.
func walkAll(payload []byte, f func(e *entry) error) error {
	es, err := parsePayload(payload)
	if err != nil {
		return err
	}
	var e entry
	for {
		ok, err := es.next(&e)
		if err != nil || !ok {
			return err
		}
		if err := f(&e); err != nil {
			return err
		}
	}
}

// commitEntry takes note of one durable entry; s.pendingMu is held.
func (s *Store) commitEntry(c *appendCall, i int, e *entry, pos seglog.Position) {
	b, from := c.buses[i], &c.batch[i]
	s.pending.note(e, b, s.sealed.Load())
	if e.flags&flagScheduled != 0 {
		if e.due()-s.clock.now().wall < int64(scheduleUrgent) && !s.schedule.urgent.Swap(true) {
			poke(s.schedule.wake)
		}
		return
	}
	size := len(e.event)
	s.events.Add(1)
	s.bytes.Add(uint64(size))
	via := from.Via
	if len(via) > maxVia {
		via = via[:maxVia]
	}
	b.mu.Lock()
	b.account(e.seq, e.record, size, pos)
	s.collect(b, e.seq, c.termsOf(i))
	if b.table.Load() != nil {
		s.pending.noteRow(b, from.Event.Subject(), tableRow{e.seq, pos, uint32(size), from.Event.Format() == event.NoData})
	}
	if s.tailBytes.Load() < tailBudget {
		s.tailBytes.Add(b.tail.add(store.Record{
			Bus: b.id, Sequence: e.seq, Recorded: fromNanos(e.record), Via: via, Hops: e.hops(), Event: from.Event,
		}))
		if b.tail.since == 0 {
			s.tailed = append(s.tailed, b)
		}
		b.tail.since = s.tick.Load()
	}
	if !b.touched {
		b.touched = true
		s.pending.buses = append(s.pending.buses, b)
	}
	b.mu.Unlock()
}

// tailBudget bounds the bytes of recent events that are kept for the router.
const tailBudget = 16 << 20

// barrier returns once everything that was handed to the log before is durable
// and visible, or failed.
func (s *Store) barrier(ctx context.Context) error {
	c := &appendCall{barrier: true}
	c.entry.Ctx = c
	if _, err := s.log.Append(ctx, &c.entry); err != nil && !errors.Is(err, seglog.ErrFailed) {
		return s.appendError(err)
	}
	return nil
}

// diskGuard refuses publishes while less than a reserve is free.
type diskGuard struct {
	reserve uint64
	usage   func() (free uint64, err error)

	mu     sync.Mutex
	asked  time.Time
	groups int
	err    error
}

// How long an answer about the disk holds.
const (
	diskEvery  = 100 * time.Millisecond
	diskGroups = 16
)

// roomyDisk is how many bytes must be free beside the reserve for the log to write its files
// before it needs them.
const roomyDisk = 1 << 30

// roomy reports whether much more than the reserve is free. It may be called from any
// goroutine.
func (d *diskGuard) roomy() bool {
	free, err := d.usage()
	return err == nil && free >= d.reserve+roomyDisk
}

func (d *diskGuard) check() error {
	if d.reserve == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.groups++
	if d.err == nil && d.groups < diskGroups && time.Since(d.asked) < diskEvery {
		return nil
	}
	d.groups, d.asked = 0, time.Now()
	free, err := d.usage()
	switch {
	case err != nil:
		d.err = nil // not known: let the write itself tell
	case free < d.reserve:
		d.err = &store.LimitError{Limit: "diskReserve", Value: int64(free), Bound: int64(d.reserve), RetryAfter: 5 * time.Second,
			Reason: fmt.Sprintf("%d MiB are free on the disk, less than the reserve of %d MiB; free some space", free>>20, d.reserve>>20)}
	default:
		d.err = nil
	}
	return d.err
}
