package seglog

import (
	"bytes"
	"testing"
)

// FuzzScan gives the scanners any bytes: they must end, and what they call a frame must be
// one. Bytes that start with a valid frame must give it.
func FuzzScan(f *testing.F) {
	const gen = 0x1122334455667789
	good := appendFrame(nil, kindRecord, gen, headerBlock, []byte("hello"))
	good = appendFrame(good, kindMark, gen, headerBlock, nil)
	f.Add(good)
	f.Add(append(good[:len(good)-8:len(good)-8], good...))
	f.Add(appendFrame(good, kindEnd, gen, headerBlock+32, make([]byte, 8)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		file := append(make([]byte, headerBlock), data...)
		s := &segment{header: header{ordinal: 1, first: 1, gen: gen}, name: "fuzz"}
		for _, ahead := range []int{frameHeaderSize, 64, 1 << 20} {
			got, err := scanTail(bytes.NewReader(file), s, int64(len(file)), ahead)
			if err != nil {
				t.Fatal(err)
			}
			if got.cut < headerBlock || got.cut > int64(len(file))+frameAlign || got.cut%frameAlign != 0 {
				t.Fatalf("%+v", got)
			}
			off, n := int64(headerBlock), 0
			for off < got.cut {
				fr, err := parseFrame(file[off:], gen)
				if err != nil {
					t.Fatalf("the scan took bytes at %d for a frame: %v", off, err)
				}
				again := appendFrame(nil, fr.kind, gen, fr.synced, fr.payload)
				if end := min(off+fr.size, int64(len(file))); !bytes.Equal(again[:frameHeaderSize+len(fr.payload)], file[off:min(end, off+frameHeaderSize+int64(len(fr.payload)))]) {
					t.Fatal("a frame does not encode to itself")
				}
				off += fr.size
				n++
			}
			if n != got.frames {
				t.Fatalf("%d frames, scan says %d", n, got.frames)
			}
		}
		_, _ = parseHeader(data)
		_ = parseSeal(data, gen)
	})
}
