// Package packed writes numbers and texts one after another into one piece of
// memory, and reads them, for caches that a later start of the same program takes
// up. It stands below the rules and the configuration.
//
// What is read may be anything: a Reader never fails but becomes bad.
package packed

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"unsafe"
)

// AppendNumber appends a number from 0 to 2³¹-1.
func AppendNumber(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }

// AppendText appends a text with its length before it.
func AppendText[T string | []byte](dst []byte, s T) []byte {
	return append(AppendNumber(dst, len(s)), s...)
}

// Begin appends what Open looks for. magic is the form of what follows, build tells
// builds of the program apart.
func Begin(dst []byte, magic, build string) []byte {
	return AppendText(append(dst, magic...), build)
}

// End appends the checksum of what stands in dst from start on, where Begin began.
func End(dst []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// Open is a Reader of what was written between Begin and End. An error says that
// the data is of another form or build, or damaged. What is read shares memory with
// data, which is not to be changed any more.
func Open(data []byte, magic, build string) (Reader, error) {
	text := unsafe.String(unsafe.SliceData(data), len(data))
	if len(text) < len(magic)+4 || text[:len(magic)] != magic {
		return Reader{}, errors.New("it is not of this version")
	}
	end := len(data) - 4
	if binary.LittleEndian.Uint32(data[end:]) != crc32.ChecksumIEEE(data[:end]) {
		return Reader{}, ErrDamaged
	}
	r := Reader{Rest: text[len(magic):end]}
	switch of := r.Text(); {
	case r.Bad:
		return Reader{}, ErrDamaged
	case of != build:
		return Reader{}, errors.New("it is of another build")
	}
	return r, nil
}

// ErrDamaged says that something is not what was written.
var ErrDamaged = errors.New("it is damaged")

// Reader reads what was written, from the first of it on. The zero value has
// nothing.
type Reader struct {
	// Rest is what is still to be read.
	Rest string
	// Bad is set once something does not fit; what is read from then on is 0 or "".
	Bad bool
}

// Take is the next n bytes.
func (r *Reader) Take(n int) string {
	if n < 0 || n > len(r.Rest) {
		r.Fail()
		return ""
	}
	s := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return s
}

// Fail makes the reader bad.
func (r *Reader) Fail() { r.Bad, r.Rest = true, "" }

// Byte is the next byte.
func (r *Reader) Byte() byte {
	if s := r.Take(1); s != "" {
		return s[0]
	}
	return 0
}

// Number is what AppendNumber wrote.
func (r *Reader) Number() int {
	var x uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.Byte()
		x |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if x > 1<<31-1 {
				break
			}
			return int(x)
		}
	}
	r.Fail()
	return 0
}

// Text is what AppendText wrote.
func (r *Reader) Text() string { return r.Take(r.Number()) }

// Count is a number of things that follow, of which each takes at least one byte.
func (r *Reader) Count() int {
	n := r.Number()
	if n > len(r.Rest) {
		r.Fail()
		return 0
	}
	return n
}
