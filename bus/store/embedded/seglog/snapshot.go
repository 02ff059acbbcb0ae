package seglog

import (
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SnapshotFile is what of a segment's file belongs to a snapshot of the log: all
// that was visible.
type SnapshotFile struct {
	Name        string // in the log's directory
	Size        int64  // bytes from the start of the file
	First, Last uint64 // ordinals
	Sealed      bool
	// Lineage is the same for all snapshots of this segment and of no other.
	Lineage string
}

// Snapshot lists the files of the log as it is now, oldest first. Their bytes
// stay as they are until the segments are removed or rewritten, which the
// caller has to prevent as long as it reads them, with SnapshotReader.
func (l *Log) Snapshot() []SnapshotFile {
	t := l.table.Load()
	files := make([]SnapshotFile, 0, len(t.segs))
	for i, s := range t.segs {
		sealed, size := s.sealed.Load(), s.end.Load() // in this order: the end of a sealed one is final
		if i == len(t.segs)-1 {
			sealed = false // if it was sealed meanwhile, the seal says that there is a next one, which t does not have
		}
		if sealed {
			size = min(size+endFrameSize, s.fileSize.Load())
		}
		files = append(files, SnapshotFile{
			Name: s.name, Size: size, First: s.first, Last: s.ordinal, Sealed: sealed,
			Lineage: fmt.Sprintf("%016x-%08x-%016x", s.ordinal, s.epoch, s.gen),
		})
	}
	return files
}

// SnapshotReader reads a file of a Snapshot. The seal of a segment that was not
// sealed then is left out, so that the bytes do not depend on when it is read.
func SnapshotReader(f vfs.File, file SnapshotFile) io.Reader {
	if file.Sealed || file.Size < sealOffset+sealSize {
		return io.NewSectionReader(f, 0, file.Size)
	}
	return io.MultiReader(
		io.NewSectionReader(f, 0, sealOffset),
		io.LimitReader(zeros{}, sealSize),
		io.NewSectionReader(f, sealOffset+sealSize, file.Size-sealOffset-sealSize),
	)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Cut ends the log in dir before a record: that and all after it are gone. The
// log must not be open. A position beyond the end changes nothing.
func Cut(fs vfs.FS, dir string, pos Position) error {
	l := &Log{opts: Options{FS: fs, Dir: dir, ReadAhead: 1 << 20}}
	r := &recovery{l: l}
	if err := r.list(); err != nil {
		return err
	}
	for i, s := range slices.Backward(r.segs) { // the newest first, so that what is left is a log at any time
		switch {
		case !s.start().Less(pos) && i > 0:
			if err := fs.Remove(l.path(s.name)); err != nil {
				return err
			}
			continue
		case !s.start().Less(pos):
			pos = s.start()
			fallthrough
		case pos.Segment == s.ordinal && pos.epoch() == s.epoch:
			if err := l.truncate(s, pos.file()); err != nil {
				return err
			}
		case i+1 < len(r.segs): // what followed is gone, so this one is written to
			t, err := r.findEnd(s)
			if err == nil {
				err = l.truncate(s, t.cut)
			}
			if err != nil {
				return err
			}
		}
		break
	}
	return syncDir(fs, dir)
}

// truncate writes the file of s anew with what is before end, without a seal.
func (l *Log) truncate(s *segment, end int64) error {
	fs, path := l.opts.FS, l.path(s.name)
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	out, err := fs.Create(path+suffixTemp, writeCategory)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, SnapshotReader(f, SnapshotFile{Size: max(end, headerBlock)}))
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return fs.Rename(path+suffixTemp, path)
}
