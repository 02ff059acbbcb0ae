package rules

import "strings"

// slots are the places that the rules of a set look at, numbered, and how all
// of those in the data are found in one walk over it. They never change once a
// set is made.
type slots struct {
	places []*place
	first  int32   // the least id of a place
	dense  []int32 // slots by id, from first on; -1 is none
	sparse map[int32]int32
	data   trie // of places with reachValue
	all    trie // of places with reachAll
}

// trie is places in the data by their keys; the first node is the data itself.
type trie []trieNode

// trieNode is a place in the data that is a slot, or on the way to one.
type trieNode struct {
	slot  int32 // -1: none
	names []string
	kids  []int32
	byKey map[string]int32
}

// add gives a place and those above it a slot; number is called afterwards.
func (s *slots) add(p *place, known map[*place]struct{}) {
	for ; p != nil; p = p.parent {
		if _, ok := known[p]; ok {
			return
		}
		known[p] = struct{}{}
		s.places = append(s.places, p)
	}
}

// addAll gives slots to all places that a condition looks at.
func (s *slots) addAll(n *node, known map[*place]struct{}) {
	n.walk(func(n *node) {
		switch n.kind {
		case testNode:
			s.add(n.place, known)
		case patternNode:
			shadow := n.more.(*pattern).shadow()
			s.addAll(&shadow, known)
		case codeNode:
			for _, p := range n.more.(*codeFrame).places {
				s.add(p, known)
			}
		}
	})
}

func (s *slots) number() {
	if len(s.places) == 0 {
		return
	}
	s.first = s.places[0].id
	last := s.first
	for _, p := range s.places {
		s.first, last = min(s.first, p.id), max(last, p.id)
	}
	if span := int(last-s.first) + 1; span <= 8*len(s.places)+64 {
		s.dense = make([]int32, span)
		for i := range s.dense {
			s.dense[i] = -1
		}
		for i, p := range s.places {
			s.dense[p.id-s.first] = int32(i)
		}
	} else {
		s.sparse = make(map[int32]int32, len(s.places))
		for i, p := range s.places {
			s.sparse[p.id] = int32(i)
		}
	}
	for i, p := range s.places {
		switch {
		case p.attr != "data":
		case p.reach == reachAll:
			s.all.grow(p.keys, int32(i))
		default:
			s.data.grow(p.keys, int32(i))
		}
	}
}

// grow adds a place.
func (t *trie) grow(keys []string, slot int32) {
	if len(*t) == 0 {
		*t = append(*t, trieNode{slot: -1})
	}
	at := int32(0)
	for _, k := range keys {
		next, ok := (*t)[at].kid(k)
		if !ok {
			next = int32(len(*t))
			*t = append(*t, trieNode{slot: -1})
			(*t)[at].add(k, next)
		}
		at = next
	}
	(*t)[at].slot = slot
}

// fewKids is how many keys are compared one by one.
const fewKids = 8

func (t *trieNode) add(key string, kid int32) {
	t.names, t.kids = append(t.names, key), append(t.kids, kid)
	if len(t.names) <= fewKids {
		return
	}
	if t.byKey == nil {
		t.byKey = map[string]int32{}
		for i, k := range t.names {
			t.byKey[k] = t.kids[i]
		}
	}
	t.byKey[key] = kid
}

func (t *trieNode) kid(key string) (int32, bool) {
	if t.byKey != nil {
		k, ok := t.byKey[key]
		return k, ok
	}
	for i, name := range t.names {
		if name == key {
			return t.kids[i], true
		}
	}
	return 0, false
}

// of is the slot of a place, -1 when it has none.
func (s *slots) of(p *place) int32 { return s.ofID(p.id) }

func (s *slots) ofID(id int32) int32 {
	if s.dense != nil {
		if i := id - s.first; i >= 0 && int(i) < len(s.dense) {
			return s.dense[i]
		}
		return -1
	}
	if i, ok := s.sparse[id]; ok {
		return i
	}
	return -1
}

// seen is what a view knows of one event's places. It is the view's own.
type seen struct {
	slots  *slots
	values []value
	more   map[int32][]value // further values of places with reachAll
	marks  []uint32          // values that are of the event have its mark
	mark   uint32
	walked uint32  // the mark of the event whose data was walked, for reachValue
	went   uint32  // the same for reachAll
	found  []int32 // the slots that have values in the data
	set    []int32 // the slots that have values
	spare  value   // of places that are not slots
}

// begin forgets the event before.
func (s *seen) begin(of *slots) {
	if s.slots != of {
		s.slots = of
		s.values, s.marks = make([]value, len(of.places)), make([]uint32, len(of.places))
		s.more = nil
		s.mark, s.walked, s.went = 0, 0, 0
	}
	s.found, s.set = s.found[:0], s.set[:0]
	if s.mark++; s.mark == 0 { // after 2³² events
		clear(s.marks)
		s.mark, s.walked, s.went = 1, 0, 0
	}
}

// at is the value at a place, until the next call. Of several it is the first.
func (v *view) at(p *place) *value {
	s := &v.seen
	if s.slots != nil {
		if i := s.slots.of(p); i >= 0 {
			return v.slot(i)
		}
	}
	s.spare = p.resolve(v)
	return &s.spare
}

// slot is the value of a slot.
func (v *view) slot(i int32) *value {
	s := &v.seen
	if s.marks[i] == s.mark {
		return &s.values[i]
	}
	p := s.slots.places[i]
	if p.attr == "data" {
		if v.walk(p.reach); s.marks[i] == s.mark {
			return &s.values[i]
		}
		s.values[i], s.marks[i] = value{}, s.mark
		return &s.values[i]
	}
	s.values[i], s.marks[i] = attributeValue(v.ev, p), s.mark
	s.set = append(s.set, i)
	return &s.values[i]
}

// walk finds the values of all slots that the data has.
func (v *view) walk(r reach) {
	s := &v.seen
	switch {
	case r == reachAll && s.went != s.mark && len(s.slots.all) > 0:
		s.went = s.mark
		if len(s.more) > 0 {
			clear(s.more)
		}
		s.descendAll(0, v.dataValue())
	case r == reachValue && s.walked != s.mark && len(s.slots.data) > 0:
		s.walked = s.mark
		s.descend(0, v.dataValue())
	}
}

func (s *seen) descend(at int32, x value) {
	t := &s.slots.data[at]
	if t.slot >= 0 {
		s.values[t.slot], s.marks[t.slot] = x, s.mark
		s.found, s.set = append(s.found, t.slot), append(s.set, t.slot)
	}
	if x.kind != mapValue || len(t.names) == 0 {
		return
	}
	if len(t.names) <= fewKids {
		for i, name := range t.names {
			if n, ok := x.node.Get(name); ok {
				s.descend(t.kids[i], nodeValue(n))
			}
		}
		return
	}
	for key, n := range x.node.Entries() {
		if kid, ok := t.kid(key); ok {
			s.descend(kid, nodeValue(n))
		}
	}
}

// descendAll is descend for places with reachAll: an array stands for its
// elements, and a key with dots for a path.
func (s *seen) descendAll(at int32, x value) {
	t := &s.slots.all[at]
	if x.kind == listValue {
		for n := range x.node.Elements() {
			s.descendAll(at, nodeValue(n))
		}
		return
	}
	if t.slot >= 0 {
		s.add(t.slot, x)
	}
	if x.kind != mapValue || len(t.names) == 0 {
		return
	}
	for key, n := range x.node.Entries() {
		kid, ok := at, true
		for rest := key; ok; {
			part, more, dotted := strings.Cut(rest, ".")
			if kid, ok = s.slots.all[kid].kid(part); ok && !dotted {
				s.descendAll(kid, nodeValue(n))
				break
			}
			rest = more
		}
	}
}

// add is one of several values of a slot.
func (s *seen) add(i int32, x value) {
	if s.marks[i] != s.mark || s.values[i].kind == missingValue {
		s.values[i], s.marks[i] = x, s.mark
		s.found, s.set = append(s.found, i), append(s.set, i)
		return
	}
	if s.more == nil {
		s.more = map[int32][]value{}
	}
	s.more[i] = append(s.more[i], x)
}

// forget lets go of the event's texts and nodes.
func (s *seen) forget() {
	for _, i := range s.set {
		s.values[i] = value{}
	}
	s.set = s.set[:0]
	clear(s.more)
	s.spare = value{}
}
