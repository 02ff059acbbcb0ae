package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

func TestOriginsAreReadAsTheyWereWritten(t *testing.T) {
	for via, want := range map[string]bus.Origin{
		"http/127.0.0.1":         {Kind: "http", Principal: "127.0.0.1"},
		"http/[::1]":             {Kind: "http", Principal: "[::1]"},
		"transaction/10.0.0.1":   {Kind: "transaction", Principal: "10.0.0.1"},
		"source/hooks/webhook":   {Kind: "source", Source: "hooks", SourceKind: "webhook"},
		"subscription/r/t/dlv_1": {Kind: "bus", Rule: "r", Target: "t", Delivery: "dlv_1"},
		"reply/r/t/dlv_1":        {Kind: "reply", Rule: "r", Target: "t", Delivery: "dlv_1"},
		"deadletter/r/t/dlv_1":   {Kind: "deadletter", Rule: "r", Target: "t", Delivery: "dlv_1"},
		"system":                 {Kind: "system"},
		"a program of its own":   {Kind: "other", Source: "a program of its own"},
		// As releases before wrote them.
		"http":             {Kind: "http"},
		"source/hooks":     {Kind: "source", Source: "hooks"},
		"subscription/r/t": {Kind: "bus", Rule: "r", Target: "t"},
	} {
		if got := bus.ParseOrigin(via); got != want {
			t.Errorf("%q is read as %+v, want %+v", via, got, want)
		}
	}
	for via, want := range map[string]string{"http/::1": "http", "source/a/cron": "source/a", "subscription/r/t/dlv_1": "subscription/r/t",
		"reply/r/t/d": "reply/r/t", "system": "system", "mine": "mine"} {
		if got := bus.ParseOrigin(via).Via(); got != want {
			t.Errorf("%q is %q in few words, want %q", via, got, want)
		}
	}
}

// What is made of a delivery says of which, so that a chain can be followed back.
func TestWhatIsMadeOfADeliverySaysOfWhich(t *testing.T) {
	within(t, func(w *world) {
		reply := w.event("reply")
		var chained error
		to := map[string]bus.TargetPlan{
			"chain": {Target: &target{deliver: func(ctx context.Context, d *targets.Delivery) error {
				chained = w.engine.PublishDelivery(ctx, "other", d)
				return chained
			}}},
			"replies": {ReplyTo: "other", Target: &target{deliver: func(_ context.Context, d *targets.Delivery) error {
				d.Reply = reply
				return nil
			}}},
			"dies": {DeadLetterBus: "other", Target: &target{deliver: func(context.Context, *targets.Delivery) error {
				return targets.Permanentf("no")
			}}},
		}
		p := w.plan(to)
		p.Buses["other"] = bus.BusPlan{Dedupe: time.Hour}
		w.apply(p)
		w.run()
		sink := w.engine.Sink("nightly", "cron", "orders", 0, 0)
		if _, err := sink.Publish(context.Background(), w.event("1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.on("orders"); len(got) != 1 || bus.ParseOrigin(got[0].Via) != (bus.Origin{Kind: "source", Source: "nightly", SourceKind: "cron"}) {
			t.Errorf("the source's event is %+v", got)
		}
		kinds := map[string]string{}
		for _, r := range w.on("other") {
			o := bus.ParseOrigin(r.Via)
			id, ok := w.engine.From(o)
			if want := (store.DeliveryID{Subscription: w.info(o.Rule + "/" + o.Target).ID, Bus: w.info("all/chain").Bus, Sequence: 1}); !ok || id != want {
				t.Errorf("%s is made of %+v, want %+v", r.Via, id, want)
			}
			kinds[o.Kind] = o.Target
			// And the delivery says what was made of it, so that it can be followed on.
			for _, d := range w.traced(1) {
				place := store.EventPlace{Bus: r.Bus, Sequence: r.Sequence}
				if got := d.Attempts[0].Published; d.Subscription == o.Rule+"/"+o.Target && o.Kind != bus.OriginDeadLetter && got != place {
					t.Errorf("%s was published as %+v, want %+v", d.Subscription, got, place)
				}
			}
		}
		if chained != nil || len(kinds) != 3 || kinds["bus"] != "chain" || kinds["reply"] != "replies" || kinds["deadletter"] != "dies" {
			t.Errorf("the other bus has %v, %v", kinds, chained)
		}
	})
}
