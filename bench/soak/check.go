package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// violation is a promise that was not kept.
type violation struct {
	Rule string `json:"rule"` // which promise
	Text string `json:"text"` // what was seen, with the event's history
}

// String is one violation as it is printed.
func (v violation) String() string { return v.Rule + ": " + v.Text }

// subscription is one whose promises are checked.
type subscription struct {
	name, bus string
	order     string // none, key or strict
	matches   func(*event) bool
	attempts  int    // that make a dead letter; 0 is no number that is reached
	into      string // the bus that it publishes to; no receiver sees its attempts
	partTime  bool   // its rule is in force at times only
	sought    bool   // it was moved, which makes its deliveries repeat
}

// stored is an event in its place in a bus, as it is read back in the end.
type stored struct {
	sequence uint64
	id       string
	recorded time.Time
}

// traced is a delivery as the trace of its event shows it.
type traced struct {
	sub, delivery, state string
	attempts             int
}

// final is what the server says in the end, after everything was healed and
// is settled.
type final struct {
	logs     map[string][]stored
	dead     map[string]map[string][]string // by subscription and event: ids of deliveries
	traces   map[string]map[uint64][]traced // by bus and sequence
	replays  map[string]string              // states by id
	answered map[string]string              // states of transactions by group
}

// nameless is the name of a traced delivery whose subscription is gone.
const nameless = "/"

// tolerance is what the promises leave open.
type tolerance struct {
	killed   time.Duration // how long before a kill what was taken may come again, and traces may lack
	powerCut time.Duration // the same for a power cut; traces may lack altogether
	late     time.Duration // how long after its expiry an attempt may reach the receiver that began before
}

// stopSlack is how long before an orderly stop an attempt may end whose answer
// the server did not wait for.
const stopSlack = 100 * time.Millisecond

// report is what a check found.
type report struct {
	Violations []violation   `json:"violations"`
	Repeats    int           `json:"repeats"` // deliveries that came again after they were taken
	Oldest     time.Duration `json:"oldestRepeat"`
	Settled    int           `json:"settled"` // deliveries that were checked
	Dead       int           `json:"deadLetters"`
	Expired    int           `json:"expired"`
	Unstored   int           `json:"unstored"` // events that were sent, never acknowledged, and are not there
}

// checker holds a history against the promises.
type checker struct {
	*history
	subs    []subscription
	final   final
	allowed tolerance
	report  report

	tried map[string]map[string][]attempt // by subscription and event, in order of their begin
	at    map[string]map[string]stored    // by bus and event
}

// check says which promises were broken.
func check(h *history, subs []subscription, f final, allowed tolerance) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &checker{history: h, subs: subs, final: f, allowed: allowed, tried: map[string]map[string][]attempt{}}
	c.report.Violations = append(c.report.Violations, h.problems...)
	byBegin(h.attempts)
	for _, a := range h.attempts {
		if c.tried[a.sub] == nil {
			c.tried[a.sub] = map[string][]attempt{}
		}
		c.tried[a.sub][a.event] = append(c.tried[a.sub][a.event], a)
	}
	c.at = places(f.logs)
	c.logs()
	c.kept()
	c.together()
	for i := range subs {
		s := &subs[i]
		c.attemptsOf(s)
		c.deliveries(s)
		c.ordered(s)
		c.repeats(s)
	}
	c.replayedAll()
	return c.report
}

func (c *checker) broken(rule, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, violation{rule, fmt.Sprintf(format, args...)})
}

// logs checks that buses hold what was published, in sequence, and nothing else.
func (c *checker) logs() {
	for _, bus := range sortedKeys(c.final.logs) {
		seen := map[string]uint64{}
		var before stored
		for i, r := range c.final.logs[bus] {
			e := c.events[r.id]
			if r.sequence != uint64(i)+1 {
				c.broken("log", "bus %s: sequence %d stands where %d should", bus, r.sequence, i+1)
			}
			if r.recorded.Before(before.recorded) {
				c.broken("log", "bus %s: event %s, sequence %d, was recorded %v before the one before it", bus, r.id, r.sequence, before.recorded.Sub(r.recorded))
			}
			before = r
			switch {
			case e == nil:
				c.broken("log", "bus %s: event %s, sequence %d, was never published", bus, r.id, r.sequence)
				continue
			case seen[r.id] != 0:
				c.broken("once", "bus %s: event %s is stored twice, as sequence %d and %d%s", bus, r.id, seen[r.id], r.sequence, c.story(e, nil))
			case bus != e.bus && !c.chained(e, bus):
				c.broken("log", "bus %s: event %s, sequence %d, was published to bus %s", bus, r.id, r.sequence, e.bus)
			case !e.due.IsZero() && bus == e.bus && r.recorded.Before(e.due.Truncate(time.Millisecond)):
				c.broken("early", "bus %s: event %s, sequence %d, was recorded %v before its time%s", bus, r.id, r.sequence, e.due.Sub(r.recorded), c.story(e, nil))
			}
			seen[r.id] = r.sequence
		}
	}
}

// chained says whether a subscription takes e to bus.
func (c *checker) chained(e *event, bus string) bool {
	return slices.ContainsFunc(c.subs, func(s subscription) bool { return s.into == bus && s.bus == e.bus && s.matches(e) })
}

// kept checks that what was acknowledged is there, where it was said to be.
func (c *checker) kept() {
	for _, id := range sortedKeys(c.events) {
		e := c.events[id]
		place, there := c.at[e.bus][id]
		switch {
		case e.acked.IsZero() && !there:
			c.report.Unstored++
		case e.acked.IsZero():
		case !there && c.groups[e.group] == committed, !there && e.group == "":
			c.broken("kept", "event %s on bus %s was acknowledged and is gone%s", id, e.bus, c.story(e, nil))
		case there && e.sequence != 0 && place.sequence != e.sequence:
			c.broken("kept", "event %s on bus %s was acknowledged as sequence %d and is %d%s", id, e.bus, e.sequence, place.sequence, c.story(e, nil))
		}
	}
}

// places are the places of events by bus and id.
func places(logs map[string][]stored) map[string]map[string]stored {
	at := map[string]map[string]stored{}
	for bus, log := range logs {
		at[bus] = make(map[string]stored, len(log))
		for _, r := range log {
			at[bus][r.id] = r
		}
	}
	return at
}

// together checks batches and transactions: all or nothing.
func (c *checker) together() {
	there, members := map[string][]string{}, map[string][]string{}
	for _, id := range sortedKeys(c.events) {
		if e := c.events[id]; e.group != "" {
			members[e.group] = append(members[e.group], id)
			if c.at[e.bus][id].sequence != 0 {
				there[e.group] = append(there[e.group], id)
			}
		}
	}
	for _, group := range sortedKeys(members) {
		f, n, of := c.groups[group], len(there[group]), len(members[group])
		switch {
		case n != 0 && n != of:
			c.broken("together", "group %s: %d of %d events are there: %v of %v", group, n, of, there[group], members[group])
		case f == committed && n == 0:
			c.broken("together", "group %s was committed, and none of its events is there: %v%s", group, members[group], c.story(c.events[members[group][0]], nil))
		case (f == rolledBack || f == left) && n > 0:
			c.broken("together", "group %s was rolled back, cancelled or never committed, and its events are there: %v%s", group, members[group], c.story(c.events[members[group][0]], nil))
		}
		want := map[fate]string{committed: "committed", rolledBack: "rolledback"}[f]
		if got := c.final.answered[group]; got != "" && want != "" && got != want {
			c.broken("together", "group %s was answered as %s, and the server says %s", group, want, got)
		}
	}
}

// attemptsOf checks each attempt for itself: that its event exists, matched,
// was recorded, due and not expired.
func (c *checker) attemptsOf(s *subscription) {
	for _, id := range sortedKeys(c.tried[s.name]) {
		tries := c.tried[s.name][id]
		e, place := c.events[id], c.at[s.bus][id]
		sequence := place.sequence
		switch {
		case e == nil:
			c.broken("seen", "subscription %s got event %s, which was never published", s.name, id)
			continue
		case sequence == 0:
			c.broken("seen", "subscription %s got event %s, which is not on bus %s%s", s.name, id, s.bus, c.story(e, tries))
			continue
		case !s.matches(e):
			c.broken("matched", "subscription %s got event %s on bus %s, sequence %d, which it does not match%s", s.name, id, s.bus, sequence, c.story(e, tries))
		}
		first := tries[0]
		if recorded := place.recorded; first.began.Before(recorded) {
			c.broken("seen", "subscription %s got event %s on bus %s, sequence %d, %v before it was recorded%s", s.name, id, s.bus, sequence, recorded.Sub(first.began), c.story(e, tries))
		}
		if first.began.Before(e.due) {
			c.broken("early", "subscription %s got event %s on bus %s, sequence %d, %v before its time%s", s.name, id, s.bus, sequence, e.due.Sub(first.began), c.story(e, tries))
		}
		if last := tries[len(tries)-1]; !e.expires.IsZero() && last.began.After(e.expires.Add(c.allowed.late)) {
			c.broken("expired", "subscription %s got event %s on bus %s, sequence %d, %v after its expiry%s", s.name, id, s.bus, sequence, last.began.Sub(e.expires), c.story(e, tries))
		}
	}
}

// deliveries checks that each event that a subscription matched was delivered,
// is a dead letter or expired, and that its trace says so.
func (c *checker) deliveries(s *subscription) {
	for _, r := range c.final.logs[s.bus] {
		e := c.events[r.id]
		if e == nil || !s.matches(e) || s.partTime && !c.mustMatch(s, r.sequence) {
			continue
		}
		tries := c.tried[s.name][r.id]
		live := slices.DeleteFunc(slices.Clone(tries), func(a attempt) bool { return a.replay != "" && !s.sought })
		dead := slices.ContainsFunc(c.final.dead[s.name][r.id], func(id string) bool {
			// A seek gives deliveries new ids.
			return len(live) == 0 || id == live[0].delivery || s.sought && slices.ContainsFunc(live, func(a attempt) bool { return a.delivery == id })
		})
		arrived := slices.ContainsFunc(live, func(a attempt) bool { return a.outcome == taken || a.outcome == unclear })
		// What a crash let the server forget it did not deliver, and may expire then.
		sure := slices.ContainsFunc(live, func(a attempt) bool { return a.outcome == taken && !c.forgotten(a.life, a.ended) })
		expired := !e.expires.IsZero() && e.expires.Before(time.Now())
		c.report.Settled++
		switch {
		case dead:
			c.report.Dead++
			if s.attempts == 0 && s.into == "" && !slices.ContainsFunc(tries, func(a attempt) bool { return a.outcome == refused }) {
				c.broken("delivered", "subscription %s: event %s on bus %s, sequence %d, is a dead letter though nobody refused it%s", s.name, r.id, s.bus, r.sequence, c.story(e, tries))
			}
		case s.into != "":
			if _, there := c.at[s.into][r.id]; !there {
				c.broken("delivered", "subscription %s: event %s on bus %s, sequence %d, was not published to bus %s, and is no dead letter%s", s.name, r.id, s.bus, r.sequence, s.into, c.story(e, tries))
			}
			continue
		case expired && !arrived:
			c.report.Expired++
		case !arrived:
			c.broken("delivered", "subscription %s: event %s on bus %s, sequence %d, was neither delivered nor dead-lettered%s", s.name, r.id, s.bus, r.sequence, c.story(e, tries))
			continue
		}
		state := "expired"
		switch {
		case dead:
			state = "dead"
		case sure:
			state = "delivered"
		case arrived: // the sender may not know
			state = ""
		}
		c.traced(s, e, r.sequence, live, state)
	}
}

// mustMatch says whether the rule of s was in force for a sequence.
func (c *checker) mustMatch(s *subscription, sequence uint64) bool {
	return slices.ContainsFunc(c.periods[s.name], func(p period) bool { return p.from <= sequence && sequence <= p.to })
}

// traced checks that the trace shows a delivery with its state, "" is any, and
// its attempts, but for what happened in the last interval before a crash.
func (c *checker) traced(s *subscription, e *event, sequence uint64, live []attempt, state string) {
	if c.final.traces == nil || s.sought {
		return
	}
	want, life, last := 0, e.expires, e.expires
	for _, a := range live {
		if !a.silent && !c.forgotten(a.life, a.ended) {
			want++
		}
		life, last = a.life, a.ended
	}
	all := c.final.traces[s.bus][sequence]
	i := slices.IndexFunc(all, func(t traced) bool {
		if len(live) == 0 {
			return t.sub == s.name
		}
		// A subscription that lost its rule and owed nothing is gone, with its name.
		return t.delivery == live[0].delivery && (t.sub == s.name || s.partTime && t.sub == nameless)
	})
	if i < 0 && len(live) == 0 && slices.ContainsFunc(all, func(t traced) bool { return t.sub == nameless }) {
		return // it is one of those
	}
	where := fmt.Sprintf("subscription %s: the trace of event %s on bus %s, sequence %d,", s.name, e.id, s.bus, sequence)
	if i < 0 {
		// What expired untried is settled when it is claimed, no one knows when.
		if !c.forgotten(life, last) && (len(live) > 0 || !c.outageAfter(e.expires)) {
			c.broken("traced", "%s has no such delivery%s", where, c.story(e, live))
		}
		return
	}
	t := all[i]
	switch {
	case t.attempts < want:
		c.broken("traced", "%s shows %d attempts of %d%s", where, t.attempts, want, c.story(e, live))
	case state != "" && t.state != state && !c.forgotten(life, last):
		c.broken("traced", "%s says %q and not %q%s", where, t.state, state, c.story(e, live))
	}
}

// forgotten says whether the trace of what a server that began at life did at
// time t may have been lost in a crash, or because the disk did not take it.
func (c *checker) forgotten(life, t time.Time) bool {
	failed := slices.ContainsFunc(c.troubles, func(o outage) bool {
		return !t.Before(o.from.Add(-c.allowed.killed)) && !t.After(o.ended.Add(c.allowed.killed))
	})
	if failed {
		return true
	}
	return slices.ContainsFunc(c.outages, func(o outage) bool {
		if !life.Before(o.at) {
			return false
		}
		switch o.how {
		case powerCut:
			return true
		case killed:
			return !t.Before(o.from.Add(-c.allowed.killed))
		}
		return !t.Before(o.from.Add(-stopSlack))
	})
}

// outageAfter says whether there was an outage that ended after t.
func (c *checker) outageAfter(t time.Time) bool {
	return slices.ContainsFunc(c.outages, func(o outage) bool { return o.ended.After(t) })
}

// ordered checks that the first successful deliveries of a key are in order of
// the bus, each begun when those before it were settled.
func (c *checker) ordered(s *subscription) {
	if s.order != "key" && s.order != "strict" || s.sought {
		return
	}
	type place struct {
		at   time.Time // when it was settled
		r    stored
		what string
	}
	last := map[string]place{} // by key, the one that was settled last
	for _, r := range c.final.logs[s.bus] {
		e := c.events[r.id]
		if e == nil || !s.matches(e) || s.partTime && !c.mustMatch(s, r.sequence) && len(c.tried[s.name][r.id]) == 0 {
			continue
		}
		key := e.key
		if s.order == "strict" {
			key = ""
		}
		settled, what := time.Time{}, ""
		var first *attempt
		for _, a := range c.tried[s.name][r.id] {
			if a.replay != "" || a.outcome == failed {
				continue
			}
			if settled.IsZero() || a.ended.Before(settled) {
				settled, what = a.ended, a.outcome.String()
			}
			if a.outcome == taken && first == nil && !a.redriven {
				first = &a
			}
		}
		if !e.expires.IsZero() && (settled.IsZero() || e.expires.Before(settled)) {
			settled, what = e.expires, "expired"
		}
		if before, ok := last[key]; ok && first != nil && first.began.Before(before.at) && !c.refusedBefore(s, r.id, first.began) {
			c.broken("order", "subscription %s: event %s on bus %s, sequence %d, was delivered at %s before sequence %d (event %s) of its key %q was settled (%s) at %s%s%s", s.name, r.id, s.bus, r.sequence,
				c.since(first.began), before.r.sequence, before.r.id, e.key, before.what, c.since(before.at), c.story(e, c.tried[s.name][r.id]), c.story(c.events[before.r.id], c.tried[s.name][before.r.id]))
		}
		if before := last[key]; settled.After(before.at) {
			last[key] = place{settled, r, what}
		}
	}
}

// refusedBefore says whether an event was refused for good before t: it was a
// dead letter, and comes back out of the line when it is redriven.
func (c *checker) refusedBefore(s *subscription, id string, t time.Time) bool {
	return slices.ContainsFunc(c.tried[s.name][id], func(a attempt) bool {
		return a.replay == "" && a.outcome == refused && a.ended.Before(t)
	})
}

// repeats checks that what was taken comes again only around crashes, and that
// all attempts of a live delivery have one id.
func (c *checker) repeats(s *subscription) {
	if s.sought {
		return
	}
	for _, id := range sortedKeys(c.tried[s.name]) {
		e := c.events[id]
		before := map[string]attempt{} // the last that was taken, by delivery
		live := ""
		tries := c.tried[s.name][id]
		for _, a := range tries {
			if a.replay == "" && live != "" && a.delivery != live && e != nil {
				c.broken("repeats", "subscription %s: event %s on bus %s has two live deliveries%s", s.name, id, s.bus, c.story(e, tries))
			}
			if a.replay == "" {
				live = a.delivery
			}
			if t, again := before[a.delivery]; again && e != nil {
				c.report.Repeats++
				c.repeated(s, e, t, a, tries)
			}
			if a.outcome == taken {
				before[a.delivery] = a
			}
		}
	}
}

// mendSlack is how long after the disk is well again the server may go back to
// what is durable: it tries every five seconds.
const mendSlack = 6 * time.Second

// rewound says whether, between two attempts, the server may have gone back to
// what was durable because the disk failed, and by how much.
func (c *checker) rewound(before, again attempt) (age time.Duration, ok bool) {
	for _, o := range c.troubles {
		end := o.ended.Add(mendSlack + c.allowed.powerCut)
		if age = max(0, o.from.Sub(before.ended)); age <= c.allowed.powerCut && before.ended.Before(end) && again.began.After(o.from) && again.began.Before(end) {
			return age, true
		}
	}
	return 0, false
}

// repeated checks one repeat: there must be a crash shortly after it was taken,
// or a failure of the disk.
func (c *checker) repeated(s *subscription, e *event, before, again attempt, tries []attempt) {
	oldest := time.Duration(-1) // the least age at a crash in between
	if age, ok := c.rewound(before, again); ok {
		oldest = age
	}
	for _, o := range c.outages {
		bound := map[outageKind]time.Duration{stopped: stopSlack, killed: c.allowed.killed, powerCut: c.allowed.powerCut}[o.how]
		if !before.life.Before(o.at) || again.life.Before(o.at) {
			continue // both before, or both after it
		}
		age := max(0, o.from.Sub(before.ended))
		if age <= bound && (oldest < 0 || age < oldest) {
			oldest = age
		}
	}
	if oldest < 0 {
		c.broken("repeats", "subscription %s: event %s on bus %s was delivered again at %s, after it was taken at %s, without a crash close enough%s", s.name, e.id, s.bus, c.since(again.began), c.since(before.ended), c.story(e, tries))
		return
	}
	c.report.Oldest = max(c.report.Oldest, oldest)
}

// replayedAll checks that replays ended and brought what they were asked for.
func (c *checker) replayedAll() {
	for _, r := range c.replays {
		if r.void {
			continue
		}
		if state := c.final.replays[r.id]; state != "done" {
			c.broken("replayed", "replay %s of rule %s, sequences %d to %d of bus %s, is %q in the end", r.name, r.rule, r.from, r.to, r.bus, state)
			continue
		}
		for i := range c.subs {
			s := &c.subs[i]
			if rule, _ := ruleAndTarget(s.name); rule != r.rule || s.sought || s.into != "" {
				continue
			}
			for _, one := range c.final.logs[r.bus] {
				e := c.events[one.id]
				if one.sequence < r.from || one.sequence > r.to || e == nil || !s.matches(e) || !e.expires.IsZero() {
					continue
				}
				tries := c.tried[s.name][one.id]
				if len(c.final.dead[s.name][one.id]) == 0 && !slices.ContainsFunc(tries, func(a attempt) bool { return a.replay == r.name && a.outcome != failed }) {
					c.broken("replayed", "subscription %s: event %s on bus %s, sequence %d, was not delivered by replay %s%s", s.name, one.id, r.bus, one.sequence, r.name, c.story(e, tries))
				}
			}
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
