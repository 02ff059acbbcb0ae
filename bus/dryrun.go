package bus

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// DryRun asks what a filter and a transform would have made of stored events.
type DryRun struct {
	Bus       string
	Rule      string // for the transform; "" for none
	From      uint64 // lowest sequence; 0 is the first that is kept
	To        uint64 // highest sequence; 0 is the end of the bus
	Limit     int    // events to look at, at most; 0 is no limit
	Matcher   *rules.Matcher
	Transform *transform.Transform // nil leaves events as they are
	Enriched  *event.Tree          // what the rule's enrichments answer for each event; nothing is called
	// Samples is how many matches, near misses and failures are kept, each.
	Samples int
	// Budget is how long it may take; what is left then is for another run. 0 is
	// no limit.
	Budget time.Duration
	// Progress is called now and then; nil is not.
	Progress func(*DryRunResult)
}

// DryRunResult is what a DryRun has found.
type DryRunResult struct {
	Scanned, Matched, Failed, TransformFailed uint64
	// From and To are the sequences of the first and the last event that was
	// looked at, 0 without one; Last is where the run would end.
	From, To, Last uint64
	// Next is the sequence to go on from, 0 when the run is complete.
	Next       uint64
	Matches    []DryRunMatch
	NearMisses []DryRunMiss
	Failures   []DryRunFailure
}

// DryRunMatch is an event that the filter matches, as it would be delivered.
type DryRunMatch struct {
	Sequence uint64
	Event    *event.Event
}

// DryRunMiss is an event that the filter does not match by few conditions.
type DryRunMiss struct {
	Sequence    uint64
	Misses      int // so many conditions would have to say something else
	Explanation rules.Explanation
}

// DryRunFailure is an event on which the filter or the transform fails.
type DryRunFailure struct {
	Sequence    uint64
	Transform   bool // it is the transform, on an event that matches
	Error       string
	Explanation *rules.Explanation // of a filter
}

const (
	// dryRunPage is how many events are looked at between two pauses.
	dryRunPage = 128
	// dryRunBytes bounds the events of a page, and those of a result.
	dryRunBytes = 1 << 20
	// progressEvery is how often progress is told.
	progressEvery = 250 * time.Millisecond
)

// DryRun looks at stored events, oldest first, and sends nothing. It pauses
// between pages for half of the time that they took, so that it leaves the
// machine to live events. The samples are the last of their kind; of near misses,
// those with the fewest conditions that say no. Nothing of the events is held
// meanwhile, so that a long run takes no more memory than a short one.
func (e *Engine) DryRun(ctx context.Context, q DryRun) (*DryRunResult, error) {
	id, err := e.BusID(q.Bus)
	if err != nil {
		return nil, err
	}
	bounds, err := e.store.Bounds(id)
	if err != nil {
		return nil, err
	}
	r := dryRun{DryRun: q, e: e, bus: id, explain: q.Matcher.Explainer(), out: &DryRunResult{Last: bounds.Last}}
	if q.To > 0 {
		r.out.Last = min(r.out.Last, q.To)
	}
	if err := r.scan(ctx, max(q.From, bounds.First, 1)); err != nil {
		return nil, err
	}
	return r.out, r.show(ctx)
}

// dryRun is a DryRun under way.
type dryRun struct {
	DryRun
	e       *Engine
	bus     store.BusID
	explain *rules.Explainer
	out     *DryRunResult

	matches, failures []uint64
	misses            []miss
}

type miss struct {
	sequence uint64
	by       int
}

// scan looks at events from a sequence on.
func (r *dryRun) scan(ctx context.Context, from uint64) error {
	started := time.Now()
	told := started
	var page []store.Record
	for from <= r.out.Last {
		began := time.Now()
		size := dryRunPage
		if r.Limit > 0 {
			if size = min(size, r.Limit-int(r.out.Scanned)); size <= 0 {
				r.out.Next = from
				return nil
			}
		}
		if r.Budget > 0 && r.out.Scanned > 0 && began.Sub(started) > r.Budget {
			r.out.Next = from
			return nil
		}
		var err error
		if page, err = r.e.store.Read(ctx, r.bus, from, size, dryRunBytes, page[:0]); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, record := range page {
			if record.Sequence > r.out.Last {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if r.Budget > 0 && r.out.Scanned > 0 && time.Since(started) > r.Budget {
				r.out.Next = record.Sequence
				return nil
			}
			r.look(record)
			from = record.Sequence + 1
		}
		clear(page)
		if now := time.Now(); r.Progress != nil && now.Sub(told) >= progressEvery {
			told = now
			r.Progress(r.out)
		}
		select {
		case <-time.After(time.Since(began) / 2):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// look evaluates one event.
func (r *dryRun) look(record store.Record) {
	o := r.out
	if o.Scanned++; o.From == 0 {
		o.From = record.Sequence
	}
	o.To = record.Sequence
	res := r.explain.Evaluate(record.Event)
	switch {
	case res.Matched:
		o.Matched++
		if _, err := r.deliver(record); err != nil {
			o.TransformFailed++
			r.failures = lastOf(r.failures, record.Sequence, r.Samples)
			return
		}
		r.matches = lastOf(r.matches, record.Sequence, r.Samples)
	case res.Error != "":
		o.Failed++
		r.failures = lastOf(r.failures, record.Sequence, r.Samples)
	default:
		r.missed(miss{record.Sequence, r.explain.Misses(record.Event)})
	}
}

// deliver is the event as it would be delivered.
func (r *dryRun) deliver(record store.Record) (*event.Event, error) {
	if r.Transform == nil {
		return record.Event, nil
	}
	return r.Transform.ApplyIn(transform.Context{Bus: r.Bus, Rule: r.Rule, Recorded: record.Recorded, Trial: true, Enriched: r.Enriched}, record.Event)
}

// lastOf appends a sequence and keeps the last ones.
func lastOf(list []uint64, sequence uint64, most int) []uint64 {
	if most <= 0 {
		return list
	}
	if len(list) == most {
		list = append(list[:0], list[1:]...)
	}
	return append(list, sequence)
}

// missed keeps an event that does not match in place of the one that is
// furthest from a match, the oldest of several.
func (r *dryRun) missed(m miss) {
	if len(r.misses) < r.Samples {
		r.misses = append(r.misses, m)
		return
	}
	worst := -1
	for i, have := range r.misses {
		if have.by >= m.by && (worst < 0 || have.by > r.misses[worst].by) {
			worst = i
		}
	}
	if worst >= 0 {
		r.misses = append(slices.Delete(r.misses, worst, worst+1), m)
	}
}

// show reads the samples again, as far as retention has left them and they are
// not too large together.
func (r *dryRun) show(ctx context.Context) error {
	left := dryRunBytes
	for _, seq := range slices.Backward(r.matches) {
		record, err := r.e.store.Get(ctx, r.bus, seq)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		ev, err := r.deliver(record)
		if err != nil {
			continue
		}
		if left -= ev.Size(); left < 0 && len(r.out.Matches) > 0 {
			break
		}
		r.out.Matches = append(r.out.Matches, DryRunMatch{seq, ev})
	}
	slices.SortStableFunc(r.misses, func(a, b miss) int {
		return cmp.Or(cmp.Compare(a.by, b.by), cmp.Compare(b.sequence, a.sequence))
	})
	for _, m := range r.misses {
		record, err := r.e.store.Get(ctx, r.bus, m.sequence)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		r.out.NearMisses = append(r.out.NearMisses, DryRunMiss{m.sequence, m.by, r.explain.Explain(record.Event)})
	}
	for _, seq := range slices.Backward(r.failures) {
		record, err := r.e.store.Get(ctx, r.bus, seq)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		f := DryRunFailure{Sequence: seq}
		if res := r.explain.Evaluate(record.Event); !res.Matched {
			explained := r.explain.Explain(record.Event)
			f.Error, f.Explanation = res.Error, &explained
		} else if _, err := r.deliver(record); err != nil {
			f.Transform, f.Error = true, err.Error()
		}
		r.out.Failures = append(r.out.Failures, f)
	}
	return nil
}

// gone reports whether retention has taken an event away.
func gone(err error) bool {
	return errors.Is(err, store.ErrTrimmed) || errors.Is(err, store.ErrNotFound)
}
