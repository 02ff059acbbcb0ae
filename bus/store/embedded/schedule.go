package embedded

import (
	"cmp"
	stdheap "container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// schedule is what is in memory of the events that wait for their time: those
// that are due soon, so that recording one in time needs no look into the
// state, and those that are being recorded.
//
// Every event whose row is in the state and before next is held. What comes
// after next is read from the state ahead of its time, in small steps, by the
// preloader; a step holds applyMu, so that rows do not change meanwhile.
type schedule struct {
	count  atomic.Int64
	named  bool          // the state has the names and the number of what waits; a start sees to that
	wake   chan struct{} // something may be due sooner than was thought
	load   chan struct{} // something may be near that is not held
	urgent atomic.Bool   // something is due so soon that the applier would be late

	mu     sync.Mutex
	next   schedPlace
	held   map[uint64]*nearEvent // by schedule id: near ones, and those whose rows go when they are recorded
	near   nearHeap
	bytes  int          // of the events in near
	flight []*nearEvent // taken off near, and not known to be durable
}

// schedPlace orders scheduled events: by time, then as they came.
type schedPlace struct {
	due int64
	id  uint64
}

func (p schedPlace) less(o schedPlace) bool { return p.compare(o) < 0 }

func (p schedPlace) compare(o schedPlace) int {
	return cmp.Or(cmp.Compare(p.due, o.due), cmp.Compare(p.id, o.id))
}

// nearEvent is an event that is due soon, or being recorded.
type nearEvent struct {
	schedPlace
	entry    store.Entry
	accepted int64
	taken    bool // to be recorded; not in near any more
	gone     bool // cancelled; it is passed over
}

// nearHeap has the first one on top.
type nearHeap []*nearEvent

func (h nearHeap) Len() int           { return len(h) }
func (h nearHeap) Less(i, j int) bool { return h[i].less(h[j].schedPlace) }
func (h nearHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *nearHeap) Push(x any)        { *h = append(*h, x.(*nearEvent)) }
func (h *nearHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

const (
	// nearAhead is how long before its time an event is held, unless nearBytes
	// are held already.
	nearAhead = 2 * time.Second
	nearBytes = 16 << 20
	// loadRows bounds the rows of one step of the preloader.
	loadRows = 256
	// fireBatch and fireBytes bound the events that are recorded together.
	fireBatch = 1024
	fireBytes = 1 << 20
	// firePause is how long after one write of due events the next begins at
	// the soonest. Each costs a sync, so that many events a second would
	// otherwise keep the disk and a core busy with writes of a few each.
	firePause = 2 * time.Millisecond
	// schedulePoll is how long the scheduler trusts that the clock runs evenly.
	schedulePoll = time.Second
	// scheduleUrgent is how soon an event must be due for its row to be written
	// at once.
	scheduleUrgent = applyDelay + 30*time.Millisecond
)

func (sc *schedule) init() {
	sc.wake, sc.load = make(chan struct{}, 1), make(chan struct{}, 1)
	sc.next, sc.held = schedPlace{due: forever}, map[uint64]*nearEvent{}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// first is when the first event is due, or before; sc.mu is held.
func (sc *schedule) first() int64 {
	if len(sc.near) > 0 {
		return min(sc.near[0].due, sc.next.due)
	}
	return sc.next.due
}

// hold puts an event near; sc.mu is held.
func (sc *schedule) hold(e *nearEvent) {
	if _, ok := sc.held[e.id]; ok {
		return
	}
	sc.held[e.id] = e
	sc.push(e)
}

func (sc *schedule) push(e *nearEvent) {
	stdheap.Push(&sc.near, e)
	sc.bytes += e.entry.Event.Size()
}

// take takes the events that are due off near, in order and about limit bytes
// of them at most.
func (sc *schedule) take(now int64, limit int) (batch []*nearEvent) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	size := payloadHeader
	for len(sc.near) > 0 && len(batch) < fireBatch {
		e := sc.near[0]
		if e.due > now || !e.less(sc.next) {
			break
		}
		if size += encodedSize(&e.entry); size > limit && len(batch) > 0 && !e.gone {
			break
		}
		stdheap.Pop(&sc.near)
		sc.bytes -= e.entry.Event.Size()
		if e.gone {
			continue
		}
		e.taken = true
		batch = append(batch, e)
	}
	if len(sc.near) == 0 {
		sc.near = nil
	}
	sc.flight = batch
	return batch
}

// landed says that what was taken is durable.
func (sc *schedule) landed() {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.flight = nil
}

// putBack puts events near again that could not be recorded.
func (sc *schedule) putBack(batch []*nearEvent) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, e := range batch {
		e.taken = false
		sc.push(e)
	}
	sc.flight = nil
}

// alone reports whether the rows up to the last of some events that were
// recorded are those of these events, and of no other that waits. They are in
// order; s.applyMu is held.
func (sc *schedule) alone(recorded []waiting) bool {
	last := recorded[len(recorded)-1]
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if !last.less(sc.next) || len(sc.near) > 0 && !last.less(sc.near[0].schedPlace) {
		return false
	}
	for _, e := range sc.flight {
		if last.less(e.schedPlace) {
			continue
		}
		if _, ok := slices.BinarySearchFunc(recorded, e.schedPlace, func(w waiting, at schedPlace) int { return w.compare(at) }); !ok {
			return false
		}
	}
	return true
}

// drop lets go of an event without its row, whose bus is being dropped.
func (sc *schedule) drop(id uint64) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	delete(sc.held, id)
}

// again lets everything be looked for in the state again.
func (sc *schedule) again() {
	sc.mu.Lock()
	sc.next = schedPlace{}
	sc.mu.Unlock()
	poke(sc.wake)
}

// scheduleApplied takes note of what became rows, and of rows that went;
// s.applyMu is held.
func (s *Store) scheduleApplied(notes []schedNote) {
	if len(notes) == 0 {
		return
	}
	sc, soon := &s.schedule, s.clock.now().wall+int64(nearAhead)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	first, next := sc.first(), sc.next
	for i := range notes {
		n := &notes[i]
		at := n.schedPlace
		switch {
		case n.raw == nil:
			if e := sc.held[n.id]; e != nil {
				e.gone = true // still near after a start, when the log had both
				delete(sc.held, n.id)
			}
		case !at.less(sc.next):
		default:
			if n.due < soon && sc.bytes < nearBytes {
				if entry, accepted, err := decodeScheduled(n.raw); err == nil {
					sc.hold(&nearEvent{schedPlace: at, entry: entry, accepted: accepted})
					continue
				}
			}
			sc.next = at
		}
	}
	if sc.first() < first {
		poke(sc.wake)
	}
	if sc.next != next {
		poke(sc.load)
	}
}

// scheduler records scheduled events when they are due.
func (s *Store) scheduler() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var rested time.Time // when the pause after the last write is over
	for {
		select {
		case <-s.halt:
			return
		case <-s.schedule.wake:
		case <-timer.C:
		}
		if pause := time.Until(rested); pause > 0 {
			timer.Reset(pause)
			continue
		}
		var err error
		if s.schedule.urgent.Swap(false) {
			err = s.applyPending()
		}
		if err == nil {
			began := time.Now()
			var some bool
			if some, err = s.fire(); some {
				rested = began.Add(firePause)
			}
		}
		wait := schedulePoll
		if err != nil && !s.closing.Load() {
			s.opts.Logger.Error("recording scheduled events failed; they are tried again", "error", err)
		} else if due := s.schedule.due(); due != forever {
			wait = min(wait, time.Duration(max(due-s.clock.now().wall, 0)))
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

func (sc *schedule) due() int64 {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.first()
}

// fireDue records the scheduled events whose time has come, in order of it,
// with those that only the log knows so far.
func (s *Store) fireDue() error {
	if err := s.applyPending(); err != nil {
		return err
	}
	if _, err := s.fire(); err != nil {
		return err
	}
	return s.applyPending()
}

// fire records the events whose time has come. A frame that records one names
// its schedule id, so that after a crash the row goes with it: none is lost and
// none is doubled. some says whether there were any.
func (s *Store) fire() (some bool, err error) {
	s.fireMu.Lock()
	defer s.fireMu.Unlock()
	sc := &s.schedule
	now := s.clock.now().wall // what falls due meanwhile goes together the next time
	for {
		if batch := sc.take(now, min(fireBytes, s.log.MaxPayload())); len(batch) > 0 {
			some = true
			s.state.pace.spread()
			if err := s.record(batch); err != nil {
				return some, err
			}
			continue
		}
		sc.mu.Lock()
		missing := sc.next.due <= now
		sc.mu.Unlock()
		if !missing {
			poke(sc.load)
			return some, nil
		}
		if err := s.loadNear(now+int64(nearAhead), true); err != nil {
			return some, err
		}
	}
}

// record appends events that are due to the log.
func (s *Store) record(batch []*nearEvent) error {
	entries, marks := make([]store.Entry, 0, len(batch)), make([]fired, 0, len(batch))
	kept := make([]*nearEvent, 0, len(batch))
	for _, e := range batch {
		if _, err := s.bus(e.entry.Bus); err != nil {
			s.schedule.drop(e.id) // its rows are going
			continue
		}
		kept = append(kept, e)
		entries = append(entries, e.entry)
		marks = append(marks, fired{id: e.id, due: e.due, accepted: e.accepted})
	}
	if len(kept) > 0 {
		if _, err := s.append(context.Background(), entries, marks, 0); err != nil {
			s.schedule.putBack(kept)
			return err
		}
	}
	s.schedule.landed()
	return nil
}

// preloader holds events ahead of their time.
func (s *Store) preloader() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	sc := &s.schedule
	for {
		select {
		case <-s.halt:
			return
		case <-sc.load:
		case <-timer.C:
		}
		// It begins when half of what may be held is, so that steps are not small.
		for ahead, most := nearAhead/2, nearBytes/2; !s.closing.Load(); ahead, most = nearAhead, nearBytes {
			now := s.clock.now().wall
			sc.mu.Lock()
			due, full := sc.next.due, sc.bytes >= most
			sc.mu.Unlock()
			if full || due >= now+int64(ahead) {
				break
			}
			if err := s.loadNear(now+int64(nearAhead), false); err != nil {
				if !s.closing.Load() {
					s.opts.Logger.Error("reading scheduled events failed; they are tried again", "error", err)
				}
				break
			}
		}
		timer.Reset(nearAhead / 8)
	}
}

// loadNear holds the next events that are due before a time, unless much is
// held already; forced, it holds some in any case.
func (s *Store) loadNear(until int64, forced bool) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	sc := &s.schedule
	sc.mu.Lock()
	from, room := sc.next, nearBytes-sc.bytes
	sc.mu.Unlock()
	if forced {
		room = max(room, fireBytes)
	}
	next := schedPlace{due: forever}
	var found []*nearEvent
	rows := 0
	err := s.state.scan(schedKey(nil, max(from.due, 0), from.id, 0), []byte{prefixSched + 1}, func(key, value []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		at := schedPlace{k.i64(), k.u64()}
		if at.due >= until || rows >= loadRows || room <= 0 {
			next = at
			return false, k.err()
		}
		rows++
		sc.mu.Lock()
		_, held := sc.held[at.id]
		sc.mu.Unlock()
		if held {
			return true, nil
		}
		entry, accepted, err := decodeScheduled(slices.Clone(value))
		if err != nil {
			return false, err
		}
		room -= entry.Event.Size()
		found = append(found, &nearEvent{schedPlace: at, entry: entry, accepted: accepted})
		return true, nil
	})
	if err != nil {
		return err
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	first := sc.first()
	for _, e := range found {
		sc.hold(e)
	}
	if sc.next = next; sc.first() < first {
		poke(sc.wake)
	}
	return nil
}

// decodeScheduled reads a schedule row, which the event aliases.
func decodeScheduled(value []byte) (e store.Entry, accepted int64, err error) {
	es := entries{rest: value, count: 1}
	var raw entry
	if ok, err := es.next(&raw); err != nil || !ok || !raw.hasDue() {
		return e, 0, errBadRow
	}
	ev, err := event.Decode(raw.event)
	if err != nil {
		return e, 0, err
	}
	return store.Entry{
		Bus: raw.bus, Event: ev, Via: string(raw.via), Hops: raw.hops(),
		Dedupe: raw.key(), Window: raw.window(), Due: fromNanos(raw.due()),
	}, raw.accepted(), nil
}
