package store

import (
	"context"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Search finds stored events without reading all of them.
type Search interface {
	// Scan looks through a part of a bus for the events that q asks for, in
	// q's direction. One call does a bounded amount of work, so that it may end
	// early, even without a record; Scanned.Next says where to go on. Events that
	// retention has passed and that are still owed, or dead letters, are found.
	// ErrNotFound if there is no such bus.
	Scan(ctx context.Context, bus BusID, q ScanQuery) (Scanned, error)
	// WithDeliveries lists the sequences of a bus's events with a delivery that
	// is, or was once, in one of the states that q asks for, each once, in q's
	// direction: every event with such a delivery now, as far as the trace
	// knows, and maybe some of which a delivery was so before. Of what retention
	// has passed, only what is owed or dead is listed. One call does a bounded amount of
	// work, so that it may end early, even without a sequence; next says where
	// to go on: From of an ascending query, To of a descending one; 0 at the
	// end. ErrNotFound if there is no such bus; unknown subscriptions are passed
	// over.
	WithDeliveries(ctx context.Context, bus BusID, q DeliveriesQuery) (sequences []uint64, next uint64, err error)
}

// DeliveriesQuery asks for events by their deliveries.
type DeliveriesQuery struct {
	Subscriptions []SubscriptionID // whose deliveries are meant, removed ones too
	Any           bool             // those of any subscription, in place of Subscriptions
	Owed          bool             // those that wait, are in flight or are to be retried
	Dead          bool             // dead letters
	Delivered     bool             // those that were delivered
	Expired       bool             // those that expired before they were delivered
	From          uint64           // lowest sequence
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
	From     uint64           // lowest sequence
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
