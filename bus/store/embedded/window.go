package embedded

import (
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// item is one unsettled delivery that is in memory.
type item struct {
	place
	row      queueRow
	recorded int64
	event    *event.Event // nil: read from the log when it is claimed
	via      string
	hops     uint8
	state    itemState
	durable  bool  // it has a queue row
	counted  bool  // its row is in a batch that is not committed yet
	timed    bool  // it has a row in the index of due times
	next     int32 // in its key's chain, or -1
}

type itemState uint8

const (
	itemFree     itemState = iota
	itemWaiting            // in fifo
	itemReady              // in ready: may be claimed before what is in fifo
	itemChained            // waits behind the claimed one of its key
	itemDue                // in due
	itemFlying             // claimed
	itemSettling           // claimed, and its outcome is being written
)

// queueRow is the value of a queue row.
type queueRow struct {
	kind     rowKind
	redriven bool
	trigger  store.Trigger
	attempts uint32 // since it was queued or redriven
	tries    uint32 // ever
	key      uint64
	queued   int64 // first
	due      int64 // first, or redriven: the age counts from here
	paused   int64 // how long the subscription had been paused by then, in total
	retryAt  int64 // 0, or when it may be claimed
}

type rowKind uint8

const (
	rowPlain  rowKind = iota // claimed in order of its place
	rowTimed                 // has a row in the index of due times
	rowParked                // waits behind another one of its key, in a line
)

const queueRowSize = 51

func (q queueRow) append(dst []byte) []byte {
	flags := byte(0)
	if q.redriven {
		flags = 1
	}
	dst = append(dst, byte(q.kind), flags, byte(q.trigger))
	dst = be64(be32(be32(dst, q.attempts), q.tries), q.key)
	dst = be64(be64(dst, uint64(q.queued)), uint64(q.due))
	return be64(be64(dst, uint64(q.paused)), uint64(q.retryAt))
}

func parseQueueRow(b []byte) (q queueRow, err error) {
	if len(b) != queueRowSize {
		return q, errBadRow
	}
	r := rowReader{rest: b}
	q.kind, q.redriven, q.trigger = rowKind(r.u8()), r.u8() != 0, store.Trigger(r.u8())
	q.attempts, q.tries, q.key = r.u32(), r.u32(), r.u64()
	q.queued, q.due, q.paused, q.retryAt = r.i64(), r.i64(), r.i64(), r.i64()
	return q, r.err()
}

// window is the part of a subscription's queue that is in memory. It exists
// only while something is.
type window struct {
	slab     []item
	free     []int32
	index    map[place]int32
	fifo     deque
	ready    heap
	due      deque            // timed items whose time has come
	flip     bool             // whether the next claim begins with fifo
	held     map[uint64]chain // keys with a claimed or ready delivery
	parked   int              // items in chains
	flying   int
	volatile int  // items without a queue row
	listed   bool // in Store.active
}

// chain is the deliveries in memory that wait behind the head of their key.
type chain struct {
	head        int32 // claimed or ready
	first, last int32 // waiting, or -1
	line        bool  // the key has a line in the state
}

func newWindow() *window {
	return &window{index: map[place]int32{}}
}

func (w *window) put(it item) int32 {
	var i int32
	if n := len(w.free); n > 0 {
		i = w.free[n-1]
		w.free = w.free[:n-1]
		w.slab[i] = it
	} else {
		i = int32(len(w.slab))
		w.slab = append(w.slab, it)
	}
	w.index[it.place] = i
	if !it.durable {
		w.volatile++
	}
	return i
}

// waiting is how many items could still be claimed without reading rows.
func (w *window) waiting() int { return w.fifo.len() + len(w.ready.items) + w.due.len() }

// deque is a queue of slab indexes.
type deque struct {
	items []int32
	head  int
}

func (d *deque) len() int { return len(d.items) - d.head }

func (d *deque) push(i int32) { d.items = append(d.items, i) }

func (d *deque) front() int32 { return d.items[d.head] }

func (d *deque) pop() int32 {
	i := d.items[d.head]
	d.head++
	switch {
	case d.head == len(d.items):
		d.items, d.head = d.items[:0], 0
	case d.head >= 256 && d.head*2 >= len(d.items):
		d.items = d.items[:copy(d.items, d.items[d.head:])]
		d.head = 0
	}
	return i
}

// heap is slab indexes, the least place first.
type heap struct{ items []int32 }

func (h *heap) push(slab []item, i int32) {
	h.items = append(h.items, i)
	for n := len(h.items) - 1; n > 0; {
		up := (n - 1) / 2
		if !slab[h.items[n]].place.less(slab[h.items[up]].place) {
			break
		}
		h.items[n], h.items[up] = h.items[up], h.items[n]
		n = up
	}
}

func (h *heap) pop(slab []item) int32 {
	top := h.items[0]
	last := len(h.items) - 1
	h.items[0] = h.items[last]
	h.items = h.items[:last]
	for n := 0; ; {
		c := 2*n + 1
		if c >= last {
			break
		}
		if c+1 < last && slab[h.items[c+1]].place.less(slab[h.items[c]].place) {
			c++
		}
		if !slab[h.items[c]].place.less(slab[h.items[n]].place) {
			break
		}
		h.items[n], h.items[c] = h.items[c], h.items[n]
		n = c
	}
	return top
}

// subscription is one subscription in memory, a few hundred bytes while it
// idles.
type subscription struct {
	mu      sync.Mutex
	id      store.SubscriptionID
	bus     store.BusID
	from    uint64
	name    string
	order   store.Order
	gone    bool // removed
	paused  bool
	orphan  bool
	reason  string
	since   int64 // when it was paused
	pauses  int64 // how long it was paused before, in total
	counts  counts
	lastErr *lastError

	window   *window
	stuck    bool          // the last refill could not go on
	backlog  bool          // there may be plain rows that are not in memory, from backlogAt on
	timed    bool          // there may be timed rows that are not in memory, due at nextDue at the earliest
	nextDue  int64         // a lower bound
	owner    *subscription // whose replayed deliveries these are; nil for a subscription itself
	lanes    []*lane       // the replays under way, guarded by mu
	catchUp  *lane         // of these, what a seek queues again; nil if it has
	claims   int           // in units of a share, see pickFair
	nextLane int
	// Where to seek from; nothing before it needs to be looked at.
	backlogAt place
	oldestAt  place
}

type lastError struct {
	text string
	at   int64
}

// maxWindowItems bounds the deliveries in memory of all subscriptions; above
// it each may still have a few.
const (
	maxWindowItems = 1 << 16
	fewItems       = 16
)

// room is how many more items sub may have in memory.
func (s *Store) room(sub *subscription) int {
	limit := s.opts.WindowPerSubscription
	if s.windowItems.Load() > maxWindowItems {
		limit = min(limit, fewItems)
	}
	n := 0
	if w := sub.window; w != nil {
		n = len(w.index) - w.flying
	}
	return max(limit-n, 0)
}

// load takes a delivery into memory; sub.mu is held.
func (s *Store) load(sub *subscription, it item) int32 {
	if sub.window == nil {
		sub.window = newWindow()
	}
	if it.event != nil {
		if size := int64(it.event.Size()); s.windowBytes.Load()+size <= s.opts.WindowBytes {
			s.windowBytes.Add(size)
		} else {
			it.event = nil
		}
	}
	s.windowItems.Add(1)
	it.next = -1
	return sub.window.put(it)
}

// drop takes an item out of memory; sub.mu is held.
func (s *Store) drop(sub *subscription, i int32) {
	w := sub.window
	it := &w.slab[i]
	if it.event != nil {
		s.windowBytes.Add(-int64(it.event.Size()))
	}
	if !it.durable {
		w.volatile--
	}
	if it.state >= itemFlying {
		w.flying--
	}
	s.windowItems.Add(-1)
	delete(w.index, it.place)
	*it = item{}
	w.free = append(w.free, i)
	if len(w.index) > 0 {
		return
	}
	if !w.listed || len(w.slab) > 256 { // else the next checkpoint lets go of it
		if w.listed {
			sub.window = &window{index: map[place]int32{}, listed: true}
		} else {
			sub.window = nil
		}
		return
	}
	w.slab, w.free = w.slab[:0], w.free[:0]
}

// unload drops from memory what has a row and only waits, unless something
// that only waits has none; sub.mu is held.
func (s *Store) unload(sub *subscription) {
	w := sub.window
	if w == nil {
		return
	}
	var waiting []int32
	for i := range w.slab {
		switch it := &w.slab[i]; it.state {
		case itemWaiting, itemReady, itemDue:
			if !it.durable {
				return
			}
			waiting = append(waiting, int32(i))
		case itemChained:
			return
		}
	}
	w.ready.items, w.fifo, w.due = nil, deque{}, deque{}
	for _, i := range waiting {
		it := &w.slab[i]
		if key, ordered := sub.line(it.row.key); ordered {
			w.pass(key, i)
		}
		if it.timed {
			sub.dueAgain(it.row.dueAt())
		} else {
			sub.backlogAgain(it.place)
		}
		s.drop(sub, i)
	}
	if w := sub.window; w != nil && len(w.index) == 0 {
		sub.window = nil
	}
}

// backlogAgain says that there is a plain row at p that is not in memory.
func (sub *subscription) backlogAgain(p place) {
	if !sub.backlog || p.less(sub.backlogAt) {
		sub.backlogAt = p
	}
	sub.backlog = true
}

// dueAgain says that there is a timed row, due at due, that is not in memory.
func (sub *subscription) dueAgain(due int64) {
	if !sub.timed || due < sub.nextDue {
		sub.nextDue = due
	}
	sub.timed = true
}

// putRow writes an item's queue row.
func (sub *subscription) putRow(batch *pebble.Batch, it *item, kind rowKind) {
	it.row.kind = kind
	var key, value [64]byte
	_ = batch.Set(queueKey(key[:0], prefixQueue, sub.id, it.place), it.row.append(value[:0]), nil)
	if it.place.less(sub.oldestAt) {
		sub.oldestAt = it.place
	}
}

// count merges a change of sub's numbers into the batch that causes it.
func (sub *subscription) count(batch *pebble.Batch, change counts) {
	if change == (counts{}) {
		return
	}
	var key, value [32]byte
	_ = batch.Merge(idKey(key[:0], prefixCounts, uint32(sub.id)), change.append(value[:0]), nil)
	if sub.owner != nil {
		sub.owner.count(batch, counts{dead: change.dead})
	}
}

// commitFor commits rows of sub and then counts them; sub.mu is held.
func (s *Store) commitFor(sub *subscription, batch *pebble.Batch, change counts) error {
	if err := s.state.commit(batch); err != nil {
		return err
	}
	sub.counts = sub.counts.add(change)
	if sub.owner != nil {
		sub.owner.counts.dead += change.dead
	}
	s.records.Add(change.records)
	return nil
}

// depth is how many deliveries are not settled.
func (sub *subscription) depth() int64 {
	n := sub.counts.records
	if sub.window != nil {
		n += int64(sub.window.volatile)
	}
	return n
}

// claimable says whether a claim may bring something, now or later.
func (sub *subscription) claimable() bool {
	return !sub.paused && !sub.orphan && (sub.hasWork() || slices.ContainsFunc(sub.queues(), (*subscription).hasWork))
}

// hasWork says whether a claim of this queue may bring something.
func (sub *subscription) hasWork() bool {
	return sub.backlog || sub.timed || sub.window != nil && sub.window.waiting() > 0
}

// pausedFor is how long sub has been paused up to now, in total.
func (sub *subscription) pausedFor(now int64) int64 {
	sub = sub.shown()
	if sub.paused && now > sub.since {
		return sub.pauses + now - sub.since
	}
	return sub.pauses
}
