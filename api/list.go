package api

import (
	"context"
	"errors"
	"net/http"
	"sort"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// List is how every list is answered.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next" doc:"What to pass as ?after= for the next page; empty at the end."`
}

// page answers with the part of a list sorted by name that ?limit= and
// ?after= ask for, each item as show makes it.
func page[T, V any](c *gin.Context, all []T, name func(T) string, show func(T) V) {
	limit, ok := pageLimit(c)
	if !ok {
		return
	}
	after := c.Query("after")
	start := sort.Search(len(all), func(i int) bool { return name(all[i]) > after })
	end := min(len(all), start+limit)
	out := List[V]{Items: make([]V, 0, end-start)}
	for _, item := range all[start:end] {
		out.Items = append(out.Items, show(item))
	}
	if end < len(all) {
		out.Next = name(all[end-1])
	}
	c.PureJSON(http.StatusOK, out)
}

// cursorProblem says of a list of the store that ?after= is none of its cursors.
func cursorProblem(c *gin.Context, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return problem(http.StatusBadRequest, "invalid-parameter", "after=%q is not a cursor of this list", c.Query("after"))
	}
	return err
}

// withStop is ctx that also ends when stop is closed.
func withStop(ctx context.Context, stop <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
