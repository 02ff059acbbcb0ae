package configs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
)

// Memory is the rules of configuration files as they were found to be, written
// down so that a program that starts again with the same files need not decode
// and check each of them. It holds nothing that a file's text does not say alone:
// a rule with a reference to the environment or to a file, and one that calls
// endpoints, is left out, and so is all that is not a rule; those are read from
// the file again.
//
// The zero value is empty. A Memory is used by one load at a time.
type Memory struct {
	known map[documentKey][]byte
	last  []rememberedDocument // of the files of the last load, in their order
	fresh bool                 // some of last were not known
}

// documentKey tells texts apart, and the files that they stand in.
type documentKey [sha256.Size]byte

type rememberedDocument struct {
	key  documentKey
	body []byte
}

const memoryMagic = "switchyard rules 1\n"

// Remember lets loads take rules from what Append wrote for the same build of
// the program, until Forget; do not change data before. An error says that the
// data is of another build or damaged, and is of no use.
func (m *Memory) Remember(build string, data []byte) error {
	body, ok := bytes.CutPrefix(data, []byte(memoryMagic))
	if !ok || len(body) < 4 {
		return errors.New("not rules of this version")
	}
	end := len(data) - 4
	if binary.LittleEndian.Uint32(data[end:]) != crc32.ChecksumIEEE(data[:end]) {
		return errors.New("the rules that were kept are damaged")
	}
	of, rest, ok := cutString(body[:len(body)-4])
	if ok && string(of) != build {
		return errors.New("the rules that were kept are of another build")
	}
	known := map[documentKey][]byte{}
	for ok && len(rest) > 0 {
		var key documentKey
		n := copy(key[:], rest)
		known[key], rest, ok = cutString(rest[n:])
	}
	if !ok {
		return errors.New("the rules that were kept are damaged")
	}
	m.known = known
	return nil
}

// Append appends the rules of the last load to dst in a form that Remember reads.
// build tells builds of the program apart.
func (m *Memory) Append(dst []byte, build string) []byte {
	start := len(dst)
	dst = appendString(append(dst, memoryMagic...), build)
	for _, d := range m.last {
		dst = appendString(append(dst, d.key[:]...), d.body)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// Fresh reports whether the last load read something that Remember did not give,
// so that it is worth to be written.
func (m *Memory) Fresh() bool { return m.fresh }

// Forget drops all; what was loaded stays good.
func (m *Memory) Forget() { *m = Memory{} }

// keep notes what was found of a document.
func (m *Memory) keep(key documentKey, body []byte) {
	_, known := m.known[key]
	m.last, m.fresh = append(m.last, rememberedDocument{key, body}), m.fresh || !known
}

// key is what decides, beside the program, what the rules of a text are.
func (d *document) key(text []byte) (k documentKey) {
	h := sha256.New()
	h.Write(appendString(nil, d.file))
	h.Write(strconv.AppendInt(nil, int64(d.loader.MostLinted), 10))
	h.Write([]byte{'\n'})
	h.Write(text)
	h.Sum(k[:0])
	return k
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// cutString takes what appendString wrote off the beginning of data.
func cutString(data []byte) (s, rest []byte, ok bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return nil, nil, false
	}
	return data[size : size+int(n)], data[size+int(n):], true
}

func appendNumber(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }

// memoryReader reads what was written. It is bad once something does not fit.
type memoryReader struct {
	rest string
	bad  bool
}

func (r *memoryReader) take(n int) string {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *memoryReader) number() int {
	var x uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.take(1)
		if b == "" {
			return 0
		}
		x |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return int(x)
		}
	}
	r.bad = true
	return 0
}

func (r *memoryReader) text() string { return r.take(r.number()) }

// count is a number of things of which each takes at least one byte.
func (r *memoryReader) count() int {
	n := r.number()
	if n > len(r.rest) {
		r.bad = true
		return 0
	}
	return n
}
