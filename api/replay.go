package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/configs"
)

// ReplayRequest asks for stored events to be queued again.
type ReplayRequest struct {
	From  json.RawMessage `json:"from,omitempty" doc:"The first sequence or RFC 3339 time, inclusive; the first event that is kept without it."`
	To    json.RawMessage `json:"to,omitempty" doc:"The last sequence or time, inclusive; the last event that is recorded now without it."`
	Rules []string        `json:"rules,omitempty" doc:"Only for these rules; all of the bus without it."`
	When  string          `json:"when,omitempty" doc:"Only events that this CEL filter matches too."`
	Rate  string          `json:"rate,omitempty" doc:"Events in a time at most, such as 500/s or 30/m."`
	Name  string          `json:"name,omitempty" doc:"What the extension replayname says; the id without it."`
}

// ReplayStarted answers with the id of a replay.
type ReplayStarted struct {
	ID string `json:"id"`
}

// Replay is how far a replay is.
type Replay struct {
	ID        string     `json:"id"`
	Name      string     `json:"name" doc:"The extension replayname of its deliveries."`
	Kind      string     `json:"kind" doc:"replay, or seek: events that a seek queues again."`
	Bus       string     `json:"bus"`
	From      uint64     `json:"from" doc:"The first sequence."`
	To        uint64     `json:"to" doc:"The last sequence."`
	Rules     []string   `json:"rules,omitempty" doc:"Only for these rules."`
	Seek      string     `json:"subscription,omitempty" doc:"Of a seek: the subscription that was moved."`
	When      string     `json:"when,omitempty"`
	Rate      float64    `json:"rate,omitempty" doc:"Events a second at most."`
	State     string     `json:"state" doc:"running, done, cancelled or failed."`
	Error     string     `json:"error,omitempty" doc:"Why it failed, or what holds it up."`
	Started   time.Time  `json:"started"`
	Finished  *time.Time `json:"finished,omitempty"`
	Total     uint64     `json:"total" doc:"Events to look at."`
	Scanned   uint64     `json:"scanned" doc:"Of these, done with for every subscription."`
	Skipped   uint64     `json:"skipped" doc:"Of these, removed by retention before they could be read."`
	Queued    int64      `json:"queued" doc:"Deliveries that it made."`
	Delivered int64      `json:"delivered" doc:"Of these, delivered or expired."`
	Remaining int64      `json:"remaining" doc:"Of these, not settled yet."`
	Dead      int64      `json:"dead" doc:"Of these, dead letters of their subscriptions."`
	Dropped   int64      `json:"dropped" doc:"Of these, dropped when it was cancelled."`
}

// replay shows a replay.
func replay(r bus.Replay) Replay {
	out := Replay{
		ID: r.ID, Name: r.Name, Kind: "replay", Bus: r.Bus, From: r.From, To: r.To, Rules: r.Rules, Seek: r.Seek, When: r.When,
		Rate: r.Rate, State: r.State, Error: r.Error, Started: r.Started, Finished: timePointer(r.Finished),
		Total: r.Total(), Scanned: r.Scanned, Skipped: r.Skipped, Queued: r.Queued, Remaining: r.Remaining, Dead: r.Dead,
		Dropped: r.Dropped, Delivered: max(0, r.Queued-r.Remaining-r.Dead-r.Dropped),
	}
	if r.Seek != "" {
		// What it queues is the subscription's from then on.
		out.Kind, out.Delivered = "seek", 0
	}
	return out
}

// startReplay begins a replay.
func (s *Server) startReplay(c *gin.Context) {
	id, ok := s.busID(c)
	if !ok {
		return
	}
	var req ReplayRequest
	if err := readRequest(c, &req); err != nil {
		fail(c, err)
		return
	}
	q := bus.ReplayRequest{Bus: c.Param("bus"), Rules: req.Rules, When: req.When, Name: req.Name}
	var err error
	var empty bool
	q.From, q.To, empty, err = s.rangeIn(c.Request.Context(), id, req.From, req.To)
	if err == nil && empty {
		err = problem(http.StatusBadRequest, "invalid-parameter", `"to" is before the first event of bus %q`, q.Bus).with("/to", "before the first event")
	}
	if err != nil {
		fail(c, err)
		return
	}
	if req.Rate != "" {
		r, err := configs.ParseRate(req.Rate)
		if err != nil {
			fail(c, problem(http.StatusBadRequest, "invalid-parameter", "rate: %v", err).with("/rate", "not a rate"))
			return
		}
		q.Rate = r.PerSecond()
	}
	if _, err = s.when(req.When); err != nil { // what is wrong with it, and where
		fail(c, beneath("/when", asProblem(err)))
		return
	}
	r, err := s.opts.Engine.StartReplay(c.Request.Context(), q)
	if err != nil {
		fail(c, err)
		return
	}
	c.Header("Location", "/v1/replays/"+r.ID)
	c.PureJSON(http.StatusAccepted, ReplayStarted{r.ID})
}

// listReplays lists replays in order of their start.
func (s *Server) listReplays(c *gin.Context) {
	page(c, s.opts.Engine.Replays(), func(r bus.Replay) string { return r.ID }, replay)
}

// getReplay answers with one replay.
func (s *Server) getReplay(c *gin.Context) {
	r, err := s.opts.Engine.Replay(c.Param("replay"))
	answerReplay(c, r, err)
}

// cancelReplay ends a replay.
func (s *Server) cancelReplay(c *gin.Context) {
	r, err := s.opts.Engine.CancelReplay(c.Request.Context(), c.Param("replay"))
	answerReplay(c, r, err)
}

func answerReplay(c *gin.Context, r bus.Replay, err error) {
	if err != nil {
		fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, replay(r))
}

// SeekRequest says where a subscription is to go on from.
type SeekRequest struct {
	To json.RawMessage `json:"to" doc:"A sequence (number or digits), an RFC 3339 time, start or end."`
}

// SeekAnswer says what a seek did.
type SeekAnswer struct {
	Subscription string `json:"subscription"`
	To           uint64 `json:"to" doc:"The sequence that it goes on from."`
	Dropped      int64  `json:"dropped" doc:"Deliveries that it owed and that were dropped."`
	Replay       string `json:"replay,omitempty" doc:"The replay that queues the events from there on again; absent when there are none."`
	Note         string `json:"note,omitempty" doc:"That retention has removed where it was to go."`
}

// seek moves a subscription.
func (s *Server) seek(c *gin.Context) {
	var req SeekRequest
	if err := readRequest(c, &req); err != nil {
		fail(c, err)
		return
	}
	place, err := seekPlace(req.To)
	if err != nil {
		fail(c, err)
		return
	}
	name := c.Param("rule") + "/" + c.Param("target")
	if consumer := c.Query("consumer"); consumer != "" {
		name += "/" + consumer
	}
	r, err := s.opts.Engine.Seek(c.Request.Context(), name, place)
	if err != nil {
		fail(c, err)
		return
	}
	out := SeekAnswer{Subscription: r.Subscription, To: r.To, Dropped: r.Dropped, Replay: r.Replay}
	if r.Trimmed > 0 {
		out.Note = fmt.Sprintf("retention has removed what comes before sequence %d; it goes on from there", r.To)
	}
	c.PureJSON(http.StatusOK, out)
}

// seekPlace reads where a seek is to go.
func seekPlace(raw json.RawMessage) (place bus.SeekPlace, err error) {
	wrong := func(text string) error {
		return problem(http.StatusBadRequest, "invalid-parameter",
			`"to" is %s; give a sequence from 1 on, an RFC 3339 time, "start" or "end"`, text).with("/to", "not a place")
	}
	if !given(raw) {
		return place, wrong("missing")
	}
	text := strings.TrimSpace(string(raw))
	if text[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return place, err
		}
	}
	switch text {
	case "start":
		place.Start = true
		return place, nil
	case "end":
		place.End = true
		return place, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
		place.Sequence = n
		return place, nil
	}
	if place.Time, err = time.Parse(time.RFC3339Nano, text); err != nil || place.Time.IsZero() {
		return place, wrong(string(raw)[:min(len(raw), 100)])
	}
	return place, nil
}
