package seglog

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// How the next segment is filled: in parts of so many bytes, each synced, with a pause after
// each so that the disk is the log's for most of the time.
const (
	fillPart   = 256 << 10
	fillPauses = 2 // a pause in times of what the part took
	mostPause  = 100 * time.Millisecond
)

// Filling pays while groups have fewer bytes than this on average: for larger ones it is the
// bytes that take a sync's time, not the metadata, and they would be written twice.
const fillGroups = 128 << 10

// A segment that grows is left for a filled one as soon as there is one; that is begun once
// so many bytes have been written to it, or an eighth of it if that is less. A log that takes
// next to nothing fills nothing.
const growUntil = 1 << 20

// preparation is the next segment, made by a goroutine of its own while the active one
// fills, so that moving on costs no more than sealing. The fields are set when done closes.
type preparation struct {
	hurry chan struct{} // closed when the segment is wanted as it is
	done  chan struct{}
	seg   *segment
	file  vfs.File
	err   error
}

// prepareAhead starts to make the next segment once the active one is half full, or early in
// one that grows.
func (l *Log) prepareAhead() {
	w := &l.w
	if w.next != nil {
		return
	}
	fill := l.opts.FillAhead != nil && !l.opts.NoSync && w.grouped < fillGroups*w.groups
	from := l.opts.SegmentSize / 2
	if fill && l.active.Load().fileSize.Load() < l.opts.SegmentSize {
		from = min(growUntil, l.opts.SegmentSize/8)
	}
	if w.off < from {
		return
	}
	p := &preparation{hurry: make(chan struct{}), done: make(chan struct{})}
	w.next = p
	n := l.active.Load().ordinal + 1
	go func() {
		defer close(p.done)
		p.seg, p.file, p.err = l.createSegment(header{ordinal: n, first: n}, false)
		if p.err != nil {
			return
		}
		l.prepared.Store(p.seg.fileSize.Load())
		if fill {
			p.err = l.fill(p)
		}
		if p.err != nil {
			l.opts.Logger.Warn("preparing the next segment failed; it is made again when it is needed", "file", p.seg.name, "error", p.err)
			p.err = errors.Join(p.err, p.discard(l))
			l.prepared.Store(0)
		}
	}()
}

// fill writes zeros to the end of the prepared segment's file, whose header is durable, until
// it is full, wanted or not to be filled.
func (l *Log) fill(p *preparation) error {
	zeros := make([]byte, fillPart)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for at := p.seg.fileSize.Load(); at < l.opts.SegmentSize; {
		select {
		case <-p.hurry:
			return nil
		case <-pause.C:
		}
		if !l.opts.FillAhead() {
			return nil
		}
		part := zeros[:min(fillPart, l.opts.SegmentSize-at)]
		began := time.Now()
		if _, err := p.file.WriteAt(part, at); err != nil {
			return err
		}
		if err := p.file.SyncData(); err != nil {
			return err
		}
		at += int64(len(part))
		p.seg.fileSize.Store(at)
		l.prepared.Store(at)
		pause.Reset(min(fillPauses*time.Since(began), mostPause))
	}
	return nil
}

// discard removes the file.
func (p *preparation) discard(l *Log) error {
	return errors.Join(p.file.Close(), l.opts.FS.Remove(l.path(p.seg.name)))
}

// endPreparation takes the prepared segment as it is; nil if there is none.
func (l *Log) endPreparation() *preparation {
	p := l.w.next
	if p == nil {
		return nil
	}
	close(p.hurry)
	<-p.done
	l.w.next = nil
	l.prepared.Store(0)
	if p.err != nil {
		return nil
	}
	return p
}

// betterNext reports whether to move to the next segment before the active one is full: the
// active one would grow, and the next one would not.
func (l *Log) betterNext(size int64) bool {
	p := l.w.next
	if p == nil || l.w.off+size <= l.active.Load().fileSize.Load() {
		return false
	}
	select {
	case <-p.done:
		return p.err == nil && p.seg.fileSize.Load() >= l.opts.SegmentSize && headerBlock+size <= l.opts.SegmentSize-tailReserve
	default:
		return false
	}
}

// takePrepared returns the prepared segment, or makes it now.
func (l *Log) takePrepared() (*segment, vfs.File, error) {
	if p := l.endPreparation(); p != nil {
		return p.seg, p.file, nil
	}
	n := l.active.Load().ordinal + 1
	return l.createSegment(header{ordinal: n, first: n}, false)
}

// dropPrepared gives the prepared segment up; its file is recycled if that is worth it.
func (l *Log) dropPrepared() {
	if p := l.endPreparation(); p != nil && !l.recycle(p) {
		_ = p.discard(l)
	}
}

// recycle reports whether the prepared segment's file was made a free one.
func (l *Log) recycle(p *preparation) bool {
	size, name := p.seg.fileSize.Load(), freeName(p.seg)
	if !l.worthKeeping(size) || l.opts.FS.Rename(l.path(p.seg.name), l.path(name)) != nil {
		return false
	}
	p.seg.name = name
	// Where the rename is not durable the old name may come back: such a file is not recycled.
	if l.syncDir() != nil || !l.pool.put(name, size) {
		return false
	}
	_ = p.file.Close()
	return true
}
