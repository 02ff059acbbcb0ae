package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

const (
	// dryRunsMost is how many dry runs there are at the same time.
	dryRunsMost = 2
	// defaultDryRun is how long one takes at most.
	defaultDryRun = 10 * time.Second
	// Samples of a dry run, of each kind.
	defaultSamples = 10
	maxSamples     = 100
)

// RuleHistory is what a rule or a filter makes of stored events.
type RuleHistory struct {
	Scanned         uint64           `json:"scanned" doc:"Events that were looked at."`
	Matched         uint64           `json:"matched" doc:"Those that the filter matches."`
	Failed          uint64           `json:"failed" doc:"Those on which the filter fails; they do not match."`
	TransformFailed uint64           `json:"transformFailed" doc:"Those that match, and on which the transform fails."`
	From            uint64           `json:"from" doc:"The sequence of the first event that was looked at; 0 without one."`
	To              uint64           `json:"to" doc:"The sequence of the last."`
	Note            string           `json:"note,omitempty" doc:"What was not done, and why."`
	Complete        bool             `json:"complete" doc:"All events that were asked for were looked at."`
	Next            uint64           `json:"next,omitempty" doc:"Where to go on from when it is not complete."`
	Matches         []HistoryMatch   `json:"matches" doc:"The last events that match, the newest first."`
	NearMisses      []HistoryMiss    `json:"nearMisses" doc:"Events that do not match by the fewest conditions, of those the newest first."`
	Failures        []HistoryFailure `json:"failures" doc:"The last events on which the filter or the transform fails, the newest first."`
}

// HistoryMatch is a stored event that matches.
type HistoryMatch struct {
	Sequence uint64          `json:"sequence"`
	Event    json.RawMessage `json:"event" doc:"As it would be delivered."`
}

// HistoryMiss is a stored event that nearly matches.
type HistoryMiss struct {
	Sequence    uint64            `json:"sequence"`
	Misses      int               `json:"misses" doc:"How many conditions would have to say something else."`
	Explanation rules.Explanation `json:"explanation"`
}

// HistoryFailure is a stored event on which the filter or the transform fails.
type HistoryFailure struct {
	Sequence    uint64             `json:"sequence"`
	Stage       string             `json:"stage" doc:"filter or transform."`
	Error       string             `json:"error"`
	Explanation *rules.Explanation `json:"explanation,omitempty" doc:"Of a filter."`
}

// HistoryProgress is how far a dry run is.
type HistoryProgress struct {
	Scanned         uint64 `json:"scanned"`
	Matched         uint64 `json:"matched"`
	Failed          uint64 `json:"failed"`
	TransformFailed uint64 `json:"transformFailed"`
	At              uint64 `json:"at" doc:"The sequence of the event that was looked at last."`
	Last            uint64 `json:"last" doc:"The sequence that it ends with."`
}

// testHistory answers for stored events: once with the result or, for a client
// that accepts server-sent events, with progress before that.
func (s *Server) testHistory(c *gin.Context, req *RuleTest) error {
	q, empty, err := s.dryRun(c, req)
	if err == nil {
		err = noPaging(c)
	}
	if err != nil {
		return err
	}
	note := withoutAnswers(&q)
	return s.answerLong(c, s.dryRuns, "dry runs", func(ctx context.Context, tell func(progress any)) (any, error) {
		if tell != nil {
			q.Progress = func(r *bus.DryRunResult) {
				tell(HistoryProgress{r.Scanned, r.Matched, r.Failed, r.TransformFailed, r.To, r.Last})
			}
		}
		if empty {
			return historyOf(&bus.DryRunResult{}, note), nil
		}
		found, err := s.opts.Engine.DryRun(ctx, q)
		if err != nil {
			return nil, err
		}
		return historyOf(found, note), nil
	})
}

// withoutAnswers leaves a transform out that needs answers which the request does
// not give, and says so.
func withoutAnswers(q *bus.DryRun) string {
	if q.Transform == nil {
		return ""
	}
	lacks := q.Transform.Lacks(q.Enriched)
	if len(lacks) == 0 {
		return ""
	}
	q.Transform = nil
	return fmt.Sprintf("the transform was left out, and events are shown as they were published: it reads enriched.%s, "+
		`and nothing is called here; give the answers in "enriched"`, strings.Join(lacks, ", enriched."))
}

// dryRun reads what a request asks for; empty says that no event can be meant.
func (s *Server) dryRun(c *gin.Context, req *RuleTest) (q bus.DryRun, empty bool, err error) {
	if given(req.Event) {
		return q, false, problem(http.StatusBadRequest, "invalid-parameter", `"event" goes without "from" and "to", which ask for stored events`).with("/event", "not with from or to")
	}
	var in transform.Context
	if q.Matcher, q.Transform, in, err = s.ruleUnderTest(req); err != nil {
		return q, false, err
	}
	q.Bus, q.Rule, q.Enriched = req.Bus, in.Rule, in.Enriched
	switch {
	case req.Rule != "" && req.Bus != "":
		return q, false, problem(http.StatusBadRequest, "invalid-parameter", `"bus" goes with "filter"; a rule has its own`).with("/bus", "not with rule")
	case req.Rule != "":
		q.Bus = in.Bus
	case req.Bus == "":
		return q, false, problem(http.StatusBadRequest, "invalid-parameter", `name the bus whose events are meant`).with("/bus", "missing")
	}
	id, err := s.opts.Engine.BusID(q.Bus)
	if err != nil {
		return q, false, problem(http.StatusNotFound, "not-found", "there is no bus %q", q.Bus).with("/bus", "there is no such bus")
	}
	q.Samples, q.Limit, q.Budget = defaultSamples, req.Limit, s.opts.DryRunBudget
	if req.Samples != nil {
		q.Samples = *req.Samples
	}
	if q.Samples < 0 || q.Samples > maxSamples {
		return q, false, problem(http.StatusBadRequest, "invalid-parameter", "samples is %d, which is not from 0 to %d", q.Samples, maxSamples).with("/samples", "out of range")
	}
	if q.Limit < 0 {
		return q, false, problem(http.StatusBadRequest, "invalid-parameter", "limit is %d; it is how many events are looked at, at most", q.Limit).with("/limit", "out of range")
	}
	q.From, q.To, empty, err = s.rangeIn(c.Request.Context(), id, req.From, req.To)
	return q, empty, err
}

// rangeIn reads the fields from and to of a request, 0 being the first and the
// last event; empty says that no event is in that range.
func (s *Server) rangeIn(ctx context.Context, id store.BusID, first, last json.RawMessage) (from, to uint64, empty bool, err error) {
	if given(first) {
		if from, err = s.placeIn(ctx, id, "from", first, false); err != nil {
			return 0, 0, false, err
		}
	}
	if given(last) {
		if to, err = s.placeIn(ctx, id, "to", last, true); err != nil {
			return 0, 0, false, err
		}
		empty = to == 0
	}
	return from, to, empty, nil
}

// placeIn reads a field that is a sequence (number or digits) or an RFC 3339
// time.
func (s *Server) placeIn(ctx context.Context, id store.BusID, name string, raw json.RawMessage, upper bool) (uint64, error) {
	text := string(raw)
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, err
		}
	}
	seq, err := s.placeOf(ctx, id, name, text, upper)
	var wrong *Problem
	if errors.As(err, &wrong) {
		err = wrong.with("/"+name, "neither a sequence nor a time")
	}
	return seq, err
}

// given reports whether a request has a value that is not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

// acceptsStream reports whether a client asks for server-sent events.
func acceptsStream(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
			return true
		}
	}
	return false
}

// historyOf is a result as it is answered.
func historyOf(r *bus.DryRunResult, note string) RuleHistory {
	out := RuleHistory{
		Note:    note,
		Scanned: r.Scanned, Matched: r.Matched, Failed: r.Failed, TransformFailed: r.TransformFailed,
		From: r.From, To: r.To, Complete: r.Next == 0, Next: r.Next,
		Matches: []HistoryMatch{}, NearMisses: []HistoryMiss{}, Failures: []HistoryFailure{},
	}
	for _, m := range r.Matches {
		out.Matches = append(out.Matches, HistoryMatch{m.Sequence, event.AppendStructured(nil, m.Event)})
	}
	for _, m := range r.NearMisses {
		out.NearMisses = append(out.NearMisses, HistoryMiss(m))
	}
	for _, f := range r.Failures {
		stage := "filter"
		if f.Transform {
			stage = "transform"
		}
		out.Failures = append(out.Failures, HistoryFailure{f.Sequence, stage, f.Error, f.Explanation})
	}
	return out
}

// beginStream starts an answer of server-sent events.
func beginStream(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Status(http.StatusOK)
	c.Writer.Flush()
}

// sendEvent sends a server-sent event.
func sendEvent(c *gin.Context, name string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintf(&b, "{\"detail\":%q}", err.Error())
	}
	line := append(append([]byte("event: "+name+"\ndata: "), appendOneLine(nil, b.Bytes())...), "\n\n"...)
	_, _ = c.Writer.Write(line)
	c.Writer.Flush()
}
