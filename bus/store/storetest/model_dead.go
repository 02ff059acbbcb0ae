package storetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// ListDead implements store.DeadLetters. The cursor is the number of the last
// death of the page.
func (m *Model) ListDead(ctx context.Context, sub store.SubscriptionID, after string, limit int) (letters []store.DeadLetter, next string, err error) {
	from := uint64(0)
	if after != "" {
		if from, err = strconv.ParseUint(after, 10, 64); err != nil {
			return nil, "", fmt.Errorf("cursor %q: %w", after, store.ErrNotFound)
		}
	}
	err = m.change(ctx, sub, func(s *modelSub) {
		for _, d := range s.dead {
			if d.death <= from {
				continue
			}
			if len(letters) == limit {
				return
			}
			letters = append(letters, store.DeadLetter{
				ID: d.id, Reason: d.reason, Died: d.settled, Attempts: slices.Clone(d.attempts), Record: d.record,
			})
			next = strconv.FormatUint(d.death, 10)
		}
		next = ""
	})
	return letters, next, err
}

// Redrive implements store.DeadLetters. A redriven delivery has again the place
// in the queue that it had at first.
func (m *Model) Redrive(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (n int, err error) {
	var notes notices
	defer m.tell(&notes)
	err = m.change(ctx, sub, func(s *modelSub) {
		now := m.clock()
		for _, d := range s.takeDead(ids) {
			d.outcome, d.settled, d.reason = "", time.Time{}, ""
			d.due, d.retryAt, d.made = now, time.Time{}, 0
			d.trigger, d.redriven = store.TriggerRedrive, true
			s.owed[d.id] = d
			s.enqueueAgain(d)
			n++
		}
		if n > 0 {
			notes.ready = append(notes.ready, sub)
		}
	})
	return n, err
}

// PurgeDead implements store.DeadLetters.
func (m *Model) PurgeDead(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (n int, err error) {
	err = m.change(ctx, sub, func(s *modelSub) { n = len(s.takeDead(ids)) })
	return n, err
}

// takeDead removes the dead letters with these ids and returns them.
func (s *modelSub) takeDead(ids []store.DeliveryID) (taken []*modelDelivery) {
	s.dropDead(func(d *modelDelivery) bool {
		if !slices.Contains(ids, d.id) {
			return false
		}
		taken = append(taken, d)
		return true
	})
	return taken
}

// dropDead removes the dead letters that drop names.
func (s *modelSub) dropDead(drop func(*modelDelivery) bool) {
	s.dead = slices.DeleteFunc(s.dead, func(d *modelDelivery) bool {
		if !drop(d) {
			return false
		}
		delete(s.owed, d.id)
		return true
	})
}
