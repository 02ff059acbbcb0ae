package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func claimChecks() []check {
	return []check{
		{"a claim gives no more than asked, and all comes in the end", claimsAreBounded},
		{"a claimed delivery is not handed out again", claimedOnce},
		{"concurrent claims never hand out a delivery twice", concurrentClaims},
		{"a delivery that is settled while others claim is not handed out again", settleBesideClaims},
		{"a long queue is delivered whole", longQueue},
		{"an unknown subscription is not found by anything", unknownSubscription},
	}
}

func claimsAreBounded(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publishN(a, "e", 25)
	f.route(a, sub)
	got := map[store.DeliveryID]bool{}
	for range 3 {
		for _, d := range f.claim(sub, 7) {
			got[d.ID] = true
		}
	}
	if len(got) != 21 {
		f.Errorf("three claims of 7 gave %d deliveries of 25", len(got))
	}
	dst := []store.Delivery{{Key: 77}}
	ds, _, err := f.store.Claim(f.ctx, sub, f.now(), 10, dst)
	f.must(err)
	if len(ds) != 5 || ds[0].Key != 77 {
		f.Errorf("the last claim made %d of 1 in dst, want 5", len(ds))
	}
}

func claimedOnce(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	f.route(a, sub)
	f.claimOne(sub)
	f.advance(24 * time.Hour)
	f.env.Step()
	ds, next := f.claimNext(sub, 10)
	if len(ds) != 0 || !next.IsZero() {
		f.Errorf("claimed %v again, next %v", eventIDs(ds), next)
	}
}

func concurrentClaims(f *fixture) {
	for _, order := range []store.Order{store.OrderNone, store.OrderKey} {
		a := f.bus(fmt.Sprintf("bus-%d", order))
		sub := f.subscribe(fmt.Sprintf("r/t%d", order), a, order)
		const n = 400
		f.publishN(a, "e", n)
		f.routeKeyed(a, func(r store.Record) string { return fmt.Sprint(r.Sequence % 40) }, sub)
		var mu sync.Mutex
		held, settled := map[store.DeliveryID]bool{}, map[store.DeliveryID]bool{}
		parallel(f, 6, func(w int) error {
			deadline := time.Now().Add(f.env.patience())
			for {
				ds, _, err := f.store.Claim(f.ctx, sub, f.now(), 1+w, nil)
				if err != nil {
					return err
				}
				mu.Lock()
				for _, d := range ds {
					if held[d.ID] || settled[d.ID] {
						f.Errorf("%s was handed out again (held %v, settled %v)", describe(d.ID), held[d.ID], settled[d.ID])
					}
					held[d.ID] = true
				}
				over := len(settled) == n
				mu.Unlock()
				if over {
					return nil
				}
				if time.Now().After(deadline) {
					return fmt.Errorf("order %d: not all deliveries settled in time", order)
				}
				for _, d := range ds {
					succeeds := (d.ID.Sequence+uint64(d.Attempt))%3 != 0
					mu.Lock() // it may be claimed by others from within Settle on
					delete(held, d.ID)
					if succeeds {
						settled[d.ID] = true
					}
					mu.Unlock()
					outcome := f.retry(d, 0)
					if succeeds {
						outcome = f.done(d)
					}
					if err := f.store.Settle(f.ctx, []store.Settlement{outcome}); err != nil {
						return err
					}
				}
			}
		})
		if i := f.info(sub); i.Depth != 0 {
			f.Errorf("order %d: %d deliveries are left", order, i.Depth)
		}
	}
}

// settleBesideClaims is about the moment between a settlement and its record:
// one goroutine settles, another claims all the time.
func settleBesideClaims(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	const n = 200
	f.publishN(a, "e", n)
	f.route(a, sub)
	claimed := make(chan store.Delivery, 2*n)
	stop := make(chan struct{})
	parallel(f, 2, func(w int) error {
		if w == 0 {
			defer close(stop)
			for range n {
				select {
				case d := <-claimed:
					if err := f.store.Settle(f.ctx, []store.Settlement{f.done(d)}); err != nil {
						return err
					}
				case <-time.After(f.env.patience()):
					return fmt.Errorf("not all deliveries were handed out")
				}
			}
			return nil
		}
		defer close(claimed)
		for total := 0; ; {
			ds, _, err := f.store.Claim(f.ctx, sub, f.now(), 5, nil)
			if err != nil {
				return err
			}
			for _, d := range ds {
				if total++; total > n {
					return fmt.Errorf("%s was handed out beyond all", describe(d.ID))
				}
				claimed <- d
			}
			select {
			case <-stop:
				return nil
			default:
			}
		}
	})
	f.env.Step()
	f.wantClaim("after all was settled", sub)
}

func longQueue(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderStrict)
	const n, page = 5000, 500
	for i := range n / page {
		f.publishN(a, fmt.Sprintf("%d-", i), page)
		f.route(a, sub)
	}
	f.must(f.store.Checkpoint(f.ctx))
	f.env.Step()
	f.reopenIfPossible()
	f.route(a, sub)
	if d := f.info(sub).Depth; d != n {
		f.Errorf("the queue has depth %d, want %d", d, n)
	}
	f.subscribe("r/t", a, store.OrderNone)
	seen := map[uint64]bool{}
	for len(seen) < n {
		ds := f.claim(sub, 300)
		if len(ds) == 0 {
			f.Fatalf("the queue ended after %d of %d", len(seen), n)
		}
		for _, d := range ds {
			if seen[d.ID.Sequence] {
				f.Fatalf("%s came twice", describe(d.ID))
			}
			seen[d.ID.Sequence] = true
		}
		f.settleAll(ds, f.done)
	}
	f.wantClaim("after the last", sub)
}

func unknownSubscription(f *fixture) {
	no := f.subscribe("r/t", f.bus("a"), store.OrderNone) + 1000
	_, err := f.store.Subscription(no)
	f.wantErr("Subscription", err, store.ErrNotFound)
	_, _, err = f.store.Claim(f.ctx, no, f.now(), 1, nil)
	f.wantErr("Claim", err, store.ErrNotFound)
	f.wantErr("Pause", f.store.Pause(f.ctx, no, ""), store.ErrNotFound)
	f.wantErr("Resume", f.store.Resume(f.ctx, no), store.ErrNotFound)
	f.wantErr("OrphanSubscription", f.store.OrphanSubscription(f.ctx, no), store.ErrNotFound)
	f.wantErr("PurgeSubscription", f.store.PurgeSubscription(f.ctx, no), store.ErrNotFound)
	_, _, err = f.store.ListDead(f.ctx, no, "", 1)
	f.wantErr("ListDead", err, store.ErrNotFound)
	_, err = f.store.Redrive(f.ctx, no, nil)
	f.wantErr("Redrive", err, store.ErrNotFound)
	_, err = f.store.PurgeDead(f.ctx, no, nil)
	f.wantErr("PurgeDead", err, store.ErrNotFound)
}
