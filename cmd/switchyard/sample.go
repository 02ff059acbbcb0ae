package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
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
	why    string // nothing is held against them, "" if something is
}

// unchecked notes the buses whose rules were not held against events.
func (s *sample) unchecked(cfg *configs.Config) (out configs.Diagnostics) {
	for _, bus := range slices.Sorted(maps.Keys(s.taken)) {
		b, ok := cfg.Buses[bus]
		if why := s.taken[bus].why; why != "" && ok {
			out = append(out, configs.Diagnostic{File: b.Origin.File, Line: b.Origin.Line, Path: "buses." + bus, Warning: true,
				Message: "its rules are not checked against stored events: " + why})
		}
	}
	return out
}

// of is the newest events of a bus, none if the server has no such bus.
func (s *sample) of(bus string) ([]*event.Event, string) {
	if have, ok := s.taken[bus]; ok || s.err != nil || bus == "" {
		return have.events, have.which
	}
	events, err := s.read(bus)
	var refused *refusal
	if err != nil && !(errors.As(err, &refused) && refused.problem.Status == http.StatusNotFound) {
		s.err = err
	}
	have := taken{events: events, which: fmt.Sprintf("the last %s of bus %s", counted(len(events), "event", "events"), bus)}
	switch {
	case refused != nil:
		have.why = fmt.Sprintf("the server has no bus %q", bus)
	case len(events) < rules.LeastSeen:
		have.why = fmt.Sprintf("the server has %s of it, and it takes %d", counted(len(events), "event", "events"), rules.LeastSeen)
	}
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
