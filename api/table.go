package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// readTable answers with the newest event of each subject of a compacted bus, as
// a CloudEvents JSON batch, or with that of one subject.
func (s *Server) readTable(c *gin.Context) {
	if _, ok := s.busID(c); !ok {
		return
	}
	if subject, one := c.GetQuery("subject"); one {
		s.readRow(c, subject)
		return
	}
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	q := bus.TableQuery{Prefix: c.Query("prefix"), After: c.Query("after"), Limit: limit}
	rows, next, err := s.opts.Engine.Table(c.Request.Context(), c.Param("bus"), q)
	if err != nil {
		fail(c, err)
		return
	}
	if next == "" {
		writeBatch(c, rows, nil)
		return
	}
	v := c.Request.URL.Query()
	v.Set("after", next)
	writeBatch(c, rows, v)
}

func (s *Server) readRow(c *gin.Context, subject string) {
	for _, name := range []string{"prefix", "after", "limit"} {
		if _, also := c.GetQuery(name); also {
			fail(c, problem(http.StatusBadRequest, "invalid-parameter", "subject asks for one row and does not go with %s", name))
			return
		}
	}
	r, err := s.opts.Engine.TableRow(c.Request.Context(), c.Param("bus"), subject)
	if errors.Is(err, store.ErrNotFound) {
		err = problem(http.StatusNotFound, "not-found", "the table of bus %q has no subject %q", c.Param("bus"), subject)
	}
	if err != nil {
		fail(c, err)
		return
	}
	writeEvent(c, r)
}
