package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// searchBudget is how long one search takes at most; it then answers what it
// has, and where to go on. A search whose progress is told goes on for longer.
const (
	searchBudget       = 2 * time.Second
	searchStreamBudget = 10 * time.Minute
	searchesMost       = 4
)

// SearchResults is a page of what a search has found.
type SearchResults struct {
	Items    []SearchItem `json:"items"`
	Next     string       `json:"next" doc:"What to pass as ?after= to go on; empty when all was looked at."`
	Complete bool         `json:"complete" doc:"All events that were asked for were looked at, or the page is full; else the time of one request was over, and next goes on."`
	Scanned  uint64       `json:"scanned" doc:"Events that were read."`
	Skipped  uint64       `json:"skipped" doc:"Events that were passed over unread, by the summaries of their attributes and deliveries."`
}

// SearchItem is an event that was found.
type SearchItem struct {
	Bus        string           `json:"bus"`
	Sequence   uint64           `json:"sequence"`
	Recorded   time.Time        `json:"recordedtime"`
	Event      json.RawMessage  `json:"event" doc:"Its attributes, and its data if ?data=true."`
	Deliveries []SearchDelivery `json:"deliveries,omitempty" doc:"Those that fit, when status, rule or target is given."`
}

// SearchDelivery is a delivery of an event that was found.
type SearchDelivery struct {
	Rule      string `json:"rule"`
	Target    string `json:"target"`
	Status    string `json:"status" doc:"queued, inflight, retrying, delivered, dead or expired."`
	Attempts  int    `json:"attempts"`
	LastError string `json:"lastError,omitempty"`
}

// SearchProgress is how far a search is.
type SearchProgress struct {
	Found   int    `json:"found"`
	Scanned uint64 `json:"scanned"`
	Skipped uint64 `json:"skipped"`
}

// searchParameters are the query parameters of a search, but for ext.NAME.
func searchParameters(when parameter, paging []parameter) []parameter {
	return append([]parameter{
		{"bus", "Buses, separated by commas; all by default, 100 at most."},
		{"from", "First RFC 3339 time or, with one bus, sequence, inclusive."}, {"to", "Last time or sequence, inclusive."},
		{"id", "The event's id. Values are exact; one that ends in * is a prefix."}, {"source", "Its source, or a prefix and *."},
		{"type", "Its type, or a prefix and *."}, {"subject", "Its subject, or a prefix and *."},
		{"ext.NAME", "The extension NAME, or a prefix and *."}, when,
		{"status", "Only events with a delivery that is queued, inflight, retrying, delivered, dead or expired."},
		{"rule", "Only events with a delivery of this rule."}, {"target", "Only events with a delivery to this target."},
		{"order", "newest (the default) or oldest first."}, {"data", "true shows the events' data too."},
	}, paging...)
}

// searchEvents answers a search: once or, for a client that accepts
// server-sent events, with progress before that.
func (s *Server) searchEvents(c *gin.Context) {
	q, empty, err := s.search(c)
	if err != nil {
		fail(c, err)
		return
	}
	err = s.answerLong(c, s.searches, "searches", func(ctx context.Context, tell func(progress any)) (any, error) {
		if q.Budget = searchBudget; tell != nil {
			q.Budget = searchStreamBudget
			q.Progress = func(r *bus.SearchResult) { tell(SearchProgress{len(r.Items), r.Looked, r.Skipped}) }
		}
		found := &bus.SearchResult{}
		if !empty {
			var err error
			if found, err = s.opts.Engine.Search(ctx, q); err != nil {
				return nil, err
			}
		}
		return s.searchResults(found, q.Limit, c.Query("data") == "true")
	})
	if err != nil {
		fail(c, err)
	}
}

// search reads what a request asks for; empty says that no event can be meant.
func (s *Server) search(c *gin.Context) (q bus.Search, empty bool, err error) {
	bad := func(format string, args ...any) error {
		return problem(http.StatusBadRequest, "invalid-parameter", format, args...)
	}
	if q.Limit, err = limitOf(c); err != nil {
		return q, false, err
	}
	if q.When, err = s.when(c.Query("when")); err != nil {
		return q, false, err
	}
	switch order := c.DefaultQuery("order", "newest"); order {
	case "newest", "oldest":
		q.Oldest = order == "oldest"
	default:
		return q, false, bad("order=%q is neither newest nor oldest", order)
	}
	if _, err = boolOf(c, "data"); err != nil {
		return q, false, err
	}
	q.Delivery = bus.DeliveryFilter{Status: c.Query("status"), Rule: c.Query("rule"), Target: c.Query("target")}
	if st := q.Delivery.Status; st != "" && !slices.Contains(bus.DeliveryStatuses(), st) {
		return q, false, bad("status=%q is none of %s", st, strings.Join(bus.DeliveryStatuses(), ", "))
	}
	for name, values := range c.Request.URL.Query() {
		attribute, ext := strings.CutPrefix(name, "ext.")
		if !ext && !slices.Contains([]string{"id", "source", "type", "subject"}, name) {
			continue
		}
		if len(values) != 1 || values[0] == "" || attribute == "" || ext && event.IsContextAttribute(attribute) {
			return q, false, bad("%s takes one value that is not empty, and ext.NAME the name of an extension", name)
		}
		if prefix, ok := strings.CutSuffix(values[0], "*"); ok {
			q.Prefixes = append(q.Prefixes, store.AttributeValue{Name: attribute, Value: prefix})
		} else {
			q.Has = append(q.Has, store.AttributeValue{Name: attribute, Value: values[0]})
		}
	}
	empty, err = s.searchRanges(c, &q)
	return q, empty, err
}

// searchRanges finds what of which buses is to be searched.
func (s *Server) searchRanges(c *gin.Context, q *bus.Search) (empty bool, err error) {
	// What is not a time is a sequence, or refused by place.
	q.Since, _ = time.Parse(time.RFC3339Nano, c.Query("from"))
	q.Until, _ = time.Parse(time.RFC3339Nano, c.Query("to"))
	if after := c.Query("after"); after != "" {
		raw, err := base64.RawURLEncoding.DecodeString(after)
		if err == nil {
			err = json.Unmarshal(raw, &q.Ranges)
		}
		if err != nil || len(q.Ranges) == 0 || len(q.Ranges) > len(s.opts.Engine.Buses()) {
			return false, problem(http.StatusBadRequest, "invalid-parameter", "after=%q is not the next of a search; pass it as it was answered", after)
		}
		return false, nil
	}
	var names []string
	for name := range s.opts.Engine.Buses() {
		names = append(names, name)
	}
	if list := c.Query("bus"); list != "" {
		names = strings.Split(list, ",")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		id, err := s.opts.Engine.BusID(name)
		if err != nil {
			return false, problem(http.StatusNotFound, "not-found", "there is no bus %q", name)
		}
		for _, bound := range []string{"from", "to"} {
			if len(names) > 1 && c.Query(bound) != "" && !strings.Contains(c.Query(bound), ":") {
				return false, problem(http.StatusBadRequest, "invalid-parameter", "%s=%q is not an RFC 3339 time, and sequences are of one bus; name one with bus=", bound, c.Query(bound))
			}
		}
		r := bus.SearchRange{Bus: name}
		if r.From, err = s.place(c, id, "from", false); err != nil {
			return false, err
		}
		if r.To, err = s.place(c, id, "to", true); err != nil {
			return false, err
		}
		// What is owed of the time before the history has no place by time.
		b, err := s.opts.Engine.Store().Bounds(id)
		if err != nil {
			return false, err
		}
		if !q.Since.IsZero() && r.From <= b.History {
			r.From = 0
		}
		if !q.Until.IsZero() {
			r.To = max(r.To, b.History-1)
		}
		if c.Query("to") == "" || r.To > 0 { // else it ends before the first event
			q.Ranges = append(q.Ranges, r)
		}
	}
	return len(q.Ranges) == 0, nil
}

// searchResults is what was found, as it is answered.
func (s *Server) searchResults(r *bus.SearchResult, limit int, data bool) (out SearchResults, err error) {
	out = SearchResults{Items: make([]SearchItem, len(r.Items)), Scanned: r.Looked, Skipped: r.Skipped}
	out.Complete = len(r.Rest) == 0 || len(r.Items) == limit
	if len(r.Rest) > 0 {
		raw, err := json.Marshal(r.Rest)
		if err != nil {
			return out, err
		}
		out.Next = base64.RawURLEncoding.EncodeToString(raw)
	}
	for i, f := range r.Items {
		ev := f.Record.Event
		if !data {
			b := event.NewBuilder()
			for name, v := range ev.Attributes() {
				if name != "datacontenttype" && name != "specversion" {
					if err := b.Set(name, v); err != nil {
						return out, fmt.Errorf("show event %d of bus %q: %w", f.Record.Sequence, f.Bus, err)
					}
				}
			}
			if ev, err = b.Build(); err != nil {
				return out, fmt.Errorf("show event %d of bus %q: %w", f.Record.Sequence, f.Bus, err)
			}
		}
		out.Items[i] = SearchItem{Bus: f.Bus, Sequence: f.Record.Sequence, Recorded: f.Record.Recorded.UTC(), Event: event.AppendStructured(nil, ev)}
		for _, d := range f.Deliveries {
			out.Items[i].Deliveries = append(out.Items[i].Deliveries, s.searchDelivery(d))
		}
	}
	return out, nil
}

func (s *Server) searchDelivery(d store.DeliveryTrace) SearchDelivery {
	out := SearchDelivery{Status: strings.ReplaceAll(d.State, " ", ""), Attempts: len(d.Attempts)}
	out.Rule, out.Target = bus.SplitSubscription(d.Subscription)
	if n := len(d.Attempts); n > 0 {
		out.LastError = d.Attempts[n-1].Error
	}
	return out
}
