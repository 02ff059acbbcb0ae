package store

import (
	"context"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Search finds stored events without reading all of them.
type Search interface {
	// Scan looks through a part of a bus for the events that q asks for, in
	// q's direction. One call does a bounded amount of work, so that it may end
	// early, even without a record; Scanned.Next says where to go on.
	// ErrNotFound if there is no such bus.
	Scan(ctx context.Context, bus BusID, q ScanQuery) (Scanned, error)
	// Undelivered lists the sequences of a bus's events with a delivery that is
	// owed or dead, as q asks, each once, in q's direction. What retention has
	// removed from the bus is not listed. next says where to go on: From of an
	// ascending query, To of a descending one; 0 at the end. The work of one
	// call grows with q.Max and the number of subscriptions, not with what they
	// owe. ErrNotFound if there is no such bus; unknown subscriptions are
	// passed over.
	Undelivered(ctx context.Context, bus BusID, q UndeliveredQuery) (sequences []uint64, next uint64, err error)
}

// UndeliveredQuery asks for events with deliveries that are owed or dead.
type UndeliveredQuery struct {
	Subscriptions []SubscriptionID // whose deliveries are meant
	Owed          bool             // those that wait, are in flight or are to be retried
	Dead          bool             // dead letters
	From          uint64           // lowest sequence; 0 is the first that is left
	To            uint64           // highest sequence; 0 is the end of the bus
	Newest        bool             // go from the highest sequence down
	Max           int              // sequences at most; at least 1
}

// AttributeValue is a context attribute or extension with the text of its value.
type AttributeValue struct{ Name, Value string }

// In reports whether an event has the attribute with just this value.
func (a AttributeValue) In(ev *event.Event) bool {
	v, ok := ev.Attribute(a.Name)
	return ok && v.Text() == a.Value
}

// ScanQuery asks for stored events.
type ScanQuery struct {
	From     uint64           // lowest sequence; 0 is the first that is left
	To       uint64           // highest sequence; 0 is the end of the bus
	Newest   bool             // go from the highest sequence down
	Has      []AttributeValue // only events that have all of these
	Max      int              // records at most; at least 1
	MaxBytes int              // bytes of events that are read at most, about; at least one event is
}

// Scanned is what one Scan has found.
type Scanned struct {
	Records []Record // in the direction of the query
	Next    uint64   // the sequence to go on from: From of an ascending query, To of a descending one; 0 at the end
	Looked  uint64   // events that were read
	Skipped uint64   // events that were passed over unread, for they cannot be meant
}
