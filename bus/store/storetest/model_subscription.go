package storetest

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// modelSub is one subscription of a Model.
type modelSub struct {
	id        store.SubscriptionID
	opts      store.SubscriptionOptions
	from      uint64
	orphaned  bool
	paused    bool
	reason    string
	pauses    []pause // the present one is the last
	lastError string
	lastTime  time.Time

	queue []*modelDelivery                    // unsettled, in the order in which they were queued first
	dead  []*modelDelivery                    // dead letters, in the order in which they died
	owed  map[store.DeliveryID]*modelDelivery // all of queue and dead
	parts []*modelPart                        // of replays and seeks under way
	turns int                                 // of claims, in shares of replays
}

// pause is a time during which a subscription was not claimed from; until is
// zero while it lasts.
type pause struct{ since, until time.Time }

// OpenSubscriptions implements store.Queue. When the bus changes, the
// subscription starts at the end of the new one.
func (m *Model) OpenSubscriptions(ctx context.Context, all []store.SubscriptionOptions) ([]store.SubscriptionInfo, error) {
	var notes notices
	defer m.tell(&notes)
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var infos []store.SubscriptionInfo
	for _, opts := range all {
		info, err := m.openSubscription(opts, &notes)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (m *Model) openSubscription(opts store.SubscriptionOptions, notes *notices) (store.SubscriptionInfo, error) {
	b, err := m.bus(opts.Bus)
	if err != nil {
		return store.SubscriptionInfo{}, err
	}
	for _, s := range m.state.subs {
		if s.opts.Name != opts.Name {
			continue
		}
		if s.opts.Bus != opts.Bus {
			s.from = b.last()
		}
		s.opts = opts
		s.orphaned = false
		notes.ready = append(notes.ready, s.id)
		return s.info(), nil
	}
	m.state.lastSub++
	s := &modelSub{id: m.state.lastSub, opts: opts, from: b.last(), owed: map[store.DeliveryID]*modelDelivery{}}
	m.state.subs[s.id] = s
	return s.info(), nil
}

// OrphanSubscription implements store.Queue.
func (m *Model) OrphanSubscription(ctx context.Context, sub store.SubscriptionID) error {
	return m.change(ctx, sub, func(s *modelSub) {
		s.orphaned = true
		if len(s.owed) == 0 {
			m.endParts(s, nil)
			m.removeSub(s)
		}
	})
}

// PurgeSubscription implements store.Queue. Claimed deliveries are dropped too.
func (m *Model) PurgeSubscription(ctx context.Context, sub store.SubscriptionID) error {
	return m.change(ctx, sub, func(s *modelSub) {
		for _, d := range s.queue {
			m.drop(s, d)
		}
		s.queue = nil
		m.endParts(s, nil)
		if s.orphaned && len(s.dead) == 0 {
			m.removeSub(s)
		}
	})
}

// removeSub removes a subscription but for its name.
func (m *Model) removeSub(s *modelSub) {
	delete(m.state.subs, s.id)
	m.state.former[s.id] = s.opts.Name
}

// Pause implements store.Queue. Pausing again changes only the reason.
func (m *Model) Pause(ctx context.Context, sub store.SubscriptionID, reason string) error {
	return m.change(ctx, sub, func(s *modelSub) {
		s.reason = reason
		if !s.paused {
			s.paused = true
			s.pauses = append(s.pauses, pause{since: m.clock()})
		}
	})
}

// Resume implements store.Queue.
func (m *Model) Resume(ctx context.Context, sub store.SubscriptionID) error {
	var notes notices
	defer m.tell(&notes)
	return m.change(ctx, sub, func(s *modelSub) {
		if s.paused {
			s.paused = false
			s.reason = ""
			s.pauses[len(s.pauses)-1].until = m.clock()
			notes.ready = append(notes.ready, sub)
		}
	})
}

// Subscriptions implements store.Queue.
func (m *Model) Subscriptions() []store.SubscriptionInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	var infos []store.SubscriptionInfo
	for _, s := range m.state.subs {
		infos = append(infos, s.info())
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Name < infos[j].Name })
	return infos
}

// Subscription implements store.Queue.
func (m *Model) Subscription(sub store.SubscriptionID) (info store.SubscriptionInfo, err error) {
	err = m.change(context.Background(), sub, func(s *modelSub) { info = s.info() })
	return info, err
}

// change calls f with a subscription, under the lock.
func (m *Model) change(ctx context.Context, sub store.SubscriptionID, f func(*modelSub)) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	s := m.state.subs[sub]
	if s == nil {
		return fmt.Errorf("subscription %d: %w", sub, store.ErrNotFound)
	}
	f(s)
	return nil
}

func (s *modelSub) info() store.SubscriptionInfo {
	info := store.SubscriptionInfo{
		ID: s.id, Name: s.opts.Name, Bus: s.opts.Bus, From: s.from,
		Orphaned: s.orphaned, Paused: s.paused, Reason: s.reason,
		Depth: int64(len(s.queue)), Dead: int64(len(s.dead)),
		LastError: s.lastError, LastErrorTime: s.lastTime,
	}
	if s.paused {
		info.Since = s.pauses[len(s.pauses)-1].since
	}
	for _, d := range s.queue {
		if d.claimed {
			info.InFlight++
		}
		if info.Oldest.IsZero() || d.due.Before(info.Oldest) {
			info.Oldest = d.due
		}
	}
	return info
}

// age is how long it is since t, pauses left out.
func (s *modelSub) age(t, now time.Time) time.Duration {
	age := now.Sub(t)
	for _, p := range s.pauses {
		since, until := p.since, p.until
		if since.Before(t) {
			since = t
		}
		if until.IsZero() || until.After(now) {
			until = now
		}
		if until.After(since) {
			age -= until.Sub(since)
		}
	}
	return max(age, 0)
}
