package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func deadChecks() []check {
	return []check{
		{"a dead letter has its reason, its record and all its attempts", deadLetterComplete},
		{"dead letters are listed oldest first, in pages", deadLettersPaged},
		{"a malformed cursor is not found", deadCursorMalformed},
		{"paging goes on when letters leave the list meanwhile", deadPagingUnderChange},
		{"redriven letters come again in the order in which they were queued first", redriveInOrder},
		{"a redriven delivery has a fresh budget and keeps its attempts", redriveFreshBudget},
		{"purged letters are gone, unknown ones are passed over", purgedLettersGone},
		{"a redriven letter of an orphan waits for its adoption", redriveOfOrphan},
		{"dead letters survive reopening", deadSurvive},
		{"dead letters end after thirty days", deadLettersAge},
	}
}

// dieInOrder queues n events and lets them die in bus order, a second apart.
func (f *fixture) dieInOrder(bus store.BusID, sub store.SubscriptionID, n int) {
	f.Helper()
	f.publishN(bus, "e", n)
	f.route(bus, sub)
	ds := f.claimAll(sub)
	slices.SortFunc(ds, func(a, b store.Delivery) int { return int(a.ID.Sequence) - int(b.ID.Sequence) })
	for _, d := range ds {
		f.settle(f.die(d))
		f.advance(time.Second)
	}
}

func deadLetterComplete(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	e := sizedEntry(f, a, "x", 2000)
	e.Via, e.Hops = "source/kafka", 3
	f.append(e)
	record := f.read(a, 1)[0]
	f.route(a, sub)
	var attempts []store.Attempt
	for range 3 {
		d := f.claimOne(sub)
		o := f.retry(d, time.Second)
		attempts = append(attempts, *o.Attempt)
		f.settle(o)
		f.advance(time.Second)
	}
	d := f.claimOne(sub)
	o := f.die(d)
	attempts = append(attempts, *o.Attempt)
	died := f.now()
	f.settle(o)
	check := func() {
		f.Helper()
		letters := f.letters(sub, 10)
		if len(letters) != 1 {
			f.Fatalf("%d dead letters, want 1", len(letters))
		}
		l := letters[0]
		if l.ID != d.ID || l.Reason != "gave up on x" || !l.Died.Equal(died) {
			f.Errorf("the letter is %s, reason %q, died %v; want %s, died %v", describe(l.ID), l.Reason, l.Died, describe(d.ID), died)
		}
		if !sameAttempts(l.Attempts, attempts) {
			f.Errorf("its attempts are %+v, want %+v", l.Attempts, attempts)
		}
		f.wantSameRecord(record, l.Record)
	}
	check()
	f.advance(time.Hour)
	f.wantClaim("the dead", sub)
	f.reopenIfPossible()
	f.route(a, sub)
	check()
	f.wantClaim("the dead, after reopening", sub)
}

func deadLettersPaged(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderNone), f.subscribe("r/other", a, store.OrderNone)
	f.publish(a, "elsewhere")
	f.route(a, other)
	f.settleAll(f.claimAll(other), f.die)
	if letters, next, err := f.store.ListDead(f.ctx, sub, "", 10); len(letters) != 0 || next != "" || err != nil {
		f.Errorf("without dead letters: %v, %q, %v", letters, next, err)
	}
	f.dieInOrder(a, sub, 13)
	for _, page := range []int{1, 4, 13, 100} {
		letters := f.letters(sub, page)
		if len(letters) != 13 {
			f.Fatalf("in pages of %d there are %d dead letters, want 13", page, len(letters))
		}
		for i, l := range letters {
			if want := fmt.Sprintf("e%d", i); l.Record.Event.ID() != want {
				f.Errorf("in pages of %d letter %d is %s, want %s", page, i, l.Record.Event.ID(), want)
			}
		}
	}
}

func deadCursorMalformed(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.dieInOrder(a, sub, 2)
	for _, cursor := range []string{"?", "not a cursor", "\x00\xff"} {
		_, _, err := f.store.ListDead(f.ctx, sub, cursor, 10)
		f.wantErr(fmt.Sprintf("cursor %q", cursor), err, store.ErrNotFound)
	}
}

func deadPagingUnderChange(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.dieInOrder(a, sub, 9)
	first, next, err := f.store.ListDead(f.ctx, sub, "", 3)
	f.must(err)
	if len(first) != 3 || next == "" {
		f.Fatalf("the first page has %d letters, next %q", len(first), next)
	}
	if n, err := f.store.PurgeDead(f.ctx, sub, letterIDs(first)); n != 3 || err != nil {
		f.Fatalf("purge gave %d, %v", n, err)
	}
	second, _, err := f.store.ListDead(f.ctx, sub, next, 100)
	f.must(err)
	if len(second) != 6 || second[0].Record.Event.ID() != "e3" {
		f.Errorf("the second page has %d letters, want 6 from e3 on", len(second))
	}
}

func redriveInOrder(f *fixture) {
	for i, order := range []store.Order{store.OrderNone, store.OrderKey, store.OrderStrict} {
		a := f.bus(fmt.Sprint("bus", i))
		sub := f.subscribe(fmt.Sprint("r/t", i), a, order)
		const n = 8
		f.publishN(a, "e", n)
		f.routeKeyed(a, func(store.Record) string { return "k" }, sub)
		for left := n; left > 0; {
			ds := f.claim(sub, n)
			if len(ds) == 0 {
				f.Fatalf("%d deliveries do not come", left)
			}
			slices.Reverse(ds) // unordered ones die in another order than they were queued
			f.settleAll(ds, f.die)
			left -= len(ds)
		}
		dead := letterIDs(f.letters(sub, 100))
		slices.SortFunc(dead, func(a, b store.DeliveryID) int { return int(b.Sequence) - int(a.Sequence) })
		if moved, err := f.store.Redrive(f.ctx, sub, dead); moved != n || err != nil {
			f.Fatalf("redrive gave %d, %v", moved, err)
		}
		for want := uint64(1); want <= n; want++ {
			ds := f.claim(sub, 1)
			if len(ds) != 1 {
				f.Fatalf("order %d: claimed %v, want sequence %d", order, eventIDs(ds), want)
			}
			if order != store.OrderNone && ds[0].ID.Sequence != want {
				f.Errorf("order %d: %s is redriven, want sequence %d", order, describe(ds[0].ID), want)
			}
			f.settle(f.done(ds[0]))
		}
		f.wantClaim("at the end", sub)
	}
}

func redriveFreshBudget(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.publish(a, "x")
	f.route(a, sub)
	var attempts []store.Attempt
	for budget := range 3 {
		for n := 1; n <= 3; n++ {
			d := f.claimOne(sub)
			first := store.TriggerFirst
			if budget > 0 {
				first = store.TriggerRedrive
			}
			if n > 1 {
				first = store.TriggerRetry
			}
			if d.Attempt != n || d.Trigger != first || d.Redriven != (budget > 0) || d.Age != time.Duration(n-1)*time.Second {
				f.Errorf("budget %d, attempt %d came as %d, trigger %q, redriven %v, age %v", budget, n, d.Attempt, d.Trigger, d.Redriven, d.Age)
			}
			o := f.retry(d, time.Second)
			if n == 3 {
				o = f.die(d)
			}
			attempts = append(attempts, *o.Attempt)
			f.settle(o)
			f.advance(time.Second)
		}
		letters := f.letters(sub, 10)
		if len(letters) != 1 || !sameAttempts(letters[0].Attempts, attempts) {
			f.Fatalf("after budget %d the dead letters are %+v, want one with attempts %+v", budget, letters, attempts)
		}
		f.advance(time.Hour)
		f.reopenIfPossible()
		f.route(a, sub)
		if n, err := f.store.Redrive(f.ctx, sub, letterIDs(letters)); n != 1 || err != nil {
			f.Fatalf("redrive gave %d, %v", n, err)
		}
		if i := f.info(sub); i.Depth != 1 || i.Dead != 0 || len(f.letters(sub, 10)) != 0 {
			f.Errorf("after the redrive it is %+v", i)
		}
	}
}

func purgedLettersGone(f *fixture) {
	a := f.bus("a")
	sub, other := f.subscribe("r/t", a, store.OrderNone), f.subscribe("r/other", a, store.OrderNone)
	f.dieInOrder(a, sub, 4)
	f.publish(a, "queued")
	f.route(a, sub)
	all := letterIDs(f.letters(sub, 10))
	unknown := store.DeliveryID{Subscription: sub, Bus: a, Sequence: 999}
	queued := store.DeliveryID{Subscription: sub, Bus: a, Sequence: 5}
	if n, err := f.store.PurgeDead(f.ctx, sub, []store.DeliveryID{all[1], unknown, queued, all[3]}); n != 2 || err != nil {
		f.Errorf("purge gave %d, %v; want 2", n, err)
	}
	for _, id := range []store.DeliveryID{all[1], unknown, queued} {
		if n, err := f.store.Redrive(f.ctx, sub, []store.DeliveryID{id}); n != 0 || err != nil {
			f.Errorf("redrive of %s gave %d, %v; want 0", describe(id), n, err)
		}
	}
	if n, err := f.store.PurgeDead(f.ctx, other, all); n != 0 || err != nil {
		f.Errorf("purge of another subscription's letters gave %d, %v", n, err)
	}
	left := letterIDs(f.letters(sub, 10))
	if !slices.Equal(left, []store.DeliveryID{all[0], all[2]}) {
		f.Errorf("left are %v", left)
	}
	if n := f.info(sub).Dead; n != 2 {
		f.Errorf("%d are counted, want 2", n)
	}
	f.wantClaim("what was queued", sub, "queued")
}

func redriveOfOrphan(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.dieInOrder(a, sub, 2)
	f.must(f.store.OrphanSubscription(f.ctx, sub))
	if n, err := f.store.Redrive(f.ctx, sub, letterIDs(f.letters(sub, 10))); n != 2 || err != nil {
		f.Fatalf("redrive gave %d, %v", n, err)
	}
	f.wantClaim("an orphan", sub)
	f.subscribe("r/t", a, store.OrderNone)
	f.wantClaim("adopted", sub, "e0", "e1")
}

func deadSurvive(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.dieInOrder(a, sub, 5)
	before := f.letters(sub, 10)
	f.reopen()
	f.route(a, sub)
	after := f.letters(sub, 2)
	if !slices.Equal(letterIDs(before), letterIDs(after)) {
		f.Fatalf("after reopening the dead letters are %v, want %v", letterIDs(after), letterIDs(before))
	}
	for i := range before {
		if !sameAttempts(before[i].Attempts, after[i].Attempts) || !before[i].Died.Equal(after[i].Died) || before[i].Reason != after[i].Reason {
			f.Errorf("letter %d is %+v, was %+v", i, after[i], before[i])
		}
		f.wantSameRecord(before[i].Record, after[i].Record)
	}
	if n := f.info(sub).Dead; n != 5 {
		f.Errorf("%d are counted, want 5", n)
	}
}

func deadLettersAge(f *fixture) {
	a := f.bus("a")
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.dieInOrder(a, sub, 2)
	f.advance(29 * 24 * time.Hour)
	f.must(f.store.Trim(f.ctx))
	if n := len(f.letters(sub, 10)); n != 2 {
		f.Errorf("after 29 days there are %d dead letters, want 2", n)
	}
	f.advance(2 * 24 * time.Hour)
	f.eventually("the dead letters are gone", func() bool {
		f.must(f.store.Trim(f.ctx))
		return len(f.letters(sub, 10)) == 0 && f.info(sub).Dead == 0
	})
}
