// Package persistent has a map of which each change makes another map, for what
// is large, changes a little at a time, and is read without locks: the rules in
// force, and what goes with them. It stands below the engine and the
// configuration.
//
// A Map is never changed, and is safe for concurrent use.
package persistent

import (
	"cmp"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

// Map is a map from K to V. The zero value is empty. A change costs about the
// logarithm of the size: what is not changed is shared.
//
// It is a trie over the hashes of the keys, four bits a level. Its leaves have
// many entries, side by side, so that there are few pieces of memory and pointers
// for the garbage collector to go to.
type Map[K comparable, V any] struct {
	root *node[K, V]
	size int
}

// node is the entries whose hashes begin alike: a branch or a leaf.
type node[K comparable, V any] struct {
	kids    []*node[K, V] // of a branch, fanOut of them, nil where there is nothing; nil in a leaf
	hashes  []uint64      // of entries, which are looked for among these
	entries []entry[K, V]
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

const (
	levelBits = 4
	fanOut    = 1 << levelBits
	hashBits  = 64
	// leafMost is how many entries a leaf has before it becomes a branch, and more
	// only where their hashes begin alike.
	leafMost = 32
	// manyShare is the share of the entries above which they are all laid out anew
	// rather than changed one by one.
	manyShare = 16
)

// hashSeed differs from process to process.
var hashSeed = maphash.MakeSeed()

// Of is the Map of what a Go map holds.
func Of[K comparable, V any](m map[K]V) Map[K, V] { return From(len(m), maps.All(m)) }

// From is the Map of n entries with keys that differ.
func From[K comparable, V any](n int, entries iter.Seq2[K, V]) Map[K, V] {
	type hashed struct {
		hash uint64
		at   int
	}
	order, unordered := make([]hashed, 0, n), make([]entry[K, V], 0, n)
	for k, v := range entries {
		order = append(order, hashed{maphash.Comparable(hashSeed, k), len(order)})
		unordered = append(unordered, entry[K, V]{k, v})
	}
	slices.SortFunc(order, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	hashes, all := make([]uint64, len(order)), make([]entry[K, V], len(order))
	for i, o := range order {
		hashes[i], all[i] = o.hash, unordered[o.at]
	}
	return Map[K, V]{build(hashes, all, 0), len(all)}
}

// build is the node of entries in order of hash that are alike up to shift; nil
// without entries.
func build[K comparable, V any](hashes []uint64, entries []entry[K, V], shift uint) *node[K, V] {
	switch {
	case len(entries) == 0:
		return nil
	case len(entries) <= leafMost || shift >= hashBits:
		return &node[K, V]{hashes: slices.Clip(hashes), entries: slices.Clip(entries)}
	}
	n := &node[K, V]{kids: make([]*node[K, V], fanOut)}
	for from := 0; from < len(entries); {
		at, to := place(hashes[from], shift), from+1
		for to < len(entries) && place(hashes[to], shift) == at {
			to++
		}
		n.kids[at] = build(hashes[from:to], entries[from:to], shift+levelBits)
		from = to
	}
	return n
}

// place is the kid of a hash below a branch at shift.
func place(hash uint64, shift uint) uint { return uint(hash << shift >> (hashBits - levelBits)) }

// at is the place of a key in a leaf, -1 if it is not there.
func (n *node[K, V]) at(hash uint64, key K) int {
	for i, h := range n.hashes {
		if h == hash && n.entries[i].key == key {
			return i
		}
	}
	return -1
}

// Len is the number of entries.
func (m Map[K, V]) Len() int { return m.size }

// Get is the value of a key, and whether there is one.
func (m Map[K, V]) Get(key K) (value V, ok bool) {
	n, hash := m.root, maphash.Comparable(hashSeed, key)
	for shift := uint(0); n != nil && n.kids != nil; shift += levelBits {
		n = n.kids[place(hash, shift)]
	}
	if n == nil {
		return value, false
	}
	i := n.at(hash, key)
	if i < 0 {
		return value, false
	}
	return n.entries[i].value, true
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
	for i := range n.entries {
		if e := &n.entries[i]; !yield(e.key, e.value) {
			return false
		}
	}
	for _, kid := range n.kids {
		if !kid.all(yield) {
			return false
		}
	}
	return true
}

// With is the Map with a value for a key, in place of the one it may have.
func (m Map[K, V]) With(key K, value V) Map[K, V] {
	root, added := m.root.with(maphash.Comparable(hashSeed, key), entry[K, V]{key, value}, 0)
	if added {
		m.size++
	}
	m.root = root
	return m
}

// WithAll is With for each entry of a Go map.
func (m Map[K, V]) WithAll(values map[K]V) Map[K, V] {
	if len(values) > m.size/manyShare {
		all := make(map[K]V, m.size+len(values))
		maps.Insert(all, m.All())
		maps.Copy(all, values)
		return Of(all)
	}
	for k, v := range values {
		m = m.With(k, v)
	}
	return m
}

func (n *node[K, V]) with(hash uint64, e entry[K, V], shift uint) (_ *node[K, V], added bool) {
	if n == nil {
		return &node[K, V]{hashes: []uint64{hash}, entries: []entry[K, V]{e}}, true
	}
	if n.kids != nil {
		out := &node[K, V]{kids: slices.Clone(n.kids)}
		kid := &out.kids[place(hash, shift)]
		*kid, added = (*kid).with(hash, e, shift+levelBits)
		return out, added
	}
	if i := n.at(hash, e.key); i >= 0 {
		out := &node[K, V]{hashes: n.hashes, entries: slices.Clone(n.entries)}
		out.entries[i] = e
		return out, false
	}
	if len(n.entries) < leafMost || shift >= hashBits {
		return &node[K, V]{hashes: append(slices.Clip(n.hashes), hash), entries: append(slices.Clip(n.entries), e)}, true
	}
	out := &node[K, V]{kids: make([]*node[K, V], fanOut)}
	for i, h := range n.hashes {
		out.put(h, n.entries[i], shift)
	}
	out.put(hash, e, shift)
	return out, true
}

// put adds an entry to a leaf right below a branch that nobody else has yet.
func (n *node[K, V]) put(hash uint64, e entry[K, V], shift uint) {
	kid := &n.kids[place(hash, shift)]
	if *kid == nil {
		*kid = &node[K, V]{}
	}
	(*kid).hashes, (*kid).entries = append((*kid).hashes, hash), append((*kid).entries, e)
}

// Without is the Map without a key.
func (m Map[K, V]) Without(key K) Map[K, V] {
	root, removed := m.root.without(maphash.Comparable(hashSeed, key), key, 0)
	if removed {
		m.size--
		m.root = root
	}
	return m
}

func (n *node[K, V]) without(hash uint64, key K, shift uint) (_ *node[K, V], removed bool) {
	if n == nil {
		return nil, false
	}
	if n.kids != nil {
		at := place(hash, shift)
		kid, removed := n.kids[at].without(hash, key, shift+levelBits)
		if !removed {
			return n, false
		}
		out := &node[K, V]{kids: slices.Clone(n.kids)}
		out.kids[at] = kid
		return out.joined(), true
	}
	switch i := n.at(hash, key); {
	case i < 0:
		return n, false
	case len(n.entries) == 1:
		return nil, true
	default:
		return &node[K, V]{hashes: slices.Delete(slices.Clone(n.hashes), i, i+1), entries: slices.Delete(slices.Clone(n.entries), i, i+1)}, true
	}
}

// joined is a branch, as one leaf if its leaves have few entries together.
func (n *node[K, V]) joined() *node[K, V] {
	count := 0
	for _, kid := range n.kids {
		if kid != nil && kid.kids != nil {
			return n
		}
		if kid != nil {
			count += len(kid.entries)
		}
	}
	if count > leafMost/2 {
		return n
	}
	out := &node[K, V]{}
	for _, kid := range n.kids {
		if kid != nil {
			out.hashes, out.entries = append(out.hashes, kid.hashes...), append(out.entries, kid.entries...)
		}
	}
	return out
}
