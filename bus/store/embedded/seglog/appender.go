package seglog

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// appender is what the appender goroutine owns.
type appender struct {
	file    vfs.File
	id      Identity // of file
	off     int64    // end of the active segment, all before it is durable
	buf     []byte
	written []*Entry // of the current group, what Seal left
	async   []*Entry
	part    Group
	next    *preparation
	groups  int64 // written to the active segment by this process
	grouped int64 // bytes of them
	dirty   bool  // something was written since the last mark
	retries int   // failures since the last group that was synced
}

func (l *Log) run() {
	defer close(l.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		g := l.take(timer)
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
func (l *Log) take(timer *time.Timer) *Group {
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
	l.gatherMore(timer)
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
// segment first if the first entry, or all of them that a new one could hold, do not fit, or
// if the next one is better written to.
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
	if w.off+all > limit && (w.off+first > limit || headerBlock+all <= limit) || l.betterNext(all) {
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
	w.groups++
	w.grouped += int64(len(w.buf))
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
	began := time.Now()
	if _, err := w.file.WriteAt(frames, w.off); err != nil {
		return &FailedError{Op: "write", File: s.name, Cause: err}
	}
	if !l.opts.NoSync {
		written := time.Now()
		if err := w.file.SyncData(); err != nil {
			return &FailedError{Op: "sync", File: s.name, Cause: err}
		}
		if l.opts.FsyncDuration != nil {
			l.opts.FsyncDuration(time.Since(written))
		}
		if err := l.findable(s); err != nil {
			return &FailedError{Op: "write", File: s.name, Cause: err}
		}
		l.synced(time.Since(began))
	}
	w.off += size
	s.fileSize.Store(max(s.fileSize.Load(), w.off))
	s.end.Store(w.off)
	return nil
}

// findable returns an error if the active segment is not where the next open will look for
// it, as when its directory was moved or deleted: the file takes writes and syncs all the same.
func (l *Log) findable(s *segment) error {
	if l.w.id == (Identity{}) {
		return nil
	}
	return l.w.id.StandsAt(l.opts.FS, l.path(s.name))
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
	l.gather.answeredGroup(len(g.Entries))
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
