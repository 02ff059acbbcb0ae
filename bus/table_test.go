package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// stock publishes events of the form id, subject, each with data.
func (w *world) stock(pairs ...string) {
	w.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		b := event.FromEvent(w.event(pairs[i], "subject", pairs[i+1]))
		b.SetJSON([]byte(`{"n":1}`))
		ev, err := b.Build()
		if err != nil {
			w.t.Fatal(err)
		}
		w.publish(ev)
	}
}

func TestASubscriptionThatSeeksToTheStartGetsTheTableAndThenWhatFollows(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg, Order: store.OrderStrict}})
		p.Buses["orders"] = bus.BusPlan{MaxAge: time.Hour, Table: true}
		w.apply(p)
		w.run()
		w.stock("1", "lamp", "2", "chair", "3", "lamp", "4", "desk")
		w.publish(w.event("5", "subject", "desk")) // ends it
		w.after(2 * time.Hour)
		if err := w.store.Trim(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.stock("6", "sofa", "7", "chair")
		w.after(time.Minute)
		if got := idsOf(tg.taken()); got != "1 2 3 4 5 6 7" {
			t.Fatalf("delivered %q at first", got)
		}
		r := w.seek(bus.SeekPlace{Start: true})
		w.stock("8", "stool")
		w.after(time.Minute)
		if got := idsOf(tg.taken()); got != "3 6 7 8" {
			t.Errorf("delivered %q, want the rows and what follows", got)
		}
		if s := w.replayNow(r.Replay); s.State != bus.ReplayDone || s.Queued != 3 || s.Skipped != 0 {
			t.Errorf("at the end the seek is %+v", s)
		}
		rows, next, err := w.engine.Table(context.Background(), "orders", bus.TableQuery{Prefix: "so"})
		if err != nil || next != "" || len(rows) != 1 || rows[0].Event.ID() != "6" {
			t.Errorf("the rows are %+v, next %q, %v", rows, next, err)
		}
		if r, err := w.engine.TableRow(context.Background(), "orders", "lamp"); err != nil || r.Event.ID() != "3" {
			t.Errorf("the row is %+v, %v", r, err)
		}
	})
}
