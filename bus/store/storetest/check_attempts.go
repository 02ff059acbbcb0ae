package storetest

import (
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// attemptsListed makes three attempts at each of some events of two
// subscriptions and lists those of one: at once, in pages, filtered, and after
// reopening.
func attemptsListed(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderNone), f.subscribe("r/u", a, store.OrderNone)
	f.publish(a, "1", "2", "3", "4", "5")
	f.route(a, sub, other)
	var want []store.AttemptOf
	for n := 1; n <= 3; n++ {
		for _, s := range []store.SubscriptionID{sub, other} {
			for _, d := range f.claimAll(s) {
				o := f.retry(d, time.Second)
				switch {
				case n == 3 && d.ID.Sequence == 2:
					o = f.die(d)
				case n == 3:
					o = f.done(d)
				}
				if f.settle(o); s == sub {
					want = append(want, store.AttemptOf{ID: d.ID, Attempt: *o.Attempt})
				}
			}
		}
		f.advance(time.Second)
	}
	slices.SortFunc(want, func(x, y store.AttemptOf) int {
		if x.ID.Sequence != y.ID.Sequence {
			return int(y.ID.Sequence) - int(x.ID.Sequence)
		}
		return y.Attempt.Started.Compare(x.Attempt.Started)
	})
	f.wantAttempts(sub, want, nil)
	failed := func(a *store.Attempt) bool { return a.Failure != nil }
	f.wantAttempts(sub, slices.DeleteFunc(slices.Clone(want), func(x store.AttemptOf) bool { return !failed(&x.Attempt) }), failed)
	_, _, err := f.store.RecentAttempts(f.ctx, sub, store.AttemptQuery{After: "no cursor"})
	f.wantErr("a malformed cursor", err, store.ErrNotFound)
	_, _, err = f.store.RecentAttempts(f.ctx, sub+1000, store.AttemptQuery{})
	f.wantErr("an unknown subscription", err, store.ErrNotFound)
}

// wantAttempts compares the attempts of a subscription, in pages of several
// sizes.
func (f *fixture) wantAttempts(sub store.SubscriptionID, want []store.AttemptOf, match func(*store.Attempt) bool) {
	f.Helper()
	for _, limit := range []int{0, 1, 4, len(want)} {
		var got []store.AttemptOf
		after := ""
		for range 100 {
			page, next, err := f.store.RecentAttempts(f.ctx, sub, store.AttemptQuery{After: after, Limit: limit, Match: match})
			f.must(err)
			if limit > 0 && len(page) > limit {
				f.Errorf("a page of at most %d has %d attempts", limit, len(page))
			}
			got = append(got, page...)
			if after = next; next == "" {
				break
			}
		}
		same := slices.EqualFunc(got, want, func(x, y store.AttemptOf) bool { return x.ID == y.ID && sameAttempt(x.Attempt, y.Attempt) })
		if !same {
			f.Errorf("in pages of %d the attempts are %+v, want %+v", limit, got, want)
		}
	}
}
