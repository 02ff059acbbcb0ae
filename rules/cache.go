package rules

import (
	"container/list"
	"sync"
)

// programCache keeps the programs of the sources that were used last, so that
// equal expressions are compiled and planned once.
type programCache struct {
	mu      sync.Mutex
	most    int
	entries map[string]*list.Element // of *program, by source
	order   *list.List               // the last used in front
}

func newProgramCache(most int) *programCache {
	return &programCache{most: most, entries: make(map[string]*list.Element), order: list.New()}
}

// get returns the program of a source, or compiles it. Two goroutines may
// compile one source at the same moment; both get the same program.
func (c *programCache) get(source string, compile func() (*program, error)) (*program, error) {
	if p := c.lookup(source); p != nil {
		return p, nil
	}
	p, err := compile()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[source]; ok {
		return e.Value.(*program), nil
	}
	c.entries[source] = c.order.PushFront(p)
	if c.order.Len() > c.most {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.entries, oldest.Value.(*program).source)
	}
	return p, nil
}

func (c *programCache) lookup(source string) *program {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[source]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*program)
}
