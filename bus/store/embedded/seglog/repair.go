package seglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Repair gives up what is damaged in the log in dir, so that Open takes the
// rest: filler frames stand where no frame could be read, empty segments where
// segments are missing. Every other record keeps its position. What a damaged
// place held is handed to aside first, under a name that says where it stood.
// unsynced is for a log that is opened with NoSync. The log must not be open.
// Repair may be interrupted and run again.
func Repair(ctx context.Context, fs vfs.FS, dir string, unsynced bool, aside func(name string, r io.Reader) error) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	m := &mender{l: &Log{opts: Options{FS: fs, Dir: dir, ReadAhead: 1 << 20, NoSync: unsynced}}, aside: aside}
	var damages []Damage
	for range maxPasses { // mending one damage may show another
		var err error
		if damages, err = m.check(ctx); err != nil {
			return err
		}
		if len(damages) == 0 {
			return syncDir(fs, dir)
		}
		for _, d := range damages {
			if err := m.mend(d); err != nil {
				return fmt.Errorf("repair segment %d in %q: %w", d.Segment, dir, err)
			}
		}
	}
	return fmt.Errorf("repair %q: segment %d is still damaged: %s", dir, damages[0].Segment, damages[0].Reason)
}

// maxPasses bounds how often a repair looks at a log again.
const maxPasses = 8

// mender repairs one log.
type mender struct {
	l     *Log
	segs  []*segment
	aside func(name string, r io.Reader) error
}

// check finds what is damaged and the segments that there are.
func (m *mender) check(ctx context.Context) (damages []Damage, err error) {
	m.segs, _, err = check(ctx, m.l, Visitor{
		Record:   func(Position, []byte) error { return nil },
		Damaged:  func(d Damage) { damages = append(damages, d) },
		Segment:  func(int, int) {},
		Unsynced: m.l.opts.NoSync,
	})
	if m.l.opts.NoSync { // such a log may have gaps
		damages = slices.DeleteFunc(damages, func(d Damage) bool { return d.kind == missingSegments || d.kind == missingEnd })
	}
	// A file without a header goes first: then its segment is missing.
	if i := slices.IndexFunc(damages, func(d Damage) bool { return d.kind == damagedFile }); i >= 0 {
		damages = slices.DeleteFunc(damages, func(d Damage) bool { return d.kind != damagedFile })
	}
	return damages, err
}

func (m *mender) at(ordinal uint64) (i int, s *segment) {
	for i, s := range m.segs {
		if s.first <= ordinal && ordinal <= s.ordinal {
			return i, s
		}
	}
	return 0, nil
}

func (m *mender) mend(d Damage) error {
	i, s := m.at(d.Segment)
	switch d.kind {
	case damagedFile:
		return m.remove(d.File)
	case damagedFrames:
		return m.fill(s, d)
	case damagedEnd:
		next := m.segs[i+1]
		if next.prevEnd != 0 && s.epoch == 0 && next.first == s.ordinal+1 { // it has no end frame
			d.To = next.prevEnd
			return m.fill(s, d)
		}
		return m.end(s, d, next.gen)
	case missingSegments:
		return m.bridge(d)
	case missingEnd:
		return m.create(header{ordinal: s.ordinal + 1, first: s.ordinal + 1, gen: d.nextGen})
	}
	return errors.New(d.Reason + "; this cannot be repaired")
}

// keep hands bytes of a file aside.
func (m *mender) keep(f vfs.File, name string, from, to int64) error {
	if from >= to {
		return nil
	}
	return m.aside(fmt.Sprintf("%s.%d-%d", name, from, to), io.NewSectionReader(f, from, to-from))
}

func (m *mender) remove(name string) error {
	f, err := m.l.opts.FS.Open(m.l.path(name))
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = m.keep(f, name, 0, info.Size())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return m.l.opts.FS.Remove(m.l.path(name))
}

// maxFiller bounds the payload of a filler frame: what a scan has to read at
// once.
const maxFiller = 1 << 20

// open opens a segment to be written and keeps its damaged bytes aside. The file
// is to be closed even if that failed; it is nil only if it was not opened.
func (m *mender) open(s *segment, d Damage) (vfs.File, error) {
	f, err := m.l.opts.FS.OpenReadWrite(m.l.path(s.name), writeCategory)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = m.keep(f, s.name, d.From, min(d.To, info.Size()))
	}
	return f, err
}

// fill writes frames without a record over a damaged place.
func (m *mender) fill(s *segment, d Damage) error {
	f, err := m.open(s, d)
	if f == nil {
		return err
	}
	for at := d.From; at < d.To && err == nil; {
		size := min(d.To-at, maxFiller)
		if left := d.To - at - size; left > 0 && left < frameHeaderSize {
			size -= frameHeaderSize // the last one needs room for its header
		}
		if size < frameHeaderSize {
			err = fmt.Errorf("bytes %d to %d have no room for a frame", at, d.To)
			break
		}
		_, err = f.WriteAt(appendFrame(nil, kindMark, s.gen, at, make([]byte, size-frameHeaderSize)), at)
		at += size
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// end makes a segment end where its frames do.
func (m *mender) end(s *segment, d Damage, nextGen uint64) error {
	f, err := m.open(s, d)
	if f == nil {
		return err
	}
	if err == nil {
		err = m.l.seal(f, s, d.From, d.From, nextGen)
	}
	return errors.Join(err, f.Close())
}

// bridge puts an empty segment in the place of missing ones, as Remove does.
func (m *mender) bridge(d Damage) error {
	_, next := m.at(d.lastMissing + 1)
	h := header{ordinal: d.lastMissing, first: d.Segment, epoch: 1, gen: newGeneration()}
	s := &segment{header: h, name: liveName(h.ordinal, h.epoch)}
	return m.write(h, func(f vfs.File) error { return m.l.seal(f, s, headerBlock, headerBlock, next.gen) })
}

// create makes an empty segment that the log goes on with.
func (m *mender) create(h header) error {
	if h.gen == 0 {
		h.gen = newGeneration()
	}
	return m.write(h, func(vfs.File) error { return nil })
}

func (m *mender) write(h header, more func(vfs.File) error) error {
	h.created = time.Now().UnixNano()
	path := m.l.path(liveName(h.ordinal, h.epoch))
	if err := removeIfThere(m.l.opts.FS, path+suffixTemp); err != nil {
		return err
	}
	f, err := m.l.opts.FS.OpenReadWrite(path+suffixTemp, writeCategory)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(h.block(), 0)
	if err == nil {
		err = more(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := m.l.opts.FS.Rename(path+suffixTemp, path); err != nil {
		return err
	}
	return syncDir(m.l.opts.FS, m.l.opts.Dir)
}

// exists says whether there is a directory.
func exists(fs vfs.FS, dir string) (bool, error) {
	if _, err := fs.Stat(dir); oserror.IsNotExist(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}
