package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

const (
	// searchPage is how many events of a bus are held at once, at most.
	searchPage = 256
	// searchBytes bounds the bytes of the events that one search holds, for all
	// its buses together.
	searchBytes = 8 << 20
	// searchBusesMost bounds the buses of one search.
	searchBusesMost = 100
)

// Search asks for stored events of some buses; all conditions must hold.
type Search struct {
	Ranges   []SearchRange          // one for each bus
	Oldest   bool                   // the oldest first, else the newest
	Has      []store.AttributeValue // values that attributes have
	Prefixes []store.AttributeValue // what attributes' values begin with
	Since    time.Time              // when it was recorded, at the earliest; zero is any time
	Until    time.Time              // and at the latest
	When     *rules.Matcher         // nil takes every event
	Delivery DeliveryFilter
	Limit    int           // events at most; 0 is 100
	Budget   time.Duration // what is left after it is for another call; 0 is no limit
	// Progress is called now and then; nil is not.
	Progress func(*SearchResult)
}

// SearchRange is what is left to be searched of a bus.
type SearchRange struct {
	Bus      string
	From, To uint64 // sequences, inclusive; To 0 is the end of the bus
}

// DeliveryFilter asks for events with a delivery that fits; empty fields fit
// any. The zero value does not look at deliveries.
type DeliveryFilter struct{ Status, Rule, Target string }

// DeliveryStatuses are the values of DeliveryFilter.Status.
func DeliveryStatuses() []string {
	return []string{"queued", "inflight", "retrying", "delivered", "dead", "expired"}
}

// Found is an event that a search has found.
type Found struct {
	Bus        string
	Record     store.Record
	Deliveries []store.DeliveryTrace // those that fit; nil if the search does not ask for any
}

// SearchResult is what a search has found.
type SearchResult struct {
	Items   []Found
	Rest    []SearchRange // what is left; empty when all was looked at
	Looked  uint64        // events that were read
	Skipped uint64        // events that were passed over unread
}

// Search looks through stored events of several buses in order of the time that
// they were recorded. It holds a bounded number of events, and ends at q.Limit
// or q.Budget; what is left is in Rest.
func (e *Engine) Search(ctx context.Context, q Search) (*SearchResult, error) {
	if len(q.Ranges) > searchBusesMost {
		return nil, fmt.Errorf("%w: %d, and one search takes %d at most; name those that are meant", ErrManyBuses, len(q.Ranges), searchBusesMost)
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	s := search{Search: q, e: e, out: &SearchResult{}, began: time.Now()}
	s.told = s.began
	if err := s.askDeliveries(ctx); err != nil {
		return nil, err
	}
	for _, r := range q.Ranges {
		id, err := e.BusID(r.Bus)
		if err != nil {
			return nil, err
		}
		bounds, err := e.store.Bounds(id)
		if err != nil {
			return nil, err
		}
		s.streams = append(s.streams, &searchStream{rest: r, id: id, bounds: bounds})
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	for _, st := range s.streams {
		if r, ok := st.left(q.Oldest); ok {
			s.out.Rest = append(s.out.Rest, r)
		}
	}
	return s.out, nil
}

// ErrManyBuses means that a search names more buses than one may.
var ErrManyBuses = errors.New("too many buses")

// search is a Search under way.
type search struct {
	Search
	e           *Engine
	out         *SearchResult
	streams     []*searchStream
	began, told time.Time

	deliveries *store.DeliveriesQuery // what lists the events that can fit; nil unless deliveries are asked for
}

// searchStream is one bus of a search: records that may fit, and what is left
// behind them.
type searchStream struct {
	id     store.BusID
	bounds store.Bounds
	rest   SearchRange
	ended  bool
	page   []store.Record
	head   *Found // the next that fits

	listed []uint64 // sequences with deliveries that may fit, to be read
	beyond uint64   // where listing goes on after them; 0 at the end
	asked  bool     // listed and beyond are known
}

// left is what has not been given out.
func (st *searchStream) left(oldest bool) (SearchRange, bool) {
	r := st.rest
	var next uint64
	switch {
	case st.head != nil:
		next = st.head.Record.Sequence
	case len(st.page) > 0:
		next = st.page[0].Sequence
	default:
		return r, !st.ended
	}
	if oldest {
		r.From = next
	} else {
		r.To = next
	}
	return r, true
}

// run gives out the next event of all buses until a bound is reached.
func (s *search) run(ctx context.Context) error {
	for len(s.out.Items) < s.Limit {
		var best *searchStream
		for _, st := range s.streams {
			ok, err := s.advance(ctx, st)
			if err != nil || !ok {
				return err
			}
			if st.head != nil && (best == nil || s.before(st.head, best.head)) {
				best = st
			}
		}
		if best == nil {
			return nil
		}
		s.out.Items = append(s.out.Items, *best.head)
		best.head = nil
	}
	return nil
}

func (s *search) before(a, b *Found) bool {
	if s.Oldest {
		return a.Record.Recorded.Before(b.Record.Recorded)
	}
	return a.Record.Recorded.After(b.Record.Recorded)
}

// advance finds the next event of a bus that fits; ok is false when the budget
// is used up before that.
func (s *search) advance(ctx context.Context, st *searchStream) (ok bool, err error) {
	for st.head == nil {
		for len(st.page) > 0 && st.head == nil {
			if s.spent() {
				return false, nil
			}
			r := st.page[0]
			found, err := s.fits(ctx, st.rest.Bus, r)
			if err != nil {
				return false, err
			}
			st.page[0], st.page = store.Record{}, st.page[1:]
			st.head = found
		}
		if st.head != nil || st.ended {
			return true, nil
		}
		if s.spent() {
			return false, nil
		}
		if err := s.fill(ctx, st); err != nil {
			return false, err
		}
	}
	return true, nil
}

// spent reports whether the budget is used up; something is always looked at.
func (s *search) spent() bool {
	return s.Budget > 0 && s.out.Looked+s.out.Skipped > 0 && time.Since(s.began) > s.Budget
}

// fill scans on.
func (s *search) fill(ctx context.Context, st *searchStream) error {
	page, err := s.page(ctx, st)
	if err != nil {
		return err
	}
	st.page = page.Records
	s.out.Looked += page.Looked
	s.out.Skipped += page.Skipped
	switch {
	case page.Next == 0:
		st.ended = true
	case s.Oldest:
		st.rest.From = page.Next
	default:
		st.rest.To = page.Next
	}
	if now := time.Now(); s.Progress != nil && now.Sub(s.told) >= progressEvery {
		s.told = now
		s.Progress(s.out)
	}
	return ctx.Err()
}

// How events with deliveries are found: so many sequences are listed at once, and
// read in one go if one of so many is meant.
const (
	searchListed = 4096
	searchDense  = 4
)

// askDeliveries makes the query that lists the events with deliveries that can
// fit.
func (s *search) askDeliveries(ctx context.Context) error {
	f := s.Delivery
	if f == (DeliveryFilter{}) {
		return nil
	}
	q := &store.DeliveriesQuery{Newest: !s.Oldest, Max: searchListed, Any: f.Rule == "" && f.Target == ""}
	switch f.Status {
	case "":
		q.Owed, q.Dead, q.Delivered, q.Expired = true, true, true, true
	case "delivered":
		q.Delivered = true
	case "expired":
		q.Expired = true
	case "dead":
		q.Dead = true
	default:
		q.Owed = true
	}
	s.deliveries = q
	if q.Any {
		return nil
	}
	for _, info := range s.e.store.Subscriptions() {
		if f.names(info.Name) {
			q.Subscriptions = append(q.Subscriptions, info.ID)
		}
	}
	former, err := s.e.store.Former(ctx)
	for id, name := range former {
		if f.names(name) {
			q.Subscriptions = append(q.Subscriptions, id)
		}
	}
	return err
}

// page reads the next records of a bus that may fit: those that deliveries or
// the attributes leave.
func (s *search) page(ctx context.Context, st *searchStream) (page store.Scanned, err error) {
	bytes := searchBytes / len(s.streams)
	// Exact attributes leave few events; the deliveries of these are looked up.
	if s.deliveries == nil || len(s.Has) > 0 && s.deliveries.Delivered {
		page, err = s.e.store.Scan(ctx, st.id, store.ScanQuery{
			From: st.rest.From, To: st.rest.To, Newest: !s.Oldest, Has: s.Has, Max: searchPage, MaxBytes: bytes,
		})
		if err == nil && s.deliveries != nil {
			page.Records, err = s.narrow(ctx, st, page.Records)
		}
		return page, err
	}
	if len(st.listed) == 0 {
		if st.asked && st.beyond == 0 {
			return page, nil
		}
		q := *s.deliveries
		q.From, q.To = st.rest.From, st.rest.To
		if st.listed, st.beyond, err = s.e.store.WithDeliveries(ctx, st.id, q); err != nil {
			return page, err
		}
		st.asked = true
	}
	some := st.listed[:min(len(st.listed), searchPage)]
	var read int
	if n := len(some); n > 0 && distance(some[0], some[n-1]) < searchDense*uint64(n) {
		read, err = s.readRange(ctx, st, some, bytes, &page)
	} else {
		read, err = s.readEach(ctx, st, some, bytes, &page)
	}
	if err != nil {
		return page, err
	}
	st.listed = st.listed[read:]
	if page.Next = st.beyond; len(st.listed) > 0 {
		page.Next = st.listed[0]
	}
	page.Skipped = st.passed(s.Oldest, page.Next)
	page.Skipped -= min(page.Skipped, page.Looked)
	return page, nil
}

// narrow leaves out the records without a delivery that may fit, if they are near
// each other: to list what is between them costs about a hundredth of a trace a
// sequence.
func (s *search) narrow(ctx context.Context, st *searchStream, records []store.Record) ([]store.Record, error) {
	n := len(records)
	if n == 0 || distance(records[0].Sequence, records[n-1].Sequence) > uint64(n-1)*100 {
		return records, nil
	}
	q := *s.deliveries
	q.Newest = false
	q.From, q.To = min(records[0].Sequence, records[n-1].Sequence), max(records[0].Sequence, records[n-1].Sequence)
	var listed []uint64
	for {
		some, next, err := s.e.store.WithDeliveries(ctx, st.id, q)
		if err != nil {
			return nil, err
		}
		listed = append(listed, some...)
		if next == 0 {
			break
		}
		q.From = next
	}
	return slices.DeleteFunc(records, func(r store.Record) bool {
		_, meant := slices.BinarySearch(listed, r.Sequence)
		return !meant
	}), nil
}

// passed is how many sequences lie from the beginning of what is left up to next,
// 0 being the end.
func (st *searchStream) passed(oldest bool, next uint64) uint64 {
	low, high := max(st.rest.From, st.bounds.First), st.bounds.Last
	if st.rest.To > 0 {
		high = min(high, st.rest.To)
	}
	switch {
	case next == 0 && low <= high:
		return high - low + 1
	case oldest && next > low:
		return next - low
	case !oldest && next != 0 && next < high && low <= high:
		return high - max(next, low-1)
	}
	return 0
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// readRange reads events that are near each other, and those between them that
// are not meant; it says how many of those that are it has done with.
func (s *search) readRange(ctx context.Context, st *searchStream, some []uint64, bytes int, page *store.Scanned) (int, error) {
	ends := []uint64{some[0], some[len(some)-1]}
	scanned, err := s.e.store.Scan(ctx, st.id, store.ScanQuery{
		From: slices.Min(ends), To: slices.Max(ends), Newest: !s.Oldest, Has: s.Has, Max: searchDense * searchPage, MaxBytes: bytes,
	})
	if err != nil {
		return 0, err
	}
	page.Looked = scanned.Looked
	i, n := 0, 0
	for _, r := range scanned.Records {
		for i < len(some) && some[i] != r.Sequence && (some[i] < r.Sequence) == s.Oldest {
			i++
		}
		if i < len(some) && some[i] == r.Sequence {
			page.Records = append(page.Records, r)
		}
	}
	for n < len(some) && (scanned.Next == 0 || some[n] != scanned.Next && (some[n] < scanned.Next) == s.Oldest) {
		n++
	}
	return n, nil
}

// readEach reads events one by one; it says how many it has done with.
func (s *search) readEach(ctx context.Context, st *searchStream, some []uint64, bytes int, page *store.Scanned) (int, error) {
	for i, seq := range some {
		if i > 0 && bytes <= 0 {
			return i, nil
		}
		r, err := s.e.store.Get(ctx, st.id, seq)
		if errors.Is(err, store.ErrTrimmed) || errors.Is(err, store.ErrNotFound) {
			continue // since it was listed
		}
		if err != nil {
			return i, err
		}
		page.Looked++
		bytes -= r.Event.Size()
		if !slices.ContainsFunc(s.Has, func(a store.AttributeValue) bool { return !a.In(r.Event) }) {
			page.Records = append(page.Records, r)
		}
	}
	return len(some), nil
}

// fits is the record as it is found, nil if it does not fit.
func (s *search) fits(ctx context.Context, bus string, r store.Record) (*Found, error) {
	if r.Recorded.Before(s.Since) || !s.Until.IsZero() && r.Recorded.After(s.Until) {
		return nil, nil
	}
	for _, p := range s.Prefixes {
		if v, ok := r.Event.Attribute(p.Name); !ok || !strings.HasPrefix(v.Text(), p.Value) {
			return nil, nil
		}
	}
	if s.When != nil && !s.When.Evaluate(r.Event).Matched {
		return nil, nil
	}
	found := &Found{Bus: bus, Record: r}
	if s.Delivery == (DeliveryFilter{}) {
		return found, nil
	}
	all, err := s.e.store.TraceOf(ctx, r.Bus, r.Sequence)
	if err != nil {
		return nil, err
	}
	found.Deliveries = slices.DeleteFunc(all, func(d store.DeliveryTrace) bool { return !s.delivery(d) })
	if len(found.Deliveries) == 0 {
		return nil, nil
	}
	return found, nil
}

func (s *search) delivery(d store.DeliveryTrace) bool {
	f := s.Delivery
	if f.Status != "" && strings.ReplaceAll(d.State, " ", "") != f.Status {
		return false
	}
	if f.Rule == "" && f.Target == "" {
		return true
	}
	return f.names(d.Subscription)
}

// names reports whether a subscription called so is meant.
func (f DeliveryFilter) names(subscription string) bool {
	rule, target := SplitSubscription(subscription)
	return (f.Rule == "" || rule == f.Rule) && (f.Target == "" || target == f.Target)
}
