package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// producer answers checks as a test sets, and notes when it was asked. Only the
// engine's checks, one after another, use it.
type producer struct {
	mu    sync.Mutex
	state string
	err   error
	at    []time.Time
}

// answers sets what it says from now on.
func (p *producer) answers(state string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.err = state, err
}

func (p *producer) Accept(string) error { return nil }

func (p *producer) Check(context.Context, string, bus.TransactionCheck) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, time.Now())
	return p.state, p.err
}

// asked opens the engine again with somebody to ask, and runs it.
func (w *world) asked(p *producer) *target {
	w.t.Helper()
	w.openWith(bus.Options{Checker: p})
	tg := &target{}
	w.to(tg, bus.TargetPlan{})
	w.run()
	return tg
}

func (w *world) begin(ids ...string) string {
	w.t.Helper()
	var batch []bus.Publication
	for _, id := range ids {
		batch = append(batch, bus.Publication{Bus: "orders", Event: w.event(id)})
	}
	t, err := w.engine.BeginTransaction(context.Background(), batch, "http://producer/check", bus.PublishOptions{Via: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return t.Name
}

func TestAnUnansweredTransactionIsAskedAboutAndParkedInTheEnd(t *testing.T) {
	within(t, func(w *world) {
		p := &producer{state: "unknown"}
		w.asked(p)
		began := time.Now()
		name := w.begin("1", "2")
		w.after(time.Minute)
		w.stop() // the schedule goes on after a restart
		tg := w.asked(p)
		w.after(time.Hour)
		if len(p.at) != bus.MaxChecks {
			t.Fatalf("it was asked %d times, want %d", len(p.at), bus.MaxChecks)
		}
		for i, at := range p.at {
			if want := bus.FirstCheck + time.Duration(i)*bus.CheckInterval; at.Sub(began) < want || at.Sub(began) > want+time.Second {
				t.Errorf("check %d came after %v, want %v", i+1, at.Sub(began), want)
			}
		}
		got, _, err := w.engine.Transaction(context.Background(), name)
		if err != nil || got.State != store.TransactionParked {
			t.Fatalf("it stands as %+v, %v", got, err)
		}
		news, _, err := w.engine.Read(context.Background(), bus.SystemBus, bus.Query{})
		if err != nil || len(news) != 1 || news[0].Event.Type() != bus.TypeTransactionParked || news[0].Event.Subject() != name {
			t.Errorf("there are %d system events, %v", len(news), err)
		}
		if n := len(tg.attempts()); n != 0 {
			t.Fatalf("%d events were delivered before the commit", n)
		}
		if _, err := w.engine.CommitTransaction(context.Background(), name); err != nil {
			t.Fatal(err)
		}
		w.after(time.Second)
		if got := tg.ids(); got != "1 2" && got != "2 1" { // the target has no order
			t.Errorf("after the commit %q were delivered", got)
		}
	})
}

func TestTheAnswerToACheckEndsATransaction(t *testing.T) {
	for state, want := range map[string]string{"commit": "1", "rollback": ""} {
		t.Run(state, func(t *testing.T) {
			within(t, func(w *world) {
				p := &producer{err: errors.New("connection refused")}
				tg := w.asked(p)
				name := w.begin("1")
				w.after(10 * time.Second)
				if got, _, _ := w.engine.Transaction(context.Background(), name); got.Check.Error != "connection refused" || got.State != store.TransactionOpen {
					t.Errorf("after a failed check it stands as %+v", got)
				}
				p.answers(state, nil)
				w.after(time.Minute)
				if got, _, _ := w.engine.Transaction(context.Background(), name); !got.State.Finished() || tg.ids() != want {
					t.Errorf("it stands as %+v, delivered %q", got, tg.ids())
				}
			})
		})
	}
}
