package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

const (
	// replayAhead is how many deliveries of a replay wait for each of its
	// subscriptions, about; below half of it more are queued.
	replayAhead = 1024
	// How much is read from the log in one step.
	replayEvents = 4096
	replayBytes  = 4 << 20
	// replayBatch is how many events are queued in one write.
	replayBatch = 512
	// replayPoll is how often a replay that waits for deliveries looks again.
	replayPoll = 10 * time.Millisecond
	// replayNote is how often it is noted how far a replay is whose events do not
	// match.
	replayNote = time.Second
)

// feed is a replay on its way from the log to the queues. Each subscription has
// a place of its own: one whose queue is full stays behind, and what is read
// again for it is queued for it alone.
type feed struct {
	m     *replayer
	rp    *replay
	run   uint32
	seek  bool
	parts []feedPart // in order of subscription
	pace  pacer
	rate  *rate.Limiter // nil is unlimited
	when  *rules.Set    // of one entry; nil takes every event
	noted time.Time
	want  int // events to read in the next step, about as many as there is room for

	plan    *state // that set and targets are of
	bus     store.BusID
	set     *rules.Set
	targets map[store.SubscriptionID][]int // parts by what the set calls their subscription

	records []store.Record
	events  []store.RoutedEvent
	matches []store.Routed
	ids     []rules.ID
}

// feedPart is one subscription of a replay.
type feedPart struct {
	store.ReplayPart
	order   bool // it is ordered by key
	feeds   bool // it takes part in this step
	matched int  // events in this step
}

// What ends a feed.
var (
	errReplayDone = errors.New("all is delivered")
	errReplayGone = errors.New("its subscriptions are gone, were purged or were moved by a seek")
)

// run feeds a replay until it has ended or ctx is done.
func (m *replayer) run(ctx context.Context, rp *replay) {
	m.mu.Lock()
	r := rp.state
	m.mu.Unlock()
	f := &feed{m: m, rp: rp, run: r.Run, seek: r.Seek != "", pace: pacer{live: &m.live}, want: replayEvents}
	if r.Rate > 0 {
		f.rate = rate.NewLimiter(rate.Limit(r.Rate), max(1, int(r.Rate/10)))
	}
	if r.When != "" {
		matcher, err := m.compile(r.When)
		if err != nil {
			m.end(ctx, rp, ReplayFailed, fmt.Sprintf("when: %v", err))
			return
		}
		f.when = rules.NewSet([]rules.Entry{{ID: 1, Rule: "when", Matcher: matcher}})
	}
	for ctx.Err() == nil {
		rest, err := f.step(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errReplayDone), errors.Is(err, errReplayGone) && f.seek:
			m.end(ctx, rp, ReplayDone, "")
			return
		case errors.Is(err, errReplayGone):
			m.end(ctx, rp, ReplayFailed, err.Error())
			return
		case err != nil:
			m.e.log.Error("a replay was held up, trying again", "replay", r.ID, "error", err)
			f.note(func(r *Replay) { r.Error = err.Error() })
			sleep(ctx, routePause)
		case rest > 0:
			sleep(ctx, rest)
		}
	}
}

// note changes what is shown of the replay.
func (f *feed) note(change func(r *Replay)) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	change(&f.rp.state)
}

// step queues a part of the replay; rest is how long to wait before the next.
func (f *feed) step(ctx context.Context) (rest time.Duration, err error) {
	began := time.Now()
	if err := f.look(ctx); err != nil {
		return 0, err
	}
	f.progress()
	from, owed, full := f.next()
	switch {
	case full:
		return replayPoll, nil
	case from == 0 && owed:
		return 5 * replayPoll, nil
	case from == 0:
		return 0, errReplayDone
	}
	bounds, err := f.m.e.store.Bounds(f.bus)
	if err != nil {
		return 0, err
	}
	if from < bounds.First {
		f.skip(ctx, from, bounds.First)
	}
	last := f.parts[0].To // all have the same
	f.records, err = f.m.e.store.Read(ctx, f.bus, from, min(f.pace.chunk(), f.want, int(min(last+1-from, replayEvents))), replayBytes, f.records[:0])
	if err != nil {
		return 0, err
	}
	end := last
	for len(f.records) > 0 && f.records[len(f.records)-1].Sequence > last {
		f.records = f.records[:len(f.records)-1]
	}
	if n := len(f.records); n > 0 {
		end = f.records[n-1].Sequence
	}
	if n := f.match(); n < len(f.records) { // there is no room for more
		end = f.records[n-1].Sequence
		f.want = max(2*n, replayAhead/4)
	} else {
		f.want = min(2*f.want, replayEvents)
	}
	queued, err := f.queue(ctx, end)
	f.note(func(r *Replay) { r.Queued += int64(queued) })
	if err != nil {
		return 0, err
	}
	defer clear(f.events)
	defer clear(f.records)
	f.progress()
	f.m.e.metrics.replayed(len(f.records), queued)
	return f.pace.rest(time.Since(began), queued), nil
}

// look takes up what is left of the replay, and the plan if it has changed.
func (f *feed) look(ctx context.Context) error {
	e := f.m.e
	parts, err := e.store.Replay(f.run)
	if errors.Is(err, store.ErrNotFound) {
		return errReplayGone
	}
	if err != nil {
		return err
	}
	st := e.state.Load()
	same := st == f.plan && len(parts) == len(f.parts)
	next := make([]feedPart, len(parts))
	for i, p := range parts {
		next[i].ReplayPart = p
		if j, ok := slices.BinarySearchFunc(f.parts, p.Subscription, func(o feedPart, id store.SubscriptionID) int { return cmp.Compare(o.Subscription, id) }); ok {
			if f.parts[j].Epoch == p.Epoch {
				next[i].Position = max(p.Position, f.parts[j].Position) // what does not match is not written each time
			}
			next[i].order = f.parts[j].order
		}
	}
	f.parts = next
	if same {
		return nil
	}
	return f.adopt(ctx, st)
}

// adopt makes the set of rules that the replay's subscriptions have in a plan.
// Those that are gone from it, or have another bus, are dropped.
func (f *feed) adopt(ctx context.Context, st *state) error {
	if !st.planned {
		return errors.New("no plan is in force yet")
	}
	f.bus, f.targets = f.parts[0].Bus, map[store.SubscriptionID][]int{}
	var gone []store.SubscriptionID
	var entries []rules.Entry
	for i := range f.parts {
		p := &f.parts[i]
		s := f.m.e.subscription(p.Subscription)
		var spec *subscriptionSpec
		if s != nil {
			spec = s.spec.Load()
		}
		if spec == nil || spec.bus.id != f.bus {
			gone = append(gone, p.Subscription)
			continue
		}
		p.order = spec.order == store.OrderKey
		parent := s
		if isConsumer(s.name) {
			rule, target := SplitSubscription(s.name)
			parent = st.named.At(rule + "/" + target)
		}
		if len(f.targets[parent.id]) == 0 {
			r := st.rules.At(spec.rule)
			entries = append(entries, rules.Entry{ID: rules.ID(parent.id), Rule: spec.rule, Matcher: r.Matcher, ReadsData: r.Transform != nil})
		}
		f.targets[parent.id] = append(f.targets[parent.id], i)
	}
	if len(gone) > 0 {
		f.plan = nil
		_, err := f.m.e.store.DropReplay(ctx, f.run, gone)
		if err == nil {
			err = f.look(ctx)
		}
		return err
	}
	f.set, f.plan = rules.NewSet(entries), st
	return nil
}

// next chooses the parts that take part in a step: those that are not at their
// end and have room. from is the lowest sequence that one of them needs, 0
// without any; owed says that there are deliveries to wait for, full that parts
// wait for room.
func (f *feed) next() (from uint64, owed, full bool) {
	for i := range f.parts {
		p := &f.parts[i]
		p.feeds, p.matched = false, 0
		owed = owed || p.Depth > 0
		if p.Position >= p.To {
			continue
		}
		if p.Depth >= replayAhead/2 {
			full = true
			continue
		}
		p.feeds = true
		if from == 0 || p.Position+1 < from {
			from = p.Position + 1
		}
	}
	return from, owed, full && from == 0
}

// skip notes that retention was faster.
func (f *feed) skip(ctx context.Context, from, first uint64) {
	for i := range f.parts {
		if p := &f.parts[i]; p.feeds {
			p.Position = max(p.Position, min(first-1, p.To))
		}
	}
	var r Replay
	f.note(func(o *Replay) {
		to := min(first-1, o.To)
		if from = max(from, o.SkippedTo+1); from <= to {
			o.Skipped += to + 1 - from
			o.SkippedTo = to
		}
		r = *o
	})
	if err := f.m.put(ctx, r); err != nil {
		f.m.e.log.Warn("what a replay has skipped was not written", "replay", r.ID, "error", err)
	}
}

// match fills f.events from f.records, until a part has as many as it has room
// for in memory: what waits on disk is read twice. It says how many it looked at.
func (f *feed) match() int {
	full := false
	f.events, f.matches = f.events[:0], f.matches[:0]
	for i := range f.records {
		rec := &f.records[i]
		if f.when != nil {
			if f.ids = f.when.Match(rec.Event, f.ids[:0]); len(f.ids) == 0 {
				continue
			}
		}
		f.ids = f.set.Match(rec.Event, f.ids[:0])
		start := len(f.matches)
		var key uint64
		for _, id := range f.ids {
			for _, n := range f.targets[store.SubscriptionID(id)] {
				p := &f.parts[n]
				if !p.feeds || rec.Sequence <= p.Position || rec.Sequence > p.To {
					continue
				}
				m := store.Routed{Subscription: p.Subscription}
				if p.order {
					if key == 0 {
						key = orderKey(rec.Event.PartitionKey())
					}
					m.Key = key
				}
				p.matched++
				full = full || p.matched >= replayAhead/2 && !p.Seek
				f.matches = append(f.matches, m)
			}
		}
		if len(f.matches) > start {
			f.events = append(f.events, store.RoutedEvent{Record: *rec, Matches: f.matches[start:len(f.matches):len(f.matches)]})
		}
		if full {
			return i + 1
		}
	}
	return len(f.records)
}

// queue hands f.events to the store, a few at a time and no faster than was
// asked for, and moves the parts to end. It says how many deliveries they made.
func (f *feed) queue(ctx context.Context, end uint64) (queued int, err error) {
	all := end >= f.parts[0].To || time.Since(f.noted) >= replayNote
	var subs []store.SubscriptionID
	for i := range f.parts {
		if p := &f.parts[i]; p.feeds && p.Position < end && (all || p.matched > 0) {
			subs = append(subs, p.Subscription)
		}
	}
	if all {
		f.noted = time.Now()
	}
	most := replayBatch
	if f.rate != nil {
		most = min(most, f.rate.Burst())
	}
	for events := f.events; len(subs) > 0; {
		n := min(len(events), most)
		if f.rate != nil && n > 0 {
			if err := f.rate.WaitN(ctx, n); err != nil {
				return queued, err
			}
		}
		to := end
		if n < len(events) {
			to = events[n-1].Record.Sequence
		}
		if err := f.m.e.store.EnqueueReplay(ctx, f.run, to, subs, events[:n]); err != nil {
			return queued, err
		}
		for i := range events[:n] {
			queued += len(events[i].Matches)
		}
		f.reach(to)
		f.progress()
		if events = events[n:]; len(events) == 0 || f.m.e.state.Load() != f.plan {
			end = to // the rest by the rules that are in force now
			break
		}
	}
	f.reach(end)
	return queued, nil
}

// reach moves the parts of a step to a sequence.
func (f *feed) reach(to uint64) {
	for i := range f.parts {
		if p := &f.parts[i]; p.feeds {
			p.Position = max(p.Position, min(to, p.To))
		}
	}
}

// progress notes how far all parts are.
func (f *feed) progress() {
	at := ^uint64(0)
	for i := range f.parts {
		at = min(at, f.parts[i].Position)
	}
	f.note(func(r *Replay) {
		r.Error = ""
		if at+1 > r.From {
			r.Scanned = min(at+1-r.From, r.Total())
		}
	})
}
