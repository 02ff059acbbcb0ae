package sourcetest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// Sink is a bus in memory: it keeps events in order, and can be made to block
// and to fail. With Dedupe it marks repeats and keeps them once. The zero value
// is ready to use.
type Sink struct {
	Dedupe bool

	mu      sync.Mutex
	events  []*event.Event // kept
	tried   []*event.Event
	places  map[string]uint64
	read    int // of events, by next
	failure error
	times   int
	gate    chan struct{} // closed by the release of block
	waiting int           // calls of Publish at the gate, ever
	changed chan struct{} // closed at the next change
}

var _ sources.Sink = (*Sink)(nil)

// Publish implements sources.Sink.
func (s *Sink) Publish(ctx context.Context, events ...*event.Event) ([]sources.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gate := s.gate; gate != nil {
		s.waiting++
		s.tell()
		s.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.tried = append(s.tried, events...)
	defer s.tell()
	if s.times > 0 {
		s.times--
		return nil, s.failure
	}
	results := make([]sources.Result, len(events))
	for i, e := range events {
		key := e.Source() + "\x00" + e.ID()
		at, known := s.places[key]
		if known && s.Dedupe {
			results[i] = sources.Result{Sequence: at, Duplicate: true}
			continue
		}
		s.events = append(s.events, e)
		if s.places == nil {
			s.places = map[string]uint64{}
		}
		s.places[key] = uint64(len(s.events))
		results[i].Sequence = uint64(len(s.events))
	}
	return results, nil
}

// Events are the events that were kept, in order.
func (s *Sink) Events() []*event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Fail makes the next calls of Publish fail.
func (s *Sink) Fail(err error, times int) { s.fail(err, times) }

func (s *Sink) fail(err error, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.times = err, times
}

// attempts are the events of all calls of Publish, those that failed included.
func (s *Sink) attempts() []*event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tried)
}

// block makes Publish wait until release is called.
func (s *Sink) block() (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = gate
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gate = nil
		close(gate)
	})
}

// entered waits until a call of Publish is blocked.
func (s *Sink) entered(r *running) {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		waiting, changed := s.waiting, s.change()
		s.mu.Unlock()
		if waiting > 0 {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			r.t.Fatal("the source publishes nothing")
		}
	}
}

// next returns the first event that it has not returned yet, or else a channel
// that is closed when there may be one.
func (s *Sink) next() (*event.Event, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read < len(s.events) {
		s.read++
		return s.events[s.read-1], nil
	}
	return nil, s.change()
}

func (s *Sink) change() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Sink) tell() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// State is a source's store in memory. The zero value is ready to use.
type State struct {
	// Err, if not nil, is asked before every call and fails it.
	Err func() error

	mu     sync.Mutex
	values map[string][]byte
}

var _ sources.State = (*State)(nil)

// Load implements sources.State.
func (s *State) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Err != nil {
		if err := s.Err(); err != nil {
			return nil, err
		}
	}
	return slices.Clone(s.values[key]), nil
}

// Save implements sources.State.
func (s *State) Save(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Err != nil {
		if err := s.Err(); err != nil {
			return err
		}
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	s.values[key] = slices.Clone(value)
	return nil
}
