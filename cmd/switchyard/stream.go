package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/switchyard-dev/switchyard/api"
)

// serverEvent is a server-sent event. Its name and id are those that were said
// last.
type serverEvent struct{ name, id, data string }

// serverEvents goes through the events of a stream. An error is the last.
func serverEvents(r io.Reader) iter.Seq2[serverEvent, error] {
	return func(yield func(serverEvent, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxReply)
		var e serverEvent
		for lines.Scan() {
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				if e.data = value; !yield(e, nil) {
					return
				}
			}
		}
		if err := lines.Err(); err != nil {
			yield(e, err)
		}
	}
}

// longAnswer reads the answer R of a request that tells its progress P before.
func longAnswer[R, P any](c *client, res *http.Response, progress func(P)) (out R, err error) {
	for e, err := range serverEvents(res.Body) {
		if err != nil {
			return out, fmt.Errorf("%s: %w", c.server, err)
		}
		switch e.name {
		case "progress":
			var p P
			if err := json.Unmarshal([]byte(e.data), &p); err != nil {
				return out, err
			}
			progress(p)
		case "error":
			var p api.Problem
			if err := json.Unmarshal([]byte(e.data), &p); err != nil {
				return out, err
			}
			return out, &refusal{text: fmt.Sprintf("%s (%d)", p.Detail, p.Status), problem: p}
		case "result":
			return out, json.Unmarshal([]byte(e.data), &out)
		}
	}
	return out, fmt.Errorf("%s ended before it had answered; try again", c.server)
}
