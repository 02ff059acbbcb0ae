package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// tail is what a scan of one segment found.
type tail struct {
	cut     int64 // end of the valid frames, without an end frame
	known   int64 // the highest offset that a frame says was synced, 0 if none does
	stale   int64 // beyond cut there are frame headers of this generation up to here, or 0
	frames  int
	ended   bool // an end frame stands at cut
	nextGen uint64
	lost    bool // a frame beyond cut says that cut was synced
}

// scanTail reads all frames of a segment and, after the first bytes that are none, looks for
// frames further on that prove those bytes were synced once.
func scanTail(f io.ReaderAt, s *segment, size int64, ahead int) (tail, error) {
	fr := &frameReader{f: f, gen: s.gen, off: headerBlock, limit: size, ahead: ahead}
	t := tail{cut: headerBlock}
	for {
		x, off, err := fr.next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if errors.Is(err, errBadFrame) {
			break
		}
		if err != nil {
			return t, fmt.Errorf("scan %s: %w", s.name, err)
		}
		t.known = max(t.known, x.synced)
		if x.kind == kindEnd {
			t.ended = true
			if len(x.payload) == 8 {
				t.nextGen = binary.LittleEndian.Uint64(x.payload)
			}
			return t, nil
		}
		t.frames++
		t.cut = off + x.size
	}
	return t, findStale(f, s, size, ahead, &t)
}

// findStale looks at every place beyond t.cut where a frame could start.
func findStale(f io.ReaderAt, s *segment, size int64, ahead int, t *tail) error {
	r := &frameReader{f: f, gen: s.gen, limit: size, ahead: ahead}
	for from := t.cut; ; {
		found, err := r.seekHeader(from)
		if err != nil {
			return fmt.Errorf("scan %s: %w", s.name, err)
		}
		if !found {
			return nil
		}
		t.stale = r.off + frameHeaderSize
		x, off, err := r.next()
		switch {
		case errors.Is(err, errBadFrame):
			from = off + frameAlign
		case err != nil:
			return fmt.Errorf("scan %s: %w", s.name, err)
		case x.synced > t.cut || x.kind == kindEnd:
			t.lost = true
			return nil
		default:
			from = r.off
		}
	}
}
