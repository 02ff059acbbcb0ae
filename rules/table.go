package rules

import (
	"hash/maphash"
	"math"
	"slices"
)

// table finds filters by a key. It never changes once it is made. Different
// values may have one key: what is found is evaluated anyway.
type table struct {
	rows []row // a power of two of them; a key stands in its line, or in the next that has room
	more []posting
}

// row leads to the entry and to the record of a filter at once, so that neither is
// waited for to go to the other.
type row struct {
	key    key   // 0: empty
	group  int32 // ^ of a place in more when it has several
	record *record
}

// key is a hash of a value.
type key uint32

// lineRows is how many rows fill a line of memory. They are used in turn.
const lineRows = 4

// line is where the line of a key begins.
func (t *table) line(k key) key { return k & key(len(t.rows)-1) &^ (lineRows - 1) }

// posting is the groups of one key. Many have an index of their own.
type posting struct {
	groups []int32
	sub    *index
	id     int32 // among groups and postings, when once
	once   bool  // some of the groups may be met more than once for an event
}

// pair is one group of a table to be: its key, and then the group, in one number,
// for these are sorted.
type pair uint64

func pairOf(k key, group int32) pair { return pair(k)<<32 | pair(group) }

func (p pair) key() key     { return key(p >> 32) }
func (p pair) group() int32 { return int32(p) }

// newTable makes the table of pairs, which it sorts.
func (t *anchors) newTable(pairs []pair) table {
	slices.Sort(pairs)
	pairs = slices.Compact(pairs)
	keys := 0
	for i := range pairs {
		if i == 0 || pairs[i].key() != pairs[i-1].key() {
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
		for j < len(pairs) && pairs[j].key() == pairs[i].key() {
			j++
		}
		g := pairs[i].group()
		record := t.block.entries[g].record
		if j-i > 1 {
			groups := make([]int32, 0, j-i)
			for _, p := range pairs[i:j] {
				groups = append(groups, p.group())
			}
			g, record = ^int32(len(out.more)), nil
			out.more = append(out.more, t.block.posting(groups, t.of))
		}
		at := out.line(pairs[i].key())
		for out.rows[at].key != 0 {
			at = (at + 1) & key(size-1)
		}
		out.rows[at] = row{pairs[i].key(), g, record}
		i = j
	}
	return out
}

// find takes up the groups of a key.
func (t *table) find(v *view, k key) {
	at := t.line(k)
	for mask := key(len(t.rows) - 1); ; at = (at + 1) & mask {
		r := &t.rows[at]
		switch r.key {
		case 0:
			return
		case k:
			if r.group >= 0 {
				v.add(r.group, r.record)
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
func textKey(s string) key    { return keyOfHash(maphash.String(hashSeed, s)) }
func bytesKey(b []byte) key   { return keyOfHash(maphash.Bytes(hashSeed, b)) }
func numberKey(f float64) key { return keyOfHash(mix(math.Float64bits(f + 0))) }

func keyOfHash(h uint64) key { return max(key(h), 1) }

const (
	nullKey  = key(2)
	falseKey = key(3)
	trueKey  = key(4)
)

// key is that of a value as an anchor has it.
func (s *scalar) key() key {
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
