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
	if st := q.Delivery.Status; st != "" && st != "delivered" && st != "expired" {
		s.undelivered = true
		for _, info := range e.store.Subscriptions() {
			if q.Delivery.names(info.Name) {
				s.subscriptions = append(s.subscriptions, info.ID)
			}
		}
	}
	for _, r := range q.Ranges {
		id, err := e.BusID(r.Bus)
		if err != nil {
			return nil, err
		}
		s.streams = append(s.streams, &searchStream{rest: r, id: id})
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

	undelivered   bool                   // only deliveries that are owed or dead can fit
	subscriptions []store.SubscriptionID // those whose deliveries can fit, if so
}

// searchStream is one bus of a search: records that may fit, and what is left
// behind them.
type searchStream struct {
	id    store.BusID
	rest  SearchRange
	ended bool
	page  []store.Record
	head  *Found // the next that fits
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

// page reads the next records of a bus that may fit: from the rows of deliveries
// that are not settled or dead, if only those are asked for, else by a scan.
func (s *search) page(ctx context.Context, st *searchStream) (page store.Scanned, err error) {
	bytes := searchBytes / len(s.streams)
	if !s.undelivered {
		return s.e.store.Scan(ctx, st.id, store.ScanQuery{
			From: st.rest.From, To: st.rest.To, Newest: !s.Oldest, Has: s.Has, Max: searchPage, MaxBytes: bytes,
		})
	}
	sequences, next, err := s.e.store.Undelivered(ctx, st.id, store.UndeliveredQuery{
		Subscriptions: s.subscriptions, Dead: s.Delivery.Status == "dead", Owed: s.Delivery.Status != "dead",
		From: st.rest.From, To: st.rest.To, Newest: !s.Oldest, Max: searchPage,
	})
	if err != nil {
		return page, err
	}
	page.Next = next
	for i, seq := range sequences {
		if i > 0 && bytes <= 0 {
			page.Next = seq
			return page, nil
		}
		r, err := s.e.store.Get(ctx, st.id, seq)
		if errors.Is(err, store.ErrTrimmed) || errors.Is(err, store.ErrNotFound) {
			continue // since it was listed
		}
		if err != nil {
			return page, err
		}
		page.Looked++
		bytes -= r.Event.Size()
		if !slices.ContainsFunc(s.Has, func(a store.AttributeValue) bool { return !a.In(r.Event) }) {
			page.Records = append(page.Records, r)
		}
	}
	return page, nil
}

// fits is the record as it is found, nil if it does not fit.
func (s *search) fits(ctx context.Context, bus string, r store.Record) (*Found, error) {
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
