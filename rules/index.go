package rules

import (
	"cmp"
	"slices"
)

// index finds the filters that may match an event, without looking at the
// others: those whose anchors hold. It never changes once it is made.
type index struct {
	loose []int32 // groups that are evaluated for every event that gets here
	attrs []slotTable
	data  []slotTable // in order of slot, of places with reachValue
	every []slotTable // in order of slot, of places with reachAll
}

type slotTable struct {
	slot int32
	slotIndex
}

// leafSize is how many filters are evaluated one by one rather than split.
const leafSize = 16

// candidates are the groups that may match the view's event, each once.
func (b *block) candidates(v *view) []candidate {
	v.candidates = v.candidates[:0]
	b.index.find(v)
	return v.candidates
}

// candidate is a group that may match, with the record of its first entry and the
// size of its code.
type candidate struct {
	group  int32
	size   uint32
	record *record
}

// add takes up a group that may match, unless it was met before. Of the first few
// each is compared; others have marks. It goes to the record and to the entry at
// once, so that where no cache holds them both are waited for together.
func (v *view) add(group int32, record *record) {
	c := candidate{group, record.size, record}
	if v.block.entries[c.group].multi {
		few := min(len(v.candidates), fewCandidates)
		if slices.Contains(v.candidates[:few], c) || few == fewCandidates && !v.first(c.group) {
			return
		}
	}
	v.candidates = append(v.candidates, c)
}

func (v *view) addGroup(group int32) { v.add(group, v.block.entries[group].record) }

// fewCandidates is how many groups are compared rather than marked.
const fewCandidates = 8

func (v *view) addAll(groups []int32) {
	for _, g := range groups {
		v.addGroup(g)
	}
}

// expand takes up the groups of a posting.
func (v *view) expand(p *posting) {
	switch {
	case p.once && !v.first(p.id):
	case p.sub != nil:
		p.sub.find(v)
	default:
		v.addAll(p.groups)
	}
}

func (x *index) find(v *view) {
	v.addAll(x.loose)
	for i := range x.attrs {
		x.attrs[i].find(v, v.slot(x.attrs[i].slot))
	}
	if len(x.data) > 0 {
		v.walk(reachValue)
		x.findIn(v, x.data)
	}
	if len(x.every) > 0 {
		v.walk(reachAll)
		x.findIn(v, x.every)
	}
}

// findIn looks at the places in the data: all of the tables, or those of what
// the data has, whichever is less.
func (x *index) findIn(v *view, tables []slotTable) {
	s := &v.seen
	if len(tables) <= len(s.found)+8 {
		for i := range tables {
			if slot := tables[i].slot; s.marks[slot] == s.mark {
				v.findAt(&tables[i], slot)
			}
		}
		return
	}
	for _, slot := range s.found {
		i, ok := slices.BinarySearchFunc(tables, slot, func(t slotTable, slot int32) int { return cmp.Compare(t.slot, slot) })
		if ok {
			v.findAt(&tables[i], slot)
		}
	}
}

func (v *view) findAt(t *slotTable, slot int32) {
	t.find(v, &v.seen.values[slot])
	if len(v.seen.more) > 0 {
		for i := range v.seen.more[slot] {
			t.find(v, &v.seen.more[slot][i])
		}
	}
}

// build makes the index of the block's groups.
func (b *block) build() {
	b.work = indexWork * (len(b.groups) + leafSize)
	b.index = *b.newIndex(b.groups)
	b.groups = nil
}

// indexWork bounds the groups that indexes within indexes take up again, for
// each group of a block.
const indexWork = 16

// newIndex chooses the anchors of each group by how many others have them too.
func (b *block) newIndex(groups []int32) *index {
	if len(groups) <= leafSize {
		return &index{loose: groups}
	}
	b.work -= len(groups)
	by, trees := newCensus(len(groups)), make([]*node, len(groups))
	for i, g := range groups {
		trees[i] = b.entries[g].matcher.filter.tree()
		by.add(trees[i])
	}
	x := &index{}
	tables := map[*place]*anchors{}
	for at, g := range groups {
		c := trees[at].cover(by)
		if c.cost(by) > float64(len(groups))/2 {
			x.loose = append(x.loose, g)
			continue
		}
		if c.mayRepeat() {
			b.entries[g].multi = true
		}
		for i := range c.anchors {
			a := &c.anchors[i]
			t := tables[a.place]
			if t == nil {
				t = &anchors{block: b, of: len(groups)}
				tables[a.place] = t
			}
			t.add(a, g)
		}
	}
	for p, t := range tables {
		st := slotTable{b.slots.of(p), t.build()}
		switch {
		case p.attr != "data":
			x.attrs = append(x.attrs, st)
		case p.reach == reachAll:
			x.every = append(x.every, st)
		default:
			x.data = append(x.data, st)
		}
	}
	for _, list := range [][]slotTable{x.attrs, x.data, x.every} {
		slices.SortFunc(list, func(a, b slotTable) int { return cmp.Compare(a.slot, b.slot) })
	}
	return x
}

// posting is the groups of one key of an index of as many as of. It splits them
// by what else they ask for, where that helps.
func (b *block) posting(groups []int32, of int) posting {
	p := posting{groups: groups}
	for _, g := range groups {
		p.once = p.once || b.entries[g].multi
	}
	if p.once {
		p.id = int32(len(b.entries) + b.postings)
		b.postings++
	}
	if len(groups) > leafSize && len(groups) <= of/2 && b.work >= len(groups) {
		if sub := b.newIndex(groups); len(sub.loose) <= len(groups)/2 {
			p.groups, p.sub = nil, sub
		}
	}
	return p
}
