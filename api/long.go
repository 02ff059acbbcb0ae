package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
)

// answerLong answers with what run returns: once or, for a client that accepts
// server-sent events, as the event "result" after events of progress, which run
// tells; otherwise tell is nil. slots has room for as many as may be under way,
// which are called what. An error that is returned is still to be answered.
func (s *Server) answerLong(c *gin.Context, slots chan struct{}, what string, run func(ctx context.Context, tell func(progress any)) (any, error)) error {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		return problem(http.StatusTooManyRequests, "busy", "%d %s are under way, which is as many as there may be; try again later", cap(slots), what)
	}
	ctx, cancel := withStop(c.Request.Context(), s.stop)
	defer cancel()
	stream := acceptsStream(c.GetHeader("Accept"))
	var tell func(progress any)
	if stream {
		beginStream(c)
		tell = func(progress any) { sendEvent(c, "progress", progress) }
	}
	out, err := run(ctx, tell)
	if errors.Is(err, context.Canceled) && c.Request.Context().Err() == nil {
		err = problem(http.StatusServiceUnavailable, "unavailable", "the server is shutting down; try again")
	}
	switch {
	case err != nil && stream:
		sendEvent(c, "error", asProblem(err))
	case err != nil:
		return err
	case stream:
		sendEvent(c, "result", out)
	default:
		c.PureJSON(http.StatusOK, out)
	}
	return nil
}
