package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// sampleSize is how many of the newest events of a bus filters are held against:
// one page of the API.
const sampleSize = 1000

// sample reads the newest events of buses, once each. Its error is looked at
// when all are read.
type sample struct {
	client client
	ctx    context.Context
	taken  map[string]taken
	err    error
}

type taken struct {
	events []*event.Event
	which  string
}

// of is the newest events of a bus, none if the server has no such bus.
func (s *sample) of(bus string) ([]*event.Event, string) {
	if have, ok := s.taken[bus]; ok || s.err != nil || bus == "" {
		return have.events, have.which
	}
	events, err := s.read(bus)
	var refused refusal
	if err != nil && !(errors.As(err, &refused) && strings.Contains(string(refused), "(404)")) {
		s.err = err
	}
	have := taken{events, fmt.Sprintf("the last %s of bus %s", counted(len(events), "event", "events"), bus)}
	s.taken[bus] = have
	return have.events, have.which
}

func (s *sample) read(bus string) ([]*event.Event, error) {
	path := "/v1/buses/" + url.PathEscape(bus)
	var about struct {
		Status busStatus `json:"status"`
	}
	if _, err := s.client.call(s.ctx, http.MethodGet, path, nil, nil, &about); err != nil {
		return nil, err
	}
	from := max(about.Status.First, 1)
	if last := about.Status.Last; last >= sampleSize {
		from = max(from, last-sampleSize+1)
	}
	var batch []json.RawMessage
	if _, err := s.client.call(s.ctx, http.MethodGet, fmt.Sprintf("%s/events?from=%d&limit=%d", path, from, sampleSize), nil, nil, &batch); err != nil {
		return nil, err
	}
	events := make([]*event.Event, 0, len(batch))
	for _, raw := range batch {
		ev, err := event.FromStructured(raw, event.Limits{MaxEventSize: maxReply})
		if err != nil {
			return nil, fmt.Errorf("%s sent what is no event: %w", s.client.server, err)
		}
		events = append(events, ev)
	}
	return events, nil
}
