package bus

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/targets"
)

// RetryPolicy says how often and when a failed delivery is tried again:
// exponential back-off with full jitter, or by a list of Delays. The zero value
// is DefaultRetry.
type RetryPolicy struct {
	Attempts int           // attempts at most, the first included; 0: 185
	Age      time.Duration // from first due to the last attempt, pauses left out; 0: 24h, with Delays no limit
	Initial  time.Duration // upper bound of the first wait; 0: 1s
	Max      time.Duration // upper bound of any wait; 0: 10m
	// Delays are the waits after the first, second, ... attempt, in place of
	// Initial and Max. One attempt more than there are delays is made, unless
	// Attempts is lower.
	Delays []time.Duration
	Jitter float64 // makes each of Delays longer or shorter at random, by up to this share of it; 0: exact
	// On is tried again although the target says that it is final, Not is not
	// tried again although it is by default; Not wins. See again.
	On, Not []RetryMatch
}

// RetryMatch is a range of status codes, or a class of failures without one.
type RetryMatch struct {
	From, To int // both included; 0: Class is meant
	Class    targets.Class
}

// again reports whether a failed attempt is to be made again: what the target
// does not call permanent is, unless Not names it, and so are answers that On
// names. A permanent failure without an answer, such as an address that the
// network rules forbid, is never mended by another attempt.
func (p RetryPolicy) again(err error, status int) bool {
	permanent := targets.IsPermanent(err)
	if permanent && status == 0 {
		return false
	}
	var class targets.Class
	if status == 0 {
		class = targets.ClassOf(err)
	}
	matches := func(m RetryMatch) bool {
		if m.From == 0 {
			return class != "" && m.Class == class
		}
		return m.From <= status && status <= m.To
	}
	return (!permanent || slices.ContainsFunc(p.On, matches)) && !slices.ContainsFunc(p.Not, matches)
}

// DefaultRetry is the policy of targets that do not set their own.
func DefaultRetry() RetryPolicy {
	return RetryPolicy{Attempts: 185, Age: 24 * time.Hour, Initial: time.Second, Max: 10 * time.Minute}
}

// withDefaults fills in what is not set.
func (p RetryPolicy) withDefaults() RetryPolicy {
	d := DefaultRetry()
	if n := len(p.Delays); n > 0 {
		if p.Attempts <= 0 || p.Attempts > n+1 {
			p.Attempts = n + 1
		}
		if p.Age <= 0 {
			p.Age = math.MaxInt64
		}
	}
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

// delay is how long to wait after attempt number n (from 1) failed: what Delays
// say, or a random time up to Initial × 2^(n-1), at most Max.
func (p RetryPolicy) delay(n int) time.Duration {
	if len(p.Delays) > 0 {
		d := p.Delays[min(max(n, 1), len(p.Delays))-1]
		return d + time.Duration(float64(d)*p.Jitter*(2*rand.Float64()-1))
	}
	bound := p.Max
	if shift := n - 1; shift < 40 {
		if d := p.Initial << shift; d > 0 && d < bound {
			bound = d
		}
	}
	return rand.N(bound) + 1
}
