package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// Paging limits of every list.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// tailBeat is how often an idle tail sends a comment, so that proxies and
// clients know that it lives.
const tailBeat = 15 * time.Second

// readEventsPage answers with stored events as a CloudEvents JSON batch.
func (s *Server) readEventsPage(c *gin.Context) {
	id, ok := s.busID(c)
	if !ok {
		return
	}
	q, err := s.query(c, id)
	if err != nil {
		fail(c, err)
		return
	}
	var records []store.Record
	var next uint64
	if c.Query("to") == "" || q.To > 0 { // else the range ends before the first event
		if records, next, err = s.opts.Engine.Read(c.Request.Context(), c.Param("bus"), q); err != nil {
			fail(c, err)
			return
		}
	}
	var v url.Values
	if next > 0 {
		v = c.Request.URL.Query()
		v.Set("from", strconv.FormatUint(next, 10))
		if c.Query("to") != "" {
			v.Set("to", strconv.FormatUint(q.To, 10))
		}
	}
	writeBatch(c, records, v)
}

// writeBatch answers with events as a CloudEvents JSON batch; next is the query
// of the next page, nil at the end.
func writeBatch(c *gin.Context, records []store.Record, next url.Values) {
	out := make([]*event.Event, len(records))
	for i, r := range records {
		var err error
		if out[i], err = bus.ReadBack(r); err != nil {
			fail(c, err)
			return
		}
	}
	if next != nil {
		u := url.URL{Path: c.Request.URL.Path, RawQuery: next.Encode()}
		c.Header("Link", fmt.Sprintf("<%s>; rel=\"next\"", u.String()))
	}
	c.Data(http.StatusOK, "application/cloudevents-batch+json; charset=utf-8", append(event.AppendBatch(nil, out), '\n'))
}

// query reads from, to, when and limit.
func (s *Server) query(c *gin.Context, id store.BusID) (q bus.Query, err error) {
	if q.Limit, err = limitOf(c); err != nil {
		return q, err
	}
	if q.When, err = s.when(c.Query("when")); err != nil {
		return q, err
	}
	if q.From, err = s.place(c, id, "from", false); err != nil {
		return q, err
	}
	if q.To, err = s.place(c, id, "to", true); err != nil {
		return q, err
	}
	return q, nil
}

// limitOf reads the query parameter limit.
func limitOf(c *gin.Context) (int, error) {
	text := c.Query("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, problem(http.StatusBadRequest, "invalid-parameter", "limit=%q is not a number from 1 to %d", text, maxLimit)
	}
	return n, nil
}

// pageLimit is limitOf for a handler; if it is not ok, the request is answered.
func pageLimit(c *gin.Context) (limit int, ok bool) {
	limit, err := limitOf(c)
	if err != nil {
		fail(c, err)
	}
	return limit, err == nil
}

// when compiles a CEL filter of a query; "" is none.
func (s *Server) when(src string) (*rules.Matcher, error) {
	if src == "" {
		return nil, nil
	}
	return s.opts.Rules.Compile(rules.Filter{When: src})
}

// place reads a query parameter that is a sequence or an RFC 3339 time, 0 if
// it is not there.
func (s *Server) place(c *gin.Context, id store.BusID, name string, upper bool) (uint64, error) {
	text := c.Query(name)
	if text == "" {
		return 0, nil
	}
	return s.placeOf(c.Request.Context(), id, name, text, upper)
}

// placeOf reads a sequence or an RFC 3339 time. For a time, upper gives the last
// sequence recorded until then, else the first recorded since.
func (s *Server) placeOf(ctx context.Context, id store.BusID, name, text string, upper bool) (uint64, error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, problem(http.StatusBadRequest, "invalid-parameter", "%s=%q is neither a sequence nor an RFC 3339 time", name, text)
	}
	if upper {
		t = t.Add(1) // what was recorded at t itself is included
	}
	seq, err := s.opts.Engine.Store().SequenceAt(ctx, id, t)
	if upper && err == nil {
		seq--
	}
	return seq, err
}

// sequenceParam reads the path parameter sequence.
func sequenceParam(c *gin.Context) (uint64, error) {
	n, err := strconv.ParseUint(c.Param("sequence"), 10, 64)
	if err != nil || n == 0 {
		return 0, problem(http.StatusNotFound, "not-found", "%q is not a sequence", c.Param("sequence"))
	}
	return n, nil
}

// record finds the stored event that the path names.
func (s *Server) record(c *gin.Context) (store.Record, bool) {
	id, ok := s.busID(c)
	if !ok {
		return store.Record{}, false
	}
	seq, err := sequenceParam(c)
	if err == nil {
		var r store.Record
		if r, err = s.opts.Engine.Store().Get(c.Request.Context(), id, seq); err == nil {
			return r, true
		}
		if errors.Is(err, store.ErrNotFound) {
			err = problem(http.StatusNotFound, "not-found", "bus %q has no event with sequence %d", c.Param("bus"), seq)
		}
	}
	fail(c, err)
	return store.Record{}, false
}

// readEvent answers with one stored event.
func (s *Server) readEvent(c *gin.Context) {
	r, ok := s.record(c)
	if !ok {
		return
	}
	writeEvent(c, r)
}

// writeEvent answers with one event in structured mode.
func writeEvent(c *gin.Context, r store.Record) {
	ev, err := bus.ReadBack(r)
	if err != nil {
		fail(c, err)
		return
	}
	c.Data(http.StatusOK, "application/cloudevents+json; charset=utf-8", append(event.AppendStructured(nil, ev), '\n'))
}

// tail streams live events as server-sent events.
func (s *Server) tail(c *gin.Context) {
	id, ok := s.busID(c)
	if !ok {
		return
	}
	when, err := s.when(c.Query("when"))
	if err != nil {
		fail(c, err)
		return
	}
	bounds, err := s.opts.Engine.Store().Bounds(id)
	if err != nil {
		fail(c, err)
		return
	}
	after := bounds.Last
	if last := c.GetHeader("Last-Event-ID"); last != "" {
		if after, err = strconv.ParseUint(last, 10, 64); err != nil {
			fail(c, problem(http.StatusBadRequest, "invalid-parameter", "Last-Event-ID %q is not a sequence", last))
			return
		}
		after = min(after, bounds.Last)
	}
	ctx, cancel := withStop(c.Request.Context(), s.stop)
	defer cancel()
	beginStream(c)
	_, _ = c.Writer.WriteString(": tailing\n\n")
	c.Writer.Flush()
	var buf []byte
	err = s.opts.Engine.Tail(ctx, c.Param("bus"), after, when, tailBeat, func(r store.Record) error {
		ev, err := bus.ReadBack(r)
		if err != nil {
			return err
		}
		buf = append(buf[:0], "id: "...)
		buf = strconv.AppendUint(buf, r.Sequence, 10)
		buf = append(buf, "\ndata: "...)
		buf = appendOneLine(buf, event.AppendStructured(nil, ev))
		buf = append(buf, "\n\n"...)
		_, err = c.Writer.Write(buf)
		c.Writer.Flush()
		return err
	}, func(at uint64) error {
		_, err := fmt.Fprintf(c.Writer, ": idle at %d\n\n", at)
		c.Writer.Flush()
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.opts.Logger.Debug("a tail ended", "bus", c.Param("bus"), "error", err)
	}
}

// appendOneLine appends JSON without its line breaks, which would end a
// server-sent event. In valid JSON they stand between tokens only.
func appendOneLine(dst, json []byte) []byte {
	for _, b := range json {
		if b != '\n' && b != '\r' {
			dst = append(dst, b)
		}
	}
	return dst
}

// ScheduledEvent is an event that waits for its time.
type ScheduledEvent struct {
	Due    time.Time `json:"due" doc:"When it is recorded and routed."`
	ID     string    `json:"id"`
	Source string    `json:"source"`
	Type   string    `json:"type"`
}

// listScheduled lists what waits for its time.
func (s *Server) listScheduled(c *gin.Context) {
	id, ok := s.busID(c)
	if !ok {
		return
	}
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	items, next, err := s.opts.Engine.Store().ListScheduled(c.Request.Context(), id, c.Query("source"), c.Query("id"), c.Query("after"), limit)
	if err != nil {
		fail(c, cursorProblem(c, err))
		return
	}
	out := List[ScheduledEvent]{Items: make([]ScheduledEvent, len(items)), Next: next}
	for i, it := range items {
		out.Items[i] = ScheduledEvent{Due: it.Due.UTC(), ID: it.Event.ID(), Source: it.Event.Source(), Type: it.Event.Type()}
	}
	c.PureJSON(http.StatusOK, out)
}

// cancelScheduled drops an event that waits for its time.
func (s *Server) cancelScheduled(c *gin.Context) {
	bid, ok := s.busID(c)
	if !ok {
		return
	}
	source, id := c.Query("source"), c.Query("id")
	if source == "" || id == "" {
		fail(c, problem(http.StatusBadRequest, "invalid-parameter", "name the event with ?source= and &id="))
		return
	}
	err := s.opts.Engine.Store().CancelScheduled(c.Request.Context(), bid, source, id)
	if errors.Is(err, store.ErrNotFound) {
		err = problem(http.StatusNotFound, "not-found", "no event with source %q and id %q waits on bus %q", source, id, c.Param("bus"))
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
