package embedded

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Order by key (and strict order, which is order by one key for all) works so:
//
// While nothing of a key fails its deliveries stay in memory: the first is
// claimed, those that are met after it are chained behind it.
//
// When the claimed one has to wait, or too many are chained, the key gets a
// line in the state: a row that names the head of the line, which is a timed
// row, and a parked row for each of the others. While a key has a line nothing
// of it is chained in memory; what comes later is parked at once, so that a
// claim never meets it again. When the head is settled the next one becomes
// the head. After a crash the heads come back by the index of due times alone.

// strictKey is the key of all deliveries of a strict subscription.
const strictKey = 1

// line says under which key a delivery is ordered, if it is.
func (sub *subscription) line(key uint64) (uint64, bool) {
	switch sub.order {
	case store.OrderKey:
		return key, key != 0
	case store.OrderStrict:
		return strictKey, true
	}
	return 0, false
}

// lineRow is the row of a line.
type lineRow struct {
	head place
	from place // no parked row of the line is before it
}

func (l lineRow) append(dst []byte) []byte { return l.from.append(l.head.append(dst)) }

// lineOf reads the line of a key, if it has one.
func (s *Store) lineOf(sub *subscription, key uint64) (l lineRow, ok bool, err error) {
	if sub.counts.blocked <= 0 {
		return l, false, nil
	}
	var buf [16]byte
	ok, err = s.state.get(blockedKey(buf[:0], sub.id, key), func(v []byte) error {
		if len(v) != 2*placeSize {
			return errBadRow
		}
		l.head, _ = parsePlace(v[:placeSize])
		l.from, _ = parsePlace(v[placeSize:])
		return nil
	})
	return l, ok, err
}

// beforeLine says whether a delivery comes before one in the line of its key.
func (s *Store) beforeLine(sub *subscription, key uint64, p place) (bool, error) {
	l, ok, err := s.lineOf(sub, key)
	if err != nil || !ok || p.less(l.head) {
		return ok, err
	}
	prefix := be64(idKey(nil, prefixParked, uint32(sub.id)), key)
	it, err := s.state.iter(queueParkedFrom(prefix, p), successor(prefix))
	if err != nil {
		return false, err
	}
	return it.First(), it.Close()
}

func (sub *subscription) putLine(batch *pebble.Batch, key uint64, l lineRow) {
	var k [16]byte
	var v [2 * placeSize]byte
	_ = batch.Set(blockedKey(k[:0], sub.id, key), l.append(v[:0]), nil)
}

// dueAt is the time under which a timed row stands.
func (q *queueRow) dueAt() int64 {
	if q.retryAt != 0 {
		return q.retryAt
	}
	return q.due
}

// putTimed writes an item's row as a timed one.
func (sub *subscription) putTimed(batch *pebble.Batch, it *item) {
	sub.putRow(batch, it, rowTimed)
	var key [64]byte
	_ = batch.Set(timedKey(key[:0], sub.id, it.row.dueAt(), it.place), nil, nil)
}

// deleteTimed removes an item's row from the index of due times, where it
// stands under at.
func (sub *subscription) deleteTimed(batch *pebble.Batch, at int64, p place) {
	var key [64]byte
	_ = batch.Delete(timedKey(key[:0], sub.id, at, p), nil)
}

// putParked writes an item's row as one that waits in a line.
func (sub *subscription) putParked(batch *pebble.Batch, key uint64, it *item) {
	sub.putRow(batch, it, rowParked)
	var k [64]byte
	_ = batch.Set(parkedKey(k[:0], sub.id, key, it.place), nil, nil)
}

// change is what a batch of one subscription will have done once it is
// committed.
type change struct {
	batch  *pebble.Batch
	counts counts
	out    []int32 // items that leave memory
	hold   []int32 // items that stay and have a row now
	due    []int64 // of timed rows that are not in memory
}

func (s *Store) newChange() *change { return &change{batch: s.state.db.NewBatch()} }

// row counts the row of an item that had none, once.
func (c *change) row(it *item) {
	if !it.durable && !it.counted {
		it.counted = true
		c.counts.records++
	}
}

// finish commits the change and follows it in memory; sub.mu is held.
func (s *Store) finish(sub *subscription, c *change) error {
	sub.count(c.batch, c.counts)
	if err := s.commitFor(sub, c.batch, c.counts); err != nil {
		return err
	}
	var seqs seqList
	w := sub.window
	for _, i := range c.hold {
		if it := &w.slab[i]; !it.durable {
			it.durable = true
			w.volatile--
			seqs.add(s, it.bus, it.seq)
		}
	}
	for _, i := range c.out {
		if it := &w.slab[i]; !it.durable {
			seqs.add(s, it.bus, it.seq)
		}
		s.drop(sub, i)
	}
	for _, due := range c.due {
		sub.dueAgain(due)
	}
	seqs.flush(s)
	return nil
}

// enterLine puts an item that is in memory, but not claimed, into the line of
// its key. If there is none yet, the delivery that holds the key becomes its
// head and what is chained behind that follows it.
func (s *Store) enterLine(sub *subscription, i int32, key uint64, c *change) error {
	l, ok, err := s.lineOf(sub, key)
	if err != nil {
		return err
	}
	w := sub.window
	if !ok {
		held, isHeld := w.held[key]
		if !isHeld {
			l = s.newLine(sub, i, key, c)
			c.out = append(c.out, i)
			c.due = append(c.due, w.slab[i].row.dueAt())
			return nil
		}
		l = s.newLine(sub, held.head, key, c)
		c.hold = append(c.hold, held.head)
		s.parkChain(sub, key, &l, c)
	}
	return s.joinLine(sub, i, key, l, c)
}

// newLine starts a line with an item as its head.
func (s *Store) newLine(sub *subscription, i int32, key uint64, c *change) lineRow {
	it := &sub.window.slab[i]
	c.row(it)
	if it.timed {
		sub.putRow(c.batch, it, rowTimed)
	} else {
		sub.putTimed(c.batch, it)
		it.timed = true
	}
	l := lineRow{head: it.place, from: it.place}
	sub.putLine(c.batch, key, l)
	c.counts.blocked++
	if held, ok := sub.window.held[key]; ok {
		held.line = true
		sub.window.held[key] = held
	}
	return l
}

// parkChain parks what is chained behind the holder of key.
func (s *Store) parkChain(sub *subscription, key uint64, l *lineRow, c *change) {
	w := sub.window
	held, ok := w.held[key]
	if !ok {
		return
	}
	for i := held.first; i >= 0; {
		it := &w.slab[i]
		next := it.next
		s.park(sub, i, key, l, c)
		w.parked--
		i = next
	}
	held.first, held.last = -1, -1
	w.held[key] = held
}

// park parks one item.
func (s *Store) park(sub *subscription, i int32, key uint64, l *lineRow, c *change) {
	it := &sub.window.slab[i]
	c.row(it)
	if it.timed {
		sub.deleteTimed(c.batch, it.row.dueAt(), it.place)
		it.timed = false
	}
	sub.putParked(c.batch, key, it)
	if it.place.less(l.from) {
		l.from = it.place
		sub.putLine(c.batch, key, *l)
	}
	c.out = append(c.out, i)
}

// joinLine parks an item in a line, or makes it the head if it is before the
// present one. A head that is claimed stays so: it is parked if it comes back.
func (s *Store) joinLine(sub *subscription, i int32, key uint64, l lineRow, c *change) error {
	w := sub.window
	it := &w.slab[i]
	if !it.place.less(l.head) {
		s.park(sub, i, key, &l, c)
		return nil
	}
	from := l.from
	if j, loaded := w.index[l.head]; !loaded {
		row, ok, err := s.queueRow(sub, l.head)
		if err != nil {
			return err
		}
		if ok {
			head := item{place: l.head, row: row}
			sub.deleteTimed(c.batch, row.dueAt(), l.head)
			sub.putParked(c.batch, key, &head)
		}
	} else if w.slab[j].state < itemFlying {
		w.unqueue(j)
		w.pass(key, j)
		s.park(sub, j, key, &l, c)
	}
	if it.place.less(from) {
		from = it.place
	}
	sub.putLine(c.batch, key, lineRow{head: it.place, from: from})
	c.row(it)
	if !it.timed {
		sub.putTimed(c.batch, it)
		it.timed = true
	}
	c.out = append(c.out, i)
	c.due = append(c.due, it.row.dueAt())
	return nil
}

func (s *Store) queueRow(sub *subscription, p place) (row queueRow, ok bool, err error) {
	var key [64]byte
	ok, err = s.state.get(queueKey(key[:0], prefixQueue, sub.id, p), func(v []byte) (err error) {
		row, err = parseQueueRow(v)
		return err
	})
	return row, ok, err
}

// leaveLine makes the next of a line its head when the settled one was that:
// the first that is parked, or one before it that is claimed already.
func (s *Store) leaveLine(sub *subscription, p place, key uint64, c *change) error {
	l, ok, err := s.lineOf(sub, key)
	if err != nil || !ok || l.head != p {
		return err
	}
	prefix := be64(idKey(nil, prefixParked, uint32(sub.id)), key)
	it, err := s.state.iter(queueParkedFrom(prefix, l.from), successor(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	claimed, isClaimed := sub.firstClaimed(key, p)
	for ok := it.First(); ok; ok = it.Next() {
		next, fine := parsePlace(it.Key()[len(prefix):])
		if !fine {
			return errBadRow
		}
		if isClaimed && claimed.less(next) {
			sub.putLine(c.batch, key, lineRow{head: claimed, from: next})
			return nil
		}
		_ = c.batch.Delete(it.Key(), nil)
		row, there, err := s.queueRow(sub, next)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		head := item{place: next, row: row}
		sub.putTimed(c.batch, &head)
		sub.putLine(c.batch, key, lineRow{head: next, from: next})
		c.due = append(c.due, row.dueAt())
		return nil
	}
	if isClaimed {
		sub.putLine(c.batch, key, lineRow{head: claimed, from: claimed})
		return it.Error()
	}
	var b [16]byte
	_ = c.batch.Delete(blockedKey(b[:0], sub.id, key), nil)
	c.counts.blocked--
	return it.Error()
}

func queueParkedFrom(prefix []byte, from place) []byte {
	return from.append(slices.Clone(prefix))
}

// firstClaimed finds the first claimed delivery of a key but one.
func (sub *subscription) firstClaimed(key uint64, but place) (first place, ok bool) {
	w := sub.window
	if w == nil || w.flying < 2 {
		return first, false
	}
	for i := range w.slab {
		it := &w.slab[i]
		if it.state < itemFlying || it.place == but || ok && !it.place.less(first) {
			continue
		}
		if k, ordered := sub.line(it.row.key); ordered && k == key {
			first, ok = it.place, true
		}
	}
	return first, ok
}

// hold notes that an item is the one of its key that may be claimed; line says
// that the key has a line.
func (w *window) hold(key uint64, i int32, line bool) {
	if w.held == nil {
		w.held = map[uint64]chain{}
	}
	if c, ok := w.held[key]; ok {
		c.line = c.line || line
		w.held[key] = c
		return
	}
	w.held[key] = chain{head: i, first: -1, last: -1, line: line}
}

// chain adds an item to those that wait behind the holder of its key.
func (w *window) chain(c chain, key uint64, i int32) {
	w.slab[i].state, w.slab[i].behind = itemChained, true
	w.slab[i].next = -1
	if c.last >= 0 {
		w.slab[c.last].next = i
	} else {
		c.first = i
	}
	c.last = i
	w.held[key] = c
	w.parked++
}

// pass lets go of a key that item i holds; the next of its chain is ready then.
// It says whether there was one.
func (w *window) pass(key uint64, i int32) bool {
	c, ok := w.held[key]
	if !ok || c.head != i {
		return false
	}
	if c.first < 0 {
		delete(w.held, key)
		return false
	}
	c.head = c.first
	next := &w.slab[c.head]
	c.first, next.next = next.next, -1
	if c.first < 0 {
		c.last = -1
	}
	next.state = itemReady
	w.parked--
	w.held[key] = c
	w.ready.push(w.slab, c.head)
	return true
}

// unqueue takes an item that may be claimed out of where it waits for that.
func (w *window) unqueue(i int32) {
	switch w.slab[i].state {
	case itemDue:
		w.due.items = slices.DeleteFunc(w.due.items[w.due.head:], func(j int32) bool { return i == j })
		w.due.head = 0
	case itemReady:
		items := w.ready.items
		w.ready.items = nil
		for _, j := range items {
			if j != i {
				w.ready.push(w.slab, j)
			}
		}
	case itemWaiting:
		w.fifo.items = slices.DeleteFunc(w.fifo.items[w.fifo.head:], func(j int32) bool { return i == j })
		w.fifo.head = 0
	}
}
