// Package api is Switchyard's HTTP interface: publishing, reading, the
// configuration objects, subscriptions and their dead letters, and what
// operators look at. One file holds each resource; routes.go lists every call,
// from which the OpenAPI description is generated.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/switchyard-dev/switchyard/api/console"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
)

// Options are what a Server works on. All but Hook, Snapshots and Ready are required.
type Options struct {
	Engine   *bus.Engine
	Objects  Objects
	Rules    *rules.Env
	Registry *prometheus.Registry
	Logger   *slog.Logger
	Version  string
	// Hook finds the handler of a webhook source, nil if there is none.
	Hook func(source string) http.Handler
	// Snapshots takes snapshots for backups; nil if the store has none.
	Snapshots store.Snapshotter
	// Archive knows the archives of buses; nil if there can be none.
	Archive Archive
	// Ready is nil when everything that was configured works.
	Ready func() error
	// MaxRequest bounds a batch request, in bytes; default 64 MiB.
	MaxRequest int64
	// DryRunBudget is how long one request looks at stored events, before the
	// client has to go on with another; default 10 seconds.
	DryRunBudget time.Duration
}

// Object is one configuration object as the API shows it.
type Object struct {
	Name   string
	Origin string // "api", the place in a file, or "built in"
	ETag   string // without quotes
	JSON   []byte // JSON of its YAML, secrets redacted
	Status any    // what it does at present; nil if there is nothing to say
	// Warnings say what is likely wrong with an object that was just put.
	Warnings []Warning
}

// Warning says what is likely wrong with a request that is taken all the same.
type Warning struct {
	Pointer string `json:"pointer,omitempty" doc:"JSON pointer to the field in the request."`
	Line    int    `json:"line,omitempty" doc:"Line in a text value such as an expression, or in the object that was put, from 1."`
	Column  int    `json:"column,omitempty" doc:"Column in that line, from 1."`
	Message string `json:"message" doc:"What is noticed, and what to do."`
}

// Condition is what If-Match or If-None-Match ask for.
type Condition struct {
	ETag   string // must be the present one; "" asks nothing
	Absent bool   // the object must not exist
	Exists bool   // the object must exist (If-Match: *)
}

// Objects are the configuration objects: those of the files, which are
// read-only here, and those of the API. kind is configs.Buses, configs.Sources,
// configs.Rules or configs.Targets. Errors: store.ErrNotFound, ErrPrecondition, a *ConflictError, or a
// *InvalidError.
type Objects interface {
	List(kind string) ([]Object, error)
	Get(kind, name string) (Object, error)
	// Put creates or replaces an object and puts it in force.
	Put(ctx context.Context, kind, name string, body []byte, cond Condition) (o Object, created bool, err error)
	// Apply creates and replaces objects, all or none, and puts them in force
	// together; dry only says what it would do. What is wrong with them is an
	// *ApplyError. A kind and name stands in objects once, behind what it may name.
	Apply(ctx context.Context, objects []Named, dry bool) ([]Applied, error)
	// Delete removes an object; orphaned are the subscriptions of a rule that still
	// owe something.
	Delete(ctx context.Context, kind, name string, cond Condition) (orphaned []Orphan, err error)
}

// Errors of a Condition that does not hold.
var (
	ErrPrecondition = errors.New("it has changed since it was read, or is gone; read it again, and change what is there now")
	ErrExists       = fmt.Errorf("it exists already: %w", ErrPrecondition) // Condition.Absent
)

// ConflictError says why an object cannot be changed: it belongs to a file, or
// something still uses it.
type ConflictError struct{ Reason string }

// Error implements error.
func (e *ConflictError) Error() string { return e.Reason }

// InvalidError says what is wrong with an object that was sent.
type InvalidError struct{ Diagnostics configs.Diagnostics }

// Error implements error.
func (e *InvalidError) Error() string { return e.Diagnostics.String() }

// Server serves the API. Make it with New.
type Server struct {
	opts    Options
	gin     *gin.Engine
	handler http.Handler
	openapi []byte
	stop    chan struct{} // closed by Shutdown: ends tails
	stopped atomic.Bool

	dryRuns  chan struct{} // one for each under way
	searches chan struct{} // likewise
	origins  origins

	snapshots snapshots
}

// New makes the server; it listens on nothing.
func New(opts Options) (*Server, error) {
	if opts.MaxRequest <= 0 {
		opts.MaxRequest = 64 << 20
	}
	if opts.DryRunBudget <= 0 {
		opts.DryRunBudget = defaultDryRun
	}
	if opts.Ready == nil {
		opts.Ready = func() error { return nil }
	}
	gin.SetMode(gin.ReleaseMode)
	s := &Server{opts: opts, gin: gin.New(), stop: make(chan struct{}), dryRuns: make(chan struct{}, dryRunsMost), searches: make(chan struct{}, searchesMost)}
	g := s.gin
	g.HandleMethodNotAllowed = true
	g.RedirectTrailingSlash = false
	g.RedirectFixedPath = false
	g.UseRawPath, g.UnescapePathValues = true, true
	g.Use(s.recover)
	g.NoRoute(gin.WrapF(nothingThere))
	g.NoMethod(func(c *gin.Context) {
		fail(c, problem(http.StatusMethodNotAllowed, "method-not-allowed", "%s is not allowed at %s; allowed: %s",
			c.Request.Method, c.Request.URL.Path, c.Writer.Header().Get("Allow")))
	})
	routes := s.routes()
	for _, r := range routes {
		handle := r.strict()
		g.Handle(r.method, r.path, handle)
		if r.method == http.MethodGet && r.id != "tail" {
			g.Handle(http.MethodHead, r.path, handle)
		}
	}
	var err error
	if s.openapi, err = describe(routes, opts.Version); err != nil {
		return nil, err
	}
	s.openapi = append(s.openapi, '\n')
	pages, err := console.New(http.HandlerFunc(nothingThere))
	if err != nil {
		return nil, err
	}
	for _, path := range []string{console.Path, console.Path + "/*file"} {
		g.GET(path, gin.WrapH(pages))
		g.HEAD(path, gin.WrapH(pages))
	}
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problem(http.StatusForbidden, "cross-site", "requests from other sites are refused"))
	}))
	s.handler = guard.Handler(g)
	return s, nil
}

// nothingThere answers for a path that no call has.
func nothingThere(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, problem(http.StatusNotFound, "not-found", "there is nothing at %s; /openapi.json lists every call", r.URL.Path))
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Shutdown ends long answers such as tails, so that an http.Server can drain,
// and snapshots. It is idempotent.
func (s *Server) Shutdown() {
	if s.stopped.CompareAndSwap(false, true) {
		close(s.stop)
		s.snapshots.endAll()
	}
}

// recover answers a panic with a problem and logs it.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			s.opts.Logger.Error("a request panicked", "path", c.Request.URL.Path, "panic", p, "stack", string(debug.Stack()))
			fail(c, problem(http.StatusInternalServerError, "internal", "an unexpected fault; the log has it"))
		}
	}()
	c.Next()
}

// healthz says that the process is alive.
func (s *Server) healthz(c *gin.Context) { c.PureJSON(http.StatusOK, Health{Status: "ok"}) }

// Health answers /healthz and /readyz.
type Health struct {
	Status   string   `json:"status" doc:"ok"`
	Warnings []string `json:"warnings,omitempty" doc:"What does not keep events from being accepted, but wants to be looked at: the clock, an archive that cannot be reached."`
}

// readyz says whether events are accepted.
func (s *Server) readyz(c *gin.Context) {
	err := errors.Join(s.opts.Engine.Store().Err(), s.opts.Engine.Refusing(), s.opts.Ready())
	if s.stopped.Load() {
		err = errors.Join(err, errors.New("shutting down"))
	}
	if err != nil {
		fail(c, problem(http.StatusServiceUnavailable, "not-ready", "%v", err))
		return
	}
	h := Health{Status: "ok"}
	if st := s.opts.Engine.Store().Stats(); st.ClockAhead > 0 {
		h.Warnings = append(h.Warnings, fmt.Sprintf("the clock jumped %v forward, or the store was closed for as long: retention by age goes by it in %v; set the clock back if it is wrong",
			st.ClockAhead.Round(time.Second), st.ClockHold.Round(time.Second)))
	} else if st.ClockAhead < 0 {
		h.Warnings = append(h.Warnings, fmt.Sprintf("the clock was set back by %v", -st.ClockAhead.Round(time.Second)))
	}
	if s.opts.Archive != nil {
		h.Warnings = append(h.Warnings, s.opts.Archive.Warnings()...)
	}
	c.PureJSON(http.StatusOK, h)
}

// metrics serves Prometheus metrics.
func (s *Server) metrics() gin.HandlerFunc {
	return gin.WrapH(promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{Timeout: 10 * time.Second}))
}

// serveOpenAPI serves the OpenAPI description.
func (s *Server) serveOpenAPI(c *gin.Context) {
	c.Data(http.StatusOK, "application/json", s.openapi)
}

// hook passes a request on to its webhook source.
func (s *Server) hook(c *gin.Context) {
	var h http.Handler
	if s.opts.Hook != nil {
		h = s.opts.Hook(c.Param("source"))
	}
	if h == nil {
		fail(c, problem(http.StatusNotFound, "not-found", "there is no webhook source %q", c.Param("source")))
		return
	}
	h.ServeHTTP(c.Writer, c.Request)
}

// busID is the store's id of the bus that the path names.
func (s *Server) busID(c *gin.Context) (store.BusID, bool) {
	id, err := s.opts.Engine.BusID(c.Param("bus"))
	if err != nil {
		fail(c, problem(http.StatusNotFound, "not-found", "there is no bus %q", c.Param("bus")))
		return 0, false
	}
	return id, true
}
