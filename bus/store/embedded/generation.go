package embedded

import "slices"

// generation is identities in shards by their hashes: one of them grows at a time, which is
// soon done, for publishers wait meanwhile. The zero value is empty. It is not safe
// for concurrent use.
type generation struct {
	shards [1 << shardBits]shard
	count  int
}

// shard is identities in the order in which they came, and a table that finds
// them: open addressing, with a tag beside the number of the row, so that
// looking for one that is not there touches one cache line.
type shard struct {
	rows  []knownRow
	slots []uint64 // tag above, the row's number + 1 below; 0 is free
}

const (
	shardBits  = 4
	shardShift = 28 // of a hash; slots go by the bits below, tags by those above
	rowBits    = 32
	rowMask    = 1<<rowBits - 1
	fewestIDs  = 32
)

// fits reports whether so many slots may hold n rows: five eighths, for shards
// are not filled evenly.
func fits(n, slots int) bool { return 8*n <= 5*slots }

func (g *generation) shard(hash uint64) *shard { return &g.shards[hash>>shardShift%(1<<shardBits)] }

func (g *generation) len() int { return g.count }

// find returns what is remembered of id.
func (g *generation) find(id *identity, hash uint64) (known, bool) {
	return g.shard(hash).find(id, hash)
}

// remember notes id, or changes what is known of it.
func (g *generation) remember(id *identity, hash uint64, k known) {
	t := g.shard(hash)
	before := len(t.rows)
	t.remember(id, hash, k)
	g.count += len(t.rows) - before
}

// forget takes id out, if what is known of it is as described. Its row stays,
// with a window of nothing.
func (g *generation) forget(id *identity, same func(known) bool) {
	hash := id.slotHash()
	g.shard(hash).forget(id, hash, same)
}

// reset empties g and keeps its memory.
func (g *generation) reset() {
	for i := range g.shards {
		t := &g.shards[i]
		clear(t.slots)
		t.rows = t.rows[:0]
	}
	g.count = 0
}

// slot finds where id is, or the free slot where it belongs; p has slots.
func (t *shard) slot(id *identity, hash uint64) (at, row int) {
	mask := len(t.slots) - 1
	for at = int(hash) & mask; ; at = (at + 1) & mask {
		s := t.slots[at]
		if s == 0 {
			return at, -1
		}
		if s>>rowBits == hash>>rowBits {
			if row = int(s&rowMask) - 1; t.rows[row].id == *id {
				return at, row
			}
		}
	}
}

func (t *shard) find(id *identity, hash uint64) (known, bool) {
	if len(t.slots) == 0 {
		return known{}, false
	}
	_, row := t.slot(id, hash)
	if row < 0 || t.rows[row].window == 0 {
		return known{}, false
	}
	return t.rows[row].known, true
}

func (t *shard) remember(id *identity, hash uint64, k known) {
	if !fits(len(t.rows)+1, len(t.slots)) {
		t.grow()
	}
	at, row := t.slot(id, hash)
	if row < 0 {
		t.rows = append(t.rows, knownRow{id: *id})
		row = len(t.rows) - 1
		t.slots[at] = hash>>rowBits<<rowBits | uint64(row+1)
	}
	t.rows[row].known = k
}

func (t *shard) forget(id *identity, hash uint64, same func(known) bool) {
	if len(t.slots) == 0 {
		return
	}
	if _, row := t.slot(id, hash); row >= 0 && same(t.rows[row].known) {
		t.rows[row].known = known{}
	}
}

func (t *shard) grow() {
	t.slots = make([]uint64, max(2*len(t.slots), 2*fewestIDs))
	for i := range t.rows {
		hash := t.rows[i].id.slotHash()
		at, _ := t.slot(&t.rows[i].id, hash)
		t.slots[at] = hash>>rowBits<<rowBits | uint64(i+1)
	}
	t.rows = slices.Grow(t.rows, len(t.slots)*5/8-len(t.rows))
}

// slotHash is where a generation looks for the identity first, below, and what
// tells it from others there, above.
func (id *identity) slotHash() uint64 {
	where, _ := id.hash()
	return where
}
