package embedded

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// columns is the filters of up to 64 runs, laid side by side: for each place in
// a filter there is a bit of each run. So a few lines of memory, all in one page
// of it, tell which of the runs may hold an identity, where filters each by
// themselves would take a line and a page for each run. Looking needs no lock;
// one at a time may change it, of which those that look may see a part.
type columns struct {
	words  []uint64
	blocks int  // of each filter; smaller ones are spread out
	shift  uint // log2 of how many runs there is room for
}

const (
	fewestColumns = 3 // as shift
	mostColumns   = 6
)

func newColumns(blocks int, shift uint) *columns {
	return &columns{make([]uint64, blocks<<bitsPerBlock<<shift/64), blocks, shift}
}

// at returns the bits of all runs for a place, and more above them.
func (c *columns) at(place uint64) uint64 {
	bit := place << c.shift
	return atomic.LoadUint64(&c.words[bit>>6]) >> (bit & 63)
}

func (c *columns) all() uint64 { return ^uint64(0) >> (64 - 1<<c.shift) }

// has says which of some runs may hold an identity; of most there is none, which
// three places nearly always tell.
func (c *columns) has(where, which, of uint64) uint64 {
	of &= c.begin(where, which)
	if of == 0 {
		return 0
	}
	first := c.block(where)
	which >>= 3 * bitsPerBlock
	for range filterBits - 3 {
		of &= c.at(first + which&blockMask)
		which >>= bitsPerBlock
	}
	return of
}

// begin looks at three places of an identity.
func (c *columns) begin(where, which uint64) uint64 {
	first := c.block(where)
	return c.at(first+which&blockMask) & c.at(first+which>>bitsPerBlock&blockMask) & c.at(first+which>>(2*bitsPerBlock)&blockMask)
}

// block is the first place of an identity's block.
func (c *columns) block(where uint64) uint64 {
	block, _ := bits.Mul64(where, uint64(c.blocks))
	return block << bitsPerBlock
}

// add lays the filter of a run into its column, which is clear.
func (c *columns) add(column int, f filter) {
	each := c.blocks / f.blocks()
	var at, bitsThere uint64 // for places in the same word, one store
	for block := range c.blocks {
		for i, word := range f[block/each*wordsPerBlock:][:wordsPerBlock] {
			first := uint64(block)<<bitsPerBlock | uint64(i)<<6
			for ; word != 0; word &= word - 1 {
				bit := (first + uint64(bits.TrailingZeros64(word))) << c.shift
				if bit>>6 != at {
					c.or(at, bitsThere)
					at, bitsThere = bit>>6, 0
				}
				bitsThere |= 1 << (bit&63 + uint64(column))
			}
		}
	}
	c.or(at, bitsThere)
}

func (c *columns) or(word, bits uint64) {
	atomic.StoreUint64(&c.words[word], c.words[word]|bits)
}

// clear empties a column.
func (c *columns) clear(column int) {
	mask := uint64(1) << column
	for width := uint(1) << c.shift; width < 64; width *= 2 {
		mask |= mask << width
	}
	for i := range c.words {
		if at := &c.words[i]; *at&mask != 0 {
			atomic.StoreUint64(at, *at&^mask)
		}
	}
}

// widened is a copy with room for twice as many runs.
func (c *columns) widened() *columns {
	w := newColumns(c.blocks, c.shift+1)
	all := c.all()
	for place := range uint64(c.blocks << bitsPerBlock) {
		if v := c.at(place) & all; v != 0 {
			bit := place << w.shift
			w.words[bit>>6] |= v << (bit & 63)
		}
	}
	return w
}

// runSet is the runs as look-ups see them. It is not changed.
type runSet struct {
	runs   []*run // the newest last
	groups []runGroup
	blocks int // of a filter in the columns
}

// newRunSet is for runs of a generation of so many identities.
func newRunSet(generation int) *runSet {
	return &runSet{blocks: newFilter(generation).blocks()}
}

// newFilter makes a filter for n identities that the columns can take. Of more
// than a generation it knows less well what is not there.
func (s *runSet) newFilter(n int) filter {
	blocks := s.blocks
	for blocks%2 == 0 && n*bitsPerKey <= blocks/2<<bitsPerBlock {
		blocks /= 2
	}
	return make(filter, blocks*wordsPerBlock)
}

// takes says whether f is of a size that the columns can take. Earlier releases
// had others.
func (s *runSet) takes(f filter) bool { return s.blocks%f.blocks() == 0 }

// runGroup is runs whose filters stand in the same columns.
type runGroup struct {
	*columns
	runs        []*run // by column; nil where there is none
	used, stale uint64 // columns that have a run, and those that had one
}

// with adds a run, the newest.
func (s *runSet) with(r *run, f filter) *runSet {
	next := &runSet{append(slices.Clip(s.runs), r), slices.Clone(s.groups), s.blocks}
	at := slices.IndexFunc(next.groups, func(g runGroup) bool { return g.shift < mostColumns || g.used != g.all() })
	if at < 0 {
		at = len(next.groups)
		next.groups = append(next.groups, runGroup{columns: newColumns(s.blocks, fewestColumns)})
	}
	g := &next.groups[at]
	if g.used == g.all() {
		g.columns = g.widened()
	}
	column := bits.TrailingZeros64(^g.used)
	if bit := uint64(1) << column; g.stale&bit != 0 {
		g.clear(column)
		g.stale &^= bit
	}
	g.add(column, f)
	runs := make([]*run, max(len(g.runs), column+1))
	copy(runs, g.runs)
	runs[column] = r
	g.runs, g.used = runs, g.used|1<<column
	return next
}

// without takes runs out.
func (s *runSet) without(gone func(*run) bool) *runSet {
	next := &runSet{blocks: s.blocks}
	for _, r := range s.runs {
		if !gone(r) {
			next.runs = append(next.runs, r)
		}
	}
	for _, g := range s.groups {
		g.runs = slices.Clone(g.runs)
		for i, r := range g.runs {
			if r != nil && gone(r) {
				g.runs[i] = nil
				g.used &^= 1 << i
				g.stale |= 1 << i
			}
		}
		if g.used != 0 {
			next.groups = append(next.groups, g)
		}
	}
	return next
}

// lookAhead is how many identities may looks for at once.
const lookAhead = 16

// may says which of up to lookAhead identities any run may hold, by one bit for
// each. What it reads of the filters is seldom in a cache, so it reads for many
// before it decides anything: then they do not wait for the memory one after another.
func (s *runSet) may(ids []identity) (which uint64) {
	var hashes [lookAhead]struct{ where, which uint64 }
	for i := range ids {
		hashes[i].where, hashes[i].which = ids[i].hash()
	}
	var maybe [lookAhead]uint64
	for i := range s.groups {
		g := &s.groups[i]
		for j := range ids {
			maybe[j] = g.begin(hashes[j].where, hashes[j].which)
		}
		for j := range ids {
			if maybe[j]&g.used != 0 && g.has(hashes[j].where, hashes[j].which, g.used) != 0 {
				which |= 1 << j
			}
		}
	}
	return which
}

// each calls f with the runs that may hold an identity, until it reports false.
func (s *runSet) each(id *identity, f func(*run) bool) {
	where, which := id.hash()
	for i := range s.groups {
		g := &s.groups[i]
		for m := g.has(where, which, g.used); m != 0; m &= m - 1 {
			if !f(g.runs[bits.TrailingZeros64(m)]) {
				return
			}
		}
	}
}
