package seglog

import (
	"context"
	"slices"
	"time"
)

// Entry is one record on its way into the log. The caller owns it and may use it again once
// it is answered; until then only Seal may touch it. It must not be copied.
type Entry struct {
	// Payload is the record. It is copied once, by the appender, after Seal.
	Payload []byte
	// Ctx is the caller's own, for its hooks.
	Ctx any
	// NoWait answers ErrFull where Append would wait for room below
	// MaxPendingBytes.
	NoWait bool

	pos  Position
	err  error
	drop dropKind
	size int64 // as counted against MaxPendingBytes
	call func(Position, error)
	// What says that its group is answered, if what its publisher waited for
	// first only said that the group is late.
	late chan struct{}
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

	bytes int64     // of the frames, as far as known before Seal
	since time.Time // when its first entry joined
	taken bool
	late  bool          // its publishers look at their contexts while they wait
	done  chan struct{} // closed when all entries are answered
}

// lateAfter is how long publishers wait for the appender to take their group
// before they look at their contexts: to wait for two things costs much more than
// to wait for one, and is of use only when the disk hangs.
const lateAfter = 50 * time.Millisecond

// Append writes e and returns its position once it is durable (with NoSync: written). An
// error of ctx means that e was not and will not be written; once the appender has taken e,
// Append waits for the write whatever ctx says. It may look at ctx a tenth of a second late. Other errors: ErrTooLarge, ErrFull, ErrClosed, those
// matching ErrFailed, and those of the hooks. An entry dropped by Seal is answered with the
// zero Position and the error given there, which may be nil.
func (l *Log) Append(ctx context.Context, e *Entry) (Position, error) {
	e.call = nil
	g, done, late, err := l.enqueue(ctx, e)
	if err != nil {
		return Position{}, err
	}
	if !late {
		if <-done; e.late == nil {
			return e.pos, e.err
		}
		done = e.late
	}
	select {
	case <-done:
	case <-ctx.Done():
		if l.withdraw(e, g, done) {
			return Position{}, ctx.Err()
		}
		<-done
	}
	return e.pos, e.err
}

// lateGroups tells the publishers of groups that wait for long to look at their contexts.
func (l *Log) lateGroups() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.queue {
		if g.late || time.Since(g.since) < lateAfter {
			continue
		}
		told := g.done
		g.late, g.done = true, make(chan struct{})
		for _, e := range g.Entries {
			e.late = g.done
		}
		close(told)
	}
	if l.looking = len(l.queue) > 0; l.looking {
		l.look.Reset(lateAfter)
	}
}

// AppendAsync is Append without waiting for the write: answer is called by the appender
// goroutine, in log order, and must not block. ctx bounds only the wait for room below
// MaxPendingBytes. If AppendAsync returns an error answer is not called.
func (l *Log) AppendAsync(ctx context.Context, e *Entry, answer func(Position, error)) error {
	e.call = answer
	_, _, _, err := l.enqueue(ctx, e)
	return err
}

// enqueue adds e to the last group that waits. The group's channel, and whether it is late,
// are returned apart, for groups are used again.
func (l *Log) enqueue(ctx context.Context, e *Entry) (g *Group, done chan struct{}, late bool, err error) {
	if len(e.Payload) > l.MaxPayload() {
		return nil, nil, false, ErrTooLarge
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, false, err
	}
	e.pos, e.err, e.drop, e.late = Position{}, nil, dropNot, nil
	e.size = frameSize(len(e.Payload))
	l.mu.Lock()
	for {
		if err := l.refusal(); err != nil {
			l.mu.Unlock()
			return nil, nil, false, err
		}
		if l.pending == 0 || l.pending+e.size <= l.opts.MaxPendingBytes {
			break
		}
		if e.NoWait {
			l.mu.Unlock()
			return nil, nil, false, ErrFull
		}
		if l.space == nil {
			l.space = make(chan struct{})
		}
		space := l.space
		l.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return nil, nil, false, ctx.Err()
		}
		l.mu.Lock()
	}
	g = l.lastGroup(e.size)
	g.Entries = append(g.Entries, e)
	g.bytes += e.size
	l.pending += e.size
	done, late = g.done, g.late
	wake := l.gather.joined(len(g.Entries)) || l.idle
	l.idle = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	return g, done, late, nil
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
	g.done, g.since = make(chan struct{}), time.Now()
	l.queue = append(l.queue, g)
	if !l.looking {
		l.looking = true
		l.look.Reset(lateAfter)
	}
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

// PendingBytes is the size of what waits for the appender or is being written.
func (l *Log) PendingBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending
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
