package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// TransactionRequest begins a transaction.
type TransactionRequest struct {
	Bus      string          `json:"bus,omitempty" doc:"The bus of the events; without it each names its own in the extension bus."`
	Events   json.RawMessage `json:"events" doc:"A CloudEvents JSON batch."`
	CheckURL string          `json:"checkURL,omitempty" doc:"Where the producer is asked when the transaction is not answered."`
}

// TransactionStarted answers with the id of a transaction.
type TransactionStarted struct {
	ID string `json:"id"`
}

// Transaction is where a transaction stands.
type Transaction struct {
	ID        string     `json:"id"`
	State     string     `json:"state" doc:"open, parked, committed or rolledback."`
	Count     int        `json:"count" doc:"How many events it has."`
	Created   time.Time  `json:"created"`
	Finished  *time.Time `json:"finished,omitempty"`
	CheckURL  string     `json:"checkURL,omitempty"`
	Checks    int        `json:"checks" doc:"How often the producer was asked."`
	NextCheck *time.Time `json:"nextCheck,omitempty" doc:"When it is asked next."`
	LastError string     `json:"lastError,omitempty" doc:"What was wrong with the last answer."`
	// Of one transaction only, not in lists.
	Events []bus.TransactionEvent `json:"events,omitempty" doc:"Its events; left out in lists, and once it is rolled back."`
}

func transaction(t bus.Transaction) Transaction {
	return Transaction{
		ID: t.Name, State: t.State.String(), Count: t.Events, Created: t.Created, Finished: timePointer(t.Finished), CheckURL: t.CheckURL,
		Checks: t.Check.Count, NextCheck: timePointer(t.Check.Next), LastError: t.Check.Error,
	}
}

// beginTransaction keeps events unseen.
func (s *Server) beginTransaction(c *gin.Context) {
	var req TransactionRequest
	if err := readLarge(c, &req, 2*bus.MaxTransactionBytes); err != nil {
		fail(c, err)
		return
	}
	if !given(req.Events) {
		fail(c, problem(http.StatusBadRequest, "invalid-parameter", `"events" is missing; give a CloudEvents JSON batch; nothing was stored`).with("/events", "required"))
		return
	}
	events, err := event.FromBatch(req.Events, event.Limits{MaxEventSize: bus.MaxTransactionBytes, MaxBatch: bus.MaxTransactionEvents})
	if err != nil {
		fail(c, beneath("/events", asProblem(err)))
		return
	}
	batch := make([]bus.Publication, len(events))
	for i, ev := range events {
		name := req.Bus
		if name == "" {
			name = ev.ExtensionText("bus")
		}
		if name == "" {
			fail(c, problem(http.StatusBadRequest, "invalid-event", `event %d names no bus; give "bus", or each event the extension "bus"; nothing was stored`, i).
				with("/events/"+strconv.Itoa(i)+"/bus", "is missing"))
			return
		}
		batch[i] = bus.Publication{Bus: name, Event: ev}
	}
	t, err := s.opts.Engine.BeginTransaction(c.Request.Context(), batch, req.CheckURL, bus.PublishOptions{Via: s.origins.of(bus.OriginTransaction, c.Request)})
	if err != nil {
		p := asProblem(err)
		if refused := (*bus.PublicationError)(nil); errors.As(err, &refused) {
			p = beneath("/events", p)
		}
		fail(c, p)
		return
	}
	c.Header("Location", "/v1/transactions/"+t.Name)
	c.PureJSON(http.StatusCreated, TransactionStarted{t.Name})
}

// beneath moves the pointers of a problem to where its value stands.
func beneath(at string, p *Problem) *Problem {
	for i := range p.Errors {
		p.Errors[i].Pointer = at + p.Errors[i].Pointer
	}
	return p
}

// commitTransaction records the events of a transaction.
func (s *Server) commitTransaction(c *gin.Context) {
	if err := readRequest(c, nil); err != nil {
		fail(c, err)
		return
	}
	events, err := s.opts.Engine.CommitTransaction(c.Request.Context(), c.Param("transaction"))
	if err != nil {
		fail(c, err)
		return
	}
	out := PublishResults{Results: make([]PublishResult, len(events))}
	for i, e := range events {
		out.Results[i] = PublishResult{ID: e.ID, Source: e.Source, Duplicate: e.Result.Duplicate}
		if e.Result.Sequence != 0 {
			out.Results[i].Sequence = &events[i].Result.Sequence
		}
	}
	c.PureJSON(http.StatusOK, out)
}

// rollbackTransaction drops the events of a transaction.
func (s *Server) rollbackTransaction(c *gin.Context) {
	if err := readRequest(c, nil); err != nil {
		fail(c, err)
		return
	}
	if err := s.opts.Engine.RollbackTransaction(c.Request.Context(), c.Param("transaction")); err != nil {
		fail(c, err)
		return
	}
	s.getTransaction(c)
}

// listTransactions lists transactions in order of their begin.
func (s *Server) listTransactions(c *gin.Context) {
	state := c.Query("state")
	var known []string
	for _, s := range []store.TransactionState{store.TransactionOpen, store.TransactionParked, store.TransactionCommitted, store.TransactionRolledBack} {
		known = append(known, s.String())
	}
	if state != "" && !slices.Contains(known, state) {
		fail(c, problem(http.StatusBadRequest, "invalid-parameter", "state=%q is none of %s", state, strings.Join(known, ", ")))
		return
	}
	all, err := s.opts.Engine.Transactions(c.Request.Context())
	if err != nil {
		fail(c, err)
		return
	}
	if state != "" {
		all = slices.DeleteFunc(all, func(t bus.Transaction) bool { return t.State.String() != state })
	}
	page(c, all, func(t bus.Transaction) string { return t.Name }, transaction)
}

// getTransaction answers with one transaction.
func (s *Server) getTransaction(c *gin.Context) {
	t, events, err := s.opts.Engine.Transaction(c.Request.Context(), c.Param("transaction"))
	if err != nil {
		fail(c, err)
		return
	}
	out := transaction(t)
	out.Events = events
	c.PureJSON(http.StatusOK, out)
}
