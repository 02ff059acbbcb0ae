package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// compare compares what can be seen of both: after each operation what is cheap
// and a sample of the rest, now and then all.
func (p *pairing) compare(rng *rand.Rand, all bool) {
	for _, b := range p.buses {
		p.compareBus(b, rng, all)
	}
	for _, s := range p.subs {
		if p.modelSub(s) == nil {
			p.wantGone(s.engine)
			continue
		}
		m, err := p.model.Subscription(s.model)
		p.must(err)
		p.compareInfo(s, p.info(s.engine), m)
	}
	for _, r := range p.runs {
		p.compareReplay(r)
	}
	if n, m := len(p.store.Subscriptions()), len(p.model.Subscriptions()); n != m {
		p.differ("%d subscriptions are listed, want %d", n, m)
	}
	for i, s := range p.subs {
		if p.modelSub(s) != nil && (all || i == rng.IntN(len(p.subs))) {
			p.compareDead(s, 1+rng.IntN(5))
		}
	}
	if all {
		p.compareObjects()
	}
}

func (p *pairing) compareBus(b *pairedBus, rng *rand.Rand, all bool) {
	got := p.bounds(b.engine)
	want, err := p.model.Bounds(b.model)
	p.must(err)
	if got.First != want.First || got.History != want.History || got.Last != want.Last {
		p.differ("%s holds %d, %d to %d, want %d, %d to %d", b.name, got.First, got.History, got.Last, want.First, want.History, want.Last)
	}
	if position := p.store.Position(b.engine); position != b.routed {
		p.differ("the position of %s is %d, want %d", b.name, position, b.routed)
	}
	from := got.Last - min(got.Last, 5)
	switch {
	case all:
		from = 1
	case b.opts.Table:
		from = uint64(rng.IntN(int(got.Last) + 2))
	}
	records := p.read(b.engine, from)
	wanted, err := p.model.Read(p.ctx, b.model, from, 1<<30, 1<<30, nil)
	p.must(err)
	if len(records) != len(wanted) {
		p.differ("%s from %d on has %d records, want %d", b.name, from, len(records), len(wanted))
	}
	for i := range wanted {
		if !p.sameRecord(records[i], wanted[i]) {
			p.differ("%s holds %s, want %s", b.name, recordText(records[i]), recordText(wanted[i]))
		}
	}
	p.compareGet(b, uint64(rng.IntN(int(got.Last)+3)))
	t := p.began.Add(time.Duration(rng.Int64N(int64(p.now().Sub(p.began)) + 1)))
	at, err := p.store.SequenceAt(p.ctx, b.engine, t)
	p.must(err)
	if want, _ := p.model.SequenceAt(p.ctx, b.model, t); at != want {
		p.differ("%s at %v is at %d, want %d", b.name, t, at, want)
	}
	p.compareTable(b, rng, all)
	p.compareScan(b, rng)
	p.compareDeliveries(b, rng)
	p.compareScheduled(b, 1+rng.IntN(5))
	if got.Last > 0 {
		p.compareTrace(b, 1+uint64(rng.IntN(int(got.Last))))
	}
}

// compareTable compares a page of a table, or all of it, and one row.
func (p *pairing) compareTable(b *pairedBus, rng *rand.Rand, all bool) {
	prefix, after := fmt.Sprintf("s%d", rng.IntN(3)), fmt.Sprintf("s%d", rng.IntN(20))
	most := 1 + rng.IntN(4)
	if all {
		prefix, after, most = "", "", 1<<20
	}
	got, next, err := p.store.ReadTable(p.ctx, b.engine, prefix, after, most, 1<<20, nil)
	want, wantNext, wantErr := p.model.ReadTable(p.ctx, b.model, prefix, after, most, 1<<20, nil)
	p.agree("the table of "+b.name, err, wantErr)
	if len(got) != len(want) || next != wantNext {
		p.differ("the table of %s after %q has %v, next %q, want %v, %q", b.name, after, ids(got), next, ids(want), wantNext)
	}
	for i := range want {
		if !p.sameRecord(got[i], want[i]) {
			p.differ("the table of %s has %s, want %s", b.name, recordText(got[i]), recordText(want[i]))
		}
	}
	row, err := p.store.TableRow(p.ctx, b.engine, after)
	wantRow, wantErr := p.model.TableRow(p.ctx, b.model, after)
	p.agree(fmt.Sprintf("the row of %q of %s", after, b.name), err, wantErr)
	if err == nil && !p.sameRecord(row, wantRow) {
		p.differ("the row of %q of %s is %s, want %s", after, b.name, recordText(row), recordText(wantRow))
	}
}

// compareGet leaves an engine free to keep what it might have removed.
func (p *pairing) compareGet(b *pairedBus, sequence uint64) {
	got, errGot := p.store.Get(p.ctx, b.engine, sequence)
	want, errWant := p.model.Get(p.ctx, b.model, sequence)
	if errGot == nil && errors.Is(errWant, store.ErrTrimmed) {
		if got.Sequence != sequence {
			p.differ("get of %d of %s gives %s", sequence, b.name, recordText(got))
		}
		return
	}
	p.agree(fmt.Sprintf("get of %d of %s", sequence, b.name), errGot, errWant)
	if errGot == nil && !p.sameRecord(got, want) {
		p.differ("get of %d of %s gives %s, want %s", sequence, b.name, recordText(got), recordText(want))
	}
}

func (p *pairing) compareScheduled(b *pairedBus, page int) {
	got := p.scheduled(b.engine, "", "", page)
	items, _, err := p.model.ListScheduled(p.ctx, b.model, "", "", "", 1<<30)
	p.must(err)
	var want []string
	for _, i := range items {
		want = append(want, i.Event.ID())
	}
	if !slices.Equal(got, want) {
		p.differ("on %s there wait %v, want %v", b.name, got, want)
	}
}

func (p *pairing) compareInfo(s *pairedSub, got, want store.SubscriptionInfo) {
	p.Helper()
	if got.ID != s.engine || got.Bus != s.bus.engine {
		p.differ("%s is %+v, want id %d, bus %d", s.opts.Name, got, s.engine, s.bus.engine)
	}
	for _, d := range p.modelSub(s).queue {
		if d.redriven {
			got.Oldest, want.Oldest = time.Time{}, time.Time{} // from when a redriven one counts is left open
		}
	}
	if !got.Oldest.Equal(want.Oldest) || !got.Since.Equal(want.Since) {
		p.differ("%s: oldest %v, paused since %v; want %v, %v", s.opts.Name, got.Oldest, got.Since, want.Oldest, want.Since)
	}
	if p.renewed || got.LastErrorTime.IsZero() == want.LastErrorTime.IsZero() {
		got.LastErrorTime = want.LastErrorTime
	}
	if p.renewed {
		got.LastError = want.LastError
	}
	got.ID, got.Bus, got.Oldest, got.Since = want.ID, want.Bus, want.Oldest, want.Since
	if got != want {
		p.differ("%s is %+v, want %+v", s.opts.Name, got, want)
	}
}

// compareDead compares dead letters; those that died at one time may be listed
// in any order.
func (p *pairing) compareDead(s *pairedSub, page int) {
	got := p.letters(s.engine, page)
	want := map[store.DeliveryID]store.DeadLetter{}
	all, _, err := p.model.ListDead(p.ctx, s.model, "", 1<<30)
	p.must(err)
	for _, l := range all {
		want[l.ID] = l
	}
	if len(got) != len(want) {
		p.differ("%s has %d dead letters, want %d", s.opts.Name, len(got), len(want))
	}
	for i, l := range got {
		w, ok := want[p.inModel(l.ID)]
		if !ok {
			p.differ("%s is listed as dead twice, or is not dead", describe(l.ID))
		}
		delete(want, w.ID)
		if l.Reason != w.Reason || !l.Died.Equal(w.Died) || !sameAttempts(l.Attempts, w.Attempts) || !p.sameRecord(l.Record, w.Record) {
			p.differ("the dead letter %s is %+v, want %+v", describe(l.ID), l, w)
		}
		if i > 0 && l.Died.Before(got[i-1].Died) {
			p.differ("%s died before %s and is listed after it", describe(l.ID), describe(got[i-1].ID))
		}
	}
}

func (p *pairing) compareObjects() {
	got, err := p.store.ListObjects(p.ctx, "kind")
	p.must(err)
	want, err := p.model.ListObjects(p.ctx, "kind")
	p.must(err)
	if len(got) != len(want) {
		p.differ("%d objects, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Name != want[i].Name || string(got[i].Value) != string(want[i].Value) || got[i].Version != p.objects[want[i].Name][0] {
			p.differ("object %+v, want %+v", got[i], want[i])
		}
	}
}

// compareTrace compares the trace of an event unless it may differ: after a
// crash, of a delivery that was purged or whose subscription is gone, and of an
// event that retention removed.
func (p *pairing) compareTrace(b *pairedBus, sequence uint64) {
	bounds := p.bounds(b.engine)
	if p.lossy || p.opaque[place{b.model, sequence}] || sequence < bounds.History {
		return
	}
	want, err := p.model.TraceOf(p.ctx, b.model, sequence)
	p.must(err)
	for _, t := range want {
		if p.model.state.subs[t.ID.Subscription] == nil {
			return
		}
	}
	difference := ""
	same := func() bool {
		difference = p.traceDifference(p.trace(b.engine, sequence), want)
		return difference == ""
	}
	deadline := time.Now().Add(p.env.patience() / 4)
	for !same() {
		if time.Now().After(deadline) {
			p.differ("the trace of %d of %s: %s", sequence, b.name, difference)
		}
		p.env.Step()
		time.Sleep(time.Millisecond)
	}
}

func (p *pairing) traceDifference(got, want []store.DeliveryTrace) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d deliveries, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		waits := g.State == "queued" || g.State == "retrying"
		d := p.model.state.subs[w.ID.Subscription].owed[w.ID]
		open := waits && d != nil && !d.claimed && !d.retryAt.IsZero() && d.trigger != store.TriggerRetry // put off without an attempt
		if p.inModel(g.ID) != w.ID || g.State != w.State && !open || !sameAttempts(g.Attempts, w.Attempts) ||
			!g.Settled.Equal(w.Settled) || g.Reason != w.Reason || !g.Queued.Equal(w.Queued) {
			return fmt.Sprintf("%+v, want %+v", g, w)
		}
	}
	return ""
}
