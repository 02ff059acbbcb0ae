// Package persistent has a map of which each change makes another map, for what
// is large, changes a little at a time, and is read without locks: the rules in
// force, and what goes with them. It stands below the engine and the
// configuration.
//
// A Map is never changed, and is safe for concurrent use.
package persistent

import (
	"hash/maphash"
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// Map is a map from K to V. The zero value is empty. A change costs about the
// logarithm of the size: what is not changed is shared.
//
// It is a trie over the hashes of the keys, six bits a level.
type Map[K comparable, V any] struct {
	root *node[K, V]
	size int
}

// node is the entries whose hashes begin alike.
type node[K comparable, V any] struct {
	used  uint64 // a bit for each branch that is there
	slots []slot[K, V]
}

// slot is one branch: a node, or an entry where there is only one.
type slot[K comparable, V any] struct {
	node  *node[K, V]
	entry *entry[K, V]
}

type entry[K comparable, V any] struct {
	hash  uint64
	key   K
	value V
	next  *entry[K, V] // of the same hash, almost never
}

const levelBits = 6

// hashSeed differs from process to process.
var hashSeed = maphash.MakeSeed()

// Of is the Map of what a Go map holds.
func Of[K comparable, V any](m map[K]V) Map[K, V] { return From(len(m), maps.All(m)) }

// From is the Map of n entries with keys that differ.
func From[K comparable, V any](n int, entries iter.Seq2[K, V]) Map[K, V] {
	slab, all := make([]entry[K, V], 0, n), make([]*entry[K, V], 0, n)
	for k, v := range entries {
		slab = append(slab, entry[K, V]{hash: maphash.Comparable(hashSeed, k), key: k, value: v})
	}
	for i := range slab {
		all = append(all, &slab[i])
	}
	slices.SortFunc(all, func(a, b *entry[K, V]) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return 0
	})
	return Map[K, V]{branch(all, 0), len(all)}
}

// branch is the node of entries in order of hash that are alike up to shift; nil
// without entries.
func branch[K comparable, V any](all []*entry[K, V], shift uint) *node[K, V] {
	if len(all) == 0 {
		return nil
	}
	n := &node[K, V]{}
	for i := range all {
		n.used |= 1 << place(all[i].hash, shift)
	}
	n.slots = make([]slot[K, V], 0, bits.OnesCount64(n.used))
	for from := 0; from < len(all); {
		at, to := place(all[from].hash, shift), from+1
		for to < len(all) && place(all[to].hash, shift) == at {
			to++
		}
		if all[from].hash == all[to-1].hash {
			for i := from + 1; i < to; i++ {
				all[i].next = all[i-1]
			}
			n.slots = append(n.slots, slot[K, V]{entry: all[to-1]})
		} else {
			n.slots = append(n.slots, slot[K, V]{node: branch(all[from:to], shift+levelBits)})
		}
		from = to
	}
	return n
}

// place is the branch of a hash below a node at shift.
func place(hash uint64, shift uint) uint { return uint(hash << shift >> (64 - levelBits)) }

// at is the place in slots of a branch, and whether it is there.
func (n *node[K, V]) at(branch uint) (i int, ok bool) {
	bit := uint64(1) << branch
	return bits.OnesCount64(n.used & (bit - 1)), n.used&bit != 0
}

// Len is the number of entries.
func (m Map[K, V]) Len() int { return m.size }

// Get is the value of a key, and whether there is one.
func (m Map[K, V]) Get(key K) (value V, ok bool) {
	hash, shift := maphash.Comparable(hashSeed, key), uint(0)
	for n := m.root; n != nil; shift += levelBits {
		i, ok := n.at(place(hash, shift))
		if !ok {
			break
		}
		s := &n.slots[i]
		n = s.node
		for e := s.entry; e != nil; e = e.next {
			if e.key == key {
				return e.value, true
			}
		}
	}
	return value, false
}

// At is the value of a key, the zero value if there is none.
func (m Map[K, V]) At(key K) V {
	v, _ := m.Get(key)
	return v
}

// All goes through the entries, in no particular order.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { m.root.all(yield) }
}

func (n *node[K, V]) all(yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.slots {
		for e := n.slots[i].entry; e != nil; e = e.next {
			if !yield(e.key, e.value) {
				return false
			}
		}
		if !n.slots[i].node.all(yield) {
			return false
		}
	}
	return true
}

// With is the Map with a value for a key, in place of the one it may have.
func (m Map[K, V]) With(key K, value V) Map[K, V] {
	root, added := m.root.with(&entry[K, V]{hash: maphash.Comparable(hashSeed, key), key: key, value: value}, 0)
	if added {
		m.size++
	}
	m.root = root
	return m
}

func (n *node[K, V]) with(e *entry[K, V], shift uint) (_ *node[K, V], added bool) {
	branchAt := place(e.hash, shift)
	if n == nil {
		return &node[K, V]{1 << branchAt, []slot[K, V]{{entry: e}}}, true
	}
	i, ok := n.at(branchAt)
	if !ok {
		slots := make([]slot[K, V], 0, len(n.slots)+1)
		slots = append(append(append(slots, n.slots[:i]...), slot[K, V]{entry: e}), n.slots[i:]...)
		return &node[K, V]{n.used | 1<<branchAt, slots}, true
	}
	out := &node[K, V]{n.used, slices.Clone(n.slots)}
	s := &out.slots[i]
	switch {
	case s.node != nil:
		s.node, added = s.node.with(e, shift+levelBits)
	case s.entry.hash == e.hash:
		var had bool
		e.next, had = s.entry.without(e.key)
		s.entry, added = e, !had
	default:
		below, _ := (*node[K, V])(nil).with(s.entry, shift+levelBits)
		s.node, added = below.with(e, shift+levelBits)
		s.entry = nil
	}
	return out, added
}

// without is the list without a key.
func (e *entry[K, V]) without(key K) (_ *entry[K, V], removed bool) {
	switch {
	case e == nil:
		return nil, false
	case e.key == key:
		return e.next, true
	}
	rest, removed := e.next.without(key)
	if !removed {
		return e, false
	}
	return &entry[K, V]{e.hash, e.key, e.value, rest}, true
}

// Without is the Map without a key.
func (m Map[K, V]) Without(key K) Map[K, V] {
	root, removed := m.root.without(key, maphash.Comparable(hashSeed, key), 0)
	if removed {
		m.size--
		m.root = root
	}
	return m
}

func (n *node[K, V]) without(key K, hash uint64, shift uint) (_ *node[K, V], removed bool) {
	if n == nil {
		return nil, false
	}
	branchAt := place(hash, shift)
	i, ok := n.at(branchAt)
	if !ok {
		return n, false
	}
	s := n.slots[i]
	if s.node != nil {
		s.node, removed = s.node.without(key, hash, shift+levelBits)
	} else {
		s.entry, removed = s.entry.without(key)
	}
	switch {
	case !removed:
		return n, false
	case s.node == nil && s.entry == nil && len(n.slots) == 1:
		return nil, true
	case s.node == nil && s.entry == nil:
		return &node[K, V]{n.used &^ (1 << branchAt), slices.Delete(slices.Clone(n.slots), i, i+1)}, true
	case s.node != nil && len(s.node.slots) == 1 && s.node.slots[0].entry != nil:
		s = s.node.slots[0] // the only one left there
	}
	out := &node[K, V]{n.used, slices.Clone(n.slots)}
	out.slots[i] = s
	return out, true
}
