package seglog

import (
	"context"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Entry is one record on its way into the log. The caller owns it and may use it again once
// it is answered; until then only Seal may touch it. It must not be copied.
type Entry struct {
	// Payload is the record. It is copied once, by the appender, after Seal.
	Payload []byte
	// Ctx is the caller's own, for its hooks.
	Ctx any

	pos  Position
	err  error
	drop dropKind
	size int64 // as counted against MaxPendingBytes
	call func(Position, error)
}

type dropKind uint8

const (
	dropNot dropKind = iota
	dropNow
	dropWithGroup
)

// Position returns where the entry was written, in Committed and after; else the zero Position.
func (e *Entry) Position() Position { return e.pos }

// Drop, called in Seal, keeps the entry out of the log and answers it with err whatever
// becomes of its group: all groups before are durable by then. The answer comes with the
// group's.
func (e *Entry) Drop(err error) { e.drop, e.err = dropNow, err }

// DropWithGroup is Drop for an answer that holds only if the group becomes durable, such as
// for the duplicate of another entry in it. If the group fails the entry is answered with
// the failure.
func (e *Entry) DropWithGroup(err error) { e.drop, e.err = dropWithGroup, err }

// Group is the entries of one write, in log order. Hooks may keep neither it nor its slice.
type Group struct {
	Entries []*Entry

	bytes int64 // of the frames, as far as known before Seal
	taken bool
	done  chan struct{} // closed when all entries are answered
}

// Append writes e and returns its position once it is durable (with NoSync: written). An
// error of ctx means that e was not and will not be written; once the appender has taken e,
// Append waits for the write whatever ctx says. Other errors: ErrTooLarge, ErrClosed, those
// matching ErrFailed, and those of the hooks. An entry dropped by Seal is answered with the
// zero Position and the error given there, which may be nil.
func (l *Log) Append(ctx context.Context, e *Entry) (Position, error) {
	e.call = nil
	g, done, err := l.enqueue(ctx, e)
	if err != nil {
		return Position{}, err
	}
	if cancelled := ctx.Done(); cancelled == nil {
		<-done
	} else {
		select {
		case <-done:
		case <-cancelled:
			if l.withdraw(e, g, done) {
				return Position{}, ctx.Err()
			}
			<-done
		}
	}
	return e.pos, e.err
}

// AppendAsync is Append without waiting for the write: answer is called by the appender
// goroutine, in log order, and must not block. ctx bounds only the wait for room below
// MaxPendingBytes. If AppendAsync returns an error answer is not called.
func (l *Log) AppendAsync(ctx context.Context, e *Entry, answer func(Position, error)) error {
	e.call = answer
	_, _, err := l.enqueue(ctx, e)
	return err
}

// enqueue adds e to the last group that waits. The group's channel is returned apart, for
// groups are used again.
func (l *Log) enqueue(ctx context.Context, e *Entry) (*Group, chan struct{}, error) {
	if len(e.Payload) > l.MaxPayload() {
		return nil, nil, ErrTooLarge
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	e.pos, e.err, e.drop = Position{}, nil, dropNot
	e.size = frameSize(len(e.Payload))
	l.mu.Lock()
	for {
		if err := l.refusal(); err != nil {
			l.mu.Unlock()
			return nil, nil, err
		}
		if l.pending == 0 || l.pending+e.size <= l.opts.MaxPendingBytes {
			break
		}
		if l.space == nil {
			l.space = make(chan struct{})
		}
		space := l.space
		l.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		l.mu.Lock()
	}
	g := l.lastGroup(e.size)
	g.Entries = append(g.Entries, e)
	g.bytes += e.size
	l.pending += e.size
	done, wake := g.done, l.idle
	l.idle = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	return g, done, nil
}

// lastGroup returns the group that an entry of size joins; mu is held.
func (l *Log) lastGroup(size int64) *Group {
	if n := len(l.queue); n > 0 && l.queue[n-1].bytes+size <= int64(l.opts.MaxGroupBytes) {
		return l.queue[n-1]
	}
	g := &Group{}
	if n := len(l.spare); n > 0 {
		g, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	g.done = make(chan struct{})
	l.queue = append(l.queue, g)
	return g
}

// withdraw takes e out of the queue and reports whether it was still there.
func (l *Log) withdraw(e *Entry, g *Group, done chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.done != done || g.taken {
		return false
	}
	i := slices.Index(g.Entries, e)
	if i < 0 {
		return false
	}
	g.Entries = slices.Delete(g.Entries, i, i+1)
	g.bytes -= e.size
	l.pending -= e.size
	l.freeSpace()
	return true
}

// freeSpace lets publishers that wait for room look again; mu is held.
func (l *Log) freeSpace() {
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
}

// appender is what the appender goroutine owns.
type appender struct {
	file    vfs.File
	off     int64 // end of the active segment, all before it is durable
	buf     []byte
	written []*Entry // of the current group, what Seal left
	async   []*Entry
	part    Group
	next    *preparation
	dirty   bool // something was written since the last mark
	retries int  // failures since the last group that was synced
}

func (l *Log) run() {
	defer close(l.stopped)
	for {
		g := l.take()
		if g == nil {
			break
		}
		if err := l.process(g); err != nil {
			l.heal()
		}
	}
	l.closeErr = l.finish()
}

// take returns the first group that waits, or nil when the log is closed and none is left.
func (l *Log) take() *Group {
	l.mu.Lock()
	for len(l.queue) == 0 {
		if l.closing {
			l.mu.Unlock()
			return nil
		}
		l.idle = true
		l.mu.Unlock()
		<-l.wake
		l.mu.Lock()
	}
	g := l.queue[0]
	l.queue = append(l.queue[:0], l.queue[1:]...)
	g.taken = true
	l.mu.Unlock()
	return g
}

// process carries one group from Seal to its answers. An error is a failed write or sync,
// after which the log is Failing.
func (l *Log) process(g *Group) error {
	if len(g.Entries) == 0 { // all withdrawn
		l.answer(g, nil)
		return nil
	}
	if l.opts.Reserve != nil {
		if err := l.opts.Reserve(); err != nil {
			l.answer(g, err)
			return nil
		}
	}
	if l.opts.Seal != nil {
		if err := l.opts.Seal(g); err != nil {
			l.answer(g, err)
			return nil
		}
	}
	w := &l.w
	defer func() { clear(w.written); w.written = w.written[:0] }()
	for _, e := range g.Entries {
		if e.drop == dropNot {
			w.written = append(w.written, e)
		}
	}
	left := w.written
	for len(left) > 0 {
		n, err := l.writePart(left)
		if err != nil {
			for _, e := range left {
				e.pos, e.err = Position{}, err
			}
			l.reportFailed(left, err)
			l.fail(err)
			for _, e := range g.Entries {
				if e.drop == dropWithGroup {
					e.err = err
				}
			}
			l.answer(g, nil)
			return err
		}
		left = left[n:]
	}
	l.answer(g, nil)
	return nil
}

func (l *Log) reportFailed(entries []*Entry, err error) {
	if l.opts.Failed != nil && len(entries) > 0 {
		l.w.part.Entries = entries
		l.opts.Failed(&l.w.part, err)
		l.w.part.Entries = nil
	}
}

// writePart writes, syncs and commits as many of entries as go into one write, at least
// one, and returns how many; entries refused as too large count. It moves to the next
// segment first if the first entry, or all of them that a new one could hold, do not fit.
func (l *Log) writePart(entries []*Entry) (int, error) {
	if max := l.MaxPayload(); len(entries[0].Payload) > max {
		entries[0].err = ErrTooLarge // Seal made it so
		l.reportFailed(entries[:1], ErrTooLarge)
		return 1, nil
	}
	w := &l.w
	all := int64(0)
	for _, e := range entries {
		all += frameSize(len(e.Payload))
	}
	limit := l.opts.SegmentSize - tailReserve
	first := frameSize(len(entries[0].Payload))
	if w.off+all > limit && (w.off+first > limit || headerBlock+all <= limit) {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	s := l.active.Load()
	room := min(limit-w.off, max(int64(l.opts.MaxGroupBytes), first))
	n := 0
	w.buf = w.buf[:0]
	for _, e := range entries {
		if size := frameSize(len(e.Payload)); int64(len(w.buf))+size > room {
			break
		}
		e.pos = s.position(w.off + int64(len(w.buf)))
		w.buf = appendFrame(w.buf, kindRecord, s.gen, l.syncedField(), e.Payload)
		n++
	}
	if err := l.writeSync(s, w.buf); err != nil {
		return 0, err
	}
	w.dirty, w.retries = true, 0
	if l.opts.GroupSize != nil {
		l.opts.GroupSize(n, len(w.buf))
	}
	if cap(w.buf) > 2*l.opts.MaxGroupBytes {
		w.buf = nil // a giant record's; do not keep it
	}
	if l.opts.Committed != nil {
		w.part.Entries = entries[:n]
		l.opts.Committed(&w.part)
		w.part.Entries = nil
	}
	l.prepareAhead()
	return n, nil
}

// syncedField is what frames say of the synced prefix; without syncs nothing is known.
func (l *Log) syncedField() int64 {
	if l.opts.NoSync {
		return 0
	}
	return l.w.off
}

// writeSync appends frames to the active segment, makes them durable and then visible.
func (l *Log) writeSync(s *segment, frames []byte) error {
	w := &l.w
	size := int64(len(frames))
	if _, err := w.file.WriteAt(frames, w.off); err != nil {
		return &FailedError{Op: "write", File: s.name, Cause: err}
	}
	if !l.opts.NoSync {
		var began time.Time
		if l.opts.FsyncDuration != nil {
			began = time.Now()
		}
		if err := w.file.SyncData(); err != nil {
			return &FailedError{Op: "sync", File: s.name, Cause: err}
		}
		if l.opts.FsyncDuration != nil {
			l.opts.FsyncDuration(time.Since(began))
		}
	}
	w.off += size
	s.fileSize.Store(max(s.fileSize.Load(), w.off))
	s.end.Store(w.off)
	return nil
}

// answer ends a group: err, if not nil, is the answer to every entry. Once done is closed an
// entry belongs to its publisher again, so what is needed of it is taken before.
func (l *Log) answer(g *Group, err error) {
	w := &l.w
	var bytes int64
	w.async = w.async[:0]
	for _, e := range g.Entries {
		bytes += e.size
		if err != nil {
			e.err = err
		}
		if e.call != nil {
			w.async = append(w.async, e)
		}
	}
	done := g.done
	clear(g.Entries)
	l.mu.Lock()
	l.pending -= bytes
	l.freeSpace()
	*g = Group{Entries: g.Entries[:0]}
	if len(l.spare) < 4 && cap(g.Entries) <= 1<<14 {
		l.spare = append(l.spare, g)
	}
	l.mu.Unlock()
	close(done)
	for _, e := range w.async {
		e.call(e.pos, e.err)
	}
	clear(w.async)
}

// AppendBytes appends payload with an entry from a pool, for callers without hooks.
func (l *Log) AppendBytes(ctx context.Context, payload []byte) (Position, error) {
	e, _ := l.entries.Get().(*Entry)
	if e == nil {
		e = &Entry{}
	}
	e.Payload = payload
	pos, err := l.Append(ctx, e)
	*e = Entry{}
	l.entries.Put(e)
	return pos, err
}
