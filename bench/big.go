package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// The events of large stores: small, with a subject and a number in the data
// that no other has, and every rareEvery-th of another type, source and tenant.
const (
	bigBatch   = 2000
	rareEvery  = 1000
	bigSubject = "eu/de/000000000"
	bigNumber  = `"n":100000000`
	bigBase    = 100_000_000
	bigCommon  = `"source":"https://shop.example.com/orders","type":"com.example.order.placed","tenant":"shop"`
	bigRare    = `"source":"https://desk.example.com/refund","type":"com.example.order.refund","tenant":"desk"`
	bigEvent   = `{"specversion":"1.0","id":"` + noID + `",` + bigCommon + `,"subject":"` + bigSubject + `",` +
		`"datacontenttype":"application/json","data":{"total":150,` + bigNumber + `}}`
)

// bigTemplate makes the k-th event of a large store.
type bigTemplate struct {
	encoded             []byte
	id, subject, number int
}

func newBigTemplate(attributes string) (*bigTemplate, error) {
	ev, err := event.FromStructured([]byte(strings.Replace(bigEvent, bigCommon, attributes, 1)), event.Limits{})
	if err != nil {
		return nil, err
	}
	t := &bigTemplate{encoded: ev.AppendBinary(nil)}
	at := func(text string) int { return strings.Index(string(t.encoded), text) }
	t.id, t.subject, t.number = at(noID), at(bigSubject)+len("eu/de/"), at(bigNumber)+len(`"n":`)
	if t.id < 0 || at(bigSubject) < 0 || at(bigNumber) < 0 {
		return nil, errors.New("the stored form of an event does not hold what differs")
	}
	return t, nil
}

func (t *bigTemplate) make(id int64, k int) (*event.Event, error) {
	buf := bytes.Clone(t.encoded)
	putID(buf[t.id:], id)
	putKey(buf[t.subject:], k)
	putKey(buf[t.number:], bigBase+k)
	return event.Decode(buf)
}

// bigStore is a data folder for the real program, made in this process.
type bigStore struct {
	dir    string
	middle string    // the id of an event in the middle
	at     time.Time // when that was recorded
}

// buildStore stores n events on the bus of the benchmarks. The deliveries of the
// last of them, queued in number, wait for the paused subscription
// placed/receiver; the rare ones are delivered to refunds/desk if delivered says
// so, and nothing else is owed to anybody.
func buildStore(ctx context.Context, e *environment, c *closer, n, queued int, delivered bool) (_ *bigStore, err error) {
	dir, err := e.folder(c, "big")
	if err != nil {
		return nil, err
	}
	s, err := embedded.Open(embedded.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	id, err := s.OpenBus(ctx, "bench", store.BusOptions{})
	if err != nil {
		return nil, err
	}
	sub, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "placed/receiver", Bus: id})
	if err != nil {
		return nil, err
	}
	if err := s.Pause(ctx, sub.ID, "until it is measured"); err != nil {
		return nil, err
	}
	desk, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "refunds/desk", Bus: id})
	if err != nil {
		return nil, err
	}
	common, err := newBigTemplate(bigCommon)
	if err != nil {
		return nil, err
	}
	rare, err := newBigTemplate(bigRare)
	if err != nil {
		return nil, err
	}
	big := &bigStore{dir: dir}
	batch := make([]store.Entry, 0, bigBatch)
	var records []store.Record
	var routed []store.RoutedEvent
	for done, reported := 0, time.Now(); done < n; {
		batch = batch[:0]
		for k := done; k < min(done+bigBatch, n); k++ {
			t := common
			if isRare(k) {
				t = rare
			}
			ev, err := t.make(e.ids.next(), k)
			if err != nil {
				return nil, err
			}
			if k == n/2 {
				big.middle = ev.ID()
			}
			batch = append(batch, store.Entry{Bus: id, Event: ev, Via: storeVia})
		}
		results, err := s.Append(ctx, batch)
		if err != nil {
			return nil, err
		}
		routed = routed[:0]
		for from, last := results[0].Sequence, results[len(results)-1].Sequence; from <= last && (delivered || done+len(batch) > n-queued); {
			if records, err = s.Read(ctx, id, from, bigBatch, 4<<20, records[:0]); err != nil {
				return nil, err
			}
			for _, r := range records {
				k := done + int(r.Sequence-results[0].Sequence)
				var matches []store.Routed
				if k >= n-queued {
					matches = append(matches, store.Routed{Subscription: sub.ID})
				}
				if delivered && isRare(k) {
					matches = append(matches, store.Routed{Subscription: desk.ID})
				}
				if k == n/2 {
					big.at = r.Recorded
				}
				if len(matches) > 0 {
					routed = append(routed, store.RoutedEvent{Record: r, Matches: matches})
				}
			}
			from = records[len(records)-1].Sequence + 1
		}
		if err := s.Enqueue(ctx, id, results[len(results)-1].Sequence, routed); err != nil {
			return nil, err
		}
		if err := deliverAll(ctx, s, desk.ID); err != nil {
			return nil, err
		}
		if done += len(batch); time.Since(reported) > reportEvery {
			reported = time.Now()
			fmt.Fprintf(e.progress, "stored: %d of %d\n", done, n)
		}
	}
	return big, nil
}

func isRare(k int) bool { return k%rareEvery == rareEvery/2 }

// deliverAll settles what may be claimed for a subscription.
func deliverAll(ctx context.Context, s *embedded.Store, sub store.SubscriptionID) error {
	for {
		now := time.Now()
		claimed, _, err := s.Claim(ctx, sub, now, bigBatch, nil)
		if err != nil || len(claimed) == 0 {
			return err
		}
		outcomes := make([]store.Settlement, len(claimed))
		for i, d := range claimed {
			outcomes[i] = store.Settlement{ID: d.ID, Kind: store.Done, Attempt: &store.Attempt{Number: d.Attempt, Started: now, Status: http.StatusOK}}
		}
		if err := s.Settle(ctx, outcomes); err != nil {
			return err
		}
	}
}

// get reads an answer of the program's API.
func (p *process) get(ctx context.Context, path string, into any) error {
	return p.call(ctx, http.MethodGet, path, into)
}

func (p *process) call(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Addr+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: answerTime}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// The contender and the measures of backlogs.
const (
	fewQueued  = "few queued"
	mostQueued = 50_000 // of few
	delivering = "MB delivering"
)

// queuedScenario is a start with a long backlog, and its delivery.
func queuedScenario() *scenario {
	return &scenario{
		name: "backlog",
		about: "a start with a million queued deliveries until /readyz answers 200, the anonymous memory then, and deliveries a second from the backlog, " +
			"beside the same with 50,000; -events 10000000 for ten million",
		once: true,
		rows: []row{
			{measure: milliseconds, limit: fewQueued, bar: bar{value: 2000, most: true, absolute: true}},
			{measure: megabytes, limit: fewQueued, bar: bar{value: 1.25, most: true}},
			{measure: perSecond, limit: fewQueued, bar: bar{value: 0.9}},
			{measure: delivering, limit: fewQueued, bar: bar{value: 1.25, most: true}},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			var all []contender
			for _, n := range []struct {
				name   string
				queued int
			}{{ours, e.events}, {fewQueued, min(mostQueued, e.events/2)}} {
				big, err := buildStore(ctx, e, c, n.queued, n.queued, false)
				if err != nil {
					return nil, err
				}
				all = append(all, contender{n.name, big.delivering(e, n.queued)})
			}
			return all, nil
		},
	}
}

// delivering starts the program and lets it deliver what is queued.
func (b *bigStore) delivering(e *environment, queued int) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (_ measures, err error) {
		var c closer
		defer func() { err = errors.Join(err, c.close()) }()
		r, err := newReceiver(&c)
		if err != nil {
			return nil, err
		}
		p, err := startSwitchyard(ctx, e, &c, b.dir, withTarget(r.url))
		if err != nil {
			return nil, err
		}
		m := measures{milliseconds: p.Ready.Seconds() * 1e3}
		if err := p.awaitMetric(ctx, "switchyard_queue_depth", float64(queued)); err != nil {
			return nil, err
		}
		if err := sleep(ctx, e.idle); err != nil {
			return nil, err
		}
		if m[megabytes], err = p.Anonymous(); err != nil {
			return nil, err
		}
		peak := p.watchMemory(ctx)
		err = p.call(ctx, http.MethodPost, "/v1/subscriptions/placed/receiver/resume", nil)
		if err == nil {
			m[perSecond], err = r.rate(ctx, d)
		}
		mb, watched := peak()
		m[delivering] = mb
		return m, errors.Join(err, watched)
	}
}

// searches are what is searched for, by the measure of its time. The answer has
// to hold so many events, -1 a full page.
func (b *bigStore) searches(n, queued int) []search {
	q := func(pairs ...string) string {
		v := url.Values{"bus": {"bench"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return "/v1/events/search?" + v.Encode()
	}
	number := bigBase + n/2
	rare := min((n+rareEvery/2-1)/rareEvery, searchPage)
	since := min(n-n/2/bigBatch*bigBatch, searchPage) // a batch is recorded at once
	return []search{
		{"ms id", q("id", b.middle), 1},
		{"ms subject", q("subject", fmt.Sprintf("eu/de/%09d", n/3)), 1},
		{"ms type+source", q("type", "com.example.order.refund", "source", "https://desk.example.com/refund"), rare},
		{"ms extension", q("ext.tenant", "desk"), rare},
		{"ms time", q("from", b.at.Format(time.RFC3339Nano), "order", "oldest"), since},
		{"ms status", q("status", "queued"), min(queued, searchPage)},
		{"ms rule", q("rule", "refunds"), rare},
		{"ms target", q("target", "desk", "status", "delivered"), rare},
		{"ms CEL", q("when", fmt.Sprintf("event.data.n == %d", number)), 1},
	}
}

// searching is the most memory during searches.
const searching = "MB searching"

// searchPage is how many events a page of a search has.
const searchPage = 100

type search struct {
	measure, path string
	found         int
}

// searchedConfig has the subscriptions of buildStore.
const searchedConfig = busOnly + `rules:
  placed: {bus: bench, when: '` + whenPlaced + `', targets: [receiver]}
  refunds: {bus: bench, when: 'event.type == "com.example.order.refund"', targets: [desk]}
targets:
  receiver: {http: {url: 'http://127.0.0.1:9/'}}
  desk: {http: {url: 'http://127.0.0.1:9/'}}
`

// searchQueued is how many of the events of a search are queued.
const searchQueued = 1000

// searchScenario is how long it takes to find events among many.
func searchScenario() *scenario {
	rows := []row{{measure: megabytes, limit: fewStored}, {measure: searching, limit: fewStored, bar: bar{value: 1.25, most: true}}}
	for _, s := range (&bigStore{}).searches(1, 1) {
		rows = append(rows, row{measure: s.measure, limit: fewStored})
	}
	return &scenario{
		name: "search",
		about: "finding events among a million: by id, subject, type and source, extension, time, status, rule and target, each with an index, and by CEL, which reads them all; " +
			"until the page is full or everything was looked at; -events 10000000 for ten million",
		rows: rows,
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			var all []contender
			for _, n := range []struct {
				name   string
				stored int
			}{{ours, e.events}, {fewStored, e.events / 10}} {
				queued := min(searchQueued, n.stored)
				big, err := buildStore(ctx, e, c, n.stored, queued, true)
				if err != nil {
					return nil, err
				}
				p, err := startSwitchyard(ctx, e, c, big.dir, searchedConfig)
				if err != nil {
					return nil, err
				}
				if err := p.awaitSummaries(ctx, big.searches(n.stored, queued)[0].path); err != nil {
					return nil, err
				}
				all = append(all, contender{n.name, func(ctx context.Context, _ time.Duration) (measures, error) {
					return p.search(ctx, big.searches(n.stored, queued))
				}})
			}
			return all, nil
		},
	}
}

// fewStored is Switchyard with a tenth of the events.
const fewStored = "a tenth of them"

// found is what matters here of an answer to a search.
type found struct {
	Items []struct {
		Sequence uint64 `json:"sequence"`
	} `json:"items"`
	Next     string `json:"next"`
	Complete bool   `json:"complete"`
	Scanned  uint64 `json:"scanned"`
}

// summaryTime bounds the wait for the summaries of ten million events.
const summaryTime = 10 * time.Minute

// awaitSummaries waits until a search by id reads few events.
func (p *process) awaitSummaries(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, summaryTime)
	defer cancel()
	for {
		_, scanned, err := p.searchAll(ctx, path)
		if err != nil {
			return fmt.Errorf("wait for the summaries of stored events: %w", err)
		}
		if scanned <= 4*4096 {
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return fmt.Errorf("a search still reads %d events, for summaries are missing: %w", scanned, err)
		}
	}
}

// searchAll asks page after page until a page is full or all was looked at.
func (p *process) searchAll(ctx context.Context, path string) (items int, scanned uint64, err error) {
	after := ""
	for {
		var f found
		if err := p.get(ctx, path+"&after="+url.QueryEscape(after), &f); err != nil {
			return items, scanned, err
		}
		items += len(f.Items)
		scanned += f.Scanned
		if after = f.Next; after == "" || items >= searchPage {
			return items, scanned, nil
		}
	}
}

// search times each search.
func (p *process) search(ctx context.Context, all []search) (measures, error) {
	m := measures{}
	var err error
	if m[megabytes], err = p.Anonymous(); err != nil {
		return nil, err
	}
	peak := p.watchMemory(ctx)
	for _, s := range all {
		began := time.Now()
		items, _, failed := p.searchAll(ctx, s.path)
		if failed != nil {
			err = fmt.Errorf("%s: %w", s.measure, failed)
			break
		}
		if items != s.found {
			err = fmt.Errorf("%s: %d events were found, not %d", s.measure, items, s.found)
			break
		}
		m[s.measure] = time.Since(began).Seconds() * 1e3
	}
	mb, watched := peak()
	m[searching] = mb
	return m, errors.Join(err, watched)
}
