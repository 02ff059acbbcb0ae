package main

import (
	"fmt"
	"strings"
	"time"
)

// pace is how fast things happen. A process of its own needs more time for a
// restart than an engine in memory.
type pace struct {
	retryFirst, retryMost time.Duration
	breakerOpen           time.Duration
	retryAfter            time.Duration // what a receiver asks for with a 429
	timeout               time.Duration // of an attempt
	hang                  time.Duration // how long a receiver hangs before it cuts the connection
	slow                  time.Duration // the most that a slow receiver takes
	ahead                 time.Duration // how far ahead events are scheduled, at most
	expiry                time.Duration // how soon they expire, at most
	dwell                 time.Duration // between two steps, at most
	rest                  time.Duration // of a producer between two publications, at most
	tolerance             tolerance
}

func processPace() pace {
	return pace{
		retryFirst: 20 * time.Millisecond, retryMost: 300 * time.Millisecond, breakerOpen: 200 * time.Millisecond,
		retryAfter: time.Second, timeout: 20 * time.Second, hang: time.Second, slow: 100 * time.Millisecond,
		ahead: 3 * time.Second, expiry: 2 * time.Second, dwell: 400 * time.Millisecond, rest: 50 * time.Millisecond,
		tolerance: tolerance{killed: 3 * time.Second, powerCut: 3 * time.Second, late: 2 * time.Second},
	}
}

func memoryPace() pace {
	return pace{
		retryFirst: time.Millisecond, retryMost: 10 * time.Millisecond, breakerOpen: 5 * time.Millisecond,
		retryAfter: 10 * time.Millisecond, timeout: 5 * time.Second, hang: 30 * time.Millisecond, slow: 5 * time.Millisecond,
		ahead: 200 * time.Millisecond, expiry: 100 * time.Millisecond, dwell: 40 * time.Millisecond, rest: 15 * time.Millisecond,
		tolerance: tolerance{killed: 500 * time.Millisecond, powerCut: 700 * time.Millisecond, late: 500 * time.Millisecond},
	}
}

// route is a rule with its one target: a subscription of the soak.
type route struct {
	subscription
	when     string // CEL; "" is every event
	batch    int    // events of a request; 0 is no batch
	breaker  bool
	optional bool // may be left out of the configuration
}

// limitedAttempts is how many attempts the target has that gives up.
const limitedAttempts = 4

// routes are all rules. What a rule says in CEL, matches says in Go.
func routes() []route {
	all := func(*event) bool { return true }
	of := func(kind string) func(*event) bool { return func(e *event) bool { return e.kind == kind } }
	typed := func(op, kind string) string { return fmt.Sprintf(`event.type %s "soak.%s"`, op, kind) }
	return []route{
		{subscription: subscription{name: "all/plain", bus: "a", order: "none", matches: all, attempts: limitedAttempts}},
		{subscription: subscription{name: "keyed/keyed", bus: "a", order: "key", matches: all}, breaker: true},
		{subscription: subscription{name: "thirds/strict", bus: "a", order: "strict", matches: func(e *event) bool { return e.n%3 == 0 }}, when: "int(event.data.n) % 3 == 0"},
		{subscription: subscription{name: "hot/batched", bus: "a", order: "key", matches: of(hotKind)}, when: typed("==", hotKind), batch: 8},
		{subscription: subscription{name: "sought/sought", bus: "a", order: "none", matches: of(hotKind), sought: true}, when: typed("==", hotKind)},
		{subscription: subscription{name: "chain/to-b", bus: "a", order: "none", matches: of(chainKind), into: "b"}, when: typed("==", chainKind)},
		{subscription: subscription{name: "extra-0/extra-0", bus: "a", order: "none", matches: all, partTime: true}, optional: true},
		{subscription: subscription{name: "extra-1/extra-1", bus: "a", order: "key", matches: of(plainKind), partTime: true}, when: typed("==", plainKind), optional: true},
		{subscription: subscription{name: "second/second", bus: "b", order: "key", matches: func(e *event) bool { return e.kind != chainKind }}, when: typed("!=", chainKind), breaker: true},
		{subscription: subscription{name: "chained/chained", bus: "b", order: "none", matches: of(chainKind)}, when: typed("==", chainKind)},
	}
}

// dedupeWindow is longer than any soak of one seed.
const dedupeWindow = time.Hour

// ruleAndTarget splits the name of a subscription.
func ruleAndTarget(name string) (rule, target string) {
	rule, target, _ = strings.Cut(name, "/")
	return rule, target
}

// busNames are the buses.
func busNames() []string { return []string{"a", "b"} }

// configuration is the YAML of the routes in force; urls are those of their
// receivers, by subscription.
func configuration(in []route, urls map[string]string, p pace) string {
	var rules, targets strings.Builder
	for _, r := range in {
		rule, target := ruleAndTarget(r.name)
		fmt.Fprintf(&rules, "  %s:\n    bus: %s\n    targets: [%s]\n", rule, r.bus, target)
		if r.when != "" {
			fmt.Fprintf(&rules, "    when: '%s'\n", r.when)
		}
		if r.into != "" {
			fmt.Fprintf(&targets, "  %s: {bus: {name: %s}, retry: {initial: %v, max: %v}}\n", target, r.into, p.retryFirst, p.retryMost)
			continue
		}
		attempts, mode := 1_000_000, "binary"
		if r.attempts > 0 {
			attempts = r.attempts
		}
		if r.batch > 0 {
			mode = "batched"
		}
		fmt.Fprintf(&targets, "  %s:\n    http: {url: '%s', mode: %s, timeout: %v}\n    retry: {attempts: %d, initial: %v, max: %v}\n    order: %s\n",
			target, urls[r.name], mode, p.timeout, attempts, p.retryFirst, p.retryMost, r.order)
		if r.batch > 0 {
			fmt.Fprintf(&targets, "    batch: {events: %d, wait: 10ms}\n", r.batch)
		}
		if r.breaker {
			fmt.Fprintf(&targets, "    breaker: {failures: 10, open: %v}\n", p.breakerOpen)
		} else {
			targets.WriteString("    breaker: {failures: 0}\n")
		}
	}
	var buses strings.Builder
	for _, name := range busNames() {
		fmt.Fprintf(&buses, "  %s: {dedupe: %v}\n", name, dedupeWindow)
	}
	return "version: 1\nbuses:\n" + buses.String() + "rules:\n" + rules.String() + "targets:\n" + targets.String()
}
