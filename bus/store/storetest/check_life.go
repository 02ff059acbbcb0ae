package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func lifeChecks() []check {
	return []check{
		{"an open store accepts events", acceptsEvents},
		{"everything of a closed store answers that it is closed", closedAnswers},
		{"closing ends those that wait", closingEndsWaiting},
		{"closing beside appends loses nothing that was acknowledged", closingBesideAppends},
		{"everything may be called at once", everythingAtOnce},
	}
}

func acceptsEvents(f *fixture) {
	if err := f.store.Err(); err != nil {
		f.Errorf("a new store does not accept events: %v", err)
	}
	f.publish(f.bus("a"), "1", "2")
	if s := f.store.Stats(); s.Events != 2 || s.Bytes == 0 {
		f.Errorf("stats count %d events of %d bytes, want 2 events", s.Events, s.Bytes)
	}
}

func closedAnswers(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "1")
	e := entry(f, a, "2")
	f.must(f.store.Close())
	f.must(f.store.Close())
	s, ctx := f.store, f.ctx
	for name, call := range map[string]func() error{
		"OpenBus":    func() error { _, err := s.OpenBus(ctx, "b", store.BusOptions{}); return err },
		"DropBus":    func() error { return s.DropBus(ctx, a) },
		"Append":     func() error { _, err := s.Append(ctx, []store.Entry{e}); return err },
		"Read":       func() error { _, err := s.Read(ctx, a, 1, 1, 1, nil); return err },
		"Get":        func() error { _, err := s.Get(ctx, a, 1); return err },
		"SequenceAt": func() error { _, err := s.SequenceAt(ctx, a, f.now()); return err },
		"Await":      func() error { return s.Await(ctx, a, 100) },
		"Trim":       func() error { return s.Trim(ctx) },
		"OpenSubscription": func() error {
			_, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "x/y", Bus: a})
			return err
		},
		"OrphanSubscription": func() error { return s.OrphanSubscription(ctx, sub) },
		"PurgeSubscription":  func() error { return s.PurgeSubscription(ctx, sub) },
		"Pause":              func() error { return s.Pause(ctx, sub, "") },
		"Resume":             func() error { return s.Resume(ctx, sub) },
		"Enqueue":            func() error { return s.Enqueue(ctx, a, 1, nil) },
		"Claim":              func() error { _, _, err := s.Claim(ctx, sub, f.now(), 1, nil); return err },
		"Settle":             func() error { return s.Settle(ctx, []store.Settlement{{ID: store.DeliveryID{Subscription: sub}}}) },
		"Checkpoint":         func() error { return s.Checkpoint(ctx) },
		"ListDead":           func() error { _, _, err := s.ListDead(ctx, sub, "", 1); return err },
		"Redrive":            func() error { _, err := s.Redrive(ctx, sub, []store.DeliveryID{{Subscription: sub}}); return err },
		"PurgeDead":          func() error { _, err := s.PurgeDead(ctx, sub, []store.DeliveryID{{Subscription: sub}}); return err },
		"ListScheduled":      func() error { _, _, err := s.ListScheduled(ctx, a, "", "", "", 1); return err },
		"CancelScheduled":    func() error { return s.CancelScheduled(ctx, a, "/shop", "1") },
		"GetObject":          func() error { _, err := s.GetObject(ctx, "bus", "a"); return err },
		"ListObjects":        func() error { _, err := s.ListObjects(ctx, "bus"); return err },
		"PutObject":          func() error { _, err := s.PutObject(ctx, "bus", "a", nil, 0); return err },
		"DeleteObject":       func() error { return s.DeleteObject(ctx, "bus", "a", store.AnyVersion) },
		"RecentAttempts":     func() error { _, _, err := s.RecentAttempts(ctx, sub, store.AttemptQuery{}); return err },
		"TraceOf":            func() error { _, err := s.TraceOf(ctx, a, 1); return err },
		"Receipts":           func() error { _, err := s.Receipts(ctx, a, 1, 1); return err },
		"Timelines":          func() error { _, err := s.Timelines(ctx, a, 1, 1); return err },
	} {
		f.wantErr(name, call(), store.ErrClosed)
	}
	s.Subscriptions() // these have no error to give, and must not panic
	s.Position(a)
	s.Stats()
	if s.Err() == nil {
		f.Error("a closed store says that it accepts events")
	}
}

func closingEndsWaiting(f *fixture) {
	a := f.bus("a")
	waiting := make(chan error, 3)
	for range 3 {
		go func() { waiting <- f.store.Await(f.ctx, a, 10) }()
	}
	f.must(f.store.Close())
	for range 3 {
		select {
		case err := <-waiting:
			f.wantErr("Await", err, store.ErrClosed)
		case <-time.After(f.env.patience()):
			f.Fatal("Await goes on after Close")
		}
	}
}

func closingBesideAppends(f *fixture) {
	a := f.bus("a")
	var mu sync.Mutex
	acknowledged := map[uint64]string{}
	half := make(chan struct{}) // closed when some events are there
	var once sync.Once
	parallel(f, 5, func(w int) error {
		if w == 0 {
			<-half
			return f.store.Close()
		}
		for i := 0; ; i++ {
			id := fmt.Sprintf("%d-%d", w, i)
			results, err := f.store.Append(f.ctx, []store.Entry{entry(f, a, id)})
			if err != nil {
				f.wantErr("an append beside Close", err, store.ErrClosed)
				return nil
			}
			mu.Lock()
			if other, twice := acknowledged[results[0].Sequence]; twice {
				f.Errorf("sequence %d was acknowledged for %q and %q", results[0].Sequence, other, id)
			}
			acknowledged[results[0].Sequence] = id
			if len(acknowledged) == 50 {
				once.Do(func() { close(half) })
			}
			mu.Unlock()
		}
	})
	f.reopen()
	records := f.read(a, 1)
	for s, id := range acknowledged {
		if uint64(len(records)) < s || records[s-1].Event.ID() != id {
			f.Errorf("acknowledged event %q of sequence %d is not there", id, s)
		}
	}
}

// everythingAtOnce is for the race detector; it looks only at what must hold
// whatever happens.
func everythingAtOnce(f *fixture) {
	buses := []store.BusID{f.bus("a"), f.busWith("b", store.BusOptions{MaxAge: time.Minute, MaxBytes: 20_000})}
	subs := []store.SubscriptionID{f.subscribe("r/a", buses[0], store.OrderKey), f.subscribe("r/b", buses[1], store.OrderNone)}
	work := []func(i int) error{
		func(i int) error {
			e := remembered(entry(f, buses[i%2], fmt.Sprint(i/3)), time.Hour)
			_, err := f.store.Append(f.ctx, []store.Entry{e, e})
			return err
		},
		func(i int) error {
			e := entry(f, buses[i%2], fmt.Sprint("later", i))
			e.Due = f.now().Add(time.Duration(i) * time.Millisecond)
			_, err := f.store.Append(f.ctx, []store.Entry{e})
			return err
		},
		func(int) error { // the one router
			for i, bus := range buses {
				records, err := f.store.Read(f.ctx, bus, f.store.Position(bus)+1, 20, 1<<20, nil)
				if err != nil || len(records) == 0 {
					return err
				}
				var events []store.RoutedEvent
				for _, r := range records {
					events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: subs[i], Key: r.Sequence % 3}}})
				}
				if err := f.store.Enqueue(f.ctx, bus, records[len(records)-1].Sequence, events); err != nil {
					return err
				}
			}
			return nil
		},
		func(i int) error { return f.workOnce(subs[i%2], i) },
		func(i int) error { return f.workOnce(subs[i%2], i+1) },
		func(i int) error {
			letters, _, err := f.store.ListDead(f.ctx, subs[i%2], "", 5)
			if err == nil && i%3 == 0 {
				_, err = f.store.Redrive(f.ctx, subs[i%2], letterIDs(letters))
			}
			return err
		},
		func(i int) error {
			if i%10 == 0 {
				if err := f.store.Pause(f.ctx, subs[0], "p"); err != nil {
					return err
				}
				return f.store.Resume(f.ctx, subs[0])
			}
			f.store.Subscriptions()
			f.store.Stats()
			_, err := f.store.TraceOf(f.ctx, buses[i%2], uint64(i))
			return err
		},
		func(i int) error {
			f.advance(time.Second)
			f.env.Step()
			if err := f.store.Trim(f.ctx); err != nil {
				return err
			}
			return f.store.Checkpoint(f.ctx)
		},
		func(i int) error {
			if _, err := f.store.PutObject(f.ctx, "bus", fmt.Sprint(i%3), []byte("x"), store.AnyVersion); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(f.ctx, time.Millisecond)
			defer cancel()
			_ = f.store.Await(ctx, buses[i%2], uint64(i)) // whether it comes in time is not known
			_, err := f.store.ListObjects(f.ctx, "bus")
			return err
		},
	}
	parallel(f, len(work), func(w int) error {
		for i := range 60 {
			if err := work[w](i); err != nil {
				return fmt.Errorf("worker %d, round %d: %w", w, i, err)
			}
		}
		return nil
	})
	for _, bus := range buses {
		b := f.bounds(bus)
		for i, r := range f.read(bus, 1) {
			if r.Sequence != b.First+uint64(i) {
				f.Fatalf("bus %d: sequence %d stands at place %d of %+v", bus, r.Sequence, i, b)
			}
		}
	}
}

// workOnce claims some deliveries and settles them in various ways.
func (f *fixture) workOnce(sub store.SubscriptionID, i int) error {
	ds, _, err := f.store.Claim(f.ctx, sub, f.now(), 5, nil)
	if err != nil {
		return err
	}
	var outcomes []store.Settlement
	for j, d := range ds {
		switch (i + j) % 4 {
		case 0:
			outcomes = append(outcomes, f.retry(d, time.Second))
		case 1:
			outcomes = append(outcomes, f.die(d))
		case 2:
			outcomes = append(outcomes, release(d))
		default:
			outcomes = append(outcomes, f.done(d))
		}
	}
	return f.store.Settle(f.ctx, outcomes)
}
