package embedded

import (
	"sync"
	"sync/atomic"
)

// table finds things by their ids, which are given out in order from 1.
// Readers take no lock; writers lock.
type table[T any] struct {
	mu    sync.Mutex
	slots atomic.Pointer[[]atomic.Pointer[T]]
}

// get returns what has an id, or nil.
func (t *table[T]) get(id uint32) *T {
	if slots := t.slots.Load(); slots != nil && int64(id) < int64(len(*slots)) {
		return (*slots)[id].Load()
	}
	return nil
}

// set puts something under an id, or nothing.
func (t *table[T]) set(id uint32, v *T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := t.slots.Load()
	if slots == nil || int64(id) >= int64(len(*slots)) {
		if v == nil {
			return
		}
		grown := make([]atomic.Pointer[T], max(64, (int64(id)+1)*3/2))
		if slots != nil {
			for i := range *slots {
				grown[i].Store((*slots)[i].Load())
			}
		}
		slots = &grown
		t.slots.Store(slots)
	}
	(*slots)[id].Store(v)
}

// all lists what there is, in order of id.
func (t *table[T]) all() (all []*T) {
	if slots := t.slots.Load(); slots != nil {
		all = make([]*T, 0, len(*slots))
		for i := range *slots {
			if v := (*slots)[i].Load(); v != nil {
				all = append(all, v)
			}
		}
	}
	return all
}
