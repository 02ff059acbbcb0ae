package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// publishN publishes events 1 to n, with subjects a and b in turn.
func (w *world) publishN(n int) {
	w.t.Helper()
	for i := 1; i <= n; i++ {
		w.publish(w.event(fmt.Sprint(i), "subject", string(rune('a'+i%2))))
	}
	synctest.Wait()
}

func (w *world) replay(q bus.ReplayRequest) bus.Replay {
	w.t.Helper()
	q.Bus = "orders"
	r, err := w.engine.StartReplay(context.Background(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) replayNow(id string) bus.Replay {
	w.t.Helper()
	r, err := w.engine.Replay(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// taken empties what the target was given.
func (t *target) taken() []targets.Delivery {
	t.mu.Lock()
	defer t.mu.Unlock()
	got := t.got
	t.got = nil
	return got
}

func idsOf(ds []targets.Delivery) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.Event.ID())
	}
	return strings.Join(ids, " ")
}

func TestAReplayDeliversStoredEventsAgainMarkedAndUnderIdsOfTheirOwn(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.publishN(6)
		first := tg.taken()
		r := w.replay(bus.ReplayRequest{From: 2, To: 5, When: `event.subject == "a"`, Name: "again"})
		w.after(time.Minute)
		got := tg.taken()
		if ids := idsOf(got); ids != "2 4" {
			t.Fatalf("replayed %q, want 2 and 4", ids)
		}
		for i, d := range got {
			name, _ := d.Event.Extension("replayname")
			if name.Text() != "again" || d.ID == first[2*i+1].ID || d.Attempt != 1 {
				t.Errorf("a replayed delivery is %+v, replayname %q", d, name.Text())
			}
		}
		if r = w.replayNow(r.ID); r.State != bus.ReplayDone || r.Scanned != 4 || r.Queued != 2 || r.Remaining != 0 || r.Finished.IsZero() {
			t.Errorf("at the end the replay is %+v", r)
		}
		id, err := w.engine.BusID("orders")
		if err != nil {
			t.Fatal(err)
		}
		traces, err := w.store.TraceOf(context.Background(), id, 2)
		if err != nil || len(traces) != 2 || traces[1].Attempts[0].Trigger != store.TriggerReplay {
			t.Errorf("the trace is %+v, %v", traces, err)
		}
	})
}

func TestAReplayTakesTheRulesAsTheyAreNowAndOnlyThoseChosen(t *testing.T) {
	within(t, func(w *world) {
		old, young, other := &target{}, &target{}, &target{}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: old, Fingerprint: "t", Order: store.OrderStrict}})
		w.apply(p)
		w.run()
		w.publishN(4)
		old.taken()
		p = w.plan(map[string]bus.TargetPlan{"t": {Target: old, Fingerprint: "t", Order: store.OrderStrict}, "young": {Target: young, Order: store.OrderStrict}, "other": {Target: other}})
		p.Rules = map[string]bus.RulePlan{
			"all": {Bus: "orders", Matcher: w.matcher(""), Targets: []string{"t"}},
			"new": {Bus: "orders", Matcher: w.matcher(`event.subject == "b"`), Targets: []string{"young"}},
			"not": {Bus: "orders", Matcher: w.matcher(""), Targets: []string{"other"}},
		}
		w.apply(p)
		w.replay(bus.ReplayRequest{Rules: []string{"all", "new"}})
		w.after(time.Minute)
		if old.ids() != "1 2 3 4" || young.ids() != "1 3" || other.ids() != "" {
			t.Errorf("delivered %q, %q and %q", old.ids(), young.ids(), other.ids())
		}
	})
}

func TestAReplayThatCannotBeIsRefusedAndLeavesNothing(t *testing.T) {
	within(t, func(w *world) {
		w.to(&target{}, bus.TargetPlan{})
		w.run()
		refused := func(what string, q bus.ReplayRequest, want error) {
			t.Helper()
			if _, err := w.engine.StartReplay(context.Background(), q); err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("an empty bus", bus.ReplayRequest{Bus: "orders"}, bus.ErrReplay)
		w.publishN(3)
		refused("an unknown bus", bus.ReplayRequest{Bus: "nope"}, bus.ErrUnknownBus)
		refused("an unknown rule", bus.ReplayRequest{Bus: "orders", Rules: []string{"nope"}}, bus.ErrReplay)
		refused("a range that is yet to come", bus.ReplayRequest{Bus: "orders", From: 4}, bus.ErrReplay)
		refused("a range that ends before it begins", bus.ReplayRequest{Bus: "orders", From: 3, To: 2}, bus.ErrReplay)
		refused("a bad name", bus.ReplayRequest{Bus: "orders", Name: "No Name"}, bus.ErrReplay)
		refused("a bad filter", bus.ReplayRequest{Bus: "orders", When: "event."}, nil)
		if all := w.engine.Replays(); len(all) != 0 {
			t.Errorf("there are replays: %+v", all)
		}
	})
}

func TestReplaysThatRunAndThoseThatAreKeptAreBounded(t *testing.T) {
	within(t, func(w *world) {
		w.to(&target{}, bus.TargetPlan{})
		w.run()
		w.publishN(3)
		var last bus.Replay
		for range bus.MaxReplays {
			last = w.replay(bus.ReplayRequest{Rate: 0.0001})
		}
		if _, err := w.engine.StartReplay(context.Background(), bus.ReplayRequest{Bus: "orders"}); !errors.Is(err, bus.ErrTooManyReplays) {
			t.Errorf("one more: %v", err)
		}
		if _, err := w.engine.CancelReplay(context.Background(), last.ID); err != nil {
			t.Fatal(err)
		}
		for range bus.KeptReplays + 3 {
			last = w.replay(bus.ReplayRequest{})
			w.after(time.Second)
		}
		if n := len(w.engine.Replays()); n != bus.KeptReplays+bus.MaxReplays-1 {
			t.Errorf("%d replays are kept", n)
		}
		if w.replayNow(last.ID).State != bus.ReplayDone {
			t.Error("the newest is not among them")
		}
	})
}

func TestAReplayIsNoFasterThanItsRate(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.publishN(40)
		tg.taken()
		w.replay(bus.ReplayRequest{Rate: 10})
		w.after(2050 * time.Millisecond)
		if n := len(tg.attempts()); n < 19 || n > 22 {
			t.Errorf("at 10 a second %d were delivered in two seconds", n)
		}
		w.after(time.Minute)
		if n := len(tg.attempts()); n != 40 {
			t.Errorf("in the end %d were delivered", n)
		}
	})
}

func TestAReplayQueuesOnlySoFarAhead(t *testing.T) {
	within(t, func(w *world) {
		slow := &target{deliver: func(ctx context.Context, _ *targets.Delivery) error {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return nil
		}}
		w.to(&target{}, bus.TargetPlan{Order: store.OrderKey})
		w.run()
		w.publishN(5000)
		w.after(time.Hour)
		if depth := w.info("all/t").Depth; depth != 0 {
			t.Fatalf("%d are owed at first", depth)
		}
		w.to(slow, bus.TargetPlan{Order: store.OrderStrict})
		r := w.replay(bus.ReplayRequest{})
		w.after(10 * time.Second)
		if now := w.replayNow(r.ID); now.Remaining > 1100 || now.Remaining < 500 || now.State != bus.ReplayRunning {
			t.Errorf("to a slow target the replay is %+v", now)
		}
		w.publish(w.event("live"))
		w.after(3 * time.Second)
		if !strings.Contains(slow.ids(), "live") {
			t.Error("a live event waits for the replay")
		}
		if _, err := w.engine.CancelReplay(context.Background(), r.ID); err != nil {
			t.Fatal(err)
		}
		w.after(2 * time.Second)
		if info := w.info("all/t"); info.Depth != 0 {
			t.Errorf("after the cancellation %d are owed", info.Depth)
		}
		if now := w.replayNow(r.ID); now.State != bus.ReplayCancelled || now.Dropped == 0 || now.Remaining != 0 {
			t.Errorf("the cancelled replay is %+v", now)
		}
	})
}

func TestAReplayGoesOnAfterARestart(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.publishN(40)
		tg.taken()
		r := w.replay(bus.ReplayRequest{Rate: 10, When: `event.subject == "a"`})
		w.after(time.Second)
		w.stop()
		w.engine.Close()
		w.store = w.store.Reopen()
		w.open()
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.after(time.Minute)
		var want []string
		for i := 2; i <= 40; i += 2 {
			want = append(want, fmt.Sprint(i))
		}
		if got := idsOf(tg.taken()); got != strings.Join(want, " ") {
			t.Errorf("replayed %q", got)
		}
		if r = w.replayNow(r.ID); r.State != bus.ReplayDone || r.Queued != 20 {
			t.Errorf("the replay is %+v", r)
		}
	})
}

func TestAReplayEndsWithItsRules(t *testing.T) {
	for name, c := range map[string]struct {
		fails error // what the target says to the replayed deliveries
		rest  int   // rules in the plan without the replay's
	}{
		"another rule stays":                   {rest: 1},
		"no rule stays":                        {},
		"no rule stays and its rule owes some": {fails: errors.New("busy")},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				tg := &target{}
				w.to(tg, bus.TargetPlan{})
				w.run()
				w.publishN(40)
				tg.deliver = func(context.Context, *targets.Delivery) error { return c.fails }
				r := w.replay(bus.ReplayRequest{Rate: 10})
				w.after(time.Second)
				p := w.plan(map[string]bus.TargetPlan{"u": {Target: &target{}}})
				if c.rest == 0 {
					p.Rules = nil
				}
				w.apply(p)
				w.after(time.Minute)
				if r = w.replayNow(r.ID); r.State != bus.ReplayFailed || r.Error == "" {
					t.Errorf("without its rule the replay is %+v", r)
				}
			})
		})
	}
}

func TestConsumersOfABroadcastAndWorkersGetReplays(t *testing.T) {
	within(t, func(w *world) {
		w.broadcasts(bus.TargetPlan{})
		if _, err := w.engine.StartReplay(context.Background(), bus.ReplayRequest{Bus: "orders"}); !errors.Is(err, bus.ErrReplay) {
			t.Errorf("without consumers: %v", err)
		}
		w.as("a")
		w.as("b")
		w.publishN(3)
		for _, c := range []string{"a", "b"} {
			for _, l := range w.as(c) {
				w.ack(l.Lease)
			}
		}
		w.replay(bus.ReplayRequest{From: 2})
		w.after(time.Second)
		for _, c := range []string{"a", "b"} {
			got := w.as(c)
			if eventIDs(got) != "[2 3]" {
				t.Fatalf("%s got %s", c, eventIDs(got))
			}
			if _, ok := got[0].Event.Extension("replayname"); !ok {
				t.Error("a replayed event is not marked")
			}
			w.ack(got[0].Lease, got[1].Lease)
		}
		if all := w.consumers(); all["a"].Depth != 0 {
			t.Errorf("consumers are %+v", all)
		}
	})
}

func (w *world) seek(place bus.SeekPlace) bus.SeekResult {
	w.t.Helper()
	r, err := w.engine.Seek(context.Background(), "all/t", place)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestASeekBackDeliversFromThereOnInOrderAndLaterEventsAfterThat(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{Order: store.OrderKey})
		w.run()
		w.publishN(3)
		tg.taken()
		r := w.seek(bus.SeekPlace{Sequence: 2})
		w.publish(w.event("4", "subject", "a"), w.event("5", "subject", "b"))
		w.after(time.Minute)
		got := idsOf(tg.taken())
		if len(got) != len("2 3 4 5") || strings.Index(got, "2") > strings.Index(got, "4") || strings.Index(got, "3") > strings.Index(got, "5") {
			t.Errorf("delivered %q", got)
		}
		if s := w.replayNow(r.Replay); s.State != bus.ReplayDone || s.Seek != "all/t" || s.Queued != 2 {
			t.Errorf("what queued them is %+v", s)
		}
	})
}

func TestASeekDropsWhatIsOwedBeforeItsPlace(t *testing.T) {
	within(t, func(w *world) {
		up := false
		tg := &target{deliver: func(context.Context, *targets.Delivery) error {
			if !up {
				return errors.New("down")
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict, Retry: bus.RetryPolicy{Initial: time.Minute, Max: time.Minute, Attempts: 100, Age: time.Hour}})
		w.run()
		w.publishN(5)
		if r := w.seek(bus.SeekPlace{Sequence: 4}); r.Dropped != 3 || r.Replay != "" {
			t.Errorf("the seek did %+v", r)
		}
		up = true
		tg.taken()
		w.after(5 * time.Minute)
		if got := idsOf(tg.taken()); got != "4 5" {
			t.Errorf("delivered %q", got)
		}
		up = false
		w.publish(w.event("6"), w.event("7"))
		w.after(time.Second)
		if r := w.seek(bus.SeekPlace{End: true}); r.Dropped != 2 || r.To != 8 {
			t.Errorf("the seek to the end did %+v", r)
		}
		up = true
		tg.taken()
		w.publish(w.event("8"))
		w.after(5 * time.Minute)
		if got := idsOf(tg.taken()); got != "8" {
			t.Errorf("after the seek to the end delivered %q", got)
		}
	})
}

func TestASeekForgetsNothingThatWasClaimedAndIsStillOwed(t *testing.T) {
	within(t, func(w *world) {
		blocked := make(chan struct{})
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			time.Sleep(time.Microsecond) // it is quick, so that much is claimed at a time
			if d.Event.ID() == "101" {
				<-blocked
			}
			return nil
		}}
		w.to(tg, bus.TargetPlan{Concurrency: 1})
		w.run()
		w.publishN(100)
		w.after(time.Second)
		tg.taken()
		var more []*event.Event
		for i := 101; i <= 120; i++ {
			more = append(more, w.event(fmt.Sprint(i)))
		}
		// All of them are queued before the first is claimed.
		id := w.info("all/t").ID
		if err := w.store.Pause(context.Background(), id, "for a moment"); err != nil {
			w.t.Fatal(err)
		}
		w.publish(more...)
		synctest.Wait()
		if err := w.engine.Resume(context.Background(), id); err != nil {
			w.t.Fatal(err)
		}
		synctest.Wait()
		if n := w.info("all/t").InFlight; n < 2 {
			w.t.Errorf("%d are claimed", n)
		}
		if r := w.seek(bus.SeekPlace{Sequence: 101}); r.Dropped != 0 || r.Replay != "" {
			t.Errorf("the seek did %+v", r)
		}
		close(blocked)
		w.after(time.Minute)
		if info := w.info("all/t"); info.Depth != 0 || len(tg.taken()) != 20 {
			t.Errorf("after the seek it owes %d, of which %d are in flight", info.Depth, info.InFlight)
		}
	})
}

func TestASeekGoesToATimeToTheStartAndNowhereElse(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.publishN(2)
		w.after(time.Minute)
		noon := time.Now()
		w.publish(w.event("3"))
		synctest.Wait()
		tg.taken()
		w.seek(bus.SeekPlace{Time: noon})
		w.after(time.Minute)
		if got := idsOf(tg.taken()); got != "3" {
			t.Errorf("from a time on delivered %q", got)
		}
		w.seek(bus.SeekPlace{Start: true})
		w.after(time.Minute)
		if got := idsOf(tg.taken()); got != "1 2 3" {
			t.Errorf("from the start on delivered %q", got)
		}
		for what, try := range map[string]struct {
			name  string
			place bus.SeekPlace
			want  error
		}{
			"a sequence to come": {"all/t", bus.SeekPlace{Sequence: 4}, bus.ErrSeek},
			"a time to come":     {"all/t", bus.SeekPlace{Time: time.Now().Add(time.Hour)}, bus.ErrSeek},
			"no subscription":    {"all/nope", bus.SeekPlace{End: true}, store.ErrNotFound},
		} {
			if _, err := w.engine.Seek(context.Background(), try.name, try.place); !errors.Is(err, try.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestASeekGoesOnAfterARestart(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.publishN(4)
		tg.taken()
		w.stop()
		synctest.Wait()
		info := w.info("all/t")
		// As if a crash had come between the move and what is kept of it.
		if _, err := w.store.Seek(context.Background(), info.ID, store.SeekOptions{To: 3, Routed: 4}); err != nil {
			t.Fatal(err)
		}
		w.engine.Close()
		w.store = w.store.Reopen()
		w.open()
		w.to(tg, bus.TargetPlan{Order: store.OrderStrict})
		w.run()
		w.publish(w.event("5"))
		w.after(time.Minute)
		if got := idsOf(tg.taken()); got != "3 4 5" {
			t.Errorf("delivered %q", got)
		}
		if all := w.engine.Replays(); len(all) != 1 || all[0].Seek != "all/t" || all[0].Bus != "orders" || all[0].State != bus.ReplayDone {
			t.Errorf("kept of it is %+v", all)
		}
	})
}
