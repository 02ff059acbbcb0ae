package configs

import (
	"bytes"
	"hash/maphash"
	"sync"
	"unsafe"
)

// names make those that are equal share their memory, for many rules name one bus
// and one target. The zero value is ready. It remembers few, and those that came
// last; it is safe for concurrent use.
type names struct {
	mu   sync.Mutex
	last [256]string // each at the place that its hash says
}

// namesSeed differs from process to process.
var namesSeed = maphash.MakeSeed()

// of is a text that equals name.
func (n *names) of(name string) string {
	at := maphash.String(namesSeed, name) % uint64(len(n.last))
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last[at] != name {
		n.last[at] = name
	}
	return n.last[at]
}

// room has texts that stay when a document was read, one after the other, for the
// garbage collector goes to each piece of memory. One of them keeps those beside it
// from being freed, but they come and go together.
type room struct{ rest []byte }

const (
	leastRoom = 1 << 10
	mostRoom  = 32 << 10
)

// bytes is a copy of b that nobody may append to without copying it.
func (r *room) bytes(b []byte) []byte {
	if len(b) > cap(r.rest)-len(r.rest) {
		if len(b) > mostRoom/4 {
			return bytes.Clone(b)
		}
		r.rest = make([]byte, 0, min(max(2*cap(r.rest), len(b), leastRoom), mostRoom))
	}
	from := len(r.rest)
	r.rest = append(r.rest, b...)
	return r.rest[from:len(r.rest):len(r.rest)]
}

// text is a copy of s.
func (r *room) text(s string) string {
	b := r.bytes(unsafe.Slice(unsafe.StringData(s), len(s)))
	return unsafe.String(unsafe.SliceData(b), len(b))
}
