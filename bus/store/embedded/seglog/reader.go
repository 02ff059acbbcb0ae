package seglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// firstRead is how many bytes a positioned read asks for when the caller's buffer is smaller.
const firstRead = 4 << 10

// Read returns the record at pos, or the first after it if pos is the end of a segment or
// the zero Position, and the position to go on with. payload aliases buf if that is large
// enough. It is safe with everything else and needs no lock that appends hold.
//
// Errors: io.EOF when pos is at or beyond Synced; ErrGone; *MovedError; *CorruptionError;
// ErrBadPosition; ErrClosed.
func (l *Log) Read(pos Position, buf []byte) (payload []byte, next Position, err error) {
	for {
		s, off, err := l.table.Load().find(pos)
		if err != nil {
			return nil, pos, err
		}
		if s == nil {
			return nil, pos, io.EOF
		}
		sealed := s.sealed.Load() // before end, which is final once it is set
		end := s.end.Load()
		if off >= end {
			after := l.table.Load().after(s)
			switch {
			case !sealed:
				return nil, pos, io.EOF
			case off > end:
				return nil, pos, ErrBadPosition
			case after == nil:
				return nil, pos, io.EOF
			case after.first <= s.ordinal:
				return nil, pos, &MovedError{Position: pos, To: after.start()}
			}
			pos = after.start()
			continue
		}
		fr, err := l.readFrame(s, off, end, buf)
		if errors.Is(err, ErrGone) {
			if t, _, _ := l.table.Load().find(pos); t != s && t != nil {
				continue
			}
		}
		if err != nil {
			return nil, pos, err
		}
		pos = s.position(off + fr.size)
		if fr.kind == kindRecord {
			return fr.payload, pos, nil
		}
	}
}

func (l *Log) readFrame(s *segment, off, end int64, buf []byte) (frame, error) {
	if off%frameAlign != 0 {
		return frame{}, ErrBadPosition
	}
	h, err := l.files.acquire(l, s)
	if err != nil {
		return frame{}, err
	}
	defer l.files.release(h)
	if cap(buf) < firstRead {
		buf = make([]byte, firstRead)
	}
	buf = buf[:cap(buf)]
	n, err := readSome(h, buf[:min(int64(len(buf)), end-off)], off)
	if err != nil {
		return frame{}, fmt.Errorf("read %s: %w", s.name, err)
	}
	if n < frameHeaderSize {
		return frame{}, s.corrupt(off, "no valid frame")
	}
	size := frameLength(buf, s.gen)
	if size == 0 || size > end-off {
		return frame{}, s.corrupt(off, "no valid frame")
	}
	if size > int64(n) {
		whole := make([]byte, size)
		copy(whole, buf[:n])
		m, err := readSome(h, whole[n:], off+int64(n))
		if err != nil {
			return frame{}, fmt.Errorf("read %s: %w", s.name, err)
		}
		buf, n = whole, n+m
	}
	fr, err := parseFrame(buf[:n], s.gen)
	if err != nil {
		return frame{}, s.corrupt(off, "the checksum does not match")
	}
	return fr, nil
}

// readSome is ReadAt where a short file is no error.
func readSome(f io.ReaderAt, b []byte, off int64) (int, error) {
	n, err := f.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Scan calls fn for each record from from (the zero Position: the oldest) up to, without,
// to (the zero Position: Synced when Scan starts), with large reads. payload is valid during
// the call. It returns the position to go on with: after the last record, or that of the
// record for which fn returned an error, which Scan returns as it is.
//
// With NoSync damaged places are skipped. Errors are those of Read, except io.EOF, and that
// of ctx. A *MovedError may come in the
// middle, if a run that the scan was in is rewritten; records before it were delivered.
func (l *Log) Scan(ctx context.Context, from, to Position, fn func(pos Position, payload []byte) error) (Position, error) {
	if to == (Position{}) {
		to = l.Synced()
	}
	fr, _ := l.readers.Get().(*frameReader)
	if fr == nil {
		fr = &frameReader{ahead: l.opts.ReadAhead}
	}
	defer func() {
		fr.f = nil
		if cap(fr.buf) <= 4*l.opts.ReadAhead {
			l.readers.Put(fr)
		}
	}()
	for {
		if !from.Less(to) {
			return from, nil
		}
		s, off, err := l.table.Load().find(from)
		if err != nil || s == nil {
			return from, err
		}
		sealed := s.sealed.Load()
		end := s.end.Load()
		limit := end
		if to.Segment == s.ordinal && to.epoch() == s.epoch {
			limit = min(limit, to.file())
		}
		if off < limit {
			at, err := l.scanSegment(ctx, s, off, limit, fr, fn)
			if at > off {
				from = s.position(at)
			}
			if errors.Is(err, ErrGone) && at == off {
				if t, _, _ := l.table.Load().find(from); t != s && t != nil {
					continue
				}
			}
			if err != nil {
				return from, err
			}
		}
		from = s.position(max(off, limit))
		if !sealed || limit < end {
			return from, nil
		}
		next := l.table.Load().after(s)
		if next == nil {
			return from, nil
		}
		if next.first <= s.ordinal {
			return from, &MovedError{Position: from, To: next.start()}
		}
		if !next.start().Less(to) {
			return from, nil
		}
		from = next.start()
	}
}

// scanSegment delivers the records of s from off to limit and returns where it stopped.
func (l *Log) scanSegment(ctx context.Context, s *segment, off, limit int64, fr *frameReader, fn func(Position, []byte) error) (int64, error) {
	if off%frameAlign != 0 {
		return off, ErrBadPosition
	}
	h, err := l.files.acquire(l, s)
	if err != nil {
		return off, err
	}
	defer l.files.release(h)
	// Positions grow within a segment, so what the buffer holds of another one never serves.
	fr.f, fr.gen, fr.off, fr.limit, fr.buf, fr.start = h, s.gen, off, limit, fr.buf[:0], math.MinInt64/2
	done := ctx.Done()
	for n := 0; ; n++ {
		if done != nil && n%64 == 0 {
			if err := ctx.Err(); err != nil {
				return fr.off, err
			}
		}
		x, at, err := fr.next()
		switch {
		case errors.Is(err, io.EOF):
			return at, nil
		case errors.Is(err, errBadFrame) && l.opts.NoSync:
			if found, err := fr.seekHeader(at + frameAlign); err != nil || !found {
				return limit, err
			}
			continue
		case errors.Is(err, errBadFrame):
			return at, s.corrupt(at, "no valid frame")
		case err != nil:
			return at, fmt.Errorf("scan %s: %w", s.name, err)
		}
		if x.kind != kindRecord {
			continue
		}
		if err := fn(s.position(at), x.payload); err != nil {
			return at, err
		}
	}
}
