package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// transformedMost bounds the bytes of transformed events in one trace.
const transformedMost = 1 << 20

// TracedRule is a rule that matched, as it was.
type TracedRule struct {
	Rule       string          `json:"rule"`
	Version    uint64          `json:"version"`
	Since      time.Time       `json:"since" doc:"When this version came into force."`
	Current    bool            `json:"current" doc:"It is in force."`
	Definition json.RawMessage `json:"definition" doc:"The rule as it was written, secrets left out."`
}

// TracedReplay is what queued a delivery again.
type TracedReplay struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty" doc:"Its name; absent once it is forgotten."`
	Seek bool   `json:"seek,omitempty" doc:"It is of a seek."`
}

// TracedTransform is what a rule's transform makes of an event, made anew for
// the trace.
type TracedTransform struct {
	Event json.RawMessage `json:"event,omitempty" doc:"The event after the transform."`
	Error string          `json:"error,omitempty" doc:"Why the transform fails."`
	Note  string          `json:"note,omitempty" doc:"Why there is no event, or what else to know."`
}

// tracedRules are the rules of one trace as they are and were.
type tracedRules struct {
	e         *bus.Engine
	bus       string
	histories map[string]bus.RuleHistory
	seen      []TracedRule
}

func (p *tracedRules) history(ctx context.Context, rule string) (bus.RuleHistory, error) {
	h, ok := p.histories[rule]
	if ok || rule == "" {
		return h, nil
	}
	h, err := p.e.RuleVersions(ctx, rule)
	p.histories[rule] = h
	return h, err
}

// see notes a version that matched.
func (p *tracedRules) see(rule string, v bus.RuleVersion) {
	if !slices.ContainsFunc(p.seen, func(r TracedRule) bool { return r.Rule == rule && r.Version == v.Version }) {
		p.seen = append(p.seen, TracedRule{rule, v.Version, v.Since, v.Version == p.e.RuleVersion(rule), v.Definition})
	}
}

// transformed makes the event of a delivery that was made under version at of its
// rule again, if the rule is as it was; left is how many bytes may be shown.
func (p *tracedRules) transformed(t *DeliveryTrace, d store.DeliveryTrace, at uint64, r store.Record, left *int) *TracedTransform {
	note := func(format string, args ...any) *TracedTransform {
		return &TracedTransform{Note: fmt.Sprintf(format, args...)}
	}
	rule, ok := p.e.Rule(t.Rule)
	present := p.e.RuleVersion(t.Rule)
	switch {
	case !ok || rule.Bus != p.bus:
		return note("the rule is gone, or of another bus")
	case present != at && at != 0:
		return note("the rule has changed since: it was version %d, and is version %d", at, present)
	case present != at:
		return note("the rule has changed since, and what it was is not known any more")
	case rule.Enrich != nil:
		return note("the transform depends on what enrichments answered, which is not kept")
	}
	out := &TracedTransform{}
	switch {
	case present == 0:
		out.Note = "versions of the rule are not kept; this is what it makes of the event now"
	case len(d.Attempts) == 0:
		out.Note = "there was no attempt; this is what the rule makes of the event now"
	case rule.Transform == nil:
		out.Note = "the rule has no transform"
	}
	ev, err := p.e.Transformed(t.Rule, d.ID.Run, r)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	text := event.AppendStructured(nil, ev)
	if *left -= len(text); *left < 0 {
		return note("it has %d bytes, and a trace shows %d of all deliveries together", len(text), transformedMost)
	}
	out.Event = text
	return out
}

// RuleVersion is a rule as it was from a time on.
type RuleVersion struct {
	Version    uint64          `json:"version" doc:"From 1, as traces name it."`
	Since      time.Time       `json:"since" doc:"When it came into force."`
	Current    bool            `json:"current" doc:"It is in force."`
	Removed    bool            `json:"removed,omitempty" doc:"The rule was removed then."`
	Bus        string          `json:"bus,omitempty"`
	After      uint64          `json:"after" doc:"It matched the events of the bus above this sequence, up to the next version."`
	Definition json.RawMessage `json:"definition,omitempty" doc:"The rule as it was written, secrets left out."`
}

// ruleVersions lists what a rule was, newest first.
func (s *Server) ruleVersions(c *gin.Context) {
	name := c.Param("rule")
	h, err := s.opts.Engine.RuleVersions(c.Request.Context(), name)
	if err == nil && len(h) == 0 {
		err = problem(http.StatusNotFound, "not-found", "no rule %q is known, nor that there was one", name)
	}
	if err != nil {
		fail(c, err)
		return
	}
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	below := ^uint64(0)
	if after := c.Query("after"); after != "" {
		if below, err = strconv.ParseUint(after, 10, 64); err != nil {
			fail(c, cursorProblem(c, store.ErrNotFound))
			return
		}
	}
	present := s.opts.Engine.RuleVersion(name)
	out := List[RuleVersion]{Items: []RuleVersion{}}
	for _, v := range slices.Backward(h) {
		if v.Version >= below {
			continue
		}
		if len(out.Items) == limit {
			out.Next = strconv.FormatUint(out.Items[limit-1].Version, 10)
			break
		}
		out.Items = append(out.Items, RuleVersion{v.Version, v.Since, v.Version == present, v.Removed, v.Bus, v.After, v.Definition})
	}
	c.PureJSON(http.StatusOK, out)
}

// boolOf reads a query parameter that is true or false, which it is without it.
func boolOf(c *gin.Context, name string) (bool, error) {
	switch text := cmp.Or(c.Query(name), "false"); text {
	case "true", "false":
		return text == "true", nil
	default:
		return false, problem(http.StatusBadRequest, "invalid-parameter", "%s=%q is neither true nor false", name, text)
	}
}
