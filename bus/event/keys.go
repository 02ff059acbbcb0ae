package event

import (
	"hash/maphash"
	"math/bits"
)

// keySet finds keys that stand twice in one JSON object. It holds the keys of
// all objects that are open, as a stack, and looks at an object's own keys when
// the object ends: a few are compared with each other, many go through a hash
// table with a random seed, so that no input makes it quadratic.
type keySet struct {
	buf     []byte // the text that is scanned
	keys    []objectKey
	decoded []string // the texts of keys with escapes
	table   []int32  // scratch: place in keys + 1
}

// objectKey is a key between its quotes in buf; with end < 0 it is decoded[^end].
type objectKey struct{ start, end int32 }

// fewKeys is how many keys of one object are compared with each other.
const fewKeys = 16

// open begins an object and returns the mark to close it with.
func (k *keySet) open() int { return len(k.keys) }

// add adds the key that stands between start and end, without escapes.
func (k *keySet) add(start, end int) {
	if k.keys == nil {
		k.keys = make([]objectKey, 0, 4*fewKeys)
	}
	k.keys = append(k.keys, objectKey{int32(start), int32(end)})
}

// addDecoded adds a key that has escapes.
func (k *keySet) addDecoded(start int, text string) {
	k.decoded = append(k.decoded, text)
	k.add(start, ^(len(k.decoded) - 1))
}

// last is the text of the key that was added last.
func (k *keySet) last() string { return k.text(k.keys[len(k.keys)-1]) }

func (k *keySet) text(key objectKey) string {
	if key.end < 0 {
		return k.decoded[^key.end]
	}
	return alias(k.buf[key.start:key.end])
}

// close ends an object and returns the place in the text of a key that it has
// twice, -1 when there is none.
func (k *keySet) close(base int) int {
	own := k.keys[base:]
	k.keys = k.keys[:base]
	switch {
	case len(own) < 2:
		return -1
	case len(own) <= fewKeys:
		return k.repeatedFew(own)
	}
	return k.repeatedMany(own)
}

func (k *keySet) repeatedFew(own []objectKey) int {
	var prints [fewKeys]uint64
	var seen uint64
	for i := range own {
		print := fingerprint(k.text(own[i]))
		prints[i] = print
		bit := uint64(1) << (print * 0x9e3779b97f4a7c15 >> 58)
		if seen&bit != 0 {
			for j := range own[:i] {
				if prints[j] == print && k.text(own[j]) == k.text(own[i]) {
					return int(own[i].start) - 1
				}
			}
		}
		seen |= bit
	}
	return -1
}

// fingerprint tells most keys apart: it is made of a key's ends and its length.
func fingerprint(key string) uint64 {
	n := len(key)
	switch {
	case n >= 8:
		return (le64(key) ^ bits.RotateLeft64(le64(key[n-8:]), 29)) + uint64(n)
	case n >= 4:
		return uint64(le32(key)) | uint64(le32(key[n-4:]))<<32
	case n > 0:
		return uint64(key[0]) | uint64(key[n/2])<<8 | uint64(key[n-1])<<16
	}
	return 0
}

func (k *keySet) repeatedMany(own []objectKey) int {
	size := 1 << bits.Len(uint(2*len(own)))
	if cap(k.table) < size {
		k.table = make([]int32, size)
	}
	table := k.table[:size]
	clear(table)
	seed := maphash.MakeSeed()
	mask := uint64(size - 1)
	for i := range own {
		text := k.text(own[i])
		for slot := maphash.String(seed, text) & mask; ; slot = (slot + 1) & mask {
			if table[slot] == 0 {
				table[slot] = int32(i + 1)
				break
			}
			if k.text(own[table[slot]-1]) == text {
				return int(own[i].start) - 1
			}
		}
	}
	return -1
}
