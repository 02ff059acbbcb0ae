// Package embedded is the storage engine for one machine: a segmented log for
// the events of all buses (package seglog), and beside it a Pebble instance,
// the state, for everything small and mutable. It implements store.Store.
//
// The log is the truth for events; the state catches up from it after a crash.
// A publisher encodes its batch and looks for duplicates by itself, then hands
// the batch to the log's appender, which gives sequences and times, writes and
// syncs whole groups, and shows them to readers. The state is written without
// syncs and synced once a second, and at once for what a user commands.
//
// Deliveries stay in memory while they are young: a subscription has a window
// of them, and a bus counts for each sequence how many are in memory only. The
// router's position that survives a crash never passes one of those. What has
// to wait (a retry, a full window, a pause, an age above Options.SpillAge)
// becomes a row of the state.
//
// Concurrency: the tables of buses and subscriptions are read without a lock, each
// subscription's queue by its own mutex, each bus's numbers by another. Locks
// are taken in the order trimMu, openMu, applyMu, enqueueMu, checkpointMu, subscription.mu,
// owedMu, bus.mu or ring.mu; nothing is taken while bus.mu or ring.mu is held.
// Commits that change a subscription's rows are made under its mutex. Hooks of
// the log run in its appender and take bus.mu, pendingMu and dedupe.mu only.
package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// Options configure a Store. The zero value of each field is its default; Dir
// must be set.
type Options struct {
	// FS holds the files; default the operating system's.
	FS vfs.FS
	// Dir is made if it is missing. One process has it open at a time.
	Dir string
	// SegmentSize is the size of the log's files in bytes; default 64 MiB. It
	// also bounds a batch.
	SegmentSize int64
	// Clock tells the time; default time.Now.
	Clock func() time.Time
	// Monotonic tells how much time has passed since some moment, whatever the
	// clock is set to; default: the monotonic part of what Clock returns, and if
	// that has none, Clock.
	Monotonic func() time.Duration
	// DiskReserve is how many bytes must be free for events to be accepted;
	// default 256 MiB, negative for none. A file system that does not tell is
	// trusted.
	DiskReserve int64
	// MaxWaiting bounds the bytes of events that wait for the log to be
	// synced; an Append above it is refused with a *store.LimitError, unless
	// nothing else waits. Default 64 MiB.
	MaxWaiting int64
	// DeadRetention is how long dead letters are kept; default 30 days,
	// negative for ever.
	DeadRetention time.Duration
	// WindowPerSubscription is how many deliveries of a subscription are held
	// in memory; default 1024.
	WindowPerSubscription int
	// WindowBytes bounds the event bodies held in memory for deliveries of all
	// subscriptions; default 32 MiB. The others are read from the log again.
	WindowBytes int64
	// CheckpointEvery is how often the router's positions are written; default
	// 250 ms.
	CheckpointEvery time.Duration
	// SpillAge is the age at which a delivery that is still in memory becomes
	// a row of the state; default 500 ms.
	SpillAge time.Duration
	// SyncEvery is how often the state is synced; default 1 s.
	SyncEvery time.Duration
	// NoTrace keeps no record of deliveries that have ended: traces, lists of
	// attempts and searches know only what is owed or dead.
	NoTrace bool
	// NoBackground starts no goroutine for any of this; tests call what they
	// need.
	NoBackground bool
	// Logger gets failures and recoveries; default: discarded.
	Logger *slog.Logger
	// OnFsync observes the log's fsyncs, if set.
	OnFsync func(time.Duration)

	generation, maxRuns int    // of dedupe; tests make them small
	summaryEvents       uint64 // events of a summary; tests make it small
}

func (o *Options) withDefaults() error {
	if o.Dir == "" {
		return errors.New("embedded: Options.Dir is missing; name the directory for the data")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.SegmentSize, 64<<20)
	setDefault(&o.MaxWaiting, 64<<20)
	setDefault(&o.DiskReserve, 256<<20)
	setDefault(&o.DeadRetention, 30*24*time.Hour)
	setDefault(&o.WindowPerSubscription, 1024)
	setDefault(&o.WindowBytes, 32<<20)
	setDefault(&o.CheckpointEvery, 250*time.Millisecond)
	setDefault(&o.SpillAge, 500*time.Millisecond)
	setDefault(&o.SyncEvery, time.Second)
	setDefault(&o.generation, generationSize)
	setDefault(&o.maxRuns, maxRuns)
	setDefault(&o.summaryEvents, defaultSummaryEvents)
	return nil
}

func setDefault[T int | int64 | uint64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Store is the engine. Make it with Open.
type Store struct {
	opts Options
	lock io.Closer
	disk diskGuard
	home placeGuard
	// identity tells this store from others, in backups.
	identity string
	clock    *timekeeper

	watcher atomic.Pointer[store.Watcher]
	closed  chan struct{}
	closing atomic.Bool
	once    sync.Once
	end     error // of Close

	gate    sync.RWMutex // held for reading by every operation, so that Close and mend can wait for them
	down    atomic.Pointer[error]
	broken  chan struct{} // the state failed
	mending sync.WaitGroup
	*core          // replaced by mend, while nothing runs and nobody holds the gate
	epoch   uint32 // how often mend has replaced it

	tick      atomic.Int64
	snapshots atomic.Int64 // open ones: no file of the logs is removed
	openMu    sync.Mutex   // serialises OpenBus and OpenSubscription
	catalogMu sync.Mutex
	calls     sync.Pool
	routings  sync.Pool

	events, bytes, duplicates, fsyncs atomic.Uint64
}

// core is all that is made of what is on disk: the files, and what is in memory
// of them.
type core struct {
	state *state
	log   *seglog.Log
	trace *traceLog

	halt    chan struct{} // ends what is running
	halted  sync.Once
	running sync.WaitGroup

	tableMu sync.RWMutex // guards the names
	buses   table[bus]
	byName  map[string]*bus
	lastBus store.BusID
	subs    table[subscription]
	bySub   map[string]*subscription
	lastSub store.SubscriptionID
	subRoom []subscription // for the next ones; guarded by openMu
	lastRun uint32         // of a replay
	laneMu  sync.Mutex
	lanes   map[uint32][]*lane // by run, each in order of subscription; guarded by laneMu

	// The appender's.
	dedupe       *dedupe
	lastSchedule uint64
	groups       uint64
	sealed       atomic.Int64 // when the last group was, in steady time
	touched      []*bus
	tailed       []*bus // buses with a tail; guarded by pendingMu
	tailBytes    atomic.Int64
	collected    atomic.Int64 // terms in collectors

	pendingMu   sync.Mutex
	pending     pending
	applyMu     sync.Mutex
	spare       pending
	covered     seglog.Position
	applySignal chan struct{}
	tableSignal chan struct{}

	checkpointMu sync.Mutex
	activeMu     sync.Mutex
	active       []*subscription // with deliveries that are in memory only
	dirtyBuses   []*bus          // whose position moved
	windowBytes  atomic.Int64
	windowItems  atomic.Int64
	records      atomic.Int64

	tableSums sync.Map // checksums of tables of the state, by name

	deaths       atomic.Uint64
	schedule     schedule
	transactions transactions
	fireMu       sync.Mutex // one fireDue at a time
	trimMu       sync.Mutex
	owedMu       sync.Mutex
	owed         atomic.Int64
}

func newCore(opts *Options) *core {
	c := &core{
		halt:        make(chan struct{}),
		byName:      map[string]*bus{},
		bySub:       map[string]*subscription{},
		lanes:       map[uint32][]*lane{},
		dedupe:      newDedupe(opts.generation, opts.maxRuns),
		applySignal: make(chan struct{}, 1),
		tableSignal: make(chan struct{}, 1),
	}
	c.schedule.init()
	return c
}

var _ store.Store = (*Store)(nil)

// Open opens the engine in a directory, or starts one, and brings the state up
// to the log. It answers when everything can be served.
func Open(opts Options) (_ *Store, err error) { return open(opts, lockDir) }

// openLocked is Open for who has the directory's lock.
func openLocked(opts Options) (*Store, error) {
	return open(opts, func(vfs.FS, string) (io.Closer, error) { return io.NopCloser(nil), nil })
}

func open(opts Options, lock func(vfs.FS, string) (io.Closer, error)) (_ *Store, err error) {
	if err := opts.withDefaults(); err != nil {
		return nil, err
	}
	s := &Store{
		opts:   opts,
		clock:  newTimekeeper(opts.Clock, opts.Monotonic),
		closed: make(chan struct{}),
		broken: make(chan struct{}, 1),
		core:   newCore(&opts),
	}
	s.calls.New = func() any { return &appendCall{} }
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	fs := opts.FS
	if err := fs.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if s.lock, err = lock(fs, opts.Dir); err != nil {
		return nil, err
	}
	if err := unfinished(fs, opts.Dir); err != nil {
		return nil, err
	}
	if err := s.checkFormat(); err != nil {
		return nil, err
	}
	if err := s.sweepSnapshots(); err != nil {
		return nil, err
	}
	s.lock = signLock(fs, opts.Dir, s.lock, opts.Logger)
	s.disk.usage = func() (uint64, error) {
		u, err := fs.GetDiskUsage(opts.Dir)
		return u.AvailBytes, err
	}
	s.disk.reserve = uint64(max(opts.DiskReserve, 0))
	s.home.fs = fs
	if err := s.home.watch(opts.Dir); err != nil {
		return nil, err
	}
	if err := s.openCore(s.loadClock); err != nil {
		return nil, err
	}
	// The folders of log, state and traces, and this one, must not vanish in a
	// power cut with what is in them.
	if err := errors.Join(syncDir(fs, opts.Dir), syncDir(fs, parent(fs, opts.Dir))); err != nil {
		return nil, fmt.Errorf("sync the data directory: %w", err)
	}
	if err := errors.Join(s.home.watch(fs.PathJoin(opts.Dir, "log")), s.home.watch(fs.PathJoin(opts.Dir, "state"))); err != nil {
		return nil, err
	}
	s.state.placed = s.home.checkNow
	if !opts.NoBackground {
		s.start()
		s.mending.Go(s.mender)
	}
	return s, nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func parent(fs vfs.FS, dir string) string {
	if p := fs.PathDir(dir); p != "" {
		return p
	}
	return "."
}

// start runs what happens by itself.
func (s *Store) start() {
	s.running.Go(s.applier)
	s.running.Go(s.ticker)
	s.running.Go(s.scheduler)
	s.running.Go(s.preloader)
	s.running.Go(s.housekeeper)
	s.running.Go(s.tracer)
	s.running.Go(s.summariser)
	s.running.Go(s.tabler)
}

// stop ends what happens by itself and waits for it.
func (s *Store) stop() {
	s.halted.Do(func() { close(s.halt) })
	s.running.Wait()
}

// Watch implements store.Store.
func (s *Store) Watch(w store.Watcher) {
	s.watcher.Store(&w)
	if s.enter(context.Background()) != nil {
		return // mend tells when there is something
	}
	defer s.leave()
	for _, sub := range s.allSubs() {
		sub.mu.Lock()
		ready := sub.claimable()
		sub.mu.Unlock()
		if ready {
			w.Ready(sub.id)
		}
	}
}

// ready tells the watcher that sub may have deliveries to claim.
func (s *Store) ready(sub *subscription) {
	if w := s.watcher.Load(); w != nil {
		(*w).Ready(sub.id)
	}
}

// Err implements store.Store.
func (s *Store) Err() error {
	if err := s.enter(context.Background()); err != nil {
		return err
	}
	defer s.leave()
	if err := s.home.check(); err != nil {
		return err
	}
	if err := s.state.err(); err != nil {
		return err
	}
	if err := s.log.Err(); err != nil {
		return s.appendError(err)
	}
	return s.disk.check()
}

// enter refuses an operation on a closed store or with a context that is over.
// After nil the caller must leave. It must not be nested: once Close waits,
// nobody else gets in.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.gate.RLock()
	if s.closing.Load() {
		s.gate.RUnlock()
		return store.ErrClosed
	}
	if err := s.down.Load(); err != nil {
		s.gate.RUnlock()
		return *err
	}
	return nil
}

func (s *Store) leave() { s.gate.RUnlock() }

// Close implements store.Store.
func (s *Store) Close() error {
	s.once.Do(func() { s.end = s.close() })
	return s.end
}

func (s *Store) close() error {
	s.closing.Store(true)
	close(s.closed)
	s.mending.Wait()
	s.stop()
	s.gate.Lock() // for good; nobody gets in after closing is set
	defer s.gate.Unlock()
	if s.down.Load() != nil {
		return s.lock.Close()
	}
	err := s.log.Close()
	err = errors.Join(err, s.applyPending(), s.checkpoint(0), s.trace.close(), s.saveClock(), s.state.flush())
	return errors.Join(err, s.state.close(), s.lock.Close())
}

// abandon releases what a failed Open has taken.
func (s *Store) abandon() error {
	err := s.closeCore()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// ticker writes checkpoints and syncs the state.
func (s *Store) ticker() {
	every := time.NewTicker(s.opts.CheckpointEvery)
	defer every.Stop()
	synced := time.Now()
	gone := false
	for {
		select {
		case <-s.halt:
			return
		case <-every.C:
		}
		s.tick.Add(1)
		gone = s.watchPlace(gone)
		if s.state.err() != nil {
			continue // mender sees to it
		}
		if _, err := s.watchClock(); err != nil {
			s.opts.Logger.Error("watching the clock failed", "error", err)
		}
		if err := s.checkpoint(s.opts.SpillAge); err != nil {
			s.opts.Logger.Error("checkpoint failed", "error", err)
		}
		s.dropIdleTails()
		if time.Since(synced) >= s.opts.SyncEvery {
			synced = time.Now()
			if s.dedupe.rest() {
				if err := s.sortIdle(); err != nil {
					s.opts.Logger.Error("sorting the known identities failed", "error", err)
				}
			}
			if err := s.state.flush(); err != nil && !displaced(err) {
				s.opts.Logger.Error("syncing the state failed", "error", err)
			}
		}
	}
}

// tailTicks is after how many ticks a tail that nobody reads is dropped.
const tailTicks = 8

// dropIdleTails frees the recent records of buses that nothing reads.
func (s *Store) dropIdleTails() {
	now := s.tick.Load()
	s.pendingMu.Lock()
	defer s.pendingMu.Unlock()
	left := s.tailed[:0]
	for _, b := range s.tailed {
		b.mu.Lock()
		if now-b.tail.since > tailTicks {
			s.tailBytes.Add(-b.tail.reset())
		} else {
			left = append(left, b)
		}
		b.mu.Unlock()
	}
	clear(s.tailed[len(left):])
	s.tailed = left
}

// housekeeper applies retention.
func (s *Store) housekeeper() {
	every := time.NewTicker(time.Minute)
	defer every.Stop()
	for {
		select {
		case <-s.halt:
			return
		case <-every.C:
		}
		if err := s.trimUntilClosed(); err != nil && !errors.Is(err, store.ErrClosed) && !errors.Is(err, context.Canceled) {
			s.opts.Logger.Error("retention failed", "error", err)
		}
	}
}

// trimUntilClosed applies retention, and gives up when the store is closed.
func (s *Store) trimUntilClosed() error {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		select {
		case <-s.halt:
			cancel()
		case <-ctx.Done():
		}
	})
	defer cancel()
	return s.trim(ctx, false)
}

// metaNumber reads a number of the state, 0 when it is not there.
func (st *state) metaNumber(name string) (n uint64, err error) {
	_, err = st.get(metaKey(name), func(v []byte) error {
		switch len(v) {
		case 4:
			n = uint64(binary.BigEndian.Uint32(v))
		case 8:
			n = binary.BigEndian.Uint64(v)
		default:
			return errBadRow
		}
		return nil
	})
	return n, err
}

const forever = math.MaxInt64
