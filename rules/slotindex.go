package rules

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode"
	"unicode/utf8"
)

// slotIndex finds the groups that have an anchor at one place. What no anchor
// needs is nil.
type slotIndex struct {
	present  *posting
	exact    table // of no rows when there are none
	ranges   *ranges
	folded   *table
	members  *table // of elements and keys
	prefixes []affixes
	suffixes []affixes
	needles  []needles
}

// affixes find prefixes or suffixes of one length.
type affixes struct {
	length int
	table
}

// anchors are those at one place, before they are an index.
type anchors struct {
	block                  *block
	of                     int // how many groups are indexed together
	exact, folded, members []pair
	prefixes, suffixes     map[int][]pair
	needles                []needle
	ranges                 []interval
	present                []int32
}

type needle struct {
	text  string
	group int32
}

func (t *anchors) add(a *anchor, group int32) {
	switch a.kind {
	case anchorValue:
		t.exact = append(t.exact, pairOf(a.value.key(), group))
	case anchorFold:
		t.folded = append(t.folded, pairOf(textKey(a.value.text), group))
	case anchorMember:
		t.members = append(t.members, pairOf(a.value.key(), group))
	case anchorPrefix:
		addAffix(&t.prefixes, a.value.text, group)
	case anchorSuffix:
		addAffix(&t.suffixes, a.value.text, group)
	case anchorContains:
		t.needles = append(t.needles, needle{a.value.text, group})
	case anchorRange:
		t.ranges = append(t.ranges, interval{a.low, a.high, group})
	case anchorPresent:
		t.present = append(t.present, group)
	}
}

func addAffix(m *map[int][]pair, text string, group int32) {
	if *m == nil {
		*m = map[int][]pair{}
	}
	(*m)[len(text)] = append((*m)[len(text)], pairOf(textKey(text), group))
}

// build makes the index.
func (t *anchors) build() slotIndex {
	x := slotIndex{ranges: t.newRanges()}
	if len(t.exact) > 0 {
		x.exact = t.newTable(t.exact)
	}
	for _, l := range [...]struct {
		pairs []pair
		to    **table
	}{{t.folded, &x.folded}, {t.members, &x.members}} {
		if len(l.pairs) > 0 {
			built := t.newTable(l.pairs)
			*l.to = &built
		}
	}
	x.prefixes, x.suffixes = t.buildAffixes(t.prefixes), t.buildAffixes(t.suffixes)
	x.needles = t.buildNeedles()
	if len(t.present) > 0 {
		p := t.block.posting(t.present, t.of)
		x.present = &p
	}
	return x
}

func (t *anchors) buildAffixes(m map[int][]pair) []affixes {
	var out []affixes
	for length, pairs := range m {
		out = append(out, affixes{length, t.newTable(pairs)})
	}
	slices.SortFunc(out, func(a, b affixes) int { return cmp.Compare(a.length, b.length) })
	return out
}

// find takes up the groups whose anchor holds for a value.
func (x *slotIndex) find(v *view, val *value) {
	if val.kind == missingValue {
		return
	}
	if x.present != nil {
		v.expand(x.present)
	}
	switch val.kind {
	case textValue:
		x.findText(v, val.text)
	case numberValue:
		if len(x.exact.rows) > 0 {
			x.exact.find(v, numberKey(val.num))
		}
		if x.ranges != nil {
			x.ranges.find(v, val.num)
		}
	case boolValue, nullValue:
		if len(x.exact.rows) > 0 {
			s := scalar{kind: val.kind, num: val.num}
			x.exact.find(v, s.key())
		}
	case listValue:
		if x.members == nil {
			return
		}
		for n := range val.node.Elements() {
			if e := nodeValue(n); e.kind < otherValue {
				s := scalar{e.kind, e.num, e.text}
				x.members.find(v, s.key())
			}
		}
	case mapValue:
		if x.members == nil {
			return
		}
		for key := range val.node.Entries() {
			x.members.find(v, textKey(key))
		}
	}
}

func (x *slotIndex) findText(v *view, text string) {
	if len(x.exact.rows) > 0 {
		x.exact.find(v, textKey(text))
	}
	if x.folded != nil {
		v.fold = foldKey(v.fold[:0], text)
		x.folded.find(v, bytesKey(v.fold))
	}
	for i := range x.prefixes {
		p := &x.prefixes[i]
		if p.length > len(text) {
			break
		}
		p.find(v, textKey(text[:p.length]))
	}
	for i := range x.suffixes {
		p := &x.suffixes[i]
		if p.length > len(text) {
			break
		}
		p.find(v, textKey(text[len(text)-p.length:]))
	}
	for i := range x.needles {
		x.needles[i].find(v, text)
	}
}

// foldKey appends a text such that texts that are equal but for upper and lower
// case become the same.
func foldKey(dst []byte, s string) []byte {
	for _, r := range s {
		least := r
		for q := unicode.SimpleFold(r); q != r; q = unicode.SimpleFold(q) {
			least = min(least, q)
		}
		dst = utf8.AppendRune(dst, least)
	}
	return dst
}

// needles find what a text contains, by a few bytes of it that are rare among
// all that is looked for.
type needles struct {
	width int      // how many bytes: 1, 2, 3, 4 or 8
	bloom []uint64 // a word for each key that there is, with bitsOf it
	shift int
	table
}

// load is 8 bytes as a number.
func load(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// gram is the width bytes at i, spread.
func gram(s string, i, width int) uint64 {
	var b [8]byte
	copy(b[:width], s[i:i+width])
	return mix(binary.LittleEndian.Uint64(b[:]) + uint64(width))
}

// bitsOf is the bits of a gram in its word of a bloom filter.
func bitsOf(g uint64) uint64 { return 1<<(g>>30&63) | 1<<(g>>36&63) | 1<<(g>>42&63) }

// gramWidth is how many bytes of a needle are looked up.
func gramWidth(text string) int {
	switch n := len(text); {
	case n >= 8:
		return 8
	case n >= 4:
		return 4
	default:
		return n
	}
}

func (t *anchors) buildNeedles() []needles {
	counts := map[uint64]int32{}
	for _, n := range t.needles {
		w := gramWidth(n.text)
		for i := 0; i+w <= len(n.text); i++ {
			counts[gram(n.text, i, w)]++
		}
	}
	grams := map[int][]uint64{}
	pairs := map[int][]pair{}
	for _, n := range t.needles {
		w := gramWidth(n.text)
		best := gram(n.text, 0, w)
		for i := 1; i+w <= len(n.text); i++ {
			if g := gram(n.text, i, w); counts[g] < counts[best] {
				best = g
			}
		}
		grams[w] = append(grams[w], best)
		pairs[w] = append(pairs[w], pairOf(keyOfHash(best), n.group))
	}
	var out []needles
	for w, p := range pairs {
		x := needles{width: w, table: t.newTable(p)}
		size := max(10, min(bits.Len(uint(len(p)))+4, 22)) // 16 bits a needle, 512 KiB at the most
		x.bloom, x.shift = make([]uint64, 1<<(size-6)), 64-(size-6)
		for _, g := range grams[w] {
			x.bloom[g>>x.shift] |= bitsOf(g)
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b needles) int { return cmp.Compare(a.width, b.width) })
	return out
}

func (x *needles) find(v *view, text string) {
	for i := 0; i+x.width <= len(text); i++ {
		var g uint64
		if x.width == 8 || i+8 <= len(text) {
			// One load, of which the bytes beyond the width are dropped.
			g = load(text[i:i+8]) & (1<<(8*x.width) - 1)
			g = mix(g + uint64(x.width))
		} else {
			g = gram(text, i, x.width)
		}
		if b := bitsOf(g); x.bloom[g>>x.shift]&b == b {
			x.table.find(v, keyOfHash(g))
		}
	}
}
