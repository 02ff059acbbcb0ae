package archive

import (
	"container/list"
	"sync"

	"github.com/switchyard-dev/switchyard/bus/store"
)

const (
	// cacheBytes bounds the unpacked blocks that are kept for the next read.
	cacheBytes = 16 << 20
	// cacheIndexes bounds the indexes that are.
	cacheIndexes = 128
)

// cache keeps what was read last of all archives.
type cache struct {
	mu      sync.Mutex
	blocks  recent[blockKey, []store.Record]
	indexes recent[string, []blockInfo]
}

// blockKey names a block; an object's name holds its bus and home.
type blockKey struct {
	place, object string
	offset        int64
}

func newCache() *cache {
	return &cache{blocks: newRecent[blockKey, []store.Record](cacheBytes), indexes: newRecent[string, []blockInfo](cacheIndexes)}
}

func (c *cache) block(k blockKey) ([]store.Record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks.get(k)
}

func (c *cache) putBlock(k blockKey, records []store.Record, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks.put(k, records, bytes)
}

func (c *cache) index(k string) ([]blockInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.indexes.get(k)
}

func (c *cache) putIndex(k string, blocks []blockInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indexes.put(k, blocks, 1)
}

// recent keeps values up to a sum of sizes, those that were used last.
type recent[K comparable, V any] struct {
	room  int
	order *list.List // of *kept, newest first
	by    map[K]*list.Element
}

type kept[K comparable, V any] struct {
	key   K
	value V
	size  int
}

func newRecent[K comparable, V any](room int) recent[K, V] {
	return recent[K, V]{room: room, order: list.New(), by: map[K]*list.Element{}}
}

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	e := r.by[k]
	if e == nil {
		return v, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*kept[K, V]).value, true
}

func (r *recent[K, V]) put(k K, v V, size int) {
	if e := r.by[k]; e != nil || size > r.room {
		return
	}
	r.by[k] = r.order.PushFront(&kept[K, V]{k, v, size})
	r.room -= size
	for r.room < 0 {
		oldest := r.order.Back()
		o := r.order.Remove(oldest).(*kept[K, V])
		delete(r.by, o.key)
		r.room += o.size
	}
}
