package rules

import (
	"cmp"
	"math"
	"slices"
)

// ranges find the intervals that a number is in: a tree in the order of their
// lower ends, in which each part knows its highest upper end. Its parts are a few
// lines of memory each, so that of many intervals few lines are read.
type ranges struct {
	leaves []rangeLeaf
	bounds [][]bound // first of the leaves, then of so many as fanOut of those before
}

// interval is one of ranges to be.
type interval struct {
	low, high float64
	group     int32
}

// rangeLeaf is intervals in order, 128 bytes: a line of memory of numbers, and one
// that leads to the entry and to the record of a filter at once, as a row does.
type rangeLeaf struct {
	low, high [4]float64
	record    [4]*record
	group     [4]int32
	count     int32
	_         [12]byte
}

type bound struct{ low, highest float64 }

// fanOut is how many bounds stand together, 128 bytes.
const fanOut = 8

// newRanges makes the ranges of the anchors' intervals, which it sorts; nil without
// any.
func (t *anchors) newRanges() *ranges {
	intervals := t.ranges
	if len(intervals) == 0 {
		return nil
	}
	slices.SortFunc(intervals, func(a, b interval) int { return cmp.Compare(a.low, b.low) })
	x := &ranges{}
	var level []bound
	for part := range slices.Chunk(intervals, len(rangeLeaf{}.low)) {
		leaf := rangeLeaf{count: int32(len(part))}
		b := bound{part[0].low, math.Inf(-1)}
		for i, in := range part {
			leaf.low[i], leaf.high[i] = in.low, in.high
			leaf.group[i], leaf.record[i] = in.group, t.block.entries[in.group].record
			b.highest = max(b.highest, in.high)
		}
		x.leaves, level = append(x.leaves, leaf), append(level, b)
	}
	x.leaves = slices.Clone(x.leaves)
	for len(level) > 1 {
		x.bounds = append(x.bounds, slices.Clone(level))
		var above []bound
		for part := range slices.Chunk(level, fanOut) {
			b := part[0]
			for _, kid := range part {
				b.highest = max(b.highest, kid.highest)
			}
			above = append(above, b)
		}
		level = above
	}
	return x
}

// find takes up the groups of the intervals that have num.
func (x *ranges) find(v *view, num float64) { x.visit(v, num, len(x.bounds), 0) }

// visit looks at part i of a level: level 0 is the leaves.
func (x *ranges) visit(v *view, num float64, level, i int) {
	if level == 0 {
		leaf := &x.leaves[i]
		for j := range leaf.count {
			if leaf.low[j] > num {
				return
			}
			if leaf.high[j] >= num {
				v.add(leaf.group[j], leaf.record[j])
			}
		}
		return
	}
	bounds := x.bounds[level-1]
	for j := i * fanOut; j < min((i+1)*fanOut, len(bounds)); j++ {
		if bounds[j].low > num {
			return
		}
		if bounds[j].highest >= num {
			x.visit(v, num, level-1, j)
		}
	}
}
