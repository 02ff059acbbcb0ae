package embedded

import (
	"context"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// A summary is a Bloom filter over the attributes of so many events of a bus
// that follow one another (a chunk), a row of the state. It is made after they
// are durable, of the terms that were collected of them or else from the log, and never changes: sequences do not move, and what
// retention has removed nobody asks for. A chunk without one is read.
const (
	defaultSummaryEvents = 4096
	summaryEvery         = time.Second
)

// term is an attribute with its value, as the filter knows it.
type term struct{ where, which uint64 }

func termOf(name, value string) term { return termAt(placeOf(xxhash.Sum64String(name), value)) }

// placeOf is the place of an attribute with a value; name is the hash of its name.
func placeOf(name uint64, value string) uint64 { return mix(name ^ mix(xxhash.Sum64String(value))) }

// The hashes of the names that are not extensions.
var (
	hashOfID      = xxhash.Sum64String("id")
	hashOfSource  = xxhash.Sum64String("source")
	hashOfType    = xxhash.Sum64String("type")
	hashOfSubject = xxhash.Sum64String("subject")
)

// appendTerms appends the places of what a summary knows of an event.
func appendTerms(dst []uint64, ev *event.Event) []uint64 {
	dst = append(dst, placeOf(hashOfID, ev.ID()), placeOf(hashOfSource, ev.Source()), placeOf(hashOfType, ev.Type()))
	if subject := ev.Subject(); subject != "" {
		dst = append(dst, placeOf(hashOfSubject, subject))
	}
	for _, x := range ev.Extensions() {
		dst = append(dst, termOf(x.Name, x.Value.Text()).where)
	}
	return dst
}

// termAt is the term with its place.
func termAt(where uint64) term { return term{where, mix(where + 0x9e3779b97f4a7c15)} }

// summarised reports whether summaries know an attribute. The others say
// nothing (specversion), or have a value of their own in every event (time).
func summarised(name string) bool {
	switch name {
	case "id", "source", "type", "subject":
		return true
	}
	return !event.IsContextAttribute(name)
}

// mayHold reports whether an event of a chunk may have all the attributes.
func (s *Store) mayHold(b *bus, chunk uint64, terms []term) (may bool, err error) {
	may = true
	_, err = s.state.get(seqKey(nil, prefixSummary, b.id, chunk), func(value []byte) error {
		f, err := asFilter(value)
		if err != nil {
			return nil //nolint:nilerr // a summary that cannot be read says nothing
		}
		for _, t := range terms {
			may = may && f.has(t.where, t.which)
		}
		return nil
	})
	return may, err
}

// summariser makes summaries of what was appended, at most half of the time, so
// that it leaves the machine to live events.
func (s *Store) summariser() {
	every := time.NewTicker(summaryEvery)
	defer every.Stop()
	for {
		select {
		case <-s.halt:
			return
		case <-every.C:
		}
		err := s.summarise(s.pause)
		if err != nil && !s.closing.Load() {
			s.opts.Logger.Warn("making summaries for searches failed; searches read more until it works", "error", err)
		}
	}
}

// summarise makes the summaries that lack. pause is called after each with the
// time that it took; false ends it.
func (s *Store) summarise(pause func(time.Duration) bool) error {
	for _, b := range s.allBuses() {
		for {
			began := time.Now()
			more, err := s.summariseNext(b)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if !pause(time.Since(began)) {
				return nil
			}
		}
	}
	return nil
}

// summariseNext summarises the next chunk of b that is full, if there is one.
func (s *Store) summariseNext(b *bus) (more bool, err error) {
	size := s.opts.summaryEvents
	next := b.summaries.Load()
	if next == 0 { // after a start: go on behind the newest
		lower := idKey(nil, prefixSummary, uint32(b.id))
		it, err := s.state.iter(lower, successor(lower))
		if err != nil {
			return false, err
		}
		defer it.Close()
		if it.Last() {
			next = binary.BigEndian.Uint64(it.Key()[5:]) + 1
		}
		if err := it.Error(); err != nil {
			return false, err
		}
	}
	b.mu.Lock()
	first, last := b.first, b.last
	b.mu.Unlock()
	next = max(next, first/size)
	b.summaries.Store(next)
	if last+1 < (next+1)*size || first > last {
		return false, nil
	}
	f, err := s.summaryOf(b, next, max(first, next*size), (next+1)*size-1)
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.first > first { // retention was faster
			return true, nil
		}
		return false, err
	}
	batch := s.state.db.NewBatch()
	_ = batch.Set(seqKey(nil, prefixSummary, b.id, next), f.append(nil), nil)
	if err := s.state.commit(batch); err != nil {
		return false, err
	}
	b.summaries.Store(next + 1)
	return true, nil
}

// summaryOf makes the summary of a chunk, whose events are those from low to high.
func (s *Store) summaryOf(b *bus, chunk, low, high uint64) (filter, error) {
	b.mu.Lock()
	terms, freed := b.collect.take(chunk)
	b.mu.Unlock()
	s.collected.Add(-freed)
	if terms == nil {
		var err error
		if terms, err = s.readTerms(b, low, high); err != nil {
			return nil, err
		}
	}
	f := newFilter(len(terms))
	for _, where := range terms {
		t := termAt(where)
		f.add(t.where, t.which)
	}
	return f, nil
}

// readTerms reads the events from low to high for their terms.
func (s *Store) readTerms(b *bus, low, high uint64) ([]uint64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := make(map[uint64]struct{}, 2*(high-low+1))
	note := func(name string, v event.Value) { seen[termOf(name, v.Text()).where] = struct{}{} }
	err := s.scanBus(ctx, b, low, func(e *entry, _ seglog.Position) (bool, error) {
		if e.seq > high {
			return false, nil
		}
		if s.closing.Load() {
			return false, store.ErrClosed
		}
		return e.seq < high, event.PeekAttributes(e.event, note)
	})
	return slices.Collect(maps.Keys(seen)), err
}

// collector keeps the terms of a bus's newest events, so that they need not be
// read from the log again for a summary. It has those of a chunk from its first
// event on, or none.
type collector struct {
	on     bool     // it has the chunk that is being filled
	terms  []uint64 // of that
	recent *[64]uint64
	full   []collectedChunk // that have no summary yet, in order
}

type collectedChunk struct {
	chunk uint64
	terms []uint64
}

// collectorBudget bounds the bytes of terms in memory. Buses whose events come
// when it is used up are read.
const collectorBudget = 16 << 20

// collect takes the terms of an event that follows the one before; b.mu is held.
func (s *Store) collect(b *bus, seq uint64, terms []uint64) {
	c, size := &b.collect, s.opts.summaryEvents
	if seq == 1 || seq%size == 0 {
		c.on, c.recent = true, new([64]uint64)
	}
	if !c.on {
		return
	}
	had := len(c.terms)
	for _, t := range terms {
		// Most values are those of the event before, and need not be there twice.
		if last := &c.recent[t%64]; *last != t {
			*last = t
			c.terms = append(c.terms, t)
		}
	}
	switch {
	case s.collected.Add(int64(len(c.terms)-had)*8) > collectorBudget:
		s.collected.Add(-c.stop())
	case (seq+1)%size == 0:
		c.full = append(c.full, collectedChunk{seq / size, c.terms})
		c.terms, c.recent, c.on = nil, nil, false
	}
}

// stop lets the chunk that is being filled go, and returns how many bytes that was.
func (c *collector) stop() (freed int64) {
	freed = int64(len(c.terms)) * 8
	c.terms, c.recent, c.on = nil, nil, false
	return freed
}

// take returns the terms of a chunk, nil without any, and lets them and all
// before go.
func (c *collector) take(chunk uint64) (terms []uint64, freed int64) {
	for len(c.full) > 0 && c.full[0].chunk <= chunk {
		if f := c.full[0]; f.chunk == chunk {
			terms = f.terms
		}
		freed += int64(len(c.full[0].terms)) * 8
		c.full = slices.Delete(c.full, 0, 1)
	}
	return terms, freed
}

// reset lets everything go.
func (c *collector) reset() (freed int64) {
	freed = c.stop()
	_, full := c.take(math.MaxUint64)
	return freed + full
}
