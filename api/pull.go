package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// What a receive asks for unless it says otherwise.
const (
	defaultReceive = 10
	defaultWait    = 20 * time.Second
)

// maxLeases bounds the leases of one request, maxReason the text of a nack.
const (
	maxLeases = 1000
	maxReason = 500
)

// consumerName is what consumers may be called: the rule for all names.
var consumerName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// ReceiveRequest asks for deliveries of a pull target.
type ReceiveRequest struct {
	Max      *int    `json:"max,omitempty" doc:"Deliveries at most: 10 by default, 1000 at most."`
	Wait     *string `json:"wait,omitempty" doc:"How long to wait for the first: 20s by default, 60s at most, 0s not at all."`
	Consumer string  `json:"consumer,omitempty" doc:"Who asks, for the attempt record; required if the target is a broadcast."`
}

// ReceiveAnswer has the deliveries, none if the wait was in vain.
type ReceiveAnswer struct {
	Deliveries []PullDelivery `json:"deliveries"`
	LeaseTime  string         `json:"leaseTime" doc:"How long the leases last from now on, unless they are extended."`
}

// PullDelivery is a delivery that a worker has until its lease ends.
type PullDelivery struct {
	Lease    string          `json:"lease" doc:"What ack, nack and extend take."`
	ID       string          `json:"id" doc:"The delivery's id, the same for every attempt."`
	Attempt  int             `json:"attempt" doc:"Number of this attempt, from 1."`
	Redriven bool            `json:"redriven,omitempty" doc:"It was a dead letter before."`
	Event    json.RawMessage `json:"event" doc:"The event, as the rule transforms it."`
}

// LeaseRequest names leases.
type LeaseRequest struct {
	Leases []string `json:"leases" doc:"1000 at most."`
}

// NackRequest names leases whose deliveries are to be tried again.
type NackRequest struct {
	Leases []string `json:"leases" doc:"1000 at most."`
	Delay  *string  `json:"delay,omitempty" doc:"How long until they are due again, 0s for at once; absent, the target's retry policy says."`
	Reason string   `json:"reason,omitempty" doc:"Shown with the attempt; 500 bytes at most."`
}

// LeaseAnswer says which leases were still valid.
type LeaseAnswer struct {
	Valid   []string `json:"valid" doc:"They were, and what was asked is done."`
	Invalid []string `json:"invalid" doc:"Expired, settled before, or none of this subscription: nothing was done."`
}

// receive leases deliveries to a worker.
func (s *Server) receive(c *gin.Context) {
	var req ReceiveRequest
	err := readRequest(c, &req)
	var r bus.Receive
	if err == nil {
		r, err = req.parse()
	}
	if err != nil {
		fail(c, err)
		return
	}
	r.Stop = s.stop
	got, err := s.opts.Engine.Receive(c.Request.Context(), c.Param("rule"), c.Param("target"), r)
	if err != nil {
		if c.Request.Context().Err() == nil {
			fail(c, err)
		}
		return // else nobody listens
	}
	out := ReceiveAnswer{Deliveries: make([]PullDelivery, len(got.Deliveries)), LeaseTime: component.Duration(got.Lease).String()}
	for i, d := range got.Deliveries {
		out.Deliveries[i] = PullDelivery{Lease: d.Lease, ID: d.ID, Attempt: d.Attempt, Redriven: d.Redriven, Event: event.AppendStructured(nil, d.Event)}
	}
	c.PureJSON(http.StatusOK, out)
}

// parse checks a ReceiveRequest.
func (req *ReceiveRequest) parse() (bus.Receive, error) {
	r := bus.Receive{Max: defaultReceive, Wait: defaultWait, Consumer: req.Consumer}
	if req.Max != nil {
		if r.Max = *req.Max; r.Max < 1 || r.Max > bus.MaxReceive {
			return r, problem(http.StatusBadRequest, "invalid-parameter", "max is %d; ask for 1 to %d deliveries", r.Max, bus.MaxReceive).with("/max", "out of range")
		}
	}
	if req.Wait != nil {
		wait, err := component.ParseDuration(*req.Wait)
		if r.Wait = wait.Std(); err != nil || r.Wait < 0 || r.Wait > bus.MaxReceiveWait {
			return r, problem(http.StatusBadRequest, "invalid-parameter", "wait=%q is not a length of time from 0s to %s", *req.Wait,
				component.Duration(bus.MaxReceiveWait)).with("/wait", "out of range")
		}
	}
	if req.Consumer != "" && !consumerName.MatchString(req.Consumer) {
		return r, problem(http.StatusBadRequest, "invalid-parameter", "%q cannot be a consumer's name: up to 63 of a-z, 0-9, _, . and -, "+
			"beginning with a letter or a digit", req.Consumer).with("/consumer", "not a name")
	}
	return r, nil
}

// ack settles leased deliveries.
func (s *Server) ack(c *gin.Context) {
	var req LeaseRequest
	s.settleLeases(c, &req, &req.Leases, func() (bus.Leases, error) {
		return s.opts.Engine.Ack(c.Request.Context(), c.Param("rule"), c.Param("target"), req.Leases)
	})
}

// nack gives leased deliveries back.
func (s *Server) nack(c *gin.Context) {
	var req NackRequest
	s.settleLeases(c, &req, &req.Leases, func() (bus.Leases, error) {
		n := bus.Nack{Reason: req.Reason}
		if len(n.Reason) > maxReason {
			return bus.Leases{}, problem(http.StatusBadRequest, "invalid-parameter", "the reason is longer than %d bytes; nothing was done", maxReason).with("/reason", "too long")
		}
		if req.Delay != nil {
			parsed, err := component.ParseDuration(*req.Delay)
			d := parsed.Std()
			if err != nil || d < 0 || d > bus.MaxDelay {
				return bus.Leases{}, problem(http.StatusBadRequest, "invalid-parameter",
					"delay=%q is not a length of time such as 30s, from 0s to 366d; nothing was done", *req.Delay).with("/delay", "out of range")
			}
			n.Delay = &d
		}
		return s.opts.Engine.Nack(c.Request.Context(), c.Param("rule"), c.Param("target"), req.Leases, n)
	})
}

// extend lets leases last longer.
func (s *Server) extend(c *gin.Context) {
	var req LeaseRequest
	s.settleLeases(c, &req, &req.Leases, func() (bus.Leases, error) {
		return s.opts.Engine.Extend(c.Request.Context(), c.Param("rule"), c.Param("target"), req.Leases)
	})
}

// settleLeases reads a request that names leases and answers what act did.
func (s *Server) settleLeases(c *gin.Context, req any, leases *[]string, act func() (bus.Leases, error)) {
	err := readRequest(c, req)
	var done bus.Leases
	switch {
	case err != nil:
	case *leases == nil:
		err = problem(http.StatusBadRequest, "invalid-parameter", `name the leases: {"leases": ["…"]}`).with("/leases", "required")
	case len(*leases) > maxLeases:
		err = problem(http.StatusBadRequest, "invalid-parameter", "there are %d leases; send at most %d in a request; nothing was done",
			len(*leases), maxLeases).with("/leases", "more than "+strconv.Itoa(maxLeases))
	default:
		done, err = act()
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, LeaseAnswer(done))
}

// removeConsumer removes a consumer of a broadcast.
func (s *Server) removeConsumer(c *gin.Context) {
	name := c.Query("consumer")
	err := readRequest(c, nil)
	if err == nil && name == "" {
		err = problem(http.StatusBadRequest, "invalid-parameter", "say which consumer of the broadcast: ?consumer=NAME; subscriptions go when their rule or target does")
	}
	if err == nil {
		err = s.opts.Engine.RemoveConsumer(c.Request.Context(), c.Param("rule"), c.Param("target"), name)
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.opts.Logger.Warn("a consumer was removed by request", "subscription", c.Param("rule")+"/"+c.Param("target")+"/"+name)
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}
