package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/api/console"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
)

// How long each part of a shutdown may take. Requests and sources end at the
// same time, then attempts; all of it stays below ten seconds.
const (
	stopRequests = 2 * time.Second
	stopSources  = 2 * time.Second
	stopAttempts = 5500 * time.Millisecond
)

// lintedAtStart is how many filters a start and a reload look at for what they
// cannot mean, which compiles each again. validate looks at all of them.
const lintedAtStart = 1000

// collectAt is the garbage collector's target in percent of what lives: little
// does, for events pass through, so collecting less often costs some megabytes
// and saves a tenth of the work. GOGC in the environment wins.
const collectAt = 200

// app is the whole server. It is made in the order store, engine,
// configuration (targets, then sources), API, and stopped in reverse.
type app struct {
	log      *slog.Logger
	store    *archive.Store
	engine   *bus.Engine
	config   *manager
	sources  *sourceSet
	api      *api.Server
	listener net.Listener
	data     string
	notice   io.Writer
	compiled *compiledRules
}

// newApp opens the store and puts everything together. Nothing is left open
// when it fails.
func newApp(ctx context.Context, f serveFlags, log *slog.Logger, out, errOut io.Writer) (_ *app, err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	compiled := &compiledRules{env: env, files: &configs.Memory{}, log: log, flag: f.data}
	loader := &configs.Loader{Kinds: components(), Rules: env, Listen: f.listen, Prepare: compiled.load, Memory: compiled.files, Serving: true, MostLinted: lintedAtStart}
	content := contentOf(f.config)
	file, err := loadFile(loader, f.config, errOut)
	if err != nil {
		return nil, err
	}
	listen, data := first(f.listen, file.Server.Listen), first(f.data, file.Server.Data)
	if err := configs.CheckListen(listen); err != nil {
		return nil, &usageError{fmt.Errorf("--listen: %w", err)}
	}
	if !f.insecure && !configs.LoopbackListen(listen) {
		return nil, &usageError{fmt.Errorf("listening on %q lets others reach this server, which does not ask who they are; "+
			"listen on 127.0.0.1, or pass --insecure if the network or a proxy protects it", listen)}
	}
	a := &app{log: log, notice: errOut, data: data, compiled: compiled}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	fsync := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "switchyard_store_fsync_seconds", Help: "How long syncs of the log took.", Buckets: prometheus.ExponentialBuckets(0.00005, 2, 18)})
	registry.MustRegister(fsync)
	if err := os.MkdirAll(data, 0o750); err != nil {
		return nil, fmt.Errorf("the data folder: %w", err)
	}
	// Listening first: a second server on the same address fails before it
	// touches the store.
	if a.listener, err = net.Listen("tcp", listen); err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", listen, err)
	}
	files := fileLimit()
	if files > 0 && files < leastFiles {
		log.Warn("few file descriptors, so that few connections can be open; raise the limit (ulimit -n)", "limit", files, "connections", connectionsFor(files))
	}
	a.listener = quietListener{boundConnections(a.listener, connectionsFor(files), log)}
	limits := file.Server.Limits
	local, err := embedded.Open(embedded.Options{
		Dir: data, Logger: log, MaxWaiting: int64(limits.Waiting), DiskReserve: cmp.Or(int64(limits.DiskReserve), -1),
		OnFsync: func(d time.Duration) { fsync.Observe(d.Seconds()) },
	})
	if embedded.Damaged(err) {
		return nil, fmt.Errorf("open the store: %w\nThe data folder is damaged: switchyard store check --data %[2]s says what is wrong, "+
			"switchyard store repair --data %[2]s what can be kept, and switchyard restore brings a backup back", err, data)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	a.store, err = archive.New(archive.Options{Store: local, Logger: log})
	if err != nil {
		return nil, errors.Join(err, local.Close())
	}
	registry.MustRegister(a.store)
	check := &transactionCheck{listen: listen}
	a.engine, err = bus.New(bus.Options{Store: a.store, Logger: log, Registry: registry, DrainTimeout: stopAttempts, Checker: check})
	if err != nil {
		return nil, err
	}
	a.sources = newSourceSet(a.engine, log, registry)
	a.config = &manager{
		loader: loader, path: f.config, content: content, listen: listen, engine: a.engine, archive: a.store, sources: a.sources,
		log: log, out: out, errOut: errOut,
	}
	check.config = a.config
	if err := a.config.start(ctx, file); err != nil {
		return nil, err
	}
	loader.Prepare, loader.Memory = nil, nil // a reload compiles what is new to it
	compiled.save(a.config.inForce())
	a.api, err = api.New(api.Options{
		Engine: a.engine, Archive: a.store, Objects: a.config, Rules: env, Registry: registry, Logger: log,
		Version: release, Hook: a.sources.hook, Snapshots: local,
	})
	return a, err
}

// loadFile loads the configuration that -c names, the empty one without, and
// prints what is wrong with it.
func loadFile(loader *configs.Loader, path string, errOut io.Writer) (*configs.Config, error) {
	var file *configs.Config
	var found configs.Diagnostics
	if path == "" {
		file, found = loader.LoadBytes("", []byte("version: 1\n"))
	} else {
		file, found = loader.LoadPath(path)
	}
	if len(found) > 0 {
		fmt.Fprintln(errOut, found)
	}
	if found.HasErrors() {
		return nil, errors.Join(errConfiguration, errReported)
	}
	return file, nil
}

// run serves until ctx is done, then drains and closes everything.
func (a *app) run(ctx context.Context, reload <-chan os.Signal) error {
	defer a.close()
	server := &http.Server{
		Handler: a.api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 256 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	var engine errgroup.Group
	engine.Go(func() error { return a.engine.Run(engineCtx) })
	archiveCtx, stopArchive := context.WithCancel(context.WithoutCancel(ctx))
	defer stopArchive()
	var archiver errgroup.Group
	archiver.Go(func() error { return a.store.Run(archiveCtx) })
	a.sources.start()
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	var watch errgroup.Group
	watch.Go(func() error { return a.config.watch(watchCtx, reload) })
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.listener) }()
	if a.config.path == "" {
		fmt.Fprintln(a.notice, "no configuration was given (-c): buses, rules and targets are those that were made over HTTP")
	}
	fmt.Fprintf(a.notice, "switchyard %s is ready on http://%s (data in %s)\n", release, a.listener.Addr(), a.dataDir())
	fmt.Fprintf(a.notice, "console: http://%s%s/\n", a.listener.Addr(), console.Path)
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		a.log.Info("stopping")
	}
	stopWatch()
	err = errors.Join(err, watch.Wait())
	a.compiled.save(a.config.inForce())
	a.api.Shutdown()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopRequests)
	var inputs sync.WaitGroup
	inputs.Go(func() { a.sources.stop(stopSources) })
	if server.Shutdown(deadline) != nil {
		server.Close()
	}
	cancel()
	inputs.Wait()
	stopArchive()
	err = errors.Join(err, archiver.Wait())
	stopEngine()
	if err = errors.Join(err, engine.Wait()); errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// dataDir is the store's folder as a user may paste it.
func (a *app) dataDir() string {
	if abs, err := filepath.Abs(a.data); err == nil {
		return abs
	}
	return a.data
}

// close releases what newApp opened, in reverse. It is idempotent.
func (a *app) close() {
	var errs []error
	if a.sources != nil {
		a.sources.stop(stopSources)
	}
	if a.engine != nil {
		errs = append(errs, a.engine.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.listener != nil {
		a.listener.Close()
	}
	if err := errors.Join(errs...); err != nil {
		a.log.Error("closing failed", "error", err)
	}
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
