package bus

import (
	"container/heap"
	"sync"
	"time"
)

// wakes calls subscriptions when something of theirs becomes due. It keeps the
// earliest time of each, so its size is bounded by their number.
type wakes struct {
	call func(*subscription)

	mu      sync.Mutex
	heap    wakeHeap
	index   map[*subscription]*wakeItem
	timer   *time.Timer
	stopped bool
}

type wakeItem struct {
	s   *subscription
	at  time.Time
	pos int
}

func newWakes(call func(*subscription)) *wakes {
	return &wakes{call: call, index: map[*subscription]*wakeItem{}}
}

// at calls s at t, or earlier if it was asked to.
func (w *wakes) at(s *subscription, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	t = sameTime(t)
	item := w.index[s]
	switch {
	case item == nil:
		item = &wakeItem{s: s, at: t}
		w.index[s] = item
		heap.Push(&w.heap, item)
	case t.Before(item.at):
		item.at = t
		heap.Fix(&w.heap, item.pos)
	default:
		return
	}
	if item.pos == 0 {
		w.arm()
	}
}

// sameTime is t with what the monotonic clock will say then, so that it comes
// after the same wait when the clock is set meanwhile.
func sameTime(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now))
}

// arm sets the timer to the earliest item.
func (w *wakes) arm() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(time.Until(w.heap[0].at), w.fire)
}

// fire calls everything that is due.
func (w *wakes) fire() {
	w.mu.Lock()
	var due []*subscription
	for now := time.Now(); len(w.heap) > 0 && !w.heap[0].at.After(now); {
		item := heap.Pop(&w.heap).(*wakeItem)
		delete(w.index, item.s)
		due = append(due, item.s)
	}
	if len(w.heap) > 0 && !w.stopped {
		w.arm()
	}
	w.mu.Unlock()
	for _, s := range due {
		w.call(s)
	}
}

// stop ends all calls.
func (w *wakes) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

type wakeHeap []*wakeItem

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h wakeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *wakeHeap) Push(x any) {
	item := x.(*wakeItem)
	item.pos = len(*h)
	*h = append(*h, item)
}
func (h *wakeHeap) Pop() any {
	old := *h
	item := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return item
}
