package seglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Damage is a place of a log that cannot be read though it was synced.
type Damage struct {
	File     string // in the log's directory; "" for segments that are missing
	Segment  uint64
	From, To int64 // bytes from the start of the file; both 0 for a whole file
	Reason   string

	kind        damageKind
	lastMissing uint64 // with missingSegments
	nextGen     uint64 // with missingEnd
}

// damageKind is what Repair can do about a damage.
type damageKind uint8

const (
	beyondRepair    damageKind = iota
	damagedFrames              // between frames that can be read
	damagedEnd                 // from From on nothing can be read, and the segment was sealed
	damagedFile                // its header cannot be read
	missingSegments            // Segment to lastMissing
	missingEnd                 // the newest segments
)

// Checked is what Check read.
type Checked struct {
	Segments int
	Bytes    int64 // of headers and frames
	Records  int64
	Torn     int64 // bytes of a torn tail, which Open cuts and nobody was promised
	End      Position
}

// Visitor follows a Check; all of its functions must be set.
type Visitor struct {
	Record  func(pos Position, payload []byte) error // payload is valid during the call
	Damaged func(Damage)
	Segment func(done, of int) // a segment was read
	// Unsynced is for a log that is opened with NoSync.
	Unsynced bool
}

// Check reads every frame of the log in dir, goes on behind what is damaged, and changes
// nothing. The log must not be open. An error of Record or of the file system ends it.
func Check(ctx context.Context, fs vfs.FS, dir string, v Visitor) (Checked, error) {
	if there, err := exists(fs, dir); !there || err != nil {
		return Checked{}, err
	}
	_, sum, err := check(ctx, &Log{opts: Options{FS: fs, Dir: dir, ReadAhead: 1 << 20, NoSync: v.Unsynced}}, v)
	return sum, err
}

// check is Check, and returns the segments that have a header.
func check(ctx context.Context, l *Log, v Visitor) ([]*segment, Checked, error) {
	r := &recovery{l: l}
	live, err := r.names()
	if err != nil {
		return nil, Checked{}, err
	}
	for i, f := range live {
		if r.superseded(f) {
			continue
		}
		s, err := r.load(f.name, f.ordinal, f.epoch)
		switch {
		case errors.Is(err, errNoHeader) && i == 0: // prepared only
		case errors.Is(err, errNoHeader), errors.Is(err, errBadHeader):
			v.Damaged(Damage{File: f.name, Segment: f.ordinal, Reason: err.Error() + "; nothing in it can be read", kind: damagedFile})
		case err != nil:
			return nil, Checked{}, err
		default:
			r.segs = append(r.segs, s)
		}
	}
	slices.Reverse(r.segs)
	damaged := false
	report := v.Damaged
	v.Damaged = func(d Damage) { damaged = true; report(d) }
	sum, err := (&checker{recovery: r, visit: v}).run(ctx)
	if err == nil && !damaged {
		err = r.wouldOpen(v)
	}
	return r.segs, sum, err
}

// wouldOpen reports what Open refuses though every frame can be read.
func (r *recovery) wouldOpen(v Visitor) error {
	trial := &recovery{l: r.l, segs: slices.Clone(r.segs)}
	err := trial.findEnds()
	if err == nil {
		err = trial.findTail()
	}
	var corrupt *CorruptionError
	if !errors.As(err, &corrupt) {
		return err
	}
	d := Damage{File: corrupt.File, Segment: corrupt.Segment, Reason: corrupt.Reason}
	if n := len(trial.segs); trial.tail.ended && corrupt.File == trial.segs[n-1].name {
		d.kind, d.nextGen = missingEnd, trial.tail.nextGen
	}
	v.Damaged(d)
	return nil
}

// checker reads the segments of a recovery one after the other.
type checker struct {
	*recovery
	visit Visitor
	sum   Checked
}

func (c *checker) run(ctx context.Context) (Checked, error) {
	for i, s := range c.segs {
		if i > 0 && s.first != c.segs[i-1].ordinal+1 {
			d := Damage{Segment: c.segs[i-1].ordinal + 1, Reason: missingBetween(c.segs[i-1].ordinal+1, s.first-1, "")}
			if s.first > c.segs[i-1].ordinal+1 {
				d.kind, d.lastMissing = missingSegments, s.first-1
			}
			c.visit.Damaged(d)
		}
		end, last, err := c.limit(i)
		if err != nil {
			return c.sum, err
		}
		err = c.with(s.name, func(f vfs.File, _ int64) error {
			return c.segment(ctx, f, s, end, last)
		})
		if err != nil {
			return c.sum, err
		}
		c.sum.Segments++
		c.visit.Segment(i+1, len(c.segs))
	}
	return c.sum, nil
}

// unknownEnd is the end of a segment that only its frames tell.
const unknownEnd = math.MaxInt64

// limit finds where segment i ends, as far as that is on record, and whether
// what follows its last frame may be a torn tail.
func (c *checker) limit(i int) (end int64, last bool, err error) {
	s := c.segs[i]
	if i+1 == len(c.segs) {
		return unknownEnd, true, nil
	}
	next := c.segs[i+1]
	if next.prevEnd != 0 && s.epoch == 0 && next.first == s.ordinal+1 {
		return next.prevEnd, false, nil
	}
	err = c.with(s.name, func(f vfs.File, _ int64) error {
		b, err := readBlock(f)
		if err == nil && len(b) >= sealOffset {
			end = parseSeal(b[sealOffset:], s.gen)
		}
		return err
	})
	if err != nil || end >= headerBlock {
		return end + endFrameSize, false, err
	}
	if i+2 == len(c.segs) { // the last one may be prepared only
		t, err := c.scan(next)
		return unknownEnd, err == nil && t.frames == 0 && !t.lost, err
	}
	return unknownEnd, false, nil
}

// segment reads the frames of one segment up to limit.
func (c *checker) segment(ctx context.Context, f vfs.File, s *segment, limit int64, last bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fr := &frameReader{f: f, gen: s.gen, off: headerBlock, limit: min(limit, info.Size()), ahead: c.l.opts.ReadAhead}
	ended := false
	for n := 0; !ended; n++ {
		if n%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		x, off, err := fr.next()
		switch {
		case errors.Is(err, io.EOF):
			ended = true
			switch {
			case limit == unknownEnd && !last:
				c.visit.Damaged(Damage{File: s.name, Segment: s.ordinal, From: off, To: fr.limit, Reason: "the file ends without the mark that ends a segment", kind: damagedEnd})
			case limit != unknownEnd && limit > info.Size():
				c.visit.Damaged(Damage{File: s.name, Segment: s.ordinal, From: off, To: limit, Reason: "the file ends too early", kind: damagedEnd})
			}
		case errors.Is(err, errBadFrame):
			if ended, err = c.skip(fr, s, off, last); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("read %s: %w", s.name, err)
		case x.kind == kindEnd:
			ended = true
		case x.kind == kindRecord:
			c.sum.Records++
			if err := c.visit.Record(s.position(off), x.payload); err != nil {
				return err
			}
		}
		if !ended {
			c.sum.End = s.position(fr.off)
		}
	}
	c.sum.Bytes += fr.off
	return nil
}

// skip goes on behind bytes at off that are no frame, and reports them, unless
// they are a torn tail: then the segment ends there.
func (c *checker) skip(fr *frameReader, s *segment, off int64, last bool) (ended bool, err error) {
	next, synced, kind := int64(0), false, damagedFrames
	r := &frameReader{f: fr.f, gen: s.gen, limit: fr.limit, ahead: fr.ahead}
	for from := off + frameAlign; ; {
		found, err := r.seekHeader(from)
		if err != nil {
			return false, err
		}
		if !found {
			break
		}
		x, at, err := r.next()
		if errors.Is(err, errBadFrame) {
			from = at + frameAlign
			continue
		}
		if err != nil {
			return false, err
		}
		if next == 0 {
			next = at
		}
		if synced = x.synced > off || x.kind == kindEnd; synced || !last {
			break
		}
		from = r.off
	}
	switch {
	case last && !synced:
		fr.off = off
		if next != 0 {
			c.sum.Torn = r.off - off
		}
		return true, nil
	case next == 0:
		next, kind = fr.limit, damagedEnd
	}
	c.visit.Damaged(Damage{File: s.name, Segment: s.ordinal, From: off, To: next, Reason: "no valid frame stands here", kind: kind})
	fr.off = next
	return kind == damagedEnd, nil
}
