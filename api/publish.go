package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// maxBatch bounds the events of one request.
const maxBatch = 10000

// PublishResult says what became of one event.
type PublishResult struct {
	ID        string  `json:"id" doc:"The event's id."`
	Source    string  `json:"source" doc:"The event's source."`
	Sequence  *uint64 `json:"sequence" doc:"Its place in the bus; null while it is scheduled."`
	Duplicate bool    `json:"duplicate" doc:"An event with this source and id was kept before; it was not stored again."`
}

// PublishResults answers a publication, in the order of the batch.
type PublishResults struct {
	Results []PublishResult `json:"results" doc:"One for each event."`
}

// publish takes CloudEvents for one bus.
func (s *Server) publish(c *gin.Context) {
	name := c.Param("bus")
	limit, err := s.opts.Engine.MaxEventSize(name)
	if err != nil {
		fail(c, problem(http.StatusNotFound, "not-found", "there is no bus %q; nothing was stored", name))
		return
	}
	delay, err := delayOf(c)
	if err != nil {
		fail(c, err)
		return
	}
	events, mode, err := s.readEvents(c, limit)
	if err != nil {
		fail(c, err)
		return
	}
	batch := make([]bus.Publication, len(events))
	for i, ev := range events {
		batch[i] = bus.Publication{Bus: name, Event: ev, Delay: delay}
	}
	s.accept(c, batch, mode)
}

// publishAcross takes one batch whose events each name their bus.
func (s *Server) publishAcross(c *gin.Context) {
	delay, err := delayOf(c)
	if err != nil {
		fail(c, err)
		return
	}
	limit := 0
	for name := range s.opts.Engine.Buses() {
		if n, err := s.opts.Engine.MaxEventSize(name); err == nil {
			limit = max(limit, n)
		}
	}
	events, mode, err := s.readEvents(c, limit)
	if err != nil {
		fail(c, err)
		return
	}
	batch := make([]bus.Publication, len(events))
	for i, ev := range events {
		name := ev.ExtensionText("bus")
		if name == "" {
			member := i
			if mode != event.ModeBatched {
				member = -1
			}
			fail(c, &event.DecodeError{Member: member, Attribute: "bus", Offset: -1, Status: http.StatusBadRequest,
				Reason: `is missing; each event names its bus in the extension "bus"`})
			return
		}
		batch[i] = bus.Publication{Bus: name, Event: ev, Delay: delay}
	}
	s.accept(c, batch, mode)
}

// accept publishes a batch and answers with its results.
func (s *Server) accept(c *gin.Context, batch []bus.Publication, mode event.Mode) {
	results, err := s.opts.Engine.Publish(c.Request.Context(), batch, bus.PublishOptions{Via: s.origins.of(bus.OriginHTTP, c.Request)})
	if err != nil {
		var refused *bus.PublicationError
		if errors.As(err, &refused) && mode != event.ModeBatched {
			p := publicationProblem(refused)
			p.Detail = refused.Error() + "; nothing was stored"
			for i := range p.Errors {
				p.Errors[i].Pointer = strings.TrimPrefix(p.Errors[i].Pointer, "/0")
			}
			err = p
		}
		fail(c, err)
		return
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer releaseBody(buf)
	buf.Reset()
	buf.Grow(32 + 128*len(results))
	body := appendResults(buf.AvailableBuffer(), batch, results)
	h := c.Writer.Header()
	h["Content-Type"] = resultsType
	if len(body) > unstated {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.Writer.WriteHeader(http.StatusAccepted)
	_, _ = c.Writer.Write(body)
}

// resultsType is shared by all answers, so it must not be changed.
var resultsType = []string{"application/json; charset=utf-8"}

// unstated is how long an answer may be for net/http to find out its length by
// itself.
const unstated = 1 << 10

// appendResults writes a PublishResults and a line break; it stands here by hand because it is
// on the path of every event.
func appendResults(dst []byte, batch []bus.Publication, results []store.Result) []byte {
	dst = append(dst, `{"results":[`...)
	for i, r := range results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = event.AppendJSONString(dst, batch[i].Event.ID())
		dst = append(dst, `,"source":`...)
		dst = event.AppendJSONString(dst, batch[i].Event.Source())
		dst = append(dst, `,"sequence":`...)
		if r.Sequence == 0 {
			dst = append(dst, "null"...)
		} else {
			dst = strconv.AppendUint(dst, r.Sequence, 10)
		}
		dst = append(dst, `,"duplicate":`...)
		dst = strconv.AppendBool(dst, r.Duplicate)
		dst = append(dst, '}')
	}
	return append(dst, "]}\n"...) // so that a shell's prompt stands in a line of its own
}

// delayOf reads the query parameter delay.
func delayOf(c *gin.Context) (time.Duration, error) {
	if c.Request.URL.RawQuery == "" {
		return 0, nil
	}
	text := c.Query("delay")
	if text == "" {
		return 0, nil
	}
	parsed, err := component.ParseDuration(text)
	d := parsed.Std()
	if err != nil || d < 0 {
		return 0, problem(http.StatusBadRequest, "invalid-parameter", "delay=%q is not a length of time such as 30s, 1h30m or 7d; nothing was stored", text)
	}
	if d > bus.MaxDelay {
		return 0, problem(http.StatusBadRequest, "invalid-parameter", "delay=%q is more than 366 days; nothing was stored", text)
	}
	return d, nil
}

// keepBody is the largest buffer that is kept for another request.
const keepBody = 1 << 20

// readEvents reads the request within its limit and decodes it.
func (s *Server) readEvents(c *gin.Context, limit int) ([]*event.Event, event.Mode, error) {
	r := c.Request
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, 0, problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "content encoding %q is not supported; send it plain", encoding)
	}
	most := int64(limit)
	contentType := r.Header.Get("Content-Type")
	switch {
	case hasPrefixFold(contentType, "application/cloudevents-batch"):
		most = s.opts.MaxRequest
	case hasPrefixFold(contentType, "application/cloudevents"):
		most = 2*most + 64<<10 // the JSON form may be longer than the event is
	}
	buf, err := readBody(r, most)
	if err != nil {
		return nil, 0, err
	}
	defer releaseBody(buf)
	return event.FromHTTP(r.Header, buf.Bytes(), event.Limits{MaxEventSize: limit, MaxBatch: maxBatch})
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readBody reads a whole body of at most limit bytes.
func readBody(r *http.Request, limit int64) (*bytes.Buffer, error) {
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		releaseBody(buf)
		return nil, problem(http.StatusBadRequest, "incomplete", "the request body ended early: %v; nothing was stored", err)
	case n > limit:
		releaseBody(buf)
		return nil, &http.MaxBytesError{Limit: limit}
	}
	return buf, nil
}

func releaseBody(buf *bytes.Buffer) {
	if buf.Cap() <= keepBody {
		buffers.Put(buf)
	}
}

// handshake answers the CloudEvents webhook validation (http-webhook.md §4).
func (s *Server) handshake(c *gin.Context) {
	if _, ok := s.busID(c); !ok {
		return
	}
	h := c.Writer.Header()
	h.Set("Allow", "POST, OPTIONS")
	if origin := c.GetHeader("WebHook-Request-Origin"); origin != "" {
		h.Set("WebHook-Allowed-Origin", origin)
		if rate := c.GetHeader("WebHook-Request-Rate"); rate != "" {
			h.Set("WebHook-Allowed-Rate", "*")
		}
	}
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
}
