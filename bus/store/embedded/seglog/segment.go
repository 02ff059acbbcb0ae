package seglog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The first block of a segment file. Frames start after it, so that writing them never
// touches the header. It has two parts, each within one sector and so written whole or not:
// the header, synced before any frame is acknowledged, and the seal, which repeats what the
// end frame says so that opening need not scan.
const (
	headerBlock   = 4096
	headerSize    = 128
	sealOffset    = 512
	sealSize      = 48
	headerMagic   = "swlog\x00h1"
	sealMagic     = "swlog\x00s1"
	maxSegment    = 1<<32 - headerBlock // offsets in frames have 32 bits
	minSegment    = 2 * headerBlock
	epochShift    = 32
	offsetMask    = 1<<epochShift - 1
	suffixLive    = ".seg"
	suffixFree    = ".free"
	suffixTemp    = ".tmp"
	copyChunkSize = 1 << 20
)

// Position is the place of a frame. Positions order as the frames were appended. Offset is
// opaque beyond its order: its high half tells the frames of a rewritten segment from those
// that stood there before. The zero Position is before everything.
type Position struct {
	Segment uint64
	Offset  int64
}

// Compare returns -1, 0 or 1 as p is before, at or after q.
func (p Position) Compare(q Position) int {
	switch {
	case p.Segment < q.Segment, p.Segment == q.Segment && p.Offset < q.Offset:
		return -1
	case p == q:
		return 0
	}
	return 1
}

// Less reports whether p is before q.
func (p Position) Less(q Position) bool { return p.Compare(q) < 0 }

// Replaced reports whether q lies in what the rewritten segment of p has replaced, if that
// is the first segment after q that there is.
func (p Position) Replaced(q Position) bool { return p.epoch() > q.epoch() && q.Segment <= p.Segment }

// String returns "segment:offset".
func (p Position) String() string { return fmt.Sprintf("%d:%#x", p.Segment, p.Offset) }

func (p Position) epoch() uint32 { return uint32(p.Offset >> epochShift) }
func (p Position) file() int64   { return p.Offset & offsetMask }

// header is what the first block of a segment says.
type header struct {
	ordinal uint64 // also the last of the run that a rewritten segment replaces
	first   uint64 // of that run; else the ordinal
	epoch   uint32 // 0; a rewritten segment has one more than its sources
	gen     uint64
	created int64 // Unix nanoseconds
	prevEnd int64 // if not 0: the segment before, unless rewritten, ends here whatever stands after
}

func (h header) block() []byte {
	b := make([]byte, headerBlock)
	copy(b, headerMagic)
	binary.LittleEndian.PutUint32(b[12:], 1)
	binary.LittleEndian.PutUint64(b[16:], h.ordinal)
	binary.LittleEndian.PutUint64(b[24:], h.first)
	binary.LittleEndian.PutUint32(b[32:], h.epoch)
	binary.LittleEndian.PutUint64(b[40:], h.gen)
	binary.LittleEndian.PutUint64(b[48:], uint64(h.created))
	binary.LittleEndian.PutUint64(b[56:], uint64(h.prevEnd))
	binary.LittleEndian.PutUint32(b[8:], checksum(b[12:headerSize]))
	return b
}

var (
	errNoHeader  = errors.New("no header was ever written")
	errBadHeader = errors.New("the header is damaged")
)

// parseHeader decodes a header block. errNoHeader means that the block is empty.
func parseHeader(b []byte) (header, error) {
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		return header{}, errNoHeader
	}
	if len(b) < headerSize || string(b[:8]) != headerMagic || checksum(b[12:headerSize]) != binary.LittleEndian.Uint32(b[8:]) {
		return header{}, errBadHeader
	}
	if v := binary.LittleEndian.Uint32(b[12:]); v != 1 {
		return header{}, fmt.Errorf("format version %d is not known to this program", v)
	}
	h := header{
		ordinal: binary.LittleEndian.Uint64(b[16:]),
		first:   binary.LittleEndian.Uint64(b[24:]),
		epoch:   binary.LittleEndian.Uint32(b[32:]),
		gen:     binary.LittleEndian.Uint64(b[40:]),
		created: int64(binary.LittleEndian.Uint64(b[48:])),
		prevEnd: int64(binary.LittleEndian.Uint64(b[56:])),
	}
	if h.first > h.ordinal || h.gen == 0 || h.ordinal == 0 || h.prevEnd < 0 || h.epoch > 1<<30 {
		return header{}, errBadHeader
	}
	return h, nil
}

func sealBlock(gen uint64, end int64) []byte {
	b := make([]byte, sealSize)
	copy(b, sealMagic)
	binary.LittleEndian.PutUint64(b[16:], gen)
	binary.LittleEndian.PutUint64(b[24:], uint64(end))
	binary.LittleEndian.PutUint32(b[8:], checksum(b[12:]))
	return b
}

// parseSeal returns the end that a seal of gen names, or 0.
func parseSeal(b []byte, gen uint64) int64 {
	if len(b) < sealSize || string(b[:8]) != sealMagic || checksum(b[12:sealSize]) != binary.LittleEndian.Uint32(b[8:]) ||
		binary.LittleEndian.Uint64(b[16:]) != gen {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[24:]))
}

// segment is one live file. Everything but the atomics is fixed once it is in the table;
// retired is guarded by fileCache.mu, busy by Log.maint.
type segment struct {
	header
	name     string // in the directory
	end      atomic.Int64
	sealed   atomic.Bool
	fileSize atomic.Int64
	nextGen  uint64 // from the end frame, while opening
	retired  bool
	busy     bool
}

func (s *segment) position(off int64) Position {
	return Position{s.ordinal, int64(s.epoch)<<epochShift | off}
}

func (s *segment) start() Position { return s.position(headerBlock) }

func (s *segment) corrupt(off int64, reason string) error {
	return &CorruptionError{File: s.name, Segment: s.ordinal, Offset: off, Reason: reason}
}

func liveName(ordinal uint64, epoch uint32) string {
	if epoch == 0 {
		return fmt.Sprintf("%016x%s", ordinal, suffixLive)
	}
	return fmt.Sprintf("%016x-%08x%s", ordinal, epoch, suffixLive)
}

// freeName is what the file of s is called once it is free to be overwritten.
func freeName(s *segment) string {
	return fmt.Sprintf("%016x-%016x%s", s.ordinal, s.gen, suffixFree)
}

// parseLiveName is the inverse of liveName.
func parseLiveName(name string) (ordinal uint64, epoch uint32, ok bool) {
	s, found := strings.CutSuffix(name, suffixLive)
	if !found {
		return 0, 0, false
	}
	s, e, rewritten := strings.Cut(s, "-")
	ordinal, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	if rewritten {
		v, err := strconv.ParseUint(e, 16, 32)
		if err != nil {
			return 0, 0, false
		}
		epoch = uint32(v)
	}
	return ordinal, epoch, liveName(ordinal, epoch) == name
}

// newGeneration returns a random generation, never 0. It cannot be guessed from outside, so
// no payload can pass for a frame.
func newGeneration() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails; crypto/rand ends the program first
	return binary.LittleEndian.Uint64(b[:]) | 1
}

// readBlock reads the header block of f, short if the file is.
func readBlock(f vfs.File) ([]byte, error) {
	b := make([]byte, headerBlock)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

func (l *Log) path(name string) string { return l.opts.FS.PathJoin(l.opts.Dir, name) }

// syncDir makes names durable.
func (l *Log) syncDir() error {
	if l.opts.NoSync {
		return nil
	}
	return syncDir(l.opts.FS, l.opts.Dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// createSegment makes the file of h with its header, on a recycled file if there is one,
// and syncs it and the directory. With replace, a file of the same name stays until the new
// one is whole. On an error nothing stays behind but what Open clears away.
func (l *Log) createSegment(h header, replace bool) (*segment, vfs.File, error) {
	if l.home != (Identity{}) {
		if err := l.home.StandsAt(l.opts.FS, l.opts.Dir); err != nil {
			return nil, nil, err
		}
	}
	h.gen, h.created = newGeneration(), time.Now().UnixNano()
	s := &segment{header: h, name: liveName(h.ordinal, h.epoch)}
	path := l.path(s.name)
	final := path
	if replace {
		path += suffixTemp
	}
	f, size, err := l.openForSegment(path)
	if err == nil {
		if err = l.writeHeader(f, h); err == nil && replace {
			err = l.opts.FS.Rename(path, final)
			path = final
		}
		if err == nil {
			err = l.syncDir()
		}
		if err != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		if path != final || !replace {
			_ = l.opts.FS.Remove(path) // an fsync that failed on it is never tried again
		}
		return nil, nil, fmt.Errorf("prepare %s: %w", s.name, err)
	}
	s.end.Store(headerBlock)
	s.fileSize.Store(max(size, headerBlock))
	return s, f, nil
}

func (l *Log) writeHeader(f vfs.File, h header) error {
	if _, err := f.WriteAt(h.block(), 0); err != nil {
		return err
	}
	if l.opts.NoSync {
		return nil
	}
	return f.Sync()
}

func (l *Log) openForSegment(path string) (f vfs.File, size int64, err error) {
	fs := l.opts.FS
	if free, n, ok := l.pool.take(); ok {
		// Not ReuseForWrite: WriteAt is only promised for files from OpenReadWrite.
		if err := fs.Rename(l.path(free), path); err == nil {
			size = n
		} else {
			_ = fs.Remove(l.path(free))
		}
	}
	if size == 0 {
		if err := removeIfThere(fs, path); err != nil {
			return nil, 0, err
		}
	}
	f, err = fs.OpenReadWrite(path, writeCategory)
	return f, size, err
}
