package storetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// RecentAttempts implements store.Attempts. Its cursor is how many attempts
// came before.
func (m *Model) RecentAttempts(ctx context.Context, sub store.SubscriptionID, q store.AttemptQuery) ([]store.AttemptOf, string, error) {
	info, err := m.Subscription(sub)
	if err != nil {
		return nil, "", err
	}
	if err := m.enter(ctx); err != nil {
		return nil, "", err
	}
	defer m.mu.Unlock()
	skip := 0
	if q.After != "" {
		if skip, err = strconv.Atoi(q.After); err != nil {
			return nil, "", fmt.Errorf("cursor %q: %w", q.After, store.ErrNotFound)
		}
	}
	var all []store.AttemptOf
	for at, ds := range m.state.traces {
		if at.bus != info.Bus {
			continue
		}
		for _, d := range ds {
			for i := range d.attempts {
				if a := &d.attempts[i]; d.id.Subscription == sub && (q.Match == nil || q.Match(a)) {
					all = append(all, store.AttemptOf{ID: d.id, Attempt: *a})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b store.AttemptOf) int {
		if a.ID.Sequence != b.ID.Sequence {
			return int(int64(b.ID.Sequence) - int64(a.ID.Sequence))
		}
		return b.Attempt.Started.Compare(a.Attempt.Started)
	})
	limit := q.Limit
	if limit < 1 {
		limit = 100
	}
	all = all[min(skip, len(all)):]
	if len(all) > limit {
		return all[:limit], strconv.Itoa(skip + limit), nil
	}
	return all, "", nil
}
