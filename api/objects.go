package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/configs"
)

// maxObject bounds the size of one configuration object, in bytes.
const maxObject = 1 << 20

// render is the JSON of an object with its name, origin and state.
func (o Object) render() json.RawMessage {
	head := struct {
		Name     string    `json:"name"`
		Origin   string    `json:"origin"`
		Status   any       `json:"status,omitempty"`
		Warnings []Warning `json:"warnings,omitempty"`
	}{o.Name, o.Origin, o.Status, o.Warnings}
	out, err := json.Marshal(head)
	if err != nil {
		out = []byte(`{}`)
	}
	body := bytes.TrimSpace(o.JSON)
	if len(body) > 2 && body[0] == '{' {
		out = append(append(out[:len(out)-1], ','), body[1:]...)
	}
	return out
}

// listObjects lists the objects of a kind.
func (s *Server) listObjects(kind string) gin.HandlerFunc {
	return func(c *gin.Context) {
		all, err := s.opts.Objects.List(kind)
		if err != nil {
			fail(c, err)
			return
		}
		page(c, all, func(o Object) string { return o.Name }, Object.render)
	}
}

// getObject answers with one object.
func (s *Server) getObject(kind string) gin.HandlerFunc {
	return func(c *gin.Context) {
		o, err := s.opts.Objects.Get(kind, c.Param(Singular(kind)))
		if err != nil {
			fail(c, objectProblem(err, kind, c.Param(Singular(kind))))
			return
		}
		c.Header("ETag", `"`+o.ETag+`"`)
		c.Data(http.StatusOK, "application/json; charset=utf-8", append(o.render(), '\n'))
	}
}

// putObject creates or replaces one object.
func (s *Server) putObject(kind string) gin.HandlerFunc {
	return func(c *gin.Context) {
		cond, err := conditionOf(c)
		if err == nil {
			err = needJSON(c)
		}
		if err != nil {
			fail(c, err)
			return
		}
		buf, err := readBody(c.Request, maxObject)
		if err != nil {
			fail(c, err)
			return
		}
		defer releaseBody(buf)
		body, err := stripRendered(buf.Bytes(), c.Param(Singular(kind)))
		if err != nil {
			fail(c, err)
			return
		}
		o, created, err := s.opts.Objects.Put(c.Request.Context(), kind, c.Param(Singular(kind)), body, cond)
		if err != nil {
			fail(c, objectProblem(err, kind, c.Param(Singular(kind))))
			return
		}
		status := http.StatusOK
		if created {
			status = http.StatusCreated
		}
		c.Header("ETag", `"`+o.ETag+`"`)
		c.Data(status, "application/json; charset=utf-8", append(o.render(), '\n'))
	}
}

// deleteObject removes one object.
func (s *Server) deleteObject(kind string) gin.HandlerFunc {
	return func(c *gin.Context) {
		var orphaned []Orphan
		cond, err := conditionOf(c)
		if err == nil {
			orphaned, err = s.opts.Objects.Delete(c.Request.Context(), kind, c.Param(Singular(kind)), cond)
		}
		switch {
		case err != nil:
			fail(c, objectProblem(err, kind, c.Param(Singular(kind))))
		case len(orphaned) > 0:
			c.PureJSON(http.StatusOK, Deletion{Orphaned: orphaned})
		default:
			c.Status(http.StatusNoContent)
		}
	}
}

// Deletion answers a DELETE of a rule that still owes something.
type Deletion struct {
	Orphaned []Orphan `json:"orphaned,omitempty" doc:"The subscriptions that have lost their rule."`
}

// Orphan is a subscription that has lost its rule. What it owes is not delivered
// but kept, until the name returns or it is purged.
type Orphan struct {
	Subscription string `json:"subscription" doc:"RULE/TARGET."`
	Deliveries   int64  `json:"deliveries" doc:"What it owes; attempts under way may still settle some."`
	DeadLetters  int64  `json:"deadLetters"`
}

// stripRendered takes off what render added, so that what was read can be sent
// back changed.
func stripRendered(body []byte, name string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, badJSON(body, err, nil)
	}
	if raw, ok := fields["name"]; ok {
		var given string
		if json.Unmarshal(raw, &given) != nil || given != name {
			return nil, problem(http.StatusBadRequest, "invalid-object", "the name in the body is not the one in the path, %q", name).with("/name", "differs from the path")
		}
	}
	before := len(fields)
	for _, added := range []string{"name", "origin", "status", "warnings"} {
		delete(fields, added)
	}
	if len(fields) == before {
		return body, nil
	}
	return json.Marshal(fields)
}

// conditionOf reads If-Match and If-None-Match.
func conditionOf(c *gin.Context) (Condition, error) {
	var cond Condition
	switch match := c.GetHeader("If-Match"); {
	case match == "":
	case match == "*":
		cond.Exists = true
	case len(match) > 2 && match[0] == '"' && match[len(match)-1] == '"':
		cond.ETag = match[1 : len(match)-1]
	default:
		return cond, problem(http.StatusBadRequest, "invalid-header", "If-Match %q is neither a quoted entity tag nor *", match)
	}
	if none := c.GetHeader("If-None-Match"); none == "*" {
		cond.Absent = true
	} else if none != "" {
		return cond, problem(http.StatusBadRequest, "invalid-header", "If-None-Match takes only * here")
	}
	return cond, nil
}

// needJSON refuses a request whose content type is not JSON, which a page of
// another site could send without asking.
func needJSON(c *gin.Context) error {
	t, _, _ := strings.Cut(c.GetHeader("Content-Type"), ";")
	t = strings.ToLower(strings.TrimSpace(t))
	if t == "application/json" || strings.HasSuffix(t, "+json") {
		return nil
	}
	return problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "send Content-Type: application/json, not %q", c.GetHeader("Content-Type"))
}

// objectProblem finds the problem that fits an error of Objects.
func objectProblem(err error, kind, name string) error {
	kind = Singular(kind)
	var conflict *ConflictError
	var invalid *InvalidError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "not-found", "there is no %s %q", kind, name)
	case errors.Is(err, ErrExists):
		return problem(http.StatusPreconditionFailed, "precondition-failed", "%s %q exists already, and If-None-Match: * asks for a new one; nothing was changed", kind, name)
	case errors.Is(err, ErrPrecondition):
		return problem(http.StatusPreconditionFailed, "precondition-failed", "%s %q: %v", kind, name, ErrPrecondition)
	case errors.As(err, &conflict):
		return problem(http.StatusConflict, "conflict", "%s", conflict.Reason)
	case errors.As(err, &invalid):
		p := problem(http.StatusUnprocessableEntity, "invalid-object", "%s %q cannot be used; nothing was changed", kind, name)
		for _, d := range invalid.Diagnostics.Errors() {
			p.Errors = append(p.Errors, ProblemField{Pointer: d.Pointer(), Line: d.Line, Column: d.Column, Detail: d.Message})
		}
		if len(p.Errors) > 0 {
			p.Detail = fmt.Sprintf("%s %q: %s; nothing was changed", kind, name, p.Errors[0].Detail)
		}
		return p
	}
	return err
}

// Singular is what one object of a kind is called.
func Singular(kind string) string {
	if kind == configs.Buses {
		return "bus"
	}
	return strings.TrimSuffix(kind, "s")
}
