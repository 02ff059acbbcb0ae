package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/configs"
)

// maxApply bounds the size of what is applied at once, in bytes.
const maxApply = 16 << 20

// ApplyRequest is what POST /v1/apply takes: objects by kind and name, as the
// sections of a configuration file have them.
type ApplyRequest struct {
	Buses   map[string]json.RawMessage `json:"buses,omitempty" doc:"Buses by name."`
	Targets map[string]json.RawMessage `json:"targets,omitempty" doc:"Targets by name."`
	Sources map[string]json.RawMessage `json:"sources,omitempty" doc:"Sources by name."`
	Rules   map[string]json.RawMessage `json:"rules,omitempty" doc:"Rules by name."`
}

// Named is one configuration object that was sent.
type Named struct {
	Kind, Name string
	Body       json.RawMessage
}

// What applying an object did, or would do.
const (
	Created   = "created"
	Changed   = "changed"
	Unchanged = "unchanged"
)

// Applied is what became of one object.
type Applied struct {
	Kind     string    `json:"kind" doc:"bus, target, source or rule."`
	Name     string    `json:"name" doc:"Its name."`
	Result   string    `json:"result" doc:"created, changed or unchanged."`
	Changes  []Change  `json:"changes,omitempty" doc:"The settings that are others than before, of one that was changed."`
	Warnings []Warning `json:"warnings,omitempty" doc:"What is likely wrong with it."`
}

// Change is one setting of an object that is another than before.
type Change struct {
	Setting string          `json:"setting" doc:"Its key at the top of the object."`
	Before  json.RawMessage `json:"before,omitempty" doc:"What it was, secrets redacted; absent if it was not there."`
	After   json.RawMessage `json:"after,omitempty" doc:"What it is, secrets redacted; absent if it was taken out."`
}

// ApplyAnswer answers POST /v1/apply.
type ApplyAnswer struct {
	DryRun  bool      `json:"dryRun,omitempty" doc:"Nothing was changed: it was only asked what would be."`
	Objects []Applied `json:"objects" doc:"What became of each, in the order buses, targets, sources, rules, and by name."`
}

// ApplyError says what is wrong with the objects that were to be applied.
type ApplyError struct{ Fields []ProblemField }

// Error implements error.
func (e *ApplyError) Error() string {
	lines := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		lines[i] = f.Pointer + ": " + f.Detail
	}
	return strings.Join(lines, "\n")
}

// Fault is a field at fault in an object that was to be applied; pointer leads
// from the object to it.
func (n Named) Fault(pointer, detail string) ProblemField {
	return ProblemField{Pointer: "/" + n.Kind + "/" + pointerToken(n.Name) + pointer, Detail: detail}
}

// apply creates and replaces objects, all or none.
func (s *Server) apply(c *gin.Context) {
	dry, err := strconv.ParseBool(c.DefaultQuery("dryRun", "false"))
	if err != nil {
		fail(c, problem(http.StatusBadRequest, "invalid-parameter", "dryRun=%q is neither true nor false", c.Query("dryRun")))
		return
	}
	var req ApplyRequest
	if err := readLarge(c, &req, maxApply); err != nil {
		fail(c, err)
		return
	}
	var all []Named
	for _, section := range []struct {
		kind    string
		objects map[string]json.RawMessage
	}{{configs.Buses, req.Buses}, {configs.Targets, req.Targets}, {configs.Sources, req.Sources}, {configs.Rules, req.Rules}} {
		for _, name := range slices.Sorted(maps.Keys(section.objects)) {
			all = append(all, Named{section.kind, name, section.objects[name]})
		}
	}
	done, err := s.opts.Objects.Apply(c.Request.Context(), all, dry)
	if err != nil {
		fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, ApplyAnswer{DryRun: dry, Objects: done})
}

// applyProblem says which objects cannot be applied.
func applyProblem(e *ApplyError) *Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid-object", "not all of the objects can be used; nothing was changed")
	if len(e.Fields) > 0 {
		p.Detail = fmt.Sprintf("%s: %s; nothing was changed", e.Fields[0].Pointer, e.Fields[0].Detail)
	}
	p.Errors = e.Fields
	return p
}
