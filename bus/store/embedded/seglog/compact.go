package seglog

import (
	"context"
	"errors"
	"fmt"
)

// ErrRewriteTooLarge answers Rewrite when what is kept does not fit into one segment.
var ErrRewriteTooLarge = errors.New("the kept records do not fit into one segment; rewrite a shorter run")

// Rewrite is a finished copy of the kept records of a run of segments, not yet in use. It
// must be ended by Commit or Abort.
type Rewrite struct {
	l       *Log
	sources []*segment
	out     *segment
	temp    string
	stage   rewriteStage
}

type rewriteStage int

const (
	copied  rewriteStage = iota // the temporary file is whole and synced
	renamed                     // it has its name, but the directory may not be synced
	visible                     // old and new positions can be read
	over
)

// Rewrite copies the records of the adjacent sealed segments with ordinals from first to
// last that keep wants into one new segment, in order. keep may return other bytes to be
// stored in place of payload, or payload itself; payload is valid during the call. Without keep
// nothing is kept, and the sources are not read. moved, if
// not nil, is told the new position of each kept record; new positions are worth nothing
// unless Rewrite succeeds and can be read only once Commit has started. Nothing changes for
// readers before Commit. Rewrite may run beside appends and reads; rewrites of disjoint
// runs may run beside each other.
//
// Errors: ErrGone, ErrNotSealed, ErrBusy, ErrRewriteTooLarge, *CorruptionError, that of ctx
// and those of the file system.
func (l *Log) Rewrite(ctx context.Context, first, last uint64, keep func(pos Position, payload []byte) (stored []byte, keep bool), moved func(from, to Position)) (*Rewrite, error) {
	sources, nextGen, err := l.claim(first, last)
	if err != nil {
		return nil, err
	}
	h := header{ordinal: sources[len(sources)-1].ordinal, first: sources[0].first,
		gen: newGeneration(), created: sources[0].created, prevEnd: sources[0].prevEnd}
	for _, s := range sources {
		h.epoch = max(h.epoch, s.epoch+1)
	}
	rw := &Rewrite{l: l, sources: sources, out: &segment{header: h, name: liveName(h.ordinal, h.epoch)}}
	rw.temp = rw.out.name + suffixTemp
	if err := rw.copy(ctx, nextGen, keep, moved); err != nil {
		return nil, errors.Join(err, rw.Abort())
	}
	return rw, nil
}

// claim marks the sources as busy and returns the generation of the segment after them.
func (l *Log) claim(first, last uint64) ([]*segment, uint64, error) {
	l.maint.Lock()
	defer l.maint.Unlock()
	var sources []*segment
	var nextGen uint64
	for _, s := range l.table.Load().segs {
		if s.ordinal < first {
			continue
		}
		if s.first > last {
			nextGen = s.gen
			break
		}
		if !s.sealed.Load() {
			return nil, 0, ErrNotSealed
		}
		if s.busy {
			return nil, 0, ErrBusy
		}
		sources = append(sources, s)
	}
	if n := len(sources); n == 0 || sources[0].first != first || sources[n-1].ordinal != last {
		return nil, 0, fmt.Errorf("no segments with ordinals from %d to %d: %w", first, last, ErrGone)
	}
	for _, s := range sources {
		s.busy = true
	}
	return sources, nextGen, nil
}

func (rw *Rewrite) copy(ctx context.Context, nextGen uint64, keep func(Position, []byte) ([]byte, bool), moved func(from, to Position)) (err error) {
	l, out := rw.l, rw.out
	path := l.path(rw.temp)
	if err := removeIfThere(l.opts.FS, path); err != nil {
		return err
	}
	f, err := l.opts.FS.OpenReadWrite(path, writeCategory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	limit := l.opts.SegmentSize - tailReserve
	buf := out.block()
	var at int64 // file offset of buf[0]
	sources := rw.sources
	if keep == nil {
		sources = nil
	}
	for _, s := range sources {
		fr := &frameReader{ahead: l.opts.ReadAhead}
		_, err := l.scanSegment(ctx, s, headerBlock, s.end.Load(), fr, func(pos Position, payload []byte) error {
			stored, ok := keep(pos, payload)
			if !ok {
				return nil
			}
			off := at + int64(len(buf))
			if off+frameSize(len(stored)) > limit {
				return ErrRewriteTooLarge
			}
			buf = appendFrame(buf, kindRecord, out.gen, 0, stored)
			if moved != nil {
				moved(pos, out.position(off))
			}
			if len(buf) < copyChunkSize {
				return nil
			}
			_, err := f.WriteAt(buf, at)
			at += int64(len(buf))
			buf = buf[:0]
			return err
		})
		if err != nil {
			return err
		}
	}
	end := at + int64(len(buf))
	if _, err := f.WriteAt(buf, at); err != nil {
		return err
	}
	out.end.Store(end)
	out.fileSize.Store(end)
	out.sealed.Store(true)
	return l.seal(f, out, end, 0, nextGen)
}

// Commit puts the replacement in place: it becomes durable under its name, then both the
// old and the new positions can be read while update, if not nil, moves the caller's index
// to the new ones, then the sources are retired and their positions become *MovedError.
//
// An error before update is that of the file system, and one of update is returned; Commit
// may then be called again and goes on where it stopped, which may mean with update. A crash after the replacement
// became durable leaves it in place of its sources, whether update ran or not: at the next
// open old positions are *MovedError, which names the place to scan from.
func (rw *Rewrite) Commit(update func() error) error {
	l := rw.l
	l.maint.Lock()
	defer l.maint.Unlock()
	if rw.stage == copied {
		if err := l.opts.FS.Rename(l.path(rw.temp), l.path(rw.out.name)); err != nil {
			return err
		}
		rw.stage = renamed
	}
	if rw.stage == renamed {
		if err := l.syncDir(); err != nil {
			return fmt.Errorf("sync the log's directory: %w", err)
		}
		l.change(func(t *table) { t.replacing = append(t.replacing, rw.out) })
		rw.stage = visible
	}
	if rw.stage == over {
		return nil
	}
	if update != nil {
		if err := update(); err != nil {
			return err
		}
	}
	done, err := l.retire(rw.sources, func(t *table) {
		i := 0
		for i < len(t.segs) && t.segs[i] != rw.sources[0] {
			i++
		}
		segs := append([]*segment{}, t.segs[:i]...)
		segs = append(segs, rw.out)
		t.segs = append(segs, t.segs[min(i+len(rw.sources), len(t.segs)):]...)
		t.replacing = without(t.replacing, rw.out)
	})
	if done {
		rw.stage = over
	}
	return err
}

// Abort gives up a rewrite that was not committed and deletes its file. Once Commit has made
// the replacement visible it cannot be given up, and Abort does nothing.
func (rw *Rewrite) Abort() error {
	l := rw.l
	l.maint.Lock()
	defer l.maint.Unlock()
	if rw.stage >= visible {
		return nil
	}
	name := rw.temp
	if rw.stage == renamed {
		name = rw.out.name
	}
	for _, s := range rw.sources {
		s.busy = false
	}
	rw.stage = over
	if err := removeIfThere(l.opts.FS, l.path(name)); err != nil {
		return err
	}
	return l.syncDir()
}
