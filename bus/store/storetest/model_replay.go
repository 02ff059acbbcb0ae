package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelPart is a replay's part of one subscription, or what a seek queues.
type modelPart struct {
	store.ReplayPart
	run   uint32
	sub   *modelSub
	place uint64 // of the next delivery of a seek, which are before all others
}

// seekPlaces is how many places in the queue a seek keeps for what it queues.
const seekPlaces = 1 << 32

// OpenReplay implements store.Replays.
func (m *Model) OpenReplay(ctx context.Context, opts store.ReplayOptions) (uint32, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if _, err := m.bus(opts.Bus); err != nil {
		return 0, err
	}
	subs := slices.Compact(slices.Sorted(slices.Values(opts.Subscriptions)))
	for _, id := range subs {
		if m.state.subs[id] == nil {
			return 0, fmt.Errorf("subscription %d: %w", id, store.ErrNotFound)
		}
	}
	m.state.lastRun++
	for _, id := range subs {
		m.begin(m.state.subs[id], store.ReplayPart{Bus: opts.Bus, After: opts.After, To: opts.To})
	}
	return m.state.lastRun, nil
}

// begin begins a part of the newest run.
func (m *Model) begin(s *modelSub, part store.ReplayPart) {
	part.Subscription, part.Position = s.id, part.After
	p := &modelPart{ReplayPart: part, run: m.state.lastRun, sub: s}
	s.parts = append(s.parts, p)
	m.state.replays[p.run] = append(m.state.replays[p.run], p)
}

// Replay implements store.Replays.
func (m *Model) Replay(run uint32) ([]store.ReplayPart, error) {
	if err := m.enter(context.Background()); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if m.state.replays[run] == nil {
		return nil, fmt.Errorf("replay %d: %w", run, store.ErrNotFound)
	}
	var parts []store.ReplayPart
	for _, p := range m.state.replays[run] {
		part := p.ReplayPart
		for _, d := range p.sub.queue {
			if d.lane == p {
				part.Depth++
			}
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// Replays implements store.Replays.
func (m *Model) Replays() []uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.state.replays))
}

// EnqueueReplay implements store.Replays.
func (m *Model) EnqueueReplay(ctx context.Context, run uint32, position uint64, subs []store.SubscriptionID, events []store.RoutedEvent) error {
	var notes notices
	defer m.tell(&notes)
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, p := range slices.Clone(m.state.replays[run]) {
		if !slices.Contains(subs, p.Subscription) || position <= p.Position {
			continue
		}
		for _, e := range events {
			for _, match := range e.Matches {
				if seq := e.Record.Sequence; match.Subscription == p.Subscription && seq > p.Position && seq <= position {
					m.queueAgain(p, match.Key, e.Record)
				}
			}
		}
		p.Position = position
		if p.Seek && position >= p.To {
			m.endParts(p.sub, p)
		}
		notes.ready = append(notes.ready, p.Subscription)
	}
	return nil
}

// queueAgain queues one event for a part.
func (m *Model) queueAgain(p *modelPart, key uint64, r store.Record) {
	now, s := m.clock(), p.sub
	d := &modelDelivery{
		id:  store.DeliveryID{Subscription: s.id, Bus: p.Bus, Sequence: r.Sequence, Run: p.run},
		key: key, record: r, queued: now, due: now, trigger: store.TriggerReplay,
	}
	p.Queued++
	s.owed[d.id] = d
	at := place{p.Bus, r.Sequence}
	m.state.traces[at] = append(m.state.traces[at], d)
	if p.Seek {
		p.place++
		d.place = p.place
	} else {
		d.place, d.lane = m.nextPlace(), p
	}
	s.enqueueAgain(d)
}

// DropReplay implements store.Replays.
func (m *Model) DropReplay(ctx context.Context, run uint32, subs []store.SubscriptionID) (dropped int64, err error) {
	var notes notices
	defer m.tell(&notes)
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	for _, p := range slices.Clone(m.state.replays[run]) {
		if len(subs) == 0 || slices.Contains(subs, p.Subscription) {
			dropped += m.endParts(p.sub, p)
			notes.ready = append(notes.ready, p.Subscription)
		}
	}
	return dropped, nil
}

// endParts ends a part of s, or all of them without one, with what they owe.
func (m *Model) endParts(s *modelSub, part *modelPart) int64 {
	var over []*modelPart
	s.parts = slices.DeleteFunc(s.parts, func(p *modelPart) bool {
		end := part == nil || p == part
		if end {
			over = append(over, p)
		}
		return end
	})
	for _, p := range over {
		left := slices.DeleteFunc(m.state.replays[p.run], func(o *modelPart) bool { return o == p })
		if m.state.replays[p.run] = left; len(left) == 0 {
			delete(m.state.replays, p.run)
		}
	}
	return m.dropOwed(s, func(d *modelDelivery) bool { return d.lane != nil && slices.Contains(over, d.lane) })
}

// dropOwed drops queued deliveries of s.
func (m *Model) dropOwed(s *modelSub, drop func(*modelDelivery) bool) (n int64) {
	s.queue = slices.DeleteFunc(s.queue, func(d *modelDelivery) bool {
		if !drop(d) {
			return false
		}
		n++
		m.drop(s, d)
		return true
	})
	return n
}

// Seek implements store.Replays.
func (m *Model) Seek(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (r store.SeekResult, err error) {
	var notes notices
	defer m.tell(&notes)
	err = m.change(ctx, sub, func(s *modelSub) {
		next := opts.Routed + 1
		for _, d := range s.queue {
			if d.lane == nil && d.id.Bus == s.opts.Bus {
				next = min(next, d.id.Sequence)
			}
		}
		catchUp := s.catchUp()
		if catchUp != nil {
			next = min(next, catchUp.Position+1)
		}
		for _, p := range slices.Clone(s.parts) {
			if p != catchUp || opts.To < next || opts.To > p.To {
				r.Dropped += m.endParts(s, p)
			}
		}
		notes.ready = append(notes.ready, sub)
		if opts.To >= next {
			r.Dropped += m.dropOwed(s, func(d *modelDelivery) bool { return d.id.Bus != s.opts.Bus || d.id.Sequence < opts.To })
			if catchUp = s.catchUp(); catchUp != nil {
				catchUp.Position = max(catchUp.Position, opts.To-1)
			}
			s.from = max(s.from, opts.To-1)
		} else {
			r.Dropped += m.dropOwed(s, func(*modelDelivery) bool { return true })
			m.state.lastRun++
			r.Run, s.from = m.state.lastRun, opts.Routed
			m.begin(s, store.ReplayPart{Bus: s.opts.Bus, After: opts.To - 1, To: opts.Routed, Seek: true})
			s.catchUp().place = m.nextPlace()
			m.state.lastPlace += seekPlaces
		}
		r.From = s.from
	})
	return r, err
}

// catchUp is what a seek of s has yet to queue, nil if there is nothing.
func (s *modelSub) catchUp() *modelPart {
	for _, p := range s.parts {
		if p.Seek {
			return p
		}
	}
	return nil
}

// ahead says whether d comes after what a seek has yet to queue.
func (s *modelSub) ahead(d *modelDelivery) bool {
	p := s.catchUp()
	return p != nil && d.lane == nil && !d.redriven && d.id.Bus == p.Bus && d.id.Sequence > p.Position
}

// inTurn brings what may be claimed in the order in which a claim of most takes
// it: the share of the replays, the live ones, the other replayed ones.
func (s *modelSub) inTurn(free []*modelDelivery, most int) []*modelDelivery {
	if len(s.parts) == 0 {
		return free
	}
	s.turns += most
	share := s.turns / 16
	s.turns %= 16
	var first, live, rest []*modelDelivery
	for _, d := range free {
		switch {
		case d.lane == nil:
			live = append(live, d)
		case len(first) < share:
			first = append(first, d)
		default:
			rest = append(rest, d)
		}
	}
	return slices.Concat(first, live, rest)
}
