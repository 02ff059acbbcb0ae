// Package sources is where events enter Switchyard from outside, beside its
// own HTTP API: what a source is and the contract that every kind keeps. One
// package below this one holds each kind; package sourcetest has the
// conformance suite.
package sources

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// Source brings events into one bus. It is made by Config.Build, which opens
// nothing. A source is a Runner, an http.Handler, or both.
type Source interface {
	// Close releases what the source holds, after Run has returned and the
	// last request was served. It is idempotent and may come without Run.
	Close() error
}

// Runner is a source that works by itself: it fetches, listens or ticks.
type Runner interface {
	Source
	// Run brings in events until ctx is done and then returns nil. It
	// reconnects by itself with back-off; it returns an error only for what
	// cannot mend itself. It tells the other side that an event was taken only
	// after Sink.Publish returned nil for it.
	Run(ctx context.Context) error
}

// Hook is a source that is called: POST /v1/hooks/{name} ends in ServeHTTP.
// It answers with problem details on errors and must bound what it reads.
type Hook interface {
	Source
	http.Handler
}

// Sink takes events for the bus that the source is configured with.
type Sink interface {
	// Publish keeps a batch, all of it or nothing, and returns when it is on
	// stable storage. Repeats inside the source's dedupe window are accepted
	// and marked. An *InvalidError cannot be mended by trying again; after any
	// other error the source should try again later.
	Publish(ctx context.Context, events ...*event.Event) ([]Result, error)
}

// Result says where an event went.
type Result struct {
	Sequence  uint64
	Duplicate bool
}

// InvalidError says that an event can never be accepted, for example because
// it is larger than its bus allows.
type InvalidError struct{ Err error }

// Error implements error.
func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *InvalidError) Unwrap() error { return e.Err }

// State is a small durable store of a source's own, for example for the time
// of its last tick. Values are at most 64 KiB.
type State interface {
	// Load returns the value under key, nil if there is none.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save writes the value under key durably.
	Save(ctx context.Context, key string, value []byte) error
}

// Config is the settings of one kind of source.
type Config interface {
	component.Config
	// Build makes the source. It opens nothing and starts nothing.
	Build(env Env) (Source, error)
}

// Spec is a kind of source.
type Spec struct {
	component.Spec
	New func() Config // settings with the defaults filled in
	// Dedupe is the kind's default dedupe window; 0 uses the bus's.
	Dedupe time.Duration
}

// Env is what a source is given to work with.
type Env struct {
	Name   string       // the source's name
	Bus    string       // the bus that its events go to
	Logger *slog.Logger // never nil
	Sink   Sink
	State  State
	// Rejected counts an input that was refused, by a reason from a closed
	// set such as "signature", "stale", "invalid" or "too_large". Never nil.
	Rejected func(reason string)
	// Failing says what keeps the source from working, such as a server that
	// cannot be reached, and nil once it works again. An error that Run returns
	// need not be said. Never nil; it may be called from any goroutine.
	Failing func(err error)
}
