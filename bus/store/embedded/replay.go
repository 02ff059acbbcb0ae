package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// OpenReplay implements store.Replays.
func (s *Store) OpenReplay(ctx context.Context, opts store.ReplayOptions) (uint32, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	b, err := s.bus(opts.Bus)
	if err != nil {
		return 0, err
	}
	s.openMu.Lock()
	defer s.openMu.Unlock()
	run, last := s.lastRun+1, s.lastSub
	batch := s.state.db.NewBatch()
	var lanes []*lane
	for _, id := range slices.Compact(slices.Sorted(slices.Values(opts.Subscriptions))) {
		owner, err := s.lockSub(id)
		if err != nil {
			return 0, errors.Join(err, batch.Close())
		}
		last++
		l := &lane{run: run, owner: owner, queue: owner.newQueue(last), bus: b.id, after: opts.After, position: opts.After, to: opts.To}
		owner.mu.Unlock()
		l.put(batch)
		lanes = append(lanes, l)
	}
	_ = batch.Set(metaKey("replay"), be32(nil, run), nil)
	_ = batch.Set(metaKey("sub"), be32(nil, uint32(last)), nil)
	if err := s.state.commitSynced(batch); err != nil {
		return 0, err
	}
	s.lastRun, s.lastSub = run, last
	for _, l := range lanes {
		l.owner.mu.Lock()
		l.queue.order = l.owner.order
		if !l.owner.gone {
			s.link(l)
		}
		l.owner.mu.Unlock()
	}
	return run, nil
}

// lanesOf lists the lanes of a replay in order of subscription.
func (s *Store) lanesOf(run uint32) []*lane {
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	return s.lanes[run]
}

// Replay implements store.Replays.
func (s *Store) Replay(run uint32) ([]store.ReplayPart, error) {
	if err := s.enter(context.Background()); err != nil {
		return nil, err
	}
	defer s.leave()
	lanes := s.lanesOf(run)
	if len(lanes) == 0 {
		return nil, fmt.Errorf("replay %d: %w", run, store.ErrNotFound)
	}
	parts := make([]store.ReplayPart, 0, len(lanes))
	for _, l := range lanes {
		l.owner.mu.Lock()
		p := store.ReplayPart{
			Subscription: l.owner.id, Bus: l.bus, After: l.after, Position: l.position, To: l.to, Queued: l.queued,
			Seek: l.queue == l.owner,
		}
		if !p.Seek {
			p.Depth, p.Dead = l.queue.depth(), l.queue.counts.dead
		}
		l.owner.mu.Unlock()
		parts = append(parts, p)
	}
	return parts, nil
}

// Replays implements store.Replays.
func (s *Store) Replays() []uint32 {
	if s.enter(context.Background()) != nil {
		return nil
	}
	defer s.leave()
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	var runs []uint32
	for run := range s.lanes {
		runs = append(runs, run)
	}
	slices.Sort(runs)
	return runs
}

// EnqueueReplay implements store.Replays.
func (s *Store) EnqueueReplay(ctx context.Context, run uint32, position uint64, subs []store.SubscriptionID, events []store.RoutedEvent) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	r, _ := s.routings.Get().(*routing)
	if r == nil {
		r = &routing{}
	}
	defer s.routings.Put(r)
	r.refs = r.refs[:0]
	for i := range events {
		for _, m := range events[i].Matches {
			r.refs = append(r.refs, ref{m.Subscription, int32(i), m.Key})
		}
	}
	slices.SortFunc(r.refs, func(x, y ref) int { return cmp.Or(cmp.Compare(x.sub, y.sub), cmp.Compare(x.at, y.at)) })
	now := s.clock.now().steady
	lanes := s.lanesOf(run)
	for _, id := range subs {
		i, ok := slices.BinarySearchFunc(lanes, id, func(l *lane, id store.SubscriptionID) int { return cmp.Compare(l.owner.id, id) })
		if !ok {
			continue
		}
		from, _ := slices.BinarySearchFunc(r.refs, id, func(f ref, id store.SubscriptionID) int { return cmp.Compare(f.sub, id) })
		to := from
		for to < len(r.refs) && r.refs[to].sub == id {
			to++
		}
		if err := s.enqueueLane(lanes[i], position, r.refs[from:to], events, now); err != nil {
			return err
		}
	}
	return nil
}

// enqueueLane queues what a lane's subscription matched and moves the lane, in
// one write.
func (s *Store) enqueueLane(l *lane, position uint64, refs []ref, events []store.RoutedEvent, now int64) error {
	sub, q := l.owner, l.queue
	sub.mu.Lock()
	if sub.gone || !slices.Contains(sub.lanes, l) || position <= l.position {
		sub.mu.Unlock()
		return nil
	}
	c := s.newChange()
	pauses := sub.pausedFor(now)
	items := make([]item, 0, len(refs))
	for _, f := range refs {
		rec := &events[f.at].Record
		if rec.Sequence <= l.position || rec.Sequence > position {
			continue
		}
		it := item{
			place:    place{bus: l.bus, seq: rec.Sequence, run: l.run},
			row:      queueRow{key: f.key, queued: now, due: now, paused: pauses, trigger: store.TriggerReplay},
			recorded: nanos(rec.Recorded), event: rec.Event, via: rec.Via, hops: rec.Hops,
			state: itemWaiting, durable: true,
		}
		if err := s.staysOwed(sub.id, it.place, rec); err != nil {
			sub.mu.Unlock()
			return errors.Join(err, c.batch.Close())
		}
		q.putRow(c.batch, &it, rowPlain)
		items = append(items, it)
	}
	c.counts.records = int64(len(items))
	moved := *l
	moved.position, moved.queued = position, l.queued+c.counts.records
	done := q == sub && position >= l.to
	if !done {
		moved.put(c.batch)
	} else {
		_ = c.batch.Delete(l.key(), nil)
	}
	err := s.finish(q, c)
	if err == nil {
		before := l.position
		l.position, l.queued = moved.position, moved.queued
		s.show(l, before, items)
		if done {
			s.unlinkLane(l, nil)
		}
	}
	ready := sub.claimable()
	sub.mu.Unlock()
	if ready {
		s.ready(sub)
	}
	return err
}

// show takes what was queued into memory, as far as there is room, or notes
// that there are rows. before is where the lane was.
func (s *Store) show(l *lane, before uint64, items []item) {
	q := l.queue
	if q == l.owner {
		q.backlogAgain(place{bus: l.bus, seq: before + 1}) // live ones may have waited for this
		return
	}
	room := s.room(q)
	for i := range items {
		if q.backlog || room <= 0 {
			q.backlogAgain(items[i].place)
			return
		}
		i := s.load(q, items[i])
		q.window.fifo.push(i)
		room--
	}
}

// DropReplay implements store.Replays.
func (s *Store) DropReplay(ctx context.Context, run uint32, subs []store.SubscriptionID) (dropped int64, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	for _, l := range s.lanesOf(run) {
		if len(subs) > 0 && !slices.Contains(subs, l.owner.id) {
			continue
		}
		n, err := s.dropOne(l)
		if err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, s.state.flush()
}

func (s *Store) dropOne(l *lane) (dropped int64, err error) {
	sub := l.owner
	sub.mu.Lock()
	if sub.gone || !slices.Contains(sub.lanes, l) {
		sub.mu.Unlock()
		return 0, nil
	}
	batch := s.state.db.NewBatch()
	if dropped, err = s.dropLane(l, batch); err != nil {
		sub.mu.Unlock()
		return 0, errors.Join(err, batch.Close())
	}
	err = s.state.commit(batch)
	ready := sub.claimable()
	sub.mu.Unlock()
	if ready {
		s.ready(sub)
	}
	return dropped, err
}
