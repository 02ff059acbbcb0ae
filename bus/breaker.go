package bus

import "time"

// BreakerPolicy says when a target that fails is given a rest.
type BreakerPolicy struct {
	// Failures in a row open the breaker; 0 is no breaker. See verdictOf for
	// what counts.
	Failures int
	// Open is how long it stays open before one delivery tries the target; 0
	// is 30 s. It doubles with each trial that fails, up to MaxOpen or Open,
	// whichever is longer.
	Open time.Duration
	// PauseAfter pauses the subscriptions of a target that has had nothing but
	// failures, of any kind, for so long; 0 never does.
	PauseAfter time.Duration
}

// DefaultBreakerOpen is how long a breaker is open at first unless its policy
// says otherwise, MaxOpen how long at most.
const (
	DefaultBreakerOpen = 30 * time.Second
	MaxOpen            = 10 * time.Minute
)

// verdict is what an attempt says about the target.
type verdict uint8

const (
	worked  verdict = iota // the delivery succeeded
	refused                // the target is there and does not want this delivery, or not so soon
	busy                   // the target asked for a pause
	failed                 // the target is not there or not well
)

// breakerState is closed while the target is well, open while it rests, and
// half-open while one delivery at a time tries it.
type breakerState uint8

const (
	breakerClosed breakerState = iota
	breakerOpen
	breakerHalfOpen
)

// String is the state as it is shown.
func (s breakerState) String() string {
	return [...]string{"closed", "open", "half-open"}[s]
}

// trial is the number of a delivery that tries whether the target is well again;
// 0 is none. One that is still under way when its breaker has closed and opened
// again is not taken for the next one.
type trial uint64

// breaker is the state machine of a circuit breaker. It reads no clock and
// takes no lock.
type breaker struct {
	policy   BreakerPolicy
	failures int       // in a row
	opened   int       // times in a row that it opened without a success in between; 0 is closed
	until    time.Time // when the rest ends
	probing  trial     // the trial under way, 0 if there is none
	trials   trial     // how many were begun
}

// state is what the breaker lets through at now.
func (b *breaker) state(now time.Time) breakerState {
	switch {
	case b.opened == 0:
		return breakerClosed
	case now.Before(b.until):
		return breakerOpen
	}
	return breakerHalfOpen
}

// probe claims the one trial of a half-open breaker, 0 if there is none to
// have.
func (b *breaker) probe(now time.Time) trial {
	if b.probing != 0 || b.state(now) != breakerHalfOpen {
		return 0
	}
	b.trials++
	b.probing = b.trials
	return b.probing
}

// unprobe gives a trial back unused.
func (b *breaker) unprobe(n trial) {
	if b.probing == n {
		b.probing = 0
	}
}

// observe takes the outcome of an attempt; n is not 0 if it was a trial.
// What was under way when the breaker opened may still close it, but not open
// it for longer; the trial counts like any other attempt then.
func (b *breaker) observe(now time.Time, v verdict, n trial) {
	probe := n != 0 && n == b.probing
	if probe {
		b.probing = 0
	}
	switch v {
	case worked, refused:
		b.failures, b.opened, b.until, b.probing = 0, 0, time.Time{}, 0
	case failed:
		b.failures++
		if b.policy.Failures > 0 && (probe || b.opened == 0 && b.failures >= b.policy.Failures) {
			b.opened++
			b.until = now.Add(b.rest())
		}
	}
}

// rest is how long the breaker stays open the next time.
func (b *breaker) rest() time.Duration {
	first := b.policy.Open
	if first <= 0 {
		first = DefaultBreakerOpen
	}
	longest := max(MaxOpen, first)
	if shift := b.opened - 1; shift < 60 && first <= longest>>shift {
		return first << shift
	}
	return longest
}
