package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// replayKind is the catalogue's kind of replays, by id. What is queued and how
// far they are is the store's own (store.Replays).
const replayKind = "system/replays"

// replayExtension is the extension of replayed deliveries.
const replayExtension = "replayname"

// replayer keeps the replays and runs those under way, each on a goroutine of
// its own.
type replayer struct {
	e   *Engine
	env *rules.Env // guarded by mu

	opening sync.Mutex // one beginning or cancellation at a time
	mu      sync.Mutex
	all     map[string]*replay
	names   map[uint32]string // replayname by run
	ctx     context.Context   // of the goroutines; nil until serve
	feeds   sync.WaitGroup

	live atomic.Uint64 // events and deliveries that were routed
}

// replay is one of them. state is guarded by replayer.mu.
type replay struct {
	state Replay
	stop  context.CancelFunc // nil while it does not run
	ended chan struct{}      // closed when its goroutine is over
}

func replayID(run uint32) string { return fmt.Sprintf("replay-%06d", run) }

// newReplayer loads what is kept of replays and drops what a crash left of
// those that had ended.
func newReplayer(e *Engine) (*replayer, error) {
	m := &replayer{e: e, all: map[string]*replay{}, names: map[uint32]string{}}
	ctx := context.Background()
	objects, err := e.store.ListObjects(ctx, replayKind)
	if err != nil {
		return nil, fmt.Errorf("bus: replays: %w", err)
	}
	for _, o := range objects {
		var r Replay
		if err := json.Unmarshal(o.Value, &r); err != nil {
			return nil, fmt.Errorf("bus: replay %q: %w", o.Name, err)
		}
		m.add(r)
	}
	for _, run := range e.store.Replays() {
		r := m.all[replayID(run)]
		if r != nil && r.state.State == ReplayRunning {
			continue
		}
		parts, err := e.store.Replay(run)
		if err == nil && r == nil && len(parts) > 0 && parts[0].Seek { // a crash was faster than its object
			if info, err := e.store.Subscription(parts[0].Subscription); err == nil {
				m.add(seekReplay(run, info.Name, "", parts[0].After+1, parts[0].To))
				continue
			}
		}
		if _, err := e.store.DropReplay(ctx, run, nil); err != nil {
			return nil, fmt.Errorf("bus: replay %d: %w", run, err)
		}
	}
	return m, nil
}

// add takes a replay into memory.
func (m *replayer) add(r Replay) *replay {
	m.mu.Lock()
	defer m.mu.Unlock()
	rp := &replay{state: r, ended: make(chan struct{})}
	m.all[r.ID] = rp
	m.names[r.Run] = r.Name
	return rp
}

// serve runs replays until ctx is done.
func (m *replayer) serve(ctx context.Context) {
	m.mu.Lock()
	m.ctx = ctx
	for _, rp := range m.all {
		m.launch(rp)
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	m.feeds.Wait()
}

// launch starts the goroutine of a replay that is to run; m.mu is held.
func (m *replayer) launch(rp *replay) {
	if m.ctx == nil || rp.state.State != ReplayRunning {
		return
	}
	ctx, stop := context.WithCancel(m.ctx)
	rp.stop, rp.ended = stop, make(chan struct{})
	m.feeds.Add(1)
	go func(ended chan struct{}) {
		defer m.feeds.Done()
		defer close(ended)
		defer stop()
		m.run(ctx, rp)
	}(rp.ended)
}

// begin makes a replay durable and starts it.
func (m *replayer) begin(ctx context.Context, r Replay, opts store.ReplayOptions) (Replay, error) {
	m.opening.Lock()
	defer m.opening.Unlock()
	running := 0
	for _, o := range m.list() {
		if o.State == ReplayRunning && o.Seek == "" {
			running++
		}
	}
	if running >= MaxReplays {
		return r, ErrTooManyReplays
	}
	run, err := m.e.store.OpenReplay(ctx, opts)
	if err != nil {
		return r, fmt.Errorf("bus: %w", err)
	}
	r.Run, r.ID = run, replayID(run)
	r.Name = cmp.Or(r.Name, r.ID)
	if err := m.put(ctx, r); err != nil {
		_, dropErr := m.e.store.DropReplay(context.WithoutCancel(ctx), run, nil)
		return r, errors.Join(err, dropErr)
	}
	m.start(r)
	return r, nil
}

// start runs a replay that is durable.
func (m *replayer) start(r Replay) {
	rp := m.add(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.launch(rp)
	m.e.log.Info("a replay has begun", "replay", r.ID, "name", r.Name, "bus", r.Bus, "from", r.From, "to", r.To, "seek", r.Seek)
}

func (m *replayer) put(ctx context.Context, r Replay) error {
	value, err := json.Marshal(r)
	if err == nil {
		_, err = m.e.store.PutObject(ctx, replayKind, r.ID, value, store.AnyVersion)
	}
	if err != nil {
		return fmt.Errorf("bus: replay %q: %w", r.ID, err)
	}
	return nil
}

// seekReplay is what is kept of a seek that queues events again.
func seekReplay(run uint32, subscription, bus string, from, to uint64) Replay {
	id := replayID(run)
	return Replay{ID: id, Run: run, Name: id, Seek: subscription, Bus: bus, From: from, To: to,
		State: ReplayRunning, Started: time.Now().UTC()}
}

// get shows a replay as it is now.
func (m *replayer) get(id string) (Replay, error) {
	m.mu.Lock()
	rp := m.all[id]
	if rp == nil {
		m.mu.Unlock()
		return Replay{}, fmt.Errorf("replay %q: %w", id, store.ErrNotFound)
	}
	r := rp.state
	m.mu.Unlock()
	return m.present(r), nil
}

func (m *replayer) list() []Replay {
	m.mu.Lock()
	all := make([]Replay, 0, len(m.all))
	for _, rp := range m.all {
		all = append(all, rp.state)
	}
	m.mu.Unlock()
	for i := range all {
		all[i] = m.present(all[i])
	}
	return all
}

// running is how many are under way, seeks included.
func (m *replayer) running() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rp := range m.all {
		if rp.state.State == ReplayRunning {
			n++
		}
	}
	return n
}

// present fills in the numbers that the store has.
func (m *replayer) present(r Replay) Replay {
	if r.State != ReplayRunning {
		return r
	}
	if r.Bus == "" && r.Seek != "" { // found after a crash
		rule, _ := SplitSubscription(r.Seek)
		p, _ := m.e.Rule(rule)
		r.Bus = p.Bus
	}
	parts, err := m.e.store.Replay(r.Run)
	if err != nil {
		return r
	}
	queued := int64(0)
	r.Remaining, r.Dead = 0, 0
	for _, p := range parts {
		queued += p.Queued
		r.Remaining += p.Depth
		r.Dead += p.Dead
	}
	r.Queued = max(r.Queued, queued)
	return r
}

// cancel ends a replay.
func (m *replayer) cancel(ctx context.Context, id string) (Replay, error) {
	m.opening.Lock()
	defer m.opening.Unlock()
	m.mu.Lock()
	rp := m.all[id]
	if rp == nil {
		m.mu.Unlock()
		return Replay{}, fmt.Errorf("replay %q: %w", id, store.ErrNotFound)
	}
	stop, ended := rp.stop, rp.ended
	m.mu.Unlock()
	if stop != nil {
		stop()
		<-ended
	}
	r, err := m.get(id)
	if err != nil || r.State != ReplayRunning {
		return r, err
	}
	r.State, r.Finished, r.Dropped, r.Remaining, r.Error = ReplayCancelled, time.Now().UTC(), r.Remaining, 0, ""
	if err := m.put(ctx, r); err != nil {
		m.mu.Lock()
		m.launch(rp) // it goes on
		m.mu.Unlock()
		return r, err
	}
	m.set(rp, r)
	if _, err := m.e.store.DropReplay(context.WithoutCancel(ctx), r.Run, nil); err != nil {
		return r, fmt.Errorf("bus: replay %q: %w", id, err)
	}
	m.e.log.Info("a replay was cancelled", "replay", r.ID, "dropped", r.Dropped)
	m.forgetOld(ctx)
	return r, nil
}

// end notes that a replay is over. It tries until that is durable.
func (m *replayer) end(ctx context.Context, rp *replay, state, why string) {
	m.mu.Lock()
	r := rp.state
	m.mu.Unlock()
	r = m.present(r)
	r.State, r.Error, r.Finished, r.Remaining = state, why, time.Now().UTC(), 0
	for {
		err := m.put(ctx, r)
		if err == nil {
			break
		}
		m.e.log.Error("the end of a replay was not written, trying again", "replay", r.ID, "error", err)
		if !sleep(ctx, routePause) {
			return
		}
	}
	m.set(rp, r)
	if _, err := m.e.store.DropReplay(ctx, r.Run, nil); err != nil {
		m.e.log.Error("what is left of a replay was not dropped; the next start does so", "replay", r.ID, "error", err)
	}
	m.e.log.Info("a replay has ended", "replay", r.ID, "state", state, "queued", r.Queued, "dead", r.Dead, "skipped", r.Skipped, "error", why)
	m.forgetOld(ctx)
}

func (m *replayer) set(rp *replay, r Replay) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rp.state = r
}

// forgetOld forgets the oldest that have ended, above KeptReplays.
func (m *replayer) forgetOld(ctx context.Context) {
	var ended []Replay
	for _, r := range m.list() {
		if r.State != ReplayRunning {
			ended = append(ended, r)
		}
	}
	slices.SortFunc(ended, func(a, b Replay) int { return cmp.Compare(a.Run, b.Run) })
	for _, r := range ended[:max(0, len(ended)-KeptReplays)] {
		if err := m.e.store.DeleteObject(ctx, replayKind, r.ID, store.AnyVersion); err != nil && !errors.Is(err, store.ErrNotFound) {
			m.e.log.Warn("an old replay was not forgotten", "replay", r.ID, "error", err)
			return
		}
		m.mu.Lock()
		delete(m.all, r.ID)
		delete(m.names, r.Run)
		m.mu.Unlock()
	}
}

// mark adds the extension replayname to the event of a replayed delivery. A
// redriven dead letter of a replay that is forgotten has the replay's id.
func (m *replayer) mark(run uint32, ev *event.Event) *event.Event {
	m.mu.Lock()
	name := m.names[run]
	m.mu.Unlock()
	b := event.FromEvent(ev)
	err := b.Set(replayExtension, event.StringValue(cmp.Or(name, replayID(run))))
	if err == nil {
		var marked *event.Event
		if marked, err = b.Build(); err == nil {
			return marked
		}
	}
	m.e.log.Warn("a replayed event could not be marked", "event_id", ev.ID(), "error", err)
	return ev
}

// sleep waits; false says that ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
