// Package bus is Switchyard's engine. It takes events into named buses
// (publish.go), matches each with the rules in force (route.go), delivers it
// to their targets with retries (deliver.go, settle.go), and keeps what could
// not be delivered as dead letters (deadletters.go), all on a store.Store.
//
// An Engine is safe for concurrent use. What it works with — buses, rules,
// targets — comes as a Plan; Apply swaps the whole of it through one atomic
// pointer, and ChangeRule one rule of it, so that readers take no lock.
package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// Options configure an Engine. Store is required.
type Options struct {
	Store store.Store
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
	// Registry receives the metrics; nil keeps them unregistered.
	Registry prometheus.Registerer
	// MaxInFlight bounds the deliveries attempted at the same time over all
	// targets, beside one for each; default 8192.
	MaxInFlight int
	// MaxHops bounds how many buses an event can be chained through; default 16.
	MaxHops int
	// DrainTimeout is how long Run waits, once its context is done, for
	// attempts under way before it cancels them; default 5s.
	DrainTimeout time.Duration
	// Checker asks about transactions that are not answered; nil takes none
	// with a checkURL.
	Checker Checker
	// MemoryUsed measures what Limits.Memory bounds, in bytes; nil asks the Go
	// runtime what the process needs, garbage left out.
	MemoryUsed func() int64
}

// Engine routes and delivers. Make it with New, give it a Plan with Apply,
// and let Run work until its context is done. It does not close the store.
type Engine struct {
	opts     Options
	store    store.Store
	log      *slog.Logger
	metrics  *metrics
	instance [instanceSize]byte

	applying     sync.Mutex   // one Apply at a time
	routing      sync.RWMutex // routers read-lock a batch; Apply locks to swap between batches
	state        atomic.Pointer[state]
	router       *router
	deliverer    *deliverer
	keeper       *keeper
	replays      *replayer
	transactions *transactionChecker
	pressure     *pressure
	consumers    sync.Map // store.SubscriptionID → *subscription, of broadcasts
	closed       atomic.Bool
}

// state is everything that a Plan decides. It is immutable; what there is of
// each rule is in maps that states share, but for what differs.
type state struct {
	plan  Plan // its Rules are in rules
	rules persistent.Map[string, RulePlan]
	buses map[string]*busState
	byID  map[store.BusID]*busState
	sets  persistent.Map[store.BusID, *rules.Set]
	subs  persistent.Map[store.SubscriptionID, *subscription]
	named persistent.Map[string, *subscription] // RULE/TARGET

	planned  bool                              // there was a plan
	versions persistent.Map[string, uint64]    // of the rules
	gone     persistent.Map[string, time.Time] // rules that were removed and are remembered, and when

	targets map[string]*target
	asked   persistent.Map[string, *asked] // by rule
}

// New makes an engine on a store. It becomes the store's watcher.
func New(opts Options) (*Engine, error) {
	if opts.Store == nil {
		return nil, errors.New("bus: Options.Store is required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if opts.MaxInFlight <= 0 {
		opts.MaxInFlight = 8192
	}
	if opts.MaxHops <= 0 {
		opts.MaxHops = 16
	}
	if opts.DrainTimeout <= 0 {
		opts.DrainTimeout = 5 * time.Second
	}
	e := &Engine{opts: opts, store: opts.Store, log: opts.Logger}
	e.metrics = newMetrics(e)
	if opts.Registry != nil {
		if err := opts.Registry.Register(e.metrics); err != nil {
			return nil, fmt.Errorf("bus: register metrics: %w", err)
		}
	}
	if err := e.loadInstance(); err != nil {
		return nil, err
	}
	e.state.Store(&state{})
	e.pressure = newPressure(e)
	e.router = newRouter(e)
	e.deliverer = newDeliverer(e)
	var err error
	if e.keeper, err = newKeeper(e); err != nil {
		return nil, err
	}
	if e.replays, err = newReplayer(e); err != nil {
		return nil, err
	}
	if e.transactions, err = newTransactionChecker(e); err != nil {
		return nil, fmt.Errorf("bus: transactions: %w", err)
	}
	e.store.Watch(watcher{e})
	return e, nil
}

// loadInstance reads the identity of this installation, which makes delivery
// ids unique among installations, or makes one up in a new store.
func (e *Engine) loadInstance() error {
	ctx := context.Background()
	o, err := e.store.GetObject(ctx, "system", "instance")
	if errors.Is(err, store.ErrNotFound) {
		rand.Read(e.instance[:])
		_, err = e.store.PutObject(ctx, "system", "instance", e.instance[:], 0)
	}
	if err != nil {
		return fmt.Errorf("bus: identity of the store: %w", err)
	}
	if len(o.Value) == instanceSize {
		copy(e.instance[:], o.Value)
	}
	return nil
}

// Renew gives a store that was restored from a copy a new identity, so that its
// delivery ids are not those of deliveries that the original has made since. No
// engine may run on the store; deliveries that it owes get new ids, too.
func Renew(ctx context.Context, st store.Store) error {
	var instance [instanceSize]byte
	_, _ = rand.Read(instance[:]) // never fails
	if _, err := st.PutObject(ctx, "system", "instance", instance[:], store.AnyVersion); err != nil {
		return fmt.Errorf("bus: identity of the store: %w", err)
	}
	return nil
}

// Run routes and delivers until ctx is done. Then it stops taking up new
// deliveries, waits up to Options.DrainTimeout for those under way, cancels
// the rest (they are owed and come again) and returns nil. Publishing works
// while Run does not; what is published then is routed later.
func (e *Engine) Run(ctx context.Context) error {
	e.pressure.measure() // limits hold for the first delivery
	var g errgroup.Group
	for range max(2, runtime.GOMAXPROCS(0)) {
		g.Go(func() error { e.router.run(ctx); return nil })
	}
	g.Go(func() error { e.router.wakeOnDone(ctx); return nil })
	g.Go(func() error { e.keeper.run(ctx); return nil })
	g.Go(func() error { e.sweepConsumers(ctx); return nil })
	g.Go(func() error { e.replays.serve(ctx); return nil })
	g.Go(func() error { e.transactions.serve(ctx); return nil })
	g.Go(func() error { e.pressure.run(ctx); return nil })
	e.deliverer.start(ctx)
	e.kick((*subscription).mayOwe)
	err := g.Wait()
	e.deliverer.drain(e.opts.DrainTimeout)
	e.keeper.flush(context.WithoutCancel(ctx))
	return err
}

// kick makes routers look at every bus once, and deliverers at those of the
// subscriptions that are to be looked at.
func (e *Engine) kick(look func(*subscription) bool) {
	st := e.state.Load()
	for _, b := range st.buses {
		e.router.queue.add(b.id)
	}
	for _, s := range st.subs.All() {
		if look(s) {
			e.deliverer.wake(s)
		}
	}
	e.consumers.Range(func(_, c any) bool {
		e.deliverer.wake(c.(*subscription))
		return true
	})
}

// Close closes the targets of the present plan. Call it after Run returned.
func (e *Engine) Close() error {
	if !e.closed.CompareAndSwap(false, true) {
		return nil
	}
	e.applying.Lock()
	defer e.applying.Unlock()
	var errs []error
	for _, t := range e.deliverer.targets {
		t.gate.retire()
		errs = append(errs, t.close())
	}
	for _, a := range e.deliverer.asked.All() {
		a.retire()
	}
	closeEnrichers(e.state.Load())
	return errors.Join(errs...)
}

// Store is the engine's store.
func (e *Engine) Store() store.Store { return e.store }

// watcher takes the store's signals.
type watcher struct{ e *Engine }

// Appended implements store.Watcher.
func (w watcher) Appended(bus store.BusID) { w.e.router.queue.add(bus) }

// Ready implements store.Watcher.
func (w watcher) Ready(id store.SubscriptionID) {
	if s := w.e.subscription(id); s != nil {
		w.e.deliverer.wake(s)
	}
}
