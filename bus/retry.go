package bus

import (
	"math/rand/v2"
	"time"
)

// RetryPolicy says how often and when a failed delivery is tried again:
// exponential back-off with full jitter. The zero value is DefaultRetry.
type RetryPolicy struct {
	Attempts int           // attempts at most, the first included; 0: 185
	Age      time.Duration // from first due to the last attempt, pauses left out; 0: 24h
	Initial  time.Duration // upper bound of the first wait; 0: 1s
	Max      time.Duration // upper bound of any wait; 0: 10m
}

// DefaultRetry is the policy of targets that do not set their own.
func DefaultRetry() RetryPolicy {
	return RetryPolicy{Attempts: 185, Age: 24 * time.Hour, Initial: time.Second, Max: 10 * time.Minute}
}

// withDefaults fills in what is not set.
func (p RetryPolicy) withDefaults() RetryPolicy {
	d := DefaultRetry()
	if p.Attempts <= 0 {
		p.Attempts = d.Attempts
	}
	if p.Age <= 0 {
		p.Age = d.Age
	}
	if p.Initial <= 0 {
		p.Initial = d.Initial
	}
	if p.Max <= 0 {
		p.Max = d.Max
	}
	return p
}

// delay is how long to wait after attempt number n (from 1) failed: a random
// time up to Initial × 2^(n-1), at most Max.
func (p RetryPolicy) delay(n int) time.Duration {
	bound := p.Max
	if shift := n - 1; shift < 40 {
		if d := p.Initial << shift; d > 0 && d < bound {
			bound = d
		}
	}
	return rand.N(bound) + 1
}
