package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// row is the subscription's row; sub.mu is held.
func (sub *subscription) row() []byte {
	flags := byte(0)
	if sub.paused {
		flags |= 1
	}
	if sub.orphan {
		flags |= 2
	}
	b := append(be64(be32(appendText(nil, sub.name), uint32(sub.bus)), sub.from), byte(sub.order), flags)
	b = appendText(b, sub.reason)
	return be64(be64(b, uint64(sub.since)), uint64(sub.pauses))
}

// parse fills in what a row says.
func (sub *subscription) parse(id store.SubscriptionID, v []byte) error {
	r := rowReader{rest: v}
	sub.id, sub.name, sub.bus, sub.from = id, r.text(), store.BusID(r.u32()), r.u64()
	sub.order = store.Order(r.u8())
	flags := r.u8()
	sub.paused, sub.orphan = flags&1 != 0, flags&2 != 0
	sub.reason, sub.since, sub.pauses = r.text(), r.i64(), r.i64()
	return r.err()
}

// subsTogether is how many subscriptions are in one piece of memory, 32 KiB, which
// the garbage collector goes to once: there may be 100,000, and most do nothing.
// One of them keeps the others from being freed, but these are few.
const subsTogether = 32 << 10 / int(unsafe.Sizeof(subscription{}))

// newSub is room for a subscription. A caller holds openMu, or has the store to
// itself.
func (s *Store) newSub() *subscription {
	if len(s.subRoom) == 0 {
		s.subRoom = make([]subscription, subsTogether)
	}
	sub := &s.subRoom[0]
	s.subRoom = s.subRoom[1:]
	return sub
}

func (s *Store) sub(id store.SubscriptionID) *subscription {
	return s.subs.get(uint32(id))
}

func (s *Store) addSub(sub *subscription) {
	s.subs.set(uint32(sub.id), sub)
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	s.bySub[sub.name] = sub
}

// lockSub finds a subscription and locks it.
func (s *Store) lockSub(id store.SubscriptionID) (*subscription, error) {
	sub := s.sub(id)
	if sub != nil {
		sub.mu.Lock()
		if !sub.gone {
			return sub, nil
		}
		sub.mu.Unlock()
	}
	return nil, fmt.Errorf("subscription %d: %w", id, store.ErrNotFound)
}

func (s *Store) allSubs() []*subscription {
	return s.subs.all()
}

// OpenSubscriptions implements store.Queue. One sync is enough for all.
func (s *Store) OpenSubscriptions(ctx context.Context, all []store.SubscriptionOptions) ([]store.SubscriptionInfo, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	infos := make([]store.SubscriptionInfo, 0, len(all))
	var ready []*subscription
	for _, opts := range all {
		info, sub, err := s.openSubscription(opts)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("open subscription %q: %w", opts.Name, err)
		}
		infos = append(infos, info)
		if sub != nil {
			ready = append(ready, sub)
		}
	}
	if err := s.state.flush(); err != nil {
		return nil, fmt.Errorf("open subscriptions: %w", err)
	}
	for _, sub := range ready {
		s.ready(sub)
	}
	return infos, nil
}

func (s *Store) openSubscription(opts store.SubscriptionOptions) (info store.SubscriptionInfo, ready *subscription, err error) {
	b, err := s.bus(opts.Bus)
	if err != nil {
		return info, nil, err
	}
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.tableMu.RLock()
	sub := s.bySub[opts.Name]
	s.tableMu.RUnlock()
	if sub == nil {
		batch := s.state.db.NewBatch()
		sub = s.newSub()
		sub.id, sub.name, sub.bus, sub.order, sub.from = s.lastSub+1, opts.Name, opts.Bus, opts.Order, b.bounds().Last
		_ = batch.Set(metaKey("sub"), be32(nil, uint32(sub.id)), nil)
		_ = batch.Set(idKey(nil, prefixSub, uint32(sub.id)), sub.row(), nil)
		if err := s.state.commit(batch); err != nil {
			return info, nil, err
		}
		s.lastSub = sub.id
		s.addSub(sub)
		return s.infoOf(sub), nil, nil
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.bus == opts.Bus && sub.order == opts.Order && !sub.orphan { // which at a start are nearly all, and may be many
		if sub.claimable() {
			ready = sub
		}
		return s.info(sub), ready, nil
	}
	if sub.bus != opts.Bus {
		sub.from = b.bounds().Last
	}
	reorder := sub.order != opts.Order
	sub.bus, sub.orphan = opts.Bus, false
	batch := s.state.db.NewBatch()
	if reorder {
		if err := s.reorder(sub, opts.Order); err != nil {
			_ = batch.Close()
			return info, nil, err
		}
		for _, q := range sub.queues() {
			if err := s.reorder(q, opts.Order); err != nil {
				_ = batch.Close()
				return info, nil, err
			}
		}
	}
	_ = batch.Set(idKey(nil, prefixSub, uint32(sub.id)), sub.row(), nil)
	if err := s.state.commit(batch); err != nil {
		return info, nil, err
	}
	if sub.claimable() {
		ready = sub
	}
	return s.info(sub), ready, nil
}

// reorder brings the queue of sub under another order: everything leaves
// memory that is not claimed, and what waits outside of its place is put in
// line again. sub.mu is held.
func (s *Store) reorder(sub *subscription, order store.Order) error {
	if err := s.toRows(sub); err != nil {
		return err
	}
	if w := sub.window; w != nil {
		w.held = nil
	}
	sub.order = order
	if sub.counts.records == 0 && sub.counts.blocked == 0 {
		return nil
	}
	// Forget the old lines.
	c := s.newChange()
	for _, prefix := range []byte{prefixBlocked, prefixParked} {
		key := idKey(nil, prefix, uint32(sub.id))
		_ = c.batch.DeleteRange(key, successor(key), nil)
	}
	c.counts.blocked = -sub.counts.blocked
	if err := s.finish(sub, c); err != nil {
		return err
	}
	if w := sub.window; w != nil {
		for i := range w.slab {
			if it := &w.slab[i]; it.state >= itemFlying {
				if key, ordered := sub.line(it.row.key); ordered {
					w.hold(key, int32(i), false)
				}
			}
		}
	}
	prefix := idKey(nil, prefixQueue, uint32(sub.id))
	var places []place
	err := s.state.scanPrefix(prefix, func(key, value []byte) (bool, error) {
		p, ok := parsePlace(key[5:])
		row, err := parseQueueRow(value)
		if err != nil || !ok {
			return false, errBadRow
		}
		if row.kind != rowPlain {
			places = append(places, p)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, p := range places {
		if w := sub.window; w != nil {
			if _, loaded := w.index[p]; loaded {
				continue
			}
		}
		row, ok, err := s.queueRow(sub, p)
		if err != nil {
			return err
		}
		if ok {
			if err := s.place(sub, item{place: p, row: row, durable: true, timed: row.kind == rowTimed}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// place puts a delivery that is not in memory where the order wants it: into
// the index of due times, or the line of its key. c may hold what belongs to
// the same step; sub.mu is held.
func (s *Store) place(sub *subscription, it item, c *change) error {
	if c == nil {
		c = s.newChange()
	}
	it.state = itemWaiting
	key, ordered := sub.line(it.row.key)
	i := s.load(sub, it)
	if ordered {
		if err := s.enterLine(sub, i, key, c); err != nil {
			_ = c.batch.Close()
			return err
		}
		return s.finish(sub, c)
	}
	sub.putTimed(c.batch, &sub.window.slab[i])
	c.out = append(c.out, i)
	c.due = append(c.due, it.row.dueAt())
	return s.finish(sub, c)
}

// toRows makes rows of everything that is in memory only, and drops what is
// not claimed.
func (s *Store) toRows(sub *subscription) error {
	w := sub.window
	if w == nil {
		return nil
	}
	c := s.newChange()
	for i := range w.slab {
		it := &w.slab[i]
		if it.state == itemFree {
			continue
		}
		if !it.durable {
			sub.putRow(c.batch, it, rowPlain)
			c.row(it)
			c.hold = append(c.hold, int32(i))
		}
		if it.state < itemFlying {
			if it.timed {
				c.due = append(c.due, it.row.dueAt())
			} else {
				sub.backlogAgain(it.place)
			}
			c.out = append(c.out, int32(i))
		}
	}
	w.fifo, w.due, w.ready.items, w.parked = deque{}, deque{}, nil, 0
	return s.finish(sub, c)
}

// OrphanSubscription implements store.Queue.
func (s *Store) OrphanSubscription(ctx context.Context, id store.SubscriptionID) error {
	return s.changeSub(ctx, id, func(sub *subscription, batch *pebble.Batch) (bool, error) {
		sub.orphan = true
		return false, nil
	})
}

// Pause implements store.Queue.
func (s *Store) Pause(ctx context.Context, id store.SubscriptionID, reason string) error {
	return s.changeSub(ctx, id, func(sub *subscription, _ *pebble.Batch) (bool, error) {
		if !sub.paused {
			sub.paused, sub.since = true, s.clock.now().steady
		}
		sub.reason = clip(reason, maxError)
		return false, nil
	})
}

// Resume implements store.Queue.
func (s *Store) Resume(ctx context.Context, id store.SubscriptionID) error {
	return s.changeSub(ctx, id, func(sub *subscription, _ *pebble.Batch) (bool, error) {
		if !sub.paused {
			return false, nil
		}
		sub.pauses = sub.pausedFor(s.clock.now().steady)
		sub.paused, sub.since, sub.reason = false, 0, ""
		return true, nil
	})
}

// changeSub changes a subscription durably, and removes it when it is an
// orphan that owes nothing.
func (s *Store) changeSub(ctx context.Context, id store.SubscriptionID, f func(*subscription, *pebble.Batch) (ready bool, err error)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	sub, err := s.lockSub(id)
	if err != nil {
		return err
	}
	batch := s.state.db.NewBatch()
	ready, err := f(sub, batch)
	if err != nil {
		sub.mu.Unlock()
		_ = batch.Close()
		return err
	}
	gone := s.writeSub(sub, batch)
	ready = ready && sub.claimable()
	err = s.state.commit(batch)
	sub.mu.Unlock()
	if gone {
		s.subs.set(uint32(sub.id), nil)
		s.tableMu.Lock()
		if s.bySub[sub.name] == sub {
			delete(s.bySub, sub.name)
		}
		s.tableMu.Unlock()
	}
	if err == nil {
		err = s.state.flush()
	}
	if ready {
		s.ready(sub)
	}
	return err
}

// writeSub writes the subscription's row, or removes it when it is an orphan
// that owes nothing; sub.mu is held.
func (s *Store) writeSub(sub *subscription, batch *pebble.Batch) (gone bool) {
	if !sub.orphan || sub.owes() > 0 || sub.counts.dead > 0 {
		_ = batch.Set(idKey(nil, prefixSub, uint32(sub.id)), sub.row(), nil)
		return false
	}
	sub.gone = true
	for _, l := range slices.Clone(sub.lanes) {
		s.unlinkLane(l, batch)
	}
	for _, prefix := range []byte{prefixSub, prefixCounts, prefixError} {
		_ = batch.Delete(idKey(nil, prefix, uint32(sub.id)), nil)
	}
	s.rememberSub(sub, batch)
	return true
}

// PurgeSubscription implements store.Queue. Claimed deliveries go too.
func (s *Store) PurgeSubscription(ctx context.Context, id store.SubscriptionID) error {
	return s.changeSub(ctx, id, func(sub *subscription, batch *pebble.Batch) (bool, error) {
		_, err := s.dropLanes(sub, batch)
		return false, errors.Join(err, s.purge(sub, batch))
	})
}

func (s *Store) purge(sub *subscription, batch *pebble.Batch) error {
	s.owedMu.Lock()
	defer s.owedMu.Unlock()
	c := &change{batch: s.state.db.NewBatch()}
	defer func() { c.batch = nil }()
	prefix := idKey(nil, prefixQueue, uint32(sub.id))
	now := s.clock.now()
	ended := part{t: s.trace}
	defer ended.end()
	step := 0
	err := s.state.scanPrefix(prefix, func(key, value []byte) (bool, error) {
		p, ok := parsePlace(key[5:])
		row, err := parseQueueRow(value)
		if err != nil || !ok {
			return false, errBadRow
		}
		if err := s.forgo(sub, c.batch, p, &row, now, &ended); err != nil {
			return false, err
		}
		if step++; step%1024 == 0 {
			if err := s.state.commit(c.batch); err != nil {
				return false, err
			}
			c.batch = s.state.db.NewBatch()
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := s.state.commit(c.batch); err != nil {
		return err
	}
	for _, prefix := range []byte{prefixQueue, prefixTimed, prefixBlocked, prefixParked} {
		key := idKey(nil, prefix, uint32(sub.id))
		_ = batch.DeleteRange(key, successor(key), nil)
	}
	change := counts{records: -sub.counts.records, blocked: -sub.counts.blocked}
	sub.count(batch, change)
	sub.counts = sub.counts.add(change)
	s.records.Add(change.records)
	sub.backlog, sub.timed, sub.nextDue, sub.backlogAt = false, false, 0, place{}
	w := sub.window
	if w == nil {
		return nil
	}
	var seqs seqList
	for i := range w.slab {
		it := &w.slab[i]
		if it.state == itemFree {
			continue
		}
		if !it.durable {
			seqs.add(s, it.bus, it.seq)
		}
		if it.event != nil {
			s.windowBytes.Add(-int64(it.event.Size()))
		}
		s.windowItems.Add(-1)
	}
	seqs.flush(s)
	sub.window = nil
	return nil
}

// Subscriptions implements store.Queue.
func (s *Store) Subscriptions() []store.SubscriptionInfo {
	if s.enter(context.Background()) != nil {
		return nil
	}
	defer s.leave()
	subs := s.allSubs()
	slices.SortFunc(subs, func(a, b *subscription) int { return strings.Compare(a.name, b.name) })
	infos := make([]store.SubscriptionInfo, len(subs))
	for i, sub := range subs {
		infos[i] = s.infoOf(sub)
	}
	return infos
}

// Subscription implements store.Queue.
func (s *Store) Subscription(id store.SubscriptionID) (store.SubscriptionInfo, error) {
	if err := s.enter(context.Background()); err != nil {
		return store.SubscriptionInfo{}, err
	}
	defer s.leave()
	sub, err := s.lockSub(id)
	if err != nil {
		return store.SubscriptionInfo{}, err
	}
	defer sub.mu.Unlock()
	return s.info(sub), nil
}

func (s *Store) infoOf(sub *subscription) store.SubscriptionInfo {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return s.info(sub)
}

// info describes sub; its mutex is held.
func (s *Store) info(sub *subscription) store.SubscriptionInfo {
	now := s.clock.now()
	info := store.SubscriptionInfo{
		ID: sub.id, Name: sub.name, Bus: sub.bus, From: sub.from,
		Orphaned: sub.orphan, Paused: sub.paused, Reason: sub.reason,
		Depth: sub.owes(), Dead: sub.counts.dead,
	}
	if sub.paused {
		info.Since = now.toWall(sub.since)
	}
	if e := sub.lastErr; e != nil {
		info.LastError, info.LastErrorTime = e.text, fromNanos(e.at)
	}
	oldest := int64(0)
	for _, q := range append(sub.queues(), sub) {
		if q.window != nil {
			info.InFlight += int64(q.window.flying)
		}
		if at := s.oldest(q); at != 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	if oldest != 0 {
		info.Oldest = now.toWall(oldest)
	}
	return info
}

// oldestRows is how many rows are looked at for the oldest delivery: rows are
// in order of sequence, and only redriven ones are due out of it.
const oldestRows = 64

// oldest is when the oldest unsettled delivery was first due, 0 if there is
// none.
func (s *Store) oldest(sub *subscription) int64 {
	oldest := int64(0)
	note := func(due int64) {
		if oldest == 0 || due < oldest {
			oldest = due
		}
	}
	if w := sub.window; w != nil {
		for i := range w.slab {
			if it := &w.slab[i]; it.state != itemFree {
				note(it.row.due)
			}
		}
	}
	if sub.counts.records == 0 {
		return oldest
	}
	n := 0
	_ = s.state.scan(queueKey(nil, prefixQueue, sub.id, sub.oldestAt), successor(idKey(nil, prefixQueue, uint32(sub.id))), func(key, value []byte) (bool, error) {
		if p, ok := parsePlace(key[5:]); ok && n == 0 {
			sub.oldestAt = p
		}
		if row, err := parseQueueRow(value); err == nil {
			note(row.due)
		}
		n++
		return n < oldestRows, nil
	})
	return oldest
}

// Longest texts that are kept.
const (
	maxError    = 1 << 10
	maxResponse = 4 << 10
	maxAddress  = 256
)

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}
