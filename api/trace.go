package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// TraceResponse is the timeline of one event.
type TraceResponse struct {
	Bus        string          `json:"bus"`
	Sequence   uint64          `json:"sequence"`
	ID         string          `json:"id" doc:"The event's id."`
	Source     string          `json:"source" doc:"The event's source."`
	Type       string          `json:"type" doc:"The event's type."`
	Received   time.Time       `json:"received" doc:"When it was recorded."`
	Via        string          `json:"via" doc:"Who brought it, in few words: http, transaction, source/NAME, subscription/RULE/TARGET (by a bus target), reply/RULE/TARGET, deadletter/RULE/TARGET or system."`
	Origin     EventOrigin     `json:"origin"`
	Routed     bool            `json:"routed" doc:"The rules have seen it."`
	Archived   bool            `json:"archived,omitempty" doc:"The event comes from the archive of its bus."`
	Forgotten  bool            `json:"forgotten,omitempty" doc:"The bus's own retention has passed the event, which is a row of a table, still owed, or archived without its timeline: that is gone, but for deliveries that are still owed."`
	Deliveries []DeliveryTrace `json:"deliveries" doc:"One for each subscription that it matched."`
	Failed     []FailedFilter  `json:"failedFilters,omitempty" doc:"Rules in force whose filter fails on this event, which therefore do not match; at most 100."`
	Rules      []TracedRule    `json:"rules,omitempty" doc:"With ?rules=true: the rules that matched, as they were."`
	Event      json.RawMessage `json:"event,omitempty" doc:"With ?transforms=true: the event as it is stored, before any transform."`
	Explained  []ExplainedRule `json:"explained,omitempty" doc:"What the rules that ?explain= asks for make of this event; at most 100."`
}

// EventOrigin says who brought an event, and how.
type EventOrigin struct {
	Kind        string      `json:"kind" doc:"http, transaction, source, bus (a target that publishes to a bus), reply, deadletter, system, or other (a program that embeds the engine)."`
	Principal   string      `json:"principal,omitempty" doc:"Who published: of http and transaction the address that the request came from, of a source its name."`
	Source      string      `json:"source,omitempty" doc:"The source's kind: webhook, cron, nats."`
	Rule        string      `json:"rule,omitempty" doc:"Of bus, reply and deadletter: the rule of the delivery that it was made of."`
	Target      string      `json:"target,omitempty" doc:"And its target."`
	Delivery    string      `json:"delivery,omitempty" doc:"And its id."`
	From        *EventPlace `json:"from,omitempty" doc:"And its event."`
	Accepted    *time.Time  `json:"accepted,omitempty" doc:"Of a scheduled event: when it was acknowledged."`
	Due         *time.Time  `json:"due,omitempty" doc:"Of a scheduled event: when it was to be recorded."`
	Transaction string      `json:"transaction,omitempty" doc:"The transaction that it was committed with."`
}

// EventPlace is the place of an event in a bus.
type EventPlace struct {
	Bus      string `json:"bus" doc:"Empty if the bus is gone."`
	Sequence uint64 `json:"sequence"`
}

// origin says who brought an event.
func (s *Server) origin(ctx context.Context, r store.Record) (EventOrigin, error) {
	e := s.opts.Engine
	o := bus.ParseOrigin(r.Via)
	out := EventOrigin{Kind: o.Kind, Principal: o.Principal, Source: o.SourceKind, Rule: o.Rule, Target: o.Target, Delivery: o.Delivery}
	if o.Source != "" {
		out.Principal = o.Source
	}
	if id, ok := e.From(o); ok {
		out.From = &EventPlace{e.BusName(id.Bus), id.Sequence}
	}
	receipt, err := e.Store().ReceiptOf(ctx, r.Bus, r.Sequence)
	if errors.Is(err, store.ErrTrimmed) || errors.Is(err, store.ErrNotFound) {
		return out, nil // since the record was read
	}
	if err != nil {
		return out, err
	}
	if out.Due = timePointer(receipt.Due); out.Due != nil {
		out.Accepted = timePointer(receipt.Accepted)
	}
	if receipt.Transaction != 0 {
		out.Transaction = bus.TransactionName(receipt.Transaction)
	}
	return out, nil
}

// ExplainedRule says why a rule matches an event or does not.
type ExplainedRule struct {
	Rule        string            `json:"rule"`
	Matched     bool              `json:"matched"`
	Explanation rules.Explanation `json:"explanation"`
}

// explained explains what the rules in force make of an event: one of them, or
// all of the bus (*).
func (s *Server) explained(busName, rule string, ev *event.Event) ([]ExplainedRule, error) {
	r, ok := s.opts.Engine.Rule(rule)
	names, plans := []string{rule}, map[string]bus.RulePlan{rule: r}
	if rule == "*" {
		names, plans = rulesOf(s.opts.Engine, busName)
		names = names[:min(len(names), failedMost)]
	} else if !ok || r.Bus != busName {
		return nil, problem(http.StatusNotFound, "not-found", "bus %q has no rule %q; ?explain=* explains all", busName, rule)
	}
	out := make([]ExplainedRule, len(names))
	for i, name := range names {
		x := plans[name].Matcher.Explainer()
		out[i] = ExplainedRule{name, x.Evaluate(ev).Matched, x.Explain(ev)}
	}
	return out, nil
}

// FailedFilter is a rule whose filter fails on an event.
type FailedFilter struct {
	Rule  string `json:"rule"`
	Error string `json:"error"`
}

// failedMost bounds the rules that a trace names or explains.
const failedMost = 100

// failedFilters evaluates the rules in force on an event, for those that fail.
func (s *Server) failedFilters(busName string, ev *event.Event) (out []FailedFilter) {
	names, plans := rulesOf(s.opts.Engine, busName)
	for _, name := range names {
		if res := plans[name].Matcher.Evaluate(ev); res.Error != "" {
			if out = append(out, FailedFilter{name, res.Error}); len(out) == failedMost {
				break
			}
		}
	}
	return out
}

// DeliveryTrace is what happened to one delivery.
type DeliveryTrace struct {
	ID     string `json:"id" doc:"The delivery's id."`
	Rule   string `json:"rule"`
	Target string `json:"target"`
	State  string `json:"state" doc:"queued, in flight, retrying, delivered, dead, expired, dropped (by a seek, a purge or the end of its replay, after an attempt), or unknown: of an archived event, if it had not ended when its timeline was archived."`

	RuleVersion uint64           `json:"ruleVersion,omitempty" doc:"The version of the rule that matched; absent if that is known no more."`
	RuleChanged bool             `json:"ruleChanged,omitempty" doc:"The rule has changed since, or was removed."`
	Replay      *TracedReplay    `json:"replay,omitempty" doc:"The replay or seek that queued it."`
	Transformed *TracedTransform `json:"transformed,omitempty" doc:"With ?transforms=true: what the rule makes of the event."`

	Queued   *time.Time     `json:"queued,omitempty" doc:"When the rule matched."`
	Settled  *time.Time     `json:"settled,omitempty" doc:"When it ended."`
	NextAt   *time.Time     `json:"nextAttempt,omitempty" doc:"When it is tried again."`
	Reason   string         `json:"reason,omitempty" doc:"Why it is a dead letter, or why one that is queued or retried waits: a breaker is open, of its target or of an endpoint that the rule asks, or one of them asked for a pause."`
	Attempts []AttemptTrace `json:"attempts"`
}

// AttemptTrace is one attempt.
type AttemptTrace struct {
	Number   int       `json:"number"`
	Trigger  string    `json:"trigger" doc:"first, retry, redrive or replay."`
	Started  time.Time `json:"started"`
	Duration string    `json:"duration"`
	Status   int       `json:"status,omitempty" doc:"The receiver's status code."`
	Error    string    `json:"error,omitempty"`
	Response string    `json:"response,omitempty" doc:"The start of the receiver's answer."`
	Address  string    `json:"address,omitempty" doc:"What was dialled; of a pull target, the consumer's name."`
	Waited   string    `json:"waited,omitempty" doc:"What kept it waiting: breaker (the circuit breaker of the target, or of an endpoint that the rule asks, was open), retry-after (one of them had asked for a pause), rate (the target's), order (one before it had to be settled first), concurrency (as many attempts as allowed were under way) or backoff (another try, by the schedule of retries)."`

	Phases          *AttemptPhases    `json:"phases,omitempty" doc:"How long its steps took; those that did not take place, as on a connection used before, are absent."`
	Class           string            `json:"class,omitempty" doc:"Of a failure: timeout, dns, connect, tls, reset, status (the answer is a failure), forbidden (the network rules refuse the address), transform, enrich, reply (the reply was not published), nack, lease (it ended), internal or other."`
	RequestHeaders  map[string]string `json:"requestHeaders,omitempty" doc:"Of a failure: the headers that were sent, without secrets."`
	ResponseHeaders map[string]string `json:"responseHeaders,omitempty" doc:"Of a failure: the headers of the answer."`
	NextAt          *time.Time        `json:"nextAttempt,omitempty" doc:"Of a failure that is tried again: when."`
	Died            *time.Time        `json:"died,omitempty" doc:"Of a failure after which the delivery was given up: when it became a dead letter. An attempt that follows is one of the redriven delivery."`
	DiedOf          string            `json:"diedOf,omitempty" doc:"Why it became a dead letter then."`
	ReplyDropped    string            `json:"replyDropped,omitempty" doc:"Why an event that the receiver replied with was not published to the target's replyTo."`

	Published *EventPlace `json:"published,omitempty" doc:"The event that was published of it: to the bus that is the target, or the reply."`

	RuleVersion uint64 `json:"ruleVersion,omitempty" doc:"The version of the rule that transformed the event for it, if that is not the one that matched."`
}

// trace answers with the timeline of one event.
func (s *Server) trace(c *gin.Context) {
	r, ok := s.record(c)
	if !ok {
		return
	}
	t, err := s.traced(c, r)
	if err != nil {
		fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, t)
}

// traced is the timeline of an event as a request asks for it.
func (s *Server) traced(c *gin.Context, r store.Record) (out TraceResponse, err error) {
	asked := map[string]bool{}
	for _, name := range []string{"rules", "transforms"} {
		if asked[name], err = boolOf(c, name); err != nil {
			return out, err
		}
	}
	e, ctx := s.opts.Engine, c.Request.Context()
	deliveries, err := e.Store().TraceOf(ctx, r.Bus, r.Sequence)
	if err != nil {
		return out, err
	}
	out = TraceResponse{
		Bus: c.Param("bus"), Sequence: r.Sequence, ID: r.Event.ID(), Source: r.Event.Source(), Type: r.Event.Type(),
		Received: r.Recorded.UTC(), Via: bus.ParseOrigin(r.Via).Via(), Routed: e.Store().Position(r.Bus) >= r.Sequence || len(deliveries) > 0,
		Deliveries: make([]DeliveryTrace, 0, len(deliveries)),
	}
	if out.Archived, out.Forgotten, err = s.kept(ctx, r); err != nil {
		return out, err
	}
	if out.Origin, err = s.origin(ctx, r); err != nil {
		return out, err
	}
	past := tracedRules{e: e, bus: out.Bus, histories: map[string]bus.RuleHistory{}}
	left := transformedMost
	for _, d := range deliveries {
		t, v, err := s.delivery(ctx, &past, d)
		if err != nil {
			return out, err
		}
		if asked["transforms"] {
			t.Transformed = past.transformed(&t, d, v, r, &left)
		}
		out.Deliveries = append(out.Deliveries, t)
	}
	slices.SortStableFunc(out.Deliveries, func(a, b DeliveryTrace) int { // replays of one stay in their order
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Target, b.Target))
	})
	if asked["rules"] {
		out.Rules = past.seen
	}
	if asked["transforms"] {
		out.Event = event.AppendStructured(nil, r.Event)
	}
	out.Failed = s.failedFilters(out.Bus, r.Event)
	if rule := c.Query("explain"); rule != "" {
		out.Explained, err = s.explained(out.Bus, rule, r.Event)
	}
	return out, err
}

// kept says whether an event comes from an archive, and whether its timeline is
// gone.
func (s *Server) kept(ctx context.Context, r store.Record) (archived, forgotten bool, err error) {
	if a := s.opts.Archive; a != nil {
		return !a.Local(ctx, r.Bus, r.Sequence), !a.Remembered(ctx, r.Bus, r.Sequence), nil
	}
	b, err := s.opts.Engine.Store().Bounds(r.Bus)
	return false, r.Sequence < b.History, err
}

// delivery shows what happened to one delivery. at is the version of its rule that
// its latest attempt was made under, or would be.
func (s *Server) delivery(ctx context.Context, past *tracedRules, d store.DeliveryTrace) (t DeliveryTrace, at uint64, err error) {
	e := s.opts.Engine
	t = DeliveryTrace{
		ID: e.DeliveryID(d.ID), State: d.State, Reason: d.Reason, Attempts: s.attempts(d.Attempts),
		Queued: timePointer(d.Queued), Settled: timePointer(d.Settled), NextAt: timePointer(d.NextAt),
	}
	t.Rule, t.Target = bus.SplitSubscription(d.Subscription)
	if d.State == "queued" || d.State == "retrying" {
		t.Reason = e.Waiting(t.Rule, t.Target)
	}
	if d.ID.Run != 0 {
		r := e.ReplayOf(d.ID.Run)
		t.Replay = &TracedReplay{ID: r.ID, Name: r.Name, Seek: r.Seek != ""}
	}
	h, err := past.history(ctx, t.Rule)
	if err != nil {
		return t, 0, err
	}
	if v, ok := h.Matched(past.bus, d.ID, d.Queued); ok {
		t.RuleVersion, t.RuleChanged = v.Version, v.Version != e.RuleVersion(t.Rule)
		past.see(t.Rule, v)
	}
	at = e.RuleVersion(t.Rule)
	for i := range d.Attempts {
		at = 0
		if v, ok := h.At(d.Attempts[i].Started); ok {
			if at = v.Version; at != t.RuleVersion {
				t.Attempts[i].RuleVersion = at
			}
		}
	}
	return t, at, nil
}

// attempts shows attempt records.
func (s *Server) attempts(in []store.Attempt) []AttemptTrace {
	out := make([]AttemptTrace, len(in))
	for i := range in {
		out[i] = s.attempt(&in[i])
	}
	return out
}

// attempt shows one attempt record.
func (s *Server) attempt(a *store.Attempt) AttemptTrace {
	out := AttemptTrace{Number: a.Number, Trigger: a.Trigger.String(), Started: a.Started.UTC(),
		Duration: a.Duration.Round(time.Microsecond).String(), Status: a.Status, Error: a.Error, Response: a.Response,
		Address: a.Address, Waited: a.Waited.String(), Phases: phases(a.Phases), ReplyDropped: a.ReplyDropped}
	if f := a.Failure; f != nil {
		out.Class, out.NextAt = f.Class, timePointer(f.NextAt)
		out.Died, out.DiedOf = timePointer(f.Died), f.Reason
		out.RequestHeaders, out.ResponseHeaders = headerMap(f.Request), headerMap(f.Answer)
	}
	if p := a.Published; p.Sequence > 0 {
		out.Published = &EventPlace{s.opts.Engine.BusName(p.Bus), p.Sequence}
	}
	return out
}

// shortDuration is a duration to the microsecond, "" for none.
func shortDuration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return max(d.Round(time.Microsecond), time.Microsecond).String()
}

// timePointer is nil for the zero time.
func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
