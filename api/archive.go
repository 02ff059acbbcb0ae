package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
)

// Archive knows what is archived; *archive.Store is one.
type Archive interface {
	Status(bus store.BusID) (st archive.Status, ok bool)
	Segments(ctx context.Context, bus store.BusID, after uint64, limit int) ([]archive.Segment, error)
	// Local reports whether the store itself has an event.
	Local(ctx context.Context, bus store.BusID, sequence uint64) bool
	// Remembered reports whether there is a timeline of an event.
	Remembered(ctx context.Context, bus store.BusID, sequence uint64) bool
	// Warnings says what is wrong at present.
	Warnings() []string
}

// ArchivedRange is one object of a bus's archive.
type ArchivedRange struct {
	First  uint64     `json:"first" doc:"Its lowest sequence."`
	Last   uint64     `json:"last" doc:"Its highest sequence."`
	From   *time.Time `json:"from,omitempty" doc:"When the first was recorded."`
	To     *time.Time `json:"to,omitempty" doc:"When the last was recorded."`
	Bytes  int64      `json:"bytes" doc:"Size of the object."`
	Object string     `json:"object" doc:"Its name."`
	Gap    bool       `json:"gap,omitempty" doc:"It has no events: they were removed while the bus had no archive."`

	Timelines int64 `json:"timelines,omitempty" doc:"Size of the object with the timelines of its events, which is written when retention comes near them."`
}

// ArchiveState is how an archive is doing.
type ArchiveState struct {
	To           string     `json:"to" doc:"Where it is."`
	First        uint64     `json:"first" doc:"The lowest sequence in it; 0 if it has none."`
	Last         uint64     `json:"last" doc:"The highest sequence in it; 0 if it has none."`
	Objects      int        `json:"objects"`
	Bytes        int64      `json:"bytes" doc:"Size of the objects."`
	Lag          uint64     `json:"lag" doc:"Routed events that are not archived yet."`
	LastSuccess  *time.Time `json:"lastSuccess,omitempty" doc:"When all that was due was last archived."`
	Error        string     `json:"error" doc:"Why nothing is archived at present; empty while all is well. Local retention waits."`
	FailingSince *time.Time `json:"failingSince,omitempty"`
}

// ArchiveList is a page of an archive's objects, in order, and its state.
type ArchiveList struct {
	List[ArchivedRange]
	Archive ArchiveState `json:"archive"`
}

// listArchive lists what a bus's archive has.
func (s *Server) listArchive(c *gin.Context) {
	id, ok := s.busID(c)
	if !ok {
		return
	}
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	var after uint64
	if text := c.Query("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			fail(c, cursorProblem(c, store.ErrNotFound))
			return
		}
	}
	st, ok := archive.Status{}, false
	if s.opts.Archive != nil {
		st, ok = s.opts.Archive.Status(id)
	}
	if !ok {
		fail(c, problem(http.StatusNotFound, "not-found", "bus %q has no archive; buses.%s.archive in the configuration gives it one", c.Param("bus"), c.Param("bus")))
		return
	}
	segments, err := s.opts.Archive.Segments(c.Request.Context(), id, after, limit+1)
	if err != nil {
		fail(c, err)
		return
	}
	out := ArchiveList{List[ArchivedRange]{Items: []ArchivedRange{}}, ArchiveState{
		To: st.To, First: st.First, Last: st.Last, Objects: st.Segments, Bytes: st.Bytes, Lag: st.Lag,
		LastSuccess: timePointer(st.LastSuccess), FailingSince: timePointer(st.FailingSince),
	}}
	if st.Failing != nil {
		out.Archive.Error = st.Failing.Error()
	}
	for i, g := range segments {
		if i == limit {
			out.Next = strconv.FormatUint(segments[i-1].First, 10)
			break
		}
		out.Items = append(out.Items, ArchivedRange{g.First, g.Last, timePointer(g.From), timePointer(g.To), g.Bytes, g.Object, g.Gap, g.Timelines})
	}
	c.PureJSON(http.StatusOK, out)
}

// archiveProblem says what is wrong with a read of an archive, nil if it was
// something else.
func archiveProblem(err error) *Problem {
	switch {
	case errors.Is(err, archive.ErrMissing):
		return problem(http.StatusBadGateway, "archive-damaged", "%v; switchyard archive verify looks at the whole archive", err)
	case errors.Is(err, archive.ErrUnreachable):
		return problem(http.StatusServiceUnavailable, "archive-unreachable", "%v; try again", err)
	}
	return nil
}
