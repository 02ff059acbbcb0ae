package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// broken is a Model of which some methods are wrong: those whose function is
// set.
type broken struct {
	*Model

	openBus    func(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error)
	append     func(ctx context.Context, batch []store.Entry) ([]store.Result, error)
	read       func(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error)
	get        func(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error)
	sequenceAt func(ctx context.Context, bus store.BusID, t time.Time) (uint64, error)
	await      func(ctx context.Context, bus store.BusID, after uint64) error
	trim       func(ctx context.Context) error
	dropBus    func(ctx context.Context, bus store.BusID) error
	openSub    func(ctx context.Context, opts store.SubscriptionOptions) (store.SubscriptionInfo, error)
	orphan     func(ctx context.Context, sub store.SubscriptionID) error
	purge      func(ctx context.Context, sub store.SubscriptionID) error
	subs       func() []store.SubscriptionInfo
	sub        func(sub store.SubscriptionID) (store.SubscriptionInfo, error)
	pause      func(ctx context.Context, sub store.SubscriptionID, reason string) error
	resume     func(ctx context.Context, sub store.SubscriptionID) error
	enqueue    func(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error
	claim      func(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error)
	settle     func(ctx context.Context, outcomes []store.Settlement) error
	listDead   func(ctx context.Context, sub store.SubscriptionID, after string, limit int) ([]store.DeadLetter, string, error)
	redrive    func(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error)
	purgeDead  func(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error)
	listSched  func(ctx context.Context, bus store.BusID, source, id, after string, limit int) ([]store.Scheduled, string, error)
	cancel     func(ctx context.Context, bus store.BusID, source, id string) error
	put        func(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error)
	putObjects func(ctx context.Context, objects []store.Object) error
	getObject  func(ctx context.Context, kind, name string) (store.Object, error)
	list       func(ctx context.Context, kind string) ([]store.Object, error)
	recent     func(ctx context.Context, sub store.SubscriptionID, q store.AttemptQuery) ([]store.AttemptOf, string, error)
	traceOf    func(ctx context.Context, bus store.BusID, sequence uint64) ([]store.DeliveryTrace, error)
	timelines  func(ctx context.Context, bus store.BusID, from, to uint64) ([]store.Timeline, error)
	receiptOf  func(ctx context.Context, bus store.BusID, sequence uint64) (store.Receipt, error)
	receipts   func(ctx context.Context, bus store.BusID, from, to uint64) (map[uint64]store.Receipt, error)
	watch      func(w store.Watcher)
	err        func() error
	stats      func() store.Stats
	close      func() error
	enqueueRun func(ctx context.Context, run uint32, position uint64, subs []store.SubscriptionID, events []store.RoutedEvent) error
	dropRun    func(ctx context.Context, run uint32, subs []store.SubscriptionID) (int64, error)
	seek       func(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (store.SeekResult, error)
	openRun    func(ctx context.Context, opts store.ReplayOptions) (uint32, error)
	run        func(run uint32) ([]store.ReplayPart, error)
	tick       func() // in place of Tick
	lose       func() // what a crash loses
	eventsWith func(ctx context.Context, bus store.BusID, q store.DeliveriesQuery) ([]uint64, uint64, error)
	scan       func(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error)
	commitTx   func(ctx context.Context, id uint64) ([]store.TransactionEvent, error)
	checkTx    func(ctx context.Context, id uint64, c store.Check) error
	rollbackTx func(ctx context.Context, id uint64) error
	readTable  func(ctx context.Context, bus store.BusID, prefix, after string, most, maxBytes int, dst []store.Record) ([]store.Record, string, error)
	tableRow   func(ctx context.Context, bus store.BusID, subject string) (store.Record, error)
}

// or is f if it is set, else the model's method.
func or[F any](set bool, f, model F) F {
	if set {
		return f
	}
	return model
}

func (b *broken) OpenBus(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
	return or(b.openBus != nil, b.openBus, b.Model.OpenBus)(ctx, name, opts)
}

func (b *broken) DropBus(ctx context.Context, bus store.BusID) error {
	return or(b.dropBus != nil, b.dropBus, b.Model.DropBus)(ctx, bus)
}

func (b *broken) Append(ctx context.Context, batch []store.Entry) ([]store.Result, error) {
	return or(b.append != nil, b.append, b.Model.Append)(ctx, batch)
}

func (b *broken) Read(ctx context.Context, bus store.BusID, from uint64, most, maxBytes int, dst []store.Record) ([]store.Record, error) {
	return or(b.read != nil, b.read, b.Model.Read)(ctx, bus, from, most, maxBytes, dst)
}

func (b *broken) Get(ctx context.Context, bus store.BusID, sequence uint64) (store.Record, error) {
	return or(b.get != nil, b.get, b.Model.Get)(ctx, bus, sequence)
}

func (b *broken) SequenceAt(ctx context.Context, bus store.BusID, t time.Time) (uint64, error) {
	return or(b.sequenceAt != nil, b.sequenceAt, b.Model.SequenceAt)(ctx, bus, t)
}

func (b *broken) Scan(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error) {
	return or(b.scan != nil, b.scan, b.Model.Scan)(ctx, bus, q)
}

func (b *broken) WithDeliveries(ctx context.Context, bus store.BusID, q store.DeliveriesQuery) ([]uint64, uint64, error) {
	if b.eventsWith != nil {
		return b.eventsWith(ctx, bus, q)
	}
	return b.Model.WithDeliveries(ctx, bus, q)
}

func (b *broken) Await(ctx context.Context, bus store.BusID, after uint64) error {
	return or(b.await != nil, b.await, b.Model.Await)(ctx, bus, after)
}

func (b *broken) Trim(ctx context.Context) error {
	return or(b.trim != nil, b.trim, b.Model.Trim)(ctx)
}

func (b *broken) ReadTable(ctx context.Context, bus store.BusID, prefix, after string, most, maxBytes int, dst []store.Record) ([]store.Record, string, error) {
	return or(b.readTable != nil, b.readTable, b.Model.ReadTable)(ctx, bus, prefix, after, most, maxBytes, dst)
}

func (b *broken) TableRow(ctx context.Context, bus store.BusID, subject string) (store.Record, error) {
	return or(b.tableRow != nil, b.tableRow, b.Model.TableRow)(ctx, bus, subject)
}

func (b *broken) OpenSubscriptions(ctx context.Context, all []store.SubscriptionOptions) ([]store.SubscriptionInfo, error) {
	if b.openSub == nil {
		return b.Model.OpenSubscriptions(ctx, all)
	}
	var infos []store.SubscriptionInfo
	for _, opts := range all {
		info, err := b.openSub(ctx, opts)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (b *broken) OrphanSubscription(ctx context.Context, sub store.SubscriptionID) error {
	return or(b.orphan != nil, b.orphan, b.Model.OrphanSubscription)(ctx, sub)
}

func (b *broken) PurgeSubscription(ctx context.Context, sub store.SubscriptionID) error {
	return or(b.purge != nil, b.purge, b.Model.PurgeSubscription)(ctx, sub)
}

func (b *broken) Subscriptions() []store.SubscriptionInfo {
	return or(b.subs != nil, b.subs, b.Model.Subscriptions)()
}

func (b *broken) Subscription(sub store.SubscriptionID) (store.SubscriptionInfo, error) {
	return or(b.sub != nil, b.sub, b.Model.Subscription)(sub)
}

func (b *broken) Pause(ctx context.Context, sub store.SubscriptionID, reason string) error {
	return or(b.pause != nil, b.pause, b.Model.Pause)(ctx, sub, reason)
}

func (b *broken) Resume(ctx context.Context, sub store.SubscriptionID) error {
	return or(b.resume != nil, b.resume, b.Model.Resume)(ctx, sub)
}

func (b *broken) Enqueue(ctx context.Context, bus store.BusID, position uint64, events []store.RoutedEvent) error {
	return or(b.enqueue != nil, b.enqueue, b.Model.Enqueue)(ctx, bus, position, events)
}

func (b *broken) Claim(ctx context.Context, sub store.SubscriptionID, now time.Time, most int, dst []store.Delivery) ([]store.Delivery, time.Time, error) {
	return or(b.claim != nil, b.claim, b.Model.Claim)(ctx, sub, now, most, dst)
}

func (b *broken) Settle(ctx context.Context, outcomes []store.Settlement) error {
	return or(b.settle != nil, b.settle, b.Model.Settle)(ctx, outcomes)
}

func (b *broken) ListDead(ctx context.Context, sub store.SubscriptionID, after string, limit int) ([]store.DeadLetter, string, error) {
	return or(b.listDead != nil, b.listDead, b.Model.ListDead)(ctx, sub, after, limit)
}

func (b *broken) Redrive(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error) {
	return or(b.redrive != nil, b.redrive, b.Model.Redrive)(ctx, sub, ids)
}

func (b *broken) PurgeDead(ctx context.Context, sub store.SubscriptionID, ids []store.DeliveryID) (int, error) {
	return or(b.purgeDead != nil, b.purgeDead, b.Model.PurgeDead)(ctx, sub, ids)
}

func (b *broken) ListScheduled(ctx context.Context, bus store.BusID, source, id, after string, limit int) ([]store.Scheduled, string, error) {
	return or(b.listSched != nil, b.listSched, b.Model.ListScheduled)(ctx, bus, source, id, after, limit)
}

func (b *broken) CancelScheduled(ctx context.Context, bus store.BusID, source, id string) error {
	return or(b.cancel != nil, b.cancel, b.Model.CancelScheduled)(ctx, bus, source, id)
}

func (b *broken) PutObject(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error) {
	return or(b.put != nil, b.put, b.Model.PutObject)(ctx, kind, name, value, expect)
}

func (b *broken) PutObjects(ctx context.Context, objects []store.Object) error {
	return or(b.putObjects != nil, b.putObjects, b.Model.PutObjects)(ctx, objects)
}

func (b *broken) GetObject(ctx context.Context, kind, name string) (store.Object, error) {
	return or(b.getObject != nil, b.getObject, b.Model.GetObject)(ctx, kind, name)
}

func (b *broken) ListObjects(ctx context.Context, kind string) ([]store.Object, error) {
	return or(b.list != nil, b.list, b.Model.ListObjects)(ctx, kind)
}

func (b *broken) TraceOf(ctx context.Context, bus store.BusID, sequence uint64) ([]store.DeliveryTrace, error) {
	return or(b.traceOf != nil, b.traceOf, b.Model.TraceOf)(ctx, bus, sequence)
}

func (b *broken) Timelines(ctx context.Context, bus store.BusID, from, to uint64) ([]store.Timeline, error) {
	return or(b.timelines != nil, b.timelines, b.Model.Timelines)(ctx, bus, from, to)
}

func (b *broken) ReceiptOf(ctx context.Context, bus store.BusID, sequence uint64) (store.Receipt, error) {
	return or(b.receiptOf != nil, b.receiptOf, b.Model.ReceiptOf)(ctx, bus, sequence)
}

func (b *broken) Receipts(ctx context.Context, bus store.BusID, from, to uint64) (map[uint64]store.Receipt, error) {
	return or(b.receipts != nil, b.receipts, b.Model.Receipts)(ctx, bus, from, to)
}

func (b *broken) OpenReplay(ctx context.Context, opts store.ReplayOptions) (uint32, error) {
	return or(b.openRun != nil, b.openRun, b.Model.OpenReplay)(ctx, opts)
}

func (b *broken) Replay(run uint32) ([]store.ReplayPart, error) {
	return or(b.run != nil, b.run, b.Model.Replay)(run)
}

func (b *broken) EnqueueReplay(ctx context.Context, run uint32, position uint64, subs []store.SubscriptionID, events []store.RoutedEvent) error {
	return or(b.enqueueRun != nil, b.enqueueRun, b.Model.EnqueueReplay)(ctx, run, position, subs, events)
}

func (b *broken) DropReplay(ctx context.Context, run uint32, subs []store.SubscriptionID) (int64, error) {
	return or(b.dropRun != nil, b.dropRun, b.Model.DropReplay)(ctx, run, subs)
}

func (b *broken) Seek(ctx context.Context, sub store.SubscriptionID, opts store.SeekOptions) (store.SeekResult, error) {
	return or(b.seek != nil, b.seek, b.Model.Seek)(ctx, sub, opts)
}

func (b *broken) RecentAttempts(ctx context.Context, sub store.SubscriptionID, q store.AttemptQuery) ([]store.AttemptOf, string, error) {
	return or(b.recent != nil, b.recent, b.Model.RecentAttempts)(ctx, sub, q)
}

func (b *broken) Watch(w store.Watcher) { or(b.watch != nil, b.watch, b.Model.Watch)(w) }
func (b *broken) Err() error            { return or(b.err != nil, b.err, b.Model.Err)() }
func (b *broken) Stats() store.Stats    { return or(b.stats != nil, b.stats, b.Model.Stats)() }
func (b *broken) Close() error          { return or(b.close != nil, b.close, b.Model.Close)() }

// openBroken opens a model and breaks it in the same way each time.
func openBroken(how func(b *broken)) Open {
	return func(t testing.TB, env Env) store.Store {
		b := &broken{Model: OpenModel(t, env).(*Model)}
		how(b)
		env.OnStep(or(b.tick != nil, b.tick, b.Model.Tick))
		env.hooks.mu.Lock()
		env.hooks.patience = 200 * time.Millisecond
		env.hooks.mu.Unlock()
		if b.lose != nil {
			env.OnCrash(b.lose)
		}
		return b
	}
}
