package bus

import (
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// noticed is the wait below which an attempt counts as made when it was due.
const noticed = 10 * time.Millisecond

// waited is what kept an attempt that begins at now waiting: what shut the
// target's gate, or that of an endpoint which the rule asks, after the attempt
// was due, else its order, else a lack of
// permits, else, for another try, the schedule that it had to wait for.
func (d *deliverer) waited(spec *subscriptionSpec, dl *claimed, now time.Time) store.Wait {
	if why := spec.target.gate.waited(dl.Due, dl.probe); why != store.WaitNone {
		return why
	}
	if why := spec.asks.waited(dl.Due, dl.asking); why != store.WaitNone {
		return why
	}
	if now.Sub(dl.Due) >= noticed {
		if dl.Behind {
			return store.WaitOrder
		}
		due := dl.Due.UnixNano()
		if spec.target.limit.full.Load() > due || d.limit.full.Load() > due {
			return store.WaitConcurrency
		}
		if spec.order == store.OrderStrict && dl.Trigger == store.TriggerFirst {
			return store.WaitOrder
		}
	}
	if dl.Trigger == store.TriggerRetry {
		return store.WaitBackoff
	}
	return store.WaitNone
}
