package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// Runners of a subscription with an order hand over to each other with every
// delivery. When the last of them leaves, nothing may be left to do.
func TestAnOrderedSubscriptionNeverStandsStill(t *testing.T) {
	for name, order := range map[string]store.Order{"key": store.OrderKey, "strict": store.OrderStrict} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				within(t, func(w *world) {
					w.to(&target{}, bus.TargetPlan{Order: order})
					w.run()
					for i := range 1000 {
						w.publish(w.event(fmt.Sprint(i), "subject", fmt.Sprint("key", i%3)))
					}
					w.after(time.Minute)
					if info := w.info("all/t"); info.Depth != 0 {
						t.Errorf("%d deliveries are left: %+v", info.Depth, info)
					}
				})
			}
		})
	}
}
