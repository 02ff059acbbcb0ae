package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The kinds of events; rules tell them apart by the type, "soak." + kind.
const (
	plainKind = "plain"
	hotKind   = "hot"
	chainKind = "chain" // goes on from bus a to bus b
)

// event is one event that was published, with what its producer was told.
type event struct {
	id, bus, key, kind string
	n                  int
	due, expires       time.Time // zero: at once, never

	sent     time.Time // when it was sent first
	acked    time.Time // zero: it was not acknowledged
	sequence uint64    // as it was acknowledged; 0 if that said none
	group    string    // of the events that are kept together; "" alone
}

// fate is what is known of a group of events that are kept together or not at
// all, or of a scheduled event.
type fate uint8

const (
	unknown    fate = iota // both are fine, but not half
	committed              // all have to be there
	rolledBack             // none may be there
	left                   // none may be there, and nobody said so
)

// outcome is how a receiver ended an attempt.
type outcome uint8

const (
	taken   outcome = iota
	unclear         // taken, but the sender may not know
	failed          // to be tried again
	refused         // for good
)

func (o outcome) String() string { return [...]string{"taken", "unclear", "failed", "refused"}[o] }

// attempt is one that a receiver saw.
type attempt struct {
	sub, event   string
	delivery     string // its id
	replay       string // its replayname, "" for a live one
	redriven     bool
	life         time.Time // when its connection or its server began
	began, ended time.Time // ended is before the answer is sent
	outcome      outcome
}

// outage is a time after which deliveries may repeat.
type outage struct {
	how   outageKind
	from  time.Time // since then the store could not write; else as at
	at    time.Time
	ended time.Time // nothing of the old server was alive any more
}

type outageKind uint8

const (
	stopped  outageKind = iota // in order
	killed                     // what was written is kept
	powerCut                   // what was synced is kept
)

func (k outageKind) String() string { return [...]string{"stopped", "killed", "power cut"}[k] }

// period is a range of sequences that a subscription had to match, because its
// rule was in force. Those outside of all periods may be matched or not.
type period struct{ from, to uint64 }

// replay is one that was asked for.
type replay struct {
	id, name, bus string
	rule          string
	from, to      uint64
	void          bool // it was cancelled, or it is not known whether it began
}

// history is everything that producers, receivers and operators saw of one
// server. Its methods may be called at any time from many goroutines.
type history struct {
	mu       sync.Mutex
	began    time.Time
	events   map[string]*event // by id
	groups   map[string]fate
	attempts []attempt
	outages  []outage
	periods  map[string][]period // by subscription
	replays  []*replay
	highest  map[string]uint64 // by bus, the highest sequence that an attempt or an answer showed
	problems []violation       // what was wrong with answers
}

func newHistory() *history {
	return &history{began: time.Now(), events: map[string]*event{}, groups: map[string]fate{}, periods: map[string][]period{}, highest: map[string]uint64{}}
}

// send notes that events are about to be published.
func (h *history) send(events ...*event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		if h.events[e.id] == nil {
			e.sent = time.Now()
			h.events[e.id] = e
		}
	}
}

// ack notes that an event was acknowledged with a sequence, 0 for none yet.
func (h *history) ack(e *event, sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.acked.IsZero() {
		e.acked = time.Now()
	}
	switch {
	case e.sequence != 0 && sequence != 0 && sequence != e.sequence:
		h.problems = append(h.problems, violation{"kept", fmt.Sprintf("event %s on bus %s was acknowledged as sequence %d, and later as %d", e.id, e.bus, e.sequence, sequence)})
	case sequence != 0:
		e.sequence = sequence
		h.highest[e.bus] = max(h.highest[e.bus], sequence)
	}
}

// settle notes what became of a group.
func (h *history) settle(group string, f fate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups[group] = f
}

// wrong notes a fault that shows at once.
func (h *history) wrong(rule, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, violation{rule, fmt.Sprintf(format, args...)})
}

func (h *history) attempted(a attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts = append(h.attempts, a)
}

func (h *history) outage(o outage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outages = append(h.outages, o)
}

func (h *history) replayed(r *replay) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replays = append(h.replays, r)
}

func (h *history) inForce(sub string, p period) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.periods[sub] = append(h.periods[sub], p)
}

// counts are the events that were acknowledged and the attempts seen.
func (h *history) counts() (sent, acked, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if !e.acked.IsZero() {
			acked++
		}
	}
	return len(h.events), acked, len(h.attempts)
}

// routed is the highest sequence of a bus of which a receiver has seen a
// delivery: what is below was routed by the rules in force.
func (h *history) routed(bus string, onBus map[string]bool) (highest uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.attempts) - 1; i >= 0 && i >= len(h.attempts)-500; i-- {
		a := &h.attempts[i]
		if e := h.events[a.event]; onBus[a.sub] && a.replay == "" && e != nil && e.bus == bus {
			highest = max(highest, e.sequence)
		}
	}
	return highest
}

// seen is the highest sequence of a bus that an answer told.
func (h *history) seen(bus string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.highest[bus]
}

// since shows a time of the history as seconds after its begin.
func (h *history) since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.3fs", t.Sub(h.began).Seconds())
}

// story is what happened to an event on a subscription, for a message.
func (h *history) story(e *event, attempts []attempt) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n    sent at %s, acknowledged at %s as sequence %d", h.since(e.sent), h.since(e.acked), e.sequence)
	if !e.due.IsZero() {
		fmt.Fprintf(&b, ", due at %s", h.since(e.due))
	}
	if !e.expires.IsZero() {
		fmt.Fprintf(&b, ", expires at %s", h.since(e.expires))
	}
	if e.group != "" {
		fmt.Fprintf(&b, ", of group %s", e.group)
	}
	for _, a := range attempts[:min(len(attempts), 12)] {
		fmt.Fprintf(&b, "\n    attempt at %s to %s of delivery %s: %s", h.since(a.began), h.since(a.ended), a.delivery, a.outcome)
		if a.replay != "" {
			fmt.Fprintf(&b, ", of replay %s", a.replay)
		}
		if a.redriven {
			b.WriteString(", redriven")
		}
	}
	if more := len(attempts) - 12; more > 0 {
		fmt.Fprintf(&b, "\n    and %d attempts more", more)
	}
	if len(attempts) == 0 {
		b.WriteString("\n    no attempt was seen")
	}
	first, last := e.sent, e.sent
	for _, a := range attempts {
		last = maxTime(last, a.ended)
	}
	for _, o := range h.outages {
		if o.ended.After(first.Add(-time.Second)) && o.at.Before(last.Add(time.Second)) {
			fmt.Fprintf(&b, "\n    %s at %s to %s", o.how, h.since(o.at), h.since(o.ended))
			if o.from.Before(o.at) {
				fmt.Fprintf(&b, ", the store could not write since %s", h.since(o.from))
			}
		}
	}
	return b.String()
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// byBegin sorts attempts by when they began.
func byBegin(attempts []attempt) {
	slices.SortStableFunc(attempts, func(a, b attempt) int { return a.began.Compare(b.began) })
}
