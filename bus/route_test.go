package bus_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// TestLargeEventsAreRoutedWithoutAnotherToFollow publishes at once more bytes
// than a router takes in one turn.
func TestLargeEventsAreRoutedWithoutAnotherToFollow(t *testing.T) {
	within(t, func(w *world) {
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: pullTarget(t, false)}})
		p.Buses["orders"] = bus.BusPlan{MaxEventSize: 4 << 20}
		w.apply(p)
		w.run()
		var all []*event.Event
		for i := range 6 {
			all = append(all, w.event(fmt.Sprint(i), "large", strings.Repeat("x", 3<<20)))
		}
		w.publish(all...)
		synctest.Wait()
		got := 0
		for range 6 {
			ds := w.receive(bus.Receive{Max: 100, Wait: time.Minute})
			for _, d := range ds {
				w.ack(d.Lease)
			}
			got += len(ds)
		}
		if got != 6 {
			t.Errorf("%d of 6 events were routed", got)
		}
	})
}
