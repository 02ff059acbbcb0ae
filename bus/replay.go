package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// Bounds of replays.
const (
	// MaxReplays is how many replays may be under way, seeks that queue events
	// again not counted.
	MaxReplays = 16
	// KeptReplays is how many that have ended are kept to be looked at.
	KeptReplays = 100
	// MaxReplayParts is how many subscriptions one replay may have.
	MaxReplayParts = 10000
)

// Errors of replays; test with errors.Is.
var (
	// ErrTooManyReplays means that MaxReplays are under way.
	ErrTooManyReplays = fmt.Errorf("%d replays are under way, and more are not allowed; wait for one to end, or cancel one", MaxReplays)
	// ErrReplay means that what was asked for is no replay; the error says why.
	ErrReplay = errors.New("replay")
)

// States of a replay.
const (
	ReplayRunning   = "running"
	ReplayDone      = "done"
	ReplayCancelled = "cancelled"
	ReplayFailed    = "failed"
)

// ReplayRequest asks for stored events to be queued again.
type ReplayRequest struct {
	Bus   string
	From  uint64   // first sequence; 0 is the first that is kept
	To    uint64   // last sequence; 0 is the last that is recorded now, as is anything above
	Rules []string // none: all of the bus
	When  string   // CEL, beside the rules' own filters; "" takes every event
	Rate  float64  // events a second; 0 is as fast as they are delivered
	Name  string   // for the extension replayname; "": the replay's id
}

// Replay is a replay, or a seek that queues events again.
type Replay struct {
	ID    string   `json:"id"`
	Run   uint32   `json:"run"` // store.DeliveryID.Run of its deliveries
	Name  string   `json:"name"`
	Seek  string   `json:"seek,omitempty"` // the subscription, if it is a seek
	Bus   string   `json:"bus"`
	From  uint64   `json:"from"` // first sequence
	To    uint64   `json:"to"`   // last sequence
	Rules []string `json:"rules,omitempty"`
	When  string   `json:"when,omitempty"`
	Rate  float64  `json:"rate,omitempty"`
	State string   `json:"state"`
	Error string   `json:"error,omitempty"` // why it failed, or what it waits for

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`

	Scanned   uint64 `json:"scanned"`             // of the sequences From to To, done with for all subscriptions
	Skipped   uint64 `json:"skipped,omitempty"`   // of these, removed by retention before they were read
	SkippedTo uint64 `json:"skippedTo,omitempty"` // the last of these
	Queued    int64  `json:"queued"`              // deliveries, ever
	Remaining int64  `json:"remaining"`           // of these, not settled
	Dead      int64  `json:"dead"`                // of these, dead letters, ever
	Dropped   int64  `json:"dropped,omitempty"`   // of these, dropped with a cancellation
}

// Total is how many sequences there are to look at.
func (r *Replay) Total() uint64 { return r.To + 1 - r.From }

var replayName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// StartReplay queues stored events again for the rules that match them now, from
// those recorded before the call. It is durable when it returns, and goes on in
// the background, also after a restart. ErrUnknownBus, ErrReplay,
// ErrTooManyReplays, or what is wrong with When.
func (e *Engine) StartReplay(ctx context.Context, q ReplayRequest) (Replay, error) {
	busID, err := e.BusID(q.Bus)
	if err != nil {
		return Replay{}, err
	}
	if q.Name != "" && !replayName.MatchString(q.Name) {
		return Replay{}, wrong(ErrReplay, "name", "%q cannot be a name; use up to 63 of a-z, 0-9, _, . and -, beginning with a letter or a digit", q.Name)
	}
	if q.When != "" {
		if _, err := e.replays.compile(q.When); err != nil {
			return Replay{}, err
		}
	}
	bounds, err := e.store.Bounds(busID)
	if err != nil {
		return Replay{}, err
	}
	r := Replay{Bus: q.Bus, Name: q.Name, Rules: q.Rules, When: q.When, Rate: q.Rate, State: ReplayRunning, Started: time.Now().UTC(),
		From: max(q.From, bounds.First, 1), To: bounds.Last}
	if q.To > 0 {
		r.To = min(r.To, q.To)
	}
	if r.From > r.To {
		edge := "from"
		if q.From == 0 {
			edge = "to"
		}
		return Replay{}, wrong(ErrReplay, edge, "bus %q holds no event in that range; it holds %d to %d", q.Bus, bounds.First, bounds.Last)
	}
	subs, err := e.replayTo(q)
	if err != nil {
		return Replay{}, err
	}
	return e.replays.begin(ctx, r, store.ReplayOptions{Bus: busID, After: r.From - 1, To: r.To, Subscriptions: subs})
}

// replayTo finds the subscriptions of a replay: those of its rules, and of
// broadcasts the consumers.
func (e *Engine) replayTo(q ReplayRequest) ([]store.SubscriptionID, error) {
	st := e.state.Load()
	names := slices.Clone(q.Rules)
	for i, name := range names {
		if r, ok := st.rules.Get(name); !ok || r.Bus != q.Bus {
			return nil, wrong(ErrReplay, fmt.Sprintf("rules/%d", i), "bus %q has no rule %q", q.Bus, name)
		}
	}
	if len(names) == 0 {
		for name, r := range st.rules.All() {
			if r.Bus == q.Bus {
				names = append(names, name)
			}
		}
	}
	var subs []store.SubscriptionID
	for _, name := range names {
		for _, target := range st.rules.At(name).Targets {
			s := st.named.At(name + "/" + target)
			if !s.spec.Load().broadcasts() {
				subs = append(subs, s.id)
			} else if all := s.consumers.Load(); all != nil {
				for _, c := range *all {
					subs = append(subs, c.id)
				}
			}
		}
	}
	switch {
	case len(subs) == 0:
		return nil, fmt.Errorf("%w: there is no subscription to replay to on bus %q: no rule, or only broadcasts without consumers", ErrReplay, q.Bus)
	case len(subs) > MaxReplayParts:
		return nil, wrong(ErrReplay, "rules", "%d subscriptions are more than a replay may have (%d); choose rules", len(subs), MaxReplayParts)
	}
	return subs, nil
}

// Replays lists replays in order of id, which is that of their start.
func (e *Engine) Replays() []Replay {
	all := e.replays.list()
	slices.SortFunc(all, func(a, b Replay) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Replay finds one by its id. store.ErrNotFound.
func (e *Engine) Replay(id string) (Replay, error) { return e.replays.get(id) }

// ReplayOf is the replay of deliveries with this store.DeliveryID.Run; of one that
// is forgotten, its ID and Run only.
func (e *Engine) ReplayOf(run uint32) Replay {
	r, err := e.replays.get(replayID(run))
	if err != nil {
		r = Replay{ID: replayID(run), Run: run}
	}
	return r
}

// CancelReplay ends a replay: nothing more is queued, and what was queued and is
// not settled is dropped. Of a seek, what was queued stays owed. It is durable
// when it returns. One that has ended is left as it is. store.ErrNotFound.
func (e *Engine) CancelReplay(ctx context.Context, id string) (Replay, error) {
	return e.replays.cancel(ctx, id)
}

// compile makes the filter of a replay.
func (m *replayer) compile(when string) (*rules.Matcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.env == nil {
		env, err := rules.NewEnv()
		if err != nil {
			return nil, err
		}
		m.env = env
	}
	return m.env.Compile(rules.Filter{When: when})
}
