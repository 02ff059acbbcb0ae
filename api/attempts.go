package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// RecentAttempt is an attempt with the delivery that it was made at.
type RecentAttempt struct {
	Delivery string `json:"delivery" doc:"The delivery's id."`
	Bus      string `json:"bus"`
	Sequence uint64 `json:"sequence" doc:"The event's place in its bus."`
	AttemptTrace
}

// listAttempts lists recent attempts of a subscription.
func (s *Server) listAttempts(c *gin.Context) {
	info, ok := s.namedSubscription(c)
	if !ok {
		return
	}
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	match, err := attemptFilter(c.Query("status"))
	if err != nil {
		fail(c, err)
		return
	}
	e := s.opts.Engine
	found, next, err := e.Store().RecentAttempts(c.Request.Context(), info.ID, store.AttemptQuery{After: c.Query("after"), Limit: limit, Match: match})
	if err != nil {
		fail(c, cursorProblem(c, err))
		return
	}
	out := List[RecentAttempt]{Items: make([]RecentAttempt, len(found)), Next: next}
	for i := range found {
		f := &found[i]
		out.Items[i] = RecentAttempt{e.DeliveryID(f.ID), e.BusName(f.ID.Bus), f.ID.Sequence, s.attempt(&f.Attempt)}
	}
	c.PureJSON(http.StatusOK, out)
}

// attemptFilter is what ?status= asks for: ok, failed, a status code such as
// 503, a range such as 5xx, or a class of failures. nil is all.
func attemptFilter(status string) (func(*store.Attempt) bool, error) {
	switch status {
	case "":
		return nil, nil
	case "ok":
		return func(a *store.Attempt) bool { return a.Error == "" }, nil
	case "failed":
		return func(a *store.Attempt) bool { return a.Error != "" }, nil
	}
	if n, err := strconv.Atoi(status); err == nil && n >= 100 && n <= 599 {
		return func(a *store.Attempt) bool { return a.Status == n }, nil
	}
	if len(status) == 3 && status[0] >= '1' && status[0] <= '5' && strings.EqualFold(status[1:], "xx") {
		return func(a *store.Attempt) bool { return a.Status/100 == int(status[0]-'0') }, nil
	}
	names := bus.FailureClasses()
	if slices.Contains(names, status) {
		return func(a *store.Attempt) bool { return a.Failure != nil && a.Failure.Class == status }, nil
	}
	return nil, problem(http.StatusBadRequest, "invalid-parameter",
		"status=%q is not one of ok, failed, a status code such as 503, a range such as 5xx, or a class of failures: %s", status, strings.Join(names, ", "))
}

// AttemptPhases is how long the steps of an attempt took.
type AttemptPhases struct {
	DNS       string `json:"dns,omitempty" doc:"Looking the host's name up."`
	Connect   string `json:"connect,omitempty" doc:"Making the connection."`
	TLS       string `json:"tls,omitempty" doc:"Its TLS handshake."`
	FirstByte string `json:"firstByte,omitempty" doc:"From the start of the request to the first byte of the answer."`
}

// phases shows phases, nil if none is known.
func phases(p store.Phases) *AttemptPhases {
	if p == (store.Phases{}) {
		return nil
	}
	return &AttemptPhases{shortDuration(p.DNS), shortDuration(p.Connect), shortDuration(p.TLS), shortDuration(p.FirstByte)}
}

// headerMap makes of the lines of a record what is shown: values by name,
// several of one name joined.
func headerMap(text string) map[string]string {
	if text == "" {
		return nil
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			continue // the mark of what was left out
		}
		if before, more := out[name]; more {
			value = before + ", " + value
		}
		out[name] = value
	}
	return out
}
