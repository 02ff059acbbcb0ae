package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// made is a history that was made up, and what the server says in the end. The
// tests spoil one thing each.
type made struct {
	*history
	final final
	subs  []subscription
}

// at is a time of the history, in seconds after its begin.
func (m *made) at(seconds float64) time.Time {
	return m.began.Add(time.Duration(seconds * float64(time.Second)).Round(time.Microsecond))
}

// tried adds an attempt that took a hundredth of a second.
func (m *made) tried(sub, id string, seconds float64, o outcome) {
	m.attempts = append(m.attempts, attempt{
		sub: sub, event: id, delivery: sub + " " + id, life: m.began,
		began: m.at(seconds), ended: m.at(seconds + 0.01), outcome: o,
	})
}

// event finds one to spoil.
func (m *made) event(id string) *event { return m.events[id] }

// without drops an event from the log.
func (m *made) without(id string) {
	m.final.logs["a"] = slices.DeleteFunc(m.final.logs["a"], func(r stored) bool { return r.id == id })
	for i := range m.final.logs["a"] {
		m.final.logs["a"][i].sequence = uint64(i) + 1
	}
}

// retried drops the attempts at an event on a subscription.
func (m *made) untried(sub, id string) {
	m.attempts = slices.DeleteFunc(m.attempts, func(a attempt) bool { return a.sub == sub && a.event == id })
}

// died makes an event a dead letter of a subscription.
func (m *made) died(sub, id string) {
	if m.final.dead[sub] == nil {
		m.final.dead[sub] = map[string][]string{}
	}
	m.final.dead[sub][id] = append(m.final.dead[sub][id], sub+" "+id)
}

// trace is that of an event on a subscription, to be spoiled.
func (m *made) trace(sub, id string) *traced {
	for i := range m.final.traces["a"][m.event(id).sequence] {
		if t := &m.final.traces["a"][m.event(id).sequence][i]; t.sub == sub {
			return t
		}
	}
	return nil
}

// good is a history of eight events, two of them of one group, one second apart,
// that all went well: with a kill at 20 s.
func good() *made {
	m := &made{history: newHistory(), subs: []subscription{
		{name: "all/plain", bus: "a", order: "none", matches: func(*event) bool { return true }},
		{name: "some/keyed", bus: "a", order: "key", matches: func(e *event) bool { return e.kind == hotKind }},
	}}
	m.began = time.Now().Add(-time.Hour)
	m.final = final{
		logs: map[string][]stored{}, dead: map[string]map[string][]string{}, traces: map[string]map[uint64][]traced{"a": {}},
		replays: map[string]string{}, answered: map[string]string{"g": "committed"},
	}
	for i := range 8 {
		id, at := string(rune('1'+i)), float64(i)
		e := &event{id: id, bus: "a", kind: hotKind, n: i, key: "k", sent: m.at(at), acked: m.at(at + 0.1), sequence: uint64(i) + 1}
		if i == 3 || i == 4 {
			e.group = "g"
		}
		m.events[id] = e
		m.final.logs["a"] = append(m.final.logs["a"], stored{uint64(i) + 1, id, m.at(at + 0.05)})
		for _, s := range m.subs {
			m.tried(s.name, id, at+0.2, taken)
			m.final.traces["a"][uint64(i)+1] = append(m.final.traces["a"][uint64(i)+1], traced{s.name, s.name + " " + id, "delivered", 1})
		}
	}
	m.groups["g"] = committed
	m.outages = []outage{{how: killed, from: m.at(20), at: m.at(20), ended: m.at(20.1)}}
	return m
}

func TestTheCheckerShowsEachBrokenPromise(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*made)
		want  string // of the first violation; "" is none
	}{
		{"all well", func(*made) {}, ""},
		{"a failure before", func(m *made) { m.tried("all/plain", "2", 1.1, failed); m.trace("all/plain", "2").attempts = 2 }, ""},
		{"a dead letter", func(m *made) {
			m.untried("all/plain", "2")
			m.tried("all/plain", "2", 1.2, refused)
			m.died("all/plain", "2")
			m.trace("all/plain", "2").state = "dead"
		}, ""},
		{"an acknowledged event that is gone", func(m *made) {
			m.without("8")
			m.untried("all/plain", "8")
			m.untried("some/keyed", "8")
		}, "kept: event 8 on bus a was acknowledged and is gone"},
		{"one that was not acknowledged and is gone", func(m *made) {
			m.without("8")
			m.untried("all/plain", "8")
			m.untried("some/keyed", "8")
			m.event("8").acked = time.Time{}
		}, ""},
		{"another place than was acknowledged", func(m *made) { m.event("7").sequence = 9 }, "kept: event 7 on bus a was acknowledged as sequence 9 and is 7"},
		{"stored twice", func(m *made) { m.final.logs["a"] = append(m.final.logs["a"], stored{9, "2", m.at(9)}) }, "once: bus a: event 2 is stored twice"},
		{"a gap", func(m *made) { m.final.logs["a"][7].sequence = 12 }, "log: bus a: sequence 12 stands where 8 should"},
		{"an event of nobody", func(m *made) { m.final.logs["a"] = append(m.final.logs["a"], stored{9, "x", m.at(9)}) }, "log: bus a: event x, sequence 9, was never published"},
		{"a recorded time that goes back", func(m *made) { m.final.logs["a"][7].recorded = m.at(1) }, "log: bus a: event 8, sequence 8, was recorded 5.05s before the one before it"},
		{"half a transaction", func(m *made) {
			m.without("5")
			m.untried("all/plain", "5")
			m.untried("some/keyed", "5")
			for _, id := range []string{"6", "7", "8"} {
				m.event(id).sequence--
			}
			m.final.traces = nil
		}, "together: group g: 1 of 2 events are there"},
		{"a transaction that was rolled back", func(m *made) { m.groups["g"] = rolledBack; m.final.answered = nil }, "together: group g was rolled back"},
		{"a transaction that nobody committed", func(m *made) { m.groups["g"] = left; m.final.answered = nil }, "together: group g was rolled back, cancelled or never committed"},
		{"a transaction that is answered otherwise", func(m *made) { m.final.answered["g"] = "rolledback" }, "together: group g was answered as committed, and the server says rolledback"},
		{"expired after a crash that let its delivery be forgotten", func(m *made) {
			m.untried("all/plain", "8")
			m.tried("all/plain", "8", 19.7, taken)
			m.tried("all/plain", "8", 20.2, failed)
			m.attempts[len(m.attempts)-1].life = m.at(20.1)
			m.event("8").expires = m.at(20.5)
			*m.trace("all/plain", "8") = traced{"all/plain", "all/plain 8", "expired", 1}
		}, ""},
		{"expired after a delivery that no crash let be forgotten", func(m *made) {
			m.event("8").expires = m.at(20.5)
			m.trace("all/plain", "8").state = "expired"
		}, `traced: subscription all/plain: the trace of event 8 on bus a, sequence 8, says "expired" and not "delivered"`},
		{"lost", func(m *made) { m.untried("all/plain", "3") }, "delivered: subscription all/plain: event 3 on bus a, sequence 3, was neither delivered nor dead-lettered"},
		{"only failed", func(m *made) { m.untried("all/plain", "3"); m.tried("all/plain", "3", 2.2, failed) }, "delivered: subscription all/plain: event 3"},
		{"dead, though nobody refused it", func(m *made) { m.died("all/plain", "3") }, "delivered: subscription all/plain: event 3 on bus a, sequence 3, is a dead letter though nobody refused it"},
		{"delivered to one that does not match", func(m *made) { m.event("3").kind = plainKind }, "matched: subscription some/keyed got event 3"},
		{"seen before it was recorded", func(m *made) { m.final.logs["a"][7].recorded = m.at(7.9) }, "seen: subscription all/plain got event 8 on bus a, sequence 8, 700ms before it was recorded"},
		{"seen, and not there after a crash", func(m *made) { m.without("8"); m.event("8").acked = time.Time{} }, "seen: subscription all/plain got event 8, which is not on bus a"},
		{"early", func(m *made) { m.event("3").due = m.at(2.5); m.final.logs["a"][2].recorded = m.at(2.5) }, "early: subscription all/plain got event 3 on bus a, sequence 3, 300ms before its time"},
		{"recorded early", func(m *made) { m.event("3").due = m.at(2.1) }, "early: bus a: event 3, sequence 3, was recorded 50ms before its time"},
		{"expired", func(m *made) { m.event("3").expires = m.at(1) }, "expired: subscription all/plain got event 3 on bus a, sequence 3, 1.2s after its expiry"},
		{"expired, and not delivered", func(m *made) {
			m.event("3").expires = m.at(2.1)
			m.untried("all/plain", "3")
			m.trace("all/plain", "3").state = "expired"
		}, ""},
		{"expired, and not traced", func(m *made) {
			m.outages = nil
			m.event("3").expires = m.at(2.1)
			m.untried("all/plain", "3")
			m.final.traces["a"][3] = m.final.traces["a"][3][1:]
		}, "traced: subscription all/plain: the trace of event 3 on bus a, sequence 3, has no such delivery"},
		{"two of a key exchanged", func(m *made) {
			m.untried("some/keyed", "3")
			m.tried("some/keyed", "3", 3.5, taken)
		}, `order: subscription some/keyed: event 4 on bus a, sequence 4, was delivered at 3.200s before sequence 3 (event 3) of its key "k" was settled (taken) at 3.510s`},
		{"two exchanged where there is no order", func(m *made) {
			m.untried("all/plain", "3")
			m.tried("all/plain", "3", 3.5, taken)
		}, ""},
		{"two of other keys exchanged", func(m *made) {
			m.event("3").key = "other"
			m.untried("some/keyed", "3")
			m.tried("some/keyed", "3", 3.5, taken)
		}, ""},
		{"one that was passed as a dead letter", func(m *made) {
			m.untried("some/keyed", "3")
			m.tried("some/keyed", "3", 2.5, refused)
			m.died("some/keyed", "3")
			m.trace("some/keyed", "3").state = "dead"
		}, ""},
		{"one that came while the one before was failing", func(m *made) {
			m.untried("some/keyed", "3")
			m.tried("some/keyed", "3", 2.2, failed)
			m.tried("some/keyed", "3", 3.3, taken)
			m.trace("some/keyed", "3").attempts = 2
		}, "order: subscription some/keyed: event 4"},
		{"a repeat far from a kill", func(m *made) { m.tried("all/plain", "3", 9, taken); m.trace("all/plain", "3").attempts = 2 },
			"repeats: subscription all/plain: event 3 on bus a was delivered again at 9.000s, after it was taken at 2.210s, without a crash"},
		{"a repeat after a kill that was long after", func(m *made) {
			m.tried("all/plain", "3", 21, taken)
			m.attempts[len(m.attempts)-1].life = m.at(20.5)
			m.trace("all/plain", "3").attempts = 2
		}, "repeats: subscription all/plain: event 3"},
		{"a repeat after a kill", func(m *made) {
			m.outages[0] = outage{how: killed, from: m.at(8), at: m.at(8), ended: m.at(8.1)}
			m.tried("all/plain", "8", 9, taken)
			m.attempts[len(m.attempts)-1].life = m.at(8.5)
		}, ""},
		{"two repeats after one kill", func(m *made) {
			m.outages[0] = outage{how: killed, from: m.at(8), at: m.at(8), ended: m.at(8.1)}
			for _, at := range []float64{9, 10} {
				m.tried("all/plain", "8", at, taken)
				m.attempts[len(m.attempts)-1].life = m.at(8.5)
			}
			m.trace("all/plain", "8").attempts = 2
		}, "repeats: subscription all/plain: event 8 on bus a was delivered again at 10.000s"},
		{"an orderly stop that makes repeat", func(m *made) {
			m.outages[0] = outage{how: stopped, from: m.at(8), at: m.at(8), ended: m.at(8.1)}
			m.tried("all/plain", "8", 9, taken)
			m.attempts[len(m.attempts)-1].life = m.at(8.5)
			m.trace("all/plain", "8").attempts = 2
		}, "repeats: subscription all/plain: event 8"},
		{"another delivery id", func(m *made) {
			m.tried("all/plain", "3", 2.1, failed)
			m.attempts[len(m.attempts)-1].delivery = "other"
		},
			"repeats: subscription all/plain: event 3 on bus a has two live deliveries"},
		{"a trace without a delivery", func(m *made) { m.final.traces["a"][3] = m.final.traces["a"][3][1:] }, "traced: subscription all/plain: the trace of event 3 on bus a, sequence 3, has no such delivery"},
		{"a trace that lacks an attempt", func(m *made) { m.tried("all/plain", "3", 2.1, failed) }, "traced: subscription all/plain: the trace of event 3 on bus a, sequence 3, shows 1 attempts of 2"},
		{"a request that was repeated within an attempt", func(m *made) {
			m.tried("all/plain", "3", 2.1, failed)
			m.attempts[len(m.attempts)-1].silent = true
		}, ""},
		{"a trace with another outcome", func(m *made) { m.trace("all/plain", "3").state = "queued" }, `traced: subscription all/plain: the trace of event 3 on bus a, sequence 3, says "queued"`},
		{"a trace that lacks the last second before a kill", func(m *made) {
			m.outages[0] = outage{how: killed, from: m.at(7.5), at: m.at(7.5), ended: m.at(7.6)}
			m.final.traces["a"][8] = nil
		}, ""},
		{"a trace that lacks what the disk did not take", func(m *made) {
			m.troubled(m.at(6), m.at(8))
			m.final.traces["a"][8] = nil
		}, ""},
		{"a repeat while the disk failed", func(m *made) {
			m.tried("all/plain", "3", 3.5, taken)
			m.troubled(m.at(3), m.at(4))
		}, ""},
		{"a repeat long after the disk failed", func(m *made) {
			m.tried("all/plain", "3", 30, taken)
			m.troubled(m.at(3), m.at(4))
		}, "repeats: "},
		{"a replay that did not end", func(m *made) {
			m.replays = []*replay{{id: "1", name: "again", bus: "a", rule: "all", from: 1, to: 2}}
		}, `replayed: replay again of rule all, sequences 1 to 2 of bus a, is "" in the end`},
		{"a replay that left one out", func(m *made) {
			m.replays = []*replay{{id: "1", name: "again", bus: "a", rule: "all", from: 1, to: 2}}
			m.final.replays["1"] = "done"
			m.tried("all/plain", "1", 12, taken)
			m.attempts[len(m.attempts)-1].replay, m.attempts[len(m.attempts)-1].delivery = "again", "again 1"
		}, "replayed: subscription all/plain: event 2 on bus a, sequence 2, was not delivered by replay again"},
		{"what was answered", func(m *made) { m.wrong("answered", "with a fault") }, "answered: with a fault"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := good()
			tc.spoil(m)
			r := check(m.history, m.subs, m.final, tolerance{killed: 2 * time.Second, powerCut: 3 * time.Second, late: time.Second})
			var all []string
			for _, v := range r.Violations {
				all = append(all, v.String())
			}
			switch {
			case tc.want == "" && len(all) > 0:
				t.Errorf("a good history is called bad: %s", all[0])
			case tc.want != "" && !slices.ContainsFunc(all, func(text string) bool { return strings.HasPrefix(text, tc.want) }):
				t.Errorf("got %q, want %q", all, tc.want)
			}
		})
	}
}

func TestARuleMustMatchOnlyWhileItIsInForce(t *testing.T) {
	m := good()
	m.subs = append(m.subs, subscription{name: "extra/extra", bus: "a", order: "none", matches: func(*event) bool { return true }, partTime: true})
	m.inForce("extra/extra", period{3, 4})
	m.tried("extra/extra", "3", 2.3, taken)
	m.final.traces["a"][3] = append(m.final.traces["a"][3], traced{"extra/extra", "extra/extra 3", "delivered", 1})
	r := check(m.history, m.subs, m.final, tolerance{})
	if len(r.Violations) != 1 || !strings.HasPrefix(r.Violations[0].String(), "delivered: subscription extra/extra: event 4 ") {
		t.Errorf("got %v", r.Violations)
	}
}

func TestMessagesTellTheHistoryOfTheEvent(t *testing.T) {
	m := good()
	m.tried("all/plain", "3", 9, taken)
	r := check(m.history, m.subs, m.final, tolerance{})
	want := `subscription all/plain: event 3 on bus a was delivered again at 9.000s, after it was taken at 2.210s, without a crash close enough
    sent at 2.000s, acknowledged at 2.100s as sequence 3
    attempt at 2.200s to 2.210s of delivery all/plain 3: taken
    attempt at 9.000s to 9.010s of delivery all/plain 3: taken`
	if !slices.ContainsFunc(r.Violations, func(v violation) bool { return v.Text == want }) {
		t.Errorf("got %v\nwant %s", r.Violations, want)
	}
}
