package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// Subscription is the state of one rule × one of its targets.
type Subscription struct {
	Name          string     `json:"name" doc:"RULE/TARGET, or RULE/TARGET/CONSUMER."`
	Rule          string     `json:"rule"`
	Target        string     `json:"target"`
	Consumer      string     `json:"consumer,omitempty" doc:"Which consumer of a broadcast it is."`
	Bus           string     `json:"bus"`
	State         string     `json:"state" doc:"active, paused or orphaned."`
	Reason        string     `json:"reason" doc:"Why it is not active, or why an active one waits: a breaker is open, of the target or of an endpoint that the rule asks (enrich), or one of them asked for a pause."`
	Since         *time.Time `json:"since,omitempty" doc:"When it was paused."`
	Depth         int64      `json:"depth" doc:"Deliveries not settled: waiting, in flight and to be retried."`
	InFlight      int64      `json:"inFlight" doc:"Deliveries claimed and not settled."`
	DeadLetters   int64      `json:"deadLetters"`
	OldestAge     string     `json:"oldestAge" doc:"Age of the oldest unsettled delivery; 0s if there is none."`
	LastError     string     `json:"lastError" doc:"Why the latest failed attempt failed."`
	LastErrorTime *time.Time `json:"lastErrorTime,omitempty"`
	From          uint64     `json:"from" doc:"It takes events above this sequence of its bus."`
	Leases        *int       `json:"leases,omitempty" doc:"Of a pull target: the leases that are out."`
	Waiting       *int       `json:"waiting,omitempty" doc:"Of a pull target: the receives that wait."`
}

// subscription shows the state of a subscription.
func (s *Server) subscription(info store.SubscriptionInfo) Subscription {
	out := Subscription{
		Name: info.Name, Bus: s.opts.Engine.BusName(info.Bus), State: "active", Reason: info.Reason,
		Since: timePointer(info.Since), Depth: info.Depth, InFlight: info.InFlight, DeadLetters: info.Dead,
		OldestAge: "0s", LastError: info.LastError, LastErrorTime: timePointer(info.LastErrorTime), From: info.From,
	}
	out.Rule, out.Target = bus.SplitSubscription(info.Name)
	out.Consumer = bus.ConsumerOf(info.Name)
	if status, ok := s.opts.Engine.PullStatus(info.ID); ok {
		out.Leases, out.Waiting = &status.Leases, &status.Waiting
	}
	switch {
	case info.Orphaned:
		out.State = "orphaned"
		if out.Reason == "" {
			out.Reason = "its rule or target is gone; bring the name back, or purge what it owes and its dead letters"
		}
	case info.Paused:
		out.State = "paused"
	default:
		out.Reason = s.opts.Engine.Waiting(out.Rule, out.Target)
	}
	if !info.Oldest.IsZero() {
		out.OldestAge = max(0, time.Since(info.Oldest)).Round(time.Millisecond).String()
	}
	return out
}

// listSubscriptions lists all subscriptions, orphans included.
func (s *Server) listSubscriptions(c *gin.Context) {
	page(c, s.opts.Engine.Store().Subscriptions(), func(i store.SubscriptionInfo) string { return i.Name }, s.subscription)
}

// named finds the subscription that the path names, and the query, if it is a
// consumer's.
func (s *Server) namedSubscription(c *gin.Context) (store.SubscriptionInfo, bool) {
	target := c.Param("target")
	if consumer := c.Query("consumer"); consumer != "" {
		target += "/" + consumer
	}
	info, err := s.opts.Engine.FindSubscription(c.Param("rule"), target)
	if err != nil {
		fail(c, problem(http.StatusNotFound, "not-found", "there is no subscription %q", c.Param("rule")+"/"+target))
		return info, false
	}
	return info, true
}

// getSubscription answers with one subscription.
func (s *Server) getSubscription(c *gin.Context) {
	if info, ok := s.namedSubscription(c); ok {
		c.PureJSON(http.StatusOK, s.subscription(info))
	}
}

// PauseRequest may say why a subscription is paused.
type PauseRequest struct {
	Reason string `json:"reason,omitempty" doc:"Shown with the subscription; at most 500 bytes."`
}

// pause stops deliveries of a subscription.
func (s *Server) pause(c *gin.Context) {
	var req PauseRequest
	s.change(c, &req, func(info store.SubscriptionInfo) error {
		if len(req.Reason) > 500 {
			return problem(http.StatusBadRequest, "invalid-parameter", "the reason is longer than 500 bytes").with("/reason", "too long")
		}
		if req.Reason == "" {
			req.Reason = "paused by request"
		}
		return s.opts.Engine.Store().Pause(c.Request.Context(), info.ID, req.Reason)
	})
}

// resume lifts a pause.
func (s *Server) resume(c *gin.Context) {
	s.change(c, nil, func(info store.SubscriptionInfo) error {
		return s.opts.Engine.Resume(c.Request.Context(), info.ID)
	})
}

// purgeSubscription drops all that a subscription owes.
func (s *Server) purgeSubscription(c *gin.Context) {
	info, ok := s.namedSubscription(c)
	if !ok {
		return
	}
	err := readRequest(c, nil)
	if err == nil {
		err = s.opts.Engine.Store().PurgeSubscription(c.Request.Context(), info.ID)
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.opts.Logger.Warn("a subscription was purged by request", "subscription", info.Name, "deliveries", info.Depth)
	c.PureJSON(http.StatusAccepted, Count{int(info.Depth)})
}

// change applies act to the subscription of the path and answers with its new
// state.
func (s *Server) change(c *gin.Context, req any, act func(store.SubscriptionInfo) error) {
	info, ok := s.namedSubscription(c)
	if !ok {
		return
	}
	err := readRequest(c, req)
	if err == nil {
		err = act(info)
	}
	if err == nil {
		info, err = s.opts.Engine.Store().Subscription(info.ID)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, s.subscription(info))
}

// maxControl bounds the body of a request that is no event and no object.
const maxControl = 1 << 20

// readRequest decodes a JSON body strictly into req. Without a body, or when
// req is nil, nothing is decoded; a body needs a JSON content type.
func readRequest(c *gin.Context, req any) error { return readLarge(c, req, maxControl) }

// readLarge is readRequest with a limit of its own.
func readLarge(c *gin.Context, req any, limit int64) error {
	buf, err := readBody(c.Request, limit)
	if err != nil {
		return err
	}
	defer releaseBody(buf)
	if buf.Len() == 0 && c.GetHeader("Content-Type") == "" {
		return nil
	}
	if err := needJSON(c); err != nil || req == nil || buf.Len() == 0 {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(buf.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(req); err != nil {
		return badJSON(buf.Bytes(), err, reflect.TypeOf(req))
	}
	if dec.More() {
		return problem(http.StatusBadRequest, "invalid-json", "the request body holds more than one JSON value")
	}
	return nil
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	ID       string          `json:"id" doc:"The delivery's id."`
	Bus      string          `json:"bus"`
	Sequence uint64          `json:"sequence"`
	Reason   string          `json:"reason" doc:"Why it was given up."`
	Died     time.Time       `json:"died"`
	Attempts []AttemptTrace  `json:"attempts" doc:"Every attempt, oldest first."`
	Event    json.RawMessage `json:"event" doc:"The event as it was published."`
}

// listDead lists dead letters with their attempts.
func (s *Server) listDead(c *gin.Context) {
	info, ok := s.namedSubscription(c)
	if !ok {
		return
	}
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	e := s.opts.Engine
	letters, next, err := e.Store().ListDead(c.Request.Context(), info.ID, c.Query("after"), limit)
	if err != nil {
		fail(c, cursorProblem(c, err))
		return
	}
	out := List[DeadLetter]{Items: make([]DeadLetter, len(letters)), Next: next}
	for i, l := range letters {
		out.Items[i] = DeadLetter{ID: e.DeliveryID(l.ID), Bus: e.BusName(l.ID.Bus), Sequence: l.ID.Sequence, Reason: l.Reason,
			Died: l.Died.UTC(), Attempts: s.attempts(l.Attempts), Event: event.AppendStructured(nil, l.Record.Event)}
	}
	c.PureJSON(http.StatusOK, out)
}

// DeadSelection says which dead letters are meant.
type DeadSelection struct {
	IDs  []string `json:"ids,omitempty" doc:"Delivery ids."`
	When string   `json:"when,omitempty" doc:"CEL over the event."`
	All  *bool    `json:"all,omitempty" doc:"true: all of them; purge needs it when neither ids nor when is given."`
}

// Count answers how many dead letters were redriven or purged.
type Count struct {
	Count int `json:"count"`
}

// redrive puts dead letters back into the queue.
func (s *Server) redrive(c *gin.Context) { s.selectDead(c, true, s.opts.Engine.Redrive) }

// purgeDead drops dead letters.
func (s *Server) purgeDead(c *gin.Context) { s.selectDead(c, false, s.opts.Engine.PurgeDead) }

// selectDead applies act to the dead letters that the request selects.
func (s *Server) selectDead(c *gin.Context, allByDefault bool, act deadAction) {
	info, ok := s.namedSubscription(c)
	if !ok {
		return
	}
	var req DeadSelection
	if err := readRequest(c, &req); err != nil {
		fail(c, err)
		return
	}
	given := 0
	for _, is := range []bool{req.IDs != nil, req.When != "", req.All != nil && *req.All} {
		if is {
			given++
		}
	}
	if given > 1 || given == 0 && (!allByDefault || req.All != nil) {
		fail(c, problem(http.StatusBadRequest, "invalid-parameter", `say which dead letters: one of "ids", "when" or "all": true`))
		return
	}
	sel := bus.Selection{}
	var err error
	if sel.When, err = s.when(req.When); err != nil {
		fail(c, beneath("/when", asProblem(err)))
		return
	}
	for i, text := range req.IDs {
		id, err := s.opts.Engine.ParseDeliveryID(text)
		if err != nil {
			fail(c, problem(http.StatusBadRequest, "invalid-parameter", "ids[%d]: %q is not a delivery id; nothing was changed", i, text).
				with("/ids/"+strconv.Itoa(i), "not a delivery id"))
			return
		}
		sel.IDs = append(sel.IDs, id)
	}
	n := 0
	if req.IDs == nil || len(sel.IDs) > 0 {
		n, err = act(c.Request.Context(), info.ID, sel)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.PureJSON(http.StatusAccepted, Count{n})
}

// deadAction is Engine.Redrive or Engine.PurgeDead.
type deadAction func(ctx context.Context, sub store.SubscriptionID, sel bus.Selection) (int, error)
