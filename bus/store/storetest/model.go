// Package storetest holds what every storage engine is held against: a model
// of store.Store that is simple enough to be believed, a conformance suite
// (Run), a randomized comparison of an engine with the model (Metamorphic) and
// shared benchmarks (Bench).
//
// An engine's own test calls these with a function that opens the engine in an
// Env; nothing in this package knows any engine. The Model is guarded by one
// mutex and may be used from many goroutines; so may a Clock and an Env.
package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Model is a complete store.Store in memory, made of slices and maps under one
// mutex. It is the reference for what store.go says, and a stand-in for an
// engine in the tests of other packages. Nothing of it is fast or durable; what
// it holds outlives Close only through Reopen.
//
// It starts no goroutine: what an engine does in the background, Tick does.
type Model struct {
	clock func() time.Time

	mu      sync.Mutex
	watcher store.Watcher
	closed  bool
	changed chan struct{} // closed and replaced whenever an Await may end
	counts  store.Stats
	state   *modelState
}

var _ store.Store = (*Model)(nil)

// modelState is everything that an engine would keep on disk.
type modelState struct {
	lastBus   store.BusID
	lastSub   store.SubscriptionID
	lastRun   uint32
	lastPlace uint64 // counts what must be told apart by order: queue places, deaths, scheduled events
	version   uint64 // of the catalogue
	buses     map[store.BusID]*modelBus
	subs      map[store.SubscriptionID]*modelSub
	traces    map[place][]*modelDelivery      // what happened to each event's deliveries
	receipts  map[place]store.Receipt         // how each event came in
	former    map[store.SubscriptionID]string // the names of subscriptions that were removed
	objects   map[objectKey]store.Object
	replays   map[uint32][]*modelPart

	transactions    []*modelTransaction // in order of id
	lastTransaction uint64
}

// place is one event's place in a bus.
type place struct {
	bus      store.BusID
	sequence uint64
}

// NewModel makes an empty model that reads the time from clock.
func NewModel(clock func() time.Time) *Model {
	return &Model{
		clock:   clock,
		changed: make(chan struct{}),
		state: &modelState{
			buses:    map[store.BusID]*modelBus{},
			subs:     map[store.SubscriptionID]*modelSub{},
			traces:   map[place][]*modelDelivery{},
			former:   map[store.SubscriptionID]string{},
			receipts: map[place]store.Receipt{},
			objects:  map[objectKey]store.Object{},
			replays:  map[uint32][]*modelPart{},
		},
	}
}

// Reopen closes the model and returns a new one that holds what it held, as if
// an engine had been opened again over the same files: claims are given back,
// releases are forgotten and nobody watches.
func (m *Model) Reopen() *Model {
	_ = m.Close() // never fails
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.state.subs {
		for _, d := range s.queue {
			d.claimed = false
		}
	}
	for _, b := range m.state.buses {
		b.released = 0
	}
	return &Model{clock: m.clock, changed: make(chan struct{}), state: m.state}
}

// Tick does what an engine does in the background: it records scheduled events
// that are due and applies retention.
func (m *Model) Tick() {
	var notes notices
	defer m.tell(&notes)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.recordDue(&notes)
	m.applyRetention()
}

// Watch implements store.Store.
func (m *Model) Watch(w store.Watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watcher = w
}

// Err implements store.Store; only a closed model refuses events.
func (m *Model) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return store.ErrClosed
	}
	return nil
}

// Stats implements store.Store; there are no files, fsyncs and windows to count.
func (m *Model) Stats() store.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.counts
	for _, b := range m.state.buses {
		s.Scheduled += int64(len(b.waiting))
	}
	for _, sub := range m.state.subs {
		s.QueuedRecords += int64(len(sub.queue))
	}
	s.OwedBytes = m.owedBytes()
	return s
}

// Close implements store.Store.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.wake()
	}
	return nil
}

// enter locks the model for an operation; when it returns an error the model
// is not locked.
func (m *Model) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return store.ErrClosed
	}
	return nil
}

// wake lets every Await look again.
func (m *Model) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// nextPlace returns a number above all that it returned before.
func (m *Model) nextPlace() uint64 {
	m.state.lastPlace++
	return m.state.lastPlace
}

// notices are the calls that a watcher is owed after an operation.
type notices struct {
	appended []store.BusID
	ready    []store.SubscriptionID
}

// tell calls the watcher, without the lock.
func (m *Model) tell(n *notices) {
	m.mu.Lock()
	w := m.watcher
	m.mu.Unlock()
	if w == nil {
		return
	}
	for _, bus := range n.appended {
		w.Appended(bus)
	}
	for _, sub := range n.ready {
		w.Ready(sub)
	}
}
