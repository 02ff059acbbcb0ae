package embedded

import "slices"

// generation is identities in the order in which they came, and a table that
// finds them: open addressing, with a tag beside the number of the row, so that
// looking for one that is not there touches one cache line. The zero value is
// empty. It is not safe for concurrent use.
type generation struct {
	rows  []knownRow
	slots []uint64 // tag above, the row's number + 1 below; 0 is free
}

const (
	rowBits   = 32
	rowMask   = 1<<rowBits - 1
	fewestIDs = 512
)

func (g *generation) len() int { return len(g.rows) }

// slot finds where id is, or the free slot where it belongs; g has slots.
func (g *generation) slot(id *identity, hash uint64) (at, row int) {
	mask := len(g.slots) - 1
	for at = int(hash) & mask; ; at = (at + 1) & mask {
		s := g.slots[at]
		if s == 0 {
			return at, -1
		}
		if s>>rowBits == hash>>rowBits {
			if row = int(s&rowMask) - 1; g.rows[row].id == *id {
				return at, row
			}
		}
	}
}

// find returns what is remembered of id.
func (g *generation) find(id *identity, hash uint64) (known, bool) {
	if len(g.slots) == 0 {
		return known{}, false
	}
	_, row := g.slot(id, hash)
	if row < 0 || g.rows[row].window == 0 {
		return known{}, false
	}
	return g.rows[row].known, true
}

// remember notes id, or changes what is known of it.
func (g *generation) remember(id *identity, hash uint64, k known) {
	if 2*(len(g.rows)+1) > len(g.slots) {
		g.grow()
	}
	at, row := g.slot(id, hash)
	if row < 0 {
		g.rows = append(g.rows, knownRow{id: *id})
		row = len(g.rows) - 1
		g.slots[at] = hash>>rowBits<<rowBits | uint64(row+1)
	}
	g.rows[row].known = k
}

// forget takes id out, if what is known of it is as described. Its row stays,
// with a window of nothing.
func (g *generation) forget(id *identity, same func(known) bool) {
	if len(g.slots) == 0 {
		return
	}
	if _, row := g.slot(id, id.slotHash()); row >= 0 && same(g.rows[row].known) {
		g.rows[row].known = known{}
	}
}

func (g *generation) grow() {
	g.slots = make([]uint64, max(2*len(g.slots), 2*fewestIDs))
	for i := range g.rows {
		hash := g.rows[i].id.slotHash()
		at, _ := g.slot(&g.rows[i].id, hash)
		g.slots[at] = hash>>rowBits<<rowBits | uint64(i+1)
	}
	g.rows = slices.Grow(g.rows, len(g.slots)/2-len(g.rows))
}

// reset empties g and keeps its memory.
func (g *generation) reset() {
	clear(g.slots)
	g.rows = g.rows[:0]
}

// slotHash is where a generation looks for the identity first, below, and what
// tells it from others there, above.
func (id *identity) slotHash() uint64 {
	where, _ := id.hash()
	return where
}
