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

func (f *filter) key() cacheKey { return cacheKey{f.dialect, f.source} }

// exprKey is what makes expressions of one environment equal: the names of the
// answers that they may read are a part of it.
type exprKey struct{ source, enriched string }

// cache keeps what was compiled last, so that what is equal is compiled once.
type cache[K comparable, V any] struct {
	mu      sync.Mutex
	most    int
	entries map[K]*list.Element // of cached[K, V]
	order   *list.List          // the last used in front
}

type cached[K comparable, V any] struct {
	key   K
	value V
}

func newCache[K comparable, V any](most int) *cache[K, V] {
	return &cache[K, V]{most: most, entries: make(map[K]*list.Element), order: list.New()}
}

// get returns what was compiled, or compiles it. Two goroutines may compile one
// at the same moment; both get the same.
func (c *cache[K, V]) get(key K, compile func() (V, error)) (V, error) {
	if v, ok := c.lookup(key); ok {
		return v, nil
	}
	v, err := compile()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		return e.Value.(cached[K, V]).value, nil
	}
	c.entries[key] = c.order.PushFront(cached[K, V]{key, v})
	if c.order.Len() > c.most {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.entries, oldest.Value.(cached[K, V]).key)
	}
	return v, nil
}

func (c *cache[K, V]) lookup(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached[K, V]).value, true
}
