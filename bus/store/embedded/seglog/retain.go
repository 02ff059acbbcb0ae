package seglog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SegmentInfo describes one live segment.
type SegmentInfo struct {
	First, Last uint64    // ordinals; they differ for a rewritten run
	Start, End  Position  // of its records; End is where the next would stand
	Size        int64     // bytes of header and frames
	FileSize    int64     // bytes on disk, more than Size for a recycled file
	Created     time.Time // for a rewritten run: of its oldest segment
	Sealed      bool
	Rewritten   bool
}

// Segments returns the live segments, oldest first; the last is the one written to.
func (l *Log) Segments() []SegmentInfo {
	t := l.table.Load()
	infos := make([]SegmentInfo, len(t.segs))
	for i, s := range t.segs {
		sealed, end := s.sealed.Load(), s.end.Load()
		infos[i] = SegmentInfo{
			First: s.first, Last: s.ordinal,
			Start: s.start(), End: s.position(end),
			Size: end, FileSize: s.fileSize.Load(),
			Created: time.Unix(0, s.created), Sealed: sealed, Rewritten: s.epoch > 0,
		}
	}
	return infos
}

// Usage is bytes on disk.
type Usage struct {
	Live     int64 // segments, those being replaced by a rewrite included
	Recycled int64 // retired files kept for reuse
	Prepared int64 // the next segment, made ahead
}

// Total returns the sum.
func (u Usage) Total() int64 { return u.Live + u.Recycled + u.Prepared }

// DiskUsage returns the bytes that the log takes on disk. Files that a reader still has open
// after their removal do not count.
func (l *Log) DiskUsage() Usage {
	u := Usage{Recycled: l.pool.bytes(), Prepared: l.prepared.Load()}
	t := l.table.Load()
	for _, s := range append(t.segs[:len(t.segs):len(t.segs)], t.replacing...) {
		u.Live += s.fileSize.Load()
	}
	return u
}

// worthKeeping reports whether a file of size is a good one to recycle: nearly all written,
// and not from a time of much larger segments.
func (l *Log) worthKeeping(size int64) bool {
	return size >= l.opts.SegmentSize/2 && size <= 2*l.opts.SegmentSize
}

// Remove retires the sealed segment that holds ordinal: its file is kept for reuse or
// deleted, and its positions become ErrGone. The oldest segment goes whole; one in the
// middle is replaced by an empty one of a few kilobytes, so that a missing file can still be
// told from a removed one. It is durable when Remove returns nil. Errors: ErrGone,
// ErrNotSealed, ErrBusy and those of the file system; after those the segment may be back at
// the next open.
func (l *Log) Remove(ordinal uint64) error {
	l.maint.Lock()
	t := l.table.Load()
	s, _, err := t.find(Position{Segment: ordinal})
	if err == nil && s != nil && (ordinal < s.first || ordinal > s.ordinal) {
		err = ErrGone
	}
	var moved *MovedError
	if errors.As(err, &moved) {
		s, _, err = t.find(moved.To)
	}
	switch {
	case err != nil:
	case s == nil || !s.sealed.Load():
		err = ErrNotSealed
	case s.busy:
		err = ErrBusy
	case s != t.segs[0]:
		l.maint.Unlock()
		return l.empty(s)
	default:
		_, err = l.retire([]*segment{s}, func(t *table) { t.segs = without(t.segs, s) })
	}
	l.maint.Unlock()
	return err
}

func (l *Log) empty(s *segment) error {
	rw, err := l.Rewrite(context.Background(), s.first, s.ordinal, nil, nil)
	if err != nil {
		return err
	}
	if err := rw.Commit(nil); err != nil {
		return errors.Join(err, rw.Abort())
	}
	return nil
}

// retire takes live files out of use: they lose their names, durably, and once no reader
// has them open are recycled or deleted. If a single file cannot be renamed nothing changes;
// of several, those that cannot stay on disk until the next open. maint is held.
func (l *Log) retire(segs []*segment, edit func(*table)) (done bool, err error) {
	fs := l.opts.FS
	free := make([]string, len(segs))
	var errs []error
	// Readers must not look for a file that has lost its name before they can know why.
	l.files.mu.Lock()
	for i, s := range segs {
		free[i] = freeName(s)
		if err := fs.Rename(l.path(s.name), l.path(free[i])); err != nil {
			errs = append(errs, fmt.Errorf("retire %s: %w", s.name, err))
			free[i] = s.name
		}
	}
	if len(segs) == 1 && len(errs) == 1 {
		l.files.mu.Unlock()
		return false, errs[0]
	}
	l.change(edit)
	for _, s := range segs {
		s.retired = true
	}
	l.files.mu.Unlock()
	if err := l.syncDir(); err != nil {
		errs = append(errs, fmt.Errorf("sync the log's directory: %w", err))
	}
	// Where a rename is not durable the old name may come back: such a file is not recycled.
	recycle := len(errs) == 0
	for i, s := range segs {
		name, size := free[i], s.fileSize.Load()
		l.files.retire(s, func() {
			if recycle && l.worthKeeping(size) && l.pool.put(name, size) {
				return
			}
			if err := removeIfThere(fs, l.path(name)); err != nil {
				l.opts.Logger.Warn("a retired segment could not be deleted; it goes at the next start", "file", name, "error", err)
			}
		})
	}
	return true, errors.Join(errs...)
}
