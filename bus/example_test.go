package bus_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/gofunc"
)

// A program keeps events in a folder of its own, and a Go function gets those
// that a rule matches.
func Example() {
	dir, err := os.MkdirTemp("", "events")
	check(err)
	defer os.RemoveAll(dir)
	st, err := embedded.Open(embedded.Options{Dir: dir, DiskReserve: -1})
	check(err)
	engine, err := bus.New(bus.Options{Store: st})
	check(err)

	env, err := rules.NewEnv()
	check(err)
	large, err := env.Compile(rules.Filter{When: `event.type == "com.example.order.placed" && event.data.total > 100`})
	check(err)
	delivered := make(chan string, 1)
	check(engine.Apply(context.Background(), bus.Plan{
		Buses: map[string]bus.BusPlan{"orders": {Dedupe: time.Minute, MaxAge: 24 * time.Hour}},
		Rules: map[string]bus.RulePlan{"large": {Bus: "orders", Matcher: large, Targets: []string{"printer"}}},
		Targets: map[string]bus.TargetPlan{"printer": {
			Retry: bus.RetryPolicy{Attempts: 5, Initial: time.Second},
			Target: gofunc.New(func(_ context.Context, d *targets.Delivery) error {
				delivered <- d.Event.ID()
				return nil
			}),
		}},
	}))

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()

	for id, total := range map[string]int{"small": 7, "large": 700} {
		ev, err := event.New("/shop", id, "com.example.order.placed", order{Total: total})
		check(err)
		_, err = engine.Publish(ctx, []bus.Publication{{Bus: "orders", Event: ev}}, bus.PublishOptions{Via: "shop"})
		check(err) // nil: it is on stable storage
	}
	fmt.Println("delivered:", <-delivered)

	stop() // in this order: the engine, its targets, the store
	check(<-done)
	check(engine.Close())
	check(st.Close())
	// Output: delivered: large
}

// order is the data of the example's events.
type order struct {
	Total int `json:"total"`
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
