package bus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/storetest"
	"github.com/switchyard-dev/switchyard/targets"
)

// flaky is a store that refuses to append while broken.
type flaky struct {
	*storetest.Model
	broken func(batch []store.Entry) bool
}

func (f *flaky) Append(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
	if f.broken != nil && f.broken(batch) {
		return nil, store.ErrUnavailable
	}
	return f.Model.Append(ctx, batch)
}

// withReplies runs a target "t" on bus orders that replies to the bus replies,
// and keeps the log.
func (w *world) withReplies(tg *target, st store.Store) *bytes.Buffer {
	var log bytes.Buffer
	if err := w.engine.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.registry = prometheus.NewRegistry()
	e, err := bus.New(bus.Options{Store: st, Registry: w.registry, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = e
	p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg, ReplyTo: "replies", Retry: bus.RetryPolicy{Attempts: 5}}})
	p.Buses["replies"] = bus.BusPlan{Dedupe: time.Hour, MaxEventSize: 1000}
	w.apply(p)
	w.run()
	return &log
}

// traced are the deliveries of an event of the bus orders.
func (w *world) traced(sequence uint64) []store.DeliveryTrace {
	w.t.Helper()
	id, err := w.engine.BusID("orders")
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := w.store.TraceOf(context.Background(), id, sequence)
	if err != nil || len(all) == 0 {
		w.t.Fatalf("the trace of %d has %v, %v", sequence, all, err)
	}
	return all
}

// metric is the sum of a counter over its series, of an engine with a registry.
func (w *world) metric(name string) (sum float64) {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// on are the events of a bus.
func (w *world) on(name string) []store.Record {
	w.t.Helper()
	id, err := w.engine.BusID(name)
	if err != nil {
		w.t.Fatal(err)
	}
	records, err := w.store.Read(context.Background(), id, 1, 100, 1<<20, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return records
}

func TestAReplyIsPublishedOnceForEachDelivery(t *testing.T) {
	within(t, func(w *world) {
		reply := w.event("reply") // the same event each time: the delivery tells them apart
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			if d.Reply != nil {
				t.Error("an attempt begins with a reply")
			}
			if d.Event.ID() != "mute" {
				d.Reply = reply
			}
			if d.Attempt == 1 {
				return errors.New("a reply to a failed attempt does not count")
			}
			return nil
		}}
		w.withReplies(tg, w.store)
		w.publish(w.event("1"), w.event("2"), w.event("mute"))
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, d := range tg.attempts() {
			if !d.WantReply {
				t.Error("the target is not told that a reply is wanted")
			}
		}
		got := w.on("replies")
		if len(got) != 2 || got[0].Event.ID() != "reply" || got[0].Hops != 1 || !strings.HasPrefix(got[0].Via, "reply/all/t/dlv_") {
			t.Errorf("the bus has %+v", got)
		}
	})
}

func TestARepeatedDeliveryDoesNotRepeatItsReply(t *testing.T) {
	within(t, func(w *world) {
		settled := 0
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			settled++
			d.Reply = w.event("reply-" + strings.Repeat("x", settled))
			return nil
		}}
		st := &flaky{Model: w.store}
		// What is appended is kept, and the answer lost on its way: the attempt
		// counts as failed and its reply is there all the same.
		lost := true
		st.broken = func(batch []store.Entry) bool {
			if strings.HasPrefix(batch[0].Via, "reply/") && lost {
				lost = false
				if _, err := st.Model.Append(context.Background(), batch); err != nil {
					t.Error(err)
				}
				return true
			}
			return false
		}
		w.withReplies(tg, st)
		w.publish(w.event("1"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := w.on("replies"); len(got) != 1 || got[0].Event.ID() != "reply-x" || settled != 2 {
			t.Errorf("after %d attempts the bus has %+v", settled, got)
		}
	})
}

func TestAReplyThatTheStoreRefusesIsTriedAgainWithItsDelivery(t *testing.T) {
	within(t, func(w *world) {
		refusals := 2
		st := &flaky{Model: w.store, broken: func(batch []store.Entry) bool {
			refuse := strings.HasPrefix(batch[0].Via, "reply/") && refusals > 0
			if refuse {
				refusals--
			}
			return refuse
		}}
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			d.Reply = w.event("reply")
			return nil
		}}
		log := w.withReplies(tg, st)
		w.publish(w.event("1"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(tg.attempts()); n != 3 || len(w.on("replies")) != 1 || len(w.dead("all/t")) != 0 {
			t.Errorf("%d attempts, %d replies", n, len(w.on("replies")))
		}
		if want := `the reply was not published to bus \"replies\": store unavailable`; !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %q:\n%s", want, log)
		}
	})
}

func TestAReplyThatCanNeverBeAcceptedEndsItsDelivery(t *testing.T) {
	for name, c := range map[string]struct {
		attrs []string
		want  string
	}{
		"too large":        {[]string{"subject", strings.Repeat("x", 1000)}, "maxEventSize"},
		"a bad time":       {[]string{"deliverytime", "soon"}, "RFC 3339"},
		"a bad expiry":     {[]string{"expirytime", "soon"}, "RFC 3339"},
		"too far ahead":    {[]string{"deliverytime", "2099-01-01T00:00:00Z"}, "366 days"},
		"nothing is wrong": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
					d.Reply = w.event("reply", c.attrs...)
					return nil
				}}
				log := w.withReplies(tg, w.store)
				w.publish(w.event("1"))
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := len(tg.attempts()); n != 1 || w.info("all/t").Depth != 0 || len(w.dead("all/t")) != 0 {
					t.Errorf("%d attempts, subscription %+v", n, w.info("all/t"))
				}
				if n := len(w.on("replies")); (n == 1) != (c.want == "") {
					t.Errorf("%d replies are on the bus", n)
				}
				if why := w.traced(1)[0].Attempts[0].ReplyDropped; (why != "") != (c.want != "") || !strings.Contains(why, c.want) {
					t.Errorf("the trace says that the reply was dropped because %q, want %q", why, c.want)
				}
				if n := w.metric("switchyard_replies_dropped_total"); (n == 1) != (c.want != "") {
					t.Errorf("%v replies are counted as dropped", n)
				}
				if got := log.String(); !strings.Contains(got, c.want) || strings.Contains(got, "level=WARN") != (c.want != "") {
					t.Errorf("the log does not say %q:\n%s", c.want, got)
				}
			})
		})
	}
}

func TestAReplyCanBeScheduled(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			d.Reply = w.event("reply", "deliverytime", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			return nil
		}}
		w.withReplies(tg, w.store)
		w.publish(w.event("1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		id, err := w.engine.BusID("replies")
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := w.store.ListScheduled(context.Background(), id, "", "", "", 10)
		if err != nil || len(list) != 1 || len(w.on("replies")) != 0 {
			t.Errorf("scheduled: %+v (%v), recorded: %d", list, err, len(w.on("replies")))
		}
	})
}

func TestRepliesThatAnswerThemselvesEnd(t *testing.T) {
	within(t, func(w *world) {
		n := 0
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			n++
			d.Reply = w.event("again")
			return nil
		}}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg, ReplyTo: "orders"}})
		w.apply(p)
		w.run()
		w.publish(w.event("1"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n != 17 || len(w.on("orders")) != 17 || len(w.dead("all/t")) != 0 {
			t.Errorf("%d deliveries, %d events, want 17 of each and no dead letter", n, len(w.on("orders")))
		}
	})
}

func TestRepliesAreIgnoredWithoutABusForThem(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{deliver: func(_ context.Context, d *targets.Delivery) error {
			if d.WantReply {
				t.Error("a reply is wanted")
			}
			d.Reply = w.event("reply")
			return nil
		}}
		w.to(tg, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"))
		synctest.Wait()
		if got := w.on("orders"); len(got) != 1 {
			t.Errorf("the bus has %d events", len(got))
		}
		err := w.engine.Apply(context.Background(), w.plan(map[string]bus.TargetPlan{"t": {Target: tg, ReplyTo: "gone"}}))
		if err == nil || err.Error() != `bus: target "t": there is no bus "gone" for its replies` {
			t.Errorf("the error is %v", err)
		}
	})
}
