package event

import (
	"iter"
	"math"
	"strconv"
)

// Tree is JSON text with an index of its tokens, made in one pass and without
// an allocation per value: what rules read event.data through, and what
// transforms copy tokens from. It aliases the text and never changes, so it is
// safe for concurrent use.
type Tree struct {
	buf    []byte
	tokens []token
}

// ParseTree checks text as CheckJSON does and indexes it. The tree aliases
// text, which must not change afterwards. The error is a *SyntaxError.
func ParseTree(text []byte) (*Tree, error) {
	if err := CheckJSON(text); err != nil {
		return nil, err
	}
	return indexTree(text)
}

func indexTree(text []byte) (*Tree, error) {
	t := tape{buf: text}
	if at := t.parse(); at >= 0 {
		return nil, &SyntaxError{Offset: at, Reason: "not valid JSON"}
	}
	return &Tree{buf: text, tokens: t.tight()}, nil
}

// Tree is the event's data as a tree; nil when its format is not JSON. The data
// is parsed when it is first asked for, and the tree is kept; goroutines that
// ask at the same moment may parse twice, but all get the same tree.
func (e *Event) Tree() *Tree {
	if t := e.tree.Load(); t != nil {
		return t
	}
	if e.format != JSON {
		return nil
	}
	t, err := indexTree(e.data)
	if err != nil {
		return nil // only for stored bytes that were damaged
	}
	if !e.tree.CompareAndSwap(nil, t) {
		return e.tree.Load()
	}
	return t
}

// TreeIn is Tree for a caller that needs the tree for a short time: when the
// event has none yet, one is made in t, whose memory is used again, and is not
// kept with the event. It is nil when the format is not JSON. Only the caller
// may use t then, until its next call with t.
func (e *Event) TreeIn(t *Tree) *Tree {
	if kept := e.tree.Load(); kept != nil {
		return kept
	}
	if e.format != JSON {
		return nil
	}
	if cap(t.tokens) > maxReused {
		t.tokens = nil // of one large event
	}
	p := tape{buf: e.data, tokens: t.tokens[:0]}
	if p.parse() >= 0 {
		return nil // only for stored bytes that were damaged
	}
	t.buf, t.tokens = e.data, p.tokens
	return t
}

// KeepTree makes a copy of what TreeIn made in t the event's tree, so that the
// data is not parsed again.
func (e *Event) KeepTree(t *Tree) {
	if e.tree.Load() == nil {
		e.tree.CompareAndSwap(nil, &Tree{buf: t.buf, tokens: append(make([]token, 0, len(t.tokens)), t.tokens...)})
	}
}

// maxReused bounds the tokens whose memory is used again.
const maxReused = 1 << 16

// Root is the whole value; the zero Node for a nil tree.
func (t *Tree) Root() Node {
	if t == nil {
		return Node{}
	}
	return Node{tree: t}
}

// NodeKind is the type of a JSON value.
type NodeKind uint8

const (
	// Missing is the kind of the zero Node: there is no value.
	Missing NodeKind = iota
	// Null is null.
	Null
	// False is false.
	False
	// True is true.
	True
	// Number is a number.
	Number
	// String is a string.
	String
	// Array is an array.
	Array
	// Object is an object.
	Object
)

// Node is one value of a Tree. The zero Node is Missing; all methods may be
// called on it, and on nodes of another kind than they are for: they then
// return zero values.
type Node struct {
	tree *Tree
	at   uint32
}

func (n Node) token() token {
	if n.tree == nil {
		return token{}
	}
	return n.tree.tokens[n.at]
}

// Kind is the value's type.
func (n Node) Kind() NodeKind { return NodeKind(n.token().info & kindMask) }

// Raw is the exact text of the value; the caller must not change it.
func (n Node) Raw() []byte {
	if n.tree == nil {
		return nil
	}
	t := n.token()
	return n.tree.buf[t.start:t.end:t.end]
}

// Text is a string's text, decoded. Without escapes it aliases the event.
func (n Node) Text() string {
	t := n.token()
	if NodeKind(t.info&kindMask) != String {
		return ""
	}
	raw := n.tree.buf[t.start+1 : t.end-1]
	if t.info&escapedFlag == 0 {
		return alias(raw)
	}
	return alias(appendUnescaped(make([]byte, 0, len(raw)), raw))
}

// Float is a number as the nearest double.
func (n Node) Float() float64 {
	if n.Kind() != Number {
		return 0
	}
	raw := n.Raw()
	if i, ok := smallInt(raw); ok {
		if i == 0 && raw[0] == '-' {
			return math.Copysign(0, -1)
		}
		return float64(i)
	}
	f, _ := strconv.ParseFloat(alias(raw), 64)
	return f
}

// Int is a number that is written as a whole number and fits; ok is false for
// any other, also for 1.0 and 1e2.
func (n Node) Int() (i int64, ok bool) {
	if n.Kind() != Number {
		return 0, false
	}
	raw := n.Raw()
	if i, ok = smallInt(raw); ok {
		return i, true
	}
	i, err := strconv.ParseInt(alias(raw), 10, 64)
	if err != nil {
		return 0, false
	}
	return i, true
}

// smallInt reads a whole number of at most 15 digits, which a double holds.
func smallInt(raw []byte) (int64, bool) {
	d := raw
	if len(d) > 0 && d[0] == '-' {
		d = d[1:]
	}
	if len(d) == 0 || len(d) > 15 {
		return 0, false
	}
	var i int64
	for _, c := range d {
		if c-'0' > 9 {
			return 0, false
		}
		i = i*10 + int64(c-'0')
	}
	if len(d) != len(raw) {
		i = -i
	}
	return i, true
}

// Len is the number of an array's elements, an object's members or a string's
// bytes when decoded.
func (n Node) Len() int {
	t := n.token()
	switch NodeKind(t.info & kindMask) {
	case Array, Object:
		return int(t.info >> countShift)
	case String:
		if t.info&escapedFlag == 0 {
			return int(t.end - t.start - 2)
		}
		return len(n.Text())
	}
	return 0
}

// Get is the member of an object that is called key. It looks at the object's
// keys in turn and skips what their values contain.
func (n Node) Get(key string) (Node, bool) {
	t := n.token()
	if NodeKind(t.info&kindMask) != Object {
		return Node{}, false
	}
	tokens, buf := n.tree.tokens, n.tree.buf
	for i := n.at + 1; i < t.next; i = tokens[i+1].next {
		k := &tokens[i]
		if k.info&escapedFlag == 0 {
			if int(k.end-k.start)-2 == len(key) && string(buf[k.start+1:k.end-1]) == key {
				return Node{n.tree, i + 1}, true
			}
		} else if (Node{n.tree, i}).Text() == key {
			return Node{n.tree, i + 1}, true
		}
	}
	return Node{}, false
}

// Index is the element of an array at i, from 0. It takes time linear in i.
func (n Node) Index(i int) (Node, bool) {
	t := n.token()
	if NodeKind(t.info&kindMask) != Array || i < 0 || i >= int(t.info>>countShift) {
		return Node{}, false
	}
	at := n.at + 1
	if t.next-at == t.info>>countShift { // no containers among the elements
		return Node{n.tree, at + uint32(i)}, true
	}
	for ; i > 0; i-- {
		at = n.tree.tokens[at].next
	}
	return Node{n.tree, at}, true
}

// Entries yields an object's members in the order in which they are written.
func (n Node) Entries() iter.Seq2[string, Node] {
	return func(yield func(string, Node) bool) {
		t := n.token()
		if NodeKind(t.info&kindMask) != Object {
			return
		}
		for i := n.at + 1; i < t.next; i = n.tree.tokens[i+1].next {
			if !yield(Node{n.tree, i}.Text(), Node{n.tree, i + 1}) {
				return
			}
		}
	}
}

// Elements yields an array's elements.
func (n Node) Elements() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		t := n.token()
		if NodeKind(t.info&kindMask) != Array {
			return
		}
		for i := n.at + 1; i < t.next; i = n.tree.tokens[i].next {
			if !yield(Node{n.tree, i}) {
				return
			}
		}
	}
}
