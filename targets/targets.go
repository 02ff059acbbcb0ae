// Package targets is where events leave Switchyard: what a target is, what its
// outcomes mean, and the contract that every kind keeps. One package below
// this one holds each kind; package targettest has the conformance suite.
//
// The delivery engine owns retries, order, limits and dead letters. A target
// makes one attempt and says what came of it.
package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// Target delivers events to one destination. It is made by Config.Build, which
// opens nothing; then Start is called once, Deliver any number of times from
// many goroutines at once, and Close once, after the last Deliver returned.
// Close may come without Start.
type Target interface {
	// Start prepares the target. It must not wait for the destination to be
	// reachable: a destination that is down makes attempts fail, not Start.
	Start(ctx context.Context) error
	// Deliver makes one attempt and returns nil once the destination has
	// accepted the event; it returns soon after ctx is done. It must not keep
	// d or its event. The error says what to do next: a *Permanent is not
	// tried again, a *RetryAfter is tried again no sooner than it says, and
	// any other error is tried again by the target's schedule. A panic counts
	// as a *Permanent failure of this delivery.
	Deliver(ctx context.Context, d *Delivery) error
	// Close releases what the target holds. It is idempotent.
	Close() error
}

// Batcher is a Target that can send several deliveries at once.
type Batcher interface {
	Target
	// DeliverBatch makes one attempt at each of ds, all in one request, and
	// returns the outcome of each in the same order, with what Deliver says about
	// errors and Delivery about answers. There is at least one. When a
	// *Permanent is the outcome of all, one of them may be to blame: they are
	// sent again one by one.
	DeliverBatch(ctx context.Context, ds []*Delivery) []error
}

// Pulled is a target that sends nothing: its deliveries wait in their queues
// until workers lease them. The engine never calls its Deliver.
type Pulled interface {
	Target
	Pull() Pull
}

// Pull says how deliveries are leased.
type Pull struct {
	Lease     time.Duration // how long a worker has a delivery
	Broadcast bool          // each consumer has a queue of its own
}

// Delivery is one attempt at one delivery.
type Delivery struct {
	ID           string // stable over attempts and repeats; holds no dot
	Subscription string // RULE/TARGET
	Bus          string // the bus that the event was read from
	Sequence     uint64 // its place there
	Recorded     time.Time
	Attempt      int // from 1
	Redriven     bool
	Hops         uint8        // how many buses the event was chained through
	Event        *event.Event // as transformed
	// WantReply says that an event which the destination replies with is to be
	// published; a target whose destinations can do that hands it over in Reply.
	WantReply bool

	// Reply is the event that the destination replied with, nil if there is
	// none. It counts only if Deliver returned nil.
	Reply *event.Event
	// Answer is what the target found out about the destination's answer, for
	// the attempt record. The target fills in what it knows, also after a
	// success.
	Answer Answer
}

// Answer describes how a destination answered an attempt.
type Answer struct {
	Status  int    // the protocol's status code, 0 if there is none
	Address string // the address that was dialled, if known
	Body    string // the start of the answer, at most MaxAnswer bytes
	// DNS, Connect, TLS and FirstByte are how long the steps of the attempt took,
	// as far as they took place and the target knows.
	DNS, Connect, TLS, FirstByte time.Duration
	// Sent and Headers are what was sent and answered beside bodies, "Name: value"
	// on a line each, without secrets. They are filled in after a failure only.
	Sent, Headers string
	// ReplyDropped is why an event that the destination replied with cannot be
	// used, "" if it can or there is none. The delivery is done all the same.
	ReplyDropped string
	// Published is the event that was published of the delivery: the one that went
	// to a bus, or the reply. Switchyard fills it in.
	Published Place
}

// Place is the place of an event in a bus; the zero Place is none.
type Place struct {
	Bus      string
	Sequence uint64
}

// MaxAnswer is how many bytes of a destination's answer are kept.
const MaxAnswer = 4 << 10

// Permanent is a failure that another attempt cannot mend: the delivery
// becomes a dead letter.
type Permanent struct {
	Err   error
	Pause string // not "": the destination wants no more; the subscription is paused with this reason
}

// Error implements error.
func (e *Permanent) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Permanent) Unwrap() error { return e.Err }

// RetryAfter is a failure after which the destination asked for a pause.
type RetryAfter struct {
	Err   error
	After time.Duration
}

// Error implements error.
func (e *RetryAfter) Error() string {
	return fmt.Sprintf("%v (retry after %v)", e.Err, e.After.Round(time.Millisecond))
}

// Unwrap gives the cause.
func (e *RetryAfter) Unwrap() error { return e.Err }

// Permanentf makes a *Permanent from a format.
func Permanentf(format string, args ...any) error {
	return &Permanent{Err: fmt.Errorf(format, args...)}
}

// IsPermanent reports whether err is or wraps a *Permanent.
func IsPermanent(err error) bool {
	var p *Permanent
	return errors.As(err, &p)
}

// Config is the settings of one kind of target.
type Config interface {
	component.Config
	// Build makes the target. It opens nothing and starts nothing.
	Build(env Env) (Target, error)
}

// Spec is a kind of target.
type Spec struct {
	component.Spec
	New func() Config // settings with the defaults filled in
}

// Env is what a target is given to work with.
type Env struct {
	Name      string       // the target's name
	Version   string       // this Switchyard's version, for User-Agent; "" is "dev"
	Logger    *slog.Logger // never nil
	Publisher Publisher    // publishes to this Switchyard's own buses
	Out       io.Writer    // where the log target prints
	// Dial opens connections to destinations, by the network rules in force;
	// nil: a plain net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Publisher publishes a delivery's event to a bus of this Switchyard,
// deduplicated on the delivery's id. It returns a *Permanent when the bus does
// not exist, the event is too large for it or was chained too often.
type Publisher interface {
	PublishDelivery(ctx context.Context, bus string, d *Delivery) error
}
