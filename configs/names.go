package configs

import (
	"hash/maphash"
	"sync"
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
