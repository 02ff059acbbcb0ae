package store

import "context"

// AttemptQuery asks for recent attempts of one subscription.
type AttemptQuery struct {
	After string // Next of the page before; "" begins with the newest event
	Limit int    // attempts at most; below 1 is 100
	// Match takes attempts; nil takes all. It must be quick and must not call
	// the store.
	Match func(*Attempt) bool
}

// AttemptOf is an attempt with what it was made for.
type AttemptOf struct {
	ID      DeliveryID
	Attempt Attempt
}

// Attempts finds attempts by subscription.
type Attempts interface {
	// RecentAttempts lists attempts at the deliveries of sub on the bus of its
	// rule: those of the newest event first, and of one event the latest attempt
	// first. It knows what the trace knows. One call looks at a bounded number
	// of events, so a page may be short, even empty, although next is not "". A
	// malformed cursor is ErrNotFound.
	RecentAttempts(ctx context.Context, sub SubscriptionID, q AttemptQuery) (attempts []AttemptOf, next string, err error)
}
