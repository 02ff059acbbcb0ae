package embedded

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

const (
	// scanPiece is how many events are read at once at most.
	scanPiece = 256
	// scanSummaries bounds the summaries that one Scan looks at, about 100 MB.
	scanSummaries = 4096
)

// Scan implements store.Search.
func (s *Store) Scan(ctx context.Context, id store.BusID, q store.ScanQuery) (store.Scanned, error) {
	if err := s.enter(ctx); err != nil {
		return store.Scanned{}, err
	}
	defer s.leave()
	b, err := s.bus(id)
	if err != nil {
		return store.Scanned{}, err
	}
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	c := scan{s: s, b: b, q: q, low: max(q.From, 1), high: last, piece: scanPiece}
	if q.To > 0 {
		c.high = min(c.high, q.To)
	}
	for _, a := range q.Has {
		if summarised(a.Name) {
			c.terms = append(c.terms, termOf(a.Name, a.Value))
		}
	}
	if err := c.run(ctx); err != nil {
		return store.Scanned{}, fmt.Errorf("bus %q: scan from sequence %d to %d: %w", b.name, c.low, c.high, err)
	}
	return c.out, nil
}

// scan is a Scan under way; what lies from low to high is still to be seen.
type scan struct {
	s         *Store
	b         *bus
	q         store.ScanQuery
	terms     []term
	low, high uint64
	piece     uint64
	bytes     int
	out       store.Scanned
}

func (c *scan) run(ctx context.Context) error {
	size := c.s.opts.summaryEvents
	checked, known := uint64(0), false // the chunk whose summary lets its events be read
	for summaries := 0; c.low <= c.high; {
		if len(c.out.Records) >= c.q.Max || c.bytes >= c.q.MaxBytes && c.out.Looked > 0 || summaries >= scanSummaries {
			c.out.Next = c.edge()
			return nil
		}
		// Below first there are copies of what is owed, and nothing else.
		first := c.first()
		if c.edge() < first {
			if err := c.copies(ctx, c.low, min(c.high, first-1)); err != nil {
				return err
			}
			continue
		}
		chunk := c.edge() / size
		low, high := max(c.low, first, chunk*size), min(c.high, chunk*size+size-1)
		if len(c.terms) > 0 && (!known || checked != chunk) {
			summaries++
			may, err := c.s.mayHold(c.b, chunk, c.terms)
			if err != nil {
				return err
			}
			if !may {
				c.out.Skipped += high - low + 1
				c.pass(low, high)
				continue
			}
			checked, known = chunk, true
		}
		if c.q.Newest {
			low = max(low, high-min(high, c.piece-1))
		} else {
			high = min(high, low+c.piece-1)
		}
		if err := c.look(ctx, low, high); err != nil {
			if c.first() <= low {
				return err
			}
			// Retention was faster: what it left is looked for anew.
		}
	}
	return nil
}

// first is the lowest sequence that retention has left.
func (c *scan) first() uint64 {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.b.first
}

// edge is where the scan goes on.
func (c *scan) edge() uint64 {
	if c.q.Newest {
		return c.high
	}
	return c.low
}

// copies looks at what is owed of the events from low to high, which retention
// has passed.
func (c *scan) copies(ctx context.Context, low, high uint64) error {
	full, looked := false, false
	err := c.s.scanOwed(c.b.id, low, high, c.q.Newest, func(r store.Record) (bool, error) {
		size := r.Event.Size()
		if full = len(c.out.Records) >= c.q.Max || looked && c.bytes+size > c.q.MaxBytes; full {
			if c.q.Newest {
				c.high = r.Sequence
			} else {
				c.low = r.Sequence
			}
			return false, nil
		}
		looked = true
		c.out.Looked++
		c.bytes += size
		if c.has(&r) {
			c.out.Records = append(c.out.Records, r)
		}
		return true, ctx.Err()
	})
	if err == nil && !full {
		c.pass(low, high)
	}
	return err
}

// pass takes what was seen off the range.
func (c *scan) pass(low, high uint64) {
	if c.q.Newest {
		c.high = low - 1
	} else {
		c.low = high + 1
	}
}

// look reads the events from low to high. A piece that turns out to be too
// large is cut short; one that is read backwards is then tried again, smaller,
// for it must be read as a whole.
func (c *scan) look(ctx context.Context, low, high uint64) error {
	var found []store.Record
	looked, read, short := uint64(0), 0, false
	next := low
	err := c.s.scanBus(ctx, c.b, low, func(e *entry, _ seglog.Position) (bool, error) {
		if e.seq > high {
			return false, nil
		}
		if looked > 0 && c.bytes+read+len(e.event) > c.q.MaxBytes || !c.q.Newest && len(c.out.Records)+len(found) >= c.q.Max {
			short = true
			return false, nil
		}
		looked++
		read += len(e.event)
		next = e.seq + 1
		if c.maybe(e) {
			r, err := e.stored()
			if err != nil {
				return false, err
			}
			if c.has(&r) {
				found = append(found, r)
			}
		}
		return e.seq < high, nil
	})
	if err != nil {
		return err
	}
	if c.q.Newest && short && high > low {
		c.piece = max((high-low+1)/2, 1)
		return nil
	}
	c.out.Looked += looked
	c.bytes += read
	if !c.q.Newest {
		c.out.Records = append(c.out.Records, found...)
		if !short {
			next = high + 1
		}
		c.low = next
		return nil
	}
	slices.Reverse(found)
	c.high = low - 1
	if room := c.q.Max - len(c.out.Records); len(found) > room {
		found = found[:room]
		c.high = found[room-1].Sequence - 1
	}
	c.out.Records = append(c.out.Records, found...)
	return nil
}

// maybe tells most events that are not meant before they are decoded: the text
// of the main attributes stands in the encoding as it is.
func (c *scan) maybe(e *entry) bool {
	for _, a := range c.q.Has {
		switch a.Name {
		case "id", "source", "type", "subject":
			if !bytes.Contains(e.event, []byte(a.Value)) {
				return false
			}
		}
	}
	return true
}

func (c *scan) has(r *store.Record) bool {
	for _, a := range c.q.Has {
		if !a.In(r.Event) {
			return false
		}
	}
	return true
}
