// Package store says what Switchyard needs of a storage engine: a durable log
// of events per bus, a durable queue of deliveries per subscription, dead
// letters, scheduled events, a catalogue and a trace.
//
// The interfaces hold domain operations, not keys and values, so that an
// embedded engine and a clustered one can each keep them in their own way.
// Package storetest has the conformance suite that every engine passes.
//
// Every method of every interface may be called from many goroutines at once.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Errors that engines return; test with errors.Is.
var (
	// ErrNotFound means that the thing asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrTrimmed means that retention has removed the event.
	ErrTrimmed = errors.New("removed by retention")
	// ErrConflict means that a version that was expected is not the present one.
	ErrConflict = errors.New("version conflict")
	// ErrUnavailable means that the engine cannot keep anything safely at the
	// moment (disk full, failed fsync); the wrapping error says why. It may
	// recover by itself.
	ErrUnavailable = errors.New("store unavailable")
	// ErrRewound means that the engine went back to what was durable, after a
	// failure, and that what was handed over last may be lost: ask Position, or
	// Replay, and go on from there.
	ErrRewound = errors.New("went back to what is durable")
	// ErrNoTable means that the bus keeps no table of its newest events.
	ErrNoTable = errors.New("the bus keeps no table")
	// ErrTableUnfinished means that the bus's table is still being made of the
	// events that were there before; the wrapping error says how far that is.
	ErrTableUnfinished = errors.New("the table is not finished")
	// ErrClosed means that the engine was closed.
	ErrClosed = errors.New("store closed")
)

// BusID identifies a bus in an engine. Ids are never reused; 0 is none.
type BusID uint32

// SubscriptionID identifies a subscription (one rule × one of its targets).
// Ids are never reused; 0 is none.
type SubscriptionID uint32

// Store is a whole engine.
type Store interface {
	Buses
	Log
	Tables
	Queue
	Replays
	DeadLetters
	Schedule
	Transactions
	Catalog
	Trace
	Attempts
	Search
	// Watch names who is told of new work. It is called once, before the first
	// Append and Enqueue; the calls it receives must return at once.
	Watch(w Watcher)
	// Err is nil while the engine accepts events, else it says why it does not
	// (it wraps ErrUnavailable).
	Err() error
	// Stats is a snapshot for metrics; it costs little.
	Stats() Stats
	// Close settles what is in memory into durable state and releases
	// everything. It is idempotent.
	Close() error
}

// Watcher is told of new work. Calls may come from any goroutine, must not
// block and must not call the store back.
type Watcher interface {
	// Appended says that bus has new durable events.
	Appended(bus BusID)
	// Ready says that subscription may have deliveries that can be claimed now.
	Ready(sub SubscriptionID)
}

// Buses keeps the buses themselves.
type Buses interface {
	// OpenBus creates the bus called name, or finds it, and sets its options.
	// A new bus is durable when OpenBus returns.
	OpenBus(ctx context.Context, name string, opts BusOptions) (BusID, error)
	// DropBus removes a bus with its events, durably. The name may be opened
	// again later and is then a new, empty bus. ErrNotFound if there is none.
	DropBus(ctx context.Context, bus BusID) error
	// Bounds says what the bus holds. ErrNotFound if there is no such bus.
	Bounds(bus BusID) (Bounds, error)
	// Release lets retention remove events of a bus with BusOptions.Hold up to
	// and including upTo. Releases are forgotten when the engine closes; one
	// below another changes nothing. ErrNotFound if there is no such bus.
	Release(bus BusID, upTo uint64) error
}

// BusOptions are what an engine must know of a bus.
type BusOptions struct {
	MaxAge   time.Duration // retention by age; 0 keeps events for ever
	MaxBytes int64         // retention by size; 0 is unlimited
	Table    bool          // the bus is compacted: retention spares the newest event of each subject; see Tables
	// Hold keeps retention from removing any event that Release has not let go,
	// for it is to be kept elsewhere first. It outlives a restart.
	Hold bool
}

// Bounds says which sequences a bus holds. In an empty bus First is Last+1.
type Bounds struct {
	First   uint64 // lowest sequence that can be read; of a bus with a table, the lowest that its table may hold
	History uint64 // lowest sequence from which on no event is missing; First, unless the bus has a table
	Last    uint64 // highest durable sequence, 0 before the first event
	Bytes   int64  // size of the events held from History on, about
}

// Record is an event in its place in a bus.
type Record struct {
	Bus      BusID
	Sequence uint64    // per bus, from 1, without gaps
	Recorded time.Time // when it was recorded; never decreases in a bus
	Via      string    // who brought it, see bus.Origin; at most 200 bytes
	Hops     uint8     // how many buses it was chained through before this one
	Event    *event.Event
}

// Entry is one event to append.
type Entry struct {
	Bus    BusID
	Event  *event.Event
	Via    string
	Hops   uint8
	Dedupe [16]byte      // identity for deduplication, see event.DedupeKey
	Window time.Duration // how long Dedupe is remembered; 0: not deduplicated
	Due    time.Time     // zero, or when the event is to be recorded and routed
}

// Result says what became of an Entry.
type Result struct {
	Sequence  uint64 // 0 while the event is scheduled
	Duplicate bool   // an event with the same identity was kept before
	Scheduled bool   // the event is kept until its time
}

// Log is the durable log of events.
type Log interface {
	// Append keeps a batch, all of it or nothing, and returns when it is on
	// stable storage; results are in order of the batch. An entry whose Dedupe
	// is known inside its Window, or earlier in the batch, is not stored again:
	// its result carries the original's Sequence (0 if that is still
	// scheduled), and Append returns only once the original is durable too.
	// After an error nothing of the batch can be seen in this process.
	Append(ctx context.Context, batch []Entry) ([]Result, error)
	// Read appends to dst the durable records of bus from sequence from on, in
	// order, at most max of them and about maxBytes bytes (at least one). It
	// starts at the first event that is left if retention has removed from, and
	// passes over those that are gone between the rows of a table.
	// At the end of the bus it returns dst as it was.
	Read(ctx context.Context, bus BusID, from uint64, max, maxBytes int, dst []Record) ([]Record, error)
	// Get returns one record: ErrTrimmed if retention has removed it,
	// ErrNotFound if it was never there. A record that is still owed to a
	// subscription can be read although Bounds.First has passed it.
	Get(ctx context.Context, bus BusID, sequence uint64) (Record, error)
	// SequenceAt is the lowest sequence recorded at t or later, Last+1 if none.
	SequenceAt(ctx context.Context, bus BusID, t time.Time) (uint64, error)
	// Await returns nil once the bus holds a sequence above after, else the
	// context's error.
	Await(ctx context.Context, bus BusID, after uint64) error
	// Trim applies retention now. Engines also do so by themselves, about once
	// a minute.
	Trim(ctx context.Context) error
}

// MaxTableSubject is the longest subject, in bytes, that has a place in a table.
// Events with a longer one are kept like those without a subject.
const MaxTableSubject = 1024

// TableInfo says what the table of a bus holds.
type TableInfo struct {
	// Subjects is how many subjects there are, as of the last time that
	// retention was applied; -1 before that.
	Subjects int64
	// First is the sequence of the oldest row, as of the same time; 0 if there
	// is none.
	First uint64
	// Left is how many events that were there before the table are still to be
	// looked at, of Total; 0 when the table is finished.
	Left, Total uint64
}

// Tables keeps, of buses with BusOptions.Table, the newest event of each subject
// beyond retention: a table of the present state.
//
// An event belongs to the table if it has a subject of at most MaxTableSubject
// bytes. The newest one of a subject is its row; one without data is a
// tombstone: it ends the subject's row, and takes no other place. Retention
// removes events as on any bus, but for rows: Log.Read and Log.Get go on to give
// them, in order of sequence, and pass over what is gone between them. A row
// that a newer event replaces is gone at once, if retention has passed it.
// What is owed is kept as ever.
type Tables interface {
	// ReadTable appends to dst the rows whose subjects begin with prefix, in
	// byte order of subject from above after on ("" to begin), at most max and
	// about maxBytes bytes of them (at least one). next is the subject to go on
	// after, "" at the end. All that was appended before is seen. ErrNoTable,
	// ErrTableUnfinished, ErrNotFound for the bus.
	ReadTable(ctx context.Context, bus BusID, prefix, after string, max, maxBytes int, dst []Record) (rows []Record, next string, err error)
	// TableRow returns the row of one subject: ErrNotFound if there is none, and
	// the errors of ReadTable.
	TableRow(ctx context.Context, bus BusID, subject string) (Record, error)
	// Table describes the bus's table: ErrNoTable, ErrNotFound.
	Table(bus BusID) (TableInfo, error)
}

// Order says in which order a subscription's deliveries may be claimed.
type Order uint8

const (
	// OrderNone lets any due delivery be claimed.
	OrderNone Order = iota
	// OrderKey lets a delivery be claimed only when every earlier one with its
	// key is settled; a failing one holds back its own key only.
	OrderKey
	// OrderStrict lets a delivery be claimed only when every earlier one of the
	// subscription is settled.
	OrderStrict
)

// SubscriptionOptions describe a subscription.
type SubscriptionOptions struct {
	Name  string // RULE/TARGET
	Bus   BusID  // the bus of its rule; what is queued from another bus before stays queued
	Order Order
}

// SubscriptionInfo is the state of a subscription.
type SubscriptionInfo struct {
	ID            SubscriptionID
	Name          string
	Bus           BusID
	From          uint64 // only events above this sequence are for it
	Orphaned      bool   // its rule or target is gone
	Paused        bool
	Reason        string    // why it is paused
	Since         time.Time // when it was paused
	Depth         int64     // deliveries not settled: waiting, in flight and to be retried
	InFlight      int64     // claimed and not settled
	Dead          int64     // dead letters
	Oldest        time.Time // when the oldest unsettled delivery was first due; zero if none
	LastError     string
	LastErrorTime time.Time
}

// DeliveryID identifies a delivery for good: a repeat after a crash has the
// same one. It is comparable.
type DeliveryID struct {
	Subscription SubscriptionID
	Bus          BusID
	Sequence     uint64
	Run          uint32 // 0 for the live flow; a replay has a number of its own
}

// Trigger says why an attempt is made.
type Trigger uint8

const (
	// TriggerFirst is the first attempt of a live delivery.
	TriggerFirst Trigger = iota
	// TriggerRetry follows an attempt that failed.
	TriggerRetry
	// TriggerRedrive follows a redrive of a dead letter.
	TriggerRedrive
	// TriggerReplay is the first attempt of a replayed delivery.
	TriggerReplay
)

// String is the trigger's name as traces show it.
func (t Trigger) String() string {
	switch t {
	case TriggerRetry:
		return "retry"
	case TriggerRedrive:
		return "redrive"
	case TriggerReplay:
		return "replay"
	}
	return "first"
}

// Wait says what kept an attempt waiting.
type Wait uint8

const (
	// WaitNone means that the attempt was made when it was due, or waited for
	// its turn only.
	WaitNone Wait = iota
	// WaitBreaker means that the circuit breaker of the target, or of an endpoint
	// that the rule asks, was open.
	WaitBreaker
	// WaitRetryAfter means that the destination had asked for a pause in its
	// answer to another delivery.
	WaitRetryAfter
	// WaitBackoff means that it is another try, made when the schedule of
	// retries had it.
	WaitBackoff
	// WaitRate means that the target's rate held it up.
	WaitRate
	// WaitOrder means that one before it in its order had to be settled first.
	WaitOrder
	// WaitConcurrency means that as many attempts were under way as the target
	// or the engine bears.
	WaitConcurrency
)

// String is the wait's name as traces show it, "" for none.
func (w Wait) String() string {
	switch w {
	case WaitBreaker:
		return "breaker"
	case WaitRetryAfter:
		return "retry-after"
	case WaitBackoff:
		return "backoff"
	case WaitRate:
		return "rate"
	case WaitOrder:
		return "order"
	case WaitConcurrency:
		return "concurrency"
	}
	return ""
}

// Routed is one match that the router hands to the queue.
type Routed struct {
	Subscription SubscriptionID
	Key          uint64 // hash of the order key; 0 is no key
}

// RoutedEvent is an event with the subscriptions that it matched.
type RoutedEvent struct {
	Record  Record
	Matches []Routed
}

// Delivery is one event on one subscription, claimed by whoever holds it.
type Delivery struct {
	ID       DeliveryID
	Key      uint64
	Attempt  int           // number of the attempt that is now to be made, from 1; counts from the last redrive
	Trigger  Trigger       // why it is to be made
	Redriven bool          // it was a dead letter before
	Age      time.Duration // since it was first due (or redriven), pauses left out, at the time of the claim
	Due      time.Time     // when this attempt became due
	Behind   bool          // one before it in its order may have kept it waiting; engines may lose this in a crash
	Record   Record
}

// OutcomeKind says what becomes of a claimed delivery.
type OutcomeKind uint8

const (
	// Done settles the delivery: it was delivered.
	Done OutcomeKind = iota
	// Retry puts it back until RetryAt.
	Retry
	// Dead makes it a dead letter, with Reason.
	Dead
	// Expired settles it undelivered, because the event's expirytime passed.
	Expired
	// Release puts it back as it was, as if it had not been claimed.
	Release
)

// Attempt is the record of one try at a delivery.
type Attempt struct {
	Number   int
	Trigger  Trigger
	Started  time.Time
	Duration time.Duration
	Status   int    // the receiver's status code, 0 if there was none
	Error    string // "" after a success; at most 1 KiB
	Response string // start of the receiver's answer after a failure; at most 4 KiB
	Address  string // what was dialled, if known
	Waited   Wait   // why it was made later than it was due
	Phases   Phases
	Failure  *Failure // nil after a success; never changed once it is handed over
	// ReplyDropped is why an event that the receiver replied with was not
	// published; "" if it was, or there was none. At most 1 KiB.
	ReplyDropped string `json:",omitempty"`
	// Published is the event that was published of the delivery: to a bus that is
	// the target, or as a reply. The zero value is none.
	Published EventPlace `json:",omitzero"`
}

// EventPlace is the place of an event in a bus.
type EventPlace struct {
	Bus      BusID
	Sequence uint64
}

// Settlement is the outcome of a claimed delivery.
type Settlement struct {
	ID      DeliveryID
	Kind    OutcomeKind
	RetryAt time.Time // for Retry
	Reason  string    // for Dead; at most 1 KiB
	Attempt *Attempt  // nil if no attempt was made
}

// OpenSubscription opens one subscription; see Queue.OpenSubscriptions.
func OpenSubscription(ctx context.Context, q Queue, opts SubscriptionOptions) (SubscriptionInfo, error) {
	infos, err := q.OpenSubscriptions(ctx, []SubscriptionOptions{opts})
	if err != nil {
		return SubscriptionInfo{}, err
	}
	return infos[0], nil
}

// Queue keeps the deliveries that are owed.
//
// A delivery that Enqueue was handed is never forgotten: either the router's
// position that survives a crash lies before it, so that it is routed again,
// or it stands in durable state.
type Queue interface {
	// OpenSubscriptions creates the subscriptions that are called so, or finds
	// them (an orphan is adopted), sets their options and returns them in the
	// same order. A new one starts at the end of the bus
	// (SubscriptionInfo.From). They are durable when it returns; those before
	// one that fails may be open.
	OpenSubscriptions(ctx context.Context, all []SubscriptionOptions) ([]SubscriptionInfo, error)
	// OrphanSubscription marks a subscription whose rule or target is gone. It
	// is removed at once when it owes nothing and has no dead letters, else
	// kept, unclaimed, until it is adopted or purged.
	OrphanSubscription(ctx context.Context, sub SubscriptionID) error
	// PurgeSubscription drops all that the subscription owes (not its dead
	// letters); an orphan without dead letters is removed.
	PurgeSubscription(ctx context.Context, sub SubscriptionID) error
	// Subscriptions lists all, orphans included, in order of name.
	Subscriptions() []SubscriptionInfo
	// Subscription describes one. ErrNotFound if there is none.
	Subscription(sub SubscriptionID) (SubscriptionInfo, error)
	// Pause stops claims of a subscription, durably. Resume lifts it.
	Pause(ctx context.Context, sub SubscriptionID, reason string) error
	Resume(ctx context.Context, sub SubscriptionID) error

	// Position is the sequence up to which the bus's events were routed. After
	// an ErrRewound it is lower than what was enqueued.
	Position(bus BusID) uint64
	// Enqueue hands over events that were routed, in order, with everything
	// that they matched, and moves the router's position of the bus to
	// position. ErrRewound: nothing was taken, go on after Position. Only one goroutine enqueues for a bus at a time. A match that
	// is already queued, in flight or dead (after a crash) is passed over.
	Enqueue(ctx context.Context, bus BusID, position uint64, events []RoutedEvent) error
	// Claim appends to dst up to max deliveries of sub that are due at now and
	// that its order lets through; they are the caller's until it settles
	// them. next is when the earliest other one becomes due, zero if only a
	// Ready or a Settle can bring more.
	Claim(ctx context.Context, sub SubscriptionID, now time.Time, max int, dst []Delivery) (ds []Delivery, next time.Time, err error)
	// Settle takes the outcomes of claimed deliveries. A delivery that is not
	// claimed is passed over.
	Settle(ctx context.Context, outcomes []Settlement) error
	// Checkpoint makes durable all that is known now: what is queued in
	// memory becomes queue records and the positions move up to the present.
	Checkpoint(ctx context.Context) error
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	ID       DeliveryID
	Reason   string
	Died     time.Time
	Attempts []Attempt // oldest first, earlier budgets included
	Record   Record
}

// DeadLetters keeps the deliveries that were given up, 30 days by default.
type DeadLetters interface {
	// ListDead lists dead letters of sub, oldest first, at most limit, after
	// the cursor that a call before returned ("" to begin); next is "" at the
	// end. A malformed cursor is ErrNotFound.
	ListDead(ctx context.Context, sub SubscriptionID, after string, limit int) (letters []DeadLetter, next string, err error)
	// Redrive puts dead letters back into the queue, with fresh budgets, in
	// the order in which they were queued first; unknown ids are passed over.
	// It is durable when it returns and says how many it moved.
	Redrive(ctx context.Context, sub SubscriptionID, ids []DeliveryID) (int, error)
	// PurgeDead drops dead letters; unknown ids are passed over. It is durable
	// when it returns and says how many it dropped.
	PurgeDead(ctx context.Context, sub SubscriptionID, ids []DeliveryID) (int, error)
}

// Scheduled is an event that waits for its time.
type Scheduled struct {
	Due   time.Time
	Bus   BusID
	Event *event.Event
}

// Schedule keeps the events that wait for their time. The engine records them
// by itself when they are due.
type Schedule interface {
	// ListScheduled lists what waits on bus in order of due time, only events
	// with source and id when they are not "", at most limit, after the cursor
	// of a call before ("" to begin); next is "" at the end. A malformed cursor
	// is ErrNotFound. One call does a bounded amount of work: with only one of
	// source and id it may end early, even without an event.
	ListScheduled(ctx context.Context, bus BusID, source, id, after string, limit int) (items []Scheduled, next string, err error)
	// CancelScheduled drops all waiting events with this source and id,
	// durably, and forgets them, so that they can be published again. What is
	// due may be on its way into the bus and then does not wait any more;
	// ErrNotFound when none waits. The work does not grow with what else waits.
	CancelScheduled(ctx context.Context, bus BusID, source, id string) error
}

// Object is one entry of the catalogue.
type Object struct {
	Kind    string // "bus", "source", "rule", "target", or an engine user's own
	Name    string
	Version uint64 // grows with every change; 0 is "not there"
	Value   []byte
}

// Catalog keeps configuration objects and other small named values.
type Catalog interface {
	// GetObject returns one object, ErrNotFound if there is none.
	GetObject(ctx context.Context, kind, name string) (Object, error)
	// ListObjects returns all objects of a kind in order of name.
	ListObjects(ctx context.Context, kind string) ([]Object, error)
	// PutObject writes an object durably and returns its new version. expect
	// is the version that must be the present one (0: must not exist), or
	// AnyVersion; else ErrConflict.
	PutObject(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error)
	// PutObjects writes many objects, whatever their versions are, durably;
	// those before one that fails may be written. Version is not looked at.
	PutObjects(ctx context.Context, objects []Object) error
	// DeleteObject removes an object durably; ErrNotFound, ErrConflict.
	DeleteObject(ctx context.Context, kind, name string, expect uint64) error
}

// AnyVersion lets PutObject and DeleteObject pass whatever the version is.
const AnyVersion = ^uint64(0)

// Receipt says how an event came in, beside what its record has.
type Receipt struct {
	Accepted    time.Time // when it was acknowledged; its Recorded unless it was scheduled
	Due         time.Time // for when it was scheduled; zero if it was not
	Transaction uint64    // whose commit recorded it; 0 if none
}

// DeliveryTrace is what happened to one delivery of an event.
type DeliveryTrace struct {
	ID DeliveryID
	// Subscription is the name of the subscription, also of one that was
	// removed since; "" if it is not known any more.
	Subscription string

	Queued   time.Time
	Attempts []Attempt
	State    string    // "queued", "in flight", "retrying", "delivered", "dead", "expired", "dropped" (by a purge, a seek or the end of its replay, after an attempt)
	Settled  time.Time // zero while it is not
	Reason   string    // why it is dead
	NextAt   time.Time // when it is tried again, for "retrying"
}

// Timeline is what happened to the deliveries of one event.
type Timeline struct {
	Sequence   uint64
	Deliveries []DeliveryTrace // in order of subscription
}

// MaxTimelines is how many events one call of Trace.Timelines looks at, at most.
const MaxTimelines = 4096

// Trace keeps what happened to deliveries, for as long as their events.
// Around a crash the last second may lack.
type Trace interface {
	// TraceOf returns the deliveries of one event in order of subscription.
	TraceOf(ctx context.Context, bus BusID, sequence uint64) ([]DeliveryTrace, error)
	// Timelines returns what TraceOf does for the events from one sequence to
	// another, both included, in order and without those that have none; at most
	// the first MaxTimelines events are looked at.
	Timelines(ctx context.Context, bus BusID, from, to uint64) ([]Timeline, error)
	// Former has the names of the subscriptions that were removed, as long as
	// traces may name them.
	Former(ctx context.Context) (map[SubscriptionID]string, error)
	// ReceiptOf says how an event came in. Engines may lose it, but for
	// Accepted, when they move what is owed beyond retention. ErrNotFound and
	// ErrTrimmed as of Get.
	ReceiptOf(ctx context.Context, bus BusID, sequence uint64) (Receipt, error)
	// Receipts returns, by sequence, what ReceiptOf does for the events from one
	// sequence to another, both included, that were scheduled or of a transaction
	// and that retention has left; at most the first MaxTimelines are looked at.
	Receipts(ctx context.Context, bus BusID, from, to uint64) (map[uint64]Receipt, error)
}

// Stats is a snapshot of an engine.
type Stats struct {
	Events        uint64 // appended since start
	Bytes         uint64
	Duplicates    uint64
	Scheduled     int64 // waiting for their time
	Fsyncs        uint64
	DiskBytes     int64 // used by the store's files
	OwedBytes     int64 // bodies kept beyond retention because they are owed
	QueuedRecords int64 // deliveries in durable queues
	WindowBytes   int64 // bodies held in memory for deliveries
	WaitingBytes  int64 // events that wait for the log to be synced

	// ClockAhead is by how much the clock jumped forward (negative: back) if
	// retention by age does not go by it yet, and ClockHold for how much longer
	// it waits. Both are 0 as a rule.
	ClockAhead, ClockHold time.Duration
}
