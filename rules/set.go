package rules

import (
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
// by Update where there was one before, and swaps it atomically. It is safe for
// concurrent use, and readers take no lock.
type Set struct {
	base, delta *block
	dead        []uint64 // bits of base.entries that are no longer in force; nil: none
	size        int
}

// block is entries with an index of their filters.
type block struct {
	entries []setEntry // those of one filter stand together
	all     int        // so many entries, the first, match everything
	groups  []group
	slots   slots
	index   index
	views   sync.Pool

	postings int // that have a number
	work     int // how many groups may still be indexed
}

// group is the entries of one filter, which is evaluated once for an event. They
// end where those of the next group begin.
type group struct {
	filter *filter
	from   int32
	multi  bool // the index may bring it up more than once for an event
}

type setEntry struct {
	matcher   *Matcher
	id        ID
	readsData bool
}

// NewSet makes a Set. It keeps nothing of the slice.
func NewSet(entries []Entry) *Set {
	return &Set{base: newBlock(entries), size: len(entries)}
}

// Update makes the Set of other entries. What they share with s, by ID and
// Matcher, is not indexed again unless much has changed. A nil Set has none.
func (s *Set) Update(entries []Entry) *Set {
	if s == nil {
		return NewSet(entries)
	}
	now := make(map[setEntry]int, len(entries))
	for i, e := range entries {
		now[setEntry{e.Matcher, e.ID, e.ReadsData}] = i
	}
	dead, gone := make([]uint64, (len(s.base.entries)+63)/64), 0
	for i, e := range s.base.entries {
		if _, ok := now[e]; ok {
			delete(now, e)
		} else {
			dead[i/64] |= 1 << (i % 64)
			gone++
		}
	}
	if len(now)+gone > len(s.base.entries)/deltaShare+deltaLeast {
		return NewSet(entries)
	}
	next := &Set{base: s.base, size: len(entries)}
	if gone > 0 {
		next.dead = dead
	}
	if len(now) > 0 {
		added := make([]Entry, 0, len(now))
		for _, i := range now {
			added = append(added, entries[i])
		}
		next.delta = newBlock(added)
	}
	return next
}

// A change of up to this share of the entries, and a few, is kept beside an
// index; more makes a new one.
const (
	deltaShare = 16
	deltaLeast = 32
)

func newBlock(entries []Entry) *block {
	b := &block{entries: make([]setEntry, 0, len(entries))}
	b.views.New = func() any { return new(view) }
	places := make(map[cacheKey]int, len(entries))
	order := make([]int32, 0, len(entries)) // of each entry, its group
	for _, e := range entries {
		f := e.Matcher.filter
		if f == nil {
			order = append(order, -1)
			continue
		}
		g, ok := places[f.key()]
		if !ok {
			g = len(b.groups)
			places[f.key()] = g
			b.groups = append(b.groups, group{filter: f})
		}
		b.groups[g].from++ // how many, for now
		order = append(order, int32(g))
	}
	for i, e := range entries {
		if order[i] < 0 {
			b.entries = append(b.entries, setEntry{e.Matcher, e.ID, e.ReadsData})
		}
	}
	b.all = len(b.entries)
	b.groups = append(make([]group, 0, len(b.groups)), b.groups...)
	at := int32(b.all)
	next := make([]int32, len(b.groups))
	for g := range b.groups {
		n := b.groups[g].from
		b.groups[g].from, next[g] = at, at
		at += n
	}
	b.entries = b.entries[:at]
	for i, e := range entries {
		if g := order[i]; g >= 0 {
			b.entries[next[g]] = setEntry{e.Matcher, e.ID, e.ReadsData}
			next[g]++
		}
	}
	for g := range b.groups {
		together(b.entries[b.groups[g].from:next[g]])
	}
	together(b.entries[:b.all])
	known := map[*place]struct{}{}
	for g := range b.groups {
		b.slots.addAll(&b.groups[g].filter.root, known)
	}
	b.slots.number()
	b.build()
	return b
}

// together moves the entries of one matcher next to each other, for an event is
// counted once.
func together(entries []setEntry) {
	if len(entries) < 3 {
		return
	}
	first := make(map[*Matcher]int, len(entries))
	for i, e := range entries {
		if _, ok := first[e.matcher]; !ok {
			first[e.matcher] = i
		}
	}
	slices.SortStableFunc(entries, func(a, b setEntry) int { return first[a.matcher] - first[b.matcher] })
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
	dst, keep := b.settle(0, b.all, nil, yes, v, dst, dead)
	for _, i := range b.candidates(v) {
		g := &b.groups[i]
		to := len(b.entries)
		if int(i)+1 < len(b.groups) {
			to = int(b.groups[i+1].from)
		}
		var kept bool
		v.failed = nil
		dst, kept = b.settle(int(g.from), to, g.filter, g.filter.root.eval(v), v, dst, dead)
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

// settle counts the outcome of a filter for its entries, those from from to to,
// and takes them up when it is yes; readsData says that one of these will read
// the data.
func (b *block) settle(from, to int, f *filter, o outcome, v *view, dst []ID, dead []uint64) (_ []ID, readsData bool) {
	var last *Matcher
	for i := from; i < to; i++ {
		e := &b.entries[i]
		if dead != nil && dead[i/64]&(1<<(i%64)) != 0 {
			continue
		}
		if e.matcher != last {
			e.matcher.count(f, o, v)
			last = e.matcher
		}
		if o == yes {
			dst = append(dst, e.id)
			readsData = readsData || e.readsData
		}
	}
	return dst, readsData
}
