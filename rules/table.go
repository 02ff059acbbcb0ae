package rules

import (
	"hash/maphash"
	"math"
	"slices"
)

// table finds filters by a key. It never changes once it is made. Different
// values may have one key: what is found is evaluated anyway.
type table struct {
	rows []row // a power of two of them; a key stands at or after its place
	more []posting
}

type row struct {
	key   uint64 // 0: empty
	group int32  // ^ of a place in more when it has several
	once  bool   // the group may be met more than once for an event
}

// posting is the groups of one key. Many have an index of their own.
type posting struct {
	groups []int32
	sub    *index
	id     int32 // among groups and postings, when once
	once   bool  // some of the groups may be met more than once for an event
}

// pair is one group of a table to be.
type pair struct {
	key   uint64
	group int32
}

// newTable makes the table of pairs, which it sorts.
func (t *anchors) newTable(pairs []pair) table {
	slices.SortFunc(pairs, func(a, b pair) int {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return int(a.group - b.group)
	})
	pairs = slices.Compact(pairs)
	keys := 0
	for i := range pairs {
		if i == 0 || pairs[i].key != pairs[i-1].key {
			keys++
		}
	}
	size := 1
	for size < keys+keys/4+1 {
		size *= 2
	}
	out := table{rows: make([]row, size)}
	for i := 0; i < len(pairs); {
		j := i + 1
		for j < len(pairs) && pairs[j].key == pairs[i].key {
			j++
		}
		g := pairs[i].group
		once := t.block.groups[g].multi
		if j-i > 1 {
			groups := make([]int32, 0, j-i)
			for _, p := range pairs[i:j] {
				groups = append(groups, p.group)
			}
			g = ^int32(len(out.more))
			out.more = append(out.more, t.block.posting(groups, t.of))
		}
		at := pairs[i].key & uint64(size-1)
		for out.rows[at].key != 0 {
			at = (at + 1) & uint64(size-1)
		}
		out.rows[at] = row{pairs[i].key, g, once}
		i = j
	}
	return out
}

// find takes up the groups of a key.
func (t *table) find(v *view, key uint64) {
	mask := uint64(len(t.rows) - 1)
	for at := key & mask; ; at = (at + 1) & mask {
		r := &t.rows[at]
		switch r.key {
		case 0:
			return
		case key:
			if r.group >= 0 {
				v.add(r.group, r.once)
			} else {
				v.expand(&t.more[^r.group])
			}
			return
		}
	}
}

// hashSeed differs from process to process.
var hashSeed = maphash.MakeSeed()

// The keys of values. None is 0.
func textKey(s string) uint64    { return maphash.String(hashSeed, s) | 1<<63 }
func bytesKey(b []byte) uint64   { return maphash.Bytes(hashSeed, b) | 1<<63 }
func numberKey(f float64) uint64 { return mix(math.Float64bits(f+0)) | 1<<63 }

const (
	nullKey  = 1 << 32
	falseKey = 2 << 32
	trueKey  = 3 << 32
)

// key is that of a value as an anchor has it.
func (s *scalar) key() uint64 {
	switch s.kind {
	case textValue:
		return textKey(s.text)
	case numberValue:
		return numberKey(s.num)
	case boolValue:
		if s.num != 0 {
			return trueKey
		}
		return falseKey
	}
	return nullKey
}

// mix spreads the bits of a number.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}
