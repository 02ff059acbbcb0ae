package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// recovery is what Open finds in the directory. Nothing on disk changes before all checks
// have passed.
type recovery struct {
	l    *Log
	segs []*segment // live, in order
	drop []string   // files to remove: rewritten, never finished, temporary
	free []string
	tail tail // of the last of segs
}

// recover brings the directory to the state that the appender continues from.
func (l *Log) recover(replayFrom Position) error {
	fs, dir := l.opts.FS, l.opts.Dir
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the log's directory: %w", err)
	}
	if !l.opts.NoSync {
		if err := syncDir(fs, fs.PathDir(dir)); err != nil {
			return fmt.Errorf("sync the parent of %q: %w", dir, err)
		}
	}
	r := &recovery{l: l}
	if err := r.list(); err != nil {
		return err
	}
	if err := r.findEnds(); err != nil {
		return err
	}
	if err := r.findTail(); err != nil {
		return err
	}
	if err := r.checkReplay(replayFrom); err != nil {
		return err
	}
	if err := r.repair(); err != nil {
		return err
	}
	return r.clean()
}

// liveFile is a segment's file by its name.
type liveFile struct {
	name    string
	ordinal uint64
	epoch   uint32
}

// names sorts what is in the directory. Live files come newest first and, of the same
// ordinal, the rewritten first: what it replaces follows.
func (r *recovery) names() (live []liveFile, err error) {
	names, err := r.l.opts.FS.List(r.l.opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("list the log's directory: %w", err)
	}
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, suffixTemp):
			r.drop = append(r.drop, name)
		case strings.HasSuffix(name, suffixFree):
			r.free = append(r.free, name)
		default:
			if ordinal, epoch, ok := parseLiveName(name); ok {
				live = append(live, liveFile{name, ordinal, epoch})
			}
		}
	}
	slices.Sort(r.free)
	slices.SortFunc(live, func(a, b liveFile) int {
		return -Position{a.ordinal, int64(a.epoch)}.Compare(Position{b.ordinal, int64(b.epoch)})
	})
	return live, nil
}

// superseded reports whether the newest segment found so far was rewritten from f.
func (r *recovery) superseded(f liveFile) bool {
	n := len(r.segs)
	return n > 0 && r.segs[n-1].epoch > f.epoch && f.ordinal >= r.segs[n-1].first
}

// list reads the headers of all segments and puts the live ones in order.
func (r *recovery) list() error {
	l := r.l
	live, err := r.names()
	if err != nil {
		return err
	}
	for i, f := range live {
		if r.superseded(f) {
			r.drop = append(r.drop, f.name)
			continue
		}
		s, err := r.load(f.name, f.ordinal, f.epoch)
		switch {
		case errors.Is(err, errNoHeader) && (i == 0 || l.opts.NoSync):
			r.drop = append(r.drop, f.name)
			continue
		case errors.Is(err, errNoHeader), errors.Is(err, errBadHeader):
			if l.opts.NoSync {
				l.opts.Logger.Warn("dropping a segment without a valid header", "file", f.name)
				r.drop = append(r.drop, f.name)
				continue
			}
			return &CorruptionError{File: f.name, Segment: f.ordinal, Reason: err.Error()}
		case err != nil:
			return err
		}
		r.segs = append(r.segs, s)
	}
	slices.Reverse(r.segs)
	for i := 1; i < len(r.segs) && !l.opts.NoSync; i++ {
		if prev, s := r.segs[i-1], r.segs[i]; s.first != prev.ordinal+1 {
			return s.corrupt(0, missingBetween(prev.ordinal+1, s.first-1, " before it"))
		}
	}
	return nil
}

// missingBetween says that the segments from one to another are missing, and
// where.
func missingBetween(from, to uint64, where string) string {
	if from == to {
		return fmt.Sprintf("segment %d%s is missing", from, where)
	}
	return fmt.Sprintf("segments %d to %d%s are missing", from, to, where)
}

// load reads one header. errNoHeader means that the file was never finished: empty, or
// recycled and still with its old header.
func (r *recovery) load(name string, ordinal uint64, epoch uint32) (*segment, error) {
	var s *segment
	err := r.with(name, func(f vfs.File, size int64) error {
		b, err := readBlock(f)
		if err != nil {
			return fmt.Errorf("read the header of %s: %w", name, err)
		}
		h, err := parseHeader(b)
		if errors.Is(err, errNoHeader) && size > headerBlock {
			return errBadHeader
		}
		if err == nil && (h.ordinal != ordinal || h.epoch != epoch) {
			return errNoHeader
		}
		if err != nil {
			return err
		}
		s = &segment{header: h, name: name}
		s.fileSize.Store(size)
		return nil
	})
	return s, err
}

// with opens a file for reading.
func (r *recovery) with(name string, fn func(f vfs.File, size int64) error) error {
	f, err := r.l.opts.FS.Open(r.l.path(name), vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return fn(f, info.Size())
}

// findEnds sets the end of each segment but the last. If the last one turns out to have been
// prepared only, it goes.
func (r *recovery) findEnds() error {
	for i := 0; i+1 < len(r.segs); i++ {
		s, next := r.segs[i], r.segs[i+1]
		s.sealed.Store(true)
		if next.prevEnd != 0 && s.epoch == 0 && next.first == s.ordinal+1 {
			s.end.Store(next.prevEnd)
			if s.fileSize.Load() < next.prevEnd {
				return s.corrupt(s.fileSize.Load(), fmt.Sprintf("the file is shorter than the %d bytes that the next segment says were synced", next.prevEnd))
			}
			continue
		}
		t, err := r.findEnd(s)
		if err != nil {
			return err
		}
		s.end.Store(t.cut)
		s.nextGen = t.nextGen
		if r.l.opts.NoSync {
			continue
		}
		if t.ended {
			if t.nextGen != 0 && next.epoch == 0 && next.prevEnd == 0 && next.gen != t.nextGen {
				return next.corrupt(0, "it is not the segment that the one before it names as its successor")
			}
			continue
		}
		if i+2 == len(r.segs) && !t.lost {
			nt, err := r.scan(next)
			if err != nil {
				return err
			}
			if nt.frames == 0 && !nt.lost {
				s.sealed.Store(false)
				r.segs = r.segs[:i+1]
				r.drop = append(r.drop, next.name)
				return nil
			}
		}
		return s.corrupt(t.cut, "later data was synced after it")
	}
	return nil
}

// findEnd returns the end of a sealed segment, from its seal if that is right.
func (r *recovery) findEnd(s *segment) (t tail, err error) {
	err = r.with(s.name, func(f vfs.File, size int64) error {
		b, err := readBlock(f)
		if err != nil {
			return err
		}
		if len(b) < headerBlock {
			return s.corrupt(int64(len(b)), "the file ends within its header block")
		}
		if end := parseSeal(b[sealOffset:], s.gen); end >= headerBlock && end+endFrameSize <= size {
			e := make([]byte, endFrameSize)
			if _, err := f.ReadAt(e, end); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if fr, err := parseFrame(e, s.gen); err == nil && fr.kind == kindEnd && len(fr.payload) == 8 {
				t = tail{cut: end, ended: true, nextGen: binary.LittleEndian.Uint64(fr.payload), known: fr.synced}
				return nil
			}
		}
		t, err = scanTail(f, s, size, r.l.opts.ReadAhead)
		return err
	})
	return t, err
}

func (r *recovery) scan(s *segment) (t tail, err error) {
	err = r.with(s.name, func(f vfs.File, size int64) error {
		t, err = scanTail(f, s, size, r.l.opts.ReadAhead)
		return err
	})
	return t, err
}

// findTail scans the last segment.
func (r *recovery) findTail() error {
	if len(r.segs) == 0 {
		return nil
	}
	s := r.segs[len(r.segs)-1]
	t, err := r.scan(s)
	if err != nil {
		return err
	}
	r.tail = t
	s.end.Store(t.cut)
	if r.l.opts.NoSync {
		return nil
	}
	if t.lost {
		return s.corrupt(t.cut, "a later frame says that it was synced")
	}
	if t.ended {
		return s.corrupt(t.cut, fmt.Sprintf("it was sealed, but segment %d, which was synced before that, is missing", s.ordinal+1))
	}
	return nil
}

// checkReplay refuses a log that ends before what the caller knows was synced.
func (r *recovery) checkReplay(from Position) error {
	if r.l.opts.NoSync || from == (Position{}) {
		return nil
	}
	if len(r.segs) == 0 {
		return &CorruptionError{File: r.l.opts.Dir, Segment: from.Segment, Offset: from.file(),
			Reason: "the log is empty, but it is to be replayed from this position"}
	}
	s := r.segs[len(r.segs)-1]
	if end := s.position(r.tail.cut); end.Less(from) {
		return s.corrupt(r.tail.cut, fmt.Sprintf("the log ends here, before the position %v that it is to be replayed from", from))
	}
	return nil
}

// repair makes durable what was found valid, and nothing else: the process that wrote it may
// have ended before its sync, so the bytes above the known synced offset are written again;
// headers of frames beyond the cut are zeroed. It may be interrupted and run again.
func (r *recovery) repair() error {
	l := r.l
	if len(r.segs) == 0 {
		return nil
	}
	s, t := r.segs[len(r.segs)-1], r.tail
	if t.frames == 0 && len(r.segs) > 1 && !l.opts.NoSync {
		// The active segment is empty: the sync of the end frame before it may lack.
		if p := r.segs[len(r.segs)-2]; s.prevEnd == 0 && p.epoch == 0 {
			if err := r.reseal(p, s.gen); err != nil {
				return err
			}
		}
	}
	f, err := l.opts.FS.OpenReadWrite(l.path(s.name), writeCategory)
	if err != nil {
		return err
	}
	l.w.use(f)
	l.w.off = t.cut
	if t.ended { // only without syncs: the next segment is lost
		t.stale = max(t.stale, t.cut+endFrameSize)
	}
	if t.stale > t.cut {
		l.opts.Logger.Warn("cutting the torn tail of the log", "file", s.name, "offset", t.cut, "until", t.stale)
	}
	from := max(t.known, headerBlock)
	if t.frames == 0 {
		from = 0
	}
	if l.opts.NoSync {
		from = t.cut
	}
	if err := rewrite(f, from, t.cut, t.stale); err != nil {
		return fmt.Errorf("repair %s: %w", s.name, err)
	}
	s.fileSize.Store(max(s.fileSize.Load(), t.cut))
	if l.opts.NoSync {
		return nil
	}
	return f.Sync()
}

func (r *recovery) reseal(p *segment, nextGen uint64) error {
	f, err := r.l.opts.FS.OpenReadWrite(r.l.path(p.name), writeCategory)
	if err != nil {
		return err
	}
	end := p.end.Load()
	return errors.Join(r.l.seal(f, p, end, end, nextGen), f.Close())
}

// rewrite writes the bytes from from to cut again and zeroes those from cut to stale.
func rewrite(f vfs.File, from, cut, stale int64) error {
	buf := make([]byte, min(copyChunkSize, max(cut-from, stale-cut, 0)))
	for at := from; at < cut; {
		b := buf[:min(int64(len(buf)), cut-at)]
		if n, err := f.ReadAt(b, at); err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
			return err
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	clear(buf)
	for at := cut; at < stale; {
		b := buf[:min(int64(len(buf)), stale-at)]
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}

// clean removes what is no longer needed, takes the free files into the pool and makes the
// first segment of a new log.
func (r *recovery) clean() error {
	l := r.l
	if err := l.syncDir(); err != nil { // a rename may be younger than the last sync
		return fmt.Errorf("sync the log's directory: %w", err)
	}
	for _, name := range r.drop {
		if err := removeIfThere(l.opts.FS, l.path(name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	for _, name := range r.free {
		var size int64
		err := r.with(name, func(f vfs.File, n int64) error {
			b, err := readBlock(f)
			if err == nil {
				_, err = parseHeader(b)
			}
			size = n
			return err
		})
		if err != nil || !l.worthKeeping(size) || !l.pool.put(name, size) {
			if err := removeIfThere(l.opts.FS, l.path(name)); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	t := &table{segs: r.segs}
	if len(r.segs) == 0 {
		s, f, err := l.createSegment(header{ordinal: 1, first: 1}, false)
		if err != nil {
			return err
		}
		t.segs = []*segment{s}
		l.w.use(f)
		l.w.off = headerBlock
	} else if err := l.syncDir(); err != nil {
		return fmt.Errorf("sync the log's directory: %w", err)
	}
	l.table.Store(t)
	l.active.Store(t.segs[len(t.segs)-1])
	return nil
}
