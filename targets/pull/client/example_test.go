package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/targets/pull/client"
)

func Example() {
	server, stop := exampleServer() // in life: switchyard serve
	defer stop()
	c, err := client.New(server, "all", "workers", client.Options{Consumer: "worker-1"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = c.Run(ctx, 1, func(ctx context.Context, d client.Delivery) error {
		if d.Event.ID() == "2" && d.Attempt == 1 {
			fmt.Println("not now:", d.Event.ID())
			return &client.RetryAfter{After: 100 * time.Millisecond, Err: errors.New("the printer is busy")}
		}
		fmt.Println("done:", d.Event.ID())
		if d.Attempt == 2 {
			cancel() // that was the last; what returns nil is still acknowledged
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// done: 1
	// not now: 2
	// done: 3
	// done: 2
}

func exampleServer() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "switchyard")
	if err != nil {
		log.Fatal(err)
	}
	s, err := start(dir, time.Minute, bus.TargetPlan{})
	if err != nil {
		log.Fatal(err)
	}
	s.publish("1", "2", "3")
	return s.url, func() { s.stop(); os.RemoveAll(dir) }
}
