package store

import (
	"fmt"
	"time"
)

// LimitError refuses a publication because a limit is reached, before anything
// breaks. It matches ErrUnavailable: the same publication can be accepted
// later.
type LimitError struct {
	Limit string // which: "waiting", "memory", "disk", "diskReserve", "owed", "depth" or "age"
	Bus   string // "" for a limit of the whole server
	// Value is what was measured and Bound the limit on it: bytes, deliveries
	// for "depth", seconds for "age".
	Value, Bound int64
	// Busy says that it passes as deliveries or syncs go on, so that the
	// publisher can wait it out; else the server lacks something.
	Busy bool
	// RetryAfter is when to try again, about; at least a second.
	RetryAfter time.Duration
	// Reason says what is the matter and what to do.
	Reason string
}

// Error implements error.
func (e *LimitError) Error() string {
	if e.Bus != "" {
		return fmt.Sprintf("bus %q: %s", e.Bus, e.Reason)
	}
	return e.Reason
}

// Unwrap is ErrUnavailable.
func (e *LimitError) Unwrap() error { return ErrUnavailable }
