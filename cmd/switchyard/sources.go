package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/sources"
)

// sourceRestart is how long a source rests after its Run failed.
const sourceRestart = 5 * time.Second

// sourceSet runs the sources of the configuration in force. apply replaces
// what changed and leaves the rest undisturbed; requests read one atomic
// pointer.
type sourceSet struct {
	engine   *bus.Engine
	log      *slog.Logger
	rejected *prometheus.CounterVec

	mu      sync.Mutex
	running bool
	stopped bool
	all     map[string]*runningSource
	hooks   atomic.Pointer[map[string]http.Handler]
}

// runningSource is one source with what tells it apart from its successor.
type runningSource struct {
	name        string
	fingerprint string
	source      sources.Source
	cancel      context.CancelFunc
	done        chan struct{} // closed when Run has returned; nil before it started
	rejects     sync.Map      // reason → *atomic.Int64
	failing     atomic.Pointer[failure]
}

// failure is what keeps a source from working, and since when.
type failure struct {
	err   error
	since time.Time
}

func newSourceSet(e *bus.Engine, log *slog.Logger, reg prometheus.Registerer) *sourceSet {
	s := &sourceSet{engine: e, log: log, all: map[string]*runningSource{}}
	s.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "switchyard_source_rejected_total", Help: "Inputs of sources that were refused, by reason."}, []string{"source", "reason"})
	reg.MustRegister(s.rejected, failingSources{s})
	s.hooks.Store(&map[string]http.Handler{})
	return s
}

// build makes the sources of a configuration that are new or changed.
func (s *sourceSet) build(cfg *configs.Config, dedupe map[string]time.Duration) (map[string]*runningSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := map[string]*runningSource{}
	var errs []error
	for name, c := range cfg.Sources {
		fingerprint := c.Bus + "\x00" + time.Duration(c.Dedupe).String() + "\x00" + c.Kind + "\x00" + c.Fingerprint
		if old := s.all[name]; old != nil && old.fingerprint == fingerprint {
			continue
		}
		window := time.Duration(c.Dedupe)
		if window == 0 {
			window = dedupe[c.Kind]
		}
		r := &runningSource{name: name, fingerprint: fingerprint}
		src, err := c.Config.Build(sources.Env{
			Name: name, Bus: c.Bus, Logger: s.log,
			Sink: s.engine.Sink(name, c.Kind, c.Bus, window, eventLimit(c.Config)), State: sourceState{s.engine.Store(), name}, Rejected: s.counter(r), Failing: r.fails,
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.source = src
		fresh[name] = r
	}
	if len(errs) > 0 {
		for _, r := range fresh {
			r.source.Close()
		}
		return nil, errors.Join(errs...)
	}
	return fresh, nil
}

// attributeRoom is what a source's limit leaves for attributes beside the data.
const attributeRoom = 64 << 10

// eventLimit is the limit on one event that the source sets for itself, for it
// knows what it takes in; 0 if it does not.
func eventLimit(c sources.Config) int {
	if own, ok := c.(interface{ Limit() component.Size }); ok {
		return int(own.Limit()) + attributeRoom
	}
	return 0
}

// counter counts what a source refuses.
func (s *sourceSet) counter(r *runningSource) func(string) {
	return func(reason string) {
		s.rejected.WithLabelValues(r.name, reason).Inc()
		n, _ := r.rejects.LoadOrStore(reason, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
}

// fails notes what keeps the source from working, nil if nothing does.
func (r *runningSource) fails(err error) {
	if err == nil {
		r.failing.Store(nil)
		return
	}
	f := &failure{err: err, since: time.Now()}
	if before := r.failing.Load(); before != nil {
		f.since = before.since
	}
	r.failing.Store(f)
}

// failingSources is the metric of which sources fail.
type failingSources struct{ set *sourceSet }

var failingDesc = prometheus.NewDesc("switchyard_source_failing", "1 while something keeps the source from working.", []string{"source"}, nil)

// Describe implements prometheus.Collector.
func (failingSources) Describe(ch chan<- *prometheus.Desc) { ch <- failingDesc }

// Collect implements prometheus.Collector.
func (f failingSources) Collect(ch chan<- prometheus.Metric) {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	for name, r := range f.set.all {
		value := 0.0
		if r.failing.Load() != nil {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, value, name)
	}
}

// failureOf is what keeps a source from working, nil if nothing does.
func (s *sourceSet) failureOf(name string) *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.all[name]; r != nil {
		return r.failing.Load()
	}
	return nil
}

// refused is how many inputs a source refused since it was built, by reason.
func (s *sourceSet) refused(name string) map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	if r := s.all[name]; r != nil {
		r.rejects.Range(func(reason, n any) bool {
			out[reason.(string)] = n.(*atomic.Int64).Load()
			return true
		})
	}
	return out
}

// apply puts fresh in force: those that they replace, and those that cfg has
// no more, are stopped first.
func (s *sourceSet) apply(cfg *configs.Config, fresh map[string]*runningSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range s.all {
		if _, kept := cfg.Sources[name]; !kept || fresh[name] != nil {
			s.end(old)
			delete(s.all, name)
		}
	}
	for name, r := range fresh {
		s.all[name] = r
		if s.running {
			s.begin(r)
		}
	}
	hooks := map[string]http.Handler{}
	for name, r := range s.all {
		if h, ok := r.source.(sources.Hook); ok {
			hooks[name] = h
		}
	}
	s.hooks.Store(&hooks)
}

// hook is the handler of a webhook source, nil if there is none.
func (s *sourceSet) hook(name string) http.Handler { return (*s.hooks.Load())[name] }

// start runs every source, and those of later configurations.
func (s *sourceSet) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.stopped {
		return
	}
	s.running = true
	for _, r := range s.all {
		s.begin(r)
	}
}

// begin starts the goroutine of a source that works by itself.
func (s *sourceSet) begin(r *runningSource) {
	runner, ok := r.source.(sources.Runner)
	if !ok {
		return
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.done = make(chan struct{})
	go func() {
		defer close(r.done)
		for ctx.Err() == nil {
			err := runner.Run(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			s.log.Error("a source failed, starting it again", "source", r.name, "error", err)
			r.fails(err)
			select {
			case <-time.After(sourceRestart):
			case <-ctx.Done():
			}
		}
	}()
}

// end stops one source and closes it.
func (s *sourceSet) end(r *runningSource) {
	if r.done != nil {
		r.cancel()
		<-r.done
	}
	if err := r.source.Close(); err != nil {
		s.log.Warn("closing a source failed", "source", r.name, "error", err)
	}
}

// stop ends every source, waiting at most timeout. It is idempotent.
func (s *sourceSet) stop(timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.stopped, s.running = true, false
	s.hooks.Store(&map[string]http.Handler{})
	var ended sync.WaitGroup
	for _, r := range s.all {
		ended.Go(func() { s.end(r) })
	}
	done := make(chan struct{})
	go func() { ended.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(timeout):
		s.log.Warn("sources did not stop in time")
	}
}

// sourceState keeps a source's own values in the catalogue.
type sourceState struct {
	catalog store.Catalog
	name    string
}

// Load implements sources.State.
func (s sourceState) Load(ctx context.Context, key string) ([]byte, error) {
	o, err := s.catalog.GetObject(ctx, "source-state", s.name+"/"+key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return o.Value, err
}

// Save implements sources.State.
func (s sourceState) Save(ctx context.Context, key string, value []byte) error {
	_, err := s.catalog.PutObject(ctx, "source-state", s.name+"/"+key, value, store.AnyVersion)
	return err
}
