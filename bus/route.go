package bus

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// How much one turn of a router takes from one bus, so that buses take turns.
const (
	routeEvents = 512
	routeBytes  = 4 << 20
)

// routePause is how long a bus rests after its store refused a read or a write.
const routePause = 250 * time.Millisecond

// router reads each bus in order and hands what its rules match to the queue.
// Several goroutines run it; a bus is with one of them at a time.
type router struct {
	e     *Engine
	queue *workQueue[store.BusID]

	mu        sync.Mutex
	positions map[store.BusID]uint64
}

func newRouter(e *Engine) *router {
	return &router{e: e, queue: newWorkQueue[store.BusID](), positions: map[store.BusID]uint64{}}
}

// run routes until the queue is stopped.
func (r *router) run(ctx context.Context) {
	var w routeBuffers
	for {
		id, ok := r.queue.take()
		if !ok || ctx.Err() != nil {
			return
		}
		more, err := r.route(ctx, id, &w)
		if err != nil && ctx.Err() == nil {
			r.e.log.Error("routing failed, trying again", "bus_id", id, "error", err)
			r.e.metrics.routeErrors.Inc()
			time.AfterFunc(routePause, func() { r.queue.add(id) })
		}
		r.queue.done(id, more)
	}
}

// wakeOnDone ends run when ctx is done.
func (r *router) wakeOnDone(ctx context.Context) {
	<-ctx.Done()
	r.queue.stop()
}

// routeBuffers are a router goroutine's own, kept from batch to batch.
type routeBuffers struct {
	records []store.Record
	events  []store.RoutedEvent
	matches []store.Routed
	ids     []rules.ID
}

// route takes one batch of a bus from the log to the queue; more says that there
// is more to route.
func (r *router) route(ctx context.Context, id store.BusID, w *routeBuffers) (more bool, err error) {
	r.e.routing.RLock()
	defer r.e.routing.RUnlock()
	st := r.e.state.Load()
	b := st.byID[id]
	if b == nil {
		return false, nil // its events are routed when it is in a plan again
	}
	position := r.position(id)
	w.records, err = r.e.store.Read(ctx, id, position+1, routeEvents, routeBytes, w.records[:0])
	if err != nil {
		return false, err
	}
	matched, last := w.match(st, st.sets.At(b.id)), position
	if n := len(w.records); n > 0 {
		last = w.records[n-1].Sequence
	}
	// Without events, too: the store may have gone back to before what was routed.
	if err := r.e.store.Enqueue(ctx, id, last, w.events); err != nil {
		if errors.Is(err, store.ErrRewound) {
			r.forget(id)
			return true, nil
		}
		return false, err
	}
	if len(w.records) == 0 {
		return false, nil
	}
	r.setPosition(id, last)
	r.e.metrics.routed(b.name, len(w.records), matched)
	r.e.replays.live.Add(uint64(len(w.records) + matched))
	w.release()
	// A read may end at its bytes, too, long before its events.
	bounds, err := r.e.store.Bounds(id)
	return err == nil && bounds.Last > last, nil
}

// match fills w.events from w.records and says how many deliveries they make.
func (w *routeBuffers) match(st *state, set *rules.Set) int {
	w.events, w.matches = w.events[:0], w.matches[:0]
	for i := range w.records {
		rec := &w.records[i]
		w.ids = set.Match(rec.Event, w.ids[:0])
		start := len(w.matches)
		var key uint64
		for _, id := range w.ids {
			s := st.subs.At(store.SubscriptionID(id))
			if s == nil || rec.Sequence <= s.from {
				continue
			}
			m := store.Routed{Subscription: s.id}
			spec := s.spec.Load()
			if spec.order == store.OrderKey {
				if key == 0 {
					key = orderKey(rec.Event.PartitionKey())
				}
				m.Key = key
			}
			if !spec.broadcasts() {
				w.matches = append(w.matches, m)
			} else if all := s.consumers.Load(); all != nil {
				for _, c := range *all {
					if m.Subscription = c.id; rec.Sequence > c.from {
						w.matches = append(w.matches, m)
					}
				}
			}
		}
		if len(w.matches) > start {
			// A later append may move w.matches; the old array stays valid for
			// what was sliced from it.
			w.events = append(w.events, store.RoutedEvent{Record: *rec, Matches: w.matches[start:len(w.matches):len(w.matches)]})
		}
	}
	return len(w.matches)
}

// release lets go of the events, which the next batch may be long in coming
// to overwrite.
func (w *routeBuffers) release() {
	clear(w.records)
	clear(w.events)
}

// orderKey hashes an order key; 0 is no key. The hash is stored with queued
// deliveries, so it must never change. A collision only makes two keys wait
// for each other.
func orderKey(key string) uint64 {
	if key == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(key))
	if sum := h.Sum64(); sum != 0 {
		return sum
	}
	return 1
}

func (r *router) position(id store.BusID) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.positions[id]
	if !ok {
		p = r.e.store.Position(id)
		r.positions[id] = p
	}
	return p
}

func (r *router) setPosition(id store.BusID, p uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.positions[id] = p
}

// forget drops what is known of a bus that was removed.
func (r *router) forget(id store.BusID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.positions, id)
}
