package store

import "context"

// Replays queue stored events again. A replay has one part for each of its
// subscriptions: a queue of its own beside the live one, in order in itself.
// Claim hands out deliveries of both, and of the replayed ones at least a
// sixteenth and at most that while live ones are due, so that neither holds the
// other up. The dead letters of a replay are the subscription's.
//
// What is queued and how far a part is are one durable step, so that a crash
// repeats none of it under another id.
type Replays interface {
	// OpenReplay begins a replay, durably, and returns its number, which is that
	// of its deliveries (DeliveryID.Run) and is never used again. ErrNotFound if
	// the bus or a subscription is not there.
	OpenReplay(ctx context.Context, opts ReplayOptions) (run uint32, err error)
	// Replay lists the parts of a replay in order of subscription. ErrNotFound
	// if there is none (left).
	Replay(run uint32) ([]ReplayPart, error)
	// Replays lists the numbers of those that are not dropped, lowest first.
	Replays() []uint32
	// EnqueueReplay queues the matches of events, which are in order, for the
	// parts of subs, and moves these parts to position. What is not above a
	// part's position, and parts that are gone, are passed over. Only one
	// goroutine enqueues for a replay at a time.
	EnqueueReplay(ctx context.Context, run uint32, position uint64, subs []SubscriptionID, events []RoutedEvent) error
	// DropReplay ends parts of a replay, all of them without subs, durably, and
	// says how many deliveries were dropped with them. What a seek has queued
	// stays. It is not an error if there is nothing to drop.
	DropReplay(ctx context.Context, run uint32, subs []SubscriptionID) (dropped int64, err error)
	// Seek moves a subscription, durably; see SeekOptions. ErrNotFound.
	Seek(ctx context.Context, sub SubscriptionID, opts SeekOptions) (SeekResult, error)
}

// ReplayOptions begin a replay.
type ReplayOptions struct {
	Bus           BusID
	After         uint64 // the sequence before the first
	To            uint64 // the last sequence
	Subscriptions []SubscriptionID
}

// ReplayPart is how far a replay is with one subscription.
type ReplayPart struct {
	Subscription SubscriptionID
	Bus          BusID
	After        uint64 // it began after this sequence
	Position     uint64 // everything up to it is queued
	To           uint64 // the last sequence
	Queued       int64  // deliveries, ever
	Depth        int64  // of these, not settled
	Dead         int64  // of these, dead letters, ever
	Epoch        uint32 // another one: Position may have gone back, see ErrRewound
	Seek         bool   // it is what a seek queues: in the subscription's own queue, not counted in Depth
}

// SeekOptions say where a subscription is to go on from.
type SeekOptions struct {
	// To is the sequence of the bus that is the next for the subscription.
	//
	// Ahead of what it owes, all that it owes before To is dropped. Behind that,
	// all that it owes is dropped, and the events from To up to Routed are to be
	// queued again by EnqueueReplay; until they are, no later one is claimed. In
	// both cases the replays of the subscription end.
	To uint64
	// Routed is the sequence up to which the bus's events were routed; nobody
	// enqueues for the bus meanwhile.
	Routed uint64
}

// SeekResult is what a seek did.
type SeekResult struct {
	Dropped int64  // deliveries
	From    uint64 // SubscriptionInfo.From now
	Run     uint32 // the replay that queues events again, 0 if there are none to queue
}
