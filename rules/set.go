package rules

import (
	"maps"
	"math/bits"
	"slices"
	"sync"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// ID stands for one subscription in a Set; the engine chooses it.
type ID uint32

// Entry is one subscription: a target of a rule. All entries of one rule have
// the same Matcher.
type Entry struct {
	ID      ID
	Rule    string
	Matcher *Matcher
	// ReadsData says that whoever delivers will read the event's data as a tree,
	// so that the one that Match makes is to be kept with the event.
	ReadsData bool
}

// Set is the rules of one bus. It never changes; the engine makes another one,
// by Change or Update where there was one before, and swaps it atomically. It is safe for
// concurrent use, and readers take no lock.
type Set struct {
	base, delta *block
	dead        []uint64 // bits of base.entries that are no longer in force; nil: none
	size        int
}

// block is entries with an index of their filters.
type block struct {
	entries []setEntry // those of one filter, a group, stand together
	all     int        // so many entries, the first, match everything
	groups  []int32    // the first entries of filters, while the block is made
	slots   slots
	index   index
	views   sync.Pool

	postings int // that have a number
	work     int // how many groups may still be indexed
}

// setEntry is small, and has all that is needed to go on to the record, so that
// to match a rule that no cache holds does not wait for memory more often than it
// has to.
type setEntry struct {
	record    *record // the matcher's
	root      *node   // the filter's; nil without a filter
	matcher   *Matcher
	id        ID
	readsData bool
	more      bool // the next entry is of the same group
	multi     bool // of the first of a group: the index may bring it up more than once for an event
}

func (e Entry) inSet() setEntry {
	out := setEntry{record: e.Matcher.record, matcher: e.Matcher, id: e.ID, readsData: e.ReadsData}
	if f := e.Matcher.filter; f != nil {
		out.root = f.root
	}
	return out
}

// bare is the entry without what a block knows of it.
func (e setEntry) bare() setEntry {
	e.more, e.multi = false, false
	return e
}

// NewSet makes a Set. It keeps nothing of the slice.
func NewSet(entries []Entry) *Set { return newSet(inSet(entries)) }

func newSet(entries []setEntry) *Set {
	return &Set{base: newBlock(entries), size: len(entries)}
}

func inSet(entries []Entry) []setEntry {
	out := make([]setEntry, len(entries))
	for i, e := range entries {
		out[i] = e.inSet()
	}
	return out
}

// Update makes the Set of other entries. What they share with s, by ID and
// Matcher, is not indexed again unless much has changed. A nil Set has none.
func (s *Set) Update(entries []Entry) *Set {
	if s == nil {
		return NewSet(entries)
	}
	now := make(map[setEntry]struct{}, len(entries))
	for _, e := range entries {
		now[e.inSet()] = struct{}{}
	}
	dead := make([]uint64, (len(s.base.entries)+63)/64)
	for i, e := range s.base.entries {
		if _, ok := now[e.bare()]; ok {
			delete(now, e.bare())
		} else {
			dead[i/64] |= 1 << (i % 64)
		}
	}
	return s.base.with(dead, slices.Collect(maps.Keys(now)))
}

// Change makes the Set without the entries of some subscriptions, and with
// entries more, which may be for the same subscriptions. It takes about as long
// as these do, however many there are beside them, but that once in a while,
// after many changes, all are indexed anew. A nil Set has none.
func (s *Set) Change(gone []ID, added []Entry) *Set {
	if s == nil {
		return NewSet(added)
	}
	dead := make([]uint64, (len(s.base.entries)+63)/64)
	copy(dead, s.dead)
	if len(gone) > 0 {
		for i := range s.base.entries {
			if slices.Contains(gone, s.base.entries[i].id) {
				dead[i/64] |= 1 << (i % 64)
			}
		}
	}
	var delta []setEntry
	if s.delta != nil {
		delta = slices.DeleteFunc(slices.Clone(s.delta.entries), func(e setEntry) bool { return slices.Contains(gone, e.id) })
	}
	return s.base.with(dead, append(delta, inSet(added)...))
}

// with is the Set of the block's entries but the dead ones, and of others.
func (b *block) with(dead []uint64, delta []setEntry) *Set {
	gone := 0
	for _, word := range dead {
		gone += bits.OnesCount64(word)
	}
	if len(delta)+gone > len(b.entries)/deltaShare+deltaLeast {
		all := make([]setEntry, 0, len(b.entries)-gone+len(delta))
		for i, e := range b.entries {
			if dead[i/64]&(1<<(i%64)) == 0 {
				all = append(all, e)
			}
		}
		return newSet(append(all, delta...))
	}
	next := &Set{base: b, size: len(b.entries) - gone + len(delta)}
	if gone > 0 {
		next.dead = dead
	}
	if len(delta) > 0 {
		next.delta = newBlock(delta)
	}
	return next
}

// A change of up to this share of the entries, and a few, is kept beside an
// index; more makes a new one.
const (
	deltaShare = 16
	deltaLeast = 32
)

func newBlock(entries []setEntry) *block {
	b := &block{entries: make([]setEntry, 0, len(entries))}
	b.views.New = func() any { return new(view) }
	places := make(map[cacheKey]int, len(entries))
	order := make([]int32, 0, len(entries)) // of each entry, its group
	var next []int32                        // of each group, how many, and then where its next entry goes
	for _, e := range entries {
		f := e.matcher.filter
		if f == nil {
			order = append(order, -1)
			continue
		}
		g, ok := places[f.key()]
		if !ok {
			g = len(next)
			places[f.key()] = g
			next = append(next, 0)
		}
		next[g]++
		order = append(order, int32(g))
	}
	for i, e := range entries {
		if order[i] < 0 {
			b.entries = append(b.entries, e.bare())
		}
	}
	b.all = len(b.entries)
	at := int32(b.all)
	b.groups = make([]int32, len(next))
	for g, n := range next {
		b.groups[g], next[g] = at, at
		at += n
	}
	b.entries = b.entries[:at]
	for i, e := range entries {
		if g := order[i]; g >= 0 {
			b.entries[next[g]] = e.bare()
			next[g]++
		}
	}
	together(b.entries[:b.all])
	known := map[*place]struct{}{}
	for g, from := range b.groups {
		together(b.entries[from:next[g]])
		b.slots.addAll(b.entries[from].root, known)
	}
	b.slots.number()
	b.build()
	return b
}

// together makes entries a group. It moves those of one matcher next to each
// other, for an event is counted once.
func together(entries []setEntry) {
	if len(entries) > 2 {
		first := make(map[*Matcher]int, len(entries))
		for i, e := range entries {
			if _, ok := first[e.matcher]; !ok {
				first[e.matcher] = i
			}
		}
		slices.SortStableFunc(entries, func(a, b setEntry) int { return first[a.matcher] - first[b.matcher] })
	}
	for i := range entries {
		entries[i].more = i+1 < len(entries)
	}
}

// Match appends the subscriptions that get the event to dst, in no particular
// order, each once. A filter that fails does not match and is counted.
func (s *Set) Match(ev *event.Event, dst []ID) []ID {
	dst = s.base.match(ev, dst, s.dead)
	if s.delta != nil {
		dst = s.delta.match(ev, dst, nil)
	}
	return dst
}

// Len is the number of entries.
func (s *Set) Len() int { return s.size }

func (b *block) match(ev *event.Event, dst []ID, dead []uint64) []ID {
	v := b.views.Get().(*view)
	v.begin(ev, b)
	keep := false
	if b.all > 0 {
		dst, keep = b.settle(0, yes, v, dst, dead)
	}
	for _, c := range b.candidates(v) {
		var kept bool
		v.failed = nil
		dst, kept = b.settle(int(c.group), v.evalIn(c.record.code(c.size), b.entries[c.group].root), v, dst, dead)
		keep = keep || kept
		v.arena.rewind()
	}
	if keep {
		v.keepTree()
	}
	v.release()
	b.views.Put(v)
	return dst
}

// settle counts the outcome of a filter for its entries, a group that begins at
// first, and takes them up when it is yes; readsData says that one of these will
// read the data.
func (b *block) settle(first int, o outcome, v *view, dst []ID, dead []uint64) (_ []ID, readsData bool) {
	var last *Matcher
	for i := first; ; i++ {
		e := &b.entries[i]
		if dead == nil || dead[i/64]&(1<<(i%64)) == 0 {
			if e.matcher != last {
				e.count(o, &b.entries[first], v)
				last = e.matcher
			}
			if o == yes {
				dst = append(dst, e.id)
				readsData = readsData || e.readsData
			}
		}
		if !e.more {
			return dst, readsData
		}
	}
}
