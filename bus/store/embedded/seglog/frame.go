package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame on disk, little endian, starting at a multiple of eight bytes:
//
//	0  uint32 CRC32C of bytes 4 to the end of the payload
//	4  uint32 payload length in bytes
//	8  uint64 generation of the segment; stale bytes of a reused file have another
//	16 uint32 offset in this segment below which all was synced before this group
//	20 uint8  kind
//	21 3 zero bytes
//	24 payload, then zero bytes up to a multiple of eight
const (
	frameHeaderSize = 24
	frameAlign      = 8
)

// frameKind says what a frame is for.
type frameKind uint8

const (
	kindRecord frameKind = 1 // a caller's payload
	kindEnd    frameKind = 2 // the last frame of a sealed segment; payload: generation of the next
	kindMark   frameKind = 3 // written by Close: all before it is synced; no payload
)

// endFrameSize and markFrameSize are kept free at the end of each segment, so that sealing
// and closing always have room.
const (
	endFrameSize  = frameHeaderSize + 8
	markFrameSize = frameHeaderSize
	tailReserve   = endFrameSize + markFrameSize
)

// errBadFrame says that the bytes at an offset are no frame of the expected generation.
var errBadFrame = errors.New("no valid frame")

// frame is one decoded frame. payload aliases the buffer it was decoded from.
type frame struct {
	payload []byte
	kind    frameKind
	synced  int64
	size    int64 // on disk, padding included
}

func frameSize(payload int) int64 {
	return (int64(payload) + frameHeaderSize + frameAlign - 1) &^ (frameAlign - 1)
}

func checksum(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// appendFrame appends one whole frame, padding included, to dst, whose length must be a
// multiple of frameAlign.
func appendFrame(dst []byte, kind frameKind, gen uint64, synced int64, payload []byte) []byte {
	start := len(dst)
	var h [frameHeaderSize]byte
	binary.LittleEndian.PutUint32(h[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(h[8:], gen)
	binary.LittleEndian.PutUint32(h[16:], uint32(synced))
	h[20] = byte(kind)
	dst = append(dst, h[:]...)
	dst = append(dst, payload...)
	binary.LittleEndian.PutUint32(dst[start:], checksum(dst[start+4:]))
	if pad := frameSize(len(payload)) - int64(len(dst)-start); pad > 0 {
		var zero [frameAlign]byte
		dst = append(dst, zero[:pad]...)
	}
	return dst
}

// frameLength reads the length of the frame whose header starts b: 0 if b cannot be the
// start of a frame of gen. len(b) must be at least frameHeaderSize.
func frameLength(b []byte, gen uint64) int64 {
	if binary.LittleEndian.Uint64(b[8:]) != gen {
		return 0
	}
	if k := frameKind(b[20]); k < kindRecord || k > kindMark || b[21]|b[22]|b[23] != 0 {
		return 0
	}
	return frameHeaderSize + int64(binary.LittleEndian.Uint32(b[4:]))
}

// parseFrame decodes the frame at the start of b, or returns errBadFrame.
func parseFrame(b []byte, gen uint64) (frame, error) {
	if len(b) < frameHeaderSize {
		return frame{}, errBadFrame
	}
	n := frameLength(b, gen)
	if n == 0 || n > int64(len(b)) {
		return frame{}, errBadFrame
	}
	if checksum(b[4:n]) != binary.LittleEndian.Uint32(b) {
		return frame{}, errBadFrame
	}
	return frame{
		payload: b[frameHeaderSize:n:n],
		kind:    frameKind(b[20]),
		synced:  int64(binary.LittleEndian.Uint32(b[16:])),
		size:    frameSize(int(n - frameHeaderSize)),
	}, nil
}

// frameReader reads the frames of one segment in order, through one large buffer. It is
// for one goroutine.
type frameReader struct {
	f     io.ReaderAt
	gen   uint64
	off   int64 // of the next frame
	limit int64 // frames end at or before it
	ahead int   // bytes read at once, at least
	buf   []byte
	start int64 // file offset of buf[0]
}

// next returns the next frame and its offset; its payload is valid until the next call.
// At the limit it returns io.EOF, at bytes that are no frame errBadFrame; then r.off is the
// offset of the bad bytes.
func (r *frameReader) next() (frame, int64, error) {
	off := r.off
	if off >= r.limit {
		return frame{}, off, io.EOF
	}
	if r.limit-off < frameHeaderSize {
		return frame{}, off, errBadFrame
	}
	h, err := r.window(frameHeaderSize)
	if err != nil {
		return frame{}, off, err
	}
	n := frameLength(h, r.gen)
	if n == 0 || n > r.limit-off {
		return frame{}, off, errBadFrame
	}
	b, err := r.window(n)
	if err != nil {
		return frame{}, off, err
	}
	fr, err := parseFrame(b, r.gen)
	if err != nil || fr.synced > off {
		return frame{}, off, errBadFrame
	}
	r.off += fr.size
	return fr, off, nil
}

// window returns the n bytes at r.off, reading ahead when the buffer lacks them. n is at
// most limit-off. A file shorter than that is errBadFrame.
func (r *frameReader) window(n int64) ([]byte, error) {
	at := r.off - r.start
	if at < 0 || at+n > int64(len(r.buf)) {
		want := min(max(n, int64(r.ahead)), r.limit-r.off)
		if int64(cap(r.buf)) < want {
			r.buf = make([]byte, want)
		}
		r.buf = r.buf[:want]
		m, err := r.f.ReadAt(r.buf, r.off)
		r.buf, r.start, at = r.buf[:m], r.off, 0
		if err != nil && !errors.Is(err, io.EOF) {
			r.buf = r.buf[:0]
			return nil, fmt.Errorf("read at offset %d: %w", r.off, err)
		}
		if int64(m) < n {
			return nil, errBadFrame
		}
	}
	return r.buf[at : at+n], nil
}

// seekHeader moves to the first place at or after from where the header of a frame of this
// generation could stand, and reports whether there is one.
func (r *frameReader) seekHeader(from int64) (bool, error) {
	for r.off = from; r.limit-r.off >= frameHeaderSize; {
		if _, err := r.window(frameHeaderSize); errors.Is(err, errBadFrame) {
			return false, nil // the file is shorter
		} else if err != nil {
			return false, err
		}
		b := r.buf[r.off-r.start:]
		i := 0
		for ; i+frameHeaderSize <= len(b); i += frameAlign {
			if binary.LittleEndian.Uint64(b[i+8:]) == r.gen {
				r.off += int64(i)
				return true, nil
			}
		}
		r.off += int64(i)
	}
	return false, nil
}
