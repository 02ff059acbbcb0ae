package main

import (
	"context"
	"fmt"

	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// withoutTraces is a bus whose store records no outcomes of deliveries.
const withoutTraces = "without traces"

// traceScenario is what recording the outcomes of deliveries costs.
func traceScenario() *scenario {
	return &scenario{
		name: "trace",
		about: fmt.Sprintf("the whole bus in process, %d publishers, %d deliveries each of which the outcome is recorded, beside the same without traces",
			busPublishers, fanOut),
		rows: []row{
			{measure: perSecond, limit: withoutTraces, bar: bar{value: 0.9}},
			{measure: p50, limit: withoutTraces},
			{measure: p99, limit: withoutTraces},
			{measure: cpuAnEvent, limit: withoutTraces, bar: bar{value: 1.1, most: true}},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			var all []contender
			for _, n := range []struct {
				name string
				opts embedded.Options
			}{{ours, embedded.Options{}}, {withoutTraces, embedded.Options{NoTrace: true}}} {
				b, err := openBus(ctx, e, c, t, n.opts, nil)
				if err != nil {
					return nil, err
				}
				all = append(all, withCPU(contender{n.name, b.publishing(e, busPublishers)}, ownCPU))
			}
			return all, nil
		},
	}
}
