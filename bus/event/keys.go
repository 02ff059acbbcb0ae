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
	keys  []objectKey
	table []int32 // scratch: place in keys + 1
}

type objectKey struct {
	text string
	at   int
}

// fewKeys is how many keys of one object are compared with each other.
const fewKeys = 16

// open begins an object and returns the mark to close it with.
func (k *keySet) open() int { return len(k.keys) }

func (k *keySet) add(text string, at int) {
	if k.keys == nil {
		k.keys = make([]objectKey, 0, fewKeys)
	}
	k.keys = append(k.keys, objectKey{text, at})
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
		return repeatedFew(own)
	}
	return k.repeatedMany(own)
}

func repeatedFew(own []objectKey) int {
	var seen uint64
	for i := range own {
		text := own[i].text
		h := uint(len(text))
		if h > 0 {
			h += uint(text[0])*7 + uint(text[len(text)-1])*31
		}
		bit := uint64(1) << (h & 63)
		if seen&bit != 0 {
			for j := range own[:i] {
				if own[j].text == text {
					return own[i].at
				}
			}
		}
		seen |= bit
	}
	return -1
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
		for slot := maphash.String(seed, own[i].text) & mask; ; slot = (slot + 1) & mask {
			if table[slot] == 0 {
				table[slot] = int32(i + 1)
				break
			}
			if own[table[slot]-1].text == own[i].text {
				return own[i].at
			}
		}
	}
	return -1
}
