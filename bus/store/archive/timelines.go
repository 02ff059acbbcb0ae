package archive

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// The timelines of a segment's events stand in an object beside it, of the same
// form: for each event its length (a varint) and a Timeline as JSON, or nothing
// if there is nothing to tell. They are written when local retention comes near
// the events, which it may have only then.
const timelinesMagic = "SYTIME01"

// Timeline is what is archived of how one event came in and what became of it.
type Timeline struct {
	Receipt    *store.Receipt        `json:",omitempty"` // nil: it was published as any other
	Deliveries []store.DeliveryTrace `json:",omitempty"`
}

// unknown is the state of a delivery that had not ended when the timeline of its
// event was archived, and is not owed any more.
const unknown = "unknown"

// timelinesObject is the name of the object with the segment's timelines.
func (g Segment) timelinesObject() string {
	return strings.TrimSuffix(g.Object, segmentSuffix) + timelinesSuffix
}

// timelines describes the object with the segment's timelines, if there is one.
func (g Segment) timelines() (t Segment, ok bool) {
	t = g
	t.Object, t.Bytes = g.timelinesObject(), g.Timelines
	return t, g.Timelines > 0
}

// Size is what the segment takes with its timelines, in bytes.
func (g Segment) Size() int64 { return g.Bytes + g.Timelines }

// segmentOf finds the segment of an event.
func (a *archive) segmentOf(ctx context.Context, seq uint64) (g Segment, ok bool, err error) {
	segments, err := a.list(ctx)
	if err != nil {
		return g, false, err
	}
	i := sort.Search(len(segments), func(i int) bool { return segments[i].Last >= seq })
	if i == len(segments) || segments[i].First > seq {
		return g, false, nil
	}
	return segments[i], true, nil
}

// remember archives the timelines of segments that retention comes near to, and
// lets it have what is archived with its timelines.
func (a *archive) remember(ctx context.Context, all bool) error {
	segments, err := a.list(ctx)
	if err != nil {
		return err
	}
	b, err := a.s.Store.Bounds(a.id())
	if err != nil {
		return err
	}
	var released uint64
	for i, g := range segments {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !g.Gap && g.Timelines == 0 && g.Last >= b.History {
			if !all && !a.nearlyRemoved(g, b) {
				break
			}
			if g.Timelines, err = a.writeTimelines(ctx, g); err != nil {
				return err
			}
			a.mu.Lock()
			if i < len(a.segments) && a.segments[i].Object == g.Object {
				a.segments = slices.Clone(a.segments) // readers have the old ones
				a.segments[i] = g
			}
			a.mu.Unlock()
		}
		released = g.Last
	}
	return a.s.Store.Release(a.id(), released)
}

// nearlyRemoved reports whether three quarters of the time, or of the bytes, have
// passed for which local retention keeps the events of a segment.
func (a *archive) nearlyRemoved(g Segment, b store.Bounds) bool {
	if age := time.Duration(a.localAge.Load()); age > 0 && a.s.opts.Clock().Sub(g.To) >= age/4*3 {
		return true
	}
	bytes := a.localBytes.Load()
	if bytes <= 0 || b.Last < b.History {
		return false
	}
	behind := float64(b.Bytes) / float64(b.Last-b.History+1) * float64(b.Last-g.Last) // about
	return behind >= float64(bytes)/4*3
}

// writeTimelines writes what is known now of the events of a segment, and returns
// the size of the object.
func (a *archive) writeTimelines(ctx context.Context, g Segment) (int64, error) {
	w := writer{magic: timelinesMagic}
	for from := g.First; from <= g.Last; {
		to := min(g.Last, from+store.MaxTimelines-1)
		found, err := a.s.Store.Timelines(ctx, a.id(), from, to)
		if err != nil {
			return 0, err
		}
		receipts, err := a.s.Store.Receipts(ctx, a.id(), from, to)
		if err != nil {
			return 0, err
		}
		for ; from <= to; from++ {
			var t Timeline
			if len(found) > 0 && found[0].Sequence == from {
				t.Deliveries, found = found[0].Deliveries, found[1:]
			}
			if r, ok := receipts[from]; ok {
				t.Receipt = &r
			}
			if err := w.addTimeline(from, t); err != nil {
				return 0, err
			}
		}
	}
	_, data, err := w.finish(a.prefix())
	if err != nil {
		return 0, err
	}
	return int64(len(data)), a.upload(ctx, g.timelinesObject(), data)
}

// addTimeline appends the timeline of an event.
func (w *writer) addTimeline(seq uint64, t Timeline) error {
	if err := w.begin(seq, 0); err != nil {
		return err
	}
	var text []byte
	if t.Receipt != nil || len(t.Deliveries) > 0 {
		var err error
		if text, err = json.Marshal(t); err != nil {
			return err
		}
	}
	w.block = append(binary.AppendUvarint(w.block, uint64(len(text))), text...)
	return w.end(seq, 0)
}

// parseTimelines reads the timelines of a block, as JSON, one for each event.
func parseTimelines(data []byte, b blockInfo) ([]json.RawMessage, error) {
	all := make([]json.RawMessage, 0, min(int(b.count), len(data)))
	for range b.count {
		n, used := binary.Uvarint(data)
		if used <= 0 || n > uint64(len(data)-used) {
			return nil, errors.New("a timeline is cut short")
		}
		all = append(all, data[used:used+int(n)])
		data = data[used+int(n):]
	}
	if len(data) > 0 {
		return nil, errors.New("it has more than its timelines")
	}
	return all, nil
}

// timeline is what is archived of an event; nothing if there is no timeline of
// it.
func (s *Store) timeline(ctx context.Context, bus store.BusID, seq uint64) (t Timeline, err error) {
	a := s.of(bus)
	if a == nil {
		return t, nil
	}
	g, ok, err := a.segmentOf(ctx, seq)
	if err != nil || !ok {
		return t, err
	}
	g, ok = g.timelines()
	if !ok {
		return t, nil
	}
	blocks, err := a.index(ctx, g, timelinesMagic)
	if err != nil {
		return t, err
	}
	b := blocks[sort.Search(len(blocks)-1, func(i int) bool { return blocks[i].last() >= seq })]
	data, err := fetchBlock(ctx, a.storage, g, b)
	if err != nil {
		return t, a.failure(ctx, err)
	}
	all, err := parseTimelines(data, b)
	if err == nil && len(all[seq-b.first]) > 0 {
		err = json.Unmarshal(all[seq-b.first], &t)
	}
	if err != nil {
		return t, a.failure(ctx, damaged(a.storage, g, "block at %d: %w", b.offset, err))
	}
	return t, nil
}

// TraceOf implements store.Store: what was archived of an event that local
// retention has passed, and what of it the engine still owes. A delivery that
// had not ended then and is not owed now is "unknown".
func (s *Store) TraceOf(ctx context.Context, bus store.BusID, seq uint64) ([]store.DeliveryTrace, error) {
	present, err := s.Store.TraceOf(ctx, bus, seq)
	if err != nil || s.of(bus) == nil {
		return present, err
	}
	b, err := s.Store.Bounds(bus)
	if err != nil || seq >= b.History {
		return present, err
	}
	t, err := s.timeline(ctx, bus, seq)
	if err != nil {
		return nil, err
	}
	all := present
	for _, d := range t.Deliveries {
		if slices.ContainsFunc(present, func(p store.DeliveryTrace) bool { return p.ID == d.ID }) {
			continue
		}
		if d.State != "delivered" && d.State != "expired" && d.State != "dropped" {
			why := fmt.Sprintf("it was %s when its timeline was archived", d.State)
			if d.Reason != "" {
				why += ": " + d.Reason
			}
			d.State, d.Reason, d.NextAt = unknown, why, time.Time{}
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(x, y store.DeliveryTrace) int {
		return cmp.Or(cmp.Compare(x.ID.Subscription, y.ID.Subscription), cmp.Compare(x.ID.Run, y.ID.Run))
	})
	return all, nil
}
