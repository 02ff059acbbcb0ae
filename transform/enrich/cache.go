package enrich

import (
	"container/list"
	"context"
	"sync"
	"time"
)

const (
	// DefaultEntries is how many answers a cache keeps that does not say
	// otherwise.
	DefaultEntries = 10_000
	// maxCacheBytes bounds what a cache keeps, keys included.
	maxCacheBytes = 64 << 20
)

// cache keeps answers for a time, those that were used last, and lets one call at
// a time be made for a key: who asks meanwhile waits for that. Failures are not
// kept.
type cache struct {
	most int
	life time.Duration

	mu      sync.Mutex
	entries map[string]*list.Element
	order   *list.List // of *entry, the last used first
	bytes   int
	flights map[string]*flight
}

type entry struct {
	key    string
	answer []byte
	until  time.Time
}

// flight is a call under way. What it found is set when done is closed.
type flight struct {
	done   chan struct{}
	answer []byte
	err    error
	// given up: the caller was ended, and its failure says nothing of the endpoint
	ended bool
}

func newCache(most int, life time.Duration) *cache {
	if most <= 0 {
		most = DefaultEntries
	}
	return &cache{most: most, life: life, entries: map[string]*list.Element{}, order: list.New(), flights: map[string]*flight{}}
}

// get is the answer for a key: kept, of a call under way, or of call itself,
// which says whether its answer may be kept.
func (c *cache) get(ctx context.Context, key string, call func() (answer []byte, keep bool, err error)) (answer []byte, hit bool, err error) {
	for {
		c.mu.Lock()
		if answer, ok := c.find(key); ok {
			c.mu.Unlock()
			return answer, true, nil
		}
		f := c.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{}), ended: true}
			c.flights[key] = f
			c.mu.Unlock()
			answer, err := c.fly(ctx, key, f, call)
			return answer, false, err
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		if !f.ended {
			return f.answer, f.err == nil, f.err
		}
	}
}

// fly makes the call and hands what it found to those who wait, also if it
// panics.
func (c *cache) fly(ctx context.Context, key string, f *flight, call func() ([]byte, bool, error)) (answer []byte, err error) {
	keep := false
	defer func() {
		c.mu.Lock()
		delete(c.flights, key)
		if keep && err == nil {
			c.add(key, answer)
		}
		c.mu.Unlock()
		close(f.done)
	}()
	answer, keep, err = call()
	f.answer, f.err, f.ended = answer, err, err != nil && ctx.Err() != nil
	return answer, err
}

// find is a kept answer that has not expired; c.mu is held.
func (c *cache) find(key string) ([]byte, bool) {
	at := c.entries[key]
	if at == nil {
		return nil, false
	}
	e := at.Value.(*entry)
	if !time.Now().Before(e.until) {
		c.drop(at)
		return nil, false
	}
	c.order.MoveToFront(at)
	return e.answer, true
}

// add keeps an answer and drops what is too much; c.mu is held.
func (c *cache) add(key string, answer []byte) {
	if at := c.entries[key]; at != nil {
		c.drop(at)
	}
	c.entries[key] = c.order.PushFront(&entry{key, answer, time.Now().Add(c.life)})
	c.bytes += len(key) + len(answer)
	for c.order.Len() > c.most || c.bytes > maxCacheBytes {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(at *list.Element) {
	e := at.Value.(*entry)
	c.order.Remove(at)
	delete(c.entries, e.key)
	c.bytes -= len(e.key) + len(e.answer)
}
