package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

const (
	// readBytes is how much the archiver reads of a bus at once.
	readBytes, readEvents = 4 << 20, 4096
	// retryFirst and retryMost bound the wait after a failed pass.
	retryFirst, retryMost = 5 * time.Second, 2 * time.Minute
	// opTimeout bounds one pass's single write, listing or deletion.
	opTimeout = 10 * time.Minute
)

// passesMost is how many archives are worked on at the same time: each holds a
// segment in memory.
const passesMost = 4

// Run archives until ctx is done. An archive that fails is tried again, ever
// less often; the others go on meanwhile.
func (s *Store) Run(ctx context.Context) error {
	type outcome struct {
		a   *archive
		err error
	}
	done := make(chan outcome)
	running := map[*archive]bool{}
	next := map[*archive]time.Time{}
	waits := map[*archive]time.Duration{}
	ticker := time.NewTicker(s.opts.Every)
	defer ticker.Stop()
	for {
		for _, a := range s.all() {
			if ctx.Err() != nil || len(running) == passesMost {
				break
			}
			if running[a] || time.Now().Before(next[a]) {
				continue
			}
			running[a] = true
			next[a] = time.Now().Add(s.opts.Every) // so that others have their turn
			go func() { done <- outcome{a, a.pass(ctx, false)} }()
		}
		if ctx.Err() != nil && len(running) == 0 {
			return nil
		}
		stop := ctx.Done()
		if ctx.Err() != nil {
			stop = nil // only those under way are waited for
		}
		select {
		case <-stop:
		case <-s.wake:
		case <-ticker.C:
		case o := <-done:
			delete(running, o.a)
			switch {
			case o.a.retired.Load():
				delete(next, o.a)
				delete(waits, o.a)
			case o.err != nil:
				waits[o.a] = min(max(2*waits[o.a], retryFirst), retryMost)
				next[o.a] = time.Now().Add(waits[o.a])
			default:
				delete(waits, o.a)
			}
		}
	}
}

// Flush archives all routed events of a bus now, however few they are, with
// their timelines so far, and returns when they are in the archive. It does nothing for a bus without one.
func (s *Store) Flush(ctx context.Context, bus store.BusID) error {
	a := s.of(bus)
	if a == nil {
		return nil
	}
	return a.pass(ctx, true)
}

// pass does what there is to do for one archive.
func (a *archive) pass(ctx context.Context, all bool) error {
	a.working.Lock()
	defer a.working.Unlock()
	if a.retired.Load() || a.id() == 0 {
		return nil
	}
	err := a.work(ctx, all)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if named := (*busError)(nil); errors.As(err, &named) {
			err = named.err // said below
		}
		err = fmt.Errorf("archive of bus %q in %s: %w", a.name, a.storage, err)
		a.doubt() // an answer may have been lost: what the storage has is looked up again
	}
	now := a.s.opts.Clock()
	a.mu.Lock()
	before := a.failed
	a.failed = err
	if err != nil {
		a.failures++
		if before == nil {
			a.since = now
		}
	} else {
		a.success = now
	}
	a.mu.Unlock()
	switch {
	case err != nil && before == nil:
		a.s.opts.Logger.Error("events are not archived; they stay in the local store until they are", "bus", a.name, "error", err)
	case err == nil && before != nil:
		a.s.opts.Logger.Info("events are archived again", "bus", a.name)
	}
	return err
}

// work lists the archive if it must, writes what is due, lets go what it has and
// deletes what is too old.
func (a *archive) work(ctx context.Context, all bool) error {
	listing, cancel := context.WithTimeout(ctx, opTimeout)
	segments, err := a.list(listing)
	cancel()
	if err != nil {
		return err
	}
	bounds, err := a.s.Store.Bounds(a.id())
	if err != nil {
		return err
	}
	var last uint64
	if n := len(segments); n > 0 {
		last = segments[n-1].Last
	}
	if last > bounds.Last {
		return fmt.Errorf("it has events up to %d and the bus only up to %d, so the store was brought back to an earlier state; archive to another place from now on: %w", last, bounds.Last, ErrDiverged)
	}
	if err := a.agrees(ctx, segments, bounds); err != nil {
		return err
	}
	a.warnIfShorter(last)
	if last > 0 && last+1 < bounds.History {
		if err := a.gap(ctx, last+1, bounds.History-1); err != nil {
			return err
		}
		last = bounds.History - 1
	}
	if err := a.keep(ctx); err != nil {
		return err
	}
	if err := a.write(ctx, max(last+1, bounds.History), all); err != nil {
		return err
	}
	if err := a.remember(ctx, all); err != nil {
		return err
	}
	return a.expire(ctx)
}

// agrees holds that the newest archived event is that of the bus, as far as the
// engine still has it: a store that was brought back to an earlier state gives
// the same sequences to other events.
func (a *archive) agrees(ctx context.Context, segments []Segment, b store.Bounds) error {
	n := len(segments)
	if n == 0 || segments[n-1].Gap || segments[n-1].Last < b.History {
		return nil
	}
	g := segments[n-1]
	r, err := a.s.Store.Get(ctx, a.id(), g.Last)
	if errors.Is(err, store.ErrTrimmed) {
		return nil
	}
	if err == nil && r.Recorded.UnixNano() != g.To.UnixNano() {
		err = fmt.Errorf("event %d in it is another than that of the bus, so the store was brought back to an earlier state; archive to another place from now on: %w", g.Last, ErrDiverged)
	}
	return err
}

// warnIfShorter says when objects have vanished from the end of the archive.
func (a *archive) warnIfShorter(last uint64) {
	a.mu.Lock()
	had := a.known.Last
	a.mu.Unlock()
	if had > last {
		a.s.opts.Logger.Error("objects have vanished from an archive; what the local store still has of them is archived again",
			"bus", a.name, "archive", a.storage.String(), "from", last+1, "to", had)
	}
}

// gap notes that events were removed while the bus had no archive. Events that
// the archive had once are no gap: whoever reads them is told.
func (a *archive) gap(ctx context.Context, from, to uint64) error {
	a.mu.Lock()
	had := a.known.Last
	a.mu.Unlock()
	if from = max(from, had+1); from > to {
		return nil
	}
	g := Segment{First: from, Last: to, Gap: true}
	g.Object = nameOf(a.prefix(), g)
	if err := a.put(ctx, g, nil); err != nil {
		return err
	}
	a.s.opts.Logger.Warn("events were removed before they could be archived", "bus", a.name, "from", from, "to", to)
	return nil
}

// put writes an object and takes it into the list.
func (a *archive) put(ctx context.Context, g Segment, data []byte) error {
	if err := a.upload(ctx, g.Object, data); err != nil {
		return err
	}
	a.mu.Lock()
	a.segments = append(a.segments[:len(a.segments):len(a.segments)], g)
	a.mu.Unlock()
	return a.keep(ctx)
}

// upload writes an object.
func (a *archive) upload(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if err := a.storage.Put(ctx, name, bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	// Local retention relies on it, so it is not taken on trust.
	info, err := a.storage.Stat(ctx, name)
	if err != nil {
		return err
	}
	if info.Size != int64(len(data)) {
		return fmt.Errorf("object %q has %d bytes after %d were written", name, info.Size, len(data))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uploaded += info.Size
	return nil
}

// write archives from a sequence on, in segments, as long as they are full or
// their events old enough.
func (a *archive) write(ctx context.Context, from uint64, all bool) error {
	for ctx.Err() == nil {
		limit := a.s.Store.Position(a.id())
		a.mu.Lock()
		a.lag = max(limit, from-1) - (from - 1)
		a.mu.Unlock()
		if from > limit {
			return nil
		}
		first, due, err := a.due(ctx, from, limit)
		if err != nil || !due && !all {
			return err
		}
		if first > from { // a repair of the store gave up what is between
			if err := a.gap(ctx, from, first-1); err != nil {
				return err
			}
			from = first
		}
		g, data, err := a.build(ctx, from, limit)
		if err != nil {
			return err
		}
		if err := a.put(ctx, g, data); err != nil {
			return err
		}
		a.s.opts.Logger.Debug("events were archived", "bus", a.name, "from", g.First, "to", g.Last, "bytes", g.Bytes)
		from = g.Last + 1
	}
	return ctx.Err()
}

// due reports whether the events from one to another are enough, or old
// enough, for a segment, and which is the first of them. Retention that waits
// for them makes it earlier.
func (a *archive) due(ctx context.Context, from, to uint64) (first uint64, due bool, err error) {
	records, err := a.s.Store.Read(ctx, a.id(), from, 1, 1, nil)
	if err != nil || len(records) == 0 || records[0].Sequence > to {
		return from, false, err
	}
	first = records[0].Sequence
	after, size := a.settings.After, a.settings.Segment
	if age := time.Duration(a.localAge.Load()); age > 0 {
		after = min(after, age/2)
	}
	if bytes := a.localBytes.Load(); bytes > 0 {
		size = min(size, bytes/4)
	}
	if a.s.opts.Clock().Sub(records[0].Recorded) >= after {
		return first, true, nil
	}
	b, err := a.s.Store.Bounds(a.id())
	if err != nil || b.Last < b.History {
		return first, false, err
	}
	// About: what a mean event has.
	return first, float64(b.Bytes)/float64(b.Last-b.History+1)*float64(to-from+1) >= float64(size), nil
}

// build makes a segment in memory, which its size bounds.
func (a *archive) build(ctx context.Context, from, to uint64) (Segment, []byte, error) {
	w := writer{magic: magic}
	var page []store.Record
	var err error
	for from <= to && w.raw < a.settings.Segment {
		page, err = a.s.Store.Read(ctx, a.id(), from, readEvents, readBytes, page[:0])
		if err != nil {
			return Segment{}, nil, err
		}
		if w.raw == 0 && (len(page) == 0 || page[0].Sequence != from) {
			return Segment{}, nil, fmt.Errorf("the bus has no event %d", from)
		}
		if len(page) == 0 || page[0].Sequence != from {
			break
		}
		for i := range page {
			if page[i].Sequence > to || page[i].Sequence != from || w.raw >= a.settings.Segment {
				break
			}
			if err := w.add(&page[i]); err != nil {
				return Segment{}, nil, err
			}
			from = page[i].Sequence + 1
		}
		clear(page)
	}
	return w.finish(a.prefix())
}

// expire deletes the oldest segments, as retention of the archive has it.
// It believes a clock that jumped forward no sooner than the store does.
func (a *archive) expire(ctx context.Context) error {
	now := a.s.opts.Clock().Add(-max(0, a.s.Store.Stats().ClockAhead))
	a.mu.Lock()
	segments := a.segments
	a.mu.Unlock()
	var held int64
	for _, g := range segments {
		held += g.Size()
	}
	n := 0
	for n < len(segments) {
		g := segments[n]
		old := !g.Gap && a.settings.MaxAge > 0 && now.Sub(g.To) > a.settings.MaxAge
		much := a.settings.MaxSize > 0 && held > a.settings.MaxSize && n < len(segments)-1
		// A gap at the beginning is of no use.
		if !old && !much && !g.Gap {
			break
		}
		held -= g.Size()
		n++
	}
	if n == len(segments) && n > 0 {
		n-- // the last one says where archiving goes on
	}
	if n == 0 {
		return nil
	}
	// First nobody reads them any more, then they go.
	gone := segments[:n]
	a.mu.Lock()
	a.segments = segments[n:]
	a.mu.Unlock()
	if err := a.keep(ctx); err != nil {
		return err
	}
	for _, g := range gone {
		deleting, cancel := context.WithTimeout(ctx, opTimeout)
		err := a.storage.Delete(deleting, g.Object)
		if t, ok := g.timelines(); ok && err == nil {
			err = a.storage.Delete(deleting, t.Object)
		}
		cancel()
		if err != nil {
			return err
		}
	}
	a.s.opts.Logger.Info("old events were deleted from an archive", "bus", a.name, "from", gone[0].First, "to", gone[n-1].Last)
	return nil
}

// Status is how an archive is doing.
type Status struct {
	Bus          string
	To           string
	First, Last  uint64 // sequences in the archive; 0 if it has none
	Segments     int
	Bytes        int64     // of objects
	Lag          uint64    // routed events that are not archived yet
	LastSuccess  time.Time // when a pass last ended well; zero before the first
	Failing      error     // nil while all is well
	FailingSince time.Time
	Failures     uint64 // since start
	Uploaded     int64  // bytes since start
}

// Status describes the archive of a bus; ok is false if it has none.
func (s *Store) Status(bus store.BusID) (st Status, ok bool) {
	a := s.of(bus)
	if a == nil {
		return st, false
	}
	return a.status(), true
}

func (a *archive) status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := Status{
		Bus: a.name, To: a.storage.String(), First: a.known.First, Last: a.known.Last, Segments: len(a.segments), Lag: a.lag,
		LastSuccess: a.success, Failing: a.failed, Failures: a.failures, Uploaded: a.uploaded,
	}
	if a.failed != nil {
		st.FailingSince = a.since
	}
	for _, g := range a.segments {
		st.Bytes += g.Size()
	}
	return st
}

// Segments lists what the archive of a bus has above sequence after, in order,
// at most limit. ErrNoArchive if the bus has none.
func (s *Store) Segments(ctx context.Context, bus store.BusID, after uint64, limit int) ([]Segment, error) {
	a := s.of(bus)
	if a == nil {
		return nil, ErrNoArchive
	}
	all, err := a.list(ctx)
	if err != nil {
		return nil, err
	}
	var out []Segment
	for _, g := range all {
		if g.First > after && len(out) < limit {
			out = append(out, g)
		}
	}
	return out, nil
}

// ErrNoArchive means that a bus has no archive.
var ErrNoArchive = errors.New("the bus has no archive")

// Local reports whether the engine itself still has an event that the bus has,
// as it also has one below its history that is owed or that a table keeps.
func (s *Store) Local(ctx context.Context, bus store.BusID, sequence uint64) bool {
	if s.of(bus) == nil {
		return true
	}
	_, err := s.Store.Get(ctx, bus, sequence)
	return !errors.Is(err, store.ErrTrimmed)
}

// Remembered reports whether there is a timeline of an event: the bus's own
// retention has not passed it, or it is archived.
func (s *Store) Remembered(ctx context.Context, bus store.BusID, sequence uint64) bool {
	b, err := s.Store.Bounds(bus)
	if err != nil || sequence >= b.History {
		return true
	}
	a := s.of(bus)
	if a == nil {
		return false
	}
	g, ok, err := a.segmentOf(ctx, sequence)
	return err == nil && ok && g.Timelines > 0
}

// Warnings says what is wrong with archives, one text for each that fails.
func (s *Store) Warnings() []string {
	var out []string
	for _, a := range s.all() {
		if st := a.status(); st.Failing != nil {
			wait := "events wait"
			if st.Lag == 1 {
				wait = "event waits"
			}
			out = append(out, fmt.Sprintf("%v (since %s; %d %s in the local store)", st.Failing, st.FailingSince.UTC().Format(time.RFC3339), st.Lag, wait))
		}
	}
	return out
}
