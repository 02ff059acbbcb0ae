package rules

import (
	"container/list"
	"sync"
)

// cacheKey is what makes filters equal.
type cacheKey struct {
	dialect dialect
	source  string
}

// filterCache keeps the filters that were compiled last, so that equal ones are
// compiled once.
type filterCache struct {
	mu      sync.Mutex
	most    int
	entries map[cacheKey]*list.Element // of *filter
	order   *list.List                 // the last used in front
}

func newFilterCache(most int) *filterCache {
	return &filterCache{most: most, entries: make(map[cacheKey]*list.Element), order: list.New()}
}

// get returns a filter, or compiles it. Two goroutines may compile one at the
// same moment; both get the same.
func (c *filterCache) get(key cacheKey, compile func() (*filter, error)) (*filter, error) {
	if p := c.lookup(key); p != nil {
		return p, nil
	}
	p, err := compile()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		return e.Value.(*filter), nil
	}
	c.entries[key] = c.order.PushFront(p)
	if c.order.Len() > c.most {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.entries, oldest.Value.(*filter).key())
	}
	return p, nil
}

func (c *filterCache) lookup(key cacheKey) *filter {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*filter)
}

func (f *filter) key() cacheKey { return cacheKey{f.dialect, f.source} }
