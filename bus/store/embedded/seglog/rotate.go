package seglog

import (
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Failing log tries a new segment at once, then after these delays, doubling.
const (
	firstRetryDelay = 50 * time.Millisecond
	lastRetryDelay  = 5 * time.Second
)

// rotate seals the active segment and moves to the next. The next one's header is durable
// before the end frame that names its generation is written, and the end frame is durable
// before any frame of the next.
func (l *Log) rotate() error {
	w, s := &l.w, l.active.Load()
	next, file, err := l.takePrepared()
	if err != nil {
		return &FailedError{Op: "rotate", File: s.name, Cause: err}
	}
	if err := l.seal(w.file, s, w.off, l.syncedField(), next.gen); err != nil {
		_ = file.Close() // the file stays until abandon replaces it: an end frame may name it
		return &FailedError{Op: "rotate", File: s.name, Cause: err}
	}
	if err := w.file.Close(); err != nil {
		l.opts.Logger.Warn("closing a sealed segment failed; its data is synced", "file", s.name, "error", err)
	}
	l.activate(s, next, file)
	return nil
}

// seal writes the end frame of s at end, and the seal that repeats it, and syncs.
func (l *Log) seal(f vfs.File, s *segment, end, synced int64, nextGen uint64) error {
	var payload [8]byte
	binary.LittleEndian.PutUint64(payload[:], nextGen)
	if _, err := f.WriteAt(appendFrame(nil, kindEnd, s.gen, synced, payload[:]), end); err != nil {
		return err
	}
	if _, err := f.WriteAt(sealBlock(s.gen, end), sealOffset); err != nil {
		return err
	}
	s.fileSize.Store(max(s.fileSize.Load(), end+endFrameSize))
	if l.opts.NoSync {
		return nil
	}
	return f.SyncData()
}

// activate makes next the segment that is written to; old is sealed, or nil if it is gone.
func (l *Log) activate(old, next *segment, file vfs.File) {
	if old != nil {
		old.sealed.Store(true)
	}
	l.w.use(file)
	l.w.off, l.w.dirty = headerBlock, true
	l.w.groups, l.w.grouped = 0, 0
	l.change(func(t *table) { t.segs = append(t.segs, next) })
	l.active.Store(next)
}

// use makes file the one that is written to.
func (w *appender) use(file vfs.File) {
	w.file, w.id = file, Identity{}
	if info, err := file.Stat(); err == nil {
		w.id = identityOf(info)
	}
}

// fail makes the log refuse appends and answers all that wait.
func (l *Log) fail(err error) {
	l.mu.Lock()
	if l.failure == nil {
		l.healed = make(chan struct{})
	}
	l.failure = err
	queue := l.queue
	l.queue = nil
	for _, g := range queue {
		g.taken = true
	}
	l.freeSpace()
	l.mu.Unlock()
	l.opts.Logger.Error("the log cannot write; appends are refused until a new segment is open", "error", err)
	for _, g := range queue {
		l.answer(g, err)
	}
}

// heal tries, with back-off, to continue in a new segment until that works or the log is
// closed.
func (l *Log) heal() {
	for {
		var reply chan error
		if delay := l.retryDelay(); delay > 0 {
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case reply = <-l.kick:
			case <-l.stop:
			}
			timer.Stop()
		}
		l.w.retries++
		err := l.abandon()
		if err != nil {
			err = &FailedError{Op: "reopen", File: l.active.Load().name, Cause: err}
		}
		l.mu.Lock()
		l.failure = err
		closing := l.closing
		if err == nil {
			close(l.healed)
		}
		l.mu.Unlock()
		if reply != nil {
			reply <- err
		}
		if err == nil {
			l.opts.Logger.Info("the log writes again, in a new segment", "file", l.active.Load().name)
			return
		}
		if closing {
			return
		}
	}
}

func (l *Log) retryDelay() time.Duration {
	if l.w.retries == 0 {
		return 0
	}
	return min(firstRetryDelay<<min(l.w.retries-1, 10), lastRetryDelay)
}

// abandon gives up the active file, in which a write or sync failed, and continues in a new
// one whose header says where the durable data of the old one ends. A file that holds none
// is replaced, so that a full disk does not fill with empty segments.
func (l *Log) abandon() error {
	w, s := &l.w, l.active.Load()
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
	l.dropPrepared()
	if w.off > headerBlock {
		next, file, err := l.createSegment(header{ordinal: s.ordinal + 1, first: s.ordinal + 1, prevEnd: w.off}, true)
		if err != nil {
			return err
		}
		l.activate(s, next, file)
		return nil
	}
	h := header{ordinal: s.ordinal, first: s.ordinal}
	if segs := l.table.Load().segs; len(segs) > 1 {
		h.prevEnd = segs[len(segs)-2].end.Load()
	}
	next, file, err := l.createSegment(h, true)
	if err != nil {
		return err
	}
	l.files.retire(s, func() {}) // its name now is the new file's
	l.change(func(t *table) { t.segs = without(t.segs, s) })
	l.activate(nil, next, file)
	return nil
}

// finish ends the appender goroutine of a closed log.
func (l *Log) finish() error {
	w := &l.w
	l.dropPrepared()
	var err error
	if w.file != nil {
		s := l.active.Load()
		if w.dirty && w.off > headerBlock && w.off+tailReserve <= l.opts.SegmentSize {
			err = l.writeSync(s, appendFrame(nil, kindMark, s.gen, l.syncedField(), nil))
		}
		if e := w.file.Close(); err == nil {
			err = e
		}
		w.file = nil
	}
	l.files.close()
	return err
}
