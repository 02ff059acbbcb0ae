package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// bucketsMost bounds how many buckets of events one page of attempts looks at.
const bucketsMost = 16

// attemptCursor is where a page of attempts goes on: below this attempt.
type attemptCursor struct {
	seq uint64
	at  int64 // when it was started
	run uint32
	no  uint32
}

const attemptCursorSize = 24

func (c attemptCursor) String() string {
	return hex.EncodeToString(be32(be32(be64(be64(nil, c.seq), uint64(c.at)), c.run), c.no))
}

func parseAttemptCursor(text string) (c attemptCursor, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != attemptCursorSize {
		return c, fmt.Errorf("cursor %q: %w", text, store.ErrNotFound)
	}
	return attemptCursor{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:])),
		binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])}, nil
}

// compare orders by event, time and what tells apart attempts of one time.
func (c attemptCursor) compare(o attemptCursor) int {
	return cmp.Or(cmp.Compare(c.seq, o.seq), cmp.Compare(c.at, o.at), cmp.Compare(c.run, o.run), cmp.Compare(c.no, o.no))
}

func cursorOf(a *store.AttemptOf) attemptCursor {
	return attemptCursor{a.ID.Sequence, optionalNanos(a.Attempt.Started), a.ID.Run, uint32(a.Attempt.Number)}
}

// RecentAttempts implements store.Attempts.
func (s *Store) RecentAttempts(ctx context.Context, id store.SubscriptionID, q store.AttemptQuery) (found []store.AttemptOf, next string, err error) {
	info, err := s.Subscription(id)
	if err != nil {
		return nil, "", err
	}
	bounds, err := s.Bounds(info.Bus)
	if err != nil {
		return nil, "", err
	}
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if q.Limit < 1 {
		q.Limit = 100
	}
	below := attemptCursor{seq: bounds.Last + 1}
	if q.After != "" {
		if below, err = parseAttemptCursor(q.After); err != nil {
			return nil, "", err
		}
	}
	// What an event of before the bounds still owes is dead or retried: its rows
	// are found by the trace of the event, not here.
	if below.seq < bounds.History {
		return nil, "", nil
	}
	least := bounds.History >> traceBucket
	bucket := min(below.seq, bounds.Last) >> traceBucket
	for looked := 0; looked < bucketsMost; looked++ {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		some, err := s.attemptsIn(info, bucket, bounds.First, below, q.Match)
		if err != nil {
			return nil, "", err
		}
		for i := range some {
			if len(found) == q.Limit {
				return found, cursorOf(&found[len(found)-1]).String(), nil
			}
			found = append(found, some[i])
		}
		if bucket <= least {
			return found, "", nil
		}
		bucket--
	}
	return found, attemptCursor{seq: (bucket + 1) << traceBucket}.String(), nil
}

// attemptsIn finds the attempts of one bucket that come after the cursor, in
// the order of the list.
func (s *Store) attemptsIn(info store.SubscriptionInfo, bucket, first uint64, below attemptCursor, match func(*store.Attempt) bool) ([]store.AttemptOf, error) {
	found := map[attemptCursor]store.AttemptOf{}
	add := func(seq uint64, run uint32, a *store.Attempt) {
		of := store.AttemptOf{ID: store.DeliveryID{Subscription: info.ID, Bus: info.Bus, Sequence: seq, Run: run}, Attempt: *a}
		if at := cursorOf(&of); seq >= first && at.compare(below) < 0 && (match == nil || match(a)) {
			found[at] = of // a repeat after a crash, or what is just flushed, is the same
		}
	}
	low, high := bucket<<traceBucket, (bucket+1)<<traceBucket
	prefix := idKey(nil, prefixAttempt, uint32(info.Bus))
	err := s.state.scan(be64(slices.Clone(prefix), low), be64(slices.Clone(prefix), high), func(key, value []byte) (bool, error) {
		r := rowReader{rest: key[len(prefix):]}
		seq, sub, run := r.u64(), store.SubscriptionID(r.u32()), r.u32()
		if sub != info.ID {
			return true, r.err()
		}
		a, err := parseAttempt(value)
		if err == nil {
			add(seq, run, &a)
		}
		return true, errors.Join(r.err(), err)
	})
	if err != nil {
		return nil, err
	}
	err = s.trace.of(info.Bus, low, high-1, func(o outcome) {
		if o.sub == info.ID && o.attempt != nil {
			add(o.seq, o.run, o.attempt)
		}
	})
	if err != nil {
		return nil, err
	}
	out := make([]store.AttemptOf, 0, len(found))
	for _, of := range found {
		out = append(out, of)
	}
	slices.SortFunc(out, func(a, b store.AttemptOf) int { return cursorOf(&b).compare(cursorOf(&a)) })
	return out, nil
}
