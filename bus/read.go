package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// ErrUnknownBus means that no bus in the plan has that name.
var ErrUnknownBus = errors.New("unknown bus")

// BusID is the store's id of the bus called name.
func (e *Engine) BusID(name string) (store.BusID, error) {
	b := e.state.Load().buses[name]
	if b == nil {
		return 0, fmt.Errorf("%w: %q", ErrUnknownBus, name)
	}
	return b.id, nil
}

// MaxEventSize is the limit of the bus on one event, in bytes.
func (e *Engine) MaxEventSize(bus string) (int, error) {
	b := e.state.Load().buses[bus]
	if b == nil {
		return 0, fmt.Errorf("%w: %q", ErrUnknownBus, bus)
	}
	return b.plan.MaxEventSize, nil
}

// BusName is the name of the bus with this id, "" if no bus of the plan has it.
func (e *Engine) BusName(id store.BusID) string {
	if b := e.state.Load().byID[id]; b != nil {
		return b.name
	}
	return ""
}

// readMost bounds how many events one Read asks the store for at once.
const readMost = 256

// scanMost bounds how many events one Read looks at; a filter that matches
// rarely is continued by the next call.
const scanMost = 20000

// Query asks for stored events.
type Query struct {
	From  uint64         // lowest sequence; 0 is the first that is kept
	To    uint64         // highest sequence; 0 is the end of the bus
	When  *rules.Matcher // nil takes every event
	Limit int            // events at most; 0 is 100
}

// Read returns the stored events of a bus that q asks for, oldest first. next
// is the sequence to go on from, 0 when everything up to q.To was looked at.
// One call looks at a bounded number of events, so a page may be short or even
// empty although next is not 0. It looks no further than it has to, and what
// cannot be read ends a page that has events: the page from next on says why.
func (e *Engine) Read(ctx context.Context, bus string, q Query) (records []store.Record, next uint64, err error) {
	id, err := e.BusID(bus)
	if err != nil {
		return nil, 0, err
	}
	bounds, err := e.store.Bounds(id)
	if err != nil {
		return nil, 0, err
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	to := bounds.Last
	if q.To > 0 {
		to = min(to, q.To)
	}
	from := max(q.From, bounds.First, 1)
	var page []store.Record
	for scanned := 0; from <= to && scanned < scanMost; {
		size := int(min(to-from+1, readMost))
		if q.When == nil {
			size = min(size, q.Limit-len(records)+1) // one more tells where to go on
		}
		page, err = e.store.Read(ctx, id, from, size, 4<<20, page[:0])
		if err != nil && len(records) > 0 && ctx.Err() == nil {
			return records, from, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if len(page) == 0 {
			return records, 0, nil
		}
		for _, r := range page {
			if r.Sequence > to {
				return records, 0, nil
			}
			if len(records) == q.Limit {
				return records, r.Sequence, nil
			}
			from = r.Sequence + 1
			scanned++
			if q.When == nil || q.When.Evaluate(r.Event).Matched {
				records = append(records, r)
			}
		}
	}
	if from <= to {
		return records, from, nil
	}
	return records, 0, nil
}

// Tail calls fn with every event of a bus above sequence after that when
// matches, in order, and waits for new ones until ctx is done or fn fails.
// idle is called about every interval while there is nothing.
func (e *Engine) Tail(ctx context.Context, bus string, after uint64, when *rules.Matcher,
	interval time.Duration, fn func(store.Record) error, idle func(at uint64) error) error {
	id, err := e.BusID(bus)
	if err != nil {
		return err
	}
	var page []store.Record
	for {
		wait, cancel := context.WithTimeout(ctx, interval)
		err := e.store.Await(wait, id, after)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			if err := idle(after); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if page, err = e.store.Read(ctx, id, after+1, 256, 1<<20, page[:0]); err != nil {
			return err
		}
		for _, r := range page {
			after = r.Sequence
			if when == nil || when.Evaluate(r.Event).Matched {
				if err := fn(r); err != nil {
					return err
				}
			}
		}
		clear(page)
	}
}

// ReadBack is the event as the bus shows it when it is read back: with its
// place in the bus as the extensions sequence (20 digits) and recordedtime. A
// publisher's own are kept as originalsequence and originalrecordedtime.
func ReadBack(r store.Record) (*event.Event, error) {
	b := event.FromEvent(r.Event)
	var errs []error
	for _, name := range []string{"sequence", "recordedtime"} {
		if v, ok := r.Event.Extension(name); ok {
			errs = append(errs, b.Set("original"+name, v))
		}
	}
	errs = append(errs,
		b.Set("sequence", event.StringValue(fmt.Sprintf("%020d", r.Sequence))),
		b.Set("recordedtime", event.StringValue(r.Recorded.UTC().Format(time.RFC3339Nano))))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b.Build()
}

// SplitSubscription splits a subscription's name into its rule and target. A
// consumer of a broadcast has the target of the broadcast.
func SplitSubscription(name string) (rule, target string) {
	rule, target, _ = strings.Cut(name, "/")
	target, _, _ = strings.Cut(target, "/")
	return rule, target
}

// ConsumerOf is the consumer in the name of a subscription of a broadcast's
// consumer, else "".
func ConsumerOf(name string) string { return consumerOf(name) }

// SubscriptionsOf are the subscriptions in force of a rule, consumers of its
// broadcasts included, in order of its targets.
func (e *Engine) SubscriptionsOf(rule string) (ids []store.SubscriptionID) {
	st := e.state.Load()
	r, _ := st.rules.Get(rule)
	for _, target := range r.Targets {
		s := st.named.At(rule + "/" + target)
		if s == nil {
			continue
		}
		ids = append(ids, s.id)
		if all := s.consumers.Load(); all != nil {
			for _, name := range slices.Sorted(maps.Keys(*all)) {
				ids = append(ids, (*all)[name].id)
			}
		}
	}
	return ids
}

// FindSubscription looks a subscription up by rule and target.
// store.ErrNotFound if there is none.
func (e *Engine) FindSubscription(rule, target string) (store.SubscriptionInfo, error) {
	name := rule + "/" + target
	for _, info := range e.store.Subscriptions() {
		if info.Name == name {
			return info, nil
		}
	}
	return store.SubscriptionInfo{}, fmt.Errorf("subscription %q: %w", name, store.ErrNotFound)
}
