package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	bustarget "github.com/switchyard-dev/switchyard/targets/bus"
)

// memory is a server in this process, on a file system in memory that can lose
// what was not synced and refuse operations. A life of it ends when the power
// is cut: what the old engine still does then is not seen by anyone.
type memory struct {
	pace      pace
	receivers receivers
	random    *rand.Rand
	log       *slog.Logger
	rules     *rules.Env
	matchers  map[string]*rules.Matcher
	in        []route

	fs   *vfs.MemFS
	life atomic.Pointer[life]
}

// life is one engine, from its start to its end.
type life struct {
	began  time.Time
	store  *embedded.Store
	engine *bus.Engine
	api    *api.Server
	stop   context.CancelFunc
	done   chan struct{}

	wrong atomic.Pointer[trouble]
	mem   *vfs.MemFS

	mu   sync.RWMutex // held for reading while something is noted
	dead bool
}

// memoryDir is the data folder in the file system of a memory.
const memoryDir = "data"

func newMemory(p pace, rs receivers, seed uint64, log *slog.Logger) (*memory, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	m := &memory{pace: p, receivers: rs, random: rand.New(rand.NewPCG(seed, 2)), log: log, rules: env, matchers: map[string]*rules.Matcher{}, fs: vfs.NewCrashableMem()}
	for _, r := range routes() {
		if m.matchers[r.name], err = env.Compile(rules.Filter{When: r.when}); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// caller implements server.
func (m *memory) caller() *caller {
	return &caller{base: func() string { return "http://memory" }, client: &http.Client{Transport: m}}
}

// errDown is what a request gets when there is no server, or its end comes
// before its answer.
var errDown = errors.New("the server is down")

// RoundTrip implements http.RoundTripper. An answer that was given before the
// end of a life counts.
func (m *memory) RoundTrip(req *http.Request) (*http.Response, error) {
	l := m.life.Load()
	if l == nil {
		return nil, errDown
	}
	w := httptest.NewRecorder()
	inner := req.Clone(req.Context())
	inner.RequestURI = req.URL.RequestURI()
	l.api.ServeHTTP(w, inner)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.dead {
		return nil, errDown
	}
	return w.Result(), nil
}

// start implements server.
func (m *memory) start(ctx context.Context, in []route) error {
	m.in = in
	return m.open(ctx)
}

// The store's intervals are a twenty-fifth of the real ones, so that seconds
// hold many crashes; the promises shrink with them.
func (m *memory) open(ctx context.Context) (err error) {
	l := &life{began: time.Now(), mem: m.fs, done: make(chan struct{})}
	none := noTrouble
	l.wrong.Store(&none)
	m.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: plenty})
	l.store, err = embedded.Open(embedded.Options{
		FS: errorfs.Wrap(m.fs, errorfs.InjectorFunc(l.inject)), Dir: memoryDir, SegmentSize: 256 << 10, DiskReserve: reserve,
		CheckpointEvery: 10 * time.Millisecond, SpillAge: 20 * time.Millisecond, SyncEvery: 40 * time.Millisecond, WindowPerSubscription: 32,
		Logger: m.log,
	})
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	registry := prometheus.NewRegistry()
	if l.engine, err = bus.New(bus.Options{Store: l.store, Logger: m.log, Registry: registry, DrainTimeout: 10 * time.Millisecond}); err != nil {
		return errors.Join(err, l.store.Close())
	}
	if err = l.engine.Apply(ctx, m.plan(l)); err == nil {
		l.api, err = api.New(api.Options{Engine: l.engine, Rules: m.rules, Registry: registry, Logger: m.log, Version: "soak"})
	}
	if err != nil {
		return errors.Join(err, l.engine.Close(), l.store.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() {
		defer close(l.done)
		_ = l.engine.Run(running) // it returns nil
	}()
	m.life.Store(l)
	return nil
}

// What the file system says is free, and what the store leaves alone of it.
const (
	plenty  = 1 << 40
	reserve = 1 << 20
)

// inject fails the operations that the present trouble forbids.
func (l *life) inject(op errorfs.Op) error {
	t := *l.wrong.Load()
	if t == noTrouble || t == diskReserve || op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
		return nil
	}
	syncs := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	writes := op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt || op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFilePreallocate
	in := func(folder string) bool { return strings.Contains(filepath.ToSlash(op.Path), memoryDir+"/"+folder) }
	switch {
	case t == diskFull && writes:
		return syscall.ENOSPC
	case t == logSync && syncs && in("log"), t == logWrite && writes && in("log"), t == stateWrite && (writes || syncs) && in("state"), t == traceWrite && writes && in("trace"):
		return syscall.EIO
	}
	return nil
}

// plan is the routes in force, with this life's targets.
func (m *memory) plan(l *life) bus.Plan {
	p := bus.Plan{Buses: map[string]bus.BusPlan{}, Rules: map[string]bus.RulePlan{}, Targets: map[string]bus.TargetPlan{}}
	for _, name := range busNames() {
		p.Buses[name] = bus.BusPlan{Dedupe: dedupeWindow}
	}
	orders := map[string]store.Order{"none": store.OrderNone, "key": store.OrderKey, "strict": store.OrderStrict}
	for _, r := range m.in {
		rule, target := ruleAndTarget(r.name)
		p.Rules[rule] = bus.RulePlan{Bus: r.bus, Matcher: m.matchers[r.name], Targets: []string{target}}
		t := bus.TargetPlan{
			Fingerprint: "1", Order: orders[r.order], Timeout: m.pace.timeout,
			Retry: bus.RetryPolicy{Attempts: 1_000_000, Initial: m.pace.retryFirst, Max: m.pace.retryMost},
		}
		if r.attempts > 0 {
			t.Retry.Attempts = r.attempts
		}
		if r.breaker {
			t.Breaker = bus.BreakerPolicy{Failures: 10, Open: m.pace.breakerOpen}
		}
		switch one := (&inProcess{m.receivers[r.name], l}); {
		case r.into != "":
			config := bustarget.Config{Name: r.into}
			t.Target, _ = config.Build(targets.Env{Publisher: l.engine})
		case r.batch > 0:
			t.Target, t.Batch = inBatches{one}, bus.BatchPolicy{Events: r.batch, Wait: time.Millisecond}
		default:
			t.Target = one
		}
		p.Targets[target] = t
	}
	return p
}

// inProcess is a target whose receiver is in this process.
type inProcess struct {
	*receiver
	life *life
}

// Start implements targets.Target.
func (t *inProcess) Start(context.Context) error { return nil }

// Close implements targets.Target.
func (t *inProcess) Close() error { return nil }

// Deliver implements targets.Target.
func (t *inProcess) Deliver(ctx context.Context, d *targets.Delivery) error {
	return t.deliver(ctx, []*targets.Delivery{d})
}

// inBatches is one that takes batches.
type inBatches struct{ *inProcess }

// DeliverBatch implements targets.Batcher.
func (t inBatches) DeliverBatch(ctx context.Context, ds []*targets.Delivery) []error {
	errs := make([]error, len(ds))
	err := t.deliver(ctx, ds)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func (t *inProcess) deliver(ctx context.Context, ds []*targets.Delivery) error {
	began := time.Now()
	v := t.decide(ds[0].Event.ID(), len(ds))
	waited := v.wait(ctx)
	if !waited {
		v = verdict{failed, isHanging, 0}
	}
	t.life.mu.RLock()
	defer t.life.mu.RUnlock()
	if t.life.dead {
		return errDown
	}
	now := time.Now()
	for _, d := range ds {
		t.history.attempted(attempt{
			sub: t.sub, event: d.Event.ID(), delivery: d.ID, replay: d.Event.ExtensionText("replayname"), redriven: d.Redriven,
			life: t.life.began, began: began, ended: now, outcome: v.outcome,
		})
	}
	switch {
	case !waited:
		return ctx.Err()
	case v.how == isLimiting:
		return &targets.RetryAfter{Err: errors.New("too many"), After: t.pace.retryAfter}
	case v.outcome == refused:
		return targets.Permanentf("refused for good")
	case v.outcome == failed:
		return fmt.Errorf("the receiver %s", v.how)
	case v.outcome == unclear:
		return errors.New("the answer broke off")
	}
	return nil
}

// restart implements server.
func (m *memory) restart(ctx context.Context, how outageKind, between func() error) (outage, error) {
	l := m.life.Swap(nil)
	o := outage{how: how, at: time.Now()}
	if how != stopped {
		l.mu.Lock()
		l.dead = true
		o.at = time.Now()
		l.mu.Unlock()
		left := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: m.random}
		if how == powerCut {
			left.UnsyncedDataPercent = m.random.IntN(101)
		}
		m.fs = l.mem.CrashClone(left)
	}
	err := l.end()
	o.ended = time.Now()
	if how != stopped {
		err = nil // of what is no more
	}
	if err == nil && between != nil {
		err = between()
	}
	if err == nil {
		err = m.open(ctx)
	}
	return o, err
}

// end stops the engine and closes everything.
func (l *life) end() error {
	l.api.Shutdown()
	l.stop()
	<-l.done
	return errors.Join(l.engine.Close(), l.store.Close())
}

// reload implements server.
func (m *memory) reload(ctx context.Context, in []route) error {
	m.in = in
	l := m.life.Load()
	return l.engine.Apply(ctx, m.plan(l))
}

// troubles implements server.
func (m *memory) troubles() []trouble {
	return []trouble{diskFull, diskReserve, logSync, logWrite, stateWrite, traceWrite}
}

// trouble implements server.
func (m *memory) trouble(t trouble) error {
	l := m.life.Load()
	if l == nil {
		return nil // the next life begins without
	}
	free := uint64(plenty)
	if t == diskReserve {
		free = reserve / 2
	}
	l.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free})
	l.wrong.Store(&t)
	return nil
}

// ready implements server.
func (m *memory) ready(ctx context.Context, most time.Duration) error {
	return awaitReady(ctx, m.caller(), most)
}

// tear implements server.
func (m *memory) tear() error { return tearTail(m.fs, m.fs.PathJoin(memoryDir, "log"), m.random) }

// close implements server.
func (m *memory) close() error {
	if l := m.life.Swap(nil); l != nil {
		return l.end()
	}
	return nil
}
