package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/targets"
)

// MaxDelay is how far ahead of its publication an event can be scheduled.
const MaxDelay = 366 * 24 * time.Hour

// Publication is one event on its way into a bus.
type Publication struct {
	Bus   string
	Event *event.Event
	// Delay records and routes the event this much later; 0 is at once,
	// MaxDelay the most. An event with a deliverytime of its own takes none.
	Delay time.Duration
}

// PublishOptions say where publications come from.
type PublishOptions struct {
	// Via is kept with the events, for their trace; see Origin.
	Via string
	// Dedupe is the dedupe window; 0 is each bus's own.
	Dedupe time.Duration
	// MaxEventSize is the limit on one event in bytes; 0 is each bus's own.
	MaxEventSize int
}

// PublicationError says which publication of a batch was refused, and why.
// Nothing of the batch was kept.
type PublicationError struct {
	Index     int // in the batch, from 0
	Bus       string
	Code      PublicationCode
	Attribute string // the attribute at fault, for BadTime and BadSubject
	Err       error
}

// PublicationCode classifies a PublicationError.
type PublicationCode uint8

const (
	// UnknownBus means that no bus has that name.
	UnknownBus PublicationCode = iota
	// TooLarge means that the event is above the bus's limit.
	TooLarge
	// Reserved means that only Switchyard itself publishes to the bus.
	Reserved
	// BadTime means that deliverytime, expirytime or the delay cannot be used.
	BadTime
	// BadSubject means that the subject is too long for the table of its bus.
	BadSubject
)

// Error implements error.
func (e *PublicationError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *PublicationError) Unwrap() error { return e.Err }

// Publish keeps a batch of events, all of it or nothing, also across buses,
// and returns once it is on stable storage. Results are in order of the batch.
// A *PublicationError names what cannot be accepted; an error that wraps
// store.ErrUnavailable may pass, and a *store.LimitError in it says which limit
// was reached.
func (e *Engine) Publish(ctx context.Context, batch []Publication, opts PublishOptions) ([]store.Result, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	entries, err := e.entries(batch, opts)
	if err != nil {
		return nil, err
	}
	results, err := e.store.Append(ctx, entries)
	if err != nil {
		e.metrics.publishFailed.Inc()
		e.pressure.count(batch[0].Bus, err)
		return nil, fmt.Errorf("publish: %w", err)
	}
	for start := 0; start < len(batch); {
		end, bytes, bus := start, 0, batch[start].Bus
		for ; end < len(batch) && batch[end].Bus == bus; end++ {
			bytes += batch[end].Event.Size()
		}
		e.metrics.published(bus, bytes, results[start:end])
		start = end
	}
	return results, nil
}

// entries makes a batch what the store takes.
func (e *Engine) entries(batch []Publication, opts PublishOptions) ([]store.Entry, error) {
	now := time.Now()
	st := e.state.Load()
	entries := make([]store.Entry, len(batch))
	for i := range batch {
		p := &batch[i]
		b, err := st.accept(i, p.Bus, p.Event, opts.MaxEventSize)
		if err != nil {
			return nil, err
		}
		due, err := dueTime(p, now)
		if err != nil {
			return nil, &PublicationError{Index: i, Bus: p.Bus, Code: BadTime, Attribute: "deliverytime", Err: err}
		}
		if err := checkExpiry(p.Event); err != nil {
			return nil, &PublicationError{Index: i, Bus: p.Bus, Code: BadTime, Attribute: "expirytime", Err: err}
		}
		window := opts.Dedupe
		if window == 0 {
			window = b.plan.Dedupe
		}
		entries[i] = store.Entry{
			Bus: b.id, Event: p.Event, Via: opts.Via, Due: due,
			Dedupe: event.DedupeKey(p.Event.Source(), p.Event.ID()), Window: window,
		}
	}
	if err := e.pressure.refuses(batch); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return entries, nil
}

// accept finds the bus and checks the event's size against limit, 0 being the
// bus's own, and of a compacted bus the subject's.
func (st *state) accept(i int, bus string, ev *event.Event, limit int) (*busState, error) {
	b := st.buses[bus]
	if reservedBus(bus) {
		return nil, &PublicationError{Index: i, Bus: bus, Code: Reserved, Err: fmt.Errorf(
			"bus %q is reserved: only Switchyard itself publishes to it", bus)}
	}
	if b == nil {
		return nil, &PublicationError{Index: i, Bus: bus, Code: UnknownBus, Err: fmt.Errorf("there is no bus %q", bus)}
	}
	if limit == 0 {
		limit = b.plan.MaxEventSize
	}
	if size := ev.Size(); size > limit {
		return nil, &PublicationError{Index: i, Bus: bus, Code: TooLarge, Err: fmt.Errorf(
			"event %q is %d bytes; bus %q takes at most %d (maxEventSize)", ev.ID(), size, bus, limit)}
	}
	if n := len(ev.Subject()); b.plan.Table && n > store.MaxTableSubject {
		return nil, &PublicationError{Index: i, Bus: bus, Code: BadSubject, Attribute: "subject", Err: fmt.Errorf(
			"the subject of event %q is %d bytes; bus %q is compacted and takes at most %d", ev.ID(), n, bus, store.MaxTableSubject)}
	}
	return b, nil
}

// dueTime is when an event is to be recorded: zero is at once.
func dueTime(p *Publication, now time.Time) (time.Time, error) {
	due := time.Time{}
	if p.Delay > 0 {
		due = now.Add(p.Delay)
	}
	if v, ok := p.Event.Extension("deliverytime"); ok {
		if p.Delay > 0 {
			return due, errors.New("the event has a deliverytime of its own; publish it without a delay")
		}
		t, err := event.ParseTime(v.Text())
		if err != nil {
			return due, fmt.Errorf("deliverytime %q is not an RFC 3339 time", v.Text())
		}
		due = t
	}
	switch {
	case due.Sub(now) > MaxDelay:
		return due, fmt.Errorf("delivery time %s is more than 366 days ahead", due.Format(time.RFC3339))
	case !due.After(now):
		return time.Time{}, nil
	}
	return due, nil
}

// checkExpiry refuses an expirytime that is no time.
func checkExpiry(ev *event.Event) error {
	if v, ok := ev.Extension("expirytime"); ok {
		if _, err := event.ParseTime(v.Text()); err != nil {
			return fmt.Errorf("expirytime %q is not an RFC 3339 time", v.Text())
		}
	}
	return nil
}

// PublishDelivery implements targets.Publisher: it publishes a delivery's
// event to another bus, once for each delivery id.
func (e *Engine) PublishDelivery(ctx context.Context, bus string, d *targets.Delivery) error {
	if err := e.pressure.holds(bus); err != nil {
		return err
	}
	return e.publishOwn(ctx, bus, store.Entry{Event: d.Event, Via: originOf("subscription", d.Subscription, d.ID)}, "delivery/"+d.ID, d)
}

// publishReply publishes what a destination replied to a delivery, once for
// each delivery id. The error is a *targets.Permanent if the bus can never
// accept that.
func (e *Engine) publishReply(ctx context.Context, bus string, d *targets.Delivery) error {
	due, err := dueTime(&Publication{Event: d.Reply}, time.Now())
	if err == nil {
		err = checkExpiry(d.Reply)
	}
	if err != nil {
		return &targets.Permanent{Err: err}
	}
	if err := e.pressure.holds(bus); err != nil {
		return err
	}
	return e.publishOwn(ctx, bus, store.Entry{Event: d.Reply, Due: due, Via: originOf(OriginReply, d.Subscription, d.ID)}, "reply/"+d.ID, d)
}

// publishOwn publishes what Switchyard itself makes of a delivery,
// deduplicated on identity: entry has the event, its origin, and when it is due. What was
// chained too often to go on to another bus is refused. Limits are not looked
// at, for a dead letter is published to its bus once or never.
func (e *Engine) publishOwn(ctx context.Context, bus string, entry store.Entry, identity string, d *targets.Delivery) error {
	if int(d.Hops)+1 > e.opts.MaxHops {
		return targets.Permanentf("the event was chained through %d buses already; rules seem to send it in a loop", d.Hops)
	}
	b, err := e.state.Load().accept(0, bus, entry.Event, 0)
	if err != nil {
		return &targets.Permanent{Err: err}
	}
	entry.Bus, entry.Hops = b.id, d.Hops+1
	entry.Dedupe, entry.Window = event.DedupeKey("switchyard:"+bus, identity), max(b.plan.Dedupe, ownDedupe)
	results, err := e.store.Append(ctx, []store.Entry{entry})
	if err != nil {
		return err
	}
	e.metrics.published(bus, entry.Event.Size(), results)
	if seq := results[0].Sequence; seq > 0 { // else it is scheduled
		d.Answer.Published = targets.Place{Bus: bus, Sequence: seq}
	}
	return nil
}

// ownDedupe is the least window for what Switchyard publishes itself: longer
// than a crash makes a delivery repeat.
const ownDedupe = 10 * time.Minute

// Sink is where a source called name, of a kind such as webhook, publishes to:
// one bus, with a dedupe window and a limit on events of its own (0: the bus's).
func (e *Engine) Sink(name, kind, bus string, dedupe time.Duration, maxEventSize int) sources.Sink {
	return &sink{e: e, bus: bus, opts: PublishOptions{Via: "source/" + name + "/" + kind, Dedupe: dedupe, MaxEventSize: maxEventSize}}
}

type sink struct {
	e    *Engine
	bus  string
	opts PublishOptions
}

// Publish implements sources.Sink.
func (s *sink) Publish(ctx context.Context, events ...*event.Event) ([]sources.Result, error) {
	batch := make([]Publication, len(events))
	for i, ev := range events {
		batch[i] = Publication{Bus: s.bus, Event: ev}
	}
	results, err := s.e.Publish(ctx, batch, s.opts)
	if err != nil {
		var refused *PublicationError
		if errors.As(err, &refused) && refused.Code != UnknownBus && refused.Code != Reserved {
			return nil, &sources.InvalidError{Err: err}
		}
		return nil, err
	}
	out := make([]sources.Result, len(results))
	for i, r := range results {
		out[i] = sources.Result{Sequence: r.Sequence, Duplicate: r.Duplicate}
	}
	return out, nil
}
