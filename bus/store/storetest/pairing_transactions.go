package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// openTransaction opens one in both; their ids are equal.
func (p *pairing) openTransaction(rng *rand.Rand) {
	var engine, model []store.Entry
	for range 1 + rng.IntN(4) {
		b := p.anyBus(rng)
		n := rng.IntN(120)
		e := entry(p, b.engine, fmt.Sprintf("e%d", n))
		e.Window = []time.Duration{0, 10*time.Minute + 500*time.Microsecond, 5000 * time.Hour}[n%3]
		engine = append(engine, e)
		e.Bus = b.model
		model = append(model, e)
	}
	got, err := p.store.OpenTransaction(p.ctx, engine, "", p.now())
	p.must(err)
	want, err := p.model.OpenTransaction(p.ctx, model, "", p.now())
	p.must(err)
	p.say("open transaction %d of %d events", want.ID, len(model))
	if got.ID != want.ID {
		p.differ("the transaction opened as %+v, want %+v", got, want)
	}
}

// endTransaction commits or rolls back, or notes a check of, one of the newest,
// and compares it.
func (p *pairing) endTransaction(rng *rand.Rand) {
	newest := p.model.state.lastTransaction
	if newest == 0 {
		return
	}
	id := newest - min(newest-1, uint64(rng.IntN(6)))
	switch n := rng.IntN(6); n {
	case 0:
		p.say("roll back transaction %d", id)
		p.agreeOn(id, p.store.RollbackTransaction(p.ctx, id), p.model.RollbackTransaction(p.ctx, id))
	case 1, 2:
		p.say("check transaction %d", id)
		c := store.Check{Count: n}
		if n == 1 {
			c.Next = p.now().Add(time.Second)
		}
		p.agreeOn(id, p.store.CheckedTransaction(p.ctx, id, c), p.model.CheckedTransaction(p.ctx, id, c))
	default:
		p.say("commit transaction %d", id)
		got, err := p.store.CommitTransaction(p.ctx, id)
		want, wantErr := p.model.CommitTransaction(p.ctx, id)
		p.agreeOn(id, err, wantErr)
		p.sameEvents(id, got, want)
	}
	got, events, err := p.store.GetTransaction(p.ctx, id)
	want, wantEvents, wantErr := p.model.GetTransaction(p.ctx, id)
	p.agreeOn(id, err, wantErr)
	if got.State != want.State || got.Check.Count != want.Check.Count || !got.Check.Next.Equal(want.Check.Next) || !got.Finished.Equal(want.Finished) {
		p.differ("transaction %d stands as %+v, want %+v", id, got, want)
	}
	p.sameEvents(id, events, wantEvents)
}

func (p *pairing) agreeOn(id uint64, engine, model error) {
	p.Helper()
	for _, e := range []error{store.ErrNotFound, store.ErrCommitted, store.ErrRolledBack, store.ErrBusGone} {
		if errors.Is(engine, e) != errors.Is(model, e) {
			p.differ("transaction %d: the engine answers %v, the model %v", id, engine, model)
		}
	}
	p.agree(fmt.Sprintf("transaction %d", id), engine, model)
}

func (p *pairing) sameEvents(id uint64, got, want []store.TransactionEvent) {
	p.Helper()
	got = slices.Clone(got)
	if len(got) != len(want) {
		p.differ("transaction %d has %d events, want %d", id, len(got), len(want))
	}
	for i := range got {
		if r := &got[i].Result; r.Duplicate && want[i].Result.Duplicate {
			r.Scheduled = want[i].Result.Scheduled // left open
		}
		if got[i].Result != want[i].Result || got[i].ID != want[i].ID || got[i].Source != want[i].Source {
			p.differ("transaction %d: event %+v, want %+v", id, got[i], want[i])
		}
	}
}
