package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// Problem is how every error is answered: RFC 9457 problem details.
type Problem struct {
	Type   string         `json:"type" doc:"A URI reference that identifies the kind of problem."`
	Title  string         `json:"title" doc:"The kind of problem in a few words."`
	Status int            `json:"status" doc:"The HTTP status."`
	Detail string         `json:"detail" doc:"What went wrong, where, and what to do."`
	Errors []ProblemField `json:"errors,omitempty" doc:"One entry for each field at fault."`
	Limit  *ProblemLimit  `json:"limit,omitempty" doc:"The limit that was reached."`

	retryAfter time.Duration // of a 429 or 503; 0 is a second
}

// ProblemLimit is the limit that made Switchyard refuse a publication.
type ProblemLimit struct {
	Name  string `json:"name" doc:"waiting, memory, disk, diskReserve, owed, depth or age."`
	Bus   string `json:"bus,omitempty" doc:"The bus whose limit it is; absent for one of the whole server."`
	Value int64  `json:"value" doc:"What was measured: bytes, deliveries for depth, seconds for age."`
	Bound int64  `json:"bound" doc:"The limit on it."`
}

// ProblemField is one field at fault.
type ProblemField struct {
	Pointer string `json:"pointer,omitempty" doc:"JSON pointer to the field in the request."`
	Line    int    `json:"line,omitempty" doc:"Line in a text value such as an expression, from 1."`
	Column  int    `json:"column,omitempty" doc:"Column in that line, from 1."`
	Detail  string `json:"detail" doc:"What is wrong with it."`
}

// Error implements error, so that handlers can return a Problem.
func (p *Problem) Error() string { return p.Detail }

// problemType is the URI reference of a kind of problem.
const problemType = "/problems/"

// problem makes a Problem; kind is the last part of its type.
func problem(status int, kind, format string, args ...any) *Problem {
	return &Problem{Type: problemType + kind, Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// with adds a field at fault.
func (p *Problem) with(pointer, detail string) *Problem {
	p.Errors = append(p.Errors, ProblemField{Pointer: pointer, Detail: detail})
	return p
}

// BadValue reports whether a parameter or a filter of the request cannot be read,
// whatever the server holds.
func (p *Problem) BadValue() bool {
	return p.Type == problemType+"invalid-parameter" || p.Type == problemType+"invalid-filter"
}

// at adds the field that err is about, if it is about one.
func (p *Problem) at(err error) *Problem {
	var field *bus.FieldError
	if errors.As(err, &field) {
		return p.with("/"+field.Field, field.Reason)
	}
	return p
}

// fail answers a request with err as problem details.
func fail(c *gin.Context, err error) {
	c.Abort()
	writeProblem(c.Writer, asProblem(err))
}

// writeProblem writes p as the answer.
func writeProblem(w http.ResponseWriter, p *Problem) {
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(p.retryAfter.Round(time.Second)/time.Second))))
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // they quote filters, which have < and &
	if err := enc.Encode(p); err != nil {
		body.Reset()
		body.WriteString("{}\n")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body.Bytes())
}

// asProblem finds the problem details that fit an error.
func asProblem(err error) *Problem {
	var (
		p       *Problem
		decode  *event.DecodeError
		refused *bus.PublicationError
		compile *rules.CompileError
		tooBig  *http.MaxBytesError
		limit   *store.LimitError
		applied *ApplyError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &decode):
		kind := map[int]string{http.StatusRequestEntityTooLarge: "too-large", http.StatusUnsupportedMediaType: "unsupported-media-type"}[decode.Status]
		if kind == "" {
			kind = "invalid-event"
		}
		return problem(decode.Status, kind, "%v; nothing was stored", decode).with(decode.Pointer(), decode.Reason)
	case errors.As(err, &refused):
		return publicationProblem(refused)
	case errors.As(err, &limit):
		return limitProblem(limit)
	case errors.As(err, &applied):
		return applyProblem(applied)
	case errors.As(err, &compile):
		p := problem(http.StatusBadRequest, "invalid-filter", "the filter does not compile: %v", err)
		for _, err := range each(err) {
			if errors.As(err, &compile) {
				p.Errors = append(p.Errors, ProblemField{Pointer: compile.Pointer, Line: compile.Line, Column: compile.Column, Detail: withHint(compile.Message, compile.Hint)})
			}
		}
		return p
	case errors.As(err, &tooBig):
		return problem(http.StatusRequestEntityTooLarge, "too-large", "the request is larger than %d bytes; nothing was stored", tooBig.Limit)
	case errors.Is(err, bus.ErrNotPull):
		return problem(http.StatusConflict, "not-pull", "%v; only a target of the kind pull can be received from", err)
	case errors.Is(err, bus.ErrConsumer):
		return problem(http.StatusBadRequest, "invalid-parameter", "%v", err).with("/consumer", "required")
	case errors.Is(err, bus.ErrTooManyConsumers):
		return problem(http.StatusConflict, "too-many-consumers", "%v", err)
	case errors.Is(err, bus.ErrTooManyReplays):
		return problem(http.StatusConflict, "too-many-replays", "%v", err)
	case errors.Is(err, bus.ErrTooManyTransactions):
		return problem(http.StatusTooManyRequests, "too-many-transactions", "%v", err)
	case errors.Is(err, bus.ErrTransaction):
		return problem(http.StatusBadRequest, "invalid-transaction", "%v; nothing was stored", err).at(err)
	case errors.Is(err, store.ErrCommitted), errors.Is(err, store.ErrRolledBack):
		return problem(http.StatusConflict, "transaction-finished", "%v", err)
	case errors.Is(err, store.ErrBusGone):
		return problem(http.StatusConflict, "bus-gone", "%v; it can only be rolled back", err)
	case errors.Is(err, bus.ErrReplay):
		return problem(http.StatusBadRequest, "invalid-replay", "%v", err).at(err)
	case errors.Is(err, bus.ErrSeek):
		return problem(http.StatusBadRequest, "invalid-seek", "%v", err).at(err)
	case errors.Is(err, bus.ErrOrphaned):
		return problem(http.StatusConflict, "orphaned", "%v", err)
	case errors.Is(err, bus.ErrStopping):
		return problem(http.StatusServiceUnavailable, "unavailable", "%v; try again", err)
	case errors.Is(err, bus.ErrUnknownBus):
		return problem(http.StatusNotFound, "not-found", "%v", err)
	case errors.Is(err, bus.ErrManyBuses):
		return problem(http.StatusBadRequest, "invalid-parameter", "%v", err)
	case errors.Is(err, store.ErrNoTable):
		return problem(http.StatusConflict, "no-table", "%v; compact: subject in its configuration makes one", err)
	case errors.Is(err, store.ErrTableUnfinished):
		return problem(http.StatusServiceUnavailable, "unavailable", "%v; try again later", err)
	case archiveProblem(err) != nil:
		return archiveProblem(err)
	case errors.Is(err, store.ErrTrimmed):
		return problem(http.StatusGone, "trimmed", "retention has removed this event")
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "not-found", "%v", err)
	case errors.Is(err, store.ErrConflict):
		return problem(http.StatusPreconditionFailed, "conflict", "%v", err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		return problem(http.StatusServiceUnavailable, "unavailable", "%v; nothing of this request was acknowledged, try again", err)
	}
	return problem(http.StatusInternalServerError, "internal", "%v", err)
}

// limitProblem says which limit was reached: 429 if the publisher can wait it
// out, 503 if the server lacks something.
func limitProblem(e *store.LimitError) *Problem {
	status := http.StatusServiceUnavailable
	if e.Busy {
		status = http.StatusTooManyRequests
	}
	p := problem(status, "limit", "%v; nothing was stored, try again later", e)
	p.Limit = &ProblemLimit{Name: e.Limit, Bus: e.Bus, Value: e.Value, Bound: e.Bound}
	p.retryAfter = e.RetryAfter
	return p
}

// each is the errors that were joined to one.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// withHint is a message with what to do.
func withHint(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + "; " + hint
}

// publicationProblem says which event of a request a bus did not take.
func publicationProblem(e *bus.PublicationError) *Problem {
	pointer := fmt.Sprintf("/%d", e.Index)
	detail := fmt.Sprintf("batch member %d: %v; nothing was stored", e.Index, e)
	switch e.Code {
	case bus.UnknownBus:
		return problem(http.StatusNotFound, "not-found", "%s", detail).with(pointer, e.Error())
	case bus.Reserved:
		return problem(http.StatusForbidden, "reserved", "%s", detail).with(pointer, e.Error())
	case bus.TooLarge:
		return problem(http.StatusRequestEntityTooLarge, "too-large", "%s", detail).with(pointer, e.Error())
	}
	return problem(http.StatusBadRequest, "invalid-event", "%s", detail).with(pointer+"/"+e.Attribute, e.Error())
}
